"""What a rollout says of whom it waits for, and since when, at each moment (issue 7)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, look, reach, web
from controllers.test_rollouts import result, rollouts_of, settle
from hubworld import config_map, overlay

from fleet.api.rollouts import HeldUpBy, rollout_out
from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Health

DAY = 86_400.0
NAMES = (DEV, FIRST, SECOND)


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1 since three months; both clocks go on together."""
    made = rollouts_of(brain, lambda: brain.wall.now)
    await brain.commit({**fleet_file(), **cluster(DEV), **cluster(FIRST), **cluster(SECOND), **web("1")})
    await settle(brain, made)
    await pass_time(brain, made, 90 * DAY)
    return made


async def pass_time(brain: Brain, rollouts: Rollouts, seconds: float, lost: tuple[str, ...] = ()) -> None:
    brain.wall.now += seconds
    for name in NAMES:
        reach(brain, name, there=name not in lost)
    await rollouts.look()


def held_up(brain: Brain, step: str = "prod") -> dict[str, HeldUpBy]:
    shown = rollout_out(brain.view, last(brain), brain.wall())
    return {one.cluster: one for found in shown.steps if found.name == step for one in found.held_up_by}


async def under_way(brain: Brain, rollouts: Rollouts) -> None:
    """Web 2 is on dev-1 and goes to prod-1; prod-2 waits."""
    brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    await look(brain, rollouts)
    await pass_time(brain, rollouts, 1)


async def test_a_cluster_holds_it_up_since_it_was_lost_or_told_and_not_since_it_was_well(
    brain: Brain, rollouts: Rollouts
) -> None:
    await under_way(brain, rollouts)
    await pass_time(brain, rollouts, 5)
    (told,) = held_up(brain).values()
    assert told.age_seconds == pytest.approx(5, abs=1)
    await pass_time(brain, rollouts, 5, lost=(FIRST,))
    await pass_time(brain, rollouts, 10, lost=(FIRST,))
    (lost,) = held_up(brain).values()
    assert (lost.cluster, "refuses" in lost.why, lost.age_seconds) == (FIRST, True, pytest.approx(10, abs=1))


async def test_a_unit_waits_since_its_turn_however_far_those_before_it_are(brain: Brain, rollouts: Rollouts) -> None:
    await under_way(brain, rollouts)
    name, since = UnitName.parse(f"web@{FIRST}"), set[float]()
    for number in range(4):
        known = replace(brain.view.units[name], health=Health.PROGRESSING, bundle=result(brain))
        brain.view._put(replace(known, message=f"Deployment web: {number} of 5 updated"))
        await pass_time(brain, rollouts, 20)
        waits = brain.view.waits[UnitName.parse(f"web@{SECOND}")]
        assert f"{number} of 5" in waits.reason
        since.add(waits.since)
    assert len(since) == 1
    brain.view._put(replace(brain.view.units[name], health=Health.DEGRADED))
    await pass_time(brain, rollouts, 5)
    assert brain.view.waits[UnitName.parse(f"web@{SECOND}")].since not in since, "the twin: it waits for another reason"


async def test_where_a_limit_holds_a_step_up_those_that_it_counts_are_named(brain: Brain) -> None:
    made = rollouts_of(brain, lambda: brain.wall.now)
    steps = "[{name: all, rest: true, maxUnavailable: 1}]"
    other = overlay("overlays/db", {"db": config_map("db", "1")}, clusters=f"[{{names: [{SECOND}]}}]")
    only = overlay("overlays/web", {"web": config_map("web", "1")}, clusters=f"[{{names: [{DEV}, {FIRST}]}}]")
    await brain.commit({**fleet_file(steps), **cluster(DEV), **cluster(FIRST), **cluster(SECOND), **other, **only})
    await settle(brain, made)
    brain.repo.commit({"overlays/web/web.yaml": config_map("web", "2"), "overlays/db/db.yaml": config_map("db", "2")})
    await brain.commits.fetch_once()
    await made.look()
    await made.look()
    shown = rollout_out(brain.view, last(brain), brain.wall())
    (step,) = [one for one in shown.steps if one.overlay == "web"]
    assert "not available" in step.why
    assert [(one.cluster, one.why.startswith("db: ")) for one in step.held_up_by] == [(SECOND, True)]
    await brain.answer()
    await made.look()
    await made.look()
    (step,) = [one for one in rollout_out(brain.view, last(brain), brain.wall()).steps if one.overlay == "web"]
    assert [one.cluster for one in step.held_up_by] == [DEV], "the twin: what it is told itself"
