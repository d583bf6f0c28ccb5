"""How results are printed: tables with the same columns when piped, JSON, YAML, names, JSONPath.

Colour only adds to what the words say, and only on a terminal without NO_COLOR. Foreign text loses its control
characters before it reaches a terminal (R40).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TextIO, cast

from fleet.errors import FleetError, UsageInvalid

EXIT_FAILURE, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_DENIED, EXIT_TIMEOUT, EXIT_DEGRADED = 1, 2, 3, 4, 5, 6
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile(r"[\t\n\r]+")
WIDTH = 110

Item = dict[str, Any]
Column = tuple[str, Callable[[Item], str]]


def clean(text: str) -> str:
    """Text from elsewhere without what would steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def clean_line(text: str) -> str:
    """The same on one line: foreign text may not make rows of its own."""
    return clean(_BREAKS.sub(" ", text))


def say(text: str, out: TextIO | None = None) -> None:
    """Write one line, cleaned."""
    (sys.stdout if out is None else out).write(clean_line(text) + "\n")


def when(text: object) -> str:
    """An RFC 3339 time as people here read it: local, with the zone; "-" for none."""
    try:
        return datetime.fromisoformat(str(text)).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    except ValueError:
        return "-"


def _escaped(text: str) -> str:
    """JSON text whose control characters are escapes: it stays the same value, and steers no terminal."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def age(seconds: float | None) -> str:
    """As kubectl writes ages: 4s, 22m, 3h, 12d."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size or (unit != "d" and seconds >= size):
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def until(text: object) -> str:
    """How long until an RFC 3339 time, as `ends in 59d`; "" for none."""
    try:
        left = datetime.fromisoformat(str(text)).timestamp() - time.time()
    except ValueError:
        return ""
    return f"ends in {age(left)}" if left > 0 else f"ended {age(-left)} ago"


def table(rows: Sequence[Sequence[str]], header: Sequence[str], out: TextIO) -> None:
    """Columns two spaces apart; the last one is never padded, and never cut when piped."""
    texts = [list(header), *([clean_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    for row in texts:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        line = "  ".join([*cells, row[-1]]).rstrip()
        if out.isatty() and len(line) > WIDTH:
            line = line[: WIDTH - 1] + "…"
        out.write(line + "\n")


def show(document: Item, form: str, columns: Sequence[Column], out: TextIO, *, wide: Sequence[Column] = ()) -> None:
    """Print a list (`items`) or one object in the form that was asked for; raises UsageInvalid for another form."""
    items = cast("list[Item]", document.get("items", [document]))
    match form:
        case "table" | "wide":
            chosen = [*columns[:-1], *wide, columns[-1]] if form == "wide" else list(columns)
            table([[cell(item) for _, cell in chosen] for item in items], [name for name, _ in chosen], out)
        case "json":
            out.write(_escaped(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")
        case "yaml":
            import yaml

            steers = _CONTROL.search(json.dumps(document, ensure_ascii=False)) is not None
            out.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=not steers))
        case "name":
            out.writelines(f"{str(item.get('kind', '')).lower()}/{clean_line(name_of(item))}\n" for item in items)
        case _ if form.startswith("jsonpath="):
            out.write(clean(jsonpath(document, form.removeprefix("jsonpath="))) + "\n")
        case _:
            raise UsageInvalid(
                f"-o {form} is no output form", next_step="one of table, wide, json, yaml, name, jsonpath=EXPRESSION"
            )


def name_of(item: Item) -> str:
    """metadata.name."""
    return str(cast("Item", item.get("metadata", {})).get("name", "") or item.get("id", ""))


_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']+)'\]|\[(\d+|\*)\]")


def jsonpath(document: object, expression: str) -> str:
    """kubectl's JSONPath for paths: `{.items[*].metadata.name}`; values are joined by spaces."""
    path = expression.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    found: list[object] = [document]
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise UsageInvalid(
                f"jsonpath {expression!r} is not understood from {path[position:]!r} on",
                next_step="fields, ['fields'], [0] and [*] are; use -o json for more",
            )
        position = step.end()
        found = [value for item in found for value in _select(item, step[1] or step[2], step[3])]
    return " ".join(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in found)


def _select(item: object, key: str | None, index: str | None) -> list[object]:
    if key is not None:
        mapping = cast("Item", item) if isinstance(item, dict) else {}
        return [mapping[key]] if key in mapping else []
    values = cast("list[object]", item) if isinstance(item, list) else []
    if index == "*":
        return values
    number = int(index or 0)
    return [values[number]] if number < len(values) else []


def print_error(error: FleetError, stream: TextIO | None = None) -> None:
    """What, where, why, where it is explained, next: each on a line of its own."""
    out = stream or sys.stderr
    say(f"error[{error.reason}] {error.what}", out)
    docs = "" if error.is_group() else f"docs/errors/{error.reason}.md"
    for word, text in (("where", error.where), ("why", error.why), ("docs", docs), ("next", error.next_step)):
        if text:
            say(f"  {word:<6}{text}", out)
