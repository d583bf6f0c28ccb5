"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from fleet import telemetry
from fleet.access.policy import Role
from fleet.api.parts import ApiParts
from fleet.api.route import Call, Route
from fleet.core.summaries import cluster_seen_at, cluster_summary, unit_summary, units_by_cluster


async def _healthz(_: Call) -> web.Response:
    return web.Response(text="ok\n")


async def _readyz(call: Call) -> web.Response:
    why = call.parts.ready()
    return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)


async def _metrics(call: Call) -> web.Response:
    return web.Response(body=exposition(call.parts), headers={"Content-Type": CONTENT_TYPE_LATEST})


def exposition(parts: ApiParts) -> bytes:
    """All metrics in Prometheus' text format; gauges of clusters and units are counted now, by their age (R21)."""
    now, view = parts.wall(), parts.view
    telemetry.CLUSTERS.clear()
    telemetry.UNITS.clear()
    telemetry.REPORT_AGE.clear()
    if view.fleet is not None:
        groups = units_by_cluster(view)
        for cluster in view.fleet.clusters.values():
            summary = cluster_summary(view, cluster, groups.get(cluster.name, ()), now)
            telemetry.CLUSTERS.labels(summary.sync, summary.health).inc()
            if seen := cluster_seen_at(view, summary):
                telemetry.REPORT_AGE.labels(cluster.name).set(max(0.0, now - seen))
        for name in view.entries():
            unit = unit_summary(view, name, now)
            telemetry.UNITS.labels(unit.sync, unit.health).inc()
    return generate_latest(telemetry.REGISTRY)


ROUTES = (
    Route("GET", "/healthz", "Alive", None, _healthz),
    Route("GET", "/readyz", "The loops run and the state can be written", None, _readyz),
    Route("GET", "/metrics", "Prometheus metrics", Role.VIEWER, _metrics),
)
