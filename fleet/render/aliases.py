"""Files that grow by aliases, found before a build reads them: a few lines can stand for more than any memory holds.

What an alias stands for is counted each time it is used, and nothing is expanded for that (R28).
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent, CSafeLoader, ScalarEvent

from fleet.errors import DocumentInvalid

GROWTH_LIMIT = 100_000  # values of one file that are there by aliases; a long text counts as several
_BYTES_OF_ONE = 100


def refuse_growth(files: Mapping[str, bytes]) -> None:
    """Raise DocumentInvalid for the first file, by path, that grows beyond the limit; what is no YAML passes."""
    for path, raw in sorted(files.items()):
        line = grown_at(raw)
        if line:
            raise DocumentInvalid(
                "a file breaks the limits on YAML",
                where=f"{path}:{line}",
                why=f"aliases make it more than {GROWTH_LIMIT} values larger than it is written",
                next_step="write it plainly, or use a component or a generator",
            )


def grown_at(raw: bytes, limit: int = GROWTH_LIMIT) -> int:
    """The line of the alias with which a YAML stream passes the limit; 0 where none does, or it is no YAML."""
    if b"&" not in raw or b"*" not in raw:
        return 0
    grown = 0
    sizes: dict[str, int] = {}  # of what has an anchor, aliases counted in full
    begun: list[tuple[str, int]] = [("", 0)]  # anchors of the collections that are open, and what is in each so far
    try:
        for event in yaml.parse(raw, Loader=CSafeLoader):
            if isinstance(event, CollectionEndEvent):
                anchor, size = begun.pop()
                _count(sizes, begun, anchor, size + 1)
            elif isinstance(event, AliasEvent):
                size = sizes.get(event.anchor or "", 0)
                is_inside_itself = any(anchor == event.anchor for anchor, _ in begun)
                grown += size
                if grown > limit or is_inside_itself:
                    return event.start_mark.line + 1 if event.start_mark else 1
                _count(sizes, begun, "", size)
            elif isinstance(event, CollectionStartEvent):
                begun.append((event.anchor or "", 0))
            elif isinstance(event, ScalarEvent):
                _count(sizes, begun, event.anchor or "", 1 + len(event.value) // _BYTES_OF_ONE)
    except (yaml.YAMLError, UnicodeDecodeError):
        return 0  # whoever reads it says why
    return 0


def _count(sizes: dict[str, int], begun: list[tuple[str, int]], anchor: str, size: int) -> None:
    if anchor:
        sizes[anchor] = size
    outer, so_far = begun[-1]
    begun[-1] = (outer, so_far + size)
