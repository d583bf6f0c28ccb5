"""One object that somebody nests hundreds of levels deep costs itself only (R18), on a real API server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.status import EventKind, Sync
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.store.encode import encode_unit

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HEALS = SyncPolicy(validate=Validate.SCHEMA)
TELLS = replace(HEALS, self_heal=False)


def definition(group: str) -> dict[str, Any]:
    """Things of a group, whose spec keeps whatever it is given."""
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": versions},
    }


def thing(group: str, shop: str, name: str, value: str = "plain") -> dict[str, Any]:
    metadata = {"name": name, "namespace": shop}
    return {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": metadata, "spec": {"config": value}}


@pytest.fixture
def group(api_server: ControlPlane, shop: str) -> Iterator[str]:
    yield f"{shop}.example.com"
    api_server.client().delete(f"{DEFINITIONS}/things.{shop}.example.com")


def maps(levels: int) -> str:
    return '{"a":' * levels + '"x"' + "}" * levels


def lists(levels: int) -> str:
    return "[" * levels + '"x"' + "]" * levels


def write(plane: ControlPlane, path: str, field: str, value: str, *, cleared: bool = False) -> None:
    """Somebody writes a value into a field; cleared: and takes away what says who owns what."""
    metadata = '"metadata": {"managedFields": [{}]}, ' if cleared else ""
    body = f'{{{metadata}"spec": {{"{field}": {value}}}}}'
    query = {"fieldManager": "tenant"}
    with contextlib.suppress(RecursionError):  # the answer is as deep as what was written
        plane.client().request("PATCH", path, body, content_type="application/merge-patch+json", query=query)


@pytest.mark.parametrize("levels", [10, 300, 1100])
async def test_a_nested_value_in_our_field_is_healed_and_named_like_any_other(
    hub: Hub, api_server: ControlPlane, shop: str, group: str, levels: int
) -> None:
    path = f"/apis/{group}/v1/namespaces/{shop}/things/one"
    objects = [definition(group), thing(group, shop, "one"), thing(group, shop, "two")]
    web, other = hub.want("web", objects, sync=HEALS), hub.want("other", [config_map("c", shop)], sync=HEALS)
    async with hub.worker():
        await hub.until_well(web, other, seconds=40)
        write(api_server, path, "config", lists(levels))
        await hub.until(lambda: hub.told(EventKind.HEALED, "one"), "healed")
        hub.want("other", [config_map("c", shop, {"a": "2"})], commit="b", sync=HEALS)
        await hub.until_well(web, other)
    assert api_server.client().get(path)["spec"] == {"config": "plain"}
    assert api_server.client().get(f"/api/v1/namespaces/{shop}/configmaps/c")["data"] == {"a": "2"}


@pytest.mark.parametrize("sync", [HEALS, TELLS], ids=["heals", "tells"])
@pytest.mark.parametrize("levels", [10, 300, 1100])
async def test_a_nested_object_that_says_no_more_who_owns_it_is_met_and_no_other_waits_for_it(
    hub: Hub, api_server: ControlPlane, shop: str, group: str, levels: int, sync: SyncPolicy
) -> None:
    """It is healed, or named where that is left to a person."""
    path = f"/apis/{group}/v1/namespaces/{shop}/things/one"
    objects = [definition(group), thing(group, shop, "one"), thing(group, shop, "two")]
    web, other = hub.want("web", objects, sync=sync), hub.want("other", [config_map("c", shop)], sync=sync)

    async def met(times: int) -> None:
        if sync is HEALS:
            await hub.until(lambda: len(hub.told(EventKind.HEALED, "one")) == times, "healed")
            await hub.until_well(web)
        else:
            await hub.until(lambda: (seen := hub.object(web, "Thing", "one")) and seen.sync is not Sync.SYNCED, "named")

    async with hub.worker():
        await hub.until_well(web, other, seconds=40)
        write(api_server, path, "config", maps(levels), cleared=True)
        await met(1)  # by the event
        hub.want("other", [config_map("c", shop, {"a": "b"})], commit="b", sync=sync)
        await hub.until_well(other)
    hub.units.clear()
    write(api_server, path, "config", maps(levels), cleared=True)
    async with hub.worker():  # one that starts is told by the list
        hub.want("other", [config_map("c", shop, {"a": "c"})], commit="c", sync=sync)
        await hub.until_well(other)
        await met(2)
        assert hub.object(web, "Thing", "two").sync is Sync.SYNCED
        assert encode_unit(hub.units[web])


@pytest.mark.parametrize("levels", [10, 300, 1100])
async def test_a_nested_value_that_is_not_to_be_healed_is_told_and_gives_way_to_the_next_commit(
    hub: Hub, api_server: ControlPlane, shop: str, group: str, levels: int
) -> None:
    path = f"/apis/{group}/v1/namespaces/{shop}/things/one"
    web = hub.want("web", [definition(group), thing(group, shop, "one")], sync=TELLS)
    async with hub.worker():
        await hub.until_well(web, seconds=40)
        write(api_server, path, "config", lists(levels))
        await hub.until(lambda: hub.object(web, "Thing", "one").drift, "told")
        assert hub.object(web, "Thing", "one").sync is Sync.OUT_OF_SYNC
        assert encode_unit(hub.units[web])
        hub.want("web", [definition(group), thing(group, shop, "one", "new")], commit="b", sync=TELLS)
        await hub.until_well(web)
    assert api_server.client().get(path)["spec"] == {"config": "new"}


@pytest.mark.parametrize("levels", [300, 1100])
async def test_what_others_nest_beside_our_fields_is_left_alone(
    hub: Hub, api_server: ControlPlane, shop: str, group: str, levels: int
) -> None:
    path = f"/apis/{group}/v1/namespaces/{shop}/things/one"
    objects = [definition(group), thing(group, shop, "one")]
    web = hub.want("web", objects)
    async with hub.worker():
        await hub.until_well(web, seconds=40)
        write(api_server, path, "theirs", maps(levels))
        hub.want("web", [definition(group), thing(group, shop, "one", "new")], commit="b")
        await hub.until_well(web)
    async with hub.worker():
        hub.want("web", [definition(group)], commit="c")
        await hub.until(lambda: hub.object(web, "Thing", "one") is None and hub.is_well(web), "pruned")
    assert not api_server.client().exists(path)


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("value", ['"theirs"', '{"a": "x"}'])
async def test_a_field_of_ours_is_healed_whatever_was_made_of_it_and_of_its_owners(
    hub: Hub, api_server: ControlPlane, shop: str, group: str, value: str, cleared: bool
) -> None:
    """It was said to have changed while it was written, and stayed as it was."""
    path = f"/apis/{group}/v1/namespaces/{shop}/things/one"
    web = hub.want("web", [definition(group), thing(group, shop, "one")], sync=HEALS)
    async with hub.worker():
        await hub.until_well(web, seconds=40)
        write(api_server, path, "config", value, cleared=cleared)
        await hub.until(lambda: hub.told(EventKind.HEALED, "one"), "healed")
        await hub.until_well(web)
    assert api_server.client().get(path)["spec"] == {"config": "plain"}
    assert [entry.action for entry in hub.audited if entry.outcome == "done"].count("force") == 1
