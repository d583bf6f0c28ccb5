"""Sets of field paths in the form in which `managedFields` holds them (FieldsV1), and their algebra.

A set is a node: a mapping from path element (`f:name`, `k:{"name":"web"}`, `v:"x"`) to the node below it. An element
is itself in the set if its node is empty or holds ".". Nodes are never changed once made, so parts are shared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

import orjson

from fleet.core.documents import Document, Json
from fleet.sim.schema import Shape, Type

Node: TypeAlias = "dict[str, Node]"
LEAF: Node = {}
_SELF = "."


def is_member(node: Node) -> bool:
    """Whether the element of this node is itself in the set."""
    return not node or _SELF in node


def _made(member: bool, below: Node) -> Node | None:
    if not below:
        return LEAF if member else None
    if member:
        below[_SELF] = LEAF
    return below


def union(left: Node, right: Node) -> Node:
    """All paths of both. Arguments are roots: they are not themselves elements."""
    if not right or left is right:
        return left
    if not left:
        return right
    out = dict(left)
    for key, node in right.items():
        mine = out.get(key)
        if mine is None:
            out[key] = node
        elif key != _SELF and mine is not node:
            both = union(mine, node)
            if (not mine or not node) and both and _SELF not in both:
                both = {**both, _SELF: LEAF}
            out[key] = both
    return out


def intersection(left: Node, right: Node) -> Node:
    """Paths that are in both."""
    if left is right:
        return left
    out: Node = {}
    for key, node in left.items():
        other = right.get(key)
        if other is None or key == _SELF:
            continue
        made = _made(is_member(node) and is_member(other), intersection(node, other))
        if made is not None:
            out[key] = made
    return out


def difference(left: Node, right: Node) -> Node:
    """Paths of the left that are not in the right; what is below a path is judged by itself."""
    if left is right or not left:
        return {}
    if not right:
        return left
    out: Node = {}
    for key, node in left.items():
        if key == _SELF:
            continue
        other = right.get(key)
        if other is None:
            out[key] = node
            continue
        below = {deeper: one for deeper, one in difference(node, other).items() if deeper != _SELF}
        made = _made(is_member(node) and not is_member(other), below)
        if made is not None:
            out[key] = made
    return out


def without(left: Node, roots: Node) -> Node:
    """Paths of the left that are neither in `roots` nor below a member of it."""
    out: Node = {}
    for key, node in left.items():
        other = roots.get(key)
        if other is None:
            out[key] = node
        elif key != _SELF and not is_member(other):
            made = _made(is_member(node), without(node, other))
            if made is not None:
                out[key] = made
    return out


def with_named_members(node: Node, kind: Type | None) -> Node:
    """The same set, and each declared field that has paths below it as a member too (smd EnsureNamedFields…)."""
    out: Node = {}
    for key, below in node.items():
        if key == _SELF or not below:
            out[key] = below
            continue
        inner: Type | None = None
        named = False
        if kind is not None:
            if key.startswith("f:"):
                one = kind.fields.get(key[2:]) if kind.shape is Shape.STRUCT else None
                named = one is not None
                inner = one.type if one else (kind if kind.shape is Shape.ANY else kind.element)
            elif key.startswith("k:"):
                inner = kind.element
        made = with_named_members(below, inner)
        if named and _SELF not in made:
            made = {**made, _SELF: LEAF}
        out[key] = made
    return out


def owns(node: Node, path: tuple[str, ...]) -> bool:
    """Whether the path is in the set."""
    for element in path:
        below = node.get(element)
        if below is None:
            return False
        node = below
    return is_member(node)


def paths(node: Node, prefix: str = "") -> Iterator[str]:
    """The members as the server prints them: `.spec.containers[name="web"].image`; members before deeper paths."""
    below: list[tuple[str, Node]] = []
    for key in sorted((key for key in node if key != _SELF), key=_order):
        here = prefix + spell(key)
        if is_member(node[key]):
            yield here
        if node[key]:
            below.append((here, node[key]))
    for here, deeper in below:
        yield from paths(deeper, here)


def _order(element: str) -> tuple[int, str]:
    return ("fkvi".index(element[0]), element)


_KEY = re.compile(r'"((?:[^"\\]|\\.)*)":')


def spell(element: str) -> str:
    """One path element as the server prints it."""
    kind, rest = element[0], element[2:]
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        pairs = cast("dict[str, Json]", orjson.loads(rest))
        return "[" + ",".join(f"{name}={_scalar(value)}" for name, value in pairs.items()) + "]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def _scalar(value: Json) -> str:
    return orjson.dumps(value).decode()


def key_element(item: Mapping[str, Json], kind: Type) -> str | None:
    """`k:{…}` of an item of a list by key; defaults of key fields count. None where no key field is there."""
    keys = kind.keys or ()
    fields = kind.element.fields if kind.element else {}
    if len(keys) == 1:
        name = keys[0]
        value = item.get(name)
        if value is None and name in fields:
            value = fields[name].default
        if (
            isinstance(value, str)
            and value.isascii()
            and value.isprintable()
            and '"' not in value
            and "\\" not in value
        ):
            return f'k:{{"{name}":"{value}"}}'
        if value is None:
            return None
        return "k:" + orjson.dumps({name: value}).decode()
    found: Document = {}
    for name in sorted(keys):
        value = item.get(name)
        if value is None and name in fields:
            value = fields[name].default
        if value is not None:
            found[name] = value
    return "k:" + orjson.dumps(found).decode() if found else None


def item_element(item: Json, kind: Type) -> str | None:
    """The path element of an item of a set or of a list by key; None where it has none."""
    if kind.keys is not None:
        return key_element(item, kind) if isinstance(item, dict) else None
    if item is None or isinstance(item, dict | list):
        return None
    return "v:" + orjson.dumps(item).decode()
