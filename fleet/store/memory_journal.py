"""The journal of one cluster's worker in memory; as `MemoryState`, held to the database by the same contract suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet.core.ids import ClusterName, Identity, ObjectRef, UnitName
from fleet.core.record import Row
from fleet.ports.worker import Deletion, JournalEntry, JournalState, UnitMemory
from fleet.store.run_time import run_time_from

_DELETIONS_SECONDS = 3600.0


class MemoryJournal:
    """`fleet.ports.worker.Journal` in memory."""

    def __init__(self, run_time: Callable[[], float] | None = None) -> None:
        self.run_time = run_time or run_time_from(None)
        self._rows: dict[tuple[UnitName, ObjectRef], Row] = {}
        self._units: dict[UnitName, UnitMemory] = {}
        self._resume: dict[str, str] = {}
        self._deletions: list[Deletion] = []
        self._verdicts: dict[str, bool] = {}
        self._identity: Identity | None = None
        self.epoch = 0

    async def load(self) -> JournalState:
        """Everything; deletions older than an hour are left out."""
        oldest = self.run_time() - _DELETIONS_SECONDS
        self._deletions = sorted((one for one in self._deletions if one.at >= oldest), key=lambda one: one.at)
        return JournalState(
            rows=tuple(self._rows.values()),
            units=tuple(self._units.values()),
            resume=dict(self._resume),
            deletions=tuple(self._deletions),
            identity=self._identity,
            epoch=self.epoch,
            verdicts=dict(self._verdicts),
        )

    async def commit(self, entry: JournalEntry) -> None:
        """Kept at once."""
        self.jot(entry)

    def jot(self, entry: JournalEntry) -> None:
        """Kept at once."""
        for key in entry.drop:
            self._rows.pop(key, None)
        for unit in entry.drop_units:
            self._units.pop(unit, None)
        self._rows.update({(row.unit, row.ref): row for row in entry.put})
        self._units.update({memory.unit: memory for memory in entry.units})
        self._resume.update(entry.resume)
        self._resume = {kind: version for kind, version in self._resume.items() if version}
        self._verdicts.update(entry.verdicts)
        self._deletions = [one for one in self._deletions if (one.unit, one.ref) not in entry.drop_deletions]
        self._deletions.extend(entry.deletions)
        self._identity = entry.identity or self._identity

    def rename(self, new: ClusterName) -> None:
        """All units are those of a cluster of this name now."""
        rows = [replace(row, unit=replace(row.unit, cluster=new)) for row in self._rows.values()]
        units = [replace(memory, unit=replace(memory.unit, cluster=new)) for memory in self._units.values()]
        self._rows = {(row.unit, row.ref): row for row in rows}
        self._units = {memory.unit: memory for memory in units}
        self._deletions = [replace(one, unit=replace(one.unit, cluster=new)) for one in self._deletions]
