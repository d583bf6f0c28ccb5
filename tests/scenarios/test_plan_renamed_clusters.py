"""Clusters are renamed by a commit that was planned: the hub does what the plan says, and an approval counts (R2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import AT_ONCE, HubWorld, cluster_file, config_map, make_world, namespace, overlay
from scenarios.test_entries_and_identities import give
from scenarios.test_plan_approvals import DROPPED, approvals, approve, holds, planned, stands, until_asked
from testbed import binaries
from testbed.gitrepo import Content

from fleet.core.planning.change import How

CLUSTERS = tuple(f"eu-{number}" for number in range(1, 6))
UNKNOWN = "5f0c0000-0000-4000-8000-00000000000"
RENAMED = CLUSTERS[1:]  # so many at once that their leaving would be a sharp fall


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubWorld]:
    monkeypatch.setenv("FLEET_KUSTOMIZE", str(binaries.find("kustomize")))
    async with make_world(tmp_path, CLUSTERS) as made:
        files: dict[str, Content] = {f"clusters/{name}.yaml": entry(made, name, name) for name in CLUSTERS}
        files |= overlay("overlays/shop", {"ns": namespace("shop"), "cm": config_map("c", "1")})
        made.commit({**files, "fleet.yaml": AT_ONCE})
        yield made


def entry(world: HubWorld, name: str, cluster: str) -> str:
    return cluster_file(name, identity=world.sim.cluster(cluster).identity)


def new_name(cluster: str) -> str:
    return cluster.replace("eu", "us")


def renames(world: HubWorld, *clusters: str) -> dict[str, Content]:
    """The change that renames these; each has a credential under its new name."""
    change: dict[str, Content] = {}
    for cluster in clusters:
        give(world, new_name(cluster), cluster)
        change[f"clusters/{cluster}.yaml"] = None
        change[f"clusters/{new_name(cluster)}.yaml"] = entry(world, new_name(cluster), cluster)
    return change


async def test_a_rename_alone_is_planned_and_done_without_a_write(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before, change = world.marks(), renames(world, *RENAMED)
        plan = await planned(world, change)
        assert (plan.units, plan.holds, plan.notes) == ((), (), ())
        await world.until_everywhere(world.commit(change))
        await world.until(lambda: not set(RENAMED) & set(world.opened.view.clusters), "renamed")
        assert world.writes(before, own_only=False) == {}


async def test_what_goes_with_many_renames_is_listed_and_goes_as_it_was_approved(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        change = {**renames(world, *RENAMED), **DROPPED}
        plan = await planned(world, change)
        assert [(hold.reason, len(hold.units)) for hold in plan.holds] == [("precious-kind", len(CLUSTERS))]
        assert not plan.of(How.VANISHES, How.APPEARS)
        status, answer = await approve(world, plan)
        assert (status, answer.get("deletions")) == (200, len(CLUSTERS))
        merged = world.commit(change)
        await world.until(lambda: not any(stands(world, name) for name in CLUSTERS), "all namespaces deleted")
        (found,) = await approvals(world)
        assert (found["standing"], found["commit"]) == ("bound", merged)
        assert {hold["decision"] for hold in await holds(world)} <= {"approved"}
        status, answer = await approve(world, plan)
        assert (status, answer["title"]) == (409, "this plan is in force already")


async def test_many_clusters_that_leave_as_others_come_are_a_fall_and_ask(world: HubWorld) -> None:
    """The twin: the entries that come are other clusters."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
        change: dict[str, Content] = {f"clusters/{name}.yaml": None for name in RENAMED}
        others = {
            f"clusters/{new_name(name)}.yaml": cluster_file(new_name(name), identity=UNKNOWN + name[-1])
            for name in RENAMED
        }
        plan = await planned(world, {**change, **others})
        assert [(hold.reason, len(hold.units)) for hold in plan.holds] == [("sharp-fall", len(RENAMED))]
        world.commit({**change, **others})
        await until_asked(world)
        assert all(stands(world, name) for name in CLUSTERS)
