"""Namespaces: what a new one is furnished with, and how one that goes is emptied first."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim.conditions import condition, kept
from fleet.sim.kinds import Kind
from fleet.sim.statuses import ApiError
from fleet.sim.storage import Event, Key
from fleet.sim.writes import WriteOptions

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster
    from fleet.sim.controllers import Controllers

SOON = 0.005  # seconds
MANAGER = WriteOptions(manager="kube-controller-manager", trusted=True)


class Namespaces:
    """The namespace controller of one cluster."""

    def __init__(self, cluster: SimCluster, controllers: Controllers) -> None:
        self._cluster, self._controllers = cluster, controllers

    def is_terminating(self, namespace: str) -> bool:
        """Whether it is there and goes."""
        row = self._cluster.store.get("namespaces", ("", namespace))
        return row is not None and row.deleting

    def on_event(self, event: Event) -> None:
        """Furnish one that is new, empty one that goes."""
        name, after = event.key[1], event.after
        if after is None:
            return
        if after.deleting:
            self._controllers.later(SOON, lambda: self.empty(name))
        elif event.before is None:
            self._controllers.later(SOON, lambda: self._furnish(name))

    def _furnish(self, namespace: str) -> None:
        options = WriteOptions(manager="kube-controller-manager")
        account: Document = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        authority: Document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt"},
            "data": {"ca.crt": self._cluster.authority_pem},
        }
        for kind, body in (("ServiceAccount", account), ("ConfigMap", authority)):
            with contextlib.suppress(ApiError):
                self._cluster.objects.create(
                    self._cluster.kind("", kind), namespace, body, options, managed_fields=kind != "ServiceAccount"
                )

    def empty(self, namespace: str) -> None:
        """Delete what lies in a terminating namespace; when nothing is left, let it go."""
        store, objects = self._cluster.store, self._cluster.objects
        row = store.get("namespaces", ("", namespace))
        if row is None or not row.deleting:
            return
        left: dict[str, list[Key]] = {}
        for resource in list(store.resources()):
            kind = self._controllers.kind_of(resource)
            if kind is None or not kind.namespaced:
                continue
            for key in sorted(key for key in store.rows(resource) if key[0] == namespace):
                standing = store.get(resource, key)
                if standing is not None and not standing.deleting:
                    with contextlib.suppress(ApiError):
                        objects.delete(kind, *key, propagation="Background", grace_seconds=0)
                if store.get(resource, key) is not None:
                    left.setdefault(resource, []).append(key)
        kind = self._cluster.kind("", "Namespace")
        if left:
            self._tell_remaining(kind, namespace, left)
            return
        objects.change(kind, "", namespace, lambda old: {**old, "spec": {}}, MANAGER, "finalize")

    def _tell_remaining(self, kind: Kind, namespace: str, left: dict[str, list[Key]]) -> None:
        store = self._cluster.store
        held: dict[str, int] = {}
        for resource, keys in left.items():
            for key in keys:
                row = store.get(resource, key)
                for name in items_at(row.document(), "metadata", "finalizers") if row else []:
                    held[str(name)] = held.get(str(name), 0) + 1
        content = ", ".join(f"{resource} has {len(keys)} resource instances" for resource, keys in sorted(left.items()))
        finalizers = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
        remaining = (
            f"Some content in the namespace has finalizers remaining: {finalizers}"
            if held
            else ("All content-preserving finalizers finished")
        )
        made = partial(condition, now=self._cluster.clock.now())
        conditions = [
            made(
                "NamespaceDeletionDiscoveryFailure",
                "False",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            made(
                "NamespaceDeletionGroupVersionParsingFailure",
                "False",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            made(
                "NamespaceDeletionContentFailure",
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            made(
                "NamespaceContentRemaining", "True", "SomeResourcesRemain", f"Some resources are remaining: {content}"
            ),
            made(
                "NamespaceFinalizersRemaining",
                "True" if held else "False",
                "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
                remaining,
            ),
        ]

        def change(old: Document) -> Document:
            before = {text_at(one, "type"): one for one in documents_at(old, "status", "conditions")}
            listed: list[Json] = [kept(before.get(text_at(one, "type")), one) for one in conditions]
            return {**old, "status": {**mapping_at(old, "status"), "conditions": listed}}

        self._cluster.objects.change(kind, "", namespace, change, MANAGER, "status")
