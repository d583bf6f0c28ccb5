"""A person's own checkout as Git sees it: two commits to compare, or the working tree as if it were merged.

Nothing is written into the repository: the working tree becomes objects of a directory that ends with this value.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from fleet.core.ids import Revision, short
from fleet.errors import MergeConflict, RefMissing, UsageInvalid
from fleet.ports.source import CommitInfo
from fleet.source.command import Done, GitCommand, GitLimits
from fleet.source.indexing import put_entries
from fleet.source.snapshot import GitSnapshot, ObjectReader, check_tree, parse_changes, parse_commit, parse_tree
from fleet.values import dataclass

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_DEFAULT_BASES = ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master")
# The commit of a working tree is an intermediate value that nobody sees: it needs somebody's name.
_NOBODY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "fleet"), ("EMAIL", "fleet@invalid"), ("DATE", "2000-01-01T00:00:00Z"))
}


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison. words: how a person calls it, as `main` or `your branch web-1.8`."""

    snapshot: GitSnapshot
    words: str
    info: CommitInfo | None  # None: a working tree


class LocalRepo:
    """The repository that holds a directory; the directory is the root of the fleet repo."""

    def __init__(self, git: GitCommand, top: Path, directory: Path, prefix: str, scratch: Path) -> None:
        self._git, self._top, self._directory, self._scratch = git, top, directory, scratch
        self._index = directory / "index"
        self.prefix = prefix  # of the fleet repo inside the repository; "": it is the whole
        self._limits = GitLimits()
        self._objects = ObjectReader(git, self._limits)

    async def close(self) -> None:
        """End child processes, remove what was made."""
        self._objects.close()
        self._git.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def default_base(self) -> str:
        """The ref that a change is compared with when none is named; raises RefMissing."""
        for name in _DEFAULT_BASES:
            if (await self._ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")).status == 0:
                pointed = await self._ask("symbolic-ref", "--quiet", name)
                return _text(pointed) if pointed.status == 0 else name
        raise RefMissing(
            "origin has no main here to compare with",
            where="refs/remotes/origin",
            why="neither origin/HEAD nor origin/main is in this checkout",
            next_step="git fetch origin main (in CI with the whole history), or fleet plan --base COMMIT",
        )

    def revision(self, name: str) -> Revision:
        """The id of the commit that Git calls by a name; raises RefMissing."""
        return Revision(self._found(name)[0])

    async def commit(self, name: str, beside: Side | None = None) -> Side:
        """A commit by id or ref; raises RefMissing, UsageInvalid. beside: a side that differs from it in little."""
        revision, content = self._found(name)
        info = parse_commit(Revision(revision), content)
        words = name.removeprefix("refs/heads/").removeprefix("refs/remotes/").removeprefix("origin/")
        if words == "HEAD":
            words = await self._branch() or "HEAD"
        snapshot = await self._snapshot(revision, Revision(revision), beside)
        return Side(snapshot, "" if revision.startswith(words) else words, info)

    async def is_ancestor(self, older: Side, newer: Side) -> bool:
        """Whether `newer` contains `older`."""
        command = ("merge-base", "--is-ancestor", older.snapshot.revision, newer.snapshot.revision)
        return (await self._ask(*command)).status == 0

    async def blame(self, path: str, line: int, last: int = 0) -> CommitInfo | None:
        """Who wrote a line, or the newest of the lines up to `last`, as they lie here; None: one is not committed.

        Raises UsageInvalid where Git knows no such line, and RefMissing where the history that is here ends at it.
        Drivers that the repository names are not run.
        """
        # Told as seen from the Git directory, where git runs; one elsewhere makes git go to the top by itself.
        inside = self._directory.is_relative_to(self._top)
        up = "../" * len(self._directory.relative_to(self._top).parts) if inside else ""
        named = f"{up}{self.prefix}/{path}" if self.prefix else f"{up}{path}"
        command = ("blame", "--porcelain", "--no-textconv", f"-L{line},{max(line, last)}", "--", named)
        done = await self._must(*command)
        shallow = _common_of(self._directory) / "shallow"
        ends = frozenset(shallow.read_text().split()) if shallow.is_file() else frozenset[str]()
        return blamed(done.output.decode("utf-8", "replace"), ends)

    async def contains(self, newer: str, older: str) -> bool | None:
        """Whether a commit contains another; None where this checkout does not know one of them."""
        if not all(_COMMIT.match(name) for name in (newer, older)):
            return None
        status = (await self._ask("merge-base", "--is-ancestor", older, newer)).status
        return {0: True, 1: False}.get(status)

    async def merged_working_tree(self, base: Side) -> Side:
        """The files as they lie here, ignored ones aside, merged into `base`; raises MergeConflict.

        A merge that is under way here counts as one that is done.
        """
        head, content = self._found("HEAD")
        tree = await self._working_tree()
        words = f"your branch {branch}" if (branch := await self._branch()) else "your working tree"
        if content.startswith(f"tree {tree}\n".encode()):
            words = f"{words} at {short(Revision(head))}"  # nothing lies here that is not in that commit
        merging = self._index.with_name("MERGE_HEAD")
        parents = [head, *(merging.read_text().split() if merging.is_file() else ())]
        into: str = base.snapshot.revision
        if not [one for one in parents if (await self._ask("merge-base", "--is-ancestor", into, one)).status == 0]:
            ends = [word for one in parents for word in ("-p", one)]
            commit = _text(await self._must("commit-tree", tree, *ends, "-m", "working tree"))
            tree = await self._merge(into, commit)
        return Side(await self._snapshot(tree, Revision(tree), base), words, None)

    async def reverted(self, of: Side, to: Side, onto: Side, paths: Collection[str]) -> Side:
        """`onto` with these paths as they are at `to` instead of at `of`; what was changed since `of` is kept.

        `onto` must contain `of`. Raises MergeConflict where they were changed since in the same places.
        """
        prefix = f"{self.prefix}/" if self.prefix else ""
        await self._must("read-tree", of.snapshot.revision)
        entries = {prefix + path: to.snapshot.tree.get(path) for path in sorted(paths)}
        await put_entries(self._git, entries, seconds=self._limits.read_seconds)
        tree = _text(await self._must("write-tree"))
        commit = _text(await self._must("commit-tree", tree, "-p", of.snapshot.revision, "-m", "revert"))
        merged = await self._merge(onto.snapshot.revision, commit)
        return Side(await self._snapshot(merged, Revision(merged), onto), "", None)

    async def patch(self, before: Side, after: Side) -> bytes:
        """What leads from one side to the other, for `git apply` at the repository's top."""
        settings = ("--binary", "--full-index", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv")
        sides = before.snapshot.revision, after.snapshot.revision
        names = ("--src-prefix=a/", "--dst-prefix=b/")
        return (await self._must("diff-tree", "-p", *settings, *names, *sides)).output

    async def _merge(self, base: str, commit: str) -> str:
        done = await self._ask("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, commit)
        lines = done.output.decode("utf-8", "replace").split("\0")
        if done.status == 0 and lines[0]:
            return lines[0]
        if done.status == 1 and lines[0]:
            # Told as seen from the Git directory, where git runs.
            names = sorted({name.removeprefix("../") for name in lines[1:] if name})
            raise MergeConflict(
                "your changes do not merge into the base",
                where=", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
                why="both sides changed these files",
                next_step="merge or rebase, then: fleet plan",
            )
        raise UsageInvalid(
            "git cannot merge here",
            why=done.errors.strip()[-200:] or f"git merge-tree ended with {done.status}",
            next_step="use git >= 2.38 and a checkout with its history, or name both sides: --base A --head B",
        )

    async def _working_tree(self) -> str:
        """The tree of all files that Git does not ignore, through an index of our own."""
        if self._index.is_file():
            # With what Git knows of unchanged files, and its time: by that Git tells which of them it must read again.
            shutil.copy2(self._index, self._scratch / "index")
        await self._must("add", "--all", "--", ":/")
        return _text(await self._must("write-tree"))

    def _found(self, name: str) -> tuple[str, bytes]:
        """The id and content of the commit that Git calls by a name."""
        is_line = name.isprintable() and name.strip() == name != ""
        found = self._objects.find(f"{name}^{{commit}}") if is_line else None
        if found is None or found.kind != "commit":
            raise RefMissing(
                f"{name} names no commit here",
                where="this checkout",
                why="no such branch, tag or commit, or its history is not fetched",
                next_step="git fetch origin, or give a commit id, HEAD or a branch",
            )
        return found.oid, found.content

    async def _branch(self) -> str:
        done = await self._ask("symbolic-ref", "--quiet", "--short", "HEAD")
        return _text(done) if done.status == 0 else ""

    async def _snapshot(self, treeish: str, revision: Revision, beside: Side | None = None) -> GitSnapshot:
        if self.prefix:
            below = await self._ask("rev-parse", "--verify", "--quiet", f"{treeish}:{self.prefix}")
            if below.status != 0:
                return GitSnapshot(revision, {}, self._objects)
            treeish = _text(below)
        if beside is not None and beside.snapshot.tree and not self.prefix:
            tree = dict(beside.snapshot.tree)
            command = ("diff-tree", "-r", "-z", "--raw", "--no-renames", beside.snapshot.revision, treeish)
            changes = dict(parse_changes((await self._must(*command)).output))
            for path, entry in changes.items():
                if entry is None:
                    tree.pop(path, None)
                else:
                    tree[path] = entry
            check_tree(changes, len(tree), self._limits)
        else:
            tree = parse_tree((await self._must("ls-tree", "-r", "-z", "--full-tree", treeish)).output)
            check_tree(tree, len(tree), self._limits)
        return GitSnapshot(revision, tree, self._objects)

    async def _ask(self, *arguments: str) -> Done:
        return await self._git.run(*arguments, seconds=self._limits.read_seconds)

    async def _must(self, *arguments: str) -> Done:
        done = await self._ask(*arguments)
        if done.status != 0:
            raise UsageInvalid(
                f"git {arguments[0]} failed in this checkout",
                why=done.errors.strip()[-200:],
                next_step=f"run it there by hand: git {arguments[0]}",
            )
        return done


def blamed(porcelain: str, ends: Collection[str] = ()) -> CommitInfo | None:
    """The newest commit of the lines in `git blame --porcelain`; None where one of them is in no commit.

    ends: where a shallow clone's history ends: Git gives such a commit all that is older, so nobody knows (RefMissing).
    """
    found: dict[str, dict[str, str]] = {}
    said: dict[str, str] = {}
    for line in porcelain.split("\n"):
        name, _, rest = line.partition(" ")
        if _COMMIT.match(name):
            said = found.setdefault(name, {})
        elif not line.startswith("\t"):
            said[name] = rest
    if not found or not all(revision.strip("0") for revision in found):
        return None
    if cut := [revision for revision, of_it in found.items() if "boundary" in of_it and revision in ends]:
        raise RefMissing(
            "who wrote it is not known here",
            why=f"this clone is shallow, and its history ends at {short(Revision(cut[0]))}: git fetch --unshallow",
            next_step="git fetch --unshallow",
        )
    # A rebase keeps when a commit was written. Of those of one second the one of the lower line counts.
    revision, of_it = max(reversed(found.items()), key=lambda each: float(each[1]["committer-time"]))
    return CommitInfo(
        Revision(revision), of_it.get("summary", ""), of_it.get("author", ""), float(of_it["author-time"])
    )


def open_local(root: Path, environment: Mapping[str, str]) -> LocalRepo:
    """The repository around a directory; raises UsageInvalid where there is none."""
    found = repository_of(root.resolve())
    if found is None:
        raise UsageInvalid(f"{root} is in no git repository", next_step="run this in a clone of the fleet repo")
    top, directory = found
    scratch = Path(tempfile.mkdtemp(prefix="fleet-plan-"))
    common = _common_of(directory)
    settings = {
        "GIT_WORK_TREE": str(top),
        "GIT_INDEX_FILE": str(scratch / "index"),
        "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(common / "objects"),
        **_NOBODY,
    }
    if "HOME" in environment:
        settings["HOME"] = environment["HOME"]
    (scratch / "objects").mkdir()
    git = GitCommand(directory, environment=settings, configuration=("core.symlinks=true",))
    return LocalRepo(git, top, directory, prefix_of(root), scratch)


def prefix_of(root: Path) -> str:
    """The path of a directory in the repository around it; "" at its top, and where there is none."""
    found = repository_of(root.resolve())
    prefix = os.path.relpath(root.resolve(), found[0]) if found else "."
    return "" if prefix == "." else prefix


def repository_of(directory: Path) -> tuple[Path, Path] | None:
    """The top of the working tree and its Git directory, looking upwards as git does."""
    for top in (directory, *directory.parents):
        dot = top / ".git"
        if dot.is_dir():
            return top, dot
        if dot.is_file():  # a linked worktree, or a submodule
            named = dot.read_text(encoding="utf-8", errors="replace").partition("gitdir:")[2].strip()
            return top, (top / named).resolve()
    return None


def _common_of(directory: Path) -> Path:
    """Where a linked worktree keeps its objects: beside those of all others."""
    pointer = directory / "commondir"
    return (directory / pointer.read_text(encoding="utf-8").strip()).resolve() if pointer.is_file() else directory


def _text(done: Done) -> str:
    return done.output.decode("utf-8", "replace").strip()
