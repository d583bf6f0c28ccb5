"""What a workload's controller does with the objects that it owns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fleet.core.documents import Document, at, mapping_at, text_at
from fleet.sim.fates import Fate, fate_of
from fleet.sim.kinds import Kind
from fleet.sim.namespaces import MANAGER
from fleet.sim.statuses import ApiError
from fleet.sim.storage import Key
from fleet.sim.workload_status import keep_times, name_of

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster
    from fleet.sim.controllers import Controllers


class Owners:
    """The objects of one cluster by those that own them."""

    def __init__(self, cluster: SimCluster, controllers: Controllers) -> None:
        self._cluster, self._controllers = cluster, controllers

    def kind(self, group: str, kind: str) -> Kind:
        """The kind at its stored version."""
        return self._cluster.kind(group, kind)

    def owned(self, owner: Document, kind: Kind) -> list[Document]:
        """Objects of a kind that this one owns, oldest first."""
        found: list[Document] = []
        for resource, key in self._controllers.owned_by(text_at(owner, "metadata", "uid")):
            if resource == kind.resource:
                document = self._cluster.objects.find(kind, *key)
                if document is not None:
                    found.append(document)
        return sorted(found, key=lambda one: (text_at(one, "metadata", "creationTimestamp"), name_of(one)))

    def pods(self, owner: Document) -> list[Document]:
        """Its pods that do not go."""
        return [pod for pod in self.owned(owner, self.kind("", "Pod")) if not is_deleting(pod)]

    def create(self, kind: Kind, owner: Document, body: Document) -> None:
        """Make an object that this one owns; one that is there already stays."""
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

    def create_pod(self, owner: Document, template: Document, name: str = "", **labels: str) -> None:
        """Make a pod of this one, on the only node."""
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
        self.create(self.kind("", "Pod"), owner, body)

    def delete_pods(self, pods: Iterable[Document]) -> None:
        """Delete these at once."""
        kind = self.kind("", "Pod")
        for pod in pods:
            with contextlib.suppress(ApiError):
                self._cluster.objects.delete(kind, *key_of(pod), grace_seconds=0)

    def status(self, kind: Kind, key: Key, status: Document) -> None:
        """Write its status; conditions that stay keep their times."""

        def change(old: Document) -> Document:
            merged = keep_times(status, mapping_at(old, "status"))
            return {**old, "status": merged}

        self._cluster.objects.change(kind, *key, change, MANAGER, "status")


def key_of(document: Document) -> Key:
    """Its namespace and name."""
    return text_at(document, "metadata", "namespace"), name_of(document)


def is_deleting(document: Document) -> bool:
    """Whether it goes."""
    return at(document, "metadata", "deletionTimestamp") is not None
