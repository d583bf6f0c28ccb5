"""What the API server's own rules make of a change: fixed fields, policies, schemas and versions, on a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from rig import Hub, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.rest import Refused

from fleet.core.documents import text_at
from fleet.core.status import EventKind
from fleet.core.sync_policy import SyncPolicy, Validate

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVER = SyncPolicy(validate=Validate.SERVER)


def fixed(shop: str, value: str) -> dict[str, Any]:
    """A ConfigMap that can only be changed by making it anew, and asks for that."""
    return {**config_map("x", shop, {"a": value}, **notes(replace="enabled")), "immutable": True}


@pytest.fixture
def policy(api_server: ControlPlane, shop: str) -> Iterator[str]:
    """Denies ConfigMaps of this namespace with a: 2."""
    client, name = api_server.client(), f"no-two-{shop}"
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": shop}}
    says = {"expression": "!has(object.data) || !('a' in object.data) || object.data['a'] != '2'", "message": "no two"}
    matched = {"namespaceSelector": here, "resourceRules": [rule]}
    spec: dict[str, Any] = {"failurePolicy": "Fail", "matchConstraints": matched, "validations": [says]}
    client.create({**kind, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    bound = {"policyName": name, "validationActions": ["Deny"]}
    client.create({**kind, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound})
    yield name
    client.delete(f"{POLICIES}/{name}")
    client.delete(f"{POLICIES.removesuffix('policies')}policybindings/{name}")


async def in_force(api_server: ControlPlane, shop: str) -> None:
    path, client = f"/api/v1/namespaces/{shop}/configmaps", api_server.client()
    async with asyncio.timeout(60):
        while True:
            try:
                client.request("POST", path, config_map("probe", shop, {"a": "2"}), query={"dryRun": "All"})
            except Refused:
                return
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("validate", [Validate.SCHEMA, Validate.SERVER])
async def test_what_a_policy_would_not_admit_as_a_new_one_is_not_deleted_to_be_made_anew(
    hub: Hub, api_server: ControlPlane, shop: str, policy: str, validate: Validate
) -> None:
    """Also not where the server compares fixed fields before it asks its policies."""
    client, sync = api_server.client(), SyncPolicy(validate=validate)
    await in_force(api_server, shop)
    unit = hub.want("web", [fixed(shop, "1"), config_map("y", shop)], sync=sync)
    path = f"/api/v1/namespaces/{shop}/configmaps/x"
    async with hub.worker():
        await hub.until_well(unit)
        before = text_at(client.get(path), "metadata", "uid")
        hub.want("web", [fixed(shop, "2"), config_map("y", shop)], commit="b", sync=sync)
        await hub.until(lambda: policy in hub.object(unit, "ConfigMap", "x").message, "refused")
        assert hub.object(unit, "ConfigMap", "x").reason == "AdmissionDenied"
        assert text_at(client.get(path), "metadata", "uid") == before
        hub.want("web", [fixed(shop, "3"), config_map("y", shop)], commit="c", sync=sync)
        await hub.until_well(unit)
    after = client.get(path)
    assert (after["data"], text_at(after, "metadata", "uid") != before) == ({"a": "3"}, True)


def definition(group: str, *fields: str) -> dict[str, Any]:
    """Databases of a group, which have these fields alone."""
    spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    names = {"plural": "databases", "singular": "database", "kind": "Database", "listKind": "DatabaseList"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"databases.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": versions},
    }


def database(group: str, shop: str, **spec: str) -> dict[str, Any]:
    metadata = {"name": "orders", "namespace": shop}
    return {"apiVersion": f"{group}/v1", "kind": "Database", "metadata": metadata, "spec": spec}


@pytest.fixture
def group(api_server: ControlPlane, shop: str) -> Iterator[str]:
    yield f"{shop}.example.com"
    api_server.client().delete(f"{DEFINITIONS}/databases.{shop}.example.com")


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_new_field_is_taken_where_the_same_commit_declares_it(
    hub: Hub, api_server: ControlPlane, shop: str, group: str, is_declared: bool
) -> None:
    unit = hub.want("web", [definition(group, "size"), database(group, shop, size="1")], sync=SERVER)
    fields = ("size", "tier") if is_declared else ("size",)
    path = f"/apis/{group}/v1/namespaces/{shop}/databases/orders"
    async with hub.worker():
        await hub.until_well(unit)
        objects = [definition(group, *fields), database(group, shop, size="1", tier="gold"), config_map("a", shop)]
        hub.want("web", objects, commit="b", sync=SERVER)
        if is_declared:
            await hub.until_well(unit, seconds=40)
        else:
            await hub.until(lambda: "refused, nothing was written" in hub.units[unit].message, "refused")
    client = api_server.client()
    assert client.get(path)["spec"].get("tier", "") == ("gold" if is_declared else "")
    assert client.exists(f"/api/v1/namespaces/{shop}/configmaps/a") == is_declared


def scaler(shop: str, version: str) -> dict[str, Any]:
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    of_version: dict[str, Any] = {
        "v1": {"targetCPUUtilizationPercentage": 80},
        "v2": {"metrics": [{"type": "Resource", "resource": cpu}]},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": shop},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, **of_version[version]},
    }


async def test_an_object_that_moved_to_another_version_stays_in_sync_over_its_status_and_is_healed(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client, path = api_server.client(), f"/apis/autoscaling/v2/namespaces/{shop}/horizontalpodautoscalers/web"
    unit = hub.want("web", [scaler(shop, "v1")])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [scaler(shop, "v2")], commit="b")
        await hub.until_well(unit)
        for number in range(5):
            status = {"currentReplicas": number, "desiredReplicas": 2}
            client.merge(f"{path}/status", {"status": status})
        client.merge(path, {"spec": {"maxReplicas": 9}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        await hub.until_well(unit)
        assert [event.message for event in hub.told(EventKind.DRIFTED) if "maxReplicas" not in event.message] == []
    assert client.get(path)["spec"]["maxReplicas"] == 3
