"""Which names a person may stop: whatever the hub leads, be it that Git says it, cannot be read, or dropped it (R17).

A name that is nowhere is refused: a typo must not look like a stop.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.api.parts import ApiParts
from fleet.api.route import Call
from fleet.core.fleet import Unknown
from fleet.core.ids import UnitName
from fleet.core.leaving import Leaving, decode_leaving
from fleet.core.view import View
from fleet.errors import NotKnown, StateDamaged
from fleet.ports.state import LEAVING


def named_scope(call: Call) -> str:
    """The scope in the path."""
    kind = call.request.match_info.get("kind", "fleet")
    return "fleet" if kind == "fleet" else f"{kind[:-1]} {call.name}"


async def known_scope(call: Call) -> str:
    """The scope in the path, where the hub leads anything of it; raises NotKnown."""
    kind = call.request.match_info.get("kind", "fleet")
    if kind == "fleet" or call.name in _said(call.parts.view, kind):
        return named_scope(call)
    leaving = await read_leaving(call.parts)
    if call.name not in _names_of(leaving.units, kind):
        raise NotKnown(f"there is no {kind[:-1]} {call.name}", next_step=f"fleet get {kind}")
    return named_scope(call)


async def read_leaving(parts: ApiParts) -> Leaving:
    """What left Git and is not let go yet."""
    text = await parts.state.get_value(LEAVING)
    try:
        return decode_leaving(text) if text else Leaving()
    except ValueError as error:
        raise StateDamaged(
            "what leaves the fleet cannot be read", why=str(error), next_step="restore a backup of the data directory"
        ) from error


def _said(view: View, kind: str) -> set[str]:
    """Names of one kind that the commit in force says or hides, and those of units that were seen last."""
    fleet = view.fleet
    unknown = fleet.unknown if fleet is not None else Unknown()
    found = _names_of({*view.entries(), *unknown.units, *view.units}, kind)
    if kind == "clusters":
        found |= {*unknown.clusters, *unknown.incomplete, *(fleet.clusters if fleet is not None else ())}
    if kind == "overlays":
        found |= {*unknown.overlays, *(fleet.overlays if fleet is not None else ())}
    return found


def _names_of(units: Iterable[UnitName], kind: str) -> set[str]:
    match kind:
        case "clusters":
            return {unit.cluster for unit in units}
        case "overlays":
            return {unit.overlay for unit in units}
        case _:
            return {str(unit) for unit in units}
