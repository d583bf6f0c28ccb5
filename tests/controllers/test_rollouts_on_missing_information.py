"""A cluster that drops out of what is known holds its step; one that rightly left does not (R5, docs/rollouts.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, look
from controllers.test_rollouts import order, rollouts_of, settle, told
from hubworld import config_map

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import ClusterName, UnitName
from fleet.core.results import Rendered, RenderProblem
from fleet.core.status import Health
from fleet.core.sync_policy import Suspension

BY_DEFAULT = (
    "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec:\n  environments: [dev, prod]\n"
)
BROKEN = "apiVersion: fleet.internal/v1\nkind: Cluster\nmetadata: {name: dev-1}\nspec:\n  enviroment: dev\n"
OVERLAY = "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: web}\nspec:\n  clusters: [{all: true}]\n"
NAMES = (DEV, FIRST, SECOND)


def kustomization(environment: str, *more: str) -> dict[str, str]:
    text = f"resources: [{', '.join(['../base', *more])}]\n"
    return {f"overlays/web/{environment}/kustomization.yaml": text}


def base(value: str) -> dict[str, str]:
    return {"overlays/web/base/web.yaml": config_map("web", value)}


@pytest.fixture(params=["steps by default", "steps that somebody wrote"])
async def rollouts(brain: Brain, request: pytest.FixtureRequest) -> Rollouts:
    """Web 1 is everywhere, built for each environment from one base."""
    made = rollouts_of(brain)
    fleet = {"fleet.yaml": BY_DEFAULT} if request.param == "steps by default" else fleet_file()
    files = {"overlays/web/overlay.yaml": OVERLAY, "overlays/web/base/kustomization.yaml": "resources: [web.yaml]\n"}
    files |= kustomization("dev") | kustomization("prod") | base("1") | fleet
    for name in NAMES:
        files |= cluster(name)
    await brain.commit(files)
    await settle(brain, made)
    return made


async def push(brain: Brain, rollouts: Rollouts, files: dict[str, str | None]) -> None:
    """A commit, and all that follows from it."""
    brain.repo.commit(files)
    await brain.commits.fetch_once()
    await brain.answer()
    await brain.board.publish()
    await settle(brain, rollouts)


def on_prod(brain: Brain) -> set[str]:
    return {told(brain, FIRST), told(brain, SECOND)}


def newest(brain: Brain, name: str) -> str:
    result = brain.board.books.results[UnitName.parse(f"web@{name}")]
    assert isinstance(result, Rendered)
    return result.bundle


def fail(brain: Brain) -> None:
    """Dev-1 says that what it was brought does not run."""
    name = UnitName.parse("web@dev-1")
    held = brain.board.books.held[name].bundle
    brain.view.units[name] = replace(brain.view.units[name], bundle=held, health=Health.DEGRADED)


def steps_of(brain: Brain) -> dict[str, str]:
    return {step.name: step.why for step in brain.view.advances[last(brain).commit].steps}


def suspend(brain: Brain, scope: str) -> None:
    by_command = (Suspension("not now", "jo", scope=scope),) if scope else ()
    brain.board.standing.suspend(by_command)


async def test_a_canary_whose_build_fails_holds_its_step_until_it_builds_or_is_suspended(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = on_prod(brain)
    await push(brain, rollouts, base("2") | kustomization("dev", "missing.yaml"))
    assert isinstance(brain.board.books.results[UnitName.parse("web@dev-1")], RenderProblem)
    assert on_prod(brain) == before
    assert not last(brain).outcome
    assert steps_of(brain)["dev"].startswith("dev-1 has no result: ")
    await order(brain, "promote", last(brain).commit)
    await settle(brain, rollouts)
    assert on_prod(brain) == before, "a promotion passes no step that cannot be done"
    await push(brain, rollouts, kustomization("dev"))
    assert on_prod(brain) == {newest(brain, FIRST)} != before, "twin: mended"
    assert told(brain, DEV) == newest(brain, DEV)
    assert last(brain).outcome == "done"


async def test_twin_a_canary_without_a_result_that_a_person_suspends_holds_nothing(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = told(brain, DEV)
    await push(brain, rollouts, base("2") | kustomization("dev", "missing.yaml"))
    suspend(brain, "cluster dev-1")
    await settle(brain, rollouts)
    assert on_prod(brain) == {newest(brain, FIRST)}
    assert brain.board.books.held[UnitName.parse("web@dev-1")].bundle == before


async def test_a_build_that_fails_amid_its_step_holds_it_and_a_failure_there_is_still_seen(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = on_prod(brain)
    await push_halfway(brain, rollouts, kustomization("dev", "missing.yaml"))
    assert on_prod(brain) == before
    assert last(brain).halted is None
    fail(brain)
    await rollouts.look()
    assert last(brain).halted is not None
    assert on_prod(brain) == before


async def push_halfway(brain: Brain, rollouts: Rollouts, files: dict[str, str | None]) -> None:
    """Web 2 is on its way to dev-1 when the commit comes."""
    brain.repo.commit(base("2"))
    await brain.commits.fetch_once()
    await look(brain, rollouts, silent=(DEV,))
    assert told(brain, DEV) == newest(brain, DEV)
    await push(brain, rollouts, files)


async def test_a_canary_whose_file_does_not_parse_holds_its_step_until_it_does(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = on_prod(brain)
    await push_halfway(brain, rollouts, {"clusters/dev-1.yaml": BROKEN})
    assert on_prod(brain) == before
    assert "clusters/dev-1.yaml:" in steps_of(brain)["dev"]
    fail(brain)
    await rollouts.look()
    assert last(brain).halted is not None, "its failure is seen all the same"
    await order(brain, "resume", last(brain).commit)
    await push(brain, rollouts, cluster(DEV))
    assert on_prod(brain) == {newest(brain, FIRST)} != before
    assert last(brain).outcome == "done"


async def test_one_commit_that_changes_the_base_and_breaks_the_canarys_file_goes_nowhere(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = on_prod(brain)
    await push(brain, rollouts, base("2") | {"clusters/dev-1.yaml": BROKEN})
    assert on_prod(brain) == before
    await push(brain, rollouts, base("3"))
    assert on_prod(brain) == before
    suspend(brain, "unit web@dev-1")
    await settle(brain, rollouts)
    assert on_prod(brain) == {newest(brain, FIRST)}, "twin: a person says to go on without it"


@pytest.mark.parametrize("files", [{"clusters/dev-1.yaml": BROKEN}, {"clusters/dev-1.yaml": "kind: ["}])
async def test_a_hub_that_starts_while_the_canarys_file_does_not_parse_goes_nowhere(
    brain: Brain, rollouts: Rollouts, files: dict[str, str]
) -> None:
    before = on_prod(brain)
    brain.repo.commit(base("2"))
    await brain.commits.fetch_once()
    await look(brain, rollouts, silent=(DEV,))
    brain.repo.commit(files)
    await brain.commits.fetch_once()
    await look(brain, rollouts, silent=(DEV,))
    again = await brain.restart()
    made = rollouts_of(again)
    await made.start()
    await again.commits.resume()
    await settle(again, made)
    assert on_prod(again) == before
    assert "dev-1 has no result: " in again.view.waits[UnitName.parse("web@prod-1")].reason
    await push(again, made, cluster(DEV))
    assert on_prod(again) == {newest(again, FIRST)} != before
    await again.close()


async def test_an_overlay_whose_file_breaks_goes_nowhere(brain: Brain, rollouts: Rollouts) -> None:
    before = on_prod(brain)
    await push_halfway(brain, rollouts, {"overlays/web/overlay.yaml": OVERLAY + "  clusterz: []\n"})
    assert on_prod(brain) == before
    fail(brain)
    await rollouts.look()
    assert last(brain).halted is not None


async def test_a_cluster_without_a_path_holds_its_step(brain: Brain, rollouts: Rollouts) -> None:
    before = on_prod(brain)
    gone: dict[str, str | None] = dict.fromkeys(kustomization("dev"))
    await push(brain, rollouts, {**base("2"), **gone})
    assert on_prod(brain) == before
    assert not last(brain).outcome


@pytest.mark.parametrize("how", ["the cluster left", "the overlay selects it no more", "it is only observed now"])
async def test_twin_a_canary_that_a_readable_commit_took_away_holds_nothing(
    brain: Brain, rollouts: Rollouts, how: str
) -> None:
    files: dict[str, dict[str, str | None]] = {
        "the cluster left": {"clusters/dev-1.yaml": None},
        "the overlay selects it no more": {
            "overlays/web/overlay.yaml": OVERLAY.replace("{all: true}", "{environments: [prod]}")
        },
        "it is only observed now": dict(cluster(DEV, mode="observe")),
    }
    fixed_steps = brain.view.fleet is not None and brain.view.fleet.rollout.steps is not None
    await push_halfway(brain, rollouts, files[how])
    await push(brain, rollouts, base("3"))
    before_named = "it matches no cluster" in str(brain.view.advances)
    assert before_named or on_prod(brain) == {newest(brain, FIRST)}
    assert before_named == (fixed_steps and how == "the cluster left"), "a step that somebody wrote is not dropped"


async def test_twin_what_is_lost_elsewhere_holds_nothing_here(brain: Brain, rollouts: Rollouts) -> None:
    """Another overlay's trouble, and a cluster that the hub never knew, hold no step of this one."""
    await brain.commit({"clusters/new-1.yaml": BROKEN.replace("dev-1", "new-1")})
    other = {"overlays/api/overlay.yaml": "kind: [", "overlays/api/kustomization.yaml": "resources: []\n"}
    await push(brain, rollouts, base("2") | other)
    assert on_prod(brain) == {newest(brain, FIRST)}
    assert last(brain).outcome == "done"
    assert ClusterName("new-1") not in last(brain).rows["web"].targets


async def test_twin_a_new_cluster_that_no_step_takes_holds_nothing(brain: Brain, rollouts: Rollouts) -> None:
    named = "[{name: dev, environments: [dev]}, {name: prod, clusters: {names: [prod-1, prod-2]}}]"
    await push(brain, rollouts, {**fleet_file(named), **cluster("prod-3"), **base("2")})
    assert brain.view.fleet is not None
    assert UnitName.parse("web@prod-3") in brain.view.fleet.unknown.units
    assert on_prod(brain) == {newest(brain, FIRST)}
    assert last(brain).outcome == "done"
    assert UnitName.parse("web@prod-3") not in brain.board.books.held
    await push(brain, rollouts, base("3") | kustomization("dev", "missing.yaml"))
    assert on_prod(brain) != {newest(brain, FIRST)}, "nor does it excuse another"
    assert steps_of(brain)["dev"].startswith("dev-1 has no result: ")


@pytest.mark.parametrize("way", ["resume", "suspend", "mend"])
async def test_a_canary_whose_newest_result_was_taken_back_holds_what_goes_to_others_alone(
    brain: Brain, rollouts: Rollouts, way: str
) -> None:
    before, first = on_prod(brain), told(brain, DEV)
    brain.repo.commit(base("2"))
    await brain.commits.fetch_once()
    await look(brain, rollouts)
    bad = last(brain).commit
    await order(brain, "rollback", "web")
    await rollouts.look()
    assert told(brain, DEV) == first
    await push(brain, rollouts, prod_alone("more"))
    assert on_prod(brain) == before, "it holds what failed on the canary, under another digest"
    assert "was taken back by jo" in steps_of(brain)["dev"]
    match way:
        case "resume":
            await order(brain, "resume", bad)
            await settle(brain, rollouts)
            assert told(brain, DEV) == newest(brain, DEV)
        case "suspend":
            suspend(brain, "cluster dev-1")
            await settle(brain, rollouts)
            assert told(brain, DEV) == first
        case _:
            await push(brain, rollouts, base("3"))
            assert told(brain, DEV) == newest(brain, DEV)
    assert on_prod(brain) == {newest(brain, FIRST)} != before


async def test_twin_a_canary_that_a_commit_does_not_change_holds_nothing(brain: Brain, rollouts: Rollouts) -> None:
    before = told(brain, DEV)
    await push(brain, rollouts, prod_alone("more"))
    assert on_prod(brain) == {newest(brain, FIRST)}
    assert told(brain, DEV) == before == newest(brain, DEV)


def prod_alone(value: str) -> dict[str, str]:
    """A change of production alone."""
    return {
        "overlays/web/prod/more.yaml": config_map("more", value),
        "overlays/web/prod/kustomization.yaml": "resources: [../base, more.yaml]\n",
    }
