"""One cluster's objects: one rising resourceVersion, a window of history for watches, 410 beyond it.

An object lies as JSON bytes without kind and apiVersion, so that a list or an event is put together by copying. The
store knows nothing of kinds, requests or rules.
"""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import orjson

from fleet.core.documents import Document, documents_at, mapping_at, parse_document, text_at
from fleet.values import dataclass, field

Key = tuple[str, str]  # namespace ("" for cluster scope), name
_NO_LABELS: Mapping[str, str] = {}


@dataclass(slots=True, eq=False)
class Row:
    """One state of one object."""

    body: bytes
    version: int
    labels: Mapping[str, str]
    uid: str = ""
    owners: tuple[str, ...] = ()  # UIDs of ownerReferences
    deleting: bool = False
    applied: object = None  # the apply that made or confirmed this state, so that its repetition is known at once

    def document(self) -> Document:
        """The object, parsed anew, without kind and apiVersion."""
        return parse_document(self.body)


@dataclass(slots=True, eq=False)
class Event:
    """One change: before is None for a create, after is None for a delete."""

    version: int
    resource: str
    key: Key
    before: Row | None
    after: Row | None
    moment: float
    shapes: dict[object, bytes] = field(default_factory=lambda: {})  # encoded once, sent to many watchers


Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects at one moment."""

    version: int
    rows: Mapping[str, Mapping[Key, Row]]


class Store:
    """All objects of one cluster. Single-threaded; every write is one event."""

    def __init__(self, *, history: int = 4000, history_seconds: float = 300.0, first_version: int = 1) -> None:
        self.version = first_version
        self.compacted = 0  # watches and lists from before this are answered 410
        self._history, self._history_seconds = history, history_seconds
        self._rows: dict[str, dict[Key, Row]] = {}
        self._events: deque[Event] = deque()
        self._listeners: dict[str, list[Listener]] = {}

    def get(self, resource: str, key: Key) -> Row | None:
        """The object as it stands."""
        rows = self._rows.get(resource)
        return rows.get(key) if rows else None

    def rows(self, resource: str) -> Mapping[Key, Row]:
        """All objects of a resource; not in order."""
        return self._rows.get(resource, {})

    def resources(self) -> Iterator[str]:
        """Resources that hold objects."""
        return (resource for resource, rows in self._rows.items() if rows)

    def put(self, resource: str, key: Key, document: Document) -> Row:
        """Store a new state; sets metadata.resourceVersion in the given document."""
        self.version += 1
        metadata = mapping_at(document, "metadata")
        metadata["resourceVersion"] = str(self.version)
        labels = mapping_at(metadata, "labels")
        raw = orjson.dumps({name: value for name, value in document.items() if name not in {"kind", "apiVersion"}})
        row = Row(
            b"{" + raw[1:],  # a copy of its own size: orjson's buffer is up to twice as long
            self.version,
            {name: str(value) for name, value in labels.items()} if labels else _NO_LABELS,
            text_at(metadata, "uid"),
            tuple(text_at(one, "uid") for one in documents_at(metadata, "ownerReferences")),
            "deletionTimestamp" in metadata,
        )
        rows = self._rows.setdefault(resource, {})
        before = rows.get(key)
        rows[key] = row
        self._publish(Event(self.version, resource, key, before, row, time.monotonic()))
        return row

    def delete(self, resource: str, key: Key) -> Row | None:
        """Remove an object; its last state, or None if it was not there."""
        before = self._rows.get(resource, {}).pop(key, None)
        if before is not None:
            self.version += 1
            self._publish(Event(self.version, resource, key, before, None, time.monotonic()))
        return before

    def _publish(self, event: Event) -> None:
        events = self._events
        events.append(event)
        if len(events) > self._history:
            self.compacted = events.popleft().version
        for name in (event.resource, "*"):
            for listener in tuple(self._listeners.get(name, ())):
                listener(event)

    def prune(self) -> None:
        """Forget events older than the window; called now and then, so that a quiet store shrinks too."""
        oldest = time.monotonic() - self._history_seconds
        events = self._events
        while events and events[0].moment < oldest:
            self.compacted = events.popleft().version

    def compact(self) -> None:
        """Forget all history now: every older resourceVersion is gone."""
        self._events.clear()
        self.compacted = self.version

    def snapshot(self) -> Snapshot:
        """All objects as they stand."""
        return Snapshot(self.version, {resource: dict(rows) for resource, rows in self._rows.items()})

    def restore(self, snapshot: Snapshot, *, ahead: int = 0) -> None:
        """Put all objects back as they stood; the history begins anew, `ahead` versions after the snapshot's own."""
        self._rows = {resource: dict(rows) for resource, rows in snapshot.rows.items()}
        self.version = snapshot.version + ahead
        self.compact()

    def listen(self, resource: str, listener: Listener) -> Callable[[], None]:
        """Hear each event of a resource ("*": of all) from now on; call the result to stop."""
        listeners = self._listeners.setdefault(resource, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener)

    def since(self, resource: str, version: int) -> list[Event]:
        """Events of a resource after this version; the caller has checked `compacted`."""
        events = self._events
        start = bisect.bisect_right(events, version, key=lambda event: event.version)
        return [events[index] for index in range(start, len(events)) if events[index].resource == resource]

    def rows_at(self, resource: str, version: int) -> dict[Key, Row]:
        """The objects of a resource as they stood at an earlier version (for the later pages of a list)."""
        rows = dict(self._rows.get(resource, {}))
        for event in reversed(self.since(resource, version)):
            if event.before is None:
                rows.pop(event.key, None)
            else:
                rows[event.key] = event.before
        return rows
