"""What stands in the files that the inventory reads, or why nothing can be read there: never taken for nothing (R5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.errors import CommitTooLarge
from fleet.ports.source import LINK_MODE, LONGEST_LINK, SUBMODULE_MODE, Snapshot, TreeEntry
from fleet.values import dataclass

_AT_ONCE = 8  # files in memory: each may be as large as Git's reader lets through
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class NoContent:
    """A path of the commit without a text that can be read, and why. target: of a link that a system could follow."""

    what: str
    next_step: str
    target: str = ""


def contents(snapshot: Snapshot, paths: Iterable[str]) -> Iterator[tuple[str, bytes | NoContent]]:
    """Paths that are in the commit, each with its text. Links are not followed: what they name changes by itself."""
    wanted: list[str] = []
    for path in paths:
        if snapshot.tree[path].mode == SUBMODULE_MODE:
            yield path, NoContent("it is a submodule", "put its files in its place")
        else:
            wanted.append(path)
    for start in range(0, len(wanted), _AT_ONCE):
        for path, raw in _texts(snapshot, wanted[start : start + _AT_ONCE]):
            yield path, raw if isinstance(raw, NoContent) else _judged(snapshot.tree[path], raw)


def _judged(entry: TreeEntry, raw: bytes) -> bytes | NoContent:
    if entry.mode == LINK_MODE:
        target = raw[:LONGEST_LINK].decode(errors="replace")
        step = "put what it leads to in its place: links are not followed"
        what = f"it is a symbolic link to {target[:200]}"
        return NoContent(what, step, target if len(raw) <= LONGEST_LINK else "")
    if raw.startswith(_LFS):
        return NoContent("it is a pointer of Git LFS", "keep the file in Git itself: git lfs untrack, then add it anew")
    return raw


def _texts(snapshot: Snapshot, paths: list[str]) -> Iterator[tuple[str, bytes | NoContent]]:
    try:
        yield from snapshot.read_many(paths).items()
    except CommitTooLarge as error:
        if len(paths) == 1:
            yield paths[0], NoContent(error.why, error.next_step)
        else:
            for path in paths:
                yield from _texts(snapshot, [path])
