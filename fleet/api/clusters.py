"""Clusters: a list with filters, worst first, and one."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.access.policy import Role
from fleet.api.filters import page_of, selects, words_of
from fleet.api.models import ClusterList, ClusterOut
from fleet.api.queries import ListQuery
from fleet.api.route import Call, Route
from fleet.api.rows import cluster_out
from fleet.core.fleet import Cluster
from fleet.core.fold import ClusterSummary, worst_health
from fleet.core.ids import ClusterName
from fleet.core.status import Health, Sync
from fleet.core.summaries import cluster_summary, units_by_cluster
from fleet.errors import NotKnown


def _badness(item: ClusterSummary) -> tuple[bool, int, bool, str]:
    order = [worst_health((item.health, other)) is item.health for other in Health]
    return (item.reachable, -sum(order), item.sync is Sync.SYNCED, item.cluster)


async def _list(call: Call) -> ClusterList:
    query, view, now = call.query(ListQuery), call.parts.view, call.parts.wall()
    selected, health, sync = selects(query.label_selector), words_of(query.health), words_of(query.sync)
    groups = units_by_cluster(view)
    clusters: Mapping[ClusterName, Cluster] = view.fleet.clusters if view.fleet else {}
    found: list[ClusterSummary] = []
    for cluster in clusters.values():
        if not selected(cluster.labels) or query.q not in cluster.name:
            continue
        if query.environment and cluster.environment != query.environment:
            continue
        summary = cluster_summary(view, cluster, groups.get(cluster.name, ()), now)
        if (health and summary.health.lower() not in health) or (sync and summary.sync.lower() not in sync):
            continue
        found.append(summary)
    found.sort(key=_badness)
    page, following = page_of(found, query)
    items = [cluster_out(view, clusters[summary.cluster], now) for summary in page]
    return ClusterList(items=items, total=len(found), continue_=following)


async def _one(call: Call) -> ClusterOut:
    view = call.parts.view
    cluster = view.fleet.clusters.get(ClusterName(call.name)) if view.fleet else None
    if cluster is None:
        raise NotKnown(f"there is no cluster {call.name}", next_step="fleet get clusters")
    return cluster_out(view, cluster, call.parts.wall())


ROUTES = (
    Route("GET", "/api/v1/clusters", "Clusters, worst first", Role.VIEWER, _list, query=ListQuery, answer=ClusterList),
    Route("GET", "/api/v1/clusters/{name}", "One cluster", Role.VIEWER, _one, answer=ClusterOut),
)
