"""A cluster is renamed amid a rollout: how far it was, what it goes back to and what is barred there go along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world
from scenarios.test_entries_and_identities import is_well, renamed
from scenarios.test_lost_quarantine import CLUSTERS, roll_back, told_on, value_on

from fleet.core.passage import Passages, Row


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


def passages(world: HubWorld) -> Passages:
    return world.opened.view.passages


def row(world: HubWorld) -> Row:
    return passages(world).all[-1].rows["web"]


def barred(world: HubWorld) -> set[str]:
    """The clusters whose result was taken back."""
    return {name for entry in passages(world).quarantine["web"].values() for name in entry.clusters}


async def test_way_and_quarantine_of_a_renamed_cluster_go_along_also_over_a_restart(world: HubWorld) -> None:
    async with world.run():
        await roll_back(world)
        third = world.commit({"overlays/web/web.yaml": config_map("web", "3")})
        await world.until(lambda: value_on(world, "dev-1") == "3", "halfway: prod-1 waits for an approval")
        await world.until(lambda: "dev" in row(world).passed, "step dev is over")
        told = told_on(world, "dev-1")
        change = renamed(world, "dev-1", "dev-9")
        change["clusters/dev-9.yaml"] = cluster_file("dev-9", "dev")
        world.commit(change)
        await world.until(lambda: is_well(world, "web@dev-9"), "well under its new name")
        await world.until(lambda: "dev-9" in row(world).before, "its way goes along")
        assert barred(world) == {"dev-9", "prod-1"}
    async with world.run():
        await world.until(lambda: is_well(world, "web@dev-9"), "well after a restart")
        assert (set(row(world).before), row(world).passed) == ({"dev-9"}, {"dev"})
        assert barred(world) == {"dev-9", "prod-1"}
        assert told_on(world, "dev-1") == told, "its parent bars it still"
        await world.call("POST", f"/api/v1/rollouts/{third}:approve", {"step": "ok", "reason": "looks well"})
        await world.until(lambda: value_on(world, "prod-1") == "3", "it goes on")
        await world.until(lambda: passages(world).all[-1].outcome == "done", "and ends")
        await world.call("POST", "/api/v1/overlays/web:rollback", {"reason": "it breaks"})
        await world.until(lambda: value_on(world, "prod-1") == "1", "prod-1 is back")
        await world.until(lambda: value_on(world, "dev-1") == "1", "and so is the one with another name")
        second = world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        view = world.opened.view
        await world.until(lambda: view.head.commit == second and not view.rendering and view.waits, "taken over")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}, "what was taken back under the old name"
