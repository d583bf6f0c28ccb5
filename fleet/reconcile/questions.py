"""What of a unit a person was asked about: durable before anybody is asked, and kept until it is settled (R9, R22)."""

from __future__ import annotations

from dataclasses import replace

from fleet.core.asked import asked_of, still_asked
from fleet.core.guard import GuardHold
from fleet.ports.worker import JournalEntry
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site


async def remember_asked(site: Site, unit: UnitState, hold: GuardHold) -> None:
    """A guard holds these; neither time nor a restart lets them go. Raises StateNotWritable."""
    asked = asked_of(unit.memory.asked, hold.reason, {item.ref for item in hold.doomed})
    if asked != unit.memory.asked:
        unit.memory = replace(unit.memory, asked=asked)
        await site.journal.commit(JournalEntry(units=(unit.memory,)))


def forget_settled(site: Site, unit: UnitState) -> None:
    """What is gone, or wanted again, is asked about no more."""
    wanted = unit.wanted
    left = still_asked(unit.memory.asked, unit.rows, lambda ref: wanted[ref].digest if ref in wanted else None)
    if left != unit.memory.asked:
        unit.memory = replace(unit.memory, asked=left)
        site.journal.jot(JournalEntry(units=(unit.memory,)))
