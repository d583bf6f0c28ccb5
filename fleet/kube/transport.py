"""Calls to one API server: a deadline, a place in the gate, a ticket, and for writes one choke point.

All writes go through `write`: the identity is proven where R1 says so, fence and leave are asked at the last moment,
and nothing is repeated that may have reached the server. Reads are repeated by tenacity where waiting can help.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import aiohttp
import tenacity
from multidict import CIMultiDict
from prometheus_client import Counter
from yarl import URL

from fleet import telemetry
from fleet.core.clocks import ahead_by
from fleet.core.ids import Identity
from fleet.core.retry import wait_before_repeat
from fleet.errors import FleetError, TooManyRequests, Unauthorized, Withdrawn
from fleet.kube.access import Access
from fleet.kube.addresses import AddressRule
from fleet.kube.answers import Asked, Reply, document_of, error_of
from fleet.kube.exchange import METADATA, Request, exchange, read_body, reply_of
from fleet.kube.gate import Gate
from fleet.kube.identity import IDENTITY_TARGET, IdentityRule, with_sleep
from fleet.kube.limits import KubeLimits
from fleet.kube.session import Session
from fleet.kube.troubles import CONNECTION_ERRORS, deadline_passed, error_of_connection
from fleet.kube.wire import Before, Line, asked_before_sending
from fleet.ports.kube import Fence, May

_T = TypeVar("_T")
_CONGESTED = (429, 503)


class Transport:
    """The connection to one cluster; `prove` it before anything else."""

    def __init__(
        self,
        cluster: str,
        access: Access,
        fence: Fence,
        *,
        expected: Identity | None = None,
        rule: AddressRule | None = None,
        limits: KubeLimits | None = None,
    ) -> None:
        self.cluster, self.limits = cluster, limits or KubeLimits()
        self._fence = fence
        self._clock = asyncio.get_running_loop().time
        self._gate = Gate(self.limits, self._clock)
        self._identity = IdentityRule(cluster, expected, self._clock, with_sleep)
        self._identity_request = Request("GET", IDENTITY_TARGET, self._identity.asked, accept=METADATA)
        self._proving = asyncio.Lock()
        self._watches = 0  # places that are taken
        self.ahead = 0.0  # seconds that the server's clock is ahead of ours
        self._counters: dict[tuple[str, str], Counter] = {}
        self._session = Session(cluster, access, rule or AddressRule(), self._prove_line, self.limits)

    @property
    def identity(self) -> Identity:
        """As proven last."""
        return self._identity.identity

    def asked(self, what: str, *, secret: bool = False) -> Asked:
        """What a call is about, for its errors."""
        return Asked(what, self.cluster, secret)

    async def prove(self) -> None:
        """Read the identity now and compare it; raises IdentityMismatch, IdentityUnreadable, ClusterError."""
        repeated = _repeated(self._prove_now, self.limits.read_tries)
        await self._within(self.limits.call_seconds, repeated, self._identity.asked, write=False)

    async def read(self, request: Request) -> Reply:
        """The answer to a read, of status 2xx or 404; raises for all others. Repeated where that may help."""

        async def attempt() -> Reply:
            reply = await self._authorized(request, write=False)
            if reply.status >= 300 and reply.status != 404:
                raise error_of(reply, request.asked)
            return reply

        repeated = _repeated(attempt, self.limits.read_tries)
        return await self._within(self.limits.call_seconds, repeated, request.asked, write=False)

    async def write(self, request: Request, *, stores: bool = True, may: May | None = None) -> Reply:
        """The answer to a write, of any status; sent once. stores: False for a dry-run, which needs no leave.

        may: asked just before it is sent, after all waiting; raises Withdrawn, and OwnedByOther for the fence.
        """

        async def before() -> None:
            await self._fence.check()
            if may is not None and not may():
                raise Withdrawn(
                    f"{request.asked.what} was not sent",
                    where=request.asked.where,
                    why="its unit was suspended, held or taken over while it waited for its turn",
                    next_step="nothing: what is still wanted is written once that is over",
                )

        proven = self._proven(request, before if stores else None)
        return await self._within(self.limits.call_seconds, proven, request.asked, write=stores)

    @contextmanager
    def watch_place(self) -> Generator[bool]:
        """Whether one more watch may be open, for as long as this lasts; each holds a connection of its own."""
        is_free = self._watches < self.limits.watches
        self._watches += is_free
        try:
            yield is_free
        finally:
            self._watches -= is_free

    @asynccontextmanager
    async def stream(self, request: Request, *, idle_seconds: float) -> AsyncGenerator[aiohttp.StreamReader, None]:
        """A long JSON answer, to be read as it comes; raises for any status but 200. Not repeated."""
        opening = self._open(request, idle_seconds)
        response = await self._within(self.limits.call_seconds, opening, request.asked, write=False)
        try:
            yield response.content
        finally:
            response.close()

    def stream_error(self, error: Exception, request: Request) -> FleetError:
        """The error for what was raised while a stream was read."""
        return error_of_connection(error, request.asked, self._session.place, self.limits, write=False)

    async def close(self) -> None:
        """End all connections; calls in flight fail."""
        await self._session.close()

    # The identity (R1)

    async def _proven(self, request: Request, before: Before | None) -> Reply:
        if self._identity.is_due(self.limits.identity_seconds):
            async with self._proving:
                if self._identity.is_due(self.limits.identity_seconds):
                    await self._prove_now()
        return await self._authorized(request, write=True, before=before)

    async def _prove_now(self) -> None:
        reply = await self._authorized(self._identity_request, write=False)
        try:
            self._identity.judge(reply, self._session.place)
        except FleetError:
            self._session.forget()  # what was proven over such a certificate counts no more
            raise

    async def _prove_line(self, line: Line) -> None:
        # Called inside another call, which has its deadline and its place in the gate. The line may be an old one by
        # now: nothing of another line's credential goes over it.
        request, asked_at = self._identity_request, time.time()
        reply = await exchange(line, line.headers.of(request), request, self.limits)
        self._count(request.method, reply)
        self.ahead = ahead_by(self.ahead, reply.date, asked_at, time.time())
        self._identity.judge(reply, line.endpoint.place)

    # One call

    async def _authorized(self, request: Request, *, write: bool, before: Before | None = None) -> Reply:
        """The answer, but no 401: after that (nothing was carried out) once more with a renewed ticket."""
        for last in (False, True):
            ticket = await self._session.ticket()
            try:
                reply = await self._admitted(request, write=write, before=before)
                if reply.status == 401:
                    raise error_of(reply, request.asked)
                return reply
            except Unauthorized:
                if last or not await self._session.renewed(ticket):
                    raise
        raise AssertionError("the second attempt returns or raises")

    async def _admitted(self, request: Request, *, write: bool, before: Before | None) -> Reply:
        await self._gate.enter()
        began = self._clock()
        reply, unsent = None, False

        async def ask() -> None:
            nonlocal unsent
            unsent = True
            if before is not None:
                await before()
            unsent = False

        try:
            line, headers = self._for_request(request)
            with asked_before_sending(before and ask):
                reply = await exchange(line, headers, request, self.limits, write=write)
            return reply
        finally:
            if unsent:
                self._gate.leave_unsent()
            else:
                self._leave(request, reply, began, write=write)

    def _for_request(self, request: Request) -> tuple[Line, Mapping[str, str]]:
        line, headers = self._session.for_request(request)
        if not self._gate.is_silent:
            return line, headers
        closing = CIMultiDict(headers)  # one socket is enough for a cluster that is not well: pooled ones are used up
        closing["Connection"] = "close"
        return line, closing

    def _count(self, verb: str, reply: Reply | None) -> None:
        key = (verb, str(reply.status) if reply else "none")
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = telemetry.REQUESTS.labels(self.cluster, *key)
        counter.inc()

    def _leave(self, request: Request, reply: Reply | None, began: float, *, write: bool) -> None:
        self._count(request.method, reply)
        if reply is not None:
            now = time.time()
            self.ahead = ahead_by(self.ahead, reply.date, now - (self._clock() - began), now)
        if reply is not None and reply.status in _CONGESTED:
            self._gate.leave_congested((reply.retry_after or 0.0) * (1 + random.random() / 4))
        elif reply is None or (reply.status >= 500 and not write):  # a write's 500 may be a webhook's
            self._gate.leave_silent(began)
        else:
            self._gate.leave_answered(self._clock() - began if write else None)

    async def _open(self, request: Request, idle_seconds: float) -> aiohttp.ClientResponse:
        ticket = await self._session.ticket()
        response, reply = await self._begun(request, idle_seconds)
        if reply.status == 200 and reply.content_type.endswith("json"):
            return response
        response.close()
        if reply.status == 401:
            await self._session.renewed(ticket)  # whoever follows the stream comes again by itself
        if reply.status == 200:
            document_of(reply, request.asked)  # raises: it is no JSON
        raise error_of(reply, request.asked)

    async def _begun(self, request: Request, idle_seconds: float) -> tuple[aiohttp.ClientResponse, Reply]:
        """A stream that has begun, or another answer with its body."""
        await self._gate.enter()  # only until the answer begins: an open watch costs the server little
        began = self._clock()
        reply: Reply | None = None
        try:
            line, headers = self._for_request(request)
            response = await line.session.request(
                request.method,
                URL(line.base + request.target, encoded=True),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=self.limits.connect_seconds, sock_read=idle_seconds),
            )
            try:
                reply = reply_of(response, b"", request.asked)
                if reply.status != 200 or not reply.content_type.endswith("json"):
                    body = await read_body(response, request.asked, self.limits)
                    reply = reply_of(response, body, request.asked)
            except BaseException:
                response.close()
                raise
            return response, reply
        except CONNECTION_ERRORS as error:
            raise self.stream_error(error, request) from error
        finally:
            self._leave(request, reply, began, write=False)

    async def _within(self, seconds: float, call: Coroutine[object, object, _T], asked: Asked, *, write: bool) -> _T:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await call
        except TimeoutError as error:
            if limit.expired():
                raise deadline_passed(asked, seconds, write=write) from error
            raise


async def _repeated(attempt: Callable[[], Coroutine[object, object, _T]], most_tries: int) -> _T:
    """Run a read; again after a wait where its error is one that passes. How long: core/retry.py."""
    wait = 0.0

    def may_repeat(state: tenacity.RetryCallState) -> bool:
        nonlocal wait
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, FleetError):
            return False
        found = wait_before_repeat(
            error,
            tries=state.attempt_number,
            most_tries=most_tries,
            previous=wait,
            random=random.random(),
            asked=error.retry_after if isinstance(error, TooManyRequests) else None,
        )
        wait = found or 0.0
        return found is not None

    retrying = tenacity.AsyncRetrying(
        retry=may_repeat, wait=lambda _: wait, stop=tenacity.stop_never, reraise=True, sleep=asyncio.sleep
    )
    return await retrying(attempt)
