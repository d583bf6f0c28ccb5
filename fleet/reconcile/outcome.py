"""How far a pass over a unit came, and what it may still do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.core.ids import ObjectRef
from fleet.core.plan import UnitPlan
from fleet.core.rollout import UnitDesired
from fleet.core.status import ObjectStatus
from fleet.errors import NotAllowedForTeam
from fleet.reconcile.standing import Leave
from fleet.values import dataclass


@dataclass(slots=True)
class Outcome:
    """How far a pass came; what the report is made of."""

    leave: Leave
    told: UnitDesired | None = None  # what the pass carries out, whatever is ordered meanwhile
    ask: Callable[[Leave], Leave] | None = None  # what is left of a leave now
    plan: UnitPlan | None = None
    reason: str = ""
    message: str = ""
    next_step: str = ""
    settled: bool = False  # every object as desired: the bundle is applied in full
    judged: bool = False  # the newest bundle was read and compared in full
    incomplete: str = ""
    observed: tuple[ObjectStatus, ...] | None = None  # of mode observe, where nothing is in a record

    def refuse(self, forbidden: Mapping[ObjectRef, NotAllowedForTeam]) -> None:
        """Say that the unit's team may not have some of what it shall hold here (R29)."""
        if not forbidden:
            return
        first, more = forbidden[min(forbidden)], len(forbidden) - 1
        self.reason, self.next_step = first.reason, first.next_step
        self.message = first.brief + (f" (and {more} more)" if more else "")

    def may(self) -> Leave:
        """What may still be done, asked anew: a suspend or a hold counts amid a pass too (R17)."""
        if self.ask is not None:
            self.leave = self.ask(self.leave)
        return self.leave
