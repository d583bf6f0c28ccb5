"""Links and submodules where directories of the inventory may be: not followed, and never taken for nothing (R5)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from enum import Flag, auto

from fleet.core.targets import Holding
from fleet.inventory.content import LINK, SUBMODULE, NoContent, contents
from fleet.inventory.files import KUSTOMIZATION_NAMES, OVERLAY_FILE, SUFFIXES, may_hold_clusters
from fleet.inventory.schema import GROUP
from fleet.ports.source import Snapshot, TreeEntry
from fleet.values import dataclass


class Behind(Flag):
    """What a directory that a link leads to holds, itself or deeper."""

    NOTHING = 0
    YAML = auto()
    KUSTOMIZATION = auto()  # and no Component
    OVERLAY = auto()  # an overlay.yaml, in the directory itself
    UNKNOWN = YAML | KUSTOMIZATION  # it leads out of the commit, or to what is not there


@dataclass(frozen=True, slots=True)
class Detour:
    """A link or submodule that may stand for a directory. directory: where it leads, "" where that is not known."""

    content: NoContent
    behind: Behind
    directory: str = ""


def detours_of(
    snapshot: Snapshot,
    paths: Iterable[str],
    holds: Callable[[str], Holding],
    remembered: dict[TreeEntry, NoContent],
) -> dict[str, Detour]:
    """What lies behind links and submodules; links to plain files are left out. One walk over the tree at most."""
    found: dict[str, Detour] = {}
    leading: dict[str, list[str]] = {}
    for path in paths:
        content = _content(snapshot, path, remembered)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), content.target))
        entry = snapshot.tree.get(target)
        if content.target and entry is not None and entry.mode not in (LINK, SUBMODULE):
            continue
        found[path] = Detour(content, Behind.UNKNOWN)
        if content.target and entry is None:
            leading.setdefault(target, []).append(path)
    for target, behind in _behind(snapshot, leading.keys(), holds).items():
        for path in leading[target]:
            found[path] = Detour(found[path].content, behind, target)
    return found


def _content(snapshot: Snapshot, path: str, remembered: dict[TreeEntry, NoContent]) -> NoContent:
    entry = snapshot.tree[path]
    if entry not in remembered:
        ((_, content),) = contents(snapshot, [path])
        assert isinstance(content, NoContent)  # its mode says so
        remembered[entry] = content
    return remembered[entry]


def _behind(snapshot: Snapshot, directories: Iterable[str], holds: Callable[[str], Holding]) -> dict[str, Behind]:
    """Of those directories that exist."""
    wanted, found = frozenset(directories), dict[str, Behind]()
    for path in snapshot.tree if wanted else ():
        home, _, name = path.rpartition("/")
        here = home
        while here:
            if here in wanted:
                behind = Behind.YAML if name.endswith(SUFFIXES) else Behind.NOTHING
                if name in KUSTOMIZATION_NAMES and holds(home) is Holding.KUSTOMIZATION:
                    behind |= Behind.KUSTOMIZATION
                if name == OVERLAY_FILE and here == home:
                    behind |= Behind.OVERLAY
                found[here] = found.get(here, Behind.NOTHING) | behind
            here = here.rpartition("/")[0]
    return found


def misleads_to_clusters(snapshot: Snapshot, path: str, detour: Detour, clusters_directory: str) -> bool:
    """Whether it stands for a directory of Clusters."""
    if clusters_directory.startswith(path + "/"):
        return Behind.YAML in detour.behind
    if not may_hold_clusters(path, clusters_directory) or f"{detour.directory}/".startswith(clusters_directory):
        return False  # the last are read where they lie
    return not detour.directory or _holds_ours(snapshot, detour.directory)


def _holds_ours(snapshot: Snapshot, directory: str) -> bool:
    """Whether a file of a directory speaks of us: manifests of others are linked for builds."""
    files = [path for path in snapshot.tree if path.startswith(directory + "/") and path.endswith(SUFFIXES)]
    return any(isinstance(text, NoContent) or GROUP.encode() in text for _, text in contents(snapshot, files))
