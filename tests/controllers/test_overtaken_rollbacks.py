"""A newer commit takes a rollout over that is not at its end, and fails: what each cluster goes back to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, look, reach, web
from controllers.test_rollouts import order, report_ill, result, rollouts_of, settle, told

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import Digest, UnitName
from fleet.core.passage import decode_passages, encode_passages
from fleet.core.status import Health

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


def report(brain: Brain, name: str, health: Health) -> None:
    unit = UnitName.parse(f"web@{name}")
    brain.view.units[unit] = replace(brain.view.units[unit], health=health)


SOAKS = "[{name: dev, environments: [dev], soak: 1h, approve: 1}, {name: prod, rest: true, maxParallel: 1}]"
AGREES = Health.HEALTHY, Health.PROGRESSING, Health.DEGRADED


async def approve(brain: Brain, rollouts: Rollouts) -> None:
    await order(brain, "approve", f"{brain.view.fleet.commit} dev")
    await look(brain, rollouts)


async def on_the_canary(brain: Brain, rollouts: Rollouts) -> Digest:
    """2 is on the canary, which was Healthy at one look; returns what was there before."""
    await brain.commit(fleet_file(SOAKS, onFailure="rollback"))
    one = told(brain, DEV)
    await brain.commit(web("2"))
    await rollouts.look()
    await approve(brain, rollouts)
    await look(brain, rollouts)
    return one


@pytest.mark.parametrize("stays", AGREES)
@pytest.mark.parametrize("when", ["before it is overtaken", "before the next is released"])
async def test_a_canary_that_was_healthy_for_a_moment_is_nothing_to_go_back_to_once_it_is_not(
    brain: Brain, rollouts: Rollouts, when: str, stays: Health
) -> None:
    """A Deployment that was complete and crashes is Progressing, and not Degraded."""
    one = await on_the_canary(brain, rollouts)
    two = told(brain, DEV)
    assert two == result(brain) != one
    if when == "before it is overtaken":
        report(brain, DEV, stays)
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    await rollouts.look()
    report(brain, DEV, stays)
    await order(brain, "approve", f"{brain.view.fleet.commit} dev")
    await rollouts.look()
    await rollouts.look()
    assert told(brain, DEV) == result(brain) not in (one, two)
    await brain.answer()
    report_ill(brain, DEV)
    await rollouts.look()
    assert told(brain, DEV) == (two if stays is Health.HEALTHY else one)
    assert {told(brain, name) for name in (FIRST, SECOND)} == {one}


@pytest.mark.parametrize("stays", AGREES)
async def test_what_stood_its_step_is_gone_back_to_though_a_pod_starts_again_and_not_where_it_fails(
    brain: Brain, rollouts: Rollouts, stays: Health
) -> None:
    await brain.commit(cluster(SECOND, suspend=STOPPED))
    one = told(brain, DEV)
    two = await brought(brain, rollouts, "2")
    brain.repo.commit({**fleet_file(APPROVED, onFailure="rollback"), **web("3")})
    await brain.commits.fetch_once()
    report(brain, FIRST, Health.PROGRESSING)
    await rollouts.look()
    report(brain, DEV, stays)
    await order(brain, "approve", f"{brain.view.fleet.commit} ok")
    await rollouts.look()
    await rollouts.look()
    assert told(brain, DEV) == result(brain) != two
    await brain.answer()
    report_ill(brain, DEV)
    await rollouts.look()
    assert (told(brain, DEV), told(brain, FIRST)) == (one if stays is Health.DEGRADED else two, two)


async def test_what_was_never_released_passes_on_what_was_there_before_and_it_stays_readable(
    brain: Brain, rollouts: Rollouts
) -> None:
    """3 waits for its approval when 4 takes it over; 2 is ill by then."""
    one = await on_the_canary(brain, rollouts)
    for value in ("3", "4"):
        brain.repo.commit(web(value))
        await brain.commits.fetch_once()
        await rollouts.look()
        report(brain, DEV, Health.PROGRESSING)
    kept = brain.view.passages
    assert decode_passages(encode_passages(kept)).all == kept.all
    (earlier,) = [row.earlier for passage in kept.all for row in passage.rows.values()]
    assert earlier.keys() == {DEV}
    assert one in brain.board.books.in_use()
    await order(brain, "approve", f"{brain.view.fleet.commit} dev")
    await rollouts.look()
    await rollouts.look()
    assert told(brain, DEV) == result(brain)
    await brain.answer()
    report_ill(brain, DEV)
    await rollouts.look()
    assert told(brain, DEV) == one


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
