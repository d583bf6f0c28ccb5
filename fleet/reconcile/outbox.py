"""Collects what is to be reported and sends it in order: changed units, operations, events, with epoch and sequence.

Units that change again before they are sent are sent once. Nothing waits for the hub but the sending itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from fleet.core.ids import ClusterName, Identity, ObjectRef, Revision, UnitName
from fleet.core.status import Event, EventKind, OperationResult, Report, UnitReport
from fleet.errors import FleetError
from fleet.ports.worker import Sink
from fleet.reconcile.rush import Rush
from fleet.values import dataclass, field

_GATHER_SECONDS = 0.02  # what happens within this time is one report
_ANSWER_SECONDS = 1.0  # an order that changes nothing is answered alone; else with what follows from it


@dataclass(slots=True)
class Reach:
    """How the cluster as a whole stands."""

    reachable: bool = False
    identity: Identity | None = None
    version: str = ""
    reason: str = ""
    message: str = ""
    next_step: str = ""


@dataclass(slots=True)
class Outbox:
    """One worker's reports. `units` holds the last report of each unit, for full reports."""

    cluster: ClusterName
    sink: Sink
    wall: Callable[[], float]
    heartbeat_seconds: float
    reach: Reach = field(default_factory=Reach)
    finding: FleetError | None = None  # of the cluster as a whole, while it is reached
    epoch: int = 0
    began_at: float = 0.0
    age: Callable[[], float] = field(default=lambda: 0.0)  # seconds since how the cluster stood is known
    lull: Callable[[], asyncio.Future[None]] = field(default=Rush().lull)  # who waits for it, waits as for `Rush.lull`
    unordered: Callable[[], tuple[UnitName, ...]] = field(default=lambda: ())  # see Report
    desired_sequence: int = 0
    units: dict[UnitName, UnitReport] = field(default_factory=dict[UnitName, UnitReport])
    _sequence: int = 0  # rises over restarts of the worker too: it starts at the wall clock's milliseconds (R36)
    _changed: set[UnitName] = field(default_factory=set[UnitName])
    _operations: list[OperationResult] = field(default_factory=list[OperationResult])
    _events: list[Event] = field(default_factory=list[Event])
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    _full: bool = False
    _answered: int = -1  # the sequence that was reported last

    def begin(self) -> None:
        """The cluster is looked at anew from now on: units must be reported again before anything vouches for them."""
        self.began_at = self.wall()

    def put_unit(self, report: UnitReport) -> None:
        """Report a unit if it changed in anything but the time it was looked at."""
        self.units[report.unit] = report
        self._changed.add(report.unit)
        self._due.set()

    def forget_unit(self, report: UnitReport) -> None:
        """Report a unit for the last time (detached)."""
        self.put_unit(report)

    def end_operation(self, result: OperationResult) -> None:
        """Say how a request ended; the caller sees to it that this happens once (V5)."""
        self._operations.append(result)
        self._due.set()

    def tell(
        self,
        kind: EventKind,
        message: str,
        *,
        unit: UnitName | None = None,
        commit: Revision | None = None,
        ref: ObjectRef | None = None,
    ) -> None:
        """One line of the timeline."""
        self._events.append(Event(self.wall(), kind, self.cluster, unit, message, commit, ref))
        self._due.set()

    def set_reach(self, reach: Reach) -> None:
        """The cluster's own standing changed."""
        if reach != self.reach:
            self.reach = reach
            self._due.set()

    def set_finding(self, finding: FleetError | None) -> None:
        """Something about the cluster as a whole that a person must settle; None: nothing any more."""
        if str(finding) != str(self.finding):
            self.finding = finding
            self._due.set()

    def send_all(self) -> None:
        """Make the next report a full one: only when every unit was judged, because what it leaves out is gone."""
        self._full = True
        self._due.set()

    def answer(self, sequence: int) -> None:
        """An order was taken: a report says so, soon, and not before what is new to other clusters goes out."""
        self.desired_sequence = sequence
        asyncio.get_running_loop().call_later(_ANSWER_SECONDS, self._answer_due)

    def _answer_due(self) -> None:
        if self._answered < self.desired_sequence:
            self.lull().add_done_callback(self._answer_now)

    def _answer_now(self, _: object) -> None:
        if self._answered < self.desired_sequence:
            self._due.set()

    async def run(self) -> None:
        """Send until cancelled. At least a heartbeat each `heartbeat_seconds`, because an age is part of a status."""
        while True:
            try:
                async with asyncio.timeout(self.heartbeat_seconds):
                    await self._due.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(_GATHER_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Send what there is now."""
        self._due.clear()
        full, self._full = self._full, False
        names = list(self.units) if full else [name for name in self._changed if name in self.units]
        operations, self._operations = tuple(self._operations), []
        events, self._events = tuple(self._events), []
        self._changed = set()
        self._sequence = max(self._sequence + 1, int(self.wall() * 1000))
        reach, self._answered = self._shown(), self.desired_sequence
        await self.sink.send(
            Report(
                cluster=self.cluster,
                epoch=self.epoch,
                sequence=self._sequence,
                at=self.wall(),
                began_at=self.began_at,
                known_at=self.wall() - self.age(),
                desired_sequence=self.desired_sequence,
                identity=reach.identity,
                reachable=reach.reachable,
                version=reach.version,
                reason=reach.reason,
                message=reach.message,
                next_step=reach.next_step,
                units=tuple(self.units[name] for name in sorted(names)),
                operations=operations,
                events=events,
                full=full,
                unordered=self.unordered(),
            )
        )
        for name in names:
            if self.units[name].detached:
                del self.units[name]

    def _shown(self) -> Reach:
        reach, found = self.reach, self.finding
        if found is None or not reach.reachable:
            return reach
        return replace(reach, reason=found.reason, message=found.brief, next_step=found.next_step)
