"""Faults before a real API server: what the hub then writes, judged by the ledger of the proxy that plays them.

Each run has its harmless twin: the same without the fault, which converges and prunes what should go.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from proxied import ProxiedHub, seen
from rig import Deaf, config_map
from testbed.controlplane import ControlPlane
from testbed.faultproxy import FaultProxy

from fleet.core.ids import UnitName
from fleet.core.retry import Backoff
from fleet.core.status import EventKind
from fleet.kube.limits import KubeLimits
from fleet.reconcile.limits import WorkerLimits

both = pytest.mark.parametrize("faulty", [True, False], ids=["fault", "twin"])
BACK_SOON = WorkerLimits(reconnect_first_seconds=0.1, retry_first_seconds=0.2)
SOON = KubeLimits(proof_seconds=1.0)


@pytest.fixture
async def hub(api_server: ControlPlane, shop: str) -> AsyncIterator[ProxiedHub]:
    async with FaultProxy(api_server) as proxy:
        hub = ProxiedHub(proxy, installation=f"i-{uuid.uuid4().hex[:8]}", shop=shop)  # type: ignore[arg-type]
        hub.limits, hub.kube_limits = BACK_SOON, SOON
        yield hub
        proxy.faults.clear()
        assert hub.violations() == []


def maps(hub: ProxiedHub, names: str, **values: str) -> list[dict[str, Any]]:
    return [config_map(name, hub.shop, {"a": values.get(name, "1")}) for name in names]


def relist(hub: ProxiedHub) -> None:
    """The watches end, and what was missed cannot be had: all is listed anew."""
    hub.proxy.faults.add("expired", verbs={"watch"}, resource="configmaps", count=1)
    hub.proxy.cut()


async def changed_and_dropped(hub: ProxiedHub, unit: UnitName) -> None:
    """The second commit is there: `a` has changed, `c` is gone, each with one write."""
    await hub.until_well(unit, seconds=60)
    assert await asyncio.to_thread(hub.live, "c") is None
    assert (await asyncio.to_thread(hub.live, "a"))["data"] == {"a": "2"}


async def lost(hub: ProxiedHub, reason: str) -> None:
    """The worker says that it does not know: what it said before grows old, and then is Unknown (R21)."""
    await hub.until(lambda: not hub.reports[-1].reachable and hub.reports[-1].reason == reason, reason)


@both
async def test_nothing_is_pruned_by_a_list_that_breaks_off(hub: ProxiedHub, faulty: bool) -> None:
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        if faulty:
            half = hub.proxy.faults.add("half_list", resource="configmaps")
        relist(hub)
        since = time.time()
        if faulty:
            await hub.until(lambda: half.hits >= 2, "half lists")
            await lost(hub, "AnswerInvalid")
            assert hub.reports[-1].message == "cannot list configmaps: the answer broke off"
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        if faulty:
            tries = half.hits
            await seen(lambda: half.hits >= tries + 2, "listed again and again")
            assert hub.asked("delete", since=since) == []
            hub.proxy.faults.clear()
        await changed_and_dropped(hub, unit)
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a"]


@both
async def test_a_watch_that_is_cut_in_a_line_is_noticed(hub: ProxiedHub, faulty: bool) -> None:
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        if faulty:
            hub.proxy.faults.add("truncated", resource="configmaps", count=1)
        opened = time.time()
        hub.proxy.cut()
        await seen(lambda: hub.asked("watch", since=opened), "a watch that will be cut, or not")
        since = time.time()
        await asyncio.to_thread(hub.hand, "a", "by hand")
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed", 60)
        assert hub.asked("watch", since=since) or not faulty
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        await changed_and_dropped(hub, unit)
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a", "patch a"]


@both
async def test_a_watch_that_says_nothing_is_noticed(hub: ProxiedHub, faulty: bool) -> None:
    hub.kube_limits = replace(SOON, silence_seconds=2.0)
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        if faulty:
            mute = hub.proxy.faults.add("silent", resource="configmaps")
        hub.proxy.cut()
        if faulty:
            await seen(lambda: mute.hits, "a mute watch")
        since = time.time()
        await asyncio.to_thread(hub.hand, "a", "by hand")
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed", 60)
        if faulty:  # no watch says it: whole lists do, and each is asked for by a watch that was proven mute
            assert [entry for entry in hub.asked("list", since=since) if "limit" in entry.query]
            hub.proxy.faults.clear()
            hub.proxy.cut()
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        await changed_and_dropped(hub, unit)
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a", "patch a"]


@both
async def test_a_storm_of_410_is_weathered_without_a_storm_of_lists(hub: ProxiedHub, faulty: bool) -> None:
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        since = time.time()
        if faulty:
            storm = hub.proxy.faults.add("expired")
        hub.proxy.cut()
        if faulty:
            await seen(lambda: storm.hits >= 4, "watches that are expired")
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        await changed_and_dropped(hub, unit)
        lists, seconds = len(hub.asked("list", since=since)), time.time() - since
    assert lists <= 4 + 2 * seconds
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a"]


@both
@pytest.mark.parametrize("name", ["a", "new"])
async def test_a_write_that_landed_without_an_answer_is_not_doubled(hub: ProxiedHub, faulty: bool, name: str) -> None:
    hub.kube_limits = replace(SOON, call_seconds=1.0)
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        since = time.time()
        if faulty:
            mute = hub.proxy.faults.add("lost_write", verbs={"patch"}, name=name, count=1)
        hub.want("web", [*maps(hub, "ab", a="2"), config_map("new", hub.shop)], commit="b")
        wanted = {"a": "2" if name == "a" else "1"}
        first = await seen(lambda: (live := hub.live(name)) and live["data"] == wanted and live, "landed")
        await changed_and_dropped(hub, unit)
        assert (mute.hits if faulty else 1) == 1
        last = await asyncio.to_thread(hub.live, name)
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a", "patch new"]
    assert last["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    owners = [(entry["manager"], entry["operation"]) for entry in last["metadata"]["managedFields"]]
    assert owners == [("fleet", "Apply")]


@both
async def test_a_deletion_that_landed_without_an_answer_is_not_doubled(hub: ProxiedHub, faulty: bool) -> None:
    hub.kube_limits = replace(SOON, call_seconds=1.0)
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        since = time.time()
        if faulty:
            hub.proxy.faults.add("lost_write", verbs={"delete"}, name="c", count=1)
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        await changed_and_dropped(hub, unit)
        await hub.until(lambda: not hub.object(unit, "ConfigMap", "c"), "forgotten")
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a"]
    outcomes = [entry.outcome for entry in hub.audited if entry.action == "delete"]
    assert outcomes == (["", "unknown: ClusterTimeout", "gone"] if faulty else ["", "done"])


@both
@pytest.mark.parametrize("anew", [False, True], ids=["changed", "made-anew"])
async def test_what_was_read_too_old_is_not_deleted(hub: ProxiedHub, faulty: bool, anew: bool) -> None:
    """The real server refuses: the version, or the UID, is not the one that was read."""
    ears = asyncio.Event()
    hub.between = lambda kube: Deaf(kube, ears)
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        ears.set()  # what happens is not told, only read
        await asyncio.to_thread(noise, hub)
        live = await asyncio.to_thread(hub.live, "c")
        now = await asyncio.to_thread(make_anew if anew else touch, hub, live)
        await asyncio.to_thread(noise, hub)
        newest = (await asyncio.to_thread(noise, hub))["metadata"]["resourceVersion"]
        if faulty:
            ago = int(newest) - int(now["metadata"]["resourceVersion"]) + NOISE // 2
            hub.proxy.faults.add("stale", name="c", versions=ago)
        since = time.time()
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        if faulty:
            await seen(lambda: len(hub.asked("delete", "c", since=since)) >= 1, "tried")
            refused = hub.asked("delete", "c", since=since)
            assert {(entry.code, entry.landed) for entry in refused} == {(409, False)}
            assert {entry.asked_uid for entry in refused} == {live["metadata"]["uid"]}
            assert (await asyncio.to_thread(hub.live, "c"))["metadata"]["uid"] == now["metadata"]["uid"]
            hub.proxy.faults.clear()
        if anew:  # nor is it when it is read right: it is another one
            await hub.until(lambda: "was made anew by someone else" in hub.units[unit].message, "said")
            assert (await asyncio.to_thread(hub.live, "c"))["metadata"]["uid"] == now["metadata"]["uid"]
        else:
            await changed_and_dropped(hub, unit)
    assert sorted(hub.writes(since=since)) == [*([] if anew else ["delete c"]), "patch a"]


NOISE = 20


def noise(hub: ProxiedHub) -> Any:
    """Writes that concern nobody, so that the history has room for the servers' own."""
    for number in range(NOISE):
        made = hub.proxy.plane.client().apply(config_map("noise", hub.shop, {"n": str(number), "at": str(time.time())}))
    return made


def touch(hub: ProxiedHub, live: Any) -> Any:
    path = f"/api/v1/namespaces/{hub.shop}/configmaps/{live['metadata']['name']}"
    return hub.proxy.plane.client().merge(path, {"metadata": {"labels": {"seen": "by-another-hand"}}})


def make_anew(hub: ProxiedHub, live: Any) -> Any:
    """The same object with its mark under a new UID, as a restore from a backup makes it."""
    client, path = hub.proxy.plane.client(), f"/api/v1/namespaces/{hub.shop}/configmaps/{live['metadata']['name']}"
    client.delete(path)
    kept = {name: live["metadata"][name] for name in ("name", "namespace", "labels", "annotations")}
    return client.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept, "data": live["data"]}, manager="fleet"
    )


@both
async def test_another_cluster_behind_the_same_address_gets_no_write(
    hub: ProxiedHub, monkeypatch: pytest.MonkeyPatch, faulty: bool
) -> None:
    monkeypatch.setattr("fleet.reconcile.worker.REFUSALS", Backoff(0.1, 0.2))  # it comes back to be fooled again
    hub.kube_limits = replace(SOON, identity_seconds=0.0)  # before each write
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        since, mark = time.time(), await asyncio.to_thread(hub.proxy.plane.ledger_mark)
        if faulty:
            hub.proxy.faults.add("identity")
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        if faulty:
            await lost(hub, "IdentityMismatch")
            looks = hub.proxy.ledger.count(verb="get", resource="namespaces")
            await seen(lambda: hub.proxy.ledger.count(verb="get", resource="namespaces") > looks + 2, "looked again")
            assert not [entry for entry in hub.proxy.ledger if entry.landed and entry.moment > since]
            asked = await asyncio.to_thread(hub.proxy.plane.ledger, mark, user_agent="fleet/")
            assert not [request for request in asked if request.is_write]
            hub.proxy.faults.clear()
        await changed_and_dropped(hub, unit)
    assert sorted(hub.writes(since=since)) == ["delete c", "patch a"]


@both
async def test_one_byte_a_second_is_no_answer(hub: ProxiedHub, faulty: bool) -> None:
    hub.kube_limits = replace(SOON, call_seconds=2.0, list_seconds=2.0)
    unit = hub.want("web", maps(hub, "abc"))
    async with hub.worker():
        await hub.until_well(unit)
        since = time.time()
        if faulty:
            hub.proxy.faults.add("drip", seconds=1.0)
        hub.proxy.cut()
        hub.want("web", maps(hub, "ab", a="2"), commit="b")
        if faulty:
            await hub.until(lambda: not hub.reports[-1].reachable, "slower than any deadline")
            assert hub.object(unit, "ConfigMap", "c")
            hub.proxy.faults.clear()
        await changed_and_dropped(hub, unit)
    assert sorted(set(hub.writes(since=since))) == ["delete c", "patch a"]


@both
async def test_429_is_waited_for_as_long_as_it_asks(hub: ProxiedHub, faulty: bool) -> None:
    names = [f"n{number}" for number in range(20)]
    unit = hub.want("web", [config_map(name, hub.shop) for name in [*names, "c"]])
    async with hub.worker():
        await hub.until_well(unit)
        since = time.time()
        if faulty:
            hub.proxy.faults.add("error", code=429, retry_after=2, verbs={"patch"}, name="n0", count=1)
        hub.want("web", [config_map(name, hub.shop, {"a": "2"}) for name in names], commit="b")
        await hub.until_well(unit, seconds=60)
    tries = [entry for entry in hub.asked("patch", "n0", since=since) if not entry.dry_run]
    assert [entry.code for entry in tries] == ([429, 200] if faulty else [200])
    assert tries[-1].moment - tries[0].moment >= (2.0 if faulty else 0.0)
    between = [e for e in hub.asked("patch", since=since) if tries[0].moment < e.moment < tries[-1].moment - 0.1]
    assert len(between) <= 16  # those that were in flight
    assert sorted(hub.writes(since=since)) == sorted(["delete c", *(f"patch {name}" for name in names)])
