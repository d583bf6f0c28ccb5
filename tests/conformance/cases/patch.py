"""Merge, JSON and strategic patches; status and scale."""

from __future__ import annotations

from typing import Any

from conformance.client import JSON_PATCH, STRATEGIC, Api
from conformance.objects import config_map, container, deployment
from conformance.suite import case


@case
async def a_merge_patch_sets_and_removes(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v", "l": "v"}))
    reply = await api.patch(path, {"data": {"k": None, "m": "w"}})
    return [reply.code, reply.at("data")]


@case
async def a_merge_patch_that_changes_nothing_keeps_the_version(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    reply = await api.patch(api.path("configmaps", "a"), {"data": {"k": "v"}})
    return [reply.code, reply.version == made.version]


@case
async def a_merge_patch_replaces_lists(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(finalizers=["example.org/a", "example.org/b"]))
    reply = await api.patch(path, {"metadata": {"finalizers": ["example.org/c"]}})
    return reply.at("metadata", "finalizers")


@case
async def a_merge_patch_of_a_stale_version_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.post(api.path("configmaps"), config_map())
    await api.patch(path, {"data": {"k": "v"}})
    return (await api.patch(path, {"metadata": {"resourceVersion": made.version}, "data": {"k": "w"}})).whole


@case
async def a_merge_patch_of_another_uid_is_refused(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map())
    other = "11111111-2222-3333-4444-555555555555"
    return (await api.patch(path, {"metadata": {"uid": other}, "data": {"k": "w"}})).whole


@case
async def a_patch_of_nothing_answers_404(api: Api) -> Any:
    return (await api.patch(api.path("configmaps", "a"), {"data": {"k": "v"}})).whole


@case
async def a_broken_merge_patch_answers_400(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map())
    reply = await api.patch(api.path("configmaps", "a"), b"{")
    return [reply.code, reply.at("reason")]


@case
async def a_patch_that_renames_is_refused(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map())
    return (await api.patch(api.path("configmaps", "a"), {"metadata": {"name": "b"}})).whole


@case
async def a_dry_run_patch_stores_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.post(api.path("configmaps"), config_map())
    reply = await api.patch(path, {"data": {"k": "v"}}, dryRun="All")
    return [reply.at("data"), (await api.get(path)).version == made.version]


@case
async def a_json_patch_adds_replaces_removes(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v", "l": "v"}))
    patch = [
        {"op": "add", "path": "/data/m", "value": "x"},
        {"op": "replace", "path": "/data/k", "value": "w"},
        {"op": "remove", "path": "/data/l"},
    ]
    reply = await api.patch(path, patch, JSON_PATCH)
    return [reply.code, reply.at("data")]


@case
async def a_json_patch_escapes_slashes(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map(annotations={"example.org/a": "1"}))
    patch = [{"op": "replace", "path": "/metadata/annotations/example.org~1a", "value": "2"}]
    return (await api.patch(api.path("configmaps", "a"), patch, JSON_PATCH)).at("metadata", "annotations")


@case
async def a_failed_test_answers_422_and_changes_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    patch = [{"op": "replace", "path": "/data/k", "value": "w"}, {"op": "test", "path": "/data/k", "value": "other"}]
    reply = await api.patch(path, patch, JSON_PATCH)
    return [reply.whole, (await api.get(path)).at("data")]


@case
async def a_json_patch_of_a_missing_path_answers_422(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map())
    patch = [{"op": "remove", "path": "/data/k"}]
    return (await api.patch(api.path("configmaps", "a"), patch, JSON_PATCH)).whole


@case
async def a_strategic_patch_merges_containers_by_name(api: Api) -> Any:
    await api.post(api.path("deployments"), deployment("web", container(), container("second"), paused=True))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "other:2"}]}}}}
    reply = await api.patch(api.path("deployments", "web"), patch, STRATEGIC)
    containers = reply.at("spec", "template", "spec", "containers")
    return [reply.code, [[item["name"], item["image"]] for item in containers]]


@case
async def a_strategic_patch_deletes_by_directive(api: Api) -> Any:
    await api.post(api.path("deployments"), deployment("web", container(), container("second"), paused=True))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "second", "$patch": "delete"}]}}}}
    reply = await api.patch(api.path("deployments", "web"), patch, STRATEGIC)
    return [item["name"] for item in reply.at("spec", "template", "spec", "containers")]


@case
async def scale_can_be_read(api: Api) -> Any:
    await api.post(api.path("deployments"), deployment(replicas=3, paused=True))
    reply = await api.get(api.path("deployments", "web", sub="scale"))
    return [reply.code, reply.at("kind"), reply.at("apiVersion"), reply.at("spec"), reply.at("status", "selector")]


@case
async def scale_writes_replicas(api: Api) -> Any:
    path = api.path("deployments", "web")
    made = await api.post(api.path("deployments"), deployment(replicas=3, paused=True))
    reply = await api.patch(f"{path}/scale", {"spec": {"replicas": 5}})
    after = await api.get(path)
    return [
        reply.code,
        reply.at("spec"),
        after.at("spec", "replicas"),
        after.at("metadata", "generation"),
        made.version == after.version,
    ]


@case
async def scale_refuses_negative_replicas(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.post(api.path("deployments"), deployment(replicas=3, paused=True))
    return (await api.patch(f"{path}/scale", {"spec": {"replicas": -1}})).whole


@case
async def scale_takes_a_version_as_precondition(api: Api) -> Any:
    path = api.path("deployments", "web")
    made = await api.post(api.path("deployments"), deployment(replicas=3, paused=True))
    await api.patch(path, {"metadata": {"labels": {"a": "b"}}})
    stale = {"metadata": {"resourceVersion": made.version}, "spec": {"replicas": 5}}
    return (await api.patch(f"{path}/scale", stale)).code


@case
async def a_status_patch_leaves_generation(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.post(api.path("deployments"), deployment(paused=True))
    reply = await api.patch(f"{path}/status", {"status": {"observedGeneration": 1}, "spec": {"replicas": 7}})
    return [
        reply.code,
        reply.at("status", "observedGeneration"),
        reply.at("spec", "replicas"),
        reply.at("metadata", "generation"),
    ]


@case
async def a_null_for_an_absent_field_changes_nothing(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    reply = await api.patch(api.path("configmaps", "a"), {"data": {"none": None}, "binaryData": None})
    return [reply.code, reply.version == made.version]
