"""Links and submodules where directories of the inventory may be: not followed, and never taken for nothing (R5)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Flag, auto

from fleet.core.targets import Holding
from fleet.inventory.content import LINK, SUBMODULE, NoContent, contents
from fleet.inventory.files import KUSTOMIZATION_NAMES, OVERLAY_FILE, SUFFIXES, may_hold_clusters
from fleet.inventory.read import read_cluster_file
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
        for here in _above(path, wanted):
            behind = Behind.YAML if name.endswith(SUFFIXES) else Behind.NOTHING
            if name in KUSTOMIZATION_NAMES and holds(home) is Holding.KUSTOMIZATION:
                behind |= Behind.KUSTOMIZATION
            if name == OVERLAY_FILE and here == home:
                behind |= Behind.OVERLAY
            found[here] = found.get(here, Behind.NOTHING) | behind
    return found


def _above(path: str, wanted: frozenset[str]) -> Iterator[str]:
    """Those of the wanted directories in which a path lies."""
    here = path.rpartition("/")[0]
    while here:
        if here in wanted:
            yield here
        here = here.rpartition("/")[0]


def misleading_to_clusters(
    snapshot: Snapshot, detours: Mapping[str, Detour], clusters_directory: str, remembered: dict[TreeEntry, bool]
) -> set[str]:
    """Those that stand for a directory of Clusters. One walk over the tree at most."""
    found: set[str] = set()
    leading: dict[str, list[str]] = {}
    for path, detour in detours.items():
        if clusters_directory.startswith(path + "/"):
            if Behind.YAML in detour.behind:
                found.add(path)
        elif not may_hold_clusters(path, clusters_directory) or f"{detour.directory}/".startswith(clusters_directory):
            continue  # the last are read where they lie
        elif detour.directory:
            leading.setdefault(detour.directory, []).append(path)
        else:
            found.add(path)
    for directory in _with_clusters(snapshot, leading.keys(), remembered):
        found.update(leading[directory])
    return found


def _with_clusters(snapshot: Snapshot, directories: Iterable[str], remembered: dict[TreeEntry, bool]) -> set[str]:
    """Those that hold a Cluster, or what may be one: overlays, and manifests of others, are linked for builds."""
    wanted, files = frozenset(directories), dict[str, list[str]]()
    for path in snapshot.tree if wanted else ():
        if path.endswith(SUFFIXES) and path.rpartition("/")[2] != OVERLAY_FILE and (above := [*_above(path, wanted)]):
            files[path] = above
    unread = {entry: path for path in files if (entry := snapshot.tree[path]) not in remembered}
    for path, content in contents(snapshot, unread.values()):
        remembered[snapshot.tree[path]] = _may_hold_clusters(path, content)
    return {directory for path, above in files.items() if remembered[snapshot.tree[path]] for directory in above}


def _may_hold_clusters(path: str, content: bytes | NoContent) -> bool:
    if not isinstance(content, NoContent) and GROUP.encode() not in content:
        return False
    result = read_cluster_file(path, content)
    return bool(result.names) or result.nameless is not None
