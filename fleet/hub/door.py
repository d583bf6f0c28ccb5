"""Who may come in to the API, how long a request may take to be said, and how slowly an answer may be taken (R41).

Stands before the web server's own protocol: a connection too many is closed at once, and one that does not finish the
head of its first request in time as well, or takes too little of what waits for it. What is idle between requests the
server's keepalive closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

from fleet.values import dataclass

_END_OF_HEAD = b"\r\n\r\n"
_LEAST_BYTES = 16_384  # that a reader takes in `taking_seconds` while an answer waits for it

log = structlog.get_logger("hub")


@dataclass(slots=True)
class Door:
    """Counts the open connections of one listener. Call it to make the protocol of the next one."""

    make: Callable[[], asyncio.BaseProtocol]  # of the web server, within
    most: int = 512
    head_seconds: float = 30.0
    taking_seconds: float = 30.0
    open: int = 0
    refused: int = 0

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one connection."""
        return _Guest(self)


class _Guest(asyncio.Protocol):
    """One connection: passes everything on to the protocol within."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._within: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        door, transport = self._door, cast("asyncio.Transport", transport)
        if door.open >= door.most:
            door.refused += 1
            if door.refused.bit_count() == 1:  # the 1st, 2nd, 4th …: a flood must not flood the log (R43)
                log.warning("connections refused", open=door.open, refused=door.refused)
            transport.abort()
            return
        door.open += 1
        self._late = asyncio.get_running_loop().call_later(door.head_seconds, transport.abort)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # else a small answer that nobody takes is never told of
        self._within = cast("asyncio.Protocol", door.make())
        self._within.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._late is not None:
            self._tail = (self._tail + data)[-len(data) - 3 :]  # the end of a head may come in two pieces
            if _END_OF_HEAD in self._tail:
                self._late.cancel()
                self._late, self._tail = None, b""
            else:
                self._tail = self._tail[-3:]
        if self._within is not None:
            self._within.data_received(data)

    def eof_received(self) -> bool | None:
        return self._within.eof_received() if self._within is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._took_all()
        if self._within is not None:
            self._door.open -= 1
            self._within.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._within is not None and self._transport is not None:
            self._wait_for(self._transport)
            self._within.pause_writing()

    def resume_writing(self) -> None:
        self._took_all()
        if self._within is not None:
            self._within.resume_writing()

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
