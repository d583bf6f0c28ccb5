"""Faults on command, for one cluster: how its API server misbehaves towards whom, and for how long.

`cluster.faults.add("error", code=503, retry_after=2, verbs={"list"}, count=3)`; `remove` or `clear` ends it. Kinds:

refuse        the port refuses connections, open ones are cut        blackhole   connections stand, nothing answers
slow          each answer waits `seconds`                            error       `code` with a Status, Retry-After
html          an HTML page with `code`, as a proxy sends it          half_list   a list that breaks off in the middle
truncated     a watch that ends in the middle of a line              silent      a watch that says nothing at all
expired       410 to every watch and continue token                  identity    kube-system has another UID
unauthorized  401 to every request                                   forbidden   403 to every request
stale         reads answer from `versions` writes ago                lost_write  writes land, their answer never comes
drip          each answer and event comes one byte in `seconds`
clock         the servers' clock is `seconds` ahead, or behind where they are negative: Date, and what they date
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from fleet.core.documents import Document, mapping_at, parse_document
from fleet.sim.requests import Target
from fleet.sim.statuses import ApiError, expired, forbidden, unauthorized
from fleet.values import dataclass, field

if TYPE_CHECKING:
    from fleet.sim.watch import Stream

KINDS = frozenset(
    [
        "refuse",
        "blackhole",
        "slow",
        "error",
        "html",
        "half_list",
        "truncated",
        "silent",
        "expired",
        "identity",
        "unauthorized",
        "forbidden",
        "stale",
        "lost_write",
        "drip",
        "clock",
    ]
)
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(slots=True)
class Fault:
    """One fault. Empty `verbs`, `resource`, `name` and `agent` mean any; `count` 0 means until removed."""

    number: int
    kind: str
    verbs: frozenset[str] = frozenset()
    resource: str = ""  # plural, as in the path
    name: str = ""
    agent: str = ""
    count: int = 0
    code: int = 500
    seconds: float = 1.0
    retry_after: int = 0
    versions: int = 10
    hits: int = field(default=0)

    def concerns(self, target: Target, agent: str = "") -> bool:
        """Whether a request falls under this fault."""
        if self.count and self.hits >= self.count:
            return False
        return (
            (not self.verbs or target.verb in self.verbs)
            and (not self.resource or target.resource == self.resource)
            and (not self.name or target.name == self.name)
            and (not self.agent or agent.startswith(self.agent))
        )


_REASONS = {
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: simulated"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"


# Awaited "before" a request is looked at and "after" it was carried out; it may wait, or raise ApiError. True "after":
# the connection is cut, so that the answer never comes.
Tripwire = Callable[[str, Target, str], Awaitable[bool]]


class Faults:
    """The faults of one cluster. `changed` is called whenever the list changes (the listener opens and closes)."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.active: list[Fault] = []
        self.tripwire: Tripwire | None = None
        self._changed = asyncio.Event()
        self.on_change: list[Callable[[], None]] = []

    def add(
        self,
        kind: str,
        *,
        verbs: Iterable[str] = (),
        resource: str = "",
        name: str = "",
        agent: str = "",
        count: int = 0,
        code: int = 0,
        seconds: float = 1.0,
        retry_after: int = 0,
        versions: int = 10,
    ) -> Fault:
        """Start a fault; raises ValueError for a kind that does not exist."""
        if kind not in KINDS:
            raise ValueError(f"no fault is called {kind!r}: one of {', '.join(sorted(KINDS))}")
        made = Fault(
            next(self._numbers),
            kind,
            frozenset(verbs),
            resource,
            name,
            agent,
            count,
            code or (502 if kind == "html" else 500),
            seconds,
            retry_after,
            versions,
        )
        self.active.append(made)
        self._notify()
        return made

    def remove(self, fault: Fault) -> None:
        """End a fault; what was held by it goes on."""
        if fault in self.active:
            self.active.remove(fault)
        self._notify()

    def clear(self) -> None:
        """End all faults."""
        self.active.clear()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self.on_change:
            listener()

    @property
    def ahead(self) -> float:
        """Seconds by which the clock of the cluster's servers is off."""
        return sum(fault.seconds for fault in self.active if fault.kind == "clock")

    def date(self) -> dict[str, str]:
        """The Date header, where the clock is off."""
        return {"Date": formatdate(time.time() + self.ahead, usegmt=True)} if self.ahead else {}

    def has(self, kind: str) -> bool:
        """Whether such a fault is on, whatever it concerns."""
        return any(fault.kind == kind for fault in self.active)

    def hit(self, kind: str, target: Target, agent: str = "") -> Fault | None:
        """The fault of this kind that concerns the request, counted as a hit."""
        for fault in self.active:
            if fault.kind == kind and fault.concerns(target, agent):
                fault.hits += 1
                return fault
        return None

    async def before(self, target: Target, agent: str, *, paged: bool = False) -> web.Response | None:
        """Delay, refuse or answer in the server's place; None lets the request through. Raises ApiError."""
        if self.tripwire is not None:
            await self.tripwire("before", target, agent)
        if not self.active:
            return None
        slow = self.hit("slow", target, agent)
        if slow is not None:
            await asyncio.sleep(slow.seconds)
        hole = self.hit("blackhole", target, agent)
        while hole is not None and hole in self.active:
            await self._changed.wait()
        if self.hit("unauthorized", target, agent):
            raise unauthorized()
        if self.hit("forbidden", target, agent):
            raise forbidden(target.resource, target.group, target.name, "simulated refusal")
        error = self.hit("error", target, agent)
        if error is not None:
            reason, message = _REASONS.get(error.code, ("", "simulated failure"))
            details: Document | None = {"retryAfterSeconds": error.retry_after} if error.retry_after else None
            raise ApiError(error.code, reason, message, details=details, retry_after=error.retry_after)
        page = self.hit("html", target, agent)
        if page is not None:
            return web.Response(status=page.code, body=_PAGE, content_type="text/html")
        if paged and self.hit("expired", target, agent):
            raise expired("The provided continue parameter is too old to display a consistent list result.")
        return None

    async def delivered(
        self, request: web.BaseRequest, response: web.Response, target: Target, agent: str
    ) -> web.StreamResponse:
        """The answer as it goes out: whole, broken off in the middle, or byte by byte."""
        response.headers.update(self.date())
        if target.verb == "list" and self.hit("half_list", target, agent):
            return await _cut_in_half(request, response)
        if (drip := self.hit("drip", target, agent)) is not None:
            return await self._dripped(request, response, drip)
        return response

    async def _dripped(self, request: web.BaseRequest, response: web.Response, fault: Fault) -> web.StreamResponse:
        """The same answer, one byte after the other; at once from where the fault has ended."""
        body = response.body
        raw = body if isinstance(body, bytes) else b""
        slow = web.StreamResponse(status=response.status, headers=response.headers)
        at = 0
        try:
            await slow.prepare(request)
            while at < len(raw) and fault in self.active:
                await slow.write(raw[at : at + 1])
                at += 1
                await asyncio.sleep(fault.seconds)
            await slow.write(raw[at:])
            await slow.write_eof()
        except ConnectionError:
            pass  # the client did not wait for it: that is what the fault is for
        return slow

    async def held(self) -> None:
        """Wait until the faults change."""
        await self._changed.wait()

    def loses(self, target: Target, agent: str) -> bool:
        """Whether the answer to this write shall be lost after the write has landed."""
        return bool(self.active) and target.verb in _WRITES and self.hit("lost_write", target, agent) is not None

    def disguised(self, raw: bytes, target: Target, agent: str, uid: str) -> bytes:
        """What a read gives: kube-system, by which a cluster is known, with another UID while that fault is on."""
        is_identity = (target.verb, target.resource, target.name) == ("get", "namespaces", "kube-system")
        if not is_identity or target.subresource or self.hit("identity", target, agent) is None:
            return raw
        document = parse_document(raw)
        mapping_at(document, "metadata")["uid"] = uid
        return orjson.dumps(document)

    def on_watch(self, stream: Stream, target: Target, agent: str) -> None:
        """Apply the faults that concern a watch as it opens."""
        if self.hit("silent", target, agent):
            stream.hush()
        if (drip := self.hit("drip", target, agent)) is not None:
            stream.drip_seconds = drip.seconds
        if self.hit("truncated", target, agent):
            stream.truncate = True
        if self.hit("expired", target, agent):
            stream.expire()


async def _cut_in_half(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    body = response.body
    raw = body if isinstance(body, bytes) else b""
    cut = web.StreamResponse(status=response.status, headers={**response.headers, "Content-Length": str(len(raw))})
    await cut.prepare(request)
    await cut.write(raw[: len(raw) // 2])
    if request.transport is not None:
        request.transport.close()
    return cut
