"""Small builders for what validators say, so that each rule is one line."""

from __future__ import annotations

import re

import orjson

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim.names import label_causes, qualified_problems
from fleet.sim.statuses import Cause

Causes = list[Cause]
IMMUTABLE = "field is immutable"


def invalid(field: str, value: Json, why: str) -> Cause:
    """`Invalid value: VALUE: why`, the value as JSON."""
    shown = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {why}", field)


def required(field: str, why: str = "") -> Cause:
    """`Required value`."""
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


def forbidden(field: str, why: str) -> Cause:
    """`Forbidden: why`."""
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def duplicate(field: str, value: Json) -> Cause:
    """`Duplicate value: VALUE`."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {orjson.dumps(value).decode()}", field)


def not_supported(field: str, value: Json, supported: list[str]) -> Cause:
    """`Unsupported value: VALUE: supported values: …`."""
    listed = ", ".join(f'"{one}"' for one in supported)
    shown = orjson.dumps(value).decode()
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown}: supported values: {listed}", field)


def one_of(document: Document, key: str, field: str, supported: list[str]) -> Causes:
    """A field that is set to something else than these."""
    value = document.get(key)
    return [not_supported(f"{field}.{key}", value, supported)] if value and value not in supported else []


def not_negative(document: Document, key: str, field: str) -> Causes:
    """A number below zero."""
    value = document.get(key)
    negative = isinstance(value, int) and value < 0
    return [invalid(f"{field}.{key}", value, "must be greater than or equal to 0")] if negative else []


_IANA = re.compile(r"[a-z0-9-]+\Z")


def port_number(value: Json, field: str) -> Causes:
    """A port outside 1-65535."""
    fits = isinstance(value, int) and 1 <= value <= 65535
    return [] if fits else [invalid(field, value, "must be between 1 and 65535, inclusive")]


def port_name(value: str, field: str) -> Causes:
    """A port's name (IANA service name)."""
    if len(value) > 15:
        return [invalid(field, value, "must be no more than 15 characters")]
    found: Causes = []
    if not _IANA.match(value):
        found.append(invalid(field, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"))
    if not re.search("[a-z]", value):
        found.append(invalid(field, value, "must contain at least one letter (a-z)"))
    return found


def port_or_name(value: Json, field: str) -> Causes:
    """A targetPort or probe port."""
    return port_name(value, field) if isinstance(value, str) else port_number(value, field)


_OPERATORS = {"In", "NotIn", "Exists", "DoesNotExist"}


def selector_causes(selector: Document, field: str) -> Causes:
    """What is wrong with a LabelSelector."""
    found = list(label_causes(mapping_at(selector, "matchLabels"), f"{field}.matchLabels"))
    for index, one in enumerate(documents_at(selector, "matchExpressions")):
        here, operator = f"{field}.matchExpressions[{index}]", text_at(one, "operator")
        if operator not in _OPERATORS:
            found.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        elif operator in {"In", "NotIn"} and not items_at(one, "values"):
            found.append(required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        found += [invalid(f"{here}.key", text_at(one, "key"), why) for why in qualified_problems(text_at(one, "key"))]
    return found
