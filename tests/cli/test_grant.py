"""`fleet cluster grant --to FILE`: where the kubeconfig goes."""

from __future__ import annotations

from pathlib import Path

from fleet.cli.grant import write_private


def test_a_kubeconfig_goes_to_its_file_alone_whatever_lies_beside_it(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept\n")
    (tmp_path / ".token.new").symlink_to(other)
    target = tmp_path / "token"
    for raw in (b"first", b"second"):
        write_private(target, raw)
        assert (target.read_bytes(), target.stat().st_mode & 0o777) == (raw, 0o600)
    assert other.read_text() == "kept\n"
    assert {path.name for path in tmp_path.iterdir()} == {"other", ".token.new", "token"}
