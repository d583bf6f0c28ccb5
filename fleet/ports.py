"""Every protocol to the outside, its contract in the docstring.

The reconcile worker sees a feed of `Desired`, a sink of `Report`s, a `Journal`, and a `Kube` for its one cluster;
nothing else. Implementations are named in `wiring.py` alone. Each port has one contract suite in tests/contracts/.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from fleet.core.documents import Document
from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, Revision, UnitName
from fleet.core.objects import Bundle
from fleet.core.record import Row
from fleet.core.rollout import Desired
from fleet.core.status import Report

# One cluster's API server


@dataclass(frozen=True, slots=True)
class ServedKind:
    """A kind that the cluster serves, at the version that will be used for it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]
    versions: tuple[str, ...] = ()  # all served versions of this kind, the preferred one first

    def at(self, version: str) -> ServedKind:
        """The same kind at another version that is served."""
        return ServedKind(self.group, version, self.kind, self.plural, self.namespaced, self.verbs, self.versions)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What discovery said. Groups in `unknown` did not answer: their kinds are Unknown, not absent (R5)."""

    kinds: Mapping[tuple[str, str], ServedKind]  # (group, kind)
    unknown: frozenset[str] = frozenset()

    def find(self, group: str, kind: str) -> ServedKind | None:
        """The kind, or None: not served if the group is not in `unknown`."""
        return self.kinds.get((group, kind))


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A list that is complete: there is no value for a part of one (R19)."""

    items: tuple[Document, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A new complete list; what is not in it is not there."""

    items: tuple[Document, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Changed:
    """ADDED or MODIFIED."""

    object: Document
    resource_version: str


@dataclass(frozen=True, slots=True)
class Removed:
    """DELETED: gone, or without the label that the watch selects by. A hint: read by name first."""

    object: Document
    resource_version: str


@dataclass(frozen=True, slots=True)
class Proved:
    """The stream is alive and complete up to this resourceVersion (a bookmark, or a watch that ended as asked)."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream broke; what it covers is Unknown until the next event. It goes on by itself, with backoff."""

    reason: str  # an error's class name
    message: str


Seen: TypeAlias = Listed | Changed | Removed | Proved | Lost


@dataclass(frozen=True, slots=True)
class Answer:
    """A write that was carried out (or would be, as a dry-run): the object afterwards, and `Warning:` texts."""

    object: Document
    warnings: tuple[str, ...] = ()


class Fence(Protocol):
    """Says whether this process may still write to the cluster (R23)."""

    async def check(self) -> int:
        """Return the epoch in force; raises OwnedByOther. Called before each write; cheap."""
        ...


class Kube(Protocol):
    """One proven connection to one cluster. Every call has a deadline; errors are ClusterError subclasses.

    Before each write the fence is asked and, where R1 says so, the identity proven anew. Reads are repeated by the
    implementation where that is safe; writes never are (R20).
    """

    @property
    def identity(self) -> Identity:
        """As proven last."""
        ...

    @property
    def version(self) -> str:
        """The API server's version, as "v1.36.3"."""
        ...

    async def discover(self, *, fresh: bool = False) -> Catalog:
        """What the cluster serves; cached until `fresh`."""
        ...

    async def get(self, kind: ServedKind, namespace: str, name: str, *, metadata_only: bool = False) -> Document | None:
        """One object; None only if the server that serves this kind says 404 for the object."""
        ...

    async def list(
        self, kind: ServedKind, *, namespace: str = "", selector: str = "", metadata_only: bool = False
    ) -> ObjectList:
        """All objects of a kind, of all pages; namespace "" means all. Raises instead of giving a part."""
        ...

    def follow(
        self, kind: ServedKind, *, namespace: str = "", selector: str = "", since: str = ""
    ) -> AsyncIterator[Seen]:
        """List, then watch, for ever. With `since` the watch resumes there (no list) and falls back to a list on 410.

        Never raises for trouble of the cluster: that is `Lost`, then backoff. The first event is Listed, or with
        `since` any event that proves the resume (a `Proved` from a short first watch when nothing changed).
        """
        ...

    async def apply(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        body: bytes,
        *,
        manager: str = "fleet",
        force: bool = False,
        dry_run: bool = False,
    ) -> Answer:
        """Server-side apply (KEP-555). The body may carry metadata.uid and resourceVersion as preconditions."""
        ...

    async def patch(
        self, kind: ServedKind, namespace: str, name: str, body: bytes, content_type: str, *, dry_run: bool = False
    ) -> Answer:
        """JSON patch or merge patch, by content type."""
        ...

    async def delete(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        propagation: str = "Background",
    ) -> Document | None:
        """Delete with preconditions (R11). Returns the object if it still stands (finalizers), None if it is gone.

        Raises Conflict when a precondition fails; an absent object is None as well.
        """
        ...

    async def logs(
        self, namespace: str, pod: str, *, container: str = "", previous: bool = False, tail: int = 20
    ) -> str:
        """The last lines of a container's log, at most 64 KiB."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


class Connector(Protocol):
    """Makes connections from an inventory entry."""

    async def connect(
        self, cluster: ClusterName, connection: Connection, *, expected: Identity | None, fence: Fence
    ) -> Kube:
        """Connect and prove the identity. Raises IdentityMismatch, IdentityUnreadable, CredentialMissing, ...

        With `expected` None the identity that is found is taken; recording it is the caller's task.
        """
        ...


# The reconcile worker's own three ports


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
    at: float


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


@dataclass(frozen=True, slots=True)
class JournalState:
    """All of one cluster's journal."""

    rows: tuple[Row, ...] = ()
    units: tuple[UnitMemory, ...] = ()
    resume: Mapping[str, str] = field(default_factory=dict[str, str])  # "group/kind" -> resourceVersion
    deletions: tuple[Deletion, ...] = ()
    identity: Identity | None = None
    epoch: int = 0
    verdicts: Mapping[str, bool] = field(default_factory=dict[str, bool])  # dry-run: "desired/fingerprint" -> in sync


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One atomic change of the journal."""

    put: tuple[Row, ...] = ()
    drop: tuple[tuple[UnitName, ObjectRef], ...] = ()
    units: tuple[UnitMemory, ...] = ()
    drop_units: tuple[UnitName, ...] = ()
    resume: Mapping[str, str] = field(default_factory=dict[str, str])
    deletions: tuple[Deletion, ...] = ()
    identity: Identity | None = None
    verdicts: Mapping[str, bool] = field(default_factory=dict[str, bool])


class Journal(Protocol):
    """Write-ahead memory of one cluster's worker, owned by it alone. Damaged or newer state raises StateError."""

    async def load(self) -> JournalState:
        """Everything; deletions older than an hour are left out."""
        ...

    async def commit(self, entry: JournalEntry) -> None:
        """Durable when this returns (several callers may share one commit, within 5 ms)."""
        ...

    def jot(self, entry: JournalEntry) -> None:
        """Written with the next batch; lost in a crash without harm, because the cluster tells it again."""
        ...


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One destructive or authorising action: what, on what, why, by whom (R43)."""

    at: float
    actor: str
    action: str  # "delete", "adopt", "force", "approve", "accept-identity", ...
    cluster: str = ""
    identity: str = ""
    unit: str = ""
    object: str = ""
    uid: str = ""
    commit: str = ""
    reason: str = ""
    outcome: str = ""  # "" before the action, then "done", "refused", "failed: <class>"


class Audit(Protocol):
    """Append-only evidence."""

    async def write(self, entry: AuditEntry) -> None:
        """Durable when this returns; raises StateNotWritable, and then the action must not happen."""
        ...


# Render


class RenderCache(Protocol):
    """Rendered results by input digest."""

    async def get(self, key: Digest) -> bytes | None:
        """Return what was put, or None. A damaged entry is None, never shorter bytes (R5)."""
        ...

    async def put(self, key: Digest, value: bytes) -> None:
        """Keep a value; raises StateNotWritable."""
        ...


class Vault(Protocol):
    """Encrypted values by name (R32)."""

    async def put(self, values: Mapping[str, bytes]) -> None:
        """Keep values; durable when this returns."""
        ...

    async def get(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Return the values of those that are known."""
        ...


# Git


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a commit: Git mode ("100644", "100755", "120000", "160000"), object id, size unknown."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit as shown to people."""

    revision: Revision
    subject: str
    author: str
    at: float


class Snapshot(Protocol):
    """One commit, read-only. Paths are repo paths with `/`, no leading slash."""

    @property
    def revision(self) -> Revision:
        """The commit id."""
        ...

    @property
    def tree(self) -> Mapping[str, TreeEntry]:
        """All files and links of the commit by path (no directories). Do not change it."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file (not following links); KeyError if it is not in the commit. Blocking, ~20 µs."""
        ...

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Several files in one go."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer of a fetch: the new head, and the paths that differ from the one before (None: all)."""

    snapshot: Snapshot
    info: CommitInfo
    changed: frozenset[str] | None


class Source(Protocol):
    """The fleet repo's tracked branch."""

    async def fetch(self) -> Fetched:
        """Fetch and move forward; raises SourceError and then keeps what was in force (R7). At most 4 git commands."""
        ...

    async def at(self, revision: Revision) -> Snapshot:
        """A commit that is in the mirror already; raises RefMissing."""
        ...

    async def is_ancestor(self, older: Revision, newer: Revision) -> bool:
        """Whether `newer` contains `older`."""
        ...

    async def close(self) -> None:
        """End child processes, remove temporary files."""
        ...
