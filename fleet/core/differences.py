"""What one inventory has otherwise than the one before, as far as the orders of clusters depend on it. Pure."""

from __future__ import annotations

from fleet.core.fleet import (
    Cluster,
    Connection,
    Fleet,
    OverlayState,
    Unknown,
)
from fleet.core.ids import ClusterName, UnitName
from fleet.core.problems import Origin, Problem, Severity
from fleet.errors import FleetRenamed


def still_called(installation: str, fleet: Fleet) -> Fleet:
    """An inventory of another name says nothing: with it every mark would be another installation's (R4, R5)."""
    problem = Problem(
        Severity.ERROR,
        FleetRenamed.__name__,
        f"the fleet is called {fleet.name} now, and was {installation}",
        Origin("fleet.yaml"),
        why="every object carries the name in its mark",
        effect="the commit is not taken over; all clusters stay as they are",
        next_step=f"name it {installation} again; to be another installation, start a hub on an empty data directory",
    )
    problems = (*fleet.problems, problem)
    return Fleet(fleet.commit, installation, unknown=Unknown(everything=problem), problems=problems)


def changed_units(before: Fleet | None, after: Fleet) -> frozenset[UnitName]:
    """Units that are new or were resolved anew."""
    if before is None:
        return frozenset(after.units)
    return frozenset(name for name, unit in after.units.items() if before.units.get(name) is not unit)


def changed_clusters(before: Fleet | None, after: Fleet) -> set[ClusterName]:
    """Clusters whose entry is new or another one."""
    if before is None or before.name != after.name:
        return set(after.clusters)
    return {name for name, entry in after.clusters.items() if before.clusters.get(name) is not entry}


def entry_by_name(cluster: ClusterName) -> Cluster:
    """A cluster whose entry nobody knows any more: its credential is the one that is named like it."""
    return Cluster(cluster, Origin(""), connection=Connection(cluster))


def other_policies(before: Fleet | None, after: Fleet) -> set[UnitName]:
    """Units that are resolved as before, but whose policy follows from something else that changed."""
    if before is None:
        return set()
    if (before.suspend, before.budget) != (after.suspend, after.budget):
        return set(after.units)
    found: set[UnitName] = set()
    if before.overlays is not after.overlays or before.units.keys() != after.units.keys():
        # Who must be gone before it is said by the other overlays.
        absent = {name for name, overlay in after.overlays.items() if overlay.state is OverlayState.ABSENT}
        found |= {name for name in after.units if name.overlay in absent} if absent else set()
    if before.units.keys() != after.units.keys() or before.unknown != after.unknown:
        found |= {name for name, unit in after.units.items() if unit.overlay.depends_on}
    return found
