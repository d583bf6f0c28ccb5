"""A fault means the same before a simulated cluster and before a real one: what the product's client makes of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import pytest
from kube.hostile import LOOPBACK, Fence
from testbed.controlplane import ControlPlane
from testbed.faultproxy import FaultProxy

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName, Identity
from fleet.errors import FleetError
from fleet.kube.connect import KubeConnector
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Changed, Kube, Listed, Lost, ServedKind
from fleet.sim import Simulation
from fleet.sim.faults import KINDS, Faults
from fleet.sim.ledger import Ledger

LIMITS = KubeLimits(
    call_seconds=1.5, list_seconds=1.5, idle_seconds=1.0, read_tries=1, page_objects=2, silence_seconds=1.0,
    proof_seconds=1.0, steady_seconds=0.2,
)  # fmt: skip


@dataclass
class Place:
    """One namespace of a cluster, simulated or real, with three objects in it."""

    faults: Faults
    ledger: Ledger
    config: dict[str, Any]
    space: str
    put: Callable[[str, str], Awaitable[Any]]  # a ConfigMap by another hand: its name and its one value
    live: Callable[[str], Awaitable[Any]]
    cut: Callable[[], None]
    kube: Kube = field(init=False)
    maps: ServedKind = field(init=False)

    async def kubeconfig(self, name: str) -> bytes:
        return json.dumps(self.config).encode()

    async def connect(self, expected: Identity | None = None) -> Kube:
        connector = KubeConnector(self, limits=LIMITS, allowed=LOOPBACK)
        return await connector.connect(ClusterName("eu-1"), Connection(), expected=expected, fence=Fence())

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[Place]:
        for name in "abc":
            await self.put(name, "1")
        self.kube = await self.connect()
        found = (await self.kube.discover()).find("", "ConfigMap")
        assert found is not None
        self.maps = found
        try:
            yield self
        finally:
            self.faults.clear()
            await self.kube.close()

    # What is done, and what came of it in words

    async def lists(self) -> str:
        return await came_of(self.kube.list(self.maps, namespace=self.space), lambda found: len(found.items))

    async def gets(self, name: str = "a") -> str:
        return await came_of(self.kube.get(self.maps, self.space, name), lambda found: found and found["data"]["a"])

    async def applies(self, value: str = "2") -> str:
        body = document("a", self.space, value)
        apply = self.kube.apply(self.maps, self.space, "a", orjson.dumps(body), force=True)
        return await came_of(apply, lambda answer: answer.object["data"]["a"])

    async def deletes(self, name: str = "a") -> str:
        """What was read, by UID and version, is deleted."""
        seen = await self.kube.get(self.maps, self.space, name)
        assert seen is not None
        uid, version = seen["metadata"]["uid"], seen["metadata"]["resourceVersion"]
        delete = self.kube.delete(self.maps, self.space, name, uid=uid, resource_version=version)
        return await came_of(delete, lambda left: "left" if left else "gone")

    async def follows(self, change: Callable[[], Awaitable[Any]] | None = None, *, heal: bool = True) -> list[str]:
        """What is seen until all is seen again: the trouble, and that it ended with what another hand wrote."""
        words: list[str] = []
        async with asyncio.timeout(15), aclosing(self.kube.follow(self.maps, namespace=self.space)) as events:
            async for seen in events:
                match seen:
                    case Lost(reason=reason):
                        words.append(reason)
                        self.faults.clear()
                    case Listed(items=items):
                        if not words and change is not None:
                            await change()
                        values = [item["data"]["a"] for item in items if item["metadata"]["name"] == "a"]
                        words.append(f"listed {len(items)}, a is {values}")
                    case Changed(object=item) if item["metadata"]["name"] == "a":
                        words.append(f"a is {item['data']['a']}")
                    case _:
                        continue
                if (change is None and len(words) > 1) or any(
                    word.endswith(("is new", "is ['new']")) for word in words
                ):
                    return words
        return words

    def asked(self, verb: str) -> set[tuple[int, bool]]:
        """Codes of the client's requests of a verb here, and whether they landed."""
        return {
            (entry.code, entry.landed)
            for entry in self.ledger
            if (entry.verb, entry.namespace) == (verb, self.space) and entry.agent.startswith("fleet/")
        }


async def came_of(call: Awaitable[Any], shown: Callable[[Any], object]) -> str:
    try:
        return str(shown(await call))
    except FleetError as error:
        return type(error).__name__


def document(name: str, namespace: str, value: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": value}}


@asynccontextmanager
async def simulated() -> AsyncIterator[Place]:
    async with Simulation(["one"], seed=1, controllers=False) as simulation:
        cluster = simulation.cluster("one")

        async def put(name: str, value: str) -> None:
            if cluster.get("", "ConfigMap", "default", name) is None:
                cluster.create(document(name, "default", value))
            else:
                cluster.drift("", "ConfigMap", "default", name, {"data": {"a": value}})

        async def live(name: str) -> Any:
            return cluster.get("", "ConfigMap", "default", name)

        config = json.loads(simulation.kubeconfig("one"))
        yield Place(cluster.faults, cluster.ledger, config, "default", put, live, cluster.cut)


@asynccontextmanager
async def real(plane: ControlPlane, namespace: str) -> AsyncIterator[Place]:
    hands = plane.client()
    await asyncio.to_thread(hands.make_namespace, namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps"

    async def put(name: str, value: str) -> None:
        await asyncio.to_thread(hands.apply, document(name, namespace, value))

    async def live(name: str) -> Any:
        return await asyncio.to_thread(lambda: hands.get(f"{path}/{name}") if hands.exists(f"{path}/{name}") else None)

    async with FaultProxy(plane) as proxy:
        yield Place(proxy.faults, proxy.ledger, proxy.kubeconfig(), namespace, put, live, proxy.cut)


Case = Callable[[Place], Awaitable[Any]]
CASES: dict[str, tuple[Case, Any]] = {}
ALL_LISTED = "listed 3, a is ['1']"


def case(expected: Any) -> Callable[[Case], Case]:
    def named(run: Case) -> Case:
        CASES[run.__name__] = (run, expected)
        return run

    return named


@case(["ClusterUnreachable", "ClusterUnreachable", "3", "2"])
async def refuse(place: Place) -> Any:
    place.faults.add("refuse")
    refused = [await place.lists(), await place.applies()]
    place.faults.clear()
    async with asyncio.timeout(5):
        while (again := await place.lists()) != "3":
            await asyncio.sleep(0.1)
    return [*refused, again, await place.applies()]


@case(["ClusterTimeout", "1", "ClusterTimeout", "1", {(0, False)}])
async def blackhole(place: Place) -> Any:
    place.faults.add("blackhole", verbs={"list", "patch"})
    held = [await place.lists(), await place.gets(), await place.applies()]
    await asyncio.sleep(0.2)  # until the server knows that they are gone
    place.faults.clear()
    await asyncio.sleep(0.2)  # who gave up is gone: nothing of it lands now
    return [*held, (await place.live("a"))["data"]["a"], place.asked("patch")]


@case(["3", "2", "ClusterTimeout", "ClusterTimeout", {(200, True)}])
async def slow(place: Place) -> Any:
    place.faults.add("slow", seconds=0.2)
    late = [await place.lists(), await place.applies()]
    place.faults.clear()
    place.faults.add("slow", seconds=3.0)
    return [*late, await place.lists(), await place.applies("3"), place.asked("patch")]


@case(
    [
        *(400, "ObjectInvalid"),
        *(403, "AdmissionDenied"),
        *(404, "KindNotServed"),
        *(409, "Conflict"),
        *(422, "ObjectInvalid"),
        *(429, "TooManyRequests"),
        *(500, "ServerFailed"),
        *(503, "ServerFailed"),
        *(504, "ClusterTimeout"),
    ]
)
async def error(place: Place) -> Any:
    words: list[Any] = []
    for code in (400, 403, 404, 409, 422, 429, 500, 503, 504):
        place.faults.add("error", code=code, verbs={"list", "patch"}, retry_after=1 if code == 429 else 0)
        listed, applied = await place.lists(), await place.applies()
        assert listed == applied
        words += [code, listed]
        place.faults.clear()
        await asyncio.sleep(1.3 if code == 429 else 0)
    assert place.asked("patch") == {(code, False) for code in words[::2]}
    return words


@case(["ServerFailed", "ServerFailed", {(502, False)}])
async def html(place: Place) -> Any:
    place.faults.add("html")
    return [await place.lists(), await place.applies(), place.asked("patch")]


@case(["AnswerInvalid", "1", "AnswerInvalid", ALL_LISTED])
async def half_list(place: Place) -> Any:
    place.faults.add("half_list")
    return [await place.lists(), await place.gets(), *await place.follows()]


def news(place: Place) -> Callable[[], Awaitable[Any]]:
    return lambda: place.put("a", "new")


@case([ALL_LISTED, "AnswerInvalid", "a is new"])
async def truncated(place: Place) -> Any:
    place.faults.add("truncated", verbs={"watch"})
    return await place.follows(news(place))


@case([ALL_LISTED, "WatchSilent", "a is new"])
async def silent(place: Place) -> Any:
    place.faults.add("silent")
    return await place.follows(news(place))


@case(["3", ALL_LISTED, "Expired", "listed 3, a is ['new']"])
async def expired(place: Place) -> Any:
    """Of a continue token, then of a watch: what was missed comes with the new list."""
    place.faults.add("expired", count=1)
    paged = await place.lists()
    place.faults.clear()
    place.faults.add("expired", count=1, verbs={"watch"})
    return [paged, *await place.follows(news(place))]


@case(["ClusterTimeout", "ClusterTimeout", "ClusterTimeout", "listed 3, a is ['2']"])
async def drip(place: Place) -> Any:
    place.faults.add("drip", seconds=0.05)
    return [await place.lists(), await place.applies(), *await place.follows()]


@case([ALL_LISTED, "WatchSilent", "a is new"])
async def drip_watch(place: Place) -> Any:
    place.faults.add("drip", seconds=0.05, verbs={"watch"})
    return await place.follows(news(place))


@case(["IdentityMismatch", "1"])
async def identity(place: Place) -> Any:
    place.faults.add("identity")
    return [await came_of(place.connect(place.kube.identity), lambda _: "connected"), await place.gets()]


@case(["Unauthorized", "Unauthorized", {(401, False)}])
async def unauthorized(place: Place) -> Any:
    place.faults.add("unauthorized")
    return [await place.lists(), await place.applies(), place.asked("patch")]


@case(["AdmissionDenied", "1", "AdmissionDenied", {(403, False)}])
async def forbidden(place: Place) -> Any:
    place.faults.add("forbidden", verbs={"list", "patch"})
    return [await place.lists(), await place.gets(), await place.applies(), place.asked("patch")]


@case(["1", "Conflict", "2", "gone", {(200, True), (409, False)}])
async def stale(place: Place) -> Any:
    before = int((await place.live("a"))["metadata"]["resourceVersion"])
    await place.put("a", "2")
    now = int((await place.live("a"))["metadata"]["resourceVersion"])
    place.faults.add("stale", versions=now - before)
    read, deleted = await place.gets(), await place.deletes()
    place.faults.clear()
    return [read, deleted, await place.gets(), await place.deletes(), place.asked("delete")]


@case(["None"])
async def stale_before_it_was(place: Place) -> Any:
    before = int((await place.live("c"))["metadata"]["resourceVersion"])
    await place.put("d", "1")
    place.faults.add("stale", versions=int((await place.live("d"))["metadata"]["resourceVersion"]) - before)
    return [await place.gets("d")]


@case(["ClusterTimeout", "2", "ClusterTimeout", None, {(0, True)}])
async def lost_write(place: Place) -> Any:
    place.faults.add("lost_write")
    words = [await place.applies(), (await place.live("a"))["data"]["a"], await place.deletes("b")]
    return [*words, await place.live("b"), place.asked("patch") | place.asked("delete")]


@case(["2", 2, 2, 2, 0, 0])
async def clock(place: Place) -> Any:
    """In hours: what is written, what a watch says, what the client finds; then all is right again."""
    place.faults.add("clock", seconds=7200)
    applied = await place.applies()
    read = await place.kube.get(place.maps, place.space, "a")
    watched: list[int] = []
    async with asyncio.timeout(15), aclosing(place.kube.follow(place.maps, namespace=place.space)) as events:
        async for seen in events:
            if isinstance(seen, Listed):
                await place.put("a", "new")
            elif isinstance(seen, Changed):
                watched = [hours(last_written(seen.object))]
                break
    ahead = round(place.kube.clock_ahead / 3600)
    place.faults.clear()
    await place.put("e", "1")
    made = await place.kube.get(place.maps, place.space, "e")
    assert read is not None
    assert made is not None
    right = made["metadata"]["creationTimestamp"]
    return [applied, hours(last_written(read)), *watched, ahead, hours(right), round(place.kube.clock_ahead)]


def last_written(live: Any) -> str:
    return max(entry["time"] for entry in live["metadata"]["managedFields"])


def hours(text: str) -> int:
    """How far a time is ahead of ours."""
    return round((datetime.fromisoformat(text).timestamp() - time.time()) / 3600)


@pytest.mark.parametrize("name", CASES)
async def test_a_fault_means_the_same_in_both(api_server: ControlPlane, namespace: str, name: str) -> None:
    run, expected = CASES[name]

    async def on(cluster: AbstractAsyncContextManager[Place]) -> Any:
        async with cluster as made, made.ready() as place:
            return await run(place)

    simulator, proxied = await asyncio.gather(on(simulated()), on(real(api_server, namespace)))
    assert simulator == expected
    assert proxied == expected


def test_each_fault_is_compared() -> None:
    assert set(CASES) >= KINDS
