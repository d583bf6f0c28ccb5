"""From orders and reports to what a rollout must know of a unit: is it released, is it well, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from fleet.core.fleet import Fleet, OverlayState, Unit
from fleet.core.fold import Age, judge_age
from fleet.core.ids import UnitName, short
from fleet.core.passage import Quarantine
from fleet.core.quarantine import barred_by
from fleet.core.release import scopes_of, unsaid_at
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.rollout_facts import Condition, UnitFact
from fleet.core.status import WELL, Blocker, Health, Report, Standing, Sync, UnitReport, asks_recovery
from fleet.core.sync_policy import Suspension
from fleet.errors import OwnedByOther

RELEASED_LATER = "waits for its own release"
_AS_SEEN = {**dict.fromkeys(WELL, Condition.WELL), Health.DEGRADED: Condition.BAD}  # before a release; all else: busy


def judged_by(result: Result, held: Rendered | None, target: str | None) -> Result:
    """What a unit is judged by: its newest result; where there is none, the one that its rollout brought it already.

    held: what it was told to hold last; target: what its rollout shall bring it, None where it changes nothing there.
    """
    if isinstance(result, RenderProblem) and held is not None and held.bundle == target:
        return held
    return result


def behind_of(
    unit: Unit,
    fleet: Fleet,
    *,
    results: Mapping[UnitName, Result],
    building: Container[UnitName],
    waits: Callable[[UnitName], bool],
    quarantine: Quarantine,
) -> str:
    """Which unit it depends on is not released yet, and why where that is not plain; "" for none.

    A unit whose newest result nobody knows may be about to change: nothing goes on behind it (R5). What is removed
    waits for nothing here; its worker sees to the order.

    results: the newest of each unit; building: those not judged at this commit; waits: whether one keeps what it holds.
    """
    if unit.overlay.state is OverlayState.ABSENT:
        return ""
    for other in unit.overlay.depends_on:
        name = UnitName(other, unit.name.cluster)
        problem, result = unsaid_at(name, fleet), results.get(name)
        if name not in fleet.units and problem is not None:
            return f"{name}, which has no result: {problem.what} ({problem.origin})"
        if name not in fleet.units:
            continue
        if isinstance(result, RenderProblem) and name not in building:
            return f"{name}, which has no result: {result.message}"
        why = still_coming(name, result, is_building=name in building, waits=waits(name), quarantine=quarantine)
        if why:
            return str(name) if why == RELEASED_LATER else f"{name}, which {why}"
    return ""


def still_coming(
    name: UnitName, result: Result | None, *, is_building: bool, waits: bool, quarantine: Quarantine
) -> str:
    """Why a unit is not told its newest result yet, as the end of "which ..."; "" where it is, or there is none.

    waits: whether it keeps what it holds although it has a newer result.
    """
    if result is None or is_building:
        return "is not built yet"
    if not waits or isinstance(result, RenderProblem):
        return ""
    if (entry := barred_by(quarantine, name, result.names)) is None:
        return RELEASED_LATER
    commit = short(entry.commit)
    return f'was taken back with {commit} (fleet rollout resume {commit} --reason "...")'


def fact_of(
    unit: Unit,
    *,
    result: Result | None,
    held: Rendered | None,
    report: UnitReport | None,
    cluster: Report | None,
    suspensions: Sequence[Suspension],
    quarantine: Quarantine,
    behind: str,
    now: float,
    is_unspoken: bool = False,
    closed: str = "",
) -> UnitFact:
    """One unit's fact.

    held: what it was told to hold last; cluster: the last word of its cluster; quarantine: all that was taken back;
    behind: the unit it depends on that is not released yet, "" for none; now: wall clock, for the age of the report;
    is_unspoken: the report is of an earlier worker or connection, and whoever looks at the cluster now has not judged
    the unit: then the cluster's fresh word says nothing of it (R5, R21); closed: why its windows let nothing new be
    written now, "" where they do. It is released once they open, so that until then it takes no place under a limit.
    """
    target = result.bundle if isinstance(result, Rendered) else ""
    released = held is not None and held.bundle == target
    is_here = cluster is not None and cluster.reachable and judge_age(cluster.at, now) is Age.FRESH
    healthy = report is None or report.health in WELL
    available = is_here and not is_unspoken and (healthy or held is None)
    condition, why = _condition_of(unit, held, result, report, released=released)
    if isinstance(result, RenderProblem):
        condition, why = Condition.STOPPED, result.message
    elif suspensions:
        condition, why = Condition.STOPPED, str(suspensions[0])
    elif not released and (entry := barred_by(quarantine, unit.name, (target,))) is not None:
        condition, why = Condition.STOPPED, f"{entry.commit[:7]} was taken back by {entry.stop.by}: {entry.stop.reason}"
    elif not is_here:
        message = cluster.message if cluster is not None else ""
        condition, why = Condition.AWAY, message or "no word from its worker"
    elif is_unspoken:
        condition, why = Condition.AWAY, "its worker has not looked at it yet since it began"
    elif not released and closed:
        condition, why = Condition.WAITS, closed
    elif not released and behind:
        condition, why = Condition.WAITS, f"waits for {behind}"
    older = Condition.WELL if released else _older(held, report, suspensions)
    return UnitFact(target, released, condition, available, why, older)


def _older(held: Rendered | None, report: UnitReport | None, suspensions: Sequence[Suspension]) -> Condition:
    """Whether all of what a unit was told to hold is there and Healthy; what was said of another result is no word."""
    if held is None or (report is not None and report.bundle == held.bundle and report.health in WELL):
        return Condition.WELL
    return Condition.STOPPED if suspensions else Condition.BUSY


def _condition_of(
    unit: Unit, held: Rendered | None, newest: Result | None, report: UnitReport | None, *, released: bool
) -> tuple[Condition, str]:
    """By the unit's own report. Whether a person suspended it is not asked here: a report may say what was so."""
    if report is None:
        return (Condition.BUSY, "") if held is not None else (Condition.WELL, "")
    why = report.message or f"{report.sync}, {report.health}"
    is_healthy, stop = report.health in WELL, _stop_of(unit, report)
    is_untouched = stop is not None and (asks_recovery(report) or report.reason == OwnedByOther.__name__)
    if not released:
        if stop is not None and is_untouched:
            return Condition.STOPPED, stop.reason
        return _AS_SEEN.get(report.health, Condition.BUSY), why
    if held is not None and report.bundle == held.bundle:  # all of it was applied: no link hides how it does
        # Where drift is only reported, it is no reason to stop a rollout.
        in_sync = report.sync is Sync.SYNCED or (report.sync is Sync.OUT_OF_SYNC and not unit.overlay.sync.self_heal)
        if not is_healthy:
            return Condition.BAD if report.health is Health.DEGRADED else Condition.BUSY, why
        if in_sync:
            return Condition.WELL, ""
        if stop is not None:
            return Condition.STOPPED, stop.reason
    elif stop is not None:
        # What was said before the release says nothing of it; and what is half applied and ill is on its way.
        is_told = report.observed_commit in {each.commit for each in (held, newest) if each is not None}
        is_held = is_untouched or (is_told and is_healthy)
        return (Condition.HELD, stop.reason) if is_held else (Condition.BUSY, why)
    if (wait := _first(report.blocked_by, Standing.WAITS, Standing.SUSPENDED)) is not None:
        return Condition.WAITS, wait.reason
    return Condition.BUSY, why


def _stop_of(unit: Unit, report: UnitReport) -> Blocker | None:
    """What only a person's word ends: a hold, or that the unit which has an object of this one is suspended.

    Its own suspension is told by the hub: a report that still names one is of before that ended.
    """
    for link in report.blocked_by:
        if link.state is Standing.HELD:
            return link
        if link.state is Standing.SUSPENDED and link.scope not in {*scopes_of(unit.name), str(unit.name)}:
            return link
    return None


def _first(links: Sequence[Blocker], *states: Standing) -> Blocker | None:
    return next((link for link in links if link.state in states), None)
