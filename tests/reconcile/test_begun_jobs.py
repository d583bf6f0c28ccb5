"""A hub that is killed as it makes a Job which removes itself: it runs once, whenever that was (R22)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from rig import config_map
from simulated import SHOP, SimHub
from testbed.workloads import job

from fleet.core.record import RowState
from fleet.core.status import Health, Sync
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.sim import Simulation

REST = [config_map("c", SHOP)]
NO_DRY_RUNS = SyncPolicy(validate=Validate.SCHEMA)


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    return SimHub(sim)  # type: ignore[arg-type]


def seed(lifetime: int | None = 0, **spec: Any) -> dict[str, Any]:
    made = job("seed", SHOP)
    made["spec"] |= spec | ({} if lifetime is None else {"ttlSecondsAfterFinished": lifetime})
    return made


def there(hub: SimHub) -> Any:
    return hub.cluster.get("batch", "Job", SHOP, "seed")


def runs(hub: SimHub) -> bool:
    return there(hub) is not None and not there(hub)["spec"].get("suspend")


class Kill:
    """The hub is killed as `stop` says: right before or after its write of that number to the Job."""

    def __init__(self, hub: SimHub, stop: Callable[[str, int], bool]) -> None:
        self._hub, self._stop, self._seen = hub, stop, 0
        self._hit = asyncio.Event()
        self.left: Any = None  # what the journal says then
        hub.cluster.faults.tripwire = self._look

    async def _look(self, when: str, target: Any, agent: str) -> bool:
        if target.verb == "patch" and target.name == "seed":
            self._seen += when == "before"
            if self.left is None and self._stop(when, self._seen):
                self.left = deepcopy(self._hub.journal)
                self._hit.set()
                await asyncio.Event().wait()  # no answer before the end
        return False

    async def __call__(self) -> None:
        async with asyncio.timeout(10):
            await self._hit.wait()

    def over(self) -> None:
        """The next hub finds what this one left."""
        self._hub.cluster.faults.tripwire, self._hub.journal = None, self.left
        self._hub.units.clear()


@pytest.mark.parametrize("is_again", [False, True], ids=["for the first time", "once it was seen to go"])
async def test_one_that_ran_and_went_before_the_next_start_is_not_run_again(hub: SimHub, *, is_again: bool) -> None:
    mine = seed()
    mine["spec"]["template"]["spec"]["containers"][0]["image"] = "app:pull"  # it does not end by itself
    unit = hub.want("web", [mine, *REST], sync=NO_DRY_RUNS)
    if is_again:
        async with hub.worker():
            await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.uid and runs(hub), "runs")
            kill = Kill(hub, lambda when, _: when == "after" and runs(hub))
            hub.cluster.remove("batch", "Job", SHOP, "seed")
            await kill()
    else:
        kill = Kill(hub, lambda when, _: when == "after" and runs(hub))
        async with hub.worker():
            await kill()
    kill.over()
    hub.cluster.remove("batch", "Job", SHOP, "seed")  # its time to live was over
    async with hub.worker():
        await hub.until(lambda: there(hub) or (unit in hub.units and hub.units[unit].warnings), "known")
        assert there(hub) is None
        assert "seed: may have run" in hub.units[unit].warnings[0]


@pytest.mark.parametrize(("when", "number"), [("before", 1), ("after", 1), ("before", 2), ("after", 2)])
async def test_one_is_run_wherever_the_hub_was_killed(hub: SimHub, when: str, number: int) -> None:
    """And the same one, where it is there already."""
    unit = hub.want("web", [seed(), *REST], sync=NO_DRY_RUNS)
    kill = Kill(hub, lambda at, seen: (at, seen) == (when, number))
    async with hub.worker():
        await kill()
    kill.over()
    before = there(hub)
    assert (before is not None) is ((when, number) != ("before", 1))
    assert runs(hub) is ((when, number) == ("after", 2))
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.health is Health.HEALTHY, "completed")
        await hub.until_well(unit)
        assert before is None or there(hub)["metadata"]["uid"] == before["metadata"]["uid"]
        (row,) = [row for row in (await hub.journal.load()).rows if row.ref.kind == "Job"]
        assert row.state is RowState.DONE


@pytest.mark.parametrize("mine", [seed(None), seed(0, suspend=True)], ids=["it stays", "it does nothing"])
async def test_twin_one_that_does_not_remove_itself_costs_one_request(hub: SimHub, mine: dict[str, Any]) -> None:
    unit = hub.want("web", [mine, *REST], sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Job", "seed")) and s.sync is Sync.SYNCED, "there")
    assert len(hub.asked("patch", "seed")) == 1
