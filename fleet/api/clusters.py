"""Clusters: a list with filters, worst first, and one."""

from __future__ import annotations

from fleet.access.policy import Role
from fleet.api.filters import page_of, selects, words_of
from fleet.api.models import ClusterList, ClusterOut
from fleet.api.queries import ListQuery
from fleet.api.route import Call, Route
from fleet.api.rows import cluster_out, units_by_cluster
from fleet.core.fold import worst_health
from fleet.core.ids import ClusterName
from fleet.core.status import Health
from fleet.errors import NotKnown


def _badness(item: ClusterOut) -> tuple[bool, int, bool, str]:
    order = [worst_health((Health(item.status.health), other)) == item.status.health for other in Health]
    return (item.status.reachable, -sum(order), item.status.sync == "Synced", item.metadata.name)


async def _list(call: Call) -> ClusterList:
    query, view, now = call.query(ListQuery), call.parts.view, call.parts.wall()
    selected, health, sync = selects(query.label_selector), words_of(query.health), words_of(query.sync)
    groups = units_by_cluster(view)
    items: list[ClusterOut] = []
    for cluster in view.fleet.clusters.values() if view.fleet else ():
        if not selected(cluster.labels) or query.q not in cluster.name:
            continue
        if query.environment and cluster.environment != query.environment:
            continue
        item = cluster_out(view, cluster, now, groups.get(cluster.name, []))
        if health and item.status.health.lower() not in health:
            continue
        if sync and item.status.sync.lower() not in sync:
            continue
        items.append(item)
    items.sort(key=_badness)
    page, following = page_of(items, query)
    return ClusterList(items=list(page), total=len(items), continue_=following)


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
