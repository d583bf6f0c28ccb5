"""A row that begins anew takes for its part what an earlier one brought to clusters already and did not finish."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.three_clusters import API, CLUSTERS, DEV, HEAD, NEXT, OLD, ONE, PROD, TWO, WEB, World

from fleet.core.gates import Reading, Word, key_of
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passages, Row, Stop, decode_last, decode_passages, encode_last, encode_passages
from fleet.core.problems import Origin
from fleet.core.quarantine import readmitted
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_policy import Gate, HttpCheck, OnFailure, Step
from fleet.core.takeover import ENDED_KEPT, ROWS_KEPT, RolloutUnit, aborted, settle, take_over, taken_back

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


def let_in(
    world: World,
    head: Revision = HEAD,
    *,
    ill: tuple[ClusterName, ...] = (DEV,),
    overlays: tuple[OverlayName, ...] = (WEB,),
) -> None:
    """A person resumes it, and its results are looked at, at this commit."""
    world.kept = readmitted(world.kept, HEAD)
    for overlay in overlays:
        wanted = {
            name: RolloutUnit(Rendered(Digest("1"), HEAD), world.held[UnitName(overlay, name)], is_well=name not in ill)
            for name in CLUSTERS
        }
        world.kept = take_over(world.kept, overlay, wanted, head, 0.0)


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
        name: RolloutUnit(
            Rendered(Digest("2"), HEAD if name == DEV else NEXT), world.held[UnitName(WEB, name)], name != DEV
        )
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


ERRORS = Gate("errors", HttpCheck("https://x"), DEV_STEP.origin, window_seconds=3600.0, timeout_seconds=1e6)
BOTH = (WEB, API)


def two(step: Step) -> World:
    """Two overlays of one commit, aborted while what the canary has of them is judged."""
    world = World(step, PROD, overlays=BOTH)
    world.look()
    return world


def good_at(moment: float) -> dict[str, Reading]:
    return {key_of("dev", ERRORS): Reading(Word.GOOD, "0.1", 0.0, moment)}


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]], ids=["web first", "api first"])
def test_no_overlay_of_what_is_let_in_again_soaked_while_it_was_aborted(order: tuple[OverlayName, ...]) -> None:
    world = two(replace(DEV_STEP, soak_seconds=3600.0))
    world.look(10.0)
    assert all(row.calm for row in world.last.rows.values())
    abort(world)
    let_in(world, ill=(), overlays=order)
    for now in (90_000.0, 90_001.0, 93_599.0):
        world.look(now)
        assert [world.has(DEV, overlay=overlay) for overlay in BOTH] == [True, True], "went on without its soak"
    for now in (93_601.0, 93_602.0):
        world.look(now)
    assert [world.has(*CLUSTERS, overlay=overlay) for overlay in BOTH] == [True, True], "twin: after it"


def test_no_overlay_of_what_is_let_in_again_is_late_by_the_time_it_was_aborted() -> None:
    world, busy = two(DEV_STEP), {DEV: Condition.BUSY}

    def look(now: float) -> bool:
        facts = {name: world.facts(OverlayName(name), busy, on_failure=OnFailure.ROLLBACK) for name in BOTH}
        return world.look(now, **facts).take_back

    assert not look(10.0)
    abort(world)
    let_in(world, ill=(), overlays=BOTH)
    assert not look(90_000.0), "taken back for the night in which it was aborted"
    assert not look(90_599.0)
    assert look(90_600.0), "twin: it has the time that any has, and no more"


def test_what_a_gate_read_before_an_abort_does_not_count_afterwards() -> None:
    world = two(replace(DEV_STEP, gates=(ERRORS,)))

    def look(now: float, read_at: float) -> None:
        facts = {name: world.facts(OverlayName(name), readings=good_at(read_at)) for name in BOTH}
        world.look(now, **facts)

    look(10.0, 0.0)
    look(20.0, 10.0)
    assert all(row.gates for row in world.last.rows.values())
    abort(world)
    let_in(world, ill=(), overlays=BOTH)
    look(90_000.0, 10.0)
    look(90_001.0, 90_000.0)
    assert [world.has(DEV, overlay=overlay) for overlay in BOTH] == [True, True], "one reading was a whole window"


def test_what_begins_at_an_aborted_commit_wakes_no_other_overlay_of_it() -> None:
    world = two(DEV_STEP)
    abort(world)
    assert all(row.done and row.cut for row in world.last.rows.values())
    let_in(world, ill=())
    assert not world.last.rows[WEB].done
    assert world.last.rows[API].done, "api was woken with web"
    found = world.look(50.0, api=world.facts(API, BAD, on_failure=OnFailure.ROLLBACK))
    assert not found.take_back


def ended_since(kept: Passages, count: int) -> Passages:
    """So many rollouts of another overlay began and ended since."""
    for number in range(count):
        commit = Revision(f"{number:040x}")
        wanted = {name: RolloutUnit(Rendered(Digest(f"o{number}"), commit), OLD) for name in CLUSTERS}
        kept = take_over(kept, OverlayName("other"), wanted, commit, 1.0 + number)
        passage = next(one for one in kept.all if one.commit == commit)
        row = replace(passage.rows[OverlayName("other")], done=True, before=dict.fromkeys(CLUSTERS, OLD))
        kept = settle(kept, replace(passage, rows={OverlayName("other"): row}), 1.0 + number)
    return kept


def again(kept: Passages) -> Passages:
    """As a hub that was killed reads it."""
    return replace(decode_passages(encode_passages(kept)), last=decode_last(encode_last(kept)))


@pytest.mark.parametrize("others", [0, ROWS_KEPT - 1, ROWS_KEPT, ENDED_KEPT + 1])
@pytest.mark.parametrize("had", [OLD, None], ids=["it held something", "it held nothing"])
def test_a_canary_is_judged_again_however_many_rollouts_ended_since(others: int, had: Rendered | None) -> None:
    world = World(replace(DEV_STEP, soak_seconds=3600.0), PROD)
    world.look()
    world.look()
    if had is None:
        row = replace(world.last.rows[WEB], before={})
        world.kept = replace(world.kept, all=(replace(world.last, rows={WEB: row}),))
    abort(world)
    world.kept = again(ended_since(world.kept, others))
    let_in(world, NEXT, ill=())
    is_forgotten = had is None and others > ENDED_KEPT  # nothing is left of it
    assert set(world.last.rows[WEB].targets) == ({ONE, TWO} if is_forgotten else {*CLUSTERS})


@pytest.mark.parametrize("others", [0, ROWS_KEPT, ENDED_KEPT + 1])
def test_twin_what_was_done_begins_no_step_again_however_many_ended_since(others: int) -> None:
    world = World(DEV_STEP, PROD)
    world.begin(WEB, "1", without=(TWO,))
    row = Row({DEV: "1", ONE: "1"})
    world.kept = replace(world.kept, all=(replace(world.last, rows={WEB: row}),))
    for _ in range(3):
        world.look()
    assert world.last.outcome == "done"
    world.kept = again(ended_since(world.kept, others))
    world.begin(WEB, "1", NEXT)
    assert set(world.last.rows[WEB].targets) == {TWO}


def test_an_abort_that_an_earlier_hub_wrote_is_one_of_its_unfinished_rows_alone() -> None:
    world = two(DEV_STEP)
    abort(world)
    rows = {name: replace(row, done=name == WEB, cut=False) for name, row in world.last.rows.items()}
    text = encode_passages(replace(world.kept, all=(replace(world.last, rows=rows),)))
    old = decode_passages(text.replace(',"cut":false', ""))
    assert {name: (row.done, row.cut) for name, row in old.all[-1].rows.items()} == {
        WEB: (True, False),
        API: (True, True),
    }
