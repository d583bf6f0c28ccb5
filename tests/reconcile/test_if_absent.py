"""`fleet.internal/reconcile: ifAbsent` on a real API server: made where absent, never changed, whoever made it."""

from __future__ import annotations

from typing import Any

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.rollout import Detach
from fleet.core.status import EventKind

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
