"""A cluster that got another name keeps its record (R2): all that is kept under the old name moves at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection, select

from fleet.core.ids import ClusterName
from fleet.core.release import scope_renamed
from fleet.store import tables
from fleet.store.encode import decode_memory, encode_memory


def rename_cluster(connection: Connection, old: ClusterName, new: ClusterName, values: Mapping[str, str]) -> None:
    """Do it in one transaction, together with some values of the hub; what `new` had is dropped."""
    for table in (tables.CLUSTER_REPORTS, tables.UNIT_REPORTS):
        connection.execute(table.delete().where(table.c.cluster.in_((old, new))))
    for table in tables.OF_RECORD:
        connection.execute(table.delete().where(table.c.cluster == new))
        connection.execute(table.update().where(table.c.cluster == old).values(cluster=new))
    _rename_memories(connection, new)
    _rename_scopes(connection, old, new)
    for name, text in values.items():
        connection.execute(tables.VALUES.delete().where(tables.VALUES.c.name == f"hub/{name}"))
        connection.execute(tables.VALUES.insert().values(name=f"hub/{name}", text=text))


def _rename_memories(connection: Connection, cluster: ClusterName) -> None:
    """Let what is remembered of units name the cluster under whose name it lies now."""
    table = tables.JOURNAL_UNITS
    mine = select(table.c.overlay, table.c.body).where(table.c.cluster == cluster)
    for overlay, body in connection.execute(mine).all():
        memory = decode_memory(body)
        renamed = encode_memory(replace(memory, unit=replace(memory.unit, cluster=cluster)))
        this = (table.c.cluster == cluster, table.c.overlay == overlay)
        connection.execute(table.update().where(*this).values(body=renamed))


def _rename_scopes(connection: Connection, old: ClusterName, new: ClusterName) -> None:
    """What is suspended stays suspended; where somebody stopped it under both names, the word on the new one stands."""
    table = tables.SUSPENSIONS
    keys = {(row.scope, row.owner) for row in connection.execute(select(table.c.scope, table.c.owner))}
    for scope, owner in keys:
        renamed = scope_renamed(scope, old, new)
        this = (table.c.scope == scope, table.c.owner == owner)
        if (renamed, owner) in keys and renamed != scope:
            connection.execute(table.delete().where(*this))
        elif renamed != scope:
            connection.execute(table.update().where(*this).values(scope=renamed))
