"""Units that a commit does not say because of a problem, as rollouts reckon with them. Pure.

They are not gone (R5): which step such a cluster is in, and whether it holds something new, stays a question until the
problem is mended. What a readable commit removed is gone, and is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fleet.core.fleet import Cluster, Fleet, Overlay, Unit
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.problems import Origin, Problem


def unsaid_units(
    fleet: Fleet, kept: Mapping[UnitName, Unit], names: Iterable[UnitName]
) -> Iterator[tuple[Unit, Problem]]:
    """Those of `names` that this commit does not say, as they were or as far as they are known, with the problem.

    kept: such units as they were said last, by this process; names: all that there may be. Of an overlay of which
    nothing at all is known there is none: whoever asks has no steps for it either.
    """
    policies = {name.overlay: unit.overlay for name, unit in kept.items()}
    for name in names:
        if name in fleet.units or (problem := fleet.unknown.covers(name)) is None:
            continue
        overlay = _overlay_of(fleet, name.overlay, policies)
        if overlay is not None:
            yield _as_known(name, overlay, fleet, kept.get(name)), problem


def is_placed(unit: Unit) -> bool:
    """Whether labels and environment of its cluster are known, and with them its step.

    A hub that started since has its entry from the state, which holds no labels.
    """
    return bool(unit.cluster.origin.path)


def _overlay_of(fleet: Fleet, name: OverlayName, policies: Mapping[OverlayName, Overlay]) -> Overlay | None:
    """Its settings, as said now or last; None where nothing is known of them, or it was removed."""
    if name in fleet.overlays:
        return fleet.overlays[name]
    is_gone = fleet.unknown.covers(UnitName(name, ClusterName(""))) is None
    return None if is_gone else policies.get(name)


def _as_known(name: UnitName, overlay: Overlay, fleet: Fleet, kept: Unit | None) -> Unit:
    said = fleet.clusters.get(name.cluster)
    entries = [entry for entry in (said, kept.cluster if kept is not None else None) if entry is not None]
    nameless = Cluster(name.cluster, Origin(""))
    cluster = next((entry for entry in entries if entry.origin.path), entries[0] if entries else nameless)
    return Unit(name, "", Origin(""), (), {}, overlay, cluster)
