"""In sync or not, by the live values of just those fields that we own (design, section 6.3).

Right after an apply the fingerprint of the answer is recorded. As long as it stays the same, nobody has changed what
we set, whatever the server made of our text (quantities, defaults, conversions) and whatever others wrote beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.core.documents import Document, Json, canonical, digest_of, mapping_at, parse_document, text_at
from fleet.core.fieldset import ABSENT, VOID, Absent, Path, item_keys, set_value, step, without
from fleet.core.fleet import IgnoreRule
from fleet.core.ids import Digest
from fleet.core.ignore import dropped_by_pointers
from fleet.core.objects import FIELD_MANAGER, split_api_version
from fleet.core.record import Row, RowState

_EXISTS: Document = {".": {}}  # how `applied_fields` spells a map that we applied empty,
_LEFT_OUT: Document = {VOID: {}}  # and one that the server left out besides
_SPELLINGS = (canonical(_EXISTS), canonical(_LEFT_OUT))


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """Our entry of `managedFields`: which fields we applied last, and at which API version they are written."""

    api_version: str
    fields: Document  # FieldsV1, or what `applied_fields` made of it


def own_entry(live: Document, manager: str = FIELD_MANAGER) -> OwnEntry | None:
    """Our entry (operation Apply, no subresource) of an object or of its metadata alone; None where there is none."""
    metadata = live.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if (
            isinstance(entry, dict)
            and entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and not entry.get("subresource")
        ):
            fields = entry.get("fieldsV1")
            return OwnEntry(text_at(entry, "apiVersion"), fields if isinstance(fields, dict) else {})
    return None


def fingerprint_of(live: Document, entry: OwnEntry, *, key: bytes = b"") -> Digest:
    """Digest of the live values of the fields in `entry`, field names included.

    `.` counts existence; `k:{…}` picks the item by its keys; `v:` counts membership; a leaf counts its value; absent is
    a value of its own. A map that we applied empty (`{".": {}}`, see `applied_fields`) counts by its place in our set
    alone: others may fill it, and the server takes it out of our set where it is removed. One that the server left
    out (`{"!": {}}`) does not count.
    key: at most 64 bytes; digests of Secrets are keyed with it, so that they say nothing about the values (R32).
    """
    raw = canonical(_project(entry.fields, live))
    if key and live.get("kind") == "Secret":
        return Digest(hashlib.blake2b(raw, key=key, digest_size=32).hexdigest())
    return Digest(hashlib.sha256(raw).hexdigest())


def _project(fields: Mapping[str, Json], value: Json) -> dict[str, Json]:
    """The tree of fields with live values as leaves. "!" before a path element says that nothing is there."""
    out: dict[str, Json] = {}
    items = _ItemsByKey(value) if isinstance(value, list) else None
    for element, below in fields.items():
        if element == ".":
            out["."] = True
            continue
        if below in (_EXISTS, _LEFT_OUT):
            if below == _EXISTS:
                out[element] = True
            continue
        found: Json | Absent
        if items is not None:
            found = items.find(element)
        elif isinstance(value, dict):
            found = value.get(element[2:], ABSENT) if element[1] == ":" and element[0] == "f" else ABSENT
        else:
            found = ABSENT
        if isinstance(found, Absent):
            out["!" + element] = None
        elif below:
            out[element] = _project(below, found) if isinstance(below, dict) else None
        else:
            out[element] = found
    return out


class _ItemsByKey:
    """Finds the items of one live list; several items with one key are one finding, so that a twin shows."""

    __slots__ = ("_by_keys", "_items")

    def __init__(self, items: list[Json]) -> None:
        self._items = items
        self._by_keys: dict[tuple[str, ...], dict[tuple[Json, ...], Json]] = {}

    def find(self, element: str) -> Json | Absent:
        kind = element[:2]
        if kind == "k:":
            wanted = item_keys(element)
            names = tuple(wanted)
            index = self._by_keys.get(names)
            if index is None:
                index = self._by_keys[names] = self._index(names)
            return index.get(tuple(wanted.values()), ABSENT)
        if kind == "v:":
            return True if set_value(element) in self._items else ABSENT
        if kind == "i:" and element[2:].isdigit() and int(element[2:]) < len(self._items):
            return self._items[int(element[2:])]
        return ABSENT

    def _index(self, names: tuple[str, ...]) -> dict[tuple[Json, ...], Json]:
        index: dict[tuple[Json, ...], Json] = {}
        for item in self._items:
            if isinstance(item, dict):
                place = tuple(item.get(name, "\0absent") for name in names)
                if any(isinstance(part, (dict, list)) for part in place):
                    continue  # no key of a list is one
                twin = index.get(place)
                index[place] = item if twin is None else {"\0twins": [twin, item]}
        return index


def applied_fields(entry: OwnEntry, body: Document, answer: Document) -> bytes:
    """`Row.fields`: our field set after an apply of `body`, with the maps that we applied empty spelled apart.

    The server writes a leaf for such a map, as it does for a map that is owned as a whole; only the body tells which
    of both it is. Some it leaves out (`data: {}`), and takes from us as soon as others fill them.
    """
    return canonical(_spelled(entry.fields, body, answer))


def _spelled(fields: Document, body: Json | Absent, answer: Json | Absent) -> Document:
    out: Document = {}
    for element, below in fields.items():
        if element == "." or not isinstance(below, dict):
            out[element] = below
            continue
        value, there = step(body, element), step(answer, element)
        if below:
            out[element] = _spelled(below, value, there)
        elif isinstance(value, dict) and not value:
            out[element] = _LEFT_OUT if isinstance(there, Absent) else _EXISTS
        else:
            out[element] = below
    return out


def as_recorded(fields: Document, recorded: bytes) -> Document:
    """A live field set with its empty maps spelled as in the recorded one (`Row.fields`)."""
    if not any(spelling in recorded for spelling in _SPELLINGS):
        return fields
    return _as_recorded(fields, parse_document(recorded))


def _as_recorded(fields: Document, recorded: Document) -> Document:
    out: Document = {}
    for element, below in fields.items():
        before = recorded.get(element)
        if not isinstance(below, dict) or not isinstance(before, dict) or not before:
            out[element] = below
        elif not below:
            out[element] = before if before in (_EXISTS, _LEFT_OUT) else below
        else:
            out[element] = _as_recorded(below, before)
    return out


def entry_for(live: Document, recorded: bytes, rules: Sequence[IgnoreRule] = ()) -> OwnEntry | None:
    """Our entry as it counts for the fingerprint: empty maps as recorded, ignored pointers left out.

    recorded: `Row.fields`, or b"" where nothing is recorded.
    """
    entry = own_entry(live)
    if entry is None:
        return None
    fields = as_recorded(entry.fields, recorded)
    if rules:
        dropped: Collection[Path] = dropped_by_pointers(live, rules)
        if dropped:
            fields = without(fields, lambda path: path in dropped)
    return OwnEntry(entry.api_version, fields)


class SyncState(StrEnum):
    """What is to be done about an object."""

    IN_SYNC = "in-sync"  # no request
    DRIFTED = "drifted"  # live left desired by itself
    CHANGED = "changed"  # desired is another one than applied last
    ASK_ARBITER = "ask-arbiter"  # a dry-run with force must tell
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class SyncVerdict:
    """The state; for ASK_ARBITER with the reason in words. `fingerprint` is of the live object, "" when MISSING.

    The arbiter's answer may be remembered under `memory_key`: as long as it stays the same, so does the answer.
    """

    state: SyncState
    reason: str = ""
    fingerprint: Digest = Digest("")
    desired: Digest = Digest("")

    @property
    def memory_key(self) -> str:
        """`desired/fingerprint`, the key of `JournalState.verdicts`."""
        return f"{self.desired}/{self.fingerprint}"


def judge_sync(
    row: Row | None,
    desired_digest: Digest,
    live: Document | None,
    *,
    rules: Sequence[IgnoreRule] = (),
    key: bytes = b"",
) -> SyncVerdict:
    """Compare one object without any request. live: None only if it is known not to be there.

    desired_digest: as `record.desired_digest_of` with the same rules; rules: those that concern the object.
    """
    if live is None:
        return SyncVerdict(SyncState.MISSING, desired=desired_digest)
    recorded = row.fields if row is not None else b""
    entry = entry_for(live, recorded, rules)
    if row is None or not row.fingerprint or not row.desired or row.state is RowState.INTENDED:
        return _ask("nothing is recorded of an earlier apply", live, desired_digest, key)
    if row.desired != desired_digest:
        fingerprint = fingerprint_of(live, entry, key=key) if entry else Digest("")
        return SyncVerdict(SyncState.CHANGED, "", fingerprint, desired_digest)
    if entry is None:
        return _ask("our entry in managedFields is gone", live, desired_digest, key)
    if entry.api_version != live.get("apiVersion"):
        return _ask(f"our fields are written at {entry.api_version}", live, desired_digest, key)
    if row.version and _version_of(live) != row.version:
        return _ask(f"applied at {row.version}, read at {live.get('apiVersion')}", live, desired_digest, key)
    fingerprint = fingerprint_of(live, entry, key=key)
    state = SyncState.IN_SYNC if fingerprint == row.fingerprint else SyncState.DRIFTED
    return SyncVerdict(state, "", fingerprint, desired_digest)


def _ask(reason: str, live: Document, desired: Digest, key: bytes) -> SyncVerdict:
    return SyncVerdict(SyncState.ASK_ARBITER, reason, content_of(live, key=key), desired)


def recorded_after(
    row: Row,
    body: Document,
    answer: Document,
    desired_digest: Digest,
    *,
    rules: Sequence[IgnoreRule],
    key: bytes,
    at: float,
) -> Row:
    """The row after an apply of `body` that the server answered with `answer`."""
    entry = own_entry(answer)
    fields = applied_fields(entry, body, answer) if entry else b""
    counted = entry_for(answer, fields, rules)
    metadata = mapping_at(answer, "metadata")
    return Row(
        unit=row.unit,
        ref=row.ref,
        state=RowState.APPLIED,
        uid=text_at(metadata, "uid"),
        version=_version_of(answer),
        desired=desired_digest,
        fingerprint=fingerprint_of(answer, counted, key=key) if counted else Digest(""),
        fields=fields,
        resource_version=text_at(metadata, "resourceVersion"),
        since=at,
    )


def content_of(live: Document, *, key: bytes = b"") -> Digest:
    """Digest of a live object as people know it: without status, resourceVersion, generation and managedFields.

    What an approval of its deletion is bound to (R9). Secrets: as in `fingerprint_of`.
    """
    metadata = {name: value for name, value in mapping_at(live, "metadata").items() if name not in _NOT_CONTENT}
    content: Document = {name: value for name, value in live.items() if name not in ("status", "metadata")}
    content["metadata"] = metadata
    if key and live.get("kind") == "Secret":
        return Digest(hashlib.blake2b(canonical(content), key=key, digest_size=32).hexdigest())
    return digest_of(content)


_NOT_CONTENT = frozenset({"managedFields", "resourceVersion", "generation", "selfLink"})


def _version_of(document: Document) -> str:
    return split_api_version(text_at(document, "apiVersion"))[1]
