"""Each cluster's Desired: made of its units' parts, numbered, and given to its worker where it says something new."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.controllers.feed import Slot
from fleet.core.ids import ClusterName, UnitName
from fleet.core.rollout import Desired, UnitDesired
from fleet.ports.state import State

SEQUENCE_BLOCK = 256

Parts = Mapping[UnitName, UnitDesired]


class Publisher:
    """Used by one task at a time: sequences must reach each cluster in their order."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._slots: dict[ClusterName, Slot] = {}
        self._parts: dict[ClusterName, dict[UnitName, UnitDesired]] = {}
        self._sequence, self._sequence_end = 0, 0
        self.dirty: set[ClusterName] = set()  # clusters that are to be told something else

    def slot(self, cluster: ClusterName) -> Slot:
        """Where a cluster's worker finds its Desired."""
        return self._slots.setdefault(cluster, Slot())

    def told(self) -> set[UnitName]:
        """All units that are a part of what some cluster was told."""
        return {name for parts in self._parts.values() for name in parts}

    def put(self, name: UnitName, part: UnitDesired | None) -> None:
        """A unit's part; its cluster is told where it differs. None: nothing is known of it, it stays as it is."""
        parts = self._parts.setdefault(name.cluster, {})
        if part is not None and parts.get(name) != part:
            parts[name] = part
            self.dirty.add(name.cluster)

    def drop(self, name: UnitName) -> None:
        """A unit that its worker let go."""
        parts = self._parts.get(name.cluster)
        if parts is not None and parts.pop(name, None) is not None:
            self.dirty.add(name.cluster)

    def forget(self, cluster: ClusterName) -> None:
        """A cluster that left, or has another name now."""
        self._parts.pop(cluster, None)
        self._slots.pop(cluster, None)

    async def reserve(self) -> None:
        """A sequence for each cluster that is to be told, in one write. Raises StateError."""
        while self._sequence_end - self._sequence < len(self.dirty):
            count = max(SEQUENCE_BLOCK, len(self.dirty))
            self._sequence = await self._state.next_sequence(count)
            self._sequence_end = self._sequence + count

    def publish(self, desired_of: Callable[[ClusterName, Parts, int], Desired | None]) -> None:
        """Tell all clusters, after `reserve`. desired_of: cluster, its parts, sequence; None for one that is no more.

        Nothing waits here: else the first clusters' work is done before the last ones hear of theirs.
        """
        for cluster in sorted(self.dirty):
            desired = desired_of(cluster, self._parts.get(cluster, {}), self._sequence)
            if desired is not None:
                self._sequence += 1
                self.slot(cluster).put(desired)
        self.dirty.clear()
