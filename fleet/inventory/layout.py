"""Where overlays are: directories that match a glob of fleet.yaml and hold an overlay.yaml or a kustomization.

An index over one commit's tree that is carried on by the paths that changed, because a walk of the whole tree for
each commit would cost more than everything else.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from fleet.core.targets import Holding
from fleet.inventory.content import NoContent, contents
from fleet.inventory.convert import OverlaySource
from fleet.inventory.detours import Behind, Detour
from fleet.inventory.files import KUSTOMIZATION_NAMES, OVERLAY_FILE
from fleet.inventory.yamlfile import YamlRefused, read_documents
from fleet.ports.source import LINK_MODE, SUBMODULE_MODE, Snapshot, TreeEntry
from fleet.values import dataclass, field


@lru_cache(maxsize=512)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob over repo paths: `*` and `?` within one segment, `**` over any number of them."""
    parts: list[str] = []
    for part in re.split(r"(\*\*/?|\*|\?)", glob):
        match part:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _:
                parts.append(re.escape(part))
    return re.compile("".join(parts) + r"\Z")


def matches_glob(path: str, globs: Iterable[str]) -> bool:
    """Whether a path, or a directory above it, matches one of the globs."""
    here = path
    while True:
        if any(glob_pattern(glob).match(here) for glob in globs):
            return True
        above = posixpath.dirname(here)
        if above == here or not above:
            return False
        here = above


def default_name(directory: str, glob: str) -> str:
    """The directory's name; what lies deeper below the glob's fixed part joins its path with dots."""
    fixed = re.split(r"[*?]", glob, maxsplit=1)[0]
    fixed = fixed[: fixed.rfind("/") + 1] if fixed != glob else posixpath.dirname(glob) + "/"
    return directory.removeprefix(fixed if fixed != "/" else "").replace("/", ".")


@dataclass(slots=True)
class OverlayDirectory:
    """One directory that matches a glob: its kustomizations (as repo directories), and the source that took it."""

    directory: str
    source: OverlaySource
    kustomizations: set[str] = field(default_factory=set[str])
    has_file: bool = False
    # Links and submodules, itself or below, behind which a kustomization may be.
    detours: set[str] = field(default_factory=set[str])

    def copy(self) -> OverlayDirectory:
        """One that may be changed."""
        return OverlayDirectory(self.directory, self.source, set(self.kustomizations), self.has_file, set(self.detours))


@dataclass(slots=True)
class Layout:
    """The overlay directories of one commit. Treated as frozen once a load has finished with it."""

    sources: tuple[OverlaySource, ...]
    directories: dict[str, OverlayDirectory] = field(default_factory=dict[str, OverlayDirectory])
    links: frozenset[str] = frozenset()  # and submodules, of the whole commit
    detours: Mapping[str, Detour] = field(default_factory=dict[str, Detour])  # of those that are near, see `is_near`
    _matched: dict[str, OverlaySource | None] = field(default_factory=dict[str, "OverlaySource | None"])

    @classmethod
    def of(cls, snapshot: Snapshot, sources: Sequence[OverlaySource]) -> Layout:
        """By one walk over the tree."""
        layout = cls(tuple(source for source in sources if source.named is None))
        links: set[str] = set()
        for path, entry in snapshot.tree.items():
            layout.note(path, present=True)
            if entry.mode in (LINK_MODE, SUBMODULE_MODE):
                links.add(path)
        layout.links = frozenset(links)
        layout.drop_empty(list(layout.directories))
        return layout

    def carried(self, tree: Mapping[str, TreeEntry], changed: frozenset[str]) -> tuple[Layout, set[str]]:
        """The layout after these paths changed, and the overlay directories that came, went or changed."""
        links = {path for path in changed if path in tree and tree[path].mode in (LINK_MODE, SUBMODULE_MODE)}
        others = links | (self.links & changed)
        links = self.links - changed | links if others else self.links
        after = Layout(self.sources, dict(self.directories), links, self.detours, self._matched)
        touched: set[str] = set()
        for path in changed:
            for directory in after.owners(path):
                if directory not in touched and directory in after.directories:
                    after.directories[directory] = after.directories[directory].copy()
                touched.add(directory)
            after.note(path, present=path in tree)
        for path in others:
            touched.update(after._around(path))
        after.drop_empty(touched)
        return after, touched

    def is_near(self, path: str) -> bool:
        """Whether a directory of this path would be an overlay's, or lie inside or above one."""
        return next(self._around(path), None) is not None or self._is_above(path)

    def take(self, detours: Mapping[str, Detour]) -> set[str]:
        """Note what lies behind all links that are near; returns the overlay directories for which that changed."""
        before, self.detours = self.detours, detours
        touched: set[str] = set()
        for path in before.keys() | detours.keys():
            if before.get(path) == detours.get(path):
                continue
            for directory in self._around(path):
                source = self._source_of(directory)
                assert source is not None  # it is around
                entry = self.directories.get(directory)
                entry = OverlayDirectory(directory, source) if entry is None else entry.copy()
                detour = detours.get(path)
                if detour is not None and self._hides(detour, source, is_all=directory == path):
                    entry.detours.add(path)
                else:
                    entry.detours.discard(path)
                self.directories[directory] = entry
                touched.add(directory)
        self.drop_empty(touched)
        return touched

    def _hides(self, detour: Detour, source: OverlaySource, *, is_all: bool) -> bool:
        if is_all and detour.directory in self.directories:
            return False  # an overlay where it lies
        if "**" in source.glob:  # there only an overlay.yaml makes an overlay
            return is_all and Behind.OVERLAY in detour.behind
        return Behind.KUSTOMIZATION in detour.behind or (is_all and Behind.OVERLAY in detour.behind)

    def misleads(self, path: str, detour: Detour) -> bool:
        """Whether it stands for a directory of overlays that are found nowhere else."""
        if not self._is_above(path) or Behind.KUSTOMIZATION not in detour.behind:
            return False
        return not detour.directory or not any(each.startswith(detour.directory + "/") for each in self.directories)

    def _is_above(self, path: str) -> bool:
        deep = path.count("/") + 1
        above = ("/".join(source.glob.split("/")[:deep]) for source in self.sources if source.glob.count("/") >= deep)
        return any(glob_pattern(glob).match(path) for glob in above)

    def _around(self, path: str) -> Iterator[str]:
        """The overlay directories that a path is, or lies in."""
        here = path
        while here:
            if self._source_of(here) is not None:
                yield here
            here = posixpath.dirname(here)

    def owners(self, path: str) -> Iterator[str]:
        """The overlay directories that a structural file (kustomization or overlay.yaml) belongs to."""
        name = posixpath.basename(path)
        if name != OVERLAY_FILE and name not in KUSTOMIZATION_NAMES:
            return
        here = posixpath.dirname(path)
        if name == OVERLAY_FILE:
            if self._source_of(here) is not None:
                yield here
            return
        while here:
            if self._source_of(here) is not None:
                yield here
            here = posixpath.dirname(here)

    def note(self, path: str, *, present: bool) -> None:
        """A file that is there now, or not any more."""
        name = posixpath.basename(path)
        for directory in self.owners(path):
            source = self._source_of(directory)
            if source is None:
                continue
            entry = self.directories.get(directory)
            if entry is None:
                entry = self.directories[directory] = OverlayDirectory(directory, source)
            if name == OVERLAY_FILE:
                entry.has_file = present
            elif present:
                entry.kustomizations.add(posixpath.dirname(path))
            else:
                entry.kustomizations.discard(posixpath.dirname(path))

    def drop_empty(self, directories: Iterable[str]) -> None:
        """Directories that hold neither a kustomization nor an overlay.yaml are no overlays."""
        for directory in directories:
            entry = self.directories.get(directory)
            if entry is None or entry.has_file or entry.detours:
                continue
            # Below `**` each directory matches, so only an overlay.yaml can say which of them is meant.
            if not entry.kustomizations or "**" in entry.source.glob:
                del self.directories[directory]

    def _source_of(self, directory: str) -> OverlaySource | None:
        try:
            return self._matched[directory]
        except KeyError:
            found = next((s for s in self.sources if glob_pattern(s.glob).match(directory)), None)
            self._matched[directory] = found
            return found


class Holdings:
    """What directories of a commit hold. Remembers path and entry: a file is judged once for all commits."""

    links: frozenset[str] = frozenset()

    def __init__(self, snapshot: Snapshot, remembered: dict[str, tuple[TreeEntry, Holding]]) -> None:
        self._snapshot, self._remembered = snapshot, remembered

    def of(self, directory: str) -> Holding:
        """A kustomization, a Component, a link, or nothing. What is no file, or no YAML, counts as a kustomization: the
        build says what is wrong with it.
        """
        prefix = "" if directory in ("", ".") else directory + "/"
        for name in KUSTOMIZATION_NAMES:
            entry = self._snapshot.tree.get(prefix + name)
            if entry is None:
                continue
            known = self._remembered.get(prefix + name)
            if known is None or known[0] != entry:
                ((_, content),) = contents(self._snapshot, [prefix + name])
                known = self._remembered[prefix + name] = (entry, _holding_of(content))
            return known[1]
        return Holding.NOTHING if not self.links or self._is_real(directory) else Holding.LINK

    def _is_real(self, directory: str) -> bool:
        here = directory
        while here:
            if here in self.links:
                return False
            here = posixpath.dirname(here)
        return True

    def mentions(self, directory: str, name: str) -> bool:
        """Whether the kustomization of a directory speaks of another one by this name; only asked before a warning."""
        prefix = "" if directory in ("", ".") else directory + "/"
        for file in KUSTOMIZATION_NAMES:
            if prefix + file not in self._snapshot.tree:
                continue
            ((_, content),) = contents(self._snapshot, [prefix + file])
            if not isinstance(content, NoContent):
                text = content.decode(errors="replace")
                return re.search(rf"(?:^|[\s/\"']){re.escape(name)}/?(?:$|[\s\"',\]])", text, re.MULTILINE) is not None
        return False


def _holding_of(content: bytes | NoContent) -> Holding:
    if isinstance(content, NoContent) or b"Component" not in content:
        return Holding.KUSTOMIZATION
    try:
        documents = list(read_documents(content))
    except YamlRefused:
        return Holding.KUSTOMIZATION
    value = documents[0].value if documents else None
    is_component = isinstance(value, dict) and value.get("kind") == "Component"
    return Holding.COMPONENT if is_component else Holding.KUSTOMIZATION
