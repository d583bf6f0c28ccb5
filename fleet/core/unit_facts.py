"""From orders and reports to what a rollout must know of a unit: is it released, is it well, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.core.fleet import Suspension, Unit
from fleet.core.fold import Age, judge_age
from fleet.core.passage import Quarantined
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.rollout_facts import Condition, UnitFact
from fleet.core.status import Blocker, Health, Report, Standing, Sync, UnitReport


def judged_by(result: Result, held: Rendered | None, target: str | None) -> Result:
    """What a unit is judged by: its newest result; where there is none, the one that its rollout brought it already.

    held: what it was told to hold last; target: what its rollout shall bring it, None where it changes nothing there.
    """
    if isinstance(result, RenderProblem) and held is not None and held.bundle == target:
        return held
    return result


def fact_of(
    unit: Unit,
    *,
    result: Result | None,
    held: Rendered | None,
    report: UnitReport | None,
    cluster: Report | None,
    suspensions: Sequence[Suspension],
    quarantine: Mapping[str, Quarantined],
    behind: str,
    now: float,
) -> UnitFact:
    """One unit's fact.

    held: what it was told to hold last; cluster: the last word of its cluster; quarantine: of its overlay, by digest;
    behind: the unit it depends on that is not released yet, "" for none; now: wall clock, for the age of the report.
    """
    target = result.bundle if isinstance(result, Rendered) else ""
    released = held is not None and held.bundle == target
    is_here = cluster is not None and cluster.reachable and judge_age(cluster.at, now) is Age.FRESH
    healthy = report is None or report.health is Health.HEALTHY
    available = is_here and (healthy or held is None)
    condition, why = _condition_of(unit, held, report, released=released)
    if isinstance(result, RenderProblem):
        condition, why = Condition.STOPPED, result.message
    elif suspensions:
        first = suspensions[0]
        by = f" by {first.owner}" if first.owner else ""
        condition, why = Condition.STOPPED, f"suspended{by}: {first.reason}"
    elif not released and target in quarantine:
        entry = quarantine[target]
        condition, why = Condition.STOPPED, f"{entry.commit[:7]} was taken back by {entry.stop.by}: {entry.stop.reason}"
    elif not is_here:
        message = cluster.message if cluster is not None else ""
        condition, why = Condition.AWAY, message or "no word from its worker"
    elif not released and behind:
        condition, why = Condition.WAITS, f"waits for {behind}"
    return UnitFact(target, released, condition, available, why)


def _condition_of(
    unit: Unit, held: Rendered | None, report: UnitReport | None, *, released: bool
) -> tuple[Condition, str]:
    if report is None:
        return (Condition.BUSY, "") if held is not None else (Condition.WELL, "")
    why = report.message or f"{report.sync}, {report.health}"
    if not released:
        words = {Health.HEALTHY: Condition.WELL, Health.DEGRADED: Condition.BAD}
        return words.get(report.health, Condition.BUSY), why
    is_applied = held is not None and report.bundle == held.bundle
    if is_applied and report.health is Health.DEGRADED:
        return Condition.BAD, why
    # Where drift is only reported, it is no reason to stop a rollout.
    in_sync = report.sync is Sync.SYNCED or (report.sync is Sync.OUT_OF_SYNC and not unit.overlay.sync.self_heal)
    if is_applied and in_sync and report.health is Health.HEALTHY:
        return Condition.WELL, ""
    if (stop := _first(report.blocked_by, Standing.HELD, Standing.SUSPENDED)) is not None:
        return Condition.STOPPED, stop.reason
    if (wait := _first(report.blocked_by, Standing.WAITS)) is not None:
        return Condition.WAITS, wait.reason
    return Condition.BUSY, why


def _first(links: Sequence[Blocker], *states: Standing) -> Blocker | None:
    return next((link for link in links if link.state in states), None)
