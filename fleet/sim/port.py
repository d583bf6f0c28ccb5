"""The port of a cluster on loopback, which a fault closes and gives back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from fleet.sim.calls import MAX_BODY_BYTES
from fleet.sim.faults import Faults
from fleet.sim.front import Front


class Port:
    """Serves one front over TLS; refuses connections while the fault `refuse` is on."""

    def __init__(self, name: str, faults: Faults) -> None:
        self._name, self._faults = name, faults
        self.number = 0
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._context: ssl.SSLContext | None = None
        self._opening: asyncio.Task[None] | None = None

    async def open(self, front: Front, context: ssl.SSLContext, number: int = 0) -> None:
        """Listen; 0 for any free port."""
        self._context = context
        self._server = web.Server(front.handle, request_factory=_request, access_log=None, handler_cancellation=True)
        await self._listen(number)
        self._faults.on_change.append(self._follow_faults)

    async def _listen(self, number: int) -> None:
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._server, "127.0.0.1", number, ssl=self._context, reuse_address=True, backlog=512
        )
        self.number = self._listener.sockets[0].getsockname()[1]

    def _follow_faults(self) -> None:
        refuse = self._faults.has("refuse")
        if refuse and self._listener is not None:
            self._listener.close()
            self._listener = None
            self.cut()
        elif not refuse and self._listener is None and self._server is not None and self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open_again(), name=f"{self._name} listener")

    async def _open_again(self) -> None:
        try:
            await self._listen(self.number)
        finally:
            self._opening = None
        self._follow_faults()  # the port may be refused again meanwhile

    def cut(self) -> None:
        """Break all open connections."""
        if self._server is not None:
            for protocol in tuple(self._server.connections):
                if protocol.transport is not None:
                    protocol.transport.abort()

    async def close(self) -> None:
        """Close it and everything open."""
        server, self._server = self._server, None
        if self._opening is not None:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._opening
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if server is not None:
            await server.shutdown(0.1)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES + 1)
