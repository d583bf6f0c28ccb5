"""JSON documents: typed reads along a path, canonical bytes, digests.

A document is what JSON allows and nothing else. Canonical bytes are orjson with sorted keys: equal documents have
equal bytes, so that digests of them may be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import orjson

from fleet.core.ids import Digest

if TYPE_CHECKING:
    Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
else:
    Json = Any  # where reports cross a process, pydantic reads what a JSON parser gave: there is nothing to check
Document: TypeAlias = "dict[str, Json]"
MOST_LEVELS = 254  # of maps and lists in one another that `canonical` can spell; parsing takes 1,024


def parse(raw: bytes) -> Json:
    """Parse JSON bytes; raises ValueError (orjson.JSONDecodeError) on anything else."""
    return cast("Json", orjson.loads(raw))


def parse_document(raw: bytes) -> Document:
    """Parse JSON bytes that must hold an object; raises ValueError otherwise."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


def canonical(value: Json) -> bytes:
    """The one spelling of a value of at most `MOST_LEVELS`: sorted keys, no spaces, UTF-8. TypeError beyond them."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def is_deeper(value: Json, levels: int) -> bool:
    """Whether more than so many maps and lists stand in one another here; levels: at most `MOST_LEVELS`.

    What `canonical` refuses is told by asking it, because a walk through the values would take far longer.
    """
    for _ in range(MOST_LEVELS - levels):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def digest_of(value: Json) -> Digest:
    """SHA-256 (hex) of the canonical bytes."""
    return digest_of_bytes(canonical(value))


def digest_of_bytes(raw: bytes) -> Digest:
    """SHA-256 (hex) of these bytes."""
    return Digest(hashlib.sha256(raw).hexdigest())


def at(value: Json | Mapping[str, Json], *path: str) -> Json:
    """The value under a path of keys; None where any step is absent or no mapping."""
    here: object = value
    for key in path:
        if not isinstance(here, (dict, Mapping)):  # dict first: asking an abstract class is dear
            return None
        here = cast("Mapping[str, Json]", here).get(key)
    return cast("Json", here)


def text_at(value: Json | Mapping[str, Json], *path: str) -> str:
    """The string under a path; "" where there is none."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def number_at(value: Json | Mapping[str, Json], *path: str, default: int = 0) -> int:
    """The integer under a path; the default where there is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def mapping_at(value: Json | Mapping[str, Json], *path: str) -> Document:
    """The mapping under a path; an empty one where there is none. Not a copy: do not change it."""
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def items_at(value: Json | Mapping[str, Json], *path: str) -> list[Json]:
    """The list under a path; an empty one where there is none. Not a copy: do not change it."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def documents_at(value: Json | Mapping[str, Json], *path: str) -> list[Document]:
    """The mappings of the list under a path; other items are left out."""
    return [item for item in items_at(value, *path) if isinstance(item, dict)]
