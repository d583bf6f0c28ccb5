"""After a lost data directory: what the clusters hold, and a person's word that the hub may write again (R24)."""

from __future__ import annotations

from dataclasses import replace

from fleet.access.policy import Role
from fleet.api.models_deeds import Done, RecoveryList, RecoveryOut
from fleet.api.queries import RecoverBody
from fleet.api.route import Call, Route
from fleet.core.audit import AuditEntry
from fleet.core.ids import UnitName
from fleet.core.recovery import asked_of, list_digest_of, with_words
from fleet.core.status import asks_recovery
from fleet.core.view import View
from fleet.errors import NotKnown, PreconditionFailed
from fleet.ports.state import RECOVERED


def _waiting(view: View) -> list[RecoveryOut]:
    return [
        RecoveryOut(
            cluster=name.cluster,
            unit=str(name),
            objects=len(report.objects),
            commit=report.commit,
            then=_then(view, name),
        )
        for name, report in sorted(view.units.items())
        if asks_recovery(report)
    ]


def _then(view: View, unit: UnitName) -> str:
    """What is unlike the rest of what follows from a person's word."""
    fleet = view.fleet
    is_gone = fleet is not None and unit not in fleet.units and fleet.unknown.covers(unit) is None
    return "not in Git: it is let go, and its objects stay" if is_gone else ""


async def _list(call: Call) -> RecoveryList:
    view = call.parts.view
    items, asked = _waiting(view), asked_of(view.units.values(), view.clusters)
    return RecoveryList(items=items, total=len(items), list_digest=list_digest_of(asked) if asked else "")


async def _confirm(call: Call) -> Done:
    """What waits now counts from here on; with a list digest, only if it is that very list."""
    body, state, now, view = await call.body(RecoverBody), call.parts.state, call.parts.wall(), call.parts.view
    asked = asked_of(view.units.values(), view.clusters)
    clusters = sorted(asked)
    if not clusters:
        raise NotKnown("no cluster waits for a recovery", next_step="fleet status")
    if not list_digest_of(asked).startswith(body.list_digest):
        raise PreconditionFailed(
            "what waits for a recovery is another list now",
            why=f"you saw {body.list_digest}, it is {list_digest_of(asked)[:6]}",
            next_step="fleet recover",
        )
    why = "record rebuilt from the cluster"
    entries = [AuditEntry(now, call.caller.name, "recover", cluster=cluster, reason=why) for cluster in clusters]
    for entry in entries:
        await state.write(entry)
    await state.change_value(RECOVERED, lambda said: with_words(said, asked))
    call.parts.bells.orders.set()
    for entry in entries:
        await state.write(replace(entry, outcome="done"))
    when = "" if view.head.is_taken else ", once Git was read"
    return Done(message=f"the hub writes to {', '.join(clusters)} again{when}")


ROUTES = (
    Route("GET", "/api/v1/recovery", "Units whose record was rebuilt", Role.VIEWER, _list, answer=RecoveryList),
    Route("POST", "/api/v1/fleet:recover", "Let the hub write again", Role.ADMIN, _confirm, body=RecoverBody,
          answer=Done),
)  # fmt: skip
