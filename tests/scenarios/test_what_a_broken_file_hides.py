"""Settings, entries and names that a commit does not say any more go on as they were, over restarts too (R5, R17)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.status import Health, Sync

FLEET = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {{name: {name}}}\nspec: {{rollout: {{steps: []}}}}\n"
IGNORE = "[{kind: ConfigMap, pointers: [/data/a]}]"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1", "us-1")) as made:
        yield made


def first_commit() -> dict[str, str]:
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "us-1")}
    files["fleet.yaml"] = FLEET.format(name="acme")
    files |= overlay("overlays/free", {"free": config_map("free", "1")}, ignoreDifferences=IGNORE)
    files |= overlay("overlays/web", {"web": config_map("web", "1")})
    return files


def drift(world: HubWorld, name: str, cluster: str = "eu-1") -> None:
    world.sim.cluster(cluster).drift("", "ConfigMap", "default", name, {"data": {"a": "by hand"}})


def live(world: HubWorld, name: str, cluster: str = "eu-1") -> str:
    return world.sim.cluster(cluster).get("", "ConfigMap", "default", name)["data"]["a"]


async def seen(world: HubWorld, unit: str, sync: Sync) -> None:
    await world.until(lambda: (found := world.unit(unit)) and found.sync is sync, f"{unit} {sync}")


async def test_an_overlay_whose_file_breaks_keeps_its_settings(world: HubWorld) -> None:
    files = first_commit()
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        broken = {f"overlays/{name}/overlay.yaml": "kind: [" for name in ("free", "web")}
        commit = world.commit(broken)
        await world.until(lambda: world.opened.view.head.commit == commit, "taken over")
        await world.until(lambda: all(world.unit(f"{name}@eu-1").blocked_by for name in ("free", "web")), "kept")
        before = world.marks()
        drift(world, "free")
        drift(world, "web")
        await world.until(lambda: live(world, "web") == "1", "healed as before")
        assert world.writes(before) == {"eu-1": ["patch configmaps web"]}
        assert live(world, "free") == "by hand"
    async with world.run():  # what its settings were, nobody knows now: nothing at all is written to it
        before = world.marks()
        await world.until(lambda: world.opened.view.head.commit == commit, "taken over")
        drift(world, "web")
        await seen(world, "web@eu-1", Sync.OUT_OF_SYNC)
        assert world.writes(before, own_only=False) == {}
        mended = world.commit({path: files[path] for path in broken})
        await world.until_everywhere(mended)
        await world.until(lambda: live(world, "web") == "1", "healed")
        assert live(world, "free") == "by hand"


async def test_a_cluster_whose_file_breaks_is_watched_and_kept_also_by_a_hub_that_starts_then(world: HubWorld) -> None:
    files = first_commit()
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = world.commit({"clusters/eu-1.yaml": "kind: ["})
        await world.until(lambda: world.opened.view.head.commit == commit and world.unit("web@eu-1").blocked_by, "kept")
    before = world.marks()
    async with world.run():
        await world.until(lambda: (one := world.opened.view.clusters.get("eu-1")) and one.reachable, "connected")
        drift(world, "web")
        await seen(world, "web@eu-1", Sync.OUT_OF_SYNC)
        drift(world, "web", "us-1")
        await world.until(lambda: live(world, "web", "us-1") == "1", "the others are healed")
        assert set(world.writes(before)) == {"us-1"}
        await world.until_everywhere(world.commit({"clusters/eu-1.yaml": files["clusters/eu-1.yaml"]}))
        await world.until(lambda: live(world, "web") == "1", "healed")


@pytest.mark.parametrize("restart", [False, True], ids=["running", "started-later"])
async def test_another_name_of_the_fleet_is_not_taken_over(world: HubWorld, restart: bool) -> None:
    files = first_commit()
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = world.marks()
        if not restart:
            await refuses_the_name(world, files)
    if restart:
        async with world.run():
            await refuses_the_name(world, files)
    assert writes_since(world, before) == {"eu-1": ["patch configmaps web"], "us-1": ["patch configmaps web"]}


def writes_since(world: HubWorld, before: Mapping[str, int], *, own_only: bool = True) -> dict[str, list[str]]:
    """Without those by which whichever pass of `free` comes next hands over the field that it ignores."""
    writes = world.writes(before, own_only=own_only)
    kept = {name: [one for one in found if one != "patch configmaps free"] for name, found in writes.items()}
    return {name: found for name, found in kept.items() if found}


async def refuses_the_name(world: HubWorld, files: dict[str, str]) -> None:
    files_of_it = {"fleet.yaml": FLEET.format(name="other"), "overlays/web/web.yaml": config_map("web", "2")}
    refused = world.commit(files_of_it)

    def problem() -> bool:
        fleet = world.opened.view.fleet
        return fleet is not None and any(item.reason == "FleetRenamed" for item in fleet.problems)

    await world.until(problem, "refused")
    await world.until(lambda: world.progress(refused).missing, "said")
    assert not world.progress(refused).done
    assert "is called other now" in world.progress(refused).missing[0].reason
    await world.until_everywhere(world.commit({"fleet.yaml": files["fleet.yaml"]}))
    await world.until(lambda: world.unit("web@us-1").health is Health.HEALTHY and live(world, "web") == "2", "applied")


async def test_a_suspended_cluster_that_leaves_is_let_go_once_it_is_resumed(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.call("POST", "/api/v1/clusters/us-1:suspend", {"reason": "forensics"})
        await world.until(lambda: world.unit("web@us-1").blocked_by, "suspended")
        before = world.marks()
        await world.until_everywhere(world.commit({"clusters/us-1.yaml": None}))
        waits = await world.until(lambda: (unit := world.unit("web@us-1")) and unit.message and unit, "waits")
        assert "waits to be let go" in waits.message
        assert world.writes(before, own_only=False) == {}
        assert (await world.call("POST", "/api/v1/clusters/us-1:resume", {}))[0] == 200
        await world.until(lambda: "us-1" not in world.opened.view.clusters, "let go")


FREEZE = "{reason: freeze, owner: jo}"


async def test_a_suspend_in_git_keeps_what_leaves_until_git_lifts_it(world: HubWorld) -> None:
    """Also over a restart, where the hub first hears of the suspend with the commit that drops the overlay."""
    files = first_commit()
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = world.marks()
    frozen = files["fleet.yaml"].replace("steps: []}", f"steps: []}}, suspend: {FREEZE}")
    dropped = {path: None for path in files if path.startswith("overlays/web/")}
    commit = world.commit({"fleet.yaml": frozen, **dropped})
    async with world.run():
        await world.until(lambda: world.opened.view.head.commit == commit, "taken over")
        waits = await world.until(lambda: (unit := world.unit("web@us-1")) and unit.blocked_by and unit, "waits")
        assert ("waits to be let go" in waits.message, waits.blocked_by[0].reason) == (True, "suspended by jo: freeze")
        assert waits.blocked_by[0].next.startswith("edit fleet.yaml:")
        assert writes_since(world, before, own_only=False) == {}
        world.commit({"fleet.yaml": files["fleet.yaml"]})
        await world.until(lambda: not world.unit("web@us-1") and not world.unit("web@eu-1"), "let go")
        assert live(world, "web") == live(world, "web", "us-1") == "1"


async def test_a_cluster_that_leaves_suspended_in_git_is_let_go_once_it_was_back_without(world: HubWorld) -> None:
    files = first_commit()
    world.commit({**files, "clusters/us-1.yaml": cluster_file("us-1", suspend=FREEZE)})
    async with world.run():
        await world.until(lambda: (unit := world.unit("web@us-1")) and unit.blocked_by, "suspended")
        world.commit({"clusters/us-1.yaml": files["clusters/us-1.yaml"]})
        await world.until_everywhere(world.repo.head())
        world.commit({"clusters/us-1.yaml": cluster_file("us-1", suspend=FREEZE)})
        await world.until(lambda: world.unit("web@us-1").blocked_by, "suspended again")
        before = world.marks()
        commit = world.commit({"clusters/us-1.yaml": None})
        await world.until(lambda: "let go" in world.unit("web@us-1").message, "waits")
        assert world.progress(commit).done
    async with world.run():
        waits = await world.until(lambda: (unit := world.unit("web@us-1")) and unit.blocked_by and unit, "waits")
        assert "left Git with this in it" in waits.blocked_by[0].reason
        assert world.writes(before, own_only=False) == {}
        world.commit({"clusters/us-1.yaml": files["clusters/us-1.yaml"]})
        await world.until_everywhere(world.repo.head())
        await world.until_everywhere(world.commit({"clusters/us-1.yaml": None}))
        await world.until(lambda: "us-1" not in world.opened.view.clusters, "let go")


STEPPED = FLEET.replace("steps: []", "steps: [{{name: all, rest: true}}]")


@pytest.mark.parametrize("scope", ["overlays/web", "units/web@eu-1"])
async def test_an_overlay_whose_file_broke_is_stopped_by_its_name_and_goes_on_when_resumed(
    world: HubWorld, scope: str
) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit = world.commit({"overlays/web/overlay.yaml": "kind: ["})
        await world.until(lambda: world.opened.view.head.commit == commit, "taken over")
        await world.until(lambda: world.unit("web@eu-1").blocked_by, "kept")
        assert (await world.call("POST", f"/api/v1/{scope}:suspend", {"reason": "disk swap"}))[0] == 200
        await world.until(lambda: "disk swap" in str(world.unit("web@eu-1").blocked_by), "suspended")
        before = world.marks()
        drift(world, "web")
        await seen(world, "web@eu-1", Sync.OUT_OF_SYNC)
        assert world.writes(before) == {}
        assert (await world.call("POST", f"/api/v1/{scope}:resume", {}))[0] == 200
        await world.until(lambda: live(world, "web") == "1", "healed as before")


async def test_an_overlay_whose_file_broke_goes_back_to_what_it_held_before(world: HubWorld) -> None:
    world.commit({**first_commit(), "fleet.yaml": STEPPED.format(name="acme")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        bad = world.commit(overlay("overlays/web", {"web": config_map("web", "bad")}))
        await world.until_everywhere(bad)
        commit = world.commit({"overlays/web/overlay.yaml": "kind: ["})
        await world.until(lambda: world.opened.view.head.commit == commit, "taken over")
        await world.until(lambda: world.unit("web@eu-1").blocked_by, "kept")
        assert (await world.call("POST", "/api/v1/overlays/web:rollback", {"reason": "crashes"}))[0] == 202
        await world.until(lambda: live(world, "web") == live(world, "web", "us-1") == "1", "back")
