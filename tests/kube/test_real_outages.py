"""A real API server that dies, comes back with another certificate, and forgets its history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from contracts.kube_contract import config_map, until
from kube.hostile import LOOPBACK, Fence
from testbed.controlplane import ControlPlane

from fleet.core.documents import text_at
from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName
from fleet.errors import IdentityMismatch
from fleet.kube.connect import KubeConnector
from fleet.kube.credentials import NamedCredentials
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Changed, Kube, Listed, Lost, Seen, ServedKind


@pytest.fixture
def plane(own_api_server: Callable[..., ControlPlane]) -> ControlPlane:
    return own_api_server(own_etcd=True)


@pytest.fixture
async def kube(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Kube]:
    (tmp_path / "eu-1.kubeconfig").write_text(yaml.safe_dump(plane.kubeconfig()))
    limits = replace(KubeLimits(), read_tries=20)
    connector = KubeConnector(NamedCredentials(tmp_path), limits=limits, allowed=LOOPBACK)
    kube = await connector.connect(ClusterName("eu-1"), Connection(), expected=None, fence=Fence())
    yield kube
    await kube.close()


async def maps_of(kube: Kube) -> ServedKind:
    found = (await kube.discover()).find("", "ConfigMap")
    assert found is not None
    return found


def names_in(seen: Seen) -> set[str]:
    """Which objects are there, by what was seen."""
    items = seen.items if isinstance(seen, Listed) else [seen.object] if isinstance(seen, Changed) else []
    return {text_at(item, "metadata", "name") for item in items}


async def test_nothing_is_missed_over_an_outage_and_a_new_certificate_is_proven(
    plane: ControlPlane, kube: Kube
) -> None:
    maps = await maps_of(kube)
    async with aclosing(kube.follow(maps, namespace="default")) as events:  # type: ignore[type-var]
        await until(events, Listed)
        await asyncio.to_thread(plane.stop_api_server, kill=True)
        lost = await until(events, Lost)
        assert lost.reason == "ClusterUnreachable"
        plane.renew_server_certificate()
        await asyncio.to_thread(plane.start_api_server)
        mark = plane.ledger_mark()
        await kube.apply(maps, "default", "a", config_map("a", "default"))
        # An API server that begins anew may have forgotten the position (410): then it comes with the new list.
        async with asyncio.timeout(60):
            while "a" not in names_in(await anext(events)):
                pass
    asked = [(request.verb, request.resource, request.name) for request in plane.ledger(mark, user_agent="fleet/")]
    assert asked.index(("get", "namespaces", "kube-system")) < asked.index(("patch", "configmaps", "a"))


async def test_a_history_that_was_compacted_leads_to_a_new_list(plane: ControlPlane, kube: Kube) -> None:
    maps = await maps_of(kube)
    since = (await kube.list(maps)).resource_version
    await kube.apply(maps, "default", "a", config_map("a", "default"))
    plane.compact()
    await asyncio.to_thread(plane.stop_api_server)
    await asyncio.to_thread(plane.start_api_server)  # its watch cache begins after the compaction
    async with aclosing(kube.follow(maps, since=since)) as events:  # type: ignore[type-var]
        listed = await until(events, Listed, seconds=60)
    assert "a" in names_in(listed)


async def test_another_cluster_at_the_same_address_gets_no_write(
    plane: ControlPlane, own_api_server: Callable[..., ControlPlane], tmp_path: Path
) -> None:
    other = own_api_server()
    folder = tmp_path / "credentials"
    folder.mkdir()
    connector = KubeConnector(NamedCredentials(folder), allowed=LOOPBACK)
    (folder / "eu-1.kubeconfig").write_text(yaml.safe_dump(plane.kubeconfig()))
    first = await connector.connect(ClusterName("eu-1"), Connection(), expected=None, fence=Fence())
    await first.close()
    (folder / "eu-1.kubeconfig").write_text(yaml.safe_dump(other.kubeconfig()))
    mark = other.ledger_mark()
    with pytest.raises(IdentityMismatch, match=str(first.identity)):
        await connector.connect(ClusterName("eu-1"), Connection(), expected=first.identity, fence=Fence())
    assert [request.verb for request in other.ledger(mark, user_agent="fleet/")] == ["get"]
