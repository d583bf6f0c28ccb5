"""The loop from Git to the board: fetch, load, render what the commit touches, release.

A failure at any step concerns just what it covers: a fetch that fails keeps the commit in force, a file that does
not parse keeps what it defines, a build that fails keeps its units on what they hold (R5, R7).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from fleet import telemetry
from fleet.controllers.board import Board
from fleet.controllers.budgets import BudgetInForce
from fleet.controllers.convergence import Convergence
from fleet.controllers.plan_approvals import PlanApprovals
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.controllers.rendering import Rendering
from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Revision, short
from fleet.core.problems import Problem, Severity
from fleet.core.refusal_log import Boundary, Refusal
from fleet.core.status import Event, EventKind
from fleet.core.view import View
from fleet.errors import FleetError, HistoryRewritten, RefMissing, SourceError
from fleet.inventory.load import Loaded, load_fleet
from fleet.ports.render import Renderer
from fleet.ports.source import CommitInfo, Fetched, Snapshot, Source
from fleet.ports.state import Bells, State
from fleet.telemetry import Traces

log = structlog.get_logger("commits")
IN_FORCE = "commit-in-force"


class Commits:
    """One instance runs per hub."""

    def __init__(
        self,
        *,
        source: Source,
        renderer: Renderer,
        board: Board,
        releases: Releases,
        view: View,
        state: State,
        bells: Bells,
        convergence: Convergence,
        traces: Traces,
        refusals: Refusals,
        poll_seconds: float,
        wall: Callable[[], float],
        plans: PlanApprovals | None = None,
        builders: int = 2,
    ) -> None:
        """builders: how many builds the renderer makes at one time."""
        self._source, self._view = source, view
        self._board, self._books, self._releases = board, board.books, releases
        self._state, self._bells, self._convergence, self._traces = state, bells, convergence, traces
        self._refusals, self._poll_seconds, self._wall = refusals, poll_seconds, wall
        self._plans = plans
        self._loaded: Loaded | None = None
        self._rendering = Rendering(renderer, releases, board.books, bells, refusals, builders)
        self._promised = Revision("")  # in force before, and not in the mirror: the branch must still contain it (R7)
        self._unfinished = False  # a commit was taken over in part: the hub's own state could not be written
        self._is_refused = False  # the newest commit says nothing; the inventory before it is in force (R6)
        self._budget = BudgetInForce(state)
        self._uncompared: Fleet | None = None  # the commit in force, where its plan could not be computed

    async def run(self) -> None:
        """Until cancelled: take over the last commit in force, however often it takes, and fetch again and again.

        May be called again after an error: what was begun is finished then.
        """
        while True:
            self._bells.fetch.clear()
            if self._loaded is None:
                await self.resume()
            await self.fetch_once()
            pause = self._poll_seconds * random.uniform(0.8, 1.2)
            try:
                async with asyncio.timeout(pause):
                    await self._bells.fetch.wait()
            except TimeoutError:
                continue

    async def resume(self) -> None:
        """Go on with the commit in force before Git is asked: a hub without its Git host still heals drift."""
        revision = await self._state.get_value(IN_FORCE)
        if not revision:
            return
        try:
            snapshot = await self._source.at(Revision(revision))
        except FleetError as error:
            self._promised = Revision(revision)  # a mirror that is damaged now may be moved away and fetched anew
            log.warning("commit in force not readable", commit=revision, reason=error.reason, why=error.why)
            return
        info = CommitInfo(Revision(revision), "", "", 0.0)
        if not await self._take(Fetched(snapshot, info, None), self._wall()):
            self._promised = Revision(revision)

    async def fetch_once(self) -> None:
        """Ask Git once, and take over what is new; a SourceError is shown and keeps what is in force (R7)."""
        started = self._wall()
        self._view.head.fetches_begun += 1
        try:
            fetched = await self._source.fetch()
            await self._check_promise(fetched.info.revision)
        except SourceError as error:
            self._failed(error)
        else:
            telemetry.FETCHES.labels("good").inc()
            head, info = self._view.head, fetched.info
            head.error, head.fetched_at = None, self._wall()
            telemetry.FETCHED_AT.set(head.fetched_at)
            is_new, is_read = info.revision != head.commit or self._loaded is None, True
            if is_new or self._unfinished:
                events = (self._line_of(info),) if is_new else ()
                is_read = await self._take(fetched if is_new else replace(fetched, changed=None), started, events)
            else:
                if self._rendering.failed_for_now and not self._is_refused:
                    await self._retry(fetched.snapshot)
                if self._uncompared is not None:
                    await self._compare(self._uncompared, None)
                await self._let_budget_count()
            if is_read:
                head.subject, head.author, head.authored_at = info.subject, info.author, info.at
            head.is_taken = is_read and not self._is_refused
        self._view.head.tried_at = started
        self._view.head.fetches_over = self._view.head.fetches_begun
        self._view.version += 1
        self._bells.orders.set()  # a sync that was asked for waits until its fetch is over

    def _line_of(self, info: CommitInfo) -> Event:
        """One line in the timeline for each commit that came into force, before anything that follows from it."""
        text = f'{self._view.head.branch} is {short(info.revision)} "{info.subject}" ({info.author})'
        return Event(self._wall(), EventKind.NOTE, ClusterName(""), None, text, info.revision)

    def _failed(self, error: FleetError) -> None:
        telemetry.FETCHES.labels("failed").inc()
        self._refusals.note(Refusal(Boundary.GIT, error.reason, error.brief, object=error.where))
        if self._view.head.error is None or self._view.head.error.reason != error.reason:
            log.warning("fetch failed", reason=error.reason, what=error.what, why=error.why)
        self._view.head.error = error

    async def _check_promise(self, head: Revision) -> None:
        """A mirror that was lost takes any history; the state remembers which commit was in force (R7)."""
        if not self._promised:
            return
        try:
            kept = await self._source.is_ancestor(self._promised, head)
        except RefMissing:
            kept = False
        if not kept:
            raise HistoryRewritten(
                f"the branch does not contain {self._promised[:7]}, which was in force",
                why="the mirror was lost, and the branch was rewritten since",
                next_step=f"bring it back: git merge -s ours {self._promised[:7]}",
            )
        self._promised = Revision("")

    async def _take(self, fetched: Fetched, started: float, events: Sequence[Event] = ()) -> bool:
        """Put one commit in force, durable together with `events`. What it does not touch costs nothing.

        False where it cannot be read at all: the one before stays in force, and the error is shown (R5). Raises
        StateError; the next call for the same commit then goes over all of it again, from the render cache.
        """
        commit = fetched.info.revision
        fetched_at = self._wall()
        telemetry.COMMITS.inc()
        follows = self._loaded is not None and not self._unfinished and not self._is_refused
        changed = fetched.changed if follows else None
        self._unfinished = True
        previous = self._loaded
        # A label or a line of fleet.yaml resolves every unit anew, which takes seconds in a very large fleet.
        known = self._loaded.fleet.problems if self._loaded is not None else ()
        try:
            self._loaded = await asyncio.to_thread(load_fleet, fetched.snapshot, self._loaded, changed)
        except FleetError as error:
            self._failed(error)
            return False
        self._count_problems(self._loaded.fleet.problems, known, commit)
        found, values = await self._budget.take(self._loaded.fleet)
        if values and found.budget != self._loaded.fleet.budget:
            events = (*events, self._budget_line(commit))
        # A hub that is killed from here on must not take up the commit before: units would go back to it (V3).
        await self._state.put_released((), values={IN_FORCE: commit, **values}, events=events)
        self._budget.saved()
        self._bells.news.ring()
        await self._convergence.begin(commit, started)
        # From here until `rendering` is set nothing waits: a commit in force with old results would look arrived.
        resolved = self._board.take_fleet(found)
        self._is_refused = resolved is None
        self._bells.clusters.set()
        fleet = self._view.fleet or self._loaded.fleet
        self._traces.installation = fleet.name
        self._view.head.commit = commit
        count = {telemetry.KEY_COUNT: len(fleet.units)}
        self._traces.span(telemetry.SPAN_FETCH, commit, started, fetched_at)
        self._traces.span(telemetry.SPAN_INVENTORY, commit, fetched_at, self._wall(), attributes=count)
        todo = self._rendering.stale(fleet, resolved, changed) if resolved is not None else {}
        self._board.build(todo)
        self._view.version += 1
        self._board.departures.look_again()
        await self._board.publish()
        at = self._wall()
        await self._rendering.render(fetched.snapshot, fleet, todo)
        if follows and changed is not None and previous is not None:
            await self._releases.release(
                self._rendering.made_anew(fetched.snapshot, fleet, previous.fleet, changed, todo)
            )
        if todo:
            attributes = {telemetry.KEY_COUNT: len(todo)}
            self._traces.span(telemetry.SPAN_RENDER, commit, at, self._wall(), attributes=attributes)
        self._board.build(())
        self._view.version += 1
        await self._releases.settle()
        await self._compare(self._loaded.fleet, previous.fleet if previous is not None else None)
        self._unfinished = False
        self._books.first_is_over()
        self._bells.rollouts.set()
        if resolved is None:
            log.warning("commit not taken over", commit=commit, in_force=fleet.commit)
            return True
        await self._convergence.released(commit)
        log.info("commit in force", commit=commit, rendered=len(todo), units=len(fleet.units))
        return True

    def _budget_line(self, commit: Revision) -> Event:
        text = f"the budget of {short(commit)} is looser: it counts for deletions an hour from now, not for its own"
        return Event(self._wall(), EventKind.NOTE, ClusterName(""), None, text, commit)

    async def _let_budget_count(self) -> None:
        """Put a looser budget in force once its hour is over."""
        fleet, budget = self._view.fleet, self._budget.now()
        if fleet is None or budget is None or budget == fleet.budget or self._is_refused:
            return
        self._board.take_fleet(replace(fleet, budget=budget))
        await self._board.publish()

    def _count_problems(self, found: Sequence[Problem], known: Sequence[Problem], commit: Revision) -> None:
        """Count what this commit brought; a problem that stays is counted once."""
        for problem in set(found) - set(known):
            if problem.severity is Severity.ERROR:
                text = f"{problem.what}: {problem.why}" if problem.why else problem.what
                place = {"object": str(problem.origin), "commit": commit}
                self._refusals.note(Refusal(Boundary.REPO, problem.reason, text, **place))

    async def _compare(self, fleet: Fleet, before: Fleet | None) -> None:
        """Hold approvals of plans against this commit; what cannot be computed now is tried with the next fetch."""
        if self._plans is not None:
            self._uncompared = None if await self._plans.taken(fleet, before) else fleet

    async def _retry(self, snapshot: Snapshot) -> None:
        fleet = self._view.fleet
        if await self._rendering.retry(snapshot, fleet) and fleet is not None:
            await self._releases.settle()
            await self._convergence.released(fleet.commit)
