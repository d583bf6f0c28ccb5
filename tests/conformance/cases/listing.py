"""Lists: pages, selectors, versions, metadata alone."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from conformance.client import METADATA, METADATA_LIST, Api, Reply
from conformance.objects import crd, deployment, note
from conformance.suite import case


async def fill(api: Api, *names: str, **labels: str) -> None:
    """Notes of these names, all with these labels."""
    paths = {name: api.path("secrets", name) for name in names}
    await asyncio.gather(*(api.apply(path, note(name, labels=labels)) for name, path in paths.items()))


def names_in(reply: Reply) -> Any:
    return [item["metadata"]["name"] for item in reply.body["items"]] if reply.code == 200 else reply.whole


@case
async def an_empty_list_has_a_version(api: Api) -> Any:
    return (await api.get(api.path("secrets"))).whole


@case
async def a_list_names_its_kind_and_its_items_do_not(api: Api) -> Any:
    await fill(api, "a")
    reply = await api.get(api.path("secrets"))
    item = reply.body["items"][0]
    return [reply.body["kind"], reply.body["apiVersion"], sorted(item)]


@case
async def items_come_in_order_of_name(api: Api) -> Any:
    await fill(api, "c", "a", "b-1", "b")
    return names_in(await api.get(api.path("secrets")))


@case
async def an_item_is_the_object_itself(api: Api) -> Any:
    made = await api.apply(api.path("secrets", "a"), note(text="v"))
    reply = await api.get(api.path("secrets"))
    item = reply.body["items"][0]
    return {**item, "apiVersion": "v1", "kind": "Secret"} == made.body


@case
async def a_limit_cuts_and_tells_how_many_are_left(api: Api) -> Any:
    await fill(api, "a", "b", "c", "d", "e")
    reply = await api.get(api.path("secrets"), limit="2")
    return [names_in(reply), reply.at("metadata")]


@case
async def pages_join_to_the_whole_list(api: Api) -> Any:
    await fill(api, "a", "b", "c", "d", "e")
    pages, token, versions = [], "", set()
    while True:
        query = {"limit": "2", **({"continue": token} if token else {})}
        reply = await api.get(api.path("secrets"), **query)
        pages.append(names_in(reply))
        versions.add(reply.version)
        token = reply.at("metadata", "continue")
        if not token:
            return [pages, len(versions), reply.at("metadata", "remainingItemCount")]


@case
async def later_pages_show_the_state_of_the_first(api: Api) -> Any:
    await fill(api, "a", "b", "c")
    first = await api.get(api.path("secrets"), limit="1")
    await api.delete(api.path("secrets", "c"))
    await fill(api, "d")
    query = {"limit": "5", "continue": first.at("metadata", "continue")}
    second = await api.get(api.path("secrets"), **query)
    return [names_in(second), second.version == first.version]


@case
async def a_limit_that_fits_exactly_has_no_next_page(api: Api) -> Any:
    await fill(api, "a", "b")
    return (await api.get(api.path("secrets"), limit="2")).at("metadata")


@case
async def a_paged_list_with_a_selector_counts_nothing(api: Api) -> Any:
    await fill(api, "a", "b", "c", color="red")
    reply = await api.get(api.path("secrets"), limit="2", labelSelector="color=red")
    return [names_in(reply), reply.at("metadata")]


@case
async def a_broken_continue_token_answers_400(api: Api) -> Any:
    return (await api.get(api.path("secrets"), limit="2", **{"continue": "nonsense"})).whole


# The history before version 2 is forgotten on every target before the cases run. A kind defined later than that has no
# cache that could still answer from memory.


async def late_kind(api: Api) -> str:
    """Where a kind is listed that was defined just now."""
    group = f"{api.unique}.example.org"
    await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd(group))
    path = f"/apis/{group}/v1/namespaces/{api.ns}/widgets"
    await api.until(path, lambda reply: reply.code == 200)
    return path


@case
async def a_continue_token_of_forgotten_history_answers_410(api: Api) -> Any:
    token = {"v": "meta.k8s.io/v1", "rv": 1, "start": "a\u0000"}
    encoded = base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")
    return (await api.get(await late_kind(api), limit="2", **{"continue": encoded})).whole


@case
async def a_forgotten_exact_version_answers_410(api: Api) -> Any:
    query = {"resourceVersion": "1", "resourceVersionMatch": "Exact"}
    return (await api.get(await late_kind(api), **query)).whole


@case
async def equality_selects(api: Api) -> Any:
    await fill(api, "a", color="red")
    await fill(api, "b", color="blue")
    path = api.path("secrets")
    return [names_in(await api.get(path, labelSelector=text)) for text in ("color=red", "color==red", "color!=red")]


@case
async def sets_select(api: Api) -> Any:
    await fill(api, "a", color="red")
    await fill(api, "b", color="blue", size="big")
    await fill(api, "c")
    path = api.path("secrets")
    asked = ("color in (red,blue)", "color notin (red)", "color", "!color", "color in (blue),size=big", "color,!size")
    return {text: names_in(await api.get(path, labelSelector=text)) for text in asked}


@case
async def a_broken_label_selector_answers_400(api: Api) -> Any:
    return (await api.get(api.path("secrets"), labelSelector="color in (red")).whole


@case
async def a_name_selects_by_field(api: Api) -> Any:
    await fill(api, "a", "b")
    path = api.path("secrets")
    asked = ("metadata.name=a", "metadata.name!=a", f"metadata.namespace={api.ns}")
    return [names_in(await api.get(path, fieldSelector=text)) for text in asked]


@case
async def an_unknown_field_selector_answers_400(api: Api) -> Any:
    return (await api.get(api.path("secrets"), fieldSelector="data.k=v")).whole


@case
async def metadata_alone_can_be_listed(api: Api) -> Any:
    await api.apply(api.path("secrets", "a"), note(text="v", labels={"l": "1"}))
    reply = await api.get(api.path("secrets"), accept=METADATA_LIST)
    return reply.whole


@case
async def metadata_alone_can_be_read(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment())
    reply = await api.get(path, accept=METADATA)
    return [
        reply.code,
        sorted(reply.body),
        reply.at("kind"),
        reply.at("apiVersion"),
        reply.at("metadata", "generation"),
    ]


@case
async def metadata_lists_take_selectors_and_pages(api: Api) -> Any:
    await fill(api, "a", "b", "c", color="red")
    await fill(api, "d")
    reply = await api.get(api.path("secrets"), accept=METADATA_LIST, labelSelector="color=red", limit="2")
    return [names_in(reply), reply.body["kind"], bool(reply.at("metadata", "continue"))]


@case
async def a_list_over_all_namespaces_takes_a_selector(api: Api) -> Any:
    await fill(api, "a", "b", mark=api.unique)
    reply = await api.get("/api/v1/secrets", labelSelector=f"mark={api.unique}")
    return [names_in(reply), {item["metadata"]["namespace"] for item in reply.body["items"]} == {api.ns}]


@case
async def a_list_at_any_version_may_ask_for_zero(api: Api) -> Any:
    await fill(api, "a")
    reply = await api.get(api.path("secrets"), resourceVersion="0")
    return [reply.code, reply.body["kind"]]


@case
async def not_older_than_sees_the_write(api: Api) -> Any:
    made = await api.apply(api.path("secrets", "a"), note())
    query = {"resourceVersion": made.version, "resourceVersionMatch": "NotOlderThan"}
    return names_in(await api.get(api.path("secrets"), **query))


@case
async def exact_sees_the_past(api: Api) -> Any:
    first = await api.apply(api.path("secrets", "a"), note())
    await fill(api, "b")
    query = {"resourceVersion": first.version, "resourceVersionMatch": "Exact"}
    reply = await api.get(api.path("secrets"), **query)
    return [names_in(reply), reply.version == first.version]


@case
async def a_match_without_a_version_is_refused(api: Api) -> Any:
    return (await api.get(api.path("secrets"), resourceVersionMatch="Exact")).whole


@case
async def a_version_from_the_future_times_out(api: Api) -> Any:
    reply = await api.get(api.path("secrets"), resourceVersion="999999999999")
    return [reply.code, reply.at("reason"), reply.at("details", "causes"), reply.at("details", "retryAfterSeconds")]


@case
async def a_list_in_a_missing_namespace_is_empty(api: Api) -> Any:
    return names_in(await api.get(f"/api/v1/namespaces/{api.unique}/secrets"))


@case
async def a_negative_limit_is_no_limit(api: Api) -> Any:
    return (await api.get(api.path("secrets"), limit="-1")).code
