"""The timeline: events in the order in which they were kept, the oldest dropped above a cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from fleet.core.ids import ClusterName, ObjectRef, OverlayName, Revision, UnitName, names_no_object
from fleet.core.status import Event, EventKind
from fleet.ports.state import EventRow
from fleet.store.database import Database
from fleet.store.puts import Values
from fleet.store.tables import EVENTS

EVENT_CAP = 100_000
_PRUNE_BATCH = 2_000


def values_of_event(event: Event) -> Values:
    """An event as columns."""
    return {
        "at": event.at,
        "kind": event.kind.value,
        "cluster": event.cluster,
        "overlay": event.unit.overlay if event.unit else "",
        "message": event.message,
        "revision": event.commit or "",
        "object": event.ref.key if event.ref else "",
    }


def _event_row(row: Row[Any]) -> EventRow:
    unit = UnitName(OverlayName(row.overlay), ClusterName(row.cluster)) if row.overlay else None
    event = Event(
        at=row.at,
        kind=EventKind(row.kind),
        cluster=ClusterName(row.cluster),
        unit=unit,
        message=row.message,
        commit=Revision(row.revision) if row.revision else None,
        ref=ObjectRef.from_key(row.object) if row.object and not names_no_object(row.object) else None,
    )
    return EventRow(row.id, event)


async def page_of_events(
    database: Database, *, after: int, limit: int, cluster: str, overlay: str, unit: str, newest_first: bool
) -> tuple[EventRow, ...]:
    """A page; `after` is the last id of the page before, in the order of reading (0: from its start)."""
    query = select(EVENTS).limit(limit)
    if unit:
        named, _, on = unit.partition("@")
        query = query.where(EVENTS.c.overlay == named, EVENTS.c.cluster == on)
    if cluster:
        query = query.where(EVENTS.c.cluster == cluster)
    if overlay:
        query = query.where(EVENTS.c.overlay == overlay)
    if newest_first:
        query = query.order_by(EVENTS.c.id.desc())
        query = query.where(EVENTS.c.id < after) if after else query
    else:
        query = query.where(EVENTS.c.id > after).order_by(EVENTS.c.id)

    def page(connection: Connection) -> tuple[EventRow, ...]:
        return tuple(map(_event_row, connection.execute(query)))

    return await database.read(page)


async def append_events(database: Database, events: Sequence[Event]) -> tuple[EventRow, ...]:
    """Append and return with ids, in the order given."""

    def append(connection: Connection) -> tuple[EventRow, ...]:
        added: list[EventRow] = []
        for event in events:
            key = connection.execute(EVENTS.insert().values(**values_of_event(event))).inserted_primary_key
            added.append(EventRow(key[0] if key else 0, event))
        return tuple(added)

    return await database.write(append) if events else ()


async def prune_events(database: Database, *, keep: int) -> None:
    """Drop the oldest events above `keep`, in small transactions."""

    def bounds(connection: Connection) -> tuple[int, int]:
        first, last = connection.execute(select(func.min(EVENTS.c.id), func.max(EVENTS.c.id))).one()
        return first or 0, last or 0

    first, last = await database.read(bounds)
    while first <= last - keep:
        first = min(first + _PRUNE_BATCH, last - keep + 1)
        below = first

        def prune(connection: Connection, below: int = below) -> None:
            connection.execute(delete(EVENTS).where(EVENTS.c.id < below))

        await database.write(prune)
