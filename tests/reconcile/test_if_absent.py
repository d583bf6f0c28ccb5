"""`fleet.internal/reconcile` on a real API server.

`ifAbsent`: made where absent, never changed, whoever made it. `disabled`: left alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

from rig import Hub, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.workloads import deployment

from fleet.core.rollout import Detach
from fleet.core.status import EventKind, Health
from fleet.errors import ServerFailed
from fleet.reconcile.limits import WorkerLimits

NOTE = {"fleet.internal/reconcile": "ifAbsent"}


def seed(name: str, shop: str, value: str = "1") -> dict[str, Any]:
    made = config_map(name, shop, {"a": value})
    made["metadata"]["annotations"] = dict(NOTE)
    return made


async def test_it_is_made_once_then_never_changed_by_git_or_healing_and_made_again_when_it_vanishes(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hands, path = api_server.client(), f"/api/v1/namespaces/{shop}/configmaps"
    unit = hub.want("web", [seed("s", shop), config_map("c", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        hands.merge(f"{path}/s", {"data": {"a": "by hand"}})
        hands.merge(f"{path}/c", {"data": {"a": "by hand"}})  # the twin that is healed
        await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        hub.want("web", [seed("s", shop, "2"), config_map("c", shop, {"a": "2"})], commit="b")
        await hub.until_well(unit)
        assert hands.get(f"{path}/s")["data"] == {"a": "by hand"}
        assert hands.get(f"{path}/c")["data"] == {"a": "2"}
        hands.delete(f"{path}/s")
        await hub.until(lambda: hands.exists(f"{path}/s"), "made again")
        assert hands.get(f"{path}/s")["data"] == {"a": "2"}
        hub.want("web", [config_map("c", shop, {"a": "2"})], commit="c")
        await hub.until_well(unit)
        assert not hands.exists(f"{path}/s")


async def test_what_somebody_else_made_is_left_as_it_is_and_stays_when_git_drops_it(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hands, path = api_server.client(), f"/api/v1/namespaces/{shop}/configmaps"
    hands.apply(config_map("s", shop, {"a": "theirs"}), manager="kubectl")
    before = hands.get(f"{path}/s")
    unit = hub.want("web", [seed("s", shop), config_map("c", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        assert hands.get(f"{path}/s") == before
        hub.want("web", [config_map("c", shop)], commit="b")
        await hub.until_well(unit)
    assert hands.get(f"{path}/s") == before


async def test_an_overlay_that_gives_it_up_lets_it_go_as_it_is_and_may_leave(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hands, path = api_server.client(), f"/api/v1/namespaces/{shop}/configmaps"
    old = hub.want("old", [config_map("s", shop, {"a": "1"}), config_map("t", shop), config_map("c", shop)])
    async with hub.worker():
        await hub.until_well(old)
        hub.want("old", [config_map("t", shop), config_map("c", shop)], commit="b", send=False)
        new = hub.want("new", [seed("s", shop, "2")], commit="b")
        await hub.until_well(new)
        await hub.until_well(old)
        assert hands.get(f"{path}/s")["data"] == {"a": "1"}
        new = hub.want("new", [seed("s", shop, "2"), seed("t", shop, "2")], commit="c", send=False)
        hub.want("old", action=Detach(), commit="c")
        await hub.until(lambda: old not in hub.units, "detached")
        await hub.until_well(new)
    assert hands.get(f"{path}/t")["data"] == {"a": "1"}


def claim(shop: str, **metadata: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
    metadata = {"name": "p", "namespace": shop, **metadata}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


async def test_how_somebody_elses_stands_counts_and_the_next_wave_waits_for_it(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hands, path = api_server.client(), f"/api/v1/namespaces/{shop}"
    hands.create(claim(shop))
    hub.limits = WorkerLimits(watch_seconds=0.2)
    unit = hub.want("web", [claim(shop, annotations=dict(NOTE)), config_map("c", shop, **notes(wave="1"))])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and "wave 1 waits" in hub.units[unit].message, "waits")
        assert not hands.exists(f"{path}/configmaps/c")
        hands.merge(f"{path}/persistentvolumeclaims/p/status", {"status": {"phase": "Bound"}})
        await hub.until_well(unit)
        assert hands.exists(f"{path}/configmaps/c")
        mark = api_server.ledger_mark()
        await asyncio.sleep(1.0)
        asked = [r for r in api_server.ledger(mark, user_agent="fleet") if r.namespace == shop and r.verb != "watch"]
        assert asked == []  # it is well, and looked at once a minute


async def test_it_is_made_when_what_somebody_else_made_vanishes(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    hands, path = api_server.client(), f"/api/v1/namespaces/{shop}/configmaps/s"
    hands.apply(config_map("s", shop, {"a": "theirs"}), manager="kubectl")
    hub.limits = WorkerLimits(theirs_seconds=0.2)
    unit = hub.want("web", [seed("s", shop), config_map("c", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        assert hands.get(path)["data"] == {"a": "theirs"}
        hands.delete(path)
        await hub.until(lambda: hands.exists(path), "made")
        assert hands.get(path)["data"] == {"a": "1"}
        await hub.until_well(unit)


async def test_what_cannot_be_read_of_somebody_elses_is_unknown_and_stops_nothing_else(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hands, path, broken = api_server.client(), f"/api/v1/namespaces/{shop}/configmaps", [False]
    hands.apply(config_map("s", shop, {"a": "theirs"}), manager="kubectl")

    class Unreadable:
        def __init__(self, kube: Any) -> None:
            self._kube = kube

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def get(self, kind: Any, namespace: str, name: str, **options: Any) -> Any:
            if broken[0] and name == "s":
                raise ServerFailed("cannot get ConfigMap s")
            return await self._kube.get(kind, namespace, name, **options)

    hub.between, hub.limits = Unreadable, WorkerLimits(watch_seconds=0.2, theirs_seconds=0.2)
    unit = hub.want("web", [seed("s", shop), config_map("c", shop), config_map("old", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        broken[0] = True
        hub.want("web", [seed("s", shop), config_map("c", shop, {"a": "2"})], commit="b")
        await hub.until(lambda: hub.object(unit, "ConfigMap", "old") is None, "gone")
        assert not hands.exists(f"{path}/old")
        assert hands.get(f"{path}/c")["data"] == {"a": "2"}
        status = await hub.until(
            lambda: (s := hub.object(unit, "ConfigMap", "s")) and s.health is Health.UNKNOWN and s, "unknown"
        )
        assert "cannot get ConfigMap s" in status.message
        broken[0] = False
        await hub.until_well(unit)
        assert hands.get(f"{path}/s")["data"] == {"a": "theirs"}


async def test_what_is_left_alone_takes_no_part_in_how_its_unit_stands(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hands = api_server.client()
    hands.create(deployment("theirs", shop))  # no controller is there: it never becomes ready
    alone, absent = deployment("theirs", shop), config_map("absent", shop)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{shop}-absent"}}
    for document in (alone, absent, space):
        document["metadata"].update(notes(reconcile="disabled"))
    unit = hub.want("web", [alone, absent, space, config_map("c", shop), deployment("ours", shop)])
    async with hub.worker():
        await hub.until(
            lambda: (s := hub.object(unit, "Deployment", "ours")) and s.health is Health.PROGRESSING, "ours"
        )
        assert hub.units[unit].health is Health.PROGRESSING  # the twin that counts
        hub.want("web", [alone, absent, space, config_map("c", shop)], commit="b")
        await hub.until_well(unit)
        assert {s.health for s in hub.units[unit].objects if s.ref.name != "c"} == {Health.UNKNOWN}
