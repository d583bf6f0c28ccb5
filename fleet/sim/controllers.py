"""The controllers every cluster has; here garbage collection and CRDs, the others in modules of their own.

They hear every event of the store and act a moment later, through the same rules as any client; with nothing to do
they cost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim import crds
from fleet.sim.conditions import condition
from fleet.sim.grants import RBAC, Grants
from fleet.sim.kinds import Kind
from fleet.sim.namespaces import MANAGER, SOON, Namespaces
from fleet.sim.statuses import ApiError
from fleet.sim.storage import Event, Key
from fleet.sim.workloads import Workloads
from fleet.sim.writes import WriteOptions

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster

_APISERVER = WriteOptions(manager="kube-apiserver", trusted=True)
_COLLECT = 0.05


class Controllers:
    """The controllers of one cluster; `start` needs a running loop.

    Without `manager` only what the API server does by itself goes on (CRDs), as where no controller manager runs.
    """

    def __init__(self, cluster: SimCluster, *, manager: bool, ready_seconds: float) -> None:
        self._cluster = cluster
        self._workloads = Workloads(cluster, self, ready_seconds=ready_seconds) if manager else None
        self._manager = manager
        self._namespaces, grants = Namespaces(cluster, self), Grants(cluster, self)
        self._timers: set[asyncio.TimerHandle] = set()
        self._owned: dict[str, set[tuple[str, Key]]] = {}  # owner's UID to the objects that name it
        self._alive: dict[str, tuple[str, Key]] = {}  # UID to object
        self._stop: Callable[[], None] | None = None
        self._by_resource: dict[str, Callable[[Event], None]] = {
            crds.RESOURCE: self._on_definition,
        }
        if manager:
            self._by_resource |= {
                "namespaces": self._namespaces.on_event,
                f"clusterroles.{RBAC}": grants.on_cluster_role,
                "secrets": grants.on_secret,
            }

    def set_ready_seconds(self, seconds: float) -> None:
        """From now on a pod takes so long from its birth to its fate: slow nodes, or quick ones."""
        if self._workloads is not None:
            self._workloads.ready_seconds = seconds

    def start(self) -> None:
        """Begin with what is there, then follow every event."""
        store = self._cluster.store
        for resource in list(store.resources()):
            for key, row in list(store.rows(resource).items()):
                self._on_event(Event(row.version, resource, key, None, row, 0.0))
        self._stop = store.listen("*", self._on_event)

    def stop(self) -> None:
        """Hear nothing any more and drop what is due."""
        if self._stop is not None:
            self._stop()
        for timer in tuple(self._timers):
            timer.cancel()
        self._timers.clear()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do this after a delay; what fails because the object changed meanwhile is dropped."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            self._timers.discard(timer)
            with contextlib.suppress(ApiError):
                work()

        timer = loop.call_later(seconds, run)
        self._timers.add(timer)

    def _on_event(self, event: Event) -> None:
        self._index(event)
        if self._workloads is not None:
            self._workloads.on_event(event)
        handler = self._by_resource.get(event.resource)
        if handler is not None:
            handler(event)
        after = event.after
        if not self._manager:
            if after is not None and after.deleting and event.resource == crds.RESOURCE:
                self.later(_COLLECT, lambda: self._finalize(event.resource, event.key))
            return
        if after is None:
            if event.before is not None:
                if event.resource == "persistentvolumeclaims":
                    self.later(SOON, lambda: self._reclaim(event.key))
                uid = event.before.uid
                if self._owned.get(uid):
                    self.later(_COLLECT, lambda: self._collect(uid))
                if event.key[0] and self._namespaces.is_terminating(event.key[0]):
                    self.later(SOON, lambda: self._namespaces.empty(event.key[0]))
            return
        if after.deleting:
            self.later(_COLLECT, lambda: self._finalize(event.resource, event.key))
        if after.owners and any(owner not in self._alive for owner in after.owners):
            self.later(_COLLECT * 4, lambda: self._collect_orphan(event.resource, event.key))

    def owned_by(self, owner: str) -> list[tuple[str, Key]]:
        """What names this UID as its owner, in order."""
        return sorted(self._owned.get(owner, set()))

    def place_of(self, uid: str) -> tuple[str, Key] | None:
        """Where the object with this UID lies."""
        return self._alive.get(uid)

    # Garbage collection

    def _index(self, event: Event) -> None:
        place = (event.resource, event.key)
        before, after = event.before, event.after
        old = before.owners if before is not None else ()
        new = after.owners if after is not None else ()
        if old != new:
            for owner in old:
                self._owned.get(owner, set()).discard(place)
                if not self._owned.get(owner):
                    self._owned.pop(owner, None)
            for owner in new:
                self._owned.setdefault(owner, set()).add(place)
        if after is None and before is not None:
            self._alive.pop(before.uid, None)
        elif after is not None and before is None:
            self._alive[after.uid] = place

    def kind_of(self, resource: str) -> Kind | None:
        """The kind whose objects lie under this key of the store, at its stored version."""
        return self._cluster.registry.of_resource(resource)

    def _collect(self, owner: str) -> None:
        """Delete what only a vanished owner held."""
        for resource, key in sorted(self._owned.get(owner, set())):
            self._collect_orphan(resource, key)

    def _collect_orphan(self, resource: str, key: Key) -> None:
        row, kind = self._cluster.store.get(resource, key), self.kind_of(resource)
        if row is None or kind is None or not row.owners:
            return
        gone = {owner for owner in row.owners if owner not in self._alive}
        if not gone:
            return
        if len(gone) == len(row.owners):
            with contextlib.suppress(ApiError):
                self._cluster.objects.delete(kind, *key, propagation="Background")
        else:
            self._disown(kind, key, gone)

    def _disown(self, kind: Kind, key: Key, owners: set[str]) -> None:
        def change(old: Document) -> Document:
            metadata = dict(mapping_at(old, "metadata"))
            left: list[Json] = [
                one for one in documents_at(metadata, "ownerReferences") if text_at(one, "uid") not in owners
            ]
            metadata["ownerReferences"] = left
            if not left:
                metadata.pop("ownerReferences")
            return {**old, "metadata": metadata}

        with contextlib.suppress(ApiError):
            self._cluster.objects.change(kind, *key, change, MANAGER)

    def _finalize(self, resource: str, key: Key) -> None:
        """Do what an object's own finalizers of the collector ask for."""
        row, kind = self._cluster.store.get(resource, key), self.kind_of(resource)
        if row is None or kind is None or not row.deleting:
            return
        finalizers = items_at(row.document(), "metadata", "finalizers")
        if "orphan" in finalizers:
            for inner, place in sorted(self._owned.get(row.uid, set())):
                dependent = self.kind_of(inner)
                if dependent is not None:
                    self._disown(dependent, place, {row.uid})
            self._unfinalize(kind, key, "orphan")
        elif "foregroundDeletion" in finalizers:
            self._finalize_foreground(kind, key, row.uid)
        elif resource in {"persistentvolumeclaims", "persistentvolumes"}:
            for name in ("kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"):
                if name in finalizers:
                    self._unfinalize(kind, key, name)
        elif resource == crds.RESOURCE and crds.CLEANUP in finalizers:
            self._clean_up(kind, key)

    def _finalize_foreground(self, kind: Kind, key: Key, uid: str) -> None:
        blocking = False
        for resource, place in sorted(self._owned.get(uid, set())):
            row, dependent = self._cluster.store.get(resource, place), self.kind_of(resource)
            if row is None or dependent is None:
                continue
            references = documents_at(row.document(), "metadata", "ownerReferences")
            blocks = any(one.get("blockOwnerDeletion") is True and one.get("uid") == uid for one in references)
            if not row.deleting:
                with contextlib.suppress(ApiError):
                    self._cluster.objects.delete(
                        dependent, *place, propagation="Foreground" if blocks else "Background"
                    )
            blocking = blocking or (blocks and self._cluster.store.get(resource, place) is not None)
        if not blocking:
            self._unfinalize(kind, key, "foregroundDeletion")
        else:
            self.later(_COLLECT, lambda: self._finalize(kind.resource, key))

    def _unfinalize(self, kind: Kind, key: Key, name: str) -> None:
        def change(old: Document) -> Document:
            metadata = dict(mapping_at(old, "metadata"))
            left: list[Json] = [one for one in items_at(metadata, "finalizers") if one != name]
            metadata["finalizers"] = left
            if not left:
                metadata.pop("finalizers")
            return {**old, "metadata": metadata}

        with contextlib.suppress(ApiError):
            self._cluster.objects.change(kind, *key, change, MANAGER)

    def _reclaim(self, claim: Key) -> None:
        """Delete the volume of a claim that is gone, where its policy says so."""
        kind = self._cluster.kind("", "PersistentVolume")
        for key, row in list(self._cluster.store.rows(kind.resource).items()):
            spec = mapping_at(row.document(), "spec")
            bound = (text_at(spec, "claimRef", "namespace"), text_at(spec, "claimRef", "name"))
            if bound == claim and text_at(spec, "persistentVolumeReclaimPolicy") == "Delete" and not row.deleting:
                self._cluster.objects.delete(kind, *key)

    # Custom resource definitions

    def _on_definition(self, event: Event) -> None:
        after = event.after
        if after is None:
            if event.before is not None:
                spec = mapping_at(event.before.document(), "spec")
                self._cluster.unserve(text_at(spec, "group"), text_at(spec, "names", "plural"))
            return
        document = after.document()
        if any(
            one.get("type") == "Established" and one.get("status") == "True"
            for one in documents_at(document, "status", "conditions")
        ):
            self._cluster.registry.drop(
                text_at(document, "spec", "group"), text_at(document, "spec", "names", "plural")
            )
            self._cluster.registry.add(crds.kinds_of(document))
        else:
            self.later(SOON, lambda: self._establish(event.key))

    def _establish(self, key: Key) -> None:
        kind = self._cluster.kind("apiextensions.k8s.io", "CustomResourceDefinition")

        def change(old: Document) -> Document:
            now = self._cluster.clock.now()
            conditions: list[Json] = [
                condition("NamesAccepted", "True", "NoConflicts", "no conflicts found", now=now),
                condition(
                    "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now=now
                ),
            ]
            names = mapping_at(old, "spec", "names")
            status: Document = {**mapping_at(old, "status"), "conditions": conditions, "acceptedNames": names}
            return {**old, "status": status}

        self._cluster.objects.change(kind, *key, change, _APISERVER, "status")

    def _clean_up(self, kind: Kind, key: Key) -> None:
        """Delete the objects of a CRD that goes, then let it go."""
        spec = mapping_at(self._cluster.objects.get(kind, *key), "spec")
        group, plural = text_at(spec, "group"), text_at(spec, "names", "plural")
        resource = f"{plural}.{group}"
        served = self.kind_of(resource)
        store = self._cluster.store
        for place in sorted(store.rows(resource)) if served is not None else []:
            row = store.get(resource, place)
            if served is not None and row is not None and not row.deleting:
                self._cluster.objects.delete(served, *place)
        if served is not None and store.rows(resource):
            self.later(_COLLECT, lambda: self._finalize(kind.resource, key))
            return
        self._unfinalize(kind, key, crds.CLEANUP)
