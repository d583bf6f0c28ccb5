"""What a hub remembers of earlier rollouts, asked for the overlays that a change reaches."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from fleet.cli.client import Client
from fleet.core.forecast import Course as Past
from fleet.core.forecast import Leg
from fleet.core.ids import OverlayName
from fleet.core.planning.course import Course, Estimate, least_of
from fleet.core.planning.estimate import estimate_of
from fleet.core.rollout_policy import RolloutPolicy
from fleet.errors import FleetError, NotKnown

ASKED = 50  # overlays of one plan: each costs a call
_SECONDS = 10.0  # for one answer


def estimating(hub: str) -> Callable[[Course, RolloutPolicy], Estimate]:
    """Estimates by the histories of a hub; by the steps alone, with the reason, where it cannot be asked.

    hub: its address, "" for the one that is known here. After one failure it is not asked again.
    """
    asked: dict[OverlayName, tuple[Past, ...]] = {}
    trouble = ""

    def estimate(course: Course, policy: RolloutPolicy) -> Estimate:
        nonlocal trouble
        if not trouble and len(asked) >= ASKED:
            trouble = f"the hub was asked for {ASKED} overlays only"
        if not trouble:
            try:
                asked[course.overlay] = past_of(Client(hub, timeout_seconds=_SECONDS), course.overlay)
            except FleetError as error:
                trouble = f"the hub was not asked: {error.what}"
        if trouble:
            least = least_of(course)
            words = f"{least.words}; {trouble}" if least.words else trouble
            return Estimate(course.overlay, least.least_seconds, f"{least.basis}; {trouble}", words)
        return estimate_of(course, asked[course.overlay], patience_seconds=policy.health_timeout_seconds)

    return estimate


def past_of(client: Client, overlay: OverlayName) -> tuple[Past, ...]:
    """Earlier rollouts of an overlay; none of one that the hub does not know yet."""
    try:
        answer = client.get(f"/api/v1/overlays/{quote(overlay, safe='')}/courses")
    except NotKnown:
        return ()
    return tuple(
        Past({name: Leg(leg["waves"], leg["seconds"], tuple(leg["landed"])) for name, leg in item["legs"].items()})
        for item in answer["items"]
    )
