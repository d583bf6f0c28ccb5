"""How a write is asked for, what it is refused for by what it says, and what its answer holds."""

from __future__ import annotations

from fleet.core.documents import Document, at, items_at, text_at
from fleet.sim import crds
from fleet.sim.codec import Notes
from fleet.sim.immutable import finalizer_causes
from fleet.sim.kinds import Kind
from fleet.sim.names import metadata_causes
from fleet.sim.statuses import Cause, conflict, invalid
from fleet.sim.validation import validate, warnings_of
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write: who, whether for real, and what to do with unknown fields (Warn, Strict, Ignore)."""

    manager: str = "unknown"
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    trusted: bool = False  # by our own controllers: what they write is well-formed, and is not judged again


@dataclass(slots=True)
class Written:
    """The answer to a write: the object at the version asked for, whether it is new, and warnings."""

    object: Document
    created: bool = False
    warnings: list[str] = field(default_factory=lambda: [])


def judge(kind: Kind, document: Document, old: Document | None, subresource: str) -> None:
    """Raise ApiError 422 for what the API server finds wrong with an object; old: what it was, on an update."""
    causes = metadata_causes(kind.resource, document, custom=kind.custom is not None)
    if kind.custom is not None:
        causes += crds.causes(kind, document, old, subresource)
    else:
        causes += validate(kind, document, old, subresource)
    if old is not None:
        causes += finalizer_causes(document, old)
    if causes:
        raise invalid(kind, text_at(document, "metadata", "name"), causes)


def check_uid(kind: Kind, metadata: Document, was: Document, *, patching: bool) -> None:
    """Raise ApiError where an update names another UID than the object has."""
    uid = text_at(metadata, "uid")
    if not uid or uid == text_at(was, "uid"):
        return
    name = text_at(was, "name")
    if patching:
        cause = Cause("FieldValueInvalid", f'Invalid value: "{uid}": field is immutable', "metadata.uid")
        raise invalid(kind, name, [cause, cause])
    place = f"{text_at(was, 'namespace')}/{name}" if kind.namespaced else name
    raise conflict(
        kind.plural,
        kind.group,
        name,
        f"StorageError: invalid object, Code: 4, Key: /registry/{kind.plural}/{place}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, "
        f"UID in object meta: {text_at(was, 'uid')}",
    )


def is_deletable(kind: Kind, document: Document) -> bool:
    """Whether an object that is being deleted may go, finalizers of its metadata aside."""
    if kind.resource == "namespaces":
        return not items_at(document, "spec", "finalizers")
    grace = at(document, "metadata", "deletionGracePeriodSeconds")
    return grace in (None, 0)


def warnings_for(kind: Kind, document: Document, notes: Notes, options: WriteOptions) -> list[str]:
    """What the answer to a write warns of."""
    if options.trusted:
        return []
    told = [f'unknown field "{path}"' for path in notes.unknown] if options.validation == "Warn" else []
    return told + warnings_of(kind, document)
