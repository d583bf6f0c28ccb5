"""The web application: authentication, limits, errors as problem+json, and the routes of all resources.

Malformed input gives 4xx, never 5xx (R41). Foreign text leaves as JSON only, with `nosniff` and no caching (R40).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import cache

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic import BaseModel

from fleet import telemetry
from fleet.access.policy import Caller, Role, demand
from fleet.api import (
    actions,
    admin,
    clusters,
    courses,
    health,
    holds,
    hooks,
    overlays,
    plan_looks,
    plans,
    progress,
    recovery,
    revisions,
    rollouts,
    stream,
    timeline,
    units,
    wipe,
)
from fleet.api.openapi import document_of
from fleet.api.parts import ApiParts
from fleet.api.route import BODY_LIMIT_BYTES, CALLER, Call, Route
from fleet.core.refusal_log import Boundary, Refusal
from fleet.errors import (
    AccessError,
    ClusterError,
    FleetError,
    NotAllowed,
    NotAuthenticated,
    NotKnown,
    PreconditionFailed,
    RequestInvalid,
    StateError,
)

log = structlog.get_logger("api")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ANONYMOUS = "anonymous"
_SEE = "see /openapi.json"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_MODULES = (
    actions, admin, clusters, courses, health, holds, hooks, overlays, plan_looks, plans, progress, recovery, revisions,
    rollouts, stream, timeline, units, wipe,
)  # fmt: skip
ROUTES: tuple[Route, ...] = tuple(route for module in _MODULES for route in module.ROUTES)
_STATUS: tuple[tuple[type[FleetError], int], ...] = (
    (NotAuthenticated, 401),
    (NotAllowed, 403),
    (NotKnown, 404),
    (PreconditionFailed, 409),
    (RequestInvalid, 422),
    (StateError, 503),
    (AccessError, 400),
    (ClusterError, 502),
)


def build_app(parts: ApiParts) -> web.Application:
    """All routes over these parts."""
    app = web.Application(
        middlewares=[_edge_of(parts)], client_max_size=BODY_LIMIT_BYTES, handler_args={"max_field_size": 16_384}
    )
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler_of(route, parts))
    app.router.add_get("/openapi.json", _show_document)
    return app


def _handler_of(route: Route, parts: ApiParts) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        if route.role is None:
            caller = Caller(ANONYMOUS, Role.VIEWER, "")
        else:
            caller = await parts.tokens.caller_of(request.headers.get("Authorization", ""))
            request[CALLER] = caller.name
            demand(caller, route.role, f"{route.method} {route.path}")
        answer = await route.handler(Call(request, parts, caller))
        if isinstance(answer, BaseModel):
            body = answer.model_dump_json(by_alias=True, exclude_none=True).encode()
            return web.Response(body=body, status=route.status, content_type="application/json")
        return answer

    return handle


async def _show_document(_: web.Request) -> web.StreamResponse:
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    """Made when somebody asks for it first: no hub waits for it at its start."""
    return json.dumps(document_of(ROUTES)).encode()


def _edge_of(parts: ApiParts) -> Middleware:
    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _answer(request, handler, parts)

    return edge


async def _answer(request: web.Request, handler: Handler, parts: ApiParts) -> web.StreamResponse:
    resource = request.match_info.route.resource
    path = resource.canonical if resource else "none"
    # The method is any token that a client may think of; as a label it would grow without end.
    method = request.method if request.method in _METHODS else "other"
    refused: FleetError | None = None
    try:
        response = await handler(request)
    except FleetError as error:
        refused, response = error, problem_of(error)
    except web.HTTPException as error:
        refused, response = _refusal_of(error), _plain_problem(error)
    except (ValueError, UnicodeError) as error:  # malformed input that a parser below noticed (R41)
        log.info("malformed request", path=path, kind=type(error).__name__)
        refused = RequestInvalid("the request cannot be read", next_step=_SEE)
        response = problem_of(refused)
    except Exception:  # the edge of a request: a bug is answered, logged and concerns this request alone
        log.exception("request failed", path=path)
        response = _problem({"type": "urn:fleet:Bug", "title": "a bug of the hub; its log has the trace"}, 500)
    if refused is not None:
        place = {"actor": request.get(CALLER, ANONYMOUS), "object": f"{method} {path}"}
        parts.refused(Refusal(Boundary.API, refused.reason, refused.brief, **place))
    telemetry.HTTP_REQUESTS.labels(method, path, str(response.status)).inc()
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


def problem_of(error: FleetError) -> web.Response:
    """An error as its answer."""
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    body = {
        "type": f"urn:fleet:{error.reason}",
        "title": error.what,
        "detail": error.why,
        "where": error.where,
        "next": error.next_step,
    }
    return _problem(body, status, {"WWW-Authenticate": "Bearer"} if status == 401 else {})


def _refusal_of(error: web.HTTPException) -> FleetError | None:
    """What the web server refused by itself; a path or method that is not there is nobody's attack."""
    return (
        RequestInvalid(error.reason, next_step=_SEE) if error.status >= 400 and error.status not in (404, 405) else None
    )


def _plain_problem(error: web.HTTPException) -> web.Response:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _problem({"type": "urn:fleet:RequestInvalid", "title": error.reason, "next": _SEE}, error.status, headers)


def _problem(body: dict[str, str], status: int, headers: dict[str, str] | None = None) -> web.Response:
    """RFC 9457: `type` is the class name, a page in docs/errors/."""
    return web.json_response(
        {**body, "status": status}, status=status, headers=headers, content_type="application/problem+json"
    )
