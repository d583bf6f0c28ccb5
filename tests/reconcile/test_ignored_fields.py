"""Ignored fields on a real API server: what others set stays, also in lists that are replaced as a whole (R17)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane
from testbed.rest import path_of

from fleet.core.ids import UnitName
from fleet.core.objects import HANDOVER_MANAGER
from fleet.core.sync_policy import IgnoreRule

HOST = (IgnoreRule(kind="Ingress", pointers=("/spec/rules/0/host",)),)
ARGS = (IgnoreRule(kind="Deployment", pointers=("/spec/template/spec/containers/0/args/0",)),)
REPLICAS = (IgnoreRule(kind="Deployment", pointers=("/spec/replicas",)),)


def ingress(namespace: str, service: str) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    rules = [{"host": host, "http": {"paths": paths}} for host in ("git.example", "two.example")]
    metadata = {"name": "front", "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {"rules": rules}}


def deployment(namespace: str, second: str = "--b") -> dict[str, Any]:
    container = {"name": "c", "image": "registry.example/c:1", "args": ["--git", second]}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    metadata = {"name": "d", "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def by_hand(plane: ControlPlane, body: dict[str, Any], *patch: dict[str, Any]) -> None:
    plane.client().request(
        "PATCH",
        path_of(body),
        list(patch),
        content_type="application/json-patch+json",
        query={"fieldManager": "hands"},
    )


async def until_applied(hub: Hub, unit: UnitName, objects: list[dict[str, Any]], rules: Any, commit: str) -> None:
    hub.want("web", objects, ignore=rules, commit=commit)
    await hub.until(lambda: hub.units[unit].commit.startswith(commit) and not hub.units[unit].reason, commit)


@pytest.mark.parametrize("rules", [HOST, ()])
async def test_an_ignored_host_in_the_rules_of_an_ingress_stays_as_it_is(
    hub: Hub, api_server: ControlPlane, shop: str, rules: Any
) -> None:
    client = api_server.client()
    body, changed = ingress(shop, "web"), ingress(shop, "other")
    unit = hub.want("web", [body, config_map("m", shop)], ignore=rules)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].commit and not hub.units[unit].reason, "applied")
        before = client.get(path_of(body))["metadata"]["resourceVersion"]
        by_hand(api_server, body, {"op": "replace", "path": "/spec/rules/0/host", "value": "live.example"})
        await until_applied(hub, unit, [body, config_map("m", shop, {"a": "2"})], rules, "b")
        live = client.get(path_of(body))
        assert live["spec"]["rules"][0]["host"] == ("live.example" if rules else "git.example")
        assert live["metadata"]["resourceVersion"] != before
        await until_applied(hub, unit, [changed, config_map("m", shop)], rules, "c")
        live = client.get(path_of(body))["spec"]["rules"]
        assert [rule["host"] for rule in live] == ["live.example" if rules else "git.example", "two.example"]
        assert {rule["http"]["paths"][0]["backend"]["service"]["name"] for rule in live} == {"other"}


async def test_an_ignored_argument_of_a_container_stays_as_it_is(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    body = deployment(shop)
    arguments = "/spec/template/spec/containers/0/args"
    unit = hub.want("web", [body, config_map("m", shop)], ignore=ARGS)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].commit and not hub.units[unit].reason, "applied")
        by_hand(api_server, body, {"op": "replace", "path": f"{arguments}/0", "value": "--live"})
        await until_applied(hub, unit, [deployment(shop, "--c"), config_map("m", shop)], ARGS, "b")
        live = api_server.client().get(path_of(body))
        assert live["spec"]["template"]["spec"]["containers"][0]["args"] == ["--live", "--c"]


async def test_an_ignored_field_of_a_map_that_somebody_took_away_is_not_brought_back(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    def rolling(second: str) -> dict[str, Any]:
        body = deployment(shop, second)
        body["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
        return body

    rules = (IgnoreRule(pointers=("/spec/strategy/type", "/spec/strategy/rollingUpdate/maxSurge")),)
    unit = hub.want("web", [rolling("--b")], ignore=rules)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].commit and not hub.units[unit].reason, "applied")
        by_hand(api_server, rolling("--b"), {"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}})
        await until_applied(hub, unit, [rolling("--c")], rules, "b")
        live = api_server.client().get(path_of(rolling("--c")))["spec"]
        assert live["strategy"] == {"type": "Recreate"}
        assert live["template"]["spec"]["containers"][0]["args"] == ["--git", "--c"]


class Scaled:
    """A connection before whose first handover an autoscaler is quicker, if there is one."""

    def __init__(self, kube: Any, plane: ControlPlane, body: dict[str, Any], *, quick: bool) -> None:
        self._kube, self._plane, self._body, self._quick = kube, plane, body, quick
        self.handovers: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, namespace: str, name: str, raw: bytes, **options: Any) -> Any:
        if options.get("manager") == HANDOVER_MANAGER:
            self.handovers.append(json.loads(raw))
            assert not options.get("force")
            if self._quick:
                self._quick = False
                by_hand(self._plane, self._body, {"op": "replace", "path": "/spec/replicas", "value": 10})
        return await self._kube.apply(kind, namespace, name, raw, **options)


@pytest.mark.parametrize("quick", [True, False])
async def test_a_handover_takes_nothing_back_from_who_was_quicker(
    hub: Hub, api_server: ControlPlane, shop: str, quick: bool
) -> None:
    body, seen = deployment(shop), list[Scaled]()

    def between(kube: Any) -> Any:
        seen.append(Scaled(kube, api_server, body, quick=quick))
        return seen[-1]

    hub.between = between
    unit = hub.want("web", [body])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].commit and not hub.units[unit].reason, "applied")
        changed = deployment(shop, "--c")
        await until_applied(hub, unit, [changed], REPLICAS, "b")
        live = api_server.client().get(path_of(body))
        assert live["spec"]["replicas"] == (10 if quick else 3)
        assert live["spec"]["template"]["spec"]["containers"][0]["args"] == ["--git", "--c"]
        owners = {
            entry["manager"]
            for entry in live["metadata"]["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        }
        assert owners == {"hands" if quick else HANDOVER_MANAGER}
        assert [one["spec"] for one in seen[0].handovers] == [{"replicas": 3}]
