"""An approval is for one commit: what was approved for another one lets nothing go (R9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay
from testbed.gitrepo import Content

SHOP = "overlays/shop"
WITH = {f"{SHOP}/kustomization.yaml": kustomization("ns.yaml", "cm.yaml"), f"{SHOP}/ns.yaml": namespace("shop")}
DROP: dict[str, Content] = {f"{SHOP}/kustomization.yaml": kustomization("cm.yaml"), f"{SHOP}/ns.yaml": None}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ["prod-1"]) as made:
        files = {"clusters/prod-1.yaml": cluster_file("prod-1")}
        made.commit(files | overlay(SHOP, {"ns": namespace("shop"), "cm": config_map("c", "1")}))
        yield made


def is_there(world: HubWorld) -> bool:
    return world.sim.cluster("prod-1").get("", "Namespace", "", "shop") is not None


async def open_holds(world: HubWorld) -> list[dict[str, Any]]:
    _, answer = await world.call("GET", "/api/v1/holds")
    return [item for item in answer["items"] if not item["decision"]]


async def hold_of(world: HubWorld, commit: str) -> dict[str, Any]:
    await world.until(lambda: any(hold.commit == commit for hold in unit_of(world).holds), "is asked about")
    while not (found := [item for item in await open_holds(world) if item["commit"] == commit]):
        await asyncio.sleep(0.01)
    return found[0]


def unit_of(world: HubWorld) -> Any:
    return world.unit("shop@prod-1")


async def suspend(world: HubWorld) -> None:
    await world.call("POST", "/api/v1/clusters/prod-1:suspend", {"reason": "freeze"})
    await world.until(lambda: any("freeze" in each.reason for each in unit_of(world).blocked_by), "suspended")


async def resume(world: HubWorld) -> None:
    await world.call("POST", "/api/v1/clusters/prod-1:resume", {"reason": "over"})
    await world.until(lambda: not any("freeze" in each.reason for each in unit_of(world).blocked_by), "resumed")


async def approve(world: HubWorld, hold: dict[str, Any]) -> None:
    path = f"/api/v1/holds/{hold['metadata']['name']}:approve"
    assert (await world.call("POST", path, {"listDigest": hold["listDigest"]}))[0] == 200


async def decision_of(world: HubWorld, hold: dict[str, Any]) -> str:
    """After a look at what the workers ask now: the second one begins when the first is over."""
    rung = world.opened.bells.orders
    for _ in range(2):
        rung.set()
        await world.until(lambda: not rung.is_set(), "a look has begun")
    _, answer = await world.call("GET", "/api/v1/holds")
    name = hold["metadata"]["name"]
    return next(item["decision"] for item in answer["items"] if item["metadata"]["name"] == name)


async def reported_anew(world: HubWorld) -> None:
    view = world.opened.view
    await world.until(lambda: unit_of(world) and unit_of(world).unit not in view.unspoken, "reported anew")


async def taken(world: HubWorld, commit: str) -> None:
    view = world.opened.view
    await world.until(lambda: view.head.commit == commit and not view.rendering, "taken over")
    assert view.results[unit_of(world).unit].commit == commit


async def test_an_approval_does_not_outlive_its_commit(world: HubWorld) -> None:
    """The same Namespace is dropped again by a later commit, while the cluster was suspended all along."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
        first = world.commit(DROP)
        hold = await hold_of(world, first)
        await suspend(world)
        await approve(world, hold)
        await taken(world, world.commit(WITH))
        again = world.commit({**DROP, f"{SHOP}/cm.yaml": config_map("c", "3")})
        await taken(world, again)
        await resume(world)
        await hold_of(world, again)
        await world.until(lambda: unit_of(world).commit == again, "applied")
        assert is_there(world)
        assert [item["commit"] for item in await open_holds(world)] == [again]


async def test_what_was_approved_for_this_commit_goes_when_the_cluster_is_resumed(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = world.commit(DROP)
        hold = await hold_of(world, commit)
        await suspend(world)
        await approve(world, hold)
        assert is_there(world)
        await resume(world)
        await world.until(lambda: not is_there(world), "deleted as approved")
        assert not await open_holds(world)


async def test_an_approval_outlives_a_restart_while_its_cluster_stands_still(world: HubWorld) -> None:
    """A worker that begins anew has not judged what is to be deleted: that it asks for nothing says nothing (R5)."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
        hold = await hold_of(world, world.commit(DROP))
        await suspend(world)
        await approve(world, hold)
    for _ in range(2):  # what the first of them reported is what the second begins with
        async with world.run():
            await reported_anew(world)
            assert await decision_of(world, hold) == "approved"
            assert is_there(world)
    async with world.run():
        await reported_anew(world)
        await resume(world)
        await world.until(lambda: not is_there(world), "deleted as approved")
        assert not await open_holds(world)


@pytest.mark.parametrize("how", ["wanted again", "gone already"])
async def test_an_approval_of_what_is_not_to_be_deleted_any_more_is_void_after_a_restart(
    world: HubWorld, how: str
) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        hold = await hold_of(world, world.commit(DROP))
        await suspend(world)
        await approve(world, hold)
    if how == "gone already":
        world.sim.cluster("prod-1").remove("", "Namespace", "", "shop")
    async with world.run():
        await reported_anew(world)
        if how == "wanted again":
            await taken(world, world.commit(WITH))
        await resume(world)
        end = asyncio.get_running_loop().time() + 30
        while await decision_of(world, hold) != "void":
            assert asyncio.get_running_loop().time() < end, world.describe()
        assert is_there(world) == (how == "wanted again")


@pytest.mark.parametrize("code", [409, 403, 500])
async def test_what_was_approved_is_tried_again_after_a_try_that_failed_and_nobody_is_asked_anew(
    world: HubWorld, code: int
) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        hold = await hold_of(world, world.commit(DROP))
        fault = world.sim.cluster("prod-1").faults.add("error", verbs={"delete"}, name="shop", code=code, count=1)
        await approve(world, hold)
        await world.until(lambda: fault.hits, "the first try failed")
        await world.until(lambda: not is_there(world), "deleted by another try")
        assert not await open_holds(world)
        _, log = await world.call("GET", "/api/v1/audit?limit=500")
        assert [entry["outcome"] for entry in log["items"] if entry["action"] == "hold-approved"].count("done") == 1
        assert {entry["approver"] for entry in log["items"] if entry["action"] == "delete"} == {"local-admin"}


MANY = [f"c{number:02}" for number in range(30)]


async def test_what_a_suspension_leaves_of_an_approved_list_goes_on_when_it_is_over(world: HubWorld) -> None:
    cluster = world.sim.cluster("prod-1")

    def left() -> int:
        return sum(cluster.get("", "ConfigMap", "default", name) is not None for name in MANY)

    world.commit(overlay(SHOP, {name: config_map(name, "1") for name in MANY}))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = world.commit({f"{SHOP}/kustomization.yaml": kustomization(*(f"{name}.yaml" for name in MANY[:5]))})
        hold = await hold_of(world, commit)
        slow = cluster.faults.add("slow", verbs={"delete"}, seconds=0.5)
        await approve(world, hold)
        await world.until(lambda: left() < len(MANY), "some are gone")
        await suspend(world)
        some = left()
        assert 5 < some < len(MANY)
        assert await decision_of(world, hold) == "approved"
        cluster.faults.remove(slow)
        await resume(world)
        await world.until(lambda: left() == 5, "the rest is gone")
        assert not await open_holds(world)
        while await decision_of(world, hold) != "void":
            await asyncio.sleep(0.01)
