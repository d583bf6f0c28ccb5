"""Reports of workers, and the conditions that units, clusters and the fleet show.

Every value carries its time (wall clock, seconds since the epoch): a status without age is no status (R21).
"""

from __future__ import annotations

from enum import StrEnum

from fleet.core.field_diff import FieldDrift
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, Revision, UnitName
from fleet.values import dataclass, field


class Kstatus(StrEnum):
    """Health of one object in the words of kstatus."""

    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    NOT_FOUND = "NotFound"
    UNKNOWN = "Unknown"


class Health(StrEnum):
    """Health as users see it, of objects, units and clusters."""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    MISSING = "Missing"
    UNKNOWN = "Unknown"


class Sync(StrEnum):
    """Compared with what was released to the cluster."""

    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"
    UNKNOWN = "Unknown"


WELL = frozenset({Health.HEALTHY, Health.SUSPENDED})  # what is there in full: nobody waits for what a person suspended


class Standing(StrEnum):
    """The four ways to stand still (design, section 1)."""

    WAITS = "waits"
    HELD = "held"
    SUSPENDED = "suspended"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Blocker:
    """One link of `blockedBy`. `since` wall-clock seconds; `until` RFC 3339 or ""; `next` a command or ""."""

    state: Standing
    scope: str
    reason: str
    since: float
    until: str = ""
    next: str = ""


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """One object of a unit."""

    ref: ObjectRef
    sync: Sync
    health: Health
    message: str = ""
    reason: str = ""  # an error's class name
    changed_at: float = 0.0
    drift: tuple[FieldDrift, ...] = ()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class PendingDeletion:
    """One object that a hold would delete, with the live state that an approval is bound to (R9)."""

    ref: ObjectRef
    uid: str
    content: Digest | None  # of the live object; None where it could not be read
    created_at: float = 0.0
    goes_with: tuple[str, ...] = ()  # lines: what would go with it (R10)
    inside: tuple[str, ...] = ()  # the same for an approval (`core/inside.py`)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A worker asks for permits: the exact list and the guard that stopped it.

    left: of a list that was approved and is no more: its worker, which was told of that, need not have asked since. It
    is no part of what makes two requests equal.
    """

    unit: UnitName
    commit: Revision
    reason: str  # "precious-kind", "prune-budget", "sharp-fall", "prune-confirm"
    message: str
    deletions: tuple[PendingDeletion, ...]
    left: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class UnitReport:
    """State of one unit. `commit` is what was applied last in full; `objects` all that it owns or should own."""

    unit: UnitName
    commit: Revision
    bundle: Digest | None
    sync: Sync
    health: Health
    observed_at: float
    reason: str = ""
    message: str = ""
    next_step: str = ""
    observed_commit: Revision | None = None  # newest commit of Desired that was judged in full
    applied_at: float = 0.0
    changed: int = 0  # objects written by the last apply
    objects: tuple[ObjectStatus, ...] = ()
    blocked_by: tuple[Blocker, ...] = ()
    holds: tuple[HoldRequest, ...] = ()
    detached: bool = False
    warnings: tuple[str, ...] = ()
    quarantined: tuple[Digest, ...] = ()  # by its parent object, while its record waits for a person's word
    unjudged: Revision | None = None  # commit of which the worker does not know yet what to ask: `holds` may lack it


ASKS_RECOVERY = "fleet recover"  # the next step of a unit whose record was rebuilt from the cluster


def asks_recovery(report: UnitReport) -> bool:
    """Whether a unit's record waits for a person's word (R24)."""
    return any(link.next == ASKS_RECOVERY for link in report.blocked_by)


@dataclass(frozen=True, slots=True)
class OperationResult:
    """How a SyncRequest ended (V5)."""

    operation: str
    outcome: str  # "done", "refused", "superseded"
    message: str = ""


class EventKind(StrEnum):
    """What happened, for the one timeline."""

    APPLIED = "applied"
    PRUNED = "pruned"
    DRIFTED = "drifted"
    HEALED = "healed"
    HELD = "held"
    FAILED = "failed"
    RECOVERED = "recovered"
    CONNECTED = "connected"
    LOST = "lost"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    at: float
    kind: EventKind
    cluster: ClusterName
    unit: UnitName | None
    message: str
    commit: Revision | None = None
    ref: ObjectRef | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says: deltas (units that changed), or everything when `full`."""

    cluster: ClusterName
    epoch: int
    sequence: int
    at: float
    desired_sequence: int = 0  # the Desired that this report answers
    identity: Identity | None = None
    reachable: bool = False
    version: str = ""  # the API server's, "v1.36.3"
    reason: str = ""  # of the cluster as a whole: an error's class name, "" when well
    message: str = ""
    next_step: str = ""
    units: tuple[UnitReport, ...] = ()
    operations: tuple[OperationResult, ...] = ()
    events: tuple[Event, ...] = ()
    full: bool = False
    # When it began to look at the cluster, this time: it vouches for what it reported of units since, and for nothing
    # that an earlier worker, or an earlier connection, knew (R21).
    began_at: float = 0.0
    # Of what it holds, units that no order of now names: one that is not built yet, or one that Git does not have.
    unordered: tuple[UnitName, ...] = ()
    known_at: float = 0.0  # how the cluster stood then is known; the watches are believed a little longer than that


@dataclass(frozen=True, slots=True)
class Condition:
    """A Kubernetes-style condition: Ready, Reconciling, Stalled."""

    type: str
    status: str  # "True", "False", "Unknown"
    reason: str
    message: str
    since: float = 0.0
