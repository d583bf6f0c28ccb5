"""The clock of a cluster is off by hours: nothing that the hub measures or shows follows it."""

from __future__ import annotations

import time

import pytest
from rig import config_map
from simulated import SHOP, SimHub
from testbed.workloads import deployment
from two_hubs import seen_there

from fleet.core.status import EventKind
from fleet.core.sync_policy import Adopt, SyncPolicy, Validate
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation
from fleet.sim.fates import ANNOTATION

HOURS = 7200.0
NEAR = 60.0  # what a busy machine may take
off = pytest.mark.parametrize("seconds", [HOURS, -HOURS, 0.0], ids=["ahead", "behind", "twin"])


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim)  # type: ignore[arg-type]


def wrong_clock(hub: SimHub, seconds: float) -> None:
    if seconds:
        hub.cluster.faults.add("clock", seconds=seconds)


@off
async def test_who_wrote_an_object_just_now_is_waited_for(hub: SimHub, seconds: float) -> None:
    hub.limits = WorkerLimits(adopt_quiet_seconds=4.0)
    wrong_clock(hub, seconds)
    hub.cluster.create(config_map("a", SHOP), manager="argocd-controller")
    written = time.time()
    unit = hub.want("web", [config_map("a", SHOP)], sync=SyncPolicy(validate=Validate.SCHEMA, adopt=Adopt.IF_NO_DIFF))
    async with hub.worker():
        await hub.until(
            lambda: (found := hub.object(unit, "ConfigMap", "a")) and found.reason == "WriterActive", "waits"
        )
        await hub.until_well(unit, seconds=60)
    adopted = min(entry.moment for entry in hub.asked("patch", "a") if entry.writes)
    assert adopted - written >= 2.0  # a Date knows whole seconds


@pytest.mark.parametrize(("passed", "is_said"), [(0.0, False), (45.0, True)], ids=["at-first", "later"])
@off
async def test_a_pod_that_finds_no_node_is_said_when_it_has_waited_long(
    hub: SimHub, seconds: float, passed: float, is_said: bool
) -> None:
    hub.limits = WorkerLimits(watch_seconds=0.1)
    hub.wall = lambda: time.time() + passed
    wrong_clock(hub, seconds)
    unit = hub.want("web", [deployment("web", SHOP, notes={ANNOTATION: "unschedulable"})])
    async with hub.worker():
        if is_said:
            await hub.until(
                lambda: (found := hub.object(unit, "Deployment", "web")) and "scheduled" in found.message, ""
            )
        else:
            await seen_there(lambda: hub.cluster.ledger.count(verb="list", resource="pods") >= 8)
            assert "scheduled" not in hub.object(unit, "Deployment", "web").message


@off
async def test_what_a_hold_shows_is_as_old_as_it_is(hub: SimHub, seconds: float) -> None:
    wrong_clock(hub, seconds)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "old"}}
    unit, made = hub.want("web", [space, config_map("a", SHOP)]), time.time()
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("a", SHOP)], commit="b")
        await hub.until(lambda: hub.units[unit].holds, "held")
    (asked,) = hub.units[unit].holds[0].deletions
    assert abs(asked.created_at - made) < NEAR


@off
async def test_who_changed_a_field_is_said_with_the_time_at_which_it_was(hub: SimHub, seconds: float) -> None:
    wrong_clock(hub, seconds)
    sync = SyncPolicy(validate=Validate.SCHEMA, self_heal=False)
    unit = hub.want("web", [config_map("a", SHOP)], sync=sync)
    async with hub.worker():
        await hub.until_well(unit)
        changed = time.time()
        hub.cluster.drift("", "ConfigMap", SHOP, "a", {"data": {"a": "by hand"}})
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").drift, "drifted")
    (field,) = hub.object(unit, "ConfigMap", "a").drift
    assert (field.manager, abs(field.since - changed) < NEAR) == ("kubectl-edit", True)


@off
async def test_the_hour_of_a_budget_is_ours(hub: SimHub, seconds: float) -> None:
    kept = [config_map(f"c{number}", SHOP) for number in range(14)]
    unit = hub.want("web", kept)
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", kept[:-3], commit="b")
        await hub.until_well(unit)
        wrong_clock(hub, seconds)
        hub.cluster.cut()
        hub.want("web", kept[:-4], commit="c")
        await hub.until(lambda: hub.units[unit].holds, "the fourth within the hour")
    assert hub.units[unit].holds[0].reason == "prune-budget"
    assert hub.cluster.get("", "ConfigMap", SHOP, "c10") is not None


@pytest.mark.parametrize("jump", [HOURS, -HOURS], ids=["ahead", "behind"])
async def test_a_clock_that_is_set_amid_all_changes_nothing(hub: SimHub, jump: float) -> None:
    unit = hub.want("web", [config_map(name, SHOP) for name in "abc"])
    async with hub.worker():
        await hub.until_well(unit)
        wrong_clock(hub, jump)
        before = len(hub.cluster.ledger.writes())
        hub.want("web", [config_map(name, SHOP, {"a": "2"}) for name in "ab"], commit="b")
        await hub.until_well(unit)
        hub.cluster.faults.clear()
        hub.cluster.drift("", "ConfigMap", SHOP, "a", {"data": {"a": "by hand"}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        await hub.until_well(unit)
    writes = [(entry.verb, entry.name) for entry in hub.cluster.ledger.writes(0)[before:] if entry.namespace == SHOP]
    assert sorted(writes) == [("delete", "c"), ("patch", "a"), ("patch", "a"), ("patch", "b")]
