"""A plan that is approved before its merge, on a whole hub with real Git: it counts for that change alone (R9, R10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import AT_ONCE, SECONDS, HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay
from testbed import binaries
from testbed.gitrepo import Content

from fleet.cli.plan import compare_commits
from fleet.controllers.comparing import Comparing
from fleet.core.planning.fleet_plan import FleetPlan, plan_of

CLUSTERS = ("eu-1", "us-1")
# The Namespace goes, and what is in it moves to another: as in a change that a person must allow.
DROPPED: dict[str, Content] = {
    "overlays/shop/kustomization.yaml": kustomization("cm.yaml"),
    "overlays/shop/ns.yaml": None,
}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubWorld]:
    monkeypatch.setenv("FLEET_KUSTOMIZE", str(binaries.find("kustomize")))
    async with make_world(tmp_path, CLUSTERS) as made:
        files: dict[str, Content] = {f"clusters/{name}.yaml": cluster_file(name) for name in CLUSTERS}
        files |= overlay("overlays/shop", {"ns": namespace("shop"), "cm": config_map("c", "1")})
        files |= overlay("overlays/dns", {"dns": config_map("dns", "1")})
        made.commit({**files, "fleet.yaml": AT_ONCE})
        yield made


async def planned(world: HubWorld, files: dict[str, Content]) -> FleetPlan:
    """The plan of a branch that changes these files, made as `fleet plan` makes it, in a clone of a person's own."""
    repo, base = world.repo, world.repo.head()
    repo.make_branch("change")
    repo.commit(files, "the change", branch="change")
    clone = world.root / "clone"
    if not clone.exists():
        repo.git("clone", "-q", str(repo.path), str(clone))
    repo.git("-C", str(clone), "fetch", "-q", "origin")
    found = plan_of(await compare_commits(clone, base, "refs/remotes/origin/change"))
    repo.delete_branch("change")
    return found


async def approve(world: HubWorld, plan: FleetPlan, **more: Any) -> tuple[int, Any]:
    body = {"text": plan.text.decode(), "reason": "PR 409", **more}
    return await world.call("POST", f"/api/v1/plans/{plan.digest}:approve", body)


async def holds(world: HubWorld) -> list[Any]:
    _, answer = await world.call("GET", "/api/v1/holds?openOnly=true")
    return answer["items"]


async def approvals(world: HubWorld) -> list[Any]:
    _, answer = await world.call("GET", "/api/v1/plans")
    return answer["items"]


def stands(world: HubWorld, cluster: str = "eu-1") -> bool:
    return world.sim.cluster(cluster).get("", "Namespace", "", "shop") is not None


async def until_asked(world: HubWorld) -> None:
    """A hold that waits for a person; an approval that was given is void by then."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        undecided = [hold for hold in await holds(world) if not hold["decision"]]
        if undecided and all(item["standing"] == "void" for item in await approvals(world)):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"nobody is asked: {await holds(world)}, {await approvals(world)}")


async def disturb(world: HubWorld, how: str) -> None:
    """What somebody does to the live Namespace after the approval."""
    cluster = world.sim.cluster("eu-1")
    if how == "changed":
        cluster.drift("", "Namespace", "", "shop", {"metadata": {"annotations": {"note": "now in use"}}})
        return
    uid = cluster.get("", "Namespace", "", "shop")["metadata"]["uid"]
    cluster.remove("", "Namespace", "", "shop")

    def is_another() -> bool:
        found = cluster.get("", "Namespace", "", "shop")
        return found is not None and found["metadata"]["uid"] != uid

    await world.until(is_another, "the hub made it anew")


async def test_what_was_approved_before_the_merge_goes_without_asking_again(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert [hold.reason for hold in plan.holds] == ["precious-kind"]
        assert (await approve(world, plan))[0] == 200
        assert stands(world)
        merged = world.commit(DROPPED)
        await world.until(lambda: not stands(world) and not stands(world, "us-1"), "both namespaces deleted")
        await world.until_everywhere(merged)
        (found,) = await approvals(world)
        assert (found["standing"], found["commit"]) == ("bound", merged)
        _, audit = await world.call("GET", "/api/v1/audit?limit=1000")
        told = [(entry["action"], entry["outcome"]) for entry in audit["items"]]
        assert ("plan-approved", "done") in told
        assert ("hold-approved", "done") in told


async def test_the_same_merge_without_an_approval_asks(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit(DROPPED)
        await until_asked(world)
        assert stands(world)


@pytest.mark.parametrize("how", ["changed", "made anew"])
async def test_an_object_that_is_not_as_it_was_read_any_more_is_asked_about(world: HubWorld, how: str) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan))[0] == 200
        await disturb(world, how)
        world.commit(DROPPED)
        await until_asked(world)
        assert stands(world)
        assert stands(world, "us-1")  # one hold, one list: all of it or nothing
        (found,) = await approvals(world)
        assert ("changed since" if how == "changed" else "another object") in found["why"]


async def test_a_merge_that_does_something_else_too_is_asked_about(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan))[0] == 200
        world.commit({**DROPPED, "overlays/shop/cm.yaml": config_map("c", "2")})
        await until_asked(world)
        assert stands(world)
        (found,) = await approvals(world)
        assert "in another way than the plan says" in found["why"]


async def test_a_commit_to_the_same_units_in_between_makes_it_void_and_one_to_others_does_not(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan))[0] == 200
        await world.until_everywhere(world.commit({"overlays/dns/dns.yaml": config_map("dns", "2")}))
        assert [item["standing"] for item in await approvals(world)] == ["waits"]
        await world.until_everywhere(world.commit({"overlays/shop/cm.yaml": config_map("c", "2")}))
        end = time.monotonic() + 60  # the commit may be everywhere before it is compared with the approved plan
        while [item["standing"] for item in await approvals(world)] != ["void"]:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        world.commit(DROPPED)
        await until_asked(world)
        assert stands(world)


async def test_another_target_set_is_another_plan(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan))[0] == 200
        entry = world.repo.read("overlays/shop/overlay.yaml").decode().replace("{all: true}", "{names: [eu-1]}")
        world.commit({**DROPPED, "overlays/shop/overlay.yaml": entry})
        await world.until(lambda: bool(world.unit("shop@eu-1").holds), "it asks")
        assert stands(world)


async def test_what_another_overlay_has_too_is_handed_over_as_the_plan_says_and_nobody_is_asked(
    world: HubWorld,
) -> None:
    """Both had the Namespace, and neither changed it; the twin, where no other has it, asks (above)."""
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit(overlay("overlays/dns", {"dns": config_map("dns", "1"), "ns": namespace("shop")}))
        for name in CLUSTERS:
            await world.until(lambda unit=f"dns@{name}": world.unit(unit).reason == "OwnedByOther", "both claim it")
        plan = await planned(world, DROPPED)
        assert plan.holds == ()
        assert [change.moved_to for unit in plan.units for change in unit.objects] == ["dns", "dns"]
        status, answer = await approve(world, plan)
        assert (status, answer["title"]) == (409, f"plan {plan.digest[:7]} needs no approval")
        await world.until_everywhere(world.commit(DROPPED))
        assert await holds(world) == []
        assert stands(world)
        assert stands(world, "us-1")


async def test_a_list_that_is_not_of_the_digest_is_refused_and_so_is_a_plan_that_deletes_nothing(
    world: HubWorld,
) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan, text="[]"))[0] == 422
        harmless = await planned(world, {"overlays/dns/dns.yaml": config_map("dns", "2")})
        assert (await approve(world, harmless))[0] == 409
        assert not await approvals(world)


async def test_an_approval_outlives_a_restart_of_the_hub(world: HubWorld) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan))[0] == 200
    async with world.run():
        await world.until_everywhere(world.repo.head())
        merged = world.commit(DROPPED)
        await world.until(lambda: not stands(world) and not stands(world, "us-1"), "both namespaces deleted")
        await world.until_everywhere(merged)


@pytest.mark.parametrize("more", [{}, {"overlays/shop/cm.yaml": config_map("c", "2")}], ids=["as approved", "more"])
async def test_a_hub_killed_before_it_compared_the_merge_compares_it_when_it_is_back(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch, more: dict[str, Content]
) -> None:
    """The merge is in force and the hub ends before it held it against the approval; the twin does something else."""
    begun = asyncio.Event()

    async def stuck(self) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async with world.run(kill=True):
        await world.until_everywhere(world.repo.head())
        plan = await planned(world, DROPPED)
        assert (await approve(world, plan))[0] == 200
        with monkeypatch.context() as patch:
            patch.setattr(Comparing, "changes", stuck)
            merged = world.commit({**DROPPED, **more})
            async with asyncio.timeout(SECONDS):
                await begun.wait()
            assert [item["standing"] for item in await approvals(world)] == ["waits"]
    async with world.run():
        if more:
            await until_asked(world)
            assert stands(world)
            return
        await world.until(lambda: not stands(world) and not stands(world, "us-1"), "both namespaces deleted")
        (found,) = await approvals(world)
        assert (found["standing"], found["commit"]) == ("bound", merged)
        status, answer = await approve(world, plan)
        assert (status, answer["title"]) == (409, "this plan is in force already")
