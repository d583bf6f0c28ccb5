"""An object under another name: the old one goes without a hold, once the new one proves that it is the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.ids import Digest, ObjectRef, UnitName
from fleet.core.rollout import Apply, Rename
from fleet.core.status import Sync
from fleet.core.sync_policy import Suspension

NAMES = "abcdefghijkl"


def path(shop: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{shop}/configmaps" + (f"/{name}" if name else "")


def there(client: Any, shop: str) -> set[str]:
    found = {item["metadata"]["name"] for item in client.get(path(shop))["items"]}
    return {name for name in found if name.removeprefix("new-") in NAMES}


def documents(shop: str, prefix: str = "", data: str = "") -> list[dict[str, Any]]:
    return [config_map(f"{prefix}{name}", shop, {"a": data or name}, labels={"app": "web"}) for name in NAMES]


def rename(
    hub: Hub,
    shop: str,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    commit: str,
    said_by: Digest | None = None,
) -> UnitName:
    """As the hub orders it: the pairs are what it says of both, true or not, and nothing else may go."""
    old, new = hub.bundle_of(before), hub.bundle_of(after)
    names = [document["metadata"]["name"] for document in after]
    pairs = frozenset(
        Rename(ObjectRef("", "ConfigMap", shop, name), ObjectRef("", "ConfigMap", shop, follows), said_by or old.digest)
        for name, follows in zip(NAMES, names, strict=False)
    )
    return hub.want("web", commit=commit, action=Apply(new.digest, renames=pairs))


async def test_all_objects_of_a_unit_get_other_names_without_a_hold_and_count_as_no_deletion(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", documents(shop))
    async with hub.worker():
        await hub.until_well(unit)
        rename(hub, shop, documents(shop), documents(shop, "new-"), "b")
        await hub.until_well(unit)
        await hub.until(lambda: there(client, shop) == {f"new-{name}" for name in NAMES}, "renamed")
        assert not any(report.holds for sent in hub.reports for report in sent.units)
        # Within the same hour the budget is whole: three of twelve may go.
        hub.want("web", documents(shop, "new-")[3:], commit="c")
        await hub.until_well(unit)
        assert there(client, shop) == {f"new-{name}" for name in NAMES[3:]}
        deleted = [entry for entry in hub.audited if entry.action == "delete" and entry.outcome == "done"]
        assert len(deleted) == len(NAMES) + 3  # each has its evidence all the same


@pytest.mark.parametrize("why", ["drifted", "data of others", "another content", "never applied so", "no bundle"])
async def test_what_is_not_the_same_is_a_deletion_whatever_the_hub_says(
    hub: Hub, api_server: ControlPlane, shop: str, why: str
) -> None:
    client = api_server.client()
    before, after = documents(shop), documents(shop, "new-", data="x" if why == "another content" else "")
    applied = documents(shop, data="else") if why == "never applied so" else before
    unit = hub.want("web", applied)
    async with hub.worker():
        await hub.until_well(unit)
        if why in ("drifted", "data of others"):
            hub.want("web", before, suspensions=(Suspension("a look", scope="cluster eu-1"),))
            await hub.until(lambda: hub.units[unit].blocked_by, "suspended")
            change = {"data": {"b": "1"}} if why == "data of others" else {"metadata": {"labels": {"app": "other"}}}
            for name in NAMES:
                client.merge(path(shop, name), change)
        if why == "drifted":
            await hub.until(lambda: hub.units[unit].sync is Sync.OUT_OF_SYNC, "seen")
        rename(hub, shop, before, after, "b", said_by=Digest("0" * 64) if why == "no bundle" else None)
        found = await hub.until(lambda: hub.units[unit].holds, "held")
        assert found[0].reason in ("prune-budget", "sharp-fall")
        assert set(NAMES) <= there(client, shop)


async def test_the_old_one_stays_while_the_new_name_is_somebody_elses(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    client.apply(config_map("b", shop), manager="kubectl")
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        rename(hub, shop, [config_map("a", shop)], [config_map("b", shop)], "b")
        await hub.until(lambda: hub.units[unit].reason == "ObjectForeign", "refused")
        assert there(client, shop) == {"a", "b"}
        client.delete(path(shop, "b"))
        rename(hub, shop, [config_map("a", shop)], [config_map("b", shop), config_map("c", shop, {"c": "1"})], "c")
        await hub.until_well(unit)
        await hub.until(lambda: there(client, shop) == {"b", "c"}, "renamed")


async def test_the_old_one_stays_until_the_unit_is_healthy_and_says_so(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client, slow = api_server.client(), slow_deployment(shop)
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        rename(hub, shop, [config_map("a", shop)], [config_map("b", shop), slow], "b")
        await hub.until(
            lambda: (found := hub.object(unit, "ConfigMap", "a")) and "until its successor" in found.message, "said"
        )
        await asyncio.sleep(0.3)
        assert there(client, shop) == {"a", "b"}
        rename(hub, shop, [config_map("a", shop)], [config_map("b", shop)], "c")
        await hub.until(lambda: there(client, shop) == {"b"}, "renamed")


async def test_the_old_one_that_somebody_changed_while_it_waits_goes_only_when_a_person_says_so(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        rename(hub, shop, [config_map("a", shop)], [config_map("b", shop), slow_deployment(shop)], "b")
        await hub.until(
            lambda: (found := hub.object(unit, "ConfigMap", "a")) and "until its successor" in found.message, "said"
        )
        client.merge(path(shop, "a"), {"data": {"a": "else"}})
        await hub.until(lambda: hub.units[unit].holds, "held")
        assert there(client, shop) == {"a", "b"}


def slow_deployment(shop: str) -> dict[str, Any]:
    """Nothing here makes it available."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": shop},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }
