"""The least role on a real control plane: with it everything works, and without any one verb of it something breaks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane
from testbed.fates import fate
from testbed.workloads import deployment

from fleet.core.objects import BundleObject
from fleet.core.rights import Resource, Rights, Rule, missing_rights, rights_of
from fleet.core.rollout import Detach
from fleet.core.status import EventKind, Health, Sync
from fleet.reconcile.limits import WorkerLimits

RBAC = "rbac.authorization.k8s.io"
RESOURCES = {
    ("", "ConfigMap"): Resource("configmaps", True),
    ("", "Secret"): Resource("secrets", True),
    ("", "Namespace"): Resource("namespaces", False),
    ("apps", "Deployment"): Resource("deployments", True),
    (RBAC, "Role"): Resource("roles", True),
    (RBAC, "RoleBinding"): Resource("rolebindings", True),
    (RBAC, "ClusterRole"): Resource("clusterroles", False),
}


@dataclass
class Limited(Hub):
    """A hub whose credential is a certificate of a user that nobody else is."""

    user: str = "nobody"

    async def kubeconfig(self, name: str) -> bytes:
        return json.dumps(self.plane.kubeconfig(self.user, certificate=True)).encode()


@pytest.fixture
def hub(plane: ControlPlane) -> Limited:
    name = uuid.uuid4().hex[:8]
    limits = WorkerLimits(proof_seconds=3.0, retry_first_seconds=0.2)
    return Limited(plane, installation=f"i-{name}", user=f"hub-{name}", limits=limits)


def world(place: str, *, value: str = "1") -> list[dict[str, Any]]:
    """Something of everything that asks for rights of its own."""
    rules = [{"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list"]}]
    subjects = [{"kind": "Group", "name": "watchers", "apiGroup": RBAC}]

    def rbac(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name} if kind.startswith("Cluster") else {"name": name, "namespace": place}
        return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, **fields}

    def ref(kind: str, name: str) -> dict[str, str]:
        return {"apiGroup": RBAC, "kind": kind, "name": name}

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": place}}
    return [
        config_map("c", place, {"a": value}),
        {**secret, "stringData": {"password": value}},
        rbac("Role", "watch", rules=rules),
        rbac("RoleBinding", "watch", subjects=subjects, roleRef=ref("Role", "watch")),
        rbac("RoleBinding", "view", subjects=subjects, roleRef=ref("ClusterRole", "view")),
        rbac("ClusterRole", f"watch-{place}", rules=rules),
    ]


def objects_of(hub: Hub, documents: Sequence[dict[str, Any]]) -> tuple[BundleObject, ...]:
    return hub.bundle_of(documents).objects


def give(plane: ControlPlane, user: str, rights: Rights) -> None:
    """These rights to a user, as a grant gives them to the hub's service account."""
    for namespace, rules in {"": rights.cluster, **rights.namespaces}.items():
        written = [
            {
                "apiGroups": [rule.group],
                "resources": [rule.resource],
                "verbs": list(rule.verbs),
                **({"resourceNames": list(rule.names)} if rule.names else {}),
            }
            for rule in rules
        ]
        if namespace == "fleet-system":
            plane.client().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        if written:
            plane.grant(user, *written, namespace=namespace or None)


def refused(plane: ControlPlane, mark: Any, hub: Hub) -> set[str]:
    """What the server answered with 403 to this hub alone."""
    mine = [r for r in plane.ledger(mark, user_agent="fleet") if r.user == hub.user and r.code == 403]
    return {f"{r.verb} {r.resource} {'in ' + r.namespace if r.namespace else 'everywhere'}" for r in mine}


async def test_with_the_least_role_a_unit_is_synced_healed_changed_pruned_and_found_again(
    hub: Limited, plane: ControlPlane, place: str
) -> None:
    hands, mark = plane.client(), plane.ledger_mark()
    documents = [*world(place), config_map("old", place), deployment("d", place)]
    give(plane, hub.user, rights_of(objects_of(hub, documents), RESOURCES, existing={place}))
    unit = hub.want("web", documents)
    async with hub.worker():
        await hub.until_well(unit, seconds=60)
        hands.merge(f"/api/v1/namespaces/{place}/configmaps/c", {"data": {"a": "by hand"}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        hub.want("web", [*world(place, value="2"), deployment("d", place)], commit="b")
        await hub.until_well(unit, seconds=60)
        assert not hands.exists(f"/api/v1/namespaces/{place}/configmaps/old")
        crash = fate("crash", exit_code=3, message="KeyError: 'DB_HOST'")
        hub.want("web", [*world(place, value="2"), deployment("d", place, notes=crash)], commit="c")
        await hub.until(lambda: hub.units[unit].health is Health.DEGRADED, "degraded", 60)
        assert "DB_HOST" in hub.object(unit, "Deployment", "d").message
    # Lists of all namespaces are asked for once and not allowed; all else is.
    assert {text.rpartition(" ")[2] for text in refused(plane, mark, hub)} == {"everywhere"}
    assert {text.split()[0] for text in refused(plane, mark, hub)} == {"list"}
    listed = [r for r in plane.ledger(mark, user_agent="fleet") if r.user == hub.user and r.verb == "list"]
    assert {r.namespace for r in listed if r.code == 200 and r.resource == "secrets"} == {place}


async def test_what_a_hub_owns_is_found_again_by_namespace_after_its_state_was_lost(
    hub: Limited, plane: ControlPlane, place: str
) -> None:
    documents = world(place)
    give(plane, hub.user, rights_of(objects_of(hub, documents), RESOURCES, existing={place}))
    unit = hub.want("web", documents)
    async with hub.worker():
        await hub.until_well(unit)
    lost = replace(hub, journal=type(hub.journal)(), units={}, reports=[], events=[])
    async with lost.worker():
        found = await lost.until(lambda: lost.units.get(unit), "found again")
        assert {status.ref.kind for status in found.objects} >= {"ConfigMap", "Secret", "Role", "ClusterRole"}


async def test_namespaces_that_come_and_go_are_followed_and_left(hub: Limited, plane: ControlPlane, place: str) -> None:
    hands = plane.client()
    other = hands.make_namespace(f"{place}-b")
    here, there = config_map("c", place), config_map("c", other)
    rights = rights_of(objects_of(hub, [here, there]), RESOURCES, existing={place, other})
    assert not [rule for rule in rights.cluster if rule.resource == "configmaps"]
    give(plane, hub.user, rights)
    unit = hub.want("web", [here])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [here, there], commit="b")
        await hub.until_well(unit)
        hands.merge(f"/api/v1/namespaces/{other}/configmaps/c", {"data": {"a": "by hand"}})
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed in the new namespace")
        hub.want("web", [there], commit="c")
        await hub.until_well(unit)
        assert not hands.exists(f"/api/v1/namespaces/{place}/configmaps/c")
        hands.merge(f"/api/v1/namespaces/{other}/configmaps/c", {"data": {"a": "again"}})
        await hub.until(lambda: len(hub.told(EventKind.HEALED)) > 1, "healed after the other one was left")


async def test_with_the_least_role_a_unit_is_let_go_and_only_our_marks_go(
    hub: Limited, plane: ControlPlane, place: str
) -> None:
    documents = [*world(place), deployment("d", place)]
    give(plane, hub.user, rights_of(objects_of(hub, documents), RESOURCES, existing={place}))
    unit = hub.want("web", documents)
    paths = [
        f"/api/v1/namespaces/{place}/configmaps/c",
        f"/api/v1/namespaces/{place}/secrets/s",
        f"/apis/apps/v1/namespaces/{place}/deployments/d",
        f"/apis/{RBAC}/v1/namespaces/{place}/roles/watch",
        f"/apis/{RBAC}/v1/namespaces/{place}/rolebindings/view",
        f"/apis/{RBAC}/v1/clusterroles/watch-{place}",
    ]
    async with hub.worker():
        await hub.until_well(unit, seconds=60)
        before = [plane.client().get(path) for path in paths]
        hub.want("web", action=Detach(), commit="b")
        await hub.until(lambda: hub.told(EventKind.NOTE, "detached"), "detached", 60)
    for path, was in zip(paths, before, strict=True):
        now = plane.client().get(path)
        assert "fleet" not in json.dumps(now["metadata"])
        ours = {"metadata", "status"}  # the generation of a Deployment counts its annotations as well
        assert {k: v for k, v in now.items() if k not in ours} == {k: v for k, v in was.items() if k not in ours}


def without(rights: Rights, rule: Rule, verb: str) -> Rights:
    """The same rights but for one verb of one rule."""

    def left(rules: Sequence[Rule]) -> tuple[Rule, ...]:
        cut = [replace(one, verbs=tuple(v for v in one.verbs if v != verb)) if one == rule else one for one in rules]
        return tuple(one for one in cut if one.verbs)

    return replace(
        rights,
        cluster=left(rights.cluster),
        namespaces={namespace: left(rules) for namespace, rules in rights.namespaces.items()},
    )


VERBS = [
    ("secrets", "get"),
    ("secrets", "list"),
    ("secrets", "watch"),
    ("secrets", "create"),
    ("secrets", "patch"),
    ("secrets", "delete"),
    ("clusterroles", "escalate"),
    ("roles", "escalate"),
    ("clusterroles", "bind"),
    ("roles", "bind"),
    ("namespaces", "get"),
    ("pods", "list"),
    ("replicasets", "list"),
]


@pytest.mark.parametrize(("resource", "verb"), VERBS)
async def test_without_one_verb_something_breaks_and_it_is_named(
    hub: Limited, plane: ControlPlane, place: str, resource: str, verb: str
) -> None:
    crash = fate("crash", exit_code=3, message="KeyError: 'DB_HOST'")
    workloads = [deployment("d", place, notes=crash)] if resource in ("pods", "replicasets") else []
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "old", "namespace": place}}
    first = [*world(place), secret, *workloads]
    whole = rights_of(objects_of(hub, first), RESOURCES, existing={place})
    rules = [rule for part in (whole.cluster, *whole.namespaces.values()) for rule in part]
    rule = next(rule for rule in rules if rule.resource == resource and verb in rule.verbs)
    less = without(whole, rule, verb)
    assert missing_rights(whole, roles_of(less))
    give(plane, hub.user, less)
    hub.want("web", first)
    named = verb if verb not in ("escalate", "bind") else f"{verb} on"

    def is_named() -> bool:
        return any(named in text for text in told(hub) if "orbidden" in text or "cannot" in text or "missing" in text)

    async with hub.worker():
        await hub.until(lambda: is_named() or is_settled(hub), f"{verb} {resource}", 60)
        if not is_named():
            # What was applied by the rights that are left must now be read, changed and pruned.
            path = f"/api/v1/namespaces/{place}/secrets/s"
            plane.client().merge(path, {"metadata": {"labels": {"fleet.internal/installation": None}}})
            hub.want("web", [*world(place, value="2"), *workloads], commit="b")
        await hub.until(is_named, f"{verb} {resource}: {told(hub)}", 60)


def is_settled(hub: Hub) -> bool:
    return bool(hub.units) and all(unit.sync is Sync.SYNCED for unit in hub.units.values())


def told(hub: Hub) -> list[str]:
    """All that the reports say of troubles."""
    texts = [f"{report.reason} {report.message}" for report in hub.reports[-1:]]
    for unit in hub.units.values():
        texts += [f"{unit.reason} {unit.message}", *unit.warnings]
        texts += [f"{status.reason} {status.message}" for status in unit.objects]
    return texts


def roles_of(rights: Rights) -> list[dict[str, Any]]:
    """As the API server would show them."""
    return [
        {
            "metadata": {"namespace": namespace} if namespace else {},
            "rules": [
                {
                    "apiGroups": [rule.group],
                    "resources": [rule.resource],
                    "verbs": list(rule.verbs),
                    **({"resourceNames": list(rule.names)} if rule.names else {}),
                }
                for rule in rules
            ],
        }
        for namespace, rules in {"": rights.cluster, **rights.namespaces}.items()
    ]
