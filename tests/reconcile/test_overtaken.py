"""What is ordered while a pass is under way: objects that move to another unit, and news that the pass must heed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from rig import Hub, config_map, notes
from testbed.controlplane import ControlPlane

from fleet.core.documents import text_at
from fleet.core.ids import UnitName
from fleet.core.objects import OWNER_ANNOTATION
from fleet.core.rollout import Detach
from fleet.core.status import EventKind
from fleet.core.sync_policy import Suspension
from fleet.ports.worker import JournalEntry
from fleet.reconcile.limits import WorkerLimits


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


class Gates:
    """Holds requests up: `shut` a verb and name, wait until one `came`, then `open` it, or see it `through`."""

    def __init__(self) -> None:
        self.kube: Any = None
        self._closed: dict[tuple[str, str], asyncio.Event] = {}
        self._came: dict[tuple[str, str], asyncio.Event] = {}
        self._ended: dict[tuple[str, str], asyncio.Event] = {}

    def __call__(self, kube: Any) -> Gates:
        self.kube = kube
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kube, name)

    def shut(self, verb: str, name: str) -> None:
        for events in (self._closed, self._came, self._ended):
            events[verb, name] = asyncio.Event()

    async def came(self, verb: str, name: str) -> None:
        async with asyncio.timeout(20):
            await self._came[verb, name].wait()

    def open(self, verb: str, name: str) -> None:
        self._closed.pop((verb, name)).set()

    async def through(self, verb: str, name: str) -> None:
        self.open(verb, name)
        async with asyncio.timeout(20):
            await self._ended[verb, name].wait()

    @asynccontextmanager
    async def _passed(self, verb: str, name: str) -> AsyncIterator[None]:
        if (closed := self._closed.get((verb, name))) is None:
            yield
            return
        self._came[verb, name].set()
        await closed.wait()
        try:
            yield
        finally:
            self._ended[verb, name].set()

    async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        async with self._passed("apply", name):
            return await self.kube.apply(kind, namespace, name, *rest, **options)

    async def get(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        async with self._passed("get", name):
            return await self.kube.get(kind, namespace, name, *rest, **options)

    async def delete(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        async with self._passed("delete", name):
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
    assert not hub.told(EventKind.PRUNED)


async def soon(found: Callable[[], Any]) -> None:
    """Wait for what the cluster shows and no report tells."""
    async with asyncio.timeout(20):
        while not found():
            await asyncio.sleep(0.05)


async def heard(hub: Hub) -> None:
    """Wait until the worker has taken the order that was sent last."""
    assert hub.desired is not None
    sequence = hub.desired.sequence
    await hub.until(lambda: hub.reports and hub.reports[-1].desired_sequence >= sequence, "the order was taken")


async def test_a_suspend_amid_a_pass_stops_the_rest_of_it_and_all_deletions(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    later = config_map("z", shop, {"a": "2"}, **notes(wave="1"))
    unit = hub.want("web", [config_map("a", shop), config_map("x", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        gates.shut("apply", "a")
        hub.want("web", [config_map("a", shop, {"a": "2"}), later], commit="b")
        await gates.came("apply", "a")
        stop = (Suspension("disk swap", owner="jo", scope="cluster eu-1"),)
        hub.want("web", [config_map("a", shop, {"a": "2"}), later], commit="b", suspensions=stop)
        await heard(hub)
        gates.open("apply", "a")
        await hub.until(lambda: hub.units[unit].blocked_by, "suspended")
        await hub.until(lambda: hub.units[unit].observed_commit == "b" * 40, "judged")
        assert not client.exists(path(shop, "z"))
        assert client.exists(path(shop, "x"))
        hub.want("web", [config_map("a", shop, {"a": "2"}), later], commit="b")
        await hub.until_well(unit)
        await soon(lambda: not client.exists(path(shop, "x")))
    assert client.exists(path(shop, "z"))


async def a_heal_waits(hub: Hub, gates: Gates, api_server: ControlPlane, shop: str) -> UnitName:
    """An object was changed by hand, and the write that heals it has not left yet."""
    unit = hub.want("web", [config_map("a", shop)])
    await hub.until_well(unit)
    gates.shut("apply", "a")
    api_server.client().merge(path(shop, "a"), {"data": {"a": "by hand"}})
    await gates.came("apply", "a")
    return unit


async def test_a_heal_that_waits_is_not_written_once_its_unit_is_suspended(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    async with hub.worker():
        unit = await a_heal_waits(hub, gates, api_server, shop)
        hub.want("web", [config_map("a", shop)], suspensions=(Suspension("disk swap", owner="jo"),))
        await heard(hub)
        await gates.through("apply", "a")
        assert client.get(path(shop, "a"))["data"] == {"a": "by hand"}
        hub.want("web", [config_map("a", shop)])
        await hub.until_well(unit)
    assert client.get(path(shop, "a"))["data"] == {"a": "1"}


async def test_a_heal_that_waits_is_written_when_its_turn_comes(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    """The twin."""
    async with hub.worker():
        await a_heal_waits(hub, gates, api_server, shop)
        hub.send_desired()
        await heard(hub)
        await gates.through("apply", "a")
        assert api_server.client().get(path(shop, "a"))["data"] == {"a": "1"}


async def test_a_parent_object_is_not_written_once_its_unit_is_suspended(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    client, parent = api_server.client(), "/api/v1/namespaces/fleet-system/configmaps/unit-web"
    unit = hub.want("web", [config_map("a", shop), config_map("x", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        before = text_at(client.get(parent), "metadata", "resourceVersion")
        gates.shut("apply", "unit-web")
        hub.want("web", [config_map("a", shop)], commit="b")
        await gates.came("apply", "unit-web")
        hub.want("web", [config_map("a", shop)], commit="b", suspensions=(Suspension("disk swap", owner="jo"),))
        await heard(hub)
        gates.open("apply", "unit-web")
        await hub.until(lambda: hub.units[unit].blocked_by, "suspended")
        assert not client.exists(path(shop, "x"))
        assert text_at(client.get(parent), "metadata", "resourceVersion") == before
        hub.want("web", [config_map("a", shop)], commit="b")
        await soon(lambda: text_at(client.get(parent), "metadata", "resourceVersion") != before)


async def test_what_a_newer_commit_wants_again_is_not_pruned_and_each_commit_keeps_its_name(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop), config_map("x", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        uid = text_at(client.get(path(shop, "x")), "metadata", "uid")
        gates.shut("apply", "a")
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b")
        await gates.came("apply", "a")
        hub.want("web", [config_map("a", shop, {"a": "2"}), config_map("x", shop)], commit="c")
        await heard(hub)
        gates.open("apply", "a")
        await hub.until_well(unit)
    assert text_at(client.get(path(shop, "x")), "metadata", "uid") == uid
    assert [event.commit for event in hub.told(EventKind.APPLIED)] == ["a" * 40, "b" * 40, "c" * 40]


async def test_a_unit_is_not_let_go_while_what_it_has_may_move(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    one = hub.want("one", [config_map("x", shop)])
    two = hub.want("two", [config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(one, two)
        uid = text_at(client.get(path(shop, "x")), "metadata", "uid")
        gates.shut("apply", "b")
        hub.want("two", [config_map("b", shop, {"a": "2"})], commit="b")
        await gates.came("apply", "b")
        hub.want("one", action=Detach(), commit="c", send=False)
        hub.want("two", [config_map("b", shop, {"a": "2"}), config_map("x", shop)], commit="c")
        await hub.until(lambda: one not in hub.units or "waits until" in hub.units[one].message, "judged")
        assert one in hub.units
        gates.open("apply", "b")
        await hub.until_well(two)
        await hub.until(lambda: one not in hub.units, "let go")
    live = client.get(path(shop, "x"))
    assert text_at(live, "metadata", "uid") == uid
    assert "two" in text_at(live, "metadata", "annotations", OWNER_ANNOTATION)


async def test_what_was_refused_and_goes_meanwhile_ends_nothing(
    hub: Hub, gates: Gates, api_server: ControlPlane, shop: str
) -> None:
    """Its replacement waits for a finalizer, which is let go while the rest of the pass is written."""
    client = api_server.client()

    def fixed(value: str) -> dict[str, Any]:
        return {**config_map("x", shop, {"a": value}, **notes(replace="enabled")), "immutable": True}

    unit = hub.want("web", [config_map("a", shop), fixed("1")])
    async with hub.worker():
        await hub.until_well(unit)
        client.merge(path(shop, "x"), {"metadata": {"finalizers": ["test.fleet.internal/waits"]}})
        gates.shut("apply", "a")
        hub.want("web", [config_map("a", shop, {"a": "2"}), fixed("2")], commit="b")
        await gates.came("apply", "a")
        await soon(lambda: text_at(client.get(path(shop, "x")), "metadata", "deletionTimestamp"))
        client.merge(path(shop, "x"), {"metadata": {"finalizers": None}})
        await asyncio.sleep(1.0)  # the event that it is gone, and the read by name, come beside the pass
        gates.open("apply", "a")
        await hub.until_well(unit)
    assert client.get(path(shop, "x"))["data"] == {"a": "2"}
    assert not [report for report in hub.reports if "KeyError" in str(report)]


async def test_a_move_is_in_the_journal_before_a_hook_is_waited_for(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """Else a new connection or a new process finds the object in two records, or in none."""
    one = hub.want("one", [config_map("a", shop), config_map("x", shop)])
    two = hub.want("two", [config_map("b", shop)])
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": "never", "namespace": shop, **notes(hook="PreSync")}
    never = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}
    async with hub.worker():
        await hub.until_well(one, two)
        hub.want("one", [config_map("a", shop)], commit="b", send=False)
        hub.want("two", [never, config_map("b", shop), config_map("x", shop)], commit="b")
        await hub.until(lambda: hub.units[two].reason == "HookRuns", "the hook is waited for")
        await hub.until_well(one)
    rows = (await hub.journal.load()).rows
    assert [row.unit for row in rows if row.ref.name == "x"] == [two]
    given = next(row for row in rows if row.ref.name == "x")
    # As an older version left it: in both records, and the one that gave it up comes last.
    await hub.journal.commit(JournalEntry(drop=((two, given.ref),)))
    await hub.journal.commit(JournalEntry(put=(given, replace(given, unit=one))))
    hub.want("two", [config_map("b", shop), config_map("x", shop, {"a": "2"})], commit="c")
    async with hub.worker():
        await hub.until_well(one, two)
    assert [row.unit for row in (await hub.journal.load()).rows if row.ref.name == "x"] == [two]
    assert api_server.client().get(path(shop, "x"))["data"] == {"a": "2"}
