"""Units and their objects: a list with filters, worst first, and one."""

from __future__ import annotations

from fleet.access.policy import Role
from fleet.api.filters import page_of, selects, words_of
from fleet.api.models import UnitList, UnitOut
from fleet.api.queries import ListQuery
from fleet.api.route import Call, Route
from fleet.api.rows import unit_out
from fleet.core.fleet import Unit
from fleet.core.ids import UnitName
from fleet.core.summaries import unit_summary
from fleet.errors import NotKnown


async def _list(call: Call) -> UnitList:
    query, view, now = call.query(ListQuery), call.parts.view, call.parts.wall()
    selected, health, sync = selects(query.label_selector), words_of(query.health), words_of(query.sync)
    found: list[tuple[tuple[int, int, int, str], Unit]] = []
    for unit in view.entries().values():
        name = unit.name
        if query.cluster not in ("", name.cluster) or query.overlay not in ("", name.overlay):
            continue
        if query.environment not in ("", unit.cluster.environment) or query.q not in str(name):
            continue
        if not selected(unit.cluster.labels):
            continue
        summary = unit_summary(view, name, now)
        if (health and summary.health.lower() not in health) or (sync and summary.sync.lower() not in sync):
            continue
        found.append((summary.rank, unit))
    found.sort(key=lambda ranked: ranked[0])
    page, following = page_of(found, query)
    items = [unit_out(view, unit, now) for _, unit in page]
    return UnitList(items=items, total=len(found), continue_=following)


async def _one(call: Call) -> UnitOut:
    view = call.parts.view
    try:
        unit = view.entries().get(UnitName.parse(call.name))
    except ValueError:
        unit = None
    if unit is None:
        raise NotKnown(f"there is no unit {call.name}", next_step="fleet get units")
    return unit_out(view, unit, call.parts.wall(), with_objects=True)


ROUTES = (
    Route("GET", "/api/v1/units", "Units, worst first", Role.VIEWER, _list, query=ListQuery, answer=UnitList),
    Route("GET", "/api/v1/units/{name}", "One unit with its objects", Role.VIEWER, _one, answer=UnitOut),
)
