"""After an upgrade: what an earlier version recorded is compared anew by dry-runs, spread over time, with no apply.

Another version of fleet may spell the same object otherwise, or count other fields into a fingerprint. Neither is a
change of Git or drift; only a dry-run can tell, and a thousand clusters must not ask theirs in one minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fleet import telemetry
from fleet.core.plan import Step
from fleet.core.record import FORM, RowState
from fleet.ports.worker import JournalEntry
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site


class Reverifier:
    """Hands out how many dry-runs of a site are due: from a random start on, so many each second."""

    def __init__(self, limits: WorkerLimits, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._rate, self._clock = limits.reverify_per_second, clock
        self._starts_at = clock() + random() * limits.reverify_spread_seconds
        self._asked = 0

    def due(self, unit: UnitState, steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
        """The steps to ask for now, and those that wait. What a commit changed, or nobody recorded, never waits."""
        now: list[Step] = []
        later: list[Step] = []
        for step in steps:
            if not is_outdated(unit, step) or self.take():
                now.append(step)
            else:
                later.append(step)
        return now, later

    def next_at(self) -> float:
        """Loop time of the next dry-run."""
        return max(self._clock(), self._starts_at + self._asked / self._rate)

    def take(self) -> bool:
        """Whether one more dry-run is due now; it is counted."""
        if self._clock() < self._starts_at + self._asked / self._rate:
            return False
        self._asked += 1
        telemetry.REVERIFIED.inc()
        return True


def carry_done(site: Site, unit: UnitState) -> None:
    """A Job that ended and vanished stays done for its commit, however another version spells it."""
    if not unit.holds_commit:
        return
    for ref, item in unit.wanted.items():
        row = unit.rows.get(ref)
        if row is not None and row.state is RowState.DONE and row.form != FORM and row.desired != item.digest:
            carried = replace(row, desired=item.digest, form=FORM)
            site.put_row(unit, carried)
            site.journal.jot(JournalEntry(put=(carried,)))


def is_outdated(unit: UnitState, step: Step) -> bool:
    """Whether an object is asked about only because another version of fleet recorded it, and Git is as it was."""
    row = unit.rows.get(step.wanted.ref)
    if row is None or not row.desired:
        return False
    return unit.holds_commit and row.form != FORM
