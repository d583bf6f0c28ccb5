"""What clusters go back to, where newer commits take a rollout over that is not at its end. Pure.

What such a rollout brought may be well, or look so for a moment. So what was there before is kept besides, until the
newer result is released: then one of the two is what that goes back to.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from fleet.core.ids import ClusterName, OverlayName
from fleet.core.passage import Earlier, Passage, Row
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RolloutUnit, UnitFact

_MAY_BE_WELL = (Condition.WELL, Condition.AWAY, Condition.STOPPED)  # or nobody sees it


def stood_of(passage: Passage, row: Row, wanted: Mapping[ClusterName, RolloutUnit]) -> set[ClusterName]:
    """Clusters that hold what was well there: if what takes over fails, it takes them no further back than to that.

    Where it is not released it takes nothing back. Of a row that failed only steps that were over were well.
    """
    has_failed = passage.halted is not None and passage.rows.get(passage.halted.overlay or OverlayName("")) is row
    names = row.proven if has_failed else row.proven | (row.landed.keys() - row.excused)
    return {
        name
        for name in names
        if (unit := wanted.get(name)) is None
        or (unit.held is not None and unit.held.bundle == row.targets.get(name) and _is_sound(unit, name in row.proven))
    }


def _is_sound(unit: RolloutUnit, is_proven: bool) -> bool:
    """Whether it is as well as it was. What stood a whole step may start a Pod again; what did not may be crashing."""
    return unit.standing is not Condition.BAD if is_proven else unit.standing in _MAY_BE_WELL


def before_of(
    row: Row, wanted: Mapping[ClusterName, RolloutUnit], concerned: Container[ClusterName]
) -> dict[ClusterName, Rendered]:
    """What units go back to, once newer results took over.

    That of a cluster which nothing is said of is kept: it may be there under another name, which is known only when it
    was reached, or its build may have failed. One that comes back and holds nothing has nothing to go back to.
    """
    return {
        name: held
        for name, held in row.before.items()
        if name not in wanted or (name in concerned and wanted[name].held is not None)
    }


def earlier_of(
    row: Row,
    stood: Container[ClusterName],
    wanted: Mapping[ClusterName, RolloutUnit],
    pending: Container[ClusterName],
) -> dict[ClusterName, Earlier]:
    """What was there before that which a newer result takes over; of what was never released, as known so far."""
    known = {name: one for name, one in row.earlier.items() if name not in row.before}
    known |= {name: Earlier(held, name in row.proven) for name, held in row.before.items() if name in stood}
    return {
        name: one
        for name, one in known.items()
        if (name in pending and wanted[name].held is not None) or name not in wanted
    }


def goes_back_to(row: Row, cluster: ClusterName, held: Rendered, fact: UnitFact | None) -> Rendered:
    """What a cluster goes back to from what is released to it now: what it holds, if that is well there.

    Or if that stood a whole step, and is not ill. Else what was there before it.
    """
    earlier = row.earlier.get(cluster)
    if earlier is None or fact is None:
        return held
    is_well = fact.older is Condition.WELL and fact.condition is not Condition.AWAY
    is_sound = is_well or (earlier.is_proven and fact.condition is not Condition.BAD)
    return held if is_sound else earlier.result
