"""Which clusters go before others with the same commit, and which of them together (R9).

What those before lost by it, a later step may lose as well; what all of a step lose is judged at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.core.across import groups_of
from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.passage import Passages, Row
from fleet.core.results import Rendered
from fleet.core.steps import Stage, goes_by_steps, stages_of
from fleet.values import dataclass

Guides = Mapping[ClusterName, Rendered]  # who went before, and what each held before that


@dataclass(frozen=True, slots=True)
class Way:
    """From what to what a rollout brings a cluster. before: None where nothing was released, or nothing held."""

    target: Digest
    before: Rendered | None


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


def beside_of(row: Row, stages: Sequence[Stage], cluster: ClusterName) -> Mapping[ClusterName, Way]:
    """The clusters whose deletions by a row are judged together with this one's, itself among them; as a plan does.

    Released or not: neither a limit nor a cluster that is away makes many small releases of one large one.
    """
    for stage in stages:
        if cluster in stage.clusters:
            landed = sorted((at, name) for name, at in row.landed.items() if name in stage.clusters)
            lead = landed[0][1] if landed else cluster
            group = next(names for names in groups_of(stage, row.targets, lead) if cluster in names)
            return {name: Way(Digest(row.targets[name]), row.before.get(name)) for name in group}
    return {}


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
    """The guides of all units, and who is judged with them, from the rollouts under way."""

    def __init__(self, fleet: Fleet, kept: Passages) -> None:
        self._fleet, self._kept = fleet, kept
        self._found: dict[OverlayName, tuple[Row, tuple[Stage, ...]] | None] = {}

    def of(self, unit: UnitName, digest: Digest) -> Guides:
        """Who went before this unit with what it shall hold now; nobody where it does not go by steps."""
        found = self._found_for(unit, digest)
        return guides_of(*found, unit.cluster) if found is not None else {}

    def beside(self, told: Mapping[UnitName, Digest]) -> Mapping[UnitName, Way]:
        """All that are judged together with these units, and those themselves; nothing of what goes by no steps."""
        found: dict[UnitName, Way] = {}
        for unit, digest in told.items():
            row = self._found_for(unit, digest) if unit not in found else None  # else it is in another's group
            if row is not None:
                ways = beside_of(*row, unit.cluster)
                found |= {UnitName(unit.overlay, cluster): way for cluster, way in ways.items()}
        return found

    def _found_for(self, unit: UnitName, digest: Digest) -> tuple[Row, tuple[Stage, ...]] | None:
        if unit.overlay not in self._found:
            self._found[unit.overlay] = self._row_of(unit.overlay)
        found = self._found[unit.overlay]
        return found if found is not None and found[0].targets.get(unit.cluster) == digest else None

    def _row_of(self, overlay: OverlayName) -> tuple[Row, tuple[Stage, ...]] | None:
        rows = [passage.rows[overlay] for passage in self._kept.all if not passage.outcome and overlay in passage.rows]
        units = [unit for name, unit in self._fleet.units.items() if name.overlay == overlay and goes_by_steps(unit)]
        if not rows or not units:
            return None
        clusters = {unit.name.cluster: unit.cluster for unit in units}
        return rows[-1], stages_of(units[0].overlay.rollout, clusters, self._fleet.environments).stages
