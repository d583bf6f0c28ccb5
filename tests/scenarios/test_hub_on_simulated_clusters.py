"""The whole hub on simulated clusters: from a commit to converged clusters, through faults and restarts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay
from testbed.otlp import OtlpReceiver

from fleet.core.status import Health, Sync
from fleet.errors import StateInUse
from fleet.hub.assembly import open_hub
from fleet.telemetry import trace_of

CLUSTERS = ("dev-1", "eu-1", "eu-2", "us-1")


def first_commit() -> dict[str, str]:
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in CLUSTERS}
    files |= overlay("overlays/web", {"one": config_map("web-one", "1"), "two": config_map("web-two", "1")})
    files |= overlay("overlays/edge", {"edge": config_map("edge", "1")}, clusters="[{matchLabels: {region: eu}}]")
    return files


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


async def test_a_commit_reaches_all_its_units_and_a_one_line_commit_is_one_write_each(world: HubWorld) -> None:
    first = world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(first)
        assert {str(name) for name in world.opened.view.units} == {
            *(f"web@{name}" for name in CLUSTERS), "edge@eu-1", "edge@eu-2",
        }  # fmt: skip
        before = world.marks()
        second = world.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
        await world.until_everywhere(second)
        assert world.writes(before) == {name: ["patch configmaps edge"] for name in ("eu-1", "eu-2")}
        assert world.sim.cluster("eu-1").get("", "ConfigMap", "default", "edge")["data"] == {"a": "2"}
        assert await world.until(lambda: second in world.opened.view.converged, "converged")


async def test_drift_is_healed_and_a_dropped_object_is_pruned(world: HubWorld) -> None:
    world.commit({**first_commit(), **overlay("overlays/web", {n: config_map(n, "1") for n in "abcdefgh"})})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        eu = world.sim.cluster("eu-1")
        eu.drift("", "ConfigMap", "default", "edge", {"data": {"a": "by hand"}})
        await world.until(lambda: eu.get("", "ConfigMap", "default", "edge")["data"] == {"a": "1"}, "healed")
        second = world.commit({"overlays/edge/kustomization.yaml": kustomization("edge.yaml", "more.yaml"),
                               "overlays/edge/more.yaml": config_map("more", "1")})  # fmt: skip
        await world.until_everywhere(second)
        third = world.commit({"overlays/edge/kustomization.yaml": kustomization("edge.yaml")})
        await world.until(lambda: eu.get("", "ConfigMap", "default", "more") is None, "pruned")
        await world.until_everywhere(third)
        assert eu.get("", "ConfigMap", "default", "edge") is not None


async def test_a_removed_namespace_waits_for_the_approval_of_exactly_its_list(world: HubWorld) -> None:
    files = first_commit()
    files |= overlay("overlays/shop", {"ns": namespace("shop"), "cm": config_map("c", "1", "shop")},
                     clusters="[{names: [eu-1]}]")  # fmt: skip
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        eu = world.sim.cluster("eu-1")
        world.commit(
            {
                "overlays/shop/kustomization.yaml": kustomization("cm.yaml"),
                "overlays/shop/cm.yaml": config_map("c", "2", "default"),
                "overlays/shop/ns.yaml": None,
            }
        )

        async def open_hold() -> dict[str, object] | None:
            _, answer = await world.call("GET", "/api/v1/holds?openOnly=true")
            return answer["items"][0] if answer["items"] else None

        hold = await _until_some(open_hold)
        assert {entry["object"] for entry in hold["deletions"]} >= {"Namespace shop"}
        assert eu.get("", "Namespace", "", "shop") is not None
        name = hold["metadata"]["name"]
        status, problem = await world.call("POST", f"/api/v1/holds/{name}:approve", {"listDigest": "0" * 64})
        assert (status, problem["type"]) == (409, "urn:fleet:PreconditionFailed")
        status, _ = await world.call("POST", f"/api/v1/holds/{name}:approve", {"listDigest": hold["listDigest"]})
        assert status == 200
        await world.until(lambda: eu.get("", "Namespace", "", "shop") is None, "namespace deleted")
        await world.until_everywhere(world.repo.head())
        status, audit = await world.call("GET", "/api/v1/audit?limit=1000")
        actions = [entry["action"] for entry in audit["items"]]
        assert "hold-approved" in actions
        assert "delete" in actions


async def test_a_suspended_cluster_gets_no_write_until_it_is_resumed(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        status, _ = await world.call("POST", "/api/v1/clusters/eu-1:suspend", {"reason": "disk swap"})
        assert status == 200
        await world.until(lambda: any("disk swap" in link.reason for link in world.unit("web@eu-1").blocked_by))
        before = world.marks()
        second = world.commit({"overlays/web/one.yaml": config_map("web-one", "2")})
        await world.until(lambda: world.progress(second).there >= 5, "the others")
        assert "eu-1" not in world.writes(before)
        assert set(world.writes(before)) == {"dev-1", "eu-2", "us-1"}
        status, _ = await world.call("POST", "/api/v1/clusters/eu-1:resume", {})
        assert status == 200
        await world.until_everywhere(second)
        assert world.writes(before)["eu-1"] == ["patch configmaps web-one"]


async def test_a_cluster_that_is_down_is_unknown_with_its_reason_and_comes_back_by_itself(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        fault = world.sim.cluster("us-1").faults.add("refuse")
        await world.until(lambda: not world.opened.view.clusters["us-1"].reachable, "noticed")
        _, unit = await world.call("GET", "/api/v1/units/web@us-1")
        assert (unit["status"]["sync"], unit["status"]["health"]) == ("Unknown", "Unknown")
        assert "was Synced, Healthy" in unit["status"]["message"]
        second = world.commit({"overlays/web/one.yaml": config_map("web-one", "2")})
        await world.until(lambda: world.progress(second).there == 5, "the others go on")
        await world.until(lambda: "refuses" in world.opened.view.clusters["us-1"].message, "tried again")
        missing = world.progress(second).missing
        assert [line.unit for line in missing] == ["web@us-1"]
        assert "refuses connections" in missing[0].reason
        world.sim.cluster("us-1").faults.remove(fault)
        await world.until_everywhere(second)


async def test_a_killed_hub_starts_again_without_a_write_or_a_build(world: HubWorld) -> None:
    first = world.commit(first_commit())
    async with world.run(kill=True):
        await world.until_everywhere(first)
    before = world.marks()
    async with world.run():
        await world.until(lambda: world.opened.view.fleet is not None, "taken over")
        await world.until(lambda: all(r.reachable for r in world.opened.view.clusters.values()), "connected")
        await world.until_everywhere(first)
        second = world.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
        await world.until_everywhere(second)
        assert world.writes(before) == {name: ["patch configmaps edge"] for name in ("eu-1", "eu-2")}
        assert world.opened.adapters.renderer.stats.builds == 1


async def test_a_second_hub_on_the_same_data_directory_is_refused(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        with pytest.raises(StateInUse):
            await open_hub(world.make_settings())
        await world.until_everywhere(world.repo.head())


async def test_a_removed_cluster_is_detached_and_keeps_its_objects(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit({"clusters/us-1.yaml": None})
        await world.until(lambda: "us-1" not in world.opened.view.clusters, "let go")
        found = world.sim.cluster("us-1").get("", "ConfigMap", "default", "web-one")
        assert found is not None
        assert "fleet.internal/owner" not in found["metadata"].get("annotations", {})
        await world.until_everywhere(second)


async def test_a_cluster_removed_while_it_was_down_is_detached_after_a_restart(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        fault = world.sim.cluster("us-1").faults.add("refuse")
        second = world.commit({"clusters/us-1.yaml": None})
        await world.until_everywhere(second)
    async with world.run():
        await world.until(lambda: world.opened.view.fleet is not None, "taken over")
        world.sim.cluster("us-1").faults.remove(fault)
        await world.until(lambda: "us-1" not in world.opened.view.clusters and _is_free(world), "let go")


def _is_free(world: HubWorld) -> bool:
    found = world.sim.cluster("us-1").get("", "ConfigMap", "default", "web-one")
    return "fleet.internal/owner" not in found["metadata"].get("annotations", {})


async def _until_some(ask, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := await ask():
            return found
    raise AssertionError("not seen")


async def test_statuses_carry_sync_and_health_of_every_unit(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        assert all(
            unit.sync is Sync.SYNCED and unit.health is Health.HEALTHY for unit in world.opened.view.units.values()
        )


async def test_a_commit_is_one_trace_with_its_stages_clusters_and_units(world: HubWorld, otlp: OtlpReceiver) -> None:
    world.settings["otlp_endpoint"] = otlp.endpoint
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
        await world.until(lambda: second in world.opened.view.converged, "converged")
    spans = [span for span in otlp.spans if span.trace_id == trace_of("default", second).trace_hex]
    by_name = Counter(span.name for span in spans)
    assert by_name == {"commit": 1, "fetch": 1, "inventory": 1, "render": 1, "cluster": 2, "unit": 2}
    root = next(span for span in spans if span.name == "commit")
    assert (root.parent_id, root.attributes["fleet.outcome"]) == ("", "converged")
    clusters = {span.attributes["fleet.cluster"]: span for span in spans if span.name == "cluster"}
    assert all(span.parent_id == root.span_id for span in spans if span.name not in {"commit", "unit"})
    for span in spans:
        if span.name == "unit":
            parent = clusters[span.attributes["fleet.cluster"]]
            assert span.parent_id == parent.span_id
            assert parent.start_ns <= span.start_ns <= span.end_ns <= root.end_ns


async def test_a_restart_midway_goes_on_in_the_same_trace_and_repeats_no_root(
    world: HubWorld, otlp: OtlpReceiver
) -> None:
    world.settings["otlp_endpoint"] = otlp.endpoint
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        fault = world.sim.cluster("eu-2").faults.add("refuse")
        await world.until(lambda: not world.opened.view.clusters["eu-2"].reachable, "down")
        second = world.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
        await world.until(lambda: world.unit("edge@eu-1").commit == second, "one of two")
        assert second not in world.opened.view.converged
    world.sim.cluster("eu-2").faults.remove(fault)
    async with world.run():
        await world.until(lambda: second in world.opened.view.converged, "converged")
    async with world.run():
        await world.until(lambda: second in world.opened.view.converged, "known to have converged")
        await world.until_everywhere(second)
    spans = [span for span in otlp.spans if span.trace_id == trace_of("default", second).trace_hex]
    roots = [span for span in spans if span.name == "commit"]
    assert len(roots) == 1
    assert {span.attributes["fleet.unit"] for span in spans if span.name == "unit"} == {"edge@eu-1", "edge@eu-2"}
    assert roots[0].start_ns <= min(span.start_ns for span in spans if span.name == "unit")


async def test_a_whole_fleet_file_that_breaks_keeps_everything_in_force(world: HubWorld) -> None:
    files = first_commit()
    files["fleet.yaml"] = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
    files["fleet.yaml"] += "spec: {rollout: {steps: []}}\n"
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = world.marks()
        broken = world.commit({"fleet.yaml": "kind: [", "overlays/web/one.yaml": config_map("web-one", "2")})
        await world.until(lambda: world.opened.view.head.commit == broken, "taken over")
        world.sim.cluster("eu-1").drift("", "ConfigMap", "default", "edge", {"data": {"a": "by hand"}})
        await world.until(lambda: world.writes(before).get("eu-1"), "drift healed meanwhile")
        assert set(world.writes(before)) == {"eu-1"}
        mended = world.commit({"fleet.yaml": files["fleet.yaml"]})
        await world.until_everywhere(mended)
        found = world.sim.cluster("us-1").get("", "ConfigMap", "default", "web-one")
        assert found["data"] == {"a": "2"}
