"""Server-side apply: what is owned, what conflicts, what disappears, what costs nothing."""

from __future__ import annotations

from typing import Any

from conformance.client import JSON_PATCH, MERGE, Api, Reply
from conformance.objects import config_map, container, deployment, secret, service
from conformance.suite import case


def entries(reply: Reply) -> Any:
    """managedFields without times: who owns what, ordered by manager (the server orders by time first)."""
    fields = reply.at("metadata", "managedFields") or []
    timeless = [{key: value for key, value in entry.items() if key != "time"} for entry in fields]
    return sorted(timeless, key=lambda entry: (entry["operation"], entry["manager"], entry["apiVersion"]))


def owners(reply: Reply) -> list[list[Any]]:
    """Manager, operation and subresource of each entry, ordered by manager."""
    return [[entry["manager"], entry["operation"], entry.get("subresource", "")] for entry in entries(reply)]


@case
async def apply_creates_with_201(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(data={"k": "v"}))).whole


@case
async def apply_again_answers_200_and_keeps_the_version(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    second = await api.apply(path, config_map(data={"k": "v"}))
    return [second.code, second.body == first.body, second.version == first.version]


@case
async def an_apply_with_other_key_order_changes_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"a": "1", "b": "2"}))
    second = await api.apply(path, config_map(data={"b": "2", "a": "1"}))
    return second.version == first.version


@case
async def a_changed_value_is_stored(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    second = await api.apply(path, config_map(data={"k": "w"}))
    return [second.code, second.at("data"), second.version == first.version, entries(second)]


@case
async def a_dropped_field_is_removed(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v", "l": "w"}))
    reply = await api.apply(path, config_map(data={"k": "v"}))
    return [reply.at("data"), entries(reply)]


@case
async def dropping_the_last_key_removes_the_map(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map())
    return [reply.body, (await api.get(path)).at("data")]


@case
async def two_managers_with_equal_values_share_a_field(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "v"}), "other")
    return [reply.code, entries(reply)]


@case
async def a_shared_field_stays_when_one_owner_drops_it(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    await api.apply(path, config_map(data={"k": "v"}), "other")
    reply = await api.apply(path, config_map())
    return [reply.at("data"), entries(reply)]


@case
async def another_value_conflicts_with_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    return (await api.apply(path, config_map(data={"k": "w"}), "other")).whole


@case
async def a_conflict_names_every_field_and_manager(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v", "l": "v"}))
    await api.apply(path, config_map(data={"m": "v"}), "second")
    reply = await api.apply(path, config_map(data={"k": "w", "l": "w", "m": "w"}), "other")
    # Managers come in any order, their fields in order of path.
    return [reply.code, reply.at("message"), sorted(reply.at("details", "causes"), key=lambda cause: cause["field"])]


@case
async def a_conflict_with_an_updater_names_its_version_and_time(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v"}), fieldManager="editor")
    return (await api.apply(path, config_map(data={"k": "w"}))).whole


@case
async def a_conflict_in_a_keyed_list_names_the_item(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment())
    return (await api.apply(path, deployment("web", container(image="other:2")), "other")).whole


@case
async def a_conflict_stores_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    await api.apply(path, config_map(data={"k": "w", "l": "x"}), "other")
    return (await api.get(path)).body == first.body


@case
async def force_takes_the_field_from_its_owner(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v", "l": "v"}))
    reply = await api.apply(path, config_map(data={"k": "w"}), "other", force="true")
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def force_that_takes_everything_leaves_no_entry(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "w"}), "other", force="true")
    return entries(reply)


@case
async def an_apply_over_a_foreign_object_without_overlap_merges_silently(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v"}), fieldManager="editor")
    reply = await api.apply(path, config_map(data={"l": "w"}))
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def a_merge_patch_takes_ownership_silently(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.patch(path, {"data": {"k": "w"}}, fieldManager="editor")
    return [reply.code, entries(reply)]


@case
async def an_update_that_changes_nothing_owns_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.patch(path, {"data": {"k": "v"}}, fieldManager="editor")
    return [reply.version == first.version, entries(reply)]


@case
async def a_conflict_with_ones_own_updates_is_a_conflict(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.patch(path, {"data": {"k": "w"}}, fieldManager="fleet")
    await api.post(api.path("configmaps"), config_map(data={"k": "v"}), fieldManager="fleet")
    return (await api.apply(path, config_map(data={"k": "x"}))).whole


@case
async def a_healed_field_needs_force_once(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    await api.patch(path, {"data": {"k": "drift"}}, fieldManager="editor")
    refused = await api.apply(path, config_map(data={"k": "v"}))
    forced = await api.apply(path, config_map(data={"k": "v"}), force="true")
    again = await api.apply(path, config_map(data={"k": "v"}))
    return [refused.code, forced.code, forced.at("data"), again.code, entries(again)]


@case
async def a_field_removed_by_another_comes_back_without_conflict(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v", "l": "v"}))
    await api.patch(path, {"data": {"k": None}}, fieldManager="editor")
    gone = await api.get(path)
    reply = await api.apply(path, config_map(data={"k": "v", "l": "v"}))
    return [entries(gone), reply.code, reply.at("data"), entries(reply)]


@case
async def labels_of_others_are_left_alone(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(labels={"ours": "1"}))
    await api.patch(path, {"metadata": {"labels": {"theirs": "2"}}}, fieldManager="editor")
    reply = await api.apply(path, config_map(labels={"ours": "2"}))
    return [reply.at("metadata", "labels"), entries(reply)]


@case
async def containers_merge_by_name(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment())
    sidecar = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    sidecar["spec"] = {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}
    reply = await api.apply(path, sidecar, "injector")
    names = [item["name"] for item in reply.at("spec", "template", "spec", "containers")]
    return [reply.code, names, entries(reply)]


@case
async def a_dropped_container_goes_and_a_foreign_one_stays(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment("web", container(), container("second")))
    sidecar = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    sidecar["spec"] = {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}
    await api.apply(path, sidecar, "injector")
    reply = await api.apply(path, deployment())
    return [item["name"] for item in reply.at("spec", "template", "spec", "containers")]


@case
async def the_order_of_a_keyed_list_follows_the_applier(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment("web", container("a"), container("b")))
    reply = await api.apply(path, deployment("web", container("b"), container("a")))
    return [item["name"] for item in reply.at("spec", "template", "spec", "containers")]


@case
async def defaults_are_owned_by_nobody(api: Api) -> Any:
    reply = await api.apply(api.path("deployments", "web"), deployment("web", container(ports=[{"containerPort": 80}])))
    return entries(reply)


@case
async def a_container_port_without_protocol_is_keyed_by_the_default(api: Api) -> Any:
    path = api.path("deployments", "web")
    first = await api.apply(path, deployment("web", container(ports=[{"containerPort": 80}])))
    second = await api.apply(path, deployment("web", container(ports=[{"containerPort": 80, "protocol": "TCP"}])))
    return [second.code, second.version == first.version, entries(second)]


@case
async def service_ports_merge_by_port_and_protocol(api: Api) -> Any:
    path = api.path("services", "web")
    await api.apply(path, service("web", {"port": 80, "name": "http"}))
    extra = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    extra["spec"] = {"ports": [{"port": 53, "protocol": "UDP", "name": "dns"}]}
    reply = await api.apply(path, extra, "other")
    return [reply.code, [[item["port"], item["protocol"]] for item in reply.at("spec", "ports")], entries(reply)]


@case
async def finalizers_merge_as_a_set(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=["example.org/a"]))
    reply = await api.apply(path, config_map(finalizers=["example.org/b"]), "other")
    dropped = await api.apply(path, config_map())
    return [reply.at("metadata", "finalizers"), dropped.at("metadata", "finalizers"), entries(reply)]


@case
async def an_atomic_list_is_owned_whole(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment("web", container(args=["a", "b"])))
    change = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    change["spec"] = {"template": {"spec": {"containers": [{"name": "app", "args": ["a", "c"]}]}}}
    return (await api.apply(path, change, "other")).whole


@case
async def an_atomic_map_is_owned_whole(api: Api) -> Any:
    path = api.path("deployments", "web")
    reply = await api.apply(path, deployment())
    fields = entries(reply)[0]["fieldsV1"]["f:spec"]
    return fields["f:selector"]


@case
async def owner_references_merge_by_uid(api: Api) -> Any:
    owner = await api.apply(api.path("configmaps", "owner"), config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.at("metadata", "uid")}
    reply = await api.apply(api.path("configmaps", "a"), config_map(ownerReferences=[reference]))
    return [
        reply.at("metadata", "ownerReferences"),
        [list(entry["fieldsV1"]["f:metadata"]) for entry in entries(reply)],
    ]


@case
async def duplicate_list_keys_are_refused(api: Api) -> Any:
    return (await api.apply(api.path("deployments", "web"), deployment("web", container(), container()))).whole


@case
async def an_item_without_its_key_is_refused(api: Api) -> Any:
    return (await api.apply(api.path("deployments", "web"), deployment("web", {"image": "x"}))).whole


@case
async def an_empty_map_is_owned_as_existence(api: Api) -> Any:
    volumes = [{"name": "tmp", "emptyDir": {}}]
    body = deployment()
    body["spec"]["template"]["spec"]["volumes"] = volumes
    reply = await api.apply(api.path("deployments", "web"), body)
    pod = entries(reply)[0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]
    return [reply.at("spec", "template", "spec", "volumes"), pod["f:volumes"]]


@case
async def an_empty_data_map_is_stored_as_absent(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={}))
    again = await api.apply(path, config_map(data={}))
    return [first.whole, again.version == first.version]


@case
async def a_null_value_is_no_claim(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": None, "l": "v"}))
    return [first.code, first.at("data"), entries(first)]


@case
async def a_null_map_is_no_claim(api: Api) -> Any:
    body = config_map()
    body["data"] = None
    reply = await api.apply(api.path("configmaps", "a"), body)
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def an_empty_string_is_a_value(api: Api) -> Any:
    reply = await api.apply(api.path("configmaps", "a"), config_map(data={"k": ""}, annotations={"n": ""}))
    return [reply.at("data"), reply.at("metadata", "annotations"), entries(reply)]


@case
async def apply_without_a_manager_is_refused(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(), None)).whole


@case
async def a_manager_name_has_at_most_128_characters(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(), "m" * 129)).whole


@case
async def applying_managed_fields_is_refused(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    return (await api.apply(path, first.body)).whole


@case
async def the_name_in_body_and_path_must_agree(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map("b"))).whole


@case
async def the_namespace_in_body_and_path_must_agree(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(namespace="default"))).whole


@case
async def the_kind_in_body_and_path_must_agree(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), secret())).whole


@case
async def an_apply_without_kind_is_refused(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), {"metadata": {"name": "a"}})).whole


@case
async def an_apply_of_broken_yaml_is_refused(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), b"{a: ")).code


@case
async def an_apply_takes_yaml(api: Api) -> Any:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    two\n    lines\n"
    reply = await api.apply(api.path("configmaps", "a"), body)
    return [reply.code, reply.at("data")]


@case
async def a_uid_of_a_vanished_object_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v"}))
    await api.delete(path)
    reply = await api.apply(path, config_map(data={"k": "v"}, uid=made.at("metadata", "uid")))
    return [reply.whole, (await api.get(path)).code]


@case
async def a_uid_of_another_incarnation_answers_422(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v"}))
    await api.delete(path)
    await api.apply(path, config_map(data={"k": "v"}))
    return (await api.apply(path, config_map(data={"k": "w"}, uid=made.at("metadata", "uid")))).whole


@case
async def the_right_uid_is_no_claim_and_no_obstacle(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "w"}, uid=made.at("metadata", "uid")))
    return [reply.code, entries(reply)]


@case
async def a_stale_resource_version_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v"}))
    await api.apply(path, config_map(data={"k": "w"}))
    return (await api.apply(path, config_map(data={"k": "x"}, resourceVersion=made.version))).whole


@case
async def the_right_resource_version_is_accepted(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "w"}, resourceVersion=made.version))
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def a_resource_version_on_a_missing_object_is_ignored(api: Api) -> Any:
    path = api.path("configmaps", "a")
    other = await api.apply(api.path("configmaps", "b"), config_map("b"))
    return (await api.apply(path, config_map(resourceVersion=other.version))).whole


@case
async def a_dry_run_create_answers_as_if_and_stores_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    reply = await api.apply(path, config_map(data={"k": "v"}), dryRun="All")
    return [reply.whole, (await api.get(path)).code]


@case
async def a_dry_run_change_answers_as_if_and_stores_nothing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "w"}), dryRun="All")
    return [reply.whole, (await api.get(path)).body == first.body]


@case
async def a_dry_run_that_would_change_nothing_keeps_the_version(api: Api) -> Any:
    path = api.path("configmaps", "a")
    first = await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "v"}), dryRun="All", force="true")
    return [reply.version == first.version, reply.body == first.body]


@case
async def a_dry_run_conflicts_like_the_real_thing(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    return (await api.apply(path, config_map(data={"k": "w"}), "other", dryRun="All")).code


@case
async def an_unknown_dry_run_value_is_refused(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(), dryRun="Some")).whole


@case
async def force_belongs_to_apply_alone(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map())
    return (await api.patch(path, {"data": {"k": "v"}}, force="true")).whole


@case
async def apply_and_update_of_one_manager_are_two_entries(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.patch(path, {"data": {"l": "w"}}, fieldManager="fleet")
    return entries(reply)


@case
async def a_manager_defaults_to_the_user_agent(api: Api) -> Any:
    return owners(await api.post(api.path("configmaps"), config_map(data={"k": "v"})))


@case
async def each_api_version_has_its_own_entry(api: Api) -> Any:
    name = "h"
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    old = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}}
    old["spec"] = {"maxReplicas": 3, "scaleTargetRef": reference}
    root = f"/namespaces/{api.ns}/horizontalpodautoscalers/{name}"
    await api.apply(f"/apis/autoscaling/v1{root}", old, "old")
    new = {**old, "apiVersion": "autoscaling/v2", "spec": {**old["spec"], "minReplicas": 2}}
    reply = await api.apply(f"/apis/autoscaling/v2{root}", new, "new")
    return entries(reply)


@case
async def one_manager_at_two_api_versions_moves_its_entry(api: Api) -> Any:
    name = "h"
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    old = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}}
    old["spec"] = {"maxReplicas": 3, "scaleTargetRef": reference}
    root = f"/namespaces/{api.ns}/horizontalpodautoscalers/{name}"
    await api.apply(f"/apis/autoscaling/v1{root}", old)
    reply = await api.apply(f"/apis/autoscaling/v2{root}", {**old, "apiVersion": "autoscaling/v2"})
    return entries(reply)


@case
async def status_applied_by_the_main_path_is_dropped(api: Api) -> Any:
    path = api.path("deployments", "web")
    reply = await api.apply(path, {**deployment(), "status": {"replicas": 7}})
    return [reply.code, reply.at("status"), "f:status" in entries(reply)[0]["fieldsV1"]]


@case
async def the_status_path_applies_status_alone(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment(replicas=1))
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    body |= {"spec": {"replicas": 5}, "status": {"replicas": 2, "observedGeneration": 1}}
    reply = await api.apply(f"{path}/status", body, "kubelet")
    return [
        reply.code,
        reply.at("spec", "replicas"),
        reply.at("status"),
        entries(reply)[1:],
        reply.at("metadata", "generation"),
    ]


@case
async def scaling_what_nobody_owned_leaves_no_entry(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment())
    scaled = await api.patch(f"{path}/scale", {"spec": {"replicas": 4}}, fieldManager="scaler")
    reply = await api.get(path)
    return [scaled.code, reply.at("spec", "replicas"), owners(reply), owners(scaled)]


@case
async def scaling_takes_replicas_from_the_applier(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment(replicas=2))
    await api.patch(f"{path}/scale", {"spec": {"replicas": 4}}, fieldManager="scaler")
    reply = await api.get(path)
    refused = await api.apply(path, deployment(replicas=2))
    return [owners(reply), "f:replicas" in entries(reply)[0]["fieldsV1"]["f:spec"], refused.whole]


@case
async def a_field_is_handed_over_by_sharing_then_dropping(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment(replicas=3))
    handover = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3}}
    await api.apply(path, handover, "fleet-handover")
    reply = await api.apply(path, deployment())
    return [reply.at("spec", "replicas"), owners(reply), entries(reply)[1]]


@case
async def a_defaulted_field_dropped_by_its_only_owner_is_defaulted_again(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment(replicas=3))
    reply = await api.apply(path, deployment())
    return reply.at("spec", "replicas")


@case
async def managed_fields_are_reset_by_one_empty_entry(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.patch(path, {"metadata": {"managedFields": [{}]}})
    return [reply.code, entries(reply), reply.at("data")]


@case
async def an_apply_after_a_reset_shares_with_before_first_apply(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v", "l": "v"}))
    await api.patch(path, {"metadata": {"managedFields": [{}]}})
    reply = await api.apply(path, config_map(data={"k": "v"}))
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def an_entry_is_moved_to_us_by_a_conditional_json_patch(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v", "l": "v"}), "helm")
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": made.version},
        {"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "fleet"},
    ]
    moved = await api.patch(path, patch, JSON_PATCH, fieldManager="fleet")
    dropped = await api.apply(path, config_map(data={"k": "v"}))
    return [moved.code, entries(moved), dropped.at("data"), entries(dropped)]


@case
async def an_update_entry_is_moved_to_an_apply_entry(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"k": "v", "l": "v"}), fieldManager="kubectl-create")
    patch = [
        {"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "fleet"},
        {"op": "replace", "path": "/metadata/managedFields/0/operation", "value": "Apply"},
    ]
    moved = await api.patch(path, patch, JSON_PATCH)
    dropped = await api.apply(path, config_map(data={"k": "v"}))
    return [moved.code, entries(moved), dropped.code, dropped.at("data")]


@case
async def a_merge_patch_of_managed_fields_needs_the_right_version(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.apply(path, config_map(data={"k": "v"}), "helm")
    await api.apply(path, config_map(data={"k": "w"}), "helm")
    fields = [{**made.at("metadata", "managedFields", 0), "manager": "fleet"}]
    metadata = {"resourceVersion": made.version, "managedFields": fields}
    return (await api.patch(path, {"metadata": metadata}, MERGE)).whole


@case
async def string_data_of_a_secret_becomes_data(api: Api) -> Any:
    path = api.path("secrets", "a")
    first = await api.apply(path, secret(stringData={"k": "v"}))
    again = await api.apply(path, secret(stringData={"k": "v"}))
    return [first.code, first.at("data"), first.at("stringData"), entries(first), again.version == first.version]


@case
async def a_changed_string_data_is_stored(api: Api) -> Any:
    path = api.path("secrets", "a")
    await api.apply(path, secret(stringData={"k": "v"}))
    reply = await api.apply(path, secret(stringData={"k": "w"}))
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def a_dropped_string_data_key_stays(api: Api) -> Any:
    path = api.path("secrets", "a")
    await api.apply(path, secret(stringData={"k": "v", "l": "v"}))
    reply = await api.apply(path, secret(stringData={"k": "v"}))
    return [reply.code, reply.at("data"), entries(reply)]


@case
async def equal_quantities_in_other_words_change_nothing(api: Api) -> Any:
    path = api.path("deployments", "web")
    first = await api.apply(
        path, deployment("web", container(resources={"requests": {"cpu": "1000m", "memory": "1024Mi"}}))
    )
    again = await api.apply(
        path, deployment("web", container(resources={"requests": {"cpu": "1000m", "memory": "1024Mi"}}))
    )
    other = await api.apply(path, deployment("web", container(resources={"requests": {"cpu": "1", "memory": "1Gi"}})))
    stored = first.at("spec", "template", "spec", "containers", 0, "resources")
    return [stored, again.version == first.version, other.version == first.version]


@case
async def generation_counts_changes_of_the_spec_alone(api: Api) -> Any:
    path = api.path("deployments", "web")
    replies = [await api.apply(path, deployment(replicas=1))]
    replies.append(await api.apply(path, deployment(replicas=2)))
    labelled = deployment(replicas=2)
    labelled["metadata"]["labels"] = {"a": "b"}
    replies.append(await api.apply(path, labelled))
    return [reply.at("metadata", "generation") for reply in replies]


@case
async def an_unknown_field_is_warned_about_by_default(api: Api) -> Any:
    reply = await api.apply(api.path("configmaps", "a"), {**config_map(), "dta": {"k": "v"}})
    return [reply.code, reply.body if reply.code != 201 else entries(reply), list(reply.warnings)]


@case
async def an_unknown_field_is_refused_when_strict(api: Api) -> Any:
    body = deployment()
    body["spec"]["replica"] = 3
    reply = await api.apply(api.path("deployments", "web"), body, fieldValidation="Strict")
    return reply.whole


@case
async def an_immutable_field_answers_422(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment())
    changed = deployment()
    changed["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    changed["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    return (await api.apply(path, changed)).whole


@case
async def an_apply_into_a_missing_namespace_answers_404(api: Api) -> Any:
    return (await api.apply(f"/api/v1/namespaces/{api.unique}/configmaps/a", config_map())).whole


@case
async def an_apply_of_a_kind_nobody_serves_answers_404(api: Api) -> Any:
    body = {"apiVersion": f"{api.unique}.example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}
    return (await api.apply(f"/apis/{api.unique}.example.org/v1/namespaces/{api.ns}/widgets/w", body)).whole


@case
async def an_apply_keeps_an_object_that_is_being_deleted(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}, finalizers=["example.org/hold"]))
    await api.delete(path)
    reply = await api.apply(path, config_map(data={"k": "w"}, finalizers=["example.org/hold"]))
    return [reply.code, reply.at("data"), "deletionTimestamp" in reply.at("metadata")]


@case
async def entries_are_ordered_by_operation_then_time(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.post(api.path("configmaps"), config_map(data={"z": "1"}), fieldManager="a-editor")
    await api.apply(path, config_map(data={"m": "1"}), "b-applier")
    await api.apply(path, config_map(data={"b": "1"}), "m-applier")
    await api.patch(path, {"data": {"a": "1"}}, fieldManager="z-editor")
    return [entry["manager"] for entry in (await api.get(path)).at("metadata", "managedFields")]


@case
async def an_entry_that_changed_no_value_has_no_time(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(data={"k": "v"}))
    reply = await api.apply(path, config_map(data={"k": "v"}), "other")
    return [[entry["manager"], "time" in entry] for entry in reply.at("metadata", "managedFields")]


@case
async def an_annotation_and_a_label_can_be_dropped(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(labels={"a": "1"}, annotations={"b": "2"}))
    reply = await api.apply(path, config_map())
    return reply.body


@case
async def numbers_and_booleans_in_string_maps_are_refused(api: Api) -> Any:
    return (await api.apply(api.path("configmaps", "a"), config_map(data={"k": 1}))).whole


@case
async def a_wrong_type_is_refused_with_its_path(api: Api) -> Any:
    return (await api.apply(api.path("deployments", "web"), deployment(replicas="three"))).whole


@case
async def an_int_or_string_keeps_its_type(api: Api) -> Any:
    reply = await api.apply(
        api.path("services", "web"),
        service("web", {"port": 80, "targetPort": "http", "name": "a"}, {"port": 81, "targetPort": 8081, "name": "b"}),
    )
    return [item["targetPort"] for item in reply.at("spec", "ports")]


def _joined(made: Reply) -> list[dict[str, Any]]:
    """All fields of an object as an Apply entry of ours beside the entries of subresources."""
    fields = made.at("metadata", "managedFields")
    maker = next(entry for entry in fields if not entry.get("subresource"))  # in which order they come, time tells
    ours = {**maker, "manager": "fleet", "operation": "Apply"}
    return [ours, *(entry for entry in fields if entry.get("subresource"))]


def _moving(made: Reply, uid: str = "") -> list[dict[str, Any]]:
    return [
        {"op": "test", "path": "/metadata/uid", "value": uid or made.at("metadata", "uid")},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made.version},
        {"op": "replace", "path": "/metadata/managedFields", "value": _joined(made)},
    ]


@case
async def an_object_with_its_defaults_is_taken_over_without_a_change(api: Api) -> Any:
    path, probe = api.path("deployments", "web"), {"httpGet": {"path": "/", "port": 80}}
    body = deployment("web", container(livenessProbe=probe), paused=True)
    await api.post(api.path("deployments"), body, fieldManager="kubectl-create")
    made = await api.patch(f"{path}/status", {"status": {"replicas": 1}}, fieldManager="kcm")
    moved = await api.patch(path, _moving(made), JSON_PATCH, fieldManager="fleet")
    labelled = {**body, "metadata": {**body["metadata"], "labels": {"a": "b"}}}
    taken = await api.apply(path, labelled)
    bare = deployment("web", container(), paused=True)
    dropped = await api.apply(path, {**bare, "metadata": labelled["metadata"]})
    probes = [reply.at("spec", "template", "spec", "containers", 0, "livenessProbe") for reply in (taken, dropped)]
    generations = [reply.at("metadata", "generation") for reply in (made, moved, taken, dropped)]
    return [moved.code, owners(moved), taken.at("spec") == made.at("spec"), generations, probes, entries(taken)]


@case
async def a_move_of_a_stale_version_answers_409(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}), fieldManager="helm")
    await api.patch(path, {"data": {"k": "w"}})
    return (await api.patch(path, _moving(made), JSON_PATCH)).whole


@case
async def a_move_of_another_uid_answers_422(api: Api) -> Any:
    path = api.path("configmaps", "a")
    made = await api.post(api.path("configmaps"), config_map(data={"k": "v"}), fieldManager="helm")
    return (await api.patch(path, _moving(made, "11111111-2222-3333-4444-555555555555"), JSON_PATCH)).whole


@case
async def defaults_that_a_patch_takes_away_come_back_in_its_dry_run(api: Api) -> Any:
    path = api.path("deployments", "web")
    made = await api.post(api.path("deployments"), deployment(paused=True))
    spec = {name: made.at("spec", name) for name in ("paused", "selector", "template")}
    reply = await api.patch(path, [{"op": "add", "path": "/spec", "value": spec}], JSON_PATCH, dryRun="All")
    return [reply.code, reply.at("spec") == made.at("spec"), reply.version == made.version]


@case
async def an_annotation_counts_as_a_generation_of_a_deployment_alone(api: Api) -> Any:
    notes = {"metadata": {"annotations": {"a": "b"}}}
    await api.post(api.path("deployments"), deployment(paused=True))
    template = deployment("web")["spec"]
    stateful = {**deployment("web"), "kind": "StatefulSet", "spec": {**template, "serviceName": "web"}}
    daemons = {**deployment("web"), "kind": "DaemonSet"}
    await api.post(api.path("statefulsets"), stateful)
    await api.post(api.path("daemonsets"), daemons)
    kinds = ("deployments", "statefulsets", "daemonsets")
    return [(await api.patch(api.path(kind, "web"), notes)).at("metadata", "generation") for kind in kinds]
