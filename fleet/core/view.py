"""What the hub knows now, in memory, for those who only read: API, CLI, metrics.

A plain fold of reports and of the commit in force; everything in it is also in the state, from which it is filled
at the start. No clock: whoever reads brings the time, and judges the age (R21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fleet.core.advance import Advance
from fleet.core.fleet import Fleet, Unit
from fleet.core.folded import Folded
from fleet.core.forecast import Course
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName
from fleet.core.passage import Passages
from fleet.core.renewal import CredentialState
from fleet.core.results import Result
from fleet.core.rollout_facts import RowFacts
from fleet.core.status import Blocker, Report, UnitReport
from fleet.errors import FleetError
from fleet.values import dataclass, field


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
    fetches_begun: int = 0  # by this process
    fetches_over: int = 0  # good or not; one begins once the one before is over
    error: FleetError | None = None  # of the last try; None when it went well
    is_taken: bool = False  # since this process began the branch was fetched, and its newest commit is in force


@dataclass(frozen=True, slots=True)
class Outlook:
    """What forecasts of rollouts under way are made of. clock: the hub's, at the last look; wall: the day's."""

    facts: Mapping[OverlayName, RowFacts] = field(default_factory=dict[OverlayName, RowFacts])
    courses: Mapping[OverlayName, tuple[Course, ...]] = field(default_factory=dict[OverlayName, tuple[Course, ...]])
    clock: float = 0.0
    wall: float = 0.0


@dataclass(slots=True)
class View:
    """Owned by the hub's loops; readers never change it."""

    head: Head
    fleet: Fleet | None = None
    kept: Mapping[UnitName, Unit] = field(default_factory=dict[UnitName, Unit])  # this commit does not say; see entries
    results: Mapping[UnitName, Result] = field(default_factory=dict[UnitName, Result])
    rendering: frozenset[UnitName] = frozenset()  # not judged at the head yet
    clusters: dict[ClusterName, Report] = field(default_factory=dict[ClusterName, Report])  # `units` left out
    units: dict[UnitName, UnitReport] = field(default_factory=dict[UnitName, UnitReport])
    since: dict[UnitName, float] = field(default_factory=dict[UnitName, float])  # when sync or health changed last
    reached: dict[ClusterName, float] = field(default_factory=dict[ClusterName, float])  # last good word of it
    heard: set[ClusterName] = field(default_factory=set[ClusterName])  # that were seen since this process began
    vouched: dict[ClusterName, float] = field(default_factory=dict[ClusterName, float])  # how it stood then was known
    # Units that whoever looks at their cluster now has not reported yet: when somebody vouched for them last (R21).
    unspoken: dict[UnitName, float] = field(default_factory=dict[UnitName, float])
    converged: set[Revision] = field(default_factory=set[Revision])
    waits: Mapping[UnitName, Blocker] = field(default_factory=dict[UnitName, Blocker])  # what a rollout holds back
    advances: Mapping[Revision, Advance] = field(default_factory=dict[Revision, Advance])  # rollouts under way
    passages: Passages = field(default_factory=Passages)  # all rollouts that are known
    credentials: dict[ClusterName, CredentialState] = field(default_factory=dict[ClusterName, CredentialState])
    outlook: Outlook = field(default_factory=Outlook)
    relaxed: tuple[str, ...] = ()  # rules that the hub's configuration relaxes
    folded: Folded = field(default_factory=Folded)  # what readers folded of all this last
    version: int = 0  # rises with every change

    def entries(self) -> Mapping[UnitName, Unit]:
        """All units to show: those of the commit in force, and those that it does not say, as they were (R5)."""
        units = self.fleet.units if self.fleet is not None else dict[UnitName, Unit]()
        return {**self.kept, **units} if self.kept else units

    def restore(self, clusters: Iterable[Report], units: Iterable[UnitReport]) -> None:
        """Fill from the state at the start; ages are kept, so that nothing looks fresher than it is."""
        self.clusters.update((report.cluster, report) for report in clusters)
        for cluster in self.clusters.values():
            self._note_reach(cluster)
        for unit in units:
            self._put(unit)
            known, seen = self.clusters.get(unit.unit.cluster), unit.observed_at
            if known is not None and seen >= known.began_at:
                seen = self.vouched.get(known.cluster, seen)
            self.unspoken[unit.unit] = seen
        self.version += 1

    def heard_at(self, name: UnitName) -> float:
        """When somebody vouched for what is known of a unit last, 0.0 if never; its cluster's word alone does not."""
        if (seen := self.unspoken.get(name)) is not None:
            return seen
        cluster, report = self.clusters.get(name.cluster), self.units.get(name)
        if cluster is not None:
            return cluster.at
        return report.observed_at if report is not None else 0.0

    def seen_at(self, cluster: ClusterName) -> float:
        """When the cluster itself was seen last, 0.0 if never; its worker may report more often than that."""
        return self.reached.get(cluster, 0.0)

    def _note_reach(self, report: Report) -> None:
        if report.reachable:
            self.reached[report.cluster] = report.at
            self.vouched[report.cluster] = report.known_at or report.at

    def _put(self, unit: UnitReport) -> None:
        before = self.units.get(unit.unit)
        if before is None or (before.sync, before.health) != (unit.sync, unit.health):
            self.since[unit.unit] = unit.observed_at
        self.units[unit.unit] = unit
        self.unspoken.pop(unit.unit, None)

    def _drop(self, name: UnitName) -> None:
        self.units.pop(name, None)
        self.since.pop(name, None)
        self.unspoken.pop(name, None)

    def take(self, report: Report) -> bool:
        """Fold a report in; False for one that is older than what is known (R36)."""
        known = self.clusters.get(report.cluster)
        if known is not None and (report.epoch, report.sequence) <= (known.epoch, known.sequence):
            return False
        if known is not None and known.began_at != report.began_at:
            seen = self.vouched.get(report.cluster, 0.0)
            for name in self.units:
                if name.cluster == report.cluster:
                    self.unspoken.setdefault(name, seen)
        self.clusters[report.cluster] = replace(report, units=(), operations=(), events=())
        self._note_reach(report)
        if report.reachable:
            self.heard.add(report.cluster)
        if report.full:
            mentioned = {unit.unit for unit in report.units}
            for name in [name for name in self.units if name.cluster == report.cluster and name not in mentioned]:
                self._drop(name)
        for unit in report.units:
            if unit.detached:
                self._drop(unit.unit)
            else:
                self._put(unit)
        self.version += 1
        return True

    def forget(self, cluster: ClusterName) -> None:
        """A cluster that left the repo and was detached."""
        self.clusters.pop(cluster, None)
        self.reached.pop(cluster, None)
        self.heard.discard(cluster)
        self.vouched.pop(cluster, None)
        self.credentials.pop(cluster, None)
        for name in [name for name in self.units if name.cluster == cluster]:
            self._drop(name)
        self.version += 1
