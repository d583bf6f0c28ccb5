"""What one overlay drops and another one makes only where it is absent (R16)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

CLUSTERS = ("dev-1", "prod-1")
WEB, SHOP = "overlays/web", "overlays/zshop"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


async def test_what_is_left_to_an_overlay_that_makes_it_where_it_is_absent_bears_no_mark(world: HubWorld) -> None:
    """The mark of an overlay that is gone meanwhile kept the object from its next owner for good (R16)."""
    note = "annotations: {fleet.internal/reconcile: ifAbsent}"
    if_absent = config_map("x", "2").replace("{name: x,", f"{{name: x, {note},")
    handed = overlay(WEB, {"k": config_map("k", "1")}) | {f"{WEB}/x.yaml": None}
    handed |= overlay(SHOP, {"s": config_map("s", "1"), "x": if_absent})
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in CLUSTERS}
    files |= overlay(SHOP, {"s": config_map("s", "1")})
    web = overlay(WEB, {"k": config_map("k", "1"), "x": config_map("x", "1")})
    async with world.run():
        world.commit(files | web)
        await world.until_everywhere(world.repo.head())
        made = {name: live(world, name) for name in CLUSTERS}
        world.commit(handed)
        await world.until_everywhere(world.repo.head())
        for name in CLUSTERS:
            await world.until(lambda name=name: not marks_of(live(world, name)), "its mark is off")
            assert live(world, name)["data"] == {"a": "1"}, "it stays as it is"
        world.commit({path: None for path in web if not path.endswith("/x.yaml")})
        await world.until(lambda: not any(world.unit(f"web@{name}") for name in CLUSTERS), "web is gone")
        world.commit({f"{SHOP}/x.yaml": config_map("x", "2")})
        for name in CLUSTERS:
            await world.until(lambda name=name: reason(world, f"zshop@{name}") == "ObjectForeign", "nobody's")
        world.commit(overlay(SHOP, {"s": config_map("s", "1"), "x": config_map("x", "2")}, sync="{adopt: always}"))
        await world.until_everywhere(world.repo.head())
        for name in CLUSTERS:
            assert live(world, name)["data"] == {"a": "2"}
            assert live(world, name)["metadata"]["uid"] == made[name]["metadata"]["uid"]


def live(world: HubWorld, cluster: str) -> Any:
    return world.sim.cluster(cluster).get("", "ConfigMap", "default", "x")


def marks_of(found: Any) -> list[str]:
    noted = [*found["metadata"].get("labels", {}), *found["metadata"].get("annotations", {})]
    return [key for key in noted if "fleet" in key]


def reason(world: HubWorld, name: str) -> str:
    found = world.unit(name)
    return found.reason if found is not None else ""
