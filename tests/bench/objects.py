"""Objects as overlays have them: thirteen kinds in turn, ready for any API server, real or simulated.

Where no controllers run, workloads would stay unhealthy for ever, and the hub would rightly go on asking why: so
Deployments are paused and StatefulSets updated by hand (OnDelete), which changes neither their weight nor their fields.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from testbed.rest import path_of

Document = dict[str, Any]


def objects(namespace: str, count: int, *, prefix: str = "o", value: str = "1") -> list[Document]:
    """`count` objects in a namespace that exists; the first is a ConfigMap, `value` is in each."""
    return [_of(number, namespace, f"{prefix}-{number}", value) for number in range(count)]


def namespace_of(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def ready_made(documents: list[Document]) -> list[tuple[str, bytes]]:
    """What the raw loop sends."""
    return [(path_of(document), json.dumps(document).encode()) for document in documents]


def kinds_of(documents: list[Document]) -> int:
    return len({(document["apiVersion"], document["kind"]) for document in documents})


def _of(number: int, namespace: str, name: str, value: str) -> Document:
    api_version, kind, rest = _KINDS[number % len(_KINDS)](name, value)
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop", "value": value}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def _pod(name: str, value: str) -> Document:
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}
    container = {
        "name": "app",
        "image": f"registry.example/shop/app:1.{value}",
        "args": ["--listen=:8080", f"--value={value}"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": "VALUE", "value": value}, {"name": "REGION", "value": "eu"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": probe,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}],
    }
    volume = {"name": "config", "configMap": {"name": name}}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "volumes": [volume]}}


def _config_map(name: str, value: str) -> tuple[str, str, Document]:
    return "v1", "ConfigMap", {"data": {"value": value, "settings.yaml": f"name: {name}\nlevel: info\n"}}


def _secret(name: str, value: str) -> tuple[str, str, Document]:
    return "v1", "Secret", {"type": "Opaque", "data": {"token": base64.b64encode(f"{name}{value}".encode()).decode()}}


def _service_account(name: str, value: str) -> tuple[str, str, Document]:
    return "v1", "ServiceAccount", {"automountServiceAccountToken": False}


def _service(name: str, value: str) -> tuple[str, str, Document]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return "v1", "Service", {"spec": {"selector": {"app": name}, "ports": ports}}


def _deployment(name: str, value: str) -> tuple[str, str, Document]:
    spec = {"replicas": 2, "paused": True, "selector": {"matchLabels": {"app": name}}, "template": _pod(name, value)}
    return "apps/v1", "Deployment", {"spec": spec}


def _stateful_set(name: str, value: str) -> tuple[str, str, Document]:
    spec = {"serviceName": name, "replicas": 1, "selector": {"matchLabels": {"app": name}}}
    rest = {"template": _pod(name, value), "updateStrategy": {"type": "OnDelete"}}
    return "apps/v1", "StatefulSet", {"spec": {**spec, **rest}}


def _cron_job(name: str, value: str) -> tuple[str, str, Document]:
    pod = _pod(name, value)
    pod["spec"]["restartPolicy"] = "Never"
    return "batch/v1", "CronJob", {"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": pod}}}}


def _role(name: str, value: str) -> tuple[str, str, Document]:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"], "resourceNames": [name]}]
    return "rbac.authorization.k8s.io/v1", "Role", {"rules": rules}


def _role_binding(name: str, value: str) -> tuple[str, str, Document]:
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "Role", "name": name}
    return f"{group}/v1", "RoleBinding", {"roleRef": role, "subjects": [{"kind": "ServiceAccount", "name": name}]}


def _ingress(name: str, value: str) -> tuple[str, str, Document]:
    backend = {"service": {"name": name, "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return (
        "networking.k8s.io/v1",
        "Ingress",
        {"spec": {"rules": [{"host": f"{name}.example", "http": {"paths": paths}}]}},
    )


def _network_policy(name: str, value: str) -> tuple[str, str, Document]:
    spec = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"], "ingress": [{}]}
    return "networking.k8s.io/v1", "NetworkPolicy", {"spec": spec}


def _budget(name: str, value: str) -> tuple[str, str, Document]:
    return "policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}}


def _autoscaler(name: str, value: str) -> tuple[str, str, Document]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    usage = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5, "metrics": [usage]}
    return "autoscaling/v2", "HorizontalPodAutoscaler", {"spec": spec}


_KINDS = (
    _config_map,
    _secret,
    _service_account,
    _service,
    _deployment,
    _stateful_set,
    _cron_job,
    _role,
    _role_binding,
    _ingress,
    _network_policy,
    _budget,
    _autoscaler,
)
