"""What the units of one commit have in common: clusters, environments, rights, the lower layers of variables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fleet.core.fleet import (
    Cluster,
    Environment,
    Overlay,
    OverlayUse,
    TeamRights,
)
from fleet.core.ids import ClusterName
from fleet.core.selection import Variables
from fleet.core.targets import RESERVED_CLUSTER_NAMES, ClusterIndex
from fleet.core.variables import built_in_variables, stage_variables, unit_variables
from fleet.inventory.layout import Holdings


class Surroundings:
    """All that the units of one commit have in common."""

    def __init__(
        self,
        *,
        clusters: Mapping[ClusterName, Cluster],
        environments: Sequence[Environment],
        variables: Variables,
        teams: Sequence[TeamRights],
        holdings: Holdings,
        unknown_clusters: Collection[object] = (),
    ) -> None:
        self.index = ClusterIndex(clusters)
        self.environments = tuple(environments)
        self.environment_names = {stage.name for stage in environments} | set(self.index.by_environment) - {""}
        # What a directory beside those of clusters and environments may be called without a word about it.
        self.known_names = frozenset({*map(str, clusters), *self.environment_names, *RESERVED_CLUSTER_NAMES})
        self.teams = {team.name: team for team in teams}
        self.holdings = holdings
        self.all_known = not unknown_clusters
        self.uses: dict[str, list[tuple[Cluster, OverlayUse]]] = {}
        self._stages = {stage.name: stage_variables(variables, stage) for stage in environments}
        self._fleet_variables = variables
        self._built_in = {name: built_in_variables(cluster) for name, cluster in clusters.items()}
        self._plain: dict[ClusterName, Variables] = {}
        for cluster in clusters.values():
            for use in cluster.overlays:
                self.uses.setdefault(use.name, []).append((cluster, use))

    def variables(self, overlay: Overlay, target: Variables, cluster: Cluster, entry: Variables) -> Variables:
        """A unit's variables. Units whose overlay adds nothing share one mapping per cluster."""
        if not overlay.variables and not target and not entry:
            plain = self._plain.get(cluster.name)
            if plain is None:
                plain = self._plain[cluster.name] = self._merged({}, {}, cluster, {})
            return plain
        return self._merged(overlay.variables, target, cluster, entry)

    def _merged(self, overlay: Variables, target: Variables, cluster: Cluster, entry: Variables) -> Variables:
        return unit_variables(
            stage=self._stages.get(cluster.environment, self._fleet_variables),
            overlay=overlay,
            target=target,
            cluster=cluster,
            entry=entry,
            built_in=self._built_in[cluster.name],
        )
