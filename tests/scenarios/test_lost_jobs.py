"""A Job that ended and removed itself, and then the hub's data is lost (R22, R24)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay


def job(name: str, image: str = "a") -> str:
    return (
        f"apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: default}}\nspec:\n"
        f"  template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: {image}}}]}}}}\n"
    )


OLD = {"web": config_map("web", "1"), "job": job("migrate")}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    """One Job ended and removed itself; then the data directory was lost."""
    async with make_world(tmp_path, ("eu-1",)) as made:
        there = made.sim.cluster("eu-1")
        made.commit({"clusters/eu-1.yaml": cluster_file("eu-1")} | overlay("overlays/web", OLD))
        async with made.run():
            await made.until_everywhere(made.repo.head())
            done = {"status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}}
            there.drift("batch", "Job", "default", "migrate", done)
            await made.until(lambda: there.get("", "ConfigMap", "fleet-system", "unit-web"), "its parent")
            there.remove("batch", "Job", "default", "migrate")
        shutil.rmtree(made.data_dir)
        yield made


def is_there(world: HubWorld, name: str) -> bool:
    return world.sim.cluster("eu-1").get("batch", "Job", "default", name) is not None


async def recover(world: HubWorld) -> None:
    await world.until(lambda: (unit := world.unit("web@eu-1")) and unit.blocked_by, "it asks")
    assert (await world.recover())[0] == 200
    await world.until_everywhere(world.repo.head())


async def test_a_job_that_ended_and_vanished_does_not_run_again_after_a_recovery(world: HubWorld) -> None:
    async with world.run():
        await recover(world)
        assert not is_there(world, "migrate")
        unit = world.unit("web@eu-1")
        assert unit is not None
        assert any("not run again; change any field" in each for each in unit.warnings)
        world.commit({"overlays/web/job.yaml": job("migrate", "b")})
        await world.until(lambda: is_there(world, "migrate"), "as its warning says")


async def test_nor_does_it_where_git_changed_something_else_meanwhile(world: HubWorld) -> None:
    world.commit({"overlays/web/web.yaml": config_map("web", "2")})
    async with world.run():
        await recover(world)
        unit = world.unit("web@eu-1")
        assert not is_there(world, "migrate")
        assert unit is not None
        assert any("migrate: may have run" in each for each in unit.warnings)
        there = world.sim.cluster("eu-1").get("", "ConfigMap", "default", "web")
        assert there is not None
        assert there["data"] == {"a": "2"}, "the rest goes on"


async def test_one_that_came_with_a_commit_meanwhile_waits_for_an_edit_and_a_later_one_runs(world: HubWorld) -> None:
    world.commit(overlay("overlays/web", {"web": config_map("web", "1"), "next": job("next")}))
    async with world.run():
        await recover(world)
        unit = world.unit("web@eu-1")
        assert not is_there(world, "next"), "a hub that was lost amid its rollout may have run it"
        assert unit is not None
        assert any("next: may have run" in each for each in unit.warnings)
        files = {"web": config_map("web", "1"), "next": job("next", "b"), "later": job("later")}
        world.commit(overlay("overlays/web", files))
        await world.until(lambda: is_there(world, "next") and is_there(world, "later"), "both run")
        assert not is_there(world, "migrate")


async def test_a_job_runs_after_a_recovery_where_its_overlay_was_on_no_cluster(world: HubWorld) -> None:
    world.commit(overlay("overlays/api", {"api": config_map("api", "1"), "fill": job("fill")}))
    async with world.run():
        await recover(world)
        await world.until(lambda: is_there(world, "fill"), "it runs")
        assert not is_there(world, "migrate")
