"""Builds a unit the way a person would, with whatever kustomize is here, to prove that a repo is buildable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from fleet.core.fleet import Unit


def command() -> list[str]:
    """kustomize, or kubectl's; skips where there is neither."""
    for name, arguments in (("kustomize", ["build"]), ("kubectl", ["kustomize"])):
        if found := shutil.which(name):
            return [found, *arguments]
    if os.environ.get("CI") == "true":
        pytest.fail("neither kustomize nor kubectl is on PATH")
    pytest.skip("neither kustomize nor kubectl is on PATH")


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a directory."""
    for path, text in files.items():
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text, encoding="utf-8")
    return root


def build(root: Path, unit: Unit, scratch: Path) -> list[dict[str, object]]:
    """The objects of a unit, its components and `fleet-cluster` included, before substitution."""
    target = root / unit.path
    if unit.components:
        target = scratch / f"{unit.name.overlay}-{unit.name.cluster}"
        target.mkdir()
        facts = {"name": unit.cluster.name, "environment": unit.cluster.environment, "location": unit.cluster.location}
        local = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "fleet-cluster", "annotations": {"config.kubernetes.io/local-config": "true"}},
            "data": {name: str(value) for name, value in facts.items()},
        }
        (target / "facts.yaml").write_text(yaml.safe_dump(local))
        outside = [os.path.relpath(root / path, target) for path in (unit.path, *unit.components)]
        wrapper = {"resources": ["facts.yaml", outside[0]], "components": outside[1:]}
        (target / "kustomization.yaml").write_text(yaml.safe_dump(wrapper))
    done = subprocess.run([*command(), str(target)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{unit.name}: {done.stderr}"
    return [document for document in yaml.safe_load_all(done.stdout) if document]
