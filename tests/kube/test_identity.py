"""The right cluster: proven at the start, on each new certificate, and before late writes (R1, V2)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from kube.hostile import SHORT, UID, Asked, Reply, World, as_json, refusal

from fleet.errors import (
    CertificateUntrusted,
    ClusterUnreachable,
    IdentityMismatch,
    IdentityUnreadable,
)
from fleet.kube import transport
from fleet.kube.identity import with_sleep
from fleet.ports.kube import ServedKind

MAPS = ServedKind("", "v1", "ConfigMap", "configmaps", True, frozenset())
PROOF = "/api/v1/namespaces/kube-system"
OTHER = "5f0c0000-0000-4000-8000-00000000beef"


@pytest.fixture(autouse=True)
def accepts_everything(world: World) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
        return as_json({"kind": "ConfigMap", "metadata": {"name": "web", "resourceVersion": "1"}})

    world.server.answer = answer


async def test_the_first_request_of_all_is_the_proof_and_it_comes_once(world: World) -> None:
    async with world.connected(expected=None) as kube:
        assert kube.identity == UID
        assert kube.version == "v1.36.3"
        for _ in range(5):
            await kube.apply(MAPS, "shop", "web", b"{}")
    assert world.server.asked[0].path == PROOF
    proofs = world.server.seen("GET", PROOF)
    assert len(proofs) <= 2
    assert proofs[0].connection == 1


async def test_another_cluster_is_refused_at_the_start(world: World) -> None:
    world.server.uid = OTHER
    with pytest.raises(IdentityMismatch, match=f"identity {OTHER}, expected {UID}"):
        async with world.connected():
            pass
    assert [one.path for one in world.server.asked] == [PROOF]


async def test_a_missing_right_is_named(world: World) -> None:
    said = 'namespaces "kube-system" is forbidden: User "jo" cannot get resource "namespaces"'

    async def refuse(asked: Asked) -> Reply:
        return refusal(403, "Forbidden", said, {"name": "kube-system"})

    world.server.identity = refuse
    with pytest.raises(IdentityUnreadable, match="cannot get resource"):
        async with world.connected():
            pass


async def test_behind_a_new_certificate_of_the_same_cluster_writes_go_on_after_a_proof(world: World) -> None:
    async with world.connected() as kube:
        await kube.apply(MAPS, "shop", "web", b"{}")
        await world.server.restart(world.server.make_context("127.0.0.1"))
        before = len(world.server.asked)
        await kube.apply(MAPS, "shop", "web", b"{}")
    assert [one.path.partition("?")[0] for one in world.server.asked[before:]] == [
        PROOF,
        "/api/v1/namespaces/shop/configmaps/web",
    ]


async def test_behind_a_new_certificate_of_another_cluster_no_write_passes(world: World) -> None:
    async with world.connected() as kube:
        await kube.apply(MAPS, "shop", "web", b"{}")
        world.server.uid = OTHER
        await world.server.restart(world.server.make_context("127.0.0.1"))
        before = len(world.server.asked)
        for _ in range(3):
            with pytest.raises(IdentityMismatch):
                await kube.apply(MAPS, "shop", "web", b"{}")
        with pytest.raises(IdentityMismatch):
            await kube.get(MAPS, "shop", "web")
    assert {one.path for one in world.server.asked[before:]} == {PROOF}


async def test_a_late_proof_over_an_old_connection_says_nothing_of_the_credential_that_came_since(world: World) -> None:
    """The address and the token change while connections to the old server, with a new certificate, are being made."""
    through, begun = asyncio.Event(), asyncio.Event()
    through.set()
    old, new = [type(world.server)() for _ in range(2)]
    for server in (old, new):
        server.authority, server.answer = world.server.authority, world.server.answer
        await server.start(server.make_context("127.0.0.1"))
    ports = [world.server.port]

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await through.wait()
        there, back = await asyncio.open_connection("127.0.0.1", ports[-1])
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    relay = await asyncio.start_server(forward, "127.0.0.1", 0)
    before = world.kubeconfig({"token": "before"}, server=f"https://127.0.0.1:{relay.sockets[0].getsockname()[1]}")
    try:
        async with world.connected(before, limits=replace(SHORT, credential_seconds=0.05)) as kube:
            ports.append(old.port)
            through.clear()
            begun.clear()
            late = [asyncio.create_task(kube.get(MAPS, "shop", "web")) for _ in range(4)]  # more than are connected
            await begun.wait()
            world.write(world.kubeconfig({"token": "after"}, server=new.url))
            await asyncio.sleep(0.1)
            await kube.get(MAPS, "shop", "web")
            assert old.asked == []
            through.set()
            await asyncio.gather(*late)
        assert old.asked[0].path == PROOF
        assert {one.headers["authorization"] for one in old.asked} == {"Bearer before"}
        assert {one.headers["authorization"] for one in new.asked} == {"Bearer after"}
        assert new.asked[0].path == PROOF
    finally:
        relay.close()
        await old.stop()
        await new.stop()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_many_writes_at_once_behind_a_new_certificate_all_wait_for_the_proof(world: World) -> None:
    async with world.connected() as kube:
        world.server.uid = OTHER
        await world.server.restart(world.server.make_context("127.0.0.1"))
        calls = [kube.apply(MAPS, "shop", f"web-{number}", b"{}") for number in range(20)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, IdentityMismatch) for outcome in outcomes)
    assert world.server.seen("PATCH") == []


async def test_a_new_connection_with_a_proven_certificate_needs_no_new_proof(world: World) -> None:
    async with world.connected() as kube:
        before = len(world.server.seen("GET", PROOF))
        opened = world.server.connections
        world.server.cut()
        await kube.get(MAPS, "shop", "web")  # a read may find the pooled connection dead, and comes again
        await kube.apply(MAPS, "shop", "web", b"{}")
        assert len(world.server.seen("GET", PROOF)) == before
        assert world.server.connections > opened


async def test_a_late_write_proves_anew_and_an_early_one_does_not(world: World) -> None:
    async with world.connected() as kube:
        first = len(world.server.seen("GET", PROOF))
        await asyncio.gather(*(kube.apply(MAPS, "shop", "web", b"{}") for _ in range(5)))
        assert len(world.server.seen("GET", PROOF)) == first
    async with world.connected(limits=replace(SHORT, identity_seconds=0.05)) as kube:
        await asyncio.sleep(0.1)
        first = len(world.server.seen("GET", PROOF))
        await asyncio.gather(*(kube.apply(MAPS, "shop", "web", b"{}") for _ in range(5)))
        assert len(world.server.seen("GET", PROOF)) == first + 1


@pytest.mark.parametrize(("slept", "proofs"), [(601.0, 1), (1.0, 0)])
async def test_time_asleep_counts_as_time_without_a_proof(
    world: World, monkeypatch: pytest.MonkeyPatch, slept: float, proofs: int
) -> None:
    passed = [0.0]
    monkeypatch.setattr(transport, "with_sleep", lambda: with_sleep() + passed[0])
    async with world.connected() as kube:
        first = len(world.server.seen("GET", PROOF))
        passed[0] = slept  # the loop's own clock stood still meanwhile
        for _ in range(2):
            await kube.apply(MAPS, "shop", "web", b"{}")
        assert len(world.server.seen("GET", PROOF)) == first + proofs


async def test_reads_alone_never_prove_by_the_clock(world: World) -> None:
    async with world.connected(limits=replace(SHORT, identity_seconds=0.05)) as kube:
        await asyncio.sleep(0.1)
        first = len(world.server.seen("GET", PROOF))
        await kube.get(MAPS, "shop", "web")
        assert len(world.server.seen("GET", PROOF)) == first


async def test_a_cluster_exchanged_behind_the_same_certificate_is_found_by_the_late_proof(world: World) -> None:
    async with world.connected(limits=replace(SHORT, identity_seconds=0.05)) as kube:
        world.server.uid = OTHER
        await asyncio.sleep(0.1)
        for _ in range(2):
            with pytest.raises(IdentityMismatch):
                await kube.apply(MAPS, "shop", "web", b"{}")
        assert world.server.seen("PATCH") == []
        world.server.uid = UID
        await kube.apply(MAPS, "shop", "web", b"{}")


# Certificates that are not trusted


async def test_a_certificate_of_another_authority_is_refused(world: World) -> None:
    config = world.kubeconfig()
    world.server.authority = trustme.CA()
    await world.server.restart(world.server.make_context("127.0.0.1"))
    with pytest.raises(CertificateUntrusted, match="not signed by the expected authority"):
        async with world.connected(config):
            pass
    assert world.server.asked == []


async def test_an_expired_certificate_is_refused(world: World) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    await world.server.restart(world.server.make_context("127.0.0.1", not_after=past))
    with pytest.raises(CertificateUntrusted, match="has expired"):
        async with world.connected():
            pass
    assert world.server.asked == []


async def test_a_certificate_for_another_name_is_refused_and_tls_server_name_helps(world: World) -> None:
    await world.server.restart(world.server.make_context("api.acme.io"))
    with pytest.raises(CertificateUntrusted, match="for another"):
        async with world.connected():
            pass
    assert world.server.asked == []
    async with world.connected(world.kubeconfig(**{"tls-server-name": "api.acme.io"})) as kube:
        assert kube.identity == UID


async def test_without_an_authority_the_systems_are_asked_and_a_private_one_is_refused(world: World) -> None:
    with pytest.raises(CertificateUntrusted):
        async with world.connected(world.kubeconfig(**{"certificate-authority-data": None})):
            pass


async def test_a_port_where_nobody_listens_is_said_so(world: World) -> None:
    await world.server.stop()
    with pytest.raises(ClusterUnreachable, match=f"127.0.0.1:{world.server.port} refuses connections"):
        async with world.connected():
            pass
