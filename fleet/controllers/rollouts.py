"""The loop that leads commits through the fleet: it looks, core/advance.py decides, the board releases.

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
from fleet.core.advance import Advance, advance
from fleet.core.fleet import Fleet, OverlayState, Unit
from fleet.core.forecast import forecast, said
from fleet.core.gating import gate_news
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName, short
from fleet.core.overrides import Way
from fleet.core.passage import Passage, Passages, decode_passages, encode_passages
from fleet.core.quarantine import barred_again, with_found
from fleet.core.release import Rendered
from fleet.core.rollout_facts import RowFacts
from fleet.core.rollout_orders import KINDS, PREFIX, Done, RolloutOrder, carry_out
from fleet.core.status import Blocker, Event, EventKind, Standing
from fleet.core.steps import is_at_once, stages_of, steps_without_clusters
from fleet.core.takeover import Wanted, drop_rows, open_rows, settle, take_over, taken_back, with_release
from fleet.core.unit_facts import fact_of, goes_by_steps
from fleet.core.view import Outlook, View
from fleet.errors import StateDamaged
from fleet.ports.state import Bells, OperationRow, State

log = structlog.get_logger("rollouts")
ROLLOUTS, CLOCK = "rollouts", "rollout-clock"  # values of the state
CLOCK_SECONDS = 5.0  # so much of a soak may count twice after a kill, and none of it is lost
GATHER_SECONDS = 0.02  # reports that come together are looked at together
LOOK_SECONDS = 120.0  # without a ring
DEAF_SECONDS = 60.0  # after a start, for the first word of each worker
DEAF_LOOK_SECONDS = 0.25
NAMED = 5


class Rollouts:
    """One instance runs per hub. clock: monotonic seconds of this process."""

    def __init__(
        self,
        *,
        state: State,
        board: Board,
        view: View,
        bells: Bells,
        gates: Gates,
        wall: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._board, self._view, self._bells = state, board, view, bells
        self._gates, self._wall, self._clock = gates, wall, clock
        self._kept, self._histories = Passages(), Histories(state)
        self._started_at = clock()
        self._before = 0.0  # what earlier processes counted
        self._clock_kept = 0.0
        self._is_open = False
        self._born_at, self._born = 0.0, 0.0  # wall and clock of this process's start

    async def start(self) -> None:
        """Take over what an earlier process knew."""
        text, counted = await self._state.get_value(ROLLOUTS), await self._state.get_value(CLOCK)
        try:
            self._kept = decode_passages(text) if text else Passages()
            self._before = self._clock_kept = float(counted or 0.0)
        except ValueError as error:
            raise StateDamaged(
                "how far rollouts were cannot be read",
                why=str(error),
                next_step="restore a backup of the data directory",
            ) from error
        self._started_at, self._is_open = self._clock(), True
        if not self._born_at:
            self._born_at, self._born = self._wall(), self._started_at
        self._board.bar(self._kept)

    async def run(self) -> None:
        """Until cancelled; run again after an error, it goes on from what is durable."""
        try:
            await self._run()
        finally:
            await self._gates.close()

    async def _run(self) -> None:
        while True:
            if not self._is_open:
                await self.start()
                await self._board.publish()  # what was released before an error, and not told yet
            await asyncio.sleep(GATHER_SECONDS)
            self._bells.rollouts.clear()
            self._is_open = False  # a look that fails midway may have been durable already: then that counts
            due = await self.look()
            self._is_open = True
            wait = LOOK_SECONDS if due is None else max(0.0, min(due - self._now(), LOOK_SECONDS))
            if open_rows(self._kept):
                wait = min(wait, CLOCK_SECONDS)
            try:
                async with asyncio.timeout(wait):
                    await self._bells.rollouts.wait()
            except TimeoutError:
                continue

    def _now(self) -> float:
        return self._before + self._clock() - self._started_at

    async def look(self) -> float | None:
        """Decide everything once; returns when time alone changes something, on the hub's clock."""
        operations = await self._state.operations(open_only=True, limit=10_000)
        for order in filter(None, map(_order_of, reversed(operations))):
            if (fleet := self._view.fleet) is not None and order.operation not in self._kept.carried:
                await self._carry_out(order, fleet)
        await self._histories.read(open_rows(self._kept) | {name.overlay for name in self._board.waiting()})
        # From here until the board takes what was decided, nothing that is decided on can change.
        fleet, wall = self._view.fleet, self._wall()
        if fleet is None:
            return None
        kept, facts = self._known(fleet, wall)
        still_open = {row.id for row in operations}
        kept = replace(
            kept,
            carried={name: ended for name, ended in kept.carried.items() if name in still_open},
            overrides={name: bound for name, bound in kept.overrides.items() if name in still_open},
        )
        kept = with_found(kept, self._view.units.values(), self._board.results, wall)
        if self._is_deaf(fleet):
            self._started_at = self._clock()
            await self._end_carried(kept)
            return self._now() + DEAF_LOOK_SECONDS
        found: dict[Revision, Advance] = {}
        back: dict[UnitName, Rendered] = {}
        for passage in kept.all:
            if passage.outcome:
                continue
            now = advance(passage, self._with_readings(passage, facts), self._now(), wall)
            found[passage.commit] = now
            kept = settle(kept, self._with_before(now), wall)
            if now.take_back and now.passage.halted is not None:
                taken = taken_back(kept, now.passage, self._board.held(), now.passage.halted, now.passage.rows)
                kept = taken.kept
                back |= taken.back
        outlook = Outlook(facts, self._histories.known, self._now(), wall)
        kept, ahead = self._ahead(kept, operations, fleet)
        await self._keep(kept, found, back, outlook, ahead)
        self._show(kept, found, outlook)
        self._gates.take([ask for now in found.values() for ask in now.asks], kept)
        await self._end_carried(kept)
        return min((now.due for now in found.values() if now.due is not None), default=None)

    async def _end_carried(self, kept: Passages) -> None:
        for operation, (outcome, message) in kept.carried.items():
            await self._state.end_operation(operation, outcome, message, self._wall())

    # What is so

    def _is_deaf(self, fleet: Fleet) -> bool:
        """Whether a cluster under way was not heard of since this process began, for a minute at most.

        Until then what an earlier process knew is neither believed nor dropped, and no time counts (R24).
        """
        if not self._born_at or self._clock() - self._born >= DEAF_SECONDS:
            return False
        under_way = (row for one in self._kept.all if not one.outcome for row in one.rows.values() if not row.done)
        heard = {
            name
            for name, report in self._view.clusters.items()
            if report.at >= self._born_at and (report.reachable or report.reason)  # else it is still connecting
        }
        return any(name in fleet.clusters and name not in heard for row in under_way for name in row.targets)

    def _known(self, fleet: Fleet, wall: float) -> tuple[Passages, Mapping[OverlayName, RowFacts]]:
        """All rows in line with the newest results, and what is known of the units of each."""
        groups = self._groups(fleet)
        kept = self._taken_over(fleet, groups, wall)
        facts = {name: self._facts_of(fleet, groups[name], kept) for name in open_rows(kept) if name in groups}
        return kept, facts

    def _groups(self, fleet: Fleet) -> dict[OverlayName, list[Unit]]:
        """The units of overlays that wait or are under way."""
        waiting = {name for name in self._board.waiting() if self._board.waits(name)}
        concerned = {name.overlay for name in waiting} | open_rows(self._kept)
        groups: dict[OverlayName, list[Unit]] = {}
        if concerned:
            for name, unit in fleet.units.items():
                if name.overlay in concerned:
                    groups.setdefault(name.overlay, []).append(unit)
        return groups

    def _is_rendering(self, units: Iterable[Unit]) -> bool:
        return any(unit.name in self._view.rendering or unit.name not in self._board.results for unit in units)

    def _taken_over(self, fleet: Fleet, groups: Mapping[OverlayName, list[Unit]], wall: float) -> Passages:
        kept, held = self._kept, self._board.held()
        gone = [
            overlay
            for overlay in open_rows(kept)
            if not fleet.unknown.covers(UnitName(overlay, ClusterName("")))
            and not any(name.overlay == overlay for name in fleet.unknown.units)
            and not any(goes_by_steps(unit) for unit in groups.get(overlay, ()))
        ]
        kept = drop_rows(kept, gone, wall)
        for overlay, units in groups.items():
            if self._is_rendering(units):
                continue
            wanted = {
                unit.name.cluster: Wanted(result, held.get(unit.name))
                for unit in units
                if goes_by_steps(unit) and isinstance(result := self._board.results.get(unit.name), Rendered)
            }
            kept = take_over(kept, overlay, wanted, fleet.commit, wall)
        return kept

    def _facts_of(self, fleet: Fleet, units: list[Unit], kept: Passages) -> RowFacts:
        """Facts of one overlay; units: all of it."""
        first = units[0].overlay
        steps = {unit.name.cluster: unit for unit in units if goes_by_steps(unit)}
        clusters = {name: unit.cluster for name, unit in steps.items()}
        policy = first.rollout
        among = clusters if policy.own_steps else fleet.clusters
        empty = steps_without_clusters(policy, among.values())
        now, quarantine = self._wall(), kept.quarantine.get(first.name, {})
        return RowFacts(
            stages=stages_of(policy, clusters, fleet.environments).stages,
            units={
                name: fact_of(
                    unit,
                    result=self._board.results.get(unit.name),
                    held=self._board.released_of(unit.name),
                    report=self._view.units.get(unit.name),
                    cluster=self._view.clusters.get(name),
                    suspensions=self._board.suspensions_of(unit),
                    quarantine=quarantine,
                    behind=self._behind(unit, fleet),
                    now=now,
                )
                for name, unit in steps.items()
            },
            patience_seconds=policy.health_timeout_seconds,
            on_failure=policy.on_failure,
            broken={step.name: f"it matches no cluster ({step.origin})" for step in empty},
        )

    def _with_readings(self, passage: Passage, facts: Mapping[OverlayName, RowFacts]) -> Mapping[OverlayName, RowFacts]:
        """The facts with what the gates of this commit read last."""
        return {
            name: replace(facts[name], readings=self._gates.readings(passage.commit, name))
            for name in passage.rows
            if name in facts
        }

    def _behind(self, unit: Unit, fleet: Fleet) -> str:
        if unit.overlay.state is OverlayState.ABSENT:
            return ""  # it goes before what it depends on, which its worker sees to
        for other in unit.overlay.depends_on:
            name = UnitName(other, unit.name.cluster)
            if name in fleet.units and self._board.waits(name):
                return str(name)
        return ""

    # What follows

    async def _carry_out(self, order: RolloutOrder, fleet: Fleet) -> None:
        """One person's order; it ends once, as done or refused (V5), and is carried out once, whoever is killed."""
        kept, facts = self._known(fleet, self._wall())
        done = carry_out(order, kept, facts, self._board.held(), self._wall())
        if where := barred_again(kept.quarantine, done.kept.quarantine, self._view.units.values()):
            message = f"{where} bars it still, and waits for a recovery: confirm that first (fleet recover)"
            done = Done(kept, "refused", message)
        if done.kept == kept:
            await self._state.end_operation(order.operation, done.outcome, done.message, self._wall())
        else:
            ended = {order.operation: (done.outcome, done.message)}
            after = replace(done.kept, carried={**done.kept.carried, **ended})
            begun = _news(self._kept, kept, {}, Outlook(facts))
            told = self._events([*begun, (f"{done.message} ({order.actor})", Revision(done.commit))])
            await self._board.let({}, after, self._values(after), told, done.back)
            self._kept = after
            self._bells.news.ring()

    def _with_before(self, now: Advance) -> Passage:
        """Each release remembers what the unit held before, to go back to."""
        rows, held = dict(now.passage.rows), self._board.held()
        for unit in now.releases:
            row = rows[unit.overlay]
            if unit in held and unit.cluster not in row.before:
                rows[unit.overlay] = replace(row, before={**row.before, unit.cluster: held[unit]})
        return replace(now.passage, rows=rows)

    def _ahead(
        self, kept: Passages, operations: Sequence[OperationRow], fleet: Fleet
    ) -> tuple[Passages, Mapping[UnitName, OperationRow]]:
        """Units that a person lets go ahead of their step; their rollout judges them as what it released itself."""
        ahead: dict[UnitName, OperationRow] = {}
        held = self._board.held()
        for row in (each for each in operations if each.kind == "sync" and each.override):
            try:
                unit = UnitName.parse(row.target)
            except ValueError:
                continue  # refused where syncs are carried out
            if unit not in fleet.units or row.requested_at > self._view.head.tried_at:
                continue
            if not self._is_rendering([fleet.units[unit]]):
                kept = bind(kept, row, unit, self._board)
            found = override_of(row, operations, unit, fleet, self._board, kept, self._wall())
            if found.way is not Way.RELEASE:
                continue
            after = with_release(kept, unit, self._board.waiting()[unit], held.get(unit), self._now())
            if after is not kept:  # else no rollout has it yet, and none could take it back: the next look may
                kept, ahead[unit] = after, row
        return kept, ahead

    async def _keep(
        self,
        kept: Passages,
        found: Mapping[Revision, Advance],
        back: Mapping[UnitName, Rendered],
        outlook: Outlook,
        ahead: Mapping[UnitName, OperationRow],
    ) -> None:
        releases = {
            unit: Rendered(Digest(now.passage.rows[unit.overlay].targets[unit.cluster]), commit)
            for commit, now in found.items()
            for unit in now.releases
        }
        releases |= {unit: self._board.waiting()[unit] for unit in ahead}
        free = self._free(kept)
        before = self._kept
        if kept != before or releases or free:
            told = self._events([*_news(before, kept, found, outlook), *_overrides(ahead, releases)])
            courses = self._histories.added(before, kept, outlook.facts)
            await self._board.let({**releases, **free}, kept, self._values(kept) | values_of(courses), told, back)
            self._histories.known |= courses
            self._kept = kept
            if ahead or kept.overrides != before.overrides:
                self._bells.orders.set()  # their syncs go to the workers now
            self._bells.news.ring()
        elif open_rows(kept) and self._now() - self._clock_kept >= CLOCK_SECONDS:
            await self._state.set_value(CLOCK, repr(self._now()))
            self._clock_kept = self._now()

    def _free(self, kept: Passages) -> Mapping[UnitName, Rendered]:
        """What waits for no step any more: its overlay goes at once now, it is new, or its cluster has it already.

        Never what was taken back; and where nothing is written or a person syncs, what waits is not held until then.
        """
        free: dict[UnitName, Rendered] = {}
        held, fleet = self._board.held(), self._view.fleet
        for name, result in self._board.waiting().items():
            unit = fleet.units.get(name) if fleet is not None else None
            if unit is None or goes_by_steps(unit) or result.bundle in kept.quarantine.get(name.overlay, ()):
                continue
            report = self._view.units.get(name)
            is_there = report is not None and report.bundle == result.bundle
            if is_at_once(unit.overlay.rollout) or name not in held or is_there:
                free[name] = result
        return free

    def _values(self, kept: Passages) -> dict[str, str]:
        self._clock_kept = self._now()
        return {ROLLOUTS: encode_passages(kept), CLOCK: repr(self._clock_kept)}

    def _events(self, news: Iterable[tuple[str, Revision]]) -> list[Event]:
        events = [Event(self._wall(), EventKind.NOTE, ClusterName(""), None, text, commit) for text, commit in news]
        for event in events:
            log.info(event.message, commit=event.commit)
        return events

    def _show(self, kept: Passages, found: Mapping[Revision, Advance], outlook: Outlook) -> None:
        waits: dict[UnitName, Blocker] = {}
        for commit, now in found.items():
            scope, describe = f"rollout {short(commit)}", f"fleet describe rollout {short(commit)}"
            for unit, why in now.waits.items():
                earlier = self._view.waits.get(unit)
                since = earlier.since if earlier is not None and earlier.reason == why else self._wall()
                waits[unit] = Blocker(Standing.WAITS, scope, why, since, "", describe)
            halted = now.passage.halted
            if halted is not None and halted.unit is not None:
                why = f"halted the rollout of {short(commit)}: {halted.reason}"
                waits[halted.unit] = Blocker(Standing.HALTED, scope, why, halted.since, "", describe)
        for unit, result in self._board.waiting().items():
            entry = kept.quarantine.get(unit.overlay, {}).get(result.bundle)
            if entry is not None:
                commit, stop = short(entry.commit), entry.stop
                why = f"{commit} was taken back by {stop.by}: {stop.reason}"
                resume = f'fleet rollout resume {commit} --reason "..."'
                waits[unit] = Blocker(Standing.HALTED, f"rollout {commit}", why, stop.since, "", resume)
        self._view.passages, self._view.advances, self._view.waits = kept, found, waits
        self._view.outlook = outlook
        self._view.version += 1


def _order_of(row: OperationRow) -> RolloutOrder | None:
    kind = row.kind.removeprefix(PREFIX)
    if not row.kind.startswith(PREFIX) or kind not in KINDS:
        return None
    return RolloutOrder(row.id, kind, row.target, row.actor, row.reason)


def _news(
    before: Passages, after: Passages, found: Mapping[Revision, Advance], outlook: Outlook
) -> Iterable[tuple[str, Revision]]:
    """What is worth a line in the timeline."""
    known = {passage.commit: passage for passage in before.all}
    for passage in after.all:
        earlier, name = known.get(passage.commit), short(passage.commit)
        if passage is earlier:
            continue
        if earlier is None or (earlier.outcome and not passage.outcome):
            yield f"rollout of {name} begins: {', '.join(sorted(passage.rows))}", passage.commit
        for overlay, row in passage.rows.items():
            had = earlier.rows.get(overlay) if earlier is not None else None
            yield from ((text, passage.commit) for text in gate_news(f"{overlay} {name}", had, row))
            for step in sorted(row.passed - (had.passed if had is not None else frozenset())):
                yield f"{overlay} {name}: step {step} is over", passage.commit
        yield from _begun(earlier, passage, outlook)
        now = found.get(passage.commit)
        if now is not None:
            yield from ((text, passage.commit) for text in _releases(now))
        if passage.halted is not None and (earlier is None or earlier.halted is None):
            at = f" at {passage.halted.unit or passage.halted.place}" if passage.halted.place else ""
            yield f"rollout of {name} halted{at}: {passage.halted.reason}", passage.commit
        if passage.outcome and (earlier is None or not earlier.outcome):
            why = f" by {passage.ended.by}: {passage.ended.reason}" if passage.ended is not None else ""
            yield f"rollout of {name} {passage.outcome}{why}", passage.commit


def _begun(earlier: Passage | None, passage: Passage, outlook: Outlook) -> Iterable[tuple[str, Revision]]:
    """Steps whose turn has come, with the forecast of their commit at that moment."""
    begun = [
        f"{overlay} {short(passage.commit)}: step {step} begins"
        for overlay, row in sorted(passage.rows.items())
        for step in row.opened
        if earlier is None or overlay not in earlier.rows or step not in earlier.rows[overlay].opened
    ]
    if begun and not passage.outcome:
        found = forecast(passage, outlook.facts, outlook.courses, outlook.clock)
        ends = f"; {said(found)}" if found.low is not None else ""
        yield from ((text + ends, passage.commit) for text in begun)


def _overrides(
    ahead: Mapping[UnitName, OperationRow], releases: Mapping[UnitName, Rendered]
) -> Iterable[tuple[str, Revision]]:
    for unit, row in ahead.items():
        commit = releases[unit].commit
        yield f"{unit} goes to {short(commit)} ahead of its step, by {row.actor}: {row.reason}", commit


def _releases(now: Advance) -> Iterable[str]:
    by_overlay: dict[OverlayName, list[str]] = {}
    for unit in now.releases:
        by_overlay.setdefault(unit.overlay, []).append(str(unit.cluster))
    for overlay, clusters in by_overlay.items():
        more = f" and {len(clusters) - NAMED} more" if len(clusters) > NAMED else ""
        yield f"{overlay} {short(now.passage.commit)} goes to {', '.join(clusters[:NAMED])}{more}"
