"""What each built-in kind does on a write besides merging: tables of the strategies in pkg/registry."""

from __future__ import annotations

from fleet.core.documents import Document, at, mapping_at, number_at
from fleet.sim.fieldset import Node
from fleet.sim.kinds import Kind
from fleet.sim.schema import zero

# Kinds that answer a delete with the object instead of a Status.
RETURN_DELETED = frozenset(
    {
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "deviceclasses.resource.k8s.io",
        "namespaces",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourceclaims.resource.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
        "resourcequotas",
        "resourceslices.resource.k8s.io",
        "serviceaccounts",
        "services",
        "storageclasses.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
        "volumeattributesclasses.storage.k8s.io",
    }
)
# Kinds that a PUT of an absent name creates.
CREATE_ON_UPDATE = frozenset(
    {
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "events",
        "leases.coordination.k8s.io",
        "limitranges",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "runtimeclasses.node.k8s.io",
        "services",
    }
)
# Kinds that an update must name a resourceVersion for (AllowUnconditionalUpdate is false).
CONDITIONAL = frozenset(
    {
        "apiservices.apiregistration.k8s.io",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "leases.coordination.k8s.io",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "poddisruptionbudgets.policy",
        "runtimeclasses.node.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)
# Kinds with a generation, and the top-level fields whose change raises it.
GENERATION: dict[str, tuple[str, ...]] = {
    "customresourcedefinitions.apiextensions.k8s.io": ("spec",),
    "cronjobs.batch": ("spec",),
    "csidrivers.storage.k8s.io": ("spec",),
    "daemonsets.apps": ("spec",),
    "deployments.apps": ("spec",),
    "deviceclasses.resource.k8s.io": ("spec",),
    "endpointslices.discovery.k8s.io": ("addressType", "endpoints", "ports", "metadata"),
    "flowschemas.flowcontrol.apiserver.k8s.io": ("spec",),
    "ingressclasses.networking.k8s.io": ("spec",),
    "ingresses.networking.k8s.io": ("spec",),
    "jobs.batch": ("spec",),
    "mutatingadmissionpolicies.admissionregistration.k8s.io": ("spec",),
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": ("spec",),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": ("webhooks",),
    "networkpolicies.networking.k8s.io": ("spec",),
    "poddisruptionbudgets.policy": ("spec",),
    "pods": ("spec",),
    "podtemplates": ("template",),
    "priorityclasses.scheduling.k8s.io": (),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": ("spec",),
    "replicasets.apps": ("spec",),
    "replicationcontrollers": ("spec",),
    "resourceslices.resource.k8s.io": ("spec",),
    "statefulsets.apps": ("spec",),
    "validatingadmissionpolicies.admissionregistration.k8s.io": ("spec",),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": ("spec",),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": ("webhooks",),
}
# Kinds whose dependents a delete leaves alone unless it says otherwise.
ORPHANS_BY_DEFAULT = frozenset({"jobs.batch", "replicationcontrollers"})
ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
# Kinds that warn on every use.
DEPRECATED = {"endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
_UNBORN = frozenset({"csidrivers.storage.k8s.io"})  # generation appears with the first change only

_STATUS: Node = {"f:status": {}}
_SPEC: Node = {"f:spec": {}}
_ALL_BUT_STATUS: Node = {"f:spec": {}, "f:metadata": {}}
_STATUS_RESETS: dict[str, Node] = {
    "deployments.apps": {"f:spec": {}, "f:metadata": {"f:labels": {}}},
    "pods": {"f:spec": {}, "f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}},
    "customresourcedefinitions.apiextensions.k8s.io": _ALL_BUT_STATUS,
    "flowschemas.flowcontrol.apiserver.k8s.io": _ALL_BUT_STATUS,
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": _ALL_BUT_STATUS,
    "volumeattachments.storage.k8s.io": _ALL_BUT_STATUS,
    "resourceclaims.resource.k8s.io": _ALL_BUT_STATUS,
    "servicecidrs.networking.k8s.io": _ALL_BUT_STATUS,
}
_NO_RESET = frozenset({"nodes"})


def resets(kind: Kind, subresource: str) -> Node:
    """Fields that this endpoint keeps as they were; they are not owned by who sent them."""
    if subresource == "status":
        if kind.custom is not None:
            return _ALL_BUT_STATUS
        return _STATUS_RESETS.get(kind.resource, _SPEC)
    if not subresource and kind.has_status:
        return _STATUS
    return {}


def keep(kind: Kind, new: Document, old: Document | None, subresource: str) -> Document:
    """The new document with what this endpoint resets taken from the old one (PrepareForCreate, …Update)."""
    if subresource == "status" and old is not None:
        return _status_only(kind, new, old)
    if subresource or not kind.has_status:
        return new
    if old is None:
        if kind.custom is not None:
            return {key: value for key, value in new.items() if key != "status"}
        if kind.resource in _NO_RESET or "status" not in new:
            return new
        return {**new, "status": zero(kind.type.fields["status"].type)}
    out = {key: value for key, value in new.items() if key != "status"}
    if "status" in old:
        out["status"] = old["status"]
    return out


def _status_only(kind: Kind, new: Document, old: Document) -> Document:
    if kind.custom is not None or resets(kind, "status") is _ALL_BUT_STATUS:
        out = {key: value for key, value in old.items() if key != "status"}
        if "status" in new:
            out["status"] = new["status"]
        managed = at(new, "metadata", "managedFields")
        if managed is not None:
            out["metadata"] = {**mapping_at(old, "metadata"), "managedFields": managed}
        # Preconditions are judged on what the caller sent.
        metadata = mapping_at(out, "metadata")
        sent = mapping_at(new, "metadata")
        for key in ("resourceVersion", "uid"):
            if key in sent:
                metadata = {**metadata, key: sent[key]}
        out["metadata"] = metadata
        return out
    out = dict(new)
    if "spec" in old:
        out["spec"] = old["spec"]
    if kind.resource == "deployments.apps":
        metadata = dict(mapping_at(new, "metadata"))
        labels = at(old, "metadata", "labels")
        metadata.pop("labels", None)
        if labels is not None:
            metadata["labels"] = labels
        out["metadata"] = metadata
    return out


def next_generation(kind: Kind, new: Document, old: Document | None, subresource: str) -> int:
    """The generation after this write; 0 where the kind has none (yet)."""
    before = number_at(old, "metadata", "generation") if old is not None else 0
    if kind.custom is not None:
        if old is None:
            return 1
        if subresource == "status":
            return before
        ignored = {"metadata", "kind", "apiVersion", "status" if kind.has_status else "kind"}
        changed = {key: value for key, value in new.items() if key not in ignored} != {
            key: value for key, value in old.items() if key not in ignored
        }
        return before + 1 if changed else before
    fields = GENERATION.get(kind.resource)
    if fields is None:
        return before
    if old is None:
        return 0 if kind.resource in _UNBORN else 1
    if any(_changed(new, old, key) for key in fields):
        return before + 1
    noted = kind.resource == "deployments.apps" and not subresource and _annotations(new) != _annotations(old)
    return before + 1 if noted else before


def _annotations(document: Document) -> Document:
    return mapping_at(document, "metadata", "annotations")


_BOOKKEEPING = ("managedFields", "resourceVersion", "generation")


def _changed(new: Document, old: Document, key: str) -> bool:
    if key != "metadata":
        return new.get(key) != old.get(key)
    left, right = dict(mapping_at(new, key)), dict(mapping_at(old, key))
    for name in _BOOKKEEPING:
        left.pop(name, None)
        right.pop(name, None)
    return left != right
