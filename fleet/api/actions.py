"""Actions on units, clusters, overlays and the fleet: they are written down, and the loops carry them out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import datetime

from fleet.access.policy import Role
from fleet.api.filters import not_ours
from fleet.api.models import rfc3339
from fleet.api.models_deeds import Done, OperationList, OperationOut, SuspensionList, SuspensionOut
from fleet.api.queries import IdentityBody, OpenQuery, ReasonBody, ResumeBody, SuspendBody, SyncBody
from fleet.api.route import Call, Route
from fleet.api.scopes import known_scope, named_scope
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Fleet
from fleet.core.identities import identity_of
from fleet.core.ids import ClusterName, Identity, UnitName
from fleet.core.overrides import SYNC_OVERRIDE, named
from fleet.core.passage import Passages
from fleet.core.sync_policy import Suspension
from fleet.errors import FleetError, NotKnown, PreconditionFailed, RequestInvalid
from fleet.ports.state import OperationRow

APPROVE_OVERRIDE = "approve-override"  # kind: its target is the operation that it approves
_KEY = re.compile(r"[\x21-\x7e]{1,200}\Z")


def operation_out(row: OperationRow, kept: Passages | None = None) -> OperationOut:
    """As the API shows it; with `kept`, an open override says the result that it brings."""
    bound = kept.overrides.get(row.id) if kept is not None and not row.outcome else None
    brings = f"it brings {named(bound)}" if bound is not None else ""
    return OperationOut(
        id=row.id,
        kind=row.kind,
        target=row.target,
        actor=row.actor,
        requested_at=rfc3339(row.requested_at),
        reason=row.reason,
        outcome=row.outcome,
        message="; ".join(filter(None, (row.message, brings))),
        ended_at=rfc3339(row.ended_at),
    )


async def _sync(call: Call) -> OperationOut:
    body = await call.body(SyncBody)
    fleet = call.parts.view.fleet
    try:
        unit = UnitName.parse(call.name)
    except ValueError as error:
        raise RequestInvalid(str(error), next_step="fleet get units") from error
    if fleet is None or unit not in fleet.units:
        raise NotKnown(f"there is no unit {unit}", next_step="fleet get units")
    if body.override and not body.reason:
        raise RequestInvalid("an override needs a reason", next_step='add --reason "..."')
    needed = fleet.override_approvals if body.override else 0
    people = "one other person" if needed == 1 else f"{needed} other people"
    key = call.request.headers.get("Idempotency-Key", "")
    if key and not _KEY.match(key):
        raise RequestInvalid(
            "the Idempotency-Key is not 1 to 200 printable characters",
            next_step="make one key for each request, as a UUID, or leave the header out",
        )
    now = call.parts.wall()
    about = {"unit": str(unit), "cluster": unit.cluster, "reason": body.reason}
    if body.override:
        await _audit(call, SYNC_OVERRIDE, outcome="asked", **about)
    try:
        row = await call.parts.state.add_operation(
            OperationRow(
                id=f"op-{secrets.token_hex(5)}",
                kind="sync",
                target=str(unit),
                actor=call.caller.name,
                requested_at=now,
                reason=body.reason,
                idempotency_key=key,
                override=body.override,
                message=f"waits for the approval of {people}" if needed else "",
            )
        )
    except FleetError as error:
        if body.override:
            await _audit(call, SYNC_OVERRIDE, outcome=f"refused: {error.reason}", **about)
        raise
    call.parts.bells.fetch.set()  # a sync fetches first
    call.parts.bells.orders.set()
    return operation_out(row)


async def _approve(call: Call) -> OperationOut:
    """Approve another person's override; twice by the same one counts once (R42)."""
    body, row = await call.body(ReasonBody), await call.parts.state.operation(call.name)
    if row is None:
        raise NotKnown(f"there is no operation {call.name}", next_step="fleet get operations")
    if row.kind != "sync" or not row.override or row.outcome:
        raise RequestInvalid(f"{row.id} is no override that waits", next_step="fleet get operations")
    if row.actor == call.caller.name:
        raise RequestInvalid(
            "nobody approves an override of their own", why=f"{row.actor} asked for it", next_step="ask somebody else"
        )
    bound = call.parts.view.passages.overrides.get(row.id)
    if bound is None:
        raise RequestInvalid(
            f"it is not known yet what {row.id} brings",
            why="Git is asked and the newest result is rendered first",
            next_step=f"in a moment: fleet approve {row.id}",
        )
    reason = f"{named(bound)}: {body.reason}" if body.reason else named(bound)
    await _audit(call, APPROVE_OVERRIDE, outcome="", unit=row.target, scope=row.id, reason=reason)
    given = await call.parts.state.add_operation(
        OperationRow(
            id=f"op-{secrets.token_hex(5)}",
            kind=APPROVE_OVERRIDE,
            target=row.id,
            actor=call.caller.name,
            requested_at=call.parts.wall(),
            reason=body.reason,
            idempotency_key=f"approve {row.id}",
        )
    )
    await _audit(call, APPROVE_OVERRIDE, unit=row.target, scope=row.id, reason=reason)
    call.parts.bells.orders.set()
    call.parts.bells.rollouts.set()
    return operation_out(given)


async def _suspend(call: Call) -> SuspensionOut:
    body, scope = await call.body(SuspendBody), await known_scope(call)
    if body.until:
        try:
            moment = datetime.fromisoformat(body.until)
        except ValueError as error:
            raise RequestInvalid("until is no time", next_step="write RFC 3339, as 2026-11-25T18:00:00Z") from error
        if moment.tzinfo is None:
            raise RequestInvalid("until has no time zone", next_step="write RFC 3339, as 2026-11-25T18:00:00Z")
    suspension = Suspension(body.reason, call.caller.name, body.until, scope)
    words = f"{body.reason} (until {body.until})" if body.until else body.reason
    await _audit(call, "suspend", outcome="", scope=scope, reason=words)
    await call.parts.state.put_suspension(suspension)
    call.parts.bells.orders.set()
    await _audit(call, "suspend", scope=scope, reason=words)
    return SuspensionOut(scope=scope, reason=body.reason, owner=call.caller.name, until=body.until)


async def _resume(call: Call) -> Done:
    """Also of what left the repo meanwhile: it waits for this to be let go. Another's is lifted by name alone (R17)."""
    body, scope = await call.body(ResumeBody), named_scope(call)
    if body.owner and body.all:
        raise RequestInvalid("it is one owner's suspension or everybody's", next_step="give --owner or --all")
    standing = {each.owner: each for each in await call.parts.state.suspensions() if each.scope == scope}
    if not standing:
        raise NotKnown(
            f"{scope} is not suspended by command",
            why="a suspension that is written in Git is lifted in Git",
            next_step="fleet describe " + scope,
        )
    owner = body.owner or call.caller.name
    lifted = tuple(standing) if body.all else (owner,)
    if not standing.keys() & set(lifted):
        raise PreconditionFailed(
            f"{scope} is not suspended by {owner}",
            why=_said(standing.values()),
            next_step=f"ask; then {next(iter(standing.values())).next_step}, or --all",
        )
    words = "; ".join(filter(None, (f"was {_said(standing[each] for each in lifted)}", body.reason)))
    await _audit(call, "resume", outcome="", scope=scope, reason=words)
    await call.parts.state.lift_suspensions(scope, lifted)
    call.parts.bells.orders.set()
    await _audit(call, "resume", scope=scope, reason=words)
    by_others = [each for each in standing.values() if each.owner not in lifted]
    left = [*by_others, *_in_git(call.parts.view.fleet, scope)]
    return Done(message=f"{scope} stays {_said(left)}; {left[0].next_step}" if left else f"{scope} goes on")


def _in_git(fleet: Fleet | None, scope: str) -> list[Suspension]:
    """What Git says of this very scope."""
    if fleet is None:
        return []
    entries = (*fleet.clusters.values(), *fleet.overlays.values())
    said = (fleet.suspend, *(entry.suspend for entry in entries))
    return [each for each in said if each is not None and each.scope == scope]


def _said(suspensions: Iterable[Suspension]) -> str:
    return ", and ".join(map(str, suspensions))


async def _suspensions(call: Call) -> SuspensionList:
    items = [
        SuspensionOut(scope=row.scope, reason=row.reason, owner=row.owner, until=row.until)
        for row in await call.parts.state.suspensions()
    ]
    return SuspensionList(items=items, total=len(items))


async def _accept_identity(call: Call) -> Done:
    """Take another identity for an entry (R1); audited, repeat-safe."""
    body = await call.body(IdentityBody)
    name = ClusterName(call.name)
    fleet = call.parts.view.fleet
    if fleet is None or name not in fleet.clusters:
        raise NotKnown(f"there is no cluster {name}", next_step="fleet get clusters")
    written = fleet.clusters[name].identity
    if written is not None and written != body.identity:
        raise RequestInvalid(
            f"the identity of {name} is written in Git",
            where=str(fleet.clusters[name].origin),
            why=f"it says {written}, which stands above what is accepted here",
            next_step="change it there",
        )
    recorded = await call.parts.state.identities()
    owners = {**recorded, **{entry.name: identity_of(entry, recorded) for entry in fleet.clusters.values()}}
    owners |= {other: identity for identity, other in fleet.unknown.identities.items()}
    taken = sorted(other for other, known in owners.items() if known == body.identity and other != name)
    if taken:
        raise RequestInvalid(
            f"this identity belongs to {', '.join(taken)}",
            why="entries and identities are one to one (R2)",
            next_step=f"fleet cluster identity {taken[0]}; where entries swap clusters, write both identities into Git",
        )
    about = {"cluster": name, "identity": body.identity, "reason": body.reason}
    await _audit(call, "accept-identity", outcome="", **about)
    await call.parts.state.record_identity(name, Identity(body.identity))
    call.parts.bells.orders.set()
    await _audit(call, "accept-identity", **about)
    return Done(message=f"{name} has the identity {body.identity} from now on")


async def _refresh(call: Call) -> Done:
    call.parts.bells.fetch.set()
    return Done(message="Git is asked now")


async def _operations(call: Call) -> OperationList:
    query, state = call.query(OpenQuery), call.parts.state
    if query.continue_ and await state.operation(query.continue_) is None:
        raise not_ours()
    rows = await state.operations(open_only=query.open_only, limit=query.limit, before=query.continue_)
    items = [operation_out(row, call.parts.view.passages) for row in rows]
    following = rows[-1].id if len(rows) == query.limit else ""
    return OperationList(items=items, total=len(items), continue_=following)


async def _operation(call: Call) -> OperationOut:
    row = await call.parts.state.operation(call.name)
    if row is None:
        raise NotKnown(f"there is no operation {call.name}", next_step="fleet get operations")
    return operation_out(row, call.parts.view.passages)


async def _audit(
    call: Call,
    action: str,
    *,
    scope: str = "",
    unit: str = "",
    cluster: str = "",
    identity: str = "",
    reason: str = "",
    outcome: str = "done",
) -> None:
    await call.parts.state.write(
        AuditEntry(
            at=call.parts.wall(),
            actor=call.caller.name,
            action=action,
            cluster=cluster,
            identity=identity,
            unit=unit,
            object=scope,
            reason=reason,
            outcome=outcome,
        )
    )


_SCOPED = "/api/v1/{kind:clusters|overlays|units}/{name}"
ROUTES = (
    Route("POST", "/api/v1/units/{name}:sync", "Sync a unit now", Role.OPERATOR, _sync, body=SyncBody,
          answer=OperationOut, status=202),
    Route("POST", _SCOPED + ":suspend", "Stop writes to this scope", Role.OPERATOR, _suspend, body=SuspendBody,
          answer=SuspensionOut),
    Route("POST", _SCOPED + ":resume", "Let this scope go on", Role.OPERATOR, _resume, body=ResumeBody, answer=Done),
    Route("POST", "/api/v1/fleet:suspend", "Stop writes to all clusters", Role.OPERATOR, _suspend, body=SuspendBody,
          answer=SuspensionOut),
    Route("POST", "/api/v1/fleet:resume", "Let the fleet go on", Role.OPERATOR, _resume, body=ResumeBody, answer=Done),
    Route("POST", "/api/v1/fleet:refresh", "Ask Git now", Role.OPERATOR, _refresh, answer=Done, status=202),
    Route("POST", "/api/v1/clusters/{name}:acceptIdentity", "Accept another identity", Role.ADMIN, _accept_identity,
          body=IdentityBody, answer=Done),
    Route("GET", "/api/v1/suspensions", "Suspensions by command", Role.VIEWER, _suspensions, answer=SuspensionList),
    Route("GET", "/api/v1/operations", "Requested actions, the newest first", Role.VIEWER, _operations, query=OpenQuery,
          answer=OperationList),
    Route("POST", "/api/v1/operations/{name}:approve", "Approve another person's override", Role.OPERATOR, _approve,
          body=ReasonBody, answer=OperationOut, status=202),
    Route("GET", "/api/v1/operations/{name}", "One requested action", Role.VIEWER, _operation, answer=OperationOut),
)  # fmt: skip
