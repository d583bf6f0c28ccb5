"""Clusters behind a proxy: http CONNECT and socks5, their own certificate checks, and never a way around (R30)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from kube.hostile import UID, World
from kube.proxies import Proxy, http_connect, socks5

from fleet.errors import AddressRefused, CertificateUntrusted, ClusterUnreachable, CredentialRefused
from fleet.ports.kube import ServedKind

KINDS = pytest.mark.parametrize(("scheme", "kind"), [("http", http_connect), ("socks5", socks5), ("socks5h", socks5)])
MAPS = ServedKind("", "v1", "ConfigMap", "configmaps", True, frozenset())
Kind = Callable[..., Awaitable[bool]]


@asynccontextmanager
async def proxied(world: World, kind: Kind, password: str = "") -> AsyncIterator[Proxy]:
    proxy = Proxy(world.server.port, password=password)
    await proxy.start(kind)
    yield proxy
    await proxy.stop()


@KINDS
async def test_the_proxy_resolves_the_name_and_sees_only_the_tunnel(world: World, scheme: str, kind: Kind) -> None:
    await world.server.restart(world.server.make_context("api.private.acme"))
    async with proxied(world, kind) as proxy:
        server = {"server": "https://api.private.acme:6443", "proxy-url": f"{scheme}://127.0.0.1:{proxy.port}"}
        async with world.connected(world.kubeconfig(**server)) as kube:
            assert kube.identity == UID
            assert await kube.get(MAPS, "shop", "web") is None
        assert len(proxy.asked) == 1
        assert proxy.asked[0].endswith("api.private.acme:6443")
        assert b"t0ken" not in b"".join(proxy.greetings)


@KINDS
async def test_behind_a_proxy_the_certificate_is_checked_all_the_same(world: World, scheme: str, kind: Kind) -> None:
    async with proxied(world, kind) as proxy:
        server = {"server": "https://api.private.acme:6443", "proxy-url": f"{scheme}://127.0.0.1:{proxy.port}"}
        with pytest.raises(CertificateUntrusted, match="for another host name"):
            async with world.connected(world.kubeconfig(**server)):
                pass
        server["tls-server-name"] = "localhost"
        async with world.connected(world.kubeconfig(**server)) as kube:
            assert kube.identity == UID


@KINDS
async def test_a_proxy_that_refuses_is_named_and_not_gone_around(world: World, scheme: str, kind: Kind) -> None:
    async with proxied(world, kind) as proxy:
        proxy.refuse = True
        config = world.kubeconfig(**{"proxy-url": f"{scheme}://127.0.0.1:{proxy.port}"})
        with pytest.raises(ClusterUnreachable, match="through its proxy"):
            async with world.connected(config):
                pass
    with pytest.raises(ClusterUnreachable, match="through its proxy"):
        async with world.connected(config):
            pass
    assert world.server.asked == []


async def test_a_proxy_password_goes_to_the_proxy_and_into_no_message(world: World) -> None:
    async with proxied(world, http_connect, "jo:pa55") as proxy:
        good = world.kubeconfig(**{"proxy-url": f"http://jo:pa55@127.0.0.1:{proxy.port}"})
        async with world.connected(good) as kube:
            assert kube.identity == UID
        wrong = world.kubeconfig(**{"proxy-url": f"http://jo:wr0ng@127.0.0.1:{proxy.port}"})
        with pytest.raises(ClusterUnreachable) as caught:
            async with world.connected(wrong):
                pass
        assert "wr0ng" not in str(caught.value)


async def test_proxies_of_the_environment_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxied(world, http_connect) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with world.connected() as kube:
            assert kube.identity == UID
        assert proxy.asked == []


@KINDS
async def test_a_proxy_at_a_refused_address_is_not_dialled(world: World, scheme: str, kind: Kind) -> None:
    async with proxied(world, kind) as proxy:
        server = {"server": "https://api.private.acme:6443", "proxy-url": f"{scheme}://localhost:{proxy.port}"}
        with pytest.raises(AddressRefused, match="loopback"):
            async with world.connected(world.kubeconfig(**server), allowed=()):
                pass
        assert proxy.asked == []


async def test_an_unknown_kind_of_proxy_is_refused_with_its_line(world: World) -> None:
    with pytest.raises(CredentialRefused, match=r"credential eu-1:\d+.*only http, socks5, socks5h"):
        async with world.connected(world.kubeconfig(**{"proxy-url": "ftp://127.0.0.1:21"})):
            pass


@KINDS
async def test_connections_through_a_proxy_notice_dead_peers_too(
    world: World, scheme: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    original = socket.socket.setsockopt

    def noted(self: socket.socket, level: int, option: int, value: int) -> None:
        seen.append((option, value))
        original(self, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", noted)
    async with proxied(world, kind) as proxy:
        config = world.kubeconfig(**{"proxy-url": f"{scheme}://127.0.0.1:{proxy.port}"})
        async with world.connected(config) as kube:
            assert kube.identity == UID
    assert (socket.SO_KEEPALIVE, 1) in seen
    assert (socket.TCP_USER_TIMEOUT, 30_000) in seen
