"""A newer commit takes a rollout over that is not at its end, and fails: what each cluster goes back to."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, look, reach, web
from controllers.test_rollouts import order, report_ill, result, rollouts_of, settle, told

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName

STOPPED = "{reason: broken rack, owner: jo}"


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1, and what fails is rolled back."""
    made = rollouts_of(brain)
    await brain.commit(
        {**fleet_file(onFailure="rollback"), **cluster(DEV), **cluster(FIRST), **cluster(SECOND), **web("1")}
    )
    await settle(brain, made)
    return made


async def brought(brain: Brain, rollouts: Rollouts, value: str, *away: str) -> str:
    """Web of this value is on all clusters that can be reached, and every step is over."""
    await brain.commit(web(value))
    for _ in range(8):
        await look(brain, rollouts, silent=away)
        brain.wall.now += 200.0
        for name in {DEV, FIRST, SECOND} - {*away}:
            reach(brain, name, there=True)
    assert {told(brain, name) for name in (DEV, FIRST)} == {result(brain)}
    return result(brain)


@pytest.mark.parametrize("how", ["away", "suspended", "there"])
async def test_a_rollback_touches_no_cluster_that_the_bad_commit_did_not_reach_though_another_one_is_behind(
    brain: Brain, rollouts: Rollouts, how: str
) -> None:
    if how == "suspended":
        await brain.commit(cluster(SECOND, suspend=STOPPED))
    elif how == "away":
        reach(brain, SECOND, there=False)
    away = (SECOND,) if how == "away" else ()
    await brought(brain, rollouts, "2", *away)
    good = await brought(brain, rollouts, "3", *away)
    await brain.commit(web("4"))
    await look(brain, rollouts, silent=away)
    bad = told(brain, DEV)
    assert bad == result(brain) != told(brain, FIRST) == good
    report_ill(brain, DEV)
    await look(brain, rollouts, silent=away)
    assert (told(brain, DEV), told(brain, FIRST)) == (good, good)
    assert set(brain.view.passages.quarantine["web"]) == {bad}, "what stood all its steps is barred nowhere"
    await brain.commit(web("3"))  # the revert
    reach(brain, SECOND, there=True)
    await brain.commit(cluster(SECOND))
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {good}
    assert all(one.outcome for one in brain.view.passages.all)


async def test_twin_what_was_ill_when_a_newer_one_took_over_is_gone_back_behind(
    brain: Brain, rollouts: Rollouts
) -> None:
    await brain.commit(fleet_file())
    good = told(brain, DEV)
    await brain.commit(web("2"))
    await look(brain, rollouts)
    report_ill(brain, DEV)
    await look(brain, rollouts)
    await brain.commit({**fleet_file(onFailure="rollback"), **web("3")})
    await look(brain, rollouts)
    assert told(brain, DEV) == result(brain)
    report_ill(brain, DEV)
    await look(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {good}


@pytest.mark.parametrize("word", ["rollback", "commit"])
async def test_a_commit_that_stood_its_steps_is_what_a_person_takes_back_though_a_newer_one_waits(
    brain: Brain, rollouts: Rollouts, word: str
) -> None:
    """And no older one in its place."""
    await brain.commit(cluster(SECOND, suspend=STOPPED))
    two = await brought(brain, rollouts, "2")
    three = await brought(brain, rollouts, "3")
    await brain.commit({**fleet_file("[{name: ok, approve: 1}, {name: all, rest: true}]"), **web("4")})
    await look(brain, rollouts)
    assert told(brain, DEV) == three
    if word == "rollback":
        await order(brain, "rollback", "web")
        await look(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST)} == {two if word == "rollback" else three}
    assert brain.board.books.held[UnitName.parse(f"web@{SECOND}")].bundle not in (two, three)


async def answer_of(brain: Brain) -> str:
    (row, *_) = await brain.state.operations(limit=1)
    return f"{row.outcome}: {row.message}"


APPROVED = "[{name: ok, approve: 1}, {name: all, rest: true}]"


async def test_what_the_policy_ends_midway_goes_back_and_no_older_rollout_in_its_place(
    brain: Brain, rollouts: Rollouts
) -> None:
    two = await brought(brain, rollouts, "2")
    await settle(brain, rollouts)
    await brain.commit(web("3"))
    await look(brain, rollouts)
    assert (told(brain, DEV), told(brain, FIRST)) == (result(brain), two)
    await brain.commit(fleet_file("[]"))
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {result(brain)}
    await order(brain, "rollback", "web")
    await look(brain, rollouts)
    await settle(brain, rollouts)
    assert told(brain, DEV) == two
    assert "has nothing to go back to and keeps it" in await answer_of(brain)
    assert set(brain.view.passages.quarantine["web"]) == {told(brain, SECOND)}


async def test_where_it_had_released_nothing_a_rollback_is_refused(brain: Brain, rollouts: Rollouts) -> None:
    await brought(brain, rollouts, "2")
    await settle(brain, rollouts)
    await brain.commit({**fleet_file(APPROVED), **web("3")})
    await look(brain, rollouts)
    assert told(brain, DEV) != result(brain)
    await brain.commit(fleet_file("[]"))
    await settle(brain, rollouts)
    await order(brain, "rollback", "web")
    await look(brain, rollouts)
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {result(brain)}
    assert (await answer_of(brain)).startswith("refused: web holds newer results than ")


async def test_twin_where_nothing_newer_came_the_older_rollout_is_the_latest(brain: Brain, rollouts: Rollouts) -> None:
    one = told(brain, DEV)
    await brought(brain, rollouts, "2")
    await settle(brain, rollouts)
    await brain.commit(fleet_file("[]"))
    await settle(brain, rollouts)
    await order(brain, "rollback", "web")
    await look(brain, rollouts)
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {one}


async def test_what_is_synced_by_hand_from_midway_on_goes_back_to_what_was_there_before(
    brain: Brain, rollouts: Rollouts
) -> None:
    two = await brought(brain, rollouts, "2")
    await settle(brain, rollouts)
    await brain.commit(web("3"))
    await look(brain, rollouts)
    await brain.commit(web("3", sync="{mode: manual}"))
    await look(brain, rollouts)
    await order(brain, "rollback", "web")
    await look(brain, rollouts)
    await settle(brain, rollouts)
    assert told(brain, DEV) == two
    assert "web@prod-1, web@prod-2 has nothing to go back to and keeps it" in await answer_of(brain)
