"""The hub's state in SQL: SQLite for one hub, written so that PostgreSQL can take its place.

`open_state` is the way in: it locks the directory, brings the schema up to date, proves the key, and opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from fleet.core.audit import AuditEntry, Head, Link
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.results import Shown
from fleet.core.status import Event, Report, UnitReport
from fleet.core.sync_policy import Suspension
from fleet.errors import StateError
from fleet.ports.state import EventRow, HoldRow, OperationRow, ReleasedBundle, TokenRow
from fleet.store import tables
from fleet.store.audit import SqlAudit
from fleet.store.crypto import DATABASE_FILE, Cipher, FoundKey, audit_key
from fleet.store.database import Database
from fleet.store.encode import decode_cluster, decode_unit
from fleet.store.events import EVENT_CAP, append_events, page_of_events, values_of_event
from fleet.store.holds import SqlHolds, next_number
from fleet.store.journal import SqlJournal
from fleet.store.lane import Lane, UnitKey
from fleet.store.lock import DirectoryLock
from fleet.store.operations import SqlOperations
from fleet.store.puts import Puts
from fleet.store.released import put_bundles, released_in, shown_in
from fleet.store.rename import rename_cluster
from fleet.store.rotation import SqlKeys
from fleet.store.run_time import RUN_TIME, run_time_from
from fleet.store.schema import prepare_database
from fleet.store.sealed import SqlCredentials, check_key, say_chained
from fleet.store.secret_values import SqlVault
from fleet.store.tokens import SqlTokens


async def open_state(
    directory: Path, key: bytes, *, older: Sequence[bytes] = (), event_cap: int = EVENT_CAP
) -> SqlState:
    """Open the state of a data directory, made with mode 0700 if absent; it is ours until `close`.

    key: seals; older: keys that only open what is there.
    Raises StateInUse, StateNewer, StateDamaged, StateNotWritable, KeyMissing; then the directory is free again.
    """
    lock = await asyncio.to_thread(DirectoryLock, directory)
    path = directory / DATABASE_FILE
    try:
        await asyncio.to_thread(prepare_database, path)
        database = Database(f"sqlite:///{path}", where=str(path))
    except BaseException:
        lock.release()
        raise
    try:
        cipher = Cipher(key, *older)
        bound = await check_key(database, cipher, where=str(path))
        audit = SqlAudit(database, audit_key(bound.root))
        await audit.open(where=str(path), begin=None if bound.is_chained else partial(say_chained, cipher=cipher))
        known, kept = await database.read(lambda connection: (_known_units(connection), _value(connection, RUN_TIME)))
        run_time = run_time_from(kept)
    except BaseException:
        await database.close()
        lock.release()
        raise
    lane = Lane(database, known_units=known, event_cap=event_cap)
    return SqlState(database, cipher, lane, lock, audit, run_time, root=bound.root, where=str(path))


class SqlState:
    """`fleet.ports.state.State` in a database."""

    def __init__(
        self,
        database: Database,
        cipher: Cipher,
        lane: Lane,
        lock: DirectoryLock,
        audit: SqlAudit,
        run_time: Callable[[], float],
        *,
        root: bytes,
        where: str,
    ) -> None:
        self.root = root  # what digests and names are derived from, whichever key seals the store
        self._cipher, self._where = cipher, where
        self._database, self._lane, self._lock, self._audit = database, lane, lock, audit
        self.run_time = run_time
        self._holds = SqlHolds(database)
        self._operations = SqlOperations(database)
        self._tokens = SqlTokens(database)
        self._credentials = SqlCredentials(database, cipher)
        self.vault = SqlVault(database, cipher, run_time)

    def journal(self, cluster: ClusterName) -> SqlJournal:
        """The journal of one cluster's worker."""
        return SqlJournal(cluster, self._database, self._lane, self.run_time)

    def keys(self, read: Callable[[], FoundKey | None]) -> SqlKeys:
        """What brings this store to another key; read: finds the keys where they lie now."""
        return SqlKeys(self._database, self._cipher, where=self._where, read=read)

    async def keep_run_time(self) -> None:
        """Durable when this returns."""
        await self.set_value(RUN_TIME, repr(self.run_time()))

    # The hub's own small values

    async def get_value(self, name: str) -> str | None:
        """A small named value of the hub itself."""
        return await self._database.read(lambda connection: _value(connection, name))

    async def set_value(self, name: str, value: str) -> None:
        """Durable when this returns."""
        puts = Puts()
        puts.put(tables.VALUES, {"name": f"hub/{name}", "text": value})
        await self._database.put(puts)

    async def change_value(self, name: str, change: Callable[[str | None], str]) -> None:
        """Durable when this returns."""

        def work(connection: Connection) -> None:
            puts = Puts()
            puts.put(tables.VALUES, {"name": f"hub/{name}", "text": change(_value(connection, name))})
            puts.write(connection)

        await self._database.write(work)

    async def next_sequence(self, count: int = 1) -> int:
        """Reserve `count` rising numbers; the first of them."""
        return await self._database.write(lambda connection: next_number(connection, "sequence", count))

    async def next_epoch(self, cluster: ClusterName) -> int:
        """A higher epoch for this cluster than any before; it outlives `forget_cluster`."""
        return await self._database.write(lambda connection: next_number(connection, f"epoch/{cluster}"))

    # Clusters and units

    async def identities(self) -> Mapping[ClusterName, Identity]:
        """Recorded identities."""
        query = select(tables.IDENTITIES.c.cluster, tables.IDENTITIES.c.identity)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {ClusterName(cluster): Identity(identity) for cluster, identity in rows}

    async def record_identity(self, cluster: ClusterName, identity: Identity) -> None:
        """First contact, or an accepted change."""
        puts = Puts()
        puts.put(tables.IDENTITIES, {"cluster": cluster, "identity": identity})
        await self._database.put(puts)

    async def forget_cluster(self, cluster: ClusterName) -> None:
        """Drop identity, statuses and journal; the epoch goes on rising."""
        self._lane.forget_cluster(cluster)

        def forget(connection: Connection) -> None:
            for table in (tables.IDENTITIES, *tables.BY_CLUSTER):
                connection.execute(table.delete().where(table.c.cluster == cluster))

        await self._database.write(forget)

    async def rename_cluster(self, old: ClusterName, new: ClusterName, values: Mapping[str, str]) -> None:
        """Carry identity, journal, released bundles and suspensions over, together with `values`."""
        await self._lane.flush()  # what the old name's worker jotted last belongs to it
        for cluster in (old, new):
            self._lane.forget_cluster(cluster)

        await self._database.write(lambda connection: rename_cluster(connection, old, new, values))

    def put_reports(self, reports: Sequence[Report]) -> None:
        """Batched: cluster states, unit states and events."""
        self._lane.report(reports)

    def tell_of_batches(self, told: Callable[[Exception | None], None]) -> None:
        """Whom to tell of a bug that stops what is batched, and with None that it is written again."""
        self._lane.told = told

    async def flush(self) -> None:
        """Write all batched lanes now."""
        await self._lane.flush()

    async def cluster_reports(self) -> tuple[Report, ...]:
        """The last written state of each cluster."""
        query = select(tables.CLUSTER_REPORTS.c.body).order_by(tables.CLUSTER_REPORTS.c.cluster)
        bodies = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return tuple(map(decode_cluster, bodies))

    async def unit_reports(self) -> tuple[UnitReport, ...]:
        """The last written state of each unit."""
        table = tables.UNIT_REPORTS
        query = select(table.c.body).order_by(table.c.cluster, table.c.overlay)
        bodies = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return await asyncio.to_thread(lambda: tuple(map(decode_unit, bodies)))

    async def put_released(
        self,
        rows: Sequence[ReleasedBundle],
        gone: Sequence[UnitName] = (),
        values: Mapping[str, str] | None = None,
        events: Sequence[Event] = (),
        shown: Mapping[UnitName, Shown] | None = None,
    ) -> None:
        """Durable when this returns, together with `values`, `events` and `shown`."""
        puts = Puts()
        for event in events:
            puts.append(tables.EVENTS, values_of_event(event))
        for name, value in (values or {}).items():
            puts.put(tables.VALUES, {"name": f"hub/{name}", "text": value})
        put_bundles(puts, rows, gone, shown or {})
        await self._database.put(puts)

    async def released(self) -> tuple[ReleasedBundle, ...]:
        """All released bundles."""
        return await self._database.read(released_in)

    async def shown(self) -> Mapping[UnitName, Shown]:
        """What units that do not go by themselves were shown last."""
        return await self._database.read(shown_in)

    # Timeline and evidence

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
        return await page_of_events(
            self._database,
            after=after,
            limit=limit,
            cluster=cluster,
            overlay=overlay,
            unit=unit,
            newest_first=newest_first,
        )

    async def add_events(self, events: Sequence[Event]) -> tuple[EventRow, ...]:
        """Append events of the hub itself; durable when this returns."""
        return await append_events(self._database, events)

    async def write(self, entry: AuditEntry) -> Head:
        """Append one audit entry; durable when this returns the chain's new head."""
        return await self._audit.write(entry)

    async def audit_entries(self, *, after: int = 0, limit: int = 100) -> tuple[Link, ...]:
        """A page of the audit log, oldest first."""
        return await self._audit.entries(after=after, limit=limit)

    async def deleted(
        self, overlay: OverlayName, commits: Collection[Revision]
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What workers deleted of an overlay on behalf of these commits, by the audit log: done, or seen gone after."""
        return await self._audit.deleted(overlay, commits)

    # Operations, suspensions, holds

    async def add_operation(self, row: OperationRow) -> OperationRow:
        """Keep a new operation, or return the earlier one of the same key."""
        return await self._operations.add(row)

    async def end_operation(self, operation: str, outcome: str, message: str, at: float) -> bool:
        """End it; False if it had ended already."""
        return await self._operations.end(operation, outcome, message, at)

    async def operations(
        self, *, open_only: bool = False, limit: int = 100, before: str = ""
    ) -> tuple[OperationRow, ...]:
        """Newest first."""
        return await self._operations.all(open_only=open_only, limit=limit, before=before)

    async def operation(self, operation: str) -> OperationRow | None:
        """One operation."""
        return await self._operations.one(operation)

    async def put_suspension(self, suspension: Suspension) -> None:
        """Set or replace what its owner said of its scope."""
        puts = Puts()
        fields = ("scope", "reason", "owner", "until")
        puts.put(tables.SUSPENSIONS, {name: getattr(suspension, name) for name in fields})
        await self._database.put(puts)

    async def lift_suspensions(self, scope: str, owners: Collection[str]) -> None:
        """Lift what these said of this scope, in one write."""
        puts = Puts()
        for owner in owners:
            puts.drop(tables.SUSPENSIONS, scope, owner)
        await self._database.put(puts)

    async def suspensions(self) -> tuple[Suspension, ...]:
        """All suspensions by command."""
        query = select(tables.SUSPENSIONS).order_by(tables.SUSPENSIONS.c.scope, tables.SUSPENSIONS.c.owner)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return tuple(Suspension(row.reason, row.owner, row.until, row.scope) for row in rows)

    async def put_hold(self, row: HoldRow) -> HoldRow:
        """Open or renew; a new hold without id gets the next `h-N`."""
        return await self._holds.put(row)

    async def decide_hold(
        self, hold: str, *, list_digest: Digest, decision: str, actor: str, reason: str, at: float
    ) -> HoldRow:
        """Approve or reject, once; a rejection overrules an approval, for what is not deleted yet."""
        return await self._holds.decide(
            hold, list_digest=list_digest, decision=decision, actor=actor, reason=reason, at=at
        )

    async def holds(self, *, decisions: Collection[str] | None = None) -> tuple[HoldRow, ...]:
        """Newest first."""
        return await self._holds.all(decisions)

    async def hold(self, hold: str) -> HoldRow | None:
        """One hold."""
        return await self._holds.one(hold)

    async def close_hold(self, hold: str, at: float) -> None:
        """Nothing is to be deleted any more."""
        await self._holds.close(hold, at)

    # Tokens and credentials

    async def add_token(self, row: TokenRow) -> bool:
        """Keep a token's digest; False where one of its name is in force."""
        return await self._tokens.add(row)

    async def revoke_token(self, token: str, at: float) -> bool:
        """By id or name; False if no token in force is called so."""
        return await self._tokens.revoke(token, at)

    async def token(self, digest: Digest) -> TokenRow | None:
        """By digest."""
        return await self._tokens.by_digest(digest)

    async def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens, oldest first."""
        return await self._tokens.all()

    async def put_credential(self, name: str, kubeconfig: bytes, at: float) -> None:
        """Encrypted at rest."""
        await self._credentials.put(name, kubeconfig, at)

    async def renew_credential(self, name: str, known: bytes, renewed: bytes, at: float) -> bool:
        """In the place of `known` alone."""
        return await self._credentials.renew(name, known, renewed, at)

    async def remove_credential(self, name: str) -> bool:
        """False if there was none."""
        return await self._credentials.remove(name)

    async def credentials(self) -> Mapping[str, float]:
        """Names and times of the encrypted entries."""
        return await self._credentials.names()

    async def credential(self, name: str) -> bytes | None:
        """One entry in clear."""
        return await self._credentials.get(name)

    async def close(self) -> None:
        """Flush and close; the directory is free afterwards, also if the last flush fails."""
        await self._lane.close()
        try:
            await self._lane.flush()
            await self.keep_run_time()
        except StateError:
            # Only what the clusters tell again is lost; everything durable was written before.
            pass
        finally:
            await self._database.close()
            self._lock.release()


def _value(connection: Connection, name: str) -> str | None:
    query = select(tables.VALUES.c.text).where(tables.VALUES.c.name == f"hub/{name}")
    return connection.execute(query).scalar()


def _known_units(connection: Connection) -> set[UnitKey]:
    table = tables.UNIT_REPORTS
    rows = connection.execute(select(table.c.cluster, table.c.overlay)).all()
    return {(ClusterName(cluster), OverlayName(overlay)) for cluster, overlay in rows}
