"""Two tiny proxies: HTTP CONNECT and SOCKS5 with names resolved at the proxy; both note what they were asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable


class Proxy:
    """Forwards everything to one port of the loopback, whatever name was asked for."""

    def __init__(self, target_port: int, *, password: str = "") -> None:
        self.target_port, self.password = target_port, password
        self.asked: list[str] = []
        self.greetings: list[bytes] = []
        self.refuse = False
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, kind: Callable[[Proxy, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if await kind(self, reader, writer):
                    await self._forward(reader, writer)
            writer.close()

        self._server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def http_connect(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    proxy.greetings.append(head)
    method, target, _ = head.decode().split(" ", 2)
    proxy.asked.append(f"{method} {target}")
    wanted = f"Basic {base64.b64encode(proxy.password.encode()).decode()}"
    allowed = not proxy.password or f"Proxy-Authorization: {wanted}".lower() in head.decode().lower()
    if proxy.refuse or not allowed:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return False
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await writer.drain()
    return True


async def socks5(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    _, methods = await reader.readexactly(2)
    proxy.greetings.append(await reader.readexactly(methods))
    writer.write(b"\x05\x00")
    _, _, _, kind = await reader.readexactly(4)
    if kind == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    else:
        host = ".".join(str(part) for part in await reader.readexactly(4 if kind == 1 else 16))
    port = int.from_bytes(await reader.readexactly(2), "big")
    proxy.asked.append(f"{'name' if kind == 3 else 'address'} {host}:{port}")
    writer.write(bytes([5, 5 if proxy.refuse else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
    await writer.drain()
    return not proxy.refuse
