"""The loop from what people asked for to the board: sync requests, suspensions, holds and their approvals.

Everything is read from the state, where the API wrote it: a ring of the bell only hastens, a restart loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleet import telemetry
from fleet.controllers.board import Board
from fleet.controllers.claims import Claims
from fleet.controllers.last_words import end
from fleet.controllers.overrides import orphans_of, override_of
from fleet.controllers.plan_approvals import PlanApprovals
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.controllers.syncs import unit_of, why_lapsed
from fleet.controllers.wipes import Wipes
from fleet.core.guard import Approvals, Approved
from fleet.core.ids import ClusterName, Digest, Identity, OverlayName, Revision, UnitName
from fleet.core.leaving import Leave
from fleet.core.overrides import Way
from fleet.core.recovery import Words, asked_of, given_of, text_of, without_words, words_of
from fleet.core.refusal_log import Boundary, Refusal
from fleet.core.release import is_part_of, list_digest_of, still_there
from fleet.core.rollout import SyncRequest
from fleet.core.status import HoldRequest, asks_recovery
from fleet.core.view import View
from fleet.ports.state import BELIEVED, OPEN, RECOVERED, Bells, HoldRow, OperationRow, State
from fleet.values import dataclass

LOOK_SECONDS = 120.0  # without a ring, which each fetch gives: only holds that expire, and those live for days
HOLD_SECONDS = 3 * 86400
FALL = "sharp-fall"


@dataclass(frozen=True, slots=True)
class Orders:
    """One instance runs per hub. wall: seconds since the epoch."""

    state: State
    board: Board
    releases: Releases
    claims: Claims
    view: View
    bells: Bells
    refusals: Refusals
    wall: Callable[[], float]
    plans: PlanApprovals | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.bells.orders.clear()
            await self.look()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.bells.orders.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Take everything over once; a word to stop first, before anything that may fail."""
        self.board.standing.suspend(await self.state.suspensions())
        await self.board.publish()
        holds = await self._settle_holds()
        operations = await self.state.operations(open_only=True, limit=10_000)
        self.board.fetches.keep(operations)
        for row in orphans_of(operations):
            await self.state.end_operation(row.id, "done", "what it approved is over", self.wall())
        await Wipes(self.state, self.board, self.view, self.wall).look(operations)
        found = [await self._request_of(row, operations) for row in reversed(operations)]
        requests = [request for request in found if request is not None]
        recovered = await self._recovered()
        self.board.standing.take(
            requests,
            approvals_of(holds),
            released_falls_of(holds, self.board.roster.falls()),
            recovered,
        )
        if self.board.books.may_delete:
            rows = await self.state.holds(decisions={*OPEN, "rejected"})
            rejected = {(row.id, row.rejected_at): OverlayName(row.overlay) for row in rows if row.rejected_at}
            await self.releases.reject(rejected)
        for cluster, identity in (await self.state.identities()).items():
            self.claims.record(ClusterName(cluster), Identity(identity))
        await self.releases.hand_over()  # where a sync is over, or had no effect for too long
        await self.board.publish()
        self.bells.rollouts.set()  # who is suspended counts for them

    async def _recovered(self) -> Words:
        """Records that a person confirmed; what their clusters hold is believed before the first may be written to.

        A word is for what was shown: once no unit asks any more it is over, and so it is where only something else
        asks; a later loss asks again (R24). None is carried out before Git was read: the commit that a backup has in
        force may be older than what the clusters hold, and they would go back to it.
        """
        if not self.view.head.is_taken:
            return {}
        said = await self.state.get_value(RECOVERED)
        if not said:
            return {}
        words, asked = words_of(said), asked_of(self.view.units.values(), self.view.clusters)
        believed = words_of(await self.state.get_value(BELIEVED) or "")
        given = given_of(words, asked)
        kept = {name: shown for name, shown in given.items() if name in asked or name not in believed}
        if over := {name: shown for name, shown in words.items() if name not in kept}:
            # In this order: one that is believed no more and confirmed still is believed once more.
            believed = {name: shown for name, shown in believed.items() if name not in over}
            await self.state.set_value(BELIEVED, text_of(believed))
            await self.state.change_value(RECOVERED, lambda said: without_words(said, over))
        if any(believed.get(name) != shown for name, shown in kept.items()):
            await self.releases.believe(frozenset(kept), {BELIEVED: text_of(kept)}, self.wall())
        return {name: shown or asked.get(name, frozenset()) for name, shown in kept.items()}

    async def _request_of(self, row: OperationRow, every: Sequence[OperationRow]) -> SyncRequest | None:
        if row.kind != "sync":
            return None
        unit, fleet = unit_of(row), self.view.fleet
        if fleet is None or not self.board.fetches.have_followed(row):
            return None  # a sync fetches first; the fetch rings when it is over
        if unit is None or unit not in fleet.units:
            await end(self.state, row.id, "refused", f"there is no unit {row.target}", self.wall())
            return None
        if row.override:
            found = override_of(row, every, unit, fleet, self.board, self.view.passages, self.wall())
            if found.way is Way.REFUSED:
                await end(self.state, row.id, "refused", found.why, self.wall())
            if found.way is not Way.SYNC:  # what waits for its step is released by the loop of rollouts, which rings
                return None
            # Named with it: a commit may be published before the next look at the orders withdraws this one.
            bound = self.view.passages.overrides[row.id]
            return SyncRequest(row.id, unit, override=True, bundle=bound.bundle)
        if self.board.books.waits(unit):
            link = self.view.waits.get(unit)
            chain = f"{link.state.value}: {link.reason}" if link is not None else "waits: for its step of the rollout"
            await end(self.state, row.id, "refused", chain, self.wall())
            return None
        if refused := why_lapsed(row, unit, self.board, self.view, self.wall()):
            await end(self.state, row.id, "refused", refused, self.wall())
            return None
        books = self.board.books
        if books.is_by_hand(unit) and books.shown[unit].operation != row.id:
            return None  # it goes by itself as soon as it is known what it has
        return SyncRequest(row.id, unit)

    async def _settle_holds(self) -> tuple[HoldRow, ...]:
        """Bring the holds in line with what the workers ask for; one per overlay and commit (R9)."""
        now = self.wall()
        wanted = self._requests_by_hold()
        unjudged = {name: report.unjudged for name, report in self.view.units.items() if report.unjudged is not None}
        known = await self.state.holds(decisions={*OPEN, "rejected"} if unjudged or wanted else OPEN)
        add_unjudged(wanted, unjudged, known, now)
        holds = tuple(row for row in known if row.is_open)
        settled = True
        for row in known:
            of = OverlayName(row.overlay), row.commit
            requests, is_rebuilt = wanted.get(of), self._is_rebuilt(row)
            is_asked = requests is not None or self._is_being_wiped(row, now) or self._is_under_way(row, now)
            if is_rebuilt or (row.is_open and not is_asked):
                await self.state.close_hold(row.id, now)
                settled = False
            if requests is None or (row.decision == "approved" and now >= row.expires_at):
                continue
            if row.decision == "approved" and not is_rebuilt and is_part_of(requests, row.requests):
                del wanted[of]
            else:
                wanted[of] = sorted((*requests, *self._rest_of(row, requests)), key=lambda request: request.unit)
        for (overlay, commit), requests in sorted(wanted.items()):
            digest = list_digest_of(requests)
            if not any((row.overlay, row.commit, row.list_digest) == (overlay, commit, digest) for row in holds):
                self._count(overlay, commit, requests)
            await self.state.put_hold(
                HoldRow(
                    id="",
                    overlay=overlay,
                    commit=commit,
                    created_at=now,
                    list_digest=digest,
                    requests=tuple(requests),
                    expires_at=now + HOLD_SECONDS,
                )
            )
        if wanted or not settled:
            holds = await self.state.holds(decisions=OPEN)
        if self.plans is not None and await self.plans.decide(holds):
            holds = await self.state.holds(decisions=OPEN)
        telemetry.HOLDS.set(sum(1 for row in holds if not row.decision))
        return holds

    def _is_being_wiped(self, row: HoldRow, now: float) -> bool:
        """Whether a wipe goes on that asked for any of it: while other units may take objects (R16) it does not ask."""
        leaving = self.board.roster.leaving.units
        return now < row.expires_at and any(
            leave.wipe and not leave.wiped and leave.commit == request.commit
            for request in row.requests
            if request.deletions and (leave := leaving.get(request.unit)) is not None
        )

    def _is_under_way(self, row: HoldRow, now: float) -> bool:
        """Whether something of an approved list is left.

        Its worker asks no more once it was told of the approval; but a try may fail, and a window or a suspension stop
        the rest: what is left stays approved (R9), so that it goes on with no further word (V4).
        """
        return row.decision == "approved" and now < row.expires_at and bool(self._rest_of(row, ()))

    def _rest_of(self, row: HoldRow, asked: Sequence[HoldRequest]) -> list[HoldRequest]:
        """What units that are told the commit of an approved list have of it still, and do not ask about.

        With it a list is whole at once where another cluster asks: no approval of the one is void by that of the other
        (R9, V4). Of a record that was rebuilt nothing is left of any list; and what was never approved its worker asks
        for itself as long as it is to go: a person is asked about nothing else.
        """
        rest: list[HoldRequest] = []
        for request in row.requests:
            if row.decision != "approved" and not request.left:
                continue
            report = self.view.units.get(request.unit)
            if report is None or asks_recovery(report) or self._commit_told(request.unit) != request.commit:
                continue
            anew = {item.ref for one in asked if one.unit == request.unit for item in one.deletions}
            left = still_there(report, (item for item in request.deletions if item.ref not in anew))
            rest += [replace(request, deletions=left, left=True)] if left else []
        return rest

    def _is_rebuilt(self, row: HoldRow) -> bool:
        """Whether a unit of an approved list has a record that waits for a person: all is asked anew (R12, R24).

        A state that is older than what the clusters hold may lack that it was rejected since: as a whole, as it was
        shown. So the approval of all other units of the list is over, too, though their records count: a word is for
        one exact list, and void when any of it changes (R9, R10). That asks once more and deletes nothing; who
        administers one cluster could do the same with an edit of what is listed there.
        """
        if row.decision != "approved":
            return False
        reports = [self.view.units.get(request.unit) for request in row.requests if request.deletions]
        return any(report is not None and asks_recovery(report) for report in reports)

    def _commit_told(self, unit: UnitName) -> Revision | None:
        """The commit of what a unit is told to hold; what this process has not read yet it was told before."""
        told = self.board.books.told(unit) or self.board.books.held.get(unit)
        return told.commit if told is not None else None

    def _count(self, overlay: OverlayName, commit: Revision, requests: Sequence[HoldRequest]) -> None:
        """A list that nobody was asked about before: once for each guard that stopped a part of it."""
        for reason in sorted({request.reason for request in requests}):
            of_reason = [request for request in requests if request.reason == reason]
            more = f", and {len(of_reason) - 1} more units" if len(of_reason) > 1 else ""
            text = f"{of_reason[0].unit} {of_reason[0].message}{more}"
            self.refusals.note(Refusal(Boundary.DELETION, reason, text, unit=overlay, commit=commit))

    def _requests_by_hold(self) -> dict[tuple[OverlayName, Revision], list[HoldRequest]]:
        wanted: dict[tuple[OverlayName, Revision], list[HoldRequest]] = {}
        for report in self.view.units.values():
            if report.holds and asks_recovery(report):
                continue  # of a record that was rebuilt all is asked anew, once a person confirmed it
            for request in report.holds:
                wanted.setdefault((request.unit.overlay, request.commit), []).append(request)
        for unit, leave in self.board.roster.falls_to_ask(self.view.fleet).items():
            request = HoldRequest(unit, leave.commit, FALL, leave.fall, ())
            wanted.setdefault((unit.overlay, leave.commit), []).append(request)
        for requests in wanted.values():
            requests.sort(key=lambda request: request.unit)
        return wanted


def add_unjudged(
    wanted: dict[tuple[OverlayName, Revision], list[HoldRequest]],
    unjudged: Mapping[UnitName, Revision],
    holds: Sequence[HoldRow],
    now: float,
) -> None:
    """Add to `wanted` what units were asked about whose workers began anew and have not judged yet what to ask (R5).

    unjudged: such units, with the commit that is to be judged. What was approved is asked for no longer than that is in
    force; a rejection has no end.
    """
    for row in holds:
        if row.decision == "void" or (row.decision == "approved" and now >= row.expires_at):
            continue
        of = OverlayName(row.overlay), row.commit
        asked = {request.unit for request in wanted.get(of, ())}
        missing = [
            request
            for request in row.requests
            if request.deletions and unjudged.get(request.unit) == request.commit and request.unit not in asked
        ]
        if missing:
            wanted[of] = sorted((*wanted.get(of, ()), *missing), key=lambda request: request.unit)


def approvals_of(holds: tuple[HoldRow, ...]) -> Approvals:
    """Deletions that a person approved, by unit and commit: a later commit's are asked about anew, list and all (R9).

    Those whose content could not be read are never among them.
    """
    approved: dict[tuple[UnitName, Revision], set[Approved]] = {}
    for row in holds:
        if row.decision != "approved":
            continue
        for request in row.requests:
            for deletion in request.deletions:
                if deletion.content is not None:
                    entry = Approved(deletion.ref, deletion.uid, Digest(deletion.content), deletion.inside)
                    approved.setdefault((request.unit, request.commit), set()).add(entry)
    return {of: frozenset(entries) for of, entries in approved.items()}


def released_falls_of(holds: tuple[HoldRow, ...], falls: Mapping[UnitName, Leave]) -> frozenset[UnitName]:
    """Units whose leaving a person approved, as it stands: of that commit, and never with a list of objects (R8).

    The guard of a unit's own deletions has the same reason: who lets objects go does not let the unit go.
    """
    return frozenset(
        request.unit
        for row in holds
        if row.decision == "approved"
        for request in row.requests
        if request.reason == FALL and not request.deletions
        if (leave := falls.get(request.unit)) is not None and leave.commit == request.commit
    )
