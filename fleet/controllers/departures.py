"""What leaves the fleet, unit by unit: why it is not let go yet, its wipe, and its end (R13, R16, R42).

Which units leave stands in the roster; here is when a worker may be told to let go of one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from fleet.controllers.books import Books
from fleet.controllers.deletions import Deletions
from fleet.controllers.publishing import Publisher
from fleet.controllers.roster import Roster
from fleet.core.fleet import Fleet, Mode
from fleet.core.ids import UnitName
from fleet.core.release import units_that_left
from fleet.core.status import asks_recovery
from fleet.core.view import View
from fleet.errors import StateDamaged
from fleet.ports.state import State


class Departures:
    """One instance per hub."""

    def __init__(
        self, state: State, view: View, books: Books, roster: Roster, deletions: Deletions, publisher: Publisher
    ) -> None:
        self._state, self._view, self._books = state, view, books
        self._roster, self._deletions, self._publisher = roster, deletions, publisher
        self._waits: dict[UnitName, str] = {}

    def find(self, fleet: Fleet, unordered: Iterable[UnitName]) -> bool:
        """Note what workers hold and no order names: Git dropped it, and the hub that knew it is lost (R13).

        It leaves as what a commit drops does; its worker lets go of nothing before a person confirmed what was found
        (R24). Not where nothing is written: an entry that is managed later is found then. Whether there is any.
        """
        found = self._unknown(fleet, unordered)
        if not found:
            return False
        overlays = {name.overlay for name in found}
        alike = {name for each in self._view.clusters.values() for name in each.unordered if name.overlay in overlays}
        asking = {report.unit for report in self._view.units.values() if report.unit.overlay in overlays}
        asking = {name for name in asking if asks_recovery(self._view.units[name])}
        self._books.dirty |= self._roster.find(fleet, found, units_that_left(alike | asking, fleet))
        return True

    def _unknown(self, fleet: Fleet, unordered: Iterable[UnitName]) -> frozenset[UnitName]:
        """Those of which this hub knows nothing, where it writes."""
        entries = {**self._roster.leaving.clusters, **fleet.clusters}
        held = (name for name in unordered if name not in fleet.units and name.cluster in entries)
        managed = (name for name in held if entries[name.cluster].mode is Mode.MANAGE)
        return units_that_left(managed, fleet) - self._roster.leaving.units.keys()

    def waits(self, unit: UnitName) -> str:
        """Why a unit is not let go yet, "" where it may go."""
        return self._waits.get(unit, "")

    def look_again(self) -> None:
        """What leaves is judged anew with the next publish: more, or less, is known of what may take its objects."""
        self._books.dirty |= self._roster.leaving.units.keys()

    def look_beside(self, units: Iterable[UnitName]) -> None:
        """Something else is known or released on the clusters of these: what leaves there may be let go now."""
        if self._waits:
            clusters = {name.cluster for name in units}
            self._books.dirty |= {name for name, waits in self._waits.items() if waits and name.cluster in clusters}

    async def look_at(self, name: UnitName, fleet: Fleet) -> None:
        """Whether a unit that left may be let go: not before all is known and told that may take its objects (R16).

        Nor while it cannot be read whether Git wants it again (R5).
        """
        if (problem := fleet.unknown.covers(name)) is not None:
            words = f"whether it is back cannot be read: {problem.reason} ({problem.origin})"
            self._waits[name] = f"it left the repo; {words}"
            return
        waiting = self._books.waiting_on(name.cluster, fleet)
        try:
            known = self._books.known(fleet, self._view.rendering, {}, {}, self._view.passages.quarantine)
            waits = await self._deletions.leaving_waits(name, known, waiting)
        except StateDamaged as error:
            waits = f"it left the repo; what moves of it is not known: {error.brief}"
        self._waits[name] = waits

    def wipe(self, asked: Mapping[UnitName, str], over: Container[UnitName]) -> None:
        """Have what leaving units own deleted before they are let go; asked: by whose word, over: where it is done.

        `Board.publish` makes it durable before a worker hears of it.
        """
        self._books.dirty |= self._roster.wipe(asked, over)

    async def end(self, unit: UnitName) -> None:
        """A worker confirmed that it let go of a unit; of one that came back meanwhile it is told anew."""
        if self._view.fleet is not None and unit in self._view.fleet.units:
            self._publisher.dirty.add(unit.cluster)
            return
        async with self._books.changing:
            await self._state.put_released((), gone=(unit,))
            self._roster.let_go(unit)
            self._books.drop(unit)
            self._waits.pop(unit, None)
        self._publisher.drop(unit)
