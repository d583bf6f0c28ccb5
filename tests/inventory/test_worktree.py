"""A checkout as a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest
from inventory.building import write

from fleet.errors import UsageInvalid
from fleet.inventory.worktree import WorkingTree


def test_it_shows_files_and_links_but_not_the_git_directory(tmp_path: Path) -> None:
    write(tmp_path, {"a/b.yaml": "x", ".git/config": "y", "overlays/.hidden": "z", ".venv/lib.yaml": "v"})
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("nowhere")
    tree = WorkingTree(tmp_path)
    assert {path: entry.mode for path, entry in tree.tree.items()} == {
        "a/b.yaml": "100644",
        "dangling": "120000",
        "link": "120000",
        "overlays/.hidden": "100644",
    }
    assert tree.read("a/b.yaml") == b"x"
    assert tree.read("link") == b"a"
    assert tree.revision == ""


def test_a_path_that_is_not_in_it_is_a_key_error(tmp_path: Path) -> None:
    tree = WorkingTree(write(tmp_path, {".git/config": "secret"}))
    for path in (".git/config", "../x", "/etc/passwd"):
        with pytest.raises(KeyError):
            tree.read(path)


def test_a_changed_file_has_another_id_and_an_unchanged_one_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"a": "1", "b": "1"})
    before = WorkingTree(tmp_path).tree
    write(tmp_path, {"a": "22"})
    after = WorkingTree(tmp_path).tree
    assert before["a"] != after["a"]
    assert before["b"] == after["b"]


def test_what_is_no_directory_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid):
        WorkingTree(tmp_path / "missing")
