"""Documents of a cluster, folded where they are nested so deeply that nothing here could compare or keep them (R18).

Whoever may edit one custom resource that keeps unknown fields chooses how deep it is: API servers store thousands of
levels. Parsing takes 1,024 of them, spelling 254, and a walk in Python has less than 1,000 calls in all. So each map
and list below level 200 of an object becomes a text that names its digest: what was equal stays equal, what differed
still differs, and the object is judged, healed and asked about as any other. Such a text is never sent back (R5).
"""

from __future__ import annotations

import re
from typing import TypeAlias

from fleet.core.documents import Document, Json, canonical, digest_of_bytes, is_deeper, parse, parse_document

_Holder: TypeAlias = "dict[str, Json] | list[Json]"
LEVELS = 200  # of one object
_FOLDED = "fleet: nested too deeply to read, sha256 "
_PARSED = 5 * LEVELS  # below this an object is folded before it is parsed
_MOST_BRACKETS = 1 << 20  # of a text that is folded before it is parsed: about a second of the hub's loop
# Up to the next bracket that is outside of strings.
_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"(?:[^"\\]++|\\.)*+"[^"{}\[\]]*+)*+[{}\[\]]', re.DOTALL)


def read_document(raw: bytes, outer: int = 0) -> Document:
    """The JSON object in these bytes, folded; raises ValueError where there is none.

    outer: maps and lists around each object: none for an object, 1 for an event, 2 for a list.
    """
    brackets = raw.count(b"{") + raw.count(b"[")
    try:
        document = parse_document(raw)
    except ValueError as error:
        if "depth limit" not in str(error) or brackets > _MOST_BRACKETS:
            raise
        document = parse_document(_folded_text(raw, outer + _PARSED))
    if brackets > LEVELS and is_deeper(document, outer + LEVELS):
        layer: list[_Holder] = [document]
        for _ in range(outer):
            layer = _below(layer)
        _fold(layer)
    return document


def holds_folded(body: bytes) -> bool:
    """Whether what was folded stands in this text."""
    return _FOLDED.encode() in body


def _fold(layer: list[_Holder]) -> None:
    """Fold in place what is nested too deeply in these maps and lists, each of which is an object's outermost.

    Layer by layer over all of them, so that it costs as much as they hold, whatever its shape.
    """
    for _ in range(LEVELS - 1):
        if not (layer := _below(layer)):
            return
    if not (below := _below(layer)):
        return
    _fold(below)
    for holder in layer:
        if isinstance(holder, dict):
            holder.update({name: _folded(inner) for name, inner in holder.items() if isinstance(inner, (dict, list))})
        else:
            holder[:] = [_folded(inner) for inner in holder]


def _below(layer: list[_Holder]) -> list[_Holder]:
    """All maps and lists that stand right in one of these."""
    return [
        inner
        for holder in layer
        for inner in (holder.values() if isinstance(holder, dict) else holder)
        if isinstance(inner, (dict, list))
    ]


def _folded(value: Json) -> Json:
    return _text_of(canonical(value)) if isinstance(value, (dict, list)) else value


def _folded_text(raw: bytes, levels: int) -> bytes:
    """The same JSON text with a text in place of each map and list below so many levels."""
    parts: list[bytes] = []
    level, begins, taken, after = 0, 0, 0, 0
    # One after the other from where the last one ended: a search would begin anew at each byte where none is left.
    while found := _BRACKET.match(raw, after):
        after = found.end()
        at = after - 1
        if raw[at] in b"{[":
            level += 1
            if level == levels + 1:
                begins = at
            continue
        if level == levels + 1:
            parts += (raw[taken:begins], b'"', _text_of(_spelled(raw[begins : at + 1])).encode(), b'"')
            taken = at + 1
        level -= 1
    return b"".join((*parts, raw[taken:]))


def _spelled(raw: bytes) -> bytes:
    """What the digest of a part is made from: as `_fold` has it, where that can be."""
    try:
        value = parse(raw)
    except ValueError:
        return raw
    if isinstance(value, (dict, list)):
        _fold([value])
    return canonical(value)


def _text_of(raw: bytes) -> str:
    return f"{_FOLDED}{digest_of_bytes(raw)}"
