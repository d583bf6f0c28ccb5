"""What the schema refuses, in words and with its place: from pydantic's errors to problems."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fleet.core.nearest import hint, nearest
from fleet.core.problems import Origin, Problem, Severity
from fleet.inventory.schema import STEP_INVALID, TARGET_INVALID
from fleet.inventory.yamlfile import Loc, Spot

MOST_PROBLEMS = 20  # of one document
_RESERVED = {"source", "helm"}
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}
_FOUND = {
    "dict": "a mapping",
    "list": "a list",
    "str": "text",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
}
_REASONS = {TARGET_INVALID: "TargetInvalid", STEP_INVALID: "StepInvalid"}
_TOO_SMALL = {"greater_than_equal", "less_than_equal", "greater_than", "less_than"}
_EFFECT = "what it defines stays as it was; nothing is deleted"


def problems_of(
    error: ValidationError, *, subject: str, model: type[BaseModel], path: str, spot: Spot, effect: str = _EFFECT
) -> tuple[Problem, ...]:
    """One problem per complaint, in the order of the file. `subject` opens each, as in `Cluster eu-1`."""
    # A file can break in as many places as it has lines; the first ones are enough to go on with.
    details = error.errors(include_url=False)[:MOST_PROBLEMS]
    mistyped = {
        (*_loc(detail)[:-1], nearest(str(_loc(detail)[-1]), fields_at(model, _loc(detail)[:-1])))
        for detail in details
        if detail["type"] == "extra_forbidden"
    }
    found = [
        _problem_of(detail, subject=subject, model=model, path=path, spot=spot, effect=effect)
        for detail in details
        # A field that is missing because it is mistyped is told once.
        if detail["type"] != "missing" or _loc(detail) not in mistyped
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: (problem.origin.line, problem.column)))


def _problem_of(
    detail: ErrorDetails, *, subject: str, model: type[BaseModel], path: str, spot: Spot, effect: str
) -> Problem:
    loc = _loc(detail)
    on_key = detail["type"] == "extra_forbidden" or "[key]" in detail["loc"]
    here = spot.at(loc)
    what, label, length = _words(detail, loc, model)
    at_key = on_key and here.key_line > 0
    if not on_key and here.key_line and detail["type"] != "missing" and not isinstance(detail["input"], str):
        at_key, length = True, len(str(loc[-1])) if loc else 0
    elif not at_key and here.length and length:
        length = here.length
    return Problem(
        severity=Severity.ERROR,
        reason=_REASONS.get(detail["type"], "FieldInvalid"),
        what=f"{subject}: {what}",
        origin=Origin(path, here.key_line if at_key else here.line),
        effect=effect,
        next_step=f"correct line {here.key_line if at_key else here.line}, then: fleet validate",
        column=here.key_column if at_key else here.column,
        length=length,
        label=label,
    )


def _loc(detail: ErrorDetails) -> Loc:
    """The place in the file: pydantic's own steps (tags of unions, `[key]`) taken out."""
    return tuple(step for step in detail["loc"] if not (isinstance(step, str) and step[:1] in "<["))


def _words(detail: ErrorDetails, loc: Loc, model: type[BaseModel]) -> tuple[str, str, int]:
    """What is wrong, what is said beside the underline, and how long that is."""
    name = _shown(loc)
    last = str(loc[-1]) if loc else ""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    length = len(value) if isinstance(value, str) and "\n" not in value else len(last)
    if kind == "extra_forbidden":
        if last in _RESERVED:
            return f"{name} is reserved and not built yet", "not built yet", len(last)
        fields = fields_at(model, loc[:-1])
        return f"unknown field {name}", hint(last, fields, otherwise=f"known here: {', '.join(fields)}"), len(last)
    if kind == "missing":
        return f"{name} is missing", f"{last} is missing", 0
    if kind == "literal_error":
        allowed = str(context.get("expected", "")).replace("'", "")
        close = hint(str(value), allowed.replace(" or ", ", ").split(", "), otherwise=f"allowed: {allowed}")
        return f"{name} is {_quoted(value)}, allowed: {allowed}", close, length
    if kind == "value_error":
        why = str(context.get("error", detail["msg"]))
        subject = f'{name} "{last}"' if "[key]" in detail["loc"] else name
        return f"{subject}: {why}", why, len(last) if "[key]" in detail["loc"] else length
    if kind == "string_pattern_mismatch":
        example = "25%" if "%" in str(context.get("pattern")) else "10m"
        example = "2026-11-30T18:00:00Z" if "T" in str(context.get("pattern")) else example
        return f"{name} is {_quoted(value)}, not in the form of {example}", f"write it as {example}", length
    if kind in _TYPES:
        found = _FOUND.get(type(value).__name__, "nothing")
        return f"{name} must be {_TYPES[kind]}, not {found}", f"must be {_TYPES[kind]}", length
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    message = message.removeprefix("input ").removeprefix("value ")
    if kind in _TOO_SMALL:
        return f"{name} is {_quoted(value)}, it {message}", message, length
    return f"{name}: {message}", message, length


def _quoted(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _shown(loc: Loc) -> str:
    """A place as people write it: spec.clusters[0].path."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the document"


def fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The fields that may stand in the mapping at this place."""
    here: list[Any] = [model]
    for step in loc:
        here = [inner for kind in here for inner in _inside(kind, step)]
    return list(dict.fromkeys(name for kind in here for name in _field_names(kind)))


def _field_names(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [info.alias or name for name, info in kind.model_fields.items()]
    return []


def _inside(kind: Any, step: str | int) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [
            flat
            for name, info in kind.model_fields.items()
            if (info.alias or name) == step
            for flat in _flat(info.annotation)
        ]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (list, dict) and arguments:
        return _flat(arguments[-1])
    return []


def _flat(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, wrappers taken off."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _flat(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [flat for part in get_args(annotation) for flat in _flat(part)]
    return [annotation]
