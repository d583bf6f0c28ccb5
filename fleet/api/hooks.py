"""The Git host's webhook: off without a secret, checked over the raw bytes, and only a hint to fetch (R39)."""

from __future__ import annotations

from aiohttp import web

from fleet.api.route import Call, Route
from fleet.core.webhook import WebhookVerdict, judge_webhook
from fleet.errors import NotAuthenticated, NotKnown, RequestInvalid


async def _git(call: Call) -> web.Response:
    raw = await call.raw_body()
    match judge_webhook(raw, call.request.headers, call.parts.webhook_secret):
        case WebhookVerdict.OFF:
            raise NotKnown("this hub takes no webhooks", next_step="set FLEET_WEBHOOK_SECRET_FILE")
        case WebhookVerdict.TOO_LARGE:
            raise RequestInvalid(
                "the webhook's body is larger than 1 MiB",
                next_step="let the Git host send push events alone; the hub fetches by itself meanwhile",
            )
        case WebhookVerdict.ACCEPTED:
            call.parts.bells.fetch.set()
            return web.Response(status=202, text="fetching\n")
        case _:
            raise NotAuthenticated(
                "the webhook's signature does not verify", next_step="compare the secrets of both ends"
            )


ROUTES = (Route("POST", "/hooks/git", "A hint to fetch, signed", None, _git, status=202),)
