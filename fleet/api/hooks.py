"""The Git host's webhook: off without a secret, checked over the raw bytes, and only a hint to fetch (R39)."""

from __future__ import annotations

from aiohttp import web

from fleet.api.route import Call, Route
from fleet.core.webhook import judge_signature
from fleet.errors import NotAuthenticated, NotKnown


async def _git(call: Call) -> web.Response:
    secret = call.parts.webhook_secret
    if secret is None:
        raise NotKnown("this hub takes no webhooks", next_step="set FLEET_WEBHOOK_SECRET_FILE")
    raw = await call.request.read()
    if not judge_signature(secret, raw, call.request.headers):
        raise NotAuthenticated("the webhook's signature does not verify", next_step="compare the secrets of both ends")
    call.parts.bells.fetch.set()
    return web.Response(status=202, text="fetching\n")


ROUTES = (Route("POST", "/hooks/git", "A hint to fetch, signed", None, _git, status=202),)
