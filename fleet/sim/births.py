"""What a write fills in besides defaults: addresses and ports of Services, selectors of Jobs, Secret's stringData.

Functions change the document they are given.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Mapping
from random import Random

from fleet.core.documents import Document, Json, at, documents_at, items_at, mapping_at, text_at
from fleet.sim.pods import admit_pod, put_default, quality_of_service
from fleet.sim.statuses import Cause, invalid_of

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
NODE_PORTS = (30000, 32767)


def new_uid(random: Random) -> str:
    """A version 4 UUID from the cluster's own generator, so that a seed repeats it."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def name_suffix(random: Random) -> str:
    """Five letters for generateName."""
    return "".join(random.choice(_SUFFIX_LETTERS) for _ in range(5))


def merge_string_data(secret: Document) -> None:
    """`stringData` becomes `data` and is gone."""
    plain = secret.pop("stringData", None)
    if isinstance(plain, dict) and plain:
        encoded: Document = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        secret["data"] = {**mapping_at(secret, "data"), **encoded}


class Allocator:
    """Cluster IPs and node ports of one cluster."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.addresses: set[str] = {"10.96.0.1", "10.96.0.10"}
        self.ports: set[int] = set()

    def fill(self, service: Document, old: Document | None, *, dry_run: bool = False) -> None:
        """Give a Service what it needs; what the old one had is kept. Raises ApiError 422 for what is taken.

        A dry-run is given values and keeps none; it is not told of what is taken.
        """
        held = (set(self.addresses), set(self.ports))
        if dry_run:
            self.addresses, self.ports = set(), set(range(1, NODE_PORTS[0]))
        try:
            self._fill(service, old, checked=not dry_run)
        finally:
            if dry_run:
                self.addresses, self.ports = held

    def _fill(self, service: Document, old: Document | None, *, checked: bool) -> None:
        spec = mapping_at(service, "spec")
        before = mapping_at(old, "spec") if old is not None else {}
        kind = text_at(spec, "type")
        if kind == "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(key, None)
            return
        same_kind = text_at(before, "type") != "ExternalName"
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if before.get(key) is not None and same_kind and not spec.get(key):
                spec[key] = before[key]
        address = spec.get("clusterIP")
        if not address:
            listed = items_at(spec, "clusterIPs")
            spec["clusterIP"] = address = listed[0] if listed else self._address()
        elif address != "None" and address != before.get("clusterIP"):
            self._claim(service, str(address))
        put_default(spec, "clusterIPs", [address])
        put_default(spec, "ipFamilies", ["IPv4"])
        put_default(spec, "ipFamilyPolicy", "SingleStack")
        if kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False):
            self._node_ports(service, before, checked=checked)
        elif kind == "ClusterIP":
            held = [one.get("nodePort") for one in documents_at(before, "ports")]
            for port in documents_at(spec, "ports"):
                if port.get("nodePort") in held:
                    port.pop("nodePort", None)  # left over from when it was a NodePort
        if kind == "LoadBalancer" and text_at(spec, "externalTrafficPolicy") == "Local":
            put_default(spec, "healthCheckNodePort", before.get("healthCheckNodePort") or self._port())

    def _address(self) -> str:
        while True:
            address = f"10.96.{self._random.randrange(1, 255)}.{self._random.randrange(1, 255)}"
            if address not in self.addresses:
                self.addresses.add(address)
                return address

    def _claim(self, service: Document, address: str) -> None:
        if address in self.addresses:
            message = f'Invalid value: ["{address}"]: failed to allocate IP {address}: provided IP is already allocated'
            name = text_at(service, "metadata", "name")
            raise invalid_of("Service", "", name, [Cause("FieldValueInvalid", message, "spec.clusterIPs")])
        self.addresses.add(address)

    def _port(self) -> int:
        while True:
            port = self._random.randint(*NODE_PORTS)
            if port not in self.ports:
                self.ports.add(port)
                return port

    def _node_ports(self, service: Document, before: Mapping[str, Json], *, checked: bool) -> None:
        old = {(one.get("port"), one.get("protocol")): one.get("nodePort") for one in documents_at(before, "ports")}
        held = [one.get("nodePort") for one in documents_at(before, "ports")]
        for index, port in enumerate(documents_at(service, "spec", "ports")):
            wanted = port.get("nodePort")
            if not wanted:
                port["nodePort"] = old.get((port.get("port"), port.get("protocol"))) or self._port()
            elif isinstance(wanted, int) and wanted not in held and checked:
                if not NODE_PORTS[0] <= wanted <= NODE_PORTS[1]:
                    self._refuse(
                        service,
                        index,
                        wanted,
                        "provided port is not in the valid range. The range of valid ports is 30000-32767",
                    )
                if wanted in self.ports:
                    self._refuse(service, index, wanted, "provided port is already allocated")
                self.ports.add(wanted)

    @staticmethod
    def _refuse(service: Document, index: int, port: int, why: str) -> None:
        cause = Cause("FieldValueInvalid", f"Invalid value: {port}: {why}", f"spec.ports[{index}].nodePort")
        raise invalid_of("Service", "", text_at(service, "metadata", "name"), [cause])

    def release(self, service: Document) -> None:
        """Take back what a deleted Service had."""
        spec = mapping_at(service, "spec")
        self.addresses.discard(text_at(spec, "clusterIP"))
        for port in documents_at(spec, "ports"):
            number = port.get("nodePort")
            if isinstance(number, int):
                self.ports.discard(number)


def born(resource: str, document: Document, now: str) -> None:
    """What the create strategy and admission of a kind add to a new object."""
    match resource:
        case "pods":
            admit_pod(document)
            document["status"] = {"phase": "Pending", "qosClass": quality_of_service(document)}
        case "jobs.batch":
            _job(document)
        case "namespaces":
            spec = mapping_at(document, "spec")
            finalizers = [*items_at(spec, "finalizers")]
            if "kubernetes" not in finalizers:
                finalizers.append("kubernetes")
            document["spec"] = {**spec, "finalizers": finalizers}
        case "persistentvolumeclaims":
            _finalizer(document, "kubernetes.io/pvc-protection")
        case "persistentvolumes":
            _finalizer(document, "kubernetes.io/pv-protection")
            mapping_at(document, "status")["lastPhaseTransitionTime"] = now
        case "nodes":
            spec = mapping_at(document, "spec")
            taint: Document = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
            spec["taints"] = [*documents_at(spec, "taints"), taint]
        case "daemonsets.apps":
            count_templates(document, None)
        case _:
            pass


_TEMPLATES = "deprecated.daemonset.template.generation"


def count_templates(document: Document, old: Document | None) -> None:
    """The annotation by which a DaemonSet still counts changes of its template."""
    metadata = mapping_at(document, "metadata")
    before = text_at(old, "metadata", "annotations", _TEMPLATES) if old is not None else ""
    number = int(before) if before.isdigit() else 0
    if old is None or at(document, "spec", "template") != at(old, "spec", "template"):
        number += 1
    metadata["annotations"] = {**mapping_at(metadata, "annotations"), _TEMPLATES: str(number)}


def _finalizer(document: Document, name: str) -> None:
    metadata = mapping_at(document, "metadata")
    finalizers = [*items_at(metadata, "finalizers")]
    if name not in finalizers:
        metadata["finalizers"] = [*finalizers, name]


def _job(document: Document) -> None:
    spec = mapping_at(document, "spec")
    if spec.get("manualSelector") is True:
        return
    uid, name = text_at(document, "metadata", "uid"), text_at(document, "metadata", "name")
    template = mapping_at(spec, "template")
    inner, outer = mapping_at(template, "metadata"), mapping_at(document, "metadata")
    said = mapping_at(inner, "labels")
    generated: Document = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    if outer.get("labels") == said or not outer.get("labels"):
        # In Go the defaulted labels of the Job are the very map of its template.
        outer["labels"] = {**generated, **said}
    inner["labels"] = {**generated, **said}
    template["metadata"] = inner
    selector = mapping_at(spec, "selector")
    spec["selector"] = {
        **selector,
        "matchLabels": {"batch.kubernetes.io/controller-uid": uid, **mapping_at(selector, "matchLabels")},
    }


def token() -> str:
    """A bearer token nobody can guess."""
    return secrets.token_urlsafe(24)
