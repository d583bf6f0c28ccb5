"""Create, read, replace: what versions, uids and generations do."""

from __future__ import annotations

from typing import Any

from conformance.client import Api
from conformance.objects import config_map, deployment
from conformance.suite import case


@case
async def a_create_answers_201_with_what_the_server_adds(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), config_map(data={"k": "v"}))).whole


@case
async def a_second_create_answers_409(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map())
    return (await api.post(api.path("configmaps"), config_map())).whole


@case
async def a_create_in_a_missing_namespace_answers_404(api: Api) -> Any:
    return (await api.post(f"/api/v1/namespaces/{api.unique}/configmaps", config_map())).whole


@case
async def a_create_takes_the_namespace_of_the_path(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), config_map())
    return reply.at("metadata", "namespace")


@case
async def a_create_for_another_namespace_answers_400(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), config_map(namespace="default"))).whole


@case
async def a_create_with_a_version_is_refused(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map())
    return (await api.post(api.path("configmaps"), config_map("b", resourceVersion=made.version))).whole


@case
async def a_create_chooses_a_name_after_a_prefix(api: Api) -> Any:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "seed-"}}
    api.generated.append("seed-")
    replies = [await api.post(api.path("configmaps"), body) for _ in range(2)]
    names = [reply.at("metadata", "name") for reply in replies]
    return [replies[0].code, names, replies[0].at("metadata", "generateName"), len(names[0])]


@case
async def a_dry_run_create_stores_nothing(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), config_map(data={"k": "v"}), dryRun="All")
    return [reply.whole, (await api.get(api.path("configmaps", "a"))).code]


@case
async def a_uid_in_a_create_is_replaced(api: Api) -> Any:
    given = "11111111-2222-3333-4444-555555555555"
    reply = await api.post(api.path("configmaps"), config_map(uid=given))
    return [reply.code, reply.at("metadata", "uid") == given]


@case
async def a_read_shows_what_the_write_answered(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    return (await api.get(api.path("configmaps", "a"))).body == made.body


@case
async def a_replace_changes_the_version(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    reply = await api.put(api.path("configmaps", "a"), {**made.body, "data": {"k": "w"}})
    return [reply.code, reply.at("data"), reply.version == made.version]


@case
async def a_replace_by_the_same_keeps_the_version(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    reply = await api.put(api.path("configmaps", "a"), made.body)
    return [reply.code, reply.version == made.version]


@case
async def a_replace_of_a_stale_version_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}))
    await api.put(path, {**made.body, "data": {"k": "w"}})
    return (await api.put(path, {**made.body, "data": {"k": "x"}})).whole


@case
async def a_replace_without_version_is_unconditional(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v"}, labels={"a": "b"}))
    reply = await api.put(path, config_map(data={"l": "w"}))
    return [reply.code, reply.at("data"), reply.at("metadata", "labels")]


@case
async def a_replace_of_nothing_answers_404(api: Api) -> Any:
    return (await api.put(api.path("configmaps", "a"), config_map())).whole


@case
async def a_replace_under_another_name_answers_400(api: Api) -> Any:
    await api.post(api.path("configmaps"), config_map())
    return (await api.put(api.path("configmaps", "a"), config_map("b"))).whole


@case
async def a_replace_of_another_incarnation_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.post(api.path("configmaps"), config_map())
    await api.delete(path)
    await api.post(api.path("configmaps"), config_map())
    body = config_map(data={"k": "v"}, uid=made.at("metadata", "uid"))
    reply = await api.put(path, body)
    # The message quotes the key under which this very server stores it.
    return [reply.code, reply.at("reason"), reply.at("details"), "Precondition failed: UID" in reply.at("message")]


@case
async def generation_follows_the_spec_and_not_the_labels(api: Api) -> Any:
    path = api.path("deployments", "web")
    made = await api.post(api.path("deployments"), deployment(paused=True))
    labelled = await api.patch(path, {"metadata": {"labels": {"a": "b"}}})
    scaled = await api.patch(path, {"spec": {"replicas": 3}})
    return [reply.at("metadata", "generation") for reply in (made, labelled, scaled)]


@case
async def a_config_map_has_no_generation(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map())
    return made.at("metadata", "generation")


@case
async def the_status_of_a_create_is_dropped(api: Api) -> Any:
    reply = await api.post(api.path("deployments"), {**deployment(paused=True), "status": {"replicas": 9}})
    return reply.at("status")


@case
async def a_status_write_keeps_the_spec(api: Api) -> Any:
    made = await api.post(api.path("deployments"), deployment(paused=True))
    body = {
        **made.body,
        "spec": {**made.body["spec"], "replicas": 9},
        "status": {
            "conditions": [
                {
                    "type": "Odd",
                    "status": "True",
                    "reason": "Why",
                    "message": "m",
                    "lastTransitionTime": "2020-01-01T00:00:00Z",
                    "lastUpdateTime": "2020-01-01T00:00:00Z",
                }
            ]
        },
    }
    body["metadata"] = {"name": "web"}
    reply = await api.put(f"{api.path('deployments', 'web')}/status", body, fieldManager="kubelet")
    return [
        reply.code,
        reply.at("spec", "replicas"),
        reply.at("metadata", "generation"),
        [c["type"] for c in reply.at("status", "conditions")],
    ]


@case
async def owners_are_kept_as_given(api: Api) -> Any:
    owner = await api.post(api.path("configmaps"), config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.at("metadata", "uid")}
    reply = await api.post(
        api.path("configmaps"), config_map(ownerReferences=[{**reference, "blockOwnerDeletion": True}])
    )
    return reply.at("metadata", "ownerReferences")


@case
async def the_creation_time_cannot_be_changed(api: Api) -> Any:
    made = await api.post(api.path("configmaps"), config_map())
    reply = await api.patch(api.path("configmaps", "a"), {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}})
    return [reply.code, reply.at("metadata", "creationTimestamp") == made.at("metadata", "creationTimestamp")]


@case
async def unknown_fields_of_a_create_are_dropped_with_a_warning(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), {**config_map(), "dta": {"k": "v"}}, fieldValidation="Warn")
    return [reply.code, "dta" in reply.body, list(reply.warnings)]


@case
async def unknown_fields_are_warned_about_without_being_asked(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), {**config_map(), "dta": {"k": "v"}})
    return [reply.code, list(reply.warnings)]


@case
async def unknown_fields_can_be_ignored(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), {**config_map(), "dta": {}}, fieldValidation="Ignore")
    return [reply.code, list(reply.warnings)]


@case
async def unknown_fields_are_refused_when_strict(api: Api) -> Any:
    body = deployment()
    body["spec"]["replica"] = 3
    return (await api.post(api.path("deployments"), body, fieldValidation="Strict")).whole


@case
async def a_key_twice_is_refused_when_strict(api: Api) -> Any:
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v","k":"w"}}'
    return (await api.post(api.path("configmaps"), body, fieldValidation="Strict")).whole


@case
async def a_name_may_be_as_long_as_253(api: Api) -> Any:
    return [(await api.post(api.path("configmaps"), config_map("a" * length))).code for length in (253, 254)]
