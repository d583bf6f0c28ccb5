"""An approval is for what was shown to go along, through the whole hub: what came since is asked about (R9, R10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hubworld import SECONDS, HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay

UNIT = "shop@eu-1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ["eu-1"]) as made:
        objects = {"ns": namespace("shop"), **{f"c{n}": config_map(f"c{n}", "1") for n in range(4)}}
        made.commit({"clusters/eu-1.yaml": cluster_file("eu-1")} | overlay("overlays/shop", objects))
        yield made


async def asked(world: HubWorld, *seen: str) -> dict[str, Any]:
    """The hold that waits for a person, with another list than those `seen`."""
    end = time.monotonic() + SECONDS
    while True:
        _, holds = await world.call("GET", "/api/v1/holds")
        for hold in holds["items"]:
            if not hold.get("decision") and hold["listDigest"] not in seen:
                return hold
        assert time.monotonic() < end, world.describe()
        await asyncio.sleep(0.02)


async def approve(world: HubWorld, hold: dict[str, Any]) -> None:
    body = {"listDigest": hold["listDigest"], "reason": "seen"}
    assert (await world.call("POST", f"/api/v1/holds/{hold['metadata']['name']}:approve", body))[0] == 200


async def held_and_approved_while_suspended(world: HubWorld) -> dict[str, Any]:
    """The Namespace is dropped, held and approved; nothing of that is carried out yet."""
    await world.until_everywhere(world.repo.head() or "")
    world.sim.cluster("eu-1").create(yaml.safe_load(config_map("seen", "1", "shop")))
    kept = kustomization(*(f"c{n}.yaml" for n in range(4)))
    world.commit({"overlays/shop/ns.yaml": None, "overlays/shop/kustomization.yaml": kept})
    hold = await asked(world)
    assert hold["deletions"][0]["goesWith"] == ["1 object, 1 of them not from this repo", "ConfigMap seen"]
    assert (await world.call("POST", f"/api/v1/units/{UNIT}:suspend", {"reason": "look"}))[0] == 200
    await world.until(lambda: any(link.state == "suspended" for link in world.unit(UNIT).blocked_by), "suspended")
    await approve(world, hold)
    return hold


async def resume(world: HubWorld) -> None:
    assert (await world.call("POST", f"/api/v1/units/{UNIT}:resume", {"reason": "go"}))[0] == 200


def space(world: HubWorld) -> Any:
    return world.sim.cluster("eu-1").get("", "Namespace", "", "shop")


async def test_what_came_into_a_namespace_after_its_approval_is_asked_about(world: HubWorld) -> None:
    async with world.run():
        hold = await held_and_approved_while_suspended(world)
        world.sim.cluster("eu-1").create(yaml.safe_load(config_map("came-since", "1", "shop")))
        await resume(world)
        again = await asked(world, hold["listDigest"])
        assert again["deletions"][0]["goesWith"] == [
            "2 objects, 2 of them not from this repo", "ConfigMap came-since, ConfigMap seen",
        ]  # fmt: skip
        assert space(world) is not None
        await approve(world, again)
        await world.until(lambda: space(world) is None, "it goes with what was shown")


async def test_a_namespace_with_what_was_shown_goes_by_its_approval(world: HubWorld) -> None:
    async with world.run():
        await held_and_approved_while_suspended(world)
        await resume(world)
        await world.until(lambda: space(world) is None, "it goes")
        _, holds = await world.call("GET", "/api/v1/holds")
        assert len(holds["items"]) == 1
