"""Overrides as they stand in the state: an operation that asks, and one more for each person who approves it.

The loop of rollouts binds each one to the result that is the newest once the fetch after it is over; nothing is
released, and nobody can approve it, before that is durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.controllers.board import Board
from fleet.core.fleet import Fleet
from fleet.core.ids import Digest, Revision, UnitName, short
from fleet.core.overrides import OVERRIDE_SECONDS, Override, judge_override, named
from fleet.core.passage import Passages
from fleet.core.results import Rendered, RenderProblem
from fleet.core.status import Standing
from fleet.ports.state import OperationRow

APPROVE_KIND = "approve-override"  # target: the operation that it approves


_NOTHING = Rendered(Digest(""), Revision(""))


def bind(kept: Passages, row: OperationRow, unit: UnitName, board: Board) -> Passages:
    """Bind an override to the newest result of its unit, once; all of this commit are to be rendered."""
    if row.id in kept.overrides:
        return kept
    return replace(kept, overrides={**kept.overrides, row.id: _brought(unit, board)})


def _brought(unit: UnitName, board: Board) -> Rendered:
    """What a sync of this unit would bring now."""
    books = board.books
    if books.is_by_hand(unit):
        return books.shown[unit].result
    return books.waiting.get(unit) or books.held.get(unit) or _NOTHING


def override_of(
    row: OperationRow,
    every: Iterable[OperationRow],
    unit: UnitName,
    fleet: Fleet,
    board: Board,
    kept: Passages,
    now: float,
) -> Override:
    """What becomes of an override now. every: all open operations; kept: all rollouts; now: wall clock."""
    bound, newest = kept.overrides.get(row.id), _brought(unit, board)
    refused = _refused(row, unit, board, kept)
    if bound is not None and not bound.bundle:
        refused = _why_nothing(unit, board)
    if stops := board.standing.suspensions_of(fleet.units[unit]):
        refused = refused or f"suspended: {stops[0].reason}"
    if bound is not None and bound.bundle != newest.bundle:
        refused = f"it was asked for with {named(bound)}, and {named(newest)} is the newest now; ask anew"
    if now - row.requested_at >= OVERRIDE_SECONDS:
        refused = f"it had no effect within {OVERRIDE_SECONDS / 3600:.0f} h; ask anew"
    return judge_override(
        actor=row.actor,
        approved_by=[each.actor for each in every if each.kind == APPROVE_KIND and each.target == row.id],
        needed=fleet.override_approvals,
        waits=board.books.waits(unit),
        is_bound=bound is not None,
        refused=refused,
    )


def _why_nothing(unit: UnitName, board: Board) -> str:
    """Why there is nothing that an override of a unit could bring, now or when it was bound: in words, for a person."""
    match board.books.results.get(unit):
        case RenderProblem(reason=reason, message=message):
            return f"{Standing.WAITS.value}: {reason}: {message}"
        case _:
            return f"{unit} had no result that it could bring when it was asked for; ask anew"


def _refused(row: OperationRow, unit: UnitName, board: Board, kept: Passages) -> str:
    """Why what waits for its step does not go ahead of it."""
    if not board.books.waits(unit):
        return ""
    if board.books.is_barred(unit, board.books.waiting[unit]):
        return "its newest result was taken back; an override does not bring it: fleet rollout resume"
    for passage in kept.all:
        if passage.outcome or unit.overlay not in passage.rows:
            continue
        for stop in (passage.halted, passage.paused):
            if stop is not None and stop.since > row.requested_at:  # who asks after that knows of it
                why = f"was stopped after it was asked for: {stop.reason}; ask anew"
                return f"the rollout of {short(passage.commit)} {why}"
    return ""


def orphans_of(every: Sequence[OperationRow]) -> tuple[OperationRow, ...]:
    """Approvals whose operation has ended: they end with it."""
    still: Mapping[str, OperationRow] = {row.id: row for row in every if row.kind == "sync"}
    return tuple(row for row in every if row.kind == APPROVE_KIND and row.target not in still)
