"""On a control plane with controllers: health with its cause, waves, hooks, Jobs, definitions, refusals."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from rig import Hub, LateAnswers, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.fates import fate
from testbed.workloads import deployment, job

from fleet.core.documents import Document, documents_at
from fleet.core.record import RowState
from fleet.core.status import EventKind, Health, Sync
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.reconcile.limits import WorkerLimits

SERVER = SyncPolicy(validate=Validate.SERVER)


@pytest.fixture
def hub(plane: ControlPlane) -> Hub:
    return Hub(plane, installation=f"i-{uuid.uuid4().hex[:8]}")


def annotated(document: dict, **annotations: str) -> dict:
    document["metadata"].update(notes(**annotations))
    return document


async def test_a_deployment_becomes_healthy_and_nothing_is_asked_after(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    unit = hub.want("web", [deployment("d", place, replicas=2), config_map("c", place)])
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        await asyncio.sleep(1.5)
        mark = plane.ledger_mark()
        await asyncio.sleep(3)
        assert [r for r in plane.ledger(mark, user_agent="fleet") if r.verb != "watch"] == []


async def test_a_crashing_pod_makes_its_deployment_degraded_with_exit_code_and_last_words(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    crash = fate("crash", exit_code=3, message="KeyError: 'DB_HOST'")
    unit = hub.want("web", [deployment("d", place, notes=crash)])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].health is Health.DEGRADED, "degraded", 40)
        message = hub.object(unit, "Deployment", "d").message
        assert "exit 3" in message
        assert "DB_HOST" in message
        hub.want("web", [deployment("d", place)], commit="b")
        await hub.until_well(unit, seconds=40)


async def test_an_image_that_cannot_be_pulled_is_named(hub: Hub, place: str) -> None:
    unit = hub.want("web", [deployment("d", place, notes=fate("pull"), image="registry.example/none:9")])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].health is Health.DEGRADED, "degraded", 40)
        assert "registry.example/none:9" in hub.object(unit, "Deployment", "d").message


async def test_a_wave_waits_until_the_one_before_is_current(hub: Hub, plane: ControlPlane, place: str) -> None:
    client = plane.client()
    first = deployment("first", place, notes=fate("unready"))
    unit = hub.want("web", [first, annotated(config_map("second", place), wave="1")], health_timeout_seconds=2)
    path = f"/api/v1/namespaces/{place}/configmaps/second"
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and "wave 1 waits" in hub.units[unit].message, "waits")
        assert not client.exists(path)
        await hub.until(lambda: hub.units[unit].reason == "HealthTimeout", "said when it takes too long")
        assert not client.exists(path)
        ready = deployment("first", place)
        hub.want("web", [ready, annotated(config_map("second", place), wave="1")], commit="b")
        await hub.until_well(unit, seconds=40)
        assert client.exists(path)


async def test_hooks_run_once_per_bundle_in_their_phase(hub: Hub, plane: ControlPlane, place: str) -> None:
    client = plane.client()
    hooks = [
        annotated(job("before", place), hook="PreSync"),
        annotated(job("after", place), hook="PostSync", hook_delete="HookSucceeded"),
    ]
    unit = hub.want("web", [*hooks, config_map("c", place)])
    jobs = f"/apis/batch/v1/namespaces/{place}/jobs"
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        before = client.get(f"{jobs}/before")
        assert before["status"]["succeeded"] == 1
        made = client.get(f"/api/v1/namespaces/{place}/configmaps/c")["metadata"]["creationTimestamp"]
        assert before["status"]["completionTime"] <= made
        await asyncio.to_thread(client.wait, f"{jobs}/after", lambda seen: not seen)
        assert [s.ref.kind for s in hub.units[unit].objects] == ["ConfigMap"]
    async with hub.worker():
        await asyncio.sleep(1)
        assert client.get(f"{jobs}/before")["metadata"]["uid"] == before["metadata"]["uid"]
        hub.want("web", [*hooks, config_map("c", place, {"a": "2"})], commit="b")
        await hub.until_well(unit, seconds=40)
        assert client.get(f"{jobs}/before")["metadata"]["uid"] != before["metadata"]["uid"]


@pytest.mark.parametrize("delete", ["BeforeHookCreation", "HookFailed"])
async def test_a_failed_hook_stops_the_unit_before_anything_is_applied(
    hub: Hub, plane: ControlPlane, place: str, delete: str
) -> None:
    client, before = plane.client(), f"/apis/batch/v1/namespaces/{place}/jobs/before"
    fails = annotated(job("before", place, notes=fate("fail", exit_code=2)), hook="PreSync", hook_delete=delete)
    unit = hub.want("web", [fails, config_map("c", place)])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].reason == "HookFailed", "failed", 40)
        if delete == "HookFailed":  # gone, it is no less failed
            await asyncio.to_thread(client.wait, before, lambda seen: not seen)
            looks = len(hub.reports)
            hub.want("web", [fails, config_map("c", place)], sync=SERVER)
            await hub.until(lambda: len(hub.reports) > looks, "looked at again")
            await hub.until(lambda: hub.units[unit].reason == "HookFailed", "failed as before")
        assert not client.exists(f"/api/v1/namespaces/{place}/configmaps/c")
        hub.want("web", [annotated(job("before", place), hook="PreSync"), config_map("c", place)], commit="b")
        await hub.until_well(unit, seconds=40)
        assert client.exists(f"/api/v1/namespaces/{place}/configmaps/c")


async def test_a_job_that_completed_and_vanished_is_done(hub: Hub, plane: ControlPlane, place: str) -> None:
    client = plane.client()
    unit = hub.want("web", [job("once", place), config_map("c", place)])
    path = f"/apis/batch/v1/namespaces/{place}/jobs/once"
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        client.delete(path, propagationPolicy="Background")
        await asyncio.to_thread(client.wait, path, lambda seen: not seen)
        await asyncio.sleep(0.7)
        assert not client.exists(path)
        await hub.until_well(unit)


@pytest.mark.parametrize("by_hand", [False, True], ids=["by-commit", "by-hand"])
async def test_a_job_that_completed_stays_done_when_only_a_label_of_it_is_written(
    hub: Hub, plane: ControlPlane, place: str, by_hand: bool
) -> None:
    client, path = plane.client(), f"/apis/batch/v1/namespaces/{place}/jobs/once"
    unit = hub.want("web", [labelled(job("once", place), "1"), config_map("c", place)])
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        uid = client.get(path)["metadata"]["uid"]
        if by_hand:
            client.merge(path, {"metadata": {"labels": {"v": "hand"}}})
            await hub.until(lambda: hub.told(EventKind.HEALED), "healed")
        else:
            hub.want("web", [labelled(job("once", place), "2"), config_map("c", place)], commit="b")
        await hub.until_well(unit)
        live = client.get(path)["metadata"]
        assert (live["uid"], live["labels"]["v"]) == (uid, "1" if by_hand else "2")
        client.delete(path, propagationPolicy="Background")
        await asyncio.to_thread(client.wait, path, lambda seen: not seen)
        await hub.until(lambda: hub.object(unit, "Job", "once").message == "ended, and removed itself", "done")
        await hub.until_well(unit)
        assert not client.exists(path)


async def test_a_job_that_ends_while_others_are_written_is_done_after_a_restart_too(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    client, path = plane.client(), f"/apis/batch/v1/namespaces/{place}/jobs/once"
    ended = asyncio.Event()
    hub.between, hub.limits = lambda kube: HeldAnswer(kube, "Service", ended), WorkerLimits(changed_per_slot=1)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": place}}
    unit = hub.want("web", [job("once", place), {**service, "spec": {"ports": [{"port": 80}]}}])
    async with hub.worker():
        async with asyncio.timeout(40):
            while RowState.DONE not in {row.state for row in (await hub.journal.load()).rows}:
                await asyncio.sleep(0.05)
        ended.set()
        await hub.until_well(unit)
    async with hub.worker():
        await hub.until(lambda: hub.object(unit, "Job", "once").health is Health.HEALTHY, "seen")
        client.delete(path, propagationPolicy="Background")
        await hub.until(lambda: hub.object(unit, "Job", "once").message == "ended, and removed itself", "done")
        await hub.until_well(unit)
        assert not client.exists(path)


class HeldAnswer:
    """The answer of an apply of `kind` arrives once `until` is set."""

    def __init__(self, kube: Any, kind: str, until: asyncio.Event) -> None:
        self._kube, self._kind, self._until = kube, kind, until

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        answer = await self._kube.apply(kind, *arguments, **options)
        if kind.kind == self._kind:
            await self._until.wait()
        return answer


def labelled(document: dict[str, Any], value: str) -> dict[str, Any]:
    document["metadata"]["labels"] = {"v": value}
    return document


def widgets(group: str) -> dict[str, Any]:
    """A definition of Widgets."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Widget", "plural": "widgets"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def is_established(definition: Document) -> bool:
    found = documents_at(definition, "status", "conditions")
    return any(one["type"] == "Established" and one["status"] == "True" for one in found)


@pytest.mark.parametrize("late", [False, True], ids=["answer-first", "events-first"])
async def test_definitions_come_before_their_objects_and_are_discovered(
    hub: Hub, plane: ControlPlane, place: str, late: bool
) -> None:
    group = f"{place}.example.com"
    if late:  # what was seen while the definition was being written counts as well
        hub.between = lambda kube: LateAnswers(kube, "CustomResourceDefinition", is_established)
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": place}, "size": 3}
    unit = hub.want("web", [widget, widgets(group)])
    async with hub.worker():
        await hub.until_well(unit, seconds=20)
        assert plane.client().get(f"/apis/{group}/v1/namespaces/{place}/widgets/w")["size"] == 3


async def test_a_kind_that_is_not_served_is_named_and_the_rest_is_applied(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    odd = {"apiVersion": "nowhere.example.com/v1", "kind": "Odd", "metadata": {"name": "o", "namespace": place}}
    unit = hub.want("web", [odd, config_map("c", place)])
    async with hub.worker():
        await hub.until(lambda: (s := hub.object(unit, "Odd", "o")) and s.reason == "KindNotServed", "named")
        await hub.until(lambda: hub.object(unit, "ConfigMap", "c").sync is Sync.SYNCED, "the rest")


async def test_one_refused_object_stops_the_whole_unit_before_the_first_write(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    bad = deployment("bad", place)
    bad["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    unit = hub.want("web", [config_map("c", place), bad], sync=SERVER)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].reason == "ObjectInvalid", "refused")
        assert "selector" in hub.object(unit, "Deployment", "bad").message
        assert not plane.client().exists(f"/api/v1/namespaces/{place}/configmaps/c")
        hub.want("web", [config_map("c", place), deployment("bad", place)], sync=SERVER, commit="b")
        await hub.until_well(unit, seconds=40)


async def test_an_immutable_field_is_reported_and_nothing_is_recreated(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    client = plane.client()
    path = f"/apis/apps/v1/namespaces/{place}/deployments/d"
    unit = hub.want("web", [deployment("d", place)])
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        uid = client.get(path)["metadata"]["uid"]
        changed = deployment("d", place)
        changed["spec"]["selector"]["matchLabels"] = {"app": "d", "more": "1"}
        changed["spec"]["template"]["metadata"]["labels"] = {"app": "d", "more": "1"}
        hub.want("web", [changed], commit="b")
        await hub.until(lambda: hub.object(unit, "Deployment", "d").reason == "ImmutableField", "named")
        assert client.get(path)["metadata"]["uid"] == uid
        changed["metadata"].update(notes(replace="enabled"))
        hub.want("web", [changed, *[config_map(f"c{n}", place) for n in range(9)]], commit="c")
        await hub.until_well(unit, seconds=40)
        assert client.get(path)["metadata"]["uid"] != uid


async def test_a_field_that_another_manager_holds_is_a_conflict_with_its_name(
    hub: Hub, plane: ControlPlane, place: str
) -> None:
    client = plane.client()
    unit = hub.want("web", [config_map("c", place)])
    async with hub.worker():
        await hub.until_well(unit)
        client.apply(config_map("c", place, {"b": "theirs"}), manager="someone")
        hub.want("web", [config_map("c", place, {"a": "1", "b": "ours"})], commit="b")
        await hub.until(lambda: hub.object(unit, "ConfigMap", "c").reason == "FieldConflict", "named")
        message = hub.object(unit, "ConfigMap", "c").message
        assert "data.b" in message
        assert "someone" in message
        assert client.get(f"/api/v1/namespaces/{place}/configmaps/c")["data"]["b"] == "theirs"


async def test_a_namespace_and_what_is_in_it_come_in_one_pass(hub: Hub, plane: ControlPlane, namespace: str) -> None:
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    unit = hub.want("web", [config_map("c", namespace), made, deployment("d", namespace)], sync=SERVER)
    async with hub.worker():
        await hub.until_well(unit, seconds=40)
        assert hub.told(EventKind.APPLIED)
