"""Those who made the objects before us: real kubectl and helm, and other tools by the requests that they send."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import binaries
from testbed.controlplane import ControlPlane
from testbed.fixtures import missing
from testbed.rest import path_of

Documents = Sequence[dict[str, Any]]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass
class Makers:
    """Makes objects on one control plane, in one namespace."""

    plane: ControlPlane
    namespace: str
    folder: Path

    def all(self) -> dict[str, Callable[[Documents], None]]:
        """Every maker, by the manager that owns the fields afterwards."""
        return {
            "kubectl-client-side-apply": lambda made: self.kubectl("apply", made),
            "kubectl": lambda made: self.kubectl("apply", made, "--server-side"),
            "kubectl-create": lambda made: self.kubectl("create", made),
            "helm": self.helm,
            "argocd-controller": self.argocd,
            "kustomize-controller": self.flux_kustomize,
            "helm-controller": self.flux_helm,
        }

    def kubectl(self, verb: str, documents: Documents, *options: str) -> None:
        program = shutil.which("kubectl")
        if program is None:
            missing("kubectl")
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self._run([program, verb, "-f", "-", *options], json.dumps(listed))

    def helm(self, documents: Documents) -> None:
        """`helm install` of a chart that renders to these documents."""
        try:
            program = binaries.find("helm")
        except binaries.BinariesMissing as absent:
            missing(str(absent))
        chart = self.folder / "chart"
        (chart / "templates").mkdir(parents=True, exist_ok=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.0.0\n")
        for place, document in enumerate(documents):
            (chart / "templates" / f"{place:03}.yaml").write_text(json.dumps(document))
        self._run([str(program), "install", "shop", str(chart), "--namespace", self.namespace])

    def argocd(self, documents: Documents) -> None:
        """Client-side apply with the annotation that Argo CD tracks by."""
        for document in documents:
            metadata = document["metadata"]
            track = f"shop:/{document['kind']}:{self.namespace}/{metadata['name']}"
            notes = {**metadata.get("annotations", {}), "argocd.argoproj.io/tracking-id": track}
            made = {**document, "metadata": {**metadata, "annotations": {**notes, LAST_APPLIED: json.dumps(document)}}}
            self.create(made, "argocd-controller")

    def argocd_by_label(self, documents: Documents) -> None:
        """Client-side apply with the label that Argo CD before 3.0 tracks by."""
        for document in documents:
            made = _labelled(document, {"app.kubernetes.io/instance": "shop"})
            made["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(document)}
            self.create(made, "argocd-controller")

    def flux_kustomize(self, documents: Documents) -> None:
        """Server-side apply with Flux's labels."""
        for document in documents:
            labels = {f"kustomize.toolkit.fluxcd.io/{name}": "shop" for name in ("name", "namespace")}
            self.plane.client().apply(_labelled(document, labels), manager="kustomize-controller")

    def flux_helm(self, documents: Documents) -> None:
        for document in documents:
            labels = {f"helm.toolkit.fluxcd.io/{name}": "shop" for name in ("name", "namespace")}
            self.create(_labelled(document, labels), "helm-controller")

    def create(self, document: dict[str, Any], manager: str) -> None:
        path = path_of(document).rsplit("/", 1)[0]
        self.plane.client().request("POST", path, document, query={"fieldManager": manager})

    def _run(self, argv: list[str], stdin: str = "") -> None:
        config = self.plane.write_kubeconfig(self.folder / "kubeconfig")
        environment = {"KUBECONFIG": str(config), "HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=180, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr


def _labelled(document: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}}}
