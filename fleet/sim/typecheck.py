"""Whether a value fits its type, in the words of structured-merge-diff: what an apply refuses before it merges."""

from __future__ import annotations

from fleet.core.documents import Document, Json
from fleet.sim.fieldset import item_element, spell
from fleet.sim.schema import ANY, Shape, Type


class TypedError(Exception):
    """A value that does not fit its type, in the words of structured-merge-diff."""


def check(value: Document, kind: Type, *, allow_doubles: bool = False) -> None:
    """Raise TypedError with the first thing that does not fit, as an apply reports it."""
    problems = _problems(value, kind, "", allow_doubles)
    if problems:
        raise TypedError(problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in problems))


_NUMERIC = {"int32", "int64", "float64"}
_UNTYPED = {"quantity", "intstr"}


def _problems(value: Json, kind: Type, path: str, allow_doubles: bool) -> list[str]:
    if value is None or kind.shape is Shape.ANY:
        return []
    match kind.shape:
        case Shape.SCALAR:
            wrong = _scalar_problem(value, kind.scalar)
            return [f"{path}: {wrong}" if path else wrong] if wrong else []
        case Shape.LIST:
            if not isinstance(value, list):
                return [f"{path}: expected list, got &{{{_go_plain(value)}}}"]
            return _item_problems(value, kind, path, allow_doubles)
        case _:
            if not isinstance(value, dict):
                return [f"{path}: expected map, got &{{{_go_plain(value)}}}"]
    out: list[str] = []
    for key, inner in value.items():
        one = kind.fields.get(key)
        element = one.type if one is not None else kind.element
        if element is None:
            out.append(f"{path}.{key}: field not declared in schema")
            break
        out += _problems(inner, element, f"{path}.{key}", allow_doubles)
    return out


def _item_problems(value: list[Json], kind: Type, path: str, allow_doubles: bool) -> list[str]:
    out: list[str] = []
    seen: set[str] = set()
    element = kind.element or ANY
    for index, item in enumerate(value):
        if kind.atomic:
            out += _problems(item, element, f"{path}[{index}]", allow_doubles)
            continue
        key = item_element(item, kind)
        if key is None:
            return [*out, f"{path}: element {index}: {_keyless(item, kind)}"]
        if key in seen and not allow_doubles:
            out.append(f"{path}: duplicate entries for key {spell(key)}")
        seen.add(key)
        out += _problems(item, element, path + spell(key), allow_doubles)
    return out


def _keyless(item: Json, kind: Type) -> str:
    if kind.keys is None:
        if isinstance(item, dict):
            return "associative list without keys has an element that's a map type"
        if isinstance(item, list):
            return "not supported: associative list with lists as elements"
        return "associative list without keys has an element that's an explicit null"
    if item is None:
        return "associative list with keys may not have a null element"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    names = " ".join(f'"{key}"' for key in kind.keys)
    return (
        f"associative list with keys has an element that omits all key fields [{names}] "
        "(and doesn't have default values for any key fields)"
    )


def _scalar_problem(value: Json, scalar: str) -> str:
    if isinstance(value, dict | list):
        return "expected any scalar, got " + _go(value) if scalar in _UNTYPED else _expected(value, scalar)
    if scalar in _UNTYPED:
        return ""
    fits = (
        isinstance(value, bool)
        if scalar == "bool"
        else isinstance(value, int | float) and not isinstance(value, bool)
        if scalar in _NUMERIC
        else isinstance(value, str)
    )
    return "" if fits else _expected(value, scalar)


def _expected(value: Json, scalar: str) -> str:
    if scalar in _NUMERIC:
        names: dict[type, str] = {dict: "map[string]interface {}", list: "[]interface {}", bool: "bool", str: "string"}
        name = names.get(type(value), "nil")
        return f"expected numeric (int or float), got {name}"
    if scalar == "bool":
        return f"expected boolean, got {_go(value)}"
    return f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"


def _go_plain(value: Json) -> str:
    return value if isinstance(value, str) else _go(value)


def _go(value: Json) -> str:
    """A value as Go's %v prints it inside structured-merge-diff (JSON for strings and numbers)."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
