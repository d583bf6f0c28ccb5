"""A hub that lost all its data finds on the clusters what was taken back there, and does not roll it out again."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

CLUSTERS = ("dev-1", "prod-1")
FLEET = (
    "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec:\n  environments: [dev, prod]\n"
    "  rollout: {steps: [{name: dev, environments: [dev]}, {name: ok, approve: 1}, {name: prod, rest: true}]}\n"
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


def value_on(world: HubWorld, cluster: str) -> str:
    found: Any = world.sim.cluster(cluster).get("", "ConfigMap", "default", "web")
    return found["data"]["a"]


def told_on(world: HubWorld, cluster: str) -> list[str]:
    parents = world.sim.cluster(cluster).list("", "ConfigMap", "fleet-system")
    notes: list[Any] = [each["metadata"].get("annotations", {}) for each in parents]  # type: ignore[union-attr]
    return [digest for note in notes for digest in orjson.loads(note.get("fleet.internal/quarantined", "[]"))]


async def roll_back(world: HubWorld) -> str:
    """Web 2 on dev-1, and taken back by a person; its commit."""
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    world.commit(files | overlay("overlays/web", {"web": config_map("web", "1")}) | {"fleet.yaml": FLEET})
    await world.until_everywhere(world.repo.head())
    second = world.commit({"overlays/web/web.yaml": config_map("web", "2")})
    await world.until(lambda: value_on(world, "dev-1") == "2", "dev-1 at 2")
    await world.until(lambda: world.opened.view.advances, "under way")
    await world.call("POST", "/api/v1/overlays/web:rollback", {"reason": "it breaks"})
    await world.until(lambda: value_on(world, "dev-1") == "1", "dev-1 back at 1")
    await world.until(lambda: all(told_on(world, name) for name in CLUSTERS), "written to all parents")
    return second


async def lose_and_recover(world: HubWorld) -> None:
    """The hub runs on nothing, and a person confirmed what it found."""
    view = world.opened.view
    await world.until(lambda: len([u for u in view.units.values() if u.blocked_by]) == len(CLUSTERS), "asks")
    assert all(unit.quarantined for unit in view.units.values())
    status, _ = await world.call("POST", "/api/v1/fleet:recover", {})
    assert status == 200
    await world.until(lambda: not any(u.quarantined for u in view.units.values()), "confirmed")


async def test_it_does_not_come_back_after_the_loss_until_a_person_lets_it_in(world: HubWorld) -> None:
    async with world.run():
        second = await roll_back(world)
    shutil.rmtree(world.data_dir)
    marks = world.marks()
    async with world.run():
        await lose_and_recover(world)
        same = world.commit({"README.md": "the same result under another commit"})
        view = world.opened.view
        await world.until(lambda: view.head.commit == same and not view.rendering and view.waits, "taken over")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}
        assert not world.writes(marks)
        assert {"was taken back by an earlier hub" in link.reason for link in view.waits.values()} == {True}
        assert all(told_on(world, name) for name in CLUSTERS)
    async with world.run():  # nor after a restart of that one
        await world.until(lambda: world.opened.view.waits, "waits")
        (named, *_) = {entry.commit for entry in world.opened.view.passages.quarantine["web"].values()}
        await world.call("POST", f"/api/v1/rollouts/{named}:resume", {"reason": "it was the database"})
        await world.until(lambda: value_on(world, "dev-1") == "2", "let in")
        await world.until(lambda: not told_on(world, "dev-1"), "taken off its parent")
        assert value_on(world, "prod-1") == "1", f"{second} begins at its first step"


async def test_what_was_not_taken_back_goes_on_after_the_loss(world: HubWorld) -> None:
    """The harmless twin."""
    async with world.run():
        await roll_back(world)
        third = world.commit({"overlays/web/web.yaml": config_map("web", "3")})
        await world.until(lambda: value_on(world, "dev-1") == "3", "dev-1 at 3")
    shutil.rmtree(world.data_dir)
    async with world.run():
        await lose_and_recover(world)
        await world.until(lambda: value_on(world, "prod-1") == "3", f"{third} everywhere")
