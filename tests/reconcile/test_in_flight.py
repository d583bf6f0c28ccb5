"""What is on its way when a hub ends, an order changes or somebody else writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from rig import Hub, config_map, notes
from testbed.controlplane import ControlPlane

from fleet.core.documents import text_at
from fleet.core.guard import Approved


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


class Between:
    """Hands everything on."""

    def __init__(self, kube: Any) -> None:
        self._kube = kube

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)


def take(client: Any, shop: str, name: str, value: str, manager: str = "somebody") -> None:
    """Another manager forces its value over a field of ours."""
    client.apply(config_map(name, shop, {"a": value}), manager=manager, force=True)


async def test_a_field_taken_after_an_apply_that_a_killed_hub_did_not_record_is_healed(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """The journal says what was intended, the object that it landed: so the field was ours (R17)."""
    client, landed = api_server.client(), asyncio.Event()

    class Silent(Between):
        async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
            answer = await self._kube.apply(kind, namespace, name, *rest, **options)
            if name == "a" and not options.get("dry_run"):
                landed.set()
                await asyncio.Event().wait()
            return answer

    unit = hub.want("web", [config_map("a", shop)])
    hub.between = Silent
    async with hub.worker():
        await asyncio.wait_for(landed.wait(), 20)
    hub.between = None
    take(client, shop, "a", "9")
    async with hub.worker():
        await hub.until_well(unit)
    assert client.get(path(shop, "a"))["data"] == {"a": "1"}
    assert [entry.outcome for entry in hub.audited if entry.action == "force"] == ["", "done"]


async def test_a_field_that_somebody_else_had_before_an_object_was_adopted_stays_theirs(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """The twin: there the intention proves nothing."""
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])

    class Late(Between):
        async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
            if name == "a" and not client.exists(path(shop, "a")):
                take(client, shop, "a", "9", "autoscaler")  # it comes between our look and our apply
            return await self._kube.apply(kind, namespace, name, *rest, **options)

    hub.between = Late
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].reason, "refused")
    assert client.get(path(shop, "a"))["data"] == {"a": "9"}
    assert not [entry for entry in hub.audited if entry.action == "force"]


def never(shop: str) -> dict[str, Any]:
    """A hook that does not end: this server has no controllers."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": "never", "namespace": shop, **notes(hook="PreSync")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}


async def test_a_heal_under_way_writes_what_was_in_force_not_what_was_just_ordered(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """The newer bundle waits for its hook: nothing of it may be written before (R14)."""
    client, ordered = api_server.client(), asyncio.Event()
    meddle = iter([True])

    class Meddling(Between):
        async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
            if name == "a" and client.get(path(shop, "a"))["data"] == {"a": "9"} and next(meddle, False):
                hub.want("web", [never(shop), config_map("a", shop, {"a": "2"})], commit="b")
                await hub.until(lambda: hub.units[unit].reason == "HookRuns", "the newer one waits for its hook")
                client.merge(path(shop, "a"), {"metadata": {"labels": {"seen": "meanwhile"}}})
                ordered.set()
            return await self._kube.apply(kind, namespace, name, *rest, **options)

    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
    hub.between = Meddling
    async with hub.worker():
        await hub.until_well(unit)
        take(client, shop, "a", "9")
        await asyncio.wait_for(ordered.wait(), 30)
        await hub.until(lambda: client.get(path(shop, "a"))["data"] != {"a": "9"}, "healed")
        assert client.get(path(shop, "a"))["data"] == {"a": "1"}
        assert hub.units[unit].reason == "HookRuns"


async def test_the_head_of_the_audit_log_goes_out_after_a_forced_apply(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """To the log at once, to the parent object with its next write: a heal itself costs one write (R43)."""
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    parent = "/api/v1/namespaces/fleet-system/configmaps/unit-web"
    async with hub.worker():
        await hub.until_well(unit)
        with structlog.testing.capture_logs() as logs:
            take(client, shop, "a", "9")
            await hub.until(lambda: [e for e in hub.audited if e.action == "force" and e.outcome], "forced")
            await hub.until_well(unit)
            await hub.until(lambda: any(line.get("action") == "force" for line in logs), "logged")
        line = next(line for line in logs if line.get("action") == "force")
        assert line["outcome"] == "done"
        assert int(line["head"].partition(":")[0]) == len(hub.audited)
        hub.want("web", [config_map("a", shop), config_map("b", shop)], commit="b")
        await hub.until_well(unit)
        await hub.until(
            lambda: text_at(client.get(parent), "metadata", "annotations", "fleet.internal/audit-head") == line["head"],
            "on the parent",
        )


@pytest.mark.parametrize("how", ["another value", "prune: disabled"])
async def test_what_changes_after_its_deletion_was_judged_is_judged_anew(
    hub: Hub, api_server: ControlPlane, shop: str, how: str
) -> None:
    """An approval is for the object as it was shown, and who keeps an object at the last moment keeps it (R9)."""
    client, armed = api_server.client(), [False]
    kept = {"metadata": {"annotations": {"fleet.internal/prune": "disabled"}}}

    class Meddling(Between):
        async def get(self, kind: Any, namespace: str, name: str, **options: Any) -> Any:
            if name == "c9" and armed[0]:
                armed[0] = False
                client.merge(path(shop, "c9"), kept if how == "prune: disabled" else {"data": {"a": "9"}})
            return await self._kube.get(kind, namespace, name, **options)

    hub.between = Meddling
    unit = hub.want("web", [config_map(f"c{n}", shop) for n in range(10)])
    left = [config_map(f"c{n}", shop) for n in range(6)]
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", left, commit="b")
        (hold,) = await hub.until(lambda: hub.units[unit].holds, "held")
        armed[0] = True
        approved = [Approved(item.ref, item.uid, item.content, item.inside) for item in hold.deletions]
        hub.want("web", left, commit="b", approved=approved)
        await hub.until(lambda: not any(client.exists(path(shop, f"c{n}")) for n in (6, 7, 8)), "the others went")
        asked = ["c9"] if how == "another value" else []
        await hub.until(
            lambda: [item.ref.name for again in hub.units[unit].holds for item in again.deletions] == asked, "anew"
        )
    assert client.exists(path(shop, "c9"))
