"""What one load leaves to the next, and which overlays the next has to resolve anew."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.ids import ClusterName, OverlayName
from fleet.core.problems import Problem
from fleet.core.targets import Holding
from fleet.inventory.clusters import ClusterShelf, JoinedClusters, moved_clusters
from fleet.inventory.content import NoContent
from fleet.inventory.convert import FleetSettings
from fleet.inventory.layout import Layout
from fleet.inventory.overlays import Entry, JoinedOverlays
from fleet.inventory.read import FleetFileResult, OverlayFileResult
from fleet.inventory.resolve import Resolved
from fleet.ports.source import TreeEntry
from fleet.values import dataclass, field


@dataclass(slots=True)
class Memo:
    """What the next load may build on. Never changed after the load that made it, but for what is keyed by content."""

    fleet_entry: TreeEntry | None = None
    fleet_result: FleetFileResult | None = None
    settings: FleetSettings | None = None
    shelf: ClusterShelf = field(default_factory=ClusterShelf)
    clusters: JoinedClusters | None = None
    overlay_files: dict[str, tuple[TreeEntry, OverlayFileResult]] = field(
        default_factory=dict[str, "tuple[TreeEntry, OverlayFileResult]"]
    )
    # By directory: the name it had when it could be read last.
    overlay_names: dict[str, OverlayName] = field(default_factory=dict[str, OverlayName])
    holdings: dict[str, tuple[TreeEntry, Holding]] = field(default_factory=dict[str, "tuple[TreeEntry, Holding]"])
    links: dict[TreeEntry, NoContent] = field(default_factory=dict[TreeEntry, NoContent])  # of this commit alone
    # Of files behind links below clusters/, of this commit alone: whether a Cluster may be in them.
    linked: dict[TreeEntry, bool] = field(default_factory=dict[TreeEntry, bool])
    misleading: tuple[Problem, ...] = ()  # links in the place of directories of many
    layout: Layout | None = None  # None: the next load must walk the tree
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])  # by directory, or place in fleet.yaml
    overlays: JoinedOverlays | None = None
    incomplete: dict[ClusterName, Problem] = field(default_factory=dict[ClusterName, Problem])
    resolved: dict[OverlayName, Resolved] = field(default_factory=dict[OverlayName, Resolved])
    probes: dict[str, frozenset[OverlayName]] = field(default_factory=dict[str, "frozenset[OverlayName]"])


def overlays_to_resolve(old: Memo, new: Memo, refreshed: set[str], changed: Iterable[str]) -> set[OverlayName] | None:
    """The overlays to resolve anew; None for all.

    new: with its layout, clusters and overlays; refreshed: keys of entries that differ; changed: paths that do.
    """
    if old.clusters is None or old.overlays is None:
        return None
    assert new.clusters is not None  # given
    assert new.overlays is not None  # given
    before, overlays, clusters = old.overlays, new.overlays, new.clusters
    moved = moved_clusters(old.clusters, clusters)
    if moved is None or bool(old.misleading) != bool(new.misleading):
        return None
    assert old.layout is not None  # else all were refreshed
    assert new.layout is not None  # given
    links = old.layout.links | new.layout.links
    dirty = {entry.name for key in refreshed for entry in _both(old.entries, new.entries, key)}
    if overlays is not before:
        dirty |= before.overlays.keys() ^ overlays.overlays.keys()
        dirty |= before.unknown.keys() ^ overlays.unknown.keys()
    if moved:
        dirty |= {use.name for joined in (old.clusters, clusters) for use in joined.uses_of(moved)}
        dirty |= {
            name
            for name, resolved in old.resolved.items()
            if any(unit.name.cluster in moved for unit in resolved.units)
            or any(unit.cluster in moved for unit in resolved.unknown)
        }
    for path in changed:
        directory = path.rpartition("/")[0]
        dirty |= old.probes.get(directory, frozenset())
        if path in links:
            behind = (names for probed, names in old.probes.items() if f"{probed}/".startswith(f"{path}/"))
            dirty |= frozenset[OverlayName]().union(*behind)
    return dirty


def probes_of(
    old: Memo, resolved: dict[OverlayName, Resolved], again: set[OverlayName] | None
) -> dict[str, frozenset[OverlayName]]:
    """Which overlays looked into which directories outside their own."""
    probes = {} if again is None else dict(old.probes)
    for name in resolved if again is None else again:
        before = old.resolved[name].probed if again is not None and name in old.resolved else frozenset[str]()
        after = resolved[name].probed if name in resolved else frozenset[str]()
        for directory in before - after:
            probes[directory] = probes[directory] - {name}
        for directory in after - before:
            probes[directory] = probes.get(directory, frozenset()) | {name}
    return probes


def _both(before: dict[str, Entry], after: dict[str, Entry], key: str) -> list[Entry]:
    return [entry for entry in (before.get(key), after.get(key)) if entry is not None]
