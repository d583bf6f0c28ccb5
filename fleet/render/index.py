"""From paths that changed to the requests they touch: a reverse index over closures.

Requests that differ only in a cluster's own values share a closure, so that a fleet of many clusters costs no more
than its directories do. The first look-up goes through the closures, which costs less than their index: a command makes
no other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from fleet.core.fleet import Unit
from fleet.ports.render import RenderRequest
from fleet.render.inputs import Closure

Place: TypeAlias = tuple[str, tuple[str, ...]]  # path and components
_NO_PLACES: frozenset[Place] = frozenset()


def place_of(asked: RenderRequest | Unit) -> Place:
    """What of a request, or of the unit that it is for, decides its closure."""
    return asked.path, asked.components


class ReverseIndex:
    """The last closure of each place, and who asked for it. A look-up costs the changed paths and their parents."""

    def __init__(self) -> None:
        self._closures: dict[Place, Closure] = {}
        self._requests: dict[Place, set[RenderRequest]] = {}
        self._by_path: dict[str, set[Place]] = {}
        self._everything: set[Place] = set()  # closures that hold the whole commit
        self._loose: set[Place] = set()  # not in `_by_path` yet
        self._is_asked = False

    def closure(self, request: RenderRequest) -> Closure | None:
        """The last closure of this request's place."""
        return self._closures.get(place_of(request))

    def ask(self, request: RenderRequest) -> None:
        """Remember that this was asked for."""
        self._requests.setdefault(place_of(request), set()).add(request)

    def put(self, place: Place, closure: Closure) -> None:
        """Replace a closure; one that ended in an error counts as far as it was read."""
        self._unlink(place)
        self._closures[place] = closure
        if closure.widened:
            self._everything.add(place)
        self._loose.add(place)

    def forget(self, request: RenderRequest) -> None:
        """Forget a request, and its closure with the last one of a place."""
        place = place_of(request)
        left = self._requests.get(place, set())
        left.discard(request)
        if not left:
            self._requests.pop(place, None)
            self._unlink(place)

    def affected(self, changed: frozenset[str]) -> frozenset[RenderRequest]:
        """Requests that hold or probed one of these paths, or a directory above one (a name that was absent)."""
        return frozenset(request for place in self.places(changed) for request in self._requests.get(place, ()))

    def places(self, changed: frozenset[str]) -> set[Place]:
        """As `affected`, also where nobody asked for a place yet."""
        if not changed:
            return set()
        if self._is_asked:
            self._link()
        self._is_asked = True
        paths = {above for path in changed for above in _with_parents(path)}
        found = self._everything | {place for place in self._loose if _holds_any(self._closures[place], paths)}
        for path in paths:
            found |= self._by_path.get(path, _NO_PLACES)
        return found

    def _link(self) -> None:
        for place in self._loose:
            for path in _paths(self._closures[place]):
                self._by_path.setdefault(path, set()).add(place)
        self._loose.clear()

    def _unlink(self, place: Place) -> None:
        self._everything.discard(place)
        closure = self._closures.pop(place, None)
        if closure is None or place in self._loose:
            self._loose.discard(place)
            return
        for path in _paths(closure):
            holders = self._by_path[path]
            holders.discard(place)
            if not holders:
                del self._by_path[path]


def _paths(closure: Closure) -> set[str]:
    return {*closure.files, *closure.links, *closure.absent, *closure.listed}


def _holds_any(closure: Closure, paths: set[str]) -> bool:
    return not (
        closure.files.keys().isdisjoint(paths)
        and closure.links.keys().isdisjoint(paths)
        and closure.absent.isdisjoint(paths)
        and closure.listed.isdisjoint(paths)
    )


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
