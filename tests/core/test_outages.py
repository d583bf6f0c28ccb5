"""How long a step waits for a cluster that cannot be reached: from when its turn came, or from when it was lost."""

from __future__ import annotations

from dataclasses import replace

from core.three_clusters import DEV, NONE, ONE, PROD, TWO, WEB, Conditions, World

from fleet.core.fleet import Amount, Step
from fleet.core.rollout_facts import Condition

AWAY, BUSY = Condition.AWAY, Condition.BUSY
FIRST = replace(PROD, rest=False, environments=("prod",), max_parallel=Amount(number=1))
LAST = Step("last", PROD.origin, rest=True)


def at(world: World, now: float, conditions: Conditions = NONE) -> None:
    world.look(now, web=world.facts(WEB, conditions))


def turn_of_the_second() -> World:
    """Its step is open for 700 s, the first one of it was there just now."""
    world = World(FIRST, LAST)
    at(world, 0.0)
    at(world, 300.0, {ONE: AWAY})
    at(world, 500.0, {ONE: BUSY})
    at(world, 699.0, {ONE: BUSY})
    assert world.has(ONE)
    return world


def test_a_moments_outage_of_a_cluster_that_waits_for_its_turn_ends_no_step() -> None:
    world = turn_of_the_second()
    at(world, 700.0, {TWO: AWAY})
    at(world, 705.0, {TWO: AWAY})
    assert world.has(ONE), "the next step began without a cluster that was lost for five seconds"
    at(world, 706.0)
    at(world, 707.0, {TWO: BUSY})
    assert world.has(ONE, TWO)
    at(world, 708.0)
    assert world.has(ONE, TWO, DEV)


def test_twin_one_that_is_lost_for_the_whole_time_is_left_out() -> None:
    world = turn_of_the_second()
    at(world, 700.0, {TWO: AWAY})
    at(world, 1299.0, {TWO: AWAY})
    assert world.has(ONE)
    at(world, 1300.0, {TWO: AWAY})
    assert world.has(ONE, DEV)


def test_twin_one_that_was_lost_before_its_step_began_is_waited_for_from_there() -> None:
    world = World(replace(FIRST, max_parallel=None), LAST)
    at(world, 0.0, {TWO: AWAY})
    at(world, 599.0, {TWO: AWAY})
    assert world.has(ONE)
    at(world, 600.0, {TWO: AWAY})
    assert world.has(ONE, DEV)


def test_an_outage_shortly_before_the_end_of_its_time_passes_over_no_cluster() -> None:
    world = World(replace(FIRST, max_parallel=None), LAST)
    at(world, 0.0)
    at(world, 590.0, {TWO: BUSY})
    at(world, 595.0, {TWO: AWAY})
    at(world, 601.0, {TWO: AWAY})
    assert world.has(ONE, TWO), "what would have halted the rollout a moment later was left out instead"
    at(world, 602.0, {TWO: BUSY})
    at(world, 608.0, {TWO: BUSY})
    assert world.last.halted is not None


def test_an_outage_before_it_was_released_gives_a_cluster_no_more_time() -> None:
    world = turn_of_the_second()
    at(world, 700.0, {TWO: AWAY})
    at(world, 800.0)
    assert world.has(ONE, TWO)
    at(world, 1399.0, {TWO: BUSY})
    assert world.last.halted is None
    at(world, 1400.0, {TWO: BUSY})
    assert world.last.halted is not None
