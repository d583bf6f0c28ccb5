"""Limits of a step on the loop with a real board, Git and renderer: who is under way, and who gets through to it."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, look, reach, web
from controllers.test_rollouts import report_ill, result, rollouts_of, settle, told

from fleet.controllers.rollouts import Rollouts

ALL = (DEV, FIRST, SECOND)


async def begun(brain: Brain, steps: str) -> Rollouts:
    made = rollouts_of(brain)
    await brain.commit({**fleet_file(steps), **cluster(DEV), **cluster(FIRST), **cluster(SECOND), **web("1")})
    await settle(brain, made)
    return made


@pytest.mark.parametrize("mended", [True, False])
async def test_a_fix_reaches_the_cluster_that_the_commit_before_broke(brain: Brain, mended: bool) -> None:
    """It is the one that may be missing, and not the first by its name."""
    made = await begun(brain, "[{name: all, rest: true, maxUnavailable: 1}]")
    await brain.commit(web("2"))
    await look(brain, made)
    await look(brain, made)
    report_ill(brain, FIRST)
    await made.look()
    assert last(brain).halted is not None
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    await made.look()
    assert {name: told(brain, name) == result(brain) for name in ALL} == {DEV: False, FIRST: True, SECOND: False}
    for _ in range(6):
        await brain.answer()
        if not mended:
            report_ill(brain, FIRST)
        for name in ALL:
            reach(brain, name, there=True)
        await made.look()
    assert all(told(brain, name) == result(brain) for name in ALL) == mended
    assert (last(brain).halted is None) == mended, "twin: it mends nothing, and nobody else gets it"
