"""From the view to what is shown of units and clusters now: the folds of core/fold.py, made anew only for what changed.

A list of a large fleet is asked for often and changes little between: what a summary was folded from is compared by
identity, which costs a microsecond a unit. Ages are judged at every look (R21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fleet.core.fleet import Cluster, Unit
from fleet.core.fold import ClusterSummary, UnitSummary, fold_cluster, fold_unit, judge_age
from fleet.core.folded import Groups
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.status import Blocker, Health, Sync, UnitReport
from fleet.core.view import View


def is_at_head(view: View, name: UnitName) -> bool:
    """Whether a unit holds what the commit in force says: then it is on that commit, whichever first brought it."""
    result, report = view.results.get(name), view.units.get(name)
    return (
        isinstance(result, Rendered)
        and report is not None
        and report.bundle == result.bundle
        and name not in view.rendering
    )


def unit_summary(view: View, name: UnitName, now: float) -> UnitSummary:
    """One unit as it stands now; one that no worker has reported yet is Unknown."""
    report, result, link = view.units.get(name), view.results.get(name), view.waits.get(name)
    cluster, since = view.clusters.get(name.cluster), view.since.get(name)
    lost = cluster.message if cluster is not None and not cluster.reachable else ""
    heard = view.heard_at(name)
    facts = (report, result, link, lost, judge_age(heard, now), since, view.head.commit, name in view.rendering)
    seen = view.seen_at(name.cluster) if lost else heard
    known = view.folded.units.get(name)
    if known is not None and known[0] == facts:
        summary = known[1]
        if summary.seen_at == seen:
            return summary
        summary = replace(summary, seen_at=seen)
    else:
        summary = replace(_folded(view, name, now, heard, lost), seen_at=seen)
    view.folded.units[name] = (facts, summary)
    return summary


def _folded(view: View, name: UnitName, now: float, heard: float, lost: str) -> UnitSummary:
    report, result, link = view.units.get(name), view.results.get(name), view.waits.get(name)
    if report is None:
        report = UnitReport(name, _commit_of(view, result), None, Sync.UNKNOWN, Health.UNKNOWN, 0.0)
        report = replace(report, message=link.reason if link is not None else "not reported yet")
    links: tuple[Blocker, ...] = (link,) if link is not None else ()
    summary = fold_unit(report, now, seen_at=heard, lost=lost, blocked_by=links)
    since = view.since.get(name, report.observed_at)
    summary = replace(summary, conditions=tuple(replace(item, since=since) for item in summary.conditions))
    if isinstance(result, RenderProblem):
        # The repo's problem comes before what the worker says of the result that stays in force.
        return replace(summary, reason=result.reason, message=result.message, next_step=result.next_step)
    if is_at_head(view, name):
        return replace(summary, commit=view.head.commit)
    return summary


def _commit_of(view: View, result: Result | None) -> Revision:
    return result.commit if isinstance(result, Rendered) else view.head.commit


def cluster_summary(view: View, cluster: Cluster, units: Iterable[UnitName], now: float) -> ClusterSummary:
    """One cluster from its newest report and its units."""
    report = view.clusters.get(cluster.name)
    summaries = tuple([unit_summary(view, name, now) for name in units])
    age = judge_age(report.at, now) if report is not None else None
    facts = (report, age, cluster.environment, view.head.commit, summaries)
    known = view.folded.clusters.get(cluster.name)
    if known is not None and known[0] == facts:
        return known[1]
    summary = fold_cluster(cluster.name, cluster.environment, report, summaries, now, head=view.head.commit)
    view.folded.clusters[cluster.name] = (facts, summary)
    return summary


def cluster_seen_at(view: View, summary: ClusterSummary) -> float:
    """When a cluster itself was seen last, 0.0 if never."""
    return summary.seen_at if summary.reachable else view.seen_at(summary.cluster)


def units_by_cluster(view: View) -> Mapping[ClusterName, list[UnitName]]:
    """The fleet's units, grouped; not to be changed."""
    return _groups(view)[0]


def units_by_overlay(view: View) -> Mapping[OverlayName, list[UnitName]]:
    """The fleet's units, grouped; not to be changed."""
    return _groups(view)[1]


def _groups(view: View) -> Groups:
    units: Mapping[UnitName, Unit] = view.fleet.units if view.fleet is not None else {}
    known = view.folded.groups
    if known is not None and known[0] is units and known[1] is view.kept:
        return known[2]
    by_cluster: dict[ClusterName, list[UnitName]] = {}
    by_overlay: dict[OverlayName, list[UnitName]] = {}
    entries = view.entries()
    for name in entries:
        by_cluster.setdefault(name.cluster, []).append(name)
        by_overlay.setdefault(name.overlay, []).append(name)
    view.folded.groups = (units, view.kept, (by_cluster, by_overlay))
    for name in view.folded.units.keys() - entries.keys():
        del view.folded.units[name]
    clusters = view.fleet.clusters.keys() if view.fleet is not None else ()
    for cluster in view.folded.clusters.keys() - clusters:
        del view.folded.clusters[cluster]
    return by_cluster, by_overlay
