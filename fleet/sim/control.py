"""The control endpoint of a running simulation: drift, faults and ledgers over loopback, by token.

POST /drift {"cluster", "overlay"} changes an object as another writer would; GET /ledger?cluster=NAME&since=N gives
the requests of a cluster.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING

from aiohttp import web

from fleet.core.documents import Document, Json, documents_at, mapping_at, parse_document, text_at
from fleet.core.objects import OWNER_ANNOTATION
from fleet.sim.cluster import SimCluster

if TYPE_CHECKING:
    from fleet.sim.simulation import Simulation

BODY_LIMIT_BYTES = 1 << 16
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# The kinds that a drift looks for, in this order.
_KINDS = (("", "Service"), ("apps", "Deployment"))


class ControlServer:
    """Use as an async context manager; `url` and `token` are known inside."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[self._guarded])
        app.router.add_post("/drift", self._drift)
        app.router.add_get("/ledger", self._ledger)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def __aenter__(self) -> ControlServer:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return web.json_response({"error": "not the demo's token"}, status=401)
        return await handler(request)

    async def _drift(self, request: web.Request) -> web.Response:
        try:
            body = parse_document(await request.read() or b"{}")
        except ValueError:
            return web.json_response({"error": "the body is no JSON object"}, status=400)
        name = text_at(body, "cluster") or next(iter(self._simulation.clusters))
        if name not in self._simulation.clusters:
            return web.json_response({"error": f"there is no simulated cluster {name}"}, status=404)
        what = drift_by_hand(self._simulation.cluster(name), text_at(body, "overlay"))
        if not what:
            return web.json_response({"error": f"nothing to change on {name}"}, status=404)
        return web.json_response({"cluster": name, "what": what})

    async def _ledger(self, request: web.Request) -> web.Response:
        name, since = request.query.get("cluster", ""), request.query.get("since", "0")
        if name not in self._simulation.clusters or not since.isdigit():
            return web.json_response({"error": f"there is no simulated cluster {name}"}, status=404)
        entries = self._simulation.cluster(name).ledger.since(int(since))
        return web.json_response({"items": [entry.document() for entry in entries]})


def drift_by_hand(cluster: SimCluster, overlay: str = "") -> str:
    """Change the first fitting object of an overlay ("" for any) as kubectl edit would; what was changed, or ""."""
    for group, kind in _KINDS:
        for item in cluster.list(group, kind):
            owner = text_at(item, "metadata", "annotations", OWNER_ANNOTATION)
            if not owner or (overlay and owner.rpartition("/")[2] != overlay):
                continue
            namespace, name = text_at(item, "metadata", "namespace"), text_at(item, "metadata", "name")
            cluster.drift(group, kind, namespace, name, _change_of(kind, item), manager="kubectl-edit")
            return f"{kind} {namespace}/{name} changed by kubectl-edit"
    return ""


def _change_of(kind: str, item: Document) -> Document:
    """A field that Git does say: a Service's selector, the images of a Deployment."""
    if kind == "Service":
        return {"spec": {"selector": dict.fromkeys(mapping_at(item, "spec", "selector"), "elsewhere")}}
    containers = documents_at(item, "spec", "template", "spec", "containers")
    changed: list[Json] = [{**container, "image": text_at(container, "image") + "-hotfix"} for container in containers]
    return {"spec": {"template": {"spec": {"containers": changed}}}}
