"""What the hub knows now, in memory, for those who only read: API, CLI, metrics.

A plain fold of reports and of the commit in force; everything in it is also in the state, from which it is filled
at the start. No clock: whoever reads brings the time, and judges the age (R21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Revision, UnitName
from fleet.core.release import Result
from fleet.core.status import Report, UnitReport
from fleet.errors import FleetError


@dataclass(slots=True)
class Head:
    """The tracked branch as fetched last."""

    branch: str
    commit: Revision = Revision("")
    subject: str = ""
    author: str = ""
    authored_at: float = 0.0
    fetched_at: float = 0.0  # last good answer of the Git host
    tried_at: float = 0.0  # start of the last fetch that is over, good or not
    error: FleetError | None = None  # of the last try; None when it went well


@dataclass(slots=True)
class View:
    """Owned by the hub's loops; readers never change it."""

    head: Head
    fleet: Fleet | None = None
    results: Mapping[UnitName, Result] = field(default_factory=dict[UnitName, Result])
    rendering: frozenset[UnitName] = frozenset()  # not judged at the head yet
    clusters: dict[ClusterName, Report] = field(default_factory=dict[ClusterName, Report])  # `units` left out
    units: dict[UnitName, UnitReport] = field(default_factory=dict[UnitName, UnitReport])
    converged: set[Revision] = field(default_factory=set[Revision])
    relaxed: tuple[str, ...] = ()  # rules that the hub's configuration relaxes
    version: int = 0  # rises with every change

    def restore(self, clusters: Iterable[Report], units: Iterable[UnitReport]) -> None:
        """Fill from the state at the start; ages are kept, so that nothing looks fresher than it is."""
        self.clusters.update((report.cluster, report) for report in clusters)
        self.units.update((report.unit, report) for report in units)
        self.version += 1

    def take(self, report: Report) -> bool:
        """Fold a report in; False for one that is older than what is known (R36)."""
        known = self.clusters.get(report.cluster)
        if known is not None and (report.epoch, report.sequence) <= (known.epoch, known.sequence):
            return False
        self.clusters[report.cluster] = replace(report, units=(), operations=(), events=())
        if report.full:
            mentioned = {unit.unit for unit in report.units}
            for name in [name for name in self.units if name.cluster == report.cluster and name not in mentioned]:
                del self.units[name]
        for unit in report.units:
            if unit.detached:
                self.units.pop(unit.unit, None)
            else:
                self.units[unit.unit] = unit
        self.version += 1
        return True

    def forget(self, cluster: ClusterName) -> None:
        """A cluster that left the repo and was detached."""
        self.clusters.pop(cluster, None)
        for name in [name for name in self.units if name.cluster == cluster]:
            del self.units[name]
        self.version += 1
