"""Where one environment of an overlay sets its images: its own kustomization, and bases and components below it.

What both environments are built from hands nothing on: a commit changes both at once. What only the one is built from
counts like its own file. Whatever cannot be told, or cannot be taken along, is refused with file and line, so that no
image is left behind in silence.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import OverlayName
from fleet.core.promotion import NAME, ImageEntry, Move
from fleet.errors import PromotionRefused
from fleet.inventory.edit import Kustomization, read_kustomization
from fleet.inventory.files import KUSTOMIZATION_NAMES
from fleet.render.closure import read_closure
from fleet.render.mentions import Role
from fleet.render.reader import Reader
from fleet.render.tree import CommitTree
from fleet.values import dataclass, field

_PLUGIN = b"ImageTagTransformer"
# An object's or a patch's `image:`, or the `path` of a JSON patch that ends in it (RFC 6902); not in a comment.
_IMAGE = re.compile(
    rb"""^[^#\n]*?(?:(?<![\w/-])image["']?:[ \t]*["']?([^\s"',}#]+)|path["']?:[^#\n]*/image\b)""", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Files:
    """What an environment is built from. always: on all its clusters; at_times: on some, with one of these."""

    always: frozenset[str]
    at_times: Mapping[str, str]


@dataclass(slots=True)
class Builds:
    """What each unit of a commit is built from, each build walked once."""

    tree: CommitTree
    reader: Reader = field(default_factory=Reader)
    _known: dict[tuple[str, tuple[str, ...]], frozenset[str]] = field(
        default_factory=dict[tuple[str, tuple[str, ...]], frozenset[str]]
    )

    def files_of(self, unit: Unit) -> frozenset[str]:
        """Raises PromotionRefused where that cannot be told."""
        key = (unit.path, unit.components)
        if key not in self._known:
            closure = read_closure(self.tree, self.reader, unit.path, unit.components, charts=True)
            if closure.error is not None:
                error = closure.error
                raise PromotionRefused(
                    f"what {unit.name} is built from cannot be told: {error.what}",
                    where=error.where,
                    why=error.why,
                    next_step=error.next_step or "fleet validate",
                )
            self._known[key] = frozenset((*closure.files, *closure.read))
        return self._known[key]

    def of(self, units: Sequence[Unit], path: str) -> Files:
        """Of the units of one environment that are built from its path."""
        mine = [(unit, self.files_of(unit)) for unit in units if unit.path == path]
        always = frozenset[str].intersection(*(files for _, files in mine))
        at_times: dict[str, str] = {}
        for unit, files in mine:
            at_times |= {file: unit.name.cluster for file in files - always if file not in at_times}
        return Files(always, at_times)


@dataclass(frozen=True, slots=True)
class Images:
    """The entries that count, each with the kustomization that it stands in; `own` takes those that are new."""

    environment: str
    own: Kustomization
    entries: tuple[ImageEntry, ...]
    homes: Mapping[str, Kustomization]

    def place(self, name: str) -> str:
        """File and line of an entry."""
        line = next(entry.line for entry in self.entries if entry.name == name)
        return f"{self.homes[name].path}:{line}"

    def edited(self, moves: Sequence[Move]) -> dict[str, bytes]:
        """The files with these moves, by path."""
        by_home: dict[str, tuple[Kustomization, list[Move]]] = {}
        for move in moves:
            home = self.homes.get(move.name, self.own)
            by_home.setdefault(home.path, (home, []))[1].append(move)
        return {path: home.edited(some) for path, (home, some) in by_home.items()}


def images_of(tree: CommitTree, environment: str, own: Kustomization, files: Files, shared: frozenset[str]) -> Images:
    """Raises PromotionRefused where two places set one image, one is not for all objects, or one cannot be read.

    shared: files that the other environment is built from too.
    """
    below = [_read(tree, path) for path in sorted(files.always - shared - {own.path}) if _may_say(tree, path)]
    found: dict[str, tuple[ImageEntry, Kustomization]] = {}
    for home in (*below, own):
        for entry in home.entries:
            earlier = found.get(entry.name)
            if earlier is not None and (home is not own or NAME in earlier[0].values):
                _refuse_twice(environment, entry, home, earlier)
            found[entry.name] = (entry, home)
    whole = _for_all(tree, own.path)
    for entry, home in found.values():
        if home is not own and posixpath.dirname(home.path) not in whole:
            raise PromotionRefused(
                f"image {entry.name} of {environment} is set for some of its objects alone",
                where=f"{home.path}:{entry.line}",
                why=f"{own.path} builds this base beside others, and a base's images are for its own objects",
                next_step=f"set it in {own.path}, commit, and promote again",
            )
    renamed = {entry.values[NAME]: (entry, home) for entry, home in found.values() if NAME in entry.values}
    for entry, home in found.values():
        chained = renamed.get(entry.name)
        if chained is not None and chained[1] is not home:
            _refuse_twice(environment, entry, home, chained)
    entries = tuple(entry for entry, _ in found.values())
    return Images(environment, own, entries, {name: home for name, (_, home) in found.items()})


def _for_all(tree: CommitTree, own: str) -> set[str]:
    """Directories whose images are for all that a kustomization builds: components, and a base that is its only one.

    A component's transformers run on what its kustomization has by then; a base's on its own resources (kustomize,
    api/internal/target/kusttarget.go).
    """
    mentions = Reader().kustomization(tree, own).mentions
    bases = [each.text for each in mentions if each.role is Role.RESOURCE]
    named = [each.text for each in mentions if each.role is Role.COMPONENT] + (bases if len(bases) == 1 else [])
    return {posixpath.normpath(posixpath.join(posixpath.dirname(own), name)) for name in named}


def check_left_behind(tree: CommitTree, environment: str, files: Files, shared: frozenset[str]) -> None:
    """Raise PromotionRefused for images of the earlier environment that no move takes along."""
    for text, where in _others(tree, files, shared):
        raise PromotionRefused(
            f"images of {environment} would be left behind: {text}",
            where=where,
            why="only images that the kustomizations of all its clusters set can be handed on",
            next_step=f"set them in the kustomization of {environment}, commit, and promote again",
        )


def others_left(tree: CommitTree, files: Files, shared: frozenset[str]) -> Iterator[str]:
    """What the later environment sets in other ways, and keeps, in words."""
    yield from (f"{text} ({where})" for text, where in _others(tree, files, shared))


def images_written(tree: CommitTree, files: Files, shared: frozenset[str], other: Files) -> Iterator[str]:
    """Images that objects and patches of the earlier environment alone say by themselves, in words; no move takes them.

    other: what the later environment is built from; an image that it says too is the same there.
    """
    theirs = {text for path in _of_one(other, shared) for text, _ in _written(tree, path)}
    for path in _of_one(files, shared):
        yield from (f"image {text} ({path}:{line})" for text, line in _written(tree, path) if text not in theirs)


def _of_one(files: Files, shared: frozenset[str]) -> list[str]:
    return sorted((files.always | files.at_times.keys()) - shared)


def _written(tree: CommitTree, path: str) -> Iterator[tuple[str, int]]:
    raw = tree.snapshot.read(path) if path.endswith((".yaml", ".yml", ".json")) else b""
    for found in _IMAGE.finditer(raw):
        yield (found[1] or b"of a patch").decode(errors="replace"), raw[: found.end()].count(b"\n") + 1


def check_own(fleet: Fleet, builds: Builds, overlay: str, images: Images, moves: Iterable[Move]) -> None:
    """Raise PromotionRefused for an entry that would be edited in a file which others are built from too."""
    homes = {name: images.homes[name] for move in moves if (name := move.name) in images.homes}
    below = {home.path for home in homes.values() if home is not images.own}
    if not below:
        return
    mine = {
        unit.name
        for unit in fleet.units.values()
        if unit.name.overlay == OverlayName(overlay) and unit.cluster.environment == images.environment
    }
    for unit in (unit for name, unit in sorted(fleet.units.items()) if name not in mine):
        used = sorted(below & builds.files_of(unit))
        if used:
            name = next(name for name, home in homes.items() if home.path == used[0])
            raise PromotionRefused(
                f"image {name} of {images.environment} stands in a file that {unit.name} is built from too",
                where=images.place(name),
                why="an edit there would change both",
                next_step=f"set it in {images.own.path}, commit, and promote again",
            )


def _others(tree: CommitTree, files: Files, shared: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Images that are set for some clusters alone, or by a transformer; with file and line."""
    for path, cluster in sorted(files.at_times.items()):
        if path not in shared and _may_say(tree, path):
            yield from (
                (f"image {entry.name} of {cluster} and not of all", f"{path}:{entry.line}")
                for entry in _read(tree, path).entries
            )
    for path in _of_one(files, shared):
        raw = tree.snapshot.read(path) if path.endswith((".yaml", ".yml")) else b""
        if _PLUGIN in raw:
            line = raw[: raw.index(_PLUGIN)].count(b"\n") + 1
            yield "an ImageTagTransformer", f"{path}:{line}"


def _may_say(tree: CommitTree, path: str) -> bool:
    """Whether a file is a kustomization with images."""
    return _is_kustomization(path) and b"images" in tree.snapshot.read(path)


def _is_kustomization(path: str) -> bool:
    return path.rpartition("/")[2] in KUSTOMIZATION_NAMES


def _read(tree: CommitTree, path: str) -> Kustomization:
    return read_kustomization(tree.snapshot.read(path), path)


def _refuse_twice(
    environment: str, entry: ImageEntry, home: Kustomization, earlier: tuple[ImageEntry, Kustomization]
) -> None:
    raise PromotionRefused(
        f"{environment} sets image {entry.name} in two places",
        where=f"{home.path}:{entry.line}, {earlier[1].path}:{earlier[0].line}",
        why="which of them counts depends on the order of the build",
        next_step="set it in one of them, commit, and promote again",
    )
