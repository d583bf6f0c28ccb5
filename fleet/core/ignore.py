"""Ignored fields: neither compared nor applied, and handed over before they are left out.

A rule names fields by JSON pointer, by the field manager that holds them, or both (then: only these pointers, and
only while one of these managers holds them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from fleet.core.documents import Document, Json, text_at
from fleet.core.fieldset import (
    ABSENT,
    Absent,
    Entry,
    Path,
    entries_of,
    holds,
    is_item,
    is_picked,
    item_keys,
    leaves,
    step,
    touches,
    value_at,
)
from fleet.core.ids import ObjectRef
from fleet.core.objects import FIELD_MANAGER, HANDOVER_MANAGER, ref_of
from fleet.core.sync_policy import IgnoreRule

_IDENTITY = (("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace"))


def concerns(rule: IgnoreRule, ref: ObjectRef) -> bool:
    """Whether a rule speaks of this object. Empty criteria match all; names and namespaces may be patterns."""
    return (
        (rule.group is None or rule.group == ref.group)
        and (not rule.kind or rule.kind == ref.kind)
        and (not rule.namespace or fnmatchcase(ref.namespace, rule.namespace))
        and (not rule.name or fnmatchcase(ref.name, rule.name))
    )


def rules_for(ref: ObjectRef, rules: Iterable[IgnoreRule]) -> tuple[IgnoreRule, ...]:
    """The rules that speak of this object."""
    return tuple(rule for rule in rules if concerns(rule, ref))


def path_of_pointer(pointer: str, document: Document) -> Path | None:
    """A JSON pointer (RFC 6901) as a field path in this document; None where it leads nowhere.

    An index into a list is kept as `i:N`; `path_in` finds the same item in other documents by its keys.
    """
    path: list[str] = []
    here: Json | Absent = document
    for token in pointer.lstrip("/").split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        element = f"i:{name}" if isinstance(here, list) else f"f:{name}"
        here = step(here, element)
        if here is ABSENT:
            return None
        path.append(element)
    return tuple(path)


def dropped_by_pointers(live: Document, rules: Sequence[IgnoreRule]) -> frozenset[Path]:
    """Field paths, as they stand in our own entry, that rules without managers leave out of the comparison."""
    pointers = [pointer for rule in rules if not rule.managers for pointer in rule.pointers]
    if not pointers:
        return frozenset()
    found: set[Path] = set()
    for entry in entries_of(live):
        if entry.manager == FIELD_MANAGER and entry.operation == "Apply" and not entry.subresource:
            for pointer in pointers:
                path = _path_in_fields(pointer, entry.fields, live)
                if path is not None:
                    found.add(path)
    return frozenset(found)


def _path_in_fields(pointer: str, fields: Document, live: Document) -> Path | None:
    """A pointer as the path under which a field set holds it; None where it does not."""
    path: list[str] = []
    here: Json | Absent = live
    below: Document = fields
    for token in pointer.lstrip("/").split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list):
            here = step(here, f"i:{name}")
            element = next((key for key in below if is_item(key) and _picks(key, here)), "")
        else:
            element = f"f:{name}"
            here = step(here, element)
        child = below.get(element)
        if not isinstance(child, dict):
            return None
        path.append(element)
        below = child
    return tuple(path)


def _picks(element: str, item: Json | Absent) -> bool:
    """Whether a list element of a field set means this item."""
    if isinstance(item, Absent):
        return False
    if element.startswith("k:"):
        return is_picked(element, item, exact=False)
    return step([item], element) is not ABSENT if element.startswith("v:") else False


def ignored_paths(body: Document, live: Document, rules: Sequence[IgnoreRule]) -> frozenset[Path]:
    """Paths of the body that must not be applied over this live object. Lists are picked by key where they have one.

    rules: those that concern the object.
    """
    entries = entries_of(live)
    found: set[Path] = set()
    for rule in rules:
        theirs = [entry for entry in entries if entry.manager in rule.managers]
        if not rule.pointers:
            found.update(path for entry in theirs for path in leaves(entry.fields) if _is_set(body, path))
            continue
        for pointer in rule.pointers:
            path = path_of_pointer(pointer, body)
            if path is not None and (not rule.managers or any(_holds_any(entry, path, body) for entry in theirs)):
                found.add(path)
    return frozenset(path for path in found if path not in _IDENTITY and not _is_own_key(path))


def is_ignored(path: Path, live: Document, rules: Sequence[IgnoreRule]) -> bool:
    """Whether a field of a live object is left out of comparisons. rules: those that concern the object."""
    for rule in rules:
        held = not rule.managers or any(
            entry.manager in rule.managers and touches(entry.fields, path) for entry in entries_of(live)
        )
        starts = [path_of_pointer(pointer, live) for pointer in rule.pointers]
        named = not rule.pointers or any(start is not None and _same_place(live, start, path) for start in starts)
        if held and named and (rule.managers or rule.pointers):
            return True
    return False


def _is_set(body: Document, path: Path) -> bool:
    return value_at(body, path) is not ABSENT


def _is_own_key(path: Path) -> bool:
    """Whether the last field is a key of the item it is in: without it the item could not be named."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in item_keys(path[-2])


def _holds_any(entry: Entry, path: Path, body: Document) -> bool:
    return touches(entry.fields, path) or any(_same_place(body, path, theirs) for theirs in leaves(entry.fields))


def _same_place(body: Document, path: Path, theirs: Path) -> bool:
    """Whether a path by index and one by key name the same place of the body."""
    if len(path) > len(theirs):
        return False
    here: Json | Absent = body
    for mine, other in zip(path, theirs, strict=False):
        below = step(here, mine)
        if mine != other and not (mine.startswith("i:") and _picks(other, below)):
            return False
        here = below
    return True


def strip_ignored(body: Document, live: Document | None, rules: Sequence[IgnoreRule]) -> Document:
    """The body without its ignored fields, as it is to be applied over `live`.

    An object that is not there yet is created whole: its ignored fields need a first value, and may be required.
    A map that only held ignored fields goes with them; a list item stays with its keys.
    """
    if live is None or not rules:
        return body
    dropped = ignored_paths(body, live, rules)
    if not dropped:
        return body
    stripped = _strip(body, dropped, ())
    return stripped if isinstance(stripped, dict) else body


def _strip(value: Json, dropped: frozenset[Path], at: Path) -> Json | Absent:
    """A copy without what lies under the dropped paths; ABSENT where a map becomes empty by that."""
    concerned = [path for path in dropped if path[: len(at)] == at]
    if not concerned:
        return value
    if at in dropped:
        return ABSENT
    if isinstance(value, dict):
        out: Document = {}
        for name, child in value.items():
            kept = _strip(child, dropped, (*at, f"f:{name}"))
            if not isinstance(kept, Absent):
                out[name] = kept
        return out if out or not value else ABSENT
    if isinstance(value, list):
        elements = {path[len(at)] for path in concerned}
        items: list[Json] = []
        for index, child in enumerate(value):
            names = [name for name in elements if name == f"i:{index}" or _picks(name, child)]
            kept: Json | Absent = child
            for name in names:
                if isinstance(kept, Absent):
                    break
                kept = _strip(kept, dropped, (*at, name))
            if not isinstance(kept, Absent):
                items.append(kept)
        return items
    return value


def plan_handover(live: Document, rules: Sequence[IgnoreRule], body: Document) -> Document | None:
    """What manager fleet-handover applies first: live values of ignored fields that only we own; None: nothing.

    Without it the next apply, which leaves them out, would delete them or set them to their default. Keys of list
    items come along, so that the server finds the item. body: the whole one, before `strip_ignored`.
    """
    entries = entries_of(live)
    ours = next(
        (e for e in entries if e.manager == FIELD_MANAGER and e.operation == "Apply" and not e.subresource), None
    )
    if ours is None:
        return None
    dropped = ignored_paths(body, live, rules)
    others = [entry for entry in entries if entry is not ours]
    sole = [
        path
        for path in leaves(ours.fields)
        if any(_same_place(live, start, path) for start in dropped)
        and not any(holds(entry.fields, path) for entry in others)
        and not _is_own_key(path)
        and value_at(live, path) is not ABSENT
    ]
    if not sole:
        return None
    held = [path for entry in entries if entry.manager == HANDOVER_MANAGER for path in leaves(entry.fields)]
    ref = ref_of(live)
    metadata: Document = {"name": ref.name}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    if uid := text_at(live, "metadata", "uid"):
        metadata["uid"] = uid
    handover: Document = {"apiVersion": text_at(live, "apiVersion"), "kind": ref.kind, "metadata": metadata}
    for path in [*sole, *held]:
        value = value_at(live, path)
        if not isinstance(value, Absent):
            _put(handover, path, value)
    return handover


def _put(document: Document, path: Path, value: Json) -> None:
    """Set a value under a field path, making maps and keyed items on the way."""
    here: Json = document
    for place, element in enumerate(path):
        last = place == len(path) - 1
        following = path[place + 1] if not last else ""
        empty: Json = [] if is_item(following) else {}
        if isinstance(here, dict):
            name = element[2:]
            if last:
                here[name] = value
                return
            here = here.setdefault(name, empty)
        elif isinstance(here, list):
            found = step(here, element)
            if isinstance(found, Absent):
                found = value if last else dict(item_keys(element)) if element.startswith("k:") else empty
                here.append(found)
            here = found
