"""A cluster's store is put back to a snapshot (etcd restored): what was written since is undone, versions recur."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from rig import config_map
from simulated import SHOP, SimHub
from two_hubs import SOON, bundle_said, parent_on

from fleet.core.status import EventKind, Sync
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Listed
from fleet.sim import Simulation
from fleet.sim.ledger import Entry
from fleet.sim.storage import Snapshot

SHORT = KubeLimits(watch_seconds=4, proof_seconds=1, silence_seconds=6, steady_seconds=0.5)
OLD, NEW = {"v": "old"}, {"v": "new"}
NO_HEAL = SyncPolicy(validate=Validate.SCHEMA, self_heal=False)


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim, installation="acme", limits=SOON, kube_limits=SHORT)  # type: ignore[arg-type]


def maps(data: dict[str, str]) -> list[dict[str, Any]]:
    return [config_map("a", SHOP, data), config_map("b", SHOP, {"v": "same"})]


def value(hub: SimHub) -> Any:
    found = hub.cluster.get("", "ConfigMap", SHOP, "a")
    return found and found["data"]


async def rolled_out(hub: SimHub, data: dict[str, str] = NEW, *, sync: SyncPolicy | None = None) -> Snapshot:
    """The snapshot from before the commit that is applied now, with much going on after it."""
    unit = hub.want("web", maps(OLD), sync=sync)
    await hub.until_well(unit)
    await hub.until(lambda: bundle_said(parent_on(hub)), "its parent")
    snapshot = hub.cluster.store.snapshot()
    hub.want("web", maps(data), commit="b", sync=sync)
    await hub.until_well(unit)
    for number in range(30):
        hub.cluster.create(config_map(f"noise{number}", SHOP))
    await asyncio.sleep(0.5)
    return snapshot


async def put_back(hub: SimHub, snapshot: Snapshot, *, ahead: int = 0) -> None:
    """As it is done: the API server is down meanwhile."""
    hub.cluster.faults.add("refuse")
    await asyncio.sleep(0.2)
    hub.cluster.restore(snapshot, ahead=ahead)
    hub.cluster.faults.clear()


def reads_of(hub: SimHub, name: str, since: int) -> list[Entry]:
    """Of an object by name, since a place in the ledger."""
    return [entry for entry in hub.cluster.ledger.since(since) if (entry.verb, entry.name) == ("get", name)]


async def until_written(hub: SimHub, data: dict[str, str], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while value(hub) != data:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("ahead", [0, 5, 500], ids=["at its moment", "on its way", "beyond all that was seen"])
async def test_what_was_undone_is_made_good(hub: SimHub, ahead: int) -> None:
    async with hub.worker():
        snapshot = await rolled_out(hub)
        await put_back(hub, snapshot, ahead=ahead)
        await until_written(hub, NEW)
        await hub.until(lambda: hub.told(EventKind.HEALED), "told")
        await hub.until_well(next(iter(hub.units)))


async def test_what_was_undone_while_no_hub_ran_is_made_good(hub: SimHub) -> None:
    """The journal's resume token and versions are of a history that is no more."""
    async with hub.worker():
        snapshot = await rolled_out(hub)
        await asyncio.sleep(0.5)
    hub.cluster.restore(snapshot)
    async with hub.worker():
        await until_written(hub, NEW)


async def test_a_history_that_has_gone_on_unnoticed_shows_in_the_proof_list(hub: SimHub) -> None:
    """A server that goes on with a watch as if nothing had happened."""
    hub.limits = replace(SOON, proof_seconds=3.0)
    async with hub.worker():
        snapshot = await rolled_out(hub)
        hub.cluster.faults.add("refuse")
        await asyncio.sleep(0.2)
        hub.cluster.restore(snapshot, ahead=500)
        hub.cluster.store.compacted = 0
        hub.cluster.faults.clear()
        await until_written(hub, NEW)


async def test_what_happens_to_an_undone_object_afterwards_is_seen(hub: SimHub) -> None:
    """Its versions are below that of our own write for a long time; nothing is healed here."""
    async with hub.worker():
        snapshot = await rolled_out(hub, sync=NO_HEAL)
        unit = next(iter(hub.units))
        await put_back(hub, snapshot)
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").sync is Sync.OUT_OF_SYNC, "seen")
        assert value(hub) == OLD
        hub.cluster.drift("", "ConfigMap", SHOP, "a", {"data": NEW}, manager="fleet")
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").sync is Sync.SYNCED, "seen again")


async def test_an_object_that_was_looked_for_is_found_as_it_came_back(hub: SimHub) -> None:
    """Its watch had said that it went, and what came back is from before that."""
    async with hub.worker():
        snapshot = await rolled_out(hub, OLD, sync=NO_HEAL)
        unit = next(iter(hub.units))
        since = hub.cluster.ledger.sequence
        hub.cluster.faults.add("error", verbs=["get"], name="a", code=500, agent="fleet")
        hub.cluster.drift("", "ConfigMap", SHOP, "a", {"data": NEW}, manager="somebody")
        hub.cluster.remove("", "ConfigMap", SHOP, "a")
        async with asyncio.timeout(10):
            while not reads_of(hub, "a", since):
                await asyncio.sleep(0.02)
        await put_back(hub, snapshot)
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").sync is Sync.SYNCED, "found")
        await asyncio.sleep(3)
        since = hub.cluster.ledger.sequence
        await asyncio.sleep(6)
        assert not reads_of(hub, "a", since)  # it is known, and not asked for any more


async def test_a_new_list_of_the_same_history_writes_nothing_and_reads_what_changed_last(hub: SimHub) -> None:
    async with hub.worker():
        await rolled_out(hub)
        since = hub.cluster.ledger.sequence
        hub.cluster.store.compact()
        hub.cluster.cut()
        async with asyncio.timeout(15):
            while not any((e.verb, e.resource) == ("list", "configmaps") for e in hub.cluster.ledger.since(since)):
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        entries = hub.cluster.ledger.since(since)
        assert sum(entry.verb == "get" and entry.resource == "configmaps" for entry in entries) <= 1
        assert not hub.cluster.ledger.writes(since)


class Behind:
    """One list is answered by a server that is behind; the watch goes on from there."""

    def __init__(self, kube: Any, hub: SimHub, past: list[Any]) -> None:
        self._kube, self._hub, self._past = kube, hub, past

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def follow(self, kind: Any, **options: Any) -> AsyncIterator[Any]:
        since = options.pop("since", "")
        while True:
            async for seen in self._kube.follow(kind, since=since, **options):
                if isinstance(seen, Listed) and kind.kind == "ConfigMap":
                    self._past.append(seen)
                yield seen
                if kind.kind == "ConfigMap" and len(self._past) > 1 and self._past[-1] is ...:
                    break
            self._past.pop()
            yield self._past[0]
            since = self._past[0].resource_version


async def test_a_list_of_a_server_that_is_behind_deletes_and_makes_nothing(hub: SimHub) -> None:
    """It shows what was pruned, not what was made, and what was changed as it was: what follows it tells the rest."""
    past: list[Any] = []
    hub.between = lambda kube: Behind(kube, hub, past)
    unit = hub.want("web", [*maps(OLD), config_map("pruned", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.cluster.create(config_map("noise", SHOP))
        hub.want("web", [*maps(NEW), config_map("made", SHOP)], commit="b")
        await hub.until_well(unit)
        await asyncio.sleep(0.5)
        uids = {name: hub.cluster.get("", "ConfigMap", SHOP, name)["metadata"]["uid"] for name in ("a", "b", "made")}
        since = hub.cluster.ledger.sequence
        past.append(...)
        hub.cluster.cut()
        await asyncio.sleep(4)
        assert ... not in past  # it was shown
        await hub.until_well(unit)
        assert not [e for e in hub.cluster.ledger.writes(since) if e.verb in ("delete", "create")]
        assert hub.cluster.get("", "ConfigMap", SHOP, "pruned") is None
        assert value(hub) == NEW
        for name, uid in uids.items():
            assert hub.cluster.get("", "ConfigMap", SHOP, name)["metadata"]["uid"] == uid
