"""Which result each unit may have: judged first, then written down, then in the books, and told last (R9, R22).

A result that waits for its step or for a person is let go by a rollout (`let`), or found where it is (`believe`).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import replace

from fleet.controllers.board import Board
from fleet.controllers.handovers import NOBODY, Handed, handed_over
from fleet.controllers.rollout_store import read_rollouts
from fleet.controllers.rollout_store import values_of as rollout_values
from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.passage import Passages
from fleet.core.proven import Guidebook
from fleet.core.quarantine import with_found, with_known, with_other_inputs
from fleet.core.results import Rendered, Result
from fleet.core.status import Event, asks_recovery
from fleet.core.steps import goes_by_itself
from fleet.core.view import View
from fleet.ports.state import ReleasedBundle, State


class Releases:
    """One instance per hub. Results are given to `release` by one task; all else is called by any."""

    def __init__(self, state: State, view: View, board: Board) -> None:
        self._state, self._view, self._board = state, view, board
        self._books, self._deletions = board.books, board.deletions
        self._rejected = frozenset[tuple[str, float]]()  # rejections of which that was looked at

    async def release(self, results: Mapping[UnitName, Result], back: Mapping[UnitName, Result] | None = None) -> None:
        """Take results of one overlay or more: judge their deletions, write them down, publish.

        Those of units that go by steps, and what was taken back, wait until `let` is called for them. What other units
        dropped and these might have taken is judged again. back: earlier results that units hold again, and take by.
        """
        async with self._books.changing:
            await self._take(results, back or {})
        await self._board.publish()  # not before: what is about to be shown is noted first, as a change of its own

    async def _take(self, results: Mapping[UnitName, Result], back: Mapping[UnitName, Result]) -> None:
        books = self._books
        building = self._view.rendering - results.keys()
        same = {name: result for name, result in results.items() if books.results.get(name) == result}
        await self._bar_again(same, results)
        fresh = {name: books.results[name] for name in books.unjudged & books.results.keys()}
        fresh |= {name: result for name, result in results.items() if books.results.get(name) != result}
        waiting = {
            name: result
            for name, result in fresh.items()
            if isinstance(result, Rendered) and books.must_wait(name, result)
        }
        # What waits for its step is judged when that comes, by what earlier steps have proven then.
        now = {name: fresh[name] for name in fresh if name not in waiting or not books.is_withheld(name, waiting[name])}
        gone = books.unfounded(waiting, self._view.passages)
        again = await self._to_judge(building, fresh, now, {**fresh, **back})
        again = {name: told for name, told in again.items() if name not in gone}
        if not fresh and not again:
            self._board.built(results.keys())
            return
        coming = {**{name: books.results[name] for name in again if name in books.results}, **fresh}
        # What was permitted for what a unit is told stays so: a newer commit that only waits asks nobody about it.
        given = {name: books.permits.get(name) if name in fresh else books.permits_of(name) for name in again}
        given |= {name: books.permits.get(name) for name, result in now.items() if books.holds(name, result)}
        given = {name: refs for name, refs in given.items() if refs}
        permits = await self._permits_of({**again, **now}, self._view.passages, building, coming, given, waiting)
        rows = [
            ReleasedBundle(name, result.commit, result.bundle)
            for name, result in fresh.items()
            if isinstance(result, Rendered) and name not in waiting
        ]
        if rows or gone or self._deletions.values():
            await self._state.put_released(rows, gone=tuple(gone), values=self._deletions.values())
            self._deletions.saved()
        books.hold_nothing(gone)
        books.hold({row.unit: Rendered(row.bundle, row.commit) for row in rows})
        for name, result in fresh.items():
            books.waiting.pop(name, None)
            if name in now and isinstance(result, Rendered):
                to_whom = books.permits_to_come if name in waiting else books.permits
                to_whom[name] = permits.get(name, frozenset())
            else:
                books.permits_to_come.pop(name, None)  # what it holds goes on, with what that may delete
        books.waiting.update(waiting)
        for name in again:
            to_whom = books.permits_to_come if books.is_shown_only(name) else books.permits
            to_whom[name] = permits.get(name, frozenset())
        books.results.update(fresh)
        self._board.built(results.keys())
        books.unjudged.clear()
        books.dirty |= {*fresh, *again}
        self._board.departures.look_beside(results)

    async def _bar_again(self, same: Mapping[UnitName, Result], results: Mapping[UnitName, Result]) -> None:
        """What was taken back stays barred, before it is asked what of these results may be held.

        same: those that stay, and may be made from other files by now: by those too. Others may be what a cluster gets
        that was confirmed while that was not known.
        """
        books, seen = self._books, self._view.passages
        kept = with_known(with_other_inputs(seen, books.results, same), results)
        if kept is not seen:
            await self._state.put_released((), values=rollout_values(kept, seen))
            books.bar(kept)
        books.results.update(same)

    async def settle(self) -> None:
        """A commit is known as a whole: what waited for other units to be known is judged again, and published.

        So is what may go by what a unit is told again, as it goes by itself now and its newest result waits.
        """
        await self.hand_over()
        self._board.departures.look_again()
        self._books.unjudged |= self._books.unsettled()
        await self.release({})
        await self._board.publish()

    async def reject(self, holds: Mapping[tuple[str, float], OverlayName]) -> None:
        """Judge again what overlays may delete of which a person rejected a hold; by its id and when, all there are.

        Other clusters of the overlay may have been permitted the same deletion, and not have done it yet.
        """
        new = {overlay for hold, overlay in holds.items() if hold not in self._rejected}
        self._rejected = frozenset(holds)
        if new:
            self._books.unjudged |= {name for name in self._books.pending() if name.overlay in new}
            await self.release({})

    async def let(
        self,
        units: Mapping[UnitName, Rendered],
        seen: Passages,
        kept: Passages,
        values: Mapping[str, str],
        events: Sequence[Event] = (),
        back: Mapping[UnitName, Rendered] | None = None,
        handed: Handed = NOBODY,
    ) -> bool:
        """Release what waits, as a rollout says, durable together with `kept`, `values`, `events`; then publish.

        seen: all rollouts as they were looked at; kept: as they are from now on. False, and nothing was done, where
        they are not as seen any more (a cluster got another name meanwhile).

        A result that is not the unit's newest any more is passed over: its rollout looks again. back: what units held
        before and shall hold again; their newest results wait then, and deletions are judged as ever (R9). handed:
        units that were by hand until now; those of them that shall hold something are among the others.
        """
        books = self._books
        async with books.changing:
            if self._view.passages is not seen:
                return False
            chosen = {
                name: bundle
                for name, bundle in units.items()
                if name in books.waiting and books.waiting[name].bundle == bundle.bundle
            }
            back = {name: bundle for name, bundle in (back or {}).items() if name in books.held or name in books.shown}
            both = {**chosen, **back}
            coming = {name: books.results[name] for name in both if name in books.results}
            permits = await self._permits_of(both, kept, self._view.rendering, coming)
            rows = [ReleasedBundle(name, bundle.commit, bundle.bundle) for name, bundle in both.items()]
            newest = {**books.held, **books.waiting} if kept is not seen else {}
            gone = (books.unfounded(newest, kept) | handed.empty) - both.keys()
            over = {name: replace(books.shown[name], is_over=True) for name in handed.over if books.is_by_hand(name)}
            over = {name: one for name, one in over.items() if name not in handed.begin}
            every = {**rollout_values(kept, seen), **values, **self._deletions.values()}
            await self._state.put_released(rows, gone=tuple(gone), values=every, events=events, shown=over)
            self._deletions.saved()
            others = books.waiting if kept is not seen else {}  # rollouts change what is so of them, nothing else does
            # What shall come again by a person's word keeps what is in it, also where that may go by what is held.
            let_in = {
                name
                for name, result in others.items()
                if name in books.permits
                if books.is_barred(name, result, seen.quarantine) and not books.is_barred(name, result, kept.quarantine)
            }
            books.bar(kept)
            books.hold_nothing(gone)
            books.hold(both)
            books.shown.update(over)
            books.unjudged |= let_in | books.unsettled()
            books.dirty |= {*both, *over, *(name for name in others if not books.goes_by_steps(name))}
            for name in chosen:
                books.waiting.pop(name, None)  # it may have left the repo meanwhile
                books.permits_to_come.pop(name, None)
                books.permits[name] = permits.get(name, frozenset())
            for name in back:
                books.permits[name] = permits.get(name, frozenset())
                result = books.results.get(name)
                if isinstance(result, Rendered) and result.bundle != back[name].bundle:
                    books.waiting[name] = result
                else:
                    books.waiting.pop(name, None)
            self._board.departures.look_beside(both)
        if back or books.unjudged or self._deletions.waits_on({name.cluster for name in both}):
            await self.release({}, back)  # what stays by a result that is none any more, and what goes that is back
        await self._board.publish()
        return True

    async def synced(self, name: UnitName) -> None:
        """A person's sync was carried out: the unit holds what it has by its report, also where a commit overtook it.

        Nothing is so of a unit that goes by itself, and nothing comes back that was taken back. What is held changes
        meanwhile, and rollouts do: it is looked at until it is so. Raises StateError.
        """
        books, is_let = self._books, False
        while not is_let and (has := self._synced_to(name)) is not None:
            seen, waiting = self._view.passages, books.waiting.get(name)
            if waiting is not None and waiting.bundle == has.bundle:
                await self.let({name: waiting}, seen, seen, {})
            else:
                is_let = await self.let({}, seen, seen, {}, back={name: has})

    def _synced_to(self, name: UnitName) -> Rendered | None:
        """What a unit that a person syncs has by its report and does not hold yet; None: there is nothing to note."""
        fleet, report = self._view.fleet, self._view.units.get(name)
        unit = fleet.units.get(name) if fleet is not None else None
        if unit is None or goes_by_itself(unit) or report is None or report.bundle is None:
            return None
        has = Rendered(report.bundle, report.commit)
        known = self._books.results.get(name)
        if isinstance(known, Rendered) and known.bundle == has.bundle:
            has = known
        return None if self._books.holds(name, has) or self._books.is_barred(name, has) else has

    async def hand_over(self, units: Collection[UnitName] | None = None) -> None:
        """Units that go by themselves since a commit, and were told what they were shown, go on by what they have.

        What is held changes meanwhile, and rollouts do: it is looked at until it is so. Raises StateError. units: those
        to look at, None for all.
        """
        books = self._books
        while names := [name for name in (books.shown if units is None else units) if books.is_by_hand(name)]:
            is_asked = any(books.shown[name].operation for name in names)
            operations = await self._state.operations(open_only=True, limit=10_000) if is_asked else ()
            names = [name for name in names if books.is_by_hand(name)]
            seen = self._view.passages
            handed = handed_over(operations, self._board, self._view, self._board.wall(), names)
            if not handed.over:
                return
            chosen = {name: one for name, one in handed.begin.items() if books.waiting.get(name) == one}
            back = {name: one for name, one in handed.begin.items() if name not in chosen}
            await self.let(chosen, seen, seen, {}, back=back, handed=handed)

    async def take_rollouts(self) -> None:
        """Take over all rollouts as they are durable. Raises StateError."""
        async with self._books.changing:
            self._books.bar(await read_rollouts(self._state))

    async def believe(self, clusters: frozenset[ClusterName], values: Mapping[str, str], wall: float) -> None:
        """Units that wait for a recovery were told to hold what they hold (R24), durable together with `values`.

        A state from a backup may know older bundles, and what waits for its step would go back to them. What their
        parents bar is barred here from now on: a worker says it no more once it is confirmed. What is kept from a unit
        by others' parents is known once its result is: it is noted where a build failed, or goes on. wall: for people.
        """
        books = self._books
        async with books.changing:
            fleet = self._view.fleet
            kept = with_found(self._view.passages, self._view.units.values(), books.results, wall)
            unsure = {
                name
                for name, report in self._view.units.items()
                if name.cluster in clusters and asks_recovery(report) and fleet is not None and name in fleet.units
                if name in self._view.rendering or not isinstance(books.results.get(name), Rendered)
            }
            kept = kept if kept.unsure >= unsure else replace(kept, unsure=kept.unsure | unsure)
            found = {
                name: Rendered(report.bundle, report.commit)
                for name, report in self._view.units.items()
                if name.cluster in clusters and report.bundle is not None and asks_recovery(report)
                if name in books.held or (fleet is not None and name in fleet.units)
                if name in books.waiting
                or not isinstance(result := books.results.get(name), Rendered)
                or books.is_barred(name, result, kept.quarantine)
            }
            rows = [ReleasedBundle(name, held.commit, held.bundle) for name, held in found.items()]
            await self._state.put_released(rows, values={**values, **rollout_values(kept, self._view.passages)})
            books.bar(kept)
            books.hold(found)
            books.dirty |= set(found)
            for name, held in found.items():  # the first commit after a loss did not wait for anything
                result = books.results.get(name)
                if isinstance(result, Rendered) and result.bundle != held.bundle and books.is_barred(name, result):
                    books.waiting.setdefault(name, result)
            there = {
                name: held
                for name, held in found.items()
                if name in books.waiting and books.waiting[name].bundle == held.bundle
            }
            permits = await self._permits_of(there, self._view.passages, self._view.rendering)
            if self._deletions.values():
                await self._state.put_released((), values=self._deletions.values())
                self._deletions.saved()
            books.permits.update(permits)
            for name in there:
                books.waiting.pop(name, None)
                books.permits_to_come.pop(name, None)

    async def _to_judge(
        self,
        building: Collection[UnitName],
        fresh: Mapping[UnitName, Result],
        now: Container[UnitName],
        takers: Mapping[UnitName, Result],
    ) -> dict[UnitName, Result]:
        """What units hold of which is judged again what they may delete by it. takers: all that wants something now.

        Because their deletions waited for others that are known now; because something that may go is wanted again, by
        the unit's own new result or by another one; or because their new result waits, and no result before it was
        judged by this process.
        """
        books = self._books
        names = set(self._deletions.to_judge(building))
        pending = books.pending() if takers and books.held else {}
        names |= {name for name in fresh if name in books.held and (name not in books.permits or name in pending)}
        names |= await self._deletions.wanted_again(pending, takers)
        found = ((name, self._told(name, fresh)) for name in names if name not in now)
        return {name: told for name, told in found if isinstance(told, Rendered)}

    def _told(self, name: UnitName, fresh: Container[UnitName]) -> Result | None:
        """What a unit is told to have, where its result of this release waits: what it holds."""
        return self._books.held.get(name) if name in fresh else self._books.told(name)

    async def _permits_of(
        self,
        fresh: Mapping[UnitName, Result],
        kept: Passages,
        building: Collection[UnitName],
        coming: Mapping[UnitName, Result] | None = None,
        given: Mapping[UnitName, frozenset[ObjectRef]] | None = None,
        waiting: Container[UnitName] = (),
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """building: units that are not known at this commit; coming: results that are not taken over yet.

        given: permits that units have for what they are judged by again; waiting: units whose `coming` is not told yet.
        """
        fleet = self._view.fleet
        if fleet is None or not fresh:
            return {}
        coming = coming or {}
        shown = {name for name, result in fresh.items() if name in waiting and coming.get(name) == result}
        return await self._deletions.permits_of(
            fresh,
            self._books.known(fleet, building, coming, fresh, kept.quarantine, shown),
            limit_clusters=fleet.budget.clusters,
            guides=Guidebook(fleet, kept),
            given=given or {},
        )
