"""The loop that leads commits through the fleet: it looks, core/advance.py decides, releases.py releases.

What was decided is durable, together with the releases that follow from it, before any worker hears of them (R22). A
hub that was killed goes on at the same step; time in which no hub ran never counts as soak (R24).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from fleet.controllers.board import Board
from fleet.controllers.gates import Gates
from fleet.controllers.histories import Histories, values_of
from fleet.controllers.overrides import bind, override_of
from fleet.controllers.releases import Releases
from fleet.controllers.rollback_evidence import Deed, Evidence
from fleet.controllers.rollout_clock import LookClock
from fleet.controllers.rollout_rows import Rows
from fleet.core.advance import Advance, advance
from fleet.core.fallbacks import goes_back_to
from fleet.core.fleet import Fleet
from fleet.core.hearing import as_known, unheard
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName, short
from fleet.core.overrides import Way
from fleet.core.passage import Passage, Passages
from fleet.core.quarantine import barred_again, barred_by
from fleet.core.results import Rendered
from fleet.core.rollout_facts import RowFacts
from fleet.core.rollout_news import news_of
from fleet.core.rollout_orders import KINDS, PREFIX, Done, RolloutOrder, bound, carry_out, find, is_behind
from fleet.core.rollout_waits import waits_of
from fleet.core.status import Event, EventKind
from fleet.core.steps import goes_by_itself, goes_by_steps
from fleet.core.takeover import not_taken_back, open_rows, settle, taken_back, with_release
from fleet.core.turns import is_stopped
from fleet.core.view import Outlook, View
from fleet.core.windows import shut_of
from fleet.errors import StateDamaged
from fleet.ports.state import Bells, OperationRow, State

log = structlog.get_logger("rollouts")
CLOCK = "rollout-clock"  # value of the state
CLOCK_SECONDS = 5.0  # so much of a soak may count twice after a kill, and none of it is lost
GATHER_SECONDS = 0.02  # reports that come together are looked at together
REST_SHARE = 4.0  # times what a look took, before the next one: a large fleet's reports come one after the other
REST_SECONDS = 1.0  # at most
LOOK_SECONDS = 120.0  # without a ring
DEAF_LOOK_SECONDS = 0.25
PROMOTE = f"{PREFIX}promote"


class Rollouts:
    """One instance runs per hub. clock: monotonic seconds of this process."""

    def __init__(
        self,
        *,
        state: State,
        board: Board,
        releases: Releases,
        view: View,
        bells: Bells,
        gates: Gates,
        wall: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._view, self._bells = state, view, bells
        self._board, self._books, self._releases = board, board.books, releases
        self._gates, self._wall, self._clock = gates, wall, clock
        self._rows, self._histories = Rows(board, view, wall), Histories(state)
        self._evidence = Evidence(state, board, wall)
        self._time = LookClock(clock, wall)
        self._clock_kept = 0.0
        self._is_open = False

    async def start(self) -> None:
        """Take over what an earlier process knew."""
        counted = await self._state.get_value(CLOCK)
        try:
            self._clock_kept = float(counted or 0.0)
        except ValueError as error:
            raise StateDamaged(
                "how long rollouts took cannot be read",
                why=str(error),
                next_step="restore a backup of the data directory",
            ) from error
        await self._releases.take_rollouts()
        self._time.start(self._clock_kept)
        self._is_open = True

    async def run(self) -> None:
        """Until cancelled; run again after an error, it goes on from what is durable."""
        try:
            await self._run()
        finally:
            await self._gates.close()

    async def _run(self) -> None:
        took = 0.0
        while True:
            if not self._is_open:
                await self.start()
                await self._board.publish()  # what was released before an error, and not told yet
            await asyncio.sleep(max(GATHER_SECONDS, min(REST_SHARE * took, REST_SECONDS)))
            began = self._clock()
            self._bells.rollouts.clear()
            self._is_open = False  # a look that fails midway may have been durable already: then that counts
            due = await self.look()
            self._is_open, took = True, self._clock() - began
            wait = LOOK_SECONDS if due is None else max(0.0, min(due - self._now(), LOOK_SECONDS))
            if open_rows(self._view.passages):
                wait = min(wait, CLOCK_SECONDS)
            try:
                async with asyncio.timeout(wait):
                    await self._bells.rollouts.wait()
            except TimeoutError:
                continue

    def _now(self) -> float:
        return self._time.now

    def _note_look(self) -> None:
        """Time counts up to here, unless nobody looked for so long that it is as after a start."""
        if gap := self._time.look(is_awaited=bool(open_rows(self._view.passages))):
            log.warning("nobody looked at what is under way: that time does not count", seconds=round(gap))

    async def look(self) -> float | None:
        """Decide everything once; returns when time alone changes something, on the hub's clock."""
        self._note_look()
        operations = await self._state.operations(open_only=True, limit=10_000)
        delayed = await self._carry_out_all(operations)
        if delayed is None:
            return self._now()
        await self._histories.read(open_rows(self._view.passages) | {name.overlay for name in self._books.waiting})
        self._note_look()  # what was asked until here may have stood still
        # From here until what was decided is released, nothing that is decided on can change.
        fleet, wall = self._view.fleet, self._wall()
        if fleet is None:
            return None
        seen = self._view.passages
        kept, facts = self._rows.known(fleet, wall)
        still_open = {row.id for row in operations}
        kept = replace(
            kept,
            carried={name: ended for name, ended in kept.carried.items() if name in still_open},
            overrides={name: bound for name, bound in kept.overrides.items() if name in still_open},
        )
        # What waits is carried out before anything goes on, though all spoke since.
        if (silent := self._unheard(fleet)) or delayed:
            self._time.stand()
            if silent:
                self._show_known(facts, silent)
            await self._end_carried(kept)
            return self._now() + DEAF_LOOK_SECONDS
        self._time.go()
        kept, found, deeds = await self._advanced(kept, facts, wall)
        outlook = Outlook(facts, self._histories.known, self._now(), wall)
        kept, ahead = self._ahead(kept, facts, operations, fleet)

        async def keep() -> bool:
            if self._view.passages is not seen or self._view.fleet is not fleet:
                return False  # it changed while the evidence was written
            return await self._keep(seen, kept, found, deeds, outlook, ahead)

        if not await self._evidence.around(deeds, keep):
            return self._now()  # what was looked at is another thing now
        self._show(found, outlook)
        self._gates.take([ask for now in found.values() for ask in now.asks], kept)
        await self._end_carried(kept)
        return min((now.due for now in found.values() if now.due is not None), default=None)

    async def _end_carried(self, kept: Passages) -> None:
        for operation, (outcome, message) in kept.carried.items():
            row = await self._state.operation(operation)
            if row is not None and not row.outcome:
                await self._evidence.ended(row, outcome, message)
            await self._state.end_operation(operation, outcome, message, self._wall())

    # What is so

    def _unheard(self, fleet: Fleet) -> list[ClusterName]:
        """Clusters of what is under way that were not heard since this process began, or looks again; for a minute.

        Until then what was known before is neither believed nor dropped, and no time counts (R24).
        """
        if not self._time.listens:
            return []
        view = self._view
        return unheard(view.passages.all, fleet.clusters, view.clusters, view.unspoken, self._time.listens_since)

    def _with_readings(self, passage: Passage, facts: Mapping[OverlayName, RowFacts]) -> Mapping[OverlayName, RowFacts]:
        """The facts with what the gates of this commit read last."""
        return {
            name: replace(facts[name], readings=self._gates.readings(passage.commit, name))
            for name in passage.rows
            if name in facts
        }

    # What follows

    def _bound(self, operations: Sequence[OperationRow]) -> list[OperationRow]:
        """All orders, the oldest first, with each promotion bound to where its rollout stands before any of them."""
        fleet, every = self._view.fleet, list(reversed(operations))
        if fleet is None or not any(_is_unbound(row) for row in every):
            return every
        kept, facts = self._rows.known(fleet, self._wall())
        return [
            replace(row, target=bound(passage, facts, self._now()))
            if _is_unbound(row) and (passage := find(kept, row.target)) is not None
            else row
            for row in every
        ]

    async def _carry_out_all(self, operations: Sequence[OperationRow]) -> list[str] | None:
        """People's orders, the oldest first; the rollouts whose promotion waits until their clusters were heard.

        None where what one of them was decided on is another thing now: it comes again, before what was ordered after
        it.
        """
        delayed: list[str] = []  # a step whose clusters were not heard yet may begin
        for row in self._bound(operations):
            if (fleet := self._view.fleet) is None or row.id in self._view.passages.carried:
                continue
            if row.kind == PROMOTE and self._unheard(fleet):
                delayed.append(row.target.partition(" ")[0])
            elif is_behind(row.kind, row.target, delayed, self._view.passages):
                continue
            elif not await self._carry_out(row, fleet):
                return None
        return delayed

    async def _carry_out(self, row: OperationRow, fleet: Fleet) -> bool:
        """One person's order; it ends once, as done or refused (V5), and is carried out once, whoever is killed.

        False where nothing was done, as what it was decided on is not so any more.
        """
        if (order := _order_of(row)) is None:
            return True
        seen = self._view.passages
        kept, facts = self._rows.known(fleet, self._wall())
        done = carry_out(order, kept, facts, self._books.held, self._wall(), self._now(), fleet)
        if where := barred_again(kept.quarantine, done.kept.quarantine, self._view.units.values()):
            message = f"{where} bars it still, and waits for a recovery: confirm that first (fleet recover)"
            done = Done(kept, "refused", message)
        elif lost := await self._board.lost(done.back.values()):
            done = Done(kept, "refused", f"nothing goes back: {lost}; revert it in Git")
        going = (fleet.units[name] for name in done.back if name in fleet.units)
        if shut := shut_of(going, self._wall()):
            done = replace(done, message=f"{done.message}; {shut}")
        if done.kept == kept:
            await self._evidence.ended(row, done.outcome, done.message)
            await self._state.end_operation(order.operation, done.outcome, done.message, self._wall())
        else:
            ended = {order.operation: (done.outcome, done.message)}
            after = replace(done.kept, carried={**done.kept.carried, **ended})
            begun = news_of(seen, kept, {}, Outlook(facts))
            told = self._events([*begun, (f"{done.message} ({order.actor})", Revision(done.commit))])
            why = f"rollback of {order.target.partition(' ')[0]}: {order.reason}"
            deed = Deed(Revision(done.commit), order.actor, why, done.back, done.stays)
            deeds = [deed] if order.kind == "rollback" else []
            if not await self._evidence.around(
                deeds, lambda: self._releases.let({}, seen, after, self._count(), told, done.back)
            ):
                return False
            self._tell(told)
        return True

    async def _advanced(
        self, kept: Passages, facts: Mapping[OverlayName, RowFacts], wall: float
    ) -> tuple[Passages, dict[Revision, Advance], list[Deed]]:
        """Each rollout that is open, one step on; and what goes back where one failed."""
        found: dict[Revision, Advance] = {}
        deeds: list[Deed] = []
        for passage in kept.all:
            if passage.outcome:
                continue
            now = advance(passage, self._with_readings(passage, facts), self._now(), wall)
            found[passage.commit] = now
            kept = settle(kept, self._with_before(now, facts), wall)
            if now.take_back and now.passage.halted is not None:
                stop = now.passage.halted
                taken = taken_back(kept, now.passage, self._books.held, stop, self._rows.going_back(now.passage, stop))
                if lost := await self._board.lost(taken.back.values()):
                    stays = not_taken_back(now.passage, stop, passage.halted, lost)
                    found[passage.commit] = now = replace(now, passage=stays)
                    kept = settle(kept, self._with_before(now, facts), wall)
                    continue
                kept = taken.kept
                why = f"onFailure: rollback of {stop.overlay}: {stop.place}: {stop.reason}"
                deeds.append(Deed(passage.commit, stop.by, why, taken.back, taken.stays))
        return kept, found, deeds

    def _with_before(self, now: Advance, facts: Mapping[OverlayName, RowFacts]) -> Passage:
        """Each release remembers what the unit goes back to."""
        rows, held = dict(now.passage.rows), self._books.held
        for unit in now.releases:
            row = rows[unit.overlay]
            if unit in held and unit.cluster not in row.before:
                to = goes_back_to(row, unit.cluster, held[unit], facts[unit.overlay].units[unit.cluster])
                rows[unit.overlay] = replace(row, before={**row.before, unit.cluster: to})
        return replace(now.passage, rows=rows)

    def _ahead(
        self,
        kept: Passages,
        facts: Mapping[OverlayName, RowFacts],
        operations: Sequence[OperationRow],
        fleet: Fleet,
    ) -> tuple[Passages, Mapping[UnitName, OperationRow]]:
        """Units that a person lets go ahead of their step; their rollout judges them as what it released itself."""
        ahead: dict[UnitName, OperationRow] = {}
        held = self._books.held
        for row in (each for each in operations if each.kind == "sync" and each.override):
            try:
                unit = UnitName.parse(row.target)
            except ValueError:
                continue  # refused where syncs are carried out
            if unit not in fleet.units or not self._board.fetches.have_followed(row):
                continue
            if not self._rows.is_rendering([fleet.units[unit]]):
                kept = bind(kept, row, unit, self._board)
            found = override_of(row, operations, unit, fleet, self._board, kept, self._wall())
            if found.way is not Way.RELEASE:
                continue
            known = facts[unit.overlay].units.get(unit.cluster) if unit.overlay in facts else None
            after = with_release(kept, unit, self._books.waiting[unit], held.get(unit), self._now(), known)
            if after is not kept:  # else no rollout has it yet, and none could take it back: the next look may
                kept, ahead[unit] = after, row
        return kept, ahead

    async def _keep(
        self,
        seen: Passages,
        kept: Passages,
        found: Mapping[Revision, Advance],
        deeds: Sequence[Deed],
        outlook: Outlook,
        ahead: Mapping[UnitName, OperationRow],
    ) -> bool:
        """Make what was decided durable; false where it was decided on what is not so any more."""
        releases = {
            unit: Rendered(Digest(now.passage.rows[unit.overlay].targets[unit.cluster]), commit)
            for commit, now in found.items()
            for unit in now.releases
        }
        releases |= {unit: self._books.waiting[unit] for unit in ahead}
        back = {unit: bundle for deed in deeds for unit, bundle in deed.back.items()}
        free = self._free(kept)
        if kept != seen or releases or free:
            told = self._events([*news_of(seen, kept, found, outlook), *_overrides(ahead, releases)])
            courses = self._histories.added(seen, kept, outlook.facts)
            values = {**self._count(), **values_of(courses)}
            if not await self._releases.let({**releases, **free}, seen, kept, values, told, back):
                return False
            self._histories.known |= courses
            if ahead or kept.overrides != seen.overrides:
                self._bells.orders.set()  # their syncs go to the workers now
            self._tell(told)
        elif open_rows(kept) and self._now() - self._clock_kept >= CLOCK_SECONDS:
            await self._state.set_value(CLOCK, self._count()[CLOCK])
        return True

    def _free(self, kept: Passages) -> Mapping[UnitName, Rendered]:
        """What waits for no step any more: its overlay goes at once now, its unit may begin with it, or its cluster has
        it. Never what was taken back.
        """
        free: dict[UnitName, Rendered] = {}
        fleet, books = self._view.fleet, self._books
        for name, result in books.waiting.items():
            unit = fleet.units.get(name) if fleet is not None else None
            if unit is None or goes_by_steps(unit):
                continue
            if barred_by(kept.quarantine, name, (result.bundle,)) is not None:
                continue
            if goes_by_itself(unit):
                is_free = not is_stopped(kept, name.overlay)
            else:
                report = self._view.units.get(name)
                is_there = report is not None and report.bundle == result.bundle
                is_free = is_there or books.begins_with(unit, result, kept)
            if is_free:
                free[name] = result
        return free

    def _count(self) -> dict[str, str]:
        self._clock_kept = self._now()
        return {CLOCK: repr(self._clock_kept)}

    def _events(self, news: Iterable[tuple[str, Revision]]) -> list[Event]:
        return [Event(self._wall(), EventKind.NOTE, ClusterName(""), None, text, commit) for text, commit in news]

    def _tell(self, events: Iterable[Event]) -> None:
        """What is durable now."""
        for event in events:
            log.info(event.message, commit=event.commit)
        self._bells.news.ring()

    def _show_known(self, facts: Mapping[OverlayName, RowFacts], silent: Sequence[ClusterName]) -> None:
        """What is under way as it stood last, while first words are waited for."""
        view, books = self._view, self._books
        known = {one.commit: as_known(one, facts, silent) for one in view.passages.all if not one.outcome}
        waits = waits_of(known, view.passages, books.waiting, books.waits, view.waits, self._wall())
        if (known, waits) != (view.advances, view.waits):
            view.advances, view.waits = known, waits
            view.version += 1

    def _show(self, found: Mapping[Revision, Advance], outlook: Outlook) -> None:
        view, books = self._view, self._books
        waits = waits_of(found, view.passages, books.waiting, books.waits, view.waits, self._wall())
        view.advances, view.waits, view.outlook = found, waits, outlook
        view.version += 1


def _is_unbound(row: OperationRow) -> bool:
    """Whether it says nothing of a step: nobody knew where it stood, or it is from before promotions said so."""
    return row.kind == PROMOTE and " " not in row.target


def _order_of(row: OperationRow) -> RolloutOrder | None:
    kind = row.kind.removeprefix(PREFIX)
    if not row.kind.startswith(PREFIX) or kind not in KINDS:
        return None
    return RolloutOrder(row.id, kind, row.target, row.actor, row.reason, row.requested_at)


def _overrides(
    ahead: Mapping[UnitName, OperationRow], releases: Mapping[UnitName, Rendered]
) -> Iterable[tuple[str, Revision]]:
    for unit, row in ahead.items():
        commit = releases[unit].commit
        yield f"{unit} goes to {short(commit)} ahead of its step, by {row.actor}: {row.reason}", commit
