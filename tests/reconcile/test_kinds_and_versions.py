"""Kinds and versions come and go while a hub is connected: what is served is asked anew, and only where it matters."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.status import EventKind, Sync
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.errors import Forbidden, ServerFailed
from fleet.ports.kube import Catalog, ObjectList, ServedKind
from fleet.reconcile import served

GROUP, KIND, NAME = "db.example.com", "Database", "databases.db.example.com"
SCHEMA = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}


def definition(*versions: str) -> dict[str, Any]:
    names = {"plural": "databases", "singular": "database", "kind": KIND, "listKind": "DatabaseList"}
    served = [{"name": name, "served": True, "storage": name == versions[-1], "schema": SCHEMA} for name in versions]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": served},
    }


def database(version: str, size: str = "1") -> dict[str, Any]:
    metadata = {"name": "orders", "namespace": SHOP}
    return {"apiVersion": f"{GROUP}/{version}", "kind": KIND, "metadata": metadata, "spec": {"size": size}}


def size_of(hub: SimHub) -> str:
    found: Any = hub.cluster.get(GROUP, KIND, SHOP, "orders")
    return found["spec"]["size"]


def looks_since(hub: SimHub, sequence: int) -> int:
    """Questions what is served."""
    return sum(entry.resource == "/apis" for entry in hub.cluster.ledger.since(sequence))


async def test_a_version_that_a_commit_brings_along_is_applied_at_once(first: SimHub) -> None:
    unit = first.want("web", [definition("v1beta1"), database("v1beta1")])
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [definition("v1beta1", "v1"), database("v1", "2")], commit="b")
        await first.until_well(unit)
        assert size_of(first) == "2"


async def test_an_object_moves_to_the_version_that_is_left_and_is_watched_at_it(first: SimHub) -> None:
    unit = first.want("web", [definition("v1beta1", "v1"), database("v1beta1")])
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [definition("v1"), database("v1", "3")], commit="b")
        await first.until_well(unit, seconds=60)
        assert size_of(first) == "3"
        first.cluster.drift(GROUP, KIND, SHOP, "orders", {"spec": {"size": "9"}})
        async with asyncio.timeout(20):
            while size_of(first) != "3":
                await asyncio.sleep(0.05)


def strict(*fields: str) -> dict[str, Any]:
    """A definition that knows these fields alone."""
    spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    found = definition("v1")
    found["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return found


def tiered(tier: str) -> dict[str, Any]:
    found = database("v1")
    found["spec"]["tier"] = tier
    return found


async def test_a_field_that_a_commit_declares_is_used_by_the_same_commit(first: SimHub) -> None:
    policy = SyncPolicy(validate=Validate.SERVER)
    unit = first.want("web", [strict("size"), database("v1")], sync=policy)
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [strict("size", "tier"), tiered("gold"), config_map("a", SHOP)], commit="b", sync=policy)
        await first.until_well(unit, seconds=8)
    found: Any = first.cluster.get(GROUP, KIND, SHOP, "orders")
    assert found["spec"]["tier"] == "gold"


async def test_a_field_that_no_one_declares_is_refused_before_the_first_write(first: SimHub) -> None:
    policy = SyncPolicy(validate=Validate.SERVER)
    unit = first.want("web", [strict("size"), database("v1")], sync=policy)
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [strict("size"), tiered("gold"), config_map("a", SHOP)], commit="b", sync=policy)
        await first.until(lambda: "refused, nothing was written" in first.units[unit].message, "refused")
    assert first.cluster.get("", "ConfigMap", SHOP, "a") is None


def scaler(version: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    of_version: dict[str, Any] = {
        "v1": {"targetCPUUtilizationPercentage": 80},
        "v2": {"metrics": [{"type": "Resource", "resource": cpu}]},
    }
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": SHOP},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, **of_version[version]},
    }


def patches_since(hub: SimHub, sequence: int, plural: str) -> list[bool]:
    """Patches of objects of a kind; True: a dry-run."""
    entries = hub.cluster.ledger.since(sequence)
    return [entry.dry_run for entry in entries if entry.resource == plural and entry.verb == "patch"]


async def test_an_object_that_moved_to_another_version_is_not_applied_again_for_each_event(first: SimHub) -> None:
    unit = first.want("web", [scaler("v1")])
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [scaler("v2")], commit="b")
        await first.until_well(unit)
        since = first.cluster.ledger.sequence
        for number in range(5):
            status = {"status": {"currentReplicas": number, "desiredReplicas": 2}}
            of = {"manager": "kube-controller-manager", "subresource": "status"}
            first.cluster.drift("autoscaling", "HorizontalPodAutoscaler", SHOP, "web", status, **of)
            await asyncio.sleep(0.3)
        assert len(patches_since(first, since, "horizontalpodautoscalers")) <= 1
        assert all(patches_since(first, since, "horizontalpodautoscalers"))
        assert first.is_well(unit)
        assert not first.told(EventKind.DRIFTED)
        first.cluster.drift("autoscaling", "HorizontalPodAutoscaler", SHOP, "web", {"spec": {"maxReplicas": 9}})
        await first.until(lambda: first.told(EventKind.HEALED), "healed")
        await first.until_well(unit)


async def test_two_units_may_apply_one_kind_at_two_versions(first: SimHub) -> None:
    first.cluster.create(definition("v1beta1", "v1"))
    other = database("v1")
    other["metadata"]["name"] = "users"
    units = first.want("old", [database("v1beta1")], send=False), first.want("new", [other])
    async with first.worker():
        await first.until_well(*units)
        since = first.cluster.ledger.sequence
        for number in range(5):
            for name in ("orders", "users"):
                first.cluster.drift(GROUP, KIND, SHOP, name, {"status": {"tick": str(number)}})
            await asyncio.sleep(0.3)
        assert len(patches_since(first, since, "databases")) <= 1
        assert all(patches_since(first, since, "databases"))
        for name in ("orders", "users"):
            first.cluster.drift(GROUP, KIND, SHOP, name, {"spec": {"size": "9"}})
        await first.until(lambda: len(first.told(EventKind.HEALED)) == 2, "healed")
        await first.until_well(*units)
        drifted = [event.message for event in first.told(EventKind.DRIFTED)]
        assert all("spec.size" in message for message in drifted), drifted


async def test_a_version_that_no_one_brings_waits_with_its_reason(first: SimHub) -> None:
    unit = first.want("web", [definition("v1beta1"), database("v1beta1"), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [definition("v1beta1"), database("v2"), config_map("b", SHOP)], commit="b")
        found = await first.until(lambda: (s := first.object(unit, KIND, "orders")) and s.reason and s, "named")
        assert found.reason == "KindNotServed"
        assert "v2" in found.message
        await first.until(lambda: (s := first.object(unit, "ConfigMap", "b")) and s.sync is Sync.SYNCED, "the rest")


async def test_what_is_served_is_not_asked_while_nothing_changes(first: SimHub) -> None:
    unit = first.want("web", [definition("v1"), database("v1"), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        await asyncio.sleep(1)
        since = first.cluster.ledger.sequence
        for value in "23":
            first.want("web", [definition("v1"), database("v1", value), config_map("a", SHOP)], commit=f"{value}")
            await first.until_well(unit)
        await asyncio.sleep(2)
        assert looks_since(first, since) == 0


async def test_objects_of_a_kind_that_is_gone_keep_no_other_deletion_back(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_SURELY_SECONDS", 1.0)
    first.cluster.create(definition("v1"))
    unit = first.want("web", [database("v1"), config_map("a", SHOP), config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        first.cluster.remove("apiextensions.k8s.io", "CustomResourceDefinition", "", NAME)
        await asyncio.sleep(0.5)
        first.want("web", [config_map("a", SHOP)], commit="b")
        await first.until_well(unit, seconds=60)
        assert first.cluster.get("", "ConfigMap", SHOP, "b") is None
        since = first.cluster.ledger.sequence
        await asyncio.sleep(3)
        assert looks_since(first, since) == 0
        assert not [entry for entry in first.cluster.ledger.since(since) if entry.resource == "databases"]


async def test_so_does_one_that_went_while_no_hub_ran(first: SimHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_SURELY_SECONDS", 1.0)
    first.cluster.create(definition("v1"))
    unit = first.want("web", [database("v1"), config_map("a", SHOP), config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(unit)
    first.cluster.remove("apiextensions.k8s.io", "CustomResourceDefinition", "", NAME)
    await asyncio.sleep(0.5)
    first.want("web", [config_map("a", SHOP)], commit="b")
    async with first.worker():
        await first.until_well(unit, seconds=60)
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is None


class Mute:
    """A cluster on which one API group does not answer for a while."""

    silent = True

    def __init__(self, kube: Any) -> None:
        self._kube = kube

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def discover(self, *, fresh: bool = False) -> Catalog:
        found = await self._kube.discover(fresh=fresh)
        if not self.silent:
            return found
        kinds = {key: kind for key, kind in found.kinds.items() if kind.group != GROUP}
        return Catalog(kinds, frozenset({GROUP}))


async def test_a_group_that_does_not_answer_keeps_deletions_back_and_says_so(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether its objects are there (R5)."""
    monkeypatch.setattr(served, "_SURELY_SECONDS", 1.0)
    monkeypatch.setattr(served, "_SECONDS", 2.0)
    first.cluster.create(definition("v1"))
    kept = [config_map(name, SHOP) for name in ("a", "c", "d")]
    unit = first.want("web", [database("v1"), config_map("b", SHOP), *kept])
    async with first.worker():
        await first.until_well(unit)
    first.between = Mute
    first.want("web", kept, commit="b")
    async with first.worker():
        await first.until(lambda: "does not answer" in first.units[unit].message, "named")
        assert first.units[unit].sync is not Sync.SYNCED
        await asyncio.sleep(4)
        assert first.cluster.get("", "ConfigMap", SHOP, "b") is not None
        assert [row for row in (await first.journal.load()).rows if row.ref.kind == KIND]
        Mute.silent = False
        await first.until_well(unit, seconds=40)
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is None
    assert first.cluster.get(GROUP, KIND, SHOP, "orders") is None


async def test_a_kind_that_comes_back_in_time_keeps_its_objects_in_the_record(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that leaves a kind out for a moment, as of a server that has just started, drops nothing."""
    monkeypatch.setattr(served, "_SECONDS", 2.0)
    first.cluster.create(definition("v1"))
    unit = first.want("web", [database("v1"), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        first.cluster.unserve(GROUP, "databases")
        first.want("web", [config_map("a", SHOP)], commit="b")
        since = first.cluster.ledger.sequence
        async with asyncio.timeout(40):
            while not looks_since(first, since):
                await asyncio.sleep(0.05)
        await asyncio.sleep(2)
        assert [row for row in (await first.journal.load()).rows if row.ref.kind == KIND]
        touched = {"metadata": {"labels": {"n": "1"}}}
        first.cluster.drift("apiextensions.k8s.io", "CustomResourceDefinition", "", NAME, touched)
        await first.until_well(unit, seconds=60)
        assert first.cluster.get(GROUP, KIND, SHOP, "orders") is None  # it is deleted after all, as the commit says


class Behind(Mute):
    """A cluster of which one server leaves a kind and its definition out, and the second question fails."""

    def __init__(self, kube: Any) -> None:
        super().__init__(kube)
        self.asked = 0

    async def discover(self, *, fresh: bool = False) -> Catalog:
        self.asked += fresh
        if self.asked == 2:
            raise ServerFailed("the server failed", next_step="it is tried again")
        found = await self._kube.discover(fresh=fresh)
        if self.asked > 2:
            return found
        return Catalog({key: kind for key, kind in found.kinds.items() if kind.group != GROUP}, found.unknown)

    async def list(self, kind: ServedKind, **what: Any) -> ObjectList:
        found = await self._kube.list(kind, **what)
        return replace(found, items=()) if kind.plural == "customresourcedefinitions" else found


async def test_a_question_that_failed_is_no_second_answer(first: SimHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_SURELY_SECONDS", 1.0)
    first.cluster.create(definition("v1"))
    unit = first.want("web", [database("v1"), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
    first.between = Behind
    first.want("web", [config_map("a", SHOP)], commit="b")
    async with first.worker():
        await first.until_well(unit, seconds=40)
    assert first.cluster.get(GROUP, KIND, SHOP, "orders") is None  # deleted, and not only forgotten


async def test_a_kind_of_which_no_version_is_served_keeps_its_objects_while_its_definition_stands(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "_SURELY_SECONDS", 0.2)
    monkeypatch.setattr(served, "_SECONDS", 0.5)
    first.cluster.create(definition("v1"))
    unit = first.want("web", [database("v1"), config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        since = first.cluster.ledger.sequence
        first.cluster.unserve(GROUP, "databases")
        first.want("web", [config_map("a", SHOP)], commit="b")
        async with asyncio.timeout(40):
            while looks_since(first, since) < 4:
                await asyncio.sleep(0.05)
        assert [row for row in (await first.journal.load()).rows if row.ref.kind == KIND]
        assert "Database" in first.units[unit].message


class Limited(Mute):
    """A cluster whose credential may not read definitions."""

    async def discover(self, *, fresh: bool = False) -> Catalog:
        return await self._kube.discover(fresh=fresh)

    async def list(self, kind: ServedKind, **what: Any) -> ObjectList:
        if kind.plural == "customresourcedefinitions":
            raise Forbidden("it may not list definitions", next_step="fleet cluster grant")
        return await self._kube.list(kind, **what)


@pytest.mark.parametrize("limited", [False, True])
async def test_a_kind_is_gone_though_another_one_of_its_group_is_there_and_definitions_may_not_be_read(
    first: SimHub, monkeypatch: pytest.MonkeyPatch, *, limited: bool
) -> None:
    monkeypatch.setattr(served, "_SURELY_SECONDS", 1.0)
    first.between = Limited if limited else first.between
    other = definition("v1")
    other["metadata"]["name"] = f"backups.{GROUP}"
    other["spec"]["names"] = {"plural": "backups", "singular": "backup", "kind": "Backup", "listKind": "BackupList"}
    for each in (definition("v1"), other):
        first.cluster.create(each)
    kept = [config_map(f"k{number}", SHOP) for number in range(9)]
    unit = first.want("web", [database("v1"), config_map("b", SHOP), *kept])
    async with first.worker():
        await first.until_well(unit)
        first.cluster.remove("apiextensions.k8s.io", "CustomResourceDefinition", "", NAME)
        first.want("web", kept, commit="b")
        await first.until_well(unit, seconds=60)
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is None
