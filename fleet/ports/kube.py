"""One cluster's API server, as the reconcile worker sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol, TypeAlias

from fleet.core.documents import Document
from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName, Identity
from fleet.core.renewal import Ends, Place
from fleet.values import dataclass, field


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
        """The kind, or None: not served, where it is not `is_unsure`."""
        return self.kinds.get((group, kind))

    def is_unsure(self, group: str, kind: str) -> bool:
        """Whether nobody knows if this kind is served, because its group did not answer (R5)."""
        return group in self.unknown and (group, kind) not in self.kinds


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A list that is complete: there is no value for a part of one (R19)."""

    items: tuple[Document, ...]
    resource_version: str


# What is seen has an age: for so many seconds it has been on its way, or nothing newer was said.


@dataclass(frozen=True, slots=True)
class Listed:
    """A new complete list; what is not in it is not there."""

    items: tuple[Document, ...]
    resource_version: str
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Changed:
    """ADDED or MODIFIED."""

    object: Document
    resource_version: str
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Removed:
    """DELETED: gone, or without the label that the watch selects by. A hint: read by name first."""

    object: Document
    resource_version: str
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Proved:
    """The stream is alive and complete up to this resourceVersion (a bookmark, or a watch that ended as asked)."""

    resource_version: str
    age: float = field(default=0.0, compare=False)


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


class May(Protocol):
    """Says whether one write may still be sent, by what is ordered now (R17); cheap."""

    def __call__(self) -> bool:
        """Asked just before the write is sent."""
        ...


class Fence(Protocol):
    """Says whether this process may still write to the cluster (R23, R24)."""

    async def check(self) -> int:
        """Return the epoch in force; called before each write; cheap.

        Raises OwnedByOther, and StateNotWritable while the hub's own state cannot be written.
        """
        ...


class Kube(Protocol):
    """One proven connection to one cluster. Every call has a deadline; errors are ClusterError subclasses.

    Where R1 says so the identity is proven anew before a write. A write may wait long for its turn (R18, R20): the
    fence and then `may` are asked once it has a connection, just before it is sent; where `may` says no, nothing was
    sent, and Withdrawn is raised (R17). Reads are repeated by the implementation where that is safe; writes never are.
    """

    @property
    def identity(self) -> Identity:
        """As proven last."""
        ...

    @property
    def version(self) -> str:
        """The API server's version, as "v1.36.3"."""
        ...

    @property
    def clock_ahead(self) -> float:
        """Seconds by which the cluster's clock is ahead of ours; 0.0 where they are about the same.

        What the cluster dates is compared with our own time only where this is taken off.
        """
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
        may: May | None = None,
    ) -> Answer:
        """Server-side apply (KEP-555). The body may carry metadata.uid and resourceVersion as preconditions."""
        ...

    async def patch(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        body: bytes,
        content_type: str,
        *,
        dry_run: bool = False,
        may: May | None = None,
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
        may: May | None = None,
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


class Credentials(Protocol):
    """Kubeconfigs by name; the only way in which credentials reach the hub (R32)."""

    async def kubeconfig(self, name: str) -> bytes:
        """The kubeconfig as it stands now; raises CredentialMissing. Never logged."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A credential as it lies there now. Its content is never shown."""

    kubeconfig: bytes = field(repr=False)
    place: Place
    ends: Ends  # what of it ends first
    token: Ends


class Renewer(Protocol):
    """Looks at the hub's own credentials, and makes a new token of one by what it may do itself."""

    async def look(self, name: str) -> Held:
        """As it lies there now; raises CredentialMissing, CredentialRefused, CredentialFailed."""
        ...

    async def renew(self, name: str, held: Held, cluster: ClusterName, identity: Identity) -> bytes:
        """A kubeconfig with a new token for the same account, which has proven `identity` already.

        Nothing is kept: the one in use stays good. Raises ClusterErrors, Forbidden where it may not ask for a token.
        """
        ...
