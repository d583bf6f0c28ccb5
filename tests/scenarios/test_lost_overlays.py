"""The hub's data is lost, and Git dropped or renamed an overlay before the new hub ever read it (R13, R16, R24)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.documents import Document, mapping_at
from fleet.core.ids import Digest, Revision
from fleet.core.objects import OWNER_ANNOTATION, Mark
from fleet.core.parent import parent_document, parent_of
from fleet.core.record import PARENT_NAMESPACE
from fleet.reconcile import recover

CLUSTERS = ("eu-1", "us-1")
MANY = (*CLUSTERS, "us-2", "us-3")
QUIET_SECONDS = 1.5  # for so long nothing is to happen
GONE = {f"overlays/web/{name}.yaml": None for name in ("web", "kustomization", "overlay")}


def files_of(*clusters: str) -> dict[str, str]:
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in clusters}
    files |= overlay("overlays/web", {"web": config_map("web", "1")})
    return files | overlay("overlays/keep", {"keep": config_map("keep", "1")})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        made.commit(files_of(*CLUSTERS))
        yield made


async def lose(world: HubWorld, clusters: tuple[str, ...] = CLUSTERS) -> None:
    """All is applied, and then the data directory is gone."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.until(lambda: all(parent(world, name, "web") for name in clusters), "parents")
    shutil.rmtree(world.data_dir)


def live(world: HubWorld, cluster: str, name: str = "web") -> Document:
    return world.sim.cluster(cluster).get("", "ConfigMap", "default", name)


def owner(world: HubWorld, cluster: str, name: str = "web") -> str:
    notes = mapping_at(live(world, cluster, name), "metadata", "annotations")
    return str(notes.get(OWNER_ANNOTATION, "")).rpartition("/")[2]


def parent(world: HubWorld, cluster: str, overlay: str) -> Any:
    return world.sim.cluster(cluster).get("", "ConfigMap", PARENT_NAMESPACE, f"unit-{overlay}")


def links(world: HubWorld, name: str) -> str:
    unit = world.unit(name)
    return " ".join(f"{link.reason} {link.next}" for link in unit.blocked_by) if unit is not None else ""


async def left(world: HubWorld, *units: str) -> None:
    async with asyncio.timeout(30):
        while await leaving(world) != [*units]:
            await asyncio.sleep(0.05)


async def shown(world: HubWorld) -> dict[str, str]:
    items = (await world.call("GET", "/api/v1/recovery"))[1]["items"]
    return {item["unit"]: item["then"] for item in items}


async def shows(world: HubWorld, *units: str) -> dict[str, str]:
    async with asyncio.timeout(30):
        while (found := await shown(world)).keys() != set(units):
            await asyncio.sleep(0.05)
    return found


async def leaving(world: HubWorld) -> list[str]:
    return [item["unit"] for item in (await world.call("GET", "/api/v1/leaving"))[1]["items"]]


async def test_what_git_dropped_before_a_new_hub_read_it_is_shown_and_let_go_once_that_is_confirmed(
    world: HubWorld,
) -> None:
    await lose(world)
    world.commit(GONE)
    before = world.marks()
    async with world.run():
        found = await shows(world, *(f"{each}@{name}" for each in ("web", "keep") for name in CLUSTERS))
        assert found["web@eu-1"] == "not in Git: it is let go, and its objects stay"
        assert found["keep@eu-1"] == "", "what Git has goes on as it is"
        said = "it is not in Git: once that is confirmed it is let go, and its objects stay"
        await world.until(lambda: said in links(world, "web@eu-1") and said in links(world, "web@us-1"), "it says so")
        assert await leaving(world) == ["web@eu-1", "web@us-1"]
        await asyncio.sleep(QUIET_SECONDS)
        assert world.writes(before, own_only=False) == {}
    async with world.run():  # nor after a restart
        await shows(world, *found)
        await asyncio.sleep(QUIET_SECONDS)
        assert world.writes(before, own_only=False) == {}
        assert (await world.recover())[0] == 200
        for name in CLUSTERS:
            await world.until(lambda name=name: not owner(world, name), "its mark is off")
            await world.until(lambda name=name: not parent(world, name, "web"), "its parent is gone")
            assert live(world, name)["data"] == {"a": "1"}
            assert owner(world, name, "keep") == "keep"
        await world.until(lambda: world.unit("web@eu-1") is None and world.unit("web@us-1") is None, "nothing is left")
        await left(world)
        await world.until_everywhere(world.repo.head())


async def test_what_was_found_may_be_wiped_instead(world: HubWorld) -> None:
    await lose(world)
    world.commit(GONE)
    async with world.run():
        await shows(world, *(f"{each}@{name}" for each in ("web", "keep") for name in CLUSTERS))
        await left(world, "web@eu-1", "web@us-1")
        body = {"confirm": "web@eu-1", "reason": "not needed"}
        assert (await world.call("POST", "/api/v1/units/web@eu-1:wipe", body))[0] == 202
        assert (await world.recover())[0] == 200
        await world.until(lambda: not owner(world, "us-1"), "let go")

        async def held() -> list[Any]:
            return (await world.call("GET", "/api/v1/holds"))[1]["items"]

        async with asyncio.timeout(30):
            while not (asked := await held()):
                await asyncio.sleep(0.05)
        assert live(world, "eu-1")["data"] == {"a": "1"}, "its list is asked about first"
        where = f"/api/v1/holds/{asked[0]['metadata']['name']}:approve"
        assert (await world.call("POST", where, {"listDigest": asked[0]["listDigest"]}))[0] == 200
        await world.until(lambda: live(world, "eu-1") is None, "wiped")
        assert live(world, "us-1")["data"] == {"a": "1"}


async def test_an_overlay_that_was_renamed_meanwhile_hands_its_objects_over_once_that_is_confirmed(
    world: HubWorld,
) -> None:
    await lose(world)
    world.commit(GONE | overlay("overlays/shop", {"web": config_map("web", "2")}))
    async with world.run():
        await shows(world, *(f"{each}@{name}" for each in ("web", "keep", "shop") for name in CLUSTERS))
        await world.until(lambda: (unit := world.unit("shop@eu-1")) and unit.blocked_by, "it waits for it")
        assert "moves here from web, which is not confirmed yet" in links(world, "shop@eu-1")
        await asyncio.sleep(QUIET_SECONDS)
        assert all(live(world, name)["data"] == {"a": "1"} and owner(world, name) == "web" for name in CLUSTERS)
        uids = {name: live(world, name)["metadata"]["uid"] for name in CLUSTERS}
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        for name in CLUSTERS:
            assert (live(world, name)["data"], owner(world, name)) == ({"a": "2"}, "shop")
            assert live(world, name)["metadata"]["uid"] == uids[name], "it was never away"
            await world.until(lambda name=name: not parent(world, name, "web"), "the old unit is gone")


async def test_an_overlay_that_is_gone_from_many_clusters_is_asked_about_once_more(tmp_path: Path) -> None:
    """The commit that the new hub reads may be the accident (R8)."""
    async with make_world(tmp_path, MANY) as world:
        world.commit(files_of(*MANY))
        await lose(world, MANY)
        world.commit(GONE)
        async with world.run():
            await shows(world, *(f"{each}@{name}" for each in ("web", "keep") for name in MANY))
            assert (await world.recover())[0] == 200
            await world.until_everywhere(world.repo.head())
            await asyncio.sleep(QUIET_SECONDS)
            assert [owner(world, name) for name in MANY] == ["web"] * len(MANY)
            held = (await world.call("GET", "/api/v1/holds"))[1]["items"][0]
            assert "4 of 4 clusters would leave overlay web at once" in str(held)
            where = f"/api/v1/holds/{held['metadata']['name']}:approve"
            assert (await world.call("POST", where, {"listDigest": held["listDigest"]}))[0] == 200
            await world.until(lambda: not any(owner(world, name) for name in MANY), "let go")
            assert all(live(world, name)["data"] == {"a": "1"} for name in MANY)


def invent(world: HubWorld, cluster: str, *overlays: str) -> None:
    """Parents of units that never were, as a hostile cluster makes them."""
    there = world.sim.cluster(cluster)
    for each in overlays:
        mark = Mark("default", there.identity, each)
        made = parent_of(mark, [], generation=1, bundle=Digest("b"), commit=Revision("c"))
        there.create(parent_document(made))


async def test_units_that_a_cluster_invents_cost_that_cluster_alone(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
    invent(world, "eu-1", "ghost", "-no-overlay")
    async with world.run():
        await shows(world, "ghost@eu-1", "web@eu-1", "keep@eu-1")
        await left(world, "ghost@eu-1")
        world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        await world.until(lambda: live(world, "us-1")["data"] == {"a": "2"}, "the other cluster goes on")
        assert live(world, "eu-1")["data"] == {"a": "1"}
    async with world.run():  # what was noted of it can be read again
        await shows(world, "ghost@eu-1", "web@eu-1", "keep@eu-1")
        assert (await world.recover())[0] == 200
        await world.until_everywhere(world.repo.head())
        await world.until(lambda: not parent(world, "eu-1", "ghost"), "let go")


async def test_more_units_than_any_cluster_has_are_not_taken_from_it(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
    monkeypatch.setattr(recover, "MOST_UNITS", 5)
    invent(world, "eu-1", *(f"ghost-{number}" for number in range(4)))
    async with world.run():
        view = world.opened.view
        await world.until(lambda: view.clusters["eu-1"].reason == "AnswerInvalid", "refused")
        said = view.clusters["eu-1"]
        assert "4 units cannot be rebuilt" in said.message
        assert said.next_step.startswith(f"kubectl -n {PARENT_NAMESPACE} get configmaps -l applyset")
        world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        await world.until(lambda: live(world, "us-1")["data"] == {"a": "2"}, "the other cluster goes on")
        assert await leaving(world) == []
        assert live(world, "eu-1")["data"] == {"a": "1"}
        world.sim.cluster("eu-1").remove("", "ConfigMap", PARENT_NAMESPACE, "unit-ghost-0")
        await shows(world, "web@eu-1", "keep@eu-1", *(f"ghost-{number}@eu-1" for number in range(1, 4)))
