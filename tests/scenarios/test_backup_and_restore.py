"""A backup of a running hub, restored on another machine: quick, and not one write until a person confirms."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import AT_ONCE, HubWorld, cluster_file, config_map, make_world, overlay

from fleet.cli.app import run

CLUSTERS = ("eu-1", "eu-2", "us-1")
RESTORE_SECONDS = 60.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        files = {f"clusters/{name}.yaml": cluster_file(name) for name in CLUSTERS}
        files |= overlay("overlays/web", {"one": config_map("one", "1"), "two": config_map("two", "1")})
        files |= overlay("overlays/edge", {"edge": config_map("edge", "1")})
        made.commit(files)
        yield made


async def fleet(*arguments: str) -> int:
    return await asyncio.to_thread(run, list(arguments))


async def lose_the_machine(world: HubWorld, backup: Path) -> None:
    """All that is left is the backup and the kept copy of the key."""
    key = (world.data_dir / "key").read_bytes()
    shutil.rmtree(world.data_dir)
    world.data_dir.mkdir(mode=0o700)
    (world.data_dir / "key").write_bytes(key)
    (world.data_dir / "key").chmod(0o600)
    started = time.monotonic()
    assert await fleet("restore", str(backup), "--data-dir", str(world.data_dir)) == 0
    assert time.monotonic() - started < RESTORE_SECONDS


async def waits_for_a_person(world: HubWorld, units: int) -> None:
    async def waiting() -> int:
        return len((await world.call("GET", "/api/v1/recovery"))[1]["items"])

    end = time.monotonic() + 60
    while await waiting() != units:
        assert time.monotonic() < end, world.describe()
        await asyncio.sleep(0.05)


async def test_a_restored_hub_writes_nothing_until_it_is_confirmed_and_then_goes_on(
    world: HubWorld, tmp_path: Path
) -> None:
    backup = tmp_path / "fleet.tar"
    async with world.run():
        await world.until_everywhere(world.repo.head())
        assert await fleet("backup", str(backup), "--data-dir", str(world.data_dir)) == 0
    await lose_the_machine(world, backup)
    before = world.marks()
    world.repo.commit({"overlays/web/one.yaml": config_map("one", "2")}, "while nobody looked")
    async with world.run():
        await waits_for_a_person(world, units=6)
        await world.until(lambda: world.opened.view.head.commit == world.repo.head())
        assert world.writes(before, own_only=False) == {}
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        assert world.writes(before) == {name: ["patch configmaps one"] for name in CLUSTERS}


async def test_clusters_that_know_better_than_the_backup_are_believed(world: HubWorld, tmp_path: Path) -> None:
    backup = tmp_path / "fleet.tar"
    async with world.run():
        await world.until_everywhere(world.repo.head())
        assert await fleet("backup", str(backup), "--data-dir", str(world.data_dir)) == 0
        world.commit(
            overlay("overlays/web", {"one": config_map("one", "2"), "three": config_map("three", "1")})
        )  # two goes, three comes
        await world.until_everywhere(world.repo.head())
        eu = world.sim.cluster("eu-1")
        await world.until(lambda: eu.get("", "ConfigMap", "default", "two") is None, "pruned")
    await lose_the_machine(world, backup)
    before = world.marks()
    async with world.run():
        await waits_for_a_person(world, units=6)
        assert world.writes(before, own_only=False) == {}
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        assert world.writes(before) == {}
        # The record is the cluster's: what came after the backup is pruned as any other object of ours.
        world.commit(overlay("overlays/web", {"one": config_map("one", "2")}))
        await world.until(lambda: eu.get("", "ConfigMap", "default", "three") is None, "three is pruned")


async def test_what_waits_for_its_step_keeps_what_its_cluster_holds(world: HubWorld, tmp_path: Path) -> None:
    backup = tmp_path / "fleet.tar"
    async with world.run():
        await world.until_everywhere(world.repo.head())
        assert await fleet("backup", str(backup), "--data-dir", str(world.data_dir)) == 0
        world.commit({"overlays/web/one.yaml": config_map("one", "2")})
        await world.until_everywhere(world.repo.head())
        # From now on no change gets anywhere unless a person approves.
        world.commit(
            {"fleet.yaml": AT_ONCE.replace("steps: []", "steps: [{name: ok, approve: 1}, {name: all, rest: true}]")}
        )
        await world.until_everywhere(world.repo.head())
    # On the same machine: all that was ever rendered is there.
    assert await fleet("restore", str(backup), "--data-dir", str(world.data_dir), "--replace") == 0
    before = world.marks()
    async with world.run():
        await waits_for_a_person(world, units=6)
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        assert world.writes(before) == {}
    async with world.run():  # over a restart as well
        await world.until_everywhere(world.repo.head())
        drift = {"data": {"a": "by hand"}}
        world.sim.cluster("us-1").drift("", "ConfigMap", "default", "one", drift)
        await world.until(lambda: world.writes(before).get("us-1"), "healed")
        assert world.sim.cluster("us-1").get("", "ConfigMap", "default", "one")["data"] == {"a": "2"}


async def put_back_a_snapshot(world: HubWorld, tmp_path: Path) -> None:
    """The hub's disk is as it was before the commit that all clusters hold."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
    shutil.copytree(world.data_dir, tmp_path / "snapshot")
    async with world.run():
        world.commit({"overlays/web/one.yaml": config_map("one", "2")})
        await world.until_everywhere(world.repo.head())
    shutil.rmtree(world.data_dir)
    shutil.copytree(tmp_path / "snapshot", world.data_dir)


async def test_a_snapshot_of_the_disk_that_is_put_back_asks_too_and_writes_nothing_before(
    world: HubWorld, tmp_path: Path
) -> None:
    """Nobody said `fleet restore`: what the clusters hold since shows that the state is older (R24)."""
    await put_back_a_snapshot(world, tmp_path)
    before = world.marks()
    world.repo.commit({"overlays/edge/edge.yaml": config_map("edge", "2")}, "while nobody looked")
    async with world.run():
        await waits_for_a_person(world, units=6)
        await world.until(lambda: world.opened.view.head.commit == world.repo.head())
        await asyncio.sleep(1.0)
        assert world.writes(before, own_only=False) == {}
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        assert world.writes(before) == {name: ["patch configmaps edge"] for name in CLUSTERS}


async def test_a_word_while_git_does_not_answer_is_refused_and_counts_once_it_does(
    world: HubWorld, tmp_path: Path
) -> None:
    """What waits was compared with nothing that Git says now."""
    await put_back_a_snapshot(world, tmp_path)
    before = world.marks()
    away = world.repo.path.rename(world.repo.path.with_name("away"))
    async with world.run():
        await waits_for_a_person(world, units=6)
        await world.until(lambda: world.opened.view.head.error, "no answer")
        status, problem = await world.call("POST", "/api/v1/fleet:recover", {})
        assert (status, problem["type"]) == (409, "urn:fleet:PreconditionFailed")
        assert "Git was not read yet" in problem["title"]
        away.rename(world.repo.path)
        world.opened.bells.fetch.set()
        await world.until(lambda: world.opened.view.head.is_taken, "Git answers")
        await asyncio.sleep(0.5)
        assert world.writes(before, own_only=False) == {}, "nobody said a word that counts"
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        assert world.writes(before) == {}


async def test_a_snapshot_of_the_disk_as_new_as_the_clusters_asks_nobody(world: HubWorld, tmp_path: Path) -> None:
    """The harmless twin: a machine that was moved."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
    shutil.move(world.data_dir, tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", world.data_dir)
    before = world.marks()
    async with world.run():
        world.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
        await world.until_everywhere(world.repo.head())
        assert world.writes(before) == {name: ["patch configmaps edge"] for name in CLUSTERS}
