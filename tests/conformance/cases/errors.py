"""How an API server says no: codes, reasons, shapes."""

from __future__ import annotations

from typing import Any

from conformance.client import Api
from conformance.objects import config_map, container, deployment, service
from conformance.suite import case


@case
async def a_missing_object_answers_404(api: Api) -> Any:
    return (await api.get(api.path("configmaps", "a"))).whole


@case
async def a_missing_object_of_a_group_names_the_group(api: Api) -> Any:
    return (await api.get(api.path("deployments", "web"))).whole


@case
async def an_unknown_resource_answers_404(api: Api) -> Any:
    return (await api.get(f"/api/v1/namespaces/{api.ns}/gadgets/a")).whole


@case
async def an_unknown_group_answers_404(api: Api) -> Any:
    return (await api.get(f"/apis/{api.unique}.example.org/v1/gadgets")).whole


@case
async def an_unknown_version_answers_404(api: Api) -> Any:
    return (await api.get(f"/apis/apps/v9/namespaces/{api.ns}/deployments")).whole


@case
async def an_unknown_subresource_answers_404(api: Api) -> Any:
    await api.apply(api.path("configmaps", "a"), config_map())
    return (await api.get(api.path("configmaps", "a", sub="scale"))).whole


@case
async def a_post_to_an_object_answers_405(api: Api) -> Any:
    return (await api.post(api.path("configmaps", "a"), config_map())).whole


@case
async def a_patch_of_a_collection_answers_405(api: Api) -> Any:
    return (await api.patch(api.path("configmaps"), {})).whole


@case
async def a_put_to_a_collection_answers_405(api: Api) -> Any:
    return (await api.put(api.path("configmaps"), config_map())).code


@case
async def an_unknown_content_type_answers_415(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), b"<a/>", content_type="application/xml")).whole


@case
async def an_unknown_patch_type_answers_415(api: Api) -> Any:
    await api.apply(api.path("configmaps", "a"), config_map())
    return (await api.patch(api.path("configmaps", "a"), {}, "application/json")).whole


@case
async def an_unknown_accept_answers_406(api: Api) -> Any:
    return (await api.get(api.path("configmaps"), accept="application/xml")).whole


@case
async def broken_json_answers_400(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), b"{")
    return [reply.code, reply.at("reason"), reply.at("kind")]


@case
async def another_kind_in_the_body_answers_400(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), deployment())).whole


@case
async def a_missing_kind_is_taken_from_the_path(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), {"metadata": {"name": "a"}})
    return [reply.code, reply.at("kind"), reply.at("apiVersion")]


@case
async def an_invalid_name_answers_422(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), config_map("Not_Valid"))).whole


@case
async def a_missing_name_answers_422(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})).whole


@case
async def an_invalid_label_answers_422(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), config_map(labels={"d": "e f"}))).whole


@case
async def an_invalid_label_name_answers_422(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), config_map(labels={"a b": "c"}))).whole


@case
async def annotations_that_are_too_large_answer_422(api: Api) -> Any:
    return (await api.post(api.path("configmaps"), config_map(annotations={"a": "x" * 262145}))).whole


@case
async def several_problems_are_told_at_once(api: Api) -> Any:
    body = service("web", {"port": 0}, {"port": 70000})
    return (await api.post(api.path("services"), body)).whole


@case
async def a_selector_that_misses_the_template_answers_422(api: Api) -> Any:
    body = deployment()
    body["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    return (await api.post(api.path("deployments"), body)).whole


@case
async def a_deployment_without_image_answers_422(api: Api) -> Any:
    return (await api.post(api.path("deployments"), deployment("web", {"name": "app"}))).whole


@case
async def a_wrong_type_in_a_create_answers_400(api: Api) -> Any:
    reply = await api.post(api.path("deployments"), deployment(replicas="three"))
    return [reply.code, reply.at("reason"), "replicas" in str(reply.at("message"))]


@case
async def an_unknown_enum_value_answers_422(api: Api) -> Any:
    return (await api.post(api.path("deployments"), deployment("web", container(imagePullPolicy="Sometimes")))).whole


@case
async def an_invalid_quantity_is_refused(api: Api) -> Any:
    body = deployment("web", container(resources={"requests": {"cpu": "lots"}}))
    reply = await api.apply(api.path("deployments", "web"), body)
    return [reply.code, reply.at("reason"), "quantities must match" in str(reply.body)]


@case
async def requests_over_limits_answer_422(api: Api) -> Any:
    body = deployment("web", container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}))
    return (await api.apply(api.path("deployments", "web"), body)).whole


@case
async def a_wrong_token_answers_401(api: Api) -> Any:
    reply = await api.as_user("no-such-token").get(api.path("configmaps"))
    return reply.whole


@case
async def no_token_is_anonymous_and_answers_403(api: Api) -> Any:
    return (await api.as_user(None).get(api.path("configmaps"))).whole


@case
async def an_unknown_field_validation_is_refused(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(), fieldValidation="Maybe")).whole


@case
async def an_oversized_object_is_refused(api: Api) -> Any:
    reply = await api.post(api.path("configmaps"), config_map(data={"k": "x" * (1024 * 1024 + 1)}))
    return reply.whole


@case
async def an_immutable_config_map_answers_422(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, {**config_map(data={"k": "v"}), "immutable": True})
    return (await api.apply(path, {**config_map(data={"k": "w"}), "immutable": True})).whole


@case
async def a_changed_cluster_ip_answers_422(api: Api) -> Any:
    path = api.path("services", "web")
    await api.apply(path, service(clusterIP="None"))
    reply = await api.apply(path, service(clusterIP="10.96.77.77"), force="true")
    return [reply.code, reply.at("reason"), [cause["field"] for cause in reply.at("details", "causes")]]


@case
async def a_changed_job_template_answers_422(api: Api) -> Any:
    template = {"spec": {"restartPolicy": "Never", "containers": [container()]}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}}
    path = api.path("jobs", "j")
    await api.apply(path, body)
    template["spec"]["containers"][0]["image"] = "other:2"
    reply = await api.apply(path, body)
    return [reply.code, reply.at("reason"), [cause["field"] for cause in reply.at("details", "causes")]]
