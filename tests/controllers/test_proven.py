"""Deletions in a rollout: what its first step has proven goes on by itself, however many clusters follow (R9)."""

from __future__ import annotations

import itertools

from controllers.rig import Brain
from hubworld import cluster_file, config_map, kustomization, overlay

from fleet.controllers.rollouts import Rollouts

CLUSTERS = ("dev-1", "dev-2", "prod-1", "prod-2", "prod-3", "prod-4", "prod-5")
DEFAULT = "spec: {environments: [dev, prod]}"
NAMES = ("one", "two", *"abcdefgh")


def files(spec: str) -> dict[str, str]:
    return {
        "fleet.yaml": f"apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {{name: default}}\n{spec}\n",
        **{f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS},
        **overlay("overlays/web", {name: config_map(name, "1") for name in NAMES}),
    }


def without(*gone: str) -> dict[str, str]:
    return {"overlays/web/kustomization.yaml": kustomization(*(f"{n}.yaml" for n in NAMES if n not in gone))}


def rollouts_of(brain: Brain) -> Rollouts:
    ticks = itertools.count()
    return Rollouts(
        state=brain.state, board=brain.board, releases=brain.releases, view=brain.view, bells=brain.bells,
        gates=brain.gates, wall=brain.wall, clock=lambda: float(next(ticks)),
    )  # fmt: skip


async def settle(brain: Brain, rollouts: Rollouts, looks: int = 30) -> None:
    for _ in range(looks):
        await rollouts.look()
        if not await brain.answer():
            return


def held(brain: Brain) -> set[str]:
    return {str(name) for name, unit in brain.view.units.items() if unit.holds}


def owning(brain: Brain, name: str) -> set[str]:
    return {
        str(unit.cluster)
        for unit, report in brain.view.units.items()
        if any(status.ref.name == name for status in report.objects)
    }


async def begin(brain: Brain, spec: str) -> Rollouts:
    rollouts = rollouts_of(brain)
    await brain.commit(files(spec))
    await settle(brain, rollouts)
    assert owning(brain, "one") == set(CLUSTERS)
    return rollouts


async def test_a_deletion_that_the_first_cluster_of_each_environment_proves_asks_nobody(brain: Brain) -> None:
    rollouts = await begin(brain, DEFAULT)
    await brain.commit(without("one"))
    await settle(brain, rollouts)
    assert held(brain) == set()
    assert owning(brain, "one") == set()


async def test_an_earlier_step_proves_nothing_before_it_is_over(brain: Brain) -> None:
    steps = "[{name: dev, environments: [dev], soak: 1h}, {name: prod, rest: true}]"
    rollouts = await begin(brain, f"spec: {{environments: [dev, prod], rollout: {{steps: {steps}}}}}")
    await brain.commit(without("one"))
    await settle(brain, rollouts, looks=3)
    assert owning(brain, "one") == {name for name in CLUSTERS if name.startswith("prod")}
    assert held(brain) == set()


async def test_a_step_of_many_clusters_without_an_earlier_one_is_held(brain: Brain) -> None:
    rollouts = await begin(brain, "spec: {environments: [dev, prod], rollout: {steps: [{name: all, rest: true}]}}")
    await brain.commit(without("one"))
    await settle(brain, rollouts)
    assert held(brain) == {f"web@{name}" for name in CLUSTERS}
    assert owning(brain, "one") == set(CLUSTERS)


async def test_what_only_later_clusters_lose_is_not_proven_by_the_first(brain: Brain) -> None:
    """The first cluster goes well, and loses something else."""
    rollouts = rollouts_of(brain)
    base = files(DEFAULT)
    parts = {"dev": NAMES[2:], "prod": NAMES}
    for environment, names in parts.items():
        base[f"overlays/web/{environment}/kustomization.yaml"] = kustomization(*(f"../{n}.yaml" for n in names))
    del base["overlays/web/kustomization.yaml"]
    await brain.commit(base)
    await settle(brain, rollouts)
    await brain.commit(
        {
            "overlays/web/dev/kustomization.yaml": kustomization(*(f"../{n}.yaml" for n in NAMES[3:])),
            "overlays/web/prod/kustomization.yaml": kustomization(*(f"../{n}.yaml" for n in NAMES[1:] if n != "a")),
        }
    )
    await settle(brain, rollouts)
    assert owning(brain, "a") == set()  # NAMES[2]: lost on all, proven by dev
    assert owning(brain, "one") == set(), "prod-1 goes first among the prod clusters, and proves it"
    assert held(brain) == set()


async def test_a_hub_that_was_killed_between_two_steps_goes_on_with_what_is_proven(brain: Brain) -> None:
    rollouts = await begin(brain, DEFAULT)
    await brain.commit(without("one"))
    for _ in range(3):
        await rollouts.look()
        await brain.answer()
    await rollouts.look()  # the other prod clusters are told, and the hub ends before any of them has answered
    assert len(owning(brain, "one")) == 4
    again = await brain.restart()
    made = rollouts_of(again)
    await made.start()
    await again.commits.fetch_once()
    await again.answer()
    await settle(again, made)
    assert held(again) == set()
    assert owning(again, "one") == set()
    await again.close()


async def test_an_object_that_comes_back_and_goes_again_is_proven_anew(brain: Brain) -> None:
    rollouts = await begin(brain, DEFAULT)
    for change in (without("one"), without(), without("one")):
        await brain.commit(change)
        await settle(brain, rollouts)
        assert held(brain) == set()
    assert owning(brain, "one") == set()


ONE_BY_ONE = "spec: {environments: [dev, prod], rollout: {steps: [{name: all, rest: true, maxParallel: 1}]}}"


async def test_under_a_limit_the_first_clusters_of_a_step_delete_within_the_budget(brain: Brain) -> None:
    """And those after them ask; of plans: `test_of_a_step_under_a_limit_those_are_held_that_the_hub_holds`."""
    rollouts = await begin(brain, ONE_BY_ONE)
    await brain.commit(without("one"))
    await settle(brain, rollouts)
    assert owning(brain, "one") == set(CLUSTERS[3:])
    assert held(brain) == {f"web@{name}" for name in CLUSTERS[3:]}
