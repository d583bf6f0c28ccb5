"""What a unit owns on a cluster: the record, kept in the journal and, as a summary, on the cluster's parent object.

The record is written before an apply (old united with new) and shrinks only after an object is confirmed gone
(R12). Being in it is necessary for a deletion, never sufficient (R11).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache

from fleet.core.documents import Document, digest_of, digest_of_bytes, documents_at, mapping_at, text_at
from fleet.core.ids import Digest, ObjectRef, UnitName
from fleet.core.ignore import concerns
from fleet.core.objects import (
    FIELD_MANAGER,
    INSTALLATION_LABEL,
    OWNER_ANNOTATION,
    PART_OF_LABEL,
    BundleObject,
    Mark,
    ref_of,
    split_api_version,
)
from fleet.core.options import is_hook
from fleet.core.sync_policy import IgnoreRule
from fleet.values import dataclass

# What `Row.desired` and `Row.fingerprint` mean: rises when the same object gives another digest than before (another
# normalised form, other fields counted). Rows of another form are compared anew, by dry-runs and over time.
FORM = 1
PARENT_NAMESPACE = "fleet-system"  # where the parents of units live unless the hub is set otherwise
_NAME_LIMIT = 253


class RowState(StrEnum):
    """How far an object of the record is."""

    INTENDED = "intended"  # an apply was decided; whether it landed is not known yet
    APPLIED = "applied"
    DELETING = "deleting"  # a delete was sent; not yet seen to be gone
    RELEASED = "released"  # our mark was taken off: neither changed nor deleted until a person decides
    DONE = "done"  # a Job or hook that completed for this digest; it may vanish
    FAILED_THERE = "failed-there"  # a Job that failed for this digest and is there still
    FAILED = "failed"  # such a one that is gone: it is not run again

    @property
    def is_end(self) -> bool:
        """Whether nothing needs to be there: it ran to its end."""
        return self in (RowState.DONE, RowState.FAILED)


@dataclass(frozen=True, slots=True)
class Row:
    """One owned object. Digests and text are "" where not known yet."""

    unit: UnitName
    ref: ObjectRef
    state: RowState
    uid: str = ""
    version: str = ""  # API version (without group) that it was applied at
    desired: Digest = Digest("")  # of the body as last applied, marks included
    fingerprint: Digest = Digest("")  # of our own fields' live values after that apply
    fields: bytes = b""  # our last applied field set: canonical FieldsV1 JSON; of an object to be made, as intended
    resource_version: str = ""
    since: float = 0.0  # wall clock of the last change of this row; while DELETING run time (`Journal.run_time`)
    form: int = FORM  # of the version that recorded it


# Marks (R4)


class MarkKind(StrEnum):
    """Whose mark an object carries."""

    OURS = "ours"  # labels and annotation as we write them
    LABEL_LOST = "label-lost"  # our annotation is whole, a label of ours is gone or wrong: drift, to be restored
    ANNOTATION_LOST = "annotation-lost"  # our labels without the annotation: Released
    UNMARKED = "unmarked"
    OTHER_UNIT = "other-unit"  # this installation and cluster, another overlay (`who`: its name)
    OTHER_INSTALLATION = "other-installation"  # `who`: installation, or installation and cluster identity
    FORGED = "forged"  # a mark that we never write; neither changed nor deleted
    COPIED = "copied"  # our mark on an object that we never applied: a controller copied it from another object


@dataclass(frozen=True, slots=True)
class MarkVerdict:
    """The kind of mark, and for OTHER_… and FORGED who it names, as shown to people."""

    kind: MarkKind
    who: str = ""

    @property
    def ours(self) -> bool:
        """Whether this unit may write the object."""
        return self.kind in (MarkKind.OURS, MarkKind.LABEL_LOST)


@lru_cache(maxsize=64)
def installation_hash(installation: str) -> str:
    """Value of INSTALLATION_LABEL: 32 hex digits, a valid label whatever the id is."""
    return hashlib.sha256(installation.encode()).hexdigest()[:32]


@lru_cache(maxsize=4096)
def applyset_id(parent: str, namespace: str) -> str:
    """The ApplySet id of a unit by its parent ConfigMap (KEP-3659: hash of `name.namespace.kind.group`)."""
    raw = hashlib.sha256(f"{parent}.{namespace}.ConfigMap.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(raw).decode().rstrip('=')}-v1"


def parent_name(overlay: str) -> str:
    """Name of the parent ConfigMap of a unit: `unit-OVERLAY`; a name that would be too long ends in its hash."""
    name = f"unit-{overlay}"
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[:200].rstrip('.-')}-{hashlib.sha256(overlay.encode()).hexdigest()[:32]}"


def owner_text(mark: Mark) -> str:
    """Value of OWNER_ANNOTATION: `installation/identity/overlay`."""
    return f"{mark.installation}/{mark.identity}/{mark.overlay}"


def mark_labels(mark: Mark, namespace: str = PARENT_NAMESPACE) -> dict[str, str]:
    """Both labels of a unit's objects. `namespace` is that of the parents."""
    return {
        INSTALLATION_LABEL: installation_hash(mark.installation),
        PART_OF_LABEL: applyset_id(parent_name(mark.overlay), namespace),
    }


def mark_body(body: Document, mark: Mark, namespace: str = PARENT_NAMESPACE) -> Document:
    """The body with our mark on its own metadata only, never in templates or selectors. The argument is unchanged."""
    metadata = dict(mapping_at(body, "metadata"))
    labels: Document = {**mapping_at(metadata, "labels"), **mark_labels(mark, namespace)}
    notes: Document = {**mapping_at(metadata, "annotations"), OWNER_ANNOTATION: owner_text(mark)}
    return {**body, "metadata": {**metadata, "labels": labels, "annotations": notes}}


def desired_digest_of(obj: BundleObject, mark: Mark, rules: Sequence[IgnoreRule] = ()) -> Digest:
    """`Row.desired`: digest of what we want of an object: its body, our mark, and the ignore rules that concern it.

    A new ignore rule counts as a change, because fields must then be handed over and left out of the comparison.
    """
    mine = [repr(rule) for rule in rules if concerns(rule, obj.ref)]
    return digest_of(["1", obj.digest, obj.api_version, owner_text(mark), *mine])


def judge_mark(live: Document, mark: Mark, *, known_uid: str = "", namespace: str = PARENT_NAMESPACE) -> MarkVerdict:
    """Whose mark a live object (or its metadata alone) carries, seen from this unit.

    Controllers copy labels and annotations to objects of their own (Service to Endpoints, Deployment to ReplicaSet):
    our mark counts only where our own apply set it, or where `known_uid` (of the record) is this object's UID.
    """
    metadata = mapping_at(live, "metadata")
    labels, owner = mapping_at(metadata, "labels"), text_at(metadata, "annotations", OWNER_ANNOTATION)
    label = text_at(labels, INSTALLATION_LABEL)
    ours = label == installation_hash(mark.installation)
    if not owner:
        if not label:
            return MarkVerdict(MarkKind.UNMARKED)
        if not ours:
            return MarkVerdict(MarkKind.OTHER_INSTALLATION, "another installation")
        is_known = bool(known_uid) and text_at(metadata, "uid") == known_uid
        return MarkVerdict(MarkKind.ANNOTATION_LOST if is_known or we_applied(live) else MarkKind.COPIED)
    parts = owner.split("/")
    if len(parts) != 3 or not all(parts):
        return MarkVerdict(MarkKind.FORGED, owner)
    installation, identity, overlay = parts
    if installation != mark.installation:
        return MarkVerdict(MarkKind.FORGED if ours else MarkKind.OTHER_INSTALLATION, installation)
    if label and not ours:
        return MarkVerdict(MarkKind.FORGED, owner)
    if identity != mark.identity:
        return MarkVerdict(MarkKind.OTHER_INSTALLATION, f"{installation} on the cluster {identity}")
    if not (known_uid and text_at(metadata, "uid") == known_uid) and not we_applied(live):
        return MarkVerdict(MarkKind.COPIED)
    if overlay != mark.overlay:
        return MarkVerdict(MarkKind.OTHER_UNIT, overlay)
    if labels.get(PART_OF_LABEL) != applyset_id(parent_name(overlay), namespace) or not ours:
        return MarkVerdict(MarkKind.LABEL_LOST)
    return MarkVerdict(MarkKind.OURS)


def we_applied(live: Document) -> bool:
    """Whether our manager has ever applied to this object: a copied mark comes without our entry."""
    return any(
        entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
        for entry in documents_at(live, "metadata", "managedFields")
    )


# The record (R11, R12)


def plan_record(
    unit: UnitName,
    rows: Iterable[Row],
    objects: Iterable[BundleObject],
    *,
    at: float,
    fields: Mapping[ObjectRef, bytes] | None = None,
) -> tuple[Row, ...]:
    """Rows to write before an apply, so that the record holds old united with new (R12); empty: nothing to write.

    A row that exists is kept as it is, RELEASED included; one that was being deleted is wanted again. fields: of what
    is to be made: what the apply will own. If it lands and the hub ends before it hears so, and somebody takes a
    field then, that field is known to have been ours (R17).
    """
    known = {row.ref: row for row in rows if row.unit == unit}
    new: list[Row] = []
    for obj in objects:
        row = known.get(obj.ref)
        if row is None:
            intended = (fields or {}).get(obj.ref, b"")
            new.append(Row(unit, obj.ref, RowState.INTENDED, version=obj.version, fields=intended, since=at))
        elif row.state is RowState.DELETING:
            new.append(replace(row, state=RowState.INTENDED, since=at))
    return tuple(new)


def record_digest(refs: Iterable[ObjectRef]) -> Digest:
    """Digest of a record as the list of its objects, whatever their order."""
    return digest_of_bytes("\n".join(sorted(ref.key for ref in refs)).encode())


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A record read back from the cluster. Rows know no digests: each object is judged by the arbiter once.

    complete: the list is the one that the parent object names, by digest. Anything else is confirmed by a person
    before any prune (R12).
    """

    rows: tuple[Row, ...]
    complete: bool


def rebuild_record(
    unit: UnitName, mark: Mark, live: Iterable[Document], *, expected: Digest | None, at: float
) -> Rebuilt:
    """Find the record of a unit again among complete lists of what carries our label.

    expected: the record digest on the unit's parent object; None where there is no parent. What a hook left is in no
    record: it goes as its hook says, without permit and budget.
    """
    rows: list[Row] = []
    for document in live:
        if not judge_mark(document, mark).ours or is_hook(document):
            continue
        _, version = split_api_version(text_at(document, "apiVersion"))
        uid = text_at(document, "metadata", "uid")
        rows.append(Row(unit, ref_of(document), RowState.APPLIED, uid=uid, version=version, since=at))
    rows.sort(key=lambda row: row.ref)
    return Rebuilt(tuple(rows), expected is not None and record_digest(row.ref for row in rows) == expected)


@dataclass(frozen=True, slots=True)
class Deletable:
    """May be deleted, with exactly these preconditions."""

    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class NotDeletable:
    """Stays. reason: an error's class name; message for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Not there any more: only the row is dropped."""


def judge_deletion(row: Row, live: Document | None, mark: Mark) -> Deletable | NotDeletable | Gone:
    """R11 on one object, read just before: recorded, same incarnation, exactly our mark, not owned by another object.

    live: None only if the server said that it is not there.
    """
    if live is None:
        return Gone()
    metadata = mapping_at(live, "metadata")
    uid, revision = text_at(metadata, "uid"), text_at(metadata, "resourceVersion")
    if row.state is RowState.RELEASED:
        return NotDeletable("Released", f"{row.ref} was released by taking our annotation off")
    if not row.uid or row.uid != uid:
        return NotDeletable("OwnedByOther", f"{row.ref} was made anew by someone else since we applied it")
    verdict = judge_mark(live, mark, known_uid=row.uid)
    if verdict.kind is not MarkKind.OURS:
        return NotDeletable(_reason_of(verdict), f"{row.ref} does not carry our whole mark ({verdict.kind.value})")
    if owners := documents_at(metadata, "ownerReferences"):
        owner = f"{text_at(owners[0], 'kind')} {text_at(owners[0], 'name')}"
        return NotDeletable("OwnedByOther", f"{row.ref} belongs to {owner}, which decides over it")
    return Deletable(uid, revision)


def _reason_of(verdict: MarkVerdict) -> str:
    lost = (MarkKind.UNMARKED, MarkKind.ANNOTATION_LOST, MarkKind.LABEL_LOST)
    return "Released" if verdict.kind in lost else "OwnedByOther"
