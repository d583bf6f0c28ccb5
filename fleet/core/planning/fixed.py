"""What an API server never changes in place: a short table, so that what is not in it is not told."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

from fleet.core.documents import Document, Json, at, documents_at, mapping_at, text_at

_Path = tuple[str, ...]

# By kind, each with what a server takes where it is not said. Dry-runs tell the rest, where a cluster may be asked.
_FIXED: Mapping[tuple[str, str], Mapping[_Path, Json]] = {
    ("apps", "Deployment"): {("spec", "selector"): None},
    ("apps", "DaemonSet"): {("spec", "selector"): None},
    ("apps", "StatefulSet"): {
        ("spec", "selector"): None,
        ("spec", "serviceName"): None,
        ("spec", "podManagementPolicy"): "OrderedReady",
        ("spec", "volumeClaimTemplates"): None,
    },
    ("batch", "Job"): {
        ("spec", "selector"): None,
        ("spec", "template"): None,
        ("spec", "completionMode"): "NonIndexed",
    },
    ("", "PersistentVolumeClaim"): {
        ("spec", "accessModes"): None,
        ("spec", "storageClassName"): None,
        ("spec", "volumeMode"): "Filesystem",
        ("spec", "volumeName"): None,
        ("spec", "selector"): None,
    },
    ("", "Service"): {("spec", "clusterIP"): None},
    ("rbac.authorization.k8s.io", "RoleBinding"): {("roleRef",): None},
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): {("roleRef",): None},
    ("storage.k8s.io", "StorageClass"): {
        ("provisioner",): None,
        ("parameters",): None,
        ("reclaimPolicy",): "Delete",
        ("volumeBindingMode",): "Immediate",
    },
}
# A server gives these itself where they are not said: one that only one commit says may be what the server gave.
_GIVEN = {("spec", "clusterIP"), ("spec", "storageClassName"), ("spec", "volumeName")}
_HEADLESS = "None"  # as a clusterIP: never given
_CONTENT_KINDS = ("ConfigMap", "Secret")


def fixed_changes(before: Document, after: Document, *, is_replaced: bool = False) -> tuple[str, ...]:
    """Paths that this kind never changes in place, and that two commits say otherwise.

    is_replaced: the object is deleted and made anew for one: then one that only the later commit says counts as well.
    """
    found = [
        ".".join(path)
        for path, default in _fields_of(after).items()
        if _is_changed(path, _said(before, path, default), _said(after, path, default), is_replaced=is_replaced)
    ]
    if text_at(after, "kind") in _CONTENT_KINDS and not _group_of(after) and before.get("immutable") is True:
        found += _content_changes(before, after)
    return tuple(found)


def _is_changed(path: _Path, was: Json, now: Json, *, is_replaced: bool) -> bool:
    if path in _GIVEN and (now is None or (was is None and now != _HEADLESS and not is_replaced)):
        return False
    return was != now


def _said(document: Document, path: _Path, default: Json) -> Json:
    """A field as the server takes it: without what is empty, with the defaults that are known."""
    value = at(document, *path)
    if path == ("spec", "volumeClaimTemplates"):
        value = list(map(_claim, documents_at(document, *path)))
    if path == ("roleRef",):
        value = {"apiGroup": "rbac.authorization.k8s.io", **mapping_at(document, *path)}
    found = _without_empty(value)
    return default if found is None else found


def _claim(claim: Document) -> Json:
    spec = {"volumeMode": "Filesystem", **mapping_at(claim, "spec")}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim, "spec": spec, "status": None}


def _without_empty(value: Json) -> Json:
    """The same without empty mappings, lists and nulls; None where nothing is left."""
    if isinstance(value, dict):
        parts = {name: _without_empty(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not None} or None
    if isinstance(value, list):
        return [_without_empty(part) for part in value] or None
    return value


def _content_changes(before: Document, after: Document) -> Iterator[str]:
    """What differs of an object that says it never changes; nor does it take that back."""
    if after.get("immutable") is not True:
        yield "immutable"
    if _data(before) != _data(after):
        yield "data"
    if mapping_at(before, "binaryData") != mapping_at(after, "binaryData"):
        yield "binaryData"


def _data(document: Document) -> Document:
    """A Secret's texts as the server keeps them."""
    plain = mapping_at(document, "stringData").items()
    encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in plain}
    return {**mapping_at(document, "data"), **encoded}


def immutable_changes(live: Document, after: Document) -> tuple[str, ...]:
    """Paths that this kind never changes in place, and that the new body says otherwise than the live one."""
    found = [
        ".".join(path)
        for path in _fields_of(after)
        if (wanted := at(after, *path)) is not None and not _is_within(wanted, at(live, *path))
    ]
    if live.get("immutable") is True and not _is_within(after.get("data"), live.get("data")):
        found.append("data")
    return tuple(found)


def _fields_of(document: Document) -> Mapping[_Path, Json]:
    return _FIXED.get((_group_of(document), text_at(document, "kind")), {})


def _group_of(document: Document) -> str:
    return text_at(document, "apiVersion").rpartition("/")[0]


def _is_within(wanted: Json, there: Json) -> bool:
    """Whether all that is wanted is there; what the server defaulted beside it does not count."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(name in there and _is_within(value, there[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_is_within, wanted, there))
    return wanted == there
