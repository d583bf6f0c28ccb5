from __future__ import annotations

import os
from pathlib import Path

import pytest
from scenarios.real import World
from testbed import binaries
from testbed.gitrepo import GitRepo


@pytest.fixture
def world(tmp_path: Path, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> World:
    """An empty fleet repo and the hub that would run on it."""
    if "FLEET_KUSTOMIZE" not in os.environ:
        monkeypatch.setenv("FLEET_KUSTOMIZE", str(binaries.find("kustomize")))
    return World(tmp_path, git_repo)
