"""Ignored fields: neither compared nor applied, and handed over before they are left out.

A rule names fields by JSON pointer, by the field manager that holds them, or both (then: only these pointers, and
only while one of these managers holds them). A list or map that is owned as a whole is replaced by what is applied
(structured-merge-diff: atomic; custom resources' lists are, unless their definition says otherwise): to leave out a
field in it would take that off the object. There the value is applied that the object has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from fleet.core.digits import number_in
from fleet.core.documents import Document, Json, text_at
from fleet.core.fieldset import (
    ABSENT,
    Absent,
    Entry,
    Path,
    entries_of,
    is_item,
    is_picked,
    item_keys,
    leaves,
    step,
    touches,
    union,
    value_at,
    without,
)
from fleet.core.ids import ObjectRef
from fleet.core.objects import FIELD_MANAGER, HANDOVER_MANAGER, ref_of
from fleet.core.owners import Owners
from fleet.core.sync_policy import IgnoreRule
from fleet.values import dataclass

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
    path = _path_of_tokens(_tokens(pointer), document)
    return path if value_at(document, path) is not ABSENT else None


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.lstrip("/").split("/")]


def _path_of_tokens(tokens: Sequence[str], here: Json | Absent) -> Path:
    """Names as a path from here, also where it leads nowhere."""
    path: list[str] = []
    for name in tokens:
        path.append(f"i:{name}" if isinstance(here, list) else f"f:{name}")
        here = step(here, path[-1])
    return tuple(path)


@dataclass(frozen=True, slots=True)
class Counted:
    """What of a live object counts in a comparison with what we applied."""

    live: Document
    fields: Document  # our set


def counted(live: Document, fields: Document, recorded: Document, rules: Sequence[IgnoreRule]) -> Counted:
    """Without the fields that pointers leave out. What lies in a list owned as a whole is left out of its value.

    fields: our entry's; recorded: of our last apply. Who changes an ignored field in such a list takes the whole list
    from us: it counts on by its value.
    """
    left: set[Path] = set()
    places: set[Path] = set()
    entries = entries_of(live)
    for rule in rules:
        theirs = Owners(entry for entry in entries if entry.manager in rule.managers)
        for pointer in rule.pointers:
            found = _into(pointer, fields, live)
            owned, rest = found or _into(pointer, recorded, live) or ((), ())
            if not owned:
                continue
            if not rest and not rule.managers:
                left.add(owned)
            elif rest and (not rule.managers or theirs.hold(owned)):
                places.add((*owned, *rest))
                fields = fields if found else union(fields, _set_of(owned))
    if left:
        fields = without(fields, lambda path: path in left)
    for place in sorted(places):
        blanked = _blank(live, place)
        live = blanked if isinstance(blanked, dict) else live
    return Counted(live, fields)


def _blank(value: Json, path: Path) -> Json:
    """A copy with nothing at a place; what it lies in stays, and so do the places of other items."""
    element, below = path[0], path[1:]
    if isinstance(value, dict):
        rest = {name: child for name, child in value.items() if f"f:{name}" != element}
        name = element[2:]
        return {**rest, name: _blank(value[name], below)} if below and name in value else rest
    if isinstance(value, list):
        at = number_in(element[2:]) if element.startswith("i:") else None
        if at is None:
            at = next((number for number, item in enumerate(value) if _picks(element, item)), len(value))
        if at < len(value):
            return [*value[:at], _blank(value[at], below) if below else None, *value[at + 1 :]]
    return value


def _into(pointer: str, fields: Document, live: Document) -> tuple[Path, Path] | None:
    """A pointer as the path under which a set owns it, or owns what it lies in as a whole, and the rest of the way."""
    path: list[str] = []
    here: Json | Absent = live
    below: Document = fields
    tokens = _tokens(pointer)
    for number, name in enumerate(tokens):
        if path and not below:
            return tuple(path), _path_of_tokens(tokens[number:], here)
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
    return tuple(path), ()


def _set_of(path: Path) -> Document:
    """The set that owns this path as a whole and nothing else."""
    fields: Document = {}
    for element in reversed(path):
        fields = {element: fields}
    return fields


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


def ignored_in(live: Document, rules: Sequence[IgnoreRule]) -> Callable[[Path], bool]:
    """Which fields of a live object are left out of comparisons. rules: those that concern the object."""
    found = [
        (
            Owners(entry for entry in entries_of(live) if entry.manager in rule.managers) if rule.managers else None,
            [path for pointer in rule.pointers if (path := path_of_pointer(pointer, live)) is not None],
            not rule.pointers,
        )
        for rule in rules
        if rule.managers or rule.pointers
    ]

    def is_ignored(path: Path) -> bool:
        return any(
            (theirs is None or theirs.touch(path))
            and (is_all or any(_same_place(live, start, path) for start in starts))
            for theirs, starts, is_all in found
        )

    return is_ignored


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
    A map that only held ignored fields goes with them; a list item stays with its keys. In what is owned as a whole
    the live value stands for an ignored field; where the item is not there yet, ours does.
    """
    if live is None or not rules:
        return body
    body, dropped = _with_live_values(body, live, ignored_paths(body, live, rules))
    return _without(body, dropped)


def as_ignored(body: Document, live: Document, rules: Sequence[IgnoreRule]) -> Document:
    """The body as it is to be compared: with the live value of each ignored field in what is owned as a whole."""
    if not rules:
        return body
    same, left = _with_live_values(body, live, ignored_paths(body, live, rules))
    owners = Owners(entries_of(live))
    return _without(same, frozenset(path for path in left if _place_in_whole(path, body, owners) is not None))


def _with_live_values(body: Document, live: Document, paths: frozenset[Path]) -> tuple[Document, frozenset[Path]]:
    """The body with live values in what is owned as a whole, and the paths that are left to be taken out of it."""
    owners = Owners(entries_of(live))
    left: set[Path] = set()
    for path in sorted(paths):
        place = _place_in_whole(path, body, owners)
        parent = value_at(live, place[:-1]) if place is not None else ABSENT
        if place is None:
            left.add(path)
        elif isinstance(parent, (dict, list)):
            there = step(parent, place[-1])
            if isinstance(there, Absent):
                left.add(path)
            else:
                changed = _with(body, path, there)
                body = changed if isinstance(changed, dict) else body
        elif not any(is_item(element) for element in place):
            left.add(path)  # a map that the object has not; an item of a list would lack what it needs
    return body, frozenset(left)


def _without(body: Document, paths: frozenset[Path]) -> Document:
    stripped = _strip(body, paths, ())
    return stripped if isinstance(stripped, dict) else body


def _place_in_whole(path: Path, body: Document, owners: Owners) -> Path | None:
    """A path of the body as it is in the live object, where that lies in what is owned as a whole; else None.

    Where nobody is said to own parts of what it lies in, it counts as owned as a whole: that harms neither.
    """
    here: Json | Absent = body
    at: Path = ()
    for number, element in enumerate(path):
        parts = owners.parts(at)
        if not parts:
            return (*at, *path[number:])
        here = step(here, element)
        found = next((key for key in parts if is_item(key) and _picks(key, here)), "") if is_item(element) else element
        if not found:
            return None
        at = (*at, found)
    return None


def _with(value: Json, path: Path, new: Json) -> Json:
    """A copy with a value at a place whose way is there."""
    if not path:
        return new
    if isinstance(value, dict):
        name = path[0][2:]
        return {**value, name: _with(value[name], path[1:], new)}
    if isinstance(value, list):
        index = int(path[0][2:])
        return [_with(item, path[1:], new) if at == index else item for at, item in enumerate(value)]
    return value


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
    items come along, so that the server finds the item. It is for this very state of the object, so that it changes no
    value, and needs no force. body: the whole one, before `strip_ignored`.
    """
    entries = entries_of(live)
    ours = next(
        (e for e in entries if e.manager == FIELD_MANAGER and e.operation == "Apply" and not e.subresource), None
    )
    if ours is None:
        return None
    dropped = ignored_paths(body, live, rules)
    others = Owners(entry for entry in entries if entry is not ours)
    sole = [
        path
        for path in leaves(ours.fields)
        if any(_same_place(live, start, path) for start in dropped)
        and not others.hold(path)
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
    for name in ("uid", "resourceVersion"):
        if value := text_at(live, "metadata", name):
            metadata[name] = value
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
