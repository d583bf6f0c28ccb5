"""After a lost data directory: what the clusters hold, and a person's word that the hub may write again (R24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.access.policy import Role
from fleet.api.models_deeds import Done, RecoveryList, RecoveryOut
from fleet.api.queries import RecoverBody
from fleet.api.route import Call, Route
from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, UnitName
from fleet.core.recovery import asked_of, list_digest_of, unheard_of, with_words
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


def _unheard(view: View) -> tuple[ClusterName, ...]:
    units = view.fleet.units if view.fleet is not None else ()
    return unheard_of(units, view.units, unspoken=view.unspoken, untold=view.waits, heard=view.heard)


def _names(unheard: Sequence[ClusterName]) -> str:
    more = f" and {len(unheard) - 3} more" if len(unheard) > 3 else ""
    return f"{', '.join(unheard[:3])}{more} {'was' if len(unheard) == 1 else 'were'}"


async def _list(call: Call) -> RecoveryList:
    view = call.parts.view
    items, asked, unheard = _waiting(view), asked_of(view.units.values(), view.clusters), _unheard(view)
    digest = list_digest_of(asked, unheard) if asked else ""
    return RecoveryList(items=items, total=len(items), list_digest=digest, unheard=list(unheard))


async def _confirm(call: Call) -> Done:
    """What waits now counts from here on; with a list digest, only if it is that very list."""
    body, state, now, view = await call.body(RecoverBody), call.parts.state, call.parts.wall(), call.parts.view
    asked = asked_of(view.units.values(), view.clusters)
    clusters, unheard = sorted(asked), _unheard(view)
    if not clusters:
        raise NotKnown("no cluster waits for a recovery", next_step="fleet status")
    if not view.head.is_taken:
        error = view.head.error
        raise PreconditionFailed(
            "nothing is confirmed: Git was not read yet",
            why="what the clusters hold is compared with nothing before"
            + (f"; the last fetch: {error.brief}" if error is not None else ""),
            next_step="wait until fleet status shows a fetch that went well, then fleet recover",
        )
    digest = list_digest_of(asked, unheard)
    if not digest.startswith(body.list_digest):
        raise PreconditionFailed(
            "what waits for a recovery is another list now",
            why=f"you saw {body.list_digest}, it is {digest[:6]}",
            next_step="fleet recover",
        )
    if unheard and not body.unheard:
        raise PreconditionFailed(
            f"nothing is confirmed: {_names(unheard)} not heard yet",
            why="what a rollback took back may stand on the clusters alone that were not, and would come again",
            next_step="wait until they are, or fleet recover --confirm --unheard",
        )
    why = "record rebuilt from the cluster"
    if unheard:
        why = f"{why}; {_names(unheard)} not heard yet"
    entries = [AuditEntry(now, call.caller.name, "recover", cluster=cluster, reason=why) for cluster in clusters]
    for entry in entries:
        await state.write(entry)
    await state.change_value(RECOVERED, lambda said: with_words(said, asked))
    call.parts.bells.orders.set()
    for entry in entries:
        await state.write(replace(entry, outcome="done"))
    return Done(message=f"the hub writes to {', '.join(clusters)} again")


ROUTES = (
    Route("GET", "/api/v1/recovery", "Units whose record was rebuilt", Role.VIEWER, _list, answer=RecoveryList),
    Route("POST", "/api/v1/fleet:recover", "Let the hub write again", Role.ADMIN, _confirm, body=RecoverBody,
          answer=Done),
)  # fmt: skip
