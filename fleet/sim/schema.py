"""Types of what the simulated servers store: how values merge, and what is written where a field is empty.

Built-in types come from schema.json, a table made of a real server's OpenAPI and Go's struct tags
(tests/sim/tables/generate.py). Types of custom resources are compiled from their CRD. A type is written as text:
`string`, `#core.v1.PodSpec`, `[]x` (atomic list), `[set]x`, `[name]x` (list by key), `{}x` (map), `{atomic}x`,
`!#x` (a struct that is one value); then flags: o omitempty, z omitzero, p pointer, r required, =JSON default.
"""

from __future__ import annotations

import json
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import TypedDict, cast

import orjson

from fleet.core.documents import Document, Json, items_at, mapping_at, text_at
from fleet.values import dataclass, field


class Shape(IntEnum):
    """What a type is made of."""

    SCALAR = 0
    STRUCT = 1
    MAP = 2
    LIST = 3
    ANY = 4  # deduced from the value: maps merge, lists and scalars are one value


@dataclass(slots=True, eq=False)
class Type:
    """One type. `atomic`: merged as one value. `keys`: None for a set, else the fields that tell items apart."""

    shape: Shape
    scalar: str = ""
    name: str = ""
    atomic: bool = False
    fields: dict[str, Field] = field(default_factory=lambda: {})
    element: Type | None = None  # of a map or list; of a struct: what undeclared fields are, None where refused
    keys: tuple[str, ...] | None = None

    @property
    def leaf(self) -> bool:
        """True where a value of this type is owned as a whole."""
        return self.shape is Shape.SCALAR or self.atomic


@dataclass(slots=True, eq=False)
class Field:
    """A declared field. `element`: its path element in a field set."""

    name: str
    type: Type
    omit_empty: bool = True
    omit_zero: bool = False
    pointer: bool = False
    required: bool = False
    default: Json = None
    element: str = ""
    merge_key: str | None = None  # of a strategic merge patch; "" for a list of scalars, None: replaced


class _Tables(TypedDict):
    kinds: dict[str, str]
    enums: dict[str, list[str]]
    merges: dict[str, list[str]]
    types: dict[str, dict[str, str]]


ANY = Type(Shape.ANY, name="any")
STRING = Type(Shape.SCALAR, "string")
_NUMBERS = {"int32", "int64", "float64"}


@cache
def tables() -> _Tables:
    """The generated table, read once."""
    return cast("_Tables", orjson.loads(files("fleet.sim").joinpath("schema.json").read_bytes()))


def built_in(group: str, version: str, kind: str) -> Type | None:
    """The type of a built-in kind; None where the table has none."""
    name = tables()["kinds"].get(f"{group}/{version}/{kind}")
    return struct(name) if name else None


_structs: dict[str, Type] = {}


def struct(name: str) -> Type:
    """A built-in struct by its short name, compiled when first asked for."""
    found = _structs.get(name)
    if found is None:
        found = _structs[name] = Type(Shape.STRUCT, name=name)
        merges = tables()["merges"]
        for key, text in tables()["types"][name].items():
            made = _field(key, text)
            strategy = merges.get(f"{name}.{key}")
            if strategy and "merge" in strategy[0]:
                made.merge_key = strategy[1]
            found.fields[key] = made
        if name == "runtime.RawExtension":
            found.element = ANY
    return found


def _field(key: str, text: str) -> Field:
    spelled, _, rest = text.partition(" ")
    flags, _, default = rest.partition("=")
    return Field(
        key,
        _spelled(spelled),
        omit_empty="o" in flags,
        omit_zero="z" in flags,
        pointer="p" in flags,
        required="r" in flags,
        default=cast("Json", json.loads(default)) if default else None,
        element=f"f:{key}",
    )


@cache
def _spelled(text: str) -> Type:
    if text.startswith("["):
        mark, _, rest = text[1:].partition("]")
        if mark in {"", "set"}:
            return Type(Shape.LIST, atomic=not mark, element=_spelled(rest))
        return Type(Shape.LIST, element=_spelled(rest), keys=tuple(mark.split(",")))
    if text.startswith("{"):
        mark, _, rest = text[1:].partition("}")
        return Type(Shape.MAP, atomic=mark == "atomic", element=_spelled(rest))
    if text.startswith("!#"):
        whole = struct(text[2:])
        return Type(Shape.STRUCT, name=whole.name, atomic=True, fields=whole.fields, element=whole.element)
    if text.startswith("#"):
        return struct(text[1:])
    if text == "any":
        return ANY
    return Type(Shape.SCALAR, text)


def custom(schema: Document) -> Type:
    """The type of a custom resource from its CRD's openAPIV3Schema; metadata is the built-in one."""
    made = _custom(schema)
    if made.shape is not Shape.STRUCT:
        made = Type(Shape.STRUCT, element=ANY)
    for key, kind in (("apiVersion", STRING), ("kind", STRING), ("metadata", struct("meta.v1.ObjectMeta"))):
        made.fields[key] = Field(key, kind, element=f"f:{key}")
    return made


def _custom(schema: Document) -> Type:
    if schema.get("x-kubernetes-int-or-string"):
        return Type(Shape.SCALAR, "intstr")
    kind = text_at(schema, "type")
    preserve = schema.get("x-kubernetes-preserve-unknown-fields") is True
    if kind == "object":
        extra = schema.get("additionalProperties")
        properties = mapping_at(schema, "properties")
        atomic = schema.get("x-kubernetes-map-type") == "atomic"
        if schema.get("x-kubernetes-embedded-resource"):
            made = Type(Shape.STRUCT, atomic=atomic, element=ANY if preserve else None)
            made.fields["metadata"] = Field("metadata", struct("meta.v1.ObjectMeta"), element="f:metadata")
            for key in ("apiVersion", "kind"):
                made.fields[key] = Field(key, STRING, element=f"f:{key}")
        elif not properties and isinstance(extra, dict):
            return Type(Shape.MAP, atomic=atomic, element=_custom(extra))
        else:
            made = Type(Shape.STRUCT, atomic=atomic, element=ANY if preserve or extra is True else None)
        for key, value in properties.items():
            part = mapping_at(properties, key)
            made.fields[key] = Field(key, _custom(part), element=f"f:{key}", default=part.get("default"))
            del value
        return made
    if kind == "array":
        how = text_at(schema, "x-kubernetes-list-type") or "atomic"
        keys = tuple(str(key) for key in items_at(schema, "x-kubernetes-list-map-keys")) if how == "map" else None
        return Type(Shape.LIST, atomic=how == "atomic", element=_custom(mapping_at(schema, "items")), keys=keys)
    if kind:
        return Type(Shape.SCALAR, {"integer": "int64", "number": "float64", "boolean": "bool"}.get(kind, kind))
    return ANY


# Scalars in JSON that are structs in Go, which omitempty does not leave out.
GO_STRUCTS = {"time", "microtime", "quantity", "intstr"}


def always_written(one: Field) -> bool:
    """Whether the server writes this field even where it is empty."""
    inner = one.type
    if one.pointer:
        return not one.omit_empty
    if inner.shape is Shape.STRUCT or inner.scalar in GO_STRUCTS or inner is ANY:
        return not one.omit_zero if inner is not ANY else not one.omit_empty
    return not one.omit_empty


def empty(one: Field) -> Json:
    """What the server writes for an empty field."""
    inner = one.type
    if one.pointer or inner.shape in {Shape.LIST, Shape.MAP, Shape.ANY}:
        return None
    return zero(inner) if inner.shape is Shape.STRUCT else zero_scalar(inner.scalar)


def zero(kind: Type) -> Document:
    """What the server writes for an empty value of a struct: structs inside, and fields without omitempty."""
    return {key: empty(one) for key, one in kind.fields.items() if always_written(one)}


def zero_scalar(scalar: str) -> Json:
    """Go's zero value of a scalar, as JSON."""
    if scalar in _NUMBERS or scalar == "intstr":
        return 0
    if scalar == "bool":
        return False
    if scalar in {"time", "microtime", "bytes"}:
        return None
    return "0" if scalar in {"quantity", "duration"} else ""
