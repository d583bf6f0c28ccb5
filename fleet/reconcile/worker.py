"""The reconcile worker of one cluster: connects, keeps the cluster equal to what `Desired` says, and reports.

It knows no Git, no rollout and no server: orders come by a `Feed`, reports go to a `Sink`, memory is a `Journal`. A
FleetError becomes a report and another try; a bug escapes to whoever supervises the worker (design, section 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial

from fleet.cancelling import end_if_asked, in_own_task
from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, Identity
from fleet.core.retry import REFUSALS, Backoff, next_wait
from fleet.core.rollout import Desired
from fleet.core.status import EventKind
from fleet.errors import FleetError, IdentityMismatch, Retry, StateNotWritable
from fleet.ports.kube import Catalog, Connector, Fence, Kube
from fleet.ports.worker import Audit, Feed, Journal, JournalEntry, JournalState, Sink
from fleet.reconcile.claims import UnitClaims
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.memory import LiveView
from fleet.reconcile.neighbours import Neighbours
from fleet.reconcile.orders import Orders
from fleet.reconcile.outbox import Outbox, Reach
from fleet.reconcile.pace import Pace
from fleet.reconcile.parent import look_at_parents
from fleet.reconcile.recover import rebuild_units
from fleet.reconcile.rush import Rush, Share
from fleet.reconcile.session import Session
from fleet.reconcile.session_errors import ENDS
from fleet.reconcile.site import Library, Site

_CLOSE_SECONDS = 2.0


class Worker:
    """One cluster's worker. `digest_key` keys digests of live Secrets (R32); `wall` tells seconds since the epoch."""

    def __init__(
        self,
        cluster: ClusterName,
        *,
        feed: Feed,
        sink: Sink,
        journal: Journal,
        audit: Audit,
        connector: Connector,
        fence: Fence,
        limits: WorkerLimits,
        wall: Callable[[], float],
        digest_key: bytes = b"",
        rush: Rush | None = None,
    ) -> None:
        self._cluster, self._feed, self._journal, self._audit = cluster, feed, journal, audit
        self._connector, self._fence, self._limits, self._wall = connector, fence, limits, wall
        self._key, self._rush = digest_key, rush or Rush()
        self._library = Library(feed, limits.bundles_kept)
        self._outbox = Outbox(cluster, sink, wall, limits.report_seconds, lull=self._rush.lull)
        self._session: Session | None = None
        self._told = asyncio.Event()  # a Desired came
        self._reconnect = asyncio.Event()  # it names another connection or identity
        self._identity: Identity | None = None

    async def run(self) -> None:
        """Until cancelled. Bugs escape, in an ExceptionGroup."""
        state = await self._journal.load()
        self._identity = state.identity
        self._outbox.reach = Reach(identity=state.identity)  # whose records it reports until it is reached
        orders = Orders(self._outbox, state, self._wall)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(orders), name="desired")
            tasks.create_task(self._outbox.run(), name="reports")
            tasks.create_task(self._keep_connected(orders, state), name="connection")

    async def _listen(self, orders: Orders) -> None:
        """Take over each newer Desired."""
        wait = 0.0
        while True:
            before = orders.desired
            try:
                newest = await self._feed.next(before.sequence if before else -1)
                wait = 0.0
            except FleetError:
                wait = next_wait(wait, random.random(), self._backoff)
                await asyncio.sleep(wait)
                continue
            if not orders.take(newest):
                continue
            if before is not None and self._leads_elsewhere(before, newest):
                self._reconnect.set()
            self._told.set()
            if self._session is not None:
                self._session.nudge()

    async def _keep_connected(self, orders: Orders, state: JournalState) -> None:
        """One session after the other; what ends one is reported, with backoff between."""
        await self._told.wait()
        wait, resume = 0.0, dict(state.resume)
        while True:
            self._reconnect.clear()
            started = asyncio.get_running_loop().time()
            try:
                await in_own_task(partial(self._one_session, orders, resume, state))
                wait = 0.0
                continue
            except FleetError as error:
                failure = error
            end_if_asked()
            if asyncio.get_running_loop().time() - started > self._limits.reconnect_most_seconds:
                wait = 0.0
            resume = {}  # the journal's tokens served the first session; later ones start from lists
            self._lost(failure)
            wait = next_wait(wait, random.random(), self._backoff if failure.retry is Retry.SOON else REFUSALS)
            try:
                async with asyncio.timeout(wait):
                    await self._reconnect.wait()
            except TimeoutError:
                pass

    async def _one_session(self, orders: Orders, resume: dict[str, str], state: JournalState) -> None:
        """Connect, prove, work; returns when another connection is asked for, raises FleetError when it broke."""
        desired = orders.desired
        assert desired is not None  # waited for
        try:
            self._outbox.epoch = await self._fence.check()
        except StateNotWritable:  # nothing is written now, but it may still look
            if not self._outbox.epoch:
                raise
        self._outbox.begin()
        expected = desired.identity or self._identity
        kube = await self._connector.connect(self._cluster, desired.connection, expected=expected, fence=self._fence)
        try:
            await self._meet(kube, orders)
            catalog = await kube.discover()
            session = Session(lambda made: self._site(kube, catalog, orders, state, made), orders, resume)
            parents = await look_at_parents(session.site)
            if rebuilt := await rebuild_units(session.site, orders.units, parents):
                orders.adopt(rebuilt)
                session.site.own_all()
            if not all(unit.memory.settled for unit in orders.units.values()):
                resume.clear()  # an earlier state's: what is gone since would be seen once more as it was
            self._connected(kube)
            await self._work(session)
        finally:
            self._session = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await kube.close()

    async def _work(self, session: Session) -> None:
        self._session = session
        ended: FleetError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(session.run(), name="session")
                await self._reconnect.wait()
                work.cancel()
        except* ENDS as several:
            ended = _first(several)
        if ended is not None:
            raise ended

    async def _meet(self, kube: Kube, orders: Orders) -> None:
        """Record who answered. Another identity than the record's, asked for in Git, makes the record void (R1);
        what Git took back since the connection was begun does not.

        It may be a cluster that was ours before: what carries our marks there, of which no record is left, waits for a
        person (R12, R24).
        """
        found, known = kube.identity, self._identity
        if found == known:
            return
        desired = orders.desired
        if known is not None and (desired is None or desired.identity != found):
            raise IdentityMismatch(
                f"another cluster answers as {self._cluster}",
                why=f"its identity is {found}, recorded was {known}",
                next_step=f"fleet cluster identity {self._cluster} --accept {found}",
            )
        action = "accept-identity" if known else "first-contact"
        reason = f"recorded before: {known}" if known else "nothing was recorded of this cluster"
        await self._audit.write(
            AuditEntry(self._wall(), f"worker {self._cluster}", action, self._cluster, found, reason=reason)
        )
        drop = orders.void() if known else JournalEntry()
        await self._journal.commit(
            JournalEntry(identity=found, drop=drop.drop, drop_units=drop.drop_units, resume=drop.resume)
        )
        self._identity = found
        if not known:
            self._outbox.tell(EventKind.NOTE, f"first contact: identity {found} recorded")

    def _site(self, kube: Kube, catalog: Catalog, orders: Orders, state: JournalState, session: Session) -> Site:
        assert orders.desired is not None
        orders.start_over()
        neighbours = Neighbours(self._cluster, orders.desired.installation, kube.identity, session.met)
        site = Site(
            cluster=self._cluster,
            installation=orders.desired.installation,
            identity=kube.identity,
            kube=kube,
            catalog=catalog,
            view=LiveView(),
            library=self._library,
            journal=self._journal,
            audit=self._audit,
            outbox=self._outbox,
            share=Share(self._rush),
            pace=Pace(self._limits.concurrency, self._limits.changed_per_slot),
            limits=self._limits,
            wall=self._wall,
            clock=asyncio.get_running_loop().time,
            key=self._key,
            units=orders.units,
            claims=UnitClaims(self._cluster, orders.units, neighbours.lacks),
            neighbours=neighbours,
            spawn=session.spawn,
            wake=session.wake,
            random=random.random,
            wake_at=session.wake_at,
            verify=session.verify,
            arrived=session.arrived,
            verdicts=dict(state.verdicts),
        )
        site.own_all()
        return site

    def _connected(self, kube: Kube) -> None:
        was = self._outbox.reach
        self._outbox.set_reach(Reach(reachable=True, identity=kube.identity, version=kube.version))
        if not was.reachable:
            self._outbox.tell(EventKind.CONNECTED, f"connected to {kube.version or 'the cluster'}")

    def _lost(self, error: FleetError) -> None:
        was = self._outbox.reach
        self._outbox.set_reach(Reach(False, self._identity, was.version, error.reason, error.brief, error.next_step))
        if was.reachable or was.reason != error.reason:
            self._outbox.tell(EventKind.LOST, f"{error.reason}: {error.what}")

    def _leads_elsewhere(self, before: Desired, newest: Desired) -> bool:
        """Whether the connection in use is the wrong one now; an identity that only repeats what was found is not."""
        if (before.connection, before.installation) != (newest.connection, newest.installation):
            return True
        return (before.identity or self._identity) != (newest.identity or self._identity)

    @property
    def _backoff(self) -> Backoff:
        return Backoff(self._limits.reconnect_first_seconds, self._limits.reconnect_most_seconds)


def _first(group: BaseExceptionGroup[FleetError]) -> FleetError:
    """One error of a group for the report: several tasks meet the same trouble at once."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
