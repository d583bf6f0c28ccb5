"""Syncs that people asked for: for how long one is carried out, and which go on amid a commit."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.controllers.board import Board
from fleet.controllers.overrides import override_of
from fleet.core.fleet import Fleet, Mode
from fleet.core.ids import UnitName
from fleet.core.overrides import OVERRIDE_SECONDS, Way
from fleet.core.results import Rendered
from fleet.core.steps import goes_by_itself
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


def synced_amid(
    rows: Sequence[OperationRow], fleet: Fleet, board: Board, view: View, now: float
) -> dict[UnitName, Rendered]:
    """What syncs bring that go on as far as is known, to units that go by themselves by this commit.

    rows: all open operations, so none that is over since the orders were read; now: wall clock. Which of them clusters
    were told of a hub that begins does not know before its first fetch is over: any that is carried out still may be.
    """
    before, books, found = view.fleet, board.books, dict[UnitName, Rendered]()
    told = {request.operation: request for request in board.standing.requests}
    for row in rows:
        name, request = unit_of(row), told.get(row.id)
        if before is None or name is None or row.kind != "sync" or not books.is_shown_only(name):
            continue
        unit, was = fleet.units.get(name), before.units.get(name)
        if unit is None or was is None or not goes_by_itself(unit) or was.cluster.mode is not Mode.MANAGE:
            continue
        if request is not None:  # an override is for one result alone, and a newer one may have come
            goes_on = not request.override or request.bundle == books.waiting[name].bundle
        elif view.head.fetches_over:
            goes_on = False
        elif row.override:
            goes_on = override_of(row, rows, name, before, board, view.passages, now).way is Way.SYNC
        else:
            goes_on = not why_lapsed(row, name, board, view, now)
        if goes_on:
            found[name] = books.waiting[name]
    return found
