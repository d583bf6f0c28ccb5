"""Wipes: deleting what fleet owns of a unit or a cluster that left Git, instead of letting it go (decisions/0015).

What may be wiped is read from the state, where the hub keeps what leaves; the loop of orders carries it out.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fleet.access.policy import Role
from fleet.api.actions import operation_out
from fleet.api.models_deeds import LeavingList, LeavingOut, OperationList
from fleet.api.queries import WipeBody
from fleet.api.route import Call, Route
from fleet.api.scopes import read_leaving
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Mode
from fleet.core.ids import ClusterName, UnitName
from fleet.core.leaving import Leave, Leaving
from fleet.core.status import Event, EventKind
from fleet.core.wipe import WIPE, key_of
from fleet.errors import FleetError, NotKnown, PreconditionFailed, RequestInvalid
from fleet.ports.state import OperationRow


def _objects(call: Call, unit: UnitName) -> list[str]:
    report = call.parts.view.units.get(unit)
    return [str(status.ref) for status in report.objects] if report is not None else []


async def _list(call: Call) -> LeavingList:
    items = [
        LeavingOut(unit=str(unit), commit=leave.commit, fall=leave.fall, wipe=leave.wipe, objects=_objects(call, unit))
        for unit, leave in sorted((await read_leaving(call.parts)).units.items())
    ]
    return LeavingList(items=items, total=len(items))


async def _unit(call: Call) -> OperationList:
    try:
        unit = UnitName.parse(call.name)
    except ValueError as error:
        raise RequestInvalid(str(error), next_step="fleet wipe OVERLAY@CLUSTER") from error
    fleet = call.parts.view.fleet
    leaving = await read_leaving(call.parts)
    if fleet is not None and unit in fleet.units:
        raise PreconditionFailed(
            f"Git wants {unit}",
            where=str(fleet.units[unit].overlay.origin),
            why="what Git wants would be made again",
            next_step=f"say state: absent there, or: {_way(f'unit {unit}', str(unit))}",
        )
    if unit not in leaving.units:
        raise NotKnown(
            f"{unit} is not leaving",
            why="what was let go carries no mark any more: nothing proves which objects were its own",
            next_step="delete them by hand, or put it back in Git with adopt, and then: state: absent",
        )
    return await _wipe(call, leaving, {unit: leaving.units[unit]})


async def _cluster(call: Call) -> OperationList:
    cluster, fleet = ClusterName(call.name), call.parts.view.fleet
    leaving = await read_leaving(call.parts)
    units = {unit: leaving.units[unit] for unit in leaving.of_cluster(cluster)}
    if fleet is not None and cluster in fleet.clusters:
        raise PreconditionFailed(
            f"Git has the cluster {cluster}",
            where=str(fleet.clusters[cluster].origin),
            why="what Git wants would be made again",
            next_step=_way(f"cluster {cluster}", cluster),
        )
    if not units:
        raise NotKnown(
            f"nothing is leaving {cluster}",
            why="what was let go carries no mark any more: nothing proves which objects were fleet's own",
            next_step="put the cluster back in Git, and then: " + _way(f"cluster {cluster}", cluster),
        )
    return await _wipe(call, leaving, units)


def _way(scope: str, name: str) -> str:
    return f"fleet suspend {scope}, take it out of Git, fleet wipe {name}, fleet resume {scope}"


def _check(call: Call, leaving: Leaving, units: Iterable[UnitName]) -> None:
    """Refuse what the loop of orders would refuse, or let wait, as far as it is known now: nothing is written down."""
    fleet = call.parts.view.fleet
    entries = {**leaving.clusters, **(fleet.clusters if fleet is not None else {})}
    for unit in units:
        if fleet is not None and (problem := fleet.unknown.covers(unit)) is not None:
            raise PreconditionFailed(
                f"whether Git wants {unit} again cannot be read",
                where=str(problem.origin),
                why=f"{problem.reason}: {problem.what}",
                next_step="fleet validate",
            )
        entry = entries.get(unit.cluster)
        if entry is not None and entry.mode is Mode.OBSERVE:
            raise PreconditionFailed(
                f"{unit.cluster} is only observed",
                where=str(entry.origin),
                why="mode observe: nothing is written there",
                next_step=f"suspend what is to be wiped, set mode: manage in Git, fleet wipe {call.name}",
            )


async def _wipe(call: Call, leaving: Leaving, units: Mapping[UnitName, Leave]) -> OperationList:
    """Write it down once for each unit (R42); the audit log has each attempt before it counts, and the end at the end.

    The same word of the same person is the operation that it was; one that ended already does nothing any more.
    """
    body, state, now = await call.body(WipeBody), call.parts.state, call.parts.wall()
    if body.confirm != call.name:
        raise RequestInvalid(
            f"{call.name} is not confirmed",
            why="a wipe deletes, and asks for the name once more",
            next_step=f"--confirm {call.name}",
        )
    _check(call, leaving, units)
    entries = [
        AuditEntry(
            at=now,
            actor=call.caller.name,
            action=WIPE,
            cluster=unit.cluster,
            unit=str(unit),
            commit=leave.commit,
            reason=body.reason,
            outcome="asked",
        )
        for unit, leave in units.items()
    ]
    rows: list[OperationRow] = []
    for entry, (unit, leave) in zip(entries, units.items(), strict=True):
        await state.write(entry)
        try:
            row = await state.add_operation(
                OperationRow(
                    id=f"op-{secrets.token_hex(5)}",
                    kind=WIPE,
                    target=str(unit),
                    actor=call.caller.name,
                    requested_at=now,
                    reason=body.reason,
                    idempotency_key=key_of(unit, leave.commit),
                )
            )
            if row.outcome:
                raise PreconditionFailed(
                    f"the wipe of {unit} by {row.actor} ended already",
                    why=f"{row.id} is {row.outcome}: {row.message}",
                    next_step="another administrator may wipe it; or put it back in Git, and take it out again",
                )
        except FleetError as error:
            await state.write(replace(entry, outcome=f"refused: {error.reason}"))
            raise
        rows.append(row)
        text = f"to be wiped, by {call.caller.name}: {body.reason}"
        await state.add_events((Event(now, EventKind.NOTE, unit.cluster, unit, text, leave.commit),))
    call.parts.bells.news.ring()
    call.parts.bells.orders.set()
    return OperationList(items=[operation_out(row) for row in rows], total=len(rows))


ROUTES = (
    Route("GET", "/api/v1/leaving", "Units that left Git and are not let go yet", Role.VIEWER, _list,
          answer=LeavingList),
    Route("POST", "/api/v1/units/{name}:wipe", "Delete what fleet owns of a unit that left Git", Role.ADMIN, _unit,
          body=WipeBody, answer=OperationList, status=202),
    Route("POST", "/api/v1/clusters/{name}:wipe", "Delete what fleet owns on a cluster that left Git", Role.ADMIN,
          _cluster, body=WipeBody, answer=OperationList, status=202),
)  # fmt: skip
