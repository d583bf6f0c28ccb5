"""Wipes that people asked for: from their operations to the board, and to their end (V5, R42)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.controllers.board import Board
from fleet.controllers.last_words import end
from fleet.core.fleet import Mode
from fleet.core.ids import UnitName
from fleet.core.leaving import Leave
from fleet.core.view import View
from fleet.core.wipe import WIPE, is_over, key_of, words_of
from fleet.ports.state import OperationRow, State


@dataclass(frozen=True, slots=True)
class Wipes:
    """Used by the loop of orders alone."""

    state: State
    board: Board
    view: View
    wall: Callable[[], float]

    async def look(self, operations: Sequence[OperationRow]) -> None:
        """End what is over or void, and tell the board of the rest. operations: all open ones."""
        leaving, asked = self.board.roster.leaving.units, dict[UnitName, str]()
        for row in operations:
            if row.kind != WIPE:
                continue
            unit = UnitName.parse(row.target)
            leave = leaving.get(unit)
            if leave is None or row.idempotency_key != key_of(unit, leave.commit):
                await end(self.state, row.id, "refused", self._why_void(unit), self.wall())
            elif leave.wiped or self._is_over(unit, leave):
                message = words_of(self.view.units.get(unit))
                await end(self.state, row.id, "done", message, self.wall())
            elif not leave.wipe and self._is_observed(unit):
                await end(self.state, row.id, "refused", "mode observe: nothing is written there", self.wall())
            else:
                asked.setdefault(unit, f"{row.id} by {row.actor}")
        over = {unit for unit, leave in leaving.items() if self._is_over(unit, leave)}
        self.board.departures.wipe(asked, frozenset(over))

    def _is_over(self, unit: UnitName, leave: Leave) -> bool:
        return bool(leave.wipe) and is_over(self.view.units.get(unit), leave.commit)

    def _is_observed(self, unit: UnitName) -> bool:
        entry = self.board.entries().get(unit.cluster)
        return entry is not None and entry.mode is Mode.OBSERVE

    def _why_void(self, unit: UnitName) -> str:
        fleet = self.view.fleet
        if fleet is not None and unit in fleet.units:
            return f"Git wants {unit} again: nothing of it is deleted any more"
        return f"{unit} does not leave by that commit any more: it was let go, came back meanwhile, or was renamed"
