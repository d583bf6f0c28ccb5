"""Clusters whose clocks are hours off: no soak or operation of the hub, and nothing that it shows, follows them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hubworld import SECONDS, HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay

CLOCKS = {"dev-1": 7200.0, "prod-1": -7200.0, "prod-2": 0.0}
SOAK_SECONDS = 3.0
NEAR = 600.0  # what a busy machine may take; a clock is off by more
OTHERWISE = {"expiresAt", "endsAt", "authoredAt"}  # in the future by their sense, and Git's own
PAGES = ("status", "clusters", "units", "overlays", "holds", "rollouts", "operations", "events", "revisions", "audit")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, tuple(CLOCKS)) as made:
        yield made


def first_commit() -> dict[str, str]:
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLOCKS}
    files |= overlay("overlays/web", {"a": config_map("a", "1")})
    files |= overlay("overlays/shop", {"ns": namespace("shop-old"), "keep": config_map("keep", "1")})
    steps = f"{{name: dev, environments: [dev], soak: {SOAK_SECONDS:.0f}s}}, {{name: prod, rest: true}}"
    spec = f"spec:\n  environments: [dev, prod]\n  rollout: {{steps: [{steps}]}}\n"
    return files | {"fleet.yaml": f"apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {{name: default}}\n{spec}"}


def times_in(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every time that an answer shows, and where."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from times_in(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from times_in(inner, f"{path}[]")
    elif isinstance(value, str) and len(value) >= 20 and value[4:5] == "-" and value[10:11] == "T":
        yield path, datetime.fromisoformat(value).timestamp()


def writes_of(world: HubWorld, cluster: str, name: str) -> list[float]:
    return [entry.moment for entry in world.sim.cluster(cluster).ledger if entry.landed and entry.name == name]


@pytest.mark.parametrize("off", [True, False], ids=["off", "twin"])
async def test_nothing_follows_the_clock_of_a_cluster(world: HubWorld, off: bool) -> None:
    began = time.time()
    for name, seconds in CLOCKS.items() if off else ():
        world.sim.cluster(name).faults.add("clock", seconds=seconds)
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        changed = time.time()
        await world.until_everywhere(world.commit({"overlays/web/a.yaml": config_map("a", "2")}))
        landed = {name: min(at for at in writes_of(world, name, "a") if at > changed) for name in CLOCKS}
        assert SOAK_SECONDS - 1.0 <= landed["prod-1"] - landed["dev-1"] < 10 * SOAK_SECONDS
        world.sim.cluster("prod-1").drift("", "ConfigMap", "default", "a", {"data": {"a": "by hand"}})
        await world.until(
            lambda: "by hand" not in str(world.sim.cluster("prod-1").get("", "ConfigMap", "default", "a"))
        )
        status, operation = await world.call("POST", "/api/v1/units/web@prod-1:sync", {})
        assert status < 300, operation
        world.commit({"overlays/shop/kustomization.yaml": kustomization("keep.yaml")})
        await world.until(lambda: (unit := world.unit("shop@dev-1")) and unit.holds, "held")
        async with asyncio.timeout(SECONDS):
            while "shop" not in str((await world.call("GET", "/api/v1/status"))[1]["needsPerson"]):
                await asyncio.sleep(0.05)
        shown = {page: (await world.call("GET", f"/api/v1/{page}"))[1] for page in PAGES}
        for name in CLOCKS:
            shown[name] = (await world.call("GET", f"/api/v1/units/shop@{name}"))[1]
    now, found = time.time(), list(times_in(shown))
    wrong = [(path, round(at - now)) for path, at in found if not began - NEAR < at < now + NEAR]
    assert len(found) > 50
    assert [one for one in wrong if one[0].rpartition(".")[2] not in OTHERWISE] == []
    assert all(operation["outcome"] == "done" for operation in shown["operations"]["items"])
