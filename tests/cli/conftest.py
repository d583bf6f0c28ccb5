"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.planrepo import Repo
from render.conftest import kustomize as real_kustomize

__all__ = ["real_kustomize"]


@pytest.fixture
def repo(
    real_kustomize: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Repo:
    """A small fleet repo with an origin, and `fleet plan` run in it by a real kustomize."""
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)
    return Repo(tmp_path, capsys)
