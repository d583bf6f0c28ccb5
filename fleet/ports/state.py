"""The hub's own durable state. API and controllers meet here, never by calls.

All methods may raise StateError. Rows are small frozen values; times are wall-clock seconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from fleet.core.audit import Link
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.results import Shown
from fleet.core.status import Event, HoldRequest, Report, UnitReport
from fleet.core.sync_policy import Suspension
from fleet.ports.worker import Audit, Journal
from fleet.values import dataclass, field

INSTALLATION = "installation"  # value: the name of the first Fleet that was in force; marks and backups carry it
LEAVING = "leaving"  # value: what left the repo and is not let go yet, see core/leaving.py
RECOVERED = "recovered-clusters"  # value: whose rebuilt records a person confirmed (R24), see core/recovery.py
APPROVALS = "plan-approvals"  # value: of plans, before their merge, see core/planning/approval.py
BELIEVED = "believed-clusters"  # value: those of them that were taken for what the clusters hold

# What to do where an encrypted entry opens with no key.
UNREADABLE = "add its key below the first line of the key file, or give the credential again: fleet credential add"
# What to do where entries lie under two keys and one is not here.
BOTH_KEYS = "put both keys into the key file, the new one first, until fleet doctor says that the old one may go"


@dataclass(frozen=True, slots=True)
class ReleasedBundle:
    """What a unit was told to hold last; survives the hub's restart."""

    unit: UnitName
    commit: Revision
    bundle: Digest


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A requested action: it ends exactly once as done, refused or superseded (V5)."""

    id: str
    kind: str  # "sync", "suspend", ...
    target: str  # unit, cluster, overlay
    actor: str
    requested_at: float
    reason: str = ""
    outcome: str = ""  # "" while it runs
    message: str = ""
    ended_at: float = 0.0
    idempotency_key: str = ""
    override: bool = False


OPEN = frozenset({"", "approved"})  # decisions of a hold that still stands before something


@dataclass(frozen=True, slots=True)
class HoldRow:
    """One hold per overlay and commit, its exact list, and how it ended.

    rejected: what a person rejected by any list, and nobody approved since; rejected_at: when the last of it was.
    """

    id: str  # "h-31"
    overlay: str
    commit: Revision
    created_at: float
    list_digest: Digest  # over all requests' references, UIDs and contents: what an approval is bound to
    requests: tuple[HoldRequest, ...]
    expires_at: float
    decision: str = ""  # "", "approved", "rejected", "void"
    decided_by: str = ""
    decided_at: float = 0.0
    reason: str = ""
    rejected_at: float = 0.0
    rejected: tuple[HoldRequest, ...] = ()

    @property
    def is_open(self) -> bool:
        """Undecided, or approved and not void."""
        return self.decision in OPEN


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An API token, hashed (R38). role: viewer, operator, admin."""

    id: str
    name: str
    role: str
    digest: Digest  # SHA-256 of the token
    created_at: float
    expires_at: float
    revoked_at: float = 0.0

    def is_in_force(self, at: float) -> bool:
        """Neither revoked nor over."""
        return not self.revoked_at and self.expires_at > at


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event with its place in the stream (`Last-Event-ID`)."""

    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """How the encrypted entries stand to the keys; keys are named, never told.

    needed, free: keys beside the one that seals which some entry still lies under, or none does any more. unreadable:
    entries that no key opens. count: of entries that this turn sealed anew.
    """

    sealing: str
    where: str
    needed: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    count: int = 0
    is_due: bool = False  # something is to be turned


class Keys(Protocol):
    """The keys of the encrypted store, which are exchanged while it is in use."""

    async def look(self) -> KeyStanding:
        """How the keys lie now where they are read from; raises KeyMissing where they cannot be taken."""
        ...

    async def turn(self) -> KeyStanding:
        """Take the keys of the last look, and seal every entry under the first; safe to be killed and begun again."""
        ...


class State(Audit, Protocol):
    """Everything the hub must find again after a restart."""

    def journal(self, cluster: ClusterName) -> Journal:
        """The journal of one cluster's worker."""
        ...

    def run_time(self) -> float:
        """The clock for what counts within an hour (R9): seconds, on from where an earlier process stopped.

        No step of the wall clock moves it, and time in which no hub runs does not count.
        """
        ...

    async def keep_run_time(self) -> None:
        """Make it durable; what was not kept counts twice after a kill."""
        ...

    async def get_value(self, name: str) -> str | None:
        """A small named value of the hub itself (commit in force, last sequence)."""
        ...

    async def set_value(self, name: str, value: str) -> None:
        """Durable when this returns."""
        ...

    async def change_value(self, name: str, change: Callable[[str | None], str]) -> None:
        """Make of a value what `change` (quick, pure) says, with no other change between; durable when this returns."""
        ...

    async def next_sequence(self, count: int = 1) -> int:
        """Reserve rising numbers for Desired, durable; return the first."""
        ...

    async def next_epoch(self, cluster: ClusterName) -> int:
        """Take a new, higher epoch for this cluster (R23)."""
        ...

    async def identities(self) -> Mapping[ClusterName, Identity]:
        """Recorded identities."""
        ...

    async def record_identity(self, cluster: ClusterName, identity: Identity) -> None:
        """First contact, or an accepted change; the audit entry is the caller's."""
        ...

    async def forget_cluster(self, cluster: ClusterName) -> None:
        """Drop identity, statuses and journal of a cluster that left the repo and was detached."""
        ...

    async def rename_cluster(self, old: ClusterName, new: ClusterName, values: Mapping[str, str]) -> None:
        """Identity, journal, bundles (released and shown) and suspensions of `old` become those of `new`.

        Together with `values`. What `new` had of them is dropped, statuses of both as well: its next report says them.
        The epoch goes on.
        """
        ...

    def put_reports(self, reports: Sequence[Report]) -> None:
        """Batched (>= 100 ms windows): cluster states, unit states and events of these reports."""
        ...

    def tell_of_batches(self, told: Callable[[Exception | None], None]) -> None:
        """Whom to tell of a bug that stops what is batched, and with None, again and again, that it is written."""
        ...

    async def flush(self) -> None:
        """Write all batched lanes now (drain)."""
        ...

    async def cluster_reports(self) -> tuple[Report, ...]:
        """The last state of each cluster (units left out), for a hub that starts."""
        ...

    async def unit_reports(self) -> tuple[UnitReport, ...]:
        """The last state of each unit, objects included."""
        ...

    async def put_released(
        self,
        rows: Sequence[ReleasedBundle],
        gone: Sequence[UnitName] = (),
        values: Mapping[str, str] | None = None,
        events: Sequence[Event] = (),
        shown: Mapping[UnitName, Shown] | None = None,
    ) -> None:
        """Durable when this returns, together with `values` as of `set_value` and the events that tell of it.

        Units of `rows` and `gone` were shown nothing since, but what `shown` says.
        """
        ...

    async def released(self) -> tuple[ReleasedBundle, ...]:
        """All released bundles."""
        ...

    async def shown(self) -> Mapping[UnitName, Shown]:
        """What units that do not go by themselves were shown last."""
        ...

    async def events(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        cluster: str = "",
        overlay: str = "",
        unit: str = "",
        newest_first: bool = False,
    ) -> tuple[EventRow, ...]:
        """A page of the timeline, by id; `after`: the last id of the page before, in the order of reading."""
        ...

    async def add_events(self, events: Sequence[Event]) -> tuple[EventRow, ...]:
        """Append events of the hub itself."""
        ...

    async def audit_entries(self, *, after: int = 0, limit: int = 100) -> tuple[Link, ...]:
        """A page of the audit log, by number."""
        ...

    async def deleted(
        self, overlay: OverlayName, commits: Collection[Revision]
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What workers deleted of an overlay on behalf of these commits, by the audit log: done, or seen gone after."""
        ...

    async def add_operation(self, row: OperationRow) -> OperationRow:
        """Keep a new operation; with a known idempotency key of the same actor the earlier one is returned.

        Raises RequestInvalid where that one is of another kind or target, or the one an override and the other not.
        """
        ...

    async def end_operation(self, operation: str, outcome: str, message: str, at: float) -> bool:
        """End it; False if it had ended already (single winner, R42)."""
        ...

    async def operations(
        self, *, open_only: bool = False, limit: int = 100, before: str = ""
    ) -> tuple[OperationRow, ...]:
        """Newest first; `before`: those that are older than the operation of this id alone."""
        ...

    async def operation(self, operation: str) -> OperationRow | None:
        """One operation."""
        ...

    async def put_suspension(self, suspension: Suspension) -> None:
        """Set a suspension by command; it replaces that of the same scope and owner, and no other."""
        ...

    async def lift_suspensions(self, scope: str, owners: Collection[str]) -> None:
        """Lift the suspensions of a scope by these owners, all or none; repeat-safe."""
        ...

    async def suspensions(self) -> tuple[Suspension, ...]:
        """All suspensions by command, by scope and owner."""
        ...

    async def put_hold(self, row: HoldRow) -> HoldRow:
        """Open or renew the hold of this overlay and commit; a changed list voids an earlier approval (R9).

        `created_at` is the time of asking. With an empty id a new hold is named `h-N`; a known one keeps its id.
        """
        ...

    async def decide_hold(
        self, hold: str, *, list_digest: Digest, decision: str, actor: str, reason: str, at: float
    ) -> HoldRow:
        """Approve or reject, once; a rejection overrules an approval, and the hold is about the rest then (R9).

        The rest is what the audit log has no deletion of that was begun or is done, and `write` lets none begin any
        more: either word comes first. Raises NotKnown, PreconditionFailed (other list, expired, decided already, all
        gone).
        """
        ...

    async def holds(self, *, decisions: Collection[str] | None = None) -> tuple[HoldRow, ...]:
        """Newest first; decisions: those alone that stand at one of them. Void ones are kept for good: many."""
        ...

    async def hold(self, hold: str) -> HoldRow | None:
        """One hold."""
        ...

    async def close_hold(self, hold: str, at: float) -> None:
        """Its list is empty now: nothing is to be deleted any more."""
        ...

    async def add_token(self, row: TokenRow) -> bool:
        """Keep a token's digest; False where one of its name is in force when it is made, and then nothing is kept."""
        ...

    async def revoke_token(self, token: str, at: float) -> bool:
        """By id or name; in effect within 5 s."""
        ...

    async def token(self, digest: Digest) -> TokenRow | None:
        """By digest."""
        ...

    async def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens."""
        ...

    async def put_credential(self, name: str, kubeconfig: bytes, at: float) -> None:
        """Encrypted at rest (R32)."""
        ...

    async def renew_credential(self, name: str, known: bytes, renewed: bytes, at: float) -> bool:
        """Put `renewed` in the place of `known`, at once; False where another one, or none, lies there meanwhile."""
        ...

    async def remove_credential(self, name: str) -> bool:
        """False if there was none."""
        ...

    async def credentials(self) -> Mapping[str, float]:
        """Names and times of the encrypted entries."""
        ...

    async def credential(self, name: str) -> bytes | None:
        """One encrypted entry, in clear; for the credentials adapter alone."""
        ...

    async def close(self) -> None:
        """Flush and close."""
        ...


class Ring:
    """A bell that many listen to: each waits for the next ring after the ones it has heard."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, count: int) -> int:
        """Wait until it rang more often than `count`; returns how often it rang so far."""
        while self.count <= count:
            await self._next.wait()
        return self.count


@dataclass(frozen=True, slots=True)
class Bells:
    """How the API hastens the loops: they look into the state themselves, so a lost ring costs only time.

    fetch, orders, rollouts and clusters have one listener each, which clears the event before it looks.
    """

    fetch: asyncio.Event = field(default_factory=asyncio.Event)  # ask Git now
    orders: asyncio.Event = field(default_factory=asyncio.Event)  # operations, suspensions, approvals, credentials
    rollouts: asyncio.Event = field(default_factory=asyncio.Event)  # results, reports or orders that move a rollout
    clusters: asyncio.Event = field(default_factory=asyncio.Event)  # an inventory came in force, or a unit was let go
    news: Ring = field(default_factory=Ring)  # new events are in the timeline
