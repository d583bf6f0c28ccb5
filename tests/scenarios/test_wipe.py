"""`fleet wipe`: what left Git is deleted instead of let go, by the way of every deletion, by a person's word alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hubworld import AT_ONCE, SECONDS, HubWorld, cluster_file, config_map, make_world, namespace, overlay

from fleet.cli.app import run
from fleet.core.ids import UnitName

WIPE = "/api/v1/units/web@eu-1:wipe"
SAID = {"confirm": "web@eu-1", "reason": "retired"}
GONE = {"web-a", "web-b", "web-c"}
WAITS_SECONDS = 4  # longer than a suspend takes
KEPT = config_map("kept", "1").replace("metadata: {", "metadata: {annotations: {fleet.internal/prune: disabled}, ")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ["eu-1", "eu-2", "eu-3"]) as made:
        yield made


def files(*, web: str = "[{names: [eu-1]}]", objects: dict[str, str] | None = None) -> dict[str, str]:
    """web on eu-1 and shop everywhere."""
    made = {f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "eu-2", "eu-3")}
    made |= overlay("overlays/shop", {"cm": config_map("shop", "1")})
    found = {name: config_map(name, "1") for name in GONE} if objects is None else objects
    return made | (overlay("overlays/web", found, clusters=web) if web else {})


def commit(world: HubWorld, made: dict[str, str]) -> str:
    """The whole repo is this."""
    before = world.repo.git("ls-tree", "-r", "--name-only", "main").split()
    return world.commit({**dict.fromkeys(before), "fleet.yaml": AT_ONCE, **made})


def here(world: HubWorld, cluster: str = "eu-1") -> set[str]:
    return {found["metadata"]["name"] for found in world.sim.cluster(cluster).list("", "ConfigMap", "default")}


async def leaving(world: HubWorld) -> list[dict[str, Any]]:
    return (await world.call("GET", "/api/v1/leaving"))[1]["items"]


async def eventually(world: HubWorld, ask: Any, what: str) -> Any:
    end = time.monotonic() + SECONDS
    while not (found := await ask()):
        assert time.monotonic() < end, f"{what}\n{world.describe()}"
        await asyncio.sleep(0.02)
    return found


async def left_while_suspended(world: HubWorld, after: dict[str, str] | None = None) -> None:
    await world.until_everywhere(world.repo.head())
    status, _ = await world.call("POST", "/api/v1/units/web@eu-1:suspend", {"reason": "to be wiped"})
    assert status == 200
    await world.until(lambda: world.unit("web@eu-1").blocked_by, "suspended")
    commit(world, files(web="") if after is None else after)
    await eventually(world, lambda: leaving(world), "it leaves")


async def cluster_left_while_suspended(world: HubWorld) -> None:
    await world.until_everywhere(world.repo.head())
    await world.call("POST", "/api/v1/clusters/eu-3:suspend", {"reason": "to be wiped"})
    await world.until(lambda: world.unit("web@eu-3").blocked_by, "suspended")
    made = files(web="")
    del made["clusters/eu-3.yaml"]
    commit(world, made)
    await eventually(world, lambda: leaving(world), "it leaves")


async def resume(world: HubWorld) -> None:
    assert (await world.call("POST", "/api/v1/units/web@eu-1:resume", {"reason": "go"}))[0] == 200


async def open_hold(world: HubWorld, name: str = "web") -> dict[str, Any]:
    async def ask() -> Any:
        _, holds = await world.call("GET", "/api/v1/holds")
        return next((hold for hold in holds["items"] if hold["overlay"] == name and not hold.get("decision")), None)

    return await eventually(world, ask, "a hold")


async def approve(world: HubWorld, hold: dict[str, Any]) -> int:
    body = {"listDigest": hold["listDigest"], "reason": "seen"}
    return (await world.call("POST", f"/api/v1/holds/{hold['metadata']['name']}:approve", body))[0]


async def ended(world: HubWorld, operation: str) -> dict[str, Any]:
    async def ask() -> Any:
        _, found = await world.call("GET", f"/api/v1/operations/{operation}")
        return found if found["outcome"] else None

    return await eventually(world, ask, f"{operation} ends")


async def test_what_fleet_owns_of_a_unit_is_deleted_and_nothing_else(world: HubWorld) -> None:
    commit(world, files())
    async with world.run():
        await left_while_suspended(world)
        world.sim.cluster("eu-1").create(yaml.safe_load(config_map("strange", "1")))
        marks = world.marks()
        (unit,) = await leaving(world)
        assert (unit["unit"], unit["wipe"], len(unit["objects"])) == ("web@eu-1", "", 3)
        assert (await world.call("POST", WIPE, {**SAID, "confirm": "web@eu-2"}))[0] == 422
        answers = await asyncio.gather(*(world.call("POST", WIPE, SAID) for _ in range(4)))
        assert {status for status, _ in answers} == {202}
        (operation,) = {item["id"] for _, answer in answers for item in answer["items"]}
        await resume(world)
        hold = await open_hold(world)
        assert {entry["object"] for entry in hold["deletions"]} == {f"ConfigMap default/{name}" for name in GONE}
        assert not world.writes(marks)
        assert await approve(world, hold) == 200
        done = await ended(world, operation)
        assert (done["outcome"], done["message"]) == ("done", "all that fleet owned there is deleted")
        assert sorted(world.writes(marks)["eu-1"]) == [f"delete configmaps {name}" for name in sorted(GONE)]
        assert here(world) >= {"shop", "strange"}
        await eventually(world, lambda: _none(world), "it is let go")
        links = await world.opened.adapters.state.audit_entries()
        deletions = [link.entry for link in links if link.entry.action == "delete" and "web-" in link.entry.object]
        assert len(deletions) == 6  # each before it happened, and after
        assert {operation in entry.reason for entry in deletions} == {True}
        outcomes = [link.entry.outcome for link in links if link.entry.action == "wipe"]
        assert sorted(outcomes) == [*["asked"] * 4, "done"]


async def _none(world: HubWorld) -> bool:
    return not await leaving(world)


async def test_a_unit_that_leaves_without_a_wipe_keeps_its_objects(world: HubWorld) -> None:
    commit(world, files())
    async with world.run():
        await left_while_suspended(world)
        await resume(world)
        await eventually(world, lambda: _none(world), "it is let go")
        assert here(world) >= GONE
        status, problem = await world.call("POST", WIPE, SAID)
        assert status == 404
        assert "nothing proves which objects were its own" in problem["detail"]


async def test_what_git_wants_is_not_wiped_and_only_an_administrator_may(world: HubWorld) -> None:
    commit(world, files())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        marks = world.marks()
        status, problem = await world.call("POST", WIPE, SAID)
        assert status == 409
        assert "state: absent" in str(problem)
        status, problem = await world.call("POST", "/api/v1/clusters/eu-1:wipe", {**SAID, "confirm": "eu-1"})
        assert status == 409
        assert "clusters/eu-1.yaml" in str(problem)
        _, made = await world.call("POST", "/api/v1/tokens", {"name": "op", "role": "operator"})
        assert (await world.call("POST", WIPE, SAID, token=made["token"]))[0] == 403
        assert not world.writes(marks)


async def test_a_unit_that_git_wants_again_is_not_wiped_and_its_next_leaving_lets_it_go(world: HubWorld) -> None:
    commit(world, files())
    async with world.run():
        await left_while_suspended(world)
        _, answer = await world.call("POST", WIPE, SAID)
        await resume(world)
        hold = await open_hold(world)
        await world.until_everywhere(commit(world, files()))
        assert (await ended(world, answer["items"][0]["id"]))["outcome"] == "refused"
        assert await approve(world, hold) == 409
        commit(world, files(web=""))
        await world.until(lambda: world.unit("web@eu-1") is None, "let go")
        assert here(world) >= GONE


async def test_a_wipe_outlives_the_hub_that_took_it(world: HubWorld) -> None:
    commit(world, files())
    async with world.run(kill=True):
        await left_while_suspended(world)
        _, answer = await world.call("POST", WIPE, SAID)
        await eventually(world, lambda: _wiping(world), "taken over")
    async with world.run(kill=True):
        await resume(world)
        hold = await open_hold(world)
        assert await approve(world, hold) == 200
        assert (await ended(world, answer["items"][0]["id"]))["outcome"] == "done"
        await world.until(lambda: not here(world) & GONE, "gone")


async def _wiping(world: HubWorld) -> bool:
    return any(unit["wipe"] for unit in await leaving(world))


@pytest.mark.parametrize("again", [False, True])
async def test_a_wipe_that_a_backup_had_open_is_done_by_a_new_word_alone(
    world: HubWorld, tmp_path: Path, again: bool
) -> None:
    commit(world, files())
    backup, data = tmp_path / "fleet.tar", ["--data-dir", str(world.data_dir)]
    async with world.run():
        await left_while_suspended(world)
        (operation,) = (await world.call("POST", WIPE, SAID))[1]["items"]
        await resume(world)
        hold = await open_hold(world)
        assert (await world.call("POST", "/api/v1/clusters/eu-1:suspend", {"reason": "not yet"}))[0] == 200
        await world.until(lambda: world.unit("web@eu-1").blocked_by, "suspended")
        assert await approve(world, hold) == 200
        assert await asyncio.to_thread(run, ["backup", str(backup), *data]) == 0
    assert await asyncio.to_thread(run, ["restore", str(backup), *data, "--replace"]) == 0
    async with world.run():
        await world.until(lambda: world.opened.view.head.is_taken, "Git is read")
        assert (await ended(world, operation["id"]))["outcome"] == "superseded"
        assert [unit["wipe"] for unit in await leaving(world)] == [""]
        if again:
            (operation,) = (await world.call("POST", WIPE, SAID))[1]["items"]
        await eventually(world, lambda: recovery(world), "it asks")
        assert (await world.call("POST", "/api/v1/clusters/eu-1:resume", {"reason": "go"}))[0] == 200
        assert (await world.recover())[0] == 200
        if again:
            hold = await open_hold(world)
            assert here(world) >= GONE
            assert await approve(world, hold) == 200
            assert (await ended(world, operation["id"]))["outcome"] == "done"
        await eventually(world, lambda: _none(world), "it is let go")
        assert here(world) & GONE == (set() if again else GONE)


async def recovery(world: HubWorld) -> bool:
    """Whether all four units ask whether they may be written to."""
    return len((await world.call("GET", "/api/v1/recovery"))[1]["items"]) == 4


async def test_what_is_never_to_be_deleted_stays_without_our_marks(world: HubWorld) -> None:
    commit(world, files(objects={**{name: config_map(name, "1") for name in GONE}, "kept": KEPT}))
    async with world.run():
        await left_while_suspended(world)
        _, answer = await world.call("POST", WIPE, SAID)
        await resume(world)
        assert await approve(world, await open_hold(world)) == 200
        done = await ended(world, answer["items"][0]["id"])
        assert done["message"].endswith("1 that are never to be deleted stay, without our marks")
        await eventually(world, lambda: _none(world), "it is let go")
        kept = world.sim.cluster("eu-1").get("", "ConfigMap", "default", "kept")
        assert not [name for name in kept["metadata"].get("labels", {}) if name.startswith("fleet.internal/")]


@pytest.mark.parametrize("names", [["web-a"], ["web-a", "web-b", "web-c"]])
async def test_its_hold_says_that_a_wipe_asks_unless_a_guard_has_more_to_say(world: HubWorld, names: list[str]) -> None:
    commit(world, files(objects={**{name: config_map(name, "1") for name in names}, "kept": KEPT}))
    async with world.run():
        await left_while_suspended(world)
        await world.call("POST", WIPE, SAID)
        await resume(world)
        await open_hold(world)
        (hold,) = world.unit("web@eu-1").holds
        if len(names) > 1:
            assert hold.message.startswith("would delete 3 of 4 objects within an hour")
        else:
            assert hold.message == "would delete ConfigMap default/web-a, as its wipe asks"


BROKEN_AGAIN = overlay("overlays/web", {"a": config_map("web-a", "1")}, clusters="[{names: [eu-1]}]", bogus=1)


@pytest.mark.parametrize("hidden", [True, False])
async def test_what_git_says_again_unreadably_is_not_wiped_until_git_is_read(world: HubWorld, hidden: bool) -> None:
    commit(world, files())
    async with world.run():
        await left_while_suspended(world)
        _, answer = await world.call("POST", WIPE, SAID)
        await resume(world)
        hold = await open_hold(world)
        marks = world.marks()
        if hidden:
            commit(world, {**files(), **BROKEN_AGAIN})
            await world.until(lambda: "whether it is back cannot be read" in world.unit("web@eu-1").message, "it waits")
            assert await approve(world, hold) == 200
            assert (await world.call("POST", WIPE, SAID))[0] == 409
            more = overlay("overlays/shop", {"cm": config_map("shop", "2")})
            commit(world, {**files(), **BROKEN_AGAIN, **more})
            await world.until(lambda: _value(world, "shop") == "2", "what is read goes on")
            assert not any("web-" in write for writes in world.writes(marks).values() for write in writes)
            assert here(world) >= GONE
            commit(world, {**files(web=""), **more})
        else:
            assert await approve(world, hold) == 200
        assert (await ended(world, answer["items"][0]["id"]))["outcome"] == "done"
        assert not here(world) & GONE


def _value(world: HubWorld, name: str) -> str:
    return world.sim.cluster("eu-1").get("", "ConfigMap", "default", name)["data"]["a"]


async def test_a_namespace_among_it_is_asked_about_with_what_goes_with_it(world: HubWorld) -> None:
    commit(world, files(objects={"ns": namespace("web"), "cm": config_map("a", "1", "web")}))
    async with world.run():
        await left_while_suspended(world)
        await world.call("POST", WIPE, SAID)
        await resume(world)
        hold = await open_hold(world)
        (space,) = (entry for entry in hold["deletions"] if entry["object"] == "Namespace web")
        assert space["reason"] == "precious-kind"
        assert space["goesWith"]


async def test_what_another_overlay_takes_over_is_not_deleted(world: HubWorld) -> None:
    commit(world, files())
    async with world.run():
        after = files(web="") | overlay("overlays/new", {"a": config_map("web-a", "2")}, clusters="[{names: [eu-1]}]")
        await left_while_suspended(world, after)
        await world.until(lambda: UnitName.parse("new@eu-1") in world.opened.view.results, "who takes it is known")
        _, answer = await world.call("POST", WIPE, SAID)
        await resume(world)
        hold = await open_hold(world)
        assert {entry["object"] for entry in hold["deletions"]} == {
            "ConfigMap default/web-b", "ConfigMap default/web-c"
        }  # fmt: skip
        assert await approve(world, hold) == 200
        assert (await ended(world, answer["items"][0]["id"]))["outcome"] == "done"
        assert here(world) & GONE == {"web-a"}


async def test_a_cluster_that_left_is_wiped_by_its_name(world: HubWorld) -> None:
    commit(world, files(web="[{names: [eu-3]}]"))
    async with world.run():
        await cluster_left_while_suspended(world)
        status, answer = await world.call("POST", "/api/v1/clusters/eu-3:wipe", {"confirm": "eu-3", "reason": "sold"})
        assert status == 202
        assert {item["target"] for item in answer["items"]} == {"web@eu-3", "shop@eu-3"}
        assert (await world.call("POST", "/api/v1/clusters/eu-3:resume", {"reason": "go"}))[0] == 200
        for overlay_name in ("web", "shop"):
            await approve(world, await open_hold(world, overlay_name))
        for item in answer["items"]:
            assert (await ended(world, item["id"]))["outcome"] == "done"
        assert not here(world, "eu-3") & (GONE | {"shop"})
        assert "shop" in here(world, "eu-1") & here(world, "eu-2")


async def test_a_wipe_of_the_wrong_cluster_is_stopped_amid_it_and_goes_on_when_resumed(world: HubWorld) -> None:
    """By the name of what left Git, as well as by that of the fleet (R17)."""
    commit(world, files(web="[{names: [eu-3]}]"))
    async with world.run():
        await cluster_left_while_suspended(world)
        wipe = {"confirm": "web@eu-3", "reason": "sold"}
        (operation,) = (await world.call("POST", "/api/v1/units/web@eu-3:wipe", wipe))[1]["items"]
        assert (await world.call("POST", "/api/v1/clusters/eu-3:resume", {"reason": "go"}))[0] == 200
        hold, eu = await open_hold(world), world.sim.cluster("eu-3")
        eu.faults.add("error", code=429, retry_after=WAITS_SECONDS, verbs={"delete"}, count=1)
        assert await approve(world, hold) == 200
        await world.until(lambda: any(entry.code == 429 for entry in eu.ledger.since(0)), "the wipe is under way")
        for path in ("units/web@eu-3", "clusters/eu-3", "overlays/web"):
            assert (await world.call("POST", f"/api/v1/{path}:suspend", {"reason": "wrong cluster"}))[0] == 200
        marks, left = world.marks(), here(world, "eu-3") & GONE
        # Its report comes once the pass has ended, and so all that waited has had its turn.
        await world.until(lambda: "wrong cluster" in str(world.unit("web@eu-3").blocked_by), "it says so")
        assert left
        assert here(world, "eu-3") & GONE == left
        assert "eu-3" not in world.writes(marks, own_only=False)
        for path in ("units/web@eu-3", "clusters/eu-3", "overlays/web"):
            assert (await world.call("POST", f"/api/v1/{path}:resume", {"reason": "the right one"}))[0] == 200
        assert (await ended(world, operation["id"]))["outcome"] == "done"
        assert not here(world, "eu-3") & GONE
