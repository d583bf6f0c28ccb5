"""Overrides as they stand in the state: an operation that asks, and one more for each person who approves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleet.controllers.board import Board
from fleet.core.fleet import Fleet
from fleet.core.ids import UnitName
from fleet.core.overrides import Override, judge_override
from fleet.core.release import Rendered
from fleet.ports.state import OperationRow

APPROVE_KIND = "approve-override"  # target: the operation that it approves


def override_of(
    row: OperationRow, every: Iterable[OperationRow], unit: UnitName, fleet: Fleet, board: Board
) -> Override:
    """What becomes of an override now. every: all open operations."""
    result, entry = board.results.get(unit), fleet.units[unit]
    barred = ""
    if isinstance(result, Rendered) and board.is_barred(unit, result):
        barred = "its newest result was taken back; an override does not bring it: fleet rollout resume"
    stops = board.suspensions_of(entry)
    return judge_override(
        actor=row.actor,
        approved_by=[each.actor for each in every if each.kind == APPROVE_KIND and each.target == row.id],
        needed=fleet.override_approvals,
        waits=board.waits(unit),
        barred=barred if board.waits(unit) else "",
        stopped=f"suspended: {stops[0].reason}" if stops else "",
    )


def orphans_of(every: Sequence[OperationRow]) -> tuple[OperationRow, ...]:
    """Approvals whose operation has ended: they end with it."""
    still: Mapping[str, OperationRow] = {row.id: row for row in every if row.kind == "sync"}
    return tuple(row for row in every if row.kind == APPROVE_KIND and row.target not in still)
