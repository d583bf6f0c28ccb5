"""Who has a place at the API where all are taken: no token, and nobody without one, keeps the others out (R41)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import aiohttp
import pytest
from api.conftest import Api

from fleet.api import stream
from fleet.api.app import build_app
from fleet.api.stream import Places
from fleet.errors import RequestInvalid
from fleet.hub import main
from fleet.hub.door import Door
from fleet.hub.loops import Troubles
from fleet.hub.main import Hub, run_hub

ASK = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
SLOW_HOOK = b"POST /hooks/git HTTP/1.1\r\nHost: hub\r\nContent-Length: 9\r\n\r\n1"


@asynccontextmanager
async def hub_with(api: Api, monkeypatch: pytest.MonkeyPatch, *, places: int) -> AsyncIterator[str]:
    """The URL of a hub of its own with this API and so many places for connections."""
    monkeypatch.setattr(main, "Door", partial(Door, most=places))
    stop, listens = asyncio.Event(), asyncio.Queue[str]()

    async def nothing() -> None:
        return

    hub = Hub((), Troubles(), nothing, build_app(api.parts), ("127.0.0.1", 0), None, None, nothing)
    task = asyncio.create_task(run_hub(hub, started=listens.put, stop=stop))
    try:
        yield await listens.get()
    finally:
        stop.set()
        await task


async def asked(url: str, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(text)
    return reader, writer


async def health_of(url: str) -> tuple[bytes, asyncio.StreamWriter]:
    """The first line of the answer, and the connection, which stays open."""
    reader, writer = await asked(url, ASK)
    async with asyncio.timeout(20):
        return (await reader.readline()).strip(), writer


async def test_probes_answer_and_streams_go_on_while_strangers_take_all_places(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_with(api, monkeypatch, places=4) as url, aiohttp.ClientSession() as session:
        sent = [{"Authorization": f"Bearer {api.keys[role]}"} for role in ("viewer", "operator")]
        streams = [await session.get(f"{url}/api/v1/stream", headers=headers) for headers in sent]
        strangers = [(*await health_of(url), (await asked(url, SLOW_HOOK))[1]) for _ in range(20)]
        assert {line for line, *_ in strangers} == {b"HTTP/1.1 200 OK"}
        async with asyncio.timeout(20):
            for answer in streams:
                assert answer.status == 200
                first = asyncio.ensure_future(answer.content.readany())
                assert not (await asyncio.wait([first], timeout=0.05))[0], "the stream ended"
                first.cancel()
        for _, *writers in strangers:
            for writer in writers:
                writer.close()
        for answer in streams:
            answer.close()


async def test_a_token_with_all_streams_gives_its_oldest_to_another_and_keeps_the_rest(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STREAMS_LIMIT", 3)

    async def opened(role: str) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {api.keys[role]}"}
        return await api.session.get(api.url + "/api/v1/stream", headers=headers)

    greedy = [await opened("viewer") for _ in range(3)]
    assert (await opened("viewer")).status == 422
    began, other = time.monotonic(), await opened("operator")
    assert other.status == 200
    assert await greedy[0].content.read() == b""  # it ends
    assert time.monotonic() - began <= 5
    for kept in (*greedy[1:], other):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.content.readany(), 0.05)
        kept.close()


def test_300_people_keep_their_streams_whether_they_share_one_token_or_not() -> None:
    for callers in ([f"p{number}" for number in range(300)], ["shared"] * 300):
        places = Places()
        with ExitStack() as stack:
            taken = [stack.enter_context(places.taken_by(caller)) for caller in callers]
            late = stack.enter_context(places.taken_by("late"))
            assert all(place.is_kept for place in (*taken, late))


def test_two_tokens_share_all_streams_and_do_not_take_them_from_each_other_for_ever() -> None:
    places = Places()
    with ExitStack() as stack:
        first = [stack.enter_context(places.taken_by("a")) for _ in range(stream.STREAMS_LIMIT)]
        second = [stack.enter_context(places.taken_by("b")) for _ in range(stream.STREAMS_LIMIT // 2)]
        assert all(place.is_kept for place in second)
        assert sum(place.is_kept for place in first) == stream.STREAMS_LIMIT - len(second)
        for caller in ("a", "b"):
            with pytest.raises(RequestInvalid, match="streams are open already"):
                stack.enter_context(places.taken_by(caller))
        assert stack.enter_context(places.taken_by("c")).is_kept
    with ExitStack() as stack:  # all is free again
        assert all(stack.enter_context(places.taken_by("a")).is_kept for _ in range(stream.STREAMS_LIMIT))
