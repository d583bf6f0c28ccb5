"""Time in which nobody looked at a rollout (a stopped process, a paused machine, a disk that stands) counts as none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_restarted_soaks import Loop
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, reach, web
from controllers.test_rollouts import result, told

from fleet.controllers.rollout_clock import GAP_SECONDS
from fleet.core.ids import UnitName
from fleet.core.status import Health

CLUSTERS = (DEV, FIRST, SECOND)
SOAKS = "[{name: dev, environments: [dev], soak: 1h}, {name: prod, rest: true}]"
UNIT = UnitName.parse(f"web@{DEV}")
HOUR = 3600


class Watched(Loop):
    """All clusters speak between two looks, but while nothing does."""

    async def pass_time(self, seconds: float, *, heard: bool = True) -> None:
        self.now += seconds
        self.brain.wall.now += seconds
        if heard:
            for name in CLUSTERS:
                if name in self.brain.view.clusters:
                    reach(self.brain, name, there=True)
        await self.rollouts.look()
        await self.brain.answer()


async def begun(brain: Brain, steps: str = SOAKS, **more: str) -> Watched:
    """All clusters hold web 1, and dev-1 is well on web 2."""
    loop = Watched(brain)
    await loop.rollouts.start()
    inventory = cluster(DEV) | cluster(FIRST) | cluster(SECOND)
    await brain.commit({**fleet_file(steps, **more), **inventory, **web("1")})
    for _ in range(5):
        await loop.pass_time(5)
    await brain.commit(web("2"))
    for _ in range(4):
        await loop.pass_time(5)
    assert told(brain, DEV) == result(brain)
    return loop


@pytest.mark.parametrize("seconds", [GAP_SECONDS + 5.0, 2.0 * HOUR])
async def test_time_in_which_nobody_looked_is_no_soak(brain: Brain, seconds: float) -> None:
    loop = await begun(brain)
    left = loop.left
    await loop.pass_time(seconds, heard=False)
    (found,) = brain.view.advances.values()
    assert found.steps[0].why.startswith("waits for the first word of dev-1"), "what it says meanwhile"
    await loop.pass_time(2)
    await loop.pass_time(2)
    assert left - 5 <= loop.left <= left
    assert told(brain, FIRST) != result(brain)


async def test_twin_all_time_between_looks_that_follow_one_another_is_soak(brain: Brain) -> None:
    loop = await begun(brain)
    left = loop.left
    for seconds in (1, 5, 20, 26):
        await loop.pass_time(seconds)
    assert left - 52 <= loop.left <= left - 51


@pytest.mark.parametrize("seconds", [GAP_SECONDS - 5.0, GAP_SECONDS + 40.0], ids=["slow", "slower than a gap"])
async def test_a_hub_whose_looks_are_always_slow_goes_on_all_the_same(brain: Brain, seconds: float) -> None:
    loop = await begun(brain)
    looks = 0
    while told(brain, FIRST) != result(brain):
        await loop.pass_time(seconds)
        looks += 1
        assert looks < 3 * HOUR / seconds + 130, "it stands still for ever"


async def test_time_in_which_nobody_looked_is_no_time_that_a_cluster_had_to_become_healthy(brain: Brain) -> None:
    loop = await begun(brain, onFailure="rollback")
    brain.view.units[UNIT] = replace(brain.view.units[UNIT], health=Health.PROGRESSING)
    await loop.pass_time(5)
    await loop.pass_time(900, heard=False)
    for _ in range(3):
        await loop.pass_time(1)  # the cluster speaks, and its unit's word is the one of before
    assert (last(brain).halted, told(brain, DEV)) == (None, result(brain))
    for _ in range(605 // 5):
        await loop.pass_time(5)
    assert last(brain).outcome == "rolled back", "the twin: it has its whole time, and no more"


async def test_time_in_which_nobody_looked_is_no_time_of_an_approval(brain: Brain) -> None:
    steps = "[{name: dev, environments: [dev]}, {name: ok, approve: 1, approveTimeout: 1h}, {name: prod, rest: true}]"
    loop = await begun(brain, steps)
    await loop.pass_time(2 * HOUR, heard=False)
    for _ in range(3):
        await loop.pass_time(5)
    assert last(brain).halted is None
    for _ in range(HOUR // 25 + 1):
        await loop.pass_time(25)
    assert last(brain).halted is not None, "the twin: nobody came within the hour"


def stands(brain: Brain, loop: Watched, seconds: float) -> Callable[..., Awaitable[object]]:
    """The state answers only after a while, amid a look."""
    asked = brain.state.operations

    async def late(**query):
        brain.state.operations = asked
        loop.now += seconds
        brain.wall.now += seconds
        return await asked(**query)

    return late


async def test_a_look_that_stood_before_a_disk_counts_no_time_either(brain: Brain) -> None:
    loop = await begun(brain)
    left = loop.left
    brain.state.operations = stands(brain, loop, 2.0 * HOUR)
    await loop.pass_time(5)
    await loop.pass_time(2)
    await loop.pass_time(2)
    assert left - 10 <= loop.left <= left


async def test_where_nothing_is_under_way_a_long_time_without_a_look_is_no_gap(brain: Brain) -> None:
    loop = await begun(brain, "[{name: dev, environments: [dev]}, {name: prod, rest: true}]")
    assert last(brain).outcome == "done"
    await loop.pass_time(10 * HOUR, heard=False)
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    await loop.pass_time(1)
    assert told(brain, DEV) == result(brain)
