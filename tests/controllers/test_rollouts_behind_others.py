"""A unit behind another one on its cluster: nothing of it is released while nobody knows what the other shall hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import CLUSTERS, clusters, fleet_file, order, rollouts_of, settle, told
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import ClusterName, UnitName
from fleet.core.results import Rendered, RenderProblem
from fleet.core.rollout_facts import Condition

WEB, DEV = UnitName.parse("web@dev-1"), ClusterName("dev-1")


def platform(value: str, *more: str) -> dict[str, str]:
    files = overlay("overlays/platform", {"platform": config_map("platform", value)})
    if more:
        files["overlays/platform/kustomization.yaml"] = f"resources: [{', '.join(more)}]\n"
    return files


def web(value: str) -> dict[str, str]:
    return overlay("overlays/web", {"web": config_map("web", value)}, dependsOn="[platform]")


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """Both are on all clusters."""
    made = rollouts_of(brain)
    await brain.commit({"fleet.yaml": fleet_file(), **clusters(), **platform("1"), **web("1")})
    await settle(brain, made)
    return made


async def push(brain: Brain, rollouts: Rollouts, files: dict[str, str | None]) -> None:
    await brain.commit(files)
    await settle(brain, rollouts)


def newest(brain: Brain) -> str:
    result = brain.board.books.results[WEB]
    assert isinstance(result, Rendered)
    return result.bundle


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (platform("2", "missing.yaml"), "platform@dev-1, which has no result: "),
        ({"overlays/platform/overlay.yaml": "kind: ["}, "platform@dev-1, which has no result: "),
    ],
    ids=["its build fails", "its file does not parse"],
)
async def test_nothing_is_released_behind_a_unit_without_a_result(
    brain: Brain, rollouts: Rollouts, broken: dict[str, str], why: str
) -> None:
    before = {told(brain, name) for name in CLUSTERS}
    await push(brain, rollouts, {**broken, **web("2")})
    assert {told(brain, name) for name in CLUSTERS} == before
    waits = brain.view.waits[WEB]
    assert why in waits.reason
    assert waits.since > 0
    await rollouts.look()
    assert brain.view.waits[WEB].since == waits.since, "since when it waits"
    (passage,) = [one for one in brain.view.passages.all if not one.outcome]
    (dev, _) = brain.view.advances[passage.commit].steps
    assert [name for name, text in dev.held_up_by if why in text] == ["dev-1"]
    await push(brain, rollouts, dict(platform("1")))
    assert {told(brain, name) for name in CLUSTERS} == {newest(brain)}, "twin: mended, and it goes on"


async def test_nothing_is_released_behind_a_unit_that_is_not_built_at_the_commit_yet(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = told(brain, "dev-1")
    brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    brain.view.rendering = frozenset({UnitName.parse("platform@dev-1")})
    await rollouts.look()
    assert told(brain, "dev-1") == before
    brain.view.rendering = frozenset()
    await rollouts.look()
    assert told(brain, "dev-1") == newest(brain)


async def test_a_unit_behind_one_that_was_taken_back_says_so_and_how_it_is_let_in_again(
    brain: Brain, rollouts: Rollouts
) -> None:
    commit = brain.repo.commit(platform("2"))
    await brain.commits.fetch_once()
    await rollouts.look()
    await order(brain, "abort", commit)
    await rollouts.look()
    await push(brain, rollouts, web("2"))
    assert told(brain, "prod-1") != newest(brain)
    resume = f'fleet rollout resume {commit[:7]} --reason "..."'
    why = brain.view.outlook.facts[WEB.overlay].units[ClusterName("prod-1")].why
    assert why == f"waits for platform@prod-1, which was taken back with {commit[:7]} ({resume})"
    await order(brain, "resume", commit)
    await settle(brain, rollouts)
    assert {told(brain, name) for name in CLUSTERS} == {newest(brain)}, "twin: let in, and it goes on"


async def test_twin_a_unit_whose_dependency_fails_on_another_cluster_goes_on(brain: Brain, rollouts: Rollouts) -> None:
    brain.board.books.results[UnitName.parse("platform@prod-2")] = RenderProblem("X", "test", brain.view.head.commit)
    await push(brain, rollouts, web("2"))
    assert told(brain, "dev-1") == told(brain, "prod-1") == newest(brain)
    assert told(brain, "prod-2") != newest(brain)


async def test_a_cluster_that_is_back_is_not_well_before_its_worker_looked_again(
    brain: Brain, rollouts: Rollouts
) -> None:
    """An earlier worker said that web 2 is Healthy there; the one that began since has said nothing of it."""
    brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    await rollouts.look()
    await brain.answer("prod-1", "prod-2")
    report = brain.view.clusters[DEV]
    assert brain.view.take(replace(report, sequence=report.sequence + 1, began_at=brain.wall()))
    for _ in range(3):
        await rollouts.look()
    assert brain.view.outlook.facts[WEB.overlay].units[DEV].condition is Condition.AWAY
    assert told(brain, "prod-1") != newest(brain)
    known = brain.view.units[WEB]
    brain.view.take(replace(brain.view.clusters[DEV], sequence=report.sequence + 2, units=(known,)))
    await rollouts.look()
    assert told(brain, "prod-1") == newest(brain), "twin: it looked, and all is well"
