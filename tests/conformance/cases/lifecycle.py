"""What controllers do after a delete: owners take their objects along, namespaces empty themselves."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.client import Api, Reply
from conformance.objects import config_map, deployment
from conformance.suite import case

HOLD = "example.org/hold"


async def family(api: Api, *, blocks: bool = False, **child: Any) -> tuple[str, str]:
    """An owner and what it owns; their paths."""
    owner, owned = api.path("configmaps", "owner"), api.path("configmaps", "owned")
    made = await api.apply(owner, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made.at("metadata", "uid")}
    if blocks:
        reference["blockOwnerDeletion"] = True
    await api.apply(owned, config_map("owned", ownerReferences=[reference], **child))
    # The collector learns of kinds and owners by its own watches.
    await asyncio.sleep(0.5)
    return owner, owned


def is_gone(reply: Reply) -> bool:
    return reply.code == 404


@case(controllers=True)
async def in_the_background_the_owned_goes_after_its_owner(api: Api) -> Any:
    owner, owned = await family(api)
    reply = await api.delete(owner, {"propagationPolicy": "Background"})
    return [reply.code, (await api.get(owner)).code, (await api.until(owned, is_gone)).code]


@case(controllers=True)
async def orphans_stay_and_lose_their_reference(api: Api) -> Any:
    owner, owned = await family(api)
    await api.delete(owner, {"propagationPolicy": "Orphan"})
    gone = await api.until(owner, is_gone)
    left = await api.until(owned, lambda reply: not reply.at("metadata", "ownerReferences"))
    return [gone.code, left.code, left.at("metadata", "ownerReferences")]


@case(controllers=True)
async def in_the_foreground_the_owner_waits_for_what_blocks_it(api: Api) -> Any:
    owner, owned = await family(api, blocks=True, finalizers=[HOLD])
    await api.delete(owner, {"propagationPolicy": "Foreground"})
    waiting = await api.until(owned, lambda reply: "deletionTimestamp" in reply.at("metadata"))
    held = await api.get(owner)
    await api.patch(owned, {"metadata": {"finalizers": None}})
    gone = await api.until(owner, is_gone)
    return [waiting.code, held.at("metadata", "finalizers"), gone.code]


@case(controllers=True)
async def an_owner_that_never_was_takes_its_objects_along(api: Api) -> Any:
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": "11111111-2222-3333-4444-555555555555",
    }
    path = api.path("configmaps", "owned")
    await api.apply(path, config_map("owned", ownerReferences=[reference]))
    return (await api.until(path, is_gone)).code


@case(controllers=True)
async def a_deleted_namespace_empties_itself_and_goes(api: Api) -> Any:
    await api.apply(api.path("configmaps", "a"), config_map())
    await api.delete(f"/api/v1/namespaces/{api.ns}")
    gone = await api.until(f"/api/v1/namespaces/{api.ns}", is_gone)
    return [gone.whole, (await api.get(api.path("configmaps", "a"))).code]


@case(controllers=True)
async def a_held_object_keeps_its_namespace_terminating(api: Api) -> Any:
    path = api.path("configmaps", "a")
    await api.apply(path, config_map(finalizers=[HOLD]))
    await api.delete(f"/api/v1/namespaces/{api.ns}")

    def tells(reply: Reply) -> bool:
        types = {item["type"]: item["status"] for item in reply.at("status", "conditions") or []}
        return types.get("NamespaceFinalizersRemaining") == "True"

    held = await api.until(f"/api/v1/namespaces/{api.ns}", tells)
    refused = await api.apply(api.path("configmaps", "b"), config_map("b"))
    conditions = sorted([item["type"], item["status"]] for item in held.at("status", "conditions"))
    await api.patch(path, {"metadata": {"finalizers": None}})
    gone = await api.until(f"/api/v1/namespaces/{api.ns}", is_gone)
    return [held.at("status", "phase"), conditions, refused.code, gone.code]


@case(controllers=True)
async def a_deployment_becomes_available(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment(replicas=2))
    reply = await api.until(path, lambda reply: reply.at("status", "availableReplicas") == 2)
    status = reply.at("status")
    conditions = sorted([item["type"], item["status"], item["reason"]] for item in status["conditions"])
    return [{key: value for key, value in status.items() if key != "conditions"}, conditions]


@case(controllers=True)
async def writers_of_status_leave_our_entry_alone(api: Api) -> Any:
    path = api.path("deployments", "web")
    made = await api.apply(path, deployment(replicas=1))
    reply = await api.until(path, lambda reply: reply.at("status", "availableReplicas") == 1)
    again = await api.apply(path, deployment(replicas=1))
    ours = [entry for entry in again.at("metadata", "managedFields") if entry["manager"] == "fleet"]
    before = [entry for entry in made.at("metadata", "managedFields") if entry["manager"] == "fleet"]
    return [ours == before, again.version == reply.version, again.at("metadata", "generation")]


@case(controllers=True)
async def a_deleted_deployment_takes_its_pods_along(api: Api) -> Any:
    path = api.path("deployments", "web")
    await api.apply(path, deployment(replicas=1))
    await api.until(path, lambda reply: reply.at("status", "availableReplicas") == 1)
    await api.delete(path, {"propagationPolicy": "Background"})
    pods = await api.until(api.path("pods"), lambda reply: not reply.body["items"])
    return [pods.code, pods.body["items"]]


@case(controllers=True)
async def a_namespace_gets_its_service_account(api: Api) -> Any:
    reply = await api.until(api.path("serviceaccounts", "default"), lambda reply: reply.code == 200)
    return [reply.code, "managedFields" in reply.at("metadata")]


@case(controllers=True)
async def an_aggregated_role_is_filled_in_by_a_controller(api: Api) -> Any:
    root = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    selector = {"clusterRoleSelectors": [{"matchLabels": {"aggregate": api.unique}}]}
    whole = {**kind, "metadata": {"name": api.unique}, "aggregationRule": selector}
    await api.apply(f"{root}/{api.unique}", whole)
    part = {**kind, "metadata": {"name": f"{api.unique}-part", "labels": {"aggregate": api.unique}}, "rules": rules}
    await api.apply(f"{root}/{api.unique}-part", part)
    reply = await api.until(f"{root}/{api.unique}", lambda reply: reply.at("rules"))
    again = await api.apply(f"{root}/{api.unique}", whole)
    return [reply.at("rules"), again.code, again.version == reply.version]
