"""Jobs that went while nobody watched: they may have ended, and are not run a second time (R22)."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from rig import CLUSTER, Hub, config_map
from simulated import SHOP, SimHub
from test_lost_labels import workload
from testbed.controlplane import ControlPlane
from testbed.workloads import job

from fleet.core.ids import Digest, ObjectRef, OverlayName, UnitName
from fleet.core.record import PARENT_NAMESPACE, Row, RowState
from fleet.core.status import Health, asks_recovery
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.reconcile.judging import as_seen_to_go, as_vanished
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation

ONE = Digest("1" * 64)
REST = [config_map("c", SHOP)]


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim)  # type: ignore[arg-type]


def endless(**notes: str) -> dict[str, Any]:
    """A Job that runs for ever."""
    made = job("seed", SHOP)
    made["spec"]["suspend"] = True
    made["metadata"]["annotations"] = notes
    return made


def is_there(hub: SimHub) -> bool:
    return hub.cluster.get("batch", "Job", SHOP, "seed") is not None


async def begin(hub: SimHub) -> UnitName:
    """A hub that ends while its Job runs."""
    unit = hub.want("web", [endless(), *REST])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid, "runs")
        await rows_of(hub, "applied")
    hub.units.clear()
    return unit


async def rows_of(hub: Hub, state: str) -> None:
    """Once this is the state of the Job in the journal."""
    async with asyncio.timeout(10):
        while [r.state for r in (await hub.journal.load()).rows if r.ref.kind == "Job"] != [state]:
            await asyncio.sleep(0.02)


async def test_a_job_that_went_while_no_hub_ran_is_not_run_again(hub: SimHub) -> None:
    unit = await begin(hub)
    hub.cluster.remove("batch", "Job", SHOP, "seed")
    async with hub.worker():
        await hub.until_well(unit)
        assert not is_there(hub)
        (warning,) = hub.units[unit].warnings
        assert "seed: may have run" in warning
        assert hub.object(unit, "Job", "seed").health is Health.HEALTHY
    hub.units.clear()
    async with hub.worker():  # it stays so
        await hub.until_well(unit)
        assert not is_there(hub)
        hub.want("web", [endless(again="1"), *REST], commit="b")
        await hub.until(lambda: is_there(hub), "as its warning says")
        await hub.until(lambda: not hub.units[unit].warnings, "nothing to warn of any more")


@pytest.mark.parametrize("goes", [True, False])
async def test_a_job_that_went_after_its_hub_was_killed_amid_a_stage_is_not_run_again(hub: SimHub, goes: bool) -> None:
    """What stands beside it in the stage was not answered yet; its twin is still there, and stays the same."""
    unit = hub.want("web", [endless(), *REST, workload("app:1")], sync=SyncPolicy(validate=Validate.SCHEMA))
    answered = asyncio.Event()

    async def hold(when: str, target: Any, agent: str) -> bool:
        if target.verb == "patch" and target.name == "d":
            await answered.wait()
        return False

    hub.cluster.faults.tripwire = hold
    async with hub.worker():
        await rows_of(hub, "applied")
        left = deepcopy(hub.journal)
        answered.set()
    hub.cluster.faults.tripwire, hub.journal = None, left
    before: Any = hub.cluster.get("batch", "Job", SHOP, "seed")
    if goes:
        hub.cluster.remove("batch", "Job", SHOP, "seed")
    hub.units.clear()
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.object(unit, "Deployment", "d"), "goes on")
        await asyncio.sleep(1.0)
        assert bool(hub.units[unit].warnings) is goes
    after: Any = hub.cluster.get("batch", "Job", SHOP, "seed")
    assert after is None if goes else after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_twin_one_that_goes_while_a_hub_watches_is_made_again(hub: SimHub) -> None:
    unit = await begin(hub)
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid, "seen")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        await hub.until(lambda: is_there(hub), "made again")
        assert not hub.units[unit].warnings


async def test_twin_one_that_git_changed_while_no_hub_ran_is_run(hub: SimHub) -> None:
    await begin(hub)
    hub.cluster.remove("batch", "Job", SHOP, "seed")
    hub.want("web", [endless(again="1"), *REST], commit="b")
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "run")


async def test_twin_what_is_no_job_is_made_again(hub: SimHub) -> None:
    unit = await begin(hub)
    hub.cluster.remove("", "ConfigMap", SHOP, "c")
    async with hub.worker():
        await hub.until(lambda: hub.cluster.get("", "ConfigMap", SHOP, "c"), "made again")
        assert not hub.units[unit].warnings
        assert is_there(hub)


@pytest.mark.parametrize("is_cut", [True, False])
async def test_one_that_goes_while_the_cluster_cannot_be_reached_is_not_run_again(hub: SimHub, *, is_cut: bool) -> None:
    unit = await begin(hub)
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid, "seen")
        if is_cut:
            hub.cluster.faults.add("refuse")
            await hub.until(lambda: not hub.reports[-1].reachable, "lost")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        hub.cluster.store.compact()
        hub.cluster.faults.clear()
        await hub.until(lambda: is_there(hub) or hub.units[unit].warnings, "known")
        assert is_there(hub) is not is_cut


async def test_one_that_completed_is_not_run_again_after_somebody_ran_it_by_hand(hub: SimHub) -> None:
    hub.limits = WorkerLimits(theirs_seconds=0.2)
    unit = hub.want("web", [job("seed", SHOP), *REST])
    async with hub.worker():
        await hub.until_well(unit)
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is Health.HEALTHY, "completed")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        hub.cluster.create(endless(), manager="kubectl")
        await hub.until(lambda: hub.units[unit].reason, "refused")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        hub.want("web", [job("seed", SHOP), *REST, config_map("d", SHOP)], commit="b")
        await hub.until_well(unit)
        assert not is_there(hub)


async def test_one_whose_name_somebody_used_since_it_went_unseen_is_not_run_again(hub: SimHub) -> None:
    """Somebody ran it by hand, and that one goes too. Twin: what is no Job is made again."""
    hub.limits = WorkerLimits(theirs_seconds=0.2)
    unit = await begin(hub)
    for theirs in (endless(), *REST):
        hub.cluster.remove(theirs["apiVersion"].rpartition("/")[0], theirs["kind"], SHOP, theirs["metadata"]["name"])
        hub.cluster.create(theirs, manager="kubectl")
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].reason, "refused")
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid, "shown as it is")
        (row,) = [row for row in (await hub.journal.load()).rows if row.ref.kind == "Job"]
        assert (row.state, row.uid, row.fields) == (RowState.DONE, "", b""), "nothing of theirs counts as ours"
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        hub.cluster.remove("", "ConfigMap", SHOP, "c")
        hub.want("web", [endless(), *REST, config_map("d", SHOP)], commit="b")  # looked at anew at once
        await hub.until_well(unit)
        assert not is_there(hub)
        assert hub.cluster.get("", "ConfigMap", SHOP, "c")
        (warning,) = hub.units[unit].warnings
        assert "seed: may have run" in warning
        hub.want("web", [endless(again="1"), *REST], commit="c")
        await hub.until(lambda: is_there(hub), "as its warning says")


@pytest.mark.parametrize("is_restart", [True, False])
async def test_one_that_was_seen_to_go_is_made_again_however_much_later(hub: SimHub, *, is_restart: bool) -> None:
    """Nobody could make it again at once; a restart, or a new list, takes it for no ended one."""
    unit = await begin(hub)
    hub.want("web", [endless(), *REST], sync=SyncPolicy(self_heal=False))
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid, "seen")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is Health.MISSING, "seen to go")
        if not is_restart:
            hub.cluster.faults.add("refuse")
            await hub.until(lambda: not hub.reports[-1].reachable, "lost")
            hub.cluster.create(config_map("other", SHOP))
            hub.cluster.store.compact()
            read = len(hub.asked("get", "seed"))
            hub.cluster.faults.clear()
            await hub.until(lambda: len(hub.asked("get", "seed")) > read, "read by name after a new list")
            await hub.until(lambda: hub.reports[-1].reachable, "back")
            hub.want("web", [endless(), *REST])
            await hub.until(lambda: is_there(hub), "made again")
    hub.units.clear()
    hub.want("web", [endless(), *REST])
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "made again")
        await hub.until(lambda: unit in hub.units, "reported")
        assert not hub.units[unit].warnings


async def see_it_go(hub: SimHub) -> UnitName:
    """A hub that ended after it saw the Job go; beside it a unit that is settled."""
    hub.want("api", [config_map("api", SHOP)])
    unit = await begin(hub)
    hub.want("web", [endless(), *REST], sync=SyncPolicy(self_heal=False))
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid, "seen")
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is Health.MISSING, "seen to go")
        await hub.until(lambda: hub.cluster.get("", "ConfigMap", PARENT_NAMESPACE, "unit-api"), "its parent")
    hub.units.clear()
    hub.want("web", [endless(), *REST])
    return unit


async def test_what_a_state_that_is_put_back_saw_go_may_have_run_since_and_is_not_run_again(hub: SimHub) -> None:
    """Of which another unit's parent object alone tells that it is an older one."""
    unit = await see_it_go(hub)
    newer = {"metadata": {"annotations": {"fleet.internal/record-generation": "1000"}}}
    hub.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-api", newer)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and asks_recovery(hub.units[unit]), "it asks")
        hub.send_desired(recovered=hub.shown())
        await hub.until(lambda: is_there(hub) or not asks_recovery(hub.units[unit]), "recovered")
        await hub.until(lambda: is_there(hub) or hub.units[unit].warnings, "known")
        assert not is_there(hub)
        hub.want("web", [endless(again="1"), *REST], commit="b")
        await hub.until(lambda: is_there(hub), "as its warning says")


async def test_twin_what_the_newest_state_saw_go_is_made_again(hub: SimHub) -> None:
    await see_it_go(hub)
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "made again")


@pytest.mark.parametrize(
    ("kind", "state", "is_done"),
    [
        ("Job", RowState.APPLIED, True),
        ("Job", RowState.INTENDED, False),
        ("Job", RowState.DELETING, False),
        ("CronJob", RowState.APPLIED, False),
    ],
)
def test_only_a_job_that_was_applied_may_have_ended_unseen(kind: str, state: RowState, *, is_done: bool) -> None:
    """And only such a one is to be run anew where it was seen to go; of that it is known over restarts."""
    row = Row(UnitName(OverlayName("web"), CLUSTER), ObjectRef("batch", kind, SHOP, "seed"), state, "u", "v1", ONE)
    found = as_vanished(row, at=2.0)
    assert found == (Row(row.unit, row.ref, RowState.DONE, "", "v1", ONE, since=2.0) if is_done else row)
    seen = as_seen_to_go(row)
    assert seen == (replace(row, state=RowState.INTENDED) if is_done else row)
    assert as_vanished(seen, at=3.0) == seen


async def test_a_job_whose_time_to_live_ended_while_no_hub_ran_is_not_run_again(
    plane: ControlPlane, place: str
) -> None:
    """By the cluster's own controllers."""
    once, client = job("once", place), plane.client()
    once["spec"] |= {"suspend": True, "ttlSecondsAfterFinished": 0}
    rest, path = config_map("c", place), f"/apis/batch/v1/namespaces/{place}/jobs/once"
    hub = Hub(plane, installation=place)
    unit = hub.want("web", [once, rest])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "once")) and s.uid, "made")
        await rows_of(hub, "applied")
    client.merge(path, {"spec": {"suspend": False}})
    await asyncio.to_thread(client.wait, path, lambda seen: not seen)
    hub.units.clear()
    async with hub.worker():
        await hub.until_well(unit)
        assert not client.exists(path)
        assert hub.units[unit].warnings
        once["metadata"]["annotations"] = {"again": "1"}
        hub.want("web", [once, rest], commit="b")
        await asyncio.to_thread(client.wait, path, bool)
