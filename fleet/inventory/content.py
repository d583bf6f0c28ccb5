"""What stands in the files that the inventory reads, or why nothing can be read there: never taken for nothing (R5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.ports.source import Snapshot
from fleet.values import dataclass

LINK = "120000"
SUBMODULE = "160000"
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class NoContent:
    """A path of the commit without a text of its own. what: as it follows after `it is`."""

    what: str
    next_step: str


def contents(snapshot: Snapshot, paths: Iterable[str]) -> Iterator[tuple[str, bytes | NoContent]]:
    """Paths that are in the commit, each with its text. Links are not followed: what they name changes by itself."""
    wanted: list[str] = []
    for path in paths:
        if snapshot.tree[path].mode == SUBMODULE:
            yield path, NoContent("a submodule", "put the file itself there")
        else:
            wanted.append(path)
    for path, raw in snapshot.read_many(wanted).items():
        if snapshot.tree[path].mode == LINK:
            target = raw[:200].decode(errors="replace")
            yield path, NoContent(f"a symbolic link to {target}", "put the file itself there: links are not followed")
        elif raw.startswith(_LFS):
            yield (
                path,
                NoContent("a pointer of Git LFS", "keep the file in Git itself: git lfs untrack, then add it anew"),
            )
        else:
            yield path, raw
