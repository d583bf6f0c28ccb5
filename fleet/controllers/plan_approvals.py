"""Approvals of plans, from before the merge until they are used up or void (R9): the shell around core/planning.

A person approves a digest and sends the list that it is of. The hub reads what would go on every cluster, with its own
credentials, and keeps both. When a commit is taken over, its plan is computed anew from the commit before it; the one
with the same digest is what the approval counts for. A hold of that commit whose whole list is still what was read is
approved in that person's name; anything else is left to a person, and the approval is void.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from fleet.controllers.comparing import Comparing
from fleet.controllers.going import GoingReader
from fleet.core.audit import AuditEntry, hold_text
from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import ClusterName, Digest, Revision, UnitName, short
from fleet.core.planning.approval import (
    ApprovalState,
    Broken,
    Covered,
    PlanApproval,
    approvals_of_text,
    approvals_text,
    judge_hold,
    lists_any,
    next_approvals,
)
from fleet.core.planning.change import Sign, with_moves
from fleet.core.planning.listing import Listed, digest_of_text, listed_of, plan_text
from fleet.core.planning.settings import SettingChange, settings_of
from fleet.core.results import Rendered
from fleet.core.status import Event, EventKind
from fleet.core.view import View
from fleet.errors import (
    FleetError,
    PreconditionFailed,
    RefMissing,
    RenderInterrupted,
    RequestInvalid,
    Retry,
    StateDamaged,
    StateError,
)
from fleet.inventory.load import load_fleet
from fleet.ports.render import Renderer
from fleet.ports.source import Snapshot
from fleet.ports.state import APPROVALS, OPEN, Bells, HoldRow, State
from fleet.values import dataclass, field

log = structlog.get_logger("plan-approvals")
COMPARED = "commit-compared"  # value of the state: the last commit whose plan was held against them
DAYS = 3
MOST = 100  # kept at once; void and expired ones make room
OBJECTS_AT_MOST = 2_000
STEPS = 16  # commits that came with one fetch, and are looked at one by one
TRIES = 5  # then a build that breaks off each time is what cannot be told of its unit
_Passing = tuple[type[FleetError], ...]
_PASSING: _Passing = (RenderInterrupted, StateError)  # what the machine did to a build, or to what is kept of it


@dataclass(frozen=True, slots=True)
class _Told:
    """The plan from one commit to another. fleet: of the latter."""

    since: Revision
    commit: Revision
    fleet: Fleet
    digest: Digest
    units: frozenset[UnitName]
    settings: tuple[SettingChange, ...]

    def next(
        self,
        approvals: Sequence[PlanApproval],
        *,
        now: float,
        in_force: Revision | None = None,
        since: Revision | None = None,
    ) -> tuple[PlanApproval, ...]:
        """All approvals after this, as `next_approvals`."""
        return next_approvals(
            approvals, commit=self.commit, digest=self.digest, units=self.units, settings=self.settings,
            now=now, in_force=in_force, since=since,
        )  # fmt: skip


def _judged(
    approvals: Sequence[PlanApproval], whole: _Told, parts: Sequence[_Told] | None, *, now: float
) -> tuple[PlanApproval, ...]:
    """Commit by commit where that counts; what all of them together are the plan of is bound in any case."""
    later = whole.next(approvals, now=now, since=whole.since if parts is None else None)
    if not parts:
        return later
    each = tuple(approvals)
    for part in parts:
        each = part.next(each, now=now, in_force=whole.commit)
    return tuple(one if one.standing is ApprovalState.BOUND else other for one, other in zip(later, each, strict=True))


@dataclass(frozen=True, slots=True)
class PlanApprovals:
    """One instance per hub."""

    state: State
    view: View
    bells: Bells
    renderer: Renderer
    reader: GoingReader
    at: Callable[[str], Awaitable[Snapshot]]
    line: Callable[[Revision, Revision], Awaitable[Sequence[Revision]]]  # by first parents, STEPS at most; else none
    wall: Callable[[], float]
    lock: asyncio.Lock
    tries: dict[Revision, int] = field(default_factory=dict[Revision, int])  # that failed, by commit

    async def all(self) -> tuple[PlanApproval, ...]:
        """All that are kept, the newest first; raises StateDamaged."""
        return tuple(reversed(await self._read()))

    async def approve(self, digest: str, text: bytes, *, actor: str, reason: str) -> PlanApproval:
        """Keep an approval of the plan with this digest. Raises RequestInvalid, PreconditionFailed, ClusterError.

        Never of a plan that is in force already: no commit would be compared with it any more.
        """
        found = digest_of_text(text)
        if found != digest:
            why = f"its digest is {short(found)}"
            raise RequestInvalid("this list is not of that plan", why=why, next_step="fleet plan")
        try:
            listed = listed_of(text)
        except ValueError as error:
            raise RequestInvalid("this is no list of a plan", why=str(error), next_step="fleet plan") from error
        count = sum(map(len, listed.doomed.values()))
        if not count and not listed.leaving:
            raise PreconditionFailed(
                f"plan {short(found)} needs no approval",
                why="nothing is deleted by it, and no unit leaves",
                next_step="merge it; a step of a rollout is approved by: fleet rollout approve",
            )
        if count > OBJECTS_AT_MOST:
            raise PreconditionFailed(
                f"plan {short(found)} deletes too much to be approved as one",
                why=f"{count} objects, the limit is {OBJECTS_AT_MOST}",
                next_step="take it in parts, or approve the holds after the merge",
            )
        now = self.wall()
        entry = AuditEntry(now, actor, "plan-approved", object=f"plan {found}, {count} objects", reason=reason)
        await self.state.write(entry)
        try:
            going = await self.reader.read(self.view.fleet, listed.doomed, listed.old_names)
            approval = PlanApproval(found, listed.units, going, listed.leaving, actor, reason, now, now + DAYS * 86_400)
            async with self.lock:
                await self._check_to_come(listed)
                kept = [
                    item for item in await self._read() if item.digest != found or item.standing is ApprovalState.BOUND
                ]
                await self.state.set_value(APPROVALS, approvals_text((*_with_room(kept, now), approval)))
        except FleetError as error:
            await self.state.write(replace(entry, outcome=f"refused: {error.reason}"))
            raise
        await self.state.write(replace(entry, outcome="done"))
        await self._tell(f"plan {short(found)} approved by {actor}: {count} objects, {len(listed.leaving)} units leave")
        return approval

    async def taken(self, now: Fleet, was: Fleet | None) -> bool:
        """A commit is in force: bind the approvals of its plan, and void those it passed by.

        False where it could not be compared, as when a disk was full: whoever asks asks again, before the next commit
        makes a plan of two out of it.

        Its plan begins at the commit that was compared last, which is durable: a hub that was killed before it came to
        this goes on here. was: the commit before, where this process took it over. Never raises for what the repo
        says: an approval that cannot be bound counts for nothing, and a person is asked. Raises StateError.
        """
        async with self.lock:
            since = await self.state.get_value(COMPARED) or (was.commit if was is not None else "")
            is_asked = any(item.standing is not ApprovalState.VOID for item in await self._readable())
            if not since or not is_asked:
                await self.state.set_value(COMPARED, now.commit)
        if not since or not is_asked or since == now.commit:
            return True
        # Renders take minutes, and what people ordered must not wait for them (R17): the lock is for what is kept.
        try:
            passing = _PASSING if self.tries.get(now.commit, 0) < TRIES else ()
            whole = await self._told(Revision(since), now.commit, was, now, passing)
            parts = await self._parts(whole, passing)
        except RefMissing as error:
            await self._pass_by(Revision(since), now.commit)
            log.warning("plan of the commit not known any more", commit=now.commit, since=since, why=error.why)
            return True
        except FleetError as error:
            log.warning("plan of the commit not computed", commit=now.commit, reason=error.reason, why=error.why)
            self.tries[now.commit] = self.tries.get(now.commit, 0) + 1
            return False
        self.tries.clear()
        async with self.lock:
            approvals = await self._readable()
            later = _judged(approvals, whole, parts, now=self.wall())
            await self._take(approvals, later, compared=now.commit)
        return True

    async def _told(
        self, since: Revision, commit: Revision, was: Fleet | None, now: Fleet | None, passing: _Passing
    ) -> _Told:
        """What one commit does to another, or several of them together. Raises FleetError."""
        before, after = await self.at(since), await self.at(commit)
        if was is None or was.commit != since:
            was = (await asyncio.to_thread(load_fleet, before, None, None)).fleet
        if now is None:
            now = (await asyncio.to_thread(load_fleet, after, None, None)).fleet
        comparing = Comparing(self.renderer, before, after, was, now, passing=passing)
        changes = await comparing.changes()
        units = with_moves(changes, await comparing.held_beside(changes, signs={Sign.DELETE}))
        settings = settings_of(was, now)
        text = plan_text(units, settings)
        return _Told(since, commit, now, digest_of_text(text), listed_of(text).units, tuple(settings))

    async def _parts(self, whole: _Told, passing: _Passing) -> Sequence[_Told] | None:
        """Each of the commits that came together, where that counts: all of them at once would void an approval.

        None where they are too many, or not on one line. One that cannot be read counts together with the next.
        """
        async with self.lock:
            approvals = await self._readable()
        later = whole.next(approvals, now=0.0)
        if all(
            new.standing is old.standing or new.standing is ApprovalState.BOUND
            for old, new in zip(approvals, later, strict=True)
        ):
            return ()
        line = await self.line(whole.since, whole.commit)
        if len(line) < 2:
            return [whole] if line else None
        found: list[_Told] = []
        since, was = whole.since, None
        for commit in line:
            now = whole.fleet if commit == whole.commit else None
            try:
                told = await self._told(since, commit, was, now, passing)
            except FleetError as error:
                if isinstance(error, (RefMissing, *passing)) or (passing and error.retry is Retry.SOON):
                    raise  # it may be told the next time
                log.warning("plan of a commit not told by itself", commit=commit, reason=error.reason, why=error.why)
                continue
            found.append(told)
            since, was = commit, told.fleet
        return found

    async def _pass_by(self, since: Revision, commit: Revision) -> None:
        """No commit can be told to be that of an approval that waits: the one it was given after is not known here."""
        async with self.lock:
            approvals = await self._readable()
            why = f"{short(since)}, from which {short(commit)} would be compared, is not known to this hub any more"
            later = tuple(item.voided(why) if item.standing is ApprovalState.WAITS else item for item in approvals)
            await self._take(approvals, later, compared=commit)

    async def decide(self, holds: Sequence[HoldRow]) -> bool:
        """Approve the undecided holds that an approved plan lists whole; returns whether any was decided."""
        undecided = [row for row in holds if not row.decision]
        if not undecided:
            return False
        async with self.lock:
            approvals = await self._readable()
            later, decided = list(approvals), False
            for index, approval in enumerate(approvals):
                for row in undecided:
                    verdict = judge_hold(later[index], row.requests, now=self.wall())
                    if isinstance(verdict, Covered) and (rejected := await self._rejection_of(approval)):
                        later[index] = later[index].voided(f"hold {rejected} was rejected since it was given")
                    elif isinstance(verdict, Covered):
                        decided |= await self._approve_hold(row, approval)
                    elif isinstance(verdict, Broken):
                        later[index] = later[index].voided(verdict.why)
            await self._take(approvals, tuple(later))
        return decided

    async def _rejection_of(self, approval: PlanApproval) -> str:
        """The hold by which a person rejected since then anything of what was approved; "" where nobody did.

        One of its own commit came after it, whatever the clock says.
        """
        rows = await self.state.holds(decisions={*OPEN, "rejected"})
        since = (row for row in rows if row.commit == approval.commit or row.rejected_at >= approval.at)
        return next((row.id for row in since if lists_any(approval, row.rejected)), "")

    async def _approve_hold(self, row: HoldRow, approval: PlanApproval) -> bool:
        """In the name of who approved the plan; false where somebody was faster (R42)."""
        now, reason = self.wall(), f"plan {short(approval.digest)} was approved: {approval.reason}".removesuffix(": ")
        entry = AuditEntry(
            at=now,
            actor=approval.by,
            action="hold-approved",
            object=hold_text(row.id, row.list_digest),
            commit=row.commit,
            reason=reason,
        )
        await self.state.write(entry)
        try:
            await self.state.decide_hold(
                row.id, list_digest=row.list_digest, decision="approved", actor=approval.by, reason=reason, at=now
            )
        except PreconditionFailed as error:
            await self.state.write(replace(entry, outcome=f"refused: {error.reason}"))
            return False
        await self.state.write(replace(entry, outcome="done"))
        await self._tell(f"hold {row.id} of overlay {row.overlay} approved by {approval.by}, with its plan")
        return True

    async def _check_to_come(self, listed: Listed) -> None:
        """Raise PreconditionFailed where all that the plan takes away is gone from the commit in force."""
        fleet = self.view.fleet
        known = fleet.units if fleet is not None else dict[UnitName, Unit]()
        if fleet is None or any(listed.as_it_was(unit) in known for unit in listed.leaving):
            return
        for unit, refs in ((listed.as_it_was(unit), refs) for unit, refs in listed.doomed.items()):
            if unit not in known:
                continue
            result = self.view.results.get(unit)
            if not isinstance(result, Rendered):
                return  # what it holds by this commit is not known
            if any(item.ref in refs for item in (await self.renderer.bundle(result.bundle)).objects):
                return
        raise PreconditionFailed(
            "this plan is in force already",
            why=f"nothing that it takes away is in {short(fleet.commit)} any more, so that no merge is to come",
            next_step="approve what waits for a person: fleet get holds",
        )

    async def _take(
        self, before: Sequence[PlanApproval], after: Sequence[PlanApproval], *, compared: Revision | None = None
    ) -> None:
        """Keep what became of approvals; the audit log says it first, so that none counts without evidence (R43).

        compared: the commit that they were held against, noted with them.
        """
        values: dict[str, str] = {} if compared is None else {COMPARED: compared}
        if tuple(before) == tuple(after):
            if values:
                await self.state.put_released((), values=values)
            return
        moved = [new for old, new in zip(before, after, strict=True) if old.standing is not new.standing]
        entries = [
            AuditEntry(
                self.wall(),
                "hub",
                f"plan-{new.standing.value}",
                object=f"plan {new.digest}",
                commit=new.commit,
                reason=new.void,
            )
            for new in moved
        ]
        for entry in entries:
            await self.state.write(entry)
        await self.state.put_released((), values={APPROVALS: approvals_text(after), **values})
        for new, entry in zip(moved, entries, strict=True):
            words = f"is void: {new.void}" if new.standing is ApprovalState.VOID else f"counts for {short(new.commit)}"
            await self.state.write(replace(entry, outcome="done"))
            await self._tell(f"approval of plan {short(new.digest)} by {new.by} {words}")

    async def _read(self) -> tuple[PlanApproval, ...]:
        text = await self.state.get_value(APPROVALS) or ""
        try:
            return approvals_of_text(text)
        except ValueError as error:
            raise StateDamaged(
                "the approvals of plans cannot be read",
                why=str(error),
                next_step="restore a backup; holds are approved one by one meanwhile",
            ) from error

    async def _readable(self) -> tuple[PlanApproval, ...]:
        """None where they cannot be read: then people are asked, and nothing else stops."""
        try:
            return await self._read()
        except StateDamaged as error:
            log.error("approvals of plans not readable", why=error.why)
            return ()

    async def _tell(self, text: str) -> None:
        await self.state.add_events((Event(self.wall(), EventKind.NOTE, ClusterName(""), None, text),))
        self.bells.news.ring()
        self.bells.orders.set()


def _with_room(kept: Sequence[PlanApproval], now: float) -> Sequence[PlanApproval]:
    """What is kept, with room for one more; raises PreconditionFailed where all that is kept may still count."""
    over = len(kept) - MOST + 1
    ended = [item for item in kept if item.standing is ApprovalState.VOID or now >= item.expires_at][: max(over, 0)]
    if len(ended) < over:
        raise PreconditionFailed(
            f"{len(kept)} approvals of plans are open already",
            why=f"the limit is {MOST}, and none of them is dropped for another",
            next_step=f"wait until one ends, after {DAYS} days at most, or approve the hold after the merge",
        )
    return [item for item in kept if item not in ended]
