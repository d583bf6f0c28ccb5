"""Renewals of many clusters, some of them silent: who is looked at how often, and who waits for whom."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from fleet.controllers.credentials import CredentialKeeper
from fleet.core.fleet import Cluster, Fleet
from fleet.core.ids import ClusterName, Identity, Revision
from fleet.core.problems import Origin
from fleet.core.view import Head, View
from fleet.errors import ClusterTimeout
from fleet.kube.credentials import NamedCredentials
from fleet.kube.renewal import TokenRenewer
from fleet.ports.kube import Held
from fleet.ports.state import Bells
from fleet.store.memory import MemoryState

ISSUED = 1_800_000_000
DUE = 700.0  # of a life of 1000 s


def kubeconfig(issued: int) -> bytes:
    claims = {
        "exp": issued + 1000, "nbf": issued, "sub": "system:serviceaccount:fleet-system:fleet-hub",
        "kubernetes.io": {"namespace": "fleet-system", "serviceaccount": {"name": "fleet-hub"}},
    }  # fmt: skip
    token = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, 1)
    )
    return json.dumps(
        {
            "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1"}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
    ).encode()


class World:
    """A keeper of these clusters on a clock that is moved by hand; what they answer is decided here."""

    def __init__(self, *names: str) -> None:
        self.state, self.view = MemoryState(), View(Head("main"))
        self.wall = ISSUED + 1.0
        self.looks = 0
        self.silent: set[str] = set()  # no answer ever
        self.refusing: set[str] = set()
        self.asked: list[str] = []
        world = self

        class Answers(TokenRenewer):
            async def look(self, name: str) -> Held:
                world.looks += 1
                return await super().look(name)

            async def renew(self, name: str, held: Held, cluster: ClusterName, identity: Identity) -> bytes:
                world.asked.append(name)
                if name in world.refusing:
                    raise ClusterTimeout("no answer", next_step="wait")
                if name in world.silent:
                    await asyncio.Event().wait()
                return kubeconfig(round(world.wall))

        renewer = Answers(NamedCredentials(None, self.state.credential))
        self.keeper = CredentialKeeper(
            renewer, self.state, self.view, Bells(), lambda: self.wall, look_seconds=0.005, soon_seconds=0.001
        )
        clusters = {ClusterName(name): Cluster(ClusterName(name), Origin("clusters/c.yaml", 1)) for name in names}
        self.view.fleet = Fleet(Revision("a" * 40), clusters=clusters)

    async def give(self, *names: str, issued: int = ISSUED, met: bool = True) -> None:
        for name in names:
            await self.state.put_credential(name, kubeconfig(issued), self.wall)
            if met:
                await self.state.record_identity(ClusterName(name), Identity("i"))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.keeper.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def issued(self, name: str) -> float:
        shown = self.view.credentials.get(ClusterName(name))
        return shown.token.issued if shown is not None else 0.0


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait, at most 10 s."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


async def test_a_cluster_that_was_never_met_does_not_keep_the_hub_looking() -> None:
    world = World("a")
    await world.give("a", met=False)
    world.wall += DUE
    world.keeper.look_seconds = 3600.0
    async with world.running():
        await until(lambda: world.looks >= 60, "a hub that starts looks often, for it meets its clusters soon")
        await asyncio.sleep(0.1)
        assert world.looks == 60


async def test_a_cluster_that_is_met_soon_after_the_start_is_renewed_soon() -> None:
    world = World("a")
    await world.give("a", met=False)
    world.wall += DUE
    world.keeper.look_seconds = 3600.0
    async with world.running():
        await until(lambda: world.looks >= 3, "looks")
        await world.state.record_identity(ClusterName("a"), Identity("i"))
        await until(lambda: world.issued("a") > ISSUED, "renewed")


async def test_clusters_that_fell_silent_hold_up_no_other_renewal() -> None:
    silent = [f"s{number}" for number in range(40)]
    world = World("a", *silent)
    await world.give(*silent)
    world.wall += DUE
    world.refusing.update(silent)
    async with world.running():
        await until(lambda: len(world.asked) == 40, "each was tried once")
        world.refusing.clear()
        world.silent.update(silent)
        world.wall += 100  # they are due again, and now they hang
        await until(lambda: len(world.asked) == 48, "they hang in all turns of those that failed before")
        await world.give("a")
        await until(lambda: world.issued("a") > ISSUED, "renewed")
    assert len(world.asked) == 49


async def test_a_renewal_that_hangs_is_begun_once_however_often_the_hub_looks() -> None:
    world = World("a", "b")
    await world.give("a", "b")
    world.wall += DUE
    world.silent.add("a")
    async with world.running():
        await until(lambda: world.issued("b") > ISSUED, "renewed")
        looks = world.looks
        await until(lambda: world.looks > looks + 3, "looks go on")
    assert sorted(world.asked) == ["a", "b"]
