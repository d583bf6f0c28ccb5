"""What may not change on an update, by kind (the Validate…Update functions)."""

from __future__ import annotations

from collections.abc import Callable

from fleet.core.documents import Document, at, documents_at, items_at, mapping_at, text_at
from fleet.sim.causes import IMMUTABLE, Causes, forbidden, invalid
from fleet.sim.statuses import Cause


def changed_causes(resource: str, new: Document, old: Document) -> Causes:
    """What is wrong with the change from old to new."""
    check = _CHECKS.get(resource)
    return check(new, old) if check is not None else []


def finalizer_causes(new: Document, old: Document) -> Causes:
    """Finalizers added to an object that is being deleted."""
    if at(old, "metadata", "deletionTimestamp") is None:
        return []
    before = items_at(old, "metadata", "finalizers")
    added = [str(one) for one in items_at(new, "metadata", "finalizers") if one not in before]
    if not added:
        return []
    listed = ", ".join(f'"{one}"' for one in sorted(added))
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    # The real server judges metadata in the generic layer and again in each kind's own.
    return [forbidden("metadata.finalizers", why)] * 2


def _same(new: Document, old: Document, *path: str) -> Causes:
    value = at(new, *path)
    return [] if value == at(old, *path) else [invalid(".".join(path), value, IMMUTABLE)]


def _selector(new: Document, old: Document) -> Causes:
    return _same(new, old, "spec", "selector")


_STATEFUL_OPEN = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
}
_STATEFUL_WHY = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def _stateful_set(new: Document, old: Document) -> Causes:
    left, right = mapping_at(new, "spec"), mapping_at(old, "spec")
    fixed = (left.keys() | right.keys()) - _STATEFUL_OPEN
    return [forbidden("spec", _STATEFUL_WHY)] if any(left.get(key) != right.get(key) for key in fixed) else []


def _job(new: Document, old: Document) -> Causes:
    found: Causes = []
    for key in ("completions", "selector", "template", "completionMode", "podFailurePolicy", "manualSelector"):
        if key == "completions" and at(new, "spec", "completionMode") == "Indexed":
            continue
        if key == "template" and _suspended(old):
            continue
        found += _same(new, old, "spec", key)
    return found


def _suspended(job: Document) -> bool:
    return at(job, "spec", "suspend") is True and at(job, "status", "startTime") is None


def _service(new: Document, old: Document) -> Causes:
    kinds = (text_at(new, "spec", "type"), text_at(old, "spec", "type"))
    if "ExternalName" in kinds:
        return []
    found: Causes = []
    address, before = text_at(new, "spec", "clusterIP"), text_at(old, "spec", "clusterIP")
    if before and address != before:
        found.append(invalid("spec.clusterIPs[0]", [address], "may not change once set"))
    return found


_FROZEN = "field is immutable when `immutable` is set"


def _config(*keys: str) -> Callable[[Document, Document], Causes]:
    def check(new: Document, old: Document) -> Causes:
        found: Causes = []
        if "type" in keys:
            found += _same(new, old, "type")
        if old.get("immutable") is True:
            if new.get("immutable") is not True:
                found.append(forbidden("immutable", _FROZEN))
            found += [
                forbidden(key, _FROZEN)
                for key in keys
                if key != "type" and (new.get(key) or {}) != (old.get(key) or {})
            ]
        return found

    return check


def _role_ref(new: Document, old: Document) -> Causes:
    role = mapping_at(new, "roleRef")
    if role == mapping_at(old, "roleRef"):
        return []
    group, kind, name = (text_at(role, key) for key in ("apiGroup", "kind", "name"))
    shown = f'{{"APIGroup":"{group}","Kind":"{kind}","Name":"{name}"}}'
    return [Cause("FieldValueInvalid", f"Invalid value: {shown}: cannot change roleRef", "roleRef")]


_CLAIM_WHY = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _claim(new: Document, old: Document) -> Causes:
    left, right = dict(mapping_at(new, "spec")), dict(mapping_at(old, "spec"))
    if text_at(old, "status", "phase") == "Bound":
        for spec in (left, right):
            spec.pop("resources", None)
            spec.pop("volumeAttributesClassName", None)
    if not right.get("volumeName"):
        left.pop("volumeName", None)
    return [] if left == right else [forbidden("spec", _CLAIM_WHY)]


def _storage_class(new: Document, old: Document) -> Causes:
    found: Causes = []
    for key in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"):
        found += _same(new, old, key)
    return found


def _priority_class(new: Document, old: Document) -> Causes:
    return [] if new.get("value") == old.get("value") else [forbidden("value", "may not be changed in an update.")]


_POD_WHY = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _pod(new: Document, old: Document) -> Causes:
    return [] if _fixed_pod(new) == _fixed_pod(old) else [forbidden("spec", _POD_WHY)]


def _fixed_pod(pod: Document) -> Document:
    open_fields = {"activeDeadlineSeconds", "tolerations", "nodeName", "schedulingGates"}
    spec = {key: value for key, value in mapping_at(pod, "spec").items() if key not in open_fields}
    for name in ("containers", "initContainers"):
        if name in spec:
            spec[name] = [{**container, "image": ""} for container in documents_at(spec, name)]
    return spec


_RBAC = "rbac.authorization.k8s.io"
_CHECKS: dict[str, Callable[[Document, Document], Causes]] = {
    f"clusterrolebindings.{_RBAC}": _role_ref,
    "configmaps": _config("data", "binaryData"),
    "daemonsets.apps": _selector,
    "deployments.apps": _selector,
    "jobs.batch": _job,
    "persistentvolumeclaims": _claim,
    "pods": _pod,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "replicasets.apps": _selector,
    f"rolebindings.{_RBAC}": _role_ref,
    "secrets": _config("type", "data"),
    "services": _service,
    "statefulsets.apps": _stateful_set,
    "storageclasses.storage.k8s.io": _storage_class,
}
