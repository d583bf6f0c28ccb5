"""The proxy hands on what it is given, as it comes."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from contracts.kube_contract import KubeContract
from kube.hostile import LOOPBACK, Fence
from testbed.controlplane import ControlPlane
from testbed.faultproxy import FaultProxy

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName
from fleet.kube.connect import KubeConnector
from fleet.kube.credentials import NamedCredentials
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Kube

LIMITS = KubeLimits(page_objects=2, proof_seconds=4)
EACH, COUNT = 700_000, 16  # bytes, objects
MAPS = "/api/v1/namespaces/{}/configmaps"


@pytest.fixture
async def proxy(api_server: ControlPlane) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(api_server) as made:
        yield made


async def connect(folder: Path, config: dict[str, Any]) -> Kube:
    (folder / "eu-1.kubeconfig").write_text(json.dumps(config))
    connector = KubeConnector(NamedCredentials(folder), limits=LIMITS, allowed=LOOPBACK)
    return await connector.connect(ClusterName("eu-1"), Connection(), expected=None, fence=Fence())


class TestThroughTheProxy(KubeContract):
    """A real API server behind the proxy is a Kube as without it."""

    @pytest.fixture
    async def kube(self, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Kube]:
        kube = await connect(tmp_path, proxy.kubeconfig())
        yield kube
        await kube.close()


@pytest.mark.parametrize("certificate", [True, False])
async def test_the_server_behind_knows_who_asks(
    api_server: ControlPlane, proxy: FaultProxy, namespace: str, tmp_path: Path, certificate: bool
) -> None:
    user = f"reader-{namespace}" if certificate else "limited"
    api_server.grant(user, {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]})
    since = api_server.ledger_mark()
    kube = await connect(tmp_path, proxy.kubeconfig(user, certificate=certificate))
    await kube.close()
    assert {request.user for request in api_server.ledger(since, user_agent="fleet/")} == {user}


async def test_who_does_not_read_a_watch_stops_it_and_loses_nothing(
    api_server: ControlPlane, proxy: FaultProxy, namespace: str
) -> None:
    hands = api_server.client()
    hands.make_namespace(namespace)
    for number in range(COUNT):
        metadata = {"name": f"m{number}", "namespace": namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "x" * EACH}}
        await asyncio.to_thread(hands.create, body)
    trust = ssl.create_default_context(cafile=str(api_server.ca_file))
    token = {"Authorization": f"Bearer {api_server.tokens['admin']}"}
    url, lines = f"{proxy.url}{MAPS.format(namespace)}?watch=true&timeoutSeconds=60", bytearray()
    narrow = aiohttp.TCPConnector(ssl=trust, socket_factory=small_socket)
    async with aiohttp.ClientSession(connector=narrow, headers=token) as session, session.get(url) as answer:
        await asyncio.sleep(1.0)  # nobody reads: what is on its way fills the sockets, and the rest waits behind
        (stream,) = proxy.passing
        assert 0 < stream.size < EACH * COUNT * 3 // 4
        while lines.count(b"\n") < COUNT:
            lines += await answer.content.readany()
    names = [json.loads(line)["object"]["metadata"]["name"] for line in lines.splitlines()]
    assert names == sorted(f"m{number}" for number in range(COUNT))


def small_socket(address: Any) -> socket.socket:
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    return made
