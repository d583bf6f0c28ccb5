"""What the hub knows of the units that a plan changes: out of its own reports, nothing is asked of any cluster.

No more than every viewer may read of these units anyway, and no value of any field (R32, R37).
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from fleet.access.policy import Role
from fleet.api.models import ApiModel
from fleet.api.route import Call, Route
from fleet.core.fold import Age, fold_cluster
from fleet.core.ids import ClusterName, UnitName
from fleet.core.objects import is_secret
from fleet.core.planning.live_hub import Base
from fleet.core.quarantine import barred_by
from fleet.core.status import Blocker, ObjectStatus, Standing, UnitReport
from fleet.core.summaries import is_at_head, unit_summary
from fleet.core.view import View

UNITS_AT_ONCE = 1000
OBJECTS_SHOWN, PATHS_SHOWN = 200, 20  # of a unit, of an object
OBJECTS_AT_ONCE = 2000  # of all units of an answer: more are counted
_BREATH = 100  # units, then the loop has its turn (R18)


class AskedUnit(ApiModel):
    """A unit that changes.

    base, after: digests of what the change starts from and comes to; "" where it holds Secrets or is not known.
    """

    unit: Annotated[str, Field(min_length=3, max_length=320)]
    base: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")] = ""
    after: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")] = ""


class PlanLookBody(ApiModel):
    """commit: what the change starts from."""

    commit: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")] = ""
    units: Annotated[list[AskedUnit], Field(min_length=1, max_length=UNITS_AT_ONCE)]


class DriftedPath(ApiModel):
    """A field that is not as it was released, without its values."""

    path: str
    manager: str = ""


class KnownObjectOut(ApiModel):
    """An object that is not as it was released; reason: an error's class name, "" where it only drifted."""

    group: str
    kind: str
    namespace: str
    name: str
    reason: str = ""
    message: str = ""
    drifted: list[DriftedPath] = Field(default_factory=list[DriftedPath])


class KnownUnitOut(ApiModel):
    """base: held, other, nothing or unknown; problem: why nothing is said of it now; waits: what holds it.

    stopped: a person must go on with it; barred: the commit of which its result after the change was taken back, and is
    not rolled out again; "" where it was not.
    """

    unit: str
    base: str
    commit: str = ""
    waits: str = ""
    stopped: bool = False
    barred: str = ""
    problem: str = ""
    age_seconds: float | None = None
    objects: list[KnownObjectOut] = Field(default_factory=list[KnownObjectOut])
    more: int = 0  # objects that are not told


class KnownClusterOut(ApiModel):
    """problem: why nothing is known of it now; "" where it is."""

    name: str
    problem: str = ""
    age_seconds: float | None = None


class PlanLook(ApiModel):
    """Clusters and units that the hub knows; what it does not know is not in it."""

    clusters: list[KnownClusterOut]
    units: list[KnownUnitOut]


async def _look(call: Call) -> PlanLook:
    body, view, now = await call.body(PlanLookBody), call.parts.view, call.parts.wall()
    asked = {UnitName.parse(each.unit): each for each in body.units}
    units: list[KnownUnitOut] = []
    entries, room = view.entries(), OBJECTS_AT_ONCE
    for number, (name, each) in enumerate(asked.items(), 1):
        if name in entries:
            units.append(known_unit(view, name, each, body.commit, now, min(OBJECTS_SHOWN, room)))
            room -= len(units[-1].objects)
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    names = sorted({name.cluster for name in asked})
    return PlanLook(clusters=[found for name in names for found in _cluster(view, name, now)], units=units)


def _cluster(view: View, name: ClusterName, now: float) -> list[KnownClusterOut]:
    entry = view.fleet.clusters.get(name) if view.fleet is not None else None
    if entry is None:
        return []
    summary, seen = fold_cluster(name, entry.environment, view.clusters.get(name), (), now), view.seen_at(name)
    problem = "" if summary.reachable else summary.message
    return [KnownClusterOut(name=name, problem=problem, age_seconds=max(0.0, now - seen) if seen else None)]


def known_unit(
    view: View, name: UnitName, asked: AskedUnit, commit: str, now: float, shown: int = OBJECTS_SHOWN
) -> KnownUnitOut:
    """One unit of the fleet, as its worker reported it last; a report that is old says nothing of now (R21).

    shown: so many of its objects, the others are counted.
    """
    summary, report = unit_summary(view, name, now), view.units.get(name)
    problem = ""
    if report is None:
        problem = "not reported yet"
    elif summary.age is Age.UNKNOWN or summary.was:
        problem = summary.message
    link = next(iter(summary.blocked_by), None)
    said = report if not problem else None
    objects = [item for item in said.objects if item.reason or item.drift] if said is not None else []
    return KnownUnitOut(
        unit=str(name),
        base=(_base(view, said, asked.base, commit) if said is not None else Base.UNKNOWN).value,
        commit=report.commit if report is not None else "",
        waits=_words(link) if link is not None else "",
        stopped=link is not None and link.state is not Standing.WAITS,
        barred=_barred(view, name, asked.after),
        problem=problem,
        age_seconds=max(0.0, now - summary.seen_at) if summary.seen_at else None,
        objects=[_object(item) for item in objects[:shown]],
        more=max(0, len(objects) - shown),
    )


def _barred(view: View, name: UnitName, after: str) -> str:
    """The commit under which this result was taken back, its digest where none is known; "" where it was not."""
    if (found := barred_by(view.passages.quarantine, name, (after,))) is not None:
        return found.commit
    report = view.units.get(name)
    return after if report is not None and after in report.quarantined else ""


def _words(link: Blocker) -> str:
    is_said = link.reason.startswith(link.state.value)
    return link.reason if is_said else f"{link.state.value}: {link.reason}"


def _base(view: View, report: UnitReport, base: str, commit: str) -> Base:
    if report.bundle is None:
        return Base.NOTHING
    if base:
        return Base.HELD if report.bundle == base else Base.OTHER
    if commit and commit == view.head.commit and report.unit not in view.rendering:
        return Base.HELD if is_at_head(view, report.unit) else Base.OTHER
    return Base.UNKNOWN


def _object(item: ObjectStatus) -> KnownObjectOut:
    ref = item.ref
    return KnownObjectOut(
        group=ref.group,
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        reason=item.reason,
        message="" if is_secret(ref) else item.message,  # a server's text about a Secret may quote it (R32)
        drifted=[DriftedPath(path=drift.path, manager=drift.manager) for drift in item.drift[:PATHS_SHOWN]],
    )


ROUTES = (
    Route("POST", "/api/v1/plans:look", "What is known of the units that a plan changes; no cluster is asked",
          Role.VIEWER, _look, body=PlanLookBody, answer=PlanLook),
)  # fmt: skip
