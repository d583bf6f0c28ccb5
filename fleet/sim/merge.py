"""Typed operations on values: field set, merge, compare, remove (structured-merge-diff's, on plain JSON values).

Nothing here changes its arguments; results share unchanged parts with them.
"""

from __future__ import annotations

from fleet.core.documents import Document, Json
from fleet.sim.fieldset import LEAF, Node, is_member, item_element
from fleet.sim.schema import ANY, Shape, Type
from fleet.values import dataclass

_MISSING: object = object()


# Field sets


def field_set(value: Document, kind: Type) -> Node:
    """All paths that a document says something about; the caller has checked it."""
    return _set_of(value, kind) or {}


def _set_of(value: Json, kind: Type) -> Node | None:
    """The node of a value: LEAF where it is owned as a whole, None where it says nothing by itself."""
    if kind.atomic or kind.shape is Shape.SCALAR or value is None:
        return LEAF
    if isinstance(value, dict):
        if not value:
            return LEAF
        out: Node = {}
        fields, element = kind.fields, kind.element
        for key, inner in value.items():
            one = fields.get(key)
            if one is not None:
                node = _set_of(inner, one.type)
                if node is not None:
                    out[one.element] = node
            else:
                node = _set_of(inner, element or ANY)
                out["f:" + key] = {**node, ".": LEAF} if node else LEAF
        return out
    if isinstance(value, list):
        if kind.shape is Shape.ANY:
            return LEAF
        return _set_of_items(value, kind)
    return LEAF


def _set_of_items(value: list[Json], kind: Type) -> Node | None:
    out: Node = {}
    twice: set[str] = set()
    for item in value:
        key = item_element(item, kind)
        if key is None:
            continue
        if key in out:
            twice.add(key)
        node = _set_of(item, kind.element or ANY)
        out[key] = {**node, ".": LEAF} if node else LEAF
    for key in twice:
        out[key] = LEAF
    return out or None


# Merge: an applied document into the live one


def merge(live: Document, applied: Document, kind: Type) -> Document:
    """The live document with what the applied one says; lists by key merge item by item."""
    merged = _merge(live, applied, kind)
    return merged if isinstance(merged, dict) else {}


def _merge(live: Json, applied: Json, kind: Type) -> Json:
    if kind.atomic or kind.shape is Shape.SCALAR:
        return applied
    if isinstance(applied, dict) and (isinstance(live, dict) or live is None):
        if not live or not applied:
            return applied or live or {}
        out = dict(live)
        fields, element = kind.fields, kind.element or ANY
        for key, right in applied.items():
            left = live.get(key, _MISSING)
            if left is _MISSING:
                out[key] = right
            elif left is not right:
                one = fields.get(key)
                out[key] = _merge(live[key], right, one.type if one is not None else element)
        return out
    if isinstance(applied, list) and (isinstance(live, list) or live is None):
        if kind.shape is Shape.ANY:
            return applied
        if not live or not applied:
            return applied or live or []
        return _merge_items(live, applied, kind)
    if applied is None and live and isinstance(live, dict | list) and kind.shape is not Shape.ANY:
        return live
    return applied


def _merge_items(live: list[Json], applied: list[Json], kind: Type) -> list[Json]:
    """Keep the live order for what is only live and the applied order among shared items (smd visitListItems)."""
    left_keys = [item_element(item, kind) or "" for item in live]
    right_keys = [item_element(item, kind) or "" for item in applied]
    left: dict[str, Json] = {}
    doubled: set[str] = set()
    for key, item in zip(left_keys, live, strict=True):
        if key in left:
            doubled.add(key)
        left[key] = item
    right = dict(zip(right_keys, applied, strict=True))
    element = kind.element or ANY

    def both(key: str) -> Json:
        if key in left and key not in doubled:
            return _merge(left[key], right[key], element)
        return right[key]

    shared = [key for key in right_keys if key in left]
    shared_at = 0
    merged: set[str] = set()
    out: list[Json] = []
    i = j = 0
    while i < len(left_keys) or j < len(right_keys):
        if i < len(left_keys) and j < len(right_keys):
            key = left_keys[i]
            if key == right_keys[j]:
                merged.add(key)
                out.append(both(key))
                i, j, shared_at = i + 1, j + 1, shared_at + 1
                continue
            if key in right and shared_at < len(shared) and shared[shared_at] != key:
                i += 1
                continue
        if i < len(left_keys):
            key = left_keys[i]
            if key not in right:
                out.append(live[i])
                i += 1
                continue
            if key in merged:
                i += 1
        if j < len(right_keys):
            key = right_keys[j]
            merged.add(key)
            out.append(both(key))
            j += 1
            if shared_at < len(shared) and shared[shared_at] == key:
                shared_at += 1
    return out


# Compare


@dataclass(slots=True)
class Comparison:
    """Paths that differ between two documents."""

    added: Node
    modified: Node
    removed: Node

    @property
    def same(self) -> bool:
        """True where nothing differs."""
        return not (self.added or self.modified or self.removed)


def compare(old: Document, new: Document, kind: Type) -> Comparison:
    """What differs from old to new."""
    added: Node = {}
    modified: Node = {}
    removed: Node = {}
    if old != new:
        _compare(old, new, kind, added, modified, removed)
    return Comparison(added, modified, removed)


def _compare(old: Json, new: Json, kind: Type, added: Node, modified: Node, removed: Node) -> bool:
    """Fill the nodes for what lies below; True if the place itself is to be put as a modified leaf."""
    if kind.atomic or kind.shape is Shape.SCALAR:
        return True
    if isinstance(old, dict | None) and isinstance(new, dict | None):
        if not old and not new:
            return True
        fields, element = kind.fields, kind.element or ANY
        left, right = old or {}, new or {}
        for key in left.keys() | right.keys():
            one = fields.get(key)
            _compare_at(
                "f:" + key,
                left.get(key, _MISSING),
                right.get(key, _MISSING),
                one.type if one is not None else element,
                (added, modified, removed),
            )
        return False
    if isinstance(old, list | None) and isinstance(new, list | None):
        if (not old and not new) or kind.shape is Shape.ANY:
            return True
        _compare_items(old or [], new or [], kind, (added, modified, removed))
        return False
    return True


def _compare_items(old: list[Json], new: list[Json], kind: Type, sets: tuple[Node, Node, Node]) -> None:
    left: dict[str, list[Json]] = {}
    right: dict[str, list[Json]] = {}
    for side, items in ((left, old), (right, new)):
        for item in items:
            key = item_element(item, kind)
            if key is not None:
                side.setdefault(key, []).append(item)
    element = kind.element or ANY
    for key in left.keys() | right.keys():
        before, after = left.get(key, []), right.get(key, [])
        if len(before) <= 1 and len(after) <= 1:
            _compare_at(key, before[0] if before else _MISSING, after[0] if after else _MISSING, element, sets)
        elif len(before) > 1 and len(after) > 1:
            if before != after:
                sets[1][key] = LEAF
        elif len(before) > 1:
            if after:
                _compare_at(key, _MISSING, after[0], element, sets)
            sets[2][key] = LEAF
        else:
            if before:
                _compare_at(key, before[0], _MISSING, element, sets)
            sets[0][key] = LEAF


def _compare_at(key: str, old: object, new: object, kind: Type, sets: tuple[Node, Node, Node]) -> None:
    if old is _MISSING:
        sets[0][key] = _one_sided(new, kind)
    elif new is _MISSING:
        sets[2][key] = _one_sided(old, kind)
    elif old != new:
        added: Node = {}
        modified: Node = {}
        removed: Node = {}
        if _compare(_json(old), _json(new), kind, added, modified, removed):
            sets[1][key] = LEAF
        else:
            for whole, part in zip(sets, (added, modified, removed), strict=True):
                if part:
                    whole[key] = part


def _json(value: object) -> Json:
    return value  # type: ignore[return-value]  # narrowed by the sentinel above


def _one_sided(value: object, kind: Type) -> Node:
    """The node of a value that only one side has: itself and everything below it are members."""
    if kind.leaf:
        return LEAF
    if isinstance(value, dict) and value:
        fields, element = kind.fields, kind.element or ANY
        out: Node = {".": LEAF}
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            one = fields.get(key)  # pyright: ignore[reportUnknownArgumentType]
            out[f"f:{key}"] = _one_sided(inner, one.type if one is not None else element)  # pyright: ignore[reportUnknownArgumentType]
        return out
    if isinstance(value, list) and value and kind.shape is not Shape.ANY:
        out = {".": LEAF}
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            key = item_element(item, kind)  # pyright: ignore[reportUnknownArgumentType]
            if key is not None:
                out[key] = LEAF if key in out else _one_sided(item, kind.element or ANY)  # pyright: ignore[reportUnknownArgumentType]
        return out
    return LEAF


# Remove


def remove(value: Document, doomed: Node, kind: Type) -> Document:
    """The document without these paths; a container that loses everything goes too."""
    left = _remove(value, doomed, kind)
    return left if isinstance(left, dict) else {}


def _remove(value: Json, doomed: Node, kind: Type) -> Json:
    if kind.shape is Shape.SCALAR or not isinstance(value, dict | list):
        return value
    if kind.atomic or not value:
        return None
    if isinstance(value, dict):
        out: Document = {}
        fields, element = kind.fields, kind.element or ANY
        for key, inner in value.items():
            node = doomed.get("f:" + key)
            if node is None:
                out[key] = inner
            elif not is_member(node):
                one = fields.get(key)
                out[key] = _remove(inner, node, one.type if one is not None else element)
        return out or None
    if kind.shape is Shape.ANY:
        return value
    kept: list[Json] = []
    for item in value:
        key = item_element(item, kind)
        node = doomed.get(key) if key is not None else None
        if node is None:
            kept.append(item)
        elif not is_member(node):
            kept.append(_remove(item, node, kind.element or ANY))
    return kept or None
