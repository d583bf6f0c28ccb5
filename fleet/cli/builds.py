"""The part of `fleet validate` that builds: every distinct result once, each failure as a problem with its place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.cli.checkout import local_renderer
from fleet.core.fleet import Fleet, OverlayState, Unit
from fleet.core.ids import Revision
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import RenderProblem, judge_rights
from fleet.errors import FleetError, RendererMissing
from fleet.ports.render import request_of
from fleet.ports.source import Snapshot

if TYPE_CHECKING:
    from fleet.render.service import Renderer

# What `fleet validate` finds by reading the kustomizations, before anything is built.
FOUND_BY_READING = frozenset({"ResourceMissing", "PathEscapes", "RemoteBaseRefused", "PluginRefused"})
_PLACE = re.compile(r"(?P<path>[^:\s]+):(?P<line>\d+)")


def check_builds(snapshot: Snapshot, fleet: Fleet) -> Sequence[Problem]:
    """Problems of all builds; raises RendererMissing."""
    return asyncio.run(_check(snapshot, fleet))


async def _check(snapshot: Snapshot, fleet: Fleet) -> Sequence[Problem]:
    units = [unit for unit in fleet.units.values() if unit.overlay.state is OverlayState.PRESENT]
    async with local_renderer() as (renderer, _):
        found = await asyncio.gather(*(_judge(snapshot, unit, renderer) for unit in units))
    groups: dict[tuple[str, str, str], list[tuple[Unit, FleetError | RenderProblem]]] = {}
    for unit, trouble in zip(units, found, strict=True):
        if trouble is not None and trouble.reason not in FOUND_BY_READING:
            text = str(trouble) if isinstance(trouble, FleetError) else trouble.message
            groups.setdefault((unit.name.overlay, trouble.reason, text), []).append((unit, trouble))
    return [_problem(group) for group in groups.values()]


async def _judge(snapshot: Snapshot, unit: Unit, renderer: Renderer) -> FleetError | RenderProblem | None:
    try:
        bundle = await renderer.render(snapshot, request_of(unit))
    except RendererMissing:
        raise
    except FleetError as error:
        return error
    return judge_rights(unit, bundle, Revision(""))


def _problem(group: list[tuple[Unit, FleetError | RenderProblem]]) -> Problem:
    """One problem for all units that fail alike."""
    unit, trouble = group[0]
    clusters = sorted(str(member.name.cluster) for member, _ in group)
    where = clusters[0] if len(clusters) == 1 else f"{len(clusters)} clusters"
    environments = sorted({member.cluster.environment for member, _ in group} - {""})
    scope = f" (environment {', '.join(environments)})" if environments else ""
    overlay = unit.name.overlay
    effect = f"if merged: {overlay} stays as it is on {where}, nothing is deleted, other overlays go on"
    if isinstance(trouble, RenderProblem):
        return Problem(
            Severity.ERROR, trouble.reason, trouble.message, unit.overlay.origin, (), "", effect, trouble.next_step
        )
    place = _PLACE.search(trouble.where)
    origin = Origin(place["path"], int(place["line"])) if place else Origin(trouble.where.split(" ")[0] or unit.path)
    return Problem(
        severity=Severity.ERROR,
        reason=trouble.reason,
        what=f"{overlay} cannot be rendered for {where}{scope}: {trouble.what}",
        origin=origin,
        also=(unit.path_origin,),
        why=trouble.why,
        effect=effect,
        next_step=trouble.next_step or "correct it, then: fleet validate",
    )
