"""Field sets of server-side apply (FieldsV1 in `metadata.managedFields`): reading, walking, showing.

A node's keys are path elements: `f:NAME` a field, `k:{…}` the list item with these key values, `v:VALUE` the list item
with this value, `i:N` the item at an index, `.` the node itself; `!` is our own (see `VOID`). A node without children
is a leaf: the manager owns the whole value there (KEP-555, sigs.k8s.io/structured-merge-diff).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final

from fleet.core.digits import number_in
from fleet.core.documents import Document, Json, canonical, documents_at, mapping_at, parse, text_at
from fleet.values import dataclass

VOID = "!"  # in what we record: a map that we applied empty and that the server left out
Path = tuple[str, ...]  # FieldsV1 keys from the root, without "."
_NO_CHILD = (".", VOID)


class Absent:
    """The type of ABSENT, which is no JSON value: null and absent differ."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `metadata.managedFields`."""

    manager: str
    operation: str  # "Apply" or "Update"
    subresource: str
    api_version: str
    fields: Document
    time: str  # RFC 3339, "" when unknown

    @property
    def since(self) -> float:
        """Its time as seconds since the epoch; 0.0 when unknown."""
        try:
            return datetime.fromisoformat(self.time).timestamp()
        except ValueError:
            return 0.0


def entries_of(live: Document) -> tuple[Entry, ...]:
    """All entries of an object (or of its metadata alone)."""
    return tuple(
        Entry(
            manager=text_at(raw, "manager"),
            operation=text_at(raw, "operation"),
            subresource=text_at(raw, "subresource"),
            api_version=text_at(raw, "apiVersion"),
            fields=mapping_at(raw, "fieldsV1"),
            time=text_at(raw, "time"),
        )
        for raw in documents_at(live, "metadata", "managedFields")
    )


# Longer ones than an API server writes are not read: as JSON in a text, they are many values that nobody counted (R18).
_LONGEST = 8192


@lru_cache(maxsize=8192)
def item_keys(element: str) -> dict[str, Json]:
    """The key values of a `k:{…}` element. Shared: do not change it."""
    value = parse(element[2:].encode()) if len(element) <= _LONGEST else None
    return value if isinstance(value, dict) else {}


@lru_cache(maxsize=8192)
def set_value(element: str) -> Json:
    """The value of a `v:…` element; its own spelling, which is no value of a set, where it is too long to be read."""
    return parse(element[2:].encode()) if len(element) <= _LONGEST else element


def step(value: Json | Absent, element: str) -> Json | Absent:
    """What lies under one path element of a value; ABSENT where there is nothing."""
    kind, name = element[:2], element[2:]
    if kind == "f:":
        return value.get(name, ABSENT) if isinstance(value, dict) else ABSENT
    if not isinstance(value, list):
        return ABSENT
    if kind == "k:":
        for is_exact in (True, False):
            for item in value:
                if is_picked(element, item, exact=is_exact):
                    return item
        return ABSENT
    if kind == "v:":
        wanted = set_value(element)
        return wanted if wanted in value else ABSENT
    if kind == "i:" and (at := number_in(name)) is not None and at < len(value):
        return value[at]
    return ABSENT


def is_picked(element: str, item: Json, *, exact: bool = True) -> bool:
    """Whether `k:{…}` means this item. Not exact: keys that a manifest leaves to their default may be absent."""
    if not isinstance(item, dict):
        return False
    keys = item_keys(element)
    if exact:
        return all(item.get(key, ABSENT) == wanted for key, wanted in keys.items())
    present = {key: wanted for key, wanted in keys.items() if key in item}
    left = [wanted for key, wanted in keys.items() if key not in item and key == "protocol"]
    return bool(present) and all(item[key] == wanted for key, wanted in present.items()) and left in ([], ["TCP"])


def value_at(value: Json | Absent, path: Path) -> Json | Absent:
    """What lies under a path."""
    for element in path:
        value = step(value, element)
        if value is ABSENT:
            break
    return value


def leaves(fields: Document, prefix: Path = ()) -> Iterator[Path]:
    """All paths whose whole value is owned; an item or map owned by existence only (`.` alone) is none."""
    for element, below in fields.items():
        if element in _NO_CHILD:
            continue
        path = (*prefix, element)
        if isinstance(below, dict) and below:
            yield from leaves(below, path)
        else:
            yield path


def paths(fields: Document, prefix: Path = ()) -> Iterator[Path]:
    """All owned paths: leaves, and the nodes that carry `.`, a node before what is below it."""
    for element, below in fields.items():
        if element in _NO_CHILD:
            continue
        path = (*prefix, element)
        if not isinstance(below, dict) or not below or "." in below:
            yield path
        if isinstance(below, dict):
            yield from paths(below, path)


def holds(fields: Document, path: Path) -> bool:
    """Whether this set owns exactly this path, or an ancestor of it as a whole."""
    here = fields
    for element in path:
        below = here.get(element)
        if not isinstance(below, dict):
            return False
        if not below:
            return True
        here = below
    return "." in here


def touches(fields: Document, path: Path) -> bool:
    """Whether this set owns the path, an ancestor of it as a whole, or anything below it."""
    here = fields
    for element in path:
        below = here.get(element)
        if not isinstance(below, dict):
            return False
        if not below:
            return True
        here = below
    return True


def is_item(element: str) -> bool:
    """Whether an element picks an item of a list."""
    return element.startswith(("k:", "v:", "i:"))


def show(path: Path) -> str:
    """A path as kubectl explains it: `spec.template.spec.containers[name=web].image`, `metadata.labels[a/b]`."""
    text = ""
    for element in path:
        kind, name = element[:2], element[2:]
        if kind == "f:":
            dotted = "." in name or "/" in name
            text += f"[{name}]" if dotted else f".{name}" if text else name
        elif kind == "k:":
            text += "[" + ",".join(f"{key}={_plain(value)}" for key, value in item_keys(element).items()) + "]"
        elif kind == "v:":
            text += f"[{_plain(set_value(element))}]"
        else:
            text += f"[{name}]"
    return text


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def intended(body: Document) -> Document:
    """The set that an apply of this body to nothing will own, as far as a conflict over the body's own fields asks.

    How the server tells the items of a list apart only its schema says: a list stands here as a whole.
    """
    own = {f"f:{name}": _intended(value) for name, value in body.items() if name not in ("apiVersion", "kind")}
    metadata = own.get("f:metadata", {})
    for name in ("name", "namespace", "uid", "resourceVersion"):
        metadata.pop(f"f:{name}", None)
    return dict(own)


def _intended(value: Json) -> Document:
    if not isinstance(value, dict):
        return {}
    return {f"f:{name}": _intended(below) for name, below in value.items()}


def without(fields: Document, is_dropped: Callable[[Path], bool], prefix: Path = ()) -> Document:
    """The set without the nodes for which `is_dropped` says so, and without maps that this leaves empty."""
    kept: Document = {}
    for element, below in fields.items():
        path = (*prefix, element)
        if element in _NO_CHILD or not isinstance(below, dict):
            kept[element] = below
            continue
        if is_dropped(path):
            continue
        if not below:
            kept[element] = below
        elif rest := without(below, is_dropped, path):
            kept[element] = rest
    return kept


def union(one: Document, other: Document) -> Document:
    """The set of what either owns. A leaf and a node with `.` own the same path."""
    out = dict(one)
    for element, below in other.items():
        mine = out.get(element)
        if not isinstance(mine, dict) or not isinstance(below, dict):
            out.setdefault(element, below)
        elif mine and below:
            out[element] = union(mine, below)
        elif mine or below:
            out[element] = {".": {}, **(mine or below)}
    return out


def split(fields: Document, is_taken: Callable[[Path], bool], prefix: Path = ()) -> tuple[Document, Document]:
    """Two sets that hold together what this one holds: the owned paths for which `is_taken` says so, and the rest."""
    taken: Document = {}
    rest: Document = {}
    for element, below in fields.items():
        if element in _NO_CHILD:
            (taken if is_taken(prefix) else rest)[element] = below
            continue
        path = (*prefix, element)
        if not isinstance(below, dict) or not below:
            (taken if is_taken(path) else rest)[element] = below
            continue
        for out, part in zip((taken, rest), split(below, is_taken, path), strict=True):
            if part:
                out[element] = {} if part == {".": {}} else part
    return taken, rest
