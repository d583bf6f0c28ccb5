"""Limits of a step on the loop with a real board, Git and renderer: who is under way, and who gets through to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, look, reach, web
from controllers.test_rollouts import report_ill, result, rollouts_of, settle, told
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Health
from fleet.ports.state import OperationRow

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


# Windows of one overlay beside another


DAY = "{windows: [{kind: deny, schedule: '0 0 * * *', duration: 23h, timeZone: UTC}]}"
LIMITS = pytest.mark.parametrize("limit", ["maxParallel: 1", "maxUnavailable: 1"])


def cart(value: str) -> dict[str, str]:
    return overlay("overlays/cart", {"cart": config_map("cart", value)}, sync=DAY)


async def at_night(brain: Brain, limit: str) -> Rollouts:
    """Cart's window is open for the last hour of the day; it is half past eleven, and all hold web and cart 1."""
    brain.wall.now += 84_600.0 - brain.wall.now % 86_400
    made = rollouts_of(brain)
    steps = fleet_file(f"[{{name: all, rest: true, {limit}}}]")
    await brain.commit({**steps, **cluster(DEV), **cluster(FIRST), **cluster(SECOND), **web("1"), **cart("1")})
    await all_speak(brain, made)
    await settle(brain, made)
    return made


async def all_speak(brain: Brain, made: Rollouts, looks: int = 1) -> None:
    for _ in range(looks):
        for name in ALL:
            reach(brain, name, there=True)
        await look(brain, made)


def orders_of(brain: Brain, name: str) -> list[str]:
    newest = brain.board.books.results[UnitName.parse(f"{name}@{DEV}")].bundle
    orders = {cluster: brain.desired(f"{name}@{cluster}") for cluster in ALL}
    return [cluster for cluster, order in orders.items() if order is not None and order.action.bundle == newest]


@LIMITS
async def test_a_closed_window_of_one_overlay_holds_no_other_of_the_commit_up(brain: Brain, limit: str) -> None:
    made = await at_night(brain, limit)
    brain.wall.now += 7_200.0  # half past one, closed since midnight
    for name in ALL:
        reach(brain, name, there=True)
    brain.repo.commit({**web("2"), **cart("2")})
    await brain.commits.fetch_once()
    await all_speak(brain, made, looks=8)
    assert (orders_of(brain, "web"), orders_of(brain, "cart")) == ([*ALL], [])
    (step,) = [one for one in brain.view.advances[last(brain).commit].steps if one.overlay == "cart"]
    opens = datetime.fromtimestamp(brain.wall.now // 86_400 * 86_400 + 82_800, UTC).isoformat()
    closed = f"in a deny window (0 0 * * *, UTC) until {opens}"
    assert dict(step.held_up_by) == dict.fromkeys(ALL, closed)
    assert brain.view.waits[UnitName.parse(f"cart@{DEV}")].reason.endswith(f" waits: {closed}")
    brain.wall.now += 79_200.0  # half past eleven in the night
    for name in ALL:
        reach(brain, name, there=True)
    await made.look()
    assert len(orders_of(brain, "cart")) == 1, "it begins by itself, by the limits of its step"
    await all_speak(brain, made, looks=8)
    assert orders_of(brain, "cart") == [*ALL]
    assert last(brain).outcome == "done"


async def test_what_was_released_before_its_window_closed_counts_and_is_named(brain: Brain) -> None:
    made = await at_night(brain, "maxParallel: 1")
    brain.repo.commit({**web("2"), **cart("2")})
    await brain.commits.fetch_once()
    await made.look()  # both go to the first
    assert (orders_of(brain, "web"), orders_of(brain, "cart")) == ([DEV], [DEV])
    brain.wall.now += 7_200.0
    await all_speak(brain, made, looks=4)
    assert orders_of(brain, "web") == [DEV], "once it opens it is written at once"
    (step,) = [one for one in brain.view.advances[last(brain).commit].steps if one.overlay == "web"]
    assert step.why.startswith("1 at a time, under way: cart@dev-1 (in a deny window (0 0 * * *, UTC)")
    brain.wall.now += 79_200.0
    await all_speak(brain, made, looks=9)
    assert (orders_of(brain, "web"), orders_of(brain, "cart")) == ([*ALL], [*ALL])


async def test_an_override_releases_into_a_closed_window(brain: Brain) -> None:
    made = await at_night(brain, "maxParallel: 1")
    brain.wall.now += 7_200.0
    brain.repo.commit(cart("2"))
    await brain.commits.fetch_once()
    await all_speak(brain, made, looks=3)
    assert orders_of(brain, "cart") == []
    asked = OperationRow("op-1", "sync", f"cart@{SECOND}", "ann", brain.wall(), "incident", override=True)
    await brain.state.add_operation(asked)
    await brain.commits.fetch_once()
    await all_speak(brain, made, looks=3)
    assert orders_of(brain, "cart") == [SECOND]
