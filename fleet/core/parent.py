"""A unit's parent object on the cluster: a ConfigMap that any ApplySet tool understands (KEP-3659) and from which a
lost hub finds its way again: what is owned, as a digest, and which bundle of which commit was released.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet import __version__
from fleet.core.documents import Document, canonical, digest_of, mapping_at, parse, text_at
from fleet.core.ids import Digest, ObjectRef, Revision, is_dns_subdomain
from fleet.core.objects import INSTALLATION_LABEL, OWNER_ANNOTATION, Mark
from fleet.core.record import PARENT_NAMESPACE, applyset_id, installation_hash, owner_text, parent_name, record_digest
from fleet.values import dataclass

PARENT_LABEL = "applyset.kubernetes.io/id"  # on parents alone
_TOOLING = "applyset.kubernetes.io/tooling"
_KINDS = "applyset.kubernetes.io/contains-group-kinds"
_NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
_GENERATION = "fleet.internal/record-generation"
_RECORD = "fleet.internal/record-digest"
_BUNDLE = "fleet.internal/bundle-digest"
_COMMIT = "fleet.internal/commit"
_QUARANTINED = "fleet.internal/quarantined"
_AUDIT = "fleet.internal/audit-head"
_LONGEST = 256 << 10  # of all annotations of an object together, as an API server has it
_DIGEST_LENGTH = 64
_MOST_BARRED = 100  # more than is ever written
MOST_GENERATION = 10**12  # no hub writes so often; what it writes above is read as well
_GENERATION_DIGITS = 15  # whoever may edit a ConfigMap writes any number


@dataclass(frozen=True, slots=True)
class Parent:
    """What the parent object says.

    quarantined: digests of results that are not rolled out again; audit: the head of the hub's audit log after the last
    deletion in this unit, as a witness outside the hub (R43).
    """

    mark: Mark
    generation: int
    record: Digest
    kinds: tuple[tuple[str, str], ...]  # group, kind
    namespaces: tuple[str, ...]
    bundle: Digest = Digest("")
    commit: Revision = Revision("")
    quarantined: tuple[Digest, ...] = ()
    audit: str = ""

    def goes_on_from(self, known: int) -> int:
        """The generation of a record that is rebuilt by this parent; known: of what was known of it, 0 for nothing.

        Not any number that somebody wrote there: what is written next can still be read, and is higher than any that is
        in an older state.
        """
        return max(1, known, min(self.generation, MOST_GENERATION))  # it was met: it is asked about once

    @property
    def said(self) -> Digest:
        """What a hub that lost its data finds by it."""
        return digest_of([self.record, self.bundle, *self.quarantined])

    def same_content(self, other: Parent | None) -> bool:
        """Whether writing would change nothing but the generation: then it is not written."""
        if other is None:
            return False
        mine, theirs = (self.mark, self.record, self.bundle), (other.mark, other.record, other.bundle)
        return mine == theirs and self.quarantined == other.quarantined and self.kinds == other.kinds


def next_generation(known: int) -> int:
    """The generation that is written after this one; never one that cannot be read."""
    after = known + 1
    return after if len(str(after)) <= _GENERATION_DIGITS else MOST_GENERATION + 1


def parent_of(
    mark: Mark,
    refs: Iterable[ObjectRef],
    *,
    generation: int,
    bundle: Digest | None,
    commit: Revision,
    quarantined: Iterable[Digest] = (),
    audit: str = "",
) -> Parent:
    """The parent of a unit that owns these objects (old united with new while an apply goes on)."""
    owned = sorted(set(refs))
    return Parent(
        mark=mark,
        generation=generation,
        record=record_digest(owned),
        kinds=tuple(sorted({(ref.group, ref.kind) for ref in owned})),
        namespaces=tuple(sorted({ref.namespace for ref in owned if ref.namespace})),
        bundle=bundle or Digest(""),
        commit=commit,
        quarantined=tuple(sorted(quarantined)),
        audit=audit,
    )


def parent_document(parent: Parent, namespace: str = PARENT_NAMESPACE) -> Document:
    """The ConfigMap to apply."""
    name = parent_name(parent.mark.overlay)
    notes: dict[str, str] = {
        _TOOLING: f"fleet/v{__version__}",
        _KINDS: ",".join(sorted(f"{kind}.{group}" if group else kind for group, kind in parent.kinds)),
        _NAMESPACES: ",".join(place for place in parent.namespaces if place != namespace),
        OWNER_ANNOTATION: owner_text(parent.mark),
        _GENERATION: str(parent.generation),
        _RECORD: parent.record,
        _BUNDLE: parent.bundle,
        _COMMIT: parent.commit,
        _QUARANTINED: canonical(list(parent.quarantined)).decode(),  # an empty list too: else what others add stays
    }
    if parent.audit:
        notes[_AUDIT] = parent.audit
    labels = {
        PARENT_LABEL: applyset_id(name, namespace),
        INSTALLATION_LABEL: installation_hash(parent.mark.installation),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {**labels}, "annotations": {**notes}},
    }


def is_parent(live: Document) -> bool:
    """Whether a live object is the parent of some unit."""
    return bool(text_at(live, "metadata", "labels", PARENT_LABEL)) and live.get("kind") == "ConfigMap"


def parse_parent(live: Document) -> Parent | None:
    """Read a parent object; None where it is none of ours or damaged: then the record must be rebuilt (R12)."""
    notes, name = mapping_at(live, "metadata", "annotations"), text_at(live, "metadata", "name")
    owner = text_at(notes, OWNER_ANNOTATION).split("/")
    if len(owner) != 3 or not all(owner) or not text_at(notes, _RECORD):
        return None
    if _generation(notes) is None or _quarantined(notes) is None:
        return None
    if name != parent_name(owner[2]) or _applyset(live) != applyset_id(name, text_at(live, "metadata", "namespace")):
        return None
    return _read(notes, Mark(*owner))


def salvage_parent(live: Document, installation: str, identity: str) -> Parent | None:
    """What a parent of ours says, also where it was damaged; None where it is no unit's, or a copy of another's.

    Whose it is its name says, whatever its annotation was changed to. What cannot be read is empty.
    """
    notes, name = mapping_at(live, "metadata", "annotations"), text_at(live, "metadata", "name")
    overlay = "/".join(text_at(notes, OWNER_ANNOTATION).split("/")[2:])
    if name != parent_name(overlay):
        if overlay and _applyset(live) == applyset_id(parent_name(overlay), text_at(live, "metadata", "namespace")):
            return None
        overlay = name.removeprefix(parent_name("")) if name.startswith(parent_name("")) else ""
    return _read(notes, Mark(installation, identity, overlay)) if is_dns_subdomain(overlay) else None


def _applyset(live: Document) -> str:
    return text_at(live, "metadata", "labels", PARENT_LABEL)


def _read(notes: Document, mark: Mark) -> Parent:
    return Parent(
        mark=mark,
        generation=_generation(notes) or 0,
        record=Digest(text_at(notes, _RECORD)),
        kinds=tuple(sorted(_kind_of(text) for text in text_at(notes, _KINDS).split(",") if text)),
        namespaces=tuple(text for text in text_at(notes, _NAMESPACES).split(",") if text),
        bundle=Digest(text_at(notes, _BUNDLE)),
        commit=Revision(text_at(notes, _COMMIT)),
        quarantined=_quarantined(notes) or (),
        audit=text_at(notes, _AUDIT),
    )


def _generation(notes: Document) -> int | None:
    text = text_at(notes, _GENERATION)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _GENERATION_DIGITS else None


def _kind_of(text: str) -> tuple[str, str]:
    kind, _, group = text.partition(".")
    return group, kind


def _quarantined(notes: Document) -> tuple[Digest, ...] | None:
    raw = text_at(notes, _QUARANTINED)
    if _QUARANTINED not in notes:
        return ()
    if len(raw) > _LONGEST:
        return None
    try:
        value = parse(raw.encode())
    except ValueError:
        return None
    if not isinstance(value, list):
        return None
    return tuple(Digest(item) for item in value if isinstance(item, str) and len(item) <= _DIGEST_LENGTH)[:_MOST_BARRED]
