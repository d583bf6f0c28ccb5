"""One commit, read-only: its tree as a mapping, its files as git objects through one long-lived process."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from fleet.core.ids import Revision
from fleet.errors import CommitTooLarge, FetchFailed
from fleet.ports.source import SUBMODULE_MODE, CommitInfo, TreeEntry
from fleet.source.command import GitCommand, GitLimits, end_group
from fleet.values import dataclass

_SUBJECT_LIMIT = 200
# Fewer ids than fit into a pipe, so that asking never waits for answers to be read.
_ASK_AT_ONCE = 100
_CHUNK = 256 * 1024


class GitSnapshot:
    """`fleet.ports.source.Snapshot`."""

    def __init__(self, revision: Revision, tree: dict[str, TreeEntry], objects: ObjectReader) -> None:
        self._revision, self._tree, self._objects = revision, MappingProxyType(tree), objects

    @property
    def revision(self) -> Revision:
        """The commit id."""
        return self._revision

    @property
    def tree(self) -> Mapping[str, TreeEntry]:
        """All files and links by path."""
        return self._tree

    def read(self, path: str) -> bytes:
        """The content of a file or the target of a link. Blocking."""
        return self.read_many((path,))[path]

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Several files in one go; KeyError for the first that is not in the commit, or is a submodule."""
        entries = [self._tree[path] for path in paths]
        for path, entry in zip(paths, entries, strict=True):
            if entry.mode == SUBMODULE_MODE:
                raise KeyError(path)
        found = self._objects.blobs([entry.oid for entry in entries], list(paths))
        return dict(zip(paths, found, strict=True))


@dataclass(frozen=True, slots=True)
class GitObject:
    """What `git cat-file --batch` answers."""

    oid: str
    kind: str
    content: bytes


class ObjectReader:
    """`git cat-file --batch`, started when first asked and again after it ended. Blocking; any thread may call."""

    def __init__(self, git: GitCommand, limits: GitLimits) -> None:
        self._git, self._limits = git, limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()

    def find(self, name: str) -> GitObject | None:
        """One object by id or ref, None if the mirror does not have it. `name` must be checked already."""
        with self._lock:
            return self._ask([name], [name])[0]

    def blobs(self, oids: Sequence[str], names: Sequence[str]) -> list[bytes]:
        """The contents of blobs, in order; `names` are for messages. Raises CommitTooLarge, FetchFailed."""
        contents: list[bytes] = []
        with self._lock:
            for start in range(0, len(oids), _ASK_AT_ONCE):
                part = slice(start, start + _ASK_AT_ONCE)
                for oid, found in zip(oids[part], self._ask(oids[part], names[part]), strict=True):
                    if found is None:
                        raise _unreadable(f"object {oid[:12]} is missing")
                    contents.append(found.content)
        return contents

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, asked: Sequence[str], names: Sequence[str]) -> list[GitObject | None]:
        try:
            return self._converse(asked, names)
        except _ProcessEnded:
            # It was killed from outside, or its pipe broke: a new one reads the same objects.
            self._end()
            try:
                return self._converse(asked, names)
            except _ProcessEnded as again:
                self._end()
                raise _unreadable("git cat-file ends at once") from again
        except (CommitTooLarge, FetchFailed):
            # What it still has to say would be taken for the next answer.
            self._end()
            raise

    def _converse(self, asked: Sequence[str], names: Sequence[str]) -> list[GitObject | None]:
        if self._process is None:
            self._process = self._git.start("cat-file", "--batch")
        try:
            assert self._process.stdin is not None
            self._process.stdin.write("".join(f"{name}\n" for name in asked).encode())
            self._process.stdin.flush()
        except OSError as error:
            raise _ProcessEnded from error
        deadline = time.monotonic() + self._limits.read_seconds
        return [self._answer(name, deadline) for name in names]

    def _answer(self, name: str, deadline: float) -> GitObject | None:
        header = self._line(deadline).split()
        if len(header) != 3 or not header[2].isdigit():  # a name with a space in it is said again, and "missing"
            return None
        oid, kind, size = header[0].decode(), header[1].decode(), int(header[2])
        if size > self._limits.file_bytes:
            raise CommitTooLarge(
                "a file is too large",
                where=name,
                why=f"it has {size} bytes, the limit is {self._limits.file_bytes}",
                next_step="keep large files out of the fleet repo",
            )
        return GitObject(oid, kind, self._exactly(size + 1, deadline)[:-1])

    def _line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._fill(deadline)
        content = bytes(self._buffer[:count])
        del self._buffer[:count]
        return content

    def _fill(self, deadline: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise _unreadable(f"git cat-file did not answer within {self._limits.read_seconds:g} s")
        chunk = os.read(handle, _CHUNK)
        if not chunk:
            raise _ProcessEnded
        self._buffer += chunk

    def _end(self) -> None:
        if self._process is not None:
            end_group(self._process)
        self._process = None
        self._buffer.clear()


class _ProcessEnded(Exception):
    pass


def _unreadable(why: str) -> FetchFailed:
    return FetchFailed(
        "the mirror of the fleet repo cannot be read",
        where="git mirror",
        why=why,
        next_step="if it stays so, move the directory git/ in the data directory away: it is fetched anew",
    )


def parse_tree(raw: bytes) -> dict[str, TreeEntry]:
    """The output of `git ls-tree -r -z --full-tree`."""
    tree: dict[str, TreeEntry] = {}
    for line in _path(raw).split("\0"):
        if line:
            head, _, path = line.partition("\t")
            mode, _, oid = head.split(" ")
            tree[path] = TreeEntry(mode, oid)
    return tree


def parse_changes(raw: bytes) -> Iterator[tuple[str, TreeEntry | None]]:
    """The output of `git diff-tree -r -z --raw --no-renames`: path and its new entry, None where it is gone."""
    fields = iter(raw.split(b"\0"))
    for head in fields:
        if head:
            _, mode, _, oid, status = head.decode().split(" ")
            path = _path(next(fields))
            yield path, None if status == "D" else TreeEntry(mode, oid)


def check_tree(paths: Iterable[str], count: int, limits: GitLimits) -> None:
    """Raise CommitTooLarge for a commit of `count` files, or a path of these, beyond the limits (R28)."""
    if count > limits.files:
        raise CommitTooLarge(
            "the commit has too many files",
            where="the whole tree",
            why=f"{count}, the limit is {limits.files}",
            next_step="keep what is no configuration in another repository",
        )
    surely_short = limits.path_bytes // 4  # of UTF-8, which takes four bytes a character at most
    for path in paths:
        is_long = len(path) > surely_short and len(path.encode()) > limits.path_bytes
        if is_long or path.count("/") >= limits.path_depth:
            raise CommitTooLarge(
                "a path is too long or too deep",
                where=path[:120],
                why=f"the limits are {limits.path_bytes} bytes and {limits.path_depth} levels",
                next_step="move the file up",
            )


def parse_commit(revision: Revision, raw: bytes) -> CommitInfo:
    """A commit object as people read it: subject, author's name, time of the commit."""
    head, _, message = raw.decode("utf-8", "replace").partition("\n\n")
    author, at = "", 0.0
    for line in head.splitlines():
        word, _, rest = line.partition(" ")
        if word == "author":
            author = rest.rpartition(" <")[0]
        elif word == "committer":
            stamp = rest.rpartition("> ")[2].split(" ")[0]
            at = float(stamp) if stamp.isascii() and stamp.isdigit() and len(stamp) < 12 else 0.0
    subject = message.lstrip("\n").partition("\n")[0]
    return CommitInfo(revision, _printable(subject), _printable(author), at)


def _path(raw: bytes) -> str:
    """A path as text. Bytes that are no UTF-8 are written out, so that such a file is named and disturbs no other."""
    return raw.decode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:_SUBJECT_LIMIT]
