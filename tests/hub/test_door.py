"""Connections to the API: a limit on how many, on how long the head of a request may take, and on who takes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from fleet.hub.door import Door

ASK = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"
ASK_MUCH = b"GET /much HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
ASK_SOME = b"GET /some HTTP/1.1\r\nHost: hub\r\n\r\n"
MUCH_BYTES = 16 << 20  # more than the kernel keeps for a reader


@asynccontextmanager
async def served(**limits: float) -> AsyncIterator[tuple[int, Door]]:
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="well")

    async def much(_: web.Request) -> web.Response:
        return web.Response(body=bytes(MUCH_BYTES))

    async def some(_: web.Request) -> web.Response:
        return web.Response(body=bytes(40_000))

    app.router.add_get("/", answer)
    app.router.add_get("/much", much)
    app.router.add_get("/some", some)
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    door = Door(runner.server, **limits)  # type: ignore[arg-type]
    listener = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], door
    finally:
        listener.close()
        await runner.cleanup()


async def said(port: int, *parts: bytes) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request in parts; the first line of the answer, b"" where the connection was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(20):
            return (await reader.readline()).strip(), reader, writer
    except ConnectionError:
        return b"", reader, writer


async def test_a_connection_too_many_is_closed_and_the_open_ones_go_on() -> None:
    async with served(most=3) as (port, door):
        kept = [await said(port, ASK) for _ in range(3)]
        assert [line for line, _, _ in kept] == [b"HTTP/1.1 200 OK"] * 3
        refused, _, writer = await said(port, ASK)
        assert (refused, door.refused) == (b"", 1)
        writer.close()
        reader, writer = kept[0][1:]
        async with asyncio.timeout(20):
            await reader.readuntil(b"well")
            writer.write(ASK)  # the same connection again
            assert (await reader.readline()).strip() == b"HTTP/1.1 200 OK"
            writer.close()
            while door.open == 3:
                await asyncio.sleep(0.01)
        line, _, writer = await said(port, ASK)
        assert line == b"HTTP/1.1 200 OK"
        for one in (writer, *(writer for _, _, writer in kept[1:])):
            one.close()


async def test_a_head_that_is_not_said_in_time_is_cut() -> None:
    async with served(head_seconds=0.2) as (port, door):
        line, _, _ = await said(port, b"GET / HTTP/1.1\r\nHost: hub\r\nX-Slow: ")
        assert line == b""
        silent, _, _ = await said(port)
        assert silent == b""
        assert door.open == 0


async def test_a_head_in_pieces_and_a_long_life_after_it_are_fine() -> None:
    async with served(head_seconds=1.0) as (port, _):
        pieces = (ASK[:10], ASK[10:-3], ASK[-3:-2], ASK[-2:])
        line, reader, writer = await said(port, *pieces)
        assert line == b"HTTP/1.1 200 OK"
        await reader.readuntil(b"well")
        await asyncio.sleep(1.5)  # the claim itself: the limit is for heads, not for connections
        writer.write(ASK)
        async with asyncio.timeout(20):
            assert (await reader.readline()).strip() == b"HTTP/1.1 200 OK"
        writer.close()


async def with_window(port: int, asked: bytes, window_bytes: int) -> socket.socket:
    taker = socket.socket()
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
    taker.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(taker, ("127.0.0.1", port))
    await loop.sock_sendall(taker, asked)
    return taker


@pytest.mark.parametrize("asked", [ASK_MUCH, ASK_SOME * 500], ids=["one large answer", "many small ones"])
async def test_a_reader_that_takes_nothing_is_cut_and_the_next_guest_comes_in(asked: bytes) -> None:
    async with served(most=1, taking_seconds=0.2) as (port, door):
        taker = await with_window(port, asked, 2048)
        async with asyncio.timeout(20):
            while door.open == 0:
                await asyncio.sleep(0.01)
            while door.open == 1:
                await asyncio.sleep(0.01)
        line, _, writer = await said(port, ASK)
        assert line == b"HTTP/1.1 200 OK"
        writer.close()
        taker.close()


async def test_a_reader_that_takes_little_by_little_gets_its_whole_answer() -> None:
    async with served(taking_seconds=1.0) as (port, _):
        taker = await with_window(port, ASK_MUCH, 1 << 17)
        taken, loop = 0, asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while piece := await loop.sock_recv(taker, 1 << 18):
                taken += len(piece)
                await asyncio.sleep(3.0 * len(piece) / MUCH_BYTES)  # the claim itself: three times the limit in all
        assert taken > MUCH_BYTES
        taker.close()
