"""A small fleet repo in git, as people have it: an origin, a clone, a branch, and `fleet plan` run in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fixtures.layouts.documents import KUSTOMIZATION, cluster, deployment, named, overlay, service, stream
from inventory.building import write

from fleet.cli.plan import plan

WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "mara", "GIT_AUTHOR_EMAIL": "mara@acme.example"}
WHO |= {"GIT_COMMITTER_NAME": "mara", "GIT_COMMITTER_EMAIL": "mara@acme.example"}
BASE = "overlays/web/base"
STAGES = {"dev": 2, "prod": 5}


def files() -> dict[str, str]:
    """Two overlays on seven clusters; `web` has a generated ConfigMap and a generated Secret."""
    found = {
        "fleet.yaml": "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: acme}\n"
        "spec: {environments: [dev, prod]}\n",
        "overlays/web/overlay.yaml": overlay({"all": True}),
        "overlays/web/base/kustomization.yaml": KUSTOMIZATION
        + "namespace: shop\nresources: [web.yaml, cache.yaml]\n"
        + "configMapGenerator: [{name: web-cfg, envs: [web.env]}]\n"
        + "secretGenerator: [{name: web-key, envs: [key.env]}]\n",
        "overlays/web/base/web.yaml": stream([deployment("web", "reg.example/web:1.7.4"), service("web")]).replace(
            '"resources": {', '"envFrom": [{"configMapRef": {"name": "web-cfg"}}],\n"resources": {'
        ),
        "overlays/web/base/cache.yaml": stream(
            [named("PersistentVolumeClaim", "v1", "cache", spec={"accessModes": ["ReadWriteOnce"]})]
        ),
        "overlays/web/base/web.env": "timeout=30s\n",
        "overlays/web/base/key.env": "key=correct-horse\n",
        "overlays/dns/overlay.yaml": overlay({"all": True}),
        "overlays/dns/kustomization.yaml": KUSTOMIZATION + "namespace: dns\nresources: [dns.yaml]\n",
        "overlays/dns/dns.yaml": stream([service("dns", 53)]),
    }
    for stage, count in STAGES.items():
        found[f"overlays/web/{stage}/kustomization.yaml"] = KUSTOMIZATION + "resources: [../base]\n"
        for number in range(1, count + 1):
            found[f"clusters/{stage}-{number}.yaml"] = cluster(f"{stage}-{number}", stage)
    return found


class Repo:
    """A clone of an origin with one commit on main."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.origin, self.root, self.capsys = place / "origin", place / "here", capsys
        git(place, "init", "-q", "-b", "main", str(self.origin))
        write(self.origin, files())
        self.commit("the first", self.origin)
        git(place, "clone", "-q", str(self.origin), str(self.root))
        git(self.root, "checkout", "-q", "-b", "web-1.8")

    def write(self, changed: Mapping[str, str | None], root: Path | None = None) -> None:
        for path, text in changed.items():
            if text is None:
                ((root or self.root) / path).unlink()
            else:
                write(root or self.root, {path: text})

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new))

    def commit(self, message: str, root: Path | None = None) -> str:
        git(root or self.root, "add", "-A")
        git(root or self.root, "commit", "-q", "-m", message)
        return git(root or self.root, "rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        return git(self.root, *words)

    def plan(self, *, base: str = "", head: str = "", kube: str = "", output: str = "terminal") -> tuple[int, str]:
        """Exit code and all that was printed."""
        code = plan(self.root, base=base, head=head, kube=kube, output=output)
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def document(self, **options: str) -> Any:
        return json.loads(self.plan(output="json", **options)[1])


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], env={**os.environ, **WHO}, capture_output=True, check=True)
    return done.stdout.decode().strip()
