"""What each unit was told to hold, what it shall hold, and what waits: the hub's books, in memory.

Nothing here waits or writes. Who changes what is held, or what waits, has `changing`, and has it durable first (R22).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import replace

from fleet.controllers.holdings import Known
from fleet.controllers.identities import Identities
from fleet.controllers.takers import Takers
from fleet.core.fleet import Fleet, Mode, Unit
from fleet.core.ids import ClusterName, Digest, ObjectRef, UnitName
from fleet.core.passage import Passages, Quarantine
from fleet.core.quarantine import barred_by, told_of
from fleet.core.results import Rendered, Result, Shown
from fleet.core.rollout import SyncRequest
from fleet.core.steps import goes_by_itself, goes_by_steps
from fleet.core.turns import is_stopped, with_row
from fleet.core.view import View


class Books:
    """One instance per hub. What stands in several books is of one unit: it is dropped and renamed in all of them."""

    def __init__(self, view: View, identities: Identities) -> None:
        self._view, self._identities = view, identities
        self.results: dict[UnitName, Result] = {}  # the newest, released or not
        self.held: dict[UnitName, Rendered] = {}  # what each unit was told to hold last
        self.shown: dict[UnitName, Shown] = {}  # what those that do not go by themselves were shown last
        self.waiting: dict[UnitName, Rendered] = {}  # newest results that wait for their step or for a person
        self.permits: dict[UnitName, frozenset[ObjectRef]] = {}
        self.permits_to_come: dict[UnitName, frozenset[ObjectRef]] = {}  # with what waits
        self.unjudged: set[UnitName] = set()  # results that stand, whose deletions are to be judged anew
        self._begun: set[UnitName] = set()  # units that went by themselves, whose row does not say so yet
        self._back: set[UnitName] = set()  # units that are back, and whose row does not say so yet
        self.dirty: set[UnitName] = set()  # units that are to be told something else
        self.is_first = False
        self.quarantined: Mapping[UnitName, tuple[Digest, ...]] = {}  # what parents shall say is barred, by unit
        self._quarantine: Quarantine | None = None  # the one this was made of
        self._takers = Takers()
        self.changing = asyncio.Lock()  # what is held changes in one place at a time
        view.results = self.results

    def begin(self, held: Mapping[UnitName, Rendered], shown: Mapping[UnitName, Shown]) -> None:
        """Take over what an earlier process released, and what it showed."""
        self.held, self.shown = dict(held), dict(shown)
        self.is_first = not self.held

    def first_is_over(self) -> None:
        """A commit was taken over as a whole; from now on there is something that a new result may break.

        The first commit of an empty state goes to all clusters together. One that holds our marks already takes
        nothing before a person confirmed what was found there (R24).
        """
        self.is_first = False

    # What is so of a unit

    def waits(self, name: UnitName) -> bool:
        """Whether a unit keeps what it holds although it has a newer result.

        Where nothing is written, or a person syncs, a result that waits is shown all the same (as what a sync would
        bring), unless it was taken back; it counts as held only once the cluster has it, or at once where the cluster
        has none yet (`begins_with`).
        """
        return name in self.waiting and self.is_withheld(name, self.waiting[name])

    def is_withheld(self, name: UnitName, result: Rendered) -> bool:
        """Whether a result that waits is not even shown: it was taken back, or its unit goes by itself.

        What is told to such a unit is written; so it is released first, also where it waits for no step any more.
        """
        fleet = self._view.fleet
        unit = fleet.units.get(name) if fleet is not None else None
        goes = unit is not None and goes_by_itself(unit) and not self.is_by_hand(name)
        return goes or self.is_barred(name, result)

    def is_by_hand(self, name: UnitName) -> bool:
        """Whether a unit that goes by itself now is told as if a person synced it: what it was shown last.

        Until it is known what its cluster has. A hub that was killed may not have heard it; then what the unit holds by
        the books may be older than what it was shown, or than what a person synced since.
        """
        fleet, shown = self._view.fleet, self.shown.get(name)
        if shown is None or shown.is_over or fleet is None:
            return False
        unit = fleet.units.get(name)
        return unit is not None and goes_by_itself(unit)

    def is_shown_only(self, name: UnitName) -> bool:
        """Whether its newest result waits for a person, and is shown all the same."""
        return name in self.waiting and not self.waits(name)

    def goes_by_steps(self, name: UnitName) -> bool:
        """Whether a rollout leads it: by the commit in force, or as one that is halted or paused leads it still."""
        fleet = self._view.fleet
        if fleet is None or (unit := fleet.units.get(name)) is None or not goes_by_itself(unit):
            return False
        return goes_by_steps(unit) or is_stopped(self._view.passages, name.overlay)

    def is_barred(self, name: UnitName, result: Rendered, quarantine: Quarantine | None = None) -> bool:
        """Whether a result was taken back: nothing but a person's word lets it in again.

        quarantine: as it will be, where that is not taken over yet.
        """
        report = self._view.units.get(name)
        told = report.quarantined if report is not None else ()
        barred = self._view.passages.quarantine if quarantine is None else quarantine
        return any(known in told for known in result.names) or barred_by(barred, name, result.names) is not None

    def must_wait(self, name: UnitName, result: Rendered) -> bool:
        """Whether a result that is new is not to be held at once."""
        fleet = self._view.fleet
        unit = fleet.units.get(name) if fleet is not None else None
        if unit is None or self.holds(name, result):
            return False
        if goes_by_itself(unit):
            return not self.is_first and (self.goes_by_steps(name) or self.is_barred(name, result))
        return not self.begins_with(unit, result, self._view.passages)

    def begins_with(self, unit: Unit, result: Rendered, kept: Passages) -> bool:
        """Whether a unit that does not go by itself holds a result before its cluster has it, so as to begin with it.

        Where none was ever written in full: `mode: manage` and `sync.mode: auto` write first what was shown last, at
        once. Never what was taken back, nor while its rollout is stopped; and where a person syncs, not while a rollout
        is under way: `sync.mode: manual` for a while skips no step.
        """
        if is_stopped(kept, unit.name.overlay) or self.is_barred(unit.name, result, kept.quarantine):
            return False
        is_led = unit.cluster.mode is not Mode.OBSERVE and with_row(kept, unit.name.overlay) is not None
        return not is_led and not self.has_any(unit.name)

    def has_any(self, name: UnitName) -> bool:
        """Whether a result of a unit was ever applied in full on its cluster, or that is not known yet (R5)."""
        report = self._view.units.get(name)
        if report is None:
            return self._identities.of(name.cluster) is not None  # else nobody was there yet
        return report.bundle is not None or name in self._view.unspoken  # what came since may have been lost

    def unfounded(self, newest: Mapping[UnitName, Rendered], kept: Passages) -> frozenset[UnitName]:
        """Units that hold what was only shown as they are observed, and may not begin with their newest result.

        They hold nothing. So do those that hold what was taken back since, and are not known to have it. Where a person
        syncs, a part of what is held may be there.
        """
        fleet, found = self._view.fleet, set[UnitName]()
        for name, result in newest.items():
            unit = fleet.units.get(name) if fleet is not None else None
            if unit is None or name not in self.held or unit.cluster.mode is not Mode.OBSERVE:
                continue
            if self.has_any(name):
                held, report = self.held[name], self._view.units.get(name)
                is_there = report is not None and report.bundle == held.bundle
                is_unfounded = not is_there and self.is_barred(name, held, kept.quarantine)
            else:
                is_unfounded = not self.begins_with(unit, result, kept)
            if is_unfounded:
                found.add(name)
        return frozenset(found)

    def holds(self, name: UnitName, result: Result) -> bool:
        """Whether a unit was told to hold this very result last."""
        held = self.held.get(name)
        return held is not None and isinstance(result, Rendered) and held.bundle == result.bundle

    def told(self, name: UnitName) -> Result | None:
        """What a unit is told to have now, or why it has nothing."""
        if self.is_by_hand(name):
            shown = self.shown[name].result
            return self.held.get(name) if self.is_barred(name, shown) else shown
        return self.held.get(name) if self.waits(name) else self.results.get(name)

    def kept(self, name: UnitName) -> Rendered | None:
        """What a unit is told that is not its newest result."""
        told = self.told(name) if self.is_by_hand(name) or self.waits(name) else None
        return told if isinstance(told, Rendered) else None

    def permits_of(self, name: UnitName) -> frozenset[ObjectRef]:
        """What may be deleted by what a unit is told now; nothing by what it is told for want of its cluster's word."""
        if self.is_by_hand(name) and self.waiting.get(name) != self.told(name):
            return frozenset()
        permits = self.permits_to_come if self.is_shown_only(name) else self.permits
        return permits.get(name, frozenset())

    def unsettled_of(self, name: UnitName) -> frozenset[ObjectRef]:
        """What may be deleted by what a unit is told, and its newest result may have: that was told until now.

        It was shown for a person to sync, or observed; its unit goes by itself since, or it was taken back. What goes
        by what the unit held before is judged again, and until then all of it stays.
        """
        return self.permits.get(name, frozenset()) if name in self.permits_to_come and self.waits(name) else frozenset()

    # What is so of several

    @property
    def may_delete(self) -> bool:
        """Whether something was permitted that may still come."""
        return any(self.permits.values()) or any(self.permits_to_come.values())

    def unsettled(self) -> set[UnitName]:
        """Units whose newest result was told until now, and waits."""
        return {name for name in self.permits_to_come if self.waits(name)}

    def pending(self) -> dict[UnitName, frozenset[ObjectRef]]:
        """What units may still delete by what they hold: what the hub permitted, and what a person is asked about.

        Of a unit whose worker began anew and has not judged yet what to ask, anything: it may be approved already (R5).
        """
        found = {name: refs for name, refs in self.permits.items() if refs}
        found |= {name: refs for name, refs in self.permits_to_come.items() if refs and self.is_shown_only(name)}
        for name, report in self._view.units.items():
            if not report.holds and report.unjudged is None:
                continue
            asked = {item.ref for hold in report.holds for item in hold.deletions}
            if report.unjudged is not None:
                asked |= {status.ref for status in report.objects}
            found[name] = found.get(name, frozenset()) | asked
        return found

    def in_use(self) -> frozenset[Digest]:
        """Bundles that must stay readable: what units hold or shall hold, and what a rollback goes back to (R17).

        Also what a cluster has: while a unit waits for its window, what it had before is healed.
        """
        kept = self._view.passages
        rows = [row for passage in kept.all for row in passage.rows.values()]
        rows += [last.row for last in kept.last.values()]
        shown = {name: one.result for name, one in self.shown.items()}
        books = (self.held, self.waiting, self.results, shown, *(row.before for row in rows))
        earlier = {one.result.bundle for row in rows for one in row.earlier.values()}
        told = {result.bundle for book in books for result in book.values() if isinstance(result, Rendered)}
        return frozenset(
            told.union(earlier, (report.bundle for report in self._view.units.values() if report.bundle is not None))
        )

    def units_on(self, clusters: Iterable[ClusterName]) -> set[UnitName]:
        """All units of these clusters at the commit in force."""
        fleet, concerned = self._view.fleet, set(clusters)
        return {name for name in fleet.units if name.cluster in concerned} if fleet is not None and concerned else set()

    def waiting_on(self, cluster: ClusterName, fleet: Fleet) -> Mapping[UnitName, Rendered]:
        """Newest results of a cluster that its units do not hold yet."""
        units = (unit.name for unit in self._takers.on(cluster, fleet))
        return {name: self.waiting[name] for name in units if self.waits(name)}

    def known(
        self,
        fleet: Fleet,
        building: Collection[UnitName],
        coming: Mapping[UnitName, Result],
        judged: Mapping[UnitName, Result],
        quarantine: Quarantine,
        shown: Container[UnitName] = (),
    ) -> Known:
        """What deletions are judged by. building: units that are not known at this commit; coming: not taken yet.

        judged: what units are to be told, which may be an earlier result, or only shown; quarantine: results that come
        no more.
        """

        def newest(name: UnitName) -> Result | None:
            return coming.get(name) or self.results.get(name)

        ahead: dict[UnitName, Rendered] = {}
        for name, told in judged.items():
            new = newest(name)
            if not isinstance(told, Rendered) or not isinstance(new, Rendered) or new.bundle == told.bundle:
                continue
            if not self.is_barred(name, new, quarantine):
                ahead[name] = new
        unsure = self._takers.unsure(fleet, newest, building)
        return Known(self.held, self._view.units, self.results, coming, unsure, ahead, shown)

    def unnoted(self, requests: Iterable[SyncRequest]) -> dict[UnitName, Shown]:
        """What units are to be shown that is not noted yet: it is durable before they are (R22).

        requests: syncs that clusters are told of; one for another result alone, or where nothing is written, brings
        none. A hub that begins does not know yet which they are: what was noted of them stays.
        """
        syncs = {request.unit: request for request in requests}
        fleet, found = self._view.fleet, {name: self.shown[name] for name in self._back if name in self.shown}
        for name in self.dirty:
            unit = fleet.units.get(name) if fleet is not None else None
            if unit is None or goes_by_itself(unit) or not self.is_shown_only(name):
                continue
            result, sync = self.waiting[name], syncs.get(name)
            is_asked = sync is not None and (not sync.override or sync.bundle == result.bundle)
            is_asked = is_asked and unit.cluster.mode is Mode.MANAGE
            known = self.shown.get(name)
            before = known.operation if known is not None and known.result == result else ""
            operation = sync.operation if sync is not None and is_asked else before
            is_begun = name in self._begun or (known is not None and known.is_begun)
            shown = Shown(result, operation, is_begun=is_begun)
            if known != shown:
                found[name] = shown
        for name in self._begun & self.held.keys() - found.keys():
            known = self.shown.get(name)
            if known is None or not known.is_begun:
                found[name] = Shown(self.held[name], is_begun=True)  # it is shown what it holds
        return found

    # What changes

    def note(self, shown: Mapping[UnitName, Shown]) -> None:
        """What units are to be shown is durable."""
        self.shown.update(shown)
        self._begun -= shown.keys()
        self._back -= shown.keys()

    def hold(self, results: Mapping[UnitName, Rendered]) -> None:
        """Units that are told to hold something else from now on."""
        self.held.update(results)
        for name in results:
            self.shown.pop(name, None)

    def bar(self, kept: Passages) -> None:
        """Take over all rollouts with what was taken back; units whose parents shall say something else are told."""
        self._view.passages, before = kept, self.quarantined
        if kept.quarantine is not self._quarantine:
            self._quarantine, self.quarantined = kept.quarantine, told_of(kept.quarantine)
            units = before.keys() | self.quarantined.keys()
            self.dirty |= {unit for unit in units if before.get(unit) != self.quarantined.get(unit)}

    def leave(self, units: Iterable[UnitName]) -> None:
        """What leaves has no result any more; what it holds stays until it is let go."""
        for name in units:
            self.results.pop(name, None)
            self.waiting.pop(name, None)
            self.dirty.add(name)

    def go_by_hand(self, after: Fleet) -> None:
        """Note which units go by themselves no more by a commit that comes, amid what they hold."""
        before = self._view.fleet
        if before is None or before.units is after.units:
            return
        for name in self.held:
            was, unit, report = before.units.get(name), after.units.get(name), self._view.units.get(name)
            if unit is None or goes_by_itself(unit):
                self._begun.discard(name)
                continue
            is_amid = report is None or report.bundle is None  # else it is known what is there
            if is_amid and was is not None and goes_by_itself(was) and not self.is_by_hand(name):
                self._begun.add(name)

    def come_back(self, units: frozenset[UnitName]) -> None:
        """Units that left and are back: what they were shown before is nothing to begin with, nor does a sync bring it.

        What their clusters have of it is heard all the same before they go by themselves.
        """
        for name in units & self.shown.keys():
            self.shown[name] = replace(self.shown[name], operation="", is_back=True)
            self._back.add(name)

    def hold_nothing(self, units: Iterable[UnitName]) -> None:
        """Units that hold nothing any more; their newest results wait."""
        for name in units:
            self.held.pop(name, None)
            self.shown.pop(name, None)
            self.permits.pop(name, None)
            result = self.results.get(name)
            if isinstance(result, Rendered):
                self.waiting[name] = result
            self.dirty.add(name)

    def drop(self, unit: UnitName) -> None:
        """A unit that was let go."""
        for book in (self.held, self.shown, self.permits, self.permits_to_come, self.waiting, self.results):
            book.pop(unit, None)

    def rename(self, old: ClusterName, new: ClusterName) -> None:
        """What units of a cluster hold goes along to its new name; what waited there is looked at anew.

        What was noted for the new name before it was known to be the same cluster gives way, as it does in the state.
        """
        for name in [name for name in self.held if name.cluster == new]:
            self.held.pop(name)
            self.permits.pop(name, None)
        for name in [name for name in self.shown if name.cluster in (old, new)]:
            one = self.shown.pop(name)
            if name.cluster == old:
                self.shown[replace(name, cluster=new)] = one
        for name in [name for name in self.held if name.cluster == old]:
            self.held[replace(name, cluster=new)] = self.held.pop(name)
            if name in self.permits:
                self.permits[replace(name, cluster=new)] = self.permits.pop(name)
            self.waiting.pop(name, None)
