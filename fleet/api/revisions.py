"""The commit in force, the fleet at a glance, and how far a commit has come."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.access.policy import Role
from fleet.api.holds import would_do
from fleet.api.models import rfc3339
from fleet.api.models_fleet import EndsSoon, EnvironmentRow, NeedsPerson, ProblemOut, RevisionOut, StatusOut
from fleet.api.route import Call, Route
from fleet.core.fold import ClusterSummary, fold_fleet
from fleet.core.overdue import overdue_of
from fleet.core.problems import Problem
from fleet.core.renewal import judge_ending
from fleet.core.results import RenderProblem
from fleet.core.status import Health, Sync
from fleet.core.summaries import cluster_summary, units_by_cluster
from fleet.core.sync_policy import Suspension
from fleet.core.view import View
from fleet.ports.state import OPEN, HoldRow
from fleet.telemetry import trace_of


def revision_out(view: View, now: float) -> RevisionOut:
    """The tracked branch as fetched last."""
    head = view.head
    installation = view.fleet.name if view.fleet else "default"
    return RevisionOut(
        commit=head.commit,
        branch=head.branch,
        subject=head.subject,
        author=head.author,
        authored_at=rfc3339(head.authored_at),
        fetched_at=rfc3339(head.fetched_at),
        fetched_age_seconds=max(0.0, now - head.fetched_at) if head.fetched_at else None,
        fetch_reason=head.error.reason if head.error else "",
        fetch_message=f"{head.error.what}: {head.error.why}" if head.error else "",
        trace_id=trace_of(installation, head.commit).trace_hex if head.commit else "",
        converged=head.commit in view.converged,
        rendering=len(view.rendering),
    )


def problem_out(problem: Problem) -> ProblemOut:
    """One problem of the repo."""
    return ProblemOut(
        severity=problem.severity,
        reason=problem.reason,
        what=problem.what,
        where=str(problem.origin),
        why=problem.why,
        effect=problem.effect,
        next_step=problem.next_step,
    )


async def _status(call: Call) -> StatusOut:
    view, now = call.parts.view, call.parts.wall()
    fleet, groups = view.fleet, units_by_cluster(view)
    clusters = [
        cluster_summary(view, cluster, groups.get(name, []), now)
        for name, cluster in (fleet.clusters.items() if fleet else ())
    ]
    environments = [environment.name for environment in fleet.environments] if fleet else []
    summary = fold_fleet(clusters, head=view.head.commit, environments=environments, branch=view.head.branch)
    lines = [
        *_of_clusters(view, summary.clusters, now),
        *_of_holds(await call.parts.state.holds(decisions=OPEN), now),
        *_of_overdue(view, await call.parts.state.suspensions(), now),
        *_of_git(view, now),
        *_of_renewals(view, now),
    ]
    problems = [problem_out(problem) for problem in fleet.problems] if fleet else []
    problems += _of_builds(view)
    return StatusOut(
        installation=fleet.name if fleet else "",
        revision=revision_out(view, now),
        environments=[
            EnvironmentRow(
                environment=row.environment,
                clusters=row.clusters,
                on_main=row.on_head,
                waiting=row.waiting,
                suspended=row.suspended,
                held=row.held,
                drifted=row.drifted,
                degraded=row.degraded,
                unreachable=row.unreachable,
            )
            for row in summary.rows
        ],
        needs_person=lines,
        ends_soon=_endings(view, now),
        problems=problems,
        relaxed=list(view.relaxed),
    )


def _of_builds(view: View) -> Iterator[ProblemOut]:
    """Builds that failed; one line for all clusters of an overlay with the same problem."""
    groups: dict[tuple[str, RenderProblem], list[str]] = {}
    for name, result in sorted(view.results.items()):
        if isinstance(result, RenderProblem):
            groups.setdefault((name.overlay, result), []).append(name.cluster)
    for (overlay, result), clusters in groups.items():
        where = clusters[0] if len(clusters) == 1 else f"{len(clusters)} clusters"
        yield ProblemOut(
            severity="error",
            reason=result.reason,
            what=f"{overlay} on {where}: {result.message}",
            where=result.commit[:7],
            effect=f"{overlay} stays as it was on {', '.join(clusters)}",
            next_step=result.next_step,
        )


def _line(since: float, now: float, what: str, following: str) -> NeedsPerson:
    age = max(0.0, now - since) if since else None
    return NeedsPerson(since=rfc3339(since), age_seconds=age, what=what, next=following)


def _of_clusters(view: View, clusters: tuple[ClusterSummary, ...], now: float) -> Iterator[NeedsPerson]:
    for cluster in clusters:
        if not cluster.reachable:
            following = f"fleet describe cluster {cluster.cluster}"
            what = f"{cluster.cluster} unreachable: {cluster.message}"
            yield _line(view.seen_at(cluster.cluster), now, what, following)
            continue
        report = view.clusters.get(cluster.cluster)
        if report is not None and report.reason:  # another installation is there as well (R23)
            yield _line(cluster.seen_at, now, report.message, f"fleet describe cluster {cluster.cluster}")
        for unit in cluster.units:
            since, following = view.since.get(unit.unit, unit.seen_at), f"fleet describe unit {unit.unit}"
            if unit.health is Health.DEGRADED:
                yield _line(since, now, f"{unit.unit} Degraded: {unit.message}", following)
            elif unit.drifted and unit.sync is Sync.OUT_OF_SYNC:
                plural = "s" if unit.drifted > 1 else ""
                yield _line(since, now, f"{unit.unit} drifted: {unit.drifted} object{plural}", following)


def _of_holds(holds: tuple[HoldRow, ...], now: float) -> Iterator[NeedsPerson]:
    for row in holds:
        if not row.decision:
            following = f"fleet describe hold {row.id}"
            yield _line(row.created_at, now, f"hold {row.id}: {row.overlay} {would_do(row)}", following)


def _of_overdue(view: View, suspensions: tuple[Suspension, ...], now: float) -> Iterator[NeedsPerson]:
    for each in overdue_of(view.fleet, view.kept, suspensions, now):
        yield _line(each.since, now, each.what, each.next_step)


def _of_git(view: View, now: float) -> Iterator[NeedsPerson]:
    error = view.head.error
    if error is not None:
        yield _line(view.head.fetched_at, now, f"{error.what}: {error.why}", error.next_step)


def _of_renewals(view: View, now: float) -> Iterator[NeedsPerson]:
    """Tokens that the hub could not renew."""
    for _, state in sorted(view.credentials.items()):
        ending = judge_ending(state, now)
        if ending is not None and ending.failed:
            yield _line(state.failed_since, now, ending.what, ending.next_step)


def _endings(view: View, now: float) -> list[EndsSoon]:
    """Credentials that end soon, or have ended, the first one first."""
    found = [ending for state in view.credentials.values() if (ending := judge_ending(state, now)) is not None]
    return [
        EndsSoon(at=rfc3339(one.at), in_seconds=one.at - now, what=one.what, next=one.next_step)
        for one in sorted(found, key=lambda one: (one.at, one.what))
        if not one.failed
    ]


async def _revision(call: Call) -> RevisionOut:
    return revision_out(call.parts.view, call.parts.wall())


ROUTES = (
    Route("GET", "/api/v1/status", "The fleet at a glance", Role.VIEWER, _status, answer=StatusOut),
    Route("GET", "/api/v1/revisions", "The commit in force", Role.VIEWER, _revision, answer=RevisionOut),
)  # fmt: skip
