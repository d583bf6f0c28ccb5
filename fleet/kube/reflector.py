"""List, then watch, for ever: a complete picture of one kind, and the moments in which it is not known.

Trouble of the cluster is the event `Lost`, then a wait, then a short watch from the same position. What comes on it
proves the position; where nothing does, one list of a single object tells whether anything happened since. If so it was
not said, and the second watch that says nothing leads to a new list, as does a position that is too old (410) or ahead
of the history.

Bookmarks come about every 60 s where the history moves on. An API server that has not heard of any progress sends none
(etcd tells it every 5 s or every 10 min, as it is set up): before a watch counts as silent, a list of a single object
makes the server ask etcd, so that a watch which is alive carries a bookmark within its next minute.

A store that was put back to an earlier state (etcd restored) may have gone on beyond the position by the time that it
is reached again; the watch then goes on as if nothing had happened. So after trouble the object that changed last is
read by name: it shows whether that change ever was.

More kinds and namespaces than one cluster may have watches: what finds no place is listed again and again, until one is
free. Calls have connections of their own in any case.

How long a watch may be silent counts from the last word that says how things stood then: a whole event, or the begin of
a list. Single bytes are none: an event says how things stood when it began to come, and one that does not end is the
silence of a slow way. Events that come ever later, each in time, say too little as well: where the history was seen to
go on, a watch must come so far within that time, and one that has not ended so long after it was asked to is proven
anew. So a way that grows slower little by little is noticed at the end of its watch at the latest.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace

import aiohttp

from fleet.core.documents import Document, mapping_at, text_at
from fleet.core.ids import is_before, version_place
from fleet.core.retry import STREAMS, bounds_for, next_wait
from fleet.errors import AnswerInvalid, ClusterUnreachable, Expired, FleetError, Retry, WatchSilent
from fleet.kube.answers import Asked, document_of, error_of, error_of_event
from fleet.kube.exchange import METADATA_LIST, Request
from fleet.kube.framing import Lines
from fleet.kube.levels import read_document
from fleet.kube.paths import is_named, with_query
from fleet.kube.transport import Transport
from fleet.kube.troubles import CONNECTION_ERRORS
from fleet.kube.weight import values_in
from fleet.ports.kube import Changed, Listed, Lost, ObjectList, Proved, Removed, Seen
from fleet.values import dataclass

_WHOLE_SHARE = 0.7  # a watch that lived for this share of what it asked for has ended as asked
_INSTANT_SECONDS = 1.0  # what took no longer to come says how things stand now
_MUTE_WATCHES = 2  # so many that say nothing of what happened since are mute


def may_be_before(version: str, than: str) -> bool:
    """Whether a resourceVersion lies before another one (KEP-5504), or may: where either is no number."""
    place, bound = version_place(version), version_place(than)
    return version != than if place is None or bound is None else place < bound


@dataclass(frozen=True, slots=True)
class _Change:
    """A state that an object came to have; not there: gone, or without the label."""

    namespace: str
    name: str
    version: str
    is_there: bool = True


def _change_of(document: Document) -> _Change:
    metadata = mapping_at(document, "metadata")
    return _Change(text_at(metadata, "namespace"), text_at(metadata, "name"), text_at(metadata, "resourceVersion"))


class Reflector:
    """Follows one collection; one `follow` each."""

    def __init__(
        self,
        transport: Transport,
        asked: Asked,
        path: str,
        selector: str,
        listed: Callable[[], Awaitable[ObjectList]],
        read: Callable[[str, str], Awaitable[Document | None]],
    ) -> None:
        """read: the metadata of an object by namespace and name, None where it is not there."""
        self._transport, self._asked, self._path, self._selector = transport, asked, path, selector
        self._list, self._read, self._limits = listed, read, transport.limits
        self._clock = asyncio.get_running_loop().time
        self._version = ""  # up to where the history is known; "" means: list first
        self._proven = False
        self._last: _Change | None = None  # that was seen
        self._is_doubted = False  # whether trouble came since it was known to stand
        self._wait = 0.0  # the last wait of the backoff
        self._listed_at = float("-inf")
        self._told_at = self._clock()  # how things stood then is known
        self._began = self._told_at  # of the watch
        self._grace = min(self._limits.steady_seconds, self._limits.silence_seconds)
        self._mute = 0  # watches in a row that said nothing of what had happened
        self._owed = ("", float("inf"))  # a position that this watch must reach, and by when; "" for none

    async def follow(self, since: str = "") -> AsyncIterator[Seen]:
        """See `fleet.ports.kube.Kube.follow`."""
        self._version = since
        while True:
            began = self._clock()
            try:
                if not self._version:
                    yield await self._relisted()
                elif self._is_doubted:
                    await self._look_at_last()
                self._is_doubted = False
                with self._transport.watch_place() as is_free:
                    if not is_free:
                        await asyncio.sleep(self._until_relist())
                        self._version = ""
                        continue
                    async with aclosing(self._watched()) as events:
                        async for seen in events:
                            self._version, self._proven, self._mute = seen.resource_version, True, 0
                            age = self._clock() - self._told_at
                            yield replace(seen, age=age) if age > _INSTANT_SECONDS else seen
                self._wait = 0.0
            except FleetError as trouble:
                self._proven, self._is_doubted = False, True
                if isinstance(trouble, Expired):
                    self._version, self._mute = "", 0
                    if self._clock() - self._listed_at >= self._limits.steady_seconds:
                        continue
                if self._clock() - began >= self._limits.steady_seconds:
                    self._wait = 0.0
                yield Lost(trouble.reason, trouble.brief)
                self._wait = next_wait(self._wait, random.random(), bounds_for(trouble, STREAMS))
                await asyncio.sleep(self._wait)

    def _until_relist(self) -> float:
        """Seconds until what cannot be watched is listed again, spread so that lists do not come together."""
        pause = self._limits.relist_seconds * random.uniform(0.75, 1.0)
        return max(0.0, self._listed_at + pause - self._clock())

    async def _relisted(self) -> Listed:
        self._told_at = self._clock()
        whole = await self._list()
        self._version, self._proven, self._listed_at = whole.resource_version, True, self._clock()
        self._last = max(
            map(_change_of, whole.items), key=lambda change: version_place(change.version) or (0, ""), default=None
        )
        return Listed(whole.items, whole.resource_version, self._clock() - self._told_at)

    async def _look_at_last(self) -> None:
        """Raises Expired where the last change that was seen never was, as the history has it now."""
        last = self._last
        if last is None:
            return
        try:
            found = await self._read(last.namespace, last.name)
        except FleetError as trouble:
            if trouble.retry is Retry.SOON:
                raise
            return  # nobody can tell: it may not be read, or not by its name
        if found is None:
            is_undone, now = last.is_there, "not there"
        else:
            version = text_at(found, "metadata", "resourceVersion")
            is_undone, now = may_be_before(version, last.version), f"at {version}"
        if is_undone:
            why = f"{last.name} is {now}, and its change at {last.version} was seen"
            raise self._gone_back(why)

    async def _watched(self) -> AsyncGenerator[Changed | Removed | Proved, None]:
        """One watch from its begin to its end; the last event of one that ended as asked is Proved."""
        usual = self._limits.watch_seconds if self._proven else self._limits.proof_seconds
        seconds = max(1, round(usual * random.uniform(0.75, 1.25)))  # spread, so that renewals do not come together
        began = self._clock()
        async with aclosing(self._events(seconds)) as events:
            async for seen in events:
                yield seen
        lived = self._clock() - began
        if lived >= seconds + self._limits.silence_seconds:
            self._proven = False  # what says that it ends came late, or not at all: so did what it said before
        elif lived >= _WHOLE_SHARE * seconds:
            if self._proven or await self._nothing_happened():
                yield Proved(self._version)
        elif lived < self._limits.steady_seconds:
            raise ClusterUnreachable(
                f"cannot {self._asked.what}",
                where=self._asked.where,
                why=f"the server ended the watch after {lived:.1f} s",
                next_step="it is tried again",
            )
        else:
            self._proven = False  # cut off in its midst, as load balancers do: prove the position anew

    async def _nothing_happened(self) -> bool:
        """Whether the history ends where this position is: then a watch on which nothing came missed nothing."""
        asked_at = self._clock()
        newest = await self._newest()
        if newest == self._version:
            self._told_at = asked_at
            return True
        if may_be_before(newest, self._version):
            why = f"it ends before {self._version}"
            raise self._gone_back(why)
        # The server knows of it only since it was asked: the next watch says so, at its end at the latest.
        self._mute += 1
        if self._mute >= _MUTE_WATCHES:
            raise self._expired("the watch says nothing", f"the history goes on beyond {self._version}")
        return False

    async def _events(self, seconds: int) -> AsyncGenerator[Changed | Removed | Proved, None]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
            "labelSelector": self._selector,
        }
        request = Request("GET", with_query(self._path, query), self._asked)
        lines, self._began = Lines(self._limits.event_bytes), self._clock()
        self._owed = ("", float("inf"))
        came_at, ends_at = self._began, self._began + seconds + self._limits.silence_seconds
        async with self._transport.stream(request, idle_seconds=2 * self._limits.silence_seconds) as content:
            try:
                while (chunk := await self._chunk(content, lines)) != b"":
                    if chunk is None:
                        yield Proved(self._version)
                        continue
                    if lines.is_whole:
                        came_at = self._clock()  # of what comes first of the next event
                    for line in lines.feed(chunk):
                        self._told_at, came_at = came_at, self._clock()
                        yield self._paid(self._seen(line))
                    if came_at >= ends_at:
                        return
            except CONNECTION_ERRORS as error:
                raise self._transport.stream_error(error, request) from error
        if not lines.is_whole:
            raise self._invalid("the last event broke off")

    async def _chunk(self, content: aiohttp.StreamReader, lines: Lines) -> bytes | None:
        """The next bytes; b"" at the end, None where a silent watch has been proven to miss nothing."""
        silence, begun = self._limits.silence_seconds, self._clock()
        # A list may have taken longer than that: what follows it has a little time all the same.
        until = max((self._told_at if self._proven else self._began) + silence, self._listed_at + self._grace)
        until = min(until, self._owed[1])
        if not lines.is_whole:
            if (chunk := await _read_within(content, until - begun)) is not None:
                return chunk
            raise self._silent(f"an event did not come to its end within {silence:g} s (R19)")
        if (chunk := await _read_within(content, (until - begun) / 2)) is not None:
            return chunk
        asked_at = self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                if (newest := await self._newest()) == self._version:
                    self._told_at, self._owed = asked_at, ("", float("inf"))
                    return None  # nothing has happened in the whole cluster since
                if not self._owed[0] and version_place(newest) is not None:
                    self._owed = newest, asked_at + silence
        if (chunk := await _read_within(content, until - self._clock())) is not None:
            return chunk
        raise self._silent(f"the watch is open, but has been silent for {silence:g} s (R19)")

    def _paid(self, seen: Changed | Removed | Proved) -> Changed | Removed | Proved:
        """An event, unless it is from before what was to come by now; raises WatchSilent."""
        owed, until = self._owed
        if owed and not may_be_before(seen.resource_version, owed):
            self._owed = ("", float("inf"))
        elif self._clock() >= until:
            raise self._silent(f"events come, but none from {owed}, {self._limits.silence_seconds:g} s old, or later")
        return seen

    def _silent(self, why: str) -> WatchSilent:
        what, where = f"cannot {self._asked.what}", self._asked.where
        return WatchSilent(what, where=where, why=why, next_step="it is opened again")

    def _expired(self, what: str, why: str) -> Expired:
        return Expired(what, where=self._asked.where, why=why, next_step="it is listed again")

    def _gone_back(self, why: str) -> Expired:
        return self._expired("the cluster's history went back", why)

    async def _newest(self) -> str:
        """Where the cluster's history ends now."""
        # Without the selector: looking for one object that matches could lead the server through all of them.
        request = Request("GET", with_query(self._path, {"limit": "1"}), self._asked, accept=METADATA_LIST)
        reply = await self._transport.read(request)
        if reply.status != 200:
            raise error_of(reply, self._asked)
        return text_at(document_of(reply, self._asked), "metadata", "resourceVersion")

    def _seen(self, line: bytes) -> Changed | Removed | Proved:
        if values_in(line, self._limits.event_values) > self._limits.event_values:
            raise self._invalid(f"an event holds more than {self._limits.event_values} values")
        try:
            event = read_document(line, outer=1)
        except ValueError:
            raise self._invalid("an event is no JSON") from None
        kind, seen = text_at(event, "type"), mapping_at(event, "object")
        if kind == "ERROR":
            raise error_of_event(seen, self._asked)
        version = text_at(seen, "metadata", "resourceVersion")
        if not version:
            raise self._invalid("an event has no resourceVersion")
        if kind != "BOOKMARK" and not is_named(seen):
            raise self._invalid("an event is about no object that can be there")
        goes_back = may_be_before if kind == "BOOKMARK" else is_before  # of an event without a number nothing is known
        if goes_back(version, self._version):
            raise self._gone_back(f"{kind} says {version} after {self._version}")
        match kind:
            case "ADDED" | "MODIFIED":
                self._last = _change_of(seen)
                return Changed(seen, version)
            case "DELETED":
                self._last = replace(_change_of(seen), is_there=False)
                return Removed(seen, version)
            case "BOOKMARK":
                return Proved(version)
            case _:
                raise self._invalid("an event is of no known type")

    def _invalid(self, why: str) -> AnswerInvalid:
        return AnswerInvalid(
            f"cannot {self._asked.what}", where=self._asked.where, why=why, next_step="it is opened again"
        )


async def _read_within(content: aiohttp.StreamReader, seconds: float) -> bytes | None:
    """The next bytes, b"" at the end, None when there are none in time."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await content.readany()
    except TimeoutError:
        if limit.expired():
            return None
        raise
