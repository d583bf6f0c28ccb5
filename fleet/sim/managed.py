"""Who owns which field: `managedFields` and server-side apply (KEP-555, structured-merge-diff's Updater).

Decisions only: documents in, documents out. The caller has decoded and checked them, and sets the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from fleet.core.documents import Document, Json, at, documents_at, mapping_at, text_at
from fleet.sim import fieldset
from fleet.sim.fieldset import Node
from fleet.sim.merge import Comparison, compare, field_set, merge, remove
from fleet.sim.schema import Type
from fleet.values import dataclass

APPLY = "Apply"
UPDATE = "Update"

# Nobody owns these (apimachinery stripmeta).
_STRIPPED_METADATA = frozenset(
    f"f:{name}"
    for name in (
        [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ]
    )
) | {"."}
_STRIPPED = frozenset({"f:apiVersion", "f:kind", "f:metadata"})
MAX_UPDATE_MANAGERS = 10


class ManagerId(NamedTuple):
    """What tells entries apart; an applier's version is not part of it."""

    manager: str
    operation: str
    version: str
    subresource: str


@dataclass(slots=True)
class Entry:
    """One manager's fields. `time` as RFC 3339, "" for never."""

    fields: Node
    version: str
    time: str = ""


Managers = dict[ManagerId, Entry]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that somebody else owns."""

    manager: ManagerId
    path: str


class ApplyConflict(Exception):
    """An apply without force that would change what others own."""

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__(conflict_message(conflicts))
        self.conflicts = conflicts


class ManagedFieldsInvalid(Exception):
    """`metadata.managedFields` that cannot be read."""


@dataclass(slots=True)
class Applied:
    """What an apply makes: the object (still to be defaulted), its managers; `same` where the object is unchanged."""

    object: Document
    managers: Managers
    same: bool


def read(document: Mapping[str, Json]) -> Managers:
    """The managers of an object; raises ManagedFieldsInvalid."""
    found: Managers = {}
    for index, entry in enumerate(documents_at(document, "metadata", "managedFields")):
        operation, version = text_at(entry, "operation"), text_at(entry, "apiVersion")
        if operation not in {APPLY, UPDATE}:
            raise ManagedFieldsInvalid("operation must be `Apply` or `Update`")
        if not version:
            raise ManagedFieldsInvalid("apiVersion must not be empty")
        kind = text_at(entry, "fieldsType")
        if kind != "FieldsV1":
            raise ManagedFieldsInvalid(
                f"invalid fieldsType {kind!r} in managed fields entry {index}".replace("'", '"')
                if kind
                else f"missing fieldsType in managed fields entry {index}"
            )
        key = ManagerId(
            text_at(entry, "manager"),
            operation,
            "" if operation == APPLY else version,
            text_at(entry, "subresource"),
        )
        found[key] = Entry(cast("Node", mapping_at(entry, "fieldsV1")), version, text_at(entry, "time"))
    return found


def write(document: Document, managers: Managers) -> Document:
    """The document with these managers in its metadata, sorted as the server sorts them."""
    metadata = dict(mapping_at(document, "metadata"))
    ordered = sorted(
        managers.items(), key=lambda one: (one[0].operation, one[1].time, one[0].manager, one[1].version, one[0][3])
    )
    entries: list[Json] = []
    for key, entry in ordered:
        made: Document = {"manager": key.manager, "operation": key.operation, "apiVersion": entry.version}
        if entry.time:
            made["time"] = entry.time
        made["fieldsType"] = "FieldsV1"
        made["fieldsV1"] = cast("Json", entry.fields)
        if key.subresource:
            made["subresource"] = key.subresource
        entries.append(made)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
    return {**document, "metadata": metadata}


def bare(document: Document) -> Document:
    """The document without managedFields."""
    metadata = at(document, "metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return document
    return {**document, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _stripped(node: Node, reset: Node) -> Node:
    """Without what nobody owns, and without what this endpoint resets (status or spec)."""
    metadata = node.get("f:metadata")
    left = {key: below for key, below in node.items() if key not in _STRIPPED}
    if metadata is not None:
        kept = {key: below for key, below in metadata.items() if key not in _STRIPPED_METADATA}
        if kept:
            left["f:metadata"] = kept
    return fieldset.without(left, reset) if reset else left


def apply(
    live: Document,
    applied: Document,
    kind: Type,
    managers: Managers,
    manager: ManagerId,
    *,
    version: str,
    force: bool,
    reset: Node,
) -> Applied:
    """Server-side apply. `live` and `applied` carry no managedFields; raises ApplyConflict."""
    merged = merge(live, applied, kind)
    said = field_set(applied, kind)
    if reset:
        said = fieldset.without(said, reset)
    last = managers.get(manager)
    after = dict(managers)
    after[manager] = Entry(said, version, last.time if last else "")
    if last is not None and last.fields:
        merged = _prune(merged, kind, after, last.fields)
    same = live == merged
    if not same or len(after) > 1:
        after = _shared(after, _without(compare(live, merged, kind), reset), manager, force=force)
    mine = _stripped(said, {})
    if mine:
        after[manager] = Entry(mine, version, last.time if last else "")
    else:
        after.pop(manager, None)
    return Applied(merged, after, same)


def update(
    live: Document,
    new: Document,
    kind: Type,
    managers: Managers,
    manager: ManagerId,
    *,
    version: str,
    time: str,
    reset: Node,
) -> Managers:
    """Ownership after a create, update or patch: what changed belongs to the one who changed it."""
    compared = _without(compare(live, new, kind), reset)
    if compared.same:
        return managers
    after = _shared(dict(managers), compared, None, force=True)
    mine = fieldset.union(compared.modified, compared.added)
    mine = _stripped(mine, reset)
    if mine:
        before = after.get(manager)
        after[manager] = Entry(fieldset.union(mine, before.fields) if before else mine, version, time)
        after = _capped(after)
    return after


def _without(compared: Comparison, reset: Node) -> Comparison:
    """A comparison without what this endpoint resets."""
    if not reset:
        return compared
    return Comparison(
        *(fieldset.without(node, reset) for node in (compared.added, compared.modified, compared.removed))
    )


def _shared(managers: Managers, compared: Comparison, mine: ManagerId | None, *, force: bool) -> Managers:
    """Take from others what was changed (a conflict without force) and what was removed."""
    changed = fieldset.union(compared.modified, compared.added)
    conflicts: list[Conflict] = []
    taken: Managers = {}
    for key, entry in managers.items():
        if key == mine:
            continue
        common = fieldset.intersection(entry.fields, changed) if changed else {}
        if common:
            conflicts += [Conflict(key, path) for path in fieldset.paths(common)]
        left = fieldset.difference(entry.fields, common) if common else entry.fields
        if compared.removed:
            left = fieldset.difference(left, compared.removed)
        if left is not entry.fields:
            taken[key] = Entry(left, entry.version, entry.time)
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    managers.update(taken)
    return {key: entry for key, entry in managers.items() if entry.fields}


def _prune(merged: Document, kind: Type, managers: Managers, last: Node) -> Document:
    """Drop what the applier said before and says no more, unless somebody else owns it (smd prune)."""
    all_owned = _all(managers)
    if not fieldset.difference(last, all_owned):
        return merged
    named = fieldset.with_named_members
    last_named = named(last, kind)
    everything = named(field_set(merged, kind), kind)
    pruned = named(field_set(remove(merged, last_named, kind), kind), kind)
    owned = named(all_owned, kind)
    kept = remove(merged, fieldset.difference(everything, fieldset.union(pruned, owned)), kind)
    kept_set = named(field_set(kept, kind), kind)
    gone = fieldset.intersection(fieldset.difference(everything, kept_set), last_named)
    return remove(merged, gone, kind)


def _all(managers: Managers) -> Node:
    out: Node = {}
    for entry in managers.values():
        out = fieldset.union(out, entry.fields)
    return out


def _capped(managers: Managers) -> Managers:
    """At most ten updaters; the oldest of a version are merged into `ancient-changes` (apimachinery capmanagers)."""
    updaters = [key for key in managers if key.operation == UPDATE]
    surplus = len(updaters) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return managers
    updaters.sort(key=lambda key: (managers[key].time, _identifier(key)))
    out = dict(managers)
    firsts: dict[str, ManagerId] = {}
    for key in updaters:
        if surplus <= 0:
            break
        entry = out[key]
        first = firsts.setdefault(entry.version, key)
        if first == key:
            continue
        bucket = ManagerId("ancient-changes", UPDATE, entry.version, "")
        if bucket not in out:
            out[bucket] = out.pop(first)
        out[bucket] = Entry(fieldset.union(entry.fields, out[bucket].fields), entry.version, entry.time)
        del out[key]
        surplus -= 1
    return out


def print_manager(manager: ManagerId) -> str:
    """A manager as conflict messages name it."""
    text = f'"{manager.manager}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return f"{text} using {manager.version}" if manager.operation == UPDATE else text


def conflict_message(conflicts: list[Conflict]) -> str:
    """The message of the 409."""
    if len(conflicts) == 1:
        one = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {print_manager(one.manager)}: {one.path}"
    groups: dict[ManagerId, list[Conflict]] = {}
    for one in conflicts:
        groups.setdefault(one.manager, []).append(one)
    lines: list[str] = []
    for key in sorted(groups, key=_identifier):
        lines.append(f"conflicts with {print_manager(key)}:")
        lines += [f"- {one.path}" for one in groups[key]]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


def _identifier(key: ManagerId) -> str:
    """The JSON text by which the server sorts managers."""
    parts = [f'"manager":"{key.manager}"', f'"operation":"{key.operation}"']
    if key.version:
        parts.append(f'"apiVersion":"{key.version}"')
    if key.subresource:
        parts.append(f'"subresource":"{key.subresource}"')
    return "{" + ",".join(parts) + "}"
