"""Deployments roll by their strategy, over ReplicaSets."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fleet.core.documents import Document, mapping_at, number_at, text_at
from fleet.sim.fates import is_ready
from fleet.sim.kinds import Kind
from fleet.sim.namespaces import MANAGER
from fleet.sim.owners import Owners, key_of
from fleet.sim.statuses import ApiError
from fleet.sim.storage import Key
from fleet.sim.workload_status import amount_of, deployment_status, label_of, name_of, template_hash

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster


class Deployments:
    """The controllers of Deployments and ReplicaSets of one cluster."""

    def __init__(self, cluster: SimCluster, owners: Owners) -> None:
        self._cluster, self._owners = cluster, owners

    def deployment(self, key: Key) -> None:
        """One step of a Deployment: its ReplicaSets, its revision, its status."""
        kind, sets = self._owners.kind("apps", "Deployment"), self._owners.kind("apps", "ReplicaSet")
        deployment = self._cluster.objects.get(kind, *key)
        spec = mapping_at(deployment, "spec")
        wanted, template = number_at(spec, "replicas"), mapping_at(spec, "template")
        mark = template_hash(template)
        owned = self._owners.owned(deployment, sets)
        new = next((one for one in owned if label_of(one, "pod-template-hash") == mark), None)
        old = [one for one in owned if one is not new]
        if new is None and spec.get("paused") is not True:
            self._new_replica_set(deployment, sets, mark, len(owned) + 1)
            return  # its event brings us back
        if new is not None and spec.get("paused") is not True:
            self._roll(deployment, sets, new, old, wanted)
            self._revise(kind, key, new)
        owned = self._owners.owned(deployment, sets)
        new = next((one for one in owned if label_of(one, "pod-template-hash") == mark), None)
        old = [one for one in owned if one is not new]
        self._owners.status(kind, key, deployment_status(deployment, new, old, self._cluster.clock.now()))
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
        self._owners.create(kind, deployment, body)

    def _roll(self, deployment: Document, kind: Kind, new: Document, old: list[Document], wanted: int) -> None:
        """One step of a rollout: up with the new, down with the old, within surge and unavailability."""
        strategy = mapping_at(deployment, "spec", "strategy")
        size, others = number_at(new, "spec", "replicas"), sum(number_at(one, "spec", "replicas") for one in old)
        if text_at(strategy, "type") == "Recreate":
            if others:
                for one in old:
                    self._scale(kind, one, 0)
            elif not any(self._owners.pods(one) for one in old):
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
            self._cluster.objects.change(kind, *key_of(document), change, MANAGER)

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
                self._cluster.objects.delete(kind, *key_of(one), propagation="Background")

    def replica_set(self, key: Key) -> None:
        """As many pods as it wants, and its status."""
        kind = self._owners.kind("apps", "ReplicaSet")
        document = self._cluster.objects.get(kind, *key)
        pods, wanted = self._owners.pods(document), number_at(document, "spec", "replicas")
        template = mapping_at(document, "spec", "template")
        for _ in range(wanted - len(pods)):
            self._owners.create_pod(document, template)
        if len(pods) > wanted:
            ordered = sorted(pods, key=lambda pod: (is_ready(pod), name_of(pod)))
            self._owners.delete_pods(ordered[: len(pods) - wanted])
        pods = self._owners.pods(document)
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
        self._owners.status(kind, key, status)
