"""How earlier rollouts of an overlay went: what a plan before the merge estimates its time by."""

from __future__ import annotations

from fleet.access.policy import Role
from fleet.api.models import ApiModel
from fleet.api.route import Call, Route
from fleet.controllers.histories import PREFIX
from fleet.core.forecast import decode_courses
from fleet.core.ids import OverlayName
from fleet.errors import NotKnown


class LegOut(ApiModel):
    """One step. waves: turns it took; seconds: until all its clusters were Healthy, the soak aside.

    landed: seconds after the step's beginning at which each twentieth of its clusters was Healthy.
    """

    waves: int
    seconds: float
    landed: list[float]


class CourseOut(ApiModel):
    """One rollout, by the names of its steps."""

    legs: dict[str, LegOut]


class CourseList(ApiModel):
    """The oldest first; rollouts that somebody or something stopped are not among them."""

    items: list[CourseOut]
    total: int


async def _courses(call: Call) -> CourseList:
    fleet = call.parts.view.fleet
    if fleet is None or OverlayName(call.name) not in fleet.overlays:
        raise NotKnown(f"there is no overlay {call.name}", next_step="fleet get overlays")
    text = await call.parts.state.get_value(PREFIX + call.name)
    try:
        kept = decode_courses(text) if text else ()
    except ValueError:  # as where forecasts are made: it begins anew
        kept = ()
    items = [
        CourseOut(
            legs={
                name: LegOut(waves=leg.waves, seconds=leg.seconds, landed=list(leg.landed))
                for name, leg in course.legs.items()
            }
        )
        for course in kept
    ]
    return CourseList(items=items, total=len(items))


ROUTES = (
    Route("GET", "/api/v1/overlays/{name}/courses", "How earlier rollouts of an overlay went", Role.VIEWER, _courses,
          answer=CourseList),
)  # fmt: skip
