"""Where programs come from, and what happens when they come from nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from testbed import binaries
from testbed.fixtures import require


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No assets, an empty cache, no Go; returns the cache folder."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return tmp_path / "fleet-testbed" / "bin"


def test_assets_come_first(bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    (tmp_path / "etcd").touch()
    assert binaries.find("etcd") == tmp_path / "etcd"


def test_without_go_the_missing_program_is_named(bare_machine: Path) -> None:
    with pytest.raises(binaries.BinariesMissing, match=r"kustomize.*no Go"):
        binaries.find("kustomize")


def test_a_cache_of_another_version_is_not_used(bare_machine: Path) -> None:
    bare_machine.mkdir(parents=True)
    (bare_machine / "kustomize").touch()
    (bare_machine / ".kustomize.stamp").write_text("of an older go.mod")
    with pytest.raises(binaries.BinariesMissing):
        binaries.find("kustomize")
    (bare_machine / ".kustomize.stamp").write_text(binaries.KUSTOMIZE.stamp())
    assert binaries.find("kustomize") == bare_machine / "kustomize"


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_missing_programs_skip_at_home_and_fail_in_ci(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="real programs"):
        require("etcd")
