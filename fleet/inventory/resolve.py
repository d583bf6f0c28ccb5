"""One overlay on its clusters: which units there are, where each is built and with which values.

What cannot be determined becomes an Unknown unit with its problem; problems that are alike are told once, with the
clusters they concern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleet.core.fleet import (
    Cluster,
    Overlay,
    OverlayState,
    OverlayUse,
    TeamRights,
    Unit,
)
from fleet.core.ids import UnitName
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.selection import Variable
from fleet.core.targets import (
    Choice,
    ClusterIndex,
    Contradiction,
    Found,
    Holding,
    NotFound,
    choice_of,
    find_path,
    join,
    selected,
)
from fleet.inventory.rights import may_run_on, outside
from fleet.inventory.rollouts import empty_steps, unclaimed
from fleet.inventory.surroundings import Surroundings
from fleet.inventory.unmatched import runs_nowhere, sibling_warnings, target_warnings
from fleet.values import dataclass, field

_KEPT = "these units stay as they are; nothing is deleted"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one overlay comes to. `probed`: directories outside its own that decided it."""

    units: tuple[Unit, ...] = ()
    unknown: Mapping[UnitName, Problem] = field(default_factory=dict[UnitName, Problem])
    problems: tuple[Problem, ...] = ()
    probed: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Complaints:
    """Problems of one overlay by what they say, each with the clusters that it concerns."""

    overlay: Overlay
    index: ClusterIndex
    found: dict[Problem, list[Cluster]] = field(default_factory=dict[Problem, "list[Cluster]"])

    def add(self, cluster: Cluster, problem: Problem) -> None:
        """`problem.what` follows after `web on eu-1`."""
        self.found.setdefault(problem, []).append(cluster)

    def told(self) -> tuple[tuple[Problem, ...], dict[UnitName, Problem]]:
        """The problems in words, and the units that each makes Unknown."""
        problems: list[Problem] = []
        unknown: dict[UnitName, Problem] = {}
        for problem, clusters in self.found.items():
            where = clusters_in_words(clusters, self.index)
            full = replace(problem, what=f"{self.overlay.name} {problem.what} {where}")
            problems.append(full)
            unknown.update({UnitName(self.overlay.name, cluster.name): full for cluster in clusters})
        return tuple(problems), unknown


def clusters_in_words(clusters: Sequence[Cluster], index: ClusterIndex) -> str:
    """`on eu-1`, `for 16 clusters (environment prod)`, `for 5 clusters (eu-1, eu-2, eu-3, 2 more)`."""
    if len(clusters) == 1:
        return f"on {clusters[0].name}"
    stages = {cluster.environment for cluster in clusters}
    stage = next(iter(stages))
    if len(stages) == 1 and stage and len(index.by_environment[stage]) == len(clusters):
        return f"for {len(clusters)} clusters (environment {stage})"
    names = sorted(str(cluster.name) for cluster in clusters)
    more = f", {len(names) - 3} more" if len(names) > 3 else ""
    return f"for {len(clusters)} clusters ({', '.join(names[:3])}{more})"


@dataclass(frozen=True, slots=True)
class _Placement:
    """An overlay wanted on a cluster."""

    cluster: Cluster
    choice: Choice
    entry: Mapping[str, Variable]


def resolve(overlay: Overlay, around: Surroundings, kustomizations: frozenset[str] | set[str]) -> Resolved:
    """The units of one overlay. `kustomizations`: the directories below its own that hold one."""
    complaints = _Complaints(overlay, around.index)
    probed: set[str] = set()
    units: list[Unit] = []
    placements = _placements(overlay, around, complaints)
    wanted = {placement.cluster.name: placement.cluster for placement in placements}
    left, no_step = unclaimed(overlay, wanted, around.environments)
    if no_step is not None:
        for name in left:
            complaints.add(wanted[name], no_step)
    for placement in placements:
        unit = _unit(overlay, placement, around, complaints, probed)
        if unit is not None:
            units.append(unit)
    problems, unknown = complaints.told()
    if overlay.rollout.own_steps and around.all_known:
        problems += empty_steps(overlay.rollout, list(wanted.values()), f"overlay {overlay.name}")
    used = {unit.path for unit in units}
    warnings: list[Problem] = []
    if around.all_known:  # else what is missing may be among what could not be read
        warnings += target_warnings(overlay, around)
        warnings += sibling_warnings(overlay, around, kustomizations, used)
        if overlay.targets is None and overlay.name not in around.uses and around.index.clusters:
            warnings.append(runs_nowhere(overlay))
    inside = overlay.directory + "/"
    outside_probes = frozenset(p for p in probed if p != overlay.directory and not p.startswith(inside))
    return Resolved(
        tuple(unit for unit in units if unit.name not in unknown), unknown, (*problems, *warnings), outside_probes
    )


def _placements(overlay: Overlay, around: Surroundings, complaints: _Complaints) -> list[_Placement]:
    uses = around.uses.get(overlay.name, [])
    if overlay.targets is None:
        return [
            _Placement(cluster, Choice(use.origin, use.path, use.components), use.variables) for cluster, use in uses
        ]
    found: list[_Placement] = []
    for name, targets in selected(overlay.targets, around.index).items():
        cluster = around.index.clusters[name]
        choice = choice_of(targets)
        if isinstance(choice, Contradiction):
            complaints.add(cluster, _contradiction(choice))
        else:
            found.append(_Placement(cluster, choice, {}))
    for cluster, use in uses:
        complaints.add(cluster, _named_twice(overlay, use))
    return found


def _unit(
    overlay: Overlay, placement: _Placement, around: Surroundings, complaints: _Complaints, probed: set[str]
) -> Unit | None:
    cluster, choice = placement.cluster, placement.choice

    def holds(path: str) -> Holding:
        probed.add(path)
        return around.holdings.of(path)

    found = find_path(
        directory=overlay.directory, templates=overlay.paths, literal=choice.path, cluster=cluster, holds=holds
    )
    if isinstance(found, NotFound):
        if overlay.state is OverlayState.PRESENT:
            complaints.add(cluster, _no_path(found, choice))
            return None
        found = Found("", "state: absent")
    components: list[str] = []
    for written in choice.components:
        component = join("", written)
        holding = Holding.NOTHING if component is None else holds(component)
        if component is None or holding is not Holding.COMPONENT:
            complaints.add(cluster, _no_component(written, holding, choice))
            return None
        components.append(component)
    team = around.teams.get(overlay.team) if overlay.team else None
    if team is not None:
        refused = _beyond_rights(team, cluster, found.path, components, choice)
        if refused is not None:
            complaints.add(cluster, refused)
            return None
    return Unit(
        name=UnitName(overlay.name, cluster.name),
        path=found.path,
        path_origin=choice.origin,
        components=tuple(components),
        variables=around.variables(overlay, choice.variables, cluster, placement.entry),
        overlay=overlay,
        cluster=cluster,
        path_rule=found.rule,
        team=team,
    )


def _error(
    reason: str, what: str, origin: Origin, *, also: tuple[Origin, ...] = (), why: str = "", next_step: str = ""
) -> Problem:
    return Problem(Severity.ERROR, reason, what, origin, also=also, why=why, effect=_KEPT, next_step=next_step)


def _contradiction(found: Contradiction) -> Problem:
    return _error(
        "TargetInvalid",
        f"gets two different values of {found.subject}",
        found.second,
        also=(found.first,),
        why="both targets match, and neither ranks above the other",
        next_step="leave one, or give the exception by names: names beat selectors",
    )


def _named_twice(overlay: Overlay, use: OverlayUse) -> Problem:
    return _error(
        "TargetInvalid",
        "selects its clusters itself and is named by the Cluster too",
        use.origin,
        also=(overlay.targets[0].origin,) if overlay.targets else (),
        why="clusters: in overlay.yaml decides alone",
        next_step="take one of the two out",
    )


def _no_path(found: NotFound, choice: Choice) -> Problem:
    if found.escapes:
        what, why = "has a path out of the commit", f"{found.escapes} leads out of the repo"
    else:
        what, why = "has no directory", f"none of {', '.join(found.tried)} holds a kustomization"
        if len(found.tried) == 1:
            why = f"{found.tried[0]} holds no kustomization in this commit"
        if not found.tried:
            why = "no template of its path applies"
    reasons = "; ".join((why, *found.reasons))
    return _error(
        "PathMissing", what, choice.origin, why=reasons, next_step="add the directory, or take the clusters out"
    )


def _no_component(written: str, holding: Holding, choice: Choice) -> Problem:
    why = "it is no directory with a kustomization in this commit; paths of components start at the root"
    if holding is Holding.KUSTOMIZATION:
        why = "its kustomization is not of kind Component"
    return _error(
        "PathMissing", f"cannot use component {written}", choice.origin, why=why, next_step="correct the path"
    )


def _beyond_rights(
    team: TeamRights, cluster: Cluster, path: str, components: Sequence[str], choice: Choice
) -> Problem | None:
    if not may_run_on(team, cluster):
        labels = ", ".join(f"{key}: {value}" for key, value in team.match_labels.items())
        return _error(
            "NotAllowedForTeam",
            f"of team {team.name} may not run",
            choice.origin,
            why=f"fleet.yaml lets the team on clusters with {labels} only",
            next_step="narrow the target, or ask the owners of fleet.yaml",
        )
    refused = outside(team, path, components) if path else None
    if refused is None:
        return None
    return _error(
        "NotAllowedForTeam",
        f"of team {team.name} may not use {refused}",
        choice.origin,
        why="it is neither in the team's directories nor among what fleet.yaml lets it read",
        next_step="use another path, or ask the owners of fleet.yaml",
    )
