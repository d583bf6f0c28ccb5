"""Validation of Services, Ingresses and NetworkPolicies."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim.causes import (
    Causes,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    one_of,
    port_name,
    port_number,
    port_or_name,
    required,
)
from fleet.sim.names import label_causes, subdomain_problems
from fleet.sim.statuses import Cause

_SERVICES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]


def _service(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found: Causes = []
    kind, ports = text_at(spec, "type"), documents_at(spec, "ports")
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and kind != "ExternalName":
        found.append(required("spec.ports"))
    if kind == "ExternalName" and not spec.get("externalName"):
        found.append(required("spec.externalName"))
    if kind in {"NodePort", "LoadBalancer"} and headless:
        found.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    found += _service_ports(ports, kind)
    found += label_causes(mapping_at(spec, "selector"), "spec.selector")
    found += one_of(spec, "sessionAffinity", "spec", ["ClientIP", "None"])
    found += one_of(spec, "type", "spec", _SERVICES)
    address = text_at(spec, "clusterIP")
    if address and address != "None":
        try:
            ipaddress.ip_address(address)
        except ValueError:
            why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            found.append(invalid("spec.clusterIPs[0]", address, why))
    if spec.get("externalTrafficPolicy") == "Local" and kind not in {"NodePort", "LoadBalancer"}:
        why = "may only be set for externally-accessible services"
        found.append(invalid("spec.externalTrafficPolicy", "Local", why))
    return found


def _service_ports(ports: list[Document], kind: str) -> Causes:
    found: Causes = []
    names: set[str] = set()
    taken: set[tuple[Json, Json]] = set()
    for index, port in enumerate(ports):
        here, name = f"spec.ports[{index}]", text_at(port, "name")
        if not name and len(ports) > 1:
            found.append(required(f"{here}.name"))
        elif name:
            found += [invalid(f"{here}.name", name, why) for why in subdomain_problems(name)]
            if name in names:
                found.append(duplicate(f"{here}.name", name))
            names.add(name)
        found += port_number(port.get("port"), f"{here}.port")
        found += one_of(port, "protocol", here, ["SCTP", "TCP", "UDP"])
        target = port.get("targetPort")
        found += (
            port_name(target, f"{here}.targetPort")
            if isinstance(target, str)
            else port_or_name(target, f"{here}.targetPort")
        )
        if kind == "ClusterIP" and port.get("nodePort"):
            found.append(forbidden(f"{here}.nodePort", "may not be used when `type` is 'ClusterIP'"))
    for index, port in enumerate(ports):
        key = (port.get("port"), port.get("protocol"))
        if key in taken:
            shown = (
                f'{{"Name":"","Protocol":"{key[1]}","AppProtocol":null,"Port":{key[0]},"TargetPort":0,"NodePort":0}}'
            )
            found.append(Cause("FieldValueDuplicate", f"Duplicate value: {shown}", f"spec.ports[{index}]"))
        taken.add(key)
    return found


def _ingress(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found: Causes = []
    backend, rules = spec.get("defaultBackend"), documents_at(spec, "rules")
    if backend is None and not rules:
        found.append(invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if isinstance(backend, dict):
        found += _backend(backend, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        here, host = f"spec.rules[{index}]", text_at(rule, "host")
        if host:
            name = host.removeprefix("*.")
            found += [invalid(f"{here}.host", host, why) for why in subdomain_problems(name)]
        http = rule.get("http")
        if isinstance(http, dict):
            paths = documents_at(http, "paths")
            if not paths:
                found.append(required(f"{here}.http.paths"))
            for number, path in enumerate(paths):
                found += _ingress_path(path, f"{here}.http.paths[{number}]")
    return found


def _ingress_path(path: Document, field: str) -> Causes:
    found: Causes = []
    kind, text = text_at(path, "pathType"), text_at(path, "path")
    if not kind:
        found.append(required(f"{field}.pathType", "pathType must be specified"))
    elif kind not in {"Exact", "ImplementationSpecific", "Prefix"}:
        found += one_of(path, "pathType", field, ["Exact", "ImplementationSpecific", "Prefix"])
    elif (kind != "ImplementationSpecific" or text) and not text.startswith("/"):
        found.append(invalid(f"{field}.path", text, "must be an absolute path"))
    return found + _backend(mapping_at(path, "backend"), f"{field}.backend")


def _backend(backend: Document, field: str) -> Causes:
    service = backend.get("service")
    if not isinstance(service, dict):
        return []
    found: Causes = []
    if not service.get("name"):
        found.append(required(f"{field}.service.name"))
    port = mapping_at(service, "port")
    if not port.get("name") and not port.get("number"):
        found.append(required(field, "port name or number is required"))
    return found


def _network_policy(document: Document) -> Causes:
    found: Causes = []
    for direction in ("ingress", "egress"):
        for index, rule in enumerate(documents_at(document, "spec", direction)):
            for number, port in enumerate(documents_at(rule, "ports")):
                if port.get("port") is not None:
                    found += port_or_name(port.get("port"), f"spec.{direction}[{index}].ports[{number}].port")
    for index, kind in enumerate(items_at(document, "spec", "policyTypes")):
        if kind not in {"Ingress", "Egress"}:
            found.append(not_supported(f"spec.policyTypes[{index}]", kind, ["Ingress", "Egress"]))
    return found


CHECKS: dict[str, Callable[[Document], Causes]] = {
    "ingresses.networking.k8s.io": _ingress,
    "networkpolicies.networking.k8s.io": _network_policy,
    "services": _service,
}
