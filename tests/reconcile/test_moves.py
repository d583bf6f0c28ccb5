"""A worker leaves alone what its hub says may move to another unit, until it says otherwise (R16)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.guard import Approved
from fleet.core.ids import ObjectRef, UnitName
from fleet.core.rollout import Apply, Detach, Move
from fleet.core.status import Health, Standing, Sync

WAITS = "moves to shop once that is released here"


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


def is_said(hub: Hub, unit: UnitName, words: str) -> bool:
    report = hub.units.get(unit)
    links = report.blocked_by if report is not None else ()
    return any(link.state is Standing.WAITS and words in link.reason for link in links)


async def test_what_may_move_stays_also_where_it_was_permitted_and_approved(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    three: list[dict[str, Any]] = [config_map(name, shop) for name in "abx"]
    x = ObjectRef("", "ConfigMap", shop, "x")
    unit = hub.want("web", three)
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", three[:2], commit="b", permits=())
        (hold,) = await hub.until(lambda: hub.units[unit].holds, "asked")
        (shown,) = hold.deletions
        approved = frozenset({Approved(x, shown.uid, shown.content)})
        told = Apply(hub.bundle_of(three[:2]).digest, frozenset({x}), approved)
        hub.want("web", action=replace(told, moves=frozenset({Move(x, WAITS)})), commit="c")
        await hub.until_well(unit)
        await hub.until(lambda: is_said(hub, unit, f"ConfigMap {shop}/x stays: {WAITS}"), "says so")
        report = hub.units[unit]
        assert (report.sync, report.health, report.holds) == (Sync.SYNCED, Health.HEALTHY, ())
        assert hub.object(unit, "ConfigMap", "x").message == f"no longer in the overlay; {WAITS}"
        assert client.get(path(shop, "x"))["metadata"]["uid"] == shown.uid

        hub.want("web", action=told, commit="d")
        await hub.until(lambda: hub.object(unit, "ConfigMap", "x") is None, "deleted")
        assert not is_said(hub, unit, "stays")


async def test_what_left_keeps_its_marks_while_its_objects_may_move(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map(name, shop) for name in "ab"])
    async with hub.worker():
        await hub.until_well(unit)
        before = client.get(path(shop, "a"))["metadata"]
        hub.want("web", action=Detach("it left the repo; a may move to shop, which is being built"), commit="b")
        await hub.until(lambda: "which is being built" in hub.units[unit].message, "says so")
        assert client.get(path(shop, "a"))["metadata"]["annotations"] == before["annotations"]

        await hub.until_well(hub.want("shop", [config_map("a", shop)], commit="b"))  # takes it over meanwhile
        assert client.get(path(shop, "a"))["metadata"]["uid"] == before["uid"]
        hub.want("web", action=Detach(), commit="b")
        await hub.until(lambda: unit not in hub.units, "let go")
        assert "annotations" not in client.get(path(shop, "b"))["metadata"]
