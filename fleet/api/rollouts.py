"""Rollouts: how far each commit is, what it waits for, and what people order of them."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import Field

from fleet.access.policy import Role
from fleet.api.actions import operation_out
from fleet.api.filters import page_of
from fleet.api.models import ApiModel, Metadata, Page, rfc3339
from fleet.api.models_deeds import OperationOut
from fleet.api.queries import OpenQuery, ReasonBody
from fleet.api.route import Call, Route
from fleet.core.audit import AuditEntry
from fleet.core.forecast import forecast
from fleet.core.gates import GateState
from fleet.core.gating import GateView
from fleet.core.ids import OverlayName, UnitName
from fleet.core.passage import Passage, Passages, Row
from fleet.core.rollout_orders import BRING_BACK, PREFIX, SHORTEST, about_of, bound, find, taken_back_by
from fleet.core.turns import is_led, latest_of, rows_of
from fleet.core.view import View
from fleet.errors import NotKnown, RequestInvalid
from fleet.ports.state import OperationRow

_REASON = 'add --reason "..."'


class HeldUpBy(ApiModel):
    """A cluster that holds a step up, and since when."""

    cluster: str
    why: str
    since: str | None = None
    age_seconds: float | None = None


class RolloutGate(ApiModel):
    """One gate of a step, and what was read of it last. state: waits, passed, failed."""

    name: str
    type: str
    wants: str
    state: str
    reading: str = ""
    read_at: str | None = None
    age_seconds: float | None = None


class RolloutStep(ApiModel):
    """One step of one overlay. state: done, runs, soaks, waits, halted; asks: people who must still approve it."""

    overlay: str
    name: str
    done: int
    total: int
    state: str
    why: str = ""
    held_up_by: list[HeldUpBy] = Field(default_factory=list[HeldUpBy])
    gates: list[RolloutGate] = Field(default_factory=list[RolloutGate])
    asks: int = 0


class RolloutReading(ApiModel):
    """What a gate of a step read last; also told once the rollout is over. state: waits, passed, failed."""

    overlay: str
    step: str
    gate: str
    state: str
    reading: str = ""
    read_at: str | None = None


class RolloutApproval(ApiModel):
    """Who approved a step."""

    step: str
    by: list[str]


class ForecastOut(ApiModel):
    """When all steps are over, in eight of ten cases. Without `endsAfter` there is no forecast, and basis says why.

    after: what must come first and is not counted, as an approval; the moments are as if it came now.
    """

    ends_after: str | None = None
    ends_before: str | None = None
    after_seconds: float | None = None
    before_seconds: float | None = None
    basis: str
    after: str = ""


class RolloutRevert(ApiModel):
    """An overlay that went back while Git still has what was taken back.

    to: the commits whose results its clusters hold again, that of most clusters first.
    """

    overlay: str
    to: list[str]
    clusters: int


class RolloutOut(ApiModel):
    """One commit's way. state: runs, halted, paused, done, superseded, aborted, rolled back."""

    api_version: str = "fleet.internal/v1"
    kind: str = "Rollout"
    metadata: Metadata
    commit: str
    overlays: list[str]
    state: str
    why: str = ""
    failed: str = ""  # the overlay that halted it
    units: int  # that it changes
    there: int  # of these, Healthy on it
    started_at: str | None
    age_seconds: float | None = None
    ended_at: str | None = None
    forecast: ForecastOut | None = None  # while it goes on
    steps: list[RolloutStep] = Field(default_factory=list[RolloutStep])
    approvals: list[RolloutApproval] = Field(default_factory=list[RolloutApproval])
    readings: list[RolloutReading] = Field(default_factory=list[RolloutReading])
    reverts: list[RolloutRevert] = Field(default_factory=list[RolloutRevert])


class RolloutList(Page):
    """Rollouts, the newest first."""

    kind: str = "RolloutList"
    items: list[RolloutOut]


class StepBody(ApiModel):
    """The step that a person approves."""

    step: Annotated[str, Field(min_length=1, max_length=63)]
    reason: str = Field("", max_length=500)


class PromoteBody(ApiModel):
    """Why, and where given the step that was shown: what stands at another one by then is left alone."""

    step: str = Field("", max_length=63, pattern=r"^[^\s/]*$")
    reason: str = Field("", max_length=500)


class RolloutResumeBody(ApiModel):
    """Why, and where given the one overlay that is let in again; what else stands still stays so."""

    overlay: str = Field("", max_length=253, pattern=r"^[^\s/]*$")
    reason: str = Field("", max_length=500)


class RollbackBody(ApiModel):
    """Why, and where given the commit that the overlay's clusters held before."""

    reason: str = Field("", max_length=500)
    to: str = Field("", max_length=64, pattern=r"^[0-9a-f]*$")


def rollout_out(view: View, passage: Passage, now: float) -> RolloutOut:
    """As the API shows it; steps only while it goes on."""
    found = view.advances.get(passage.commit)
    steps = found.steps if found is not None and not passage.outcome else ()
    state, why = passage.outcome or "runs", ""
    rows = [row for row in passage.rows.values() if not row.back]
    if passage.ended is not None:
        why = f"{passage.ended.by}: {passage.ended.reason}"
    elif passage.halted is not None:
        where = str(passage.halted.unit or passage.halted.place)
        state, why = "halted", f"{where}: {passage.halted.reason}".removeprefix(": ")
        if passage.paused is not None:
            why += f"; paused by {passage.paused.by}: {passage.paused.reason}"
    elif passage.paused is not None:
        state, why = "paused", f"{passage.paused.by}: {passage.paused.reason}"
    elif steps:
        why = next((f"step {step.name}: {step.why}" for step in steps if step.state != "done" and step.why), "")
    return RolloutOut(
        metadata=Metadata(name=passage.commit, creation_timestamp=rfc3339(passage.started_at)),
        commit=passage.commit,
        overlays=sorted(passage.overlays),
        state=state,
        why=why,
        failed=_failed_of(passage),
        units=sum(len(row.targets) for row in rows),
        there=sum(step.done for step in steps) + sum(len(row.targets) for row in rows if row.done and not row.cut),
        started_at=rfc3339(passage.started_at),
        age_seconds=max(0.0, now - passage.started_at),
        ended_at=rfc3339(passage.ended_at),
        forecast=None if passage.outcome else _forecast_out(view, passage, now),
        steps=[
            RolloutStep(
                overlay=step.overlay,
                name=step.name,
                done=step.done,
                total=step.total,
                state=step.state,
                why=step.why,
                held_up_by=[
                    _held_up(view, passage, UnitName(step.overlay, cluster), why, now)
                    for cluster, why in step.held_up_by
                ],
                gates=[_gate_out(gate, now) for gate in step.gates],
                asks=step.asks,
            )
            for step in steps
        ],
        approvals=[RolloutApproval(step=step, by=list(who)) for step, who in sorted(passage.approvals.items())],
        readings=[
            _reading_out(overlay, key, state)
            for overlay, row in sorted(passage.rows.items())
            for key, state in sorted(row.gates.items())
        ],
        reverts=_reverts(view.passages, passage),
    )


def _failed_of(passage: Passage) -> str:
    """The overlay that halts it and could go back; "" where a person stopped it, or that went back already."""
    failed = passage.halted.overlay if passage.halted is not None else None
    return failed if failed is not None and not (failed in passage.rows and passage.rows[failed].back) else ""


def _reverts(kept: Passages, passage: Passage) -> list[RolloutRevert]:
    found: list[RolloutRevert] = []
    for overlay, row in sorted(rows_of(kept, passage).items()):
        if row.back:
            count = Counter(held.commit for held in row.before.values())
            to = [str(commit) for commit, _ in count.most_common()]
            found.append(RolloutRevert(overlay=overlay, to=to, clusters=len(row.before)))
    return found


def _reading_out(overlay: str, key: str, state: GateState) -> RolloutReading:
    step, _, gate = key.partition("/")
    last = state.last
    return RolloutReading(
        overlay=overlay,
        step=step,
        gate=gate,
        state=state.verdict,
        reading=state.why or (last.text if last is not None else ""),
        read_at=rfc3339(last.at) if last is not None else None,
    )


def _gate_out(gate: GateView, now: float) -> RolloutGate:
    return RolloutGate(
        name=gate.name,
        type=gate.kind,
        wants=gate.wants,
        state=gate.verdict,
        reading=gate.text,
        read_at=rfc3339(gate.read_at),
        age_seconds=max(0.0, now - gate.read_at) if gate.read_at else None,
    )


def _forecast_out(view: View, passage: Passage, now: float) -> ForecastOut:
    found = forecast(passage, view.outlook.facts, view.outlook.courses, _clock(view, now))
    if found.low is None or found.high is None:
        return ForecastOut(basis=found.basis)
    return ForecastOut(
        ends_after=rfc3339(now + found.low),
        ends_before=rfc3339(now + found.high),
        after_seconds=found.low,
        before_seconds=found.high,
        basis=found.basis,
        after=found.after,
    )


def _clock(view: View, now: float) -> float:
    """The hub's own clock now."""
    return view.outlook.clock + max(0.0, now - view.outlook.wall)


def _held_up(view: View, passage: Passage, unit: UnitName, why: str, now: float) -> HeldUpBy:
    """since: when it was lost, began to wait, or was released; else since when it is as it is."""
    row, report = passage.rows.get(unit.overlay, Row({})), view.units.get(unit)
    moment = row.away.get(unit.cluster)
    if moment is None and unit not in view.waits:
        moment = row.flying.get(unit.cluster)
    if moment is not None:
        since = now - max(0.0, _clock(view, now) - moment)
    elif unit in view.waits:
        since = view.waits[unit].since
    elif report is not None and report.blocked_by:
        since = report.blocked_by[0].since
    else:
        since = view.since.get(unit, 0.0)
    return HeldUpBy(
        cluster=unit.cluster, why=why, since=rfc3339(since), age_seconds=max(0.0, now - since) if since else None
    )


async def _list(call: Call) -> RolloutList:
    query, view, now = call.query(OpenQuery), call.parts.view, call.parts.wall()
    found = [one for one in reversed(view.passages.all) if not (query.open_only and one.outcome)]
    page, following = page_of(found, query)
    return RolloutList(items=[rollout_out(view, one, now) for one in page], total=len(found), continue_=following)


def _find(call: Call) -> Passage:
    passage = find(call.parts.view.passages, call.name)
    if passage is None:
        why = f"a beginning of {SHORTEST} digits or more names one, where no other begins so"
        raise NotKnown(f"there is no rollout of {call.name}", why=why, next_step="fleet get rollouts")
    return passage


async def _one(call: Call) -> RolloutOut:
    return rollout_out(call.parts.view, _find(call), call.parts.wall())


def _order(kind: str) -> Callable[[Call], Awaitable[OperationOut]]:
    async def handle(call: Call) -> OperationOut:
        body, commit = await call.body(ReasonBody), _find(call).commit
        return await _ask(call, kind, commit, _reason_of(kind, body.reason))

    return handle


async def _resume(call: Call) -> OperationOut:
    body, kept = await call.body(RolloutResumeBody), call.parts.view.passages
    commit = taken_back_by(kept, call.name) if find(kept, call.name) is None else None
    target = " ".join(filter(None, (commit or _find(call).commit, body.overlay)))
    return await _ask(call, "resume", target, _reason_of("resume", body.reason))


def _reason_of(kind: str, reason: str) -> str:
    if not reason:
        raise RequestInvalid(f"to {kind} a rollout needs a reason", next_step=_REASON)
    return reason


async def _approve(call: Call) -> OperationOut:
    body, passage = await call.body(StepBody), _find(call)
    return await _ask(call, "approve", f"{passage.commit} {body.step}", body.reason)


async def _promote(call: Call) -> OperationOut:
    body, passage, view = await call.body(PromoteBody), _find(call), call.parts.view
    target = bound(passage, view.outlook.facts, _clock(view, call.parts.wall()), body.step)
    return await _ask(call, "promote", target, _reason_of("promote", body.reason))


async def _roll_back(call: Call) -> OperationOut:
    body, fleet, overlay = await call.body(RollbackBody), call.parts.view.fleet, OverlayName(call.name)
    latest = latest_of(call.parts.view.passages, overlay)
    # One whose file does not parse is none of the commit in force, and its clusters are led all the same (R5).
    if not (is_led(overlay, latest, fleet) if fleet is not None else latest):
        why, next_step = ("it left Git", BRING_BACK) if latest is not None else ("", "fleet get overlays")
        raise NotKnown(f"there is no overlay {overlay}", why=why, next_step=next_step)
    if not body.reason:
        raise RequestInvalid("a rollback needs a reason", next_step=_REASON)
    target = f"{call.name} {body.to or '-'} {latest.commit if latest is not None else ''}".rstrip()
    return await _ask(call, "rollback", target, body.reason)


async def _ask(call: Call, kind: str, target: str, reason: str) -> OperationOut:
    """Audited, and kept until the loop has carried it out (R22, R43)."""
    state, now = call.parts.state, call.parts.wall()
    kind = f"{PREFIX}{kind}"
    about = about_of(kind, target)
    entry = AuditEntry(at=now, actor=call.caller.name, action=kind, object=about, reason=reason, outcome="asked")
    await state.write(entry)
    row = OperationRow(
        id=f"op-{secrets.token_hex(5)}",
        kind=kind,
        target=target,
        actor=call.caller.name,
        requested_at=now,
        reason=reason,
    )
    kept = await state.add_operation(row)
    call.parts.bells.rollouts.set()
    return operation_out(kept)


_NAMED = "/api/v1/rollouts/{name}"
ROUTES = (
    Route("GET", "/api/v1/rollouts", "Rollouts, the newest first", Role.VIEWER, _list, query=OpenQuery,
          answer=RolloutList),
    Route("GET", _NAMED, "One rollout with its steps", Role.VIEWER, _one, answer=RolloutOut),
    Route("POST", _NAMED + ":pause", "Release nothing more for now", Role.OPERATOR, _order("pause"), body=ReasonBody,
          answer=OperationOut, status=202),
    Route("POST", _NAMED + ":resume", "Go on after a pause, a halt, an abort or a rollback", Role.OPERATOR,
          _resume, body=RolloutResumeBody, answer=OperationOut, status=202),
    Route("POST", _NAMED + ":promote", "Go past the step it stands at, never past an approval", Role.OPERATOR,
          _promote, body=PromoteBody, answer=OperationOut, status=202),
    Route("POST", _NAMED + ":abort", "Release nothing more of it, under any commit", Role.OPERATOR, _order("abort"),
          body=ReasonBody, answer=OperationOut, status=202),
    Route("POST", _NAMED + ":approve", "Approve a step of it", Role.OPERATOR, _approve, body=StepBody,
          answer=OperationOut, status=202),
    Route("POST", "/api/v1/overlays/{name}:rollback", "Back to what its clusters held before", Role.OPERATOR,
          _roll_back, body=RollbackBody, answer=OperationOut, status=202),
)  # fmt: skip
