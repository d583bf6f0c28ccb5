"""Both commits of a plan as inventories, read from scratch or taken from what an earlier command kept of the base."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.core.fleet import Fleet
from fleet.core.ids import Revision
from fleet.errors import CommitTooLarge
from fleet.inventory.files import FLEET_FILE, KUSTOMIZATION_NAMES, OVERLAY_FILE, touches_inventory
from fleet.ports.source import PLAIN_MODES, Snapshot, TreeEntry
from fleet.values import dataclass

if TYPE_CHECKING:
    from fleet.cli.kept import Read

_READ_ALWAYS = frozenset({*KUSTOMIZATION_NAMES, OVERLAY_FILE, FLEET_FILE})


@dataclass(frozen=True, slots=True)
class Both:
    """Two commits, their fleets, and the paths that differ. `clusters_directory`: of the base, None: not known."""

    was: Snapshot
    now: Snapshot
    before: Fleet
    after: Fleet
    files: frozenset[str]
    clusters_directory: str | None
    asked: frozenset[str]  # as touches_inventory takes it


def read_both(was: Snapshot, now: Snapshot, kept: Read | None) -> Both:
    """Never raises for what a person wrote. kept: what is known of `was`.

    Where no file that the inventory reads differs, both commits define the same units, and nothing is read.
    """
    files = _differing(was.tree, now.tree)
    leads_elsewhere = any(
        path in tree and tree[path].mode not in PLAIN_MODES for tree in (was.tree, now.tree) for path in files
    )
    if kept is not None and not leads_elsewhere and not touches_inventory(files, kept.clusters_directory, kept.asked):
        after = replace(kept.fleet, commit=now.revision)
        return Both(was, now, kept.fleet, after, files, kept.clusters_directory, kept.asked)
    # Brings pydantic and YAML with it, which take as long as all the rest of a small plan.
    from fleet.inventory.load import load_fleet

    shared: dict[str, bytes] = {}
    was, now = _ReadAhead(was, shared), _ReadAhead(now, shared)
    watched = _Watched(was)
    loaded = load_fleet(watched)
    after = load_fleet(now, loaded, files) if files else loaded
    asked = frozenset(watched.tree.asked)
    return Both(was, now, loaded.fleet, after.fleet, files, loaded.clusters_directory, asked)


def _differing(was: Mapping[str, TreeEntry], now: Mapping[str, TreeEntry]) -> frozenset[str]:
    """Paths of only one tree, or of other content or kind; entries that both trees share are not compared."""
    known = was.get
    found = {path for path, entry in now.items() if (old := known(path)) is not entry and old != entry}
    return frozenset(found | (was.keys() - now.keys()))


class _ReadAhead:
    """A snapshot whose small files that every plan reads are fetched at once; those of equal id for both commits.

    One answer of Git for a file is a tenth of a millisecond, and a fleet has thousands of them.
    """

    def __init__(self, snapshot: Snapshot, known: dict[str, bytes]) -> None:
        self._snapshot, self._known = snapshot, known
        ahead = {
            entry.oid: path
            for path, entry in snapshot.tree.items()
            if path.rpartition("/")[2] in _READ_ALWAYS and entry.mode in PLAIN_MODES and entry.oid not in known
        }
        try:
            found = snapshot.read_many(list(ahead.values()))
        except CommitTooLarge:
            return  # read one by one, all but that one can be
        for path, content in found.items():
            known[snapshot.tree[path].oid] = content

    @property
    def revision(self) -> Revision:
        return self._snapshot.revision

    @property
    def tree(self) -> Mapping[str, TreeEntry]:
        return self._snapshot.tree

    def read(self, path: str) -> bytes:
        known = self._known.get(self.tree[path].oid)
        return self._snapshot.read(path) if known is None else known

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        left = [path for path in paths if self.tree[path].oid not in self._known]
        return {path: self._known.get(self.tree[path].oid, b"") for path in paths} | dict(
            self._snapshot.read_many(left)
        )


class _Watched:
    """A snapshot that notes which paths it is asked for by name."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.tree = _WatchedTree(snapshot.tree)

    @property
    def revision(self) -> Revision:
        return self._snapshot.revision

    def read(self, path: str) -> bytes:
        self.tree.asked.add(path)
        return self._snapshot.read(path)

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        self.tree.asked.update(paths)
        return self._snapshot.read_many(paths)


class _WatchedTree(Mapping[str, TreeEntry]):
    def __init__(self, tree: Mapping[str, TreeEntry]) -> None:
        self._tree = tree
        self.asked: set[str] = set()

    def __getitem__(self, path: str) -> TreeEntry:
        self.asked.add(path)
        return self._tree[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def items(self) -> ItemsView[str, TreeEntry]:
        return self._tree.items()  # a walk asks for nothing by name
