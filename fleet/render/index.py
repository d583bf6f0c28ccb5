"""From paths that changed to the requests they touch: a reverse index over closures."""

from __future__ import annotations

from fleet.ports.render import RenderRequest
from fleet.render.closure import Closure

_NONE: frozenset[RenderRequest] = frozenset()


class ReverseIndex:
    """Costs one look-up per changed path and its parents, however many requests there are."""

    def __init__(self) -> None:
        self._by_path: dict[str, set[RenderRequest]] = {}
        self._paths: dict[RenderRequest, frozenset[str]] = {}
        self._everything: set[RenderRequest] = set()  # closures that hold the whole commit

    def put(self, request: RenderRequest, closure: Closure) -> None:
        """Replace what is known of a request; a closure that ended in an error counts as far as it was read."""
        self.drop(request)
        if closure.widened:
            self._everything.add(request)
        paths = frozenset((*closure.files, *closure.links, *closure.absent))
        self._paths[request] = paths
        for path in paths:
            self._by_path.setdefault(path, set()).add(request)

    def drop(self, request: RenderRequest) -> None:
        """Forget a request."""
        self._everything.discard(request)
        for path in self._paths.pop(request, frozenset()):
            holders = self._by_path[path]
            holders.discard(request)
            if not holders:
                del self._by_path[path]

    def affected(self, changed: frozenset[str]) -> frozenset[RenderRequest]:
        """Requests that hold or probed one of these paths, or a directory above one (a name that was absent)."""
        if not changed:
            return frozenset()
        found = set(self._everything)
        for path in changed:
            while path:
                found |= self._by_path.get(path, _NONE)
                path = path.rpartition("/")[0]
        return frozenset(found)
