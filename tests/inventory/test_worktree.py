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


def test_what_lies_in_a_submodule_is_not_seen_and_the_submodule_is(tmp_path: Path) -> None:
    modules = '[submodule "base"]\n\tpath = base\n\turl = x\n[submodule "b"]\n\tpath = "clusters/never fetched"\n'
    write(tmp_path, {".git/config": "", ".gitmodules": modules, "base/.git": "gitdir: ../x", "base/a.yaml": "x"})
    write(tmp_path, {"nested/clone/.git/config": "", "nested/clone/b.yaml": "x", "nested/c.yaml": "x"})
    (tmp_path / "clusters" / "never fetched").mkdir(parents=True)
    tree = WorkingTree(tmp_path)
    assert {path: entry.mode for path, entry in tree.tree.items()} == {
        ".gitmodules": "100644",
        "base": "160000",
        "clusters/never fetched": "160000",
        "nested/c.yaml": "100644",
        "nested/clone": "160000",
    }
    for path in ("base", "base/a.yaml"):
        with pytest.raises(KeyError):
            tree.read(path)
    below = WorkingTree(tmp_path / "clusters")  # a fleet repo that is a folder of a repository
    assert {path: entry.mode for path, entry in below.tree.items()} == {"never fetched": "160000"}


def test_twin_a_directory_that_is_no_repository_of_its_own_is_seen_also_within_one_that_is(tmp_path: Path) -> None:
    write(tmp_path, {".git/config": "", "base/a.yaml": "x", "base/.gitignore": "y", "base/git/b.yaml": "x"})
    assert set(WorkingTree(tmp_path).tree) == {"base/a.yaml", "base/.gitignore", "base/git/b.yaml"}
    assert set(WorkingTree(write(tmp_path / "base", {".git/config": ""})).tree) == {
        "a.yaml",
        ".gitignore",
        "git/b.yaml",
    }


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
