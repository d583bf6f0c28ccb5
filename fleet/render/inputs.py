"""What one build depends on: every file it can open, and every name it probes and finds absent.

A value, read from a commit by closure.py; that of one commit tells that of the next, as long as nothing changed that
decides what belongs to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from fleet.core.documents import Json
from fleet.core.ids import Digest
from fleet.errors import FleetError
from fleet.ports.source import LINK_MODE, PLAIN_MODES
from fleet.render.tree import CommitTree
from fleet.values import dataclass, field


@dataclass(slots=True)
class Closure:
    """What one build depends on. With `error`, as far as it was read until that was found."""

    root: str  # real directory of the unit's kustomization
    components: tuple[str, ...] = ()  # real directories
    files: dict[str, str] = field(default_factory=dict[str, str])  # path -> Git object id
    links: dict[str, str] = field(default_factory=dict[str, str])
    absent: set[str] = field(default_factory=set[str])
    widened: list[str] = field(default_factory=list[str])  # why it holds the whole commit; empty: it does not
    facts: frozenset[str] | None = frozenset()  # field paths of `fleet-cluster` in use; None: any of them
    kustomizations: dict[str, str] = field(default_factory=dict[str, str])  # directory -> its file
    patch_files: set[str] = field(default_factory=set[str])
    inline_merge_patch: bool = False
    openapi: bool = False
    order: dict[str, Json] = field(default_factory=dict[str, Json])
    root_is_component: bool = False
    read: set[str] = field(default_factory=set[str])  # files whose content decided what belongs to it
    listed: set[str] = field(default_factory=set[str])  # directories of which all files belong to it
    crds: set[str] = field(default_factory=set[str])
    secret_files: set[str] = field(default_factory=set[str])
    secret_texts: set[str] = field(default_factory=set[str])
    charts: dict[str, str] = field(default_factory=dict[str, str])  # archive -> directory where kustomize looks for it
    uses_charts: bool = False
    error: FleetError | None = None

    def input_digest(self, *parts: bytes) -> Digest:
        """SHA-256 over object ids, absent names and `parts` (tool, flags, facts); no file is hashed again."""
        digest = hashlib.sha256()
        for part in (*parts, self.root.encode(), *(component.encode() for component in self.components)):
            digest.update(b"%d:" % len(part) + part)
        for kind, entries in (("f", self.files), ("l", self.links)):
            for path, oid in sorted(entries.items()):
                digest.update(f"{kind} {oid} {path}\0".encode(errors="surrogateescape"))
        for path in sorted(self.absent):
            digest.update(f"a {path}\0".encode(errors="surrogateescape"))
        return Digest(digest.hexdigest())

    def renewed(self, tree: CommitTree) -> Closure | None:
        """The closure of the same place in another commit, told without reading a file; None: it must be read.

        This very value where the input is exactly the same.
        """
        if self.widened or self.error or self._is_listed_otherwise(tree):
            return None
        if any(path in tree.entries or path in tree.directories for path in self.absent):
            return None
        for path, oid in self.links.items():
            entry = tree.entries.get(path)
            if entry is None or entry.oid != oid or entry.mode != LINK_MODE:
                return None
        changed: dict[str, str] = {}
        for path, oid in self.files.items():
            entry = tree.entries.get(path)
            if entry is None or entry.mode not in PLAIN_MODES:
                return None
            if entry.oid != oid:
                if path in self.read:
                    return None
                changed[path] = entry.oid
        return replace(self, files={**self.files, **changed}) if changed else self

    def _is_listed_otherwise(self, tree: CommitTree) -> bool:
        """Whether a directory that belongs to it as a whole has another file."""
        starts = tuple(f"{directory}/" for directory in self.listed)
        return bool(starts) and any(path.startswith(starts) and path not in self.files for path in tree.entries)
