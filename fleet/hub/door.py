"""Who may come in to the API, how long a request may take to be said, and how slowly an answer may be taken (R41).

Stands before the web server's own protocol. One that does not finish the head of its first request in time is closed,
and so is one that takes too little of what waits for it. What is idle between requests the server's keepalive closes.
Where all places are taken, a newcomer gets the place of whoever can best do without it: nobody is kept out, the probes
of Kubernetes least of all, by connections that ask nothing, that show no token, or that are all of one token, nor by
newcomers without end: each has a moment to say its request, in which those of strangers make place before it. There is
no limit by address: all people behind one proxy have the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import cast

import structlog
from aiohttp import web

from fleet.api.route import CALLER
from fleet.values import dataclass, field

_END_OF_HEAD = b"\r\n\r\n"
_LEAST_BYTES = 16_384  # that a reader takes in `taking_seconds` while an answer waits for it

log = structlog.get_logger("hub")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Doing(Enum):
    """What a connection does."""

    RESTS = "rests"  # it was answered, or says no head for too long
    COMES = "comes"  # it has just come, or has just begun to ask again
    ASKS = "asks"  # its request is under way, or what answers it waits


def who_goes(guests: Sequence[tuple[Doing, str]]) -> int | None:
    """Which of these connections makes place for a newcomer; None if each has a request of another caller under way.

    guests: what each does, and who sent its request, "" for nobody that is known; the longest at it first.
    """
    for expendable in ((Doing.RESTS, None), (Doing.ASKS, ""), (Doing.COMES, None)):
        for index, (doing, caller) in enumerate(guests):
            if expendable in ((doing, None), (doing, caller)):
                return index
    name, count = max(Counter(caller for _, caller in guests).items(), key=lambda each: each[1], default=("", 0))
    return guests.index((Doing.ASKS, name)) if count > 1 else None


@dataclass(slots=True)
class Door:
    """Keeps the open connections of one listener. Set up, call it to make the protocol of the next one."""

    runner: web.AppRunner  # of what is served; not set up yet
    most: int = 512
    head_seconds: float = 30.0
    coming_seconds: float = 2.0  # for a head before it makes place for the next newcomer
    taking_seconds: float = 30.0
    put_out: int = 0  # for a newcomer
    refused: int = 0
    _guests: dict[asyncio.BaseProtocol, _Guest] = field(default_factory=dict["asyncio.BaseProtocol", "_Guest"])
    _resting: dict[_Guest, None] = field(default_factory=dict["_Guest", None])  # the longest at rest first

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one connection."""
        return _Guest(self)

    async def set_up(self) -> None:
        """Once, before the first connection."""
        self.runner.app.middlewares.insert(0, self.watch)
        await self.runner.setup()

    @property
    def open(self) -> int:
        """How many are in."""
        return len(self._guests)

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The outermost middleware of what is served: tells which connections have a request under way, and whose."""
        guest = self._guests.get(request.protocol)
        if guest is None:
            return await handler(request)
        guest.asks(request)
        try:
            return await handler(request)
        finally:
            guest.asks(None)

    def lets_in(self, guest: _Guest) -> asyncio.Protocol | None:
        """Give it a place, if need be that of another, and the protocol within; None if there is no place."""
        if len(self._guests) >= self.most and not self._makes_place():
            self.refused += 1
            _tell("connections refused", self.refused)
            return None
        server = self.runner.server
        assert server is not None  # made when it was set up
        within = server()
        self._guests[within] = guest
        return within

    def sees(self, guest: _Guest) -> None:
        """Take note of what it does now."""
        self._resting.pop(guest, None)
        if guest.is_at_rest:
            self._resting[guest] = None

    def lets_out(self, within: asyncio.BaseProtocol, guest: _Guest) -> None:
        """Its place is free; repeat-safe."""
        self._guests.pop(within, None)
        self._resting.pop(guest, None)

    def _makes_place(self) -> bool:
        begun_after = asyncio.get_running_loop().time() - self.coming_seconds
        guests = [*self._resting, *(guest for guest in self._guests.values() if guest not in self._resting)]
        found = who_goes([(guest.doing(begun_after), guest.caller) for guest in guests])
        if found is None:
            return False
        self.put_out += 1
        _tell("connections closed for newcomers", self.put_out)
        guests[found].put_out()
        return True


def _tell(what: str, count: int) -> None:
    if count.bit_count() == 1:  # the 1st, 2nd, 4th …: a flood must not flood the log (R43)
        log.warning(what, count=count)


class _Guest(asyncio.Protocol):
    """One connection: passes everything on to the protocol within."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._within: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._tail = b""
        self._request: web.Request | None = None
        self._begun: float | None = None  # when it came, or began to say what no request is yet
        self._caller = ""
        self._is_in = False  # a request may end after its connection

    @property
    def is_at_rest(self) -> bool:
        """It is in, has no request under way, and no answer waits for it."""
        return self._is_in and self._request is None and self._slow is None

    @property
    def caller(self) -> str:
        """Who sent the request under way, or the last one; "" if nobody that is known."""
        return self._caller if self._request is None else self._request.get(CALLER, "")

    def doing(self, begun_after: float) -> Doing:
        """begun_after: what began to ask before this, and does not yet, is at rest."""
        if not self.is_at_rest:
            return Doing.ASKS
        return Doing.COMES if self._begun is not None and self._begun > begun_after else Doing.RESTS

    def asks(self, request: web.Request | None) -> None:
        """Its request begins; None: it ended."""
        self._caller, self._request, self._begun = self.caller, request, None
        self._door.sees(self)

    def put_out(self) -> None:
        """Close it at once; its place is free."""
        if self._within is not None and self._transport is not None:
            self._is_in = False
            self._door.lets_out(self._within, self)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        door, transport = self._door, cast("asyncio.Transport", transport)
        within = door.lets_in(self)
        if within is None:
            transport.abort()
            return
        self._late = asyncio.get_running_loop().call_later(door.head_seconds, transport.abort)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # else a small answer that nobody takes is never told of
        self._within, self._is_in = within, True
        self._begins()
        within.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._late is not None:
            self._tail = (self._tail + data)[-len(data) - 3 :]  # the end of a head may come in two pieces
            if _END_OF_HEAD in self._tail:
                self._late.cancel()
                self._late, self._tail = None, b""
            else:
                self._tail = self._tail[-3:]
        if self._within is not None:
            self._begins()
            self._within.data_received(data)

    def eof_received(self) -> bool | None:
        return self._within.eof_received() if self._within is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._took_all()
        if self._within is not None:
            self._is_in = False
            self._door.lets_out(self._within, self)
            self._within.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._within is not None and self._transport is not None:
            self._wait_for(self._transport)
            self._door.sees(self)
            self._within.pause_writing()

    def resume_writing(self) -> None:
        self._took_all()
        if self._within is not None:
            self._door.sees(self)
            self._within.resume_writing()

    def _begins(self) -> None:
        if self._begun is None and self._request is None:  # once: a head in many pieces is none sooner
            self._begun = asyncio.get_running_loop().time()
            self._door.sees(self)

    def _wait_for(self, transport: asyncio.Transport) -> None:
        seconds, left = self._door.taking_seconds, transport.get_write_buffer_size()
        self._slow = asyncio.get_running_loop().call_later(seconds, self._look_again, transport, left)

    def _look_again(self, transport: asyncio.Transport, before: int) -> None:
        if before - transport.get_write_buffer_size() < _LEAST_BYTES:
            transport.abort()
        else:
            self._wait_for(transport)

    def _took_all(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
