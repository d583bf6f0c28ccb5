"""A hook whose name is somebody else's object, and one whose name is its own: on a real API server."""

from __future__ import annotations

import pytest
from rig import Hub, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.rest import Rest

from fleet.core.ids import Identity, OverlayName
from fleet.core.objects import Mark
from fleet.core.record import mark_body


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


def hook(name: str, shop: str, delete: str, phase: str = "PreSync") -> dict:
    return config_map(name, shop, {"hook": "yes"}, **notes(hook=phase, hook_delete=delete))


def marked(hub: Hub, client: Rest, document: dict, overlay: str) -> dict:
    """The document as a unit of this installation would have applied it."""
    identity = client.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    return mark_body(document, Mark(hub.installation, Identity(identity), OverlayName(overlay)))


def deleted(hub: Hub, name: str) -> list[str]:
    return [e.unit for e in hub.audited if e.action == "delete" and e.object.endswith(f"/{name}")]


@pytest.mark.parametrize("delete", ["HookSucceeded", "BeforeHookCreation"])
@pytest.mark.parametrize("known", ["by record", "by mark alone"])
async def test_a_hook_with_the_name_of_another_overlays_object_leaves_it_alone(
    hub: Hub, api_server: ControlPlane, shop: str, delete: str, known: str
) -> None:
    client = api_server.client()
    async with hub.worker():
        if known == "by record":
            await hub.until_well(hub.want("one", [config_map("a", shop)]))
        else:
            client.apply(marked(hub, client, config_map("a", shop), "one"), manager="fleet")
        before = client.get(path(shop, "a"))
        two = hub.want("two", [hook("a", shop, delete), config_map("b", shop)])
        await hub.until(lambda: two in hub.units and hub.units[two].reason == "OwnedByOther", "refused")
        assert "overlay one" in hub.units[two].message
        await hub.until_well(hub.want("three", [config_map("c", shop)]))  # of the same cluster, undisturbed
        hub.want("two", [hook("a", shop, delete), config_map("b", shop, {"a": "2"})], commit="b")
        await hub.until(lambda: hub.units[two].observed_commit == "b" * 40, "tried again")
        assert client.get(path(shop, "a")) == before
        assert not client.exists(path(shop, "b"))
        assert not deleted(hub, "a")
        hub.want("two", [hook("own", shop, delete), config_map("b", shop)], commit="c")
        await hub.until_well(two)
    assert client.get(path(shop, "a")) == before


@pytest.mark.parametrize(("delete", "stays"), [("HookSucceeded", False), ("BeforeHookCreation", True)])
async def test_a_hook_of_ones_own_runs_for_each_bundle_and_goes_as_it_says(
    hub: Hub, api_server: ControlPlane, shop: str, delete: str, stays: bool
) -> None:
    client = api_server.client()
    unit = hub.want("web", [hook("h", shop, delete), config_map("a", shop)])
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [hook("h", shop, delete), config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until_well(unit)
    assert client.exists(path(shop, "h")) is stays
    mine = [r for r in api_server.ledger(mark, user_agent="fleet") if r.namespace == shop and r.name == "h"]
    assert [r.verb for r in mine if r.is_write] == (
        ["patch", "delete", "patch"] if stays else ["patch", "delete", "patch", "delete"]
    )
    assert {e.outcome for e in hub.audited if e.action == "delete"} == {"", "done"}


async def test_what_a_hook_left_is_taken_over_by_the_overlay_that_has_the_hook_now(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    one = hub.want("one", [hook("h", shop, "BeforeHookCreation"), config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(one)
        before = client.get(path(shop, "h"))["metadata"]["uid"]
        hub.want("one", [config_map("a", shop)], commit="b", send=False)
        two = hub.want("two", [hook("h", shop, "BeforeHookCreation"), config_map("b", shop)], commit="b")
        await hub.until_well(one, two)
        live = client.get(path(shop, "h"))["metadata"]
        assert live["uid"] != before
        assert live["annotations"]["fleet.internal/owner"].endswith("/two")


async def test_a_hooks_object_goes_only_in_the_state_that_was_read(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """What changes between the read and the deletion is read again (R11)."""
    client = api_server.client()
    changes = iter(range(1))

    class Meddling:
        def __init__(self, kube) -> None:
            self._kube = kube

        def __getattr__(self, name: str):
            return getattr(self._kube, name)

        async def delete(self, kind, namespace: str, name: str, **options):
            if name == "h" and next(changes, None) is not None:
                client.merge(path(shop, "h"), {"metadata": {"labels": {"seen": "meanwhile"}}})
            return await self._kube.delete(kind, namespace, name, **options)

    hub.between = Meddling
    unit = hub.want("web", [hook("h", shop, "HookSucceeded"), config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        await hub.until(lambda: [e.outcome for e in hub.audited if e.action == "delete"][-1:] == ["done"], "deleted")
    assert not client.exists(path(shop, "h"))
    assert [e.outcome for e in hub.audited if e.action == "delete"] == ["", "failed: Conflict", "", "done"]
