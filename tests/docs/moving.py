"""What a team has before it moves: a repo and a cluster filled by Argo CD, Flux, kubectl and Helm.

None of these tools runs here. Their objects are made by the requests they send (`reconcile.makers`), an hour ago by
their own account, and by real kubectl and helm; what their controllers do at a deletion is done by `finish_deletions`.
"""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from fixtures.layouts.documents import KUSTOMIZATION, deployment, named, service, stream
from testbed.controlplane import ControlPlane
from testbed.rest import path_of

Documents = list[dict[str, Any]]
ARGO_FINALIZER = "resources-finalizer.argocd.argoproj.io"
FLUX_FINALIZER = "finalizers.fluxcd.io"


def _app(name: str, notes: Mapping[str, str], **data: str) -> str:
    """Namespace, Deployment, Service and ConfigMap of one application; the notes are on the Service."""
    front: dict[str, Any] = service(name)
    if notes:
        front["metadata"]["annotations"] = dict(notes)
    workload = deployment(name, f"registry.example/{name}:1.0.0")
    return stream([named("Namespace", "v1", name), workload, front, named("ConfigMap", "v1", name, data=data)])


def _directory(path: str, name: str, notes: Mapping[str, str], **data: str) -> dict[str, str]:
    return {
        f"{path}/kustomization.yaml": f"{KUSTOMIZATION}namespace: {name}\nresources: [all.yaml]\n",
        f"{path}/all.yaml": _app(name, notes, **data),
    }


def _with_overlay(path: str, name: str, notes: Mapping[str, str]) -> dict[str, str]:
    patch = f"{KUSTOMIZATION}resources: [../../base]\nreplicas: [{{name: {name}, count: 2}}]\n"
    return _directory(f"{path}/base", name, notes, level="info") | {f"{path}/overlays/prod/kustomization.yaml": patch}


def _application(name: str, **spec: object) -> dict[str, Any]:
    """As its author wrote it: in the cluster that Argo CD runs in, synced by itself."""
    source = {"repoURL": "https://git.acme.example/platform", "targetRevision": "main", **spec}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "finalizers": [ARGO_FINALIZER]},
        "spec": {
            "project": "default",
            "source": source,
            "destination": {"server": "https://kubernetes.default.svc"},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
        },
    }


def argocd_objects() -> dict[str, dict[str, Any]]:
    """By file: an app of apps, an Application of an overlay, one of a chart, an ApplicationSet of directories."""
    tool = _application("{{path.basename}}", path="{{path}}")
    template = {"metadata": {"name": "{{path.basename}}"}, "spec": tool["spec"]}
    generator = {"git": {"repoURL": "https://git.acme.example/platform", "directories": [{"path": "tools/*"}]}}
    tools = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "tools", "namespace": "argocd"},
        "spec": {"generators": [generator], "template": template},
    }
    return {
        "argocd/root.yaml": _application("root", path="argocd"),
        "argocd/web.yaml": _application("web", path="apps/web/overlays/prod"),
        "argocd/redis.yaml": _application("redis", chart="redis"),
        "argocd/tools.yaml": tools,
    }


def argocd_repo() -> dict[str, str]:
    files = {path: stream([document]) for path, document in argocd_objects().items()}
    files |= _with_overlay("apps/web", "web", {"argocd.argoproj.io/sync-options": "Prune=false"})
    for name in ("mail", "wiki"):
        files |= _directory(f"tools/{name}", name, {}, level="info")
    return files


def _flux_kustomization(name: str, path: str, **spec: object) -> dict[str, Any]:
    source = {"kind": "GitRepository", "name": "flux-system"}
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system", "finalizers": [FLUX_FINALIZER]},
        "spec": {"interval": "10m", "prune": True, "path": path, "sourceRef": source, **spec},
    }


def flux_objects() -> dict[str, dict[str, Any]]:
    """By file: where Flux starts, and two Kustomizations, one after the other."""
    build = {"substitute": {"level": "info"}}
    after = [{"name": "infra"}]
    return {
        "clusters/eu-1/flux-system/gotk-sync.yaml": _flux_kustomization("flux-system", "./clusters/eu-1"),
        "clusters/eu-1/infra.yaml": _flux_kustomization("infra", "./infra/dns"),
        "clusters/eu-1/apps.yaml": _flux_kustomization("apps", "./apps/web", dependsOn=after, postBuild=build),
    }


def flux_repo() -> dict[str, str]:
    files = {path: stream([document]) for path, document in flux_objects().items()}
    files["clusters/eu-1/flux-system/gotk-components.yaml"] = stream([named("Namespace", "v1", "flux-system")])
    files["clusters/eu-1/flux-system/kustomization.yaml"] = (
        KUSTOMIZATION + "resources: [gotk-components.yaml, gotk-sync.yaml]\n"
    )
    files |= _directory("infra/dns", "dns", {}, zone="acme.example")
    return files | _directory("apps/web", "web", {"kustomize.toolkit.fluxcd.io/prune": "disabled"}, level="${level}")


def kubectl_repo() -> dict[str, str]:
    return _with_overlay("apps/web", "web", {})


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: metrics\nversion: 1.0.0\n",
    "values.yaml": "replicas: 1\nlevel: info\n",
    "templates/all.yaml": stream(
        [
            named("ConfigMap", "v1", "metrics", data={"level": "{{ .Values.level }}"}),
            deployment("metrics", "registry.example/metrics:1.0.0"),
        ]
    ).replace('"replicas": 1', '"replicas": {{ .Values.replicas }}'),
}


# On the cluster


def define(plane: ControlPlane, *kinds: tuple[str, str, str]) -> None:
    """Make kinds known, by group, version and kind; they hold any field."""
    client = plane.client()
    for group, version, kind in kinds:
        plural = f"{kind.lower()}s"
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        spec = {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        }
        name = f"{plural}.{group}"
        document = named("CustomResourceDefinition", "apiextensions.k8s.io/v1", name, spec=spec)
        client.apply(document)
        client.wait(f"/apis/{group}/{version}/{plural}", lambda seen: "items" in seen)


def until_collected(plane: ControlPlane, *kinds: tuple[str, str, str]) -> None:
    """Wait until the garbage collector follows kinds that were just defined: it looks for new ones twice a minute.

    Before that it knows no object's owner, and takes those whose owner was orphaned for left behind.
    """
    client, gone = plane.client(), {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": str(uuid.uuid4())}
    probes = [named(kind, f"{group}/{version}", "probe") for group, version, kind in kinds]
    for probe in probes:
        probe["metadata"] |= {"namespace": "default", "ownerReferences": [gone]}
        client.apply(probe)
    for probe in probes:
        client.wait(path_of(probe), lambda seen: not seen, seconds=90)


def built(root: Path, directory: str, values: Mapping[str, str] | None = None) -> Documents:
    """What a directory builds to; values stand in for `${name}`."""
    text = subprocess.run(
        ["kubectl", "kustomize", str(root / directory)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for name, value in (values or {}).items():
        text = text.replace(f"${{{name}}}", value)
    return list(yaml.safe_load_all(text))


def make_old(plane: ControlPlane, documents: Documents, seconds: float = 3600) -> None:
    """Move the times at which fields of these objects were written into the past."""
    past = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    client, note = plane.client(), "testbed/old"
    for document in documents:
        path = path_of(document)
        entries = [{**entry, "time": past} for entry in client.get(path)["metadata"]["managedFields"]]
        # Times alone are no change to the server, which would put them back.
        client.merge(path, {"metadata": {"annotations": {note: "yes"}, "managedFields": entries}})
        client.merge(path, {"metadata": {"annotations": {note: None}}})


def edit(plane: ControlPlane, name: str, **data: str) -> None:
    """A hand on the ConfigMap of an application, as kubectl leaves it."""
    path = f"/api/v1/namespaces/{name}/configmaps/{name}"
    query = {"fieldManager": "kubectl-edit"}
    plane.client().request("PATCH", path, {"data": data}, content_type="application/merge-patch+json", query=query)


@contextmanager
def finish_deletions(plane: ControlPlane, path: str) -> Iterator[list[str]]:
    """As Flux at the end of its Kustomizations: what is not suspended would go with all its objects. Yields what would.

    path: the collection. Only its finalizer is taken, so that `kubectl delete` returns.
    """
    client, pruned, stop = plane.client(), list[str](), threading.Event()

    def look() -> None:
        while not stop.wait(0.2):
            for item in client.get(path)["items"]:
                if not item["metadata"].get("deletionTimestamp"):
                    continue
                if not item["spec"].get("suspend") and item["spec"].get("prune"):
                    pruned.append(item["metadata"]["name"])
                client.merge(f"{path}/{item['metadata']['name']}", {"metadata": {"finalizers": None}})

    thread = threading.Thread(target=look, name="kustomize-controller")
    thread.start()
    try:
        yield pruned
    finally:
        stop.set()
        thread.join(30)
