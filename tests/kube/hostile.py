"""A local HTTPS server that answers as a test says, byte by byte where it must, and connections to it."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import yaml

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName, Identity
from fleet.kube.connect import KubeConnector
from fleet.kube.credentials import NamedCredentials
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Kube

UID = "5f0c0000-0000-4000-8000-000000000001"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
SHORT = KubeLimits(call_seconds=5, list_seconds=5, idle_seconds=2, connect_seconds=2, read_tries=2)


@dataclass
class Asked:
    method: str
    path: str  # with the query
    headers: dict[str, str]  # names in lower case
    body: bytes
    connection: int  # which connection carried it, from 1


@dataclass
class Reply:
    """What the server sends: an HTTP answer, or `raw` bytes instead; then it may cut the connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    close: bool = False

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        headers = {"Content-Type": "application/json", "Content-Length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def as_json(document: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(
        status, json.dumps(document).encode(), {name.replace("_", "-"): value for name, value in headers.items()}
    )


def refusal(code: int, reason: str = "", message: str = "", details: Any = None, **headers: str) -> Reply:
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return as_json({**document, "message": message, "details": details or {}}, code, **headers)


Handler = Callable[[Asked, asyncio.StreamWriter], Awaitable[Reply | None]]


class HostileServer:
    """Proves itself as cluster `uid`; everything else is up to `answer`. None as a reply: the test wrote itself."""

    def __init__(self, uid: str = UID) -> None:
        self.uid = uid
        self.asked: list[Asked] = []
        self.connections = 0
        self.answer: Handler = _not_found
        self.identity: Callable[[Asked], Awaitable[Reply]] = self._own_identity
        self.authority = trustme.CA()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.context = self.make_context("127.0.0.1", "localhost")

    def make_context(self, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, **options).configure_cert(context)
        return context

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context or self.context
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    async def restart(self, context: ssl.SSLContext) -> None:
        """Come back on the same port with another certificate."""
        await self.stop()
        await self.start(context)

    def cut(self) -> None:
        """Break all open connections."""
        for writer in tuple(self._open):
            writer.transport.abort()

    @property
    def open_connections(self) -> int:
        return sum(not writer.is_closing() for writer in self._open)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def seen(self, method: str = "", path: str = "") -> list[Asked]:
        return [one for one in self.asked if one.method.startswith(method) and one.path.startswith(path)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._open.add(writer)
        try:
            while (asked := await _read_request(reader, number)) is not None:
                self.asked.append(asked)
                reply = await self._reply(asked, writer)
                if reply is not None:
                    writer.write(reply.encoded())
                    await writer.drain()
                if reply is None or reply.close:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # the test is over, or the client has gone
        finally:
            self._open.discard(writer)
            writer.close()

    async def _own_identity(self, asked: Asked) -> Reply:
        return as_json({"kind": "PartialObjectMetadata", "metadata": {"name": "kube-system", "uid": self.uid}})

    async def _reply(self, asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        if asked.path == "/api/v1/namespaces/kube-system":
            return await self.identity(asked)
        if asked.path == "/version":
            return as_json({"gitVersion": "v1.36.3"})
        return await self.answer(asked, writer)


async def _not_found(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
    name = asked.path.partition("?")[0].rsplit("/", 1)[-1]
    return refusal(404, "NotFound", f'configmaps "{name}" not found', {"name": name, "kind": "configmaps"})


async def _read_request(reader: asyncio.StreamReader, number: int) -> Asked | None:
    first = await reader.readline()
    if not first:
        return None
    method, path, _ = first.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body, number)


class Fence:
    """Counts, and refuses when told to."""

    def __init__(self) -> None:
        self.checks = 0
        self.error: Exception | None = None

    async def check(self) -> int:
        self.checks += 1
        if self.error is not None:
            raise self.error
        return 1


@dataclass
class World:
    """One hostile server and what a test connects to it with."""

    server: HostileServer
    folder: Path
    fence: Fence = field(default_factory=Fence)

    def kubeconfig(self, user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
        authority = base64.b64encode(self.server.authority.cert_pem.bytes()).decode()
        entry = {"server": self.server.url, "certificate-authority-data": authority, **cluster}
        return {
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {name: value for name, value in entry.items() if value is not None}}],
            "users": [{"name": "u", "user": user if user is not None else {"token": "t0ken"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }

    def write(self, config: dict[str, Any], name: str = "eu-1") -> Path:
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    @asynccontextmanager
    async def connected(
        self,
        config: dict[str, Any] | None = None,
        *,
        limits: KubeLimits = SHORT,
        expected: str | None = UID,
        allowed: Any = LOOPBACK,
    ) -> AsyncIterator[Kube]:
        """A connection of the hub."""
        self.write(config or self.kubeconfig())
        connector = KubeConnector(NamedCredentials(self.folder), limits=limits, allowed=allowed)
        identity = Identity(expected) if expected else None
        kube = await connector.connect(ClusterName("eu-1"), Connection(), expected=identity, fence=self.fence)
        try:
            yield kube
        finally:
            await kube.close()
