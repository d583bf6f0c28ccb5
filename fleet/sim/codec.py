"""Decode as Go does: unknown fields noted, types checked, empty values dropped or written as the struct tags say.

Custom resources are not decoded here (their CRD prunes them, crds.py); only built-in kinds pass.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

from fleet.core.documents import Document, Json
from fleet.sim.quantity import QuantityInvalid, canonical_quantity
from fleet.sim.schema import GO_STRUCTS, Field, Shape, Type, always_written, empty, zero_scalar
from fleet.values import dataclass, field


class DecodeError(Exception):
    """A value that Go's decoder refuses, in its words."""


@dataclass(slots=True)
class Notes:
    """What the decoder noticed without refusing: unknown fields, in the order found."""

    unknown: list[str] = field(default_factory=lambda: [])


_missing: dict[int, list[tuple[str, Field]]] = {}


def _always(kind: Type) -> list[tuple[str, Field]]:
    """Fields of a struct that are written even where nothing set them."""
    found = _missing.get(id(kind.fields))
    if found is None:
        found = _missing[id(kind.fields)] = [(key, one) for key, one in kind.fields.items() if always_written(one)]
    return found


def decode(value: Document, kind: Type, notes: Notes | None = None) -> Document:
    """The document as the server would hold it before defaulting; raises DecodeError."""
    return _struct(value, kind, "", notes)


def _struct(value: Document, kind: Type, path: str, notes: Notes | None) -> Document:
    out: Document = {}
    fields = kind.fields
    for key, inner in value.items():
        one = fields.get(key)
        if one is None:
            if kind.element is not None:
                out[key] = inner
            elif notes is not None:
                notes.unknown.append(f"{path}{key}")
            continue
        if inner is None:
            continue
        made = _value(inner, one.type, kind, path + key, notes)
        if not made and not one.pointer and one.type.shape is not Shape.STRUCT:
            if one.omit_empty and one.type.scalar not in GO_STRUCTS:
                continue
            if one.type.shape in {Shape.LIST, Shape.MAP}:
                made = None  # storage does not tell an empty list from none
        out[key] = made
    for key, one in _always(kind):
        if key not in out:
            out[key] = empty(one)
    return out


def _value(value: Json, kind: Type, owner: Type, path: str, notes: Notes | None) -> Json:
    match kind.shape:
        case Shape.SCALAR:
            return _scalar(value, kind.scalar, owner, path)
        case Shape.STRUCT:
            if not isinstance(value, dict):
                raise _mismatch(value, kind, owner, path)
            return _struct(value, kind, path + ".", notes)
        case Shape.MAP:
            if not isinstance(value, dict):
                raise _mismatch(value, kind, owner, path)
            element = kind.element or kind
            if element.scalar == "string" and all(isinstance(inner, str) for inner in value.values()):
                return value
            nothing: Json = zero_scalar(element.scalar) if element.shape is Shape.SCALAR else {}
            return {
                key: nothing if inner is None else _value(inner, element, owner, path, notes)
                for key, inner in value.items()
            }
        case Shape.LIST:
            if not isinstance(value, list):
                raise _mismatch(value, kind, owner, path)
            element = kind.element or kind
            if element.shape is Shape.STRUCT:
                return [
                    _struct(inner if inner is not None else {}, element, f"{path}[{index}].", notes)
                    if isinstance(inner, dict | None)
                    else _refuse(inner, element, owner, path)
                    for index, inner in enumerate(value)
                ]
            return [
                zero_scalar(element.scalar) if inner is None else _value(inner, element, owner, path, notes)
                for inner in value
            ]
        case Shape.ANY:
            return value


def _refuse(value: Json, kind: Type, owner: Type, path: str) -> Json:
    raise _mismatch(value, kind, owner, path)


def _scalar(value: Json, scalar: str, owner: Type, path: str) -> Json:
    fits = False
    match scalar:
        case "string":
            fits = isinstance(value, str)
        case "int32" | "int64":
            fits = isinstance(value, int) and not isinstance(value, bool)
        case "bool":
            fits = isinstance(value, bool)
        case "float64":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "quantity":
            return _quantity(value)
        case "intstr":
            fits = isinstance(value, int | str) and not isinstance(value, bool)
        case "time" | "microtime":
            fits = isinstance(value, str)
            if isinstance(value, str):
                return _time(value, micro=scalar == "microtime")
        case "bytes":
            fits = isinstance(value, str)
            if isinstance(value, str):
                _base64(value)
        case _:
            fits = True
    if not fits:
        raise _mismatch(value, Type(Shape.SCALAR, scalar), owner, path)
    return value


def _quantity(value: Json) -> str:
    text = value if isinstance(value, str) else str(value)
    try:
        return canonical_quantity(text)
    except QuantityInvalid as problem:
        raise DecodeError(str(problem)) from None


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")


def _time(value: str, *, micro: bool) -> str:
    if not micro and _TIME.match(value):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise DecodeError(
            f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        ) from None
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _base64(value: str) -> None:
    compact = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        offset = next((index for index, letter in enumerate(value) if not (letter.isalnum() or letter in "+/=")), 0)
        if not offset:
            offset = len(value) // 4 * 4
        raise DecodeError(f"illegal base64 data at input byte {offset}") from None


_GO_NAMES = {"quantity": "resource.Quantity", "intstr": "intstr.IntOrString", "time": "v1.Time", "bytes": "[]uint8"}


def _mismatch(value: Json, kind: Type, owner: Type, path: str) -> DecodeError:
    found = (
        "object"
        if isinstance(value, dict)
        else "array"
        if isinstance(value, list)
        else "bool"
        if isinstance(value, bool)
        else "string"
        if isinstance(value, str)
        else "number"
        if isinstance(value, int)
        else f"number {value}"
    )
    plain = re.sub(r"\[\d+\]", "", path)
    return DecodeError(
        f"json: cannot unmarshal {found} into Go struct field {owner.name.rpartition('.')[2]}.{plain} "
        f"of type {go_name(kind)}"
    )


def go_name(kind: Type) -> str:
    """A type as Go's reflection prints it: `[]v1.Container`, `map[string]string`."""
    match kind.shape:
        case Shape.SCALAR:
            return _GO_NAMES.get(kind.scalar, kind.scalar)
        case Shape.LIST:
            return f"[]{go_name(kind.element) if kind.element else ''}"
        case Shape.MAP:
            return f"map[string]{go_name(kind.element) if kind.element else ''}"
        case Shape.STRUCT:
            return ".".join(kind.name.split(".")[-2:])
        case Shape.ANY:
            return "interface {}"
