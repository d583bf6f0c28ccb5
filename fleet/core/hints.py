"""What Flux and Argo CD objects in a repo say about where its directories run, read as hints for `fleet init`.

Pure: objects with their places in, hints and doubts out. A hint is only believed where the directory it names is in
this repo; what it says beyond name, directory, place and order is a doubt, because the directory alone would build
without it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.values import dataclass, field

FLUX_GROUP = "kustomize.toolkit.fluxcd.io"
ARGO_GROUP = "argoproj.io"
_ARTIFACT_GROUP = "source.extensions.fluxcd.io"
_FLUX_EXTRAS = ("patches", "components", "postBuild", "targetNamespace", "namePrefix", "nameSuffix", "images")
_PLACEHOLDER = re.compile(r"\{\{-?\s*\.?([A-Za-z0-9_.\[\]]+)\s*-?\}\}")
_ALIAS_PREFIX = re.compile(r"@[^/]+/?")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of Flux or Argo CD as it lies in the repo. `path`: its file."""

    path: str
    line: int
    document: Document

    @property
    def where(self) -> str:
        """As people read it."""
        return f"{self.path}:{self.line}"

    @property
    def kind(self) -> tuple[str, str]:
        """Group and kind."""
        return text_at(self.document, "apiVersion").rpartition("/")[0], text_at(self.document, "kind")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that was not understood, or was left out on purpose, and what a person can do about it."""

    where: str
    what: str
    why: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """Somebody's object says: this directory runs there. `place`: of a cluster or environment, "" where not said."""

    name: str
    directory: str
    where: str
    place: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hints:
    """All of them. `handed`: files whose object is replaced by an overlay; `roots`: where Flux itself starts."""

    hints: tuple[Hint, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    handed: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()


def read_hints(manifests: Sequence[Manifest], directories: Collection[str]) -> Hints:
    """Read all objects. `directories`: those of the repo that hold a kustomization; "." is the root."""
    found = _Reading(frozenset(directories))
    flux = [one for one in manifests if one.kind == (FLUX_GROUP, "Kustomization")]
    for one in flux:
        target = _normal(text_at(one.document, "spec", "path"))
        if _is_below(one.path, target) and target != ".":
            found.roots.add(target)
    artifacts = [one for one in manifests if one.kind == (_ARTIFACT_GROUP, "ArtifactGenerator")]
    for one in flux:
        found.flux(one, artifacts)
    for one in manifests:
        if one.kind == (ARGO_GROUP, "Application"):
            found.application(one)
        elif one.kind == (ARGO_GROUP, "ApplicationSet"):
            found.application_set(one)
    return Hints(tuple(found.hints), tuple(found.doubts), frozenset(found.handed), frozenset(found.roots))


def _normal(path: str) -> str:
    return posixpath.normpath(path.lstrip("/") or ".")


def _is_below(path: str, directory: str) -> bool:
    return directory == "." or path.startswith(directory + "/")


@dataclass(slots=True)
class _Reading:
    directories: frozenset[str]
    hints: list[Hint] = field(default_factory=list[Hint])
    doubts: list[Doubt] = field(default_factory=list[Doubt])
    handed: set[str] = field(default_factory=set[str])
    roots: set[str] = field(default_factory=set[str])

    def flux(self, one: Manifest, artifacts: Sequence[Manifest]) -> None:
        """A Flux Kustomization."""
        name, written = text_at(one.document, "metadata", "name"), text_at(one.document, "spec", "path")
        target, place = _normal(written), self._place_of(one.path)
        if target in self.roots:
            return  # Flux's own start: where the objects lie that are read here
        if text_at(one.document, "spec", "sourceRef", "kind") == "ExternalArtifact":
            near = [other for other in artifacts if self._place_of(other.path) == place]
            target = _through_artifact(text_at(one.document, "spec", "sourceRef", "name"), target, near)
        if not self._is_here(one, name, target):
            return
        extras = [key for key in _FLUX_EXTRAS if mapping_at(one.document, "spec").get(key)]
        if extras:
            self.doubts.append(
                Doubt(
                    one.where,
                    f"{name} changes what {target} builds: {', '.join(extras)}",
                    "that stands in the Flux object, and the directory builds without it",
                    f"move it into a kustomization beside {target}, and name that in fleet.yaml",
                )
            )
        after = tuple(text_at(item, "name") for item in items_at(one.document, "spec", "dependsOn"))
        self._add(one, Hint(name, target, one.where, place, depends_on=tuple(filter(None, after))))

    def application(self, one: Manifest) -> None:
        """An Argo CD Application."""
        spec, name = mapping_at(one.document, "spec"), text_at(one.document, "metadata", "name")
        for target in self._targets(one, name, spec):
            self._add(one, Hint(name, target, one.where, _destination(spec)))

    def application_set(self, one: Manifest) -> None:
        """An Argo CD ApplicationSet: lists, directories and clusters are understood."""
        name = text_at(one.document, "metadata", "name")
        spec = mapping_at(one.document, "spec", "template", "spec")
        for generator in documents_at(one.document, "spec", "generators"):
            if "list" in generator:
                for element in documents_at(generator, "list", "elements"):
                    self._generated(one, name, _filled(spec, {k: str(v) for k, v in element.items()}.get), element)
            elif items_at(generator, "git", "directories"):
                self._directories(one, spec, generator)
            elif "clusters" in generator and not _PLACEHOLDER.search(text_at(spec, "source", "path")):
                selector = mapping_at(generator, "clusters", "selector", "matchLabels")
                labels = {key: str(value) for key, value in selector.items() if not key.startswith("argocd.")}
                for target in self._targets(one, name, spec):
                    self._add(one, Hint(name, target, one.where, labels=labels))
            else:
                self.doubts.append(
                    Doubt(
                        one.where,
                        f"ApplicationSet {name}: generator {next(iter(generator), '?')} is not understood",
                        "what it generates depends on more than this repo",
                        "name its overlays and their clusters in fleet.yaml",
                    )
                )

    def _generated(self, one: Manifest, name: str, spec: Document, element: Document) -> None:
        place = _destination(spec) or text_at(element, "cluster")
        for target in self._targets(one, name, spec):
            self._add(one, Hint(name, target, one.where, place))

    def _directories(self, one: Manifest, spec: Document, generator: Document) -> None:
        rules = documents_at(generator, "git", "directories")
        wanted = [_normal(text_at(rule, "path")) for rule in rules if not rule.get("exclude")]
        unwanted = [_normal(text_at(rule, "path")) for rule in rules if rule.get("exclude")]
        for directory in sorted(self.directories):
            if _matches(directory, wanted) and not _matches(directory, unwanted):
                base = posixpath.basename(directory)
                values = {"path": directory, "path.path": directory, "path.basename": base}
                filled = _filled(spec, values.get)
                for target in self._targets(one, base, filled):
                    self._add(one, Hint(base, target, one.where, _destination(filled)))

    def _targets(self, one: Manifest, name: str, spec: Document) -> Iterator[str]:
        sources = [source for source in [spec.get("source"), *items_at(spec, "sources")] if isinstance(source, dict)]
        for source in sources:
            if text_at(source, "chart"):
                self._not_here(one, name, f"chart {text_at(source, 'chart')}", "it is a chart of another place")
                continue
            target = _normal(text_at(source, "path"))
            if not self._is_here(one, name, target):
                continue
            extras = [key for key in ("helm", "kustomize", "plugin") if source.get(key)]
            if extras:
                self.doubts.append(
                    Doubt(
                        one.where,
                        f"{name} changes what {target} builds: source.{extras[0]}",
                        "that stands in the Argo CD object, and the directory builds without it",
                        f"move it into a kustomization beside {target}, and name that in fleet.yaml",
                    )
                )
            yield target

    def _is_here(self, one: Manifest, name: str, target: str) -> bool:
        if target in self.directories:
            return True
        why = "no kustomization lies there in this repo"
        self._not_here(one, name, target, f"{why}; plain files and charts have none")
        return False

    def _not_here(self, one: Manifest, name: str, target: str, why: str) -> None:
        next_step = "add a kustomization that lists its files, then name it in fleet.yaml"
        self.doubts.append(Doubt(one.where, f"{name} runs {target}, which cannot be taken over", why, next_step))

    def _add(self, one: Manifest, hint: Hint) -> None:
        self.hints.append(hint)
        self.handed.add(one.path)

    def _place_of(self, path: str) -> str:
        """The cluster whose Flux reads this file: where its start lies, else the directory below clusters/."""
        around = [root for root in self.roots if _is_below(path, root)]
        if around:
            return posixpath.basename(max(around, key=len))
        _, mark, after = f"/{path}".rpartition("/clusters/")
        return after.partition("/")[0] if mark and "/" in after else ""


def _through_artifact(name: str, target: str, generators: Sequence[Manifest]) -> str:
    """A path inside an artifact as the repo has it, by the generator's copy rules."""
    for one in generators:
        for artifact in items_at(one.document, "spec", "artifacts"):
            if text_at(artifact, "name") != name:
                continue
            for rule in items_at(artifact, "copy"):
                start = _normal(_ALIAS_PREFIX.sub("", text_at(rule, "to"), count=1))
                source = _normal(_ALIAS_PREFIX.sub("", text_at(rule, "from"), count=1).removesuffix("/**"))
                if start == "." or target == start or _is_below(target, start):
                    inside = target if start == "." else target.removeprefix(start).lstrip("/")
                    return _normal(posixpath.join(source, inside))
    return target


def _destination(spec: Mapping[str, Json]) -> str:
    name = text_at(spec, "destination", "name")
    return "" if name == "in-cluster" or "{{" in name else name


def _matches(directory: str, globs: Sequence[str]) -> bool:
    return any(directory.count("/") == glob.count("/") and fnmatchcase(directory, glob) for glob in globs)


def _filled(spec: Mapping[str, Json], value_of: Callable[[str], str | None]) -> Document:
    """The template with its placeholders filled; one without a value stays."""

    def fill(value: Json) -> Json:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(lambda match: value_of(match.group(1)) or match.group(0), value)
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return [fill(item) for item in value] if isinstance(value, list) else value

    return {key: fill(item) for key, item in spec.items()}
