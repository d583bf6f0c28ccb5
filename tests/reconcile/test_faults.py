from __future__ import annotations

import asyncio

import pytest
from rig import Deaf, Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.ids import Digest
from fleet.core.objects import Bundle
from fleet.core.status import EventKind, Sync
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.errors import OwnedByOther, StateBusy, StateNotWritable
from fleet.store.memory_journal import MemoryJournal


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


async def test_an_api_server_that_goes_away_is_unreachable_and_converges_when_it_is_back(own_api_server) -> None:
    plane: ControlPlane = own_api_server()
    shop = plane.client().make_namespace("shop")
    hub = Hub(plane)
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        await asyncio.to_thread(plane.stop_api_server)
        await hub.until(lambda: not hub.reports[-1].reachable, "lost")
        assert hub.reports[-1].reason
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b")
        await asyncio.sleep(0.5)
        await asyncio.to_thread(plane.start_api_server)
        await hub.until_well(unit, seconds=60)
        assert hub.reports[-1].reachable
        assert plane.client().get(path(shop, "a"))["data"] == {"a": "2"}


async def test_a_bundle_that_cannot_be_read_stops_its_own_unit_alone(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    broken = hub.want("broken", [config_map("a", shop)], send=False)
    lost = hub.bundles.popitem()
    unit = hub.want("web", [config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        await hub.until(lambda: broken in hub.units and hub.units[broken].reason == "StateDamaged", "named")
        hub.bundles[lost[0]] = lost[1]
        await hub.until_well(broken)


async def test_a_missing_right_is_named_and_concerns_only_what_needs_it(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    api_server.grant("limited", {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "create", "patch"]})
    api_server.grant("limited", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]})
    hub.user = "limited"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": shop}, "stringData": {}}
    unit = hub.want("web", [config_map("a", shop), secret], send=False)
    other = hub.want("other", [config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(other)
        await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.sync is Sync.SYNCED, "the rest")
        assert hub.object(unit, "Secret", "s").sync is not Sync.SYNCED


async def test_state_that_cannot_be_written_stops_writes_first_and_recovers(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    class Full(MemoryJournal):
        full = False

        async def commit(self, entry) -> None:
            if self.full:
                raise StateNotWritable("the disk is full", where="data directory", next_step="make room")
            await super().commit(entry)

    client = api_server.client()
    hub.journal = Full()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.journal.full = True
        hub.want("web", [config_map("a", shop), config_map("b", shop)], commit="b")
        await hub.until(lambda: hub.reports[-1].reason == "StateNotWritable", "said")
        assert not client.exists(path(shop, "b"))
        hub.journal.full = False
        await hub.until_well(unit, seconds=30)
        assert client.exists(path(shop, "b"))


async def test_a_lost_lease_ends_all_writing(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    class Leased(Hub):
        lost = False

        async def check(self) -> int:
            if self.lost:
                raise OwnedByOther("another hub holds the lease", next_step="none")
            return 1

    client = api_server.client()
    hub = Leased(api_server, installation=hub.installation)
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.lost = True
        client.merge(path(shop, "a"), {"data": {"a": "x"}})
        await hub.until(lambda: hub.reports[-1].reason == "OwnedByOther", "said")
        await asyncio.sleep(0.3)
        assert client.get(path(shop, "a"))["data"] == {"a": "x"}
        hub.lost = False
        await hub.until(lambda: hub.told(EventKind.HEALED), "goes on with a lease", 60)


@pytest.mark.parametrize("validate", [Validate.SERVER, Validate.SCHEMA])
async def test_an_object_that_was_made_anew_unseen_is_read_again(
    hub: Hub, api_server: ControlPlane, shop: str, validate: Validate
) -> None:
    client, shut = api_server.client(), asyncio.Event()
    hub.between = lambda kube: Deaf(kube, shut)
    sync = SyncPolicy(validate=validate)
    unit = hub.want("web", [config_map("a", shop)], sync=sync)
    async with hub.worker():
        await hub.until_well(unit)
        shut.set()
        live = client.get(path(shop, "a"))
        client.delete(path(shop, "a"))
        kept = {name: live["metadata"][name] for name in ("name", "namespace", "labels", "annotations")}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept, "data": live["data"]}
        again = client.apply(made, manager="fleet")
        assert again["metadata"]["uid"] != live["metadata"]["uid"]
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b", sync=sync)
        await hub.until(lambda: client.get(path(shop, "a"))["data"] == {"a": "2"}, "applied to the new one")
        assert client.get(path(shop, "a"))["metadata"]["uid"] == again["metadata"]["uid"]


async def test_state_that_is_not_read_in_time_delays_one_unit_and_ends_no_connection(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    documents, left, read = [config_map("b", shop)], 3, hub.bundle
    busy = hub.bundle_of(documents).digest

    async def bundle(digest: Digest) -> Bundle:
        nonlocal left
        if digest == busy and left:
            left -= 1
            raise StateBusy("the state was not read in time", next_step="wait")
        return await read(digest)

    hub.bundle = bundle  # type: ignore[method-assign]
    other = hub.want("other", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(other)
        connected = len(hub.reports)
        slow = hub.want("slow", documents)
        await hub.until_well(slow)
        assert left == 0
        assert {report.reason for report in hub.reports[connected:]} == {""}
