from __future__ import annotations

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.status import EventKind, Sync


async def test_what_is_wanted_is_created_changed_healed_and_pruned(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    path = f"/api/v1/namespaces/{shop}/configmaps"
    unit = hub.want("web", [config_map(name, shop) for name in ("a", "b", "c")])
    async with hub.worker():
        await hub.until_well(unit)
        assert client.get(f"{path}/a")["data"] == {"a": "1"}

        hub.want("web", [config_map("a", shop, {"a": "2"}), config_map("b", shop), config_map("c", shop)], commit="b")
        await hub.until_well(unit)
        assert client.get(f"{path}/a")["data"] == {"a": "2"}

        client.merge(f"{path}/b", {"data": {"a": "changed by hand"}})
        await hub.until(lambda: hub.told(EventKind.HEALED, "ConfigMap"), "healed")
        assert client.get(f"{path}/b")["data"] == {"a": "1"}
        assert "data.a" in hub.told(EventKind.DRIFTED)[0].message

        hub.want("web", [config_map("a", shop, {"a": "2"}), config_map("b", shop)], commit="d")
        await hub.until(lambda: hub.told(EventKind.PRUNED), "pruned")
        assert not client.exists(f"{path}/c")
        await hub.until_well(unit)
        assert hub.units[unit].sync is Sync.SYNCED
