"""The least rights a hub needs on one cluster, computed from what is rendered for it, as RBAC rules and objects.

Every verb here is used: tests take each one away and see what breaks. Objects in a namespace are granted there; a
namespace that does not exist yet can hold no Role, so what goes into it is granted on the whole cluster until the next
grant. Creating RBAC objects needs `escalate` on each role and `bind` on what each binding refers to, by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.core.losses import takes_claims
from fleet.core.objects import BundleObject, ref_of
from fleet.core.record import PARENT_NAMESPACE
from fleet.values import dataclass, field

ACCOUNT = "fleet-hub"  # ServiceAccount, roles and bindings alike
GRANT_LABEL = "fleet.internal/grant"  # on all that a grant makes, so that the next one finds what is left over
WIDENED_ANNOTATION = "fleet.internal/widened-for"  # on the ClusterRole: namespaces that were not there yet
RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
KEEP = (*READ, "delete", "patch")  # what stays until it is pruned or let go
MANAGE = (*KEEP, "create")
_IDENTITY_NAMESPACE = "kube-system"
_WORKLOADS = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("batch", "Job")})
_CLAIM, _VOLUME = "persistentvolumeclaims", "persistentvolumes"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as RBAC names it."""

    plural: str
    namespaced: bool


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One resource. `names`: only objects of these names, () for all."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """`deployments.apps`, or `namespaces/kube-system`."""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return resource + (f"/{','.join(self.names)}" if self.names else "")


@dataclass(frozen=True, slots=True)
class Rights:
    """Rules for the whole cluster and per namespace; kinds that nobody could name as a resource."""

    cluster: tuple[Rule, ...] = ()
    namespaces: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict[str, tuple[Rule, ...]])
    unserved: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()  # namespaces that do not exist yet
    wide: tuple[Rule, ...] = ()  # those of `cluster` that are there for them alone


_Verbs: TypeAlias = "dict[tuple[str, str, str, tuple[str, ...]], set[str]]"  # by namespace, group, resource, names


@dataclass(slots=True)
class _Collected:
    existing: frozenset[str]
    verbs: _Verbs = field(default_factory=dict[tuple[str, str, str, tuple[str, ...]], set[str]])
    wide: _Verbs = field(default_factory=dict[tuple[str, str, str, tuple[str, ...]], set[str]])
    widened: set[str] = field(default_factory=set[str])

    def add(self, namespace: str, group: str, resource: str, verbs: Iterable[str], *names: str) -> None:
        """namespace "": of the cluster."""
        into = self.verbs
        if namespace and namespace not in self.existing:
            self.widened.add(namespace)
            namespace, into = "", self.wide
        into.setdefault((namespace, group, resource, names), set()).update(verbs)

    def all(self) -> _Verbs:
        """What is needed, wherever it can be granted now."""
        keys = self.verbs.keys() | self.wide.keys()
        return {key: self.verbs.get(key, set()) | self.wide.get(key, set()) for key in keys}

    def only_wide(self) -> _Verbs:
        """What is granted on the whole cluster for want of a namespace, and else would not be."""
        return {key: verbs - self.verbs.get(key, set()) for key, verbs in self.wide.items()}


def _rules_of(all_verbs: _Verbs) -> dict[str, tuple[Rule, ...]]:
    """By namespace; objects of one set of verbs are joined by name."""
    joined: defaultdict[tuple[str, str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    found: defaultdict[str, list[Rule]] = defaultdict(list)
    for (namespace, group, resource, names), verbs in all_verbs.items():
        left = set(verbs)
        for wider in {("", group, resource, names), ("", group, resource, ()), (namespace, group, resource, ())}:
            if wider != (namespace, group, resource, names):
                left -= all_verbs.get(wider, set())
        if left and names:
            joined[namespace, group, resource, tuple(sorted(left))].update(names)
        elif left:
            found[namespace].append(Rule(group, resource, tuple(sorted(left))))
    for (namespace, group, resource, verbs_left), names_left in joined.items():
        found[namespace].append(Rule(group, resource, verbs_left, tuple(sorted(names_left))))
    return {namespace: tuple(sorted(rules)) for namespace, rules in found.items()}


def rights_of(
    objects: Sequence[BundleObject],
    resources: Mapping[tuple[str, str], Resource],
    *,
    existing: Collection[str],
    read_only: bool = False,
    owned: Sequence[Document] = (),
) -> Rights:
    """What these objects need. resources: served kinds, by group and kind; existing: namespaces that are there.

    owned: live objects that carry the installation's mark. What Git dropped must still be read, let go and deleted.
    """
    places = {text_at(document, "metadata", "namespace") for document in owned}
    found = _Collected(frozenset({*existing, *places, PARENT_NAMESPACE}))
    known = {**defined_resources(objects), **resources}
    verbs = READ if read_only else MANAGE
    unserved: set[str] = set()
    found.add("", "", "namespaces", ("get",), _IDENTITY_NAMESPACE)
    # The parents of the units; without it a hub that lost its state could not find it again.
    found.add(PARENT_NAMESPACE, "", "configmaps", verbs)
    # The next token of this account alone: the hub asks for it before the one it holds ends.
    found.add(PARENT_NAMESPACE, "", "serviceaccounts/token", ("create",), ACCOUNT)
    if not read_only:
        found.add("", "", "namespaces", ("get",), PARENT_NAMESPACE)
    for item in objects:
        ref = item.ref
        resource = known.get((ref.group, ref.kind))
        if resource is None:
            unserved.add(f"{ref.kind} ({ref.group or 'core'})")
            continue
        namespace = ref.namespace if resource.namespaced else ""
        found.add(namespace, ref.group, resource.plural, verbs)
        if (ref.group, ref.kind) in _WORKLOADS:
            # Why a workload is not well is told by its pods, and for Deployments by whose they are.
            found.add(namespace, "", "pods", ("list",))
            if ref.kind == "Deployment":
                found.add(namespace, "apps", "replicasets", ("list",))
        if not read_only:
            _add_losses(found, item, namespace)
            if ref.group == RBAC:
                _add_delegation(found, item.document(), namespace)
    for document in owned:
        ref = ref_of(document)
        resource = known.get((ref.group, ref.kind))
        if resource is not None:
            found.add(ref.namespace, ref.group, resource.plural, READ if read_only else KEEP)
            if ref.group == RBAC and not read_only:
                _add_delegation(found, document, ref.namespace)
    rules, wide = _rules_of(found.all()), _rules_of(found.only_wide()).get("", ())
    cluster = rules.pop("", ())
    return Rights(cluster, dict(sorted(rules.items())), tuple(sorted(unserved)), tuple(sorted(found.widened)), wide)


def _add_losses(found: _Collected, item: BundleObject, namespace: str) -> None:
    """What is shown in a hold before something precious goes: its volumes, or the objects of a definition."""
    match item.ref.group, item.ref.kind:
        case "", "PersistentVolumeClaim":
            found.add("", "", _VOLUME, ("get",))
        case "", "Namespace":
            found.add(item.ref.name, "", _CLAIM, ("list",))
            found.add("", "", _VOLUME, ("get",))
        case "apps", "StatefulSet" if takes_claims(item.document()):
            found.add(namespace, "", _CLAIM, ("list",))
            found.add("", "", _VOLUME, ("get",))
        case "apiextensions.k8s.io", "CustomResourceDefinition":
            spec = mapping_at(item.document(), "spec")
            found.add("", text_at(spec, "group"), text_at(spec, "names", "plural"), ("list",))
        case _:
            pass


def _add_delegation(found: _Collected, document: Document, namespace: str) -> None:
    """Who writes a role gives its rights away: Kubernetes asks for `escalate` on it, and for `bind` by a binding."""
    ref = ref_of(document)
    if ref.kind in ("Role", "ClusterRole"):
        found.add(namespace, RBAC, f"{ref.kind.lower()}s", ("escalate",), ref.name)
        return
    role = mapping_at(document, "roleRef")
    kind, name = text_at(role, "kind"), text_at(role, "name")
    if kind in ("Role", "ClusterRole") and name:
        found.add(namespace, RBAC, f"{kind.lower()}s", ("bind",), name)


def defined_resources(objects: Iterable[BundleObject]) -> dict[tuple[str, str], Resource]:
    """Kinds that definitions among these objects bring."""
    found: dict[tuple[str, str], Resource] = {}
    for item in objects:
        if item.ref.kind == "CustomResourceDefinition":
            spec = mapping_at(item.document(), "spec")
            key = text_at(spec, "group"), text_at(spec, "names", "kind")
            found[key] = Resource(text_at(spec, "names", "plural"), text_at(spec, "scope") == "Namespaced")
    return found


# As objects


def grant_documents(rights: Rights, *, cluster_admin: bool = False) -> list[Document]:
    """What is created for these rights, in this order: namespace, account, roles and their bindings."""
    found = [
        _object("v1", "Namespace", PARENT_NAMESPACE, ""),
        _object("v1", "ServiceAccount", ACCOUNT, PARENT_NAMESPACE),
    ]
    if cluster_admin:
        return [*found, _binding("ClusterRoleBinding", f"{ACCOUNT}-admin", "", "cluster-admin")]
    found.append(_noted(_role("ClusterRole", "", rights.cluster), rights.widened))
    found.append(_binding("ClusterRoleBinding", ACCOUNT, "", ACCOUNT))
    for namespace, rules in rights.namespaces.items():
        found.append(_role("Role", namespace, rules))
        found.append(_binding("RoleBinding", ACCOUNT, namespace, ACCOUNT))
    return found


def _noted(role: Document, namespaces: Sequence[str]) -> Document:
    """The role with the namespaces that it stands in for, so that it is known when it is wider than it must be."""
    if not namespaces:
        return role
    notes: Document = {WIDENED_ANNOTATION: ",".join(namespaces)}
    return {**role, "metadata": {**mapping_at(role, "metadata"), "annotations": notes}}


def _object(api_version: str, kind: str, name: str, namespace: str, **fields: Json) -> Document:
    # The namespace of the parents is the hub's as well, and may not go with a grant: it is not labelled.
    labels: Document = {"app.kubernetes.io/part-of": "fleet"}
    if kind != "Namespace":
        labels[GRANT_LABEL] = ACCOUNT
    metadata: Document = {"name": name, "labels": labels}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _role(kind: str, namespace: str, rules: Sequence[Rule]) -> Document:
    grouped: defaultdict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for rule in rules:
        grouped[rule.group, rule.verbs, rule.names].append(rule.resource)
    written: list[Json] = []
    for (group, verbs, names), resources in grouped.items():
        entry: Document = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
        if names:
            entry["resourceNames"] = list(names)
        written.append(entry)
    return _object(f"{RBAC}/v1", kind, ACCOUNT, namespace, rules=written)


def _binding(kind: str, name: str, namespace: str, role: str) -> Document:
    subject: Document = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": PARENT_NAMESPACE}
    of = "Role" if kind == "RoleBinding" else "ClusterRole"
    reference: Document = {"apiGroup": RBAC, "kind": of, "name": role}
    return _object(f"{RBAC}/v1", kind, name, namespace, roleRef=reference, subjects=[subject])


# What is told


def wide_lines(rights: Rights) -> list[str]:
    """What a person is to know before the yes of rights that hold on the whole cluster for want of namespaces."""
    if not rights.widened:
        return []
    grouped: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for rule in rights.wide:
        grouped[rule.verbs].append(rule.shown)
    lines = [
        f"not there yet: {', '.join(rights.widened)}",
        "  What goes there is granted ON THE WHOLE CLUSTER until you grant again once it is there:",
        *(f"    {', '.join(verbs)}: {', '.join(shown)}" for verbs, shown in sorted(grouped.items())),
    ]
    names = " ".join(f"kubectl create namespace {name};" for name in rights.widened[:3])
    lines.append(f"  To grant there alone: {names.rstrip(';')}, then this again")
    lines.append("  (where an overlay brings the namespace: with sync.adopt: ifNoDiff, which takes yours over).")
    if any((rule.group, rule.resource) == ("", "secrets") for rule in rights.wide):
        lines.append("  The hub can then read every Secret of this cluster.")
    if any({"escalate", "bind"} & set(rule.verbs) for rule in rights.wide):
        lines.append("  By escalate and bind it can give itself rights that it does not have.")
    return lines


# What is there


def widened_for(roles: Iterable[Document]) -> tuple[str, ...]:
    """The namespaces for whose want these roles hold rights on the whole cluster."""
    named = (text_at(role, "metadata", "annotations", WIDENED_ANNOTATION) for role in roles)
    return tuple(sorted({name for names in named for name in names.split(",") if name}))


def missing_rights(needed: Rights, roles: Iterable[Document]) -> list[str]:
    """Verbs that these Roles and ClusterRoles lack, as `patch deployments.apps in shop`."""
    granted: defaultdict[str, list[Document]] = defaultdict(list)
    for role in roles:
        granted[text_at(role, "metadata", "namespace")] += documents_at(role, "rules")
    lacking: list[str] = []
    for namespace, rules in {"": needed.cluster, **needed.namespaces}.items():
        here = granted[""] + (granted[namespace] if namespace else [])
        place = f" in {namespace}" if namespace else ""
        for rule in rules:
            verbs = [verb for verb in rule.verbs if not _covers(here, rule, verb)]
            if verbs:
                lacking.append(f"{', '.join(verbs)} {rule.shown}{place}")
    return lacking


def _covers(rules: Sequence[Document], wanted: Rule, verb: str) -> bool:
    """Whether every name that is wanted may be used so."""

    def may(name: str) -> bool:
        return any(
            _has(rule, "apiGroups", wanted.group)
            and _has(rule, "resources", wanted.resource)
            and _has(rule, "verbs", verb)
            and (not rule.get("resourceNames") or name in items_at(rule, "resourceNames"))
            for rule in rules
        )

    return all(may(name) for name in wanted.names or ("",))


def _has(rule: Document, part: str, value: str) -> bool:
    listed = items_at(rule, part)
    return value in listed or "*" in listed
