"""Documents the cases send, as small as they can be."""

from __future__ import annotations

import base64
from typing import Any

IMAGE = "registry.example/app:1"


def config_map(name: str = "a", data: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
    if data is not None:
        document["data"] = data
    return document


def secret(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **fields}


def note(name: str = "a", text: str = "", **metadata: Any) -> dict[str, Any]:
    """A Secret that holds a text: controllers put none of their own beside it, as they do with config maps."""
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **metadata}}
    return {**document, "data": {"text": base64.b64encode(text.encode()).decode()}} if text else document


def container(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, **fields}


def deployment(name: str = "web", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": list(containers) or [container()]}}
    fields = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": fields}


def service(name: str = "web", *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    fields = {"selector": {"app": name}, "ports": list(ports) or [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": fields}


def pod(name: str = "p", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    fields = {"containers": list(containers) or [container()], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": fields}


def crd(
    group: str, *versions: dict[str, Any], kind: str = "Widget", scope: str = "Namespaced", **spec: Any
) -> dict[str, Any]:
    """A definition of `kind` in `group`; without versions one, v1, whose spec and status take anything."""
    plural = f"{kind.lower()}s"
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": list(versions) or [version()], **spec},
    }


ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def version(
    name: str = "v1", spec: dict[str, Any] | None = None, *, storage: bool = True, **fields: Any
) -> dict[str, Any]:
    """One version of a definition with this schema under `spec` (anything, without one)."""
    properties = {"spec": spec or ANYTHING, "status": ANYTHING}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return {"name": name, "served": True, "storage": storage, "schema": schema, **fields}


def widget(
    group: str, name: str = "w", spec: Any = None, *, api_version: str = "v1", **metadata: Any
) -> dict[str, Any]:
    document = {"apiVersion": f"{group}/{api_version}", "kind": "Widget", "metadata": {"name": name, **metadata}}
    return {**document, "spec": spec} if spec is not None else document
