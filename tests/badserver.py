"""A real HTTP server on loopback that behaves as it is told, badly above all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


def vector(*values: str) -> str:
    """An instant query's answer with one series for each value."""
    series = [{"metric": {"pod": f"p{n}"}, "value": [1700000000.1, value]} for n, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}})


@dataclass
class BadServer:
    """What it answers now, and what it was asked."""

    url: str = ""
    status: int = 200
    body: str | bytes = ""
    headers: dict[str, str] = field(default_factory=dict)
    mute: bool = False  # it takes the request and never answers
    drip: bool = False  # it answers a byte a second
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def say(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers
        self.mute = self.drip = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, dict(request.headers)))
        if self.mute:
            await asyncio.sleep(3600)
        if self.drip:
            stream = web.StreamResponse()
            await stream.prepare(request)
            for _ in range(3600):
                await stream.write(b" ")
                await asyncio.sleep(1)
        raw = self.body if isinstance(self.body, bytes) else self.body.encode()
        return web.Response(status=self.status, body=raw, headers=self.headers)


@asynccontextmanager
async def bad_server(ssl: Any = None) -> AsyncIterator[BadServer]:
    made = BadServer()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"{'https' if ssl else 'http'}://127.0.0.1:{port}"
    try:
        yield made
    finally:
        await runner.cleanup()
