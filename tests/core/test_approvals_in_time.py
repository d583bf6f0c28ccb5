"""An approval that a step asks for: given, given too late, or never; and time in which nobody could have given it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.three_clusters import API, CLUSTERS, DEV, DEV_STEP, NEXT, OLD, ONE, PROD, TWO, WEB, World

from fleet.core.advance import StepState
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.passage import Stop, decode_passages, encode_passages
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_orders import approved, promoted, resumed
from fleet.core.rollout_policy import Amount, OnFailure, Step
from fleet.core.takeover import settle

HOUR = 3600.0
ASKS = replace(Step("ok", DEV_STEP.origin, approvals=1), approve_timeout_seconds=HOUR)
SINCE = "1970-01-01T00:00:00Z"


def asked(*steps: Step, at: float = 10.0, overlays: tuple[OverlayName, ...] = (WEB,)) -> World:
    """A rollout that is asked about since this moment of the hub's clock."""
    world = World(*(steps or (DEV_STEP, ASKS, PROD)), overlays=overlays)
    world.look(at)
    world.look(at)
    assert world.has(DEV, overlay=next(iter(world.target)))
    return world


def approve(world: World, who: str = "jo", step: str = "ok") -> None:
    world.kept = settle(world.kept, approved(world.last, step, who), 0.0)


def pause(world: World) -> None:
    world.kept = settle(world.kept, replace(world.last, paused=Stop("lunch", "jo", 0.0)), 0.0)


def resume(world: World) -> None:
    world.kept = settle(world.kept, resumed(world.last), 0.0)


@pytest.mark.parametrize("stopped", [(DEV, ONE, TWO), (ONE, TWO)], ids=["the whole fleet", "twin: not all of it"])
def test_nobody_is_late_with_an_approval_while_all_of_it_is_suspended(stopped: tuple[ClusterName, ...]) -> None:
    world, is_all = asked(), DEV in stopped
    frozen = world.facts(WEB, dict.fromkeys(stopped, Condition.STOPPED))
    for at in (20.0, 10.0 + HOUR, 5 * HOUR):
        found = world.look(at, web=frozen)
        assert (found.passage.halted is None) is (is_all or at < HOUR)
    if is_all:
        ok = next(step for step in found.steps if step.name == "ok")
        assert (ok.why, ok.asks) == ("waits for the approval of one person", 1)
        assert world.look(6 * HOUR).due == 7 * HOUR, "its whole time is before it when the fleet is resumed"


@pytest.mark.parametrize("policy", OnFailure)
def test_an_approval_that_nobody_gives_in_time_halts_and_takes_nothing_back(policy: OnFailure) -> None:
    world = asked()
    found = world.look(10.0 + HOUR - 1)
    assert found.passage.halted is None
    assert found.due == 10.0 + HOUR
    ok = next(step for step in found.steps if step.name == "ok")
    assert (ok.state, ok.why) == (
        StepState.WAITS, f"waits for the approval of one person since {SINCE}, for 1h at most",
    )  # fmt: skip
    found = world.look(10.0 + HOUR, web=world.facts(WEB, on_failure=policy))
    halted = found.passage.halted
    assert halted is not None
    assert halted.reason == f"step ok was not approved within 1h: asked of one person since {SINCE}"
    assert (halted.overlay, halted.by) == (WEB, "hub")
    assert not found.take_back, "nothing is known against the change"
    assert next(step for step in found.steps if step.name == "ok").state is StepState.HALTED
    approve(world)
    world.look(10.0 + HOUR)
    assert world.has(DEV), "nothing goes on by itself, also not by an approval that comes late"


def test_twin_an_approval_in_time_goes_on() -> None:
    world = asked()
    world.look(10.0 + HOUR - 1)
    approve(world)
    world.look(10.0 + HOUR)
    assert world.has(DEV, ONE, TWO)
    world.look(20.0 + HOUR)
    assert world.last.outcome == "done"


def test_without_a_timeout_it_waits_for_ever_and_says_so() -> None:
    world = asked(DEV_STEP, replace(ASKS, approve_timeout_seconds=None), PROD)
    found = world.look(20 * 365 * 24 * HOUR)
    assert found.passage.halted is None
    assert next(step for step in found.steps if step.name == "ok").why == (
        f"waits for the approval of one person since {SINCE}, without a timeout"
    )


def test_after_resume_it_is_asked_anew_with_its_whole_time_and_an_approval_counts() -> None:
    world = asked()
    world.look(10.0 + HOUR)
    assert world.last.halted is not None
    resume(world)
    world.look(50 * HOUR)
    assert world.look(51 * HOUR - 1).passage.halted is None
    assert world.look(51 * HOUR).passage.halted is not None, "and it is late again"
    approve(world)
    resume(world)
    world.look(52 * HOUR)
    assert world.has(DEV, ONE, TWO), "what was approved meanwhile is asked no more"


def test_promote_goes_past_no_approval_and_lifts_no_halt_for_it() -> None:
    world = asked()
    world.look(10.0 + HOUR)
    assert promoted(world.last, {WEB: world.facts(WEB)}, 0.0) == world.last


def test_the_first_of_two_people_is_named_and_the_second_is_waited_for() -> None:
    world = asked(DEV_STEP, replace(ASKS, approvals=2), PROD)
    approve(world)
    found = world.look(20.0)
    assert next(step for step in found.steps if step.name == "ok").why == (
        f"waits for the approval of one other person (given by jo) since {SINCE}, for 1h at most"
    )
    halted = world.look(10.0 + HOUR).passage.halted
    assert halted is not None
    assert "asked of one other person (given by jo)" in halted.reason


def test_it_halts_the_other_overlays_of_the_commit_too() -> None:
    world = asked(overlays=(WEB, API))
    busy = replace(world.facts(WEB), units={**world.facts(WEB).units})
    found = world.look(10.0 + HOUR, web=busy)
    assert found.passage.halted is not None
    assert not found.releases
    assert world.has(DEV)
    assert world.has(DEV, overlay=API)


@pytest.mark.parametrize("stop", ["pause", "adrift", "nothing is known of it", "another step comes first"])
def test_time_in_which_the_rollout_stands_still_is_no_time_of_its_approval(stop: str) -> None:
    world = asked()
    match stop:
        case "pause":
            pause(world)
            world.look(20.0)
            resume(world)
        case "adrift":
            unplaced = replace(world.facts(WEB), lost={DEV: "its file does not parse"}, stages=())
            world.look(20.0, web=unplaced)
        case "nothing is known of it":
            known, world.target = world.target, {}
            world.look(20.0)
            world.target = known
        case _:
            first = replace(ASKS, name="first", approve_timeout_seconds=None)
            world.steps = (first, DEV_STEP, ASKS, PROD)
            assert world.look(10.0 + HOUR).passage.halted is None
            world.steps = (DEV_STEP, ASKS, PROD)
    found = world.look(10.0 + HOUR)
    assert found.passage.halted is None
    assert world.look(10.0 + 2 * HOUR - 1).passage.halted is None
    assert world.look(10.0 + 2 * HOUR).passage.halted is not None


def test_twin_a_restart_counts_on() -> None:
    """The hub's clock stands while no hub runs; the moment itself is kept."""
    world = asked()
    world.kept = decode_passages(encode_passages(world.kept))
    assert world.look(10.0 + HOUR - 1).passage.halted is None
    assert world.look(10.0 + HOUR).passage.halted is not None


def test_a_newer_commit_is_asked_about_from_its_own_turn() -> None:
    world = asked()
    world.begin(WEB, "2", NEXT)
    for _ in range(2):
        world.look(10.0 + HOUR)
    assert world.has(DEV)
    assert world.last.halted is None
    assert world.look(10.0 + 2 * HOUR).passage.halted is not None


def test_nobody_is_asked_of_a_step_behind_the_last_change() -> None:
    world = World(DEV_STEP, PROD, ASKS)
    for at in (0.0, 1.0, 2.0):
        world.look(at)
    assert world.has(*CLUSTERS)
    assert world.last.outcome == "done"


def late(world: World) -> None:
    """Api of the same commit is built once web was approved."""
    world.held.update({UnitName(API, name): OLD for name in CLUSTERS})
    world.begin(API, "1")


def test_an_approval_holds_for_what_was_there_also_once_another_overlay_of_the_commit_is_built() -> None:
    prod = replace(PROD, approvals=1, max_parallel=Amount(number=1))
    world = World(DEV_STEP, prod)
    for now in (1.0, 2.0):
        world.look(now)
    approve(world, step="prod")
    world.look(3.0)
    assert world.has(DEV, ONE)
    late(world)
    world.kept = decode_passages(encode_passages(world.kept))
    for now in (4.0, 5.0, 6.0):
        found = world.look(now)
    assert world.has(*CLUSTERS), "web stopped amid a step that was approved"
    assert world.has(DEV, overlay=API), "nobody approved what was not built yet"
    asks = next(step for step in found.steps if (step.overlay, step.name) == (API, "prod"))
    assert asks.asks == 1
    assert asks.why.startswith("waits for the approval of one person (jo approved it before this was built) since ")
    approve(world, step="prod")
    for now in (7.0, 8.0, 9.0):
        world.look(now)
    assert world.has(*CLUSTERS, overlay=API), "twin: whoever approves it again saw both"


def test_twin_of_a_rollout_that_had_ended_all_is_approved_anew() -> None:
    world = asked()
    approve(world)
    for now in (11.0, 12.0, 13.0):
        world.look(now)
    assert world.last.outcome == "done"
    late(world)
    assert (world.last.outcome, world.last.approvals, world.last.rows[API].early) == ("", {}, {})
