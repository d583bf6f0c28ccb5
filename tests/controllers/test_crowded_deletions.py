"""What a cluster asks about because it has no room for more stays held there, and bars nobody else (R9, R18)."""

from __future__ import annotations

import pytest
from controllers.test_deletions import AGAIN, WITH, WITHOUT, World, X, Y, web
from core.building import ref

from fleet.core.ids import ObjectRef, OverlayName, UnitName
from fleet.core.judged import MOST_OF_ONE

MORE = [ref(f"more-{number}") for number in range(MOST_OF_ONE - 1)]


@pytest.fixture
def world() -> World:
    made = World()
    for unit in web(*range(12)):
        made.says(unit, WITH, X, Y)
    return made


async def fill(world: World, unit: UnitName, *owned: ObjectRef) -> UnitName:
    """All room of the unit's cluster but one is taken by another overlay there; it asks about x and these."""
    api = UnitName(OverlayName("api"), unit.cluster)
    world.says(api, AGAIN, Y, *MORE)
    await world.release([api], WITHOUT)
    assert world.permits[api] == set(MORE)
    world.says(unit, WITH, X, Y, *owned)
    await world.release([unit], WITHOUT)
    return api


async def make_room(world: World, api: UnitName) -> None:
    world.says(api, WITHOUT, Y)
    await world.release([api], WITHOUT)
    world.now += 3700


@pytest.mark.parametrize("decision", ["rejected", ""])
@pytest.mark.parametrize("how", ["restart", "commit"])
async def test_what_a_crowded_cluster_asked_about_is_not_let_go_by_the_room_that_comes(
    world: World, how: str, decision: str
) -> None:
    unit, extra = web(0)[0], ref("extra")
    api = await fill(world, unit, extra)
    assert world.permits[unit] == frozenset()
    await world.ask([unit], decision)
    await make_room(world, api)
    world.says(unit, WITHOUT, X, Y, extra)
    if how == "restart":
        await world.restart()
    await world.release([unit], WITHOUT if how == "restart" else AGAIN)
    assert world.permits[unit] == frozenset()


async def test_twin_what_there_was_room_for_goes_by_itself_and_so_does_what_came_later(world: World) -> None:
    (unit,), later = web(0), ref("later")
    api = await fill(world, unit)
    assert world.permits[unit] == {X}
    world.says(unit, WITHOUT, Y)
    await make_room(world, api)
    world.says(unit, WITHOUT, Y, later)
    await world.release([unit], AGAIN)
    assert world.permits[unit] == {later}


@pytest.mark.parametrize("how", ["approved", "wanted again"])
async def test_twin_what_ended_the_question_leaves_nothing_held(world: World, how: str) -> None:
    (unit, *others), extra = web(0, 1, 2), ref("extra")
    api = await fill(world, unit, extra)
    await make_room(world, api)
    if how == "approved":
        world.says(unit, WITHOUT, Y)
        await world.release([unit], AGAIN)
        world.says(unit, AGAIN, Y)
    else:
        await world.release([unit], WITH)
    world.says(unit, WITH, X, Y)
    assert await world.release([unit, *others], WITHOUT) == {unit, *others}


@pytest.mark.parametrize("is_crowded", [True, False])
async def test_what_a_crowded_cluster_asks_about_is_no_question_on_the_others(world: World, is_crowded: bool) -> None:
    """Neither what counts there nor what an earlier step proves; on the cluster itself a proof lets nothing go."""
    guide, unit, *others = web(*range(6))
    await fill(world, unit, *([ref("extra")] if is_crowded else []))
    assert await world.release([guide], WITHOUT) == {guide}
    world.says(guide, WITHOUT, Y)
    await world.audit(guide)
    world.says(UnitName(OverlayName("api"), unit.cluster), WITHOUT, Y)
    world.now += 3700
    world.guided.guides[guide.cluster] = WITH
    assert await world.release([unit, *others], AGAIN) == set(others) | (set() if is_crowded else {unit})
