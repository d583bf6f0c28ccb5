"""What a cluster serves: the aggregated form, the older form, and groups that do not answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kube.hostile import Asked, Reply, World, as_json, refusal

from fleet.errors import AnswerInvalid, ServerFailed
from fleet.ports.kube import ServedKind


def resource(plural: str, kind: str, scope: str = "Namespaced", group: str = "") -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"group": group, "version": "", "kind": kind},
        "scope": scope,
        "verbs": ["get", "list", "patch", "watch"],
        "subresources": [{"subresource": "status", "responseKind": {"kind": kind}}],
    }


def group(name: str, *versions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "versions": list(versions)}


def version(name: str, *resources: dict[str, Any], freshness: str = "Current") -> dict[str, Any]:
    return {"version": name, "freshness": freshness, "resources": list(resources)}


CORE = {"kind": "APIGroupDiscoveryList", "items": [group("", version("v1", resource("pods", "Pod")))]}


def serving(world: World, answers: dict[str, Any]) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
        found = answers.get(asked.path)
        return found if isinstance(found, Reply) else as_json(found) if found else refusal(404, "NotFound", "none")

    world.server.answer = answer


async def test_aggregated_discovery_takes_two_requests_and_the_first_version_is_preferred(world: World) -> None:
    autoscaling = group(
        "autoscaling",
        version("v2", resource("hpas", "HPA", group="autoscaling")),
        version("v1", resource("hpas", "HPA", group="autoscaling"), resource("olds", "Old", "Cluster")),
    )
    serving(world, {"/api": CORE, "/apis": {"kind": "APIGroupDiscoveryList", "items": [autoscaling]}})
    async with world.connected() as kube:
        catalog = await kube.discover()
        assert await kube.discover() is catalog
        before = len(world.server.asked)
        hpa, old, pod = catalog.find("autoscaling", "HPA"), catalog.find("autoscaling", "Old"), catalog.find("", "Pod")
        assert hpa
        assert old
        assert pod
        assert (hpa.version, hpa.versions, hpa.namespaced) == ("v2", ("v2", "v1"), True)
        assert (old.version, old.namespaced) == ("v1", False)
        assert "watch" in pod.verbs
        assert catalog.unknown == frozenset()
        assert await kube.discover(fresh=True) is not catalog
        assert len(world.server.asked) == before + 2


async def test_a_stale_group_is_unknown_and_what_is_known_of_it_stays(world: World) -> None:
    metrics = group("metrics.k8s.io", version("v1beta1", freshness="Stale"))
    apps = group("apps", version("v1", resource("deployments", "Deployment", group="apps")))
    serving(world, {"/api": CORE, "/apis": {"kind": "APIGroupDiscoveryList", "items": [metrics, apps]}})
    async with world.connected() as kube:
        catalog = await kube.discover()
    assert catalog.unknown == {"metrics.k8s.io"}
    assert catalog.find("apps", "Deployment") is not None


def older_form(**answers: Any) -> dict[str, Any]:
    pods = [
        {"name": "pods", "namespaced": True, "kind": "Pod", "verbs": ["get"]},
        {"name": "pods/log", "namespaced": True, "kind": "Pod", "verbs": ["get"]},
    ]
    apps = {
        "name": "apps",
        "versions": [{"version": "v1beta1"}, {"version": "v1"}],
        "preferredVersion": {"version": "v1"},
    }
    broken = {"name": "broken.io", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
    deployments = [{"name": "deployments", "namespaced": True, "kind": "Deployment", "verbs": ["get"]}]
    return {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {"kind": "APIResourceList", "resources": pods},
        "/apis": {"kind": "APIGroupList", "groups": [apps, broken]},
        "/apis/apps/v1": {"kind": "APIResourceList", "resources": deployments},
        "/apis/apps/v1beta1": {"kind": "APIResourceList", "resources": deployments},
        "/apis/broken.io/v1": refusal(503, "ServiceUnavailable", "the backing pod is away"),
        **answers,
    }


async def test_the_older_form_gives_the_same_and_a_group_that_fails_is_unknown(world: World) -> None:
    serving(world, older_form())
    async with world.connected() as kube:
        catalog = await kube.discover()
    deployment = catalog.find("apps", "Deployment")
    assert deployment is not None
    assert (deployment.version, deployment.versions) == ("v1", ("v1", "v1beta1"))
    assert catalog.unknown == {"broken.io"}
    assert {key for key in catalog.kinds if not key[0]} == {("", "Pod")}


@pytest.mark.parametrize("kind", ["Config/Map", "../Deployment", "Deployment?x=", ".."])
@pytest.mark.parametrize("form", ["aggregated", "older"])
async def test_a_kind_whose_name_no_key_can_hold_is_unknown(world: World, form: str, kind: str) -> None:
    bad = group("apps", version("v1", resource("deployments", kind, group="apps")))
    answers = {"/api": CORE, "/apis": {"kind": "APIGroupDiscoveryList", "items": [bad]}}
    if form == "older":
        named = [{"name": "deployments", "namespaced": True, "kind": kind, "verbs": ["get"]}]
        answers = older_form(**{"/apis/apps/v1": {"kind": "APIResourceList", "resources": named}})
    serving(world, answers)
    async with world.connected() as kube:
        catalog = await kube.discover()
    assert (catalog.is_unsure("apps", kind), catalog.find("apps", kind)) == (True, None)
    assert catalog.find("", "Pod") is not None


async def test_what_has_only_subresources_and_so_no_kind_makes_no_group_unknown(world: World) -> None:
    apps = group("apps", version("v1", resource("scales", ""), resource("deployments", "Deployment", group="apps")))
    serving(world, {"/api": CORE, "/apis": {"kind": "APIGroupDiscoveryList", "items": [apps]}})
    async with world.connected() as kube:
        catalog = await kube.discover()
    assert (catalog.unknown, catalog.find("apps", "Deployment") is not None) == (frozenset(), True)


ELSEWHERE = "../../../../prod/apis/apps/v1/deployments"


@pytest.mark.parametrize(
    ("name", "of", "plural"),
    [
        ("v1", "apps", ELSEWHERE),
        ("v1", "apps", "deployments?force=true&x="),
        ("v1", "apps", "%2e%2e"),
        ("v1", "apps", ".."),
        ("v1", "apps", ""),
        ("v1", "../../prod/apis/apps", "deployments"),
        ("../../prod/apis/apps/v1", "apps", "deployments"),
    ],
)
async def test_a_kind_that_leads_out_of_its_clusters_paths_is_unknown_and_never_asked_for(
    world: World, name: str, of: str, plural: str
) -> None:
    bad = group("apps", version(name, resource(plural, "Deployment", group=of)))
    good = group("batch", version("v1", resource("jobs", "Job", group="batch")))
    serving(world, {"/api": CORE, "/apis": {"kind": "APIGroupDiscoveryList", "items": [bad, good]}})
    async with world.connected() as kube:
        catalog = await kube.discover()
        assert (catalog.find("batch", "Job") is not None, catalog.unknown) == (True, {"apps"})
        assert [kind for _, kind in catalog.kinds] == ["Pod", "Job"]
        before = len(world.server.asked)
        served = ServedKind(of, name, "Deployment", plural, True, frozenset())
        with pytest.raises(AnswerInvalid, match="cannot be addressed"):
            await kube.apply(served, "shop", "web", b"{}")
        with pytest.raises(AnswerInvalid, match="cannot be addressed"):
            await kube.list(served)
        assert len(world.server.asked) == before


@pytest.mark.parametrize(("called", "name"), [("apps", "../../prod/apis/apps/v1"), ("../../prod/apis/apps", "v1")])
async def test_a_version_that_leads_out_of_its_clusters_paths_is_not_asked_for(
    world: World, called: str, name: str
) -> None:
    bad = {"name": called, "versions": [{"version": name}], "preferredVersion": {"version": name}}
    serving(world, older_form(**{"/apis": {"kind": "APIGroupList", "groups": [bad]}}))
    async with world.connected() as kube:
        assert (await kube.discover()).unknown == {called}
    assert not [asked.path for asked in world.server.asked if "prod" in asked.path]


async def test_the_names_of_metrics_are_places_too(world: World) -> None:
    metrics = group("external.metrics.k8s.io", version("v1beta1", resource("s0_queue:depth", "MetricValueList")))
    custom = group("custom.metrics.k8s.io", version("v1beta1", resource("jobs.batch", "Rate")))
    serving(world, {"/api": CORE, "/apis": {"kind": "APIGroupDiscoveryList", "items": [metrics, custom]}})
    async with world.connected() as kube:
        catalog = await kube.discover()
    assert (catalog.unknown, len(catalog.kinds)) == (frozenset(), 3)


async def test_without_the_core_group_nothing_is_said_at_all(world: World) -> None:
    serving(world, older_form(**{"/api/v1": refusal(500, "InternalError", "no")}))
    async with world.connected() as kube:
        with pytest.raises(ServerFailed):
            await kube.discover()
    serving(world, {"/api": CORE, "/apis": Reply(200, b"<html>", {"Content-Type": "text/html"})})
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid):
            await kube.discover()


@pytest.mark.parametrize("document", [{"kind": "Status"}, {"kind": "APIVersions"}, {"kind": "APIGroupList"}])
async def test_an_answer_that_is_no_discovery_is_not_an_empty_catalog(world: World, document: Any) -> None:
    serving(world, {"/api": CORE, "/apis": document})
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid):
            await kube.discover()
