"""A row that begins anew takes for its part what an earlier one brought to clusters already and did not finish."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.three_clusters import CLUSTERS, DEV, HEAD, NEXT, OLD, ONE, PROD, TWO, WEB, World

from fleet.core.fleet import Gate, HttpCheck, OnFailure, Origin, Step
from fleet.core.gates import key_of
from fleet.core.ids import ClusterName, Digest, Revision, UnitName
from fleet.core.passage import Stop
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition
from fleet.core.takeover import Wanted, aborted, readmitted, take_over, taken_back

DEV_STEP = Step("dev", Origin("fleet.yaml", 1), environments=("dev",))
STOP = Stop("test", "jo", 0.0)
BAD = {DEV: Condition.BAD}


def canary_fails(step: Step = DEV_STEP) -> World:
    world = World(step, PROD)
    world.look()
    world.look(web=world.facts(WEB, BAD))
    assert world.has(DEV)
    return world


def abort(world: World) -> None:
    world.kept = aborted(world.kept, world.last, STOP)


def let_in(world: World, head: Revision = HEAD, *, ill: tuple[ClusterName, ...] = (DEV,)) -> None:
    """A person resumes it, and its results are looked at, at this commit."""
    world.kept = readmitted(world.kept, HEAD)
    wanted = {
        name: Wanted(Rendered(Digest("1"), HEAD), world.held[UnitName(WEB, name)], is_well=name not in ill)
        for name in CLUSTERS
    }
    world.kept = take_over(world.kept, WEB, wanted, head, 0.0)


@pytest.mark.parametrize("head", [HEAD, NEXT], ids=["the same commit", "a later one"])
def test_what_was_aborted_and_let_in_again_halts_at_the_canary_that_is_ill_still(head: Revision) -> None:
    world = canary_fails()
    abort(world)
    let_in(world, head)
    for _ in range(3):
        world.look(web=world.facts(WEB, BAD))
        assert world.has(DEV), "what its canary does not bear went on"
    assert world.last.halted is not None
    assert world.last.rows[WEB].before[DEV] == OLD, "it can go back still"


def test_twin_a_canary_that_was_mended_lets_it_go_on() -> None:
    world = canary_fails()
    abort(world)
    let_in(world, ill=())
    for _ in range(3):
        world.look()
    assert world.has(DEV, ONE, TWO)
    assert world.last.outcome == "done"


def test_a_gate_that_failed_is_asked_again_though_the_canary_is_well() -> None:
    gate = Gate("errors", HttpCheck("https://x"), Origin("fleet.yaml", 1))
    world = World(replace(DEV_STEP, gates=(gate,)), PROD)
    world.look()
    world.look()
    assert key_of("dev", gate) in world.last.rows[WEB].gates
    abort(world)
    let_in(world, ill=())
    for _ in range(3):
        world.look()
    assert world.has(DEV), "went past a gate that was never read"
    assert key_of("dev", gate) in world.last.rows[WEB].gates


def test_a_canary_that_had_nothing_to_go_back_to_is_judged_again() -> None:
    world = canary_fails()
    row = world.last.rows[WEB]
    passage = replace(world.last, rows={WEB: replace(row, before={})})
    done = taken_back(world.kept, passage, world.held, STOP, [WEB])
    assert done.stays == (UnitName(WEB, DEV),)
    world.kept = done.kept
    let_in(world)
    for _ in range(3):
        world.look(web=world.facts(WEB, BAD, on_failure=OnFailure.HALT))
        assert world.has(DEV)
    assert world.last.halted is not None


def test_one_that_came_with_the_same_commit_and_is_ill_is_judged() -> None:
    """As where a person synced it while the overlay went by no steps."""
    world = canary_fails()
    world.kept = replace(world.kept, all=())
    let_in(world)
    world.look(web=world.facts(WEB, BAD))
    assert world.has(DEV)
    assert world.last.halted is not None


def test_twin_one_that_is_ill_on_what_it_held_before_holds_nothing_up() -> None:
    world = World(DEV_STEP, PROD)
    for _ in range(3):
        world.look()
    assert world.last.outcome == "done"
    world.target[WEB] = "2"
    world.held[UnitName(WEB, DEV)] = Rendered(Digest("2"), HEAD)  # what it had is what it shall have
    wanted = {
        name: Wanted(Rendered(Digest("2"), HEAD if name == DEV else NEXT), world.held[UnitName(WEB, name)], name != DEV)
        for name in CLUSTERS
    }
    world.kept = take_over(world.kept, WEB, wanted, NEXT, 0.0)
    assert set(world.last.rows[WEB].targets) == {ONE, TWO}
    world.look(web=world.facts(WEB, BAD))
    assert world.has(DEV, ONE, TWO)


def test_twin_a_cluster_that_joins_what_was_done_begins_no_step_anew() -> None:
    world = World(DEV_STEP, PROD)
    world.begin(WEB, "1", without=(TWO,))
    world.kept = replace(world.kept, all=())
    world.begin(WEB, "1", without=(TWO,))
    for _ in range(3):
        world.look()
    assert world.last.outcome == "done"
    world.begin(WEB, "1")
    assert set(world.last.rows[WEB].targets) == {TWO}
