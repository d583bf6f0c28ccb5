from __future__ import annotations

import asyncio
import statistics
import time

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane
from testbed.workloads import IMAGE, deployment

from fleet.core.status import EventKind, Health, Sync
from fleet.core.sync_policy import IgnoreRule, SyncPolicy, Validate

NO_HEAL = SyncPolicy(validate=Validate.SCHEMA, self_heal=False)


def configs(shop: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps"


async def test_a_deleted_object_is_made_anew(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        uid = client.get(f"{configs(shop)}/a")["metadata"]["uid"]
        client.delete(f"{configs(shop)}/a")
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        assert client.get(f"{configs(shop)}/a")["metadata"]["uid"] != uid
        await hub.until_well(unit)


async def test_a_lost_label_is_restored_though_the_watch_says_deleted(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        before = client.get(f"{configs(shop)}/a")["metadata"]
        client.merge(f"{configs(shop)}/a", {"metadata": {"labels": {"fleet.internal/installation": None}}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        after = client.get(f"{configs(shop)}/a")["metadata"]
        assert (after["uid"], after["labels"]) == (before["uid"], before["labels"])
        await hub.until_well(unit)


@pytest.mark.parametrize("labels_too", [False, True])
async def test_an_object_without_our_annotation_is_released_and_left_alone(
    hub: Hub, api_server: ControlPlane, shop: str, labels_too: bool
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        patch = {"annotations": {"fleet.internal/owner": None}}
        if labels_too:
            patch["labels"] = {"fleet.internal/installation": None, "applyset.kubernetes.io/part-of": None}
        client.merge(f"{configs(shop)}/a", {"metadata": patch, "data": {"a": "mine"}})
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.reason == "Released", "released")
        hub.want("web", [config_map("b", shop)], commit="b")
        await hub.until(lambda: len(hub.units[unit].objects) == 1, "let go")
        assert client.get(f"{configs(shop)}/a")["data"] == {"a": "mine"}


async def test_drift_is_reported_with_both_values_and_manager_where_self_heal_is_off(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)], sync=NO_HEAL)
    async with hub.worker():
        await hub.until_well(unit)
        client.request(
            "PATCH",
            f"{configs(shop)}/a",
            {"data": {"a": "9"}},
            content_type="application/merge-patch+json",
            query={"fieldManager": "kubectl-edit"},
        )
        status = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.drift and s, "drift")
        (drift,) = status.drift
        assert (drift.path, drift.desired, drift.live, drift.manager) == ("data.a", "1", "9", "kubectl-edit")
        assert time.time() - 60 < drift.since <= time.time()
        assert hub.units[unit].sync is Sync.OUT_OF_SYNC
        client.merge(f"{configs(shop)}/a", {"data": {"a": "1"}})
        await hub.until_well(unit)
        assert not hub.object(unit, "ConfigMap", "a").drift


async def test_with_self_heal_off_a_deleted_object_is_reported_until_the_next_commit(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)], sync=NO_HEAL)
    async with hub.worker():
        await hub.until_well(unit)
        client.delete(f"{configs(shop)}/a")
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").health is Health.MISSING, "missing")
        await asyncio.sleep(0.3)
        assert not client.exists(f"{configs(shop)}/a")
        hub.want("web", [config_map("a", shop), config_map("b", shop, {"a": "2"})], commit="b", sync=NO_HEAL)
        await hub.until_well(unit)


async def test_secret_values_in_drift_are_masked(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": shop},
        "stringData": {"password": "seeded-secret-value"},
    }
    unit = hub.want("web", [secret], sync=NO_HEAL)
    async with hub.worker():
        await hub.until_well(unit)
        path = f"/api/v1/namespaces/{shop}/secrets/s"
        assert client.get(path)["data"] == {"password": "c2VlZGVkLXNlY3JldC12YWx1ZQ=="}
        client.merge(path, {"stringData": {"password": "another-seeded-value"}})
        status = await hub.until(lambda: (s := hub.object(unit, "Secret", "s")) and s.drift and s, "drift")
        assert [(d.masked, d.desired, d.live) for d in status.drift] == [(True, None, None)]
        everything = repr(hub.reports) + repr(hub.audited) + repr(await hub.journal.load())
        for word in ("seeded", "c2VlZGVk", "YW5vdGhlci"):
            assert word not in everything


async def test_a_thousand_foreign_changes_cost_no_request(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop), deployment("d", shop)])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].sync is Sync.SYNCED, "synced")
        await asyncio.sleep(0.3)
        mark = api_server.ledger_mark()

        def change() -> None:
            for turn in range(500):
                client.merge(f"{configs(shop)}/a", {"metadata": {"annotations": {"other": str(turn)}}})
                path = f"/apis/apps/v1/namespaces/{shop}/deployments/d/status"
                client.merge(path, {"status": {"observedGeneration": 1, "replicas": turn}})

        await asyncio.to_thread(change)
        await asyncio.sleep(0.5)
        asked = [r for r in api_server.ledger(mark, user_agent="fleet") if r.verb != "watch"]
        assert [r for r in asked if r.resource not in ("pods", "replicasets")] == []


async def test_healing_a_field_takes_milliseconds(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map(f"c{n}", shop) for n in range(20)])
    async with hub.worker():
        await hub.until_well(unit)
        mark = api_server.ledger_mark()

        def race() -> list[float]:
            times = []
            for turn in range(20):
                path = f"{configs(shop)}/c{turn}"
                start = time.perf_counter()
                client.merge(path, {"data": {"a": "drifted"}})
                client.wait(path, lambda seen: seen["data"] == {"a": "1"})
                times.append(time.perf_counter() - start)
            return times

        times = await asyncio.to_thread(race)
        print("healed after ms", statistics.median(times) * 1000, max(times) * 1000)
        await asyncio.sleep(0.2)
        asked = [r for r in api_server.ledger(mark, user_agent="fleet") if r.verb != "watch"]
        assert len(asked) == 20
        assert all(r.is_write for r in asked)
        await hub.until(lambda: len(hub.told(EventKind.HEALED)) == 20, "told")
        drifted = hub.told(EventKind.DRIFTED)
        assert len(drifted) == 20  # each once, and with its field
        assert all("data.a" in event.message for event in drifted)


async def test_a_rival_is_named_and_reverts_back_off(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)

        def fight() -> int:
            reverts = 0
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                if client.get(f"{configs(shop)}/a")["data"] == {"a": "1"}:
                    reverts += 1
                    query = {"fieldManager": "rival"}
                    kind = "application/merge-patch+json"
                    client.request("PATCH", f"{configs(shop)}/a", {"data": {"a": "no"}}, content_type=kind, query=query)
                time.sleep(0.01)
            return reverts

        reverts = await asyncio.to_thread(fight)
        assert 3 <= reverts <= 8
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").reason == "RivalManager", "rival")
        assert "rival" in hub.object(unit, "ConfigMap", "a").message
        client.merge(f"{configs(shop)}/b", {"data": {"a": "x"}})
        await asyncio.to_thread(client.wait, f"{configs(shop)}/b", lambda seen: seen["data"] == {"a": "1"}, seconds=2)


async def test_ignored_fields_belong_to_others_and_are_handed_over(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    path = f"/apis/apps/v1/namespaces/{shop}/deployments/d"
    unit = hub.want("web", [deployment("d", shop, replicas=3)])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].sync is Sync.SYNCED, "synced")
        rule = IgnoreRule(kind="Deployment", pointers=("/spec/replicas",))
        hub.want("web", [deployment("d", shop, replicas=3)], commit="b", ignore=(rule,))
        await hub.until(lambda: hub.units[unit].commit == "b" * 40, "at b")
        assert client.get(path)["spec"]["replicas"] == 3
        client.merge(path, {"spec": {"replicas": 7}})
        await asyncio.sleep(0.5)
        assert client.get(path)["spec"]["replicas"] == 7
        assert hub.units[unit].sync is Sync.SYNCED
        client.merge(path, {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "other"}]}}}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "the rest is still ours")
        healed = client.get(path)["spec"]
        assert (healed["replicas"], healed["template"]["spec"]["containers"][0]["image"]) == (7, IMAGE)
