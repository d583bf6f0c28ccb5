"""A checkout as a snapshot: the files of a directory as they lie there, for commands that need no Git.

What Git would not see as content is left out: `.git`, and the hidden caches of tools at the root. Ignored files are
seen, because a build in this directory would see them too. What lies in a submodule, or in any other repository in
here, is not seen: no commit of this one holds it, and whoever fetches a commit has nothing of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fleet.core.ids import Revision
from fleet.errors import UsageInvalid
from fleet.ports.source import LINK_MODE, PLAIN_MODES, SUBMODULE_MODE, TreeEntry

FILE_LIMIT = 200_000
_MODULES_LIMIT_BYTES = 1 << 20
_MODULE_PATH = re.compile(r"^\s*path\s*=(.*)$", re.MULTILINE)
READ_LIMIT_BYTES = 64 << 20
_SKIPPED = frozenset({".git", ".venv", "node_modules", "__pycache__", ".terraform", ".mypy_cache", ".pytest_cache"})


class WorkingTree:
    """Implements `ports.source.Snapshot` over a directory.

    Object ids are made of path, size and time of change, not of content: they tell two states of one checkout apart,
    and compare with nothing else. The revision is "" (nothing is committed).
    """

    def __init__(self, root: Path) -> None:
        """Walk the directory once; raises UsageInvalid if it is none, or holds too much."""
        self.root = root.resolve()
        if not self.root.is_dir():
            raise UsageInvalid(f"{root} is no directory", next_step="name the directory of a fleet repo")
        self._tree = dict(_entries(self.root))

    @property
    def revision(self) -> Revision:
        """Nothing: a checkout is no commit."""
        return Revision("")

    @property
    def tree(self) -> Mapping[str, TreeEntry]:
        """All files, links and submodules by path, sorted."""
        return self._tree

    def read(self, path: str) -> bytes:
        """The content of a file, or the target of a link; KeyError if it is not in the tree, or is a submodule."""
        entry = self._tree[path]
        full = self.root / path
        if entry.mode == SUBMODULE_MODE:
            raise KeyError(path)
        if entry.mode == LINK_MODE:
            return os.fsencode(full.readlink())
        with full.open("rb") as file:
            return file.read(READ_LIMIT_BYTES)

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Several files, one after the other."""
        return {path: self.read(path) for path in paths}


def _entries(root: Path) -> Iterator[tuple[str, TreeEntry]]:
    found: list[tuple[str, TreeEntry]] = []
    named = _submodules(root)
    for here, directories, files in os.walk(root):
        place = Path(here)
        prefix = place.relative_to(root).as_posix()
        if place != root and (place in named or ".git" in files or ".git" in directories):
            directories.clear()
            found.append((prefix, _identified(SUBMODULE_MODE, prefix)))
            continue
        links = [name for name in directories if Path(here, name).is_symlink()]
        directories[:] = sorted(name for name in directories if name not in _SKIPPED and name not in links)
        for name in (*files, *links):
            path = name if prefix == "." else f"{prefix}/{name}"
            entry = _entry(root / path, path)
            if entry is not None:
                found.append((path, entry))
        if len(found) > FILE_LIMIT:
            raise UsageInvalid(
                f"{root} holds more than {FILE_LIMIT} files", next_step="name the directory of a fleet repo"
            )
    yield from sorted(found)


def _entry(full: Path, path: str) -> TreeEntry | None:
    try:
        facts = full.lstat()
    except OSError:
        return None  # gone since the directory was listed
    if stat.S_ISLNK(facts.st_mode):
        mode = LINK_MODE
    elif stat.S_ISREG(facts.st_mode):
        mode = PLAIN_MODES[bool(facts.st_mode & stat.S_IXUSR)]
    else:
        return None  # sockets and devices are no content
    return _identified(mode, f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ino}")


def _identified(mode: str, text: str) -> TreeEntry:
    return TreeEntry(mode, hashlib.sha1(text.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest())


def _submodules(root: Path) -> frozenset[Path]:
    """Directories that the repository around calls submodules: one that was never fetched is an empty directory."""
    for top in (root, *root.parents):
        if (top / ".git").exists():
            try:
                with (top / ".gitmodules").open(encoding="utf-8", errors="replace") as file:
                    text = file.read(_MODULES_LIMIT_BYTES)
            except OSError:
                return frozenset()
            return frozenset((top / path.strip().strip('"')) for path in _MODULE_PATH.findall(text))
    return frozenset()
