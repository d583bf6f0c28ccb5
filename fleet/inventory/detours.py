"""Links and submodules where directories of the inventory may be: not followed, and never taken for nothing (R5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Flag, auto

from fleet.core.symlinks import EscapesCommit, What, follow
from fleet.core.targets import Holding
from fleet.inventory.content import NoContent, contents
from fleet.inventory.files import (
    FLEET_FILE,
    KUSTOMIZATION_NAMES,
    OVERLAY_FILE,
    SUFFIXES,
    is_cluster_file,
    may_hold_clusters,
)
from fleet.inventory.read import read_cluster_file
from fleet.inventory.schema import GROUP
from fleet.ports.source import LINK_MODE, SUBMODULE_MODE, Snapshot, TreeEntry
from fleet.values import dataclass

_STEP_LIMIT = 255  # names in the path of a link, with those of all links on its way: more lead nowhere
# Names that no directory has: what comes after any other dot may be a version, or a region.
_FILE_NAME = re.compile(
    r"\..*|.*\.(adoc|cfg|conf|css|html|ini|jpg|js|json|lock|md|pdf|png|properties|py|rst|sh|svg|tf|toml|tpl|txt|ya?ml)",
    re.IGNORECASE,
)


class Behind(Flag):
    """What a directory that a link leads to holds, itself or deeper."""

    NOTHING = 0
    YAML = auto()
    KUSTOMIZATION = auto()  # and no Component
    OVERLAY = auto()  # an overlay.yaml, in the directory itself
    UNKNOWN = YAML | KUSTOMIZATION  # it leads out of the commit, or to what is not there


@dataclass(frozen=True, slots=True)
class Detour:
    """A link or submodule that may stand for a directory. directory: where it leads, None where that is not known."""

    content: NoContent
    behind: Behind
    directory: str | None = None  # "" is the root


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
        end = _end_of(snapshot, path, remembered)
        if end is not None and end in snapshot.tree:
            continue
        found[path] = Detour(_content(snapshot, path, remembered), Behind.UNKNOWN)
        if end is not None:
            leading.setdefault(end, []).append(path)
    for target, behind in _behind(snapshot, leading.keys(), holds).items():
        for path in leading[target]:
            found[path] = Detour(found[path].content, behind, target)
    return found


def without_strays(snapshot: Snapshot, detours: Mapping[str, Detour], ours: Iterable[str]) -> dict[str, Detour]:
    """Without links to nowhere that are named like a file and stand where nothing of ours is meant to be, or was."""
    strays = {
        path
        for path, detour in detours.items()
        if detour.directory is None
        and snapshot.tree[path].mode == LINK_MODE
        and _FILE_NAME.fullmatch(path.rpartition("/")[2])
    }
    for path in ours if strays else ():
        strays.difference_update([path, *_above(path, strays)])
    return {path: detour for path, detour in detours.items() if path not in strays}


def _end_of(snapshot: Snapshot, path: str, remembered: dict[TreeEntry, NoContent]) -> str | None:
    """The plain file to which a path leads through all links, or what may be a directory; None where it leads away."""

    def what_at(here: str) -> What | None:
        entry = snapshot.tree.get(here)
        if entry is None:
            return What.DIRECTORY  # or nothing
        if entry.mode == LINK_MODE:
            return None
        return What.SUBMODULE if entry.mode == SUBMODULE_MODE else What.FILE

    def target_of(links: Sequence[str]) -> list[str]:
        target = _content(snapshot, links[-1], remembered).target
        if not target or target.startswith("/"):
            raise EscapesCommit("no link that can be followed", links)
        return [step for step in target.split("/") if step not in ("", ".")]

    try:
        end = follow(path.split("/"), what_at, target_of, _STEP_LIMIT)
    except EscapesCommit:
        return None
    return end.path if end.what in (What.FILE, What.DIRECTORY) else None


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


def _above(path: str, wanted: Collection[str]) -> Iterator[str]:
    """Those of the wanted directories in which a path lies; "" is the root."""
    here = path
    while here:
        here = here.rpartition("/")[0]
        if here in wanted:
            yield here


def misleading_to_clusters(
    snapshot: Snapshot,
    detours: Mapping[str, Detour],
    clusters_directory: str,
    links: dict[TreeEntry, NoContent],
    remembered: dict[TreeEntry, bool],
) -> set[str]:
    """Those that stand for a directory of Clusters. One walk over the tree at most.

    links: what is known of them; remembered: whether a Cluster may be in a file, forgotten when none leads there.
    """
    found: set[str] = set()
    leading: dict[str, list[str]] = {}
    for path, detour in detours.items():
        if clusters_directory.startswith(path + "/"):
            if Behind.YAML in detour.behind:
                found.add(path)
        elif not may_hold_clusters(path, clusters_directory):
            continue
        elif detour.directory is None:
            found.add(path)
        else:
            leading.setdefault(detour.directory, []).append(path)
    for directory in _with_clusters(snapshot, leading.keys(), clusters_directory, links, remembered):
        found.update(leading[directory])
    return found


def _with_clusters(
    snapshot: Snapshot,
    directories: Iterable[str],
    clusters_directory: str,
    links: dict[TreeEntry, NoContent],
    remembered: dict[TreeEntry, bool],
) -> set[str]:
    """Those that hold a Cluster which is not read where it lies, or what may be one: overlays, and manifests of
    others, are linked for builds.
    """
    wanted, files = frozenset(directories), dict[str, set[str]]()
    for path in snapshot.tree if wanted else ():
        if not path.endswith(SUFFIXES) or path.rpartition("/")[2] == OVERLAY_FILE:
            continue
        if above := [*_above(path, wanted)]:
            end = _end_of(snapshot, path, links) if snapshot.tree[path].mode == LINK_MODE else path
            file = end if end is not None and end in snapshot.tree else path
            if file != FLEET_FILE and not is_cluster_file(file, clusters_directory):
                files.setdefault(file, set()).update(above)
    entries = {snapshot.tree[path]: path for path in files}
    for gone in remembered.keys() - entries.keys():
        del remembered[gone]
    unread = [path for entry, path in entries.items() if entry not in remembered]
    for path, content in contents(snapshot, unread):
        remembered[snapshot.tree[path]] = _may_hold_clusters(path, content)
    return {directory for path, above in files.items() if remembered[snapshot.tree[path]] for directory in above}


def _may_hold_clusters(path: str, content: bytes | NoContent) -> bool:
    if not isinstance(content, NoContent) and GROUP.encode() not in content:
        return False
    result = read_cluster_file(path, content)
    return bool(result.names) or result.nameless is not None
