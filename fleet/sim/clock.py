"""The time as the servers of one cluster have it: ours, unless the fault `clock` is on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fleet.sim.faults import Faults


class Clock:
    """Dates all that is written in one cluster."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def now(self) -> str:
        """The time as objects carry it."""
        return self.later(0)

    def later(self, seconds: float) -> str:
        """The time some seconds from now."""
        moment = datetime.now(UTC) + timedelta(seconds=self._faults.ahead + seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
