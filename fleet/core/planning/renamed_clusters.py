"""Clusters that a change calls otherwise: a hub keeps what is on them, and deletes what the change drops there (R2).

By Git alone: a name that goes and a name that comes, with one identity. Which cluster an entry without one is only a
hub knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from fleet.core.fleet import Cluster, Fleet
from fleet.core.ids import ClusterName, Identity, UnitName
from fleet.core.planning.phrases import some_of

_Known = TypeVar("_Known")


def renamed_clusters(before: Fleet, after: Fleet) -> Mapping[ClusterName, ClusterName]:
    """Old name to new name, sorted."""
    olds, news = _by_identity(_gone(before, after), before), _by_identity(_gone(after, before), after)
    return dict(sorted((olds[identity], news[identity]) for identity in olds.keys() & news.keys()))


def under_new_names(before: Fleet, after: Fleet) -> Fleet:
    """The earlier commit, its renamed clusters and their units under the names that the later one gives them.

    What they are made from stays as it was: the old name too, where a build takes it in.
    """
    renames = renamed_clusters(before, after)
    if not renames:
        return before
    unknown = before.unknown
    return replace(
        before,
        clusters={renames.get(name, name): entry for name, entry in before.clusters.items()},
        units=_units(before.units, renames),
        unknown=replace(
            unknown,
            units=_units(unknown.units, renames),
            incomplete={renames.get(name, name): problem for name, problem in unknown.incomplete.items()},
        ),
    )


def perhaps_renamed(before: Fleet, after: Fleet) -> Iterator[str]:
    """What to say where a name goes and another comes, and Git does not tell whether that is one cluster."""
    renames = renamed_clusters(before, after)
    gone = {name: entry for name, entry in _gone(before, after).items() if name not in renames}
    come = {name: entry for name, entry in _gone(after, before).items() if name not in renames.values()}
    olds, news = _undecided(gone, come), _undecided(come, gone)
    if olds and news:
        went = f"{some_of(olds)} {'go' if len(olds) > 1 else 'goes'}"
        came = f"{some_of(news)} {'come' if len(news) > 1 else 'comes'}"
        yield (
            f"{went} and {came}, and Git does not say that they are two clusters: one that is the same is only "
            "renamed, and what the change drops there is deleted or held, and not listed; identity: in both commits "
            "tells"
        )


def _gone(before: Fleet, after: Fleet) -> Mapping[ClusterName, Cluster]:
    """Entries that one side has and the other surely has not."""
    return {
        name: before.clusters[name]
        for name in sorted(before.clusters.keys() - after.clusters.keys())
        if before.unknown.covers_cluster(name) is None and after.unknown.covers_cluster(name) is None
    }


def _by_identity(entries: Mapping[ClusterName, Cluster], fleet: Fleet) -> Mapping[Identity, ClusterName]:
    """Those that alone say who they are, also beside what the fleet cannot use."""
    if not entries:
        return {}
    counts = Counter(entry.identity for entry in fleet.clusters.values())
    return {
        entry.identity: name
        for name, entry in entries.items()
        if entry.identity is not None and counts[entry.identity] == 1
        if entry.identity not in fleet.unknown.identities
    }


def _undecided(entries: Mapping[ClusterName, Cluster], others: Mapping[ClusterName, Cluster]) -> list[ClusterName]:
    """Those that may be one of the others, as one of both does not say who it is."""
    is_any = any(other.identity is None for other in others.values())
    return [name for name, entry in entries.items() if is_any or (others and entry.identity is None)]


def _units(known: Mapping[UnitName, _Known], renames: Mapping[ClusterName, ClusterName]) -> dict[UnitName, _Known]:
    return {
        replace(name, cluster=renames[name.cluster]) if name.cluster in renames else name: value
        for name, value in known.items()
    }
