"""What people order of a rollout reaches all that it is about, and nothing besides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.test_rollbacks import FIRST, SECOND
from core.test_rollbacks import World as Hub
from core.three_clusters import CLUSTERS, DEV, DEV_STEP, HEAD, ONE, ONLY_ONE, PROD, TWO, WEB, World

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Stop
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts
from fleet.core.rollout_orders import RolloutOrder, bound, carry_out, promoted, resumed
from fleet.core.rollout_policy import Step
from fleet.core.takeover import aborted, settle, with_release

API = OverlayName("api")
BUSY = dict.fromkeys((ONE, TWO), Condition.BUSY)
STOP = Stop("test", "jo", 0.0)
FIVE = Revision("5" * 40)


def test_resume_gives_all_that_are_late_their_whole_time_again() -> None:
    world = World(PROD)
    world.look()
    world.look(600.0, web=world.facts(WEB, BUSY))
    assert world.last.halted is not None
    world.kept = replace(world.kept, all=(resumed(world.last),))
    world.look(601.0, web=world.facts(WEB, BUSY))
    world.look(1200.0, web=world.facts(WEB, BUSY))
    assert world.last.halted is None, "the second late one halted it again at once"
    world.look(1201.0, web=world.facts(WEB, BUSY))
    assert world.last.halted is not None, "twin: their time is none without end"


def resume(world: World) -> str:
    order = RolloutOrder("op", "resume", HEAD, "kim", "mended", 0.0)
    done = carry_out(order, world.kept, {}, {}, 0.0, 0.0)
    world.kept = done.kept
    return done.message


def test_a_pause_is_not_lost_with_the_halt_that_came_after_it() -> None:
    world = World(PROD)
    world.look()
    world.kept = replace(world.kept, all=(replace(world.last, paused=Stop("wait for the fair", "mara", 0.0)),))
    assert world.last.stopped == "rollout paused by mara: wait for the fair"
    world.look(600.0, web=world.facts(WEB, BUSY))
    halted = world.last.halted
    assert halted is not None
    assert world.last.stopped == (
        f"rollout halted at {halted.place}: {halted.reason}; paused by mara: wait for the fair"
    )
    assert resume(world) == (f"the halt of {HEAD[:7]} is lifted; still paused by mara: wait for the fair; resume again")
    assert (world.last.halted, world.last.stopped) == (None, "rollout paused by mara: wait for the fair")
    assert not world.look(601.0).releases
    assert resume(world) == f"rollout of {HEAD[:7]} goes on"
    assert world.last.stopped == ""


@pytest.mark.parametrize("stop", ["halted", "paused"])
def test_twin_one_stop_alone_is_lifted_by_one_resume(stop: str) -> None:
    world = World(PROD)
    world.look()
    world.kept = replace(world.kept, all=(replace(world.last, **{stop: STOP}),))
    assert resume(world) == f"rollout of {HEAD[:7]} goes on"
    assert world.last.stopped == ""


def halted_by_an_earlier_step() -> World:
    """All of dev was there, prod is on its way, and now dev-1 fails."""
    world = World(Step("dev", PROD.origin, environments=("dev",)), Step("one", PROD.origin, environments=("prod",)))
    for _ in range(2):
        world.look()
    ill = {DEV: Condition.BAD, **BUSY}
    world.look(web=world.facts(WEB, ill))
    assert world.last.rows[WEB].passed == {"dev"}
    assert world.last.halted is not None
    return world


def test_promote_goes_on_without_what_fails_in_a_step_before() -> None:
    world = halted_by_an_earlier_step()
    ill = {DEV: Condition.BAD, **BUSY}
    world.kept = replace(world.kept, all=(promoted(world.last, {WEB: world.facts(WEB, ill)}, 0.0),))
    world.look(web=world.facts(WEB, ill))
    assert world.last.halted is None, "it halted again at once"
    row = world.last.rows[WEB]
    assert (row.excused, row.passed) == ({DEV}, {"dev"}), "what is on its way in its own step may fail as any"


def test_promote_of_a_row_that_has_no_step_left_goes_on_without_what_fails_there() -> None:
    world = halted_by_an_earlier_step()
    row = world.last.rows[WEB]
    through = replace(row, passed=frozenset({"dev", "one"}))
    world.kept = replace(world.kept, all=(replace(world.last, rows={WEB: through}),))
    found = promoted(world.last, {WEB: world.facts(WEB, {DEV: Condition.BAD})}, 0.0)
    assert (found.halted, found.rows[WEB].excused) == (None, {DEV})
    well = promoted(world.last, {WEB: world.facts(WEB)}, 0.0)
    assert well == world.last, "twin: nothing to go past"


def test_twin_what_was_healthy_when_it_was_promoted_may_still_fail() -> None:
    world = halted_by_an_earlier_step()
    world.kept = replace(world.kept, all=(promoted(world.last, {WEB: world.facts(WEB, {DEV: Condition.BAD})}, 0.0),))
    world.look(web=world.facts(WEB, {DEV: Condition.BAD, TWO: Condition.BAD}))
    assert world.last.halted is not None
    assert world.last.halted.unit == UnitName(WEB, TWO)


def canary_of_web_fails(*waits: ClusterName) -> tuple[World, dict[OverlayName, RowFacts]]:
    """Nothing of api is released yet: in these clusters it waits for another unit."""
    world = World(DEV_STEP, PROD, overlays=(WEB, API))
    idle = world.facts(API, dict.fromkeys(waits, Condition.WAITS))
    world.look(api=idle)
    ill = {WEB: world.facts(WEB, {DEV: Condition.BAD}), API: idle}
    world.look(1.0, web=ill[WEB], api=idle)
    assert world.last.halted is not None
    return world, ill


def test_promote_goes_past_no_step_that_another_overlay_of_the_commit_did_not_begin() -> None:
    world, facts = canary_of_web_fails(DEV)
    world.kept = settle(world.kept, promoted(world.last, facts, 0.0), 0.0)
    assert world.last.halted is None
    rows = world.last.rows
    assert (rows[WEB].passed, rows[WEB].excused, rows[API].passed) == ({"dev"}, {DEV}, set())
    world.look(2.0, web=facts[WEB], api=facts[API])
    assert world.has(*CLUSTERS), "twin: what was promoted goes on"
    world.look(3.0, web=facts[WEB])
    assert world.has(DEV, overlay=API), "api went to all clusters without its canary"


def test_promote_of_what_nothing_was_released_of_is_refused_in_words() -> None:
    world = World(DEV_STEP, PROD)
    facts = {WEB: world.facts(WEB, {DEV: Condition.WAITS})}
    done = carry_out(RolloutOrder("o", "promote", HEAD, "jo", "hurry", 0.0), world.kept, facts, world.held, 0.0, 0.0)
    assert (done.outcome, done.kept) == ("refused", world.kept)
    assert "or nothing of it was released yet" in done.message


@pytest.mark.parametrize("condition", [Condition.AWAY, Condition.STOPPED])
def test_twin_promote_goes_past_a_step_of_which_no_cluster_can_be_reached_or_judged(condition: Condition) -> None:
    world = World(DEV_STEP, PROD)
    facts = world.facts(WEB, {DEV: condition})
    world.look(0.0, web=facts)
    assert promoted(world.last, {WEB: facts}, facts.patience_seconds).rows[WEB].passed == {"dev"}


def test_promote_goes_past_no_step_whose_clusters_were_lost_a_moment_ago() -> None:
    world, facts = canary_of_web_fails(DEV)
    lost = {WEB: world.facts(WEB, {DEV: Condition.AWAY}), API: world.facts(API, {DEV: Condition.AWAY})}
    rows = promoted(world.last, lost, 1.0).rows
    assert (rows[WEB].passed, rows[API].passed) == ({"dev"}, set())
    world.look(2.0, web=facts[WEB], api=lost[API])
    world.kept = settle(world.kept, promoted(world.last, lost, 2.0), 0.0)
    for now in (3.0, 4.0):
        world.look(now, web=facts[WEB], api=facts[API])
    assert world.has(overlay=API), "api went to all clusters without its canary"


def test_promote_goes_on_without_what_a_person_let_go_ahead_of_a_step_that_cannot_begin() -> None:
    world = World(DEV_STEP, PROD)
    world.look(web=world.facts(WEB, {DEV: Condition.WAITS}))
    ahead, new = UnitName(WEB, ONE), Rendered(Digest("1"), HEAD)
    world.kept, world.held[ahead] = with_release(world.kept, ahead, new, world.held[ahead], 0.0), new
    ill = world.facts(WEB, {DEV: Condition.WAITS, ONE: Condition.BAD})
    world.look(1.0, web=ill)
    assert world.last.halted is not None
    world.kept = settle(world.kept, promoted(world.last, {WEB: ill}, 1.0), 0.0)
    row = world.last.rows[WEB]
    assert (world.last.halted, row.passed, row.excused) == (None, set(), {ONE})
    world.look(2.0, web=ill)
    assert world.last.halted is None
    assert world.has(ONE), "twin: the step that cannot begin is passed by nobody"


def let_ahead() -> tuple[World, RowFacts]:
    """A person let prod-1 go ahead of its step, and it is on its way; dev waits for another unit."""
    world = World(DEV_STEP, PROD)
    world.look(web=world.facts(WEB, {DEV: Condition.WAITS}))
    ahead, new = UnitName(WEB, ONE), Rendered(Digest("1"), HEAD)
    world.kept, world.held[ahead] = with_release(world.kept, ahead, new, world.held[ahead], 0.0), new
    return world, world.facts(WEB, {DEV: Condition.WAITS, ONE: Condition.BUSY})


def promote(world: World, facts: RowFacts, now: float, target: str = HEAD) -> str:
    order = RolloutOrder("o", "promote", target, "jo", "hurry", 0.0)
    done = carry_out(order, world.kept, {WEB: facts}, world.held, 0.0, now)
    world.kept = done.kept
    return f"{done.outcome}: {done.message}"


def test_promote_goes_on_without_nothing_that_is_merely_on_its_way_ahead() -> None:
    world, busy = let_ahead()
    assert promote(world, busy, 1.0).startswith("refused: rollout of bbbbbbb goes past no step")
    assert not world.last.rows[WEB].excused
    world.look(2.0, web=world.facts(WEB, {DEV: Condition.WAITS, ONE: Condition.BAD}))
    assert world.last.halted is not None, "it crashed, and nothing was halted"


@pytest.mark.parametrize("condition", [Condition.BAD, Condition.BUSY], ids=["failed", "not Healthy in time"])
def test_twin_promote_goes_on_without_what_failed_ahead_and_says_so(condition: Condition) -> None:
    world, _ = let_ahead()
    ill = world.facts(WEB, {DEV: Condition.WAITS, ONE: condition})
    world.look(600.0, web=ill)
    assert world.last.halted is not None
    assert promote(world, ill, 600.0) == "done: rollout of bbbbbbb goes on without prod-1: hurry"
    assert (world.last.halted, world.last.rows[WEB].excused, world.last.rows[WEB].passed) == (None, {ONE}, set())
    world.look(601.0, web=ill)
    assert world.last.halted is None


def let_ahead_of_what_is_on_its_way() -> World:
    """Dev has begun, and a person let prod-2 go ahead of its step."""
    world = World(DEV_STEP, PROD)
    world.look()
    ahead, new = UnitName(WEB, TWO), Rendered(Digest("1"), HEAD)
    world.kept, world.held[ahead] = with_release(world.kept, ahead, new, world.held[ahead], 0.0), new
    return world


def test_promote_goes_on_without_what_failed_ahead_of_a_step_that_has_begun_and_past_none() -> None:
    world = let_ahead_of_what_is_on_its_way()
    ill = world.facts(WEB, {DEV: Condition.BUSY, TWO: Condition.BAD})
    world.look(1.0, web=ill)
    assert world.last.halted is not None
    assert promote(world, ill, 2.0) == "done: rollout of bbbbbbb goes on without prod-2: hurry"
    row = world.last.rows[WEB]
    assert (world.last.halted, row.passed, row.excused) == (None, set(), {TWO})
    world.look(3.0, web=ill)
    assert (world.last.halted, world.has(DEV, TWO)) == (None, True)


def test_twin_promote_goes_past_a_step_that_failed_as_well_without_both() -> None:
    world = let_ahead_of_what_is_on_its_way()
    ill = world.facts(WEB, {DEV: Condition.BAD, TWO: Condition.BAD})
    world.look(1.0, web=ill)
    assert promote(world, ill, 2.0) == "done: rollout of bbbbbbb goes past dev of web: hurry"
    row = world.last.rows[WEB]
    assert (world.last.halted, row.passed, row.excused) == (None, {"dev"}, {DEV, TWO})
    world.look(3.0, web=ill)
    assert (world.last.halted, world.has(*CLUSTERS)) == (None, True), "it halted again at once"


def test_promote_past_what_fails_in_a_step_before_begins_the_next_step_as_any() -> None:
    world = World(DEV_STEP, replace(ONLY_ONE, soak_seconds=60.0), PROD)
    world.look()
    row = replace(world.last.rows[WEB], passed=frozenset({"dev"}))
    ill = world.facts(WEB, {DEV: Condition.BAD})
    world.kept = replace(world.kept, all=(replace(world.last, rows={WEB: row}),))
    world.look(1.0, web=ill)
    assert world.last.halted is not None
    world.kept = settle(world.kept, promoted(world.last, {WEB: ill}, 0.0), 0.0)
    assert (world.last.halted, world.last.rows[WEB].passed, world.last.rows[WEB].excused) == (None, {"dev"}, {DEV})
    for now in (2.0, 3.0, 30.0):
        world.look(now, web=ill)
    assert world.has(DEV, ONE), "its own soak was jumped over"


CANARY = replace(DEV_STEP, soak_seconds=600.0)
ON_ITS_WAY = {ONE: Condition.BUSY}


def soaking() -> tuple[World, str]:
    """Web soaks on dev-1; what a promotion that is asked for now is bound to."""
    world = World(CANARY, replace(ONLY_ONE, soak_seconds=3600.0), PROD)
    for now in (0.0, 1.0):
        world.look(now)
    return world, bound(world.last, {WEB: world.facts(WEB)}, 1.0)


def goes_past_nothing(world: World, target: str, now: float) -> None:
    row = world.last.rows[WEB]
    assert promote(world, world.facts(WEB, ON_ITS_WAY), now, target) == (
        "refused: rollout of bbbbbbb stands at one of web by now, not at dev of web; ask anew"
    )
    assert world.last.rows[WEB] == row
    world.look(now, web=world.facts(WEB, ON_ITS_WAY))
    assert world.has(DEV, ONE), "it went past a step that had just begun"


def test_promote_goes_past_no_step_that_began_after_it_was_asked_for() -> None:
    world, asked = soaking()
    assert asked == f"{HEAD} web/dev"
    world.look(601.0)
    assert world.has(DEV, ONE), "the soak was over by itself"
    goes_past_nothing(world, asked, 602.0)
    world.look(603.0, web=world.facts(WEB, {ONE: Condition.BAD}))
    assert world.last.halted is not None, "twin: what began may fail as any"


def test_promote_that_is_asked_for_twice_goes_past_one_step() -> None:
    world, asked = soaking()
    assert promote(world, world.facts(WEB), 300.0, asked) == "done: rollout of bbbbbbb goes past dev of web: hurry"
    assert promote(world, world.facts(WEB), 300.0, asked).startswith("refused: "), "nothing of the next one is released"
    world.look(300.0)
    goes_past_nothing(world, asked, 301.0)


@pytest.mark.parametrize("word", ["dev", "web/dev", ""], ids=["a step", "a place", "neither, as orders once were"])
def test_twin_promote_goes_past_the_step_that_it_names_where_that_is_not_over(word: str) -> None:
    world, _ = soaking()
    assert promote(world, world.facts(WEB), 300.0, f"{HEAD} {word}".strip()).startswith("done: ")
    assert world.last.rows[WEB].passed == {"dev"}


def test_promote_that_was_asked_for_before_a_step_began_goes_past_none_since() -> None:
    world, _ = soaking()
    ill = world.facts(WEB, {DEV: Condition.BAD})
    row = replace(world.last.rows[WEB], passed=frozenset({"dev"}))
    world.kept = replace(world.kept, all=(replace(world.last, rows={WEB: row}),))
    world.look(2.0, web=ill)
    asked = bound(world.last, {WEB: ill}, 2.0)
    assert asked == f"{HEAD} web/one/before"
    assert promote(world, ill, 2.0, asked) == "done: rollout of bbbbbbb goes on without dev-1: hurry"
    world.look(3.0, web=ill)
    assert world.has(DEV, ONE)
    assert bound(world.last, {WEB: replace(ill, units=world.facts(WEB).units)}, 3.0) == f"{HEAD} web/one"
    assert promote(world, world.facts(WEB, {DEV: Condition.BAD, **ON_ITS_WAY}), 4.0, asked) == (
        "refused: rollout of bbbbbbb stands at one of web by now, not at one of web (not begun); ask anew"
    )


def test_promote_leaves_alone_what_stands_at_another_step_by_then() -> None:
    world = World(CANARY, PROD, overlays=(WEB, API))
    for now in (0.0, 1.0):
        world.look(now)
    asked = bound(world.last, {overlay: world.facts(overlay) for overlay in (WEB, API)}, 1.0)
    rows = {**world.last.rows, API: replace(world.last.rows[API], passed=frozenset({"dev"}))}
    world.kept = replace(world.kept, all=(replace(world.last, rows=rows),))
    world.look(2.0)
    facts = {overlay: world.facts(overlay) for overlay in (WEB, API)}
    order = RolloutOrder("o", "promote", asked, "jo", "hurry", 0.0)
    done = carry_out(order, world.kept, facts, world.held, 0.0, 3.0)
    assert done.message == "rollout of bbbbbbb goes past dev of web: hurry"
    assert {overlay: row.passed for overlay, row in done.kept.all[-1].rows.items()} == {WEB: {"dev"}, API: {"dev"}}


@pytest.mark.parametrize("kind", ["halted", "paused"])
def test_promote_lifts_nothing_that_stopped_the_rollout_after_it_was_asked_for(kind: str) -> None:
    world, asked = soaking()
    stop = Stop("disk is full", "mara", 5.0)
    world.kept = replace(world.kept, all=(replace(world.last, **{kind: stop}),))
    facts, order = {WEB: world.facts(WEB)}, RolloutOrder("o", "promote", asked, "jo", "hurry", 4.0)
    done = carry_out(order, world.kept, facts, world.held, 6.0, 300.0)
    why = "rollout of bbbbbbb was stopped after it was asked for: disk is full; ask anew"
    assert (done.outcome, done.message, done.kept) == ("refused", why, world.kept)
    after = carry_out(replace(order, asked_at=5.5), world.kept, facts, world.held, 6.0, 300.0)
    assert (after.outcome, after.kept.all[-1].stopped) == ("done", ""), "twin: who asks after that knows of it"


def test_promote_lifts_the_halt_and_leaves_the_pause_that_stood_beside_it() -> None:
    world = World()
    world.look()
    world.kept = replace(world.kept, all=(replace(world.last, paused=Stop("wait for the fair", "mara", 0.0)),))
    world.look(600.0, web=world.facts(WEB, {DEV: Condition.BUSY}))
    facts = {WEB: world.facts(WEB, {DEV: Condition.BUSY})}
    order = RolloutOrder("o", "promote", HEAD, "jo", "hurry", 601.0)
    done = carry_out(order, world.kept, facts, world.held, 602.0, 602.0)
    assert done.message.endswith(": hurry; still paused by mara: wait for the fair; resume it")
    assert (done.kept.all[-1].halted, done.kept.all[-1].stopped) == (None, "rollout paused by mara: wait for the fair")
    world.kept = done.kept
    assert not world.look(603.0).releases
    assert resume(world) == f"rollout of {HEAD[:7]} goes on"
    assert world.last.stopped == ""


def test_twin_promote_goes_past_a_halt_that_stands_alone() -> None:
    world = World(PROD)
    world.look()
    world.look(600.0, web=world.facts(WEB, BUSY))
    order = RolloutOrder("o", "promote", HEAD, "jo", "hurry", 601.0)
    done = carry_out(order, world.kept, {WEB: world.facts(WEB, BUSY)}, world.held, 602.0, 602.0)
    assert done.message.endswith(": hurry")
    assert done.kept.all[-1].stopped == ""


@pytest.mark.parametrize("is_done", [True, False], ids=["an overlay that is done", "twin: one under way"])
def test_abort_bars_nothing_of_an_overlay_that_is_done(is_done: bool) -> None:
    world = World(overlays=(WEB, API))
    rows = {**world.last.rows, WEB: replace(world.last.rows[WEB], done=is_done)}
    kept = aborted(replace(world.kept, all=(replace(world.last, rows=rows),)), replace(world.last, rows=rows), STOP)
    assert kept.all[-1].outcome == "aborted"
    assert set(kept.quarantine) == ({API} if is_done else {API, WEB})
    assert kept.quarantine[API]["1"].commit == HEAD


def brought(hub: Hub, *clusters: str) -> None:
    """A fifth commit that came by no steps, or by a person's sync."""
    for name in hub.held[WEB]:
        if name in clusters:
            hub.held[WEB][name] = Rendered(Digest("5"), FIVE)


def test_a_rollback_jumps_over_no_newer_result_that_came_by_no_steps() -> None:
    hub = Hub(WEB)
    hub.commit(FIRST, "1", WEB)
    hub.look(4)
    brought(hub, "dev", "prod-1", "prod-2")
    done = hub.order("rollback", "web")
    assert (done.outcome, done.back) == ("refused", {})
    assert "which came by no steps; revert the commit in Git" in done.message
    assert not hub.kept.quarantine


def test_of_some_that_hold_newer_results_only_the_others_go_back() -> None:
    hub = Hub(WEB)
    hub.commit(FIRST, "1", WEB)
    hub.look(4)
    brought(hub, "prod-1")
    done = hub.order("rollback", "web")
    assert done.outcome == "done"
    assert {unit.cluster for unit in done.back} == {"dev", "prod-2"}


def test_twin_what_another_rollout_left_midway_goes_back_with_the_newest() -> None:
    hub = Hub(WEB)
    hub.commit(FIRST, "1", WEB)
    hub.look(1)
    hub.commit(SECOND, "2", WEB)
    done = hub.order("rollback", "web")
    assert done.outcome == "done"
    assert {unit.cluster for unit in done.back} == {"dev"}
