"""Plans that were approved before their merge: given, shown, and what became of them (R9, R42)."""

from __future__ import annotations

from pydantic import Field

from fleet.access.policy import Role
from fleet.api.models import ApiModel, Metadata, rfc3339
from fleet.api.route import Call, Route
from fleet.controllers.plan_approvals import PlanApprovals
from fleet.core.planning.approval import PlanApproval
from fleet.errors import RequestInvalid

_TEXT_LIMIT = 1 << 20


class PlanApprovalOut(ApiModel):
    """One approval. standing: waits (for the merge), bound (to `commit`), void (`why`)."""

    api_version: str = "fleet.internal/v1"
    kind: str = "PlanApproval"
    metadata: Metadata
    standing: str
    commit: str = ""
    why: str = ""
    units: list[str]
    deletions: int
    leaving: list[str]
    approved_by: str
    reason: str = ""
    expires_at: str


class PlanApprovalList(ApiModel):
    """The newest first."""

    items: list[PlanApprovalOut]
    total: int


class PlanBody(ApiModel):
    """text: what the digest is of, as `fleet plan -o json` has it; the hub checks that it is."""

    text: str = Field(min_length=1, max_length=_TEXT_LIMIT)
    reason: str = Field("", max_length=500)


def approval_out(approval: PlanApproval) -> PlanApprovalOut:
    """As the API shows it."""
    return PlanApprovalOut(
        metadata=Metadata(name=approval.digest, creation_timestamp=rfc3339(approval.at)),
        standing=approval.standing.value,
        commit=approval.commit,
        why=approval.void,
        units=sorted(map(str, approval.units)),
        deletions=len(approval.going),
        leaving=sorted(map(str, approval.leaving)),
        approved_by=approval.by,
        reason=approval.reason,
        expires_at=rfc3339(approval.expires_at) or "",
    )


def _plans(call: Call) -> PlanApprovals:
    if call.parts.plans is None:
        raise RequestInvalid("this process keeps no approvals of plans", next_step="ask the hub itself")
    return call.parts.plans


async def _list(call: Call) -> PlanApprovalList:
    found = await _plans(call).all()
    return PlanApprovalList(items=[approval_out(approval) for approval in found], total=len(found))


async def _approve(call: Call) -> PlanApprovalOut:
    body = await call.body(PlanBody)
    text = body.text.encode()
    return approval_out(await _plans(call).approve(call.name, text, actor=call.caller.name, reason=body.reason))


ROUTES = (
    Route("GET", "/api/v1/plans", "Plans that were approved before their merge", Role.VIEWER, _list,
          answer=PlanApprovalList),
    Route("POST", "/api/v1/plans/{name}:approve", "Approve in advance what the plan of this digest deletes",
          Role.OPERATOR, _approve, body=PlanBody, answer=PlanApprovalOut),
)  # fmt: skip
