"""Plain workload documents for tests on real control planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGE = "registry.example/app:1"


def pod_template(name: str, *, notes: Mapping[str, str] | None = None, image: str = IMAGE) -> dict[str, Any]:
    """A pod template with one container; `notes` are annotations such as `fate(…)`."""
    metadata: dict[str, Any] = {"labels": {"app": name}}
    if notes:
        metadata["annotations"] = dict(notes)
    return {"metadata": metadata, "spec": {"containers": [{"name": "app", "image": image}]}}


def deployment(
    name: str, namespace: str, *, replicas: int = 1, notes: Mapping[str, str] | None = None, image: str = IMAGE
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, notes=notes, image=image),
        },
    }


def job(name: str, namespace: str, *, notes: Mapping[str, str] | None = None, backoff_limit: int = 0) -> dict[str, Any]:
    template = pod_template(name, notes=notes)
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": backoff_limit, "template": template},
    }
