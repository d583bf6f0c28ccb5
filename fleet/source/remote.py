"""One commit of a repository elsewhere, for `fleet vendor`: fetched by a person's own git, read as objects.

Nothing is checked out, so no filter or hook of theirs runs; addresses are checked as the hub checks its own (R25).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet.core.ids import Revision
from fleet.errors import FetchFailed
from fleet.ports.source import TreeEntry
from fleet.source.command import OBJECT_CHECKS
from fleet.source.complaints import last_words
from fleet.source.snapshot import parse_tree
from fleet.source.url import GitUrl, parse_url

_SECONDS = 300
_SAFE = (
    "core.hooksPath=/dev/null",
    "protocol.allow=never",
    "submodule.recurse=false",
    "gc.auto=0",
    *OBJECT_CHECKS,  # no file of theirs may lie in a .git
)


class RemoteCommit:
    """Implements `fleet.ports.source.Snapshot` over a bare repository that holds one fetched commit."""

    def __init__(self, url: str, ref: str, folder: Path) -> None:
        """Fetch `ref` (tag, branch or commit) into `folder`; raises GitUrlRefused, FetchFailed. Blocking."""
        self._git = _Git(parse_url(url, allow_path=True), folder)
        self._git.run("init", "--bare", "--quiet", "--template=", ".")
        self._git.run("fetch", "--quiet", "--depth=1", "--no-tags", "--", self._git.url.text, ref)
        self._revision = Revision(self._git.run("rev-parse", "FETCH_HEAD^{commit}").decode().strip())
        self._tree = parse_tree(self._git.run("ls-tree", "-r", "-z", "--full-tree", self._revision))

    @property
    def revision(self) -> Revision:
        """The commit that `ref` named."""
        return self._revision

    @property
    def tree(self) -> Mapping[str, TreeEntry]:
        """All its files and links."""
        return self._tree

    def read(self, path: str) -> bytes:
        """One file; KeyError if it is not in the commit."""
        return self._git.run("cat-file", "blob", self._tree[path].oid)

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """One after the other."""
        return {path: self.read(path) for path in paths}


def commit_named(url: str, ref: str, folder: Path) -> Revision | None:
    """Which commit a tag or branch names there now; None where it is none, or is a commit id itself. Blocking."""
    git = _Git(parse_url(url, allow_path=True), folder)
    said = git.run("ls-remote", "--", git.url.text, f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}", f"refs/heads/{ref}")
    rows = [line.split("\t", 1) for line in said.decode(errors="replace").splitlines() if "\t" in line]
    named = {name: oid for oid, name in rows}
    for name in (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
        if name in named:
            return Revision(named[name])
    return None


class _Git:
    def __init__(self, url: GitUrl, folder: Path) -> None:
        self.url = url
        options = (*_SAFE, f"protocol.{url.protocol}.allow=always")
        self._start = ["git", *(part for option in options for part in ("-c", option))]
        self._folder = folder

    def run(self, *arguments: str) -> bytes:
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                [*self._start, *arguments],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(type(error).__name__) from error
        if done.returncode != 0:
            raise self._failed(last_words(done.stderr.decode(errors="replace").splitlines()))
        return done.stdout

    def _failed(self, why: str) -> FetchFailed:
        place = self.url.host or self.url.text
        return FetchFailed(f"{place} cannot be fetched from", why=why, next_step="check URL, version and your rights")
