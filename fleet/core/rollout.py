"""What each cluster shall hold now.

`Desired` is the one order that a worker gets: complete for its cluster, serialisable, with a rising sequence. A unit
that is not in it means "keep as it is"; detaching is always said (R5, R36).
"""

from __future__ import annotations

from fleet.core.fleet import Connection, Mode, TeamRights
from fleet.core.guard import Approved
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, Revision, UnitName
from fleet.core.sync_policy import (
    Budget,
    HealthRule,
    IgnoreRule,
    Suspension,
    SyncPolicy,
)
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Rename:
    """An object that a unit holds under another name from now on, with the same content (R9)."""

    old: ObjectRef
    new: ObjectRef
    said_by: Digest  # the bundle that said the old one last


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """An object that a unit dropped and another one of its cluster takes, or may: not deleted, and nobody is asked.

    why: what it waits for, as people read it; next_step: the command that shows or ends that.
    """

    ref: ObjectRef
    why: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the cluster hold this bundle.

    `permits`: deletions the hub allows after judging across clusters, by exact reference; the worker judges its own
    share again (R9). `approved`: deletions that a person approved; they pass the worker's guards while the live
    object is still the one that was shown. `renames`: what the hub did not count; the worker looks itself whether they
    are that before it does not count them either. `moves`: what stays whatever else is said of it, approvals too.
    `wipe`: by whose word all of a unit goes that left the repo, for the audit log.
    """

    bundle: Digest
    permits: frozenset[ObjectRef] = frozenset()
    approved: frozenset[Approved] = frozenset()
    renames: frozenset[Rename] = frozenset()
    moves: frozenset[Move] = frozenset()
    wipe: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A person must decide first; keep what is there and go on observing it."""

    reason: str
    bundle: Digest | None = None  # what it holds now, None where nothing was released yet


@dataclass(frozen=True, slots=True)
class UnknownDesired:
    """This commit does not say: never read as empty (R5). Keep what is there."""

    reason: str  # the error's class name
    message: str
    bundle: Digest | None = None  # the last good one


@dataclass(frozen=True, slots=True)
class Detach:
    """Let go: forget the record, leave all objects, take our marks off (R13).

    waits: why nothing is let go yet, "" where it may go; units that take its objects over do so meanwhile (R16).
    """

    waits: str = ""


Action = Apply | Hold | UnknownDesired | Detach


@dataclass(frozen=True, slots=True)
class UnitPolicy:
    """All that the worker must know of an overlay's settings."""

    sync: SyncPolicy = field(default_factory=SyncPolicy)
    ignore: tuple[IgnoreRule, ...] = ()
    health: tuple[HealthRule, ...] = ()
    allow_empty: bool = False
    health_timeout_seconds: int = 600
    depends_on: tuple[UnitName, ...] = ()
    removed_after: tuple[UnitName, ...] = ()  # of an overlay that is absent: units that depend on it, to be gone first
    suspensions: tuple[Suspension, ...] = ()  # of fleet, cluster, overlay and unit that are in force
    budget: Budget = field(default_factory=Budget)
    team: TeamRights | None = None  # which the unit's objects are held to where only the cluster says their place (R29)


@dataclass(frozen=True, slots=True)
class UnitDesired:
    """One unit's part. `commit` is the newest commit with this result, shown to users."""

    unit: UnitName
    commit: Revision
    action: Action
    policy: UnitPolicy = field(default_factory=UnitPolicy)
    quarantined: tuple[Digest, ...] = ()  # results that were taken back here, for its parent object
    coming: str = ""  # why it is not told its newest result yet, where others depend on it or it on others


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """`fleet sync` on a unit: one pass that also applies under manual sync; ends in the operation's result.

    override: it passes windows as well, never holds or identity, and is for one result alone: that of `bundle`.
    """

    operation: str
    unit: UnitName
    override: bool = False
    bundle: Digest | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """What one cluster shall hold, and how it is reached. `sequence` rises with every change, also over restarts."""

    sequence: int
    cluster: ClusterName
    commit: Revision  # of the inventory
    installation: str
    mode: Mode = Mode.MANAGE
    connection: Connection = field(default_factory=Connection)
    identity: Identity | None = None  # expected; None: the first contact is recorded
    units: tuple[UnitDesired, ...] = ()
    requests: tuple[SyncRequest, ...] = ()
    recovered: frozenset[str] = frozenset()  # rebuilt records that a person confirmed, see core/recovery.py
