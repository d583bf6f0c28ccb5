"""Jobs that failed and removed themselves while a hub watched: told as failed, and run anew by a person alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import Hub, config_map
from simulated import SHOP, SimHub
from testbed.controlplane import ControlPlane
from testbed.workloads import job

from fleet.core.ids import ObjectRef, UnitName
from fleet.core.record import RowState
from fleet.core.status import Health, Sync
from fleet.sim import Simulation

SEED = ObjectRef("batch", "Job", SHOP, "seed")
REST = [config_map("c", SHOP)]
LATER = config_map("later", SHOP, annotations={"fleet.internal/wave": "1"})
HOUR = 3600
QUIET_SECONDS = 1.0  # for so long nothing is to happen


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim)  # type: ignore[arg-type]


def seed(lifetime: int = 0, **notes: str) -> dict[str, Any]:
    made = job("seed", SHOP)
    made["spec"]["ttlSecondsAfterFinished"] = lifetime
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "app:crash"
    made["metadata"]["annotations"] = notes
    return made


def is_there(hub: SimHub) -> bool:
    return hub.cluster.get("batch", "Job", SHOP, "seed") is not None


async def fails(hub: SimHub, unit: UnitName) -> None:
    """The Job ends as failed, which the hub sees; from then on it goes in two steps."""
    await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is Health.DEGRADED, "failed")
    hub.cluster.drift("batch", "Job", SHOP, "seed", {"metadata": {"finalizers": ["example.test/slow"]}})


async def goes(hub: SimHub, unit: UnitName) -> None:
    """Deleted as its time to live, or a person, has it."""
    hub.cluster.remove("batch", "Job", SHOP, "seed")
    await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is not Health.DEGRADED, "is going")
    hub.cluster.drift("batch", "Job", SHOP, "seed", {"metadata": {"finalizers": None}})


def says_so(hub: SimHub, unit: UnitName) -> bool:
    found = hub.object(unit, "Job", "seed")
    return found is not None and found.health is Health.DEGRADED and "failed, and removed itself" in found.message


async def test_one_that_failed_and_removed_itself_stays_failed_until_git_changes_it(hub: SimHub) -> None:
    unit = hub.want("web", [seed(), *REST, LATER])
    async with hub.worker():
        await fails(hub, unit)
        await goes(hub, unit)
        await hub.until(lambda: says_so(hub, unit) or is_there(hub), "known")
        assert not is_there(hub), "it is not run again, and again each time as it fails"
        assert hub.units[unit].health is Health.DEGRADED
        assert hub.object(unit, "Job", "seed").sync is Sync.SYNCED
    hub.units.clear()
    async with hub.worker():  # over a restart, and where Git changes something else
        hub.want("web", [seed(), config_map("c", SHOP, {"a": "2"}), LATER], commit="b")
        await hub.until(lambda: says_so(hub, unit), "still")
        await hub.until(lambda: (hub.cluster.get("", "ConfigMap", SHOP, "c") or {})["data"] == {"a": "2"}, "the rest")
        assert not is_there(hub)
        assert hub.cluster.get("", "ConfigMap", SHOP, "later") is None, "its wave waits for what failed"
        hub.want("web", [seed(again="1"), *REST, LATER], commit="c")
        await hub.until(lambda: is_there(hub), "a person's word")
        await hub.until(lambda: not says_so(hub, unit), "and runs")


async def test_twin_one_that_failed_and_a_person_deletes_before_its_time_is_run_anew(hub: SimHub) -> None:
    unit = hub.want("web", [seed(HOUR), *REST])
    async with hub.worker():
        await fails(hub, unit)
        await goes(hub, unit)
        await hub.until(lambda: is_there(hub), "made again")


async def test_twin_one_without_a_lifetime_is_run_anew_once_a_person_deletes_it(hub: SimHub) -> None:
    mine = seed()
    del mine["spec"]["ttlSecondsAfterFinished"]
    unit = hub.want("web", [mine, *REST])
    async with hub.worker():
        await fails(hub, unit)
        await goes(hub, unit)
        await hub.until(lambda: is_there(hub), "made again")


async def test_one_that_failed_and_went_while_the_cluster_could_not_be_reached_stays_failed(hub: SimHub) -> None:
    unit = hub.want("web", [seed(HOUR), *REST])
    async with hub.worker():
        await fails(hub, unit)
        hub.cluster.faults.add("refuse")
        await hub.until(lambda: not hub.reports[-1].reachable, "lost")
        hub.cluster.drift("batch", "Job", SHOP, "seed", {"metadata": {"finalizers": None}})
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        hub.cluster.store.compact()
        hub.cluster.faults.clear()
        await hub.until(lambda: is_there(hub) or says_so(hub, unit), "known")
        assert not is_there(hub)
        assert not hub.units[unit].warnings, "it is known how it ended"


async def test_one_that_failed_is_not_run_again_after_a_stranger_had_its_name(hub: SimHub) -> None:
    unit = hub.want("web", [seed(), *REST])
    async with hub.worker():
        await fails(hub, unit)
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is not Health.DEGRADED, "is going")
        hub.cluster.drift("batch", "Job", SHOP, "seed", {"metadata": {"finalizers": None}})
        hub.cluster.create(seed(HOUR), manager="kubectl")
        await hub.until(lambda: hub.units[unit].reason, "refused")
        (row,) = [row for row in (await hub.journal.load()).rows if row.ref == SEED]
        assert (row.state, row.uid) == (RowState.FAILED, "")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        hub.want("web", [seed(), *REST, config_map("d", SHOP)], commit="b")  # looked at anew at once
        await hub.until(lambda: says_so(hub, unit) or is_there(hub), "known")
        assert not is_there(hub)


@pytest.mark.parametrize("by", ["its lifetime", "a person"])
async def test_by_the_clusters_own_controllers(plane: ControlPlane, place: str, by: str) -> None:
    """A Job that is over its deadline: with a lifetime of nothing it is gone at once, else a person deletes it."""
    once, client = job("once", place), plane.client()
    once["spec"] |= {"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 1 if by == "its lifetime" else HOUR}
    once["spec"]["template"]["metadata"] = {"annotations": {"testbed/fate": "run"}}
    rest, path = config_map("c", place), f"/apis/batch/v1/namespaces/{place}/jobs/once"
    hub = Hub(plane, installation=place)
    unit = hub.want("web", [once, rest])

    def shown(word: str) -> bool:
        found = hub.object(unit, "Job", "once") if unit in hub.units else None
        return found is not None and found.health is Health.DEGRADED and word in found.message

    async with hub.worker():
        if by == "its lifetime":
            await hub.until(lambda: shown("failed, and removed itself"), "told as failed", 40)
            await asyncio.sleep(3)
            assert not client.exists(path)
            once["metadata"]["annotations"] = {"again": "1"}
            hub.want("web", [once, rest], commit="b")
        else:
            await hub.until(lambda: shown(""), "failed", 40)
            first = client.get(path)["metadata"]["uid"]
            client.delete(path, propagationPolicy="Background")
            await asyncio.to_thread(client.wait, path, lambda seen: not seen or seen["metadata"]["uid"] != first)
        await asyncio.to_thread(client.wait, path, bool)


@pytest.mark.parametrize("is_restart", [True, False])
async def test_a_hook_that_failed_and_removed_itself_has_not_ended_well(hub: SimHub, *, is_restart: bool) -> None:
    """What comes after it would go on as if it had."""
    unit = hub.want("web", [seed(**{"fleet.internal/hook": "PreSync"}), *REST])

    def has_failed() -> bool:
        return unit in hub.units and hub.units[unit].reason == "HookFailed"

    async with hub.worker():
        await hub.until(has_failed, "failed")
        if not is_restart:
            hub.cluster.remove("batch", "Job", SHOP, "seed")
            await asyncio.sleep(QUIET_SECONDS)
            assert has_failed()
    if is_restart:
        hub.cluster.remove("batch", "Job", SHOP, "seed")
    hub.units.clear()
    async with hub.worker():
        await hub.until(has_failed, "still")
        await asyncio.sleep(QUIET_SECONDS)
        assert has_failed()
        assert hub.cluster.get("", "ConfigMap", SHOP, "c") is None
        assert not is_there(hub), "once for each result"
        hub.want("web", [seed(**{"fleet.internal/hook": "PreSync"}), config_map("c", SHOP, {"a": "2"})], commit="b")
        await hub.until(lambda: is_there(hub), "runs with the next result")
