"""Who goes without steps is still not written before what it depends on has its newest result (dependsOn)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

FLEET = """\
apiVersion: fleet.internal/v1
kind: Fleet
metadata: {name: default}
spec: {rollout: {steps: [{name: ok, approve: 1}, {name: all, rest: true}]}}
"""
AT_ONCE = {"rollout": "{steps: []}"}
BY_HAND = {**AT_ONCE, "sync": "{mode: manual}"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ["eu-1"]) as made:
        yield made


def files(platform: str, web: str, *, below: dict[str, str] | None = None, above: dict[str, str]) -> dict[str, str]:
    """web needs platform; each by its value. below, above: how each of them goes."""
    return {
        "fleet.yaml": FLEET,
        "clusters/eu-1.yaml": cluster_file("eu-1"),
        **overlay("overlays/platform", {"cm": config_map("platform", platform)}, **(below or {})),
        **overlay("overlays/web", {"cm": config_map("web", web)}, dependsOn="[platform]", **above),
    }


def reason(world: HubWorld, name: str) -> str:
    unit = world.unit(f"{name}@eu-1")
    return "; ".join(link.reason for link in unit.blocked_by) if unit is not None else ""


async def approve(world: HubWorld, commit: str) -> None:
    await world.until(lambda: commit in world.opened.view.advances, "its rollout is under way")
    body = {"reason": "seen", "step": "ok"}
    status, answer = await world.call("POST", f"/api/v1/rollouts/{commit}:approve", body)
    assert status == 202, answer


async def synced(world: HubWorld) -> dict[str, str]:
    """A person's sync of web, as it ended."""
    status, asked = await world.call("POST", "/api/v1/units/web@eu-1:sync", {"reason": "now"})
    assert status == 202
    answer = dict[str, str]()
    while not answer.get("outcome"):
        await asyncio.sleep(0.02)
        _, answer = await world.call("GET", f"/api/v1/operations/{asked['id']}")
    return answer


async def test_what_goes_at_once_waits_for_the_step_of_what_it_depends_on(world: HubWorld) -> None:
    world.commit(files("1", "1", above=AT_ONCE))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        marks = world.marks()
        second = world.commit(files("2", "2", above=AT_ONCE))
        waits = "for platform@eu-1, which waits for its own release, to be Healthy"
        await world.until(lambda: reason(world, "web") == waits, "web waits")
        assert not world.writes(marks)
        await approve(world, second)
        await world.until_everywhere(second)
        assert world.writes(marks)["eu-1"] == ["patch configmaps platform", "patch configmaps web"]
        assert not reason(world, "web")


async def test_what_a_person_syncs_waits_for_the_step_too(world: HubWorld) -> None:
    world.commit(files("1", "1", above=AT_ONCE))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        marks = world.marks()
        second = world.commit(files("2", "2", above=BY_HAND))
        await world.until(lambda: "platform@eu-1" in reason(world, "web"), "web waits")
        refused = await synced(world)
        assert refused["outcome"] == "refused"
        assert "platform@eu-1, which waits for its own release" in refused["message"]
        await approve(world, second)
        await world.until(lambda: "platform@eu-1" not in reason(world, "web"), "platform has it")
        assert (await synced(world))["outcome"] == "done"
        assert world.writes(marks)["eu-1"] == ["patch configmaps platform", "patch configmaps web"]


async def test_twin_without_steps_both_go_at_once_and_in_their_order(world: HubWorld) -> None:
    world.commit(files("1", "1", below=AT_ONCE, above=AT_ONCE))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        for number in ("2", "3"):
            marks = world.marks()
            commit = world.commit(files(number, number, below=AT_ONCE, above=AT_ONCE))
            await world.until_everywhere(commit)
            assert world.writes(marks)["eu-1"] == ["patch configmaps platform", "patch configmaps web"]


async def test_twin_a_change_of_its_own_waits_for_nothing(world: HubWorld) -> None:
    world.commit(files("1", "1", above=AT_ONCE))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        marks = world.marks()
        second = world.commit(files("1", "2", above=AT_ONCE))
        await world.until_everywhere(second)
        assert world.writes(marks)["eu-1"] == ["patch configmaps web"]


def deployment(version: str) -> str:
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: slow, namespace: default}}
spec:
  selector: {{matchLabels: {{app: slow}}}}
  template:
    metadata: {{labels: {{app: slow}}}}
    spec: {{containers: [{{name: c, image: "reg.example/slow:{version}"}}]}}
"""


def in_waves(platform: str, web: str) -> dict[str, str]:
    """web in two waves: a Deployment that takes its time, and what comes after it."""
    last = config_map("web", web).replace(
        "namespace: default", "namespace: default, annotations: {fleet.internal/wave: '1'}"
    )
    made = overlay("overlays/web", {"cm": last, "slow": deployment(f"{web}-slow")}, dependsOn="[platform]", **AT_ONCE)
    return {**files(platform, web, above=AT_ONCE), **made}


async def test_what_was_begun_is_applied_whole_though_what_it_depends_on_waits_since(world: HubWorld) -> None:
    world.commit(in_waves("1", "1"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        world.commit(in_waves("1", "2"))

        def image() -> str:
            found = world.sim.cluster("eu-1").get("apps", "Deployment", "default", "slow") or {}
            return found["spec"]["template"]["spec"]["containers"][0]["image"]

        await world.until(lambda: image().endswith("2-slow"), "the first wave")
        world.commit(in_waves("2", "2"))
        await world.until(lambda: world.opened.view.advances, "platform waits")
        assert value_of(world, "web") == "1", "amid its waves"
        await world.until(lambda: value_of(world, "web") == "2", "the second wave")
        assert value_of(world, "platform") == "1"


async def test_who_has_all_of_its_own_waits_for_nothing_and_is_synced_when_asked(world: HubWorld) -> None:
    world.commit(files("1", "1", above=AT_ONCE))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit(files("2", "1", above=AT_ONCE))
        await world.until(lambda: second in world.opened.view.advances, "platform waits")
        assert not reason(world, "web")
        assert (await synced(world))["outcome"] == "done"


async def test_a_link_that_comes_while_the_other_waits_already_holds_at_once(world: HubWorld) -> None:
    alone = {**files("1", "1", above=AT_ONCE), **overlay("overlays/web", {"cm": config_map("web", "1")}, **AT_ONCE)}
    world.commit(alone)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit({**alone, **overlay("overlays/platform", {"cm": config_map("platform", "2")})})
        await world.until(lambda: second in world.opened.view.advances, "platform waits")
        marks = world.marks()
        world.commit(files("2", "2", above=AT_ONCE))
        waits = "for platform@eu-1, which waits for its own release, to be Healthy"
        await world.until(lambda: reason(world, "web") == waits, "web waits")
        assert not world.writes(marks)


async def test_what_goes_back_waits_for_no_newest_result_of_others(world: HubWorld) -> None:
    """Platform was taken back, and holds an earlier result; so does web, once it is told to."""
    by_steps = {"rollout": "{steps: [{name: all, rest: true}]}"}
    world.commit(files("1", "1", below=by_steps, above=by_steps))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.until_everywhere(world.commit(files("2", "2", below=by_steps, above=by_steps)))
        for name in ("platform", "web"):
            status, answer = await world.call("POST", f"/api/v1/overlays/{name}:rollback", {"reason": "it is bad"})
            assert status == 202, answer
            await world.until(lambda name=name: value_of(world, name) == "1", f"{name} went back")


def value_of(world: HubWorld, name: str) -> str:
    found = world.sim.cluster("eu-1").get("", "ConfigMap", "default", name)
    return next(iter(found["data"].values())) if found else ""
