"""The HTTP front of a simulated cluster, over TLS."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from fleet.sim import SimCluster

MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_an_apply_that_changes_nothing_writes_nothing(client: Any) -> None:
    first = await client.apply(f"{MAPS}/a", config_map("a", x="1"))
    again = await client.apply(f"{MAPS}/a", config_map("a", x="1"))
    assert (first.code, again.code) == (201, 200)
    assert first.body == again.body  # its resourceVersion as well


async def test_a_field_of_another_applier_is_a_conflict_until_forced(client: Any) -> None:
    await client.apply(f"{MAPS}/a", config_map("a", x="1"), manager="one")
    refused = await client.apply(f"{MAPS}/a", config_map("a", x="2"), manager="two")
    forced = await client.apply(f"{MAPS}/a", config_map("a", x="2"), manager="two", force=True)
    assert refused.code == 409
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert forced.body["data"] == {"x": "2"}
    assert [entry["manager"] for entry in forced.body["metadata"]["managedFields"]] == ["two"]


async def test_a_field_that_is_applied_no_more_disappears_unless_shared(client: Any) -> None:
    await client.apply(f"{MAPS}/a", config_map("a", x="1", y="1"), manager="one")
    await client.apply(f"{MAPS}/a", config_map("a", y="1"), manager="two")
    left = await client.apply(f"{MAPS}/a", config_map("a"), manager="one")
    assert left.body["data"] == {"y": "1"}


async def test_a_labelled_watch_says_added_and_deleted_when_the_label_comes_and_goes(client: Any) -> None:
    await client.apply(f"{MAPS}/a", config_map("a"))
    start = (await client.call("GET", MAPS)).body["metadata"]["resourceVersion"]
    query = f"?watch=1&labelSelector=team%3Dred&resourceVersion={start}&timeoutSeconds=5"
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.session.get(f"{client.url}{MAPS}{query}", headers=headers) as stream:
        change = "application/merge-patch+json"
        await client.call("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"team": "red"}}}, media=change)
        await client.call("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"team": "blue"}}}, media=change)
        async with asyncio.timeout(5):
            events = [orjson.loads(await stream.content.readline()) for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]
    assert events[1]["object"]["metadata"]["labels"] == {"team": "red"}


async def test_a_paged_list_is_one_snapshot(client: Any) -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    for name in "abc":
        await client.apply(f"{secrets}/{name}", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
    first = (await client.call("GET", f"{secrets}?limit=2")).body
    await client.apply(f"{secrets}/bb", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bb"}})
    second = (await client.call("GET", f"{secrets}?limit=2&continue={first['metadata']['continue']}")).body
    assert first["metadata"]["remainingItemCount"] == 1
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_the_ledger_holds_each_request_once(client: Any, cluster: SimCluster) -> None:
    await client.apply(f"{MAPS}/a?dryRun=All&x=", config_map("a"))
    await client.apply(f"{MAPS}/a", config_map("a"))
    await client.call("GET", f"{MAPS}/nope")
    assert [(entry.verb, entry.code) for entry in cluster.ledger] == [("patch", 422), ("patch", 201), ("get", 404)]
    assert [entry.name for entry in cluster.ledger.writes()] == ["a"]
    assert cluster.ledger.count(verb="get") == 1


async def test_a_repeated_apply_with_an_old_version_is_still_a_conflict(client: Any) -> None:
    made = await client.apply(f"{MAPS}/a", config_map("a", x="1"))
    body = config_map("a", x="2")
    body["metadata"]["resourceVersion"] = made.body["metadata"]["resourceVersion"]
    codes = [(await client.apply(f"{MAPS}/a", body)).code for _ in range(3)]
    assert codes == [200, 409, 409]


async def test_a_repeated_apply_sees_what_others_changed_meanwhile(client: Any, cluster: SimCluster) -> None:
    for _ in range(3):
        await client.apply(f"{MAPS}/a", config_map("a", x="1"))
    cluster.drift("", "ConfigMap", "default", "a", {"data": {"x": "9"}})
    refused = await client.apply(f"{MAPS}/a", config_map("a", x="1"))
    healed = await client.apply(f"{MAPS}/a", config_map("a", x="1"), force=True)
    assert (refused.code, healed.code, healed.body["data"]) == (409, 200, {"x": "1"})
