"""Watches: from where, what they send, how they end."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.client import METADATA, Api
from conformance.objects import crd, note
from conformance.suite import case


async def here(api: Api) -> str:
    """The version of the namespace's list now."""
    return (await api.get(api.path("secrets"))).version


def brief(events: list[Any]) -> Any:
    """Type, name and data of each event."""
    return [
        [kind, item["metadata"].get("name"), item.get("data")] if kind != "ERROR" else [kind, item]
        for kind, item in events
    ]


@case
async def a_watch_tells_what_came_after_its_version(api: Api) -> Any:
    since = await here(api)
    path = api.path("secrets", "a")
    await api.apply(path, note(text="v"))
    await api.apply(path, note(text="w"))
    await api.delete(path)
    return brief(await api.watch(api.path("secrets"), resourceVersion=since, until=3))


@case
async def an_event_carries_the_whole_object(api: Api) -> Any:
    since = await here(api)
    made = await api.apply(api.path("secrets", "a"), note(text="v"))
    events = await api.watch(api.path("secrets"), resourceVersion=since, until=1)
    return [events[0][0], events[0][1] == made.body]


@case
async def a_deleted_event_has_the_last_state_at_a_new_version(api: Api) -> Any:
    made = await api.apply(api.path("secrets", "a"), note(text="v"))
    await api.delete(api.path("secrets", "a"))
    events = await api.watch(api.path("secrets"), resourceVersion=made.version, until=1)
    item = events[0][1]
    return [
        events[0][0],
        item["data"],
        item["metadata"]["uid"] == made.at("metadata", "uid"),
        item["metadata"]["resourceVersion"] == made.version,
    ]


@case
async def a_change_that_changes_nothing_sends_nothing(api: Api) -> Any:
    path = api.path("secrets", "a")
    made = await api.apply(path, note(text="v"))
    await api.apply(path, note(text="v"))
    await api.apply(path, note(text="w"))
    return brief(await api.watch(api.path("secrets"), resourceVersion=made.version, until=1))


@case
async def a_watch_without_version_begins_with_what_is_there(api: Api) -> Any:
    await api.apply(api.path("secrets", "b"), note("b"))
    await api.apply(api.path("secrets", "a"), note("a"))
    return sorted(brief(await api.watch(api.path("secrets"), until=2)))


@case
async def a_watch_from_zero_begins_with_what_is_there(api: Api) -> Any:
    made = await api.apply(api.path("secrets", "a"), note("a"))
    query = {"resourceVersion": made.version, "resourceVersionMatch": "NotOlderThan"}
    await api.get(api.path("secrets"), **query)
    return brief(await api.watch(api.path("secrets"), resourceVersion="0", until=1))


@case
async def a_lost_label_is_sent_as_deleted(api: Api) -> Any:
    path = api.path("secrets", "a")
    made = await api.apply(path, note(text="v", labels={"color": "red"}))
    changed = await api.apply(path, note(text="w"))
    query = {"labelSelector": "color=red", "resourceVersion": made.version}
    events = await api.watch(api.path("secrets"), until=1, **query)
    item = events[0][1]
    return [brief(events), item["metadata"].get("labels"), item["metadata"]["resourceVersion"] == changed.version]


@case
async def a_gained_label_is_sent_as_added(api: Api) -> Any:
    path = api.path("secrets", "a")
    made = await api.apply(path, note(text="v"))
    await api.apply(path, note(text="v", labels={"color": "red"}))
    query = {"labelSelector": "color=red", "resourceVersion": made.version}
    return brief(await api.watch(api.path("secrets"), until=1, **query))


@case
async def a_labelled_watch_is_silent_about_others(api: Api) -> Any:
    since = await here(api)
    await api.apply(api.path("secrets", "a"), note("a"))
    await api.apply(api.path("secrets", "b"), note("b", labels={"color": "red"}))
    query = {"labelSelector": "color=red", "resourceVersion": since}
    return brief(await api.watch(api.path("secrets"), until=1, **query))


@case
async def a_watch_of_one_name_is_silent_about_others(api: Api) -> Any:
    since = await here(api)
    await api.apply(api.path("secrets", "a"), note("a"))
    await api.apply(api.path("secrets", "b"), note("b"))
    query = {"fieldSelector": "metadata.name=b", "resourceVersion": since}
    return brief(await api.watch(api.path("secrets"), until=1, **query))


@case
async def a_namespace_watch_is_silent_about_other_namespaces(api: Api) -> Any:
    since = await here(api)
    other = f"{api.ns}-2"
    await api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    await api.apply(f"/api/v1/namespaces/{other}/secrets/a", note("a"))
    await api.apply(api.path("secrets", "b"), note("b"))
    return brief(await api.watch(api.path("secrets"), resourceVersion=since, until=1))


@case
async def metadata_alone_can_be_watched(api: Api) -> Any:
    since = await here(api)
    await api.apply(api.path("secrets", "a"), note(text="v"))
    return await api.watch(api.path("secrets"), resourceVersion=since, until=1, accept=METADATA)


@case
async def a_watch_ends_after_the_seconds_asked(api: Api) -> Any:
    since = await here(api)
    clock = asyncio.get_running_loop().time
    start = clock()
    events = await api.watch(api.path("secrets"), resourceVersion=since, timeoutSeconds="1")
    return [events, 0.8 < clock() - start < 4]


@case
async def a_short_watch_with_bookmarks_closes_with_one(api: Api) -> Any:
    since = await here(api)
    made = await api.apply(api.path("secrets", "a"), note())
    query = {"allowWatchBookmarks": "true", "timeoutSeconds": "3", "resourceVersion": since}
    events = await api.watch(api.path("secrets"), **query)
    last = events[-1]
    # How many bookmarks come before is up to the server; the one at the end always comes.
    return [
        sorted({kind for kind, _ in events}),
        last[0],
        last[1]["kind"],
        sorted(last[1]["metadata"]),
        int(last[1]["metadata"]["resourceVersion"]) >= int(made.version),
    ]


@case
async def a_bookmark_of_a_metadata_watch_is_metadata(api: Api) -> Any:
    since = await here(api)
    query = {"allowWatchBookmarks": "true", "timeoutSeconds": "3", "resourceVersion": since}
    events = await api.watch(api.path("secrets"), accept=METADATA, **query)
    kind, item = events[-1]
    return [kind, item["kind"], item["apiVersion"]]


@case
async def without_bookmarks_none_is_sent(api: Api) -> Any:
    return await api.watch(api.path("secrets"), resourceVersion=await here(api), timeoutSeconds="3")


@case
async def initial_events_end_with_an_annotated_bookmark(api: Api) -> Any:
    await api.apply(api.path("secrets", "a"), note(text="v"))
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    events = await api.watch(api.path("secrets"), until=2, **query)
    return [[kind, item["metadata"].get("name"), item["metadata"].get("annotations")] for kind, item in events]


@case
async def initial_events_want_the_match_not_older_than(api: Api) -> Any:
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    return await api.watch(api.path("secrets"), **query)


@case
async def a_version_older_than_the_kind_is_told_as_410(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(group))
    path = f"/apis/{group}/v1/namespaces/{api.ns}/widgets"
    await api.until(path, lambda reply: reply.code == 200)
    return await api.watch(path, resourceVersion="1", timeoutSeconds="5")


@case
async def a_version_that_is_no_number_is_refused(api: Api) -> Any:
    return await api.watch(api.path("secrets"), resourceVersion="nonsense", until=1)


@case
async def a_watch_of_an_unknown_resource_answers_404(api: Api) -> Any:
    reply = await api.get(f"/api/v1/namespaces/{api.ns}/gadgets", watch="true")
    return reply.whole


@case
async def a_watch_without_the_right_answers_403(api: Api) -> Any:
    return await api.as_user("nobody").watch(api.path("secrets"), until=1)


@case
async def a_list_and_a_watch_join_without_a_gap(api: Api) -> Any:
    await api.apply(api.path("secrets", "a"), note("a"))
    listed = await api.get(api.path("secrets"))
    await api.apply(api.path("secrets", "b"), note("b"))
    events = await api.watch(api.path("secrets"), resourceVersion=listed.version, until=1)
    return [[item["metadata"]["name"] for item in listed.body["items"]], brief(events)]


@case
async def a_running_watch_sees_a_change_soon(api: Api) -> Any:
    since = await here(api)
    watching = asyncio.create_task(api.watch(api.path("secrets"), resourceVersion=since, until=1))
    await asyncio.sleep(0.3)
    await api.apply(api.path("secrets", "a"), note("a"))
    start = asyncio.get_running_loop().time()
    events = await watching
    return [brief(events), asyncio.get_running_loop().time() - start < 1.0]


@case
async def a_held_delete_is_a_modification_first(api: Api) -> Any:
    path = api.path("secrets", "a")
    made = await api.apply(path, note(finalizers=["example.org/hold"]))
    await api.delete(path)
    await api.patch(path, {"metadata": {"finalizers": None}})
    events = await api.watch(api.path("secrets"), resourceVersion=made.version, until=2)
    return [
        [kind, "deletionTimestamp" in item["metadata"], item["metadata"].get("finalizers")] for kind, item in events
    ]


@case
async def a_recreated_object_is_deleted_then_added(api: Api) -> Any:
    path = api.path("secrets", "a")
    made = await api.apply(path, note())
    await api.delete(path)
    again = await api.apply(path, note())
    events = await api.watch(api.path("secrets"), resourceVersion=made.version, until=2)
    uids = [item["metadata"]["uid"] for _, item in events]
    return [[kind for kind, _ in events], uids == [made.at("metadata", "uid"), again.at("metadata", "uid")]]


@case
async def a_watch_from_the_future_is_silent_about_the_past(api: Api) -> Any:
    since = str(int(await here(api)) + 1_000_000)
    query = {"resourceVersion": since, "timeoutSeconds": "2"}
    watching = asyncio.create_task(api.watch(api.path("secrets"), **query))
    await asyncio.sleep(0.3)
    await api.apply(api.path("secrets", "a"), note("a"))
    return brief(await watching)
