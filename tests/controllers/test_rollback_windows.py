"""A rollback behind a closed window waits for it, and the order's result says so."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import fleet_file, order, rollouts, settle, told, web

from fleet.controllers.rollouts import Rollouts

__all__ = ["rollouts"]  # a fixture
SYNC = "  sync: {windows: [{kind: %s, schedule: '0 0 * * *', duration: 23h, timeZone: UTC}]}\n"


@pytest.mark.parametrize("kind", ["deny", "allow"])
async def test_the_result_of_a_rollback_names_who_waits_for_a_window(
    brain: Brain, rollouts: Rollouts, kind: str
) -> None:
    first = told(brain, "prod-1")
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    await brain.commit({"fleet.yaml": fleet_file() + SYNC % kind})
    await settle(brain, rollouts)
    await order(brain, "rollback", "web")
    await rollouts.look()
    ended = await brain.state.operation("op-rollback-web")
    assert ended is not None
    assert (ended.outcome, told(brain, "prod-1")) == ("done", first)
    said = "; web@dev-1 and 2 more wait for a window until "
    assert (said in ended.message) == (kind == "deny")
    await brain.answer()
    is_there = brain.view.units[next(name for name in brain.view.units if name.cluster == "prod-1")].bundle == first
    assert is_there == (kind == "allow")
