"""Overlays, each over all its clusters."""

from __future__ import annotations

from fleet.access.policy import Role
from fleet.api.filters import page_of
from fleet.api.models import OverlayList, OverlayOut
from fleet.api.queries import ListQuery
from fleet.api.route import Call, Route
from fleet.api.rows import overlay_out
from fleet.core.ids import OverlayName
from fleet.errors import NotKnown


async def _list(call: Call) -> OverlayList:
    query, view, now = call.query(ListQuery), call.parts.view, call.parts.wall()
    overlays = sorted(view.fleet.overlays.values(), key=lambda overlay: overlay.name) if view.fleet else []
    overlays = [overlay for overlay in overlays if query.q in overlay.name]
    page, following = page_of(overlays, query)
    return OverlayList(
        items=[overlay_out(view, overlay, now) for overlay in page],
        total=len(overlays),
        continue_=following,
    )


async def _one(call: Call) -> OverlayOut:
    view = call.parts.view
    overlay = view.fleet.overlays.get(OverlayName(call.name)) if view.fleet else None
    if overlay is None:
        raise NotKnown(f"there is no overlay {call.name}", next_step="fleet get overlays")
    return overlay_out(view, overlay, call.parts.wall())


ROUTES = (
    Route("GET", "/api/v1/overlays", "Overlays", Role.VIEWER, _list, query=ListQuery, answer=OverlayList),
    Route("GET", "/api/v1/overlays/{name}", "One overlay", Role.VIEWER, _one, answer=OverlayOut),
)
