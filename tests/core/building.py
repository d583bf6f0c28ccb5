"""Short ways to the values that decisions are tested on."""

from __future__ import annotations

from typing import Any

from fleet.core.documents import canonical, digest_of_bytes
from fleet.core.fingerprint import SyncState, SyncVerdict
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.objects import BundleObject, Mark, ObjectOptions, Scope
from fleet.core.plan import DesiredObject, Seen
from fleet.core.record import MarkKind, MarkVerdict, Row, RowState, mark_body

UNIT = UnitName(OverlayName("web"), ClusterName("eu-1"))
MARK = Mark("acme", "5f0c", "web")


def ref(name: str, kind: str = "ConfigMap", group: str = "", namespace: str = "shop") -> ObjectRef:
    return ObjectRef(group, kind, namespace, name)


def config_map(name: str, **options: Any) -> BundleObject:
    return bundle_object(ref(name), **options)


def bundle_object(of: ObjectRef, *, generated_from: str = "", **options: Any) -> BundleObject:
    api = f"{of.group}/v1" if of.group else "v1"
    body = canonical({"apiVersion": api, "kind": of.kind, "metadata": {"name": of.name, "namespace": of.namespace}})
    scope = Scope.NAMESPACED if of.namespace else Scope.CLUSTER
    return BundleObject(of, "v1", scope, body, digest_of_bytes(body), ObjectOptions(**options), generated_from)


def wanted(of: ObjectRef, *, digest: str = "new", served: bool = True, **options: Any) -> DesiredObject:
    return DesiredObject(of, bundle_object(of, **options), Digest(digest), served)


def row(of: ObjectRef, *, uid: str = "u1", state: RowState = RowState.APPLIED, desired: str = "new") -> Row:
    return Row(UNIT, of, state, uid=uid, version="v1", desired=Digest(desired), fingerprint=Digest("f"))


def seen(
    state: SyncState = SyncState.IN_SYNC, mark: MarkKind = MarkKind.OURS, *, uid: str = "u1", who: str = "", **more: Any
) -> Seen:
    return Seen(MarkVerdict(mark, who), SyncVerdict(state), uid, "7", **more)


def live_of(
    body: dict[str, Any], *, fields: dict[str, Any] | None = None, uid: str = "u1", marked: bool = True, **metadata: Any
) -> dict[str, Any]:
    """A live object as the server would answer an apply of `body` by manager fleet."""
    document = mark_body(body, MARK) if marked else body
    entry = {
        "manager": "fleet",
        "operation": "Apply",
        "apiVersion": body["apiVersion"],
        "time": "2026-11-25T09:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields if fields is not None else fields_of(document),
    }
    return {
        **document,
        "metadata": {**document["metadata"], "uid": uid, "resourceVersion": "7", "managedFields": [entry], **metadata},
    }


def fields_of(body: Any) -> dict[str, Any]:
    """A field set as the server writes it for maps and lists of items with a `name`; identity left out."""
    left_out = {"apiVersion", "kind"}
    fields = {f"f:{name}": _node(value) for name, value in body.items() if name not in left_out}
    metadata = fields.get("f:metadata", {})
    for name in ("f:name", "f:namespace"):
        metadata.pop(name, None)
    return {name: node for name, node in fields.items() if name != "f:metadata" or node}


def _node(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"f:{name}": _node(child) for name, child in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {"k:" + canonical({"name": item["name"]}).decode(): {".": {}, **_node(item)} for item in value}
    return {}


def entry(manager: str, fields: dict[str, Any], *, operation: str = "Update", subresource: str = "") -> dict[str, Any]:
    found = {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "time": "2026-11-25T10:00:00Z",
        "fieldsV1": fields,
    }
    return {**found, "subresource": subresource} if subresource else found
