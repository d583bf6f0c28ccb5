"""Which overlays of a commit go back where one of them failed. Pure.

`onFailure: rollback` is a team's word on its own overlays: what others of the same commit released is not its to take
back, nor to bar. Those are halted, and a person goes on with them. The platform's overlays are one team here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.core.fleet import Overlay
from fleet.core.ids import OverlayName
from fleet.core.rollout_policy import OnFailure


def going_back(
    overlays: Mapping[OverlayName, Overlay], failed: OverlayName, among: Iterable[OverlayName]
) -> frozenset[OverlayName]:
    """Those among a commit's overlays that go back where one failed whose policy says so: that one among them.

    overlays: their settings, as they are known.
    """
    return frozenset(name for name in among if name == failed or goes_along(overlays.get(name), overlays.get(failed)))


def goes_along(overlay: Overlay | None, failed: Overlay | None) -> bool:
    """Whether an overlay goes back with one that failed: its own policy says so, and they are of one team (R29).

    Of one whose settings nobody knows, None, that is not known.
    """
    if overlay is None or failed is None:
        return False
    return overlay.team == failed.team and overlay.rollout.on_failure is OnFailure.ROLLBACK
