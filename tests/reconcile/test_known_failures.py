"""Jobs whose failure was seen: it stays known over restarts and recoveries, and a person alone has them run anew."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from rig import CLUSTER, config_map
from simulated import SHOP, SimHub
from test_failed_jobs import HOUR, LATER, QUIET_SECONDS, REST, SEED, fails, goes, is_there, says_so, seed
from test_unseen_jobs import rows_of

from fleet.core.ids import Digest, OverlayName, UnitName
from fleet.core.record import PARENT_NAMESPACE, Row, RowState
from fleet.core.status import Health, asks_recovery
from fleet.reconcile.judging import as_ended, as_failed, as_seen_to_go, live_after
from fleet.reconcile.memory import Live
from fleet.sim import Simulation

PARENTS = ("unit-api", "unit-web")


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim)  # type: ignore[arg-type]


async def ends_failed(hub: SimHub) -> UnitName:
    """A hub that ends after it saw the Job fail, which is still there."""
    hub.want("api", [config_map("x", SHOP)])
    unit = hub.want("web", REST)
    async with hub.worker():
        await hub.until_well(unit)
        async with asyncio.timeout(10):
            while not all(
                hub.cluster.get("", "ConfigMap", PARENT_NAMESPACE, name) for name in ("unit-api", "unit-web")
            ):
                await asyncio.sleep(0.02)
        hub.want("web", [seed(HOUR), *REST, LATER], commit="b")
        await rows_of(hub, RowState.FAILED_THERE)  # its pod shows the cause before the Job has ended
    hub.units.clear()
    return unit


def put_back(hub: SimHub, overlay: str) -> None:
    """Make the state an older one than the cluster was written by, as this overlay's parent object tells."""
    newer = {"metadata": {"annotations": {"fleet.internal/record-generation": "1000"}}}
    hub.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, f"unit-{overlay}", newer)


async def recover(hub: SimHub, unit: UnitName) -> None:
    await hub.until(lambda: unit in hub.units and asks_recovery(hub.units[unit]), "it asks")
    hub.send_desired(recovered=hub.shown())
    await hub.until(lambda: not asks_recovery(hub.units[unit]), "recovered")


def later(hub: SimHub) -> object:
    return hub.cluster.get("", "ConfigMap", SHOP, "later")


async def test_one_that_failed_and_went_while_no_hub_ran_stays_failed(hub: SimHub) -> None:
    """Taken for one that completed, it would let later waves go."""
    unit = await ends_failed(hub)
    hub.cluster.remove("batch", "Job", SHOP, "seed")
    for _ in range(2):
        async with hub.worker():
            await hub.until(lambda: says_so(hub, unit) or later(hub) or is_there(hub), "known")
            await asyncio.sleep(QUIET_SECONDS)
            assert says_so(hub, unit)
            assert not is_there(hub)
            assert later(hub) is None
            assert not hub.units[unit].warnings
        hub.units.clear()
    hub.want("web", [seed(again="1"), *REST, LATER], commit="c")
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "as its message says")


async def test_twin_one_that_is_still_there_after_a_restart_is_run_anew_once_a_person_deletes_it(hub: SimHub) -> None:
    unit = await ends_failed(hub)
    first = hub.cluster.get("batch", "Job", SHOP, "seed")
    async with hub.worker():
        await fails(hub, unit)  # as it did
        assert not says_so(hub, unit), "it is there"
        await goes(hub, unit)
        await hub.until(lambda: is_there(hub), "made again")
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is Health.DEGRADED, "fails again")
    assert first is not None
    assert hub.cluster.get("batch", "Job", SHOP, "seed")["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.parametrize("told_by", ["api", "web"])
@pytest.mark.parametrize("is_gone", [True, False])
async def test_twin_after_a_recovery_an_edit_in_git_runs_one_that_failed(
    hub: SimHub, told_by: str, *, is_gone: bool
) -> None:
    """As its message says. One that went since the state was kept is as one that went before."""
    unit = await ends_failed(hub)
    if is_gone:
        hub.cluster.remove("batch", "Job", SHOP, "seed")
        async with hub.worker():
            await hub.until(lambda: says_so(hub, unit), "known")
        hub.units.clear()
        put_back(hub, told_by)
    else:
        put_back(hub, told_by)
        hub.cluster.remove("batch", "Job", SHOP, "seed")
    async with hub.worker():
        await recover(hub, unit)
        await hub.until(lambda: says_so(hub, unit) or is_there(hub) or later(hub), "known")
        await asyncio.sleep(QUIET_SECONDS)
        assert says_so(hub, unit)
        assert "change any field of it in Git" in hub.object(unit, "Job", "seed").message
        assert later(hub) is None
        hub.want("web", [seed(again="1"), *REST, LATER], commit="c")
        await hub.until(lambda: is_there(hub), "run")


@pytest.mark.parametrize("told_by", ["api", "web"])
async def test_an_edit_from_before_a_recovery_may_have_run_and_the_next_one_runs(hub: SimHub, told_by: str) -> None:
    """The time that the state lost may hold its run; it is not taken for one that completed."""
    unit = await ends_failed(hub)
    hub.cluster.remove("batch", "Job", SHOP, "seed")
    put_back(hub, told_by)
    hub.want("web", [seed(again="1"), *REST, LATER], commit="c")
    async with hub.worker():
        await recover(hub, unit)
        await hub.until(lambda: is_there(hub) or later(hub) or says_so(hub, unit), "known")
        await asyncio.sleep(QUIET_SECONDS)
        assert not is_there(hub)
        assert later(hub) is None
        assert says_so(hub, unit)
        hub.want("web", [seed(again="2"), *REST, LATER], commit="d")
        await hub.until(lambda: is_there(hub), "run")


def test_what_is_there_now_says_whether_a_job_has_failed() -> None:
    """By its own UID; another one of its name has its own end, and ends as it does."""
    unit = UnitName(OverlayName("web"), CLUSTER)
    row = Row(unit, SEED, RowState.APPLIED, "u", desired=Digest("1" * 64))
    known = replace(row, state=RowState.FAILED_THERE)
    for before in (row, known):
        assert as_ended(before, shown("u", "Failed")) == known
        assert as_ended(before, shown("u", "")) == row
        assert as_ended(before, shown("v", "Failed")) == row
        assert as_ended(before, shown("u", "Complete")).state is RowState.DONE
    for other in (RowState.INTENDED, RowState.DELETING, RowState.RELEASED, RowState.DONE, RowState.FAILED):
        assert as_ended(replace(row, state=other), shown("u", "Failed")).state is other
    assert as_failed(known, None, is_unseen=True).state is RowState.FAILED
    assert as_failed(row, None, is_unseen=True) == row
    assert as_seen_to_go(known).state is RowState.INTENDED


def shown(uid: str, end: str) -> Live:
    job = seed()
    conditions = [{"type": end, "status": "True"}] if end else []
    job |= {"metadata": {**job["metadata"], "uid": uid, "generation": 1}, "status": {"conditions": conditions}}
    row = Row(UnitName(OverlayName("web"), CLUSTER), SEED, RowState.APPLIED, uid, desired=Digest("1" * 64))
    return live_after(row, job, (), at=1.0)
