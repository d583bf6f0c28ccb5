"""A person's checkout as `fleet plan` sees it, on real repositories; nothing is written into them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from fleet.errors import MergeConflict, RefMissing, UsageInvalid
from fleet.source.local import LocalRepo, blamed, open_local

WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "jo", "GIT_AUTHOR_EMAIL": "jo@acme.example"}
WHO |= {"GIT_COMMITTER_NAME": "jo", "GIT_COMMITTER_EMAIL": "jo@acme.example"}


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], env={**os.environ, **WHO}, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit(root: Path, files: Mapping[str, str | None]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if text is None else path.write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "a commit")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone whose origin has one commit on main."""
    origin = tmp_path / "origin"
    git(tmp_path, "init", "-q", "-b", "main", str(origin))
    commit(origin, {"a.yaml": "a: 1\n", "b.yaml": "b: 1\nc: 1\nd: 1\n", ".gitignore": "*.tmp\n"})
    git(tmp_path, "clone", "-q", str(origin), "here")
    return tmp_path / "here"


async def merged(repo: LocalRepo) -> dict[str, bytes]:
    side = await repo.merged_working_tree(await repo.commit(await repo.default_base()))
    return {path: side.snapshot.read(path) for path in side.snapshot.tree}


async def test_the_working_tree_is_seen_with_what_is_new_changed_and_gone(root: Path) -> None:
    (root / "a.yaml").write_text("a: 2\n")
    (root / "b.yaml").unlink()
    (root / "new.yaml").write_text("n: 1\n")
    (root / "x.tmp").write_text("ignored")
    before = git(root, "status", "--porcelain"), git(root, "count-objects", "-v")
    repo = open_local(root, os.environ)
    try:
        files = await merged(repo)
    finally:
        await repo.close()
    assert files == {".gitignore": b"*.tmp\n", "a.yaml": b"a: 2\n", "new.yaml": b"n: 1\n"}
    assert (git(root, "status", "--porcelain"), git(root, "count-objects", "-v")) == before


async def test_a_change_of_the_same_size_in_the_same_moment_is_seen(root: Path) -> None:
    for text in ("a: 7\n", "a: 8\n", "a: 9\n"):
        (root / "a.yaml").write_text(text)
        repo = open_local(root, os.environ)
        try:
            assert (await merged(repo))["a.yaml"] == text.encode()
        finally:
            await repo.close()


async def test_what_main_got_meanwhile_is_kept_by_the_merge(root: Path) -> None:
    commit(root.parent / "origin", {"a.yaml": "a: 3\n"})
    git(root, "fetch", "-q")
    commit(root, {"b.yaml": "b: 2\nc: 1\nd: 1\n"})
    repo = open_local(root, os.environ)
    try:
        files = await merged(repo)
    finally:
        await repo.close()
    assert (files["a.yaml"], files["b.yaml"]) == (b"a: 3\n", b"b: 2\nc: 1\nd: 1\n")


async def test_changes_that_do_not_merge_are_named(root: Path) -> None:
    commit(root.parent / "origin", {"a.yaml": "a: 3\n"})
    git(root, "fetch", "-q")
    (root / "a.yaml").write_text("a: 4\n")
    repo = open_local(root, os.environ)
    try:
        with pytest.raises(MergeConflict) as caught:
            await merged(repo)
    finally:
        await repo.close()
    assert caught.value.where == "a.yaml"


@pytest.mark.parametrize("is_resolved", [True, False])
async def test_a_merge_that_is_under_way_counts_as_done_once_its_conflicts_are_resolved(
    root: Path, is_resolved: bool
) -> None:
    commit(root.parent / "origin", {"a.yaml": "a: 3\n"})
    git(root, "fetch", "-q")
    commit(root, {"a.yaml": "a: 4\n"})
    if is_resolved:
        with pytest.raises(subprocess.CalledProcessError):
            git(root, "merge", "origin/main")
    (root / "a.yaml").write_text("a: 5\n")
    git(root, "add", "-A")
    repo = open_local(root, os.environ)
    try:
        if is_resolved:
            assert (await merged(repo))["a.yaml"] == b"a: 5\n"
        else:
            with pytest.raises(MergeConflict):
                await merged(repo)
    finally:
        await repo.close()


async def test_a_clean_tree_is_called_by_its_commit_and_one_with_changes_is_not(root: Path) -> None:
    """Two jobs of CI that plan two commits of one branch are told apart by it."""
    head = commit(root, {"a.yaml": "a: 4\n"})[:7]
    for text, name in (("a: 4\n", f"your branch main at {head}"), ("a: 5\n", "your branch main")):
        (root / "a.yaml").write_text(text)
        repo = open_local(root, os.environ)
        try:
            side = await repo.merged_working_tree(await repo.commit(await repo.default_base()))
        finally:
            await repo.close()
        assert side.words == name


async def test_a_fleet_repo_may_be_a_folder_of_a_repository_and_a_linked_worktree(root: Path) -> None:
    commit(root, {"fleet/a.yaml": "in: folder\n"})
    git(root, "worktree", "add", "-q", str(root.parent / "linked"), "-b", "other")
    repo = open_local(root.parent / "linked" / "fleet", os.environ)
    try:
        assert await merged(repo) == {"a.yaml": b"in: folder\n"}
        assert (await repo.commit("refs/remotes/origin/main")).snapshot.tree == {}
    finally:
        await repo.close()


async def test_a_base_that_is_not_there_is_told_and_no_option_is_made_of_it(root: Path) -> None:
    repo = open_local(root, os.environ)
    try:
        for name in ("nobody", "--exec=touch x", "0" * 40):
            with pytest.raises(RefMissing):
                await repo.commit(name)
        git(root, "remote", "remove", "origin")
        with pytest.raises(RefMissing, match="origin has no main"):
            await repo.default_base()
    finally:
        await repo.close()


def test_a_directory_without_git_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid):
        open_local(tmp_path, os.environ)


async def test_a_line_has_the_commit_that_wrote_it_last_in_a_clone_a_part_of_it_and_a_linked_tree(root: Path) -> None:
    older = git(root, "rev-parse", "HEAD")
    newer = commit(root, {"b.yaml": "b: 1\nc: 2\nd: 1\n", "sub/fleet.yaml": "x: 1\n"})
    git(root, "worktree", "add", "-q", str(root.parent / "linked"))
    asked = ((root, "b.yaml"), (root / "sub", "fleet.yaml"), (root.parent / "linked", "b.yaml"))
    for place, path in asked:
        repo = open_local(place, os.environ)
        try:
            first, second = await repo.blame(path, 1), await repo.blame(path, 2 if path == "b.yaml" else 1)
            assert first is not None
            assert second is not None
            assert (first.revision, second.revision) == (older if path == "b.yaml" else newer, newer), place
            assert (second.author, second.subject) == ("jo", "a commit")
            assert await repo.contains(newer, older) is True
            assert await repo.contains(older, newer) is False
            assert await repo.contains("a" * 40, older) is None
            assert await repo.contains("--help", older) is None
        finally:
            await repo.close()


async def test_what_is_not_committed_has_no_author_and_what_git_does_not_know_is_refused(root: Path) -> None:
    (root / "a.yaml").write_text("a: 1\nmine: 1\n")
    (root / "new.yaml").write_text("n: 1\n")
    repo = open_local(root, os.environ)
    try:
        assert await repo.blame("a.yaml", 1) is not None
        assert await repo.blame("a.yaml", 2) is None
        for path, line in (("new.yaml", 1), ("a.yaml", 9), ("--contents=a.yaml", 1)):
            with pytest.raises(UsageInvalid):
                await repo.blame(path, line)
    finally:
        await repo.close()


@pytest.mark.parametrize("is_run", [True, False], ids=["git alone", "fleet"])
async def test_a_driver_that_the_repository_names_is_not_run(root: Path, is_run: bool) -> None:
    commit(root, {".gitattributes": "*.yaml diff=shown\n"})
    git(root, "config", "diff.shown.textconv", f"touch {root.parent / 'ran'}; cat")
    if is_run:  # the harmless twin: that it would have been
        git(root, "blame", "a.yaml")
    else:
        repo = open_local(root, os.environ)
        try:
            assert await repo.blame("a.yaml", 1) is not None
        finally:
            await repo.close()
    assert (root.parent / "ran").exists() is is_run


@pytest.mark.parametrize(("written", "committed"), [((9, 5), (10, 20)), ((5, 9), (10, 20)), ((9, 5), (20, 20))])
def test_the_newest_of_several_lines_is_the_one_that_was_committed_last(
    written: tuple[int, int], committed: tuple[int, int]
) -> None:
    """One that was written earlier may have been rebased onto the other since; the twin was not."""
    said = [
        f"{name * 40} {line} {line} 1\nauthor {name}\nauthor-time {at}\ncommitter-time {done}\nsummary {name}\n\tx"
        for line, (name, at, done) in enumerate(zip("ab", written, committed, strict=True), 1)
    ]
    found = blamed("\n".join(said) + "\n")
    assert found is not None
    assert found.revision == "b" * 40
