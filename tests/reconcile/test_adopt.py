"""Objects that others made are taken over without a change that nobody asked for, or named and left alone."""

from __future__ import annotations

import copy
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from makers import LAST_APPLIED, Makers
from rig import Hub, config_map
from testbed.controlplane import ControlPlane
from testbed.rest import path_of
from testbed.workloads import deployment

from fleet.core.fleet import Adopt, SyncPolicy, Validate
from fleet.core.ids import UnitName
from fleet.core.rollout import Detach
from fleet.core.status import EventKind, Sync
from fleet.reconcile.limits import WorkerLimits

NO_DIFF = SyncPolicy(adopt=Adopt.IF_NO_DIFF)
ALWAYS = SyncPolicy(adopt=Adopt.ALWAYS)
AT_ONCE = WorkerLimits(adopt_quiet_seconds=0.0)  # what tests made a moment ago


@pytest.fixture
def plane(real_cluster: ControlPlane) -> ControlPlane:
    return real_cluster


@pytest.fixture
def place(plane: ControlPlane, namespace: str) -> str:
    return plane.client().make_namespace(namespace)


@pytest.fixture
def hub(plane: ControlPlane) -> Hub:
    return Hub(plane, installation=f"i-{uuid.uuid4().hex[:8]}", limits=AT_ONCE)


@pytest.fixture
def makers(plane: ControlPlane, place: str, tmp_path: Path) -> Makers:
    return Makers(plane, place, tmp_path)


def app(name: str, place: str) -> list[dict[str, Any]]:
    """One of each kind that has something awkward: defaults, allocated fields, keys, sealed values."""
    web = deployment(name, place)
    web["metadata"]["labels"] = {"team": "shop"}
    container = web["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 8080}]
    container["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    container["resources"] = {"requests": {"cpu": "0.1", "memory": "64Mi"}}
    container["livenessProbe"] = {"httpGet": {"path": "/", "port": 8080}}
    named = {"namespace": place, "labels": {"team": "shop"}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, **named},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **named},
        "data": {"password": "c2VjcmV0"},
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, **named},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, **named}}
    return [web, service, secret, role, account, config_map(name, place, {"a": "1", "b": "2"}, labels={"team": "shop"})]


def live_of(plane: ControlPlane, document: dict[str, Any]) -> dict[str, Any]:
    return plane.client().get(path_of(document))


def content(live: dict[str, Any]) -> dict[str, Any]:
    """An object without what an adoption and the cluster itself change.

    The server counts a generation of a Deployment for any annotation: ours, and that kubectl's goes. Their specs are
    compared as those of all others.
    """
    kept = {name: value for name, value in live.items() if name not in ("metadata", "status")}
    metadata = live["metadata"]
    labels = {name: value for name, value in metadata.get("labels", {}).items() if name == "team"}
    generation = "by annotations" if live["kind"] == "Deployment" else metadata.get("generation")
    return {**kept, "uid": metadata["uid"], "generation": generation, "labels": labels}


def writes(plane: ControlPlane, mark: Any, place: str) -> Counter[tuple[str, str]]:
    asked = [r for r in plane.ledger(mark, user_agent="fleet") if r.namespace == place and r.is_write]
    return Counter((r.resource, r.name) for r in asked)


def synced(hub: Hub, unit: UnitName) -> int:
    return sum(status.sync is Sync.SYNCED for status in hub.units[unit].objects) if unit in hub.units else 0


@pytest.mark.timeout(300)
async def test_300_objects_of_real_kubectl_and_helm_and_of_other_names_are_taken_over_without_a_change(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    made: dict[str, list[dict[str, Any]]] = {}
    for number, (name, make) in enumerate(makers.all().items()):
        made[name] = [document for n in range(8) for document in app(f"m{number}-{n}", place)][:43]
        make(made[name])
    documents = [document for group in made.values() for document in group]
    assert len(documents) == 301
    changed = [copy.deepcopy(group[-1]) for group in made.values()]  # Git moved on since, for one of each maker
    for document in changed:
        document["metadata"]["labels"]["team"] = "new"
    wanted = [next((c for c in changed if path_of(c) == path_of(d)), d) for d in documents]
    client = plane.client()
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    for document in deployments:
        client.wait(path_of(document), lambda seen: seen.get("status", {}).get("readyReplicas") == 1, seconds=120)
    pods = {pod["metadata"]["uid"] for pod in client.get(f"/api/v1/namespaces/{place}/pods")["items"]}
    before = {path_of(document): content(live_of(plane, document)) for document in documents}

    mark = plane.ledger_mark()
    unit = hub.want("shop", wanted, sync=NO_DIFF)
    async with hub.worker():
        await hub.until(lambda: synced(hub, unit) == 301 - len(changed), "the equal ones", 120)
        report = await hub.until(lambda: (r := hub.units[unit]).reason == "ObjectForeign" and r, "the others named")
        assert report.message.startswith("7 objects exist and are not ours: 7 not as in Git; owned by ")
        assert "helm (1)" in report.message
        assert report.next_step == f"fleet diff {unit}; sync.adopt: always takes these too"
        counted = writes(plane, mark, place)
        assert len(counted) == 301 - len(changed)
        assert max(counted.values()) == 2
        after = {path_of(document): content(live_of(plane, document)) for document in documents}
        assert {path: (before[path], seen) for path, seen in after.items() if seen != before[path]} == {}

        mark = plane.ledger_mark()
        hub.want("shop", wanted, sync=ALWAYS, commit="b")
        await hub.until_well(unit, seconds=120)
        counted = writes(plane, mark, place)
        assert max(counted.values()) == 2
        assert len(counted) == len(changed)
    after = {path_of(document): content(live_of(plane, document)) for document in documents}
    for document in changed:
        path = path_of(document)
        assert after[path].pop("labels") == {"team": "new"}
        assert before[path].pop("labels") == {"team": "shop"}
    assert after == before
    assert {pod["metadata"]["uid"] for pod in client.get(f"/api/v1/namespaces/{place}/pods")["items"]} == pods
    adopted = {(entry.object, entry.outcome) for entry in hub.audited if entry.action == "adopt"}
    assert Counter(outcome for _, outcome in adopted) == {"": 301, "done": 301}
    assert [e.message.split(",")[0] for e in hub.told(EventKind.NOTE, "took over")] == [
        "took over 294 objects",
        "took over 7 objects",
    ]
