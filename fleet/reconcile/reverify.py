"""After an upgrade: what an earlier version recorded is compared anew by dry-runs, spread over time, with no apply.

Another version of fleet may spell the same object otherwise, or count other fields into a fingerprint. Neither is a
change of Git or drift; only a dry-run can tell, and a thousand clusters must not ask theirs in one minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fleet import telemetry
from fleet.core.ids import ObjectRef, UnitName
from fleet.core.plan import DesiredObject, Step
from fleet.core.record import FORM, Row, RowState
from fleet.ports.worker import JournalEntry
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.memory import UnitState, kind_of
from fleet.reconcile.site import Site
from fleet.reconcile.standing import bundle_of

_TURN_SECONDS = 0.1
_JOB = ("batch", "Job")
_MADE = (RowState.APPLIED, RowState.FAILED_THERE, RowState.FAILED, RowState.DONE)


class Reverifier:
    """Gives each unit of a site a turn of its own: from a random start on, so many dry-runs each second.

    A unit is woken at its turn alone: units that all waited for the next dry-run would wake together for each.
    """

    def __init__(self, limits: WorkerLimits, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._rate, self._clock = limits.reverify_per_second, clock
        self._free_at = clock() + random() * limits.reverify_spread_seconds  # when the next turn may begin
        self._turns: dict[UnitName, tuple[float, int]] = {}  # loop time, and dry-runs that it is for

    def due(self, unit: UnitState, steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
        """The steps to ask for now, and those that wait. What a commit changed, or nobody recorded, never waits."""
        now = [step for step in steps if not is_outdated(unit, step)]
        later = [step for step in steps if is_outdated(unit, step)]
        turn = self._turns.pop(unit.name, None)
        if not later:
            return now, later
        at, count = turn or self._book(len(later))
        if self._clock() < at:
            self._turns[unit.name] = (at, count)
            return now, later
        asked, left = later[:count], later[count:]
        telemetry.REVERIFIED.inc(len(asked))
        if left:
            self._turns[unit.name] = self._book(len(left))
        return now + asked, left

    def next_at(self, name: UnitName) -> float:
        """Loop time of a unit's turn; of one that waits."""
        return self._turns[name][0]

    def _book(self, wanted: int) -> tuple[float, int]:
        count = min(wanted, max(1, int(self._rate * _TURN_SECONDS)))
        at = max(self._clock(), self._free_at)
        self._free_at = at + count / self._rate
        return at, count


def carry_done(site: Site, unit: UnitState) -> None:
    """A Job that ended and vanished stays done for its commit, however another version spells it.

    A record that was rebuilt knows alone what is there (R12), and one that was put back what was there then. Until its
    unit has settled nobody knows which absent Jobs ran, whatever the commit: twice may do harm (R22), and a row without
    a UID says that it was not run. One that Git changes after that was reported is run (`runs_once_changed`): others
    of the unit may wait for it, so that it settles no sooner.
    """
    for ref, item in unit.wanted.items():
        row = unit.rows.get(ref)
        if row is not None and row.desired == item.digest:
            continue
        if not unit.memory.settled and ref not in unit.told and _may_have_run(site, unit, item, row):
            if row is not None and row.state is RowState.FAILED:
                done = replace(row, desired=item.digest, form=FORM)  # not known to have ended well, run or not (R5)
            else:
                done = Row(unit.name, ref, RowState.DONE, desired=item.digest, since=site.wall())
        elif row is not None and row.state.is_end and row.form != FORM and unit.holds_commit:
            done = replace(row, desired=item.digest, form=FORM)
        else:
            continue
        site.put_row(unit, done)
        site.journal.jot(JournalEntry(put=(done,)))


def not_run(unit: UnitState) -> list[ObjectRef]:
    """Jobs that count as done although nobody knows whether they ran."""
    rows = sorted(unit.rows.items())
    assumed = [ref for ref, row in rows if row.state is RowState.DONE and not row.uid]
    return [ref for ref in assumed if ref in unit.wanted and unit.wanted[ref].source.options.reconcile]


def failed(unit: UnitState) -> list[ObjectRef]:
    """Jobs that failed and are gone."""
    wanted = unit.wanted.items()
    gone = {ref for ref, row in unit.rows.items() if row.state is RowState.FAILED}
    return [ref for ref, item in wanted if ref in gone and item.source.options.reconcile]


def runs_once_changed(unit: UnitState, ref: ObjectRef) -> bool:
    """Whether a report may say of a Job that is not run: change it in Git to run it.

    Not while its unit waits for a person, nor where a newer commit is ordered already: what that brings may have run,
    and nobody had read anything as it was made.
    """
    is_newest = unit.bundle == bundle_of(unit.desired) and unit.rows[ref].desired == unit.wanted[ref].digest
    return unit.memory.settled or ref in unit.told or (unit.memory.confirmed and is_newest)


def note_told(site: Site, unit: UnitState) -> None:
    """A report was made: from now on, also after a restart, a change in Git runs each Job of which it says so.

    One that was run as a report said used up its word (`Stages._begin_told`); once its run is on record the next change
    runs it as well.
    """
    told = {ref for ref in (*not_run(unit), *failed(unit)) if runs_once_changed(unit, ref)}
    told |= {ref for ref in unit.told if _is_on_record(unit, ref)}
    unit.told |= told
    kept = () if unit.memory.settled else tuple(sorted({*unit.memory.told, *told}))
    if kept != unit.memory.told:
        unit.memory = replace(unit.memory, told=kept)
        site.journal.jot(JournalEntry(units=(unit.memory,)))


def _is_on_record(unit: UnitState, ref: ObjectRef) -> bool:
    """Whether the record says that an object was made as it is wanted now, and of nothing that is on its way."""
    row, item = unit.rows.get(ref), unit.wanted.get(ref)
    if row is None or item is None or row.state not in _MADE:
        return False
    return bool(row.uid) and row.desired == item.digest


def _may_have_run(site: Site, unit: UnitState, item: DesiredObject, row: Row | None) -> bool:
    """Whether it is a Job that is not there, and the record says neither that it was there nor that we deleted it."""
    ref = item.ref
    if kind_of(ref) != _JOB or not item.source.options.reconcile:
        return False
    if any(gone.ref == ref for gone in unit.deletions):
        return False  # to be made anew, as it is replaced
    says_nothing = row is None or row.state is RowState.INTENDED or row.state.is_end
    return says_nothing and site.view.is_known(ref) and site.view.find(ref) is None


def is_outdated(unit: UnitState, step: Step) -> bool:
    """Whether an object is asked about only because another version of fleet recorded it, and Git is as it was."""
    row = unit.rows.get(step.wanted.ref)
    if row is None or not row.desired:
        return False
    return unit.holds_commit and row.form != FORM
