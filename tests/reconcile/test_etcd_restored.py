"""A real etcd is restored from a snapshot under a running hub; its revisions are not bumped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.status import EventKind


@pytest.mark.parametrize("more", [0, 400], ids=["behind", "beyond"])
async def test_what_an_etcd_restore_undid_is_made_good(own_api_server: Callable[..., ControlPlane], more: int) -> None:
    """more: writes of others before the hub looks again; then the history is beyond all that it had seen."""
    plane = own_api_server(own_etcd=True)
    client = plane.client()
    shop = client.make_namespace("shop")
    hub = Hub(plane)
    path = f"/api/v1/namespaces/{shop}/configmaps"

    def restore() -> None:
        plane.put_store_back(kept)
        for number in range(more):
            client.apply(config_map("noise", shop, {"n": str(number)}))

    unit = hub.want("web", [config_map("a", shop, {"v": "old"}), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        kept = await asyncio.to_thread(plane.keep_store)
        await hub.until(lambda: hub.reports[-1].reachable, "reached again", 60)
        hub.want("web", [config_map("a", shop, {"v": "new"}), config_map("b", shop), config_map("c", shop)], commit="b")
        await hub.until_well(unit, seconds=60)
        await asyncio.to_thread(restore)
        assert client.get(f"{path}/a")["data"] == {"v": "old"} or hub.told(EventKind.HEALED)
        async with asyncio.timeout(90):
            while client.get(f"{path}/a")["data"] != {"v": "new"} or not client.exists(f"{path}/c"):
                await asyncio.sleep(0.2)
        await hub.until_well(unit, seconds=30)
