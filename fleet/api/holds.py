"""Holds: their exact lists, and the decisions on them (R9, R42)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.access.policy import Role
from fleet.api.filters import page_of
from fleet.api.models import Metadata, rfc3339
from fleet.api.models_deeds import HoldDeletion, HoldList, HoldOut
from fleet.api.queries import ApproveBody, OpenQuery, ReasonBody
from fleet.api.route import Call, Route
from fleet.core.audit import AuditEntry, hold_text
from fleet.core.ids import ClusterName, Digest
from fleet.core.status import Event, EventKind, HoldRequest
from fleet.errors import FleetError, NotKnown, PreconditionFailed, RequestInvalid
from fleet.ports.state import OPEN, HoldRow

_SHOWN_CLUSTERS = 3


def would_do(row: HoldRow) -> str:
    """What a hold would do if it were approved: `would delete 3 objects`, or let units go that left the repo."""
    count = sum(len(request.deletions) for request in row.requests)
    leaving = sorted(str(request.unit.cluster) for request in row.requests if not request.deletions)
    words = [f"delete {count} object{'' if count == 1 else 's'}"] if count or not leaving else []
    if leaving:
        more = len(leaving) - _SHOWN_CLUSTERS
        names = ", ".join(leaving[:_SHOWN_CLUSTERS]) + (f" and {more} more" if more > 0 else "")
        units = f"{len(leaving)} unit{'' if len(leaving) == 1 else 's'}"
        words.append(f"let go of {units} on {names}; their objects stay")
    return f"would {' and '.join(words)}"


def _deletions_of(requests: Sequence[HoldRequest]) -> list[HoldDeletion]:
    return [
        HoldDeletion(
            unit=str(request.unit),
            object=str(deletion.ref),
            uid=deletion.uid,
            created_at=rfc3339(deletion.created_at),
            goes_with=list(deletion.goes_with),
            reason=request.reason,
            message=request.message,
        )
        for request in requests
        for deletion in request.deletions
    ]


def hold_out(row: HoldRow, before: HoldRow | None = None) -> HoldOut:
    """As the API shows it. before: as it was before a rejection, which leaves what can stay."""
    deletions = _deletions_of(row.requests)
    return HoldOut(
        metadata=Metadata(name=row.id, creation_timestamp=rfc3339(row.created_at)),
        overlay=row.overlay,
        commit=row.commit,
        list_digest=row.list_digest,
        clusters=sorted({str(request.unit.cluster) for request in row.requests}),
        would=would_do(row),
        messages=sorted({request.message for request in row.requests}),
        deletions=deletions,
        created_at=rfc3339(row.created_at),
        expires_at=rfc3339(row.expires_at),
        decision=row.decision,
        decided_by=row.decided_by,
        reason=row.reason,
        gone=[one for one in _deletions_of(before.requests) if one not in deletions] if before is not None else [],
    )


async def _list(call: Call) -> HoldList:
    query = call.query(OpenQuery)
    rows = await call.parts.state.holds(decisions=OPEN if query.open_only else None)
    page, following = page_of(sorted(rows, key=lambda row: not row.is_open), query)
    return HoldList(items=[hold_out(row) for row in page], total=len(rows), continue_=following)


async def _find(call: Call) -> HoldRow:
    row = await call.parts.state.hold(call.name)
    if row is None:
        raise NotKnown(f"there is no hold {call.name}", next_step="fleet get holds")
    return row


async def _one(call: Call) -> HoldOut:
    return hold_out(await _find(call))


async def _approve(call: Call) -> HoldOut:
    body, row = await call.body(ApproveBody), await _find(call)
    if not row.list_digest.startswith(body.list_digest):
        raise PreconditionFailed(
            f"the list of {row.id} is another one now",
            why=f"you saw {body.list_digest}, it is {row.list_digest[:6]}",
            next_step=f"fleet describe hold {row.id}",
        )
    return hold_out(await _decide(call, row, "approved", body.reason))


async def _reject(call: Call) -> HoldOut:
    body, row = await call.body(ReasonBody), await _find(call)
    if not body.reason:
        raise RequestInvalid("a rejection needs a reason", next_step='add --reason "..."')
    return hold_out(await _decide(call, row, "rejected", body.reason), before=row)


async def _decide(call: Call, row: HoldRow, decision: str, reason: str) -> HoldRow:
    """Decide once (R42), or reject what was approved; the audit log has the attempt before, and how it went (R43)."""
    state, now = call.parts.state, call.parts.wall()
    entry = AuditEntry(
        at=now,
        actor=call.caller.name,
        action=f"hold-{decision}",
        object=hold_text(row.id, row.list_digest),
        commit=row.commit,
        reason=reason,
    )
    await state.write(entry)
    digest = Digest(row.list_digest)
    try:
        decided = await state.decide_hold(
            row.id, list_digest=digest, decision=decision, actor=call.caller.name, reason=reason, at=now
        )
    except FleetError as error:
        await state.write(replace(entry, outcome=f"refused: {error.reason}"))
        raise
    await state.write(replace(entry, outcome="done"))
    text = f"hold {row.id} of overlay {row.overlay} {decision} by {call.caller.name}"
    await state.add_events((Event(now, EventKind.NOTE, ClusterName(""), None, text, row.commit),))
    call.parts.bells.news.ring()
    call.parts.bells.orders.set()
    return decided


ROUTES = (
    Route("GET", "/api/v1/holds", "Holds, the open ones first", Role.VIEWER, _list, query=OpenQuery, answer=HoldList),
    Route("GET", "/api/v1/holds/{name}", "One hold with its exact list", Role.VIEWER, _one, answer=HoldOut),
    Route("POST", "/api/v1/holds/{name}:approve", "Approve exactly this list", Role.OPERATOR, _approve,
          body=ApproveBody, answer=HoldOut),
    Route("POST", "/api/v1/holds/{name}:reject",
          "Keep what the hold would delete; of an approved one, what is not gone yet",
          Role.OPERATOR, _reject, body=ReasonBody, answer=HoldOut),
)  # fmt: skip
