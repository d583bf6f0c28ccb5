"""What an API server never changes in place: a short table, so that what is not in it is not told."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.core.documents import Document, Json, at, text_at

# By kind. Dry-runs tell the rest, where a cluster may be asked.
_FIXED: Mapping[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("apps", "Deployment"): (("spec", "selector"),),
    ("apps", "DaemonSet"): (("spec", "selector"),),
    ("apps", "StatefulSet"): (
        ("spec", "selector"),
        ("spec", "serviceName"),
        ("spec", "podManagementPolicy"),
        ("spec", "volumeClaimTemplates"),
    ),
    ("batch", "Job"): (("spec", "selector"), ("spec", "template"), ("spec", "completionMode")),
    ("", "PersistentVolumeClaim"): (
        ("spec", "accessModes"),
        ("spec", "storageClassName"),
        ("spec", "volumeMode"),
        ("spec", "volumeName"),
        ("spec", "selector"),
    ),
    ("", "Service"): (("spec", "clusterIP"),),
    ("rbac.authorization.k8s.io", "RoleBinding"): (("roleRef",),),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (("roleRef",),),
    ("storage.k8s.io", "StorageClass"): (("provisioner",), ("parameters",), ("reclaimPolicy",), ("volumeBindingMode",)),
}


def immutable_changes(before: Document, after: Document) -> tuple[str, ...]:
    """Paths that this kind never changes in place, and that the new body says otherwise than the old or live one."""
    group = text_at(after, "apiVersion").rpartition("/")[0]
    found = [
        ".".join(path)
        for path in _FIXED.get((group, text_at(after, "kind")), ())
        if (wanted := at(after, *path)) is not None and not _is_within(wanted, at(before, *path))
    ]
    if before.get("immutable") is True and any(not _is_within(after.get(part), before.get(part)) for part in ("data",)):
        found.append("data")
    return tuple(found)


def _is_within(wanted: Json, there: Json) -> bool:
    """Whether all that is wanted is there; what the server defaulted beside it does not count."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(name in there and _is_within(value, there[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_is_within, wanted, there))
    return wanted == there
