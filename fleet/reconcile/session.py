"""One connection's lifetime: turns events into heals and passes, and runs at most one pass per unit.

Every task of a session ends with it. What concerns the cluster as a whole (another identity, a lost lease, state that
cannot be written) ends the session; what concerns one object, kind or unit does not.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fleet.core.documents import Document
from fleet.core.fleet import Mode
from fleet.core.ids import ObjectRef, UnitName
from fleet.core.rollout import Detach
from fleet.core.status import WELL, EventKind, Health, Sync, UnitReport
from fleet.errors import ClusterTimeout, ClusterUnreachable, FleetError, WatchSilent
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import Applier
from fleet.reconcile.detach import Detacher
from fleet.reconcile.followed import FollowedKinds
from fleet.reconcile.heal import Healer
from fleet.reconcile.health_watch import HealthWatch
from fleet.reconcile.memory import UnitState, kind_of
from fleet.reconcile.observe_mode import Comparer
from fleet.reconcile.orders import Orders
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.parent import ParentLooks
from fleet.reconcile.proof import SlowProof
from fleet.reconcile.reading import read_bundle
from fleet.reconcile.reporting import awaited_links, report_of, stale_at
from fleet.reconcile.reverify import note_told
from fleet.reconcile.served import is_doubted, left_behind
from fleet.reconcile.session_errors import ENDS
from fleet.reconcile.sightings import Sightings, hook_refs
from fleet.reconcile.site import Site
from fleet.reconcile.standing import Leave, bundle_of, judge_leave, leave_left
from fleet.reconcile.unit_pass import UnitPass

_PASSING = ("WaveWaits", "HookRuns", "IdentityUnknown")  # reasons that go by themselves
_AWAY = tuple(error.__name__ for error in (ClusterTimeout, ClusterUnreachable, WatchSilent))  # no trouble of a unit
_WINDOW_SECONDS = 15.0
_PASSES_AT_ONCE = 16
_LET_GO_WAITS = "it left the repo, and waits until the newest commit of every other overlay here is read"


class Session:
    """Runs until the connection must be made anew."""

    def __init__(self, make_site: Callable[[Session], Site], orders: Orders, resume: dict[str, str]) -> None:
        self._orders = orders
        self._tasks: asyncio.TaskGroup | None = None
        self._due = asyncio.Event()
        self._running: set[UnitName] = set()
        self._reported: set[UnitName] = set()  # in this session: before that nothing vouches for a unit (R21)
        self._timers: list[tuple[float, UnitName]] = []
        self.site = make_site(self)
        site = self.site
        self._applier, self._health = Applier(site), HealthWatch(site)
        self._healer = Healer(site, self._applier, lambda unit: self._leave(unit).heal)
        sightings = Sightings(site, self._healer, self._health, site.claims.wanter, orders.reach)
        self._kinds = FollowedKinds(site, sightings, resume, self.spawn, self._start)
        self._passes = UnitPass(site, self._applier, self._healer, self._kinds.observer.look, self._lull)
        self._detacher = Detacher(site)
        self._looks = ParentLooks(site, lambda: orders.mode is Mode.MANAGE)
        self._comparer = Comparer(site)
        site.outbox.age = self._age

    async def run(self) -> None:
        """Until cancelled; raises (in a group) what ends the session, and bugs."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._looks.tell()
            tasks.create_task(self._health.run(), name="health")
            tasks.create_task(SlowProof(self.site, self._kinds.observer).run(), name="proof lists")
            tasks.create_task(self._looks.run(), name="parents of others")
            self._kinds.begin()
            self.wake(None)
            await self._schedule()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task of this session."""
        if self._tasks is None:
            work.close()
            return
        self._tasks.create_task(work, name=name)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        assert self._tasks is not None  # a session that runs
        return self._tasks.create_task(work, name=name)

    def _age(self) -> float:
        """Seconds since when all that is known of the cluster is known: of the stream that said something longest ago.

        What is Unknown is said to be; so is what a stream told that broke, once that is too old.
        """
        told = [part.told_at for part in self.site.view.parts() if part.told_at and not self.site.is_stale(part)]
        return max(0.0, self.site.clock() - min(told)) if told else 0.0

    def nudge(self) -> None:
        """The orders changed; units that are concerned are marked already."""
        self._looks.tell()
        self._due.set()

    def met(self) -> None:
        """Another installation's parents came, went, or turned out to be the elder ones."""
        self._looks.met()
        self.wake(None)

    # Scheduling

    def wake(self, name: UnitName | None) -> None:
        """This unit (None: all) is due for a pass."""
        self._orders.due.update(self.site.units if name is None else (name,))
        self._due.set()

    def wake_at(self, name: UnitName, at: float) -> None:
        """Pass over a unit at this loop time, or a little later."""
        heapq.heappush(self._timers, (at, name))
        self._due.set()

    async def _schedule(self) -> None:
        """Start passes of units that are due and have none; sleep otherwise."""
        clock = self.site.clock
        while True:
            timeout = max(0.0, self._timers[0][0] - clock()) if self._timers else None
            try:
                async with asyncio.timeout(timeout):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            while self._timers and self._timers[0][0] <= clock():
                self._orders.due.add(heapq.heappop(self._timers)[1])
            self.site.share.hurry(self._orders.due)
            if any(map(_is_new, self._startable())):  # many clusters may have been told of one commit at once
                await self.site.share.begin()
            await self._read_orders()
            await self._start_passes()

    async def _start_passes(self) -> None:
        """A few at a time, and what is ready elsewhere between them: thousands in one go would keep it all waiting."""
        told = self._orders.desired
        for number, unit in enumerate(self._startable()):
            if number and number % _PASSES_AT_ONCE == 0:
                await asyncio.sleep(0)
                if self._orders.desired is not told:  # what came meanwhile is read before any more of them
                    self._due.set()
                    return
            self._orders.due.discard(unit.name)
            self._running.add(unit.name)
            self.spawn(self._pass(unit), f"pass {unit.name}")

    async def _lull(self, unit: UnitState) -> None:
        """What follows an apply waits while others have new things to apply; not where somebody waits for this unit."""
        if unit.name not in self._orders.due and unit.name not in self._orders.dependants:
            await self.site.share.lull(unit.name)

    def _startable(self) -> list[UnitState]:
        """Units that are due and have no pass under way. Names of units that went are dropped here."""
        self._orders.due &= self.site.units.keys()
        return [self.site.units[name] for name in sorted(self._orders.due - self._running)]

    async def _read_orders(self) -> None:
        """Read all new bundles first: an object that moves between units must not look dropped to the first of them."""
        for unit in self._startable():
            desired = unit.desired
            if desired is not None and _is_new(unit):
                try:
                    await read_bundle(self.site, unit, desired)
                except FleetError as error:
                    if isinstance(error, ENDS):
                        raise
                    continue  # its own pass reports it
                self._kinds.follow({kind_of(ref) for ref in (*unit.refs(), *hook_refs(unit))})

    async def _pass(self, unit: UnitState) -> None:
        site = self.site
        try:
            await self._confirm(unit)
            if unit.desired is not None and isinstance(unit.desired.action, Detach):
                leave = self._leave(unit)
                if leave.blockers:
                    self._report(unit, Outcome(leave, incomplete="it left the repo and waits to be let go"))
                elif unit.desired.action.waits:
                    self._report(unit, Outcome(leave, incomplete=unit.desired.action.waits))
                elif self._may_let_go(unit):
                    if await self._detacher.detach(unit, site.claims, lambda: self._may_let_go(unit)):
                        self._let_go(unit)
                    elif unit.name in site.prunes_wait:
                        self._report(unit, Outcome(leave, incomplete=_LET_GO_WAITS))
                    elif unit.parent_trouble:
                        self._report(unit, Outcome(leave, incomplete=unit.parent_trouble))
                return
            outcome = await self._one_pass(unit)
            if unit.report is not None or outcome.plan is not None or outcome.observed is not None or outcome.reason:
                self._report(unit, outcome)  # before that nothing was judged yet, and no report says so best
        except FleetError as error:
            if isinstance(error, ENDS):
                raise
            leave = self._leave(unit)
            outcome = Outcome(leave, reason=error.reason, message=error.brief, next_step=error.next_step)
            self._report(unit, outcome)
            site.retry(unit, error)
        finally:
            site.share.end()
            self._wake_prunes()
            self._running.discard(unit.name)
            if unit.name in self._orders.due:
                self._due.set()

    def _may_let_go(self, unit: UnitState) -> bool:
        action = unit.desired.action if unit.desired is not None else None
        waits = isinstance(action, Detach) and action.waits
        return self._orders.mode is Mode.MANAGE and not waits and not self._leave(unit).blockers

    def _let_go(self, unit: UnitState) -> None:
        """Forget a unit that is detached; one that was ordered anew meanwhile begins anew."""
        if unit.desired is None or isinstance(unit.desired.action, Detach):
            self._orders.forget(unit)
            return
        begun, now = self._orders.begin(unit.name, waits=self._orders.has_waiting()), self.site.wall()
        begun.desired, begun.blocked_since, begun.pending_since = unit.desired, now, now
        self.wake(unit.name)

    async def _one_pass(self, unit: UnitState) -> Outcome:
        leave, started, told = self._leave(unit), self.site.clock(), unit.desired
        if told is None:
            return Outcome(leave, incomplete="nothing is said of it: it is kept as it is")
        wanted = bundle_of(told)
        if leave.apply:
            unit.begun = wanted
        await read_bundle(self.site, unit, told)
        if wanted is not None and self._orders.mode is Mode.OBSERVE:
            outcome = await self._comparer.compare(unit, leave)
            outcome.told = told
            outcome.refuse(unit.forbidden)
            return outcome
        if wanted is not None:
            kinds = {kind_of(ref) for ref in unit.refs()} | {kind_of(hook.ref) for hook in unit.hooks}
            for kind in left_behind(self.site, unit):
                self._kinds.unfollow(kind)
            self._kinds.follow(kinds)
        if is_doubted(self.site, unit):
            await self._kinds.discover_anew(unit, told)
        outcome = Outcome(leave, told, lambda left: leave_left(left, self._leave(unit), told, unit.desired))
        await self._passes.run(unit, outcome, self.site.claims)
        if stop := self.site.neighbours.stop(unit.name):
            outcome.reason, outcome.message, outcome.next_step = stop.reason, stop.brief, stop.next_step
        await self._explain(unit, outcome)
        self._set_timers(unit, started)
        return outcome

    def _report(self, unit: UnitState, outcome: Outcome) -> None:
        site = self.site
        held = bool(unit.holds or unit.replace_holds)
        unit.held_since = (unit.held_since or site.wall()) if held else 0.0
        report = report_of(site, unit, outcome, self._orders.mode)
        before, unit.report = unit.report, report
        note_told(site, unit)
        if (at := stale_at(site, unit)) is not None:
            self.wake_at(unit.name, at)
        is_new = unit.name not in self._reported
        if is_new or before is None or replace(before, observed_at=report.observed_at) != report:
            self._reported.add(unit.name)
            site.outbox.put_unit(report)
            self._tell(unit, before, report)
            for other in self._orders.dependants.get(unit.name, ()):
                self.wake(other)
        self._end_request(unit, outcome)
        self._orders.judged(unit.name)

    def _tell(self, unit: UnitState, before: UnitReport | None, report: UnitReport) -> None:
        """Failures and recoveries for the timeline, once each."""
        was, now = _failure(before), _failure(report)
        if now and now != was:
            self.site.outbox.tell(EventKind.FAILED, f"{report.reason}: {report.message}", unit=unit.name)
        well = report.health in WELL and report.sync is Sync.SYNCED
        if before is not None and well and (before.health is Health.DEGRADED or was):
            self.site.outbox.tell(EventKind.RECOVERED, "Synced and Healthy again", unit=unit.name)
        if before is not None and before.health is not Health.DEGRADED and report.health is Health.DEGRADED:
            self.site.outbox.tell(EventKind.FAILED, f"Degraded: {report.message}", unit=unit.name)

    def _end_request(self, unit: UnitState, outcome: Outcome) -> None:
        """V5: done, or refused with the chain that stands in the way; else it goes on with the next pass."""
        request = self._orders.request_of(unit.name)
        if request is None or unit.desired is None:
            return
        if self._orders.mode is Mode.OBSERVE:
            self._orders.end_all(unit.name, "refused", "the cluster is in mode observe: nothing is written")
        elif found := _ended_by(unit, outcome):
            self._orders.end_carried(unit, outcome.told or unit.desired, *found)

    def _set_timers(self, unit: UnitState, started: float) -> None:
        """Passes that time alone makes due: retries, and windows that open.

        started: of the pass. What failed early in a long one may be due already; what was due before and was not
        tried waits for something else than time.
        """
        due = [trouble.next_at for trouble in unit.troubles.values() if trouble.next_at > started]
        due += [reverts.next_at for reverts in unit.reverts.values() if reverts.next_at > started]
        if due:
            self.wake_at(unit.name, min(due))
        if unit.desired is not None and unit.desired.policy.sync.windows:
            self.site.poll(unit.name, _WINDOW_SECONDS)

    async def _explain(self, unit: UnitState, outcome: Outcome) -> None:
        """Name the fields of drift that stays."""
        drifted = outcome.plan.drifted if outcome.plan else []
        refs = {step.wanted.ref for step in drifted}
        for ref in [ref for ref in unit.drifts if ref not in refs]:
            del unit.drifts[ref]
        for step in drifted:
            live = self.site.view.find(step.wanted.ref)
            if live is not None and live.document is not None:
                await self._healer.explain(unit, step.wanted, live)

    def _wake_prunes(self) -> None:
        """What was not pruned, because another unit was in a pass and had not read its newest bundle, is due now."""
        waiting = self.site.prunes_wait
        if waiting and self.site.all_read():
            for name in sorted(waiting):
                self.wake(name)
            waiting.clear()

    async def _confirm(self, unit: UnitState) -> None:
        """First of all: a unit that counts as confirmed asks no more, and then the word for it is over."""
        if self._orders.mode is Mode.OBSERVE:
            return
        if not unit.memory.confirmed and self._orders.is_confirmed(unit, self.site.identity):
            unit.memory = replace(unit.memory, confirmed=True)
            await self.site.journal.commit(JournalEntry(units=(unit.memory,)))
            for other in self.site.units.values():  # what it kept back until now may move
                if unit.name in other.awaits:
                    self.wake(other.name)
            for name in self._orders.freed():
                self.wake(name)

    # What may be done, and who wants what

    def _leave(self, unit: UnitState) -> Leave:
        desired = unit.desired
        policy = desired.policy if desired is not None else None
        after = policy.removed_after if policy is not None else ()
        return judge_leave(
            desired,
            mode=self._orders.mode,
            confirmed=self._orders.is_confirmed(unit, self.site.identity),
            has_record=unit.has_record,
            request=self._orders.request_of(unit.name),
            waits_for=self._orders.awaited(unit),
            other=self.site.neighbours.blocker(unit.name, unit.blocked_since),
            removed_after=[name for name in after if not self._orders.is_gone(name)] if after else (),
            spared=self._orders.spared(after) if after else None,
            forbidden=unit.forbidden.values(),
            now=self.site.wall(),
            since=unit.blocked_since,
        )

    def verify(self, ref: ObjectRef) -> None:
        """Read an object of the record by name, soon."""
        self._kinds.verify(ref)

    def arrived(self, ref: ObjectRef, document: Document) -> None:
        """Take an event that waited until the object was written."""
        self._kinds.arrived(ref, document)


def _failure(report: UnitReport | None) -> str:
    """The reason that the timeline tells; not one that goes by itself, nor that nobody sees the unit for a while."""
    if report is None or report.reason in _PASSING:
        return ""
    return "" if report.health is Health.UNKNOWN and report.reason in _AWAY else report.reason


def _ended_by(unit: UnitState, outcome: Outcome) -> tuple[str, str] | None:
    """How what a pass was asked for ended, and why; None: it goes on with the next pass."""
    if links := (*outcome.leave.blockers, *awaited_links(unit)):
        return "refused", "; ".join(f"{item.state.value}: {item.reason}" for item in links)
    if outcome.settled:
        return "done", f"{unit.changed} objects written"
    if outcome.reason and outcome.reason not in _PASSING:
        return "refused", f"{outcome.reason}: {outcome.message}"
    if unit.troubles:
        trouble = next(iter(unit.troubles.values()))
        return "refused", f"{trouble.reason}: {trouble.message}"
    return None


def _is_new(unit: UnitState) -> bool:
    """Whether the unit shall hold a bundle that was not read yet."""
    return bundle_of(unit.desired) not in (None, unit.bundle)
