"""In sync or not, by the live values of just those fields that we own (design, section 6.3).

Right after an apply the fingerprint of the answer is recorded. As long as it stays the same, nobody has changed what
we set, whatever the server made of our text (quantities, defaults, conversions) and whatever others wrote beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache

from fleet.core.digits import number_in
from fleet.core.documents import Document, Json, canonical, digest_of, mapping_at, parse_document, text_at
from fleet.core.fieldset import ABSENT, VOID, Absent, Path, item_keys, set_value, step
from fleet.core.ids import Digest
from fleet.core.ignore import counted
from fleet.core.objects import FIELD_MANAGER, split_api_version
from fleet.core.record import FORM, Row, RowState
from fleet.core.sync_policy import IgnoreRule
from fleet.values import dataclass

_EXISTS: Document = {".": {}}  # how `applied_fields` spells a map that we applied empty,
_LEFT_OUT: Document = {VOID: {}}  # and one that the server left out besides
_EMPTY_MAPS = (_EXISTS, _LEFT_OUT)
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


def _project(fields: Document, value: Json) -> Document:
    """The tree of fields with live values as leaves. "!" before a path element says that nothing is there.

    This runs for every event: the common case, fields of a map, is written out.
    """
    if isinstance(value, list):
        return _project_items(fields, value)
    there: Document = value if isinstance(value, dict) else {}
    out: Document = {}
    for element, below in fields.items():
        name = element[2:]
        if name in there and element[:2] == "f:":
            found = there[name]
            if not below or not isinstance(below, dict):
                out[element] = found
            elif len(below) > 1 or below not in _EMPTY_MAPS:
                out[element] = _project(below, found)
            elif below == _EXISTS:
                out[element] = True
        elif element == ".":
            out["."] = True
        elif below not in _EMPTY_MAPS:
            out["!" + element] = None
    return out


def _project_items(fields: Document, items: list[Json]) -> Document:
    """The same for the items of a list."""
    out: Document = {}
    indexes: dict[tuple[str, ...], dict[tuple[Json, ...], Json]] = {}
    for element, below in fields.items():
        if element == ".":
            out["."] = True
            continue
        kind = element[:2]
        found: Json | Absent = ABSENT
        if kind == "k:":
            names, wanted = _names_and_values(element)
            index = indexes.get(names)
            if index is None:
                index = indexes[names] = _index(items, names)
            found = index.get(wanted, ABSENT)
        elif kind == "v:":
            found = True if set_value(element) in items else ABSENT
        elif kind == "i:" and (at := number_in(element[2:])) is not None and at < len(items):
            found = items[at]
        if isinstance(found, Absent):
            out["!" + element] = None
        elif not below or not isinstance(below, dict):
            out[element] = found
        elif isinstance(found, _Twins):
            out[element] = [_project(below, item) for item in found]
        else:
            out[element] = _project(below, found)
    return out


class _Twins(list[Json]):
    """Several items with one key: all of them count, because which of them is in force is the program's secret."""


@lru_cache(maxsize=8192)
def _names_and_values(element: str) -> tuple[tuple[str, ...], tuple[Json, ...]]:
    keys = item_keys(element)
    return tuple(keys), tuple(keys.values())


def _index(items: list[Json], names: tuple[str, ...]) -> dict[tuple[Json, ...], Json]:
    """Items by the values of these keys."""
    index: dict[tuple[Json, ...], Json] = {}
    for item in items:
        if isinstance(item, dict):
            place = tuple([item.get(name, "\0absent") for name in names])
            if any(isinstance(part, (dict, list)) for part in place):
                continue  # no key of a list is one
            before = index.get(place)
            if before is None:
                index[place] = item
            else:
                index[place] = _Twins([*before, item] if isinstance(before, _Twins) else [before, item])
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
    for path, spelling in _empty_maps_of(recorded):
        fields = _respelled(fields, path, spelling)
    return fields


@lru_cache(maxsize=1024)
def _empty_maps_of(recorded: bytes) -> tuple[tuple[Path, Document], ...]:
    """Where a recorded set holds maps that we applied empty, and how they are spelled."""
    return tuple(_empty_maps(parse_document(recorded), ()))


def _empty_maps(fields: Document, prefix: Path) -> Iterator[tuple[Path, Document]]:
    for element, below in fields.items():
        if isinstance(below, dict) and below:
            if below in _EMPTY_MAPS:
                yield (*prefix, element), below
            else:
                yield from _empty_maps(below, (*prefix, element))


def _respelled(fields: Document, path: Path, spelling: Document) -> Document:
    """A copy with the leaf at `path` spelled so; the same set where there is no such leaf."""
    below = fields.get(path[0])
    if not isinstance(below, dict):
        return fields
    if len(path) == 1:
        return fields if below else {**fields, path[0]: spelling}
    return {**fields, path[0]: _respelled(below, path[1:], spelling)}


def _counted(live: Document, recorded: bytes, rules: Sequence[IgnoreRule] = ()) -> tuple[Document, OwnEntry] | None:
    """Object and entry as they count for the fingerprint: empty maps as recorded, ignored pointers left out.

    recorded: `Row.fields`, or b"" where nothing is recorded.
    """
    entry = own_entry(live)
    if entry is None:
        return None
    fields = as_recorded(entry.fields, recorded)
    if any(rule.pointers for rule in rules):
        left = counted(live, fields, parse_document(recorded) if recorded else {}, rules)
        live, fields = left.live, left.fields
    return live, OwnEntry(entry.api_version, fields)


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
    found = _counted(live, recorded, rules)
    if row is None or not row.fingerprint or not row.desired or row.state is RowState.INTENDED:
        return _ask("nothing is recorded of an earlier apply", live, desired_digest, key)
    if row.form != FORM:
        return _ask("another version of fleet recorded it", live, desired_digest, key)
    if row.desired != desired_digest:
        fingerprint = fingerprint_of(*found, key=key) if found else Digest("")
        return SyncVerdict(SyncState.CHANGED, "", fingerprint, desired_digest)
    if found is None:
        return _ask("our entry in managedFields is gone", live, desired_digest, key)
    seen, entry = found
    if entry.api_version != live.get("apiVersion"):
        return _ask(f"our fields are written at {entry.api_version}", live, desired_digest, key)
    if row.version and version_of(live) != row.version:
        return _ask(f"applied at {row.version}, read at {live.get('apiVersion')}", live, desired_digest, key)
    fingerprint = fingerprint_of(seen, entry, key=key)
    state = SyncState.IN_SYNC if fingerprint == row.fingerprint else SyncState.DRIFTED
    return SyncVerdict(state, "", fingerprint, desired_digest)


def _ask(reason: str, live: Document, desired: Digest, key: bytes) -> SyncVerdict:
    # Who takes a field from us is seen in our set alone where the version of this document leaves the field out.
    entry = own_entry(live)
    fingerprint = digest_of([content_of(live, key=key), entry.fields if entry is not None else None])
    return SyncVerdict(SyncState.ASK_ARBITER, reason, fingerprint, desired)


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
    found = _counted(answer, fields, rules)
    metadata = mapping_at(answer, "metadata")
    return Row(
        unit=row.unit,
        ref=row.ref,
        state=RowState.APPLIED,
        uid=text_at(metadata, "uid"),
        version=version_of(answer),
        desired=desired_digest,
        fingerprint=fingerprint_of(*found, key=key) if found else Digest(""),
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


def version_of(document: Document) -> str:
    """The version in its apiVersion, without the group."""
    return split_api_version(text_at(document, "apiVersion"))[1]
