"""Deletes: preconditions, propagation, finalizers, dry-run."""

from __future__ import annotations

from typing import Any

from conformance.client import Api
from conformance.objects import config_map, crd, deployment, pod, secret, widget
from conformance.suite import case

HOLD = "example.org/hold"


@case
async def a_delete_answers_a_success_status_with_the_uid(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    reply = await api.delete(path)
    return [made.at("metadata", "uid"), reply.whole, (await api.get(path)).code]


@case
async def a_delete_of_what_is_not_there_answers_404(api: Api) -> Any:
    return (await api.delete(api.path("configmaps", "a"))).whole


@case
async def a_delete_with_the_right_uid_succeeds(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    return (await api.delete(path, {"preconditions": {"uid": made.at("metadata", "uid")}})).code


@case
async def a_delete_with_another_uid_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    other = "11111111-2222-3333-4444-555555555555"
    reply = await api.delete(path, {"preconditions": {"uid": other}})
    return [reply.whole, made.at("metadata", "uid"), (await api.get(path)).code]


@case
async def a_delete_with_the_right_version_succeeds(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    return (await api.delete(path, {"preconditions": {"resourceVersion": made.version}})).code


@case
async def a_delete_with_a_stale_version_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    changed = await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.delete(path, {"preconditions": {"resourceVersion": made.version}})
    code, status = reply.whole
    message = status.pop("message").replace(made.version, "<old>").replace(changed.version, "<new>")
    return [code, status, message, (await api.get(path)).code]


@case
async def a_delete_with_both_preconditions_checks_both(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    await api.apply(path, config_map(data={"k": "v"}))
    both = {"uid": made.at("metadata", "uid"), "resourceVersion": made.version}
    refused = await api.delete(path, {"preconditions": both})
    now = (await api.get(path)).version
    return [refused.code, (await api.delete(path, {"preconditions": {**both, "resourceVersion": now}})).code]


@case
async def a_delete_by_a_whole_options_document_is_the_same(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map())
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    return (await api.delete(path, options)).code


@case
async def a_finalizer_keeps_the_object(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(finalizers=[HOLD]))
    reply = await api.delete(path)
    return [reply.whole, reply.version == made.version, (await api.get(path)).whole]


@case
async def a_second_delete_while_held_changes_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    first = await api.delete(path)
    second = await api.delete(path)
    return [second.code, second.version == first.version]


@case
async def removing_the_last_finalizer_completes_the_delete(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    await api.delete(path)
    reply = await api.patch(path, {"metadata": {"finalizers": None}})
    return [reply.code, reply.at("metadata", "finalizers"), (await api.get(path)).code]


@case
async def no_finalizer_can_be_added_while_deleting(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    await api.delete(path)
    return (await api.patch(path, {"metadata": {"finalizers": [HOLD, "example.org/new"]}})).whole


@case
async def an_ordinary_change_while_deleting_is_allowed(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    await api.delete(path)
    reply = await api.patch(path, {"data": {"k": "v"}})
    return [reply.code, reply.at("data")]


@case
async def a_create_while_the_old_one_is_held_answers_409(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map(finalizers=[HOLD]))
    await api.delete(api.path("configmaps", "a"))
    return (await api.post(api.path("configmaps"), config_map())).whole


@case
async def foreground_adds_its_finalizer(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    reply = await api.delete(path, {"propagationPolicy": "Foreground"})
    return [reply.code, reply.at("metadata", "finalizers")]


@case
async def orphan_adds_its_finalizer(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    reply = await api.delete(path, {"propagationPolicy": "Orphan"})
    return [reply.code, reply.at("metadata", "finalizers")]


@case
async def background_adds_no_finalizer(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    reply = await api.delete(path, {"propagationPolicy": "Background"})
    return [reply.code, reply.at("metadata", "finalizers")]


@case
async def propagation_may_be_asked_in_the_query(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    reply = await api.delete(path, propagationPolicy="Foreground")
    return [reply.code, reply.at("metadata", "finalizers")]


@case
async def an_unknown_propagation_is_refused(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map())
    return (await api.delete(path, {"propagationPolicy": "Sideways"})).whole


@case
async def a_dry_run_delete_answers_as_if_and_deletes_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map())
    reply = await api.delete(path, dryRun="All")
    return [reply.whole, (await api.get(path)).body == made.body]


@case
async def a_dry_run_delete_in_the_body_is_the_same(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map())
    return [(await api.delete(path, {"dryRun": ["All"]})).code, (await api.get(path)).code]


@case
async def a_dry_run_delete_checks_preconditions(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map())
    options = {"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}, "dryRun": ["All"]}
    return (await api.delete(path, options)).code


@case
async def a_collection_delete_takes_what_the_selector_says(api: Api) -> Any:
    for name, color in (("a", "red"), ("b", "red"), ("c", "blue")):
        await api.apply(api.path("configmaps", name), config_map(name, labels={"color": color}))
    reply = await api.delete(api.path("configmaps"), labelSelector="color=red")
    left = await api.get(api.path("configmaps"), labelSelector="color")
    deleted = sorted(item["metadata"]["name"] for item in reply.body["items"])
    return [reply.code, reply.body["kind"], deleted, [item["metadata"]["name"] for item in left.body["items"]]]


@case
async def a_service_answers_its_last_state(api: Api) -> Any:
    path = api.path("services", "web")
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    await api.apply(path, body)
    reply = await api.delete(path)
    return [reply.code, reply.body["kind"], (await api.get(path)).code]


@case
async def a_secret_and_a_deployment_answer_a_status(api: Api) -> Any:
    await api.apply(api.path("secrets", "a"), secret())
    await api.apply(api.path("deployments", "web"), deployment())
    replies = [await api.delete(api.path("secrets", "a")), await api.delete(api.path("deployments", "web"))]
    return [[reply.code, reply.body["kind"], reply.at("details")] for reply in replies]


@case
async def a_pod_that_runs_nowhere_goes_at_once(api: Api) -> Any:
    path = api.path("pods", "p")
    await api.post(api.path("pods"), pod(schedulerName="nobody"))
    reply = await api.delete(path)
    return [
        reply.code,
        reply.body["kind"],
        reply.at("metadata", "deletionGracePeriodSeconds"),
        (await api.get(path)).code,
    ]


@case
async def a_broken_options_body_answers_400(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map())
    return [(await api.delete(path, b"{")).code, (await api.get(path)).code]


@case
async def a_custom_resource_answers_a_status(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.post(crds, crd(group))
    path = f"/apis/{group}/v1/namespaces/{api.ns}/widgets"
    await api.until(path, lambda reply: reply.code == 200)
    made = await api.post(path, widget(group))
    reply = await api.delete(f"{path}/w", {"preconditions": {"uid": made.at("metadata", "uid")}})
    return reply.whole


@case
async def a_deleted_name_gets_a_new_uid(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map())
    await api.delete(path)
    second = await api.apply(path, config_map())
    return [second.code, first.at("metadata", "uid") == second.at("metadata", "uid")]


@case
async def the_default_namespace_cannot_be_deleted(api: Api) -> Any:
    return (await api.delete("/api/v1/namespaces/default", dryRun="All")).whole


@case
async def a_deleted_namespace_is_terminating(api: Api) -> Any:
    reply = await api.delete(f"/api/v1/namespaces/{api.ns}")
    return [
        reply.code,
        reply.body["kind"],
        reply.at("status"),
        "deletionTimestamp" in reply.at("metadata"),
        reply.at("spec"),
    ]


@case
async def a_terminating_namespace_refuses_creates(api: Api) -> Any:
    await api.apply(api.path("configmaps", "held"), config_map("held", finalizers=[HOLD]))
    await api.delete(f"/api/v1/namespaces/{api.ns}", {"propagationPolicy": "Background"})
    path = api.path("configmaps", "a")
    last = await api.apply(path, config_map(data={"k": "v"}))
    for _ in range(50):
        if last.code == 403:
            break
        await api.delete(path)
        last = await api.apply(path, config_map(data={"k": "v"}))
    return last.whole
