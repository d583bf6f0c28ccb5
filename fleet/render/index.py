"""From paths that changed to the requests they touch: a reverse index over closures.

Requests that differ only in a cluster's own values share a closure, so that a fleet of many clusters costs no more
than its directories do.
"""

from __future__ import annotations

from typing import TypeAlias

from fleet.ports.render import RenderRequest
from fleet.render.inputs import Closure

Place: TypeAlias = tuple[str, tuple[str, ...]]  # path and components
_NO_PLACES: frozenset[Place] = frozenset()


def place_of(request: RenderRequest) -> Place:
    """What of a request decides its closure."""
    return request.path, request.components


class ReverseIndex:
    """The last closure of each place, and who asked for it. A look-up costs the changed paths and their parents."""

    def __init__(self) -> None:
        self._closures: dict[Place, Closure] = {}
        self._requests: dict[Place, set[RenderRequest]] = {}
        self._by_path: dict[str, set[Place]] = {}
        self._everything: set[Place] = set()  # closures that hold the whole commit

    def closure(self, request: RenderRequest) -> Closure | None:
        """The last closure of this request's place."""
        return self._closures.get(place_of(request))

    def ask(self, request: RenderRequest) -> None:
        """Remember that this was asked for."""
        self._requests.setdefault(place_of(request), set()).add(request)

    def put(self, request: RenderRequest, closure: Closure) -> None:
        """Replace a closure; one that ended in an error counts as far as it was read."""
        place = place_of(request)
        self._unlink(place)
        self._closures[place] = closure
        if closure.widened:
            self._everything.add(place)
        for path in _paths(closure):
            self._by_path.setdefault(path, set()).add(place)

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
        if not changed:
            return frozenset()
        places = set(self._everything)
        for path in changed:
            while path:
                places |= self._by_path.get(path, _NO_PLACES)
                path = path.rpartition("/")[0]
        return frozenset(request for place in places for request in self._requests.get(place, ()))

    def _unlink(self, place: Place) -> None:
        self._everything.discard(place)
        closure = self._closures.pop(place, None)
        if closure is None:
            return
        for path in _paths(closure):
            holders = self._by_path[path]
            holders.discard(place)
            if not holders:
                del self._by_path[path]


def _paths(closure: Closure) -> set[str]:
    return {*closure.files, *closure.links, *closure.absent, *closure.listed}
