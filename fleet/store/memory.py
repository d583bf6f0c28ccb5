"""The state in memory: for the demo and for tests, held to the database by the same contract suite.

Nothing survives the process, so nothing can be full, damaged or locked here.
"""

from __future__ import annotations

import itertools
import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from fleet.core.audit import DELETED, START, AuditEntry, Head, Link, next_head, refs_by_unit
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.release import scope_renamed
from fleet.core.results import Shown
from fleet.core.status import Event, Report, UnitReport
from fleet.core.sync_policy import Suspension
from fleet.ports.state import EventRow, HoldRow, OperationRow, ReleasedBundle, TokenRow
from fleet.store.hold_rules import (
    about_of,
    closed_hold,
    decided_hold,
    gone_by,
    hold_unknown,
    listed_in,
    overrules,
    renewed_hold,
    withhold,
)
from fleet.store.memory_journal import MemoryJournal
from fleet.store.operation_rules import repeated_operation
from fleet.store.run_time import RUN_TIME, run_time_from
from fleet.store.vault import MemoryVault

_EVENT_CAP = 100_000


class MemoryState:
    """`fleet.ports.state.State` in memory."""

    def __init__(self, run_time: Callable[[], float] | None = None) -> None:
        self.run_time = run_time or run_time_from(None)
        self.vault = MemoryVault()
        self._journals: dict[ClusterName, MemoryJournal] = {}
        self._values: dict[str, str] = {}
        self._numbers = defaultdict[str, int](int)
        self._identities: dict[ClusterName, Identity] = {}
        self._clusters: dict[ClusterName, Report] = {}
        self._units: dict[UnitName, UnitReport] = {}
        self._released: dict[UnitName, ReleasedBundle] = {}
        self._shown: dict[UnitName, Shown] = {}
        self._events: deque[EventRow] = deque(maxlen=_EVENT_CAP)
        self._audit: list[Link] = []
        self._audit_key = secrets.token_bytes(32)
        self._operations: dict[str, OperationRow] = {}
        self._suspensions: dict[tuple[str, str], Suspension] = {}  # by scope and owner
        self._holds: dict[str, HoldRow] = {}
        self._tokens: dict[str, TokenRow] = {}
        self._credentials: dict[str, tuple[bytes, float]] = {}

    def journal(self, cluster: ClusterName) -> MemoryJournal:
        """The journal of one cluster's worker."""
        journal = self._journals.setdefault(cluster, MemoryJournal(self.run_time))
        journal.epoch = self._numbers[f"epoch/{cluster}"]
        return journal

    async def keep_run_time(self) -> None:
        """Kept like all else."""
        await self.set_value(RUN_TIME, repr(self.run_time()))

    async def get_value(self, name: str) -> str | None:
        """A small named value of the hub itself."""
        return self._values.get(name)

    async def set_value(self, name: str, value: str) -> None:
        """Kept at once."""
        self._values[name] = value

    async def change_value(self, name: str, change: Callable[[str | None], str]) -> None:
        """Kept at once."""
        self._values[name] = change(self._values.get(name))

    async def next_sequence(self, count: int = 1) -> int:
        """Reserve `count` rising numbers; the first of them."""
        return self._next("sequence", count)

    async def next_epoch(self, cluster: ClusterName) -> int:
        """A higher epoch for this cluster than any before."""
        epoch = self._next(f"epoch/{cluster}")
        self.journal(cluster)
        return epoch

    async def identities(self) -> Mapping[ClusterName, Identity]:
        """Recorded identities."""
        return dict(self._identities)

    async def record_identity(self, cluster: ClusterName, identity: Identity) -> None:
        """First contact, or an accepted change."""
        self._identities[cluster] = identity

    async def forget_cluster(self, cluster: ClusterName) -> None:
        """Drop identity, statuses and journal; the epoch goes on rising."""
        self._identities.pop(cluster, None)
        self._clusters.pop(cluster, None)
        self._journals.pop(cluster, None)
        self._units = {unit: report for unit, report in self._units.items() if unit.cluster != cluster}

    async def rename_cluster(self, old: ClusterName, new: ClusterName, values: Mapping[str, str]) -> None:
        """Carry identity, journal, released and shown bundles and suspensions over, together with `values`."""
        carried, identity = self._journals.get(old), self._identities.get(old)
        kept = [row for unit, row in self._released.items() if unit.cluster == old]
        shown = {replace(unit, cluster=new): one for unit, one in self._shown.items() if unit.cluster == old}
        for cluster in (old, new):
            await self.forget_cluster(cluster)
            self._released = {unit: row for unit, row in self._released.items() if unit.cluster != cluster}
            self._shown = {unit: one for unit, one in self._shown.items() if unit.cluster != cluster}
        if carried is not None:
            carried.rename(new)
            self._journals[new] = carried
        if identity is not None:
            self._identities[new] = identity
        await self.put_released([replace(row, unit=replace(row.unit, cluster=new)) for row in kept], shown=shown)
        for scope, owner in list(self._suspensions):
            if (renamed := scope_renamed(scope, old, new)) != scope:
                moved = replace(self._suspensions.pop((scope, owner)), scope=renamed)
                self._suspensions.setdefault((renamed, owner), moved)
        self._values.update(values)

    def put_reports(self, reports: Sequence[Report]) -> None:
        """Cluster states, unit states and events."""
        for report in reports:
            self._clusters[report.cluster] = replace(report, units=(), operations=(), events=())
            if report.full:
                self._units = {unit: kept for unit, kept in self._units.items() if unit.cluster != report.cluster}
            for unit in report.units:
                self._units.pop(unit.unit, None)
                if not unit.detached:
                    self._units[unit.unit] = unit
            self._append(report.events)

    def tell_of_batches(self, told: Callable[[Exception | None], None]) -> None:
        """Nothing is batched here."""

    async def flush(self) -> None:
        """Nothing waits here."""

    async def cluster_reports(self) -> tuple[Report, ...]:
        """The last state of each cluster."""
        return tuple(self._clusters[cluster] for cluster in sorted(self._clusters))

    async def unit_reports(self) -> tuple[UnitReport, ...]:
        """The last state of each unit."""
        return tuple(sorted(self._units.values(), key=lambda report: (report.unit.cluster, report.unit.overlay)))

    async def put_released(
        self,
        rows: Sequence[ReleasedBundle],
        gone: Sequence[UnitName] = (),
        values: Mapping[str, str] | None = None,
        events: Sequence[Event] = (),
        shown: Mapping[UnitName, Shown] | None = None,
    ) -> None:
        """Kept at once."""
        self._values.update(values or {})
        self._append(events)
        for unit in gone:
            self._released.pop(unit, None)
        self._released.update({row.unit: row for row in rows})
        for unit in (*gone, *(row.unit for row in rows)):
            self._shown.pop(unit, None)
        self._shown.update(shown or {})

    async def released(self) -> tuple[ReleasedBundle, ...]:
        """All released bundles."""
        return tuple(sorted(self._released.values(), key=lambda row: (row.unit.cluster, row.unit.overlay)))

    async def shown(self) -> Mapping[UnitName, Shown]:
        """What units that do not go by themselves were shown last."""
        return dict(self._shown)

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
        """A page of the timeline."""

        def matches(row: EventRow) -> bool:
            event, named = row.event, row.event.unit
            return (
                (not cluster or event.cluster == cluster)
                and (not overlay or (named is not None and named.overlay == overlay))
                and (not unit or (named is not None and str(named) == unit))
            )

        if newest_first:
            rows = (row for row in reversed(self._events) if matches(row) and (not after or row.id < after))
        else:
            rows = (row for row in self._events if matches(row) and row.id > after)
        return tuple(itertools.islice(rows, limit))

    async def add_events(self, events: Sequence[Event]) -> tuple[EventRow, ...]:
        """Append events of the hub itself."""
        return self._append(events)

    async def write(self, entry: AuditEntry) -> Head:
        """Append one audit entry."""
        for hold in self._holds.values():
            if hold.decision == "rejected":
                withhold(entry, hold.id, hold.decided_by, hold.commit, listed_in(hold.requests))
        if entry.uid and not entry.approver:
            about = about_of(entry)
            approved = [hold for hold in self._holds.values() if hold.decision == "approved"]
            named = (hold.decided_by for hold in approved if about in listed_in(hold.requests))
            begun = (link.entry for link in reversed(self._audit) if about_of(link.entry) == about)
            last = (one.approver for one in begun if not one.outcome)
            entry = replace(entry, approver=next(last if entry.outcome else named, ""))
        head = next_head(self._audit_key, self._audit[-1].head if self._audit else START, entry)
        self._audit.append(Link(head.number, entry, head.seal))
        return head

    async def audit_entries(self, *, after: int = 0, limit: int = 100) -> tuple[Link, ...]:
        """A page of the audit log, oldest first."""
        return tuple(self._audit[after : after + limit])

    async def deleted(
        self, overlay: OverlayName, commits: Collection[Revision]
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What workers deleted of an overlay on behalf of these commits, by the audit log: done, or seen gone after."""
        entries = (link.entry for link in self._audit)
        return refs_by_unit(
            (entry.unit, entry.object)
            for entry in entries
            if (entry.action == "delete" and entry.outcome in DELETED and entry.commit in commits)
            and entry.unit.startswith(f"{overlay}@")
        )

    async def add_operation(self, row: OperationRow) -> OperationRow:
        """Keep a new operation, or return the earlier one of the same id or key."""
        for earlier in self._operations.values():
            same_key = row.idempotency_key and earlier.idempotency_key == row.idempotency_key
            if earlier.id == row.id or (same_key and earlier.actor == row.actor):
                return repeated_operation(earlier, row)
        self._operations[row.id] = row
        return row

    async def end_operation(self, operation: str, outcome: str, message: str, at: float) -> bool:
        """End it; False if it had ended already."""
        row = self._operations.get(operation)
        if row is None or row.outcome:
            return False
        self._operations[operation] = replace(row, outcome=outcome, message=message, ended_at=at)
        return True

    async def operations(
        self, *, open_only: bool = False, limit: int = 100, before: str = ""
    ) -> tuple[OperationRow, ...]:
        """Newest first."""
        newest_first = reversed(self._operations.values())
        if before:
            any(row.id == before for row in newest_first)  # goes past it
        rows = (row for row in newest_first if not (open_only and row.outcome))
        return tuple(itertools.islice(rows, limit))

    async def operation(self, operation: str) -> OperationRow | None:
        """One operation."""
        return self._operations.get(operation)

    async def put_suspension(self, suspension: Suspension) -> None:
        """Set or replace what its owner said of its scope."""
        self._suspensions[suspension.scope, suspension.owner] = replace(suspension, origin=None)

    async def lift_suspensions(self, scope: str, owners: Collection[str]) -> None:
        """Lift what these said of this scope."""
        for owner in owners:
            self._suspensions.pop((scope, owner), None)

    async def suspensions(self) -> tuple[Suspension, ...]:
        """All suspensions by command."""
        return tuple(self._suspensions[key] for key in sorted(self._suspensions))

    async def put_hold(self, row: HoldRow) -> HoldRow:
        """Open or renew; a new hold without id gets the next `h-N`."""
        for known in self._holds.values():
            if (known.overlay, known.commit) == (row.overlay, row.commit):
                return self._keep(renewed_hold(known, row))
        number = self._next("hold")
        return self._keep(replace(row, id=row.id or f"h-{number}"))

    async def decide_hold(
        self, hold: str, *, list_digest: Digest, decision: str, actor: str, reason: str, at: float
    ) -> HoldRow:
        """Approve or reject, once; a rejection overrules an approval, for what is not deleted yet."""
        known = self._hold(hold)
        begun = (link.entry for link in self._audit if link.entry.commit == known.commit)
        decided = decided_hold(
            known,
            list_digest=list_digest,
            decision=decision,
            actor=actor,
            reason=reason,
            at=at,
            gone=gone_by(begun if overrules(known, decision) else ()),
        )
        return self._keep(decided)

    async def holds(self, *, decisions: Collection[str] | None = None) -> tuple[HoldRow, ...]:
        """Newest first."""
        return tuple(row for row in reversed(self._holds.values()) if decisions is None or row.decision in decisions)

    async def hold(self, hold: str) -> HoldRow | None:
        """One hold."""
        return self._holds.get(hold)

    async def close_hold(self, hold: str, at: float) -> None:
        """Nothing is to be deleted any more."""
        self._keep(closed_hold(self._hold(hold), at))

    async def add_token(self, row: TokenRow) -> bool:
        """Keep a token's digest; False where one of its name is in force."""
        if any(known.name == row.name and known.is_in_force(row.created_at) for known in self._tokens.values()):
            return False
        self._tokens[row.id] = row
        return True

    async def revoke_token(self, token: str, at: float) -> bool:
        """By id or name; False if no token in force is called so."""
        named = [row for row in self._tokens.values() if token in (row.id, row.name) and not row.revoked_at]
        self._tokens.update({row.id: replace(row, revoked_at=at) for row in named})
        return bool(named)

    async def token(self, digest: Digest) -> TokenRow | None:
        """By digest."""
        return next((row for row in self._tokens.values() if row.digest == digest), None)

    async def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens, oldest first."""
        return tuple(sorted(self._tokens.values(), key=lambda row: (row.created_at, row.id)))

    async def put_credential(self, name: str, kubeconfig: bytes, at: float) -> None:
        """Keep one."""
        self._credentials[name] = (kubeconfig, at)

    async def renew_credential(self, name: str, known: bytes, renewed: bytes, at: float) -> bool:
        """In the place of `known` alone."""
        if self._credentials.get(name, (b"", 0.0))[0] != known:
            return False
        self._credentials[name] = (renewed, at)
        return True

    async def remove_credential(self, name: str) -> bool:
        """False if there was none."""
        return self._credentials.pop(name, None) is not None

    async def credentials(self) -> Mapping[str, float]:
        """Names and times."""
        return {name: self._credentials[name][1] for name in sorted(self._credentials)}

    async def credential(self, name: str) -> bytes | None:
        """One entry."""
        found = self._credentials.get(name)
        return None if found is None else found[0]

    async def close(self) -> None:
        """Nothing to close."""

    def _next(self, name: str, count: int = 1) -> int:
        first = self._numbers[name] + 1
        self._numbers[name] += count
        return first

    def _append(self, events: Sequence[Event]) -> tuple[EventRow, ...]:
        rows = tuple(EventRow(self._next("event"), event) for event in events)
        self._events.extend(rows)
        return rows

    def _hold(self, hold: str) -> HoldRow:
        if (known := self._holds.get(hold)) is None:
            raise hold_unknown(hold)
        return known

    def _keep(self, hold: HoldRow) -> HoldRow:
        self._holds[hold.id] = hold
        return hold
