"""Overlays with `state: absent` go in the reverse order of dependsOn, and wait in words for what depends on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import SECONDS, HubWorld, cluster_file, config_map, make_world, overlay


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ["eu-1"]) as made:
        yield made


def files(**state: str) -> dict[str, str]:
    """Three overlays: web needs api, api needs platform."""
    made = {"clusters/eu-1.yaml": cluster_file("eu-1")}
    for name, needs in (("platform", "[]"), ("api", "[platform]"), ("web", "[api]")):
        more = {"state": state[name]} if name in state else {}
        made |= overlay(f"overlays/{name}", {"cm": config_map(name, "1")}, dependsOn=needs, **more)
    return made


async def approve(world: HubWorld, name: str) -> None:
    """A person allows what this overlay's removal deletes, once it asks; nobody else is asked meanwhile."""
    end = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < end, f"{name} does not ask"
        _, holds = await world.call("GET", "/api/v1/holds")
        asking = [hold for hold in holds["items"] if not hold.get("decision")]
        if asking:
            break
        await asyncio.sleep(0.05)
    (hold,) = asking
    assert hold["overlay"] == name, "it asks out of its turn"
    body = {"listDigest": hold["listDigest"], "reason": "as planned"}
    status, _ = await world.call("POST", f"/api/v1/holds/{hold['metadata']['name']}:approve", body)
    assert status == 200


async def test_what_others_depend_on_is_removed_last(world: HubWorld) -> None:
    world.commit(files())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.call("POST", "/api/v1/units/web@eu-1:suspend", {"reason": "not yet"})
        await world.until(lambda: (unit := world.unit("web@eu-1")) and unit.blocked_by, "suspended")
        marks = world.marks()
        world.commit(files(platform="absent", api="absent", web="absent"))

        def reason(name: str) -> str:
            unit = world.unit(f"{name}@eu-1")
            return "".join(link.reason for link in unit.blocked_by) if unit is not None else ""

        await world.until(
            lambda: reason("api") == "for web@eu-1 to be removed first, which depends on it or cannot be read",
            "api waits",
        )
        await world.until(
            lambda: reason("platform") == "for api@eu-1 to be removed first, which depends on it or cannot be read",
            "waits",
        )
        assert not world.writes(marks)
        await world.call("POST", "/api/v1/units/web@eu-1:resume", {"reason": "now"})
        for name in ("web", "api", "platform"):
            await approve(world, name)
        await world.until(lambda: len(world.writes(marks).get("eu-1", [])) == 3, "all are gone")
        assert world.writes(marks)["eu-1"] == [f"delete configmaps {name}" for name in ("web", "api", "platform")]


async def test_what_is_still_needed_stays_and_validation_says_so(world: HubWorld) -> None:
    world.commit(files())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        marks = world.marks()
        world.commit(files(api="absent"))
        await world.until(lambda: (unit := world.unit("api@eu-1")) and unit.blocked_by, "waits")
        assert not world.writes(marks)
        fleet = world.opened.view.fleet
        assert fleet is not None
        (problem,) = fleet.problems
        assert problem.what == "web depends on api, which is state: absent"
        world.commit(files(api="absent") | overlay("overlays/web", {"cm": config_map("web", "1")}))
        await approve(world, "api")
        await world.until(lambda: world.writes(marks) == {"eu-1": ["delete configmaps api"]}, "gone")


async def test_an_object_that_is_never_deleted_is_named_where_a_removal_waits_for_it(world: HubWorld) -> None:
    def kept(**state: str) -> dict[str, str]:
        made = files(**state)
        notes = "annotations: {fleet.internal/prune: disabled}, namespace: default}"
        made["overlays/web/cm.yaml"] = config_map("web", "1").replace("namespace: default}", notes)
        return made

    world.commit(kept())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        marks = world.marks()
        world.commit(kept(api="absent", web="absent"))
        why = "ConfigMap default/web stays: its annotation fleet.internal/prune: disabled keeps it"
        waits = f"for web@eu-1 to be removed first, which depends on it: {why}"
        for name, reason in ("web", why), ("api", waits):
            link = await world.until(
                lambda name=name, reason=reason: next(
                    (link for link in world.unit(f"{name}@eu-1").blocked_by if link.reason == reason), None
                ),
                f"{name} names it",
            )
            assert link.next == "kubectl annotate -n default ConfigMap/web fleet.internal/prune-"
        assert not world.writes(marks)
        note = {"metadata": {"annotations": {"fleet.internal/prune": None}}}  # as that command does
        world.sim.cluster("eu-1").drift("", "ConfigMap", "default", "web", note)
        for name in ("web", "api"):
            await approve(world, name)
        gone = [f"delete configmaps {name}" for name in ("web", "api")]
        await world.until(lambda: world.writes(marks).get("eu-1") == gone, "both are gone")
