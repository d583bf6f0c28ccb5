"""Rights: how a refusal reads, how one asks for them."""

from __future__ import annotations

from typing import Any

from conformance.client import Api
from conformance.objects import config_map, deployment
from conformance.suite import case

GROUP = "rbac.authorization.k8s.io"


async def grant(api: Api, user: str, rules: list[dict[str, Any]]) -> None:
    """Let a user do something in the case's namespace, and wait until it counts."""
    role = {"apiVersion": f"{GROUP}/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules}
    await api.apply(api.path("roles", "r"), role)
    reference = {"apiGroup": GROUP, "kind": "Role", "name": "r"}
    binding = {"apiVersion": f"{GROUP}/v1", "kind": "RoleBinding", "metadata": {"name": "r"}, "roleRef": reference}
    binding["subjects"] = [{"kind": "User", "name": user, "apiGroup": GROUP}]
    await api.apply(api.path("rolebindings", "r"), binding)
    for _ in range(300):
        if await may(api.as_user(user), rules[0]["verbs"][0], rules[0]["resources"][0]):
            return


async def may(api: Api, verb: str, resource: str, group: str = "") -> bool:
    attributes = {"namespace": api.ns, "verb": verb, "resource": resource, "group": group}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    reply = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(reply.at("status", "allowed"))


@case
async def a_read_without_the_right_answers_403(api: Api) -> Any:
    return (await api.as_user("nobody").get(api.path("configmaps", "a"))).whole


@case
async def a_list_over_all_namespaces_names_the_cluster_scope(api: Api) -> Any:
    return (await api.as_user("nobody").get("/apis/apps/v1/deployments")).whole


@case
async def a_create_without_the_right_answers_403(api: Api) -> Any:
    return (await api.as_user("nobody").post(api.path("deployments"), deployment())).whole


@case
async def an_apply_without_the_right_names_patch(api: Api) -> Any:
    return (await api.as_user("nobody").apply(api.path("configmaps", "a"), config_map())).whole


@case
async def a_delete_without_the_right_answers_403(api: Api) -> Any:
    return (await api.as_user("nobody").delete(api.path("configmaps", "a"))).whole


@case
async def a_subresource_is_named_in_the_refusal(api: Api) -> Any:
    return (await api.as_user("nobody").patch(api.path("deployments", "web", sub="scale"), {})).whole


@case
async def a_cluster_scoped_read_answers_403(api: Api) -> Any:
    return (await api.as_user("nobody").get("/api/v1/namespaces/default")).whole


@case
async def a_granted_right_is_enough(api: Api) -> Any:
    await grant(api, "limited", [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}])
    await api.apply(api.path("configmaps", "a"), config_map())
    limited = api.as_user("limited")
    replies = [await limited.get(api.path("configmaps", "a")), await limited.get(api.path("configmaps"))]
    refused = await limited.apply(api.path("configmaps", "a"), config_map())
    return [[reply.code for reply in replies], refused.code]


@case
async def patch_alone_cannot_create_by_apply(api: Api) -> Any:
    await grant(api, "limited", [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}])
    return (await api.as_user("limited").apply(api.path("configmaps", "a"), config_map())).whole


@case
async def a_right_for_one_name_holds_for_that_name(api: Api) -> Any:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    await grant(
        api,
        "limited",
        [{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}, {**rule, "resourceNames": ["a"]}],
    )
    await api.apply(api.path("configmaps", "a"), config_map())
    await api.apply(api.path("configmaps", "b"), config_map("b"))
    limited = api.as_user("limited")
    return [(await limited.get(api.path("configmaps", name))).code for name in ("a", "b")]


@case
async def one_can_ask_for_ones_rights(api: Api) -> Any:
    return [await may(api, "delete", "secrets"), await may(api.as_user("nobody"), "delete", "secrets")]


@case
async def an_access_review_has_a_shape(api: Api) -> Any:
    attributes = {"namespace": api.ns, "verb": "get", "resource": "secrets"}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    reply = await api.as_user("nobody").post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return [reply.code, {key: value for key, value in reply.body.items() if key != "metadata"}]


@case
async def discovery_is_open_to_whoever_is_known(api: Api) -> Any:
    nobody = api.as_user("nobody")
    return [(await nobody.get(path)).code for path in ("/version", "/api", "/apis", "/apis/apps/v1", "/readyz")]


@case
async def discovery_is_closed_to_strangers(api: Api) -> Any:
    stranger = api.as_user(None)
    return [(await stranger.get(path)).code for path in ("/version", "/api", "/apis", "/readyz")]


@case
async def nobody_gives_away_more_than_they_have(api: Api) -> Any:
    rule = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["create", "patch"]}
    await grant(api, "limited", [{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}, rule])
    role = {"apiVersion": f"{GROUP}/v1", "kind": "Role", "metadata": {"name": "more"}}
    role["rules"] = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    reply = await api.as_user("limited").post(api.path("roles"), role)
    return [
        reply.code,
        reply.at("reason"),
        "attempting to grant RBAC permissions not currently held" in reply.at("message"),
    ]
