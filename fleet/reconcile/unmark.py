"""Takes our marks off an object that is not ours any more, and leaves it as it is (R13, R16)."""

from __future__ import annotations

import orjson

from fleet.core.documents import Document, documents_at, mapping_at, text_at
from fleet.core.ids import ObjectRef
from fleet.core.objects import FIELD_MANAGER, INSTALLATION_LABEL, OWNER_ANNOTATION, PART_OF_LABEL
from fleet.core.record import judge_mark
from fleet.errors import Conflict
from fleet.ports.kube import May, ServedKind
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site


async def unmark(site: Site, unit: UnitState, ref: ObjectRef, served: ServedKind, may: May) -> None:
    """Nothing where it is gone or bears no mark of this unit. Its row is dropped afterwards, by the caller.

    Raises ClusterError; Conflict where it changed meanwhile.
    """
    live, row = await site.kube.get(served, ref.namespace, ref.name), unit.rows[ref]
    if live is None or not judge_mark(live, site.mark(unit.name), known_uid=row.uid).ours:
        return
    patch = _unmarking(live)
    try:
        await site.kube.patch(served, ref.namespace, ref.name, patch, "application/json-patch+json", may=may)
    except Conflict:
        site.wake_at(unit.name, site.clock() + 0.5)
        raise


def _unmarking(live: Document) -> bytes:
    """A JSON patch that takes labels, annotation and our field manager's entries off, on this very state."""
    metadata = mapping_at(live, "metadata")
    operations: list[Document] = [
        {"op": "test", "path": "/metadata/uid", "value": text_at(metadata, "uid")},
        {"op": "test", "path": "/metadata/resourceVersion", "value": text_at(metadata, "resourceVersion")},
    ]
    labels, notes = mapping_at(metadata, "labels"), mapping_at(metadata, "annotations")
    for name in labels.keys() & {INSTALLATION_LABEL, PART_OF_LABEL}:
        removal: Document = {"op": "remove", "path": f"/metadata/labels/{_escaped(name)}"}
        operations.append(removal)
    if OWNER_ANNOTATION in notes:
        operations.append({"op": "remove", "path": f"/metadata/annotations/{_escaped(OWNER_ANNOTATION)}"})
    managers = documents_at(metadata, "managedFields")
    for index in reversed(range(len(managers))):
        entry = managers[index]
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            operations.append({"op": "remove", "path": f"/metadata/managedFields/{index}"})
    return orjson.dumps(operations)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
