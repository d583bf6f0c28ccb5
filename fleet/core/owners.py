"""Which of several field sets own a path: one walk over all of them, then one down the path for each question.

A cluster says who owns the fields of its objects, and may name tens of thousands; to look through all of them for each
field would hold up the hub for seconds (R18).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fleet.core.documents import Document
from fleet.core.fieldset import Entry, Path
from fleet.values import dataclass, field


@dataclass(slots=True)
class _Node:
    """One path element. Of entries with the same time the first counts as the newest."""

    below: dict[str, _Node] = field(default_factory=dict["str", "_Node"])
    through: Entry | None = None  # the newest that owns this, or something below it
    whole: Entry | None = None  # the newest that owns all below it too
    exists: bool = False  # somebody owns its existence (`.`)


class Owners:
    """The sets of these entries as one."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._root = _Node()
        for entry in entries:
            _add(self._root, entry, entry.fields)

    def newest(self, path: Path) -> Entry | None:
        """Who owns the path, an ancestor of it as a whole, or anything below it; the newest of them, None if nobody."""
        found: Entry | None = None
        last = self._root
        for node in self._down(path):
            if node is None:
                return found
            found = _newer(found, node.whole)
            last = node
        return _newer(found, last.through)

    def touch(self, path: Path) -> bool:
        """Whether any set owns the path, an ancestor of it as a whole, or anything below it."""
        return self.newest(path) is not None

    def hold(self, path: Path) -> bool:
        """Whether any set owns exactly this path, or an ancestor of it as a whole."""
        last = self._root
        for node in self._down(path):
            if node is None:
                return False
            if node.whole is not None:
                return True
            last = node
        return last.exists

    def parts(self, path: Path) -> Collection[str]:
        """What any set owns right below the path by itself; empty where it is owned as a whole, or by nobody."""
        *_, last = self._down(path)
        return last.below.keys() if last is not None else ()

    def _down(self, path: Path) -> Iterator[_Node | None]:
        """The root and each node of the path; None where no set goes on, and then no more."""
        here: _Node | None = self._root
        yield here
        for element in path:
            here = here.below.get(element)
            yield here
            if here is None:
                return


def _add(node: _Node, entry: Entry, fields: Document) -> None:
    node.through = _newer(node.through, entry)
    for element, below in fields.items():
        if element == ".":
            node.exists = True
        elif isinstance(below, dict):
            child = node.below.setdefault(element, _Node())
            _add(child, entry, below)
            if not below:
                child.whole = _newer(child.whole, entry)


def _newer(one: Entry | None, other: Entry | None) -> Entry | None:
    if one is None or other is None:
        return one or other
    return other if other.time > one.time else one
