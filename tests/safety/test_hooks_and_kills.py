"""Hooks run once and go as they say, though a hub is killed at any of their requests or a deletion fails."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, overlay
from safety.rig import Boundary, Rig

from fleet.reconcile.sightings import token_key
from fleet.sim.statuses import ApiError

pytestmark = pytest.mark.timeout(200)
TTL = "  ttlSecondsAfterFinished: 1\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1",), render_workers=1) as made:
        yield made


def hook_of(kind: str, name: str, body: str, delete: str) -> str:
    group = "batch/v1" if kind == "Job" else "v1"
    space = "" if kind == "Namespace" else ", namespace: default"
    notes = f"fleet.internal/hook: PreSync, fleet.internal/hook-delete: {delete}"
    return f"apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}{space}, annotations: {{{notes}}}}}\n{body}"


def job(delete: str, more: str = "") -> str:
    pod = "{spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}"
    return hook_of("Job", "migrate", f"spec:\n  template: {pod}\n{more}", delete)


def births(world: HubWorld, resource: str, prefix: str) -> list[str]:
    """UIDs of the objects of this name that are made from now on."""
    found: list[str] = []

    def saw(event: Any) -> None:
        if event.before is None and event.key[1].startswith(prefix):
            found.append(event.after.document()["metadata"]["uid"])

    world.sim.cluster("eu-1").store.listen(resource, saw)
    return found


def kept_place(world: HubWorld) -> int:
    """The resourceVersion from which the watch of ConfigMaps goes on after a restart."""
    with closing(sqlite3.connect(world.data_dir / "state.db")) as state:
        kind = (token_key(("", "ConfigMap")),)
        rows = state.execute("SELECT resource_version FROM journal_resume WHERE kind = ?", kind).fetchall()
    return int(rows[0][0]) if rows else 0


async def run_with(rig: Rig, hook: str) -> str:
    files = {"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/web", {"a": config_map("a", "1")})}
    files |= {"overlays/web/hook.yaml": hook, "overlays/web/kustomization.yaml": kustomization("a.yaml", "hook.yaml")}
    commit = rig.commit(files)
    await rig.start()
    return commit


def kill_at(rig: Rig, phase: str, name: str, number: int) -> list[Boundary]:
    """Kill the hub at the n-th write of this object, once; returns where that was."""
    met: list[Boundary] = []

    async def meet(now: str, found: Boundary, _: str) -> bool:
        if now == phase and found[0] == "patch" and found[2] == name and found[3] == number and not met:
            met.append(found)
            rig.kill()
            await asyncio.sleep(60)  # this request never gets an answer
        return False

    rig.meets = meet
    return met


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_hook_runs_once_though_the_hub_is_killed_at_its_apply(world: HubWorld, phase: str) -> None:
    rig = Rig(world)
    rig.watch_clusters()
    made, met = births(world, "configmaps", "hook"), kill_at(rig, phase, "hook", 1)
    try:
        commit = await run_with(rig, hook_of("ConfigMap", "hook", "data: {a: '1'}\n", "BeforeHookCreation"))
        await rig.until(lambda: world.progress(commit).done, "delivered")
    finally:
        rig.meets = None
        await rig.stop()
    assert met
    assert len(made) == 1, "lost" if not made else "doubled"


@pytest.mark.parametrize(("phase", "number"), [("before", 1), ("after", 1), ("before", 2), ("after", 2)])
async def test_a_job_that_removes_itself_runs_once_wherever_the_hub_is_killed(
    world: HubWorld, phase: str, number: int
) -> None:
    rig = Rig(world)
    rig.watch_clusters()
    pods, met = births(world, "pods", "migrate"), kill_at(rig, phase, "migrate", number)
    try:
        commit = await run_with(rig, job("BeforeHookCreation", TTL))
        await rig.until(lambda: world.progress(commit).done, "delivered")
    finally:
        rig.meets = None
        await rig.stop()
    assert met
    assert len(pods) == 1, "lost" if not pods else "doubled"


@pytest.mark.parametrize("delete", ["BeforeHookCreation", "HookFailed"])
async def test_a_hook_of_the_next_commit_runs_though_the_hub_was_killed_since_the_last(
    world: HubWorld, delete: str
) -> None:
    """Watches that go on tell a new hub nothing of the object of the last run, which is in no record."""
    rig = Rig(world)
    rig.watch_clusters()
    try:
        first = await run_with(rig, hook_of("ConfigMap", "hook", "data: {a: '1'}\n", delete))
        await rig.until(lambda: world.progress(first).done, "delivered")
        left = world.sim.cluster("eu-1").get("", "ConfigMap", "default", "hook")["metadata"]["resourceVersion"]
        world.sim.cluster("eu-1").watches.bookmark_all()  # else within a minute
        await rig.until(lambda: kept_place(world) >= int(left), "the watch's place is durable")
        rig.kill()
        second = rig.commit({"overlays/web/hook.yaml": hook_of("ConfigMap", "hook", "data: {a: '2'}\n", delete)})
        await rig.until(lambda: world.progress(second).done, "delivered after the restart")
        assert world.sim.cluster("eu-1").get("", "ConfigMap", "default", "hook")["data"] == {"a": "2"}
    finally:
        await rig.stop()


@pytest.mark.parametrize("is_removed", [False, True])
async def test_a_job_that_could_not_be_let_go_runs_all_the_same(world: HubWorld, is_removed: bool) -> None:
    """It is there, suspended: neither that, nor that somebody removes it meanwhile, says that it ran."""
    rig = Rig(world)
    rig.watch_clusters()
    cluster, pods, met = world.sim.cluster("eu-1"), births(world, "pods", "migrate"), list[str]()

    async def meet(now: str, found: Boundary, _: str) -> bool:
        if now == "before" and found[0] == "patch" and found[2] == "migrate" and found[3] == 2:
            met.append(found[2])
            if is_removed:
                cluster.remove("batch", "Job", "default", "migrate")
            raise ApiError(429, "TooManyRequests", "not now")
        return False

    rig.meets = meet
    try:
        commit = await run_with(rig, job("BeforeHookCreation", TTL))
        await rig.until(lambda: world.progress(commit).done, "delivered")
    finally:
        rig.meets = None
        await rig.stop()
    assert met
    assert len(pods) == 1, "lost" if not pods else "doubled"


async def test_a_hooks_deletion_that_failed_is_tried_again(world: HubWorld) -> None:
    rig = Rig(world)
    rig.watch_clusters()
    cluster = world.sim.cluster("eu-1")
    cluster.faults.add("error", code=500, verbs=("delete",), name="hook", agent="fleet", count=2)
    try:
        commit = await run_with(rig, hook_of("ConfigMap", "hook", "data: {a: '1'}\n", "HookSucceeded"))
        await rig.until(lambda: world.progress(commit).done, "delivered")
        await rig.until(lambda: cluster.get("", "ConfigMap", "default", "hook") is None, "deleted at last")
    finally:
        await rig.stop()


async def test_a_hooks_deletion_that_a_killed_hub_owed_is_done_by_the_next(world: HubWorld) -> None:
    rig = Rig(world)
    rig.watch_clusters()
    cluster, met = world.sim.cluster("eu-1"), list[str]()

    async def meet(now: str, found: Boundary, _: str) -> bool:
        if now == "before" and found[0] == "delete" and not met:
            met.append(found[2])
            rig.kill()
            await asyncio.sleep(60)
        return False

    rig.meets = meet
    try:
        commit = await run_with(rig, hook_of("ConfigMap", "hook", "data: {a: '1'}\n", "HookSucceeded"))
        await rig.until(lambda: world.progress(commit).done, "delivered")
        await rig.until(lambda: cluster.get("", "ConfigMap", "default", "hook") is None, "deleted at last")
    finally:
        rig.meets = None
        await rig.stop()
    assert met == ["hook"]


@pytest.mark.parametrize("kind", ["Namespace", "PersistentVolumeClaim"])
async def test_a_precious_hook_goes_only_when_a_person_approved_it(world: HubWorld, kind: str) -> None:
    rig = Rig(world)
    rig.watch_clusters()
    cluster = world.sim.cluster("eu-1")
    space = "" if kind == "Namespace" else "default"
    body = (
        "" if kind == "Namespace" else ("spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n")
    )

    def live() -> Any:
        return cluster.get("", kind, space, "scratch")

    try:
        commit = await run_with(rig, hook_of(kind, "scratch", body, "HookSucceeded"))
        await rig.until(lambda: world.progress(commit).done, "delivered")
        hold = await rig.until(lambda: world.unit("web@eu-1").holds, "held")
        assert "scratch" in hold[0].message
        assert live()
        await rig.approve("web", lambda: live() is None)
        await rig.until(lambda: not world.unit("web@eu-1").holds, "the hold is over")
    finally:
        await rig.stop()
