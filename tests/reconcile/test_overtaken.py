"""What is ordered while a pass is under way: objects that move to another unit, and news that the pass must heed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.documents import text_at
from fleet.core.status import EventKind
from fleet.reconcile.limits import WorkerLimits


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


class Gates:
    """Holds requests up: `shut` a verb and name, wait until one `came`, then `open` it."""

    def __init__(self) -> None:
        self.kube: Any = None
        self._closed: dict[tuple[str, str], asyncio.Event] = {}
        self._came: dict[tuple[str, str], asyncio.Event] = {}

    def __call__(self, kube: Any) -> Gates:
        self.kube = kube
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kube, name)

    def shut(self, verb: str, name: str) -> None:
        self._closed[verb, name], self._came[verb, name] = asyncio.Event(), asyncio.Event()

    async def came(self, verb: str, name: str) -> None:
        async with asyncio.timeout(20):
            await self._came[verb, name].wait()

    def open(self, verb: str, name: str) -> None:
        self._closed.pop((verb, name)).set()

    async def _pass(self, verb: str, name: str) -> None:
        if (closed := self._closed.get((verb, name))) is not None:
            self._came[verb, name].set()
            await closed.wait()

    async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        await self._pass("apply", name)
        return await self.kube.apply(kind, namespace, name, *rest, **options)

    async def get(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        await self._pass("get", name)
        return await self.kube.get(kind, namespace, name, *rest, **options)

    async def delete(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        await self._pass("delete", name)
        return await self.kube.delete(kind, namespace, name, *rest, **options)


@pytest.fixture
def gates(hub: Hub) -> Gates:
    made = hub.between = Gates()
    hub.limits = WorkerLimits(changed_per_slot=1)  # a write that is held up holds no other up
    return made


@pytest.mark.parametrize("other_is_at", ["get n", "apply x"])
async def test_what_moves_to_a_unit_amid_its_pass_is_not_pruned_by_the_unit_that_drops_it(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str, other_is_at: str
) -> None:
    """The list of what goes was made before the other's newest bundle was read (R16)."""
    client = api_server.client()
    one = hub.want("one", [config_map("a", shop), config_map("x", shop)])
    two = hub.want("two", [config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(one, two)
        uid = text_at(client.get(path(shop, "x")), "metadata", "uid")
        gates.shut("apply", "b")
        hub.want("two", [config_map("b", shop, {"a": "2"})], commit="b")
        await gates.came("apply", "b")
        gates.shut("apply", "a")
        hub.want("one", [config_map("a", shop, {"a": "2"})], commit="c", send=False)
        hub.want("two", [config_map(name, shop, {"a": "2"}) for name in "bnx"], commit="c")
        await gates.came("apply", "a")  # one has made its plan
        verb, name = other_is_at.split()
        gates.shut(verb, name)
        gates.open("apply", "b")
        await gates.came(verb, name)  # two has read its bundle; at the apply it has taken the row over as well
        gates.open("apply", "a")
        await hub.until(lambda: hub.units[one].commit == "c" * 40, "one is done with what it has")
        gates.open(verb, name)
        await hub.until_well(one, two)
    assert text_at(client.get(path(shop, "x")), "metadata", "uid") == uid
    assert client.get(path(shop, "x"))["data"] == {"a": "2"}
    assert not hub.told(EventKind.HELD)
    assert not [entry for entry in hub.audited if entry.action == "delete"]
    assert not [event for event in hub.told(EventKind.PRUNED)]
