"""Which clusters went before others with the same commit: what they lost by it, a later step may lose as well (R9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.passage import Passages, Row
from fleet.core.results import Rendered
from fleet.core.steps import Stage, goes_by_steps, stages_of

Guides = Mapping[ClusterName, Rendered]  # who went before, and what each held before that


def guides_of(row: Row, stages: Sequence[Stage], cluster: ClusterName) -> Guides:
    """The clusters that prove a row's deletions for this one.

    They are Healthy on the row's result, in a step that is over, soak and all; and in a step that begins with one
    cluster alone, that one. What was not Healthy, or was left out, proves nothing.
    """
    went: set[ClusterName] = set()
    for stage in stages:
        if stage.name in row.passed or (stage.step.one_first and cluster in stage.clusters):
            went.update(stage.clusters)
    return {name: row.before[name] for name in sorted(went) if name in row.landed and name in row.before}


def proven_by(
    before: frozenset[ObjectRef],
    now: frozenset[ObjectRef],
    deleted: frozenset[ObjectRef],
    there: frozenset[ObjectRef],
) -> frozenset[ObjectRef]:
    """What a guide lost: it held it before, its result does not say it any more, and its worker deleted it there.

    deleted: by the audit log, under this result; what was let go, taken over, or gone by itself is not among it.
    there: all that units of its cluster still own or shall hold.
    """
    return (before & deleted) - now - there


class Guidebook:
    """The guides of all units, from the rollouts under way."""

    def __init__(self, fleet: Fleet, kept: Passages) -> None:
        self._fleet, self._kept = fleet, kept
        self._found: dict[OverlayName, tuple[Row, tuple[Stage, ...]] | None] = {}

    def of(self, unit: UnitName, digest: Digest) -> Guides:
        """Who went before this unit with what it shall hold now; nobody where it does not go by steps."""
        if unit.overlay not in self._found:
            self._found[unit.overlay] = self._row_of(unit.overlay)
        found = self._found[unit.overlay]
        if found is None or found[0].targets.get(unit.cluster) != digest:
            return {}
        return guides_of(*found, unit.cluster)

    def _row_of(self, overlay: OverlayName) -> tuple[Row, tuple[Stage, ...]] | None:
        rows = [passage.rows[overlay] for passage in self._kept.all if not passage.outcome and overlay in passage.rows]
        units = [unit for name, unit in self._fleet.units.items() if name.overlay == overlay and goes_by_steps(unit)]
        if not rows or not units:
            return None
        clusters = {unit.name.cluster: unit.cluster for unit in units}
        return rows[-1], stages_of(units[0].overlay.rollout, clusters, self._fleet.environments).stages
