"""What a fleet repo says at one commit: clusters, overlays, and which overlay runs where, at which path.

All values are frozen. Everything that a person wrote carries its `Origin`, so that each message can name file and
line. `units` holds what could be determined; what could not is in `unknown` with its reason and never read as
absent (R5).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fleet.core.documents import Json
from fleet.core.ids import ClusterName, Identity, OverlayName, Revision, UnitName
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where something was written: repo path and line (from 1; 0 = the file as a whole)."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Severity(StrEnum):
    """An error makes something Unknown; a warning changes nothing."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the repo. `reason` is the name of a class in fleet/errors.py."""

    severity: Severity
    reason: str
    what: str
    origin: Origin
    also: tuple[Origin, ...] = ()  # other places that belong to it
    why: str = ""
    effect: str = ""
    next_step: str = ""
    column: int = 0  # of what is underlined, from 1; 0: nothing is
    length: int = 0
    label: str = ""  # said beside the underline


class Mode(StrEnum):
    """observe: render, compare, report, write nothing at all."""

    MANAGE = "manage"
    OBSERVE = "observe"


class SyncMode(StrEnum):
    """auto applies what is released; manual waits for `fleet sync`."""

    AUTO = "auto"
    MANUAL = "manual"


class Validate(StrEnum):
    """How a plan is validated before the first write (R14)."""

    SERVER = "server"
    SCHEMA = "schema"


class Adopt(StrEnum):
    """What happens to objects that exist already and carry no mark (R4)."""

    NEVER = "never"
    IF_NO_DIFF = "ifNoDiff"
    ALWAYS = "always"


class WindowKind(StrEnum):
    """Deny wins over allow."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which syncs are allowed or denied: cron, length in seconds, IANA time zone.

    origin: where its list stands; one that moved to another line is the same window.
    """

    kind: WindowKind
    schedule: str
    duration_seconds: int
    time_zone: str = "UTC"
    origin: Origin = field(default=Origin(""), compare=False)


@dataclass(frozen=True, slots=True)
class Suspension:
    """A person stopped it; `until` (RFC 3339 or "") lists it as overdue when past, it never resumes by itself."""

    reason: str
    owner: str = ""
    until: str = ""
    scope: str = ""  # "fleet", "cluster eu-1", "overlay web", "unit web@eu-1"
    origin: Origin | None = None  # None: by command


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """Fields that are not compared or applied: JSON pointers and / or field managers. Empty criteria match all."""

    group: str | None = None
    kind: str = ""
    namespace: str = ""
    name: str = ""
    pointers: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IgnoreNote:
    """Who had fields ignored, why, and until when: for people. Not in the rule, whose other text is another rule.

    Past `until` (RFC 3339 or "") it is listed as overdue; the rule stays in force.
    """

    what: str
    origin: Origin
    reason: str = ""
    owner: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class HealthRule:
    """CEL expressions over the live object for a kind that kstatus does not know."""

    kind: str
    group: str | None = None
    healthy: str = ""
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """Section 7 of the design; the fleet's defaults, an overlay's own values instead."""

    mode: SyncMode = SyncMode.AUTO
    prune: bool = True
    self_heal: bool = True
    validate: Validate = Validate.SERVER
    adopt: Adopt = Adopt.NEVER
    windows: tuple[Window, ...] = ()


class OnFailure(StrEnum):
    """What a rollout does when a cluster fails: stop and wait for a person, or also take back what it released."""

    HALT = "halt"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many clusters: a number, or a share (0..1) of those that a step takes."""

    number: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class PrometheusCheck:
    """An instant query; every value of its answer must be within the bounds. credential: by name, "" for none."""

    url: str
    query: str
    below: float | None = None
    above: float | None = None
    credential: str = ""


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A GET whose answer must have this status, and this text in its body where one is given."""

    url: str
    status: int = 200
    contains: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class JobCheck:
    """A Job of the repo that must complete. cluster: "" for the first one of the step that is Healthy.

    file: blob id of its manifest, which is as much of what it asks as the rest; at: a commit that has it. Both are ""
    in a policy, and known where it is asked.
    """

    path: str
    cluster: str = ""
    file: str = ""
    at: Revision = Revision("")


@dataclass(frozen=True, slots=True)
class Gate:
    """What is measured once a step's clusters are Healthy, before the step is over.

    It passes when it read well for `window_seconds`; `retries` bad readings in a row are forgiven; after
    `timeout_seconds` without passing it has failed, unless it reads well then: so it has until its window is over.
    """

    name: str
    check: PrometheusCheck | HttpCheck | JobCheck
    origin: Origin
    interval_seconds: float = 30.0
    timeout_seconds: float = 600.0
    window_seconds: float = 0.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a rollout: which clusters it takes, how many at once, and what it waits for.

    All criteria that are given must hold; a step without any takes no clusters: it asks for approvals, or measures.
    """

    name: str
    origin: Origin
    clusters: Target | None = None
    environments: tuple[str, ...] = ()
    rest: bool = False
    one_first: bool = False  # one cluster alone until it is Healthy
    soak_seconds: float = 0.0
    max_parallel: Amount | None = None  # None: no limit
    max_unavailable: Amount | None = None  # None: no limit
    approvals: int = 0  # by so many different people
    approve_timeout_seconds: float | None = None  # it halts when they did not come within this; None: it waits for ever
    gates: tuple[Gate, ...] = ()

    @property
    def takes_clusters(self) -> bool:
        """Whether it says which clusters it takes."""
        return self.rest or bool(self.environments) or self.clusters is not None


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """Section 8 of the design. steps None: environment by environment, one cluster first; empty: all at once."""

    steps: tuple[Step, ...] | None = None
    own_steps: bool = False  # the overlay's, not the fleet's
    health_timeout_seconds: int = 600
    on_failure: OnFailure = OnFailure.HALT


@dataclass(frozen=True, slots=True)
class Budget:
    """Deletions a unit may do in a sliding hour before a person is asked (R9). share: 0..1."""

    objects: int = 20
    share: float = 0.25
    share_from: int = 8
    clusters: int = 3


@dataclass(frozen=True, slots=True)
class Variable:
    """A value of any YAML type and where it was written."""

    value: Json
    origin: Origin


Variables = Mapping[str, Variable]


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


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of an overlay's `clusters`. Names beat selectors."""

    origin: Origin
    all: bool = False
    names: tuple[ClusterName, ...] = ()
    environments: tuple[str, ...] = ()
    match_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    excluded: tuple[ClusterName, ...] = ()
    path: str = ""
    components: tuple[str, ...] = ()
    variables: Variables = field(default_factory=dict[str, Variable])


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
