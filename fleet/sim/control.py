"""The way in to a running simulation: a loopback HTTP endpoint with a token, for `fleet sim drift` and the demo.

POST /drift  {cluster, kind, namespace, name, changes, group?, manager?}   a change as by another writer
POST /fault  {cluster, kind, …}  a fault as in faults.py; {cluster, clear: true} ends all
GET  /ledger?cluster=NAME&since=N   requests after N, oldest first; without cluster: of all
GET  /clusters   names, addresses, identities, counts
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from fleet.core.documents import Document, Json, items_at, mapping_at, number_at, parse_document, text_at
from fleet.sim import births
from fleet.sim.statuses import ApiError

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster
    from fleet.sim.simulation import Simulation


class Control:
    """The control endpoint of a simulation. `token` is asked for in each request, as a bearer token."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.token = births.token()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on loopback; the URL."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/drift", self._drift)
        app.router.add_post("/fault", self._fault)
        app.router.add_get("/ledger", self._ledger)
        app.router.add_get("/clusters", self._clusters)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        address = self._runner.addresses[0]
        self.url = f"http://127.0.0.1:{address[1]}"
        return self.url

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        offered = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(offered, f"Bearer {self.token}".encode()):
            return _problem(401, "the token of this simulation is needed")
        try:
            return await handler(request)
        except KeyError as problem:
            return _problem(404, str(problem.args[0]))
        except ApiError as problem:
            return _problem(problem.code, problem.message)
        except ValueError as problem:
            return _problem(400, str(problem))

    def _cluster(self, body: Document) -> SimCluster:
        return self._simulation.cluster(text_at(body, "cluster"))

    async def _drift(self, request: web.Request) -> web.Response:
        body = parse_document(await request.read())
        document = self._cluster(body).drift(
            text_at(body, "group"),
            text_at(body, "kind"),
            text_at(body, "namespace"),
            text_at(body, "name"),
            mapping_at(body, "changes"),
            manager=text_at(body, "manager") or "kubectl-edit",
        )
        return _json(document)

    async def _fault(self, request: web.Request) -> web.Response:
        body = parse_document(await request.read())
        faults = self._cluster(body).faults
        if body.get("clear") is True:
            faults.clear()
            return _json({"active": 0})
        seconds = body.get("seconds")
        faults.add(
            text_at(body, "kind"),
            verbs=[str(verb) for verb in items_at(body, "verbs")],
            resource=text_at(body, "resource"),
            name=text_at(body, "name"),
            agent=text_at(body, "agent"),
            count=number_at(body, "count"),
            code=number_at(body, "code"),
            seconds=float(seconds) if isinstance(seconds, int | float) else 1.0,
            retry_after=number_at(body, "retry_after"),
        )
        return _json({"active": len(faults.active)})

    async def _ledger(self, request: web.Request) -> web.Response:
        wanted, since = request.query.get("cluster", ""), int(request.query.get("since", "0"))
        clusters = [self._simulation.cluster(wanted)] if wanted else list(self._simulation.clusters.values())
        entries: list[Json] = [entry.document() for one in clusters for entry in one.ledger.since(since)]
        return _json({"entries": entries})

    async def _clusters(self, request: web.Request) -> web.Response:
        del request
        listed: list[Json] = [
            {
                "name": one.name,
                "address": one.address,
                "identity": one.identity,
                "requests": one.ledger.sequence,
                "watches": len(one.watches.open),
                "faults": [fault.kind for fault in one.faults.active],
            }
            for one in self._simulation.clusters.values()
        ]
        return _json({"clusters": listed})


def _json(document: Document, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps({"status": status, "detail": detail}),
        content_type="application/problem+json",
    )
