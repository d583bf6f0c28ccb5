"""Rollouts that stand still: on what is not known, on a stop amid a gate, and for a person's word on a result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.three_clusters import (
    API,
    CLUSTERS,
    DEV,
    DEV_STEP,
    HEAD,
    HERE,
    NEXT,
    OK,
    OLD,
    ONE,
    ONLY_ONE,
    PROD,
    TWO,
    WEB,
    World,
)

from fleet.core.advance import StepState, advance
from fleet.core.gates import Reading, Verdict, Word
from fleet.core.ids import Digest, OverlayName, UnitName
from fleet.core.passage import Passages, Stop
from fleet.core.results import Rendered, RenderProblem
from fleet.core.rollout_facts import Condition, UnitFact
from fleet.core.rollout_orders import approved, promoted, resumed
from fleet.core.rollout_policy import (
    Gate,
    HttpCheck,
    OnFailure,
    RolloutPolicy,
    Step,
)
from fleet.core.steps import stages_of
from fleet.core.takeover import settle
from fleet.core.unit_facts import judged_by

# What is not known


@pytest.mark.parametrize("steps", [(), (DEV_STEP, PROD)], ids=["steps by default", "steps that somebody wrote"])
def test_a_cluster_without_a_result_holds_its_step_and_all_after_it(steps: tuple[Step, ...]) -> None:
    world = World(*steps)
    world.kept = Passages()
    world.begin(WEB, "1", without=(DEV,))
    facts = world.facts(WEB, lost={DEV: "resources: missing.yaml is not there"})
    facts = replace(facts, units={**facts.units, DEV: UnitFact("", released=False, condition=Condition.STOPPED)})
    for _ in range(5):
        found = world.look(web=facts)
        assert world.has()
    (dev, _prod) = found.steps
    assert dev.state is StepState.WAITS
    assert dev.why == "dev-1 has no result: resources: missing.yaml is not there"
    assert found.waits[UnitName(WEB, ONE)] == "bbbbbbb waits for step dev"
    assert promoted(world.last, {WEB: facts}, 0.0) == world.last, "nor does a person go past what nobody knows"
    assert not world.last.outcome
    stopped = replace(facts, lost={})  # a person suspends it
    world.look(web=stopped)
    assert not world.has()


def test_what_is_lost_holds_no_step_that_is_over_and_none_before_it() -> None:
    world = World(DEV_STEP, PROD)
    world.look(web=world.facts(WEB, lost={TWO: "its file does not parse"}))
    assert world.has(DEV), "the steps before it go on"
    found = world.look(web=world.facts(WEB, lost={TWO: "its file does not parse"}))
    assert world.has(DEV, ONE), "and so do the others of its own step: what is bad costs itself alone"
    assert found.steps[-1].why == "prod-2 has no result: its file does not parse"
    assert "dev" in world.last.rows[WEB].passed
    world.look(web=world.facts(WEB, lost={TWO: "its file does not parse"}))
    assert "prod" not in world.last.rows[WEB].passed, "it is not over without it"
    world.look(web=world.facts(WEB, lost={DEV: "its file does not parse"}))
    assert world.has(DEV, ONE, TWO), "what is proven stays proven"


def test_a_cluster_of_which_not_even_the_step_is_known_holds_the_whole_row() -> None:
    world = World(DEV_STEP, PROD)
    rest = {name: CLUSTERS[name] for name in (ONE, TWO)}
    stages = stages_of(RolloutPolicy((DEV_STEP, PROD)), rest, ()).stages
    facts = replace(world.facts(WEB, lost={DEV: "its file does not parse"}), stages=stages)
    nothing = replace(facts, stages=())
    for known in (facts, nothing):
        found = world.look(web=known)
        assert not found.releases
        assert not found.passage.rows[WEB].done
        assert promoted(world.last, {WEB: known}, 0.0) == world.last
    found = world.look(web=facts)
    assert "dev-1 has no result: its file does not parse" in found.waits[UnitName(WEB, ONE)]
    world.look(web=replace(facts, lost={}))  # it left by a commit that can be read
    assert world.has(ONE, TWO)


def test_a_cluster_that_no_step_takes_holds_nothing_up() -> None:
    world = World(DEV_STEP, ONLY_ONE)
    why = {TWO: "web is taken by no step of its rollout on prod-2"}
    known = {"lost": why, "left_over": frozenset({TWO})}
    for _ in range(3):
        found = world.look(web=world.facts(WEB, **known))
    assert world.has(DEV, ONE), "the others go on, and it stays as it is"
    assert not found.waits
    twin = World(DEV_STEP, ONLY_ONE)
    twin.look(web=twin.facts(WEB, lost=why))
    assert twin.has(), "of one whose step is not known that cannot be said"
    twin.look(web=twin.facts(WEB, lost={**why, DEV: "its build fails"}, left_over=frozenset({TWO})))
    assert twin.has(), "nor does it excuse another"


def test_the_failure_of_a_cluster_that_is_lost_on_its_way_is_seen() -> None:
    world = World(DEV_STEP, PROD)
    world.look()
    assert world.has(DEV)
    lost = {DEV: "its file does not parse"}
    world.look(web=world.facts(WEB, lost=lost))
    assert world.has(DEV)
    assert world.last.halted is None, "it is well: nothing has failed"
    world.look(web=world.facts(WEB, {DEV: Condition.BAD}, lost=lost))
    assert world.last.halted is not None
    assert world.has(DEV)


@pytest.mark.parametrize("is_seen", [False, True], ids=["only observed", "twin: it was seen all the time"])
def test_time_in_which_nothing_is_known_of_a_row_is_no_time_to_become_healthy(is_seen: bool) -> None:
    world = World(DEV_STEP, PROD)
    busy = world.facts(WEB, {DEV: Condition.BUSY}, on_failure=OnFailure.ROLLBACK)
    world.look(0.0, web=busy)
    assert world.has(DEV)
    busy = world.facts(WEB, {DEV: Condition.BUSY}, on_failure=OnFailure.ROLLBACK)
    world.look(10.0, web=busy)
    for at in (20.0, 3600.0):
        seen = advance(world.last, {WEB: busy} if is_seen else {}, at, 0.0)
        world.kept = settle(world.kept, seen.passage, 0.0)
        assert seen.take_back == (is_seen and at > busy.patience_seconds)
    found = world.look(3601.0, web=busy)
    assert found.take_back == is_seen
    if not is_seen:
        assert not world.look(3600.0 + busy.patience_seconds, web=busy).take_back
        assert world.look(3601.0 + busy.patience_seconds, web=busy).take_back, "its own time counts"


def test_what_is_lost_on_its_way_is_judged_by_what_it_was_brought() -> None:
    problem, new = RenderProblem("BuildFailed", "it fails", HEAD), Rendered(Digest("1"), HEAD)
    assert judged_by(problem, new, "1") == new
    assert judged_by(problem, OLD, "1") == problem
    assert judged_by(problem, None, "1") == problem
    assert judged_by(OLD, new, "1") == OLD, "a newest result is what counts"


# A stop amid a gate

GATE = Gate("errors", HttpCheck("https://x"), HERE, interval_seconds=30.0, timeout_seconds=600.0, retries=2)
GATED = replace(DEV_STEP, gates=(GATE,))


def amid_a_gate(*overlays: OverlayName) -> tuple[World, dict[str, Reading]]:
    """Web is on dev-1, and its gate has read badly once, which it forgives."""
    world = World(GATED, PROD, overlays=overlays or (WEB,))
    world.look()
    bad = {"dev/errors": Reading(Word.BAD, "status 500", 0.0, 2.0)}
    world.look(1.0)
    world.look(2.0, web=world.facts(WEB, readings=bad, on_failure=OnFailure.ROLLBACK))
    assert world.last.rows[WEB].gates["dev/errors"].bad_in_a_row == 1
    return world, bad


@pytest.mark.parametrize("stop", ["halt", "pause", "lost", "approval"])
def test_time_in_which_a_row_stood_still_is_no_time_of_its_gate(stop: str) -> None:
    world, bad = amid_a_gate(WEB, API) if stop == "halt" else amid_a_gate()
    web = world.facts(WEB, readings=bad, on_failure=OnFailure.ROLLBACK)
    match stop:
        case "halt":
            world.look(3.0, web=web, api=world.facts(API, {DEV: Condition.BAD}))
            assert world.last.halted is not None
            world.begin(API, "2", NEXT)  # a newer commit mends api, which lifts the halt
            world.kept = replace(world.kept, all=tuple(one for one in world.kept.all if one.commit == HEAD))
            world.target.pop(API)
        case "pause":
            paused = replace(world.last, paused=Stop("lunch", "jo", 0.0))
            world.kept = settle(world.kept, paused, 0.0)
            world.look(3.0, web=web)
            world.kept = settle(world.kept, resumed(world.last), 0.0)
        case "lost":
            world.look(3.0, web=replace(web, lost={DEV: "its file does not parse"}))
        case _:
            asked = tuple(replace(one, step=replace(one.step, approvals=1)) for one in web.stages)
            world.look(3.0, web=replace(web, stages=asked))
    found = world.look(4000.0, web=web)
    assert found.passage.halted is None
    assert not found.take_back
    state = found.passage.rows[WEB].gates["dev/errors"]
    assert (state.verdict, state.opened, state.bad_in_a_row) == (Verdict.WAITS, 4000.0, 0)
    assert [ask.asked_at for ask in found.asks if ask.overlay == WEB] == [4000.0]
    found = world.look(4600.0, web=web)
    assert found.take_back is False
    assert found.passage.halted is not None, "its own time counts: nothing was read within it"


def test_twin_a_gate_that_was_not_stopped_fails_at_its_timeout() -> None:
    world, bad = amid_a_gate()
    found = world.look(601.0, web=world.facts(WEB, readings=bad, on_failure=OnFailure.ROLLBACK))
    assert not found.take_back, "its last reading is one that is forgiven"
    assert found.passage.halted is not None
    assert "not passed within 10m00s" in found.passage.halted.reason


def test_a_gate_that_failed_has_failed_whatever_else_stops_its_row() -> None:
    world, _ = amid_a_gate()
    worse = {"dev/errors": Reading(Word.BAD, "status 500", 0.0, 90.0)}
    web = world.facts(WEB, readings=worse)
    for at in (30.0, 60.0, 90.0):
        worse["dev/errors"] = Reading(Word.BAD, "status 500", 0.0, at)
        world.look(at, web=web)
    assert world.last.halted is not None
    paused = replace(world.last, paused=Stop("lunch", "jo", 0.0), halted=None)
    world.kept = settle(world.kept, paused, 0.0)
    world.look(91.0, web=web)
    assert world.last.rows[WEB].gates["dev/errors"].verdict is Verdict.FAILED


# Approvals


def everywhere(world: World) -> None:
    """Step ok approved by jo, and the result on all clusters."""
    for _ in range(3):
        world.look()
    world.kept = settle(world.kept, approved(world.last, "ok", "jo"), 0.0)
    for _ in range(3):
        world.look()
    assert world.has(DEV, ONE, TWO)


@pytest.mark.parametrize("others", [(), (API,)], ids=["its rollout is over", "another overlay goes on"])
def test_an_approval_is_not_one_of_what_a_later_build_of_the_same_commit_gives(others: tuple[OverlayName, ...]) -> None:
    world = World(DEV_STEP, OK, PROD, overlays=(WEB, *others))
    busy = {overlay: world.facts(overlay, {DEV: Condition.AWAY}) for overlay in others}
    for _ in range(3):
        world.look(**busy)
    world.kept = settle(world.kept, approved(world.last, "ok", "jo"), 0.0)
    for _ in range(3):
        world.look(**busy)
    assert world.has(DEV, ONE, TWO)
    assert world.last.outcome == ("" if others else "done")
    world.begin(WEB, "9")  # the hub was upgraded, and builds the same commit otherwise
    for _ in range(5):
        found = world.look(**busy)
    assert world.has(DEV), "the approval was of another result"
    early = " (jo approved it before this was built)" if others else ""
    assert next(step for step in found.steps if step.overlay == WEB and step.name == "ok").why == (
        "waits for the approval of one person" + early + " since 1970-01-01T00:00:00Z, without a timeout"
    )
    world.kept = settle(world.kept, approved(world.last, "ok", "jo"), 0.0)
    world.look(**busy)
    assert world.has(DEV, ONE, TWO)


def test_twin_an_approval_holds_while_its_results_are_the_same() -> None:
    world = World(DEV_STEP, OK, PROD)
    world.look()
    world.kept = settle(world.kept, approved(world.last, "ok", "jo"), 0.0)
    world.begin(WEB, "1")  # rendered once more, to the same
    world.begin(WEB, "1", NEXT)  # a commit that changes nothing here
    for _ in range(3):
        world.look()
    assert world.has(DEV, ONE, TWO)


def test_an_approval_from_before_a_rollback_lets_nothing_pass_when_it_is_resumed() -> None:
    world = World(DEV_STEP, OK, PROD)
    everywhere(world)
    passage = world.last
    world.kept = settle(world.kept, replace(passage, outcome="rolled back"), 0.0)
    world.held = dict.fromkeys(world.held, OLD)
    world.begin(WEB, "1")
    for _ in range(5):
        world.look()
    assert world.has(DEV)


# What a person goes past

SOAK = replace(DEV_STEP, soak_seconds=600.0)


@pytest.mark.parametrize("before", [Condition.WELL, Condition.BUSY])
def test_promoting_past_a_soak_goes_on_without_those_alone_that_are_not_healthy(before: Condition) -> None:
    world = World(SOAK, replace(PROD, one_first=True))
    world.look()
    now = {DEV: before}
    world.look(1.0, web=world.facts(WEB, now))
    world.kept = settle(world.kept, promoted(world.last, {WEB: world.facts(WEB, now)}, 0.0), 0.0)
    world.look(2.0, web=world.facts(WEB, {**now, ONE: Condition.BUSY}))
    assert world.has(DEV, ONE)
    found = world.look(3.0, web=world.facts(WEB, {DEV: Condition.BAD}))
    if before is Condition.WELL:
        assert found.passage.halted is not None, "it was Healthy, and crashes"
        assert world.has(DEV, ONE)
    else:
        assert found.passage.halted is None, "twin: a person went on without it"
        assert world.has(DEV, ONE, TWO)
