"""What was stopped stays so, and what begins anew begins with what has it already, whatever becomes of policies."""

from __future__ import annotations

from dataclasses import replace

from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, last, look, rollouts, web
from controllers.test_rollouts import order, report_ill, result, settle, told

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Health

__all__ = ["rollouts"]  # the fixture


async def halted(brain: Brain, rollouts: Rollouts) -> str:
    """Web 2 fails on dev-1, its canary, and is nowhere else. Returns what the others hold."""
    before = told(brain, SECOND)
    await brain.commit(web("2"))
    await look(brain, rollouts)
    report_ill(brain, DEV)
    await rollouts.look()
    assert last(brain).halted is not None
    assert told(brain, DEV) == result(brain)
    return before


async def test_what_was_aborted_and_resumed_halts_at_the_canary_that_is_ill_still(
    brain: Brain, rollouts: Rollouts
) -> None:
    before, commit = await halted(brain, rollouts), last(brain).commit
    for word in ("abort", "resume"):
        await order(brain, word, commit)
        for _ in range(3):
            await rollouts.look()
            assert {told(brain, FIRST), told(brain, SECOND)} == {before}
    assert last(brain).halted is not None


async def test_twin_what_was_aborted_and_resumed_goes_on_once_its_canary_is_well(
    brain: Brain, rollouts: Rollouts
) -> None:
    await halted(brain, rollouts)
    commit = last(brain).commit
    await order(brain, "abort", commit)
    await rollouts.look()
    name = UnitName.parse(f"web@{DEV}")
    brain.view.units[name] = replace(brain.view.units[name], health=Health.HEALTHY)
    await order(brain, "resume", commit)
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {result(brain)}
    assert last(brain).outcome == "done"
