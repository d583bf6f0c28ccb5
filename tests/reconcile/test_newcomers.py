"""The first of an installation on a cluster: others find it before its first object, and it finds them (R23)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import config_map, notes
from simulated import SHOP, SimHub
from test_lost_labels import workload
from testbed.workloads import job
from two_hubs import WAITS_SECONDS, finding, parent_on, refused, seen_there, settled

import fleet.reconcile.parent
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.status import EventKind
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.reconcile.limits import WorkerLimits
from fleet.store.memory_journal import MemoryJournal


def never_settles(way: str) -> list[dict[str, Any]]:
    """A unit that writes something, and waits then for ever."""
    if way == "wave":
        return [workload("app:crash"), config_map("late", SHOP, **notes(wave="1"))]
    if way == "hook":
        once = job("before", SHOP)
        once["spec"]["suspend"] = True
        once["metadata"] |= notes(hook="PreSync")
        return [once, config_map("late", SHOP)]
    return [config_map("late", SHOP)]


def wrote(hub: SimHub, way: str) -> bool:
    kind = {"wave": ("apps", "Deployment", SHOP, "d"), "hook": ("batch", "Job", SHOP, "before")}
    return hub.cluster.get(*kind.get(way, ("", "ConfigMap", SHOP, "late"))) is not None


@pytest.mark.parametrize("way", ["wave", "hook", "settles"])
async def test_who_comes_while_the_first_unit_of_another_has_not_settled_finds_it(
    first: SimHub, second: SimHub, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """And never becomes the first by the dates, so that the other one would stop."""
    monkeypatch.setattr(fleet.reconcile.parent, "_FRESH_SECONDS", 0.2)
    second.limits = WorkerLimits(retry_first_seconds=0.1)
    second.send_desired()
    async with second.worker():
        await second.until(lambda: second.told(EventKind.CONNECTED), "connected")
        unit = first.want("web", never_settles(way), sync=SyncPolicy(validate=Validate.SCHEMA))
        async with first.worker():
            await seen_there(lambda: wrote(first, way))
            assert parent_on(first), "before the first object"
            await asyncio.sleep(0.5)
            other = second.want("api", [config_map("b", SHOP)])
            said = await second.until(lambda: refused(second, other), "refused")
            assert "acme was there first" in said.message
        first.units.clear()
        async with first.worker():
            await first.until(lambda: unit in first.units, "judged")
            await asyncio.sleep(WAITS_SECONDS)
            assert not refused(first, unit)
            assert not finding(first)
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is None
    assert parent_on(first, "api") is None


@pytest.mark.parametrize("is_there", [True, False])
async def test_two_that_begin_in_the_same_minute_meet_before_their_first_object(
    first: SimHub, second: SimHub, *, is_there: bool
) -> None:
    """Each had found nobody."""
    second.limits = WorkerLimits(retry_first_seconds=0.1)
    second.send_desired()
    async with second.worker():
        await second.until(lambda: second.told(EventKind.CONNECTED), "connected")
        if is_there:
            await settled(first)
            await asyncio.sleep(1.1)  # the server's times are of whole seconds
        other = second.want("api", [config_map("b", SHOP)])
        if is_there:
            said = await second.until(lambda: refused(second, other), "refused")
            assert "acme was there first" in said.message
        else:
            await second.until_well(other)
    assert (second.cluster.get("", "ConfigMap", SHOP, "b") is None) is is_there


@pytest.mark.parametrize("fails", [True, False])
async def test_where_nobody_knows_who_came_meanwhile_nothing_is_written(first: SimHub, fails: bool) -> None:
    """R5; it is asked again."""
    first.limits = WorkerLimits(retry_first_seconds=0.1)
    first.send_desired()
    async with first.worker():
        await first.until(lambda: first.told(EventKind.CONNECTED), "connected")
        rule: dict[str, Any] = {"code": 500, "verbs": {"list"}, "resource": "configmaps"}
        fault = first.cluster.faults.add("error", **rule) if fails else None
        alarm = config_map("alarm", SHOP, **notes(hook="SyncFail"))  # no sync began that could fail
        unit = first.want("web", [config_map("a", SHOP), alarm])
        if fault is not None:
            await seen_there(lambda: parent_on(first))
            await first.until(lambda: unit in first.units and first.units[unit].reason, "said")
            assert first.cluster.get("", "ConfigMap", SHOP, "a") is None
            assert first.cluster.get("", "ConfigMap", SHOP, "alarm") is None
            first.cluster.faults.remove(fault)
        await first.until_well(unit)


async def test_a_unit_that_holds_the_namespace_of_the_parents_has_it_from_the_start(first: SimHub) -> None:
    """It was taken for one whose mark somebody had taken off, and left alone for ever."""
    assert first.cluster.get("", "Namespace", "", PARENT_NAMESPACE) is None
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PARENT_NAMESPACE, "labels": {"team": "us"}}}
    unit = first.want("web", [space, config_map("a", SHOP)])
    async with first.worker():
        await first.until_well(unit)
    assert first.cluster.get("", "Namespace", "", PARENT_NAMESPACE)["metadata"]["labels"]["team"] == "us"


async def test_a_hub_that_loses_its_state_before_its_first_unit_settled_asks_and_goes_on(first: SimHub) -> None:
    """What a parent without a bundle tells: the objects are of this unit, and nothing was applied in full."""
    unit = first.want("web", never_settles("wave"), sync=SyncPolicy(validate=Validate.SCHEMA))
    async with first.worker():
        await seen_there(lambda: wrote(first, "wave"))
        await asyncio.sleep(0.3)
    first.journal = MemoryJournal()
    first.units.clear()
    first.want("web", [config_map("late", SHOP)], commit="b")
    async with first.worker():
        await first.until(lambda: unit in first.units and first.units[unit].blocked_by, "waits for a person")
        assert wrote(first, "wave")
        first.send_desired(recovered=first.shown())
        await first.until(lambda: first.units[unit].holds, "what it made is its own to delete, once a person says so")


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_parent_that_goes_before_its_unit_settled_is_written_again(first: SimHub, is_gone: bool) -> None:
    first.want("web", never_settles("wave"), sync=SyncPolicy(validate=Validate.SCHEMA))
    async with first.worker():
        before = await seen_there(lambda: parent_on(first))
        await seen_there(lambda: wrote(first, "wave"))
        await asyncio.sleep(0.5)
        if is_gone:
            first.cluster.remove("", "ConfigMap", PARENT_NAMESPACE, "unit-web")
        await asyncio.sleep(WAITS_SECONDS)
        after = parent_on(first)
    assert (after["metadata"]["uid"] != before["metadata"]["uid"]) is is_gone
