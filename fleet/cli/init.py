"""`fleet init`: a fleet repo that works, from nothing or from what lies there. It never changes a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from fleet.cli.schema import schema_text
from fleet.core.ids import is_dns_label
from fleet.errors import UsageInvalid
from fleet.inventory.schema import KINDS

SCHEMA_DIRECTORY = ".fleet/schemas"
_OURS = ("fleet.yaml", "clusters", "overlays", SCHEMA_DIRECTORY)

_FLEET = """\
# yaml-language-server: $schema=.fleet/schemas/fleet.json
apiVersion: fleet.internal/v1
kind: Fleet
metadata:
  name: {name} # the installation's id: it is on every object that the hub writes
spec:
  environments: [dev, prod] # in the order of promotion
  overlays:
    - {{dirs: overlays/*, paths: ["{{cluster}}", "{{environment}}", "."]}}
"""
_CLUSTER = """\
# yaml-language-server: $schema=../.fleet/schemas/cluster.json
# An example: replace it by a cluster of yours with  fleet cluster add NAME --context CONTEXT
apiVersion: fleet.internal/v1
kind: Cluster
metadata:
  name: example
  labels: {tier: canary}
spec:
  environment: dev
  mode: observe # render, compare, report; write nothing. When you trust it: manage
"""
_OVERLAY = """\
# yaml-language-server: $schema=../../.fleet/schemas/overlay.json
apiVersion: fleet.internal/v1
kind: Overlay
metadata:
  name: hello
spec:
  clusters:
    - environments: [dev, prod]
"""
_BASE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: hello
resources:
  - namespace.yaml
  - deployment.yaml
configMapGenerator:
  - name: hello
    literals: [greeting=hello]
"""
_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: hello
"""
_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello
spec:
  replicas: 1
  selector: {matchLabels: {app.kubernetes.io/name: hello}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: hello}
    spec:
      containers:
        - name: hello
          image: registry.k8s.io/pause:3.10
          envFrom:
            - configMapRef: {name: hello}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
"""
_DEV = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../base
"""
_PROD = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../base
replicas:
  - {name: hello, count: 2}
"""


def files_of(name: str) -> dict[str, str]:
    """The files of a new repo by path."""
    schemas = {f"{SCHEMA_DIRECTORY}/{kind.lower()}.json": schema_text(kind) for kind in KINDS}
    return {
        "fleet.yaml": _FLEET.format(name=name),
        "clusters/example.yaml": _CLUSTER,
        "overlays/hello/overlay.yaml": _OVERLAY,
        "overlays/hello/base/kustomization.yaml": _BASE,
        "overlays/hello/base/namespace.yaml": _NAMESPACE,
        "overlays/hello/base/deployment.yaml": _DEPLOYMENT,
        "overlays/hello/dev/kustomization.yaml": _DEV,
        "overlays/hello/prod/kustomization.yaml": _PROD,
        **schemas,
    }


def init(root: Path, out: TextIO, *, name: str = "default", explain: bool = False) -> int:
    """Write the files below `root`, made if absent; where kustomizations lie, fleet.yaml and clusters for them.

    explain: say what was not understood. Raises UsageInvalid, nothing written, if any of ours is there.
    """
    if not is_dns_label(name):
        raise UsageInvalid(
            f"{name!r} is no name",
            why="lower-case letters, digits and -, at most 63",
            next_step="give another one with --name",
        )
    if root.exists() and not root.is_dir():
        raise UsageInvalid(f"{root} is no directory", next_step="name a directory, or one that is not there yet")
    if root.exists():
        from fleet.cli.recognise import has_kustomizations, write_recognised
        from fleet.inventory.worktree import WorkingTree

        tree = WorkingTree(root)
        if has_kustomizations(tree):
            return write_recognised(tree, out, name=name, explain=explain)
    there = [entry for entry in _OURS if os.path.lexists(root / entry)]
    if there:
        raise UsageInvalid(
            f"{there[0]} is there already; nothing was written",
            where=str(root),
            why="init never changes files, and there is no kustomization here to begin from",
            next_step="fleet validate, or another directory: fleet init PATH",
        )
    for path, text in files_of(name).items():
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        with full.open("x", encoding="utf-8") as file:
            file.write(text)
    out.write("Wrote fleet.yaml, clusters/example.yaml (mode observe) and overlays/hello for dev and prod.\n")
    out.write("Schemas for your editor are in .fleet/schemas.\n")
    out.write('Next: fleet validate, then  git add . && git commit -m "Start the fleet"\n')
    return 0
