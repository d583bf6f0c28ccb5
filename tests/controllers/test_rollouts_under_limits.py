"""Limits of a step on the loop with a real board, Git and renderer: who is under way, and who gets through to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, look, reach, web
from controllers.test_rollouts import report_ill, result, rollouts_of, settle, told

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Health

ALL = (DEV, FIRST, SECOND)


async def begun(brain: Brain, steps: str) -> Rollouts:
    made = rollouts_of(brain)
    await brain.commit({**fleet_file(steps), **cluster(DEV), **cluster(FIRST), **cluster(SECOND), **web("1")})
    await settle(brain, made)
    return made


@pytest.mark.parametrize("mended", [True, False])
async def test_a_fix_reaches_the_cluster_that_the_commit_before_broke(brain: Brain, mended: bool) -> None:
    """It is the one that may be missing, and not the first by its name."""
    made = await begun(brain, "[{name: all, rest: true, maxUnavailable: 1}]")
    await brain.commit(web("2"))
    await look(brain, made)
    await look(brain, made)
    report_ill(brain, FIRST)
    await made.look()
    assert last(brain).halted is not None
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    await made.look()
    assert {name: told(brain, name) == result(brain) for name in ALL} == {DEV: False, FIRST: True, SECOND: False}
    for _ in range(6):
        await brain.answer()
        if not mended:
            report_ill(brain, FIRST)
        for name in ALL:
            reach(brain, name, there=True)
        await made.look()
    assert all(told(brain, name) == result(brain) for name in ALL) == mended
    assert (last(brain).halted is None) == mended, "twin: it mends nothing, and nobody else gets it"


# A commit that comes midway


async def midway(brain: Brain, made: Rollouts) -> None:
    """Dev-1 has web 2, prod-1 is on its way with it; then comes web 3."""
    await brain.commit(web("2"))
    await look(brain, made)
    await look(brain, made)
    on_its_way(brain, FIRST)
    await made.look()
    assert (told(brain, DEV), told(brain, FIRST)) == (result(brain), result(brain))
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()


def on_its_way(brain: Brain, cluster: str, health: Health = Health.PROGRESSING) -> None:
    name = UnitName.parse(f"web@{cluster}")
    brain.view.units[name] = replace(brain.view.units[name], health=health)


def with_newest(brain: Brain) -> list[str]:
    return [name for name in ALL if told(brain, name) == result(brain)]


@pytest.mark.parametrize("limit", ["maxParallel: 1", "maxUnavailable: 1"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_a_newer_commit_overtook_on_its_way_counts_by_the_limits(
    brain: Brain, limit: str, restarted: bool
) -> None:
    made = await begun(brain, f"[{{name: all, rest: true, {limit}}}]")
    await midway(brain, made)
    await made.look()
    if restarted:
        brain = await brain.restart()
        made = rollouts_of(brain)
        await brain.commits.fetch_once()
        for name in ALL:
            reach(brain, name, there=True)
        brain.view.unspoken.clear()
        await made.look()
    assert with_newest(brain) == [FIRST], "it goes straight to the newest, and no other beside it"
    on_its_way(brain, FIRST)
    await made.look()
    assert with_newest(brain) == [FIRST]
    await settle(brain, made)
    assert with_newest(brain) == [*ALL]


async def test_twin_one_that_is_healthy_on_what_overtook_counts_no_more(brain: Brain) -> None:
    made = await begun(brain, "[{name: all, rest: true, maxParallel: 1}]")
    await midway(brain, made)
    on_its_way(brain, FIRST, Health.HEALTHY)
    await made.look()
    assert with_newest(brain) == [DEV]


async def test_twin_one_that_a_person_stopped_counts_no_more_until_it_goes_on(brain: Brain) -> None:
    made = await begun(brain, "[{name: all, rest: true, maxParallel: 1}]")
    await midway(brain, made)
    await brain.commit(cluster(FIRST, suspend="{reason: night}"))
    on_its_way(brain, FIRST)
    await made.look()
    assert with_newest(brain) == [DEV]
    brain.repo.commit(cluster(FIRST))
    await brain.commits.fetch_once()
    await brain.answer(FIRST)
    await made.look()
    assert with_newest(brain) == [DEV, FIRST], "and straight to the newest, beside no other"
