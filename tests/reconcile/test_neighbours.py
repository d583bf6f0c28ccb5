"""Another installation on a cluster: on simulated ones, and two dangers with their twins on a real API server."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest
from rig import CLUSTER, Hub, config_map
from simulated import SHOP, SimHub
from testbed.controlplane import ControlPlane
from two_hubs import SOON, WAITS_SECONDS, finding, owner_of, parent_on, put_parent, refused, settled, writes_since

import fleet.reconcile.parent
from fleet.core.documents import Document, canonical
from fleet.core.fleet import Mode
from fleet.core.ids import Digest, Revision
from fleet.core.objects import Mark
from fleet.core.parent import parent_document, parent_of
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.rollout import Detach
from fleet.core.status import EventKind, Health, Sync
from fleet.reconcile.limits import WorkerLimits
from fleet.store.memory_journal import MemoryJournal


async def test_an_overlay_of_the_same_name_is_of_who_was_there_first_and_nothing_is_written(
    first: SimHub, second: SimHub
) -> None:
    await settled(first)
    before, mark = parent_on(first), first.cluster.ledger.sequence
    unit = second.want("web", [config_map("b", SHOP)])
    async with second.worker():
        said = await second.until(lambda: refused(second, unit), "refused")
        assert "acme was there first" in said.message
        assert "kubectl -n fleet-system delete configmap" in said.next_step
        assert said.blocked_by[0].scope == f"cluster {CLUSTER}"
        await asyncio.sleep(WAITS_SECONDS)
        assert "acme was there first" in finding(second)
    assert writes_since(second, mark) == []
    assert parent_on(first) == before


async def test_other_overlays_of_another_installation_are_not_written_either(first: SimHub, second: SimHub) -> None:
    await settled(first)
    mark = first.cluster.ledger.sequence
    unit = second.want("api", [config_map("b", SHOP)])
    async with second.worker():
        await second.until(lambda: refused(second, unit), "refused")
        assert second.told(EventKind.FAILED, "OwnedByOther")
    assert writes_since(second, mark) == []


async def test_the_hub_that_was_first_goes_on_after_a_restart_and_after_the_loss_of_its_state(first: SimHub) -> None:
    """The harmless twin."""
    await settled(first)
    generation = parent_on(first)["metadata"]["annotations"]["fleet.internal/record-generation"]
    unit = first.want("web", [config_map("a", SHOP), config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        await first.until(lambda: _generation(first) > int(generation), "written again")
    first.journal = MemoryJournal()
    unit = first.want("web", [config_map("a", SHOP), config_map("c", SHOP)], commit="b")
    generation = str(_generation(first))
    async with first.worker():
        await first.until(lambda: unit in first.units and first.units[unit].blocked_by, "waits for a person")
        assert not finding(first)
        first.send_desired(recovered=first.shown())
        await first.until_well(unit)
        await first.until(lambda: _generation(first) > int(generation), "written by the recovered one")


def _generation(hub: SimHub) -> int:
    return int(parent_on(hub)["metadata"]["annotations"]["fleet.internal/record-generation"])


async def test_once_the_first_has_let_go_the_second_begins_by_itself(first: SimHub, second: SimHub) -> None:
    unit = await settled(first)
    other = second.want("web", [config_map("b", SHOP)])
    async with second.worker(), first.worker():
        await second.until(lambda: refused(second, other), "refused")
        first.want("web", action=Detach())
        await first.until(lambda: unit not in first.units, "let go")
        await second.until_well(other)
        await second.until(lambda: not finding(second), "nothing any more")
        await second.until(lambda: owner_of(parent_on(second)) == "rival", "its own parent")
    assert first.cluster.get("", "ConfigMap", SHOP, "a") is not None


@pytest.mark.parametrize("back", [7200.0, 0.0], ids=["set back", "right"])
async def test_who_comes_later_is_not_the_first_though_the_clock_there_was_set_back(
    first: SimHub, second: SimHub, monkeypatch: pytest.MonkeyPatch, back: float
) -> None:
    """It was connected while nobody was there, and is told of its first overlay once the other one has settled."""
    monkeypatch.setattr(fleet.reconcile.parent, "_FRESH_SECONDS", 0.2)
    second.limits = WorkerLimits(retry_first_seconds=0.1)  # its next list is an hour away
    second.send_desired()
    async with second.worker():
        await second.until(lambda: second.told(EventKind.CONNECTED), "connected")
        await asyncio.sleep(0.5)
        unit = await settled(first)
        if back:
            first.cluster.faults.add("clock", seconds=-back)
        mark, other = first.cluster.ledger.sequence, second.want("api", [config_map("b", SHOP)])
        said = await second.until(lambda: refused(second, other), "refused")
        assert "acme was there first" in said.message
        async with first.worker():
            first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b")
            await first.until_well(unit)
            assert not finding(first)
    assert not [line for line in writes_since(second, mark) if not line.endswith((" a", " unit-web"))]


async def test_who_finds_nobody_there_begins_though_nobody_looked_for_long(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harmless twin: one list, whatever the number of its overlays."""
    monkeypatch.setattr(fleet.reconcile.parent, "_FRESH_SECONDS", 0.2)
    first.limits = WorkerLimits()
    first.send_desired()
    async with first.worker():
        await first.until(lambda: first.told(EventKind.CONNECTED), "connected")
        await asyncio.sleep(0.5)
        mark = first.cluster.ledger.sequence
        units = [first.want(name, [config_map(name, SHOP)], send=False) for name in ("a", "b", "c")]
        first.send_desired()
        await first.until_well(*units)
    lists = [
        one for one in first.cluster.ledger.since(mark) if one.verb == "list" and one.namespace == PARENT_NAMESPACE
    ]
    assert len(lists) == 2, "before, and once it can be seen by others"


@pytest.mark.parametrize("observes", [True, False])
async def test_to_observe_alone_hands_no_cluster_over(first: SimHub, second: SimHub, observes: bool) -> None:
    """What the first one left there counts until it lets go, which it does in mode manage alone."""
    unit = await settled(first)
    other = second.want("web", [config_map("b", SHOP)])
    first.mode = Mode.OBSERVE if observes else Mode.MANAGE
    async with second.worker(), first.worker():
        await second.until(lambda: refused(second, other), "refused")
        first.want("web", action=Detach())
        if observes:
            await asyncio.sleep(WAITS_SECONDS)
            assert refused(second, other)
            assert owner_of(parent_on(first)) == "acme"
            first.mode = Mode.MANAGE
            first.send_desired()
        await first.until(lambda: unit not in first.units, "let go")
        await second.until_well(other)


async def test_a_person_may_take_the_parents_of_a_dead_hub_away(first: SimHub, second: SimHub) -> None:
    await settled(first)
    other = second.want("web", [config_map("b", SHOP)])
    async with second.worker():
        await second.until(lambda: refused(second, other), "refused")
        first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
        await second.until_well(other)
    object_of_first: Any = first.cluster.get("", "ConfigMap", SHOP, "a")
    assert owner_of(object_of_first) == "acme", "its objects stay marked, and are not taken over"


async def test_a_newcomer_is_named_and_stops_nobody_who_was_there(first: SimHub) -> None:
    unit = await settled(first)
    async with first.worker():
        await asyncio.sleep(1.1)  # the server's times are of whole seconds
        put_parent(first, "rival", "api")
        await first.until(lambda: "rival came to eu-1 as well" in finding(first), "named")
        first.want("web", [config_map("a", SHOP), config_map("b", SHOP)], commit="b")
        await first.until_well(unit)
        assert owner_of(parent_on(first, "api")) == "rival"
        first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-api")
        await first.until(lambda: not finding(first), "gone")


async def test_a_unit_whose_place_another_has_is_refused_alone(first: SimHub) -> None:
    unit = await settled(first)
    await asyncio.sleep(1.1)
    put_parent(first, "rival", "api")
    api = first.want("api", [config_map("b", SHOP)])
    async with first.worker():
        said = await first.until(lambda: refused(first, api), "refused")
        assert said.message == "api@eu-1 belongs to rival: its parent object fleet-system/unit-api carries that mark"
        first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b")
        await first.until_well(unit)
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is None
    assert owner_of(parent_on(first, "api")) == "rival"


async def test_drift_is_not_healed_and_nothing_pruned_while_another_has_the_cluster(first: SimHub) -> None:
    unit = await settled(first)
    parent: Any = parent_on(first)
    first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
    put_parent(first, "rival", "web")
    mark = first.cluster.ledger.sequence
    async with first.worker():
        await first.until(lambda: refused(first, unit), "refused")
        first.cluster.drift("", "ConfigMap", SHOP, "a", {"data": {"a": "x"}})
        first.want("web", [config_map("b", SHOP)], commit="b")
        await asyncio.sleep(WAITS_SECONDS)
    assert writes_since(first, mark) == []
    assert parent["metadata"]["uid"] != parent_on(first)["metadata"]["uid"]


async def test_who_only_observes_is_in_nobodys_way(first: SimHub, second: SimHub) -> None:
    await settled(first)
    second.mode = Mode.OBSERVE
    unit = second.want("api", [config_map("b", SHOP)])
    async with second.worker():
        await second.until(lambda: unit in second.units and second.units[unit].sync is Sync.OUT_OF_SYNC, "compared")
        assert not finding(second)
        second.mode = Mode.MANAGE
        second.send_desired()
        await second.until(lambda: refused(second, unit), "refused")
        await second.until(lambda: finding(second), "said of the cluster")


async def test_a_newcomer_can_be_let_go(first: SimHub, second: SimHub) -> None:
    await settled(first)
    unit = second.want("web", [config_map("b", SHOP)])
    before = parent_on(first)
    async with second.worker():
        await second.until(lambda: refused(second, unit), "refused")
        second.want("web", action=Detach())
        await second.until(lambda: unit not in second.units, "let go")
    assert parent_on(first) == before


# What comes between a look and a write


class Between:
    """Another hub writes its parent just before ours is sent."""

    def __init__(self, kube: Any, hub: SimHub, installation: str) -> None:
        self._kube, self._hub, self._installation = kube, hub, installation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, namespace: str, name: str, body: bytes, **options: Any) -> Any:
        if name == "unit-web" and self._installation:
            found = parent_on(self._hub)
            if found is not None:
                self._hub.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, name)
            put_parent(self._hub, self._installation, "web")
            self._installation = ""
        return await self._kube.apply(kind, namespace, name, body, **options)


@pytest.mark.parametrize("existed", [False, True])
async def test_a_parent_that_another_wrote_meanwhile_is_not_overwritten(first: SimHub, existed: bool) -> None:
    unit = await settled(first) if existed else first.want("web", [config_map("a", SHOP)])
    first.between = lambda kube: Between(kube, first, "rival")
    if existed:
        first.want("web", [config_map("a", SHOP), config_map("b", SHOP)], commit="b")
    async with first.worker():
        await first.until(lambda: refused(first, unit), "refused")
        await asyncio.sleep(WAITS_SECONDS)
        assert owner_of(parent_on(first)) == "rival"
    assert (first.cluster.get("", "ConfigMap", SHOP, "a") is not None) is existed, "the parent comes first"


async def test_a_parent_of_ours_that_changed_meanwhile_is_written_over(first: SimHub) -> None:
    """The harmless twin: another incarnation, by ourselves."""
    unit = await settled(first)
    first.between = lambda kube: Between(kube, first, "acme")
    first.want("web", [config_map("a", SHOP), config_map("b", SHOP)], commit="b")
    async with first.worker():
        await first.until_well(unit)
        await first.until(lambda: _generation(first) > 1, "written")
        assert not first.units[unit].warnings


async def test_a_stranger_in_its_place_is_left_alone_and_said(first: SimHub) -> None:
    await settled(first, "api")
    first.cluster.create(config_map("unit-web", PARENT_NAMESPACE))
    unit = first.want("web", [config_map("b", SHOP)])
    async with first.worker():
        await first.until_well(unit)
        await first.until(lambda: first.units[unit].warnings, "said")
        assert "is nobody's" in first.units[unit].warnings[0]
    assert parent_on(first)["data"] == {"a": "1"}


async def test_before_the_first_object_of_a_unit_its_parent_is_looked_for(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of the parents may be an hour old by then."""
    first.limits = WorkerLimits()
    web = await settled(first)
    monkeypatch.setattr(fleet.reconcile.parent, "_FRESH_SECONDS", 0.0)
    async with first.worker():
        await first.until_well(web)
        await asyncio.sleep(1.1)
        put_parent(first, "rival", "api")
        api = first.want("api", [config_map("b", SHOP)])
        await first.until(lambda: refused(first, api), "refused")
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is None


# What it costs


async def test_it_costs_one_list_per_connection_and_no_read_per_unit(first: SimHub) -> None:
    first.limits = WorkerLimits()
    units = [first.want(f"u{number}", [config_map(f"c{number}", SHOP)], send=False) for number in range(5)]
    first.send_desired()
    async with first.worker():
        await first.until_well(*units)
        await first.until(lambda: parent_on(first, "u4"), "parents")
    asked = [e for e in first.cluster.ledger.since(0) if e.namespace == PARENT_NAMESPACE and e.verb != "watch"]
    told = Counter(f"{e.verb} {e.name}" for e in asked)
    begun = told - Counter(["list ", *(f"patch unit-u{number}" for number in range(5))])
    assert told["list "] == 2, "the other one once it can be seen by others"
    assert begun.total() == 2, "and one parent before the first object"
    mark = first.cluster.ledger.sequence
    async with first.worker():
        await first.until(lambda: all(first.is_well(unit) for unit in units), "well")
        await asyncio.sleep(WAITS_SECONDS)
    again = [e for e in first.cluster.ledger.since(mark) if e.namespace == PARENT_NAMESPACE and e.verb != "watch"]
    assert [f"{e.verb} {e.name}" for e in again] == ["list "]


@pytest.mark.parametrize("fails", [True, False])
async def test_a_list_that_fails_is_not_an_empty_one(first: SimHub, fails: bool) -> None:
    """R5: nobody knows who is there, and nothing is written."""
    unit = await settled(first)
    if fails:
        first.cluster.faults.add("error", code=403, verbs={"list"}, resource="configmaps")
    mark = first.cluster.ledger.sequence
    first.want("web", [config_map("a", SHOP), config_map("b", SHOP)], commit="b")
    async with first.worker():
        if fails:
            await first.until(lambda: "cannot list configmaps" in first.reports[-1].message, "said")
        else:
            await first.until_well(unit)
    assert (writes_since(first, mark) == []) is fails


# On a real API server


@pytest.mark.parametrize("same", [False, True], ids=["another installation", "the same"])
async def test_on_a_real_server_a_parent_is_overwritten_by_its_own_installation_alone(
    api_server: ControlPlane, hub: Hub, shop: str, same: bool
) -> None:
    path = f"/api/v1/namespaces/{PARENT_NAMESPACE}/configmaps/unit-web"
    admin = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        before = await asyncio.to_thread(admin.wait, path, bool)
    installation = hub.installation if same else f"i-{uuid.uuid4().hex[:8]}"
    other = Hub(api_server, installation=installation, limits=SOON, journal=hub.journal if same else MemoryJournal())
    again = other.want("web", [config_map("a", shop), config_map("b", shop)], commit="b")
    mark = api_server.ledger_mark()
    async with other.worker():
        if same:
            await other.until_well(again)
            after = await asyncio.to_thread(admin.wait, path, lambda seen: _version(seen) != _version(before))
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            return
        said = await other.until(lambda: refused(other, again), "refused")
        assert f"{hub.installation} was there first" in said.message
        assert said.health is not Health.HEALTHY
        await asyncio.sleep(WAITS_SECONDS)
        wrote = [request for request in api_server.ledger(mark, user_agent="fleet") if request.is_write]
        assert wrote == []
        assert _version(admin.get(path)) == _version(before)
        # What a person is told to do where the other hub is gone for good.
        selector = said.next_step.rpartition(" -l ")[2]
        admin.request("DELETE", path.rpartition("/")[0], query={"labelSelector": selector})
        await other.until(lambda: not finding(other), "nobody else any more")
        await other.until(lambda: other.object(again, "ConfigMap", "b").sync is Sync.SYNCED, "its own object")


@pytest.mark.parametrize("meanwhile", [True, False])
async def test_on_a_real_server_a_parent_that_another_wrote_meanwhile_is_not_overwritten(
    api_server: ControlPlane, hub: Hub, shop: str, meanwhile: bool
) -> None:
    admin = api_server.client()
    identity = admin.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]

    class Meanwhile:
        def __init__(self, kube: Any) -> None:
            self._kube, self._done = kube, not meanwhile

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def apply(self, kind: Any, namespace: str, name: str, body: bytes, **options: Any) -> Any:
            if name == "unit-web" and not self._done:
                self._done = True
                await asyncio.to_thread(admin.apply, _parent("rival", identity), manager="fleet")
            return await self._kube.apply(kind, namespace, name, body, **options)

    hub.between = Meanwhile
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        if meanwhile:
            await hub.until(lambda: refused(hub, unit), "refused")
        else:
            await hub.until_well(unit)
        path = f"/api/v1/namespaces/{PARENT_NAMESPACE}/configmaps/unit-web"
        seen = await asyncio.to_thread(admin.wait, path, bool)
        assert owner_of(seen) == ("rival" if meanwhile else hub.installation)


def _parent(installation: str, identity: str) -> Any:
    made = parent_of(Mark(installation, identity, "web"), [], generation=1, bundle=Digest("b"), commit=Revision("c"))
    document: Document = parent_document(made)
    assert canonical(document)
    return document


def _version(document: Any) -> str:
    return document["metadata"]["resourceVersion"]
