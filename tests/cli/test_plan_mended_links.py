"""`fleet plan` of a commit that only mends a link which led out of the repo."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.planrepo import BASE, Repo


def test_what_a_mended_link_brings_is_told(
    real_kustomize: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)
    repo = Repo(tmp_path, capsys)
    link = repo.root / BASE / "cache.yaml"
    link.rename(repo.root / "cache.yaml")
    link.symlink_to("../../../../outside.yaml")
    base = repo.commit("out of the repo")
    link.unlink()
    link.symlink_to("../../../cache.yaml")
    head = repo.commit("mended")
    _, text = repo.plan(base=base, head=head)
    assert "web on 7 clusters" in text
    assert "No effective change" not in text
