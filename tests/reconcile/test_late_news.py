"""What a pass could not do or know at its moment is done once it can be: found by seeded schedules of faults."""

from __future__ import annotations

import asyncio
from typing import Any

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.ports.kube import Removed


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


class Between:
    """Hands everything on."""

    def __init__(self, kube: Any) -> None:
        self._kube = kube

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)


async def test_a_prune_that_met_another_units_pass_is_due_when_that_has_ended(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """Nothing is pruned while some unit has not read its newest bundle (R16): what was dropped may move there."""
    client = api_server.client()
    waits, goes_on = asyncio.Event(), asyncio.Event()
    goes_on.set()

    class Waiting(Between):
        async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
            if name == "a":
                waits.set()
                await goes_on.wait()
            return await self._kube.apply(kind, namespace, name, *rest, **options)

    hub.between = Waiting
    one = hub.want("one", [config_map("a", shop)])
    two = hub.want("two", [config_map(name, shop) for name in "xyz"])
    async with hub.worker():
        await hub.until_well(one, two)
        goes_on.clear()
        waits.clear()
        hub.want("one", [config_map("a", shop, {"a": "2"})], commit="b")
        await waits.wait()
        hub.want("one", [config_map("a", shop, {"a": "3"})], commit="c", send=False)
        hub.want("two", [config_map(name, shop) for name in "xy"], commit="c")
        await hub.until(lambda: hub.units[two].observed_commit == "c" * 40, "judged beside the other's pass")
        assert client.exists(path(shop, "z"))
        goes_on.set()
        await hub.until_well(one, two)
    assert not client.exists(path(shop, "z"))


async def test_an_object_that_went_unseen_is_read_when_the_server_refuses_to_compare_it(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()

    class Deaf(Between):
        async def follow(self, kind: Any, **options: Any) -> Any:
            async for seen in self._kube.follow(kind, **options):
                if not isinstance(seen, Removed):
                    yield seen

        async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
            if options.get("dry_run") and name == "a" and client.exists(path(shop, "a")):
                client.delete(path(shop, "a"))  # between the event that is judged and the question
            return await self._kube.apply(kind, namespace, name, *rest, **options)

    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    hub.between = Deaf
    async with hub.worker():
        await hub.until_well(unit)
        before = client.get(path(shop, "a"))
        taken = {**before, "metadata": {**before["metadata"], "managedFields": []}}
        client.request("PUT", path(shop, "a"), taken)  # who owned which field is forgotten: only a dry-run can tell
        await hub.until(lambda: client.exists(path(shop, "a")) and _uid(client, shop) != _uid_of(before), "made anew")
        await hub.until_well(unit)


def _uid(client: Any, shop: str) -> str:
    return _uid_of(client.get(path(shop, "a")))


def _uid_of(document: dict[str, Any]) -> str:
    return document["metadata"]["uid"]
