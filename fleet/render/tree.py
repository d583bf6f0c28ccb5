"""Paths inside one commit, resolved as the operating system would, links included, without any file on disk."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from enum import Enum

from fleet.ports.source import LINK_MODE, LONGEST_LINK, SUBMODULE_MODE, Snapshot, TreeEntry
from fleet.values import dataclass

_LINK_LIMIT = 40
_UNFOLLOWED = "\0"  # no target begins with it
_STEP_LIMIT = 1000  # of one path, links included


class EscapesCommit(Exception):
    """A path or link that leaves the commit; `why` in words; `links` that were followed until then."""

    def __init__(self, why: str, links: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.why, self.links = why, tuple(links)


class What(Enum):
    """What a path leads to."""

    FILE = "file"
    DIRECTORY = "directory"
    ABSENT = "absent"
    SUBMODULE = "submodule"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: the real path; links that were followed; for ABSENT the first part that is not there."""

    what: What
    path: str
    links: tuple[str, ...] = ()


class CommitTree:
    """The directories of one commit, and the way from a text to a place in it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.entries: Mapping[str, TreeEntry] = snapshot.tree
        self._directories: set[str] | None = None
        self._by_links: dict[str, Place] = {}  # where links led: one may be named by thousands of lines
        self._targets: dict[str, str] = {}  # by Git object id, _UNFOLLOWED before the reason: many links may share one

    @property
    def directories(self) -> set[str]:
        """All directories by path; "" is the root."""
        if self._directories is None:
            found = {""}
            for path in self.entries:
                parent = path.rpartition("/")[0]
                while parent and parent not in found:
                    found.add(parent)
                    parent = parent.rpartition("/")[0]
            self._directories = found
        return self._directories

    def names_in(self, directory: str) -> list[str]:
        """Names of files and directories directly in a directory, for did-you-mean; slow."""
        start = f"{directory}/" if directory else ""
        return sorted({path[len(start) :].split("/", 1)[0] for path in self.entries if path.startswith(start)})

    def resolve(self, directory: str, text: str) -> Place:
        """Follow `text` from a real directory.

        `..` in the text is taken lexically first, as Go's filepath.Join does; links are followed physically. Raises
        EscapesCommit for what is absolute or leaves the root.
        """
        if text.startswith("/"):
            raise EscapesCommit("an absolute path")
        if "\0" in text:
            raise EscapesCommit("a path with a zero byte")
        joined = posixpath.normpath(posixpath.join(directory, text)) if directory or text else "."
        place = self._by_links.get(joined) or self._walk([] if joined == "." else joined.split("/"))
        if place.links:
            self._by_links[joined] = place
        return place

    def _walk(self, todo: list[str]) -> Place:
        at: list[str] = []
        links: list[str] = []
        todo, steps = todo[::-1], 0
        while todo:
            step = todo.pop()
            steps += 1
            if steps > _STEP_LIMIT:
                raise EscapesCommit(f"a path of more than {_STEP_LIMIT} steps", links)
            if step in ("", "."):
                continue
            if step == "..":
                if not at:
                    why = f"the link {links[-1]} leads out of the repo" if links else "it leads out of the repo"
                    raise EscapesCommit(why, links)
                at.pop()
                continue
            path = "/".join([*at, step])
            entry = self.entries.get(path)
            if entry is None:
                if path not in self.directories:
                    return Place(What.ABSENT, path, tuple(links))
                at.append(step)
            elif entry.mode == LINK_MODE:
                links.append(path)
                todo.extend(self._target(links).split("/")[::-1])
            elif entry.mode == SUBMODULE_MODE:
                return Place(What.SUBMODULE, path, tuple(links))
            elif todo:
                return Place(What.ABSENT, "/".join([path, *reversed(todo)]), tuple(links))
            else:
                return Place(What.FILE, path, tuple(links))
        return Place(What.DIRECTORY, "/".join(at), tuple(links))

    def _target(self, links: Sequence[str]) -> str:
        link = links[-1]
        if len(links) > _LINK_LIMIT:
            raise EscapesCommit(f"more than {_LINK_LIMIT} links, the last is {link}", links)
        oid = self.entries[link].oid
        target = self._targets.get(oid)
        if target is None:
            target = self._targets[oid] = _target_of(self.snapshot.read(link))
        if target.startswith(_UNFOLLOWED):
            raise EscapesCommit(f"the link {link} {target.removeprefix(_UNFOLLOWED)}", links)
        return target


def _target_of(raw: bytes) -> str:
    """Where a link leads, or why it is not followed."""
    if len(raw) > LONGEST_LINK:
        return f"{_UNFOLLOWED}has more than {LONGEST_LINK} bytes"
    try:
        target = raw.decode()
    except UnicodeDecodeError:
        target = "\0"
    if not target or "\0" in target:
        return f"{_UNFOLLOWED}leads to no name that can be followed"
    if target.startswith("/"):
        return f"{_UNFOLLOWED}leads to an absolute path"
    return target
