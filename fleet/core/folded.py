"""Summaries as they were folded last, each beside what it was folded from, so that a list folds only what changed."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.core.fleet import Unit
from fleet.core.fold import ClusterSummary, UnitSummary
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.values import dataclass, field

UnitFacts = tuple[object, ...]  # all that a unit's summary depends on, the time of the newest word aside
ClusterFacts = tuple[object, ...]
Groups = tuple[Mapping[ClusterName, list[UnitName]], Mapping[OverlayName, list[UnitName]]]


@dataclass(slots=True)
class Folded:
    """Kept by whoever reads (core/summaries.py); what is gone is dropped with the unit or cluster."""

    units: dict[UnitName, tuple[UnitFacts, UnitSummary]] = field(
        default_factory=dict[UnitName, tuple[UnitFacts, UnitSummary]]
    )
    clusters: dict[ClusterName, tuple[ClusterFacts, ClusterSummary]] = field(
        default_factory=dict[ClusterName, tuple[ClusterFacts, ClusterSummary]]
    )
    # The units by cluster and by overlay, of these units and those that are kept beside.
    groups: tuple[Mapping[UnitName, Unit], Mapping[UnitName, Unit], Groups] | None = None
