"""Entries and clusters are one to one (R2), on a real API server: its audit log tells what was written."""

from __future__ import annotations

import asyncio

from scenarios.real import World, config_map, namespace_of, writes
from testbed.controlplane import ControlPlane


async def test_a_renamed_entry_keeps_what_it_has_and_nothing_is_written_for_it(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin, path = api_server.client(), f"/api/v1/namespaces/{namespace}/configmaps/c"
    world.cluster("old", api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace)])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        before, mark = admin.get(path), api_server.ledger_mark()
        world.write({"clusters/old.yaml": None})
        world.cluster("new", api_server, "web")
        second = world.commit()
        await hub.until_done(second)
        await hub.until(lambda: hub.is_well("web@new"), "well under its new name")
        assert "old" not in hub.view.clusters
        assert writes(api_server.ledger(mark, user_agent="fleet")) == []
        assert admin.get(path) == before
        await asyncio.to_thread(admin.merge, path, {"data": {"a": "by hand"}})
        await asyncio.to_thread(admin.wait, path, lambda seen: seen["data"] == before["data"])


async def test_two_entries_of_one_server_are_both_stopped_until_one_of_them_goes(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin, path = api_server.client(), f"/api/v1/namespaces/{namespace}/configmaps/c"
    world.cluster("one", api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace)])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        before, mark = admin.get(path), api_server.ledger_mark()
        world.cluster("two", api_server, "web")
        world.commit()
        hub.fetch()
        await hub.until(lambda: (twin := hub.view.clusters.get("two")) and twin.reason == "IdentityMismatch", "refused")
        await hub.until(lambda: hub.summary("web@one").blocked_by, "stopped")
        await asyncio.to_thread(admin.merge, path, {"data": {"a": "by hand"}})
        await hub.until(lambda: hub.summary("web@one").drifted, "seen")
        assert writes(api_server.ledger(mark, user_agent="fleet")) == []
        world.write({"clusters/two.yaml": None})
        await hub.until_done(world.commit())
        await asyncio.to_thread(admin.wait, path, lambda seen: seen["data"] == before["data"])
