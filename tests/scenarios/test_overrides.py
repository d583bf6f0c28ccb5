"""`fleet sync --override` through a whole hub: ahead of its step, by two people where fleet.yaml asks for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import SECONDS, HubWorld, cluster_file, config_map, make_world, overlay

from fleet.access.policy import Role

CLUSTERS = ("dev-1", "prod-1", "prod-2")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


def value_on(world: HubWorld, cluster: str) -> str:
    found: Any = world.sim.cluster(cluster).get("", "ConfigMap", "default", "web")
    return found["data"]["a"]


async def ended(world: HubWorld, operation: str) -> Any:
    end = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < end, "it does not end"
        _, row = await world.call("GET", f"/api/v1/operations/{operation}")
        if row["outcome"]:
            return row
        await asyncio.sleep(0.02)


async def test_a_unit_goes_ahead_of_its_step_once_another_person_agreed_and_never_with_what_was_taken_back(
    world: HubWorld,
) -> None:
    steps = "[{name: dev, environments: [dev], soak: 1h}, {name: prod, rest: true}]"
    fleet = (
        "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec:\n  overrides: {approve: 1}\n"
        f"  environments: [dev, prod]\n  rollout: {{steps: {steps}}}\n"
    )
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    world.commit(files | overlay("overlays/web", {"web": config_map("web", "1")}) | {"fleet.yaml": fleet})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        await world.until(lambda: value_on(world, "dev-1") == "2", "dev-1 at 2")
        mara, _ = await world.opened.tokens.create("mara", Role.OPERATOR, 600)
        urgent = {"override": True, "reason": "the shop is down"}
        status, asked = await world.call("POST", "/api/v1/units/web@prod-1:sync", urgent)
        assert (status, asked["message"]) == (202, "waits for the approval of one other person")
        operation = asked["id"]
        while "it brings" not in (asked := (await world.call("GET", f"/api/v1/operations/{operation}"))[1])["message"]:
            await asyncio.sleep(0.02)
        assert f"it brings {world.repo.head()[:7]}, result " in asked["message"]
        approve = f"/api/v1/operations/{asked['id']}:approve"
        status, refused = await world.call("POST", approve, {"reason": "mine"})
        assert (status, refused["title"]) == (422, "nobody approves an override of their own")
        assert value_on(world, "prod-1") == "1"
        assert (await world.call("POST", approve, {"reason": "I saw it"}, token=mara))[0] == 202
        assert (await ended(world, asked["id"]))["outcome"] == "done"
        assert (value_on(world, "prod-1"), value_on(world, "prod-2")) == ("2", "1")
        _, events = await world.call("GET", "/api/v1/events?limit=1000")
        assert any("web@prod-1 goes to" in e["message"] and "the shop is down" in e["message"] for e in events["items"])
        # It is part of its rollout: a rollback takes it back too, and then no override brings it again.
        await world.call("POST", "/api/v1/overlays/web:rollback", {"reason": "it breaks"})
        await world.until(lambda: value_on(world, "prod-1") == "1", "back")
        _, asked = await world.call("POST", "/api/v1/units/web@prod-1:sync", urgent)
        row = await ended(world, asked["id"])
        assert (row["outcome"], "taken back" in row["message"]) == ("refused", True)
        while await world.opened.adapters.state.operations(open_only=True):  # the approval ends with what it approved
            await asyncio.sleep(0.02)
