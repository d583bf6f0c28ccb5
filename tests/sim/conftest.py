"""One simulated cluster and a client that speaks to it over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from fleet.sim import SimCluster, Simulation

APPLY = "application/apply-patch+yaml"


@dataclass(slots=True)
class Answer:
    code: int
    body: Any
    headers: Mapping[str, str]
    warnings: list[str]


class Client:
    """Requests to one simulated cluster, with its kubeconfig's authority and token."""

    def __init__(self, kubeconfig: bytes) -> None:
        config = orjson.loads(kubeconfig)
        import base64

        cluster = config["clusters"][0]["cluster"]
        self.url = cluster["server"]
        self.token = config["users"][0]["user"]["token"]
        pem = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=pem)
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    async def call(
        self, method: str, path: str, body: object = None, *, media: str = "application/json", **headers: str
    ) -> Answer:
        send = {"Authorization": f"Bearer {self.token}", "User-Agent": "tester/1", **headers}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else orjson.dumps(body)
            send["Content-Type"] = media
        async with self.session.request(method, self.url + path, data=data, headers=send) as answer:
            raw = await answer.read()
            parsed = orjson.loads(raw) if answer.content_type == "application/json" and raw[:1] == b"{" else raw
            return Answer(answer.status, parsed, dict(answer.headers), answer.headers.getall("Warning", []))

    async def apply(self, path: str, body: object, *, manager: str = "fleet", force: bool = False) -> Answer:
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return await self.call("PATCH", path + query, body, media=APPLY)


@pytest.fixture
async def sim() -> AsyncIterator[Simulation]:
    async with Simulation(["eu-1"], seed=1, ready_seconds=0.02) as simulation:
        yield simulation


@pytest.fixture
def cluster(sim: Simulation) -> SimCluster:
    return sim.cluster("eu-1")


@pytest.fixture
async def client(sim: Simulation) -> AsyncIterator[Client]:
    made = Client(sim.kubeconfig("eu-1"))
    yield made
    await made.session.close()
