"""From the view to the API's objects: the summaries of core/summaries.py, dressed."""

from __future__ import annotations

from fleet.api.models import (
    BlockerOut,
    ClusterOut,
    ClusterSpec,
    ClusterStatus,
    ConditionOut,
    CredentialStatus,
    DriftOut,
    IgnoredOut,
    Metadata,
    ObjectOut,
    OverlayOut,
    OverlaySpec,
    OverlayStatus,
    UnitOut,
    UnitSpec,
    UnitStatus,
    rfc3339,
)
from fleet.core.fleet import Cluster, Overlay, Unit
from fleet.core.fold import ClusterSummary
from fleet.core.ids import UnitName
from fleet.core.renewal import CredentialState
from fleet.core.results import Rendered
from fleet.core.status import WELL, Blocker, Condition, ObjectStatus, Sync
from fleet.core.summaries import (
    cluster_seen_at,
    cluster_summary,
    is_at_head,
    unit_summary,
    units_by_cluster,
    units_by_overlay,
)
from fleet.core.view import View


def unit_status_of(view: View, name: UnitName, now: float) -> UnitStatus:
    """The status part of a unit."""
    summary, report, result = unit_summary(view, name, now), view.units.get(name), view.results.get(name)
    target = view.head.commit if isinstance(result, Rendered) else ""
    return UnitStatus(
        sync=summary.sync,
        health=summary.health,
        commit=summary.commit,
        target_commit=target,
        at_head=is_at_head(view, name) and summary.sync is Sync.SYNCED,
        reason=summary.reason,
        message=summary.message or next((link.reason for link in summary.blocked_by), ""),
        next_step=summary.next_step,
        observed_at=rfc3339(summary.seen_at),
        age_seconds=max(0.0, now - summary.seen_at) if summary.seen_at else None,
        applied_at=rfc3339(report.applied_at) if report else None,
        changed=report.changed if report else 0,
        object_count=summary.objects,
        drifted=summary.drifted,
        blocked_by=[blocker_out(link) for link in summary.blocked_by],
        conditions=[condition_out(item) for item in summary.conditions],
        warnings=list(report.warnings) if report else [],
    )


def unit_out(view: View, unit: Unit, now: float, *, with_objects: bool = False) -> UnitOut:
    """One unit; its objects only where one unit is asked for."""
    status = unit_status_of(view, unit.name, now)
    report = view.units.get(unit.name)
    if with_objects:
        status.objects = [object_out(item) for item in report.objects] if report else []
    return UnitOut(
        metadata=Metadata(name=str(unit.name), labels=dict(unit.cluster.labels)),
        spec=UnitSpec(
            overlay=unit.name.overlay,
            cluster=unit.name.cluster,
            path=unit.path,
            path_from=str(unit.path_origin),
            components=list(unit.components),
            variables={name: str(variable.origin) for name, variable in unit.variables.items()},
        ),
        status=status,
    )


def cluster_out(view: View, cluster: Cluster, now: float) -> ClusterOut:
    """One cluster."""
    names = units_by_cluster(view).get(cluster.name, [])
    summary, report = cluster_summary(view, cluster, names, now), view.clusters.get(cluster.name)
    seen = cluster_seen_at(view, summary)
    return ClusterOut(
        metadata=Metadata(name=cluster.name, labels=dict(cluster.labels)),
        spec=ClusterSpec(
            environment=cluster.environment,
            location=cluster.location,
            mode=cluster.mode,
            origin=str(cluster.origin),
            overlays=sorted({name.overlay for name in names}),
        ),
        status=ClusterStatus(
            sync=summary.sync,
            health=summary.health,
            commit=summary.commit,
            reachable=summary.reachable,
            identity=(report.identity or "") if report else "",
            version=report.version if report else "",
            reason=summary.reason,
            message=summary.message,
            next_step=report.next_step if report else "",
            seen_at=rfc3339(seen),
            age_seconds=max(0.0, now - seen) if seen else None,
            units=len(names),
            at_head=sum(1 for unit in summary.units if is_at_head(view, unit.unit) and unit.sync is Sync.SYNCED),
            needs_person=summary.needs_person,
            credential=credential_out(view.credentials.get(cluster.name)),
            conditions=[_ready_of(summary, seen)],
        ),
    )


def credential_out(state: CredentialState | None) -> CredentialStatus | None:
    """When a credential ends; None where the hub has none of its own for the cluster."""
    if state is None:
        return None
    return CredentialStatus(
        name=state.name,
        place=state.place,
        what=state.ends.what,
        ends_at=rfc3339(state.ends.at),
        renew_at=rfc3339(state.renew_at),
        message=f"not renewed: {state.problem}" if state.problem else "",
        next_step=state.next_step,
    )


def _ready_of(summary: ClusterSummary, since: float) -> ConditionOut:
    if summary.sync is Sync.UNKNOWN:
        status = "Unknown"
    else:
        status = "True" if summary.sync is Sync.SYNCED and summary.health in WELL else "False"
    return ConditionOut(
        type="Ready",
        status=status,
        reason=summary.reason or summary.health,
        message=summary.message,
        last_transition_time=rfc3339(since),
    )


def overlay_out(view: View, overlay: Overlay, now: float) -> OverlayOut:
    """One overlay over all its clusters."""
    names = units_by_overlay(view).get(overlay.name, [])
    found = [unit_summary(view, name, now) for name in names]
    return OverlayOut(
        metadata=Metadata(name=overlay.name),
        spec=OverlaySpec(
            directory=overlay.directory,
            origin=str(overlay.origin),
            team=overlay.team,
            depends_on=list(overlay.depends_on),
            ignore_differences=[
                IgnoredOut(
                    what=note.what, origin=str(note.origin), reason=note.reason, owner=note.owner, until=note.until
                )
                for note in overlay.ignore_notes
            ],
        ),
        status=OverlayStatus(
            units=len(names),
            synced=sum(1 for unit in found if unit.sync is Sync.SYNCED),
            healthy=sum(1 for unit in found if unit.health in WELL),
            at_head=sum(1 for unit in found if is_at_head(view, unit.unit)),
        ),
    )


def blocker_out(link: Blocker) -> BlockerOut:
    """One link of `blockedBy`."""
    return BlockerOut(
        state=link.state,
        scope=link.scope,
        reason=link.reason,
        since=rfc3339(link.since),
        until=link.until,
        next=link.next,
    )


def condition_out(item: Condition) -> ConditionOut:
    """One condition."""
    return ConditionOut(
        type=item.type,
        status=item.status,
        reason=item.reason,
        message=item.message,
        last_transition_time=rfc3339(item.since),
    )


def object_out(item: ObjectStatus) -> ObjectOut:
    """One object with its drift; values of Secrets were left out by the worker (R32)."""
    return ObjectOut(
        group=item.ref.group,
        kind=item.ref.kind,
        namespace=item.ref.namespace,
        name=item.ref.name,
        uid=item.uid,
        sync=item.sync,
        health=item.health,
        reason=item.reason,
        message=item.message,
        changed_at=rfc3339(item.changed_at),
        drift=[
            DriftOut(
                path=drift.path,
                desired=None if drift.masked else drift.desired,
                live=None if drift.masked else drift.live,
                manager=drift.manager,
                since=rfc3339(drift.since),
                masked=drift.masked,
            )
            for drift in item.drift
        ],
    )
