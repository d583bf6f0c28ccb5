"""From a person's hand to going by itself: what units go on with that were told what they were shown until then.

What the books say a unit holds may be older than what it was shown last, or than what a person had synced: the report
of that may have been lost with a hub that was killed. So nothing is written before its cluster said what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.controllers.board import Board
from fleet.controllers.syncs import goes_on
from fleet.core.ids import UnitName
from fleet.core.results import Rendered
from fleet.core.status import asks_recovery
from fleet.core.view import View
from fleet.ports.state import OperationRow
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Handed:
    """Units of which is known what they go on with.

    begin: with what they shall hold from now on; empty: those that hold nothing from now on; over: all.
    """

    begin: dict[UnitName, Rendered] = field(default_factory=dict[UnitName, Rendered])
    empty: frozenset[UnitName] = frozenset()
    over: frozenset[UnitName] = frozenset()


NOBODY = Handed()


def handed_over(
    operations: Sequence[OperationRow], board: Board, view: View, now: float, names: Iterable[UnitName]
) -> Handed:
    """What units that are by hand still go on with. operations: all open ones; now: wall clock.

    What a sync brings that goes on: a part of it may be there, and what the unit held before would be written over it.
    Else what the unit has. One that has nothing in full begins with what it was shown last, where it may
    (`begins_with`). Where it may not, and went by itself before, it keeps what it holds: a part of that may be there;
    else it holds nothing, and goes into its step as one that joins.
    """
    books = board.books
    begin, empty, over = dict[UnitName, Rendered](), set[UnitName](), set[UnitName]()
    for name in names:
        row, held = books.shown[name], books.held.get(name)
        shown = row.result
        unit = view.fleet.units[name] if view.fleet is not None else None
        is_barred = books.is_barred(name, shown)
        if not is_barred and goes_on(operations, name, board, view, now):
            cluster = view.clusters.get(name.cluster)
            if cluster is not None and cluster.reachable:  # else nobody knows whether it began
                begin[name] = shown
            continue
        report = view.units.get(name)
        is_heard = report is not None and name not in view.unspoken and not asks_recovery(report)
        if unit is None or not (is_heard or not books.has_any(name)):
            continue  # nobody knows what is there
        over.add(name)
        has = Rendered(report.bundle, report.commit) if report is not None and report.bundle is not None else None
        if has is None and not row.is_back and books.begins_with(unit, shown, view.passages):
            begin[name] = shown
        elif has is None:
            if not row.is_begun:
                empty.add(name)
        elif not books.is_barred(name, has) and (held is None or held.bundle != has.bundle):
            begin[name] = shown if shown.bundle == has.bundle else has
    return Handed(begin, frozenset(empty), frozenset(over | begin.keys()))
