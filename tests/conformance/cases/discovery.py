"""What is served: aggregated discovery and the older form, for built-in and custom kinds."""

from __future__ import annotations

import json
import re
from typing import Any

from conformance.client import Api
from conformance.objects import crd, version
from conformance.suite import case

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def group_in(body: Any, name: str) -> Any:
    """One group of an aggregated document."""
    return next((item for item in body["items"] if item.get("metadata", {}).get("name", "") == name), None)


def resource_in(group: Any, api_version: str, plural: str) -> Any:
    """One resource of a group; categories and short names aside."""
    found = next(item for item in group["versions"] if item["version"] == api_version)
    resource = next(item for item in found["resources"] if item["resource"] == plural)
    return {key: value for key, value in resource.items() if key not in ("categories", "shortNames")}


def entry_in(body: Any, name: str) -> Any:
    """One resource of an older document; the hash of its storage version aside."""
    found = next((item for item in body["resources"] if item["name"] == name), None)
    return found and {
        key: value for key, value in found.items() if key not in ("storageVersionHash", "categories", "shortNames")
    }


@case
async def the_version_is_told(api: Api) -> Any:
    reply = await api.get("/version")
    body = reply.body
    return [
        reply.code,
        bool(re.fullmatch(r"v\d+\.\d+\.\d+.*", body["gitVersion"])),
        body["major"].isdigit(),
        body["platform"],
    ]


@case
async def readiness_and_liveness_are_told(api: Api) -> Any:
    return [(await api.get(path)).whole for path in ("/readyz", "/livez", "/healthz")]


@case
async def aggregated_discovery_is_negotiated(api: Api) -> Any:
    reply = await api.get("/apis", accept=AGGREGATED)
    return [reply.code, reply.headers["Content-Type"], reply.body["kind"], reply.body["apiVersion"]]


@case
async def aggregated_discovery_falls_back_by_accept(api: Api) -> Any:
    reply = await api.get("/apis", accept=f"{AGGREGATED},application/json")
    plain = await api.get("/apis", accept="application/json")
    return [reply.body["kind"], plain.body["kind"], plain.headers["Content-Type"]]


@case
async def aggregated_discovery_of_the_core_group(api: Api) -> Any:
    reply = await api.get("/api", accept=AGGREGATED)
    group = reply.body["items"][0]
    kinds = ("configmaps", "namespaces", "pods", "secrets", "services", "serviceaccounts")
    return [group["metadata"], {plural: resource_in(group, "v1", plural) for plural in kinds}]


@case
async def aggregated_discovery_of_a_built_in_group(api: Api) -> Any:
    group = group_in((await api.get("/apis", accept=AGGREGATED)).body, "apps")
    found = {plural: resource_in(group, "v1", plural) for plural in ("deployments", "statefulsets", "daemonsets")}
    return [[item["version"] for item in group["versions"]], group["versions"][0]["freshness"], found]


@case
async def aggregated_discovery_orders_versions_by_preference(api: Api) -> Any:
    group = group_in((await api.get("/apis", accept=AGGREGATED)).body, "autoscaling")
    return [item["version"] for item in group["versions"]]


@case
async def aggregated_discovery_has_an_etag(api: Api) -> Any:
    reply = await api.get("/api", accept=AGGREGATED)
    etag = reply.headers.get("ETag", "")
    again = await api.get("/api", accept=AGGREGATED, headers={"If-None-Match": etag})
    return [bool(etag), again.code, again.body]


@case
async def the_older_form_lists_core_versions(api: Api) -> Any:
    reply = await api.get("/api")
    return [reply.body["kind"], reply.body["versions"]]


@case
async def the_older_form_lists_groups(api: Api) -> Any:
    reply = await api.get("/apis")
    found = [item for item in reply.body["groups"] if item["name"] in ("apps", "batch")]
    return [reply.body["kind"], reply.body["apiVersion"], found]


@case
async def the_older_form_describes_one_group(api: Api) -> Any:
    return (await api.get("/apis/apps")).whole


@case
async def the_older_form_lists_core_resources(api: Api) -> Any:
    body = (await api.get("/api/v1")).body
    return [
        body["kind"],
        body["groupVersion"],
        {name: entry_in(body, name) for name in ("configmaps", "namespaces", "pods/log")},
    ]


@case
async def the_older_form_lists_resources_of_a_group(api: Api) -> Any:
    body = (await api.get("/apis/apps/v1")).body
    names = ("deployments", "deployments/scale", "deployments/status")
    return [body["kind"], body["groupVersion"], {name: entry_in(body, name) for name in names}]


@case
async def an_unknown_group_is_not_described(api: Api) -> Any:
    return [(await api.get("/apis/nobody.example.org")).whole, (await api.get("/apis/nobody.example.org/v1")).whole]


@case
async def a_new_definition_appears_in_aggregated_discovery(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    await api.post(CRDS, crd(group, version(subresources={"status": {}})))

    async def look(_: int = 0) -> Any:
        return group_in((await api.get("/apis", accept=AGGREGATED)).body, group)

    await api.until(f"/apis/{group}", lambda reply: reply.code == 200)
    for _ in range(100):
        found = await look()
        if found and found["versions"][0]["resources"]:
            return [found["metadata"]["name"], found["versions"]]
        await api.until("/version", lambda _: True)
    return found


@case
async def a_new_definition_appears_in_the_older_form(api: Api) -> Any:
    group = f"{api.unique}.example.org"
    await api.post(CRDS, crd(group, version("v1beta1", storage=False), version("v1")))
    await api.until(f"/apis/{group}/v1", lambda reply: reply.code == 200)
    described = await api.until(f"/apis/{group}", lambda reply: reply.code == 200)
    return [described.whole, entry_in((await api.get(f"/apis/{group}/v1")).body, "widgets")]


@case
async def schemas_are_indexed_by_group_and_version(api: Api) -> Any:
    reply = await api.get("/openapi/v3")
    paths = json.loads(reply.body)["paths"] if isinstance(reply.body, str) else reply.body["paths"]
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    return [reply.code, "api/v1" in paths, bool(re.fullmatch(r"/openapi/v3/apis/apps/v1\?hash=\w+", url))]


@case
async def the_system_namespace_has_a_uid(api: Api) -> Any:
    reply = await api.until("/api/v1/namespaces/kube-system", lambda reply: reply.code == 200)
    return [reply.code, len(reply.at("metadata", "uid")), reply.at("metadata", "labels")]
