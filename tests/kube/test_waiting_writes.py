"""A write that waited is asked about again just before it is sent: however long its turn or its connection took."""

from __future__ import annotations

import asyncio
import time

import pytest
from kube.hostile import Asked, Reply, World, as_json, refusal
from kube.proxies import Proxy, http_connect

from fleet.errors import FleetError, OwnedByOther, TooManyRequests, Withdrawn
from fleet.ports.kube import Kube, ServedKind

MAPS = ServedKind("", "v1", "ConfigMap", "configmaps", True, frozenset({"list", "watch"}))
WEB = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "web", "uid": "u1", "resourceVersion": "7"}}


class Leave:
    """What may be written, as long as nobody says otherwise."""

    def __init__(self) -> None:
        self.given = True

    def __call__(self) -> bool:
        return self.given


async def paused(world: World, kube: Kube) -> None:
    """The server asks all callers to wait for a second."""
    left = [refusal(429, "TooManyRequests", "slow down", Retry_After="1"), as_json(WEB)]

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        return left.pop(0) if len(left) > 1 else left[0]

    world.server.answer = answer
    with pytest.raises(TooManyRequests):
        await kube.apply(MAPS, "shop", "web", b"{}")


def writes(kube: Kube, may: Leave) -> list[asyncio.Task[object]]:
    calls = (
        kube.apply(MAPS, "shop", "web", b"{}", may=may),
        kube.patch(MAPS, "shop", "web", b"{}", "application/merge-patch+json", may=may),
        kube.delete(MAPS, "shop", "web", uid="u1", may=may),
    )
    return [asyncio.ensure_future(call) for call in calls]  # type: ignore[arg-type]


@pytest.mark.parametrize("taken_back", [Withdrawn, OwnedByOther])
async def test_what_waits_out_a_pause_is_not_sent_once_it_may_not_be(
    world: World, taken_back: type[FleetError]
) -> None:
    async with world.connected() as kube:
        await paused(world, kube)
        may = Leave()
        waiting = writes(kube, may)
        await asyncio.sleep(0.05)
        if taken_back is Withdrawn:
            may.given = False
        else:
            world.fence.error = OwnedByOther("another hub")
        for task in waiting:
            with pytest.raises(taken_back):
                await task
        assert [one.method for one in world.server.asked if one.method != "GET"] == ["PATCH"]


async def test_what_waits_out_a_pause_and_still_may_is_sent_after_it(world: World) -> None:
    async with world.connected() as kube:
        await paused(world, kube)
        began = time.monotonic()
        await asyncio.gather(*writes(kube, Leave()))
        assert time.monotonic() - began >= 0.9
        assert sorted(one.method for one in world.server.asked if one.method != "GET") == ["DELETE", *["PATCH"] * 3]


@pytest.mark.parametrize("still", [False, True])
async def test_a_write_is_asked_about_once_it_has_its_connection(world: World, *, still: bool) -> None:
    """still: it may be sent when the connection stands."""
    opens, asked_for, read = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slowly(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if proxy.asked:  # the first one is the read's
            asked_for.set()
            await opens.wait()
        return await http_connect(proxy, reader, writer)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        if asked.method == "GET":
            await read.wait()
        return as_json(WEB)

    proxy = Proxy(world.server.port)
    await proxy.start(slowly)
    async with world.connected(world.kubeconfig(**{"proxy-url": f"http://127.0.0.1:{proxy.port}"})) as kube:
        world.server.answer = answer
        reading = asyncio.create_task(kube.get(MAPS, "shop", "web"))
        may = Leave()
        writing = asyncio.create_task(kube.apply(MAPS, "shop", "web", b"{}", may=may))
        await asked_for.wait()
        may.given = still
        opens.set()
        if still:
            await writing
        else:
            with pytest.raises(Withdrawn):
                await writing
        read.set()
        await reading
    assert len(world.server.seen("PATCH")) == still
    await proxy.stop()


async def test_what_was_not_sent_says_nothing_of_the_cluster(world: World) -> None:
    world.server.answer = answered
    may = Leave()
    may.given = False
    async with world.connected() as kube:
        for _ in range(40):  # more than places
            with pytest.raises(Withdrawn):
                await kube.apply(MAPS, "shop", "web", b"{}", may=may)
        await kube.apply(MAPS, "shop", "web", b"{}")
    assert {one.headers.get("connection") for one in world.server.asked} == {None}  # as of a cluster that is well


async def answered(asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
    return as_json(WEB)
