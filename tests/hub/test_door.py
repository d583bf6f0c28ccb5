"""Connections to the API: who makes place where all is taken, how long a head may take, and who takes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.api.route import CALLER
from fleet.hub.door import Doing, Door, who_goes

ASK = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"
ASK_MUCH = b"GET /much HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
SLOW_BODY = b"POST /read HTTP/1.1\r\nHost: hub\r\nContent-Length: 9\r\n\r\n1"
ASK_SOME = b"GET /some HTTP/1.1\r\nHost: hub\r\n\r\n"
MUCH_BYTES = 16 << 20  # more than the kernel keeps for a reader


def callers(door: Door) -> list[str]:
    """Who sent the newest request of each that is in, "" for nobody that is known; the longest here first."""
    return [guest.caller for guest in door._guests.values()]


@asynccontextmanager
async def served(**limits: float) -> AsyncIterator[tuple[int, Door]]:
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="well")

    async def much(_: web.Request) -> web.Response:
        return web.Response(body=bytes(MUCH_BYTES))

    async def some(_: web.Request) -> web.Response:
        return web.Response(body=bytes(40_000))

    async def listen(request: web.Request) -> web.StreamResponse:
        if name := request.query.get("as", ""):
            request[CALLER] = name
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"news")
        await asyncio.Event().wait()
        return response

    async def read(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(await request.read())
        return response

    app.router.add_get("/", answer)
    app.router.add_get("/listen", listen)
    app.router.add_post("/read", read)
    app.router.add_get("/much", much)
    app.router.add_get("/some", some)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    door = Door(runner, **limits)  # type: ignore[arg-type]
    await door.set_up()
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


def listens(caller: str) -> bytes:
    return f"GET /listen?as={caller} HTTP/1.1\r\nHost: hub\r\n\r\n".encode()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends, once all that was sent is read."""
    try:
        async with asyncio.timeout(20):
            await reader.read()
    except ConnectionError:
        pass
    return True


Kept = list[tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]]


async def all_said(port: int, *asked: bytes) -> Kept:
    """One connection for each, in this order; all are answered."""
    kept = [await said(port, each) for each in asked]
    assert [line for line, _, _ in kept] == [b"HTTP/1.1 200 OK"] * len(asked)
    return kept


async def goes_on(one: tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    """Whether a second request on the same connection is answered."""
    _, reader, writer = one
    async with asyncio.timeout(20):
        try:
            await reader.readuntil(b"well")
            writer.write(ASK)
            return (await reader.readline()).strip() == b"HTTP/1.1 200 OK"
        except (asyncio.IncompleteReadError, ConnectionError):
            return False


def leave(*guests: Kept) -> None:
    for kept in guests:
        for _, _, writer in kept:
            writer.close()


async def test_connections_at_rest_keep_nobody_out_the_longest_at_rest_makes_place() -> None:
    async with served(most=3) as (port, door):
        resting = await all_said(port, ASK, ASK, ASK)
        await resting[0][1].readuntil(b"well")
        resting[0][2].write(ASK)  # the first one here asks again: now the second one has rested the longest
        assert (await resting[0][1].readline()).strip() == b"HTTP/1.1 200 OK"
        probes = await all_said(port, ASK)
        assert (door.put_out, door.refused, door.open) == (1, 0, 3)
        assert [await goes_on(one) for one in (*resting, *probes)] == [True, False, True, True]
        leave(resting, probes)


async def test_connections_that_say_nothing_or_half_a_head_keep_nobody_out() -> None:
    async with served(most=3, coming_seconds=0.0) as (port, door):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        silent[1][1].write(ASK[:-2])
        while door.open < 3:
            await asyncio.sleep(0.01)
        probes = await all_said(port, ASK, ASK, ASK, ASK)
        assert (door.put_out, door.refused) == (4, 0)
        leave(probes)
        for reader, writer in silent:
            assert await is_closed(reader)
            writer.close()


async def test_bodies_without_end_of_strangers_keep_nobody_out() -> None:
    async with served(most=2) as (port, door):
        slow = await all_said(port, *[SLOW_BODY] * 2)
        leave(await all_said(port, ASK))
        assert (door.put_out, door.refused) == (1, 0)
        assert await is_closed(slow[0][1])
        slow[1][2].write(b"23456789")  # the other one has its place, and is answered
        async with asyncio.timeout(20):
            await slow[1][1].readuntil(b"123456789")
        leave(slow)


async def test_a_newcomer_keeps_its_place_until_its_head_is_here_while_strangers_send_bodies_without_end() -> None:
    async with served(most=3) as (port, door):
        slow = await all_said(port, *[SLOW_BODY] * 3)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)  # it says its head later
        slow += await all_said(port, *[SLOW_BODY] * 5)
        assert (door.put_out, door.refused) == (6, 0)
        writer.write(ASK)
        assert (await reader.readline()).strip() == b"HTTP/1.1 200 OK"
        for one in slow[:6]:
            assert await is_closed(one[1])
        writer.close()
        leave(slow)


async def test_who_begins_to_ask_again_keeps_its_place_until_its_head_is_here() -> None:
    async with served(most=2) as (port, _):
        resting = await all_said(port, ASK)
        await resting[0][1].readuntil(b"well")
        slow = await all_said(port, SLOW_BODY)
        resting[0][2].write(ASK[:9])
        slow += await all_said(port, SLOW_BODY)
        assert await is_closed(slow[0][1])
        resting[0][2].write(ASK[9:])
        assert (await resting[0][1].readline()).strip() == b"HTTP/1.1 200 OK"
        leave(resting, slow)


async def test_a_newcomer_that_says_no_head_in_its_moment_makes_place_before_a_body_under_way() -> None:
    async with served(most=2, coming_seconds=0.0) as (port, door):
        slow = await all_said(port, SLOW_BODY)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (ASK[:1], ASK[1:9]):  # and no later for what it says piece by piece
            writer.write(piece)
        while door.open < 2:
            await asyncio.sleep(0)
        probes = await all_said(port, ASK)
        assert await is_closed(reader)
        slow[0][2].write(b"23456789")
        async with asyncio.timeout(20):
            await slow[0][1].readuntil(b"123456789")
        writer.close()
        leave(slow, probes)


async def test_newcomers_that_say_nothing_keep_nobody_out_of_what_people_have_under_way() -> None:
    async with served(most=4) as (port, door):
        streams = await all_said(port, listens("al"), listens("al"))
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(9)]
        probes = await all_said(port, ASK)
        assert (door.refused, callers(door)[:2]) == (0, ["al", "al"])
        for _, writer in silent:
            writer.close()
        leave(streams, probes)


async def test_one_token_keeps_nobody_out_and_those_with_one_connection_stay() -> None:
    async with served(most=4) as (port, door):
        streams = await all_said(port, listens("al"), *[listens("greedy")] * 3)
        probes = await all_said(port, ASK)
        assert (door.put_out, door.refused) == (1, 0)
        assert await is_closed(streams[1][1])  # the oldest of the three
        assert callers(door) == ["al", "greedy", "greedy", ""]
        leave(streams, probes)


async def test_300_people_behind_one_proxy_keep_their_streams_while_strangers_knock() -> None:
    async with served(most=310) as (port, door):
        streams = await all_said(port, *[listens(f"p{number}") for number in range(300)])
        strangers = [await said(port, ASK) for _ in range(50)]
        assert {line for line, _, _ in strangers} == {b"HTTP/1.1 200 OK"}
        assert (door.put_out, door.refused) == (40, 0)
        assert [name for name in callers(door) if name] == [f"p{number}" for number in range(300)]
        leave(streams, strangers)


async def test_where_each_request_under_way_is_of_another_caller_the_newcomer_is_refused() -> None:
    async with served(most=2) as (port, door):
        streams = await all_said(port, listens("al"), listens("bo"))
        line, _, writer = await said(port, ASK)
        assert (line, door.refused, door.put_out) == (b"", 1, 0)
        writer.close()
        leave(streams[:1])
        while door.open == 2:
            await asyncio.sleep(0.01)
        leave(await all_said(port, ASK), streams[1:])


RESTS, COMES, ASKS = Doing.RESTS, Doing.COMES, Doing.ASKS


@pytest.mark.parametrize(
    ("guests", "goes"),
    [
        ([], None),
        ([(ASKS, "al")], None),
        ([(ASKS, "al"), (ASKS, "bo"), (ASKS, "cy")], None),
        ([(ASKS, "al"), (ASKS, "")], 1),
        ([(ASKS, "al"), (ASKS, "al"), (ASKS, "al"), (ASKS, "")], 3),
        ([(ASKS, "al"), (ASKS, "bo"), (ASKS, "bo")], 1),
        ([(ASKS, "al"), (ASKS, "bo"), (ASKS, "al"), (ASKS, "bo"), (ASKS, "bo")], 1),
        ([(COMES, ""), (ASKS, ""), (RESTS, "al"), (RESTS, "")], 2),
        ([(COMES, ""), (ASKS, "al"), (ASKS, ""), (ASKS, "")], 2),
        ([(COMES, "al"), (COMES, ""), (ASKS, "al"), (ASKS, "al")], 0),
    ],
)
def test_who_makes_place_by_examples(guests: list[tuple[Doing, str]], goes: int | None) -> None:
    assert who_goes(guests) == goes


@given(st.lists(st.tuples(st.sampled_from(Doing), st.sampled_from(["", "al", "bo", "cy"])), max_size=9))
def test_who_makes_place_rests_or_is_a_stranger_or_just_came_or_has_the_most(guests: list[tuple[Doing, str]]) -> None:
    goes = who_goes(guests)
    if goes is None:
        assert {ASKS} >= {doing for doing, _ in guests}
        assert len({"", *(caller for _, caller in guests)}) == len(guests) + 1
        return
    doing, caller = guests[goes]
    assert guests.index(guests[goes]) == goes
    if doing is not RESTS:
        assert RESTS not in {each for each, _ in guests}
    if doing is COMES:
        assert (ASKS, "") not in guests
    if doing is ASKS and caller:
        assert {doing for doing, _ in guests} == {ASKS}
        assert guests.count((ASKS, caller)) == max(map(guests.count, guests)) > 1


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
