"""What controllers, scheduler and kubelet make of workloads: ReplicaSets, pods, statuses, a moment after each write.

StatefulSets go one by one, DaemonSets a pod for each node, Jobs to their end, claims are bound, HPAs keep replicas
between their limits. Deployments are in deployments.py, what becomes of pods is in fates.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleet.core.documents import Document, documents_at, items_at, mapping_at, number_at, text_at
from fleet.sim.deployments import Deployments
from fleet.sim.fates import Fate, fate_of, finished_status, is_ready, last_words, status_of
from fleet.sim.namespaces import MANAGER, SOON
from fleet.sim.owners import Owners, is_deleting, key_of
from fleet.sim.statuses import ApiError
from fleet.sim.storage import Event, Key
from fleet.sim.workload_status import (
    job_status,
    label_of,
    name_of,
    ordinal_labels,
    stateful_status,
    template_hash,
    with_claims,
)
from fleet.sim.writes import WriteOptions

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster
    from fleet.sim.controllers import Controllers

KUBELET = WriteOptions(manager="kubelet", trusted=True)
_SLOW_FACTOR = 20
_CRASHES = 3  # restarts that are shown; after that a crash loop stays as it is


class Workloads:
    """The workload controllers of one cluster. `ready_seconds`: from a pod's birth to its fate."""

    def __init__(self, cluster: SimCluster, controllers: Controllers, *, ready_seconds: float) -> None:
        self._cluster, self._controllers, self.ready_seconds = cluster, controllers, ready_seconds
        self._owners = Owners(cluster, controllers)
        deployments = Deployments(cluster, self._owners)
        self._due: set[tuple[str, Key]] = set()
        self._work: dict[str, Callable[[Key], None]] = {
            "deployments.apps": deployments.deployment,
            "replicasets.apps": deployments.replica_set,
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
                self._controllers.later(SOON, lambda: self._bury(event.key))
        row = after or event.before
        if row is not None and row.owners and event.resource in {"pods", "replicasets.apps"}:
            for owner in row.owners:
                place = self._controllers.place_of(owner)
                if place is not None and place[0] in self._work:
                    self._plan(*place)

    def _plan(self, resource: str, key: Key, delay: float = SOON) -> None:
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

    # Pods

    def _born(self, key: Key, uid: str) -> None:
        pod = self._cluster.objects.find(self._owners.kind("", "Pod"), *key)
        if pod is None:
            return
        delay = self.ready_seconds * (_SLOW_FACTOR if fate_of(pod) is Fate.SLOW else 1)
        self._controllers.later(delay, lambda: self._fulfil(key, uid, 1))

    def _fulfil(self, key: Key, uid: str, restarts: int) -> None:
        kind = self._owners.kind("", "Pod")
        pod = self._cluster.objects.find(kind, *key)
        if pod is None or text_at(pod, "metadata", "uid") != uid or is_deleting(pod):
            return
        fate = fate_of(pod)
        crashed = fate is Fate.CRASH
        status = status_of(pod, fate, self._cluster.clock.now(), restarts if crashed else 0)
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
            self._cluster.objects.delete(self._owners.kind("", "Pod"), *key, grace_seconds=0)

    # StatefulSets and DaemonSets

    def _stateful_set(self, key: Key) -> None:
        kind = self._owners.kind("apps", "StatefulSet")
        document = self._cluster.objects.get(kind, *key)
        spec, name = mapping_at(document, "spec"), key[1]
        wanted, template, mark = number_at(spec, "replicas"), mapping_at(spec, "template"), ""
        mark = f"{name}-{template_hash(template)}"
        pods = {name_of(pod): pod for pod in self._owners.pods(document)}
        in_order = text_at(spec, "podManagementPolicy") == "OrderedReady"
        for index in range(wanted):
            pod = pods.get(f"{name}-{index}")
            if pod is None:
                self._create_claims(document, index)
                claimed = with_claims(template, documents_at(spec, "volumeClaimTemplates"), name, index)
                self._owners.create_pod(
                    document, claimed, f"{name}-{index}", **ordinal_labels(f"{name}-{index}", mark, index)
                )
            if in_order and (pod is None or not is_ready(pod)):
                break
        surplus = [pods[one] for one in sorted(pods, reverse=True) if int(one.rpartition("-")[2]) >= wanted]
        self._owners.delete_pods(surplus)
        fresh = self._owners.pods(document)
        outdated = [pod for pod in fresh if label_of(pod, "controller-revision-hash") != mark]
        healthy = all(is_ready(pod) for pod in fresh if pod not in outdated) and len(fresh) == wanted
        if outdated and (healthy or not all(is_ready(pod) for pod in outdated)):
            self._owners.delete_pods(sorted(outdated, key=name_of, reverse=True)[:1])
        self._owners.status(kind, key, stateful_status(document, self._owners.pods(document), mark))

    def _create_claims(self, owner: Document, index: int) -> None:
        kind = self._owners.kind("", "PersistentVolumeClaim")
        for claim in documents_at(owner, "spec", "volumeClaimTemplates"):
            name = f"{name_of(claim)}-{name_of(owner)}-{index}"
            labels = mapping_at(owner, "spec", "selector", "matchLabels")
            body: Document = {"metadata": {"name": name, "labels": labels}, "spec": mapping_at(claim, "spec")}
            with contextlib.suppress(ApiError):
                self._cluster.objects.create(kind, text_at(owner, "metadata", "namespace"), body, MANAGER)

    def _daemon_set(self, key: Key) -> None:
        kind = self._owners.kind("apps", "DaemonSet")
        document = self._cluster.objects.get(kind, *key)
        template = mapping_at(document, "spec", "template")
        mark = template_hash(template)
        nodes = [name for _, name in self._cluster.store.rows("nodes")] or ["node-1"]
        pods = {text_at(pod, "spec", "nodeName") or "": pod for pod in self._owners.pods(document)}
        for node in nodes:
            pod = pods.get(node) or (pods.get("") if len(nodes) == 1 else None)
            if pod is None:
                spec: Document = {**mapping_at(template, "spec"), "nodeName": node}
                self._owners.create_pod(document, {**template, "spec": spec}, **{"controller-revision-hash": mark})
            elif label_of(pod, "controller-revision-hash") != mark:
                self._owners.delete_pods([pod])
                break
        fresh = self._owners.pods(document)
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
        self._owners.status(kind, key, status)

    # Jobs, claims, autoscalers

    def _job(self, key: Key) -> None:
        kind = self._owners.kind("batch", "Job")
        job = self._cluster.objects.get(kind, *key)
        spec = mapping_at(job, "spec")
        if _is_finished(job) or spec.get("suspend") is True:
            return
        wanted = number_at(spec, "completions", default=number_at(spec, "parallelism", default=1))
        pods = self._owners.pods(job)
        done = [pod for pod in pods if text_at(pod, "status", "phase") == "Succeeded"]
        failed = [pod for pod in pods if text_at(pod, "status", "phase") == "Failed"]
        active = [pod for pod in pods if pod not in done and pod not in failed]
        tries = number_at(spec, "backoffLimit", default=6)
        template = mapping_at(spec, "template")
        if len(failed) <= tries and len(done) < wanted and not active:
            for _ in range(min(number_at(spec, "parallelism", default=1), wanted - len(done))):
                self._owners.create_pod(job, template)
            pods = self._owners.pods(job)
            active = [pod for pod in pods if pod not in done and pod not in failed]
        for pod in active:
            if is_ready(pod) or _is_crashing(pod):
                place = key_of(pod)
                self._controllers.later(self.ready_seconds, lambda place=place: self._finish(place))
        now = self._cluster.clock.now()
        self._owners.status(kind, key, job_status(job, len(active), len(done), len(failed), wanted, tries, now))

    def _finish(self, key: Key) -> None:
        kind = self._owners.kind("", "Pod")
        pod = self._cluster.objects.find(kind, *key)
        if pod is None or text_at(pod, "status", "phase") in {"Succeeded", "Failed"}:
            return
        status = finished_status(pod, self._cluster.clock.now(), succeeded=fate_of(pod) is not Fate.CRASH)
        self._cluster.objects.change(kind, *key, lambda old: {**old, "status": status}, KUBELET, "status")

    def _claim(self, key: Key) -> None:
        kind = self._owners.kind("", "PersistentVolumeClaim")
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
            self._cluster.objects.create(self._owners.kind("", "PersistentVolume"), "", body, MANAGER)
        bound: Document = {**spec, "volumeName": volume}
        self._cluster.objects.change(kind, *key, lambda old: {**old, "spec": bound}, MANAGER)
        status: Document = {"phase": "Bound", "accessModes": items_at(spec, "accessModes"), "capacity": capacity}
        self._owners.status(kind, key, status)

    def _autoscaler(self, key: Key) -> None:
        kind = self._owners.kind("autoscaling", "HorizontalPodAutoscaler")
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
        self._owners.status(kind, key, status)

    def _disruption_budget(self, key: Key) -> None:
        """Looked at, and for the rest as the controller leaves one that no pod matches."""
        kind = self._owners.kind("policy", "PodDisruptionBudget")
        budget = self._cluster.objects.get(kind, *key)
        status: Document = {
            "currentHealthy": 0,
            "desiredHealthy": 0,
            "disruptionsAllowed": 0,
            "expectedPods": 0,
            "observedGeneration": number_at(budget, "metadata", "generation"),
        }
        self._owners.status(kind, key, status)


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
