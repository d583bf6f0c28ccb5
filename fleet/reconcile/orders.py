"""What the worker was told last, and the requests it must end exactly once (V5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from fleet.core.fleet import Mode
from fleet.core.ids import Identity, UnitName
from fleet.core.recovery import shown_of
from fleet.core.rollout import Desired, Detach, SyncRequest, UnitDesired, UnknownDesired
from fleet.core.status import WELL, Blocker, Health, OperationResult, Sync, UnitReport
from fleet.ports.worker import JournalEntry, JournalState, UnitMemory
from fleet.reconcile.memory import LiveView, UnitState
from fleet.reconcile.outbox import Outbox
from fleet.reconcile.standing import bundle_of, is_for, judge_spared

_ENDED_KEPT = 1000


class Orders:
    """Desired applied to the units in memory. A unit that is not mentioned is kept as it is (R5, R36)."""

    def __init__(self, outbox: Outbox, state: JournalState, wall: Callable[[], float]) -> None:
        self._outbox, self._wall = outbox, wall
        self.desired: Desired | None = None
        self.units: dict[UnitName, UnitState] = {}
        self.due: set[UnitName] = set()  # units whose next pass shall begin
        self.dependants: dict[UnitName, list[UnitName]] = {}  # of a unit: those that wait for it
        self._unjudged: set[UnitName] = set()
        self._newcomers: set[UnitName] = set()  # that came while records of others here waited for a person
        self._requests: dict[UnitName, dict[str, SyncRequest]] = {}
        self._ended: OrderedDict[str, OperationResult] = OrderedDict()
        self._full_sent = False
        outbox.unordered = self._unordered
        for memory in state.units:
            self.units[memory.unit] = UnitState(memory.unit, memory, told=set(memory.told))
        for row in state.rows:
            unit = self.units.setdefault(row.unit, UnitState(row.unit, UnitMemory(row.unit)))
            unit.rows[row.ref] = row
        for gone in state.deletions:
            if unit := self.units.get(gone.unit):
                unit.deletions.append(gone)

    @property
    def mode(self) -> Mode:
        """observe: nothing at all is written."""
        return self.desired.mode if self.desired else Mode.OBSERVE

    def take(self, desired: Desired) -> bool:
        """Take over a newer order; False for one that is not newer (R36)."""
        if self.desired is not None and desired.sequence <= self.desired.sequence:
            return False
        mode_changed = self.desired is None or self.desired.mode is not desired.mode
        heard = self.desired.recovered if self.desired is not None else frozenset[str]()
        self.desired = desired
        self._outbox.answer(desired.sequence)
        mentioned = {item.unit: item for item in desired.units}
        other_policies: set[UnitName] = set()
        come: list[UnitName] = []  # units of which another result is still coming, or none any more
        claims_less, waits = False, self.has_waiting()
        for name, item in mentioned.items():
            unit = self.units.get(name) or self.begin(name, waits=waits)
            if (unit.desired is not item and unit.desired != item) or mode_changed:
                if unit.desired is None or unit.desired.policy != item.policy:
                    unit.blocked_since = self._wall()
                    other_policies.add(name)
                if item.coming != (unit.desired.coming if unit.desired is not None else ""):
                    come.append(name)
                claims_less |= isinstance(item.action, Detach) or bundle_of(unit.desired) is None
                unit.desired = item
                unit.pending_since = self._wall()
                self.due.add(name)
        for name, unit in self.units.items():
            if name not in mentioned and unit.desired is not None:
                unit.desired = None
                self.due.add(name)
        if other_policies:  # what waited for a suspended unit to give something up may go on
            self.due |= {name for name, unit in self.units.items() if not other_policies.isdisjoint(unit.awaits)}
        if claims_less:  # what two units claimed, or nobody could tell whose it was, may be one's alone now
            self.due |= {name for name, unit in self.units.items() if unit.disputed}
        if desired.recovered - heard:
            self.due |= {name for name, unit in self.units.items() if not unit.memory.confirmed}
        # What is not mentioned yet (the hub was started anew and renders it still) is no less there than the rest.
        self._unjudged = {name for name, unit in self.units.items() if unit.report is None}
        self.dependants = {}
        for name, item in mentioned.items():
            for needed in (*item.policy.depends_on, *item.policy.removed_after):
                self.dependants.setdefault(needed, []).append(name)
        self.due.update(other for name in come for other in self.dependants.get(name, ()))
        self._take_requests(desired)
        return True

    def has_waiting(self) -> bool:
        """Whether a record here waits for a person: then nothing new is begun beside it (R24)."""
        return any(not unit.memory.confirmed for unit in self.units.values())

    def begin(self, name: UnitName, *, waits: bool) -> UnitState:
        """A unit of which nothing is known. waits: as `has_waiting` says, asked once for many."""
        if waits:
            self._newcomers.add(name)
        unit = self.units[name] = UnitState(name, UnitMemory(name, confirmed=not waits))
        return unit

    def _take_requests(self, desired: Desired) -> None:
        wanted: dict[UnitName, dict[str, SyncRequest]] = {}
        for request in desired.requests:
            if ended := self._ended.get(request.operation):
                self._outbox.end_operation(ended)  # the hub did not hear it
            elif request.unit not in self.units:
                self.end(request, "refused", f"{request.unit} is not among the units of this cluster")
            else:
                wanted.setdefault(request.unit, {})[request.operation] = request
        for unit, requests in self._requests.items():
            for operation, request in requests.items():
                if operation not in wanted.get(unit, {}) and operation not in self._ended:
                    self.end(request, "superseded", "withdrawn by the hub")
        for name, requests in wanted.items():
            if requests.keys() - self._requests.get(name, {}).keys():
                self.due.add(name)
        self._requests = wanted

    def request_of(self, name: UnitName) -> SyncRequest | None:
        """The request that is open for what a unit shall hold now; of several, one that overrides.

        An override that was for an earlier result is ended by the hub.
        """
        if name not in self._requests:
            return None
        unit, every = self.units.get(name), self._requests[name].values()
        found = [request for request in every if is_for(request, unit.desired if unit is not None else None)]
        return next((request for request in found if request.override), next(iter(found), None))

    def end_all(self, name: UnitName, outcome: str, message: str) -> None:
        """End all open requests of a unit, whatever they are for."""
        for request in self._requests.pop(name, {}).values():
            self.end(request, outcome, message)

    def end_carried(self, unit: UnitState, told: UnitDesired | None, outcome: str, message: str) -> None:
        """End the requests that a pass was about; told: what it carried out.

        An override for another result, or for what is ordered only since then, was not, and goes on until the hub
        withdraws it or a pass of its own ends it.
        """
        every = self._requests.get(unit.name, {})
        for request in list(every.values()):
            if is_for(request, told) and is_for(request, unit.desired):
                del every[request.operation]
                self.end(request, outcome, message)

    def end(self, request: SyncRequest, outcome: str, message: str) -> None:
        """End one request, once."""
        if request.operation in self._ended:
            return
        result = OperationResult(request.operation, outcome, message)
        self._ended[request.operation] = result
        while len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self._outbox.end_operation(result)

    def _unordered(self) -> tuple[UnitName, ...]:
        return tuple(name for name, unit in self.units.items() if unit.desired is None) if self.desired else ()

    def forget(self, unit: UnitState) -> None:
        """A unit that was detached."""
        self.end_all(unit.name, "superseded", "the unit was detached")
        self.units.pop(unit.name, None)
        self.judged(unit.name)
        memory = unit.memory
        self._outbox.put_unit(
            UnitReport(
                unit.name,
                memory.commit,
                None,
                Sync.SYNCED,
                Health.HEALTHY,
                self._wall(),
                observed_commit=unit.desired.commit if unit.desired else None,
                message="detached: its objects stay, our marks are off",
                detached=True,
            )
        )

    def adopt(self, rebuilt: list[UnitState]) -> None:
        """Records rebuilt from the cluster (R24), so that no unit's counts; what is ordered for them stays ordered."""
        self._newcomers = {name for name, unit in self.units.items() if unit.memory.confirmed}  # since they were read
        for name in self._newcomers:
            self.units[name].memory = replace(self.units[name].memory, confirmed=False)
        for unit in rebuilt:
            before = self.units.get(unit.name)
            unit.desired = before.desired if before else None
            self.units[unit.name] = unit
        self.due.update(self.units)

    def is_confirmed(self, unit: UnitState, identity: Identity) -> bool:
        """Whether the record of a unit counts, or a person was shown this very one and said so.

        A newcomer has none: it goes on at the latest when nobody waits any more for whom it waits.
        """
        if unit.memory.confirmed or self.desired is None:
            return unit.memory.confirmed
        if unit.name in self.freed():
            return True
        return shown_of(unit.name, unit.memory.bundle, identity) in self.desired.recovered

    def freed(self) -> Collection[UnitName]:
        """Newcomers that wait for nobody any more: every record that was rebuilt is confirmed."""
        waits = self._newcomers and any(
            not unit.memory.confirmed for name, unit in self.units.items() if name not in self._newcomers
        )
        return () if waits else self._newcomers

    def start_over(self) -> None:
        """A new session: what was only known by its connection is forgotten."""
        for unit in self.units.values():
            unit.contact.clear()
            unit.doomed.clear()
            unit.read_key = None
        self.due.update(self.units)

    def void(self) -> JournalEntry:
        """Another cluster was accepted under this name: no record of the old one counts (R1)."""
        drop = tuple((unit.name, ref) for unit in self.units.values() for ref in unit.rows)
        names = tuple(self.units)
        desired = {name: unit.desired for name, unit in self.units.items() if unit.desired is not None}
        self.units.clear()
        for name, item in desired.items():
            self.units[name] = UnitState(name, UnitMemory(name), item)
        self.due.update(self.units)
        return JournalEntry(drop=drop, drop_units=names)

    def judged(self, name: UnitName) -> None:
        """A unit was judged in this process; once all were, the next report may be a full one."""
        self._unjudged.discard(name)
        if not self._full_sent and not self._unjudged:
            self._full_sent = True
            self._outbox.send_all()

    def reach(self, view: LiveView) -> None:
        """The cluster is reachable while any of its streams is."""
        parts = list(view.parts())
        lost = [found for found in parts if found.is_lost]
        was = self._outbox.reach
        if lost and len(lost) == len(parts):
            self._outbox.set_reach(
                replace(was, reachable=False, reason=lost[0].unknown, message=lost[0].message, next_step="")
            )
        elif not was.reachable and any(not found.unknown for found in parts):
            self._outbox.set_reach(replace(was, reachable=True, reason="", message="", next_step=""))

    def is_gone(self, name: UnitName) -> bool:
        """Whether a unit owns nothing any more: what it depended on may be removed."""
        unit = self.units.get(name)
        return unit is not None and not unit.rows and self.is_at_desired(name)

    def spared(self, names: Iterable[UnitName]) -> Mapping[UnitName, Blocker]:
        """Why those of these units that keep objects for good are not gone."""
        units = [self.units[name] for name in names if name in self.units and self.units[name].kept_for_good]
        return {
            unit.name: judge_spared(unit.name, unit.kept_for_good, unit.desired, unit.pending_since) for unit in units
        }

    def awaited(self, unit: UnitState) -> Mapping[UnitName, str]:
        """Units that one depends on and that are not Healthy on what they should hold; with why, where the hub says.

        That a newer result of theirs is still coming counts for what the unit has not begun: half of it would stay.
        Nor does it where the unit itself is not told its newest: what goes back waits for nothing others do not have.
        """
        desired, found = unit.desired, dict[UnitName, str]()
        if desired is None or not desired.policy.depends_on:
            return found
        is_begun = bundle_of(desired) in (unit.memory.bundle, unit.begun)
        for name in desired.policy.depends_on:
            other = self.units.get(name)
            told = other.desired if other is not None else None
            coming = told.coming if told is not None and not (is_begun or desired.coming) else ""
            if coming or not self.is_at_desired(name):
                found[name] = coming
        return found

    def is_at_desired(self, name: UnitName) -> bool:
        """Whether a unit is Healthy on what it was told to hold.

        Of one without a result nobody knows what it should hold: what it holds is kept, and nobody goes on behind it.
        """
        unit = self.units.get(name)
        if unit is None or unit.desired is None or unit.report is None:
            return False
        if isinstance(unit.desired.action, UnknownDesired):
            return False
        on_it = unit.memory.bundle is not None and unit.memory.bundle == bundle_of(unit.desired)
        return on_it and unit.report.health in WELL and unit.report.sync is Sync.SYNCED
