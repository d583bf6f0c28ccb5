"""The hub's data is lost, and while its clusters wait for a person a commit brings something new (R24)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.ids import Digest, Revision
from fleet.core.objects import Mark
from fleet.core.parent import parent_document, parent_of
from fleet.core.status import ASKS_RECOVERY

LOST = ("eu-1", "us-1")
CLUSTERS = (*LOST, "ap-1")  # the last one is nobody's at first
QUIET_SECONDS = 1.5  # for so long nothing is to happen
NEW = overlay("overlays/extra", {"extra": config_map("extra", "1")})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    """Web is everywhere, and then the data directory is gone."""
    async with make_world(tmp_path, CLUSTERS) as made:
        files = {f"clusters/{name}.yaml": cluster_file(name) for name in LOST}
        made.commit(files | overlay("overlays/web", {"web": config_map("web", "1")}))
        async with made.run():
            await made.until_everywhere(made.repo.head())
            await made.until(lambda: all(has(made, name, "unit-web", "fleet-system") for name in LOST), "parents")
        shutil.rmtree(made.data_dir)
        yield made


def has(world: HubWorld, cluster: str, name: str, namespace: str = "default") -> bool:
    return world.sim.cluster(cluster).get("", "ConfigMap", namespace, name) is not None


def says(world: HubWorld, name: str) -> str:
    unit = world.unit(name)
    return " ".join(link.reason for link in unit.blocked_by if link.next == ASKS_RECOVERY) if unit is not None else ""


async def asked(world: HubWorld, *units: str) -> Any:
    """The list that a person is shown, once it is this one."""
    async with asyncio.timeout(30):
        while True:
            found = (await world.call("GET", "/api/v1/recovery"))[1]
            if {item["unit"] for item in found["items"]} == {*units}:
                return found
            await asyncio.sleep(0.05)


async def test_what_is_new_on_a_cluster_that_waits_for_a_person_waits_as_well(world: HubWorld) -> None:
    before = world.marks()
    old, every = [f"web@{name}" for name in LOST], [f"{each}@{name}" for name in LOST for each in ("web", "extra")]
    async with world.run():
        seen = await asked(world, *old)
        world.commit(NEW)
        await asked(world, *every)
        assert "it is new here" in says(world, "extra@eu-1")
        await asyncio.sleep(QUIET_SECONDS)
        assert world.writes(before, own_only=False) == {}
        status, _ = await world.recover(listDigest=seen["listDigest"])
        assert status == 409, "another list was seen"
    async with world.run():  # nor after a restart
        found = await asked(world, *every)
        await asyncio.sleep(QUIET_SECONDS)
        assert world.writes(before, own_only=False) == {}
        status, _ = await world.recover(listDigest=found["listDigest"])
        assert status == 200
        await world.until_everywhere(world.repo.head())
        assert all(has(world, name, "extra") for name in LOST)
        await asked(world)


async def test_what_is_new_on_a_cluster_that_lost_nothing_comes_at_once(world: HubWorld) -> None:
    before = world.marks()
    async with world.run():
        await asked(world, *(f"web@{name}" for name in LOST))
        world.commit({"clusters/ap-1.yaml": cluster_file("ap-1")})
        await world.until(lambda: has(world, "ap-1", "web"), "a cluster without marks is written to")
        world.commit(NEW)
        await world.until(lambda: has(world, "ap-1", "extra"), "and so it is again")
        assert world.writes(before, own_only=False).keys() == {"ap-1"}
        await world.until(lambda: world.unit("extra@ap-1"), "and says so")
        assert (await world.recover())[0] == 200
        await world.until(lambda: all(has(world, name, "web") for name in LOST), "recovered")
        world.commit(
            {"overlays/web/web.yaml": config_map("web", "2")}
            | overlay("overlays/late", {"late": config_map("late", "1")})
        )
        await world.until_everywhere(world.repo.head())


async def test_another_installations_marks_alone_ask_nobody_about_what_is_new(tmp_path: Path) -> None:
    """They are no record of this fleet; while they are there nothing is written for another reason (R23)."""
    async with make_world(tmp_path, ("eu-1",)) as world:
        there = world.sim.cluster("eu-1")
        there.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleet-system"}})
        there.create(
            parent_document(
                parent_of(
                    Mark("acme", there.identity, "api"), [], generation=1, bundle=Digest("b"), commit=Revision("c")
                )
            )
        )
        web = overlay("overlays/web", {"web": config_map("web", "1")})
        world.commit({"clusters/eu-1.yaml": cluster_file("eu-1")} | web)
        async with world.run():
            await world.until(lambda: (found := world.unit("web@eu-1")) and found.reason == "OwnedByOther", "refused")
            world.commit(NEW)
            await world.until(lambda: (found := world.unit("extra@eu-1")) and found.reason == "OwnedByOther", "as well")
            assert not says(world, "extra@eu-1")
            await asked(world)
        there.remove("", "ConfigMap", "fleet-system", "unit-api")
        async with world.run():
            await world.until_everywhere(world.repo.head())
