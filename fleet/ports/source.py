"""The fleet repo in Git."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fleet.core.ids import Revision
from fleet.values import dataclass

LINK_MODE = "120000"
SUBMODULE_MODE = "160000"
PLAIN_MODES = ("100644", "100755")  # of a file; the second may be run
LONGEST_LINK = 4095  # bytes of a target: no system follows a longer one


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a commit: Git mode (one of the four above), object id, size unknown."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit as shown to people."""

    revision: Revision
    subject: str
    author: str
    at: float


class Snapshot(Protocol):
    """One commit, read-only. Paths are repo paths with `/`, no leading slash."""

    @property
    def revision(self) -> Revision:
        """The commit id."""
        ...

    @property
    def tree(self) -> Mapping[str, TreeEntry]:
        """All files and links of the commit by path (no directories). Do not change it."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file (not following links); KeyError if it is not in the commit. Blocking, ~20 µs."""
        ...

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Several files in one go."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer of a fetch: the new head, and the paths that differ from the one before (None: all)."""

    snapshot: Snapshot
    info: CommitInfo
    changed: frozenset[str] | None


class Source(Protocol):
    """The fleet repo's tracked branch."""

    async def fetch(self) -> Fetched:
        """Fetch and move forward; raises SourceError and then keeps what was in force (R7). At most 4 git commands."""
        ...

    async def at(self, revision: Revision) -> Snapshot:
        """A commit that is in the mirror already; raises RefMissing."""
        ...

    async def is_ancestor(self, older: Revision, newer: Revision) -> bool:
        """Whether `newer` contains `older`."""
        ...

    async def since(self, older: Revision, newer: Revision) -> frozenset[Revision]:
        """All commits that contain `older` and that `newer` contains, both included; none where it does not.

        Raises SourceError, RefMissing among them. One git command, however many they are.
        """
        ...

    async def line(self, older: Revision, newer: Revision, *, most: int) -> tuple[Revision, ...]:
        """The commits by which a branch went from `older` to `newer`, by first parents, oldest first, without `older`.

        None where that line does not come by `older` within so many. Raises SourceError, RefMissing among them.
        """
        ...

    async def named(self, prefix: str) -> Revision | None:
        """The one commit known here whose id begins so; None for none or several. prefix: 4 to 40 hex digits."""
        ...

    async def close(self) -> None:
        """End child processes, remove temporary files."""
        ...
