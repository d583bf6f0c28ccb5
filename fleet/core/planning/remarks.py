"""What a reviewer must know beside the groups of a plan, a line each with its heading word; the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

from fleet.core.ids import ClusterName
from fleet.core.planning.aside import remarks_aside
from fleet.core.planning.change import How
from fleet.core.planning.course import words_of
from fleet.core.planning.fleet_plan import FleetPlan
from fleet.core.planning.hook_runs import hook_runs
from fleet.core.planning.live_words import live_remarks
from fleet.core.planning.phrases import Remark, counted, on_clusters, some_of
from fleet.core.planning.settings import setting_remarks


def remarks(plan: FleetPlan) -> Iterator[Remark]:
    """All of them, in the order in which they are printed."""
    for note in plan.notes:
        yield Remark("Note", note)
    yield from _not_listed(plan)
    for woken in plan.woken:
        yield Remark("Begins", woken.words)
    for hold in plan.holds:
        where = on_clusters([unit.cluster for unit in hold.units])
        yield Remark("Hold", f"{hold.overlay} on {where} would wait for a person ({hold.reason}): {hold.message}")
    for claim in plan.claims:
        where = on_clusters(claim.clusters)
        yield Remark(
            "Claimed", f"{claim.ref} would be in {' and '.join(claim.overlays)} on {where}: neither changes it"
        )
    for run in hook_runs(plan.units, plan.after):
        yield Remark("Hooks", run.words)
    yield from starmap(Remark, setting_remarks(plan.settings))
    yield from starmap(Remark, remarks_aside(plan.units, plan.after))
    for notice in plan.apis:
        yield Remark("Removed" if notice.is_removed else "Deprecated", f"{notice.ref}: {notice.message}")
    yield from _ways(plan)
    if plan.live is not None:
        yield from live_remarks(plan.live)
    same = plan.of(How.SAME)
    if same:
        overlays = sorted({unit.name.overlay for unit in same})
        yield Remark(
            "No effect", f"{counted(len(same), 'unit')} of {some_of(overlays)}: built anew, the result is the same"
        )


def _not_listed(plan: FleetPlan) -> Iterator[Remark]:
    found: dict[str, list[ClusterName]] = {}
    for unit in plan.units:
        if unit.drops_unlisted:
            found.setdefault(unit.name.overlay, []).append(unit.name.cluster)
    for overlay, clusters in found.items():
        where = f"{overlay} on {on_clusters(clusters)}"
        yield Remark(
            "Not listed", f"{where}: what it drops; the base does not say what it held, and a hub may delete it"
        )


def _ways(plan: FleetPlan) -> Iterator[Remark]:
    """Overlays that go the same way in the same time are one line."""
    found: dict[tuple[str, str], list[str]] = {}
    for course, estimate in zip(plan.courses, plan.estimates, strict=True):
        found.setdefault((words_of(course), estimate.words), []).append(course.overlay)
    for (way, time), overlays in found.items():
        yield Remark("Rollout", f"{some_of(overlays)}: {way}" + (f"   {time}" if time else ""))
