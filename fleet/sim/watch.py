"""Watches: one writer coroutine each, woken by the store; no timer but the cluster's bookmark rhythm.

What label or field selectors let through is judged on both sides of a change, so that an object that stops matching
leaves with DELETED and one that starts comes with ADDED, as the real watch cache does it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from fleet.core.documents import Document, mapping_at
from fleet.sim.calls import Call
from fleet.sim.kinds import Kind
from fleet.sim.reads import Filter, Form, encode, invalid_version, with_version
from fleet.sim.requests import truth
from fleet.sim.schema import zero
from fleet.sim.statuses import ApiError, Cause, expired, invalid_of
from fleet.sim.storage import Event, Store

if TYPE_CHECKING:
    from fleet.sim.faults import Faults

_BACKLOG = 10_000  # events that a slow reader may be behind before it is cut off
_MIN_SECONDS, _MAX_SECONDS = 1800, 3600
_PRE_TIMEOUT_BOOKMARK = 2.0


def line(kind: str, raw: bytes) -> bytes:
    """One event as it goes over the wire."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)


class Stream:
    """The way out of one open watch, with its faults. `run` writes until the client, the time or a fault ends it."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._wake: asyncio.Future[None] | None = None
        self.closed = False
        self.silent = False
        self.truncate = False  # a fault: break off in the middle of the next line
        self.drip_seconds = 0.0  # a fault: each byte comes so long after the one before

    def send(self, raw: bytes) -> None:
        """Queue bytes; a reader too far behind is closed."""
        if self.silent:
            return
        if len(self._queue) > _BACKLOG:
            self.close()
            return
        self._queue.append(raw)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> None:
        """End the watch after what is queued."""
        self.closed = True
        self._wake_up()

    def hush(self) -> None:
        """Say nothing from now on, and none of what is queued."""
        self._queue.clear()
        self.silent = True

    def expire(self) -> None:
        """Say 410 and end: what a client gets whose version is compacted away."""
        self._queue.clear()
        problem = expired("The resourceVersion for the provided watch is too old.")
        self.send(line("ERROR", orjson.dumps(problem.document())))
        self.close()

    async def run(self, response: web.StreamResponse) -> None:
        """Write until closed."""
        while True:
            if self._queue:
                batch = b"".join(self._queue)
                self._queue.clear()
                if self.truncate:
                    half = len(batch) // 2
                    await response.write(batch[: half + 1] if batch[half - 1 : half] == b"\n" else batch[:half])
                    return
                await self._write(response, batch)
                continue
            if self.closed:
                return
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None

    async def _write(self, response: web.StreamResponse, batch: bytes) -> None:
        if not self.drip_seconds:
            await response.write(batch)
            return
        for at in range(len(batch)):
            await response.write(batch[at : at + 1])
            await asyncio.sleep(self.drip_seconds)


class Watcher(Stream):
    """One open watch of a store, which calls `push`."""

    def __init__(self, store: Store, kind: Kind, wanted: Filter, form: Form, *, bookmarks: bool) -> None:
        super().__init__()
        self._store, self._kind, self._wanted, self._form = store, kind, wanted, form
        self.bookmarks = bookmarks
        self._seen = store.version
        self._asked = 0  # what came to be until then is not said

    @property
    def resource(self) -> str:
        """What is watched, as the store names it."""
        return self._kind.resource

    def push(self, event: Event) -> None:
        """Take an event of the watched resource, if it concerns this watch."""
        self._seen = event.version
        sent = self._line_of(event) if event.version > self._asked else None
        if sent is not None:
            self.send(sent)

    def _line_of(self, event: Event) -> bytes | None:
        wanted, before, after = self._wanted, event.before, event.after
        is_in = after is not None and wanted.takes(event.key, after)
        was_in = before is not None and wanted.takes(event.key, before)
        if is_in:
            kind = "MODIFIED" if was_in else "ADDED"
        elif was_in:
            kind = "DELETED"
        else:
            return None
        shape = (kind, self._kind.api_version, self._form)
        found = event.shapes.get(shape)
        if found is None:
            if kind == "DELETED":
                if before is None:
                    return None
                raw = with_version(encode(self._kind, before, self._form), event.version)
            else:
                if after is None:
                    return None
                raw = encode(self._kind, after, self._form)
            found = event.shapes[shape] = line(kind, raw)
        return found

    def bookmark(self, *, initial: bool = False) -> None:
        """Say up to which version this watch is complete."""
        metadata: Document = {"resourceVersion": str(self._store.version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._form is Form.METADATA:
            made: Document = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        else:
            made = {"kind": self._kind.kind, "apiVersion": self._kind.api_version}
            if self._kind.custom is None:
                made |= zero(self._kind.type)
            made["metadata"] = {**mapping_at(made, "metadata"), **metadata}
        self.send(line("BOOKMARK", orjson.dumps(made)))

    def begin(self, version: str, *, initial: bool) -> None:
        """Queue what lies between the asked version and now; raises ApiError for a version too old."""
        if version in {"", "0"} or initial:
            for key, row in sorted(self._store.rows(self._kind.resource).items()):
                if self._wanted.takes(key, row):
                    self._queue.append(line("ADDED", encode(self._kind, row, self._form)))
            if initial and self.bookmarks:
                self.bookmark(initial=True)
            return
        self._asked = asked = int(version)
        if asked < self._store.compacted:
            raise expired(f"too old resource version: {asked} ({self._store.compacted})")
        for event in self._store.since(self._kind.resource, asked):
            sent = self._line_of(event)
            if sent is not None:
                self._queue.append(sent)


class Watches:
    """All open watches of one cluster; sends their bookmarks on one timer."""

    def __init__(self, store: Store, *, bookmark_seconds: float) -> None:
        self._store, self._bookmark_seconds = store, bookmark_seconds
        self.open: set[Watcher] = set()

    async def beat(self) -> None:
        """Bookmark all watches at the real rhythm; runs as long as the cluster."""
        while True:
            await asyncio.sleep(self._bookmark_seconds)
            self._store.prune()
            self.bookmark_all()

    def bookmark_all(self) -> None:
        """Tell all watches that want to know how far they are, now."""
        for watcher in tuple(self.open):
            if watcher.bookmarks:
                watcher.bookmark()

    def close_all(self) -> None:
        """End every watch (a restart of the server, a fault)."""
        for watcher in tuple(self.open):
            watcher.close()

    def close_resource(self, resource: str) -> None:
        """End the watches of a resource that is served no more."""
        for watcher in tuple(self.open):
            if watcher.resource == resource:
                watcher.close()

    async def serve(
        self,
        call: Call,
        kind: Kind,
        wanted: Filter,
        form: Form,
        faults: Faults,
        started: Callable[[int], None],
    ) -> web.StreamResponse:
        """Answer one watch request."""
        query = call.query
        bookmarks = truth(query.get("allowWatchBookmarks"))
        initial = truth(query.get("sendInitialEvents"))
        _check_options(query, initial=initial)
        version = query.get("resourceVersion", "")
        if version and not version.isdigit():
            raise invalid_version(version)
        watcher = Watcher(self._store, kind, wanted, form, bookmarks=bookmarks)
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private", **faults.date()}
        )
        response.enable_chunked_encoding()
        try:
            watcher.begin(version, initial=initial)
        except ApiError as problem:
            watcher.send(line("ERROR", orjson.dumps(problem.document())))
            watcher.close()
        seconds = _seconds(query)
        stop_listening = self._store.listen(kind.resource, watcher.push)
        self.open.add(watcher)
        timers = _timers(watcher, seconds)
        faults.on_watch(watcher, call.target, call.agent)
        try:
            started(200)
            writer = await response.prepare(call.request)
            if writer is not None:
                writer.send_headers()  # at once: a quiet watch has no first chunk to carry them
            await watcher.run(response)
            await response.write_eof()
        except ConnectionError:
            pass  # the client hung up: that is how most watches end
        finally:
            for timer in timers:
                timer.cancel()
            stop_listening()
            self.open.discard(watcher)
        return response


def _timers(watcher: Watcher, seconds: float) -> list[asyncio.TimerHandle]:
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(seconds, watcher.close)]
    if watcher.bookmarks and seconds > _PRE_TIMEOUT_BOOKMARK:
        timers.append(loop.call_later(seconds - _PRE_TIMEOUT_BOOKMARK, watcher.bookmark))
    return timers


def _seconds(query: Mapping[str, str]) -> float:
    text = query.get("timeoutSeconds", "")
    if text.isdigit() and int(text) > 0:
        return float(text)
    # The real server draws between 30 and 60 minutes; the middle needs no dice.
    return float(_MIN_SECONDS + _MAX_SECONDS) / 2


def _check_options(query: Mapping[str, str], *, initial: bool) -> None:
    match = query.get("resourceVersionMatch", "")
    causes: list[Cause] = []
    if "sendInitialEvents" in query:
        if match != "NotOlderThan":
            causes.append(
                Cause(
                    "FieldValueForbidden",
                    "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                    "resourceVersionMatch",
                )
            )
    elif match:
        causes.append(
            Cause(
                "FieldValueForbidden",
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                "resourceVersionMatch",
            )
        )
    del initial
    if causes:
        raise invalid_of("ListOptions", "meta.k8s.io", "", causes)
