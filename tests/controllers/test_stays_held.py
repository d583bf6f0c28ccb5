"""What a person was asked about is deleted by no later commit, as long as nobody approved it (R9, V1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_commits import with_paths
from controllers.test_deletions import AGAIN, HOLDS, WITH, WITHOUT, World, X, Y, hold_on, web
from hubworld import config_map, kustomization

from fleet.controllers.deletions import JUDGED
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.results import Rendered
from fleet.core.status import Report
from fleet.ports.state import HoldRow

THREE, FOURTH = web(0, 1, 2), web(3)
NEITHER = Rendered(Digest("neither"), Revision("1" * 40))  # a result without y either
HOLDS[NEITHER.bundle] = set()


@pytest.fixture
async def pending() -> World:
    """Three clusters may delete x and have not yet, the fourth is held."""
    made = World()
    for unit in web(*range(6)):
        made.says(unit, WITH, X, Y)
    assert await made.release(THREE, WITHOUT) == set(THREE)
    await hold_on(made, FOURTH)
    return made


@pytest.fixture
def world(pending: World) -> World:
    """The three deleted it, and their hour is over."""
    for unit in THREE:
        pending.says(unit, WITHOUT, Y)
    pending.now += 3700
    return pending


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_was_rejected_stays_though_its_list_changed_before_the_next_commit(
    world: World, restarted: bool
) -> None:
    await world.ask(FOURTH, "rejected")
    await world.ask(FOURTH, "", content="edited")
    assert [row.decision for row in await world.state.holds()] == [""], "a person is asked anew"
    if restarted:
        await world.restart()
    for result in (AGAIN, WITHOUT, NEITHER):
        assert await world.release(FOURTH, result) == set()
        world.says(FOURTH[0], result, X)


async def test_a_result_that_permitted_it_once_permits_nothing_that_was_asked_about_since(pending: World) -> None:
    first = THREE[:1]
    assert await pending.release(first, NEITHER) == set(), "the fourth's question is its own"
    assert await pending.release(first, WITHOUT) == set()
    assert await pending.release(THREE[1:], WITHOUT) == set(THREE[1:]), "twin: nobody asked about those"


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_a_rejection_took_back_stays_so_though_the_rejected_list_changed(
    pending: World, restarted: bool
) -> None:
    await pending.ask(FOURTH, "rejected")
    assert await pending.release(THREE, WITHOUT) == set()
    await pending.ask(FOURTH, "", content="edited")
    if restarted:
        await pending.restart()
    assert await pending.release(THREE, WITHOUT) == set()


async def test_the_same_on_another_cluster_is_part_of_the_open_question(world: World) -> None:
    assert await world.release(web(4), AGAIN) == set()


async def test_what_was_written_before_is_barred_by_what_is_read(world: World) -> None:
    held = '[[["web@c3","without",1800000000.0]],["/ConfigMap/shop/x"]]'
    await world.state.set_value(JUDGED, f'{{"permitted":[],"held":[{held}]}}')
    await world.restart()
    assert await world.release(FOURTH, AGAIN) == set()


# Harmless twins: the question ends, or is about something else


async def test_twin_what_a_person_approved_went_and_bars_nothing(world: World) -> None:
    await world.ask(FOURTH, "approved")
    world.says(FOURTH[0], WITHOUT, Y)  # an approval needs no permit
    assert await world.release(web(4), WITHOUT) == set(web(4))


@pytest.mark.parametrize("restarted", [False, True])
async def test_twin_what_a_commit_wanted_again_and_a_later_one_drops_is_a_new_question(
    world: World, restarted: bool
) -> None:
    units = web(3, 4, 5)
    await hold_on(world, units)
    assert await world.release(units, WITH) == set()
    for unit in units:
        world.says(unit, WITH, X, Y)
    if restarted:
        await world.restart()
    assert await world.release(units, AGAIN) == set(units)


async def test_twin_a_new_question_is_judged_by_the_usual_budget(world: World) -> None:
    units = web(2, 3, 4, 5)
    assert await world.release(units, WITH) == set()
    for unit in units:
        world.says(unit, WITH, X, Y)
    assert await world.release(units, AGAIN) == set()


async def test_twin_what_another_unit_takes_bars_nothing(world: World) -> None:
    more = UnitName(OverlayName("more"), FOURTH[0].cluster)
    await world.take({more: WITH, FOURTH[0]: AGAIN})
    assert await world.release(web(4), AGAIN) == set(web(4))


async def test_twin_what_another_unit_took_over_bars_nothing_though_no_commit_touched_its_unit(world: World) -> None:
    more = UnitName(OverlayName("more"), FOURTH[0].cluster)
    await world.take({more: WITH})
    world.says(FOURTH[0], WITHOUT, Y)
    assert await world.release(web(4), AGAIN) == set(web(4))


async def test_twin_what_a_unit_that_left_was_asked_about_bars_nothing(world: World) -> None:
    del world.held[FOURTH[0]], world.reports[FOURTH[0]]
    assert await world.release(web(4), AGAIN) == set(web(4))


async def test_twin_other_objects_and_other_overlays_go_by_the_usual_budget(world: World) -> None:
    (unit,) = FOURTH
    await world.release([unit], NEITHER)
    assert world.permits[unit] == {Y}
    (other,) = (UnitName(OverlayName("more"), each.cluster) for each in web(4))
    world.says(other, WITH, X, Y)
    world.says(web(4)[0], AGAIN, Y)
    assert await world.release([other], AGAIN) == {other}


# The same with a whole hub

UNIT = UnitName.parse("web@d")


async def hold_of(brain: Brain) -> HoldRow:
    """What is asked now."""
    await brain.orders.look()
    (row,) = [row for row in await brain.state.holds() if row.decision == ""]
    return row


async def decide(brain: Brain, row: HoldRow, decision: str) -> None:
    await brain.state.decide_hold(
        row.id, list_digest=row.list_digest, decision=decision, actor="jo", reason="", at=brain.wall()
    )
    await brain.orders.look()


async def edited(brain: Brain) -> None:
    """Somebody edits on the cluster what would go, so its worker asks with another list."""
    worker, known = brain.workers["d"], brain.view.units[UNIT]
    (hold,) = known.holds
    deletions = tuple(replace(item, content=Digest("edited")) for item in hold.deletions)
    asks = replace(known, holds=(replace(hold, deletions=deletions),))
    worker.sequence += 1
    await brain.intake.send(Report(ClusterName("d"), 1, worker.sequence, brain.wall(), worker.seen, units=(asks,)))


async def test_a_rejected_deletion_waits_for_an_approval_whatever_comes_between(brain: Brain) -> None:
    await brain.commit(with_paths())
    for clusters in ("abc", "d"):
        await brain.commit({f"overlays/web/{name}/kustomization.yaml": kustomization("one.yaml") for name in clusters})
    await decide(brain, await hold_of(brain), "rejected")
    await edited(brain)
    await hold_of(brain)
    brain.wall.now += 3700
    await brain.commit({"overlays/web/d/one.yaml": config_map("one", "d2")})
    assert brain.desired("web@d").action.permits == frozenset()
    again = await brain.restart()
    await again.commits.resume()
    await again.answer()
    assert again.desired("web@d").action.permits == frozenset()
    assert "two" in {status.ref.name for status in again.view.units[UNIT].objects}
    await decide(again, await hold_of(again), "approved")
    await again.answer()
    assert "two" not in {status.ref.name for status in again.view.units[UNIT].objects}
    await again.close()
