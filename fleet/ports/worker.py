"""The reconcile worker's own ports: a feed of `Desired`, a sink of `Report`s, a `Journal`, and the audit log.

The worker knows one cluster and nothing else: no Git, no rollout, no HTTP server.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from fleet.core.asked import Asked
from fleet.core.audit import AuditEntry, Head
from fleet.core.ids import Digest, Identity, ObjectRef, Revision, UnitName
from fleet.core.objects import Bundle
from fleet.core.record import FORM, Row
from fleet.core.rollout import Desired
from fleet.core.status import Report
from fleet.values import dataclass, field


class Feed(Protocol):
    """Orders for one cluster."""

    async def next(self, after: int) -> Desired:
        """Wait until there is a Desired with a sequence above `after`; return the newest one."""
        ...

    async def bundle(self, digest: Digest) -> Bundle:
        """A bundle by its digest; verified. Raises StateDamaged when it cannot be had."""
        ...

    async def secrets(self, sealed: Collection[str]) -> Mapping[str, bytes]:
        """Clear values for sealed ones (`SEALED_PREFIX...`); never logged, never kept. Raises StateDamaged."""
        ...


class Sink(Protocol):
    """Takes reports of one cluster."""

    async def send(self, report: Report) -> None:
        """Accept a report; waits only if the queue is full (bounded)."""
        ...


@dataclass(frozen=True, slots=True)
class Deletion:
    """One object deleted, for the sliding hour of R9."""

    unit: UnitName
    ref: ObjectRef
    at: float  # `Journal.run_time`


@dataclass(frozen=True, slots=True)
class UnitMemory:
    """What the worker must know of one unit after a restart."""

    unit: UnitName
    bundle: Digest | None = None  # applied last in full
    commit: Revision = Revision("")
    parent_generation: int = 0
    parent_digest: Digest = Digest("")  # of what was written to the parent object
    done_hooks: tuple[str, ...] = ()  # "<bundle digest>/<ref key>"
    confirmed: bool = True  # False: the record was rebuilt from the cluster and waits for confirmation (R12)
    settled: bool = True  # False: not since its record was rebuilt or put back: nobody knows which Jobs ran since (R22)
    told: tuple[ObjectRef, ...] = ()  # Jobs of it, until then: a report said that a change runs them; not begun yet
    audit_head: str = ""  # of the audit log after the last destructive action in this unit
    form: int = FORM  # of the version that recorded `bundle`
    quarantined: tuple[Digest, ...] = ()  # as the parent object says them
    asked: tuple[Asked, ...] = ()  # deletions that a person was asked about and did not approve, sorted


@dataclass(frozen=True, slots=True)
class JournalState:
    """All of one cluster's journal."""

    rows: tuple[Row, ...] = ()
    units: tuple[UnitMemory, ...] = ()
    resume: Mapping[str, str] = field(default_factory=dict[str, str])  # by kind: resourceVersion
    deletions: tuple[Deletion, ...] = ()
    identity: Identity | None = None
    epoch: int = 0
    verdicts: Mapping[str, bool] = field(default_factory=dict[str, bool])  # dry-run: "desired/fingerprint" -> in sync


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One atomic change of the journal. drop_deletions: what counts no more; `deletions` come after that."""

    put: tuple[Row, ...] = ()
    drop: tuple[tuple[UnitName, ObjectRef], ...] = ()
    units: tuple[UnitMemory, ...] = ()
    drop_units: tuple[UnitName, ...] = ()
    resume: Mapping[str, str] = field(default_factory=dict[str, str])
    deletions: tuple[Deletion, ...] = ()
    drop_deletions: tuple[tuple[UnitName, ObjectRef], ...] = ()
    identity: Identity | None = None
    verdicts: Mapping[str, bool] = field(default_factory=dict[str, bool])


class Journal(Protocol):
    """Write-ahead memory of one cluster's worker, owned by it alone. Damaged or newer state raises StateError."""

    def run_time(self) -> float:
        """The clock of `Deletion.at`, as `State.run_time`."""
        ...

    async def load(self) -> JournalState:
        """Everything; deletions older than an hour are left out."""
        ...

    async def commit(self, entry: JournalEntry) -> None:
        """Durable when this returns (several callers may share one commit, within 5 ms)."""
        ...

    def jot(self, entry: JournalEntry) -> None:
        """Written with the next batch; lost in a crash without harm, because the cluster tells it again."""
        ...


class Audit(Protocol):
    """Append-only, chained evidence."""

    async def write(self, entry: AuditEntry) -> Head:
        """Durable when this returns the new head; raises StateNotWritable, and then the action must not happen.

        So with Withdrawn: it begins a deletion that a person rejected.
        """
        ...
