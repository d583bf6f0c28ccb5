"""The HTTP front of a cluster: the faults of a request in one order, and its entry in the ledger.

What answers lies behind it: a simulated cluster, or in tests a real API server. A fault means the same before both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from fleet.core.documents import Document
from fleet.sim.access import ANONYMOUS
from fleet.sim.calls import Call
from fleet.sim.faults import Faults
from fleet.sim.ledger import Ledger
from fleet.sim.requests import target_of
from fleet.sim.statuses import ApiError

Behind = Callable[[Call], Awaitable[web.StreamResponse]]  # may raise ApiError
Finish = Callable[[Call, web.Response], None]


class Front:
    """Answers the requests of one cluster. `finish` has the last hand on each answer that is no stream."""

    def __init__(self, faults: Faults, ledger: Ledger, behind: Behind, finish: Finish | None = None) -> None:
        self._faults, self._ledger, self._behind, self._finish = faults, ledger, behind, finish

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request; never raises but for a connection that is gone."""
        query = request.query
        target = target_of(request.method, request.path, query)
        agent = request.headers.get("User-Agent", "")
        call = Call(request, target, query, ANONYMOUS, agent, [])
        code = 0
        try:
            response = await self._answer(call)
            code = response.status
        except ApiError as problem:
            response = _failure(problem)
            code = problem.code
        finally:
            # A watch that was opened was recorded as it began.
            if target.verb != "watch" or code not in {0, 200}:
                self.record(call, code)
        if not isinstance(response, web.Response):
            return response
        if self._finish is not None:
            self._finish(call, response)
        return await self._faults.delivered(request, response, target, agent)

    def record(self, call: Call, code: int) -> None:
        """Write a request into the ledger as its answer begins; a watch when it is opened."""
        target = call.target
        resource = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
        self._ledger.add(
            verb=target.verb,
            group=target.group,
            resource=resource or target.path,
            namespace=target.namespace if target.resource != "namespaces" else "",
            name=target.name,
            agent=call.agent,
            code=code,
            dry_run=call.dry_run,
            query=dict(call.query),
            landed=call.landed,
            met=call.met,
        )

    async def _answer(self, call: Call) -> web.StreamResponse:
        faults = self._faults
        early = await faults.before(call.target, call.agent, paged="continue" in call.query)
        if early is not None:
            return early
        transport = call.request.transport
        if transport is None or transport.is_closing():
            # A fault held it longer than its client lived: what a dead hub sent lands no more.
            raise ApiError(500, "InternalError", "the client is gone")
        response = await self._behind(call)
        if not call.target.is_resource:
            return response
        call.was_answered(response.status)
        loses = faults.tripwire is not None and await faults.tripwire("after", call.target, call.agent)
        if loses or (call.landed and faults.loses(call.target, call.agent)):
            # The write has landed; the client waits until its own deadline or the end of the fault.
            if not loses:
                await faults.held()
            transport = call.request.transport
            if transport is not None:
                transport.abort()
        return response


def json_answer(document: Document, status: int = 200) -> web.Response:
    """A document as an answer."""
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def _failure(problem: ApiError) -> web.Response:
    response = json_answer(problem.document(), problem.code)
    if problem.retry_after:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response
