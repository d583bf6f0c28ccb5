"""From a snapshot to the `Fleet` of its commit.

Each file is parsed once per content; a load that knows what changed since the one before touches only that: the
overlays whose own files changed are resolved anew, all others keep their units. What does not parse makes Unknown what
it defines and nothing else (R5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fleet.core.fleet import Fleet, Overlay, Unit, Unknown
from fleet.core.ids import OverlayName, UnitName
from fleet.core.problems import Problem
from fleet.core.targets import Holding
from fleet.inventory.clusters import JoinedClusters, join_clusters
from fleet.inventory.content import contents
from fleet.inventory.convert import FleetSettings, default_settings
from fleet.inventory.detours import detours_of, misleading_to_clusters, without_strays
from fleet.inventory.files import FLEET_FILE, OVERLAY_FILE, may_hold_clusters
from fleet.inventory.gate_jobs import job_files, job_problems
from fleet.inventory.layout import Holdings, Layout
from fleet.inventory.memo import Memo, overlays_to_resolve, probes_of
from fleet.inventory.overlays import Entry, JoinedOverlays, join_overlays, named_entry, needed_but_absent, read_entry
from fleet.inventory.read import (
    FleetFileResult,
    OverlayFileResult,
    read_cluster_file,
    read_fleet_file,
    read_overlay_file,
)
from fleet.inventory.resolve import Resolved, resolve
from fleet.inventory.rollouts import empty_steps, unread_steps
from fleet.inventory.surroundings import Surroundings
from fleet.inventory.windows import shut_for_ever
from fleet.ports.source import Snapshot
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    """A commit's fleet, how many documents of others were skipped, and what the next load builds on."""

    fleet: Fleet
    skipped: int
    _memo: Memo

    @property
    def clusters_directory(self) -> str | None:
        """Where Clusters may be written, as in files.py; None where fleet.yaml cannot be read."""
        return self._memo.settings.clusters_directory if self._memo.settings is not None else None


def load_fleet(snapshot: Snapshot, previous: Loaded | None = None, changed: frozenset[str] | None = None) -> Loaded:
    """Load one commit; never raises for what a person wrote.

    previous: the load of an earlier commit; changed: all paths that differ from that one, None where not known.
    """
    return _Loading(snapshot, previous, changed).run()


class _Loading:
    """One load. Steps in order; each takes over from the memo what cannot have changed."""

    def __init__(self, snapshot: Snapshot, previous: Loaded | None, changed: frozenset[str] | None) -> None:
        self.snapshot, self.previous = snapshot, previous
        self.old = previous._memo if previous is not None else Memo()  # pyright: ignore[reportPrivateUsage]
        known = changed is not None and self.old.layout is not None
        self.changed: frozenset[str] | None = changed if known else None
        self.new = Memo(
            overlay_files=self.old.overlay_files,
            overlay_names=self.old.overlay_names,
            holdings=self.old.holdings,
            links=self.old.links,
            linked=dict(self.old.linked),
        )
        self.holdings = Holdings(snapshot, self.new.holdings)

    def run(self) -> Loaded:
        settings = self._read_fleet_file()
        if settings is None:
            return self._everything_unknown()
        if settings is not self.old.settings:
            self.changed = None
        self.new.settings = settings
        self.new.shelf = self.old.shelf.carried(self.snapshot, settings.clusters_directory, self.changed)
        clusters = self._join_clusters(settings)
        touched = self._layout(settings)
        refreshed = self._entries(settings, touched)
        overlays = self._join_overlays(refreshed)
        again = None if refreshed is None else overlays_to_resolve(self.old, self.new, refreshed, self.changed or ())
        self._resolve(overlays, clusters, settings, again)
        return self._assemble(settings, clusters, overlays, again)

    # fleet.yaml

    def _read_fleet_file(self) -> FleetSettings | None:
        entry = self.snapshot.tree.get(FLEET_FILE)
        if self.old.fleet_result is not None and self.old.fleet_entry == entry:
            result = self.old.fleet_result
        elif entry is None:
            result = FleetFileResult(default_settings(FLEET_FILE))
        else:
            ((_, content),) = contents(self.snapshot, [FLEET_FILE])
            result = read_fleet_file(FLEET_FILE, content)
        self.new.fleet_entry, self.new.fleet_result = entry, result
        return result.settings

    def _everything_unknown(self) -> Loaded:
        result = self.new.fleet_result or FleetFileResult(None)
        name = self.previous.fleet.name if self.previous is not None else "default"
        unknown = Unknown(everything=result.problems[0])
        # What changed while nothing could be read is not known to the next load: it walks the tree.
        self.new.shelf, self.new.settings = self.old.shelf, self.old.settings
        self.new.misleading = self.old.misleading
        fleet = Fleet(self.snapshot.revision, name=name, unknown=unknown, problems=result.problems)
        return Loaded(fleet, result.skipped, self.new)

    # clusters

    def _join_clusters(self, settings: FleetSettings) -> JoinedClusters:
        if self.changed is not None and self.old.clusters is not None and self.new.shelf.same_as(self.old.shelf):
            joined = self.old.clusters
        else:
            joined = join_clusters(self.new.shelf, settings)
        self.new.clusters = joined
        return joined

    # overlays

    def _layout(self, settings: FleetSettings) -> set[str] | None:
        """Find the overlay directories; return those that changed, None for all."""
        if self.changed is None or self.old.layout is None:
            self.new.layout = Layout.of(self.snapshot, settings.sources)
            self._take_detours(self.new.layout, settings)
            return None
        self.new.layout, touched = self.old.layout.carried(self.snapshot.tree, self.changed)
        return touched | self._take_detours(self.new.layout, settings)

    def _take_detours(self, layout: Layout, settings: FleetSettings) -> set[str]:
        def is_near(path: str) -> bool:
            return layout.is_near(path) or may_hold_clusters(path, settings.clusters_directory)

        self.holdings.links = layout.links
        near = [path for path in sorted(layout.links) if is_near(path)]
        entries = {self.snapshot.tree[path] for path in layout.links}
        known = {entry: content for entry, content in self.old.links.items() if entry in entries}
        self.new.links = known
        detours = detours_of(self.snapshot, near, self.holdings.of, known)
        detours = without_strays(self.snapshot, detours, self._ours(layout, settings))
        touched = layout.take(detours)
        found: list[Problem | None] = []
        directory = settings.clusters_directory
        to_clusters = misleading_to_clusters(self.snapshot, detours, directory, known, self.new.linked)
        for path, detour in detours.items():
            if path in to_clusters:
                found.append(read_cluster_file(path, detour.content).nameless)
            elif layout.misleads(path, detour):
                found.append(read_overlay_file(path, detour.content).problem)
        self.new.misleading = tuple(problem for problem in found if problem is not None)
        return touched

    def _ours(self, layout: Layout, settings: FleetSettings) -> Iterator[str]:
        """Where fleet.yaml, or what is known of commits before, puts Clusters and overlays."""
        yield settings.clusters_directory
        yield from (source.glob for source in layout.sources)
        yield from self.old.shelf.files
        yield from tuple(self.old.overlay_names)  # other loads may add to both
        yield from tuple(self.old.holdings)
        yield from (problem.origin.path for problem in self.old.misleading)

    def _entries(self, settings: FleetSettings, touched: set[str] | None) -> set[str] | None:
        """Read overlay.yaml of what changed; return the keys of entries that are new, gone or different."""
        layout = self.new.layout
        assert layout is not None  # set by _layout
        if touched is None:
            files = [f"{name}/{OVERLAY_FILE}" for name, found in layout.directories.items() if found.has_file]
            self._overlay_files(files)
            entries = {
                name: self._entry(name, settings) for name in layout.directories if self._is_overlay(layout, name)
            }
            named = [named_entry(source.named, settings) for source in settings.sources if source.named is not None]
            self.new.entries = entries | {f"entry {index}": entry for index, entry in enumerate(named)}
            return None
        self.new.entries = dict(self.old.entries) if touched else self.old.entries
        for directory in touched:
            self.new.entries.pop(directory, None)
            if directory in layout.directories and self._is_overlay(layout, directory):
                self.new.entries[directory] = self._entry(directory, settings)
        return touched

    def _is_overlay(self, layout: Layout, directory: str) -> bool:
        """A directory of Components alone is a shelf for others."""
        found = layout.directories[directory]
        if found.has_file or found.detours:
            return True
        return any(self.holdings.of(k) is Holding.KUSTOMIZATION for k in found.kustomizations)

    def _overlay_files(self, paths: Iterable[str]) -> dict[str, OverlayFileResult]:
        known = self.new.overlay_files
        wanted = {path: self.snapshot.tree[path] for path in paths}
        unread = [path for path, entry in wanted.items() if path not in known or known[path][0] != entry]
        for path, content in contents(self.snapshot, unread):
            known[path] = (wanted[path], read_overlay_file(path, content))
        return {path: known[path][1] for path in wanted}

    def _entry(self, directory: str, settings: FleetSettings) -> Entry:
        layout = self.new.layout
        assert layout is not None  # set by _layout
        found = layout.directories[directory]
        result = OverlayFileResult()
        if directory in found.detours:
            result = read_overlay_file(directory, layout.detours[directory].content)
        elif found.has_file:
            path = f"{directory}/{OVERLAY_FILE}"
            result = self._overlay_files([path])[path]
        entry = read_entry(found, result, settings, self.new.overlay_names.get(directory))
        if entry.overlay is not None:
            self.new.overlay_names[directory] = entry.name
        return entry

    def _join_overlays(self, refreshed: set[str] | None) -> JoinedOverlays:
        if refreshed is not None and self.old.overlays is not None and not refreshed:
            joined = self.old.overlays
        else:
            joined = join_overlays(self.new.entries)
        self.new.overlays = joined
        return joined

    def _resolve(
        self,
        overlays: JoinedOverlays,
        clusters: JoinedClusters,
        settings: FleetSettings,
        again: set[OverlayName] | None,
    ) -> None:
        if again is not None and not again:
            self.new.resolved, self.new.probes = self.old.resolved, self.old.probes
            return
        around = Surroundings(
            clusters=clusters.clusters,
            environments=settings.environments,
            variables=settings.variables,
            teams=settings.teams,
            holdings=self.holdings,
            unknown_clusters=(*clusters.unknown, *clusters.unnamed, *self.new.misleading),
        )
        self.new.resolved = {} if again is None else dict(self.old.resolved)
        for name in overlays.overlays if again is None else again:
            overlay = overlays.overlays.get(name)
            if overlay is None:
                self.new.resolved.pop(name, None)
            else:
                self.new.resolved[name] = resolve(overlay, around, self._kustomizations(overlay))
        self.new.probes = probes_of(self.old, self.new.resolved, again)

    def _kustomizations(self, overlay: Overlay) -> set[str]:
        layout = self.new.layout
        found = layout.directories.get(overlay.directory) if layout is not None else None
        return found.kustomizations if found is not None else set()

    # the whole

    def _assemble(
        self,
        settings: FleetSettings,
        clusters: JoinedClusters,
        overlays: JoinedOverlays,
        again: set[OverlayName] | None,
    ) -> Loaded:
        units = self._units(again)
        unknown_units: dict[UnitName, Problem] = {}
        problems = list(self.new.fleet_result.problems) if self.new.fleet_result is not None else []
        problems += clusters.problems
        problems += overlays.problems
        problems += self.new.misleading
        problems += needed_but_absent(overlays.overlays)
        problems += shut_for_ever(settings.sync, overlays.overlays.values())
        for resolved in self.new.resolved.values():
            problems += resolved.problems
            if resolved.unknown:
                unknown_units.update(resolved.unknown)
        if clusters is self.old.clusters and overlays is self.old.overlays:
            incomplete = self.old.incomplete
        else:
            incomplete = clusters.naming_problems(overlays.overlays, overlays.unknown)
        self.new.incomplete = incomplete
        problems += incomplete.values()
        policies = [settings.rollout, *(each.rollout for each in overlays.overlays.values() if each.rollout.own_steps)]
        problems += unread_steps(policies)
        unnamed = (*clusters.unnamed, *overlays.unnamed, *self.new.misleading)
        may_miss_some = clusters.unknown or clusters.unnamed or self.new.misleading
        if not may_miss_some:  # else what is missing may be among what could not be read
            problems += empty_steps(settings.rollout, list(clusters.clusters.values()), "the fleet")
            problems += job_problems(policies, self.snapshot, clusters.clusters, settings.teams)
        unknown = Unknown(
            clusters=clusters.unknown,
            overlays=overlays.unknown,
            units=unknown_units,
            incomplete=incomplete,
            unnamed=unnamed,
            identities=clusters.identities,
        )
        fleet = Fleet(
            commit=self.snapshot.revision,
            name=settings.name,
            environments=settings.environments,
            clusters=clusters.clusters,
            overlays=overlays.overlays,
            units=units,
            unknown=unknown,
            problems=tuple(sorted(problems, key=lambda p: (p.severity.value, p.origin))),
            variables=settings.variables,
            budget=settings.budget,
            teams=settings.teams,
            suspend=settings.suspend,
            sync=settings.sync,
            rollout=settings.rollout,
            override_approvals=settings.override_approvals,
            gate_jobs=job_files(policies, self.snapshot),
        )
        skipped = self.new.shelf.skipped + sum(entry.skipped for entry in self.new.entries.values())
        return Loaded(fleet, skipped, self.new)

    def _units(self, again: set[OverlayName] | None) -> Mapping[UnitName, Unit]:
        if again is None or self.previous is None:
            return {unit.name: unit for resolved in self.new.resolved.values() for unit in resolved.units}
        if not again:
            return self.previous.fleet.units  # the very same: whoever compares sees at once that nothing changed
        units = dict(self.previous.fleet.units)
        for name in again:
            for unit in self.old.resolved.get(name, Resolved()).units:
                del units[unit.name]
            for unit in self.new.resolved.get(name, Resolved()).units:
                units[unit.name] = unit
        return units
