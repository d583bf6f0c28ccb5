"""What every Kube must do against a server that behaves. A subclass gives `kube`, which may do everything there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from fleet.core.documents import at, documents_at, text_at
from fleet.core.ids import Identity
from fleet.errors import (
    Conflict,
    ImmutableField,
    KindNotServed,
    NotFound,
    ObjectInvalid,
)
from fleet.ports.kube import Changed, Kube, Listed, Proved, Removed, Seen, ServedKind

MERGE = "application/merge-patch+json"


def config_map(name: str, namespace: str, data: dict[str, str] | None = None, **metadata: Any) -> bytes:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, **metadata}}
    return orjson.dumps({**document, "data": data if data is not None else {"a": "1"}})


async def until(events: AsyncIterator[Seen], wanted: type, seconds: float = 20) -> Any:
    async with asyncio.timeout(seconds):
        async for seen in events:
            if isinstance(seen, wanted):
                return seen
    raise AssertionError("the stream ended")


class KubeContract:
    @pytest.fixture
    async def maps(self, kube: Kube) -> ServedKind:
        found = (await kube.discover()).find("", "ConfigMap")
        assert found is not None
        return found

    @pytest.fixture
    async def space(self, kube: Kube) -> str:
        """A namespace of the test's own."""
        name = f"t-{uuid.uuid4().hex[:10]}"
        found = (await kube.discover()).find("", "Namespace")
        assert found is not None
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await kube.apply(found, "", name, orjson.dumps(body))
        return name

    async def test_discovery_knows_the_built_in_kinds(self, kube: Kube) -> None:
        catalog = await kube.discover()
        deployment, node, role = (
            catalog.find("apps", "Deployment"),
            catalog.find("", "Node"),
            catalog.find("rbac.authorization.k8s.io", "ClusterRole"),
        )
        assert deployment is not None
        assert (deployment.version, deployment.plural, deployment.namespaced) == ("v1", "deployments", True)
        assert {"get", "list", "watch", "patch", "delete"} <= deployment.verbs
        assert node is not None
        assert not node.namespaced
        assert role is not None
        assert catalog.find("", "NoSuchKind") is None
        assert not any("/" in kind.plural for kind in catalog.kinds.values())

    async def test_identity_and_version_are_known(self, kube: Kube) -> None:
        namespaces = (await kube.discover()).find("", "Namespace")
        assert namespaces is not None
        system = await kube.get(namespaces, "", "kube-system")
        assert kube.identity == Identity(text_at(system, "metadata", "uid"))
        assert kube.version.startswith("v1.")

    async def test_apply_creates_changes_and_leaves_alone(self, kube: Kube, maps: ServedKind, space: str) -> None:
        created = (await kube.apply(maps, space, "a", config_map("a", space))).object
        same = (await kube.apply(maps, space, "a", config_map("a", space))).object
        changed = (await kube.apply(maps, space, "a", config_map("a", space, {"a": "2"}))).object
        assert text_at(created, "metadata", "resourceVersion") == text_at(same, "metadata", "resourceVersion")
        assert text_at(changed, "data", "a") == "2"
        assert text_at(changed, "metadata", "uid") == text_at(created, "metadata", "uid")
        entry = documents_at(changed, "metadata", "managedFields")[0]
        assert (text_at(entry, "manager"), text_at(entry, "operation")) == ("fleet", "Apply")

    async def test_a_dry_run_stores_nothing(self, kube: Kube, maps: ServedKind, space: str) -> None:
        answer = await kube.apply(maps, space, "a", config_map("a", space), dry_run=True)
        assert text_at(answer.object, "data", "a") == "1"
        assert await kube.get(maps, space, "a") is None

    async def test_another_manager_s_field_is_a_conflict_and_force_takes_it(
        self, kube: Kube, maps: ServedKind, space: str
    ) -> None:
        await kube.apply(maps, space, "a", config_map("a", space), manager="jo")
        with pytest.raises(Conflict) as caught:
            await kube.apply(maps, space, "a", config_map("a", space, {"a": "2"}))
        assert caught.value.why == ".data.a: owned by jo"
        taken = await kube.apply(maps, space, "a", config_map("a", space, {"a": "2"}), force=True)
        assert text_at(taken.object, "data", "a") == "2"

    async def test_a_uid_in_the_body_never_creates(self, kube: Kube, maps: ServedKind, space: str) -> None:
        with pytest.raises((Conflict, ObjectInvalid)):
            await kube.apply(maps, space, "a", config_map("a", space, uid=str(uuid.uuid4())))
        assert await kube.get(maps, space, "a") is None

    async def test_the_first_resource_version_in_the_body_creates_and_never_takes_over(
        self, kube: Kube, maps: ServedKind, space: str
    ) -> None:
        made = await kube.apply(maps, space, "a", config_map("a", space, resourceVersion="1"))
        entry = documents_at(made.object, "metadata", "managedFields")[0]
        assert (text_at(entry, "manager"), text_at(entry, "operation")) == ("fleet", "Apply")
        for data in ({"a": "1"}, {"b": "2"}):
            with pytest.raises(Conflict):
                await kube.apply(maps, space, "a", config_map("a", space, data, resourceVersion="1"), manager="jo")
        assert await kube.get(maps, space, "a") == made.object

    async def test_a_missing_namespace_is_not_found_and_named(self, kube: Kube, maps: ServedKind) -> None:
        with pytest.raises(NotFound, match="no-such-space"):
            await kube.apply(maps, "no-such-space", "a", config_map("a", "no-such-space"))

    async def test_schema_and_immutable_fields_are_told_apart(self, kube: Kube, maps: ServedKind, space: str) -> None:
        with pytest.raises(ObjectInvalid) as caught:
            await kube.apply(maps, space, "a", config_map("a", space, {"not a key": "1"}))
        assert not isinstance(caught.value, ImmutableField)
        fixed = orjson.dumps({**orjson.loads(config_map("b", space)), "immutable": True})
        await kube.apply(maps, space, "b", fixed)
        with pytest.raises(ImmutableField):
            await kube.apply(maps, space, "b", fixed.replace(b'"1"', b'"2"'))

    async def test_a_kind_that_is_not_served_is_not_an_absent_object(self, kube: Kube) -> None:
        unserved = ServedKind("acme.io", "v1", "Widget", "widgets", True, frozenset())
        with pytest.raises(KindNotServed):
            await kube.get(unserved, "default", "a")
        with pytest.raises(KindNotServed):
            await kube.list(unserved)

    async def test_get_gives_the_object_its_metadata_or_none(self, kube: Kube, maps: ServedKind, space: str) -> None:
        await kube.apply(maps, space, "a", config_map("a", space))
        whole = await kube.get(maps, space, "a")
        metadata = await kube.get(maps, space, "a", metadata_only=True)
        assert whole is not None
        assert metadata is not None
        assert (metadata["kind"], metadata["apiVersion"]) == (whole["kind"], whole["apiVersion"]) == ("ConfigMap", "v1")
        assert metadata["metadata"] == whole["metadata"]
        assert "data" not in metadata
        assert await kube.get(maps, space, "b") is None

    async def test_a_list_has_all_pages_and_obeys_selector_and_namespace(
        self, kube: Kube, maps: ServedKind, space: str
    ) -> None:
        for number in range(7):
            labels = {"odd": str(number % 2)}
            await kube.apply(maps, space, f"m{number}", config_map(f"m{number}", space, labels=labels))
        listed = await kube.list(maps, namespace=space, selector="odd=1")
        assert [text_at(item, "metadata", "name") for item in listed.items] == ["m1", "m3", "m5"]
        assert {(item["kind"], item["apiVersion"]) for item in listed.items} == {("ConfigMap", "v1")}
        assert listed.resource_version.isdecimal()
        everywhere = await kube.list(maps, selector="odd")
        assert {text_at(item, "metadata", "name") for item in everywhere.items} >= {f"m{n}" for n in range(7)}
        metadata = await kube.list(maps, namespace=space, metadata_only=True)
        assert {f"m{n}" for n in range(7)} <= {text_at(item, "metadata", "name") for item in metadata.items}
        assert all("data" not in item and item["kind"] == "ConfigMap" for item in metadata.items)

    async def test_a_patch_changes_what_it_says(self, kube: Kube, maps: ServedKind, space: str) -> None:
        await kube.apply(maps, space, "a", config_map("a", space))
        await kube.patch(maps, space, "a", b'{"data": {"b": "2"}}', MERGE)
        json_patch = b'[{"op": "test", "path": "/data/a", "value": "1"}, {"op": "remove", "path": "/data/a"}]'
        answer = await kube.patch(maps, space, "a", json_patch, "application/json-patch+json")
        assert at(answer.object, "data") == {"b": "2"}

    async def test_a_delete_hits_only_what_it_means(self, kube: Kube, maps: ServedKind, space: str) -> None:
        made = (await kube.apply(maps, space, "a", config_map("a", space))).object
        uid, version = text_at(made, "metadata", "uid"), text_at(made, "metadata", "resourceVersion")
        with pytest.raises(Conflict):
            await kube.delete(maps, space, "a", uid=str(uuid.uuid4()))
        with pytest.raises(Conflict):
            await kube.delete(maps, space, "a", uid=uid, resource_version=str(int(version) - 1))
        assert await kube.get(maps, space, "a") is not None
        assert await kube.delete(maps, space, "a", uid=uid, resource_version=version) is None
        assert await kube.delete(maps, space, "a", uid=uid) is None
        assert await kube.get(maps, space, "a") is None

    async def test_a_finalizer_keeps_the_object_and_that_is_said(
        self, kube: Kube, maps: ServedKind, space: str
    ) -> None:
        made = (await kube.apply(maps, space, "a", config_map("a", space, finalizers=["acme.io/keep"]))).object
        standing = await kube.delete(maps, space, "a", uid=text_at(made, "metadata", "uid"))
        assert standing is not None
        assert text_at(standing, "metadata", "deletionTimestamp")
        assert standing["kind"] == "ConfigMap"
        await kube.patch(maps, space, "a", b'{"metadata": {"finalizers": null}}', MERGE)
        assert await kube.get(maps, space, "a") is None

    async def test_a_service_that_answers_with_itself_is_gone_all_the_same(self, kube: Kube, space: str) -> None:
        services = (await kube.discover()).find("", "Service")
        assert services is not None
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "a", "namespace": space},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "a"}},
        }
        made = (await kube.apply(services, space, "a", orjson.dumps(body))).object
        assert await kube.delete(services, space, "a", uid=text_at(made, "metadata", "uid")) is None

    # Following

    async def test_following_lists_and_then_sees_everything(self, kube: Kube, maps: ServedKind, space: str) -> None:
        await kube.apply(maps, space, "a", config_map("a", space, labels={"mine": "1"}))
        async with aclosing(kube.follow(maps, namespace=space, selector="mine=1")) as events:  # type: ignore[type-var]
            listed = await until(events, Listed)
            assert [text_at(item, "metadata", "name") for item in listed.items] == ["a"]
            await kube.apply(maps, space, "b", config_map("b", space, labels={"mine": "1"}))
            added = await until(events, Changed)
            assert text_at(added.object, "metadata", "name") == "b"
            assert (added.object["kind"], added.object["apiVersion"]) == ("ConfigMap", "v1")
            await kube.apply(maps, space, "other", config_map("other", space))
            await kube.apply(maps, space, "b", config_map("b", space, labels={"mine": "2"}))
            left = await until(events, Removed)  # only the label has gone
            assert text_at(left.object, "metadata", "name") == "b"
            assert await kube.get(maps, space, "b") is not None

    async def test_a_resumed_follow_gives_what_was_missed_and_lists_nothing(
        self, kube: Kube, maps: ServedKind, space: str
    ) -> None:
        start = (await kube.list(maps, namespace=space)).resource_version
        made = (await kube.apply(maps, space, "a", config_map("a", space))).object
        async with aclosing(kube.follow(maps, namespace=space, since=start)) as events:  # type: ignore[type-var]
            async with asyncio.timeout(20):
                first = await anext(events)
            while isinstance(first, Changed) and text_at(first.object, "metadata", "name") != "a":
                first = await anext(events)  # what the namespace's own controllers made
            assert isinstance(first, Changed)
            assert first.resource_version == text_at(made, "metadata", "resourceVersion")

    async def test_a_resumed_follow_is_proven_where_nothing_was_missed(
        self, kube: Kube, maps: ServedKind, space: str
    ) -> None:
        selector = f"none={space}"
        start = (await kube.list(maps, selector=selector)).resource_version
        async with aclosing(kube.follow(maps, selector=selector, since=start)) as events:  # type: ignore[type-var]
            async with asyncio.timeout(20):
                assert isinstance(await anext(events), Proved)
