"""Objects of a kind that the cluster does not serve wait with a reason; the rest of their unit is applied."""

from __future__ import annotations

import uuid
from typing import Any

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.status import Sync

WIDGETS: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(group: str) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": WIDGETS}}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


async def test_an_object_of_an_unserved_kind_waits_with_its_reason_until_an_overlay_brings_the_kind(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.org"
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": shop}}
    unit = hub.want("web", [widget, config_map("a", shop)])
    async with hub.worker():
        status = await hub.until(lambda: (s := hub.object(unit, "Widget", "w")) and s.reason and s, "named")
        assert (status.reason, status.sync) == ("KindNotServed", Sync.OUT_OF_SYNC)
        assert "no overlay here installs it" in status.message
        await hub.until(lambda: hub.object(unit, "ConfigMap", "a").sync is Sync.SYNCED, "the rest")
        bringer = hub.want("widgets", [definition(group)], commit="b")
        await hub.until_well(unit, bringer, seconds=60)
    assert api_server.client().exists(f"/apis/{group}/v1/namespaces/{shop}/widgets/w")
