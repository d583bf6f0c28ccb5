"""A unit behind one of its cluster of which nobody knows what it should hold (R5)."""

from __future__ import annotations

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.rollout import UnknownDesired


async def test_nothing_new_is_applied_behind_a_unit_without_a_result_though_it_is_healthy(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    needed = UnitName(OverlayName("base"), ClusterName("eu-1"))
    base = [config_map("base", shop)]
    hub.want("base", base)
    unit = hub.want("web", [config_map("a", shop)], depends_on=(needed,))
    path = f"/api/v1/namespaces/{shop}/configmaps/"
    async with hub.worker():
        await hub.until_well(unit, needed)
        bundle = hub.units[needed].bundle
        hub.want("base", action=UnknownDesired("RenderFailed", "kustomize refused it", bundle), send=False)
        hub.want("web", [config_map("a", shop), config_map("b", shop)], commit="b", depends_on=(needed,))
        await hub.until(lambda: hub.units[needed].reason == "RenderFailed", "said")
        found = await hub.until(lambda: hub.units[unit].blocked_by, "waits")
        assert "base@eu-1" in found[0].reason
        client.merge(path + "a", {"data": {"a": "drift"}})
        await hub.until(lambda: client.get(path + "a")["data"]["a"] != "drift", "what it holds is healed all the same")
        assert not client.exists(path + "b")
        hub.want("base", base, commit="c")
        await hub.until(lambda: client.exists(path + "b"), "twin: it is known again, and web goes on")
