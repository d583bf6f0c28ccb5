"""Who may take objects over on a cluster: the shell around `core/moves.py`, asked cluster by cluster (R16)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import ClusterName, UnitName
from fleet.core.moves import Unsure, unsure_on
from fleet.core.results import Result


class Takers:
    """The units of each cluster, sorted once for an inventory, when the first cluster is asked for."""

    def __init__(self) -> None:
        self._units: Mapping[UnitName, Unit] | None = None
        self._on: dict[ClusterName, list[Unit]] = {}

    def on(self, cluster: ClusterName, fleet: Fleet) -> Sequence[Unit]:
        """The units that the commit in force says of a cluster."""
        if self._units is not fleet.units:
            self._units, self._on = fleet.units, {}
            for unit in fleet.units.values():
                self._on.setdefault(unit.name.cluster, []).append(unit)
        return self._on.get(cluster, ())

    def unsure(
        self, fleet: Fleet, newest: Callable[[UnitName], Result | None], building: Collection[UnitName]
    ) -> Callable[[ClusterName], Sequence[Unsure]]:
        """Which overlays of a cluster are unsure, each cluster looked at once. building: not known at this commit."""
        found: dict[ClusterName, Sequence[Unsure]] = {}

        def unsure_of(cluster: ClusterName) -> Sequence[Unsure]:
            if cluster not in found:
                found[cluster] = unsure_on(cluster, self.on(cluster, fleet), newest, building, fleet.unknown)
            return found[cluster]

        return unsure_of
