"""A commit goes to the oldest minor of Kubernetes that fleet supports: applied, healed, changed, pruned, at rest."""

from __future__ import annotations

import asyncio

from scenarios.real import World, config_map, lined_up, namespace_of
from testbed.controlplane import ControlPlane

from fleet.core.ids import ClusterName
from fleet.core.status import EventKind


async def test_the_oldest_minor_is_delivered_to_and_then_left_in_peace(
    world: World, older_api_server: ControlPlane, namespace: str
) -> None:
    hands, path = older_api_server.client(), f"/api/v1/namespaces/{namespace}/configmaps"
    world.describe(sync={"validate": "server"})
    world.cluster("older", older_api_server, "web")
    world.overlay("web", [namespace_of(namespace), config_map("a", namespace), config_map("b", namespace)])
    first = world.commit()
    async with world.hub() as hub:
        await hub.until_done(first)
        assert hub.view.clusters[ClusterName("older")].version.startswith("v1.34.")
        hands.merge(f"{path}/a", {"data": {"a": "by hand"}})
        await hub.until(lambda: hands.get(f"{path}/a")["data"] == {"a": "1"}, "healed")
        world.overlay("web", [namespace_of(namespace), config_map("a", namespace, {"a": "2"})])
        second = world.commit()
        await hub.until_done(second)
        await hub.until(lambda: not hands.exists(f"{path}/b"), "pruned")
        assert hands.get(f"{path}/a")["data"] == {"a": "2"}
        await asyncio.sleep(0.5)  # the parent object follows the list
        mark = older_api_server.ledger_mark()
        await asyncio.sleep(1.0)
        assert lined_up(older_api_server.ledger(mark, user_agent="fleet")) == []
        assert await hub.events(EventKind.HEALED)
