"""Structural schemas of custom resources: pruning unknown fields, filling in defaults, checking values.

Schemas are openAPIV3Schema documents as a CRD holds them; values are never changed, new ones are made.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import orjson

from fleet.core.documents import Document, Json, items_at, mapping_at, text_at
from fleet.sim.statuses import Cause

_ROOT = ("apiVersion", "kind", "metadata")


def prune(value: Json, schema: Document, path: str = "", *, root: bool = False) -> tuple[Json, list[str]]:
    """The value without fields that the schema does not know, and their paths."""
    unknown: list[str] = []
    return _pruned(value, schema, path, unknown, root=root), unknown


def _pruned(value: Json, schema: Document, path: str, unknown: list[str], *, root: bool) -> Json:
    if isinstance(value, list):
        items = mapping_at(schema, "items")
        return [_pruned(item, items, f"{path}[{index}]", unknown, root=False) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    preserve = schema.get("x-kubernetes-preserve-unknown-fields") is True
    embedded = root or schema.get("x-kubernetes-embedded-resource") is True
    properties, extra = mapping_at(schema, "properties"), schema.get("additionalProperties")
    out: Document = {}
    for key, inner in value.items():
        here = f"{path}.{key}" if path else key
        if embedded and key in _ROOT:
            out[key] = inner
        elif key in properties:
            out[key] = _pruned(inner, mapping_at(properties, key), here, unknown, root=False)
        elif isinstance(extra, dict):
            out[key] = _pruned(inner, extra, here, unknown, root=False)
        elif extra is True or preserve:
            out[key] = inner
        else:
            unknown.append(here)
    return out


def fill(value: Json, schema: Document) -> Json:
    """The value with the schema's defaults; a null where none is allowed gives way to a default."""
    if isinstance(value, list):
        items = mapping_at(schema, "items")
        return [fill(item, items) for item in value] if items else value
    if not isinstance(value, dict):
        return value
    out = dict(value)
    properties, extra = mapping_at(schema, "properties"), schema.get("additionalProperties")
    for key in properties:
        part = mapping_at(properties, key)
        if "default" in part and (key not in out or (out[key] is None and part.get("nullable") is not True)):
            out[key] = copy.deepcopy(part["default"])
        if key in out:
            out[key] = fill(out[key], part)
    if isinstance(extra, dict):
        for key in out.keys() - properties.keys():
            out[key] = fill(out[key], extra)
    return out


def problems(value: Json, schema: Document, path: str = "", *, root: bool = False) -> Iterator[Cause]:
    """What the schema refuses, in the API server's words."""
    if value is None and (schema.get("nullable") is True or not path):
        return
    if schema.get("x-kubernetes-int-or-string") is True:
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield _wrong_type(value, "integer,string", path)
        return
    kind = text_at(schema, "type")
    if kind and not _is(value, kind):
        yield _wrong_type(value, kind, path)
        return
    yield from _plain_problems(value, schema, path)
    if isinstance(value, dict):
        yield from _object_problems(value, schema, path, root=root)
    elif isinstance(value, list):
        yield from _list_problems(value, schema, path)
    for key in ("allOf", "anyOf", "oneOf"):
        yield from _combined(value, schema, path, key)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _is(value: Json, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _name_of(value: Json) -> str:
    if value is None:
        return "null"
    for name, types in _TYPES.items():
        if isinstance(value, types) and not (isinstance(value, bool) and name != "boolean"):
            return name
    return "null"


def _wrong_type(value: Json, kind: str, path: str) -> Cause:
    found = _name_of(value)
    message = f'Invalid value: "{found}": {path} in body must be of type {kind}: "{found}"'
    return Cause("FieldValueTypeInvalid", message, path or "<nil>")


def _invalid(value: Json, why: str, path: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {orjson.dumps(value).decode()}: {path} in body {why}", path)


def _plain_problems(value: Json, schema: Document, path: str) -> Iterator[Cause]:
    allowed = items_at(schema, "enum")
    if allowed and value not in allowed:
        listed = ", ".join(orjson.dumps(one).decode() for one in allowed)
        shown = orjson.dumps(value).decode()
        yield Cause("FieldValueNotSupported", f"Unsupported value: {shown}: supported values: {listed}", path)
        return
    if isinstance(value, str):
        longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), text_at(schema, "pattern")
        if isinstance(longest, int) and len(value) > longest:
            yield Cause("FieldValueTooLong", f"Too long: may not be more than {longest} bytes", path)
        elif isinstance(shortest, int) and len(value) < shortest:
            yield _invalid(value, f"should be at least {shortest} chars long", path)
        elif pattern and not re.search(pattern, value):
            yield _invalid(value, f"should match '{pattern}'", path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_problems(value, schema, path)


def _number_problems(value: float, schema: Document, path: str) -> Iterator[Cause]:
    highest, lowest, step = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if isinstance(highest, int | float):
        open_end = schema.get("exclusiveMaximum") is True
        if value > highest or (open_end and value == highest):
            yield _invalid(value, f"should be less than {'' if open_end else 'or equal to '}{_short(highest)}", path)
    if isinstance(lowest, int | float):
        open_end = schema.get("exclusiveMinimum") is True
        if value < lowest or (open_end and value == lowest):
            yield _invalid(value, f"should be greater than {'' if open_end else 'or equal to '}{_short(lowest)}", path)
    if isinstance(step, int | float) and step and value % step:
        yield _invalid(value, f"should be a multiple of {_short(step)}", path)


def _short(number: float) -> str:
    return f"{number:g}"


def _object_problems(value: Document, schema: Document, path: str, *, root: bool) -> Iterator[Cause]:
    for key in items_at(schema, "required"):
        if key not in value:
            yield Cause("FieldValueRequired", "Required value", f"{path}.{key}" if path else str(key))
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if isinstance(most, int) and len(value) > most:
        yield Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items", path)
    if isinstance(least, int) and len(value) < least:
        yield _invalid(value, f"should have at least {least} properties", path)
    properties, extra = mapping_at(schema, "properties"), schema.get("additionalProperties")
    for key, inner in value.items():
        here = f"{path}.{key}" if path else key
        if root and key in _ROOT:
            continue
        if key in properties:
            yield from problems(inner, mapping_at(properties, key), here)
        elif isinstance(extra, dict):
            yield from problems(inner, extra, here)


def _list_problems(value: list[Json], schema: Document, path: str) -> Iterator[Cause]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if isinstance(most, int) and len(value) > most:
        yield Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items", path)
    if isinstance(least, int) and len(value) < least:
        yield _invalid(value, f"should have at least {least} items", path)
    items = mapping_at(schema, "items")
    for index, item in enumerate(value):
        yield from problems(item, items, f"{path}[{index}]")
    yield from _double_problems(value, schema, path)


def _double_problems(value: list[Json], schema: Document, path: str) -> Iterator[Cause]:
    how = text_at(schema, "x-kubernetes-list-type")
    if how not in {"set", "map"}:
        return
    keys = [str(key) for key in items_at(schema, "x-kubernetes-list-map-keys")]
    seen: list[Json] = []
    for index, item in enumerate(value):
        told: Json = (
            {key: item[key] for key in keys if key in item} if how == "map" and isinstance(item, dict) else item
        )
        if told in seen:
            yield Cause("FieldValueDuplicate", f"Duplicate value: {orjson.dumps(told).decode()}", f"{path}[{index}]")
        seen.append(told)


def _combined(value: Json, schema: Document, path: str, key: str) -> Iterator[Cause]:
    parts = [part for part in items_at(schema, key) if isinstance(part, dict)]
    if not parts:
        return
    found = [list(problems(value, part, path)) for part in parts]
    if key == "allOf":
        for one in found:
            yield from one
        return
    fitting = sum(not one for one in found)
    if fitting == 1 or (fitting and key == "anyOf"):
        return
    many = (
        "must validate one and only one schema (oneOf)"
        if key == "oneOf"
        else "must validate at least one schema (anyOf)"
    )
    yield Cause("FieldValueInvalid", f'Invalid value: "{_name_of(value)}": {path} in body {many}', path)
    for one in found if not fitting else ():
        yield from one


# Rules in CEL


@lru_cache(256)
def _compiled(rule: str) -> Any:
    import cel

    return cel.compile(rule)


def rule_problems(value: Json, schema: Document, old: Json, path: str = "") -> Iterator[Cause]:
    """What x-kubernetes-validations refuse; transition rules only where there is an old value."""
    for rule in items_at(schema, "x-kubernetes-validations"):
        if isinstance(rule, dict):
            cause = _judge_rule(value, rule, old, path)
            if cause is not None:
                yield cause
    if isinstance(value, dict):
        properties = mapping_at(schema, "properties")
        before: Mapping[str, Json] = old if isinstance(old, dict) else {}
        for key, inner in value.items():
            if key in properties:
                here = f"{path}.{key}" if path else key
                yield from rule_problems(inner, mapping_at(properties, key), before.get(key), here)
    elif isinstance(value, list):
        items = mapping_at(schema, "items")
        for index, item in enumerate(value):
            yield from rule_problems(item, items, None, f"{path}[{index}]")


def _judge_rule(value: Json, rule: Document, old: Json, path: str) -> Cause | None:
    text = text_at(rule, "rule")
    if "oldSelf" in text and old is None:
        return None
    try:
        verdict = cast("object", _compiled(text).execute({"self": value, "oldSelf": old}))
    except Exception as problem:  # a rule that cannot be evaluated fails, whatever its library raises
        message = f"Invalid value: {_name_of(value)}: rule evaluation error: {problem}"
        return Cause("FieldValueInvalid", message, path)
    if verdict is True:
        return None
    said = text_at(rule, "message") or f"failed rule: {text}"
    reason = text_at(rule, "reason") or "FieldValueInvalid"
    lead = {"FieldValueForbidden": "Forbidden", "FieldValueRequired": "Required value"}.get(reason, "Invalid value")
    return Cause(reason, f"{lead}: {said}", path + text_at(rule, "fieldPath"))
