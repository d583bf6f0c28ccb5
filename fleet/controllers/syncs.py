"""Syncs that people asked for: for how long one is carried out, and which go on amid a commit."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.controllers.board import Board
from fleet.core.ids import UnitName
from fleet.core.overrides import OVERRIDE_SECONDS
from fleet.core.view import View
from fleet.ports.state import OperationRow

SYNC_SECONDS = 3600.0  # what a cluster that cannot be reached was to do by the newest commit of then


def unit_of(row: OperationRow) -> UnitName | None:
    """The unit that a sync is for; None where its target names none."""
    try:
        return UnitName.parse(row.target)
    except ValueError:
        return None


def why_lapsed(row: OperationRow, unit: UnitName, board: Board, view: View, now: float) -> str:
    """Why a sync is not carried out any more: whoever asked for it knows nothing of the commits that came since.

    One that its cluster was told of, or that goes on there as far as its unit says, may be amid its waves or hooks,
    and has until its day is over, as an override has; not where the cluster has been lost for as long as that hour.
    """
    report = view.units.get(unit)
    told = any(request.operation == row.id for request in board.standing.requests)
    goes_on = report is not None and report.reason in ("HookRuns", "WaveWaits")
    is_lost = now - view.seen_at(unit.cluster) >= SYNC_SECONDS
    limit = OVERRIDE_SECONDS if (told or goes_on) and not is_lost else SYNC_SECONDS
    if now - row.requested_at < limit:
        return ""
    why = f": cluster {unit.cluster} could not be told in that time" if is_lost else ""
    return f"it had no effect within {limit / 3600:.0f} h{why}; ask anew for what is the newest now: fleet sync {unit}"


def goes_on(rows: Iterable[OperationRow], unit: UnitName, board: Board, view: View, now: float) -> bool:
    """Whether a sync brings a unit what it was shown last, as far as is known, though the unit goes by itself now.

    rows: open operations, so none that is over; now: wall clock.
    """
    operation = board.books.shown[unit].operation
    row = next((row for row in rows if operation and row.id == operation), None)
    if row is None:
        return False
    return now - row.requested_at < OVERRIDE_SECONDS if row.override else not why_lapsed(row, unit, board, view, now)
