"""Events and the audit log, by page."""

from __future__ import annotations

from fleet.access.policy import Role
from fleet.api.models import rfc3339
from fleet.api.models_deeds import AuditList, AuditOut, EventList, EventOut
from fleet.api.queries import AfterQuery, EventQuery
from fleet.api.route import Call, Route
from fleet.core.audit import Link
from fleet.ports.state import EventRow


def event_out(row: EventRow) -> EventOut:
    """As the API shows it."""
    event = row.event
    return EventOut(
        id=row.id,
        at=rfc3339(event.at),
        kind=event.kind,
        cluster=event.cluster,
        unit=str(event.unit) if event.unit else "",
        commit=event.commit or "",
        object=str(event.ref) if event.ref else "",
        message=event.message,
    )


def audit_out(link: Link) -> AuditOut:
    """As the API shows it."""
    entry = link.entry
    return AuditOut(
        id=link.number,
        at=rfc3339(entry.at),
        actor=entry.actor,
        action=entry.action,
        cluster=entry.cluster,
        identity=entry.identity,
        unit=entry.unit,
        object=entry.object,
        uid=entry.uid,
        uid_after=entry.uid_after,
        commit=entry.commit,
        reason=entry.reason,
        approver=entry.approver,
        outcome=entry.outcome,
        seal=link.seal,
    )


async def _events(call: Call) -> EventList:
    query = call.query(EventQuery)
    rows = await call.parts.state.events(
        after=max(query.after, query.continue_),
        limit=query.limit,
        cluster=query.cluster,
        overlay=query.overlay,
        unit=query.unit,
        newest_first=query.newest_first,
    )
    more = str(rows[-1].id) if len(rows) == query.limit and not query.newest_first else ""
    return EventList(items=[event_out(row) for row in rows], total=len(rows), continue_=more)


async def _audit(call: Call) -> AuditList:
    query = call.query(AfterQuery)
    links = await call.parts.state.audit_entries(after=max(query.after, query.continue_), limit=query.limit)
    items = [audit_out(link) for link in links]
    more = str(links[-1].number) if len(links) == query.limit else ""
    return AuditList(items=items, total=len(items), continue_=more)


ROUTES = (
    Route("GET", "/api/v1/events", "The timeline", Role.VIEWER, _events, query=EventQuery, answer=EventList),
    Route("GET", "/api/v1/audit", "The audit log", Role.ADMIN, _audit, query=AfterQuery, answer=AuditList),
)
