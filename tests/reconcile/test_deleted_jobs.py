"""A Job whose deletion an older state knows of, once its unit's record was rebuilt, over restarts (R22, R9)."""

from __future__ import annotations

import pytest
from reconcile.test_vanished_jobs import NO_DRY_RUNS, SEED, is_there, job
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.ids import ObjectRef, UnitName
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.status import asks_recovery
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation

STAYS = [config_map(f"c{number}", SHOP) for number in range(12)]


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    hub = SimHub(sim)  # type: ignore[arg-type]
    hub.limits = WorkerLimits(theirs_seconds=0.2)
    return hub


async def deleted(hub: SimHub) -> UnitName:
    """A unit of which a Job and a ConfigMap were deleted within the hour."""
    every = [job(), config_map("x", SHOP), *STAYS]
    unit = hub.want("web", every, sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", every[2:], commit="b", sync=NO_DRY_RUNS)
        await hub.until(lambda: not is_there(hub), "deleted")
        await hub.until_well(unit)
    hub.units.clear()
    return unit


async def ask(hub: SimHub, unit: UnitName) -> None:
    await hub.until(lambda: unit in hub.units and asks_recovery(hub.units[unit]), "it asks")


@pytest.mark.parametrize("restarted", ["while it asks", "not"])
async def test_one_that_an_older_state_deleted_is_not_run_after_a_recovery_however_often_the_hub_is_restarted(
    hub: SimHub, restarted: str
) -> None:
    unit = await deleted(hub)
    newer = {"metadata": {"annotations": {"fleet.internal/record-generation": "1000"}}}
    hub.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", newer)
    if restarted != "not":
        async with hub.worker():
            await ask(hub, unit)
        hub.units.clear()
    hub.want("web", [job("b"), *STAYS], commit="d", sync=NO_DRY_RUNS)
    async with hub.worker():
        await ask(hub, unit)
        hub.send_desired(recovered=hub.shown())
        await hub.until_well(unit)
        assert hub.units[unit].warnings
        assert not is_there(hub)
    counted = [gone.ref for gone in (await hub.journal.load()).deletions]
    assert counted == [ObjectRef("", "ConfigMap", SHOP, "x")], "the budget's hour goes on"


async def test_twin_one_that_was_deleted_is_run_after_a_restart_where_nothing_was_rebuilt(hub: SimHub) -> None:
    unit = await deleted(hub)
    assert {gone.ref for gone in (await hub.journal.load()).deletions} >= {SEED}
    hub.want("web", [job("b"), *STAYS], commit="d", sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
        assert is_there(hub)
