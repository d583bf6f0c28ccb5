"""What controllers, scheduler and kubelet make of workloads: ReplicaSets, pods, statuses, a moment after each write.

Deployments roll by their strategy, StatefulSets one by one, DaemonSets a pod for each node, Jobs to their end, claims
are bound, HPAs keep replicas between their limits. What becomes of pods is in fates.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fleet.core.documents import Document, at, documents_at, items_at, mapping_at, number_at, text_at
from fleet.sim import births
from fleet.sim.fates import Fate, fate_of, finished_status, is_ready, last_words, status_of
from fleet.sim.kinds import Kind
from fleet.sim.objects import WriteOptions
from fleet.sim.statuses import ApiError
from fleet.sim.storage import Event, Key
from fleet.sim.workload_status import (
    amount_of,
    deployment_status,
    job_status,
    keep_times,
    label_of,
    name_of,
    ordinal_labels,
    stateful_status,
    template_hash,
    with_claims,
)

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster
    from fleet.sim.controllers import Controllers

MANAGER = WriteOptions(manager="kube-controller-manager", trusted=True)
KUBELET = WriteOptions(manager="kubelet", trusted=True)
_SOON = 0.005
_SLOW_FACTOR = 20
_CRASHES = 3  # restarts that are shown; after that a crash loop stays as it is


class Workloads:
    """The workload controllers of one cluster. `ready_seconds`: from a pod's birth to its fate."""

    def __init__(self, cluster: SimCluster, controllers: Controllers, *, ready_seconds: float) -> None:
        self._cluster, self._controllers, self.ready_seconds = cluster, controllers, ready_seconds
        self._due: set[tuple[str, Key]] = set()
        self._work: dict[str, Callable[[Key], None]] = {
            "deployments.apps": self._deployment,
            "replicasets.apps": self._replica_set,
            "statefulsets.apps": self._stateful_set,
            "daemonsets.apps": self._daemon_set,
            "jobs.batch": self._job,
            "persistentvolumeclaims": self._claim,
            "horizontalpodautoscalers.autoscaling": self._autoscaler,
            "poddisruptionbudgets.policy": self._disruption_budget,
        }

    def on_event(self, event: Event) -> None:
        """Note what has work to do after this event."""
        after = event.after
        if event.resource in self._work and after is not None and not after.deleting:
            self._plan(event.resource, event.key)
        if event.resource == "pods":
            if event.before is None and after is not None:
                self._born(event.key, after.uid)
            elif after is not None and after.deleting:
                self._controllers.later(_SOON, lambda: self._bury(event.key))
        row = after or event.before
        if row is not None and row.owners and event.resource in {"pods", "replicasets.apps"}:
            for owner in row.owners:
                place = self._controllers.place_of(owner)
                if place is not None and place[0] in self._work:
                    self._plan(*place)

    def _plan(self, resource: str, key: Key, delay: float = _SOON) -> None:
        place = (resource, key)
        if place in self._due:
            return
        self._due.add(place)

        def run() -> None:
            self._due.discard(place)
            row = self._cluster.store.get(resource, key)
            if row is not None and not row.deleting:
                self._work[resource](key)

        self._controllers.later(delay, run)

    # Tools

    def _kind(self, group: str, kind: str) -> Kind:
        return self._cluster.kind(group, kind)

    def _owned(self, owner: Document, kind: Kind) -> list[Document]:
        """Objects of a kind that this one owns, oldest first."""
        found: list[Document] = []
        for resource, key in self._controllers.owned_by(text_at(owner, "metadata", "uid")):
            if resource == kind.resource:
                document = self._cluster.objects.find(kind, *key)
                if document is not None:
                    found.append(document)
        return sorted(found, key=lambda one: (text_at(one, "metadata", "creationTimestamp"), name_of(one)))

    def _pods(self, owner: Document) -> list[Document]:
        return [pod for pod in self._owned(owner, self._kind("", "Pod")) if not _is_deleting(pod)]

    def _create(self, kind: Kind, owner: Document, body: Document) -> None:
        metadata = mapping_at(owner, "metadata")
        reference: Document = {
            "apiVersion": text_at(owner, "apiVersion"),
            "kind": text_at(owner, "kind"),
            "name": text_at(metadata, "name"),
            "uid": text_at(metadata, "uid"),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        place: Document = {**mapping_at(body, "metadata"), "ownerReferences": [reference]}
        made: Document = {**body, "metadata": place}
        with contextlib.suppress(ApiError):
            self._cluster.objects.create(kind, text_at(metadata, "namespace"), made, MANAGER)

    def _create_pod(self, owner: Document, template: Document, name: str = "", **labels: str) -> None:
        metadata = mapping_at(template, "metadata")
        spec = dict(mapping_at(template, "spec"))
        if fate_of(template) is not Fate.UNSCHEDULABLE:
            spec.setdefault("nodeName", "node-1")
        named: Document = {"name": name} if name else {"generateName": f"{name_of(owner)}-"}
        body: Document = {
            "metadata": {
                **named,
                "labels": {**mapping_at(metadata, "labels"), **labels},
                "annotations": mapping_at(metadata, "annotations"),
            },
            "spec": spec,
        }
        self._create(self._kind("", "Pod"), owner, body)

    def _delete_pods(self, pods: Iterable[Document]) -> None:
        kind = self._kind("", "Pod")
        for pod in pods:
            with contextlib.suppress(ApiError):
                self._cluster.objects.delete(kind, *_key(pod), grace_seconds=0)

    def _status(self, kind: Kind, key: Key, status: Document) -> None:
        def change(old: Document) -> Document:
            merged = keep_times(status, mapping_at(old, "status"))
            return {**old, "status": merged}

        self._cluster.objects.change(kind, *key, change, MANAGER, "status")

    # Pods

    def _born(self, key: Key, uid: str) -> None:
        pod = self._cluster.objects.find(self._kind("", "Pod"), *key)
        if pod is None:
            return
        delay = self.ready_seconds * (_SLOW_FACTOR if fate_of(pod) is Fate.SLOW else 1)
        self._controllers.later(delay, lambda: self._fulfil(key, uid, 1))

    def _fulfil(self, key: Key, uid: str, restarts: int) -> None:
        kind = self._kind("", "Pod")
        pod = self._cluster.objects.find(kind, *key)
        if pod is None or text_at(pod, "metadata", "uid") != uid or _is_deleting(pod):
            return
        fate = fate_of(pod)
        crashed = fate is Fate.CRASH
        status = status_of(pod, fate, births.now(), restarts if crashed else 0)
        if crashed:
            self._cluster.logs[key] = last_words(pod) + "\n"
        self._cluster.objects.change(kind, *key, lambda old: {**old, "status": status}, KUBELET, "status")
        if crashed and restarts < _CRASHES:
            self._controllers.later(self.ready_seconds * 4**restarts, lambda: self._fulfil(key, uid, restarts + 1))

    def _bury(self, key: Key) -> None:
        """The kubelet has stopped a pod that was deleted gracefully."""
        row = self._cluster.store.get("pods", key)
        if row is not None and row.deleting:
            self._cluster.logs.pop(key, None)
            self._cluster.objects.delete(self._kind("", "Pod"), *key, grace_seconds=0)

    # Deployments and ReplicaSets

    def _deployment(self, key: Key) -> None:
        kind, sets = self._kind("apps", "Deployment"), self._kind("apps", "ReplicaSet")
        deployment = self._cluster.objects.get(kind, *key)
        spec = mapping_at(deployment, "spec")
        wanted, template = number_at(spec, "replicas"), mapping_at(spec, "template")
        mark = template_hash(template)
        owned = self._owned(deployment, sets)
        new = next((one for one in owned if label_of(one, "pod-template-hash") == mark), None)
        old = [one for one in owned if one is not new]
        if new is None and spec.get("paused") is not True:
            self._new_replica_set(deployment, sets, mark, len(owned) + 1)
            return  # its event brings us back
        if new is not None and spec.get("paused") is not True:
            self._roll(deployment, sets, new, old, wanted)
            self._revise(kind, key, new)
        owned = self._owned(deployment, sets)
        new = next((one for one in owned if label_of(one, "pod-template-hash") == mark), None)
        old = [one for one in owned if one is not new]
        self._status(kind, key, deployment_status(deployment, new, old))
        self._forget(spec, old, sets)

    def _new_replica_set(self, deployment: Document, kind: Kind, mark: str, revision: int) -> None:
        template = mapping_at(deployment, "spec", "template")
        labels: Document = {**mapping_at(template, "metadata", "labels"), "pod-template-hash": mark}
        chosen = mapping_at(deployment, "spec", "selector", "matchLabels")
        body: Document = {
            "metadata": {
                "name": f"{name_of(deployment)}-{mark}",
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            },
            "spec": {
                "replicas": 0,
                "selector": {
                    **mapping_at(deployment, "spec", "selector"),
                    "matchLabels": {**chosen, "pod-template-hash": mark},
                },
                "template": {**template, "metadata": {**mapping_at(template, "metadata"), "labels": labels}},
            },
        }
        self._create(kind, deployment, body)

    def _roll(self, deployment: Document, kind: Kind, new: Document, old: list[Document], wanted: int) -> None:
        """One step of a rollout: up with the new, down with the old, within surge and unavailability."""
        strategy = mapping_at(deployment, "spec", "strategy")
        size, others = number_at(new, "spec", "replicas"), sum(number_at(one, "spec", "replicas") for one in old)
        if text_at(strategy, "type") == "Recreate":
            if others:
                for one in old:
                    self._scale(kind, one, 0)
            elif not any(self._pods(one) for one in old):
                self._scale(kind, new, wanted)
            return
        rolling = mapping_at(strategy, "rollingUpdate")
        surge = amount_of(rolling.get("maxSurge"), wanted, up=True)
        missing = amount_of(rolling.get("maxUnavailable"), wanted, up=False)
        if not surge and not missing:
            missing = 1
        target = min(wanted, max(size, wanted + surge - others)) if size <= wanted else wanted
        if target != size:
            self._scale(kind, new, target)
        available = number_at(new, "status", "availableReplicas") + sum(
            number_at(one, "status", "availableReplicas") for one in old
        )
        spare = available - (wanted - missing)
        for one in old:
            replicas = number_at(one, "spec", "replicas")
            unready = replicas - number_at(one, "status", "availableReplicas")
            down = min(replicas, max(0, unready) + max(0, spare))
            if down and replicas:
                self._scale(kind, one, replicas - down)
                spare -= down - max(0, unready)

    def _scale(self, kind: Kind, document: Document, replicas: int) -> None:
        def change(old: Document) -> Document:
            return {**old, "spec": {**mapping_at(old, "spec"), "replicas": replicas}}

        if number_at(document, "spec", "replicas") != replicas:
            self._cluster.objects.change(kind, *_key(document), change, MANAGER)

    def _revise(self, kind: Kind, key: Key, new: Document) -> None:
        name = "deployment.kubernetes.io/revision"
        revision = text_at(new, "metadata", "annotations", name)

        live = self._cluster.objects.find(kind, *key)
        if live is None or text_at(live, "metadata", "annotations", name) == revision:
            return

        def change(old: Document) -> Document:
            metadata = mapping_at(old, "metadata")
            annotations = {**mapping_at(metadata, "annotations"), name: revision}
            return {**old, "metadata": {**metadata, "annotations": annotations}}

        # By the status, as the real controller does: an annotation alone would count as a new generation.
        self._cluster.objects.change(kind, *key, change, MANAGER, "status")

    def _forget(self, spec: Document, old: list[Document], kind: Kind) -> None:
        idle = [
            one for one in old if not number_at(one, "spec", "replicas") and not number_at(one, "status", "replicas")
        ]
        for one in idle[: max(0, len(idle) - number_at(spec, "revisionHistoryLimit", default=10))]:
            with contextlib.suppress(ApiError):
                self._cluster.objects.delete(kind, *_key(one), propagation="Background")

    def _replica_set(self, key: Key) -> None:
        kind = self._kind("apps", "ReplicaSet")
        document = self._cluster.objects.get(kind, *key)
        pods, wanted = self._pods(document), number_at(document, "spec", "replicas")
        template = mapping_at(document, "spec", "template")
        for _ in range(wanted - len(pods)):
            self._create_pod(document, template)
        if len(pods) > wanted:
            ordered = sorted(pods, key=lambda pod: (is_ready(pod), name_of(pod)))
            self._delete_pods(ordered[: len(pods) - wanted])
        pods = self._pods(document)
        ready = sum(is_ready(pod) for pod in pods)
        status: Document = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "observedGeneration": number_at(document, "metadata", "generation"),
            "terminatingReplicas": 0,
        }
        if ready:
            status |= {"readyReplicas": ready, "availableReplicas": ready}
        if not pods:
            status.pop("fullyLabeledReplicas")
        self._status(kind, key, status)

    # StatefulSets and DaemonSets

    def _stateful_set(self, key: Key) -> None:
        kind = self._kind("apps", "StatefulSet")
        document = self._cluster.objects.get(kind, *key)
        spec, name = mapping_at(document, "spec"), key[1]
        wanted, template, mark = number_at(spec, "replicas"), mapping_at(spec, "template"), ""
        mark = f"{name}-{template_hash(template)}"
        pods = {name_of(pod): pod for pod in self._pods(document)}
        in_order = text_at(spec, "podManagementPolicy") == "OrderedReady"
        for index in range(wanted):
            pod = pods.get(f"{name}-{index}")
            if pod is None:
                self._create_claims(document, index)
                claimed = with_claims(template, documents_at(spec, "volumeClaimTemplates"), name, index)
                self._create_pod(document, claimed, f"{name}-{index}", **ordinal_labels(f"{name}-{index}", mark, index))
            if in_order and (pod is None or not is_ready(pod)):
                break
        surplus = [pods[one] for one in sorted(pods, reverse=True) if int(one.rpartition("-")[2]) >= wanted]
        self._delete_pods(surplus)
        fresh = self._pods(document)
        outdated = [pod for pod in fresh if label_of(pod, "controller-revision-hash") != mark]
        healthy = all(is_ready(pod) for pod in fresh if pod not in outdated) and len(fresh) == wanted
        if outdated and (healthy or not all(is_ready(pod) for pod in outdated)):
            self._delete_pods(sorted(outdated, key=name_of, reverse=True)[:1])
        self._status(kind, key, stateful_status(document, self._pods(document), mark))

    def _create_claims(self, owner: Document, index: int) -> None:
        kind = self._kind("", "PersistentVolumeClaim")
        for claim in documents_at(owner, "spec", "volumeClaimTemplates"):
            name = f"{name_of(claim)}-{name_of(owner)}-{index}"
            labels = mapping_at(owner, "spec", "selector", "matchLabels")
            body: Document = {"metadata": {"name": name, "labels": labels}, "spec": mapping_at(claim, "spec")}
            with contextlib.suppress(ApiError):
                self._cluster.objects.create(kind, text_at(owner, "metadata", "namespace"), body, MANAGER)

    def _daemon_set(self, key: Key) -> None:
        kind = self._kind("apps", "DaemonSet")
        document = self._cluster.objects.get(kind, *key)
        template = mapping_at(document, "spec", "template")
        mark = template_hash(template)
        nodes = [name for _, name in self._cluster.store.rows("nodes")] or ["node-1"]
        pods = {text_at(pod, "spec", "nodeName") or "": pod for pod in self._pods(document)}
        for node in nodes:
            pod = pods.get(node) or (pods.get("") if len(nodes) == 1 else None)
            if pod is None:
                spec: Document = {**mapping_at(template, "spec"), "nodeName": node}
                self._create_pod(document, {**template, "spec": spec}, **{"controller-revision-hash": mark})
            elif label_of(pod, "controller-revision-hash") != mark:
                self._delete_pods([pod])
                break
        fresh = self._pods(document)
        ready = sum(is_ready(pod) for pod in fresh)
        updated = sum(label_of(pod, "controller-revision-hash") == mark for pod in fresh)
        status: Document = {
            "currentNumberScheduled": len(fresh),
            "numberMisscheduled": 0,
            "desiredNumberScheduled": len(nodes),
            "numberReady": ready,
            "observedGeneration": number_at(document, "metadata", "generation"),
            "updatedNumberScheduled": updated,
        }
        if ready:
            status["numberAvailable"] = ready
        if ready < len(nodes):
            status["numberUnavailable"] = len(nodes) - ready
        self._status(kind, key, status)

    # Jobs, claims, autoscalers

    def _job(self, key: Key) -> None:
        kind = self._kind("batch", "Job")
        job = self._cluster.objects.get(kind, *key)
        spec = mapping_at(job, "spec")
        if _is_finished(job) or spec.get("suspend") is True:
            return
        wanted = number_at(spec, "completions", default=number_at(spec, "parallelism", default=1))
        pods = self._pods(job)
        done = [pod for pod in pods if text_at(pod, "status", "phase") == "Succeeded"]
        failed = [pod for pod in pods if text_at(pod, "status", "phase") == "Failed"]
        active = [pod for pod in pods if pod not in done and pod not in failed]
        tries = number_at(spec, "backoffLimit", default=6)
        template = mapping_at(spec, "template")
        if len(failed) <= tries and len(done) < wanted and not active:
            for _ in range(min(number_at(spec, "parallelism", default=1), wanted - len(done))):
                self._create_pod(job, template)
            pods = self._pods(job)
            active = [pod for pod in pods if pod not in done and pod not in failed]
        for pod in active:
            if is_ready(pod) or _is_crashing(pod):
                place = _key(pod)
                self._controllers.later(self.ready_seconds, lambda place=place: self._finish(place))
        self._status(kind, key, job_status(job, len(active), len(done), len(failed), wanted, tries))

    def _finish(self, key: Key) -> None:
        kind = self._kind("", "Pod")
        pod = self._cluster.objects.find(kind, *key)
        if pod is None or text_at(pod, "status", "phase") in {"Succeeded", "Failed"}:
            return
        status = finished_status(pod, births.now(), succeeded=fate_of(pod) is not Fate.CRASH)
        self._cluster.objects.change(kind, *key, lambda old: {**old, "status": status}, KUBELET, "status")

    def _claim(self, key: Key) -> None:
        kind = self._kind("", "PersistentVolumeClaim")
        claim = self._cluster.objects.get(kind, *key)
        if text_at(claim, "status", "phase") == "Bound":
            return
        volume = f"pvc-{text_at(claim, 'metadata', 'uid')}"
        spec = mapping_at(claim, "spec")
        capacity = mapping_at(spec, "resources", "requests")
        body: Document = {
            "metadata": {"name": volume},
            "spec": {
                "capacity": capacity,
                "accessModes": items_at(spec, "accessModes"),
                "persistentVolumeReclaimPolicy": "Delete",
                "claimRef": {"namespace": key[0], "name": key[1], "uid": text_at(claim, "metadata", "uid")},
                "csi": {"driver": "sim.fleet.internal", "volumeHandle": volume},
            },
        }
        with contextlib.suppress(ApiError):
            self._cluster.objects.create(self._kind("", "PersistentVolume"), "", body, MANAGER)
        bound: Document = {**spec, "volumeName": volume}
        self._cluster.objects.change(kind, *key, lambda old: {**old, "spec": bound}, MANAGER)
        status: Document = {"phase": "Bound", "accessModes": items_at(spec, "accessModes"), "capacity": capacity}
        self._status(kind, key, status)

    def _autoscaler(self, key: Key) -> None:
        kind = self._kind("autoscaling", "HorizontalPodAutoscaler")
        scaler = self._cluster.objects.get(kind, *key)
        target = mapping_at(scaler, "spec", "scaleTargetRef")
        scaled = self._cluster.registry.of(text_at(target, "apiVersion").rpartition("/")[0], text_at(target, "kind"))
        if scaled is None or "scale" not in scaled.subresources:
            return
        document = self._cluster.objects.find(scaled, key[0], text_at(target, "name"))
        if document is None:
            self._plan(kind.resource, key, delay=1.0)
            return
        least = number_at(scaler, "spec", "minReplicas", default=1)
        most = number_at(scaler, "spec", "maxReplicas")
        now = number_at(document, "spec", "replicas", default=1)
        wanted = max(least, min(most, now))
        if wanted != now and now > 0:
            self._cluster.scale(scaled, key[0], text_at(target, "name"), wanted)
        status: Document = {"currentReplicas": now, "desiredReplicas": wanted, "currentMetrics": None}
        self._status(kind, key, status)

    def _disruption_budget(self, key: Key) -> None:
        """Looked at, and for the rest as the controller leaves one that no pod matches."""
        kind = self._kind("policy", "PodDisruptionBudget")
        budget = self._cluster.objects.get(kind, *key)
        status: Document = {
            "currentHealthy": 0,
            "desiredHealthy": 0,
            "disruptionsAllowed": 0,
            "expectedPods": 0,
            "observedGeneration": number_at(budget, "metadata", "generation"),
        }
        self._status(kind, key, status)


def _key(document: Document) -> Key:
    return text_at(document, "metadata", "namespace"), name_of(document)


def _is_deleting(document: Document) -> bool:
    return at(document, "metadata", "deletionTimestamp") is not None


def _is_crashing(pod: Document) -> bool:
    return any(
        text_at(one, "state", "waiting", "reason") == "CrashLoopBackOff"
        for one in documents_at(pod, "status", "containerStatuses")
    )


def _is_finished(job: Document) -> bool:
    return any(
        one.get("type") in {"Complete", "Failed"} and one.get("status") == "True"
        for one in documents_at(job, "status", "conditions")
    )
