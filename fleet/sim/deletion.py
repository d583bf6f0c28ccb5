"""What a delete does to an object: it goes at once, or is marked and waits for its finalizers. Pure."""

from __future__ import annotations

from fleet.core.documents import Document, Json, items_at, mapping_at, text_at
from fleet.sim import crds, rules
from fleet.sim.kinds import Kind
from fleet.sim.statuses import conflict
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must hold for a delete; "" asks nothing."""

    uid: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """The object as the answer shows it; whether it is gone; if not, whether it has changed."""

    document: Document
    gone: bool
    changed: bool = False


def plan_delete(
    kind: Kind, document: Document, preconditions: Preconditions, propagation: str, grace_seconds: int | None, now: str
) -> Deletion:
    """Judge a delete of this object; raises ApiError 409 where a precondition fails."""
    _check_preconditions(kind, document, preconditions)
    metadata = dict(mapping_at(document, "metadata"))
    before = items_at(metadata, "finalizers")
    finalizers = _finalizers(kind, before, propagation)
    graceful = _grace(kind, document, grace_seconds)
    held_by_spec = kind.resource == "namespaces" and items_at(document, "spec", "finalizers")
    if not finalizers and not graceful and not held_by_spec:
        if kind.resource == "pods":
            metadata |= {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0}
            metadata["generation"] = number_of(metadata, "generation") + 1
        return Deletion({**document, "metadata": metadata}, gone=True)
    already = "deletionTimestamp" in metadata
    metadata["finalizers"] = finalizers
    if not finalizers:
        metadata.pop("finalizers")
    if not already:
        metadata["deletionTimestamp"] = now
        if kind.resource != "namespaces":
            metadata["deletionGracePeriodSeconds"] = graceful
        if number_of(metadata, "generation"):
            metadata["generation"] = number_of(metadata, "generation") + 1
    marked: Document = {**document, "metadata": metadata}
    if kind.resource == "namespaces":
        marked["status"] = {**mapping_at(document, "status"), "phase": "Terminating"}
    return Deletion(marked, gone=False, changed=not already or finalizers != before)


_COLLECTORS = {"orphan", "foregroundDeletion"}


def _finalizers(kind: Kind, before: list[Json], propagation: str) -> list[Json]:
    """The finalizers after the delete: those of before, and the collector's own by the propagation asked for."""
    finalizers = [one for one in before if one not in _COLLECTORS]
    wanted: Json = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}.get(propagation)
    if not propagation:
        wanted = next((one for one in before if one in _COLLECTORS), None)
        if wanted is None and kind.resource in rules.ORPHANS_BY_DEFAULT:
            wanted = "orphan"
    if kind.resource == crds.RESOURCE and crds.CLEANUP not in finalizers:
        finalizers.append(crds.CLEANUP)
    if wanted is not None and (kind.resource != "namespaces" or propagation == "Orphan"):
        finalizers.append(wanted)
    return finalizers


def number_of(document: Document, key: str) -> int:
    """An integer field; 0 where there is none."""
    value = document.get(key)
    return value if isinstance(value, int) else 0


def _grace(kind: Kind, document: Document, asked: int | None) -> int:
    """Seconds that a pod may take to stop; 0 for what goes at once."""
    if kind.resource != "pods":
        return 0
    if not text_at(document, "spec", "nodeName") or text_at(document, "status", "phase") in {"Succeeded", "Failed"}:
        return 0
    if asked is not None:
        return asked
    return number_of(mapping_at(document, "spec"), "terminationGracePeriodSeconds")


def _check_preconditions(kind: Kind, document: Document, wanted: Preconditions) -> None:
    name = text_at(document, "metadata", "name")
    uid, version = text_at(document, "metadata", "uid"), text_at(document, "metadata", "resourceVersion")
    if wanted.uid and wanted.uid != uid:
        raise conflict(
            kind.kind,
            kind.group,
            name,
            f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({uid}). "
            "The object might have been deleted and then recreated",
        )
    if wanted.version and wanted.version != version:
        raise conflict(
            kind.kind,
            kind.group,
            name,
            f"the ResourceVersion in the precondition ({wanted.version}) does not match the ResourceVersion in record "
            f"({version}). The object might have been modified",
        )
