"""Paths inside one commit, resolved as the operating system would, links included, without any file on disk."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from fleet.core.symlinks import EscapesCommit, Place, What, follow
from fleet.ports.source import LINK_MODE, LONGEST_LINK, SUBMODULE_MODE, Snapshot, TreeEntry

_LINK_LIMIT = 40
_UNFOLLOWED = "\0"  # no target begins with it
_STEP_LIMIT = 1000  # of one path, links included


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
        place = self._by_links.get(joined)
        if place is None:
            steps = [] if joined == "." else joined.split("/")
            place = follow(steps, self._what_at, self._target, _STEP_LIMIT)
        if place.links:
            self._by_links[joined] = place
        return place

    def _what_at(self, path: str) -> What | None:
        entry = self.entries.get(path)
        if entry is None:
            return What.DIRECTORY if path in self.directories else What.ABSENT
        if entry.mode == LINK_MODE:
            return None
        return What.SUBMODULE if entry.mode == SUBMODULE_MODE else What.FILE

    def _target(self, links: Sequence[str]) -> list[str]:
        link = links[-1]
        if len(links) > _LINK_LIMIT:
            raise EscapesCommit(f"more than {_LINK_LIMIT} links, the last is {link}", links)
        oid = self.entries[link].oid
        target = self._targets.get(oid)
        if target is None:
            target = self._targets[oid] = _target_of(self.snapshot.read(link))
        if target.startswith(_UNFOLLOWED):
            raise EscapesCommit(f"the link {link} {target.removeprefix(_UNFOLLOWED)}", links)
        return target.split("/")


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
