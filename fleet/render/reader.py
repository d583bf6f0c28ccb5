"""Kustomization files as they are read for closures: each is parsed once, whichever builds name it."""

from __future__ import annotations

from collections import OrderedDict

from fleet.errors import DocumentInvalid, FleetError
from fleet.render.kustomization import read_kustomization, read_plugins
from fleet.render.mentions import Kustomization
from fleet.render.tree import CommitTree
from fleet.render.workers import copy_of

_REMEMBERED_FILES = 20_000
_REMEMBERED_BYTES = 64 * 1024 * 1024
_BYTES_PER_VISIT = 100  # of what a file says, beside its text: a mention with its line
_FILE_LIMIT_BYTES = 1 << 20  # as for files of the inventory: both are parsed by the hub itself


class Reader:
    """Kustomization files read before, by Git object id: a file is parsed once, whether it can be used or not."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Kustomization | FleetError] = OrderedDict()
        self._bytes = 0

    @property
    def bytes_kept(self) -> int:
        """About so much memory they take."""
        return self._bytes

    def kustomization(self, tree: CommitTree, path: str) -> Kustomization:
        """Raises DocumentInvalid (without the file's name)."""
        return self._read(tree, path, "")

    def plugins(self, tree: CommitTree, path: str, field_name: str) -> Kustomization:
        """A file of plugin configurations."""
        return self._read(tree, path, field_name)

    def _read(self, tree: CommitTree, path: str, field_name: str) -> Kustomization:
        key = (tree.entries[path].oid, field_name)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _parsed(tree.snapshot.read(path), field_name)
            self._bytes += _bytes_of(found)
            while len(self._known) > _REMEMBERED_FILES or (self._bytes > _REMEMBERED_BYTES and len(self._known) > 1):
                _, dropped = self._known.popitem(last=False)
                self._bytes -= _bytes_of(dropped)
        if isinstance(found, FleetError):
            raise copy_of(found)
        return found


def _bytes_of(found: Kustomization | FleetError) -> int:
    if isinstance(found, FleetError):
        return 0
    return found.size + _BYTES_PER_VISIT * found.visits + sum(map(len, found.secret_texts))


def _parsed(raw: bytes, field_name: str) -> Kustomization | FleetError:
    if len(raw) > _FILE_LIMIT_BYTES:
        what = f"the file has {len(raw)} bytes, the limit is {_FILE_LIMIT_BYTES}"
        return DocumentInvalid(what, next_step="put parts of it into files or bases that it names")
    try:
        found = read_plugins(raw, field_name) if field_name else read_kustomization(raw)
    except DocumentInvalid as error:
        return copy_of(error)  # without its trace, which holds all that was parsed
    found.size, found.visits = len(raw), max(found.visits, found.allowance.used)  # that of texts inside of it too
    return found
