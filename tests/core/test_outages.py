"""How long a step waits for a cluster that cannot be reached: from when its turn came, or from when it was lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.three_clusters import DEV, NONE, ONE, ONLY_ONE, PROD, TWO, WEB, Conditions, World

from fleet.core.advance import Advance, StepState
from fleet.core.gates import Reading, Verdict, Word, expires_at
from fleet.core.passage import Row, decode_passages, encode_passages
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_policy import Amount, Gate, HttpCheck, Step

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


# Amid a soak

GATE = Gate("errors", HttpCheck("https://x"), PROD.origin, 30.0, 1200.0, 600.0, 0)
SOAKS = replace(PROD, soak_seconds=600.0)


def soaking(world: World) -> Row:
    return world.last.rows[WEB]


def read(world: World, now: float, word: Word, conditions: Conditions = NONE) -> Advance:
    return world.look(now, web=world.facts(WEB, conditions, readings={"prod/errors": Reading(word, "x", 0.0, now)}))


def test_a_moments_outage_of_a_cluster_that_has_it_adds_no_more_than_itself_to_a_soak() -> None:
    world = World(SOAKS)
    at(world, 0.0)
    at(world, 1.0)
    at(world, 595.0, {TWO: AWAY})
    found = world.look(600.0, web=world.facts(WEB, {TWO: AWAY}))
    assert found.steps[0].state is StepState.RUNS
    assert found.steps[0].why == "waits for prod-2; 6s of its soak are left"
    at(world, 605.0, {TWO: AWAY, ONE: AWAY})  # another one, before the first is back
    at(world, 610.0, {ONE: AWAY})
    assert not soaking(world).passed
    assert world.look(625.0).steps[0].why == "soaks for 6s more"
    at(world, 630.9)
    assert not soaking(world).passed, "time away is no soak"
    at(world, 631.0)
    assert "prod" in soaking(world).passed


def test_an_outage_of_the_only_cluster_of_a_step_pauses_its_soak_too() -> None:
    world = World(replace(ONLY_ONE, soak_seconds=600.0), LAST)
    at(world, 0.0)
    at(world, 1.0)
    at(world, 500.0, {ONE: AWAY})
    at(world, 560.0)
    at(world, 660.9)
    assert world.has(ONE)
    at(world, 661.0)
    assert not world.has(ONE)


def test_a_soak_goes_on_without_a_cluster_that_was_lost_for_the_whole_time() -> None:
    world = World(SOAKS)
    at(world, 0.0)
    at(world, 1.0)
    at(world, 101.0, {TWO: AWAY})
    at(world, 700.9, {TWO: AWAY})
    at(world, 701.0, {TWO: AWAY})
    at(world, 1200.9, {TWO: AWAY})
    assert not soaking(world).passed
    at(world, 1201.0, {TWO: AWAY})
    assert "prod" in soaking(world).passed


@pytest.mark.parametrize("after", [BUSY, Condition.BAD])
def test_twin_what_is_not_healthy_after_its_outage_begins_the_soak_anew(after: Condition) -> None:
    world = World(SOAKS)
    at(world, 0.0)
    at(world, 1.0)
    at(world, 595.0, {TWO: AWAY})
    at(world, 600.0, {TWO: after})
    assert not soaking(world).calm


def test_twin_what_was_never_there_and_is_lost_is_no_pause() -> None:
    world = World(SOAKS)
    at(world, 0.0)
    at(world, 1.0, {TWO: AWAY})
    assert not soaking(world).calm
    at(world, 300.0)
    at(world, 899.9)
    assert not soaking(world).passed
    at(world, 900.0)
    assert soaking(world).passed


def test_an_outage_drops_no_gate_and_its_time_is_none_of_the_gates_window() -> None:
    world = World(replace(PROD, gates=(GATE, replace(GATE, name="once", window_seconds=0.0))))
    at(world, 0.0)
    at(world, 1.0)
    once = {"prod/once": Reading(Word.GOOD, "x", 0.0, 1.0)}
    world.look(2.0, web=world.facts(WEB, readings={**once, "prod/errors": Reading(Word.GOOD, "x", 0.0, 1.0)}))
    read(world, 301.0, Word.GOOD)
    for now in (311.0, 400.0):
        assert not world.look(now, web=world.facts(WEB, {TWO: AWAY})).asks, "nothing is read meanwhile"
    assert soaking(world).gates["prod/once"].verdict is Verdict.PASSED
    state = soaking(world).gates["prod/errors"]
    assert [ask.gate.name for ask in world.look(411.0).asks] == ["errors"]
    assert soaking(world).gates["prod/errors"].opened == state.opened, "a Job that runs is found again by it"
    for now in (411.0, 600.0, 700.9):
        read(world, now, Word.GOOD)
        assert soaking(world).gates["prod/errors"].verdict is Verdict.WAITS
    read(world, 701.0, Word.GOOD)
    assert "prod" in soaking(world).passed


def test_an_outage_is_no_time_of_a_gates_timeout() -> None:
    world = World(replace(PROD, gates=(replace(GATE, window_seconds=0.0),)))
    at(world, 0.0)
    at(world, 1.0)
    at(world, 1100.0, {TWO: AWAY})
    at(world, 1300.0, {TWO: AWAY})
    at(world, 1400.0)
    assert world.last.halted is None
    at(world, 1500.9)
    assert world.last.halted is None
    at(world, 1501.0)
    assert world.last.halted is not None


def test_what_stands_still_is_known_after_a_restart() -> None:
    world = World(replace(SOAKS, gates=(GATE,)))
    at(world, 0.0)
    at(world, 1.0)
    at(world, 595.0, {TWO: AWAY})
    world.kept = decode_passages(encode_passages(world.kept))
    assert soaking(world).still == {"prod": 595.0}
    at(world, 605.0)
    kept = soaking(world)
    assert (kept.calm, kept.still, kept.gates["prod/errors"].stood) == ({"prod": 11.0}, {}, 10.0)
    world.kept = decode_passages(encode_passages(world.kept))
    assert soaking(world) == kept


@pytest.mark.parametrize("arrives", [3.0, 495.0], ids=["at once", "late"])
def test_what_was_asked_before_an_outage_counts_that_as_no_time_of_the_window(arrives: float) -> None:
    world = World(replace(PROD, gates=(GATE,)))
    at(world, 0.0)
    assert world.look(1.0).asks
    at(world, 2.0, {TWO: AWAY})
    first = {"prod/errors": Reading(Word.GOOD, "x", 0.0, 1.0)}
    for now in (3.0, 495.0):
        world.look(now, web=world.facts(WEB, {TWO: AWAY}, readings=first if now >= arrives else {}))
    world.look(501.0, web=world.facts(WEB, readings=first))
    for now in (502.0, 800.0, 1099.0):
        read(world, now, Word.GOOD)
        assert "prod" not in soaking(world).passed, "most of its window was never measured"
    read(world, 1102.0, Word.GOOD)
    assert "prod" in soaking(world).passed


def test_twin_what_is_read_amid_an_outage_counts_for_nothing() -> None:
    world = World(replace(PROD, gates=(GATE,)))
    at(world, 0.0)
    at(world, 1.0)
    at(world, 2.0, {TWO: AWAY})
    read(world, 3.0, Word.BAD, {TWO: AWAY})
    state = soaking(world).gates["prod/errors"]
    assert (state.last, state.verdict) == (None, Verdict.WAITS)


@pytest.mark.parametrize(("away_from", "expires"), [(100.0, 1429.0), (1349.5, 1629.0)], ids=["before it", "after it"])
def test_a_bad_reading_that_is_forgiven_is_given_only_the_pause_that_follows_it(
    away_from: float, expires: float
) -> None:
    gate = replace(
        GATE, window_seconds=0.0, timeout_seconds=1149.0 if away_from < 1000.0 else 1149.0 + 200.0, retries=2
    )
    world = World(replace(PROD, gates=(gate,)))
    at(world, 0.0)
    at(world, 1.0)
    outage = [(away_from, {TWO: AWAY}), (away_from + 200.0, NONE)]
    for now, conditions in outage if away_from < 1000.0 else ():
        at(world, now, conditions)
    read(world, 1349.0, Word.BAD)
    for now, conditions in outage if away_from > 1000.0 else ():
        at(world, now, conditions)
    world.kept = decode_passages(encode_passages(world.kept))
    assert expires_at(gate, soaking(world).gates["prod/errors"]) == expires
