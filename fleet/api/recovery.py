"""After a lost data directory: what the clusters hold, and a person's word that the hub may write again (R24)."""

from __future__ import annotations

from fleet.access.policy import Role
from fleet.api.models_deeds import Done, RecoveryList, RecoveryOut
from fleet.api.route import Call, Route
from fleet.core.audit import AuditEntry
from fleet.core.status import asks_recovery
from fleet.core.view import View
from fleet.errors import NotKnown
from fleet.ports.state import RECOVERED


def _waiting(view: View) -> list[RecoveryOut]:
    return [
        RecoveryOut(
            cluster=name.cluster,
            unit=str(name),
            objects=len(report.objects),
            commit=report.commit,
        )
        for name, report in sorted(view.units.items())
        if asks_recovery(report)
    ]


async def _list(call: Call) -> RecoveryList:
    items = _waiting(call.parts.view)
    return RecoveryList(items=items, total=len(items))


async def _confirm(call: Call) -> Done:
    clusters = sorted({item.cluster for item in _waiting(call.parts.view)})
    if not clusters:
        raise NotKnown("no cluster waits for a recovery", next_step="fleet status")
    state, now = call.parts.state, call.parts.wall()
    for cluster in clusters:
        entry = AuditEntry(now, call.caller.name, "recover", cluster=cluster, reason="record rebuilt from the cluster")
        await state.write(entry)
    known = (await state.get_value(RECOVERED) or "").split()
    await state.set_value(RECOVERED, " ".join(sorted({*known, *clusters})))
    call.parts.bells.orders.set()
    return Done(message=f"the hub writes to {', '.join(clusters)} again")


ROUTES = (
    Route("GET", "/api/v1/recovery", "Units whose record was rebuilt", Role.VIEWER, _list, answer=RecoveryList),
    Route("POST", "/api/v1/fleet:recover", "Let the hub write again", Role.ADMIN, _confirm, answer=Done),
)
