"""Sick clusters beside well ones: no well one waits for them, and one that was given up keeps few connections (R18)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from bench.isolation import interval
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.ids import ClusterName
from fleet.kube import connect
from fleet.kube.limits import KubeLimits

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do
WELL = ("w-1", "w-2", "w-3")
SICK = {"s-hole": {"kind": "blackhole"}, "s-drip": {"kind": "drip"}, "s-error": {"kind": "error"}}


def value(world: HubWorld, cluster: str) -> str:
    found = world.sim.cluster(cluster).get("", "ConfigMap", "default", "web")
    return found["data"]["a"] if found else ""


def connections(world: HubWorld, cluster: str) -> int:
    """Those that the hub has open to a cluster."""
    port = world.sim.cluster(cluster).port
    return sum(bool(one.raddr) and one.raddr.port == port for one in psutil.Process().net_connections("tcp"))


async def begun(world: HubWorld) -> None:
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in world.sim.clusters}
    world.commit({**files, **overlay("overlays/web", {"web": config_map("web", "1")})})
    await world.until_everywhere(world.repo.head() or "", 120)


async def test_well_clusters_get_a_commit_while_calls_to_the_sick_hang(tmp_path: Path) -> None:
    async with make_world(tmp_path, (*WELL, *SICK), render_workers=1) as world, world.run():
        await begun(world)
        for name, fault in SICK.items():
            world.sim.cluster(name).faults.add(**fault)
        world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        sick = world.sim.cluster("s-hole")
        await world.until(lambda: sick.faults.active[0].hits, "the black hole was asked", 60)
        # The call that hangs there ends after a minute: whoever waited for it would come later than this.
        await world.until(lambda: all(value(world, name) == "2" for name in WELL), "the well ones have it", 50)
        assert value(world, "s-hole") == "1"
        assert not any(entry.landed for entry in sick.ledger if entry.verb == "patch" and entry.code == 0)
        for name in SICK:
            world.sim.cluster(name).faults.clear()
        await world.until(lambda: all(value(world, name) == "2" for name in SICK), "the sick ones are well", 120)


async def test_a_cluster_that_was_given_up_keeps_one_connection_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = KubeLimits(call_seconds=4.0, idle_seconds=4.0, connect_seconds=4.0, silence_seconds=4.0)
    monkeypatch.setattr(connect, "KubeLimits", lambda: limits)
    async with make_world(tmp_path, ("w-1", "s-hole"), render_workers=1) as world, world.run():
        await begun(world)
        assert connections(world, "s-hole") > 1  # its watches
        world.sim.cluster("s-hole").faults.add("blackhole")
        world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        seen = world.opened.view.clusters
        await world.until(lambda: not seen[ClusterName("s-hole")].reachable, "given up", 90)
        await world.until(lambda: connections(world, "s-hole") <= 1, "calls from before have ended", 30)
        found = list[int]()
        for _ in range(100):  # over several tries to reach it again
            found.append(connections(world, "s-hole"))
            await asyncio.sleep(0.1)
        assert max(found) == 1
        assert value(world, "w-1") == "2"


def test_the_interval_of_a_ratio_holds_its_median_and_narrows_with_agreement() -> None:
    low, high = interval([1.0, 1.1, 0.9, 1.05, 0.95, 1.2, 1.0])
    assert 0.9 <= low <= 1.0 <= high <= 1.2
    assert interval([1.3] * 7) == (1.3, 1.3)
