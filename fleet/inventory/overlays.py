"""All overlays of a commit, each from its directory, its overlay.yaml and fleet.yaml; one per name (R2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from fleet.core.fleet import Overlay, OverlayState
from fleet.core.ids import OverlayName, is_dns_subdomain
from fleet.core.nearest import nearest
from fleet.core.problems import Origin, Problem, Severity
from fleet.inventory.convert import Draft, FleetSettings, rollout_of, silent_draft, sync_of
from fleet.inventory.files import OVERLAY_FILE
from fleet.inventory.layout import OverlayDirectory, default_name
from fleet.inventory.read import OverlayFileResult
from fleet.inventory.rights import narrowed, teams_of, widened_fields
from fleet.values import dataclass

_EFFECT = "the overlay stays as it was on its clusters; nothing is deleted, all others go on"


@dataclass(frozen=True, slots=True)
class Entry:
    """One overlay directory or named overlay. No `overlay`: it is Unknown because of the first problem."""

    name: OverlayName
    overlay: Overlay | None
    problems: tuple[Problem, ...] = ()
    skipped: int = 0
    unnamed: bool = False  # it may have defined another name than `name`


def read_entry(
    found: OverlayDirectory, result: OverlayFileResult, settings: FleetSettings, before: OverlayName | None
) -> Entry:
    """Join directory and file. before: the name under which this directory was known when it last could be read."""
    named_by_directory = OverlayName(default_name(found.directory, found.source.glob))
    if result.problem is not None:
        name = result.name or before or named_by_directory
        unnamed = result.nameless and before is None
        return Entry(name, None, result.problems, result.skipped, unnamed)
    draft = result.draft or silent_draft(Origin(found.directory))
    name = draft.overlay.name or named_by_directory
    if not is_dns_subdomain(name):
        problem = Problem(
            Severity.ERROR,
            "NameInvalid",
            f"directory {found.directory} gives an overlay no name that Kubernetes can carry",
            draft.overlay.origin,
            why=f"{name!r} is not made of lower-case letters, digits, - and . alone",
            effect=_EFFECT,
            next_step="rename it, or give metadata.name in its overlay.yaml",
        )
        return Entry(name, None, (problem,), result.skipped, unnamed=True)
    finished = _finished(draft, name, found.directory, found.source.paths, settings)
    if isinstance(finished, Problem):
        return Entry(name, None, (finished,), result.skipped)
    return Entry(name, finished, (), result.skipped)


def named_entry(draft: Draft, settings: FleetSettings) -> Entry:
    """An overlay of fleet.yaml with a name and one path template from the root."""
    finished = _finished(draft, draft.overlay.name, "", draft.overlay.paths, settings)
    if isinstance(finished, Problem):
        return Entry(draft.overlay.name, None, (finished,))
    return Entry(draft.overlay.name, finished)


def _finished(
    draft: Draft, name: OverlayName, directory: str, paths: tuple[str, ...], settings: FleetSettings
) -> Overlay | Problem:
    teams = teams_of(directory, settings.teams) if directory else []
    if len(teams) > 1:
        return _refused(
            f"{directory} belongs to two teams, {teams[0].name} and {teams[1].name}",
            settings.origin,
            "rights over a directory are one team's",
            "correct dirs: in fleet.yaml",
        )
    if teams:
        widened = widened_fields(draft.sync, settings.sync)
        if widened:
            return _refused(
                f"{name} of team {teams[0].name} widens sync.{widened[0]}",
                draft.sync_origin,
                "in a team's directory settings may only be narrower than the fleet's",
                f"take {', '.join(widened)} out, or ask the owners of fleet.yaml",
            )
        if draft.rollout is not None and draft.rollout.steps is not None:
            return _refused(
                f"{name} of team {teams[0].name} gives rollout steps of its own",
                draft.rollout.origin,
                "in a team's directory settings may only be narrower than the fleet's",
                "take steps out, or ask the owners of fleet.yaml",
            )
    suspend = draft.overlay.suspend
    return replace(
        draft.overlay,
        name=name,
        directory=directory,
        paths=paths,
        sync=narrowed(draft.sync, settings.sync, draft.windows_origin)
        if teams
        else sync_of(draft.sync, settings.sync, draft.windows_origin),
        rollout=rollout_of(draft.rollout, settings.rollout, is_own=True),
        team=teams[0].name if teams else "",
        suspend=replace(suspend, scope=f"overlay {name}") if suspend is not None else None,
    )


def _refused(what: str, origin: Origin, why: str, next_step: str) -> Problem:
    return Problem(Severity.ERROR, "NotAllowedForTeam", what, origin, why=why, effect=_EFFECT, next_step=next_step)


@dataclass(frozen=True, slots=True)
class JoinedOverlays:
    """The overlays that can be used, those that cannot, and why."""

    overlays: Mapping[OverlayName, Overlay]
    unknown: Mapping[OverlayName, Problem]
    unnamed: tuple[Problem, ...]
    problems: tuple[Problem, ...]


def join_overlays(entries: Mapping[str, Entry]) -> JoinedOverlays:
    """Join all entries: one overlay per name, dependencies that exist and form no ring."""
    by_name: defaultdict[OverlayName, list[Entry]] = defaultdict(list)
    problems: list[Problem] = []
    unknown: dict[OverlayName, Problem] = {}
    unnamed: list[Problem] = []
    for key in sorted(entries):
        entry = entries[key]
        by_name[entry.name].append(entry)
        if entry.problems:
            problems.extend(entry.problems)
            unknown[entry.name] = entry.problems[0]
            if entry.unnamed:
                unnamed.append(entry.problems[0])
    for name, found in by_name.items():
        defined = [entry.overlay for entry in found if entry.overlay is not None]
        if len(found) > 1 and defined:
            problem = _duplicate(name, defined, found)
            problems.append(problem)
            unnamed.append(problem)  # one of them had another name before, and that one is not gone
            unknown[name] = problem
    overlays = {
        name: found[0].overlay
        for name, found in by_name.items()
        if name not in unknown and found[0].overlay is not None
    }
    refused = {**_missing_dependencies(overlays, unknown), **_rings(overlays)}
    problems.extend(dict.fromkeys(refused.values()))
    for name, problem in refused.items():
        unknown[name] = problem
        overlays.pop(name, None)
    return JoinedOverlays(overlays, unknown, tuple(unnamed), tuple(problems))


def _duplicate(name: OverlayName, defined: list[Overlay], found: list[Entry]) -> Problem:
    places = [overlay.origin for overlay in defined]
    places += [entry.problems[0].origin for entry in found if entry.overlay is None]
    return Problem(
        Severity.ERROR,
        "DuplicateName",
        f"overlay {name} is defined {len(found)} times",
        places[1],
        also=(places[0], *places[2:]),
        why="names are unique in a fleet",
        effect=_EFFECT,
        next_step=f"give one of them another metadata.name in its {OVERLAY_FILE}",
    )


def _missing_dependencies(
    overlays: Mapping[OverlayName, Overlay], unknown: Mapping[OverlayName, Problem]
) -> dict[OverlayName, Problem]:
    refused: dict[OverlayName, Problem] = {}
    for name, overlay in overlays.items():
        missing = [other for other in overlay.depends_on if other not in overlays and other not in unknown]
        if missing:
            close = nearest(missing[0], [str(other) for other in overlays if other != name])
            refused[name] = Problem(
                Severity.ERROR,
                "FieldInvalid",
                f"{name} depends on {missing[0]}, which does not exist",
                overlay.origin,
                effect=_EFFECT,
                next_step=f"did you mean {close}?" if close else "correct dependsOn",
            )
    return refused


def needed_but_absent(overlays: Mapping[OverlayName, Overlay]) -> tuple[Problem, ...]:
    """Overlays that are to be removed although others that stay depend on them: they wait for those."""
    return tuple(
        Problem(
            Severity.WARNING,
            "FieldInvalid",
            f"{name} depends on {other}, which is state: absent",
            overlay.origin,
            also=(overlays[other].origin,),
            effect=f"{other} stays on the clusters of {name} until {name} is removed, too",
            next_step=f"take {other} out of dependsOn, or set {name} to state: absent",
        )
        for name, overlay in overlays.items()
        if overlay.state is OverlayState.PRESENT
        for other in overlay.depends_on
        if other in overlays and overlays[other].state is OverlayState.ABSENT
    )


def _rings(overlays: Mapping[OverlayName, Overlay]) -> dict[OverlayName, Problem]:
    graph: dict[OverlayName, set[OverlayName]] = {}
    graph |= {name: set(overlay.depends_on) for name, overlay in overlays.items() if overlay.depends_on}
    refused: dict[OverlayName, Problem] = {}
    while graph:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            ring: list[OverlayName] = list(dict.fromkeys(error.args[1]))
            problem = Problem(
                Severity.ERROR,
                "FieldInvalid",
                f"overlays wait for one another: {' > '.join([*ring, ring[0]])}",
                overlays[ring[0]].origin,
                also=tuple(overlays[name].origin for name in ring[1:]),
                effect="these overlays stay as they were; nothing is deleted, all others go on",
                next_step="take one dependsOn out",
            )
            refused.update(dict.fromkeys(ring, problem))
            graph = {name: others for name, others in graph.items() if name not in refused}
        else:
            break
    return refused
