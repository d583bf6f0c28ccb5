"""Read a YAML file of the inventory with the place of each value, safely and within limits (R28).

Values are JSON values. Plain scalars are read as kustomize reads them where both know them (booleans as in YAML 1.1,
so that `yes` in a label is noticed); dates, `=` and numbers with colons stay text. Duplicate keys, merge keys,
keys that are no text, undefined or growing aliases, tags and numbers that JSON lacks are refused with their line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias, cast

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from fleet.core.documents import Json
from fleet.values import dataclass, field

Loc: TypeAlias = "tuple[str | int, ...]"

FILE_LIMIT_BYTES = 1 << 20
NODE_LIMIT = 100_000  # of one file, values reached through aliases counted each time
DEPTH_LIMIT = 64
DOCUMENT_LIMIT = 2_000

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*|0[0-7_]+|0o_*[0-7][0-7_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*|0b_*[01][01_]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NO_JSON_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")
_WORDS: dict[str, None | bool] = {
    **dict.fromkeys(_NULLS, None),
    **{spelled: True for word in _TRUE for spelled in (word, word.title(), word.upper())},
    **{spelled: False for word in _FALSE for spelled in (word, word.title(), word.upper())},
}
_INT_BASES = {"0x": 16, "0o": 8, "0b": 2}
_TAGS = {
    "tag:yaml.org,2002:str",
    "tag:yaml.org,2002:int",
    "tag:yaml.org,2002:float",
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:null",
    "tag:yaml.org,2002:map",
    "tag:yaml.org,2002:seq",
    "!",
}


class YamlRefused(Exception):
    """This file is no YAML, or breaks a limit. Line and column from 1; line 0: the file as a whole."""

    def __init__(self, what: str, line: int, column: int = 0, *, next_step: str = "") -> None:
        super().__init__(what)
        self.what, self.line, self.column = what, line, column
        self.next_step = next_step or f"correct line {line}"


@dataclass(slots=True)
class Spot:
    """Where a value starts (line and column from 1), where its key does, and the same for what it holds."""

    line: int
    column: int
    key_line: int = 0
    key_column: int = 0
    length: int = 0  # of a scalar as it is written, on one line
    keys: dict[str, Spot] = field(default_factory=dict[str, "Spot"])
    items: list[Spot] = field(default_factory=list["Spot"])

    def at(self, loc: Sequence[str | int]) -> Spot:
        """The spot of a value, or of the nearest one around it that exists."""
        here = self
        for step in loc:
            if isinstance(step, int):
                inner = here.items[step] if step < len(here.items) else None
            else:
                inner = here.keys.get(step)
            if inner is None:
                return here
            here = inner
        return here


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file. `value` is None for an empty one."""

    value: Json
    spot: Spot


def read_documents(raw: bytes) -> Iterator[YamlDocument]:
    """The documents of a file in order. Raises YamlRefused where it stops being readable: those before it are good."""
    if len(raw) > FILE_LIMIT_BYTES:
        raise YamlRefused(f"the file has {len(raw)} bytes, the limit is {FILE_LIMIT_BYTES}", 1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlRefused("not UTF-8 text", raw[: error.start].count(b"\n") + 1) from error
    try:
        # A class that PyYAML built on libyaml always has in the wheels we lock; ten times faster than the other.
        reader = _Reader(yaml.CSafeLoader(text))
        yield from reader.documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "not readable"
        raise YamlRefused(what, mark.line + 1 if mark else 1, mark.column + 1 if mark else 0) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise YamlRefused("a character that YAML does not allow", line) from error


@dataclass(slots=True)
class _Reader:
    """Builds values and spots from libyaml's events, so that limits hold before anything is built."""

    loader: yaml.CSafeLoader
    nodes: int = 0
    anchors: dict[str, tuple[Json, Spot, int]] = field(default_factory=dict[str, "tuple[Json, Spot, int]"])

    def documents(self) -> Iterator[YamlDocument]:
        count = 0
        while True:
            event = self._next()
            if isinstance(event, StreamEndEvent):
                return
            if isinstance(event, DocumentStartEvent):
                count += 1
                if count > DOCUMENT_LIMIT:
                    raise YamlRefused(f"more than {DOCUMENT_LIMIT} documents", _place(event)[0])
                self.anchors.clear()
                value, spot = self._value(self._next(), 0)
                end = self._next()
                if not isinstance(end, DocumentEndEvent):
                    raise YamlRefused("more than one value in a document", _place(end)[0])
                yield YamlDocument(value, spot)

    def _next(self) -> Event:
        # After the end of the stream there is none; documents() stops before that.
        return cast("Event", self.loader.get_event())

    def _value(self, event: Event, depth: int) -> tuple[Json, Spot]:
        spot = Spot(*_place(event))
        self.nodes += 1
        if depth > DEPTH_LIMIT:
            raise YamlRefused(f"nested deeper than {DEPTH_LIMIT} levels", spot.line, spot.column)
        self._check_size(spot)
        if isinstance(event, AliasEvent):
            return self._alias(event, spot)
        before = self.nodes
        if isinstance(event, ScalarEvent):
            value = _scalar(event, spot)
            end = cast("yaml.Mark", event.end_mark)
            spot.length = end.column + 1 - spot.column if end.line + 1 == spot.line else 0
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(event, spot, depth)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(event, spot, depth)
        else:
            raise YamlRefused("a value is missing", spot.line, spot.column)
        anchor: str | None = event.anchor
        if anchor:
            self.anchors[anchor] = (value, spot, self.nodes - before + 1)
        return value, spot

    def _alias(self, event: AliasEvent, spot: Spot) -> tuple[Json, Spot]:
        known = self.anchors.get(event.anchor or "")
        if known is None:
            raise YamlRefused(f"alias *{event.anchor} has no anchor before it", spot.line, spot.column)
        value, inner, size = known
        self.nodes += size
        self._check_size(spot)
        return value, Spot(spot.line, spot.column, keys=inner.keys, items=inner.items)

    def _check_size(self, spot: Spot) -> None:
        if self.nodes > NODE_LIMIT:
            raise YamlRefused(f"more than {NODE_LIMIT} values, aliases counted in full", spot.line, spot.column)

    def _mapping(self, start: MappingStartEvent, spot: Spot, depth: int) -> Json:
        _check_tag(start.tag, spot)
        result: dict[str, Json] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            line, column = _place(event)
            key = self._key(event, line, column)
            if key in result:
                first = spot.keys[key]
                raise YamlRefused(f"key {key} is here twice, first in line {first.key_line}", line, column)
            value, inner = self._value(self._next(), depth + 1)
            inner.key_line, inner.key_column = line, column
            result[key], spot.keys[key] = value, inner
        return result

    def _key(self, event: Event, line: int, column: int) -> str:
        if isinstance(event, AliasEvent):
            raise YamlRefused("an alias as a key; write the key out", line, column)
        if not isinstance(event, ScalarEvent):
            raise YamlRefused("a list or mapping as a key", line, column)
        text: str = event.value
        if event.implicit[0] and text == "<<":
            raise YamlRefused("merge keys (<<) are not read here; write the fields out", line, column)
        if not isinstance(_scalar(event, Spot(line, column)), str):
            raise YamlRefused(f'key {text or "~"} is no text; quote it: "{text}"', line, column)
        return text

    def _sequence(self, start: SequenceStartEvent, spot: Spot, depth: int) -> Json:
        _check_tag(start.tag, spot)
        result: list[Json] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            value, inner = self._value(event, depth + 1)
            result.append(value)
            spot.items.append(inner)
        return result


def _place(event: Event) -> tuple[int, int]:
    mark = cast("yaml.Mark", event.start_mark)  # libyaml gives every event its marks
    return mark.line + 1, mark.column + 1


def _check_tag(tag: str | None, spot: Spot) -> None:
    if tag is not None and tag not in _TAGS:
        raise YamlRefused(f"tag {tag} is not read here", spot.line, spot.column)


def _scalar(event: ScalarEvent, spot: Spot) -> Json:
    text: str = event.value
    _check_tag(event.tag, spot)
    if event.tag == "tag:yaml.org,2002:str" or not (event.implicit[0] or event.tag):
        return text
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first not in "0123456789+-.":
        return text
    if _INT.match(text):
        return _integer(text, spot)
    if _FLOAT.match(text) and math.isfinite(number := float(text)):
        return number
    if _FLOAT.match(text) or _NO_JSON_FLOAT.match(text):
        raise YamlRefused(f"{text} is a number that JSON lacks; quote it if it is text", spot.line, spot.column)
    return text


def _integer(text: str, spot: Spot) -> int:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    base = _INT_BASES.get(digits[:2], 8 if len(digits) > 1 and digits[0] == "0" else 10)
    if len(digits) > 70:
        raise YamlRefused("a number beyond 64 bits", spot.line, spot.column)
    value = sign * int(digits, base)
    if not -(1 << 63) <= value < 1 << 64:
        raise YamlRefused("a number beyond 64 bits", spot.line, spot.column)
    return value
