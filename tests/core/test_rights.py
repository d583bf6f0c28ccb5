"""The least role holds what is needed and nothing else, whatever is rendered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis.strategies import booleans, lists, sampled_from, sets

from fleet.core.bundles import assemble
from fleet.core.documents import Document, documents_at, items_at, text_at
from fleet.core.objects import BundleObject
from fleet.core.rights import (
    ACCOUNT,
    READ,
    Resource,
    Rights,
    Rule,
    grant_documents,
    missing_rights,
    rights_of,
    wide_lines,
    widened_for,
)

RBAC = "rbac.authorization.k8s.io"
RESOURCES = {
    ("", "ConfigMap"): Resource("configmaps", True),
    ("", "Secret"): Resource("secrets", True),
    ("", "Namespace"): Resource("namespaces", False),
    ("", "PersistentVolumeClaim"): Resource("persistentvolumeclaims", True),
    ("apps", "Deployment"): Resource("deployments", True),
    (RBAC, "Role"): Resource("roles", True),
    (RBAC, "RoleBinding"): Resource("rolebindings", True),
    (RBAC, "ClusterRole"): Resource("clusterroles", False),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Resource("customresourcedefinitions", False),
}


def document(kind: str, namespace: str, name: str = "one") -> Document:
    group = next(found for found, of in [*RESOURCES, ("acme.example", "Gadget")] if of == kind)
    version = f"{group}/v1" if group else "v1"
    metadata: Document = {"name": name}
    if RESOURCES.get((group, kind), Resource("", True)).namespaced:
        metadata["namespace"] = namespace
    made: Document = {"apiVersion": version, "kind": kind, "metadata": metadata}
    match kind:
        case "RoleBinding":
            made["roleRef"] = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
        case "CustomResourceDefinition":
            made["metadata"] = {"name": "gadgets.acme.example"}
            names: Document = {"kind": "Gadget", "plural": "gadgets"}
            made["spec"] = {"group": "acme.example", "scope": "Namespaced", "names": names}
        case _:
            pass
    return made


def objects_of(documents: Iterable[Document]) -> tuple[BundleObject, ...]:
    return assemble(list(documents), key=b"k" * 32).objects


kinds = sampled_from(sorted(kind for _, kind in RESOURCES))
places = sampled_from(("shop", "tools", "new"))


@given(lists(sampled_from([(k, p) for _, k in RESOURCES for p in ("shop", "tools", "new")]), unique=True), booleans())
def test_what_is_granted_is_exactly_what_is_needed(chosen: list[tuple[str, str]], read_only: bool) -> None:
    wanted = {(kind, place if kind != "CustomResourceDefinition" else "") for kind, place in chosen}
    documents = [document(kind, place, f"{place}-{kind.lower()}") for kind, place in sorted(wanted)]
    rights = rights_of(objects_of(documents), RESOURCES, existing={"shop", "tools"}, read_only=read_only)
    roles = [one for one in grant_documents(rights) if text_at(one, "kind") in ("Role", "ClusterRole")]
    assert missing_rights(rights, roles) == []
    for role in roles:
        for rule in documents_at(role, "rules"):
            assert not [part for part in ("apiGroups", "resources", "verbs") if "*" in items_at(rule, part)]
            verbs = {str(verb) for verb in items_at(rule, "verbs")}
            assert not read_only or verbs <= set(READ) or items_at(rule, "resources") == ["serviceaccounts/token"]
            if verbs & {"escalate", "bind"}:
                assert items_at(rule, "resourceNames")
    assert {text_at(role, "metadata", "namespace") for role in roles} <= {"", "shop", "tools", "fleet-system"}
    there = {"shop", "tools", *rights.widened}
    narrow = rights_of(objects_of(documents), RESOURCES, existing=there, read_only=read_only).cluster
    assert missing_rights(rights, roles_of(replace(rights, cluster=(*narrow, *rights.wide)))) == []
    for rule in rights.wide:
        for verb in rule.verbs:
            assert missing_rights(Rights((replace(rule, verbs=(verb,)),)), roles_of(Rights(narrow)))
    for place, rules in {"": rights.cluster, **rights.namespaces}.items():
        for rule in rules:
            for verb in rule.verbs:
                assert missing_rights(rights, roles_of(less(rights, place, rule, verb)))


def less(rights: Rights, place: str, rule: Rule, verb: str) -> Rights:
    rules = rights.cluster if place == "" else rights.namespaces[place]
    cut = tuple(replace(one, verbs=tuple(set(one.verbs) - {verb})) if one == rule else one for one in rules)
    if place == "":
        return replace(rights, cluster=cut)
    return replace(rights, namespaces={**rights.namespaces, place: cut})


def roles_of(rights: Rights) -> list[Document]:
    return [one for one in grant_documents(rights) if text_at(one, "kind") in ("Role", "ClusterRole")]


@given(sets(kinds, min_size=1), sets(kinds, min_size=1))
def test_more_objects_never_need_fewer_rights(some: set[str], others: set[str]) -> None:
    part = objects_of(document(kind, "shop", kind.lower()) for kind in sorted(some))
    whole = objects_of(document(kind, "shop", kind.lower()) for kind in sorted(some | others))
    needed = rights_of(part, RESOURCES, existing={"shop"})
    assert missing_rights(needed, roles_of(rights_of(whole, RESOURCES, existing={"shop"}))) == []


def test_a_missing_verb_is_named_with_resource_and_namespace() -> None:
    rights = rights_of(objects_of([document("Deployment", "shop")]), RESOURCES, existing={"shop"})
    rule = next(one for one in rights.namespaces["shop"] if one.resource == "deployments")
    roles = roles_of(less(less(rights, "shop", rule, "patch"), "", rights.cluster[0], "get"))
    assert missing_rights(rights, roles) == [
        "get namespaces/fleet-system,kube-system",
        "patch deployments.apps in shop",
    ]


def test_what_goes_into_a_namespace_that_is_not_there_yet_is_granted_everywhere_and_said() -> None:
    rights = rights_of(objects_of([document("ConfigMap", "new")]), RESOURCES, existing=())
    assert rights.widened == ("new",)
    token = Rule("", "serviceaccounts/token", ("create",), (ACCOUNT,))
    assert rights.namespaces == {"fleet-system": (token,)}  # all else of the parents' namespace is covered by it
    assert {"configmaps", "namespaces"} == {rule.resource for rule in rights.cluster}
    assert {"configmaps"} == {rule.resource for rule in rights.wide}
    assert widened_for(roles_of(rights)) == ("new",)
    narrow = rights_of(objects_of([document("ConfigMap", "new")]), RESOURCES, existing={"new"})
    assert (widened_for(roles_of(narrow)), narrow.wide, wide_lines(narrow)) == ((), (), [])


def test_before_the_yes_secrets_and_escalation_on_the_whole_cluster_are_named() -> None:
    def lines(*kinds: str) -> str:
        documents = [document(kind, "new", kind.lower()) for kind in kinds]
        return "\n".join(wide_lines(rights_of(objects_of(documents), RESOURCES, existing=())))

    assert "create, delete, get, list, patch, watch: configmaps" in lines("ConfigMap", "Namespace")
    assert "kubectl create namespace new, then this again" in lines("ConfigMap")
    assert "Secret" not in lines("ConfigMap")
    assert "read every Secret of this cluster" in lines("ConfigMap", "Secret")
    assert "escalate: roles.rbac.authorization.k8s.io/role\n" in lines("Role")
    assert "By escalate and bind it can give itself rights" in lines("RoleBinding")


def test_a_kind_that_is_neither_served_nor_defined_is_said() -> None:
    gadget = document("Gadget", "shop")
    assert rights_of(objects_of([gadget]), RESOURCES, existing={"shop"}).unserved == ("Gadget (acme.example)",)
    defined = objects_of([gadget, document("CustomResourceDefinition", "")])
    rights = rights_of(defined, RESOURCES, existing={"shop"})
    assert rights.unserved == ()
    assert Rule("acme.example", "gadgets", ("create", "delete", "get", "patch", "watch")) in rights.namespaces["shop"]
    assert Rule("acme.example", "gadgets", ("list",)) in rights.cluster


def test_what_git_dropped_may_still_be_read_let_go_and_deleted() -> None:
    owned = [document("Deployment", "shop"), document("RoleBinding", "shop")]
    rights = rights_of((), RESOURCES, existing=(), owned=owned)
    kept = ("delete", "get", "list", "patch", "watch")
    assert rights.namespaces["shop"] == (
        Rule("apps", "deployments", kept),
        Rule(RBAC, "clusterroles", ("bind",), ("view",)),
        Rule(RBAC, "rolebindings", kept),
    )


def test_cluster_admin_is_one_binding() -> None:
    documents = grant_documents(Rights(), cluster_admin=True)
    assert [text_at(one, "kind") for one in documents] == ["Namespace", "ServiceAccount", "ClusterRoleBinding"]
    assert text_at(documents[-1], "roleRef", "name") == "cluster-admin"


def test_claims_are_listed_only_where_a_stateful_set_takes_them_along() -> None:
    def granted(when_deleted: str) -> set[tuple[str, str]]:
        template: Document = {"metadata": {"name": "data"}}
        spec: Document = {
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted},
            "volumeClaimTemplates": [template],
        }
        made: Document = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "shop"},
        }
        resources = {("apps", "StatefulSet"): Resource("statefulsets", True)}
        rights = rights_of(objects_of([{**made, "spec": spec}]), resources, existing={"shop"})
        rules = [*rights.cluster, *rights.namespaces.get("shop", ())]
        return {
            (rule.resource, verb) for rule in rules for verb in rule.verbs if rule.resource.startswith("persistent")
        }

    assert granted("Delete") == {("persistentvolumeclaims", "list"), ("persistentvolumes", "get")}
    assert granted("Retain") == set()
