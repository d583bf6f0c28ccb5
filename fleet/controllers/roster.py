"""Who belongs to the fleet: its name, its entries as known last, what leaves it; over restarts too (R5, R8, R13)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from fleet.core.across import judge_fall
from fleet.core.differences import still_called
from fleet.core.fleet import Cluster, Fleet
from fleet.core.ids import ClusterName, UnitName
from fleet.core.leaving import Leave, Leaving, decode_entries, decode_leaving, encode_entries, encode_leaving
from fleet.core.release import units_that_left
from fleet.errors import StateDamaged
from fleet.ports.state import INSTALLATION, LEAVING, State

ENTRIES = "entries"  # value of the state: a broken file hides its clusters from a hub that starts


class Roster:
    """Changed by commits and by units that are let go; `save` before anything is published that follows from it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.leaving = Leaving()
        self._saved_leaving = self.leaving
        self._entries: Mapping[ClusterName, Cluster] = {}
        self._before = self._saved_entries = self._entries
        self._installation = ""

    async def start(self) -> None:
        """Take over what an earlier process knew. Raises StateError."""
        self._installation = await self._state.get_value(INSTALLATION) or ""
        leaving, entries = await self._state.get_value(LEAVING), await self._state.get_value(ENTRIES)
        try:
            self.leaving = self._saved_leaving = decode_leaving(leaving) if leaving else Leaving()
            self._entries = self._saved_entries = decode_entries(entries or "{}")
        except ValueError as error:
            raise StateDamaged(
                "which clusters and units the fleet had cannot be read",
                why=str(error),
                next_step="restore a backup of the data directory",
            ) from error

    async def save(self, fleet: Fleet) -> bool:
        """Write down what changed, all of it or nothing; whether there was anything.

        Raises StateError, and then nothing is forgotten.

        What left would else be in neither value for a hub that was killed between two writes, and would be let go by
        its cluster's name alone: by another credential, and although it is suspended or only observed (R17, R22).
        """
        entries, leaving = self._entries, self.leaving
        values: dict[str, str] = {}
        if not self._installation:
            values[INSTALLATION] = fleet.name
        if entries != self._saved_entries:
            values[ENTRIES] = encode_entries(entries)
        if leaving != self._saved_leaving:
            values[LEAVING] = encode_leaving(leaving)
        if not values:
            return False
        await self._state.put_released((), values=values)
        self._installation = self._installation or fleet.name
        self._saved_entries = entries
        self._saved_leaving = leaving
        return True

    def whole(self, fleet: Fleet) -> Fleet:
        """An inventory with what it does not say because of a problem: entries of broken files stay as known last."""
        if self._installation and fleet.name != self._installation:
            fleet = still_called(self._installation, fleet)
        unsaid = self._entries.keys() - fleet.clusters.keys()
        kept = {name: self._entries[name] for name in unsaid if fleet.unknown.covers_cluster(name) is not None}
        found = replace(fleet, clusters={**fleet.clusters, **kept}) if kept else fleet
        self._before, self._entries = self._entries, found.clusters
        # Also by a commit that changes no unit: an entry without any may still have some to let go.
        self.leaving = self.leaving.with_entries(found.clusters, self._before)
        return found

    def take(self, after: Fleet, had_units: Iterable[UnitName]) -> frozenset[UnitName]:
        """Note which units leave with this inventory; returns those that are back before they were let go.

        had_units: of the one before, and all that hold something or were shown it.
        """
        back = frozenset(name for name in self.leaving.units if name in after.units)
        self.leaving = self.leaving.without(back)
        had = set(had_units) - set(self.leaving.units)
        gone = units_that_left(had, after)
        held = {name for name, leave in self.leaving.units.items() if leave.fall}
        falls = judge_fall(gone | held, had | held)
        leaves = {name: Leave(after.commit, falls.get(name.overlay, "")) for name in gone}
        leaving = replace(self.leaving, units={**self.leaving.units, **leaves})
        self.leaving = leaving.with_entries(after.clusters, self._before)
        return back

    def find(self, fleet: Fleet, found: frozenset[UnitName], asking: frozenset[UnitName]) -> frozenset[UnitName]:
        """Note units that leave although no commit of this hub ever had them; returns all whose leaving this changes.

        asking: those that Git does not have and that wait for a person's word, of which none was let go yet. A fall is
        judged among these alone, clusters come one by one, and who was allowed to go before stays so: what one cluster
        invents holds up nothing that leaves elsewhere (R8).
        """
        every = asking | found
        before, falls = judge_fall(every - found, every - found), judge_fall(every, every)
        fell = {name for name in every & self.leaving.units.keys() if name.overlay in falls.keys() - before.keys()}
        old = {name: replace(self.leaving.units[name], fall=falls[name.overlay]) for name in fell}
        new = {name: Leave(fleet.commit, falls.get(name.overlay, "")) for name in found}
        leaving = replace(self.leaving, units={**self.leaving.units, **old, **new})
        self.leaving = leaving.with_entries(fleet.clusters, self._before)
        return found | fell

    def let_go(self, unit: UnitName) -> None:
        """A unit that was detached."""
        self.leaving = self.leaving.without(frozenset({unit}))

    def allow(self, units: frozenset[UnitName]) -> None:
        """Units whose fall a person allowed."""
        self.leaving = self.leaving.allowed(units)

    def wipe(self, asked: Mapping[UnitName, str], over: Container[UnitName]) -> frozenset[UnitName]:
        """Note what is to be wiped, by whose word, and of what that is over; returns the units this changes."""
        before, self.leaving = self.leaving.units, self.leaving.with_wipes(asked, over)
        return frozenset(name for name, leave in self.leaving.units.items() if before[name] != leave)

    async def rename(
        self, old: ClusterName, new: ClusterName, wanted: Container[UnitName], values: Mapping[str, str]
    ) -> None:
        """Rename a cluster in the state, together with what leaves and these values.

        Raises StateError, and then nothing changed.
        """
        leaving = self.leaving.renamed(old, new, wanted)
        await self._state.rename_cluster(old, new, {LEAVING: encode_leaving(leaving), **values})
        self.leaving = self._saved_leaving = leaving

    def falls(self) -> Mapping[UnitName, Leave]:
        """Units whose leaving is held, with commit and reason (R8)."""
        return {name: leave for name, leave in self.leaving.units.items() if leave.fall}

    def falls_to_ask(self, fleet: Fleet | None) -> Mapping[UnitName, Leave]:
        """Those that a person is asked about: not while Git gives their cluster to an entry of another name (R2)."""
        falls = self.falls()
        if not falls or fleet is None:
            return falls
        there = {entry.identity for entry in fleet.clusters.values() if entry.identity is not None}
        left = {name: entry for name, entry in self.leaving.clusters.items() if name not in fleet.clusters}
        renamed = {name for name, entry in left.items() if entry.identity in there}
        return {name: leave for name, leave in falls.items() if name.cluster not in renamed}


def has_left(cluster: ClusterName, fleet: Fleet) -> bool:
    """Whether a commit says that a cluster is no more; a file that cannot be read says nothing of it (R5)."""
    return cluster not in fleet.clusters and fleet.unknown.covers_cluster(cluster) is None
