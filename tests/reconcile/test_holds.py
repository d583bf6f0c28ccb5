"""What a hold shows of each object, read from a real API server, and the order in which objects go."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

from rig import SECONDS, Hub, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.workloads import deployment

from fleet.core.guard import Approved
from fleet.core.release import list_digest_of
from fleet.core.status import EventKind, HoldRequest, Standing


def volume(name: str, policy: str, claim: tuple[str, str] | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "capacity": {"storage": "200Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": policy,
        "hostPath": {"path": "/nowhere"},
    }
    if claim:
        spec["claimRef"] = {"namespace": claim[0], "name": claim[1]}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def claim(name: str, namespace: str, bound_to: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "200Gi"}},
            "volumeName": bound_to,
            "storageClassName": "",
        },
    }


def stateful_set(name: str, namespace: str) -> dict[str, Any]:
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 3,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": pod,
            "volumeClaimTemplates": [template],
        },
    }


def service(name: str, namespace: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


async def seen(found: Callable[[], Any], what: str) -> None:
    """Wait for what others do on the cluster."""
    end = time.monotonic() + 2 * SECONDS
    while not found():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


def lines_of(hold: HoldRequest) -> dict[str, tuple[str, ...]]:
    return {str(item.ref): item.goes_with for item in hold.deletions}


async def test_a_namespace_shows_what_goes_with_it_and_is_read_once(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    made = f"{shop}-x"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}}
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [namespace, config_map("in", made), *kept])
    started = time.time()
    async with hub.worker():
        await hub.until_well(unit)
        client.apply(volume(f"pv-{shop}", "Delete"))
        client.apply(claim("data-db-0", made, f"pv-{shop}"))
        client.create(config_map("debug-jo", made))
        mark = api_server.ledger_mark()
        hub.want("web", [config_map("in", made), *kept], commit="b")
        hold = (await hub.until(lambda: hub.units[unit].holds, "hold"))[0]
        assert lines_of(hold) == {
            f"Namespace {made}": (
                "3 objects, 2 of them not from this repo",
                "PVC data-db-0 200 GiB (reclaim policy Delete: THE DATA IS LOST)",
                "ConfigMap debug-jo",
                "from this repo, not in this list: ConfigMap in",
            )
        }
        item = hold.deletions[0]
        assert item.uid == client.get(f"/api/v1/namespaces/{made}")["metadata"]["uid"]
        assert item.content
        assert started - 2 <= item.created_at <= time.time()
        held = next(link for link in hub.units[unit].blocked_by if link.state is Standing.HELD)
        assert started <= held.since <= time.time()

        for number in range(6):  # each has a pass of its own
            client.merge(f"/api/v1/namespaces/{shop}/configmaps/c{number}", {"data": {"a": "drift"}})
            await hub.until(lambda count=number: len(hub.told(EventKind.HEALED)) > count, "another pass")
        again = next(link for link in hub.units[unit].blocked_by if link.state is Standing.HELD)
        assert again.since == held.since
        asked = api_server.ledger(mark, user_agent="fleet")
        lists = [r.resource for r in asked if r.verb == "list" and r.namespace == made]
        assert 1 <= lists.count("secrets") <= 3, (
            "for the list, and anew where a pass was broken off: not in each of seven"
        )


async def test_an_approval_of_a_namespace_is_void_for_what_came_into_it_since(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    made, space = f"{shop}-x", f"/api/v1/namespaces/{shop}-x"
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}}, *kept])
    async with hub.worker():
        await hub.until_well(unit)
        client.create(config_map("seen", made))
        hub.want("web", kept, commit="b")
        hold = (await hub.until(lambda: hub.units[unit].holds, "hold"))[0]
        assert lines_of(hold) == {f"Namespace {made}": ("1 object, 1 of them not from this repo", "ConfigMap seen")}
        client.create(config_map("came-since", made))
        hub.want("web", kept, commit="b", approved=approvals(hold))
        again = (await hub.until(lambda: (now := hub.units[unit].holds) and now[0] != hold and now, "asked anew"))[0]
        assert again.deletions[0].goes_with[0] == "2 objects, 2 of them not from this repo"
        assert list_digest_of([again]) != list_digest_of([hold])
        assert client.get(space)["status"]["phase"] == "Active"
        hub.want("web", kept, commit="b", approved=approvals(again))
        await hub.until(lambda: client.get(space)["metadata"].get("deletionTimestamp"), "it goes with what was shown")


async def test_what_controllers_make_in_a_namespace_meanwhile_does_not_void_its_approval(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    made, space = f"{shop}-x", f"/api/v1/namespaces/{shop}-x"
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}}, *kept])
    async with hub.worker():
        await hub.until_well(unit)
        owner = client.create(config_map("seen", made))
        client.create(config_map("gone-since", made))
        hub.want("web", kept, commit="b")
        hold = (await hub.until(lambda: hub.units[unit].holds, "hold"))[0]
        owned = config_map("made-for-it", made)
        owned["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "seen", "uid": owner["metadata"]["uid"]}
        ]
        client.create(owned)
        client.create(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "namespace": made}}
        )
        client.delete(f"{space}/configmaps/gone-since")
        hub.want("web", kept, commit="b", approved=approvals(hold))
        await hub.until(lambda: client.get(space)["metadata"].get("deletionTimestamp"), "it goes")
        assert len([event for event in hub.events if event.kind is EventKind.HELD]) == 1


async def test_pods_and_endpoints_that_are_made_anew_do_not_void_the_approval_of_their_namespace(
    plane: ControlPlane, place: str
) -> None:
    hub, client = Hub(plane, installation=f"i-{uuid.uuid4().hex[:8]}"), plane.client()
    made, space = f"{place}-x", f"/api/v1/namespaces/{place}-x"
    kept = [config_map(f"c{n}", place) for n in range(12)]
    unit = hub.want("web", [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}}, *kept])
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        client.create(service("web", made))
        client.create(deployment("web", made, replicas=2))

        def names(plural: str, least: int) -> set[str]:
            found = {item["metadata"]["name"] for item in client.get(f"{space}/{plural}")["items"]}
            return found if len(found) >= least else set()

        await seen(lambda: names("pods", 2) and names("endpoints", 1), "its pods and endpoints")
        hub.want("web", kept, commit="b")
        hold = (await hub.until(lambda: hub.units[unit].holds, "hold"))[0]
        assert lines_of(hold) == {
            f"Namespace {made}": ("2 objects, 2 of them not from this repo", "Deployment web, Service web")
        }
        before = names("pods", 2)
        for name in before:
            client.delete(f"{space}/pods/{name}", gracePeriodSeconds=0)
        await seen(lambda: (now := names("pods", 2)) and not now & before, "other pods")
        hub.want("web", kept, commit="b", approved=approvals(hold))
        await hub.until(lambda: client.get(space)["metadata"].get("deletionTimestamp"), "it goes")
        assert len(hub.told(EventKind.HELD)) == 1


def approvals(hold: HoldRequest) -> list[Approved]:
    return [Approved(item.ref, item.uid, item.content, item.inside) for item in hold.deletions]


async def test_a_definition_a_claim_and_a_stateful_set_show_what_goes_with_them(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    group = f"{shop}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Widget", "plural": "widgets"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": shop}}
    precious = [
        claim("data", shop, f"pv-{shop}"),
        volume(f"pv-{shop}", "Retain", (shop, "data")),
        stateful_set("db", shop),
        definition,
    ]
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [*precious, widget, *kept])
    async with hub.worker():
        # Without controllers the claim stays Pending and the set has no pods: applied is enough.
        await hub.until(lambda: unit in hub.units and hub.units[unit].bundle, "applied")
        client.apply({**widget, "metadata": {"name": "theirs", "namespace": shop}}, manager="jo")
        hub.want("web", [widget, *kept], commit="b")
        hold = (await hub.until(lambda: hub.units[unit].holds, "hold"))[0]
    assert lines_of(hold) == {
        f"CustomResourceDefinition widgets.{group}": (
            "2 Widget objects in 1 namespace, 1 of them not from this repo",
            "from this repo, not in this list: Widget w",
        ),
        f"PersistentVolume pv-{shop}": (f"200 GiB, bound to {shop}/data (reclaim policy Retain: the volume stays)",),
        f"PersistentVolumeClaim {shop}/data": ("200 GiB (reclaim policy Retain: the volume stays)",),
        f"StatefulSet {shop}/db": ("3 pods", "PVC data-db-N 10 GiB of each pod stays"),
    }


async def test_what_may_not_be_read_is_said_and_the_hold_stands(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    made = f"{shop}-x"
    api_server.grant("limited", {"apiGroups": [""], "resources": ["configmaps", "namespaces"], "verbs": ["*"]})
    hub.user = "limited"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}}
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    unit = hub.want("web", [namespace, *kept])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", kept, commit="b")
        hold = (await hub.until(lambda: hub.units[unit].holds, "hold"))[0]
    (lines,) = lines_of(hold).values()
    assert lines[-1].startswith("not known, Forbidden: ")


async def test_dropped_objects_go_from_the_last_wave_to_the_first(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    kept = [config_map(f"c{n}", shop) for n in range(12)]
    waves = [config_map(f"w{wave}", shop, **notes(wave=str(wave))) for wave in (2, 0, 1)]
    unit = hub.want("web", [*kept, *waves])
    async with hub.worker():
        await hub.until_well(unit)
        mark = api_server.ledger_mark()
        hub.want("web", kept, commit="b")
        await hub.until_well(unit)
    gone = [r.name for r in api_server.ledger(mark, user_agent="fleet") if r.verb == "delete" and r.namespace == shop]
    assert gone == ["w2", "w1", "w0"]
