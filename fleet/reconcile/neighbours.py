"""The parents on one cluster as they were read last, and whom they stop (R4, R23). What they say, `core.neighbours`
judges; who reads them, and when, says `reconcile.parent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.core.documents import Document
from fleet.core.ids import ClusterName, Identity, UnitName
from fleet.core.neighbours import (
    ParentSeen,
    Whose,
    is_owed,
    judge_neighbour,
    judge_parent,
    neighbour_error,
    parent_error,
)
from fleet.core.parent import is_parent
from fleet.core.record import parent_name
from fleet.core.status import Blocker, Standing
from fleet.errors import OwnedByOther


class Neighbours:
    """Of one connection. Nothing is written over it before the first complete list was taken in.

    changed: called when what it says of the cluster or of a unit is not what it said before, and when a list shows that
    a parent of ours has to be written again.
    """

    def __init__(
        self, cluster: ClusterName, installation: str, identity: Identity, changed: Callable[[], None]
    ) -> None:
        self._cluster, self._installation, self._identity = cluster, installation, identity
        self._changed = changed
        self._seen: dict[str, ParentSeen] = {}
        self._looked: dict[str, float] = {}  # loop time of the last look at a parent by its name
        self.listed_at = float("-inf")  # loop time of the last complete list
        self._foreign: frozenset[str] = frozenset()
        self._stops_all = False
        self.error: OwnedByOther | None = None  # of the cluster: another installation is there

    @property
    def is_newcomer(self) -> bool:
        """Whether no parent of ours was seen: others may have been here first."""
        return all(one.whose is not Whose.OURS for one in self._seen.values())

    @property
    def is_troubled(self) -> bool:
        """Whether anything of another installation is there: it is looked at again soon."""
        return self.error is not None or bool(self._foreign)

    def stop(self, unit: UnitName) -> OwnedByOther | None:
        """Why nothing of this unit may be written or deleted; `error` itself where it is the whole cluster."""
        if self._stops_all:
            return self.error
        if not self._foreign:
            return None
        name = parent_name(unit.overlay)
        return parent_error(unit, self._seen[name]) if name in self._foreign else None

    def blocker(self, unit: UnitName, since: float) -> Blocker | None:
        """The same as a link of the chain that says why a unit waits. since: wall clock since when it does."""
        stop = self.stop(unit)
        if stop is None:
            return None
        scope = stop.where if stop is self.error else str(unit)
        return Blocker(Standing.HELD, scope, stop.brief, since, "", stop.next_step)

    def seen(self, name: str) -> ParentSeen | None:
        """The parent of this name; None where none was there."""
        return self._seen.get(name)

    def lacks(self, name: str) -> bool:
        """Whether no parent of this name was there at the last look; never before the first complete list."""
        return name not in self._seen and self.listed_at > float("-inf")

    def looked_at(self, name: str) -> float:
        """Loop time of the last look at a parent, by its name or by a list."""
        return max(self.listed_at, self._looked.get(name, self.listed_at))

    def take_all(self, documents: Iterable[Document], at: float) -> None:
        """A complete list of what carries the labels of a parent."""
        found = (judge_parent(one, self._installation, self._identity) for one in documents if is_parent(one))
        before, self._seen, self.listed_at = self._seen, {one.name: one for one in found}, at
        self._looked.clear()
        self._judge(is_owed=is_owed(before, self._seen))

    def take(self, name: str, document: Document | None, at: float) -> None:
        """The parent of this name as it was read, or answered; None: it is not there."""
        self._looked[name] = at
        if document is None:
            self._seen.pop(name, None)
        else:
            self._seen[name] = judge_parent(document, self._installation, self._identity)
        self._judge()

    def _judge(self, *, is_owed: bool = False) -> None:
        foreign = frozenset(name for name, one in self._seen.items() if one.whose is Whose.FOREIGN)
        neighbour = judge_neighbour(self._seen.values(), self._installation) if foreign else None
        error = neighbour_error(self._cluster, neighbour) if neighbour is not None else None
        if (foreign, str(error)) == (self._foreign, str(self.error)) and not is_owed:
            return
        self._foreign, self.error = foreign, error
        self._stops_all = neighbour is not None and neighbour.is_elder
        self._changed()
