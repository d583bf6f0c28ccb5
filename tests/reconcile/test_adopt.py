"""Objects that others made are taken over without a change that nobody asked for, or named and left alone."""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conformance.client import Api
from conformance.test_conformance import simulated_target
from makers import LAST_APPLIED, Makers
from rig import Hub, config_map
from testbed.controlplane import ControlPlane
from testbed.rest import path_of
from testbed.workloads import deployment

from fleet.core.fleet import Mode
from fleet.core.ids import UnitName
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.rollout import Detach
from fleet.core.status import EventKind, Sync
from fleet.core.sync_policy import Adopt, SyncPolicy
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation

NO_DIFF = SyncPolicy(adopt=Adopt.IF_NO_DIFF)
ALWAYS = SyncPolicy(adopt=Adopt.ALWAYS)
AT_ONCE = WorkerLimits(adopt_quiet_seconds=0.0)  # what tests made a moment ago


@pytest.fixture
def hub(plane: ControlPlane) -> Hub:
    return Hub(plane, installation=f"i-{uuid.uuid4().hex[:8]}", limits=AT_ONCE)


@pytest.fixture
def makers(plane: ControlPlane, place: str, tmp_path: Path) -> Makers:
    return Makers(plane, place, tmp_path)


def app(name: str, place: str) -> list[dict[str, Any]]:
    """One of each kind that has something awkward: defaults, allocated fields, keys, sealed values."""
    web = deployment(name, place)
    web["metadata"]["labels"] = {"team": "shop"}
    container = web["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 8080}]
    container["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    container["resources"] = {"requests": {"cpu": "0.1", "memory": "64Mi"}}
    container["livenessProbe"] = {"httpGet": {"path": "/", "port": 8080}}
    named = {"namespace": place, "labels": {"team": "shop"}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, **named},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **named},
        "data": {"password": "c2VjcmV0"},
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, **named},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, **named}}
    return [web, service, secret, role, account, config_map(name, place, {"a": "1", "b": "2"}, labels={"team": "shop"})]


def live_of(plane: ControlPlane, document: dict[str, Any]) -> dict[str, Any]:
    return plane.client().get(path_of(document))


def content(live: dict[str, Any]) -> dict[str, Any]:
    """An object without what an adoption and the cluster itself change.

    The server counts a generation of a Deployment for any annotation: ours, and that kubectl's goes. Their specs are
    compared as those of all others.
    """
    kept = {name: value for name, value in live.items() if name not in ("metadata", "status")}
    metadata = live["metadata"]
    labels = {name: value for name, value in metadata.get("labels", {}).items() if name == "team"}
    generation = "by annotations" if live["kind"] == "Deployment" else metadata.get("generation")
    return {**kept, "uid": metadata["uid"], "generation": generation, "labels": labels}


def writes(plane: ControlPlane, mark: Any, place: str) -> Counter[tuple[str, str]]:
    asked = [r for r in plane.ledger(mark, user_agent="fleet") if r.namespace == place and r.is_write]
    return Counter((r.resource, r.name) for r in asked)


def synced(hub: Hub, unit: UnitName) -> int:
    return sum(status.sync is Sync.SYNCED for status in hub.units[unit].objects) if unit in hub.units else 0


@pytest.mark.timeout(300)
async def test_300_objects_of_real_kubectl_and_helm_and_of_other_names_are_taken_over_without_a_change(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    made: dict[str, list[dict[str, Any]]] = {}
    for number, (name, make) in enumerate(makers.all().items()):
        made[name] = [document for n in range(8) for document in app(f"m{number}-{n}", place)][:43]
        make(made[name])
    documents = [document for group in made.values() for document in group]
    assert len(documents) == 301
    changed = [copy.deepcopy(group[-1]) for group in made.values()]  # Git moved on since, for one of each maker
    for document in changed:
        document["metadata"]["labels"]["team"] = "new"
    wanted = [next((c for c in changed if path_of(c) == path_of(d)), d) for d in documents]
    client = plane.client()
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    for document in deployments:
        client.wait(path_of(document), lambda seen: seen.get("status", {}).get("readyReplicas") == 1, seconds=120)
    pods = {pod["metadata"]["uid"] for pod in client.get(f"/api/v1/namespaces/{place}/pods")["items"]}
    before = {path_of(document): content(live_of(plane, document)) for document in documents}

    mark = plane.ledger_mark()
    unit = hub.want("shop", wanted, sync=NO_DIFF)
    async with hub.worker():
        await hub.until(lambda: synced(hub, unit) == 301 - len(changed), "the equal ones", 120)
        report = await hub.until(lambda: (r := hub.units[unit]).reason == "ObjectForeign" and r, "the others named")
        assert report.message.startswith("7 objects exist and are not ours: 7 not as in Git; owned by ")
        assert "helm (1)" in report.message
        assert report.next_step == f"fleet diff {unit}; sync.adopt: always takes these too"
        counted = writes(plane, mark, place)
        assert len(counted) == 301 - len(changed)
        assert max(counted.values()) == 2
        after = {path_of(document): content(live_of(plane, document)) for document in documents}
        assert {path: (before[path], seen) for path, seen in after.items() if seen != before[path]} == {}

        mark = plane.ledger_mark()
        hub.want("shop", wanted, sync=ALWAYS, commit="b")
        await hub.until_well(unit, seconds=120)
        counted = writes(plane, mark, place)
        assert max(counted.values()) == 2
        assert len(counted) == len(changed)
    after = {path_of(document): content(live_of(plane, document)) for document in documents}
    for document in changed:
        path = path_of(document)
        assert after[path].pop("labels") == {"team": "new"}
        assert before[path].pop("labels") == {"team": "shop"}
    assert after == before
    assert {pod["metadata"]["uid"] for pod in client.get(f"/api/v1/namespaces/{place}/pods")["items"]} == pods
    adopted = {(entry.object, entry.outcome) for entry in hub.audited if entry.action == "adopt"}
    assert Counter(outcome for _, outcome in adopted) == {"": 301, "done": 301}
    assert [e.message.split(",")[0] for e in hub.told(EventKind.NOTE, "took over")] == [
        "took over 294 objects",
        "took over 7 objects",
    ]


@pytest.mark.timeout(300)
async def test_what_git_drops_after_an_adoption_is_gone_live_whoever_made_it_and_going_back_changes_nothing(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    documents: list[dict[str, Any]] = []
    for number, make in enumerate(makers.all().values()):
        made = app(f"m{number}", place)
        make(made)
        documents += made
    unit = hub.want("shop", documents, sync=NO_DIFF)
    async with hub.worker():
        await hub.until_well(unit, seconds=90)
        for document in documents:
            notes = live_of(plane, document)["metadata"]["annotations"].keys()
            assert {note for note in notes if not note.startswith("deployment.")} == {"fleet.internal/owner"}
        dropped = copy.deepcopy(documents)
        for document in dropped:
            del document["metadata"]["labels"]
            match document["kind"]:
                case "Deployment":
                    container = document["spec"]["template"]["spec"]["containers"][0]
                    container["env"].pop()
                    del container["livenessProbe"], container["resources"]
                case "Service":
                    del document["spec"]["ports"][0]["name"]
                case "ConfigMap":
                    del document["data"]["b"]
                case "Secret" | "Role":
                    del document["data" if document["kind"] == "Secret" else "rules"]
        hub.want("shop", dropped, sync=NO_DIFF, commit="b")
        await hub.until_well(unit, seconds=90)
        for document in dropped:
            live = live_of(plane, document)
            assert "team" not in live["metadata"]["labels"], path_of(document)
            match document["kind"]:
                case "Deployment":
                    container = live["spec"]["template"]["spec"]["containers"][0]
                    assert container["env"] == [{"name": "A", "value": "1"}]
                    assert "livenessProbe" not in container
                    assert container["resources"] == {}
                case "Service":
                    assert "name" not in live["spec"]["ports"][0]
                case "ConfigMap":
                    assert live["data"] == {"a": "1"}
                case "Secret" | "Role":
                    assert not live.get("data" if document["kind"] == "Secret" else "rules")
        await hub.until_well(unit)
        before = {path_of(document): live_of(plane, document) for document in dropped}

        mark = plane.ledger_mark()
        hub.mode = Mode.OBSERVE
        hub.send_desired()
        await hub.until(lambda: hub.reports[-1].units and hub.units[unit].sync is Sync.SYNCED, "observed")
        assert writes(plane, mark, place) == {}
        hub.mode = Mode.MANAGE
        hub.want("shop", action=Detach())
        await hub.until(lambda: unit not in hub.units, "detached", 60)
    for path, was in before.items():
        now = plane.client().get(path)
        assert content(now) == content(was)
        notes = now["metadata"].get("annotations", {})
        assert not any(name.startswith("fleet.") for name in (*notes, *now["metadata"].get("labels", {})))


async def test_fields_that_git_does_not_say_keep_an_object_from_if_no_diff_and_go_with_always(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    more = config_map("a", place, {"a": "1", "b": "2"}, finalizers=["shop.example/keep"])
    equal = config_map("b", place)
    makers.kubectl("apply", [more, equal])
    web = deployment("web", place, replicas=2)
    makers.create(web, "helm")
    wanted = [config_map("a", place), equal, deployment("web", place)]
    del wanted[2]["spec"]["replicas"]
    client = plane.client()
    unit = hub.want("shop", wanted, sync=NO_DIFF)
    async with hub.worker():
        status = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.reason and s, "named")
        assert "data.b is set by kubectl-client-side-apply and not in Git" in status.message
        await hub.until(lambda: synced(hub, unit) == 2, "the others")
        assert "fleet.internal/owner" not in live_of(plane, more)["metadata"].get("annotations", {})
        hub.want("shop", wanted, sync=ALWAYS, commit="b")
        await hub.until_well(unit, seconds=60)
        live = live_of(plane, more)
        assert live["data"] == {"a": "1"}
        assert live["metadata"]["finalizers"] == ["shop.example/keep"]
        assert LAST_APPLIED not in live["metadata"]["annotations"]
        assert live_of(plane, web)["spec"]["replicas"] == 2
    client.merge(path_of(more), {"metadata": {"finalizers": None}})


async def test_a_tool_that_wrote_minutes_ago_is_waited_for_by_if_no_diff_and_named_by_always(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    hub.limits = WorkerLimits()
    document = config_map("a", place)
    makers.argocd([document])
    unit = hub.want("shop", [document], sync=NO_DIFF)
    mark = plane.ledger_mark()
    async with hub.worker():
        status = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.reason and s, "waits")
        assert status.reason == "WriterActive"
        assert "argocd-controller (" in status.message
        assert hub.units[unit].message == (
            "1 object exists and is not ours: 1 written minutes ago; owned by argocd-controller (1)"
        )
        assert writes(plane, mark, place) == {}
        hub.want("shop", [document], sync=ALWAYS, commit="b")
        await hub.until_well(unit)
        told = [event.message for event in hub.told(EventKind.NOTE)]
    warned = next(n for n, text in enumerate(told) if "argocd-controller wrote minutes ago: stop argocd" in text)
    taken = next(n for n, text in enumerate(told) if text.startswith("took over 1 object"))
    assert warned < taken


async def test_if_no_diff_takes_an_object_once_its_writer_is_quiet(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    hub.limits = WorkerLimits(adopt_quiet_seconds=4.0)
    document = config_map("a", place)
    makers.argocd([document])
    unit = hub.want("shop", [document], sync=NO_DIFF)
    async with hub.worker():
        await hub.until_well(unit, seconds=60)
    assert hub.told(EventKind.NOTE, "took over 1 object, fields moved from argocd-controller (1)")


async def test_what_argo_cd_tracks_by_label_is_taken_over_with_a_word_on_its_cascade(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    by_label, by_annotation = config_map("a", place), config_map("b", place)
    makers.argocd_by_label([by_label])
    makers.argocd([by_annotation])
    unit = hub.want("shop", [by_label, by_annotation], sync=NO_DIFF)
    async with hub.worker():
        await hub.until_well(unit)
    assert live_of(plane, by_label)["metadata"]["labels"]["app.kubernetes.io/instance"] == "shop"
    (told,) = hub.told(EventKind.NOTE, "without cascade")
    assert told.message.startswith("Argo CD tracks 1 of these by the label app.kubernetes.io/instance")


@pytest.mark.parametrize("policy", [NO_DIFF, ALWAYS])
async def test_what_another_object_or_installation_owns_is_left_alone_whatever_is_asked_for(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers, policy: SyncPolicy
) -> None:
    makers.create(config_map("owner", place), "helm")
    uid = live_of(plane, config_map("owner", place))["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": True}
    makers.create(config_map("owned", place, ownerReferences=[owner]), "helm")
    rival = {"fleet.internal/owner": "rival/5f0c/web"}
    makers.create(config_map("theirs", place, annotations=rival), "helm")
    makers.create(config_map("free", place), "helm")
    wanted = [config_map(name, place) for name in ("owned", "theirs", "free")]
    before = [live_of(plane, document) for document in wanted[:2]]
    unit = hub.want("shop", wanted, sync=policy)
    async with hub.worker():
        for name, text in (("owned", "belongs to ConfigMap owner"), ("theirs", "rival")):
            status = await hub.until(lambda n=name: (s := hub.object(unit, "ConfigMap", n)) and s.reason and s, name)
            assert status.reason == "OwnedByOther"
            assert text in status.message
        await hub.until(lambda: hub.object(unit, "ConfigMap", "free").sync is Sync.SYNCED, "the free one")
        assert [live_of(plane, document) for document in wanted[:2]] == before
    assert {entry.object.rpartition("/")[2] for entry in hub.audited if entry.action == "adopt"} == {"free"}


async def test_fields_of_an_unknown_tool_stay_with_it_while_its_objects_are_taken_over(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": place}}
    documents = [account, config_map("a", place, labels={"team": "shop"})]
    for document in documents:
        makers.create(document, "shop-operator")
    unit = hub.want("shop", documents, sync=ALWAYS)
    async with hub.worker():
        await hub.until_well(unit)
        note = "shop-operator also set fields of it: what Git drops of these stays"
        assert f"ConfigMap {place}/a: {note}" in hub.units[unit].warnings
        dropped = [account, config_map("a", place)]
        hub.want("shop", dropped, sync=ALWAYS, commit="b")
        await hub.until_well(unit)
        assert live_of(plane, documents[1])["metadata"]["labels"]["team"] == "shop"


class Meddling:
    """Does something once, just before our first write that stores, or fails the apply after the move."""

    def __init__(self, kube: Any, before: Any = None, *, dies: bool = False) -> None:
        self._kube, self._before, self._dies = kube, before, dies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def patch(self, *arguments: Any, dry_run: bool = False, **options: Any) -> Any:
        before, self._before = self._before, None if not dry_run else self._before
        if before is not None and not dry_run:
            before()
        return await self._kube.patch(*arguments, dry_run=dry_run, **options)

    async def apply(self, kind: Any, namespace: str, name: str, body: bytes, **options: Any) -> Any:
        if self._dies and not options.get("dry_run") and namespace not in ("", PARENT_NAMESPACE):
            raise asyncio.CancelledError
        return await self._kube.apply(kind, namespace, name, body, **options)


@pytest.mark.parametrize("policy", [NO_DIFF, ALWAYS])
async def test_a_write_that_comes_between_is_seen_before_anything_is_taken_over(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers, policy: SyncPolicy
) -> None:
    document = config_map("a", place)
    makers.kubectl("apply", [document])
    changed = {**document, "data": {"a": "theirs"}}
    hub.between = lambda kube: Meddling(kube, lambda: makers.kubectl("apply", [changed]))
    unit = hub.want("shop", [document], sync=policy)
    async with hub.worker():
        if policy is ALWAYS:
            await hub.until_well(unit)
            assert live_of(plane, document)["data"] == {"a": "1"}
            return
        told = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "a")) and s.reason == "ObjectForeign" and s)
        assert "Git would change it" in told.message
        assert live_of(plane, document)["data"] == {"a": "theirs"}
        assert "fleet" not in {entry["manager"] for entry in live_of(plane, document)["metadata"]["managedFields"]}


async def test_a_worker_killed_between_move_and_apply_is_followed_by_one_that_begins_anew(
    hub: Hub, plane: ControlPlane, place: str, makers: Makers
) -> None:
    document = config_map("a", place)
    makers.kubectl("apply", [document])
    unit = hub.want("shop", [document], sync=NO_DIFF)
    hub.between = lambda kube: Meddling(kube, dies=True)
    moved = lambda: any(e["manager"] == "fleet" for e in live_of(plane, document)["metadata"]["managedFields"])  # noqa: E731
    async with hub.worker():
        async with asyncio.timeout(30):
            while not moved():
                await asyncio.sleep(0.1)
    assert "fleet.internal/owner" not in live_of(plane, document)["metadata"]["annotations"]
    hub.between = None
    async with hub.worker():
        await hub.until_well(unit, seconds=60)
    assert "fleet.internal/owner" in live_of(plane, document)["metadata"]["annotations"]
    assert live_of(plane, document)["data"] == document["data"]


@dataclass
class SimulatedPlane:
    simulation: Simulation

    def kubeconfig(self, user: str) -> dict[str, Any]:
        return json.loads(self.simulation.kubeconfig("sim"))


async def test_simulated_clusters_let_objects_be_taken_over_as_real_ones_do() -> None:
    async with AsyncExitStack() as stack:
        simulation = await stack.enter_async_context(Simulation(["sim"], seed=1))
        target = simulated_target(simulation)
        connector = aiohttp.TCPConnector(ssl=target.trust or True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        api = Api(target, session, "shop", "u")
        await api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        documents = app("a", "shop") + app("b", "shop")
        for document in documents[:6]:
            await api.post(path_of(document).rpartition("/")[0], document, fieldManager="kubectl-create")
        for document in documents[6:]:
            await api.apply(path_of(document), document, "kustomize-controller")
        extra = {**documents[-1], "data": {"a": "1", "b": "2", "c": "3"}}
        await api.apply(path_of(extra), extra, "kustomize-controller")
        before = {path_of(document): content((await api.get(path_of(document))).body) for document in documents}
        hub = Hub(SimulatedPlane(simulation), limits=AT_ONCE)  # type: ignore[arg-type]
        unit = hub.want("shop", documents, sync=NO_DIFF)
        async with hub.worker():
            status = await hub.until(lambda: (s := hub.object(unit, "ConfigMap", "b")) and s.reason and s, "named", 60)
            assert "data.c is set by kustomize-controller and not in Git" in status.message
            await hub.until(lambda: synced(hub, unit) == 11, "the others", 60)
            assert {path: content((await api.get(path)).body) for path in before} == before
            hub.want("shop", documents, sync=ALWAYS, commit="b")
            await hub.until_well(unit, seconds=60)
            assert (await api.get(path_of(extra))).at("data") == {"a": "1", "b": "2"}
            dropped = copy.deepcopy(documents)
            for document in dropped:
                del document["metadata"]["labels"]
            del dropped[0]["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
            hub.want("shop", dropped, sync=ALWAYS, commit="c")
            await hub.until_well(unit, seconds=60)
            for document in dropped:
                assert "team" not in (await api.get(path_of(document))).at("metadata", "labels")
            container = (await api.get(path_of(dropped[0]))).at("spec", "template", "spec", "containers", 0)
            assert "livenessProbe" not in container
