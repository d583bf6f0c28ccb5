"""The closure of a build: every file it can open, and every name it probes and finds absent.

Pure reading over one commit. It refuses what must not be built (R27), with file and line, before any process starts;
a field that it does not know widens the closure to the whole commit.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Iterable

from fleet.core.problems import Origin
from fleet.core.symlinks import EscapesCommit, Place, What
from fleet.errors import (
    DocumentInvalid,
    FleetError,
    PathEscapes,
    PathMissing,
    PluginRefused,
    RemoteBaseRefused,
    RenderFailed,
    RenderTooLarge,
    ResourceMissing,
)
from fleet.render.charts import chart_missing, find_chart
from fleet.render.inline import is_text
from fleet.render.inputs import Closure
from fleet.render.mentions import CLUSTER_FACTS, FILE_NAMES, ChartUse, Kustomization, Mention, Role
from fleet.render.reader import Reader
from fleet.render.remote import is_remote_file, is_repository, looks_remote
from fleet.render.tree import CommitTree

_NESTED_BASES = 64  # each takes a part of Python's own stack
# Of one walk, in all files that decide what belongs to it: about a second of the hub's own loop, which nothing can
# interrupt. Of the public repos that we test with, the largest has 460 values and 10 kB.
VISITS_PER_WALK = 100_000
BYTES_PER_WALK = 8 << 20
_NEAR_NAMES, _NEAR_LENGTH = 500, 64  # that did-you-mean compares: its time grows with the square of a name's length


def read_closure(
    tree: CommitTree, reader: Reader, path: str, components: tuple[str, ...] = (), *, charts: bool = False
) -> Closure:
    """Walk from a unit's directory and its components; never raises for what the repo says, see `Closure.error`.

    charts: whether the hub's own configuration allows charts (R27).
    """
    walk = _Walk(tree, reader, charts)
    try:
        walk.run(path, components)
    except FleetError as error:
        walk.closure.error = error
    return walk.closure


class _Walk:
    def __init__(self, tree: CommitTree, reader: Reader, charts: bool) -> None:
        self.tree = tree
        self.charts = charts
        self.reader = reader
        self.closure = Closure("")
        self._facts: set[str] | None = set()
        self._depth = 0
        self._visits_left, self._bytes_left = VISITS_PER_WALK, BYTES_PER_WALK

    def run(self, path: str, components: tuple[str, ...]) -> None:
        closure = self.closure
        closure.root = self._start(path)
        root = self._visit(closure.root)
        closure.order = dict(root.order)
        closure.root_is_component = root.kind == "Component"
        found: list[str] = []
        for component in components:
            found.append(self._start(component))
            self._visit(found[-1])
        if closure.widened:
            self._widen()
        closure.components = tuple(found)
        closure.facts = None if self._facts is None else frozenset(self._facts)

    def _start(self, path: str) -> str:
        try:
            place = self.tree.resolve("", path)
        except EscapesCommit as error:
            self._note_links(error.links)
            raise PathEscapes(
                f"{path} is not in this repo",
                where=path,
                why=error.why,
                next_step="correct the path, or the link that it goes through",
            ) from None
        self._note(place)
        if place.what is not What.DIRECTORY:
            raise PathMissing(
                f"the directory {path} is not in this commit",
                where=path,
                why="a unit names it; a missing directory is never read as empty",
                next_step="restore it, or take the unit out of the repo to detach it",
            )
        return place.path

    def _note_links(self, links: Iterable[str]) -> None:
        for link in links:
            self.closure.links[link] = self.tree.entries[link].oid

    def _note(self, place: Place) -> None:
        self._note_links(place.links)
        if place.what is What.FILE:
            self.closure.files[place.path] = self.tree.entries[place.path].oid
        elif place.what in (What.ABSENT, What.SUBMODULE):
            self.closure.absent.add(place.path)

    def _visit(self, directory: str) -> Kustomization:
        """Read one directory's kustomization and all it names; a cycle is left to kustomize to report."""
        path = self.closure.kustomizations.get(directory) or self._find(directory)
        self.closure.read.add(path)
        try:
            found = self.reader.kustomization(self.tree, path)
        except DocumentInvalid as error:
            raise _at_file(error, path) from None
        if directory in self.closure.kustomizations:
            return found
        self.closure.kustomizations[directory] = path
        self._spend(found.visits, found.size, path)
        self._take(found, path, directory)
        return found

    def _find(self, directory: str) -> str:
        paths: list[str] = []
        for name in FILE_NAMES:
            place = self._resolve(directory, Mention(Role.FILE, name, 0, "kustomization"), directory)
            self._note(place)
            if place.what is What.FILE:
                paths.append(place.path)
        if not paths:
            raise PathMissing(
                f"{directory or 'the root'} holds no kustomization.yaml",
                where=directory,
                why="a directory without one cannot be built",
                next_step=f"add {directory or '.'}/kustomization.yaml",
            )
        if len(paths) > 1:
            raise RenderFailed(
                f"{directory or 'the root'} holds more than one kustomization file",
                where=" and ".join(paths),
                why="kustomize cannot choose",
                next_step="keep one",
            )
        return paths[0]

    def _take(self, found: Kustomization, path: str, directory: str) -> None:
        closure = self.closure
        for refusal in found.refusals:
            raise PluginRefused(
                f"{refusal.what} is refused",
                where=str(Origin(path, refusal.line)),
                why=refusal.why,
                next_step="render it once and keep the result in the repo",
            )
        for name, line in found.unknown:
            closure.widened.append(f"{Origin(path, line)}: the field {name} is not known")
        for text, line in found.unknown_texts:
            self._refuse_unsafe(text, Origin(path, line), directory)
        closure.inline_merge_patch |= found.inline_merge_patch
        closure.openapi |= found.openapi
        closure.secret_texts.update(found.secret_texts)
        self._take_facts(found)
        for chart in found.charts:
            self._take_chart(chart, found.chart_home, path, directory)
        for mention in found.mentions:
            self._follow(mention, path, directory, found)

    def _take_chart(self, chart: ChartUse, home: str, path: str, directory: str) -> None:
        origin = Origin(path, chart.line)
        if not self.charts:
            raise PluginRefused(
                "helmCharts is refused",
                where=str(origin),
                why="charts are built only where the hub's own configuration allows it",
                next_step="render it once and keep the result in the repo, or set FLEET_ALLOW_CHARTS on the hub",
            )
        place = self._resolve(directory, Mention(Role.FILE, home, chart.line, "helmGlobals.chartHome"), path)
        self._note(place)
        found = find_chart(self.tree, place.path, chart)
        self.closure.absent.update(found.absent)
        if not found.files:
            raise chart_missing(chart, found, origin)
        for file in found.files:
            mention = Mention(Role.FILE, file, chart.line, "helmCharts")
            place = self._resolve("", mention, path)
            self._note(place)
            if found.archive and place.what is not What.FILE:
                raise self._missing(mention, place, origin, directory)
            if found.archive:
                self.closure.charts[place.path] = found.directory
        if not found.archive:
            self.closure.listed.add(found.directory)
        self.closure.uses_charts = True

    def _take_facts(self, found: Kustomization) -> None:
        if found.facts_mentions > found.facts_known:
            self._facts = None
        elif self._facts is not None:
            self._facts |= found.facts

    def _follow(self, mention: Mention, path: str, directory: str, found: Kustomization) -> None:
        origin = Origin(path, mention.line)
        if is_remote_file(mention.text):
            raise _remote(mention, origin)
        place = self._resolve(directory, mention, path)
        if place.what is What.FILE and mention.role is not Role.COMPONENT:
            self._note(place)
            self._take_file(mention, place.path, found, directory)
        elif place.what is What.DIRECTORY and mention.role in (Role.RESOURCE, Role.COMPONENT):
            self._note(place)
            if is_repository(mention.text):
                raise _remote(mention, origin)
            self._visit_named(place.path, mention, origin)
        else:
            self._note(place)
            raise self._missing(mention, place, origin, directory)

    def _visit_named(self, directory: str, mention: Mention, origin: Origin) -> None:
        self._depth += 1
        if self._depth > _NESTED_BASES:
            raise RenderFailed(
                "bases are nested too deeply",
                where=str(origin),
                why=f"more than {_NESTED_BASES} name one another in a row",
                next_step="name them from one place",
            )
        try:
            self._visit(directory)
        except PathMissing as error:
            raise ResourceMissing(
                f"{_shown(mention)} cannot be built",
                where=str(origin),
                why=f"{directory or 'the root'} holds no kustomization.yaml",
                next_step=error.next_step,
            ) from None
        self._depth -= 1

    def _take_file(self, mention: Mention, path: str, found: Kustomization, directory: str) -> None:
        closure = self.closure
        text = mention.text
        if text in found.patch_files:
            closure.patch_files.add(path)
        if text in found.crds:
            closure.crds.add(path)
        if text in found.secret_files:
            closure.secret_files.add(path)
        if mention.role is Role.PLUGIN:
            closure.read.add(path)
            try:
                plugins = self.reader.plugins(self.tree, path, mention.field)
            except DocumentInvalid as error:
                raise _at_file(error, path) from None
            self._spend(plugins.visits, plugins.size, path)
            self._take(plugins, path, directory)
        elif mention.field == "replacements.path":
            closure.read.add(path)
            raw = self.tree.snapshot.read(path)
            self._spend(0, len(raw), path)
            if CLUSTER_FACTS.encode() in raw:
                self._facts = None

    def _spend(self, visits: int, size: int, path: str) -> None:
        """Count a file before it is followed; raises RenderTooLarge. One that is named again is followed again."""
        self._visits_left -= visits
        self._bytes_left -= size
        if self._visits_left < 0 or self._bytes_left < 0:
            raise RenderTooLarge(
                f"what {self.closure.root or 'the root'} is built on says too much",
                where=path,
                why=f"more than {VISITS_PER_WALK} values or {BYTES_PER_WALK} bytes in its kustomizations and bases",
                next_step="split the overlay",
            )

    def _resolve(self, directory: str, mention: Mention, path: str) -> Place:
        try:
            return self.tree.resolve(directory, mention.text)
        except EscapesCommit as error:
            self._note_links(error.links)  # what mends it may touch nothing else
            origin = Origin(path, mention.line)
            if is_repository(mention.text):
                raise _remote(mention, origin) from None
            raise PathEscapes(
                f"{_shown(mention)} is not in this repo",
                where=str(origin),
                why=error.why,
                next_step="name a file of this repo",
            ) from None

    def _missing(self, mention: Mention, place: Place, origin: Origin, directory: str) -> FleetError:
        if place.what is What.ABSENT and (is_repository(mention.text) or looks_remote(mention.text)):
            return _remote(mention, origin)
        next_step = "put it into the repo, or correct the line"
        if place.what is What.SUBMODULE:
            why = f"{place.path} is a submodule, and submodules are not fetched"
        elif place.what is What.DIRECTORY and mention.role is Role.PLUGIN:
            return PluginRefused(
                f"{mention.field}: {_shown(mention)} is refused",
                where=str(origin),
                why="a directory of plugins is built first, so that what would be run cannot be read beforehand",
                next_step="name the file of the configuration",
            )
        elif place.what is What.ABSENT:
            why, near = "no such file", self._near(mention.text, place.path, directory)
            next_step = f"did you mean {near}? Else {next_step}" if near else next_step
        else:
            why = f"it is a {place.what.value}, and {mention.field} takes the other"
        return ResourceMissing(f"{_shown(mention)} cannot be read", where=str(origin), why=why, next_step=next_step)

    def _near(self, text: str, absent: str, directory: str) -> str:
        parent, _, name = absent.rpartition("/")
        if len(name) > _NEAR_LENGTH:
            return ""
        names = [other for other in self.tree.names_in(parent) if len(other) <= _NEAR_LENGTH]
        at = bisect_left(names, name)
        around = names[max(at - _NEAR_NAMES // 2, 0) :][:_NEAR_NAMES]  # of very many those that begin alike
        near = difflib.get_close_matches(name, around, n=1, cutoff=0.7)
        if not near:
            return ""
        start = text.rpartition("/")[0]
        return f"{start}/{near[0]}" if start and text.endswith(name) else near[0]

    def _refuse_unsafe(self, text: str, origin: Origin, directory: str) -> None:
        """In a field that is not known each text could be a path: none may lead out, none may be an address."""
        mention = Mention(Role.FILE, text, origin.line, "unknown field")
        if is_remote_file(text) or is_repository(text):
            raise _remote(mention, origin)
        self._resolve(directory, mention, origin.path)

    def _widen(self) -> None:
        closure = self.closure
        for path, entry in self.tree.entries.items():
            try:
                place = self.tree.resolve("", path)
            except EscapesCommit:
                continue  # such a link is not written out, so that the build cannot follow it
            if place.links:
                closure.links[path] = entry.oid
            elif place.what is What.FILE:
                closure.files[path] = entry.oid


def _at_file(error: DocumentInvalid, path: str) -> DocumentInvalid:
    line = error.where.removeprefix("line ").partition(",")[0]
    where = f"{path}:{line}" if line.isdigit() else path
    return DocumentInvalid(error.what, where=where, why=error.why, next_step=error.next_step)


def _shown(mention: Mention) -> str:
    return f"a text in {mention.field}, taken for a path," if is_text(mention.text) else mention.text


def _remote(mention: Mention, origin: Origin) -> RemoteBaseRefused:
    return RemoteBaseRefused(
        f"{_shown(mention)} is refused",
        where=str(origin),
        why="kustomize would fetch it from the network, where it can change without a commit",
        next_step=f"fleet vendor base '{_shown(mention)}', and name the copy"
        if is_repository(mention.text)
        else "copy it into the repo and name the copy",
    )
