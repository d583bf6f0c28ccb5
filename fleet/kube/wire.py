"""The connections of one cluster: sockets, TLS, proxies, and the proof of identity on each new certificate.

aiohttp carries the bytes; what it does on its own account is switched off here: environment proxies, cookies,
redirects, decompression, and the silent repeat of requests on connections that turn out to be dead.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.connector import Connection
from aiohttp_socks import ProxyConnector, ProxyType
from python_socks import parse_proxy_url

from fleet.errors import ClusterUnreachable
from fleet.kube.access import Endpoint, Ticket, tls_context
from fleet.kube.addresses import AddressRule, CheckedResolver
from fleet.kube.limits import KubeLimits
from fleet.kube.lookups import resolve

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

    from fleet.kube.exchange import Headers

# asyncio gives each TLS connection a read buffer of 256 KiB; hundreds of idle watches make that the largest thing in
# the process. 16 KiB is one TLS record.
SSLProtocol.max_size = 16 << 10

_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
_DEAD_PEER_MILLISECONDS = 30_000  # with the probes above a dead peer is noticed within 45 s (R19)
_IDLE_POOLED_SECONDS = 50.0  # below the 60 s after which common load balancers drop a connection
_MOST_CERTIFICATES = 16  # tries to get a connection whose certificate is proven

_over: ContextVar[Connection | None] = ContextVar("fleet_kube_over", default=None)

Prove = Callable[[], Awaitable[None]]
Before = Callable[[], Awaitable[None]]  # asked before a request is sent; raises where it must not be

_before: ContextVar[Before | None] = ContextVar("fleet_kube_before", default=None)


@contextmanager
def asked_before_sending(before: Before | None) -> Generator[None]:
    """What is sent in here is asked about once it has its connection: getting one may take as long as a queue."""
    token = _before.set(before)
    try:
        yield
    finally:
        _before.reset(token)


class ConnectionBroken(Exception):
    """The connection ended before the answer; whether the request was carried out is not known."""


class Proof:
    """Which certificates have been proven to be the cluster's (R1).

    `prove` sends one request over the very connection that showed the certificate, and raises where the cluster is
    another one; nothing else has been sent over that connection before.
    """

    def __init__(self, prove: Prove) -> None:
        self._prove = prove
        self._proven: set[str] = set()
        self._turn = asyncio.Lock()

    def knows(self, certificate: str) -> bool:
        """Whether this certificate (SHA-256, "" for plain http) needs no proof."""
        return certificate in self._proven

    def forget(self) -> None:
        """All certificates need a proof again."""
        self._proven.clear()

    async def over(self, connection: Connection, certificate: str) -> bool:
        """Prove a certificate over a connection, which goes back to the pool; True if that had been done meanwhile."""
        async with self._turn:
            if certificate in self._proven:
                return True
            token = _over.set(connection)
            try:
                await self._prove()
            except BaseException:
                connection.close()
                raise
            finally:
                _over.reset(token)
            self._proven.add(certificate)
            return False


class _ProvingConnector(aiohttp.TCPConnector):
    """Hands out only connections whose certificate is proven, but for the proof itself."""

    _cleanup_closed_period = 60.0  # aiohttp's 2 s would be most of what an idle hub with many clusters does
    _proof: Proof
    _certificates: WeakKeyDictionary[object, str]

    def guard(self, proof: Proof) -> None:
        """Say what proves certificates; called once, before the first connection."""
        self._proof, self._certificates = proof, WeakKeyDictionary()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        if (connection := _over.get()) is not None:
            _over.set(None)
            return connection
        for _ in range(_MOST_CERTIFICATES):
            connection = await super().connect(req, traces, timeout)
            certificate = self._certificate_of(connection)
            if self._proof.knows(certificate) or await self._proof.over(connection, certificate):
                await _ask_before(connection)
                return connection
        raise ClusterUnreachable(
            "the API server shows another certificate on each connection",
            where=str(req.url.host),
            why="no connection could be proven to reach the right cluster (R1)",
            next_step="see what stands in front of the API server",
        )

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        # Closed, TLS waits up to 30 s for the other side's last word: a cluster that is mute would keep a connection
        # more for each call that was given up (R18).
        if should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)

    def _certificate_of(self, connection: Connection) -> str:
        protocol = connection.protocol
        if protocol is None:
            return ""
        known = self._certificates.get(protocol)
        if known is None:
            transport = connection.transport
            secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport else None
            shown = secured.getpeercert(binary_form=True) if secured else None
            known = hashlib.sha256(shown).hexdigest() if shown else ""
            self._certificates[protocol] = known
        return known


async def _ask_before(connection: Connection) -> None:
    if (before := _before.get()) is None:
        return
    try:
        await before()
    except BaseException:
        connection.release()
        raise


class _DirectConnector(_ProvingConnector):
    pass


class _ProxiedConnector(_ProvingConnector, ProxyConnector):
    """Through one proxy (http CONNECT or socks5). Names are resolved by the proxy; its own address is checked here."""

    def through(self, proxy: str, rule: AddressRule, seconds: float) -> None:
        """Say how the proxy is called, which addresses it may have, and how long they are sought; called once."""
        self._proxy_name, self._rule, self._lookup_seconds = proxy, rule, seconds

    async def _connect_via_proxy(
        self, host: str, port: int, ssl: ssl.SSLContext | None = None, timeout: float | None = None
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        addresses = await resolve(self._proxy_name, self._proxy_port, socket.AF_UNSPEC, seconds=self._lookup_seconds)
        for address in addresses:
            self._rule.check(self._proxy_name, address)
        self._proxy_host = addresses[0]
        transport, protocol = await super()._connect_via_proxy(host, port, ssl, timeout)
        if isinstance(connected := transport.get_extra_info("socket"), object) and connected is not None:
            _keep_alive(connected)
        return transport, protocol


def _keep_alive(connected: Any) -> None:
    """Notice a dead peer in time. `connected` is a socket, or asyncio's wrapper of one."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MILLISECONDS)


def _socket(address: Any) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    _keep_alive(made)
    return made


async def _send_once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn the errors after which aiohttp repeats GET and DELETE by itself into one that it does not know (R20)."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionBroken(str(error)) from error


class Line:
    """The session to one endpoint with one client certificate; replaced as a whole when either changes.

    headers: of its own newest ticket, and no other line's: what is proven late over an old connection says to its end
    what is said there. prove: as `Proof` asks for it, over this line.
    """

    def __init__(
        self,
        ticket: Ticket,
        headers: Headers,
        rule: AddressRule,
        prove: Callable[[Line], Awaitable[None]],
        limits: KubeLimits,
        where: str,
    ) -> None:
        endpoint = ticket.endpoint
        self.headers = headers
        self.proof = Proof(partial(prove, self))
        self.endpoint = endpoint
        self.base = endpoint.server
        rule.check_literal(_host_of(endpoint))
        secure: ssl.SSLContext | bool = tls_context(ticket, where) if endpoint.server.startswith("https:") else False
        self._connector = _connector(endpoint, rule, secure, limits)
        self._connector.guard(self.proof)
        self._identity = (endpoint, ticket.certificate, ticket.key)
        self.read_timeout = aiohttp.ClientTimeout(sock_connect=limits.connect_seconds, sock_read=limits.idle_seconds)
        self.write_timeout = aiohttp.ClientTimeout(sock_connect=limits.connect_seconds)
        self.session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_send_once,),
            timeout=self.read_timeout,
            max_line_size=16 << 10,
            max_field_size=32 << 10,
        )

    def serves(self, ticket: Ticket) -> bool:
        """Whether this line can carry requests with that ticket."""
        return self._identity == (ticket.endpoint, ticket.certificate, ticket.key)

    async def close(self) -> None:
        """End all connections at once; calls in flight fail."""
        await self.session.close()


def _connector(
    endpoint: Endpoint, rule: AddressRule, secure: ssl.SSLContext | bool, limits: KubeLimits
) -> _ProvingConnector:
    shared: dict[str, Any] = {
        "ssl": secure or True,
        "limit": limits.connections,
        "keepalive_timeout": _IDLE_POOLED_SECONDS,
        "enable_cleanup_closed": sys.version_info < (3, 12),
    }
    if not endpoint.proxy:
        return _DirectConnector(
            resolver=CheckedResolver(rule, limits.connect_seconds), socket_factory=_socket, **shared
        )
    scheme, rest = endpoint.proxy.split("://", 1)
    kind, host, port, user, password = parse_proxy_url(f"{scheme.replace('socks5h', 'socks5')}://{rest}")
    connector = _ProxiedConnector(
        host=host,
        port=port,
        proxy_type=ProxyType(kind),
        username=user,
        password=password,
        rdns=True,  # as kubectl: the proxy resolves names that may be known behind it alone
        **shared,
    )
    connector.through(host, rule, limits.connect_seconds)
    return connector


def _host_of(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.server).hostname or ""
