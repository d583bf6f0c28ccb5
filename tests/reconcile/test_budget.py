"""What counts for the budget of deletions, what is replaced, and what it must still be when it goes (R9, R15)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import Hub, config_map, notes
from simulated import SHOP, SimHub
from testbed.controlplane import ControlPlane

from fleet.core.documents import text_at
from fleet.core.guard import Approved
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.errors import ImmutableField
from fleet.reconcile.limits import WorkerLimits

KEEP = "test.fleet.internal/keep"


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


def fixed(name: str, shop: str, value: str, **more: str) -> dict[str, Any]:
    """An object that can only be changed by making it anew, and asks for that."""
    return {**config_map(name, shop, {"a": value}, **notes(replace="enabled", **more)), "immutable": True}


def uids(client: Any, shop: str, names: list[str]) -> dict[str, str]:
    return {name: text_at(client.get(path(shop, name)), "metadata", "uid") for name in names}


@pytest.mark.parametrize("changed", [4, 16])
async def test_what_is_replaced_at_the_same_time_counts_together(
    hub: Hub, api_server: ControlPlane, shop: str, changed: int
) -> None:
    """A quarter of the 16 may go within an hour, however many writes are under way at once."""
    client, names = api_server.client(), [f"c{number}" for number in range(16)]
    refused, all_refused = [0], asyncio.Event()

    class AtOnce:
        """Holds what is read of the objects back until the last of them has refused its change."""

        def __init__(self, kube: Any) -> None:
            self._kube = kube

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def apply(self, *what: Any, **options: Any) -> Any:
            try:
                return await self._kube.apply(*what, **options)
            except ImmutableField:
                refused[0] += 1
                if refused[0] == changed:
                    all_refused.set()
                raise

        async def get(self, kind: Any, namespace: str, name: str, **options: Any) -> Any:
            if name in names and refused[0]:
                await all_refused.wait()
            return await self._kube.get(kind, namespace, name, **options)

    hub.between, hub.limits = AtOnce, WorkerLimits(changed_per_slot=1)
    unit = hub.want("web", [fixed(name, shop, "1") for name in names])
    async with hub.worker():
        await hub.until_well(unit)
        before = uids(client, shop, names)
        order = [fixed(name, shop, "2" if number < changed else "1") for number, name in enumerate(names)]
        hub.want("web", order, commit="b")
        if changed == 4:
            await hub.until_well(unit)
            assert not hub.units[unit].holds
        else:
            await hub.until(lambda: len(hub.units[unit].holds) == 12, "12 are asked for")
        after = uids(client, shop, names)
    assert sum(before[name] != after[name] for name in names) == 4


@pytest.mark.parametrize("how", ["prune: disabled", "another state", "as it was"])
async def test_what_is_replaced_goes_in_the_state_that_was_judged(
    hub: Hub, api_server: ControlPlane, shop: str, how: str
) -> None:
    """Also where a person approved it: the approval is for the object as it was shown."""
    client, armed = api_server.client(), [False]
    note = {"fleet.internal/prune": "disabled"} if how == "prune: disabled" else {"said": "since"}

    class Meddling:
        def __init__(self, kube: Any) -> None:
            self._kube, self._reads = kube, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
            self._reads = 0 if name == "x" else self._reads  # what is tried out as a new one bears another name
            return await self._kube.apply(kind, namespace, name, *rest, **options)

        async def get(self, kind: Any, namespace: str, name: str, **options: Any) -> Any:
            if name == "x":
                self._reads += 1  # after the refused apply: what refused it, what is judged, what would go
                if armed[0] and self._reads == 3:
                    armed[0] = False
                    if how != "as it was":
                        client.merge(path(shop, "x"), {"metadata": {"annotations": note}})
            return await self._kube.get(kind, namespace, name, **options)

    hub.between = Meddling
    unit = hub.want("web", [fixed("x", shop, "1", prune="confirm")])
    async with hub.worker():
        await hub.until_well(unit)
        before = uids(client, shop, ["x"])
        order = [fixed("x", shop, "2", prune="confirm")]
        hub.want("web", order, commit="b")
        (hold,) = await hub.until(lambda: hub.units[unit].holds, "asked for")
        approved = [Approved(item.ref, item.uid, item.content) for item in hold.deletions]
        armed[0] = True
        hub.want("web", order, commit="b", approved=approved)
        await hub.until(lambda: not armed[0], "about to go")
        if how == "as it was":
            await hub.until_well(unit)
        elif how == "another state":
            await hub.until(
                lambda: [h.deletions[0].content for h in hub.units[unit].holds] not in ([], [approved[0].content]),
                "anew",
            )
        else:
            await hub.until(lambda: hub.object(unit, "ConfigMap", "x").reason == "ImmutableField", "it stays")
        assert (uids(client, shop, ["x"]) == before) is (how != "as it was")


@pytest.mark.parametrize("more", [0, 1])
async def test_what_waits_for_a_finalizer_makes_no_room_for_more(
    hub: Hub, api_server: ControlPlane, shop: str, more: int
) -> None:
    """A quarter of the 16 may go within an hour; those that were asked to go are there still."""
    client, names = api_server.client(), [f"c{number}" for number in range(16)]
    first = 4 if more else 3
    kept = [config_map(name, shop, finalizers=[KEEP]) for name in names[:first]]
    rest = [config_map(name, shop) for name in names[first:]]
    unit = hub.want("web", [*kept, *rest])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", rest, commit="b")
        await hub.until(
            lambda: all(text_at(client.get(path(shop, n)), "metadata", "deletionTimestamp") for n in names[:first]),
            "they are going",
        )
        hub.want("web", rest[1:], commit="c")
        if more:
            await hub.until(lambda: hub.units[unit].holds, "asked for")
            assert client.exists(path(shop, names[first]))
        else:
            await hub.until(lambda: not client.exists(path(shop, names[first])), "gone")
        for name in names[:first]:
            client.merge(path(shop, name), {"metadata": {"finalizers": None}})


def binding(role: str, **annotations: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "web", "namespace": SHOP, **notes(**annotations)},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": SHOP}],
    }


@pytest.mark.parametrize("validate", [Validate.SCHEMA, Validate.SERVER])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_binding_to_another_role_is_made_anew_where_it_may_be(
    first: SimHub, asked: bool, validate: Validate
) -> None:
    rest, sync = [config_map(name, SHOP) for name in "abc"], SyncPolicy(validate=validate)
    note = {"replace": "enabled"} if asked else {}
    unit = first.want("web", [binding("view", **note), *rest], sync=sync)
    async with first.worker():
        await first.until_well(unit)
        first.want("web", [binding("edit", **note), *rest], commit="b", sync=sync)
        if asked:
            await first.until_well(unit)
        else:
            await first.until(lambda: first.object(unit, "RoleBinding", "web").reason == "ImmutableField", "refused")
    found: Any = first.cluster.get("rbac.authorization.k8s.io", "RoleBinding", SHOP, "web")
    assert found["roleRef"]["name"] == ("edit" if asked else "view")
