"""List, then watch, for ever: a complete picture of one kind, and the moments in which it is not known.

Trouble of the cluster is the event `Lost`, then a wait, then a short watch from the same position. What comes on it
proves the position; where nothing does, one list of a single object tells whether the history is still the same.
A position that is too old (410) or ahead of the history leads to a new list.

Bookmarks come about every 60 s where the history moves on. An API server that has not heard of any progress sends none
(etcd tells it every 5 s or every 10 min, as it is set up): before a watch counts as silent, a list of a single object
makes the server ask etcd, so that a watch which is alive carries a bookmark within its next minute.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import aiohttp

from fleet.core.documents import mapping_at, parse_document, text_at
from fleet.core.ids import version_place
from fleet.core.retry import STREAMS, bounds_for, next_wait
from fleet.errors import AnswerInvalid, ClusterUnreachable, Expired, FleetError, WatchSilent
from fleet.kube.answers import Asked, document_of, error_of, error_of_event
from fleet.kube.exchange import METADATA_LIST, Request
from fleet.kube.framing import Lines
from fleet.kube.paths import with_query
from fleet.kube.transport import Transport
from fleet.kube.troubles import CONNECTION_ERRORS
from fleet.ports.kube import Changed, Listed, Lost, ObjectList, Proved, Removed, Seen

_WHOLE_SHARE = 0.7  # a watch that lived for this share of what it asked for has ended as asked


def is_older(version: str, than: str) -> bool:
    """Whether a resourceVersion lies before another one (KEP-5504); also where either is no number."""
    place, bound = version_place(version), version_place(than)
    return version != than if place is None or bound is None else place < bound


class Reflector:
    """Follows one collection; one `follow` each."""

    def __init__(
        self,
        transport: Transport,
        asked: Asked,
        path: str,
        selector: str,
        listed: Callable[[], Awaitable[ObjectList]],
    ) -> None:
        self._transport, self._asked, self._path, self._selector = transport, asked, path, selector
        self._list, self._limits = listed, transport.limits
        self._clock = asyncio.get_running_loop().time
        self._version = ""  # up to where the history is known; "" means: list first
        self._proven = False
        self._wait = 0.0  # the last wait of the backoff
        self._listed_at = float("-inf")

    async def follow(self, since: str = "") -> AsyncIterator[Seen]:
        """See `fleet.ports.kube.Kube.follow`."""
        self._version = since
        while True:
            began = self._clock()
            try:
                if not self._version:
                    yield await self._relisted()
                async with aclosing(self._watched()) as events:
                    async for seen in events:
                        self._version, self._proven = seen.resource_version, True
                        yield seen
                self._wait = 0.0
            except FleetError as trouble:
                self._proven = False
                if isinstance(trouble, Expired):
                    self._version = ""
                    if self._clock() - self._listed_at >= self._limits.steady_seconds:
                        continue
                if self._clock() - began >= self._limits.steady_seconds:
                    self._wait = 0.0
                yield Lost(trouble.reason, trouble.brief)
                self._wait = next_wait(self._wait, random.random(), bounds_for(trouble, STREAMS))
                await asyncio.sleep(self._wait)

    async def _relisted(self) -> Listed:
        whole = await self._list()
        self._version, self._proven, self._listed_at = whole.resource_version, True, self._clock()
        return Listed(whole.items, whole.resource_version)

    async def _watched(self) -> AsyncGenerator[Changed | Removed | Proved, None]:
        """One watch from its begin to its end; the last event of one that ended as asked is Proved."""
        usual = self._limits.watch_seconds if self._proven else self._limits.proof_seconds
        seconds = max(1, round(usual * random.uniform(0.75, 1.25)))  # spread, so that renewals do not come together
        began = self._clock()
        async with aclosing(self._events(seconds)) as events:
            async for seen in events:
                yield seen
        lived = self._clock() - began
        if lived >= _WHOLE_SHARE * seconds:
            if not self._proven and is_older(await self._newest(), self._version):
                raise Expired(
                    "the cluster's history went back",
                    where=self._asked.where,
                    why=f"it ends before {self._version}",
                    next_step="it is listed again",
                )
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

    async def _events(self, seconds: int) -> AsyncGenerator[Changed | Removed | Proved, None]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
            "labelSelector": self._selector,
        }
        request = Request("GET", with_query(self._path, query), self._asked)
        lines = Lines(self._limits.event_bytes)
        async with self._transport.stream(request, idle_seconds=2 * self._limits.silence_seconds) as content:
            try:
                while (chunk := await self._chunk(content)) != b"":
                    if chunk is None:
                        yield Proved(self._version)
                        continue
                    for line in lines.feed(chunk):
                        yield self._seen(line)
            except CONNECTION_ERRORS as error:
                raise self._transport.stream_error(error, request) from error
        if not lines.is_whole:
            raise self._invalid("the last event broke off")

    async def _chunk(self, content: aiohttp.StreamReader) -> bytes | None:
        """The next bytes; b"" at the end, None where a silent watch has been proven to miss nothing."""
        half = self._limits.silence_seconds / 2
        if (chunk := await _read_within(content, half)) is not None:
            return chunk
        if await self._newest() == self._version:
            return None  # nothing has happened in the whole cluster since
        if (chunk := await _read_within(content, half)) is not None:
            return chunk
        raise WatchSilent(
            f"cannot {self._asked.what}",
            where=self._asked.where,
            why=f"the watch is open, but has been silent for {self._limits.silence_seconds:g} s (R19)",
            next_step="it is opened again",
        )

    async def _newest(self) -> str:
        """Where the cluster's history ends now."""
        # Without the selector: looking for one object that matches could lead the server through all of them.
        request = Request("GET", with_query(self._path, {"limit": "1"}), self._asked, accept=METADATA_LIST)
        reply = await self._transport.read(request)
        if reply.status != 200:
            raise error_of(reply, self._asked)
        return text_at(document_of(reply, self._asked), "metadata", "resourceVersion")

    def _seen(self, line: bytes) -> Changed | Removed | Proved:
        try:
            event = parse_document(line)
        except ValueError:
            raise self._invalid("an event is no JSON") from None
        kind, seen = text_at(event, "type"), mapping_at(event, "object")
        if kind == "ERROR":
            raise error_of_event(seen, self._asked)
        version = text_at(seen, "metadata", "resourceVersion")
        if not version:
            raise self._invalid("an event has no resourceVersion")
        match kind:
            case "ADDED" | "MODIFIED":
                return Changed(seen, version)
            case "DELETED":
                return Removed(seen, version)
            case "BOOKMARK":
                return self._bookmark(version)
            case _:
                raise self._invalid("an event is of no known type")

    def _bookmark(self, version: str) -> Proved:
        if is_older(version, self._version):
            raise Expired(
                "the cluster's history went back",
                where=self._asked.where,
                why=f"a bookmark says {version} after {self._version}",
                next_step="it is listed again",
            )
        return Proved(version)

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
