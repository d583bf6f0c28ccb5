"""Progressive rollouts of a whole hub on simulated clusters: good changes, crashing ones, kills, people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.ids import Revision
from fleet.core.passage import Passage

CLUSTERS = ("dev-1", "dev-2", "prod-1", "prod-2", "prod-3", "prod-4")
STEPS = "{name: dev, environments: [dev]}, {name: prod, rest: true, maxParallel: 2}"


def deployment(tag: str, name: str = "web") -> str:
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: default}}\nspec:\n"
        f"  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n"
        f"    metadata: {{labels: {{app: {name}}}}}\n"
        f"    spec: {{containers: [{{name: c, image: 'reg/{name}:{tag}'}}]}}\n"
    )


def fleet_file(rollout: str) -> str:
    return (
        "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
        f"spec:\n  environments: [dev, prod]\n  rollout: {rollout}\n"
    )


def first_commit(rollout: str) -> dict[str, str]:
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    files |= overlay("overlays/web", {"web": deployment("1")})
    return files | {"fleet.yaml": fleet_file(rollout)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


async def story_of(world: HubWorld, commit: str) -> list[str]:
    """What the timeline tells of one commit's rollout, in its order."""
    _, answer = await world.call("GET", "/api/v1/events?limit=1000")
    told = [entry["message"] for entry in answer["items"] if entry.get("commit") == commit]
    return [text for text in told if "goes to" in text or "is over" in text or "rollout of" in text]


def last(world: HubWorld) -> Passage:
    kept = world.opened.view.passages.all
    return kept[-1] if kept else Passage(Revision(""), 0.0)


def image_on(world: HubWorld, name: str) -> str:
    found: Any = world.sim.cluster(name).get("apps", "Deployment", "default", "web")
    return found["spec"]["template"]["spec"]["containers"][0]["image"] if found else ""


def on(world: HubWorld, tag: str) -> set[str]:
    return {name for name in CLUSTERS if image_on(world, name).endswith(f":{tag}")}


async def test_a_good_change_passes_all_steps_in_their_order(world: HubWorld) -> None:
    world.commit(first_commit(f"{{steps: [{STEPS}]}}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit({"overlays/web/web.yaml": deployment("2")})
        short = second[:7]
        await world.until_everywhere(second)
        assert await world.until(lambda: last(world).outcome == "done", "done")
        told = await story_of(world, second)
    assert told[0] == f"rollout of {short} begins: web"
    assert told[1:3] == [f"web {short} goes to dev-1, dev-2", f"web {short}: step dev is over"]
    went = [name for text in told[3:] if "goes to" in text for name in text.rpartition("goes to ")[2].split(", ")]
    assert sorted(went) == ["prod-1", "prod-2", "prod-3", "prod-4"]
    assert told[-1] == f"rollout of {short} done"


async def test_a_crashing_image_stops_at_one_cluster_and_a_fix_takes_over(world: HubWorld) -> None:
    world.commit(first_commit("{steps: [{name: canary, clusters: {names: [dev-1]}}, {name: all, rest: true}]}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        bad = world.commit({"overlays/web/web.yaml": deployment("crash")})
        await world.until(lambda: last(world).halted, "halted")
        assert on(world, "crash") == {"dev-1"}
        _, unit = await world.call("GET", "/api/v1/units/web@prod-1")
        assert (unit["status"]["sync"], unit["status"]["health"]) == ("Synced", "Healthy")
        assert "rollout halted at dev-1" in unit["status"]["message"]
        assert not world.progress(bad).done
        good = world.commit({"overlays/web/web.yaml": deployment("3")})
        await world.until_everywhere(good)
        assert on(world, "3") == set(CLUSTERS)
        told = await story_of(world, bad)
        assert any("superseded" in text for text in told)


async def test_where_asked_a_failure_is_taken_back_and_stays_away_until_a_person_lets_it_in(world: HubWorld) -> None:
    world.commit(first_commit(f"{{steps: [{STEPS}], onFailure: rollback}}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit({"overlays/web/web.yaml": deployment("crash")})
        await world.until(lambda: last(world).outcome == "rolled back", "rolled back")
        await world.until(lambda: on(world, "1") == set(CLUSTERS), "back on 1")
    async with world.run():  # neither a restart nor another commit with the same result brings it back
        await world.until(lambda: world.opened.view.waits, "waits")
        same = world.commit({"README.md": "another commit, the same result"})
        view = world.opened.view
        await world.until(lambda: view.head.commit == same and not view.rendering, "taken over")
        assert on(world, "1") == set(CLUSTERS)
        assert "was taken back by hub" in next(iter(world.opened.view.waits.values())).reason
        good = world.commit({"overlays/web/web.yaml": deployment("3")})
        await world.until_everywhere(good)


async def test_a_hub_killed_midway_goes_on_where_it_was(world: HubWorld) -> None:
    world.commit(first_commit("{steps: [{name: dev, environments: [dev], soak: 3s}, {name: prod, rest: true}]}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit({"overlays/web/web.yaml": deployment("2")})
        await world.until(lambda: on(world, "2") == {"dev-1", "dev-2"}, "dev")
    async with world.run(kill=True):
        await world.until(lambda: world.opened.view.advances, "soaks")
        assert on(world, "2") == {"dev-1", "dev-2"}
    async with world.run():
        await world.until_everywhere(second)
        await world.until(lambda: last(world).outcome == "done", "done")
        told = await story_of(world, second)
    short = second[:7]
    assert told == [
        f"rollout of {short} begins: web", f"web {short} goes to dev-1, dev-2", f"web {short}: step dev is over",
        f"web {short} goes to prod-1, prod-2, prod-3, prod-4", f"web {short}: step prod is over",
        f"rollout of {short} done",
    ]  # fmt: skip


async def test_what_does_not_change_is_on_the_new_commit_at_once(world: HubWorld) -> None:
    files = first_commit(f"{{steps: [{STEPS}]}}") | overlay("overlays/base", {"cm": config_map("base", "1")})
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        fault = world.sim.cluster("dev-1").faults.add("refuse")
        await world.until(lambda: not world.opened.view.clusters["dev-1"].reachable, "down")
        second = world.commit({"overlays/web/web.yaml": deployment("2")})
        await world.until(lambda: world.opened.view.waits, "waits for dev-1")
        _, unit = await world.call("GET", "/api/v1/units/base@prod-1")
        assert unit["status"]["commit"] == second
        assert not on(world, "2") & {"prod-1", "prod-2", "prod-3", "prod-4"}
        world.sim.cluster("dev-1").faults.remove(fault)
        await world.until_everywhere(second)


async def test_people_pause_promote_approve_and_roll_back(world: HubWorld) -> None:
    gate = "{name: dev, environments: [dev], soak: 1h}, {name: ok, approve: 1}, {name: prod, rest: true}"
    world.commit(first_commit("{steps: []}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        rollout = {"fleet.yaml": fleet_file(f"{{steps: [{gate}]}}"), "overlays/web/web.yaml": deployment("2")}
        second = world.commit(rollout)
        named = f"/api/v1/rollouts/{second[:7]}"

        async def order(path: str, **body: str) -> str:
            status, asked = await world.call("POST", path, {"reason": "test", **body})
            assert status == 202

            async def ended() -> str:
                return (await world.call("GET", f"/api/v1/operations/{asked['id']}"))[1].get("outcome", "")

            end = time.monotonic() + 30
            while not (outcome := await ended()):
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            return outcome

        await world.until(lambda: last(world).commit == second and on(world, "2") == {"dev-1", "dev-2"}, "dev")
        await world.until(lambda: "soaks" in str(world.opened.view.advances), "soaks")
        assert await order(f"{named}:promote") == "done"
        _, one = await world.call("GET", named)
        assert "approval of one person" in one["why"]
        assert await order(f"{named}:pause") == "done"
        assert await order(f"{named}:approve", step="nope") == "refused"
        assert await order(f"{named}:approve", step="ok") == "done"
        assert on(world, "2") == {"dev-1", "dev-2"}
        assert await order(f"{named}:resume") == "done"
        await world.until_everywhere(second)
        await world.until(lambda: last(world).outcome == "done", "done")
        assert await order("/api/v1/overlays/web:rollback", to="0000000") == "refused"
        assert await order("/api/v1/overlays/web:rollback") == "done"
        await world.until(lambda: on(world, "1") == set(CLUSTERS), "back")
        await world.until(lambda: not world.progress(second).done, "reported")
        assert await order(f"{named}:resume") == "done"
        await world.until(lambda: on(world, "2") == {"dev-1", "dev-2"}, "again from the first step")
        await world.until(lambda: "soaks" in str(world.opened.view.advances), "soaks again")
        assert await order(f"{named}:promote") == "done"
        await world.until(lambda: "approval of one person" in str(world.opened.view.advances), "asked anew")
        assert on(world, "2") == {"dev-1", "dev-2"}, "the approval from before the rollback counts no more"


async def test_by_default_one_cluster_of_the_first_environment_is_hit_and_no_other(world: HubWorld) -> None:
    files = first_commit("{steps: []}")
    files["fleet.yaml"] = files["fleet.yaml"].replace("  rollout: {steps: []}\n", "")
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit({"overlays/web/web.yaml": deployment("crash")})
        await world.until(lambda: last(world).halted, "halted")
        assert on(world, "crash") == {"dev-1"}
        good = world.commit({"overlays/web/web.yaml": deployment("2")})
        await world.until_everywhere(good)
        await world.until(lambda: last(world).outcome == "done", "done")
        told = [text for text in await story_of(world, good) if "goes to" in text]
    short = good[:7]
    assert told == [
        f"web {short} goes to dev-1", f"web {short} goes to dev-2",
        f"web {short} goes to prod-1", f"web {short} goes to prod-2, prod-3, prod-4",
    ]  # fmt: skip


async def test_a_hub_that_stood_still_for_hours_goes_on_where_its_soak_stood(world: HubWorld) -> None:
    """Its clocks are set forward, as those of a process are that was stopped, and between two looks nobody looks."""
    world.limits = replace(world.limits, report_seconds=1.0)
    soaks = "{name: dev, environments: [dev], soak: 10m}, {name: prod, rest: true}"
    world.commit(first_commit(f"{{steps: [{soaks}]}}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit({"overlays/web/web.yaml": deployment("2")})
        await world.until(lambda: last(world).rows and last(world).rows["web"].calm, "it soaks")
        world.ahead.seconds += 7200.0
        stood = world.ahead.wall()
        view = world.opened.view
        await world.until(lambda: all(known.at >= stood for known in view.clusters.values()), "all have spoken")
        await world.pass_time(1.0)
        assert (on(world, "2"), last(world).rows["web"].passed) == ({"dev-1", "dev-2"}, frozenset())
        await world.pass_time(600.0)
        await world.until(lambda: on(world, "2") == set(CLUSTERS), "twin: time in which it looks is soak")
