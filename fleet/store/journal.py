"""One worker's write-ahead memory in the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, UnitName, names_no_object
from fleet.core.record import Row, RowState
from fleet.errors import StateDamaged, StateNotWritable
from fleet.ports.worker import Deletion, JournalEntry, JournalState
from fleet.store import tables
from fleet.store.database import Database
from fleet.store.encode import decode_memory, encode_memory
from fleet.store.lane import Lane
from fleet.store.puts import Puts

DELETIONS_SECONDS = 3600.0  # the sliding hour of R9
VERDICTS_KEPT = 5_000  # per cluster


class SqlJournal:
    """`fleet.ports.worker.Journal`: commits are durable and shared, jots go with the lane."""

    def __init__(self, cluster: ClusterName, database: Database, lane: Lane, run_time: Callable[[], float]) -> None:
        self._cluster, self._database, self._lane = cluster, database, lane
        self.run_time = run_time

    async def load(self) -> JournalState:
        """Everything, jots of this process included."""
        # A full disk must not keep a worker from observing; what waits is then only what the cluster tells again.
        with suppress(StateNotWritable):
            await self._lane.flush()
        found = await self._database.read(self._read)
        oldest = self.run_time() - DELETIONS_SECONDS
        counted = tuple(gone for gone in found.deletions if gone.at >= oldest)
        if len(counted) < len(found.deletions) or len(found.verdicts) > VERDICTS_KEPT:
            with suppress(StateNotWritable):
                await self._database.write(self._expire)
        return replace(found, deletions=counted)

    async def commit(self, entry: JournalEntry) -> None:
        """Durable when this returns."""
        puts = puts_of(self._cluster, entry)
        self._lane.supersede(puts)
        await self._database.put(puts)

    def jot(self, entry: JournalEntry) -> None:
        """Written with the next window."""
        self._lane.jot(puts_of(self._cluster, entry))

    def _expire(self, connection: Connection) -> None:
        """Drop deletions that no longer count; too many verdicts are all forgotten, each costs one dry-run again."""
        deletions, verdicts = tables.JOURNAL_DELETIONS, tables.JOURNAL_VERDICTS
        old = self.run_time() - DELETIONS_SECONDS
        connection.execute(deletions.delete().where(deletions.c.cluster == self._cluster, deletions.c.at < old))
        mine = verdicts.c.cluster == self._cluster
        if connection.execute(select(func.count()).where(mine)).scalar_one() > VERDICTS_KEPT:
            connection.execute(verdicts.delete().where(mine))

    def _read(self, connection: Connection) -> JournalState:
        cluster = self._cluster

        def of(table: Any, *columns: Any) -> Any:
            return connection.execute(select(*columns).where(table.c.cluster == cluster))

        rows, units = tables.JOURNAL_ROWS, tables.JOURNAL_UNITS
        resume, verdicts = tables.JOURNAL_RESUME, tables.JOURNAL_VERDICTS
        deletions, clusters, counters = tables.JOURNAL_DELETIONS, tables.JOURNAL_CLUSTERS, tables.COUNTERS
        identity = of(clusters, clusters.c.identity).scalar()
        epoch = connection.execute(select(counters.c.number).where(counters.c.name == f"epoch/{cluster}")).scalar()
        columns = [column for column in rows.columns if column.name != "cluster"]
        return JournalState(
            rows=tuple(_row(cluster, values) for values in of(rows, *columns) if not names_no_object(values.object)),
            units=tuple(decode_memory(body) for (body,) in of(units, units.c.body)),
            resume=dict(of(resume, resume.c.kind, resume.c.resource_version).all()),
            deletions=tuple(
                Deletion(UnitName(OverlayName(one.overlay), cluster), ObjectRef.from_key(one.object), one.at)
                for one in of(deletions, deletions)
                if not names_no_object(one.object)
            ),
            identity=Identity(identity) if identity else None,
            epoch=epoch or 0,
            verdicts={
                question: bool(verdict) for question, verdict in of(verdicts, verdicts.c.question, verdicts.c.in_sync)
            },
        )


def puts_of(cluster: ClusterName, entry: JournalEntry) -> Puts:
    """An entry as rows. In one entry a row that is both dropped and put is put."""
    puts = Puts()
    for unit, ref in entry.drop:
        puts.drop(tables.JOURNAL_ROWS, cluster, unit.overlay, ref.key)
    for unit in entry.drop_units:
        puts.drop(tables.JOURNAL_UNITS, cluster, unit.overlay)
    for row in entry.put:
        puts.put(tables.JOURNAL_ROWS, _values_of_row(cluster, row))
    for memory in entry.units:
        values = {"cluster": cluster, "overlay": memory.unit.overlay, "body": encode_memory(memory)}
        puts.put(tables.JOURNAL_UNITS, values)
    for kind, version in entry.resume.items():
        if version:
            puts.put(tables.JOURNAL_RESUME, {"cluster": cluster, "kind": kind, "resource_version": version})
        else:
            puts.drop(tables.JOURNAL_RESUME, cluster, kind)
    for question, verdict in entry.verdicts.items():
        puts.put(tables.JOURNAL_VERDICTS, {"cluster": cluster, "question": question, "in_sync": verdict})
    for unit, ref in entry.drop_deletions:
        of_it = {"cluster": cluster, "overlay": unit.overlay, "object": ref.key}
        puts.take_out(tables.JOURNAL_DELETIONS, of_it)
    for gone in entry.deletions:
        values = {"cluster": cluster, "overlay": gone.unit.overlay, "object": gone.ref.key, "at": gone.at}
        puts.append(tables.JOURNAL_DELETIONS, values)
    if entry.identity is not None:
        puts.put(tables.JOURNAL_CLUSTERS, {"cluster": cluster, "identity": entry.identity})
    return puts


def _values_of_row(cluster: ClusterName, row: Row) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "overlay": row.unit.overlay,
        "object": row.ref.key,
        "state": row.state.value,
        "uid": row.uid,
        "version": row.version,
        "desired": row.desired,
        "fingerprint": row.fingerprint,
        "fields": row.fields,
        "resource_version": row.resource_version,
        "since": row.since,
        "form": row.form,
    }


def _row(cluster: ClusterName, values: Any) -> Row:
    overlay, key, state, uid, version, desired, fingerprint, fields, resource_version, since, form = values
    try:
        ref, standing = ObjectRef.from_key(key), RowState(state)
    except ValueError as error:
        raise StateDamaged(
            "a row of the journal does not read back",
            where=f"{overlay}@{cluster}",
            next_step="restore the data directory from a backup",
        ) from error
    return Row(
        unit=UnitName(OverlayName(overlay), cluster),
        ref=ref,
        state=standing,
        uid=uid,
        version=version,
        desired=Digest(desired),
        fingerprint=Digest(fingerprint),
        fields=fields,
        resource_version=resource_version,
        since=since,
        form=form,
    )
