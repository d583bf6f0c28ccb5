"""Definitions of custom resources: establishing, validation, defaults, pruning, subresources, versions."""

from __future__ import annotations

from typing import Any

from conformance.client import JSON_PATCH, Api, Reply
from conformance.objects import ANYTHING, crd, version, widget
from conformance.suite import case

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "steps": {"type": "array", "items": {"type": "string"}},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 1}},
            },
        },
        "limits": {"type": "object", "additionalProperties": {"type": "string"}},
        "replicas": {"type": "integer"},
    },
}


class Widgets:
    """Widgets of a definition made for one case."""

    def __init__(self, api: Api, group: str) -> None:
        self.api, self.group = api, group

    def path(self, name: str = "", *, api_version: str = "v1", sub: str = "") -> str:
        parts = [f"/apis/{self.group}/{api_version}/namespaces/{self.api.ns}/widgets", name, sub]
        return "/".join(part for part in parts if part)

    async def apply(self, spec: Any, manager: str = "fleet", **options: Any) -> Reply:
        return await self.api.apply(self.path("w"), widget(self.group, spec=spec), manager, **options)

    async def create(self, spec: Any, **options: Any) -> Reply:
        return await self.api.post(self.path(), widget(self.group, spec=spec), **options)


async def define(api: Api, *versions: dict[str, Any], **fields: Any) -> Widgets:
    """Make a definition and wait until it is established and its kind is served."""
    group = f"{api.unique}.example.org"
    await api.post(CRDS, crd(group, *(versions or (version(spec=SPEC),)), **fields))
    widgets = Widgets(api, group)
    await api.until(f"{CRDS}/widgets.{group}", is_established)
    await api.until(widgets.path(), lambda reply: reply.code == 200)
    return widgets


def conditions(reply: Reply) -> Any:
    return [[item["type"], item["status"], item["reason"]] for item in reply.at("status", "conditions") or []]


def is_established(reply: Reply) -> bool:
    return ["Established", "True", "InitialNamesAccepted"] in conditions(reply)


@case
async def a_definition_is_established(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    made = await api.post(CRDS, crd(group))
    path = f"{CRDS}/widgets.{group}"
    reply = await api.until(path, is_established)
    return [made.code, conditions(reply), reply.at("status", "acceptedNames"), reply.at("status", "storedVersions")]


@case
async def a_definition_has_defaults(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    body = crd(group)
    del body["spec"]["names"]["singular"], body["spec"]["names"]["listKind"]
    reply = await api.post(CRDS, body)
    return [reply.at("spec", "conversion"), reply.at("spec", "names"), reply.at("metadata", "generation")]


@case
async def a_definition_under_another_name_is_refused(api: Api) -> Any:
    body = crd(f"{api.unique}.example.org")
    body["metadata"]["name"] = "other.example.org"
    return (await api.post(CRDS, body)).whole


@case
async def a_definition_without_schema_is_refused(api: Api) -> Any:
    body = crd(f"{api.unique}.example.org", {"name": "v1", "served": True, "storage": True})
    return (await api.post(CRDS, body)).whole


@case
async def a_definition_wants_one_storage_version(api: Api) -> Any:
    body = crd(f"{api.unique}.example.org", version("v1", storage=False))
    reply = await api.post(CRDS, body)
    return [reply.code, reply.at("reason"), reply.at("details", "causes")]


@case
async def a_kind_is_unknown_before_its_definition(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    return (await api.apply(f"/apis/{group}/v1/namespaces/{api.ns}/widgets/w", widget(group))).whole


@case
async def an_unserved_version_answers_404(api: Api) -> Any:
    widgets = await define(api)
    return (await api.get(widgets.path(api_version="v2"))).whole


@case
async def a_custom_resource_is_created(api: Api) -> Any:
    return (await (await define(api)).create({"size": 3})).whole


@case
async def a_custom_resource_is_applied(api: Api) -> Any:
    widgets = await define(api)
    first = await widgets.apply({"size": 3})
    again = await widgets.apply({"size": 3})
    return [first.whole, again.code, again.version == first.version]


@case
async def a_custom_conflict_has_the_usual_shape(api: Api) -> Any:
    widgets = await define(api)
    await widgets.apply({"size": 3})
    return (await widgets.apply({"size": 4}, "other")).whole


@case
async def defaults_are_filled_in_and_owned_by_nobody(api: Api) -> Any:
    reply = await (await define(api)).apply({"size": 3, "parts": [{"name": "a"}]})
    return [reply.at("spec"), reply.at("metadata", "managedFields", 0, "fieldsV1")]


@case
async def unknown_fields_are_pruned_from_a_create(api: Api) -> Any:
    reply = await (await define(api)).create({"size": 3, "odd": 1})
    return [reply.code, reply.at("spec"), list(reply.warnings)]


@case
async def unknown_fields_are_refused_from_a_strict_create(api: Api) -> Any:
    return (await (await define(api)).create({"size": 3, "odd": 1}, fieldValidation="Strict")).whole


@case
async def unknown_fields_are_refused_from_an_apply(api: Api) -> Any:
    reply = await (await define(api)).apply({"size": 3, "odd": 1})
    return [reply.code, reply.at("reason"), reply.at("message"), reply.at("spec"), list(reply.warnings)]


@case
async def preserved_fields_are_kept(api: Api) -> Any:
    reply = await (await define(api)).apply({"size": 3, "free": {"any": {"thing": [1, "a", None]}}})
    return [reply.code, reply.at("spec", "free"), reply.at("metadata", "managedFields", 0, "fieldsV1")]


@case
async def a_missing_required_field_answers_422(api: Api) -> Any:
    return (await (await define(api)).create({"color": "red"})).whole


@case
async def a_wrong_type_answers_422(api: Api) -> Any:
    return (await (await define(api)).create({"size": "three"})).whole


@case
async def limits_and_enums_answer_422_together(api: Api) -> Any:
    reply = await (await define(api)).create({"size": 10, "color": "green", "name": "TooLong"})
    # The server validates in no particular order.
    causes = sorted(reply.at("details", "causes"), key=lambda cause: cause["field"])
    return [reply.code, reply.at("reason"), causes]


@case
async def an_invalid_apply_answers_the_same(api: Api) -> Any:
    widgets = await define(api)
    applied = await widgets.apply({"size": 10})
    created = await widgets.create({"size": 10})
    return [applied.whole, applied.body == created.body]


@case
async def an_invalid_dry_run_answers_422_too(api: Api) -> Any:
    return (await (await define(api)).apply({"size": 0}, dryRun="All")).code


@case
async def nulls_are_kept_where_allowed_and_dropped_where_not(api: Api) -> Any:
    reply = await (await define(api)).create({"size": 3, "maybe": None, "color": None})
    return [reply.code, reply.at("spec")]


@case
async def a_rule_is_checked_with_its_message(api: Api) -> Any:
    rule = {"rule": "self.low <= self.high", "message": "low must not exceed high"}
    spec = {"type": "object", "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}}}
    widgets = await define(api, version(spec={**spec, "x-kubernetes-validations": [rule]}))
    return [(await widgets.create({"low": 3, "high": 2})).whole, (await widgets.create({"low": 2, "high": 3})).code]


@case
async def a_keyed_list_merges_by_key(api: Api) -> Any:
    widgets = await define(api)
    await widgets.apply({"size": 3, "parts": [{"name": "a", "count": 2}]})
    reply = await widgets.apply({"parts": [{"name": "b"}]}, "other")
    dropped = await widgets.apply({"size": 3})
    return [reply.at("spec", "parts"), dropped.at("spec", "parts")]


@case
async def a_set_merges_by_value(api: Api) -> Any:
    widgets = await define(api)
    await widgets.apply({"size": 3, "tags": ["a", "b"]})
    reply = await widgets.apply({"tags": ["b", "c"]}, "other")
    dropped = await widgets.apply({"size": 3, "tags": ["a"]})
    return [reply.at("spec", "tags"), dropped.at("spec", "tags")]


@case
async def a_value_twice_in_a_set_is_refused(api: Api) -> Any:
    widgets = await define(api)
    return [
        (await widgets.create({"size": 3, "tags": ["a", "a"]})).whole,
        (await widgets.apply({"size": 3, "tags": ["a", "a"]})).whole,
    ]


@case
async def a_plain_list_is_atomic(api: Api) -> Any:
    widgets = await define(api)
    await widgets.apply({"size": 3, "steps": ["a", "b"]})
    reply = await widgets.apply({"steps": ["a"]}, "other")
    return [reply.code, reply.at("details", "causes")]


@case
async def a_map_of_strings_merges_by_key(api: Api) -> Any:
    widgets = await define(api)
    await widgets.apply({"size": 3, "limits": {"cpu": "1"}})
    reply = await widgets.apply({"limits": {"memory": "2"}}, "other")
    return [reply.code, reply.at("spec", "limits")]


@case
async def generation_follows_everything_but_metadata_without_a_status_path(api: Api) -> Any:
    widgets = await define(api)
    replies = [await widgets.create({"size": 3})]
    replies.append(await api.patch(widgets.path("w"), {"metadata": {"labels": {"a": "b"}}}))
    replies.append(await api.patch(widgets.path("w"), {"spec": {"size": 4}}))
    replies.append(await api.patch(widgets.path("w"), {"status": {"seen": 1}}))
    return [reply.at("metadata", "generation") for reply in replies]


@case
async def with_a_status_path_status_and_spec_are_apart(api: Api) -> Any:
    widgets = await define(api, version(spec=SPEC, subresources={"status": {}}))
    await widgets.create({"size": 3})
    main = await api.patch(widgets.path("w"), {"spec": {"size": 4}, "status": {"seen": 1}})
    sub = await api.patch(widgets.path("w", sub="status"), {"spec": {"size": 5}, "status": {"seen": 1}})
    parts = [
        [reply.at("spec", "size"), reply.at("status"), reply.at("metadata", "generation")] for reply in (main, sub)
    ]
    managers = [entry.get("subresource", "") for entry in sub.at("metadata", "managedFields")]
    return [parts, sorted(managers)]


@case
async def without_a_status_path_it_answers_404(api: Api) -> Any:
    widgets = await define(api)
    await widgets.create({"size": 3})
    return (await api.patch(widgets.path("w", sub="status"), {"status": {}})).whole


@case
async def custom_scale_reads_and_writes_the_given_path(api: Api) -> Any:
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    widgets = await define(api, version(spec=SPEC, subresources={"status": {}, "scale": paths}))
    await widgets.create({"size": 3, "replicas": 2})
    read = await api.get(widgets.path("w", sub="scale"))
    written = await api.patch(widgets.path("w", sub="scale"), {"spec": {"replicas": 5}})
    after = await api.get(widgets.path("w"))
    return [read.at("kind"), read.at("spec"), read.at("status"), written.at("spec"), after.at("spec", "replicas")]


@case
async def the_none_conversion_rewrites_the_version_alone(api: Api) -> Any:
    widgets = await define(api, version("v1", SPEC, storage=False), version("v2", SPEC))
    made = await widgets.apply({"size": 3})
    newer = await api.get(widgets.path("w", api_version="v2"))
    managed = [entry["apiVersion"] for entry in newer.at("metadata", "managedFields")]
    return [made.at("apiVersion"), newer.at("apiVersion"), newer.at("spec"), managed]


@case
async def an_apply_at_another_version_moves_the_entry(api: Api) -> Any:
    widgets = await define(api, version("v1", SPEC, storage=False), version("v2", SPEC))
    first = await widgets.apply({"size": 3})
    body = widget(widgets.group, spec={"size": 3}, api_version="v2")
    reply = await api.apply(widgets.path("w", api_version="v2"), body)
    managed = [entry["apiVersion"] for entry in reply.at("metadata", "managedFields")]
    return [reply.code, managed, reply.version == first.version]


@case
async def a_body_of_another_version_is_refused(api: Api) -> Any:
    widgets = await define(api, version("v1", SPEC, storage=False), version("v2", SPEC))
    reply = await api.post(widgets.path(), widget(widgets.group, spec={"size": 3}, api_version="v2"))
    return [reply.code, reply.at("reason"), reply.at("message")]


@case
async def an_int_or_string_keeps_its_type(api: Api) -> Any:
    widgets = await define(api)
    first = await widgets.apply({"size": 3, "port": 80})
    second = await widgets.apply({"size": 3, "port": "http"})
    return [first.at("spec", "port"), second.at("spec", "port")]


@case
async def a_custom_resource_takes_json_patches(api: Api) -> Any:
    widgets = await define(api)
    await widgets.create({"size": 3})
    patch = [{"op": "replace", "path": "/spec/size", "value": 4}]
    reply = await api.patch(widgets.path("w"), patch, JSON_PATCH)
    return [reply.code, reply.at("spec")]


@case
async def a_custom_resource_takes_no_strategic_patch(api: Api) -> Any:
    widgets = await define(api)
    await widgets.create({"size": 3})
    reply = await api.patch(widgets.path("w"), {"spec": {"size": 4}}, "application/strategic-merge-patch+json")
    return reply.whole


@case
async def a_cluster_scoped_kind_has_no_namespace(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    await api.post(CRDS, crd(group, version(spec=ANYTHING), scope="Cluster"))
    path = f"/apis/{group}/v1/widgets"
    await api.until(path, lambda reply: reply.code == 200)
    made = await api.apply(f"{path}/w", widget(group, spec={"a": 1}))
    wrong = await api.get(f"/apis/{group}/v1/namespaces/{api.ns}/widgets/w")
    return [made.code, made.at("metadata", "namespace"), wrong.code]


@case
async def a_deleted_definition_takes_its_objects_with_it(api: Api) -> Any:
    widgets = await define(api)
    await widgets.create({"size": 3})
    path = f"{CRDS}/widgets.{widgets.group}"
    reply = await api.delete(path)
    gone = await api.until(path, lambda reply: reply.code == 404)
    unserved = await api.until(widgets.path(), lambda reply: reply.code == 404)
    return [reply.code, reply.at("metadata", "finalizers"), gone.code, unserved.whole]


@case
async def a_changed_schema_applies_to_new_writes(api: Api) -> Any:
    widgets = await define(api)
    await widgets.create({"size": 3})
    wider = version(spec={**SPEC, "properties": {**SPEC["properties"], "size": {"type": "integer", "maximum": 99}}})
    await api.patch(f"{CRDS}/widgets.{widgets.group}", {"spec": {"versions": [wider]}})
    for _ in range(200):
        reply = await api.patch(widgets.path("w"), {"spec": {"size": 50}})
        if reply.code == 200:
            break
    return [reply.code, reply.at("spec", "size")]
