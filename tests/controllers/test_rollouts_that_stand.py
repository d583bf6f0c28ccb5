"""What was stopped stays so, and what begins anew begins with what has it already, whatever becomes of policies."""

from __future__ import annotations

from dataclasses import replace

from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, look, push, rollouts, web
from controllers.test_rollouts import order, report_ill, result, rollouts_of, settle, told

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import OverlayName, UnitName
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


NO_STEPS: dict[str, str | None] = {**fleet_file("[]")}
OBSERVED = {path: text for name in (DEV, FIRST, SECOND) for path, text in cluster(name, mode="observe").items()}
MANAGED = {path: text for name in (DEV, FIRST, SECOND) for path, text in cluster(name).items()}


async def test_a_halted_rollout_goes_nowhere_when_its_policy_becomes_no_steps(brain: Brain, rollouts: Rollouts) -> None:
    before = await halted(brain, rollouts)
    brain.repo.commit(NO_STEPS)
    await brain.commits.fetch_once()
    for _ in range(3):
        await rollouts.look()
        assert {told(brain, FIRST), told(brain, SECOND)} == {before}
    waits = brain.view.waits[UnitName.parse(f"web@{FIRST}")]
    assert "waits: rollout halted at dev-1" in waits.reason
    again = await brain.restart()
    looks = rollouts_of(again)
    await looks.start()
    await again.commits.fetch_once()
    for _ in range(3):
        await looks.look()
        assert {told(again, FIRST), told(again, SECOND)} == {before}, "a restart let it go"
    await order(again, "resume", last(again).commit)
    await settle(again, looks)
    assert {told(again, name) for name in (DEV, FIRST, SECOND)} == {result(again)}
    assert last(again).outcome == "superseded"
    await again.close()


async def test_a_paused_rollout_stays_paused_when_its_policy_becomes_no_steps(brain: Brain, rollouts: Rollouts) -> None:
    before = told(brain, SECOND)
    await brain.commit(web("2"))
    await look(brain, rollouts)
    await order(brain, "pause", last(brain).commit)
    await rollouts.look()
    await push(brain, NO_STEPS, silent=())
    for _ in range(3):
        await rollouts.look()
        assert {told(brain, FIRST), told(brain, SECOND)} == {before}


async def test_twin_a_newer_commit_goes_by_no_steps_though_an_older_one_is_halted(
    brain: Brain, rollouts: Rollouts
) -> None:
    await halted(brain, rollouts)
    await push(brain, NO_STEPS, silent=())
    await rollouts.look()
    await push(brain, {**web("3")}, silent=())
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {result(brain)}


async def test_what_is_halted_stays_so_while_all_its_clusters_are_observed(brain: Brain, rollouts: Rollouts) -> None:
    before = await halted(brain, rollouts)
    for files in OBSERVED, MANAGED:
        brain.repo.commit(files)
        await brain.commits.fetch_once()
        await rollouts.look()
        report_ill(brain, DEV)
        await rollouts.look()
        assert last(brain).halted is not None
    assert {told(brain, FIRST), told(brain, SECOND)} == {before}


async def test_a_soak_is_none_while_all_clusters_are_observed(brain: Brain, rollouts: Rollouts) -> None:
    """The looks are a second apart here."""
    soaks = "[{name: dev, environments: [dev], soak: 50s}, {name: prod, rest: true}]"
    await brain.commit(fleet_file(soaks))
    before = told(brain, SECOND)
    await brain.commit(web("2"))
    await look(brain, rollouts)
    await look(brain, rollouts)
    assert last(brain).rows[OverlayName("web")].calm
    brain.repo.commit(OBSERVED)
    await brain.commits.fetch_once()
    for _ in range(60):
        await rollouts.look()
    assert not last(brain).outcome
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    await brain.board.publish()
    await rollouts.look()
    await rollouts.look()
    assert {told(brain, FIRST), told(brain, SECOND)} == {before}, "observed for a minute, it counted as soaked"
    for _ in range(60):
        await look(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {result(brain)}
