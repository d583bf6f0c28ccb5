"""What a fleet repo says at one commit: clusters, overlays, and which overlay runs where, at which path.

All values are frozen. Everything that a person wrote carries its `Origin`, so that each message can name file and
line. `units` holds what could be determined; what could not is in `unknown` with its reason and never read as
absent (R5).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fleet.core.ids import ClusterName, Identity, OverlayName, Revision, UnitName
from fleet.core.problems import Origin, Problem
from fleet.core.rollout_policy import RolloutPolicy
from fleet.core.selection import Target, Variable, Variables
from fleet.core.sync_policy import Budget, HealthRule, IgnoreNote, IgnoreRule, Suspension, SyncPolicy
from fleet.values import dataclass, field


class Mode(StrEnum):
    """observe: render, compare, report, write nothing at all."""

    MANAGE = "manage"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Environment:
    """One stage of promotion; the order is that of the list in fleet.yaml."""

    name: str
    variables: Variables = field(default_factory=dict[str, Variable])


@dataclass(frozen=True, slots=True)
class OverlayUse:
    """A Cluster's own naming of an overlay that selects no clusters itself."""

    name: OverlayName
    path: str = ""
    components: tuple[str, ...] = ()
    variables: Variables = field(default_factory=dict[str, Variable])
    origin: Origin = field(default_factory=lambda: Origin(""))


@dataclass(frozen=True, slots=True)
class Connection:
    """How the hub reaches the cluster: a credential by name, or the cluster that the hub runs in."""

    credential: str = ""
    in_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """One entry of the inventory."""

    name: ClusterName
    origin: Origin
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: str = ""
    location: str = ""
    mode: Mode = Mode.MANAGE
    connection: Connection = field(default_factory=Connection)
    identity: Identity | None = None
    overlays: tuple[OverlayUse, ...] = ()
    variables: Variables = field(default_factory=dict[str, Variable])
    suspend: Suspension | None = None


class OverlayState(StrEnum):
    """absent: delete the overlay's objects, by plan, budget and holds."""

    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Overlay:
    """One thing that is deployed as a whole."""

    name: OverlayName
    directory: str  # repo path; "" where fleet.yaml gives a name and one path template from the root
    origin: Origin
    paths: tuple[str, ...] = ("{cluster}", "{environment}", ".")
    targets: tuple[Target, ...] | None = None  # None: runs where Clusters name it
    state: OverlayState = OverlayState.PRESENT
    depends_on: tuple[OverlayName, ...] = ()
    sync: SyncPolicy = field(default_factory=SyncPolicy)
    substitute: bool = False
    ignore: tuple[IgnoreRule, ...] = ()
    ignore_notes: tuple[IgnoreNote, ...] = ()  # one for each of `ignore`
    health: tuple[HealthRule, ...] = ()
    allow_empty: bool = False
    compat: frozenset[str] = frozenset()
    variables: Variables = field(default_factory=dict[str, Variable])
    suspend: Suspension | None = None
    team: str = ""
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)  # the fleet's where the overlay says nothing

    @property
    def health_timeout_seconds(self) -> int:
        """How long a wave, or a cluster in a rollout, may take to become Healthy."""
        return self.rollout.health_timeout_seconds


@dataclass(frozen=True, slots=True)
class TeamRights:
    """What a team's directories may hold (R29); None for a list means no limit on it."""

    name: str
    directories: tuple[str, ...]
    reads: tuple[str, ...] = ()
    match_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    namespaces: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """One overlay on one cluster, resolved: where it is built and with which values."""

    name: UnitName
    path: str  # repo path of the kustomization
    path_origin: Origin  # the line that chose it
    components: tuple[str, ...]  # repo paths
    variables: Variables  # merged in the order of section 3, built-in ones included
    overlay: Overlay
    cluster: Cluster
    path_rule: str = ""  # what chose the path, in words: "environment: prod", "cluster: eu-1", "path: special"
    team: TeamRights | None = None  # what the guard holds this unit's objects to (R29)


@dataclass(frozen=True, slots=True)
class Unknown:
    """What this commit does not say because of a problem; the last good state stays in force (R5)."""

    clusters: Mapping[ClusterName, Problem] = field(default_factory=dict[ClusterName, Problem])
    overlays: Mapping[OverlayName, Problem] = field(default_factory=dict[OverlayName, Problem])
    units: Mapping[UnitName, Problem] = field(default_factory=dict[UnitName, Problem])
    everything: Problem | None = None  # fleet.yaml itself does not parse
    # Clusters whose list of overlays is not fully known: a unit missing on them is not known to be removed.
    incomplete: Mapping[ClusterName, Problem] = field(default_factory=dict[ClusterName, Problem])
    # Files of which it is not even known what they define: while there are any, nothing is known to be removed.
    unnamed: tuple[Problem, ...] = ()
    # What entries say which cannot be used: their clusters are theirs all the same (R2).
    identities: Mapping[Identity, ClusterName] = field(default_factory=dict[Identity, ClusterName])

    def covers(self, unit: UnitName) -> Problem | None:
        """The problem because of which this unit's absence or presence is not known; None: what is missing is gone."""
        return (
            self.everything
            or self.units.get(unit)
            or self.clusters.get(unit.cluster)
            or self.overlays.get(unit.overlay)
            or self.incomplete.get(unit.cluster)
            or next(iter(self.unnamed), None)
        )

    def problems(self, overlay: OverlayName | None = None) -> tuple[Problem, ...]:
        """All of them, each once, or those that may hide something of one overlay: not what is of other ones."""
        found = [self.everything] if self.everything else []
        found += [*self.unnamed, *self.clusters.values(), *self.incomplete.values()]
        found += [*self.overlays.values(), *self.units.values()]
        others = {problem for name, problem in self.overlays.items() if overlay not in (None, name)}
        others |= {problem for name, problem in self.units.items() if overlay not in (None, name.overlay)}
        return tuple(problem for problem in dict.fromkeys(found) if problem not in others)

    def covers_cluster(self, cluster: ClusterName) -> Problem | None:
        """The same for a cluster that is missing here."""
        return self.everything or self.clusters.get(cluster) or next(iter(self.unnamed), None)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole inventory of one commit."""

    commit: Revision
    name: str = "default"  # the installation id
    environments: tuple[Environment, ...] = ()
    clusters: Mapping[ClusterName, Cluster] = field(default_factory=dict[ClusterName, Cluster])
    overlays: Mapping[OverlayName, Overlay] = field(default_factory=dict[OverlayName, Overlay])
    units: Mapping[UnitName, Unit] = field(default_factory=dict[UnitName, Unit])
    unknown: Unknown = field(default_factory=Unknown)
    problems: tuple[Problem, ...] = ()
    variables: Variables = field(default_factory=dict[str, Variable])
    budget: Budget = field(default_factory=Budget)
    teams: tuple[TeamRights, ...] = ()
    suspend: Suspension | None = None
    sync: SyncPolicy = field(default_factory=SyncPolicy)  # defaults of all overlays
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)  # default of all overlays
    override_approvals: int = 0  # by so many people beside the one who overrides
    gate_jobs: Mapping[str, str] = field(default_factory=dict[str, str])  # blob ids of their manifests, by path
