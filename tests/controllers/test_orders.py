"""What a person's approval lets go, and what it says nothing about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.controllers.board import Board
from fleet.controllers.claims import Claims
from fleet.controllers.orders import FALL, HOLD_SECONDS, Orders, approvals_of, released_falls_of
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Fleet
from fleet.core.guard import Approved, approved_at
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.leaving import Leave
from fleet.core.objects import Bundle
from fleet.core.results import Rendered
from fleet.core.status import (
    ASKS_RECOVERY,
    Blocker,
    Health,
    HoldRequest,
    ObjectStatus,
    PendingDeletion,
    Standing,
    Sync,
    UnitReport,
)
from fleet.core.view import Head, View
from fleet.ports.state import Bells, HoldRow
from fleet.store.memory import MemoryState

UNIT, COMMIT, LATER = UnitName.parse("web@eu-1"), Revision("c" * 40), Revision("d" * 40)
GONE = PendingDeletion(ObjectRef("", "ConfigMap", "shop", "c"), "uid", Digest("x"))


def approved(commit: Revision, *deletions: PendingDeletion, decision: str = "approved") -> tuple[HoldRow, ...]:
    request = HoldRequest(UNIT, commit, FALL, "", deletions)
    return (HoldRow("h-1", "web", commit, 1.0, "digest", (request,), 1000.0, decision=decision),)


def test_a_unit_goes_that_a_person_let_go() -> None:
    assert released_falls_of(approved(COMMIT), {UNIT: Leave(COMMIT, "4 of 4 units leave")}) == {UNIT}


def test_who_lets_objects_go_does_not_let_the_unit_go() -> None:
    for leave in (Leave(LATER, "4 of 4 units leave"), Leave(COMMIT, "4 of 4 units leave")):
        assert not released_falls_of(approved(COMMIT, GONE), {UNIT: leave})


def test_a_unit_that_came_back_and_leaves_anew_is_asked_about_anew() -> None:
    assert not released_falls_of(approved(COMMIT), {UNIT: Leave(LATER, "4 of 4 units leave")})
    assert not released_falls_of(approved(COMMIT), {})


def test_what_nobody_decided_lets_nothing_go() -> None:
    assert not released_falls_of(approved(COMMIT, decision=""), {UNIT: Leave(COMMIT, "4 of 4 units leave")})


def test_what_was_approved_goes_by_the_commit_that_was_asked_about() -> None:
    approvals = approvals_of(approved(COMMIT, GONE))
    assert approved_at(approvals, UNIT, COMMIT) == {Approved(GONE.ref, "uid", Digest("x"))}


def test_what_was_approved_for_one_commit_is_not_for_another() -> None:
    approvals = approvals_of(approved(COMMIT, GONE))
    assert not approved_at(approvals, UNIT, LATER)
    assert not approved_at(approvals, UnitName.parse("web@eu-2"), COMMIT)


OTHER = UnitName.parse("web@eu-2")
JUDGED = [UnitReport(name, COMMIT, Digest("b"), Sync.SYNCED, Health.HEALTHY, 1.0) for name in (UNIT, OTHER)]
ASKING = [replace(one, holds=(HoldRequest(one.unit, COMMIT, "precious-kind", "m", (GONE,)),)) for one in JUDGED]
ANEW = [replace(one, unjudged=COMMIT) for one in JUDGED]  # their worker began anew, and they stand still


async def no_bundle(digest: Digest) -> Bundle:
    raise AssertionError(digest)


class World:
    """What the loop of orders makes of reports of two units that one hold is about."""

    def __init__(self) -> None:
        self.state, self.view, self.at = MemoryState(), View(Head("main"), Fleet(COMMIT)), 3.0
        self.board = Board(self.state, self.view, no_bundle, self.state.vault, lambda: self.at)

    async def settle(self, *reports: UnitReport) -> HoldRow:
        self.view.units.update((report.unit, report) for report in reports)
        releases = Releases(self.state, self.view, self.board)
        claims, refusals = Claims(self.view, self.board, releases), Refusals(self.state, lambda: self.at)
        await Orders(self.state, self.board, releases, claims, self.view, Bells(), refusals, lambda: self.at).look()
        (row,) = await self.state.holds()
        return row

    async def decided(self, decision: str) -> HoldRow:
        row = await self.settle(*ASKING)
        if decision:
            await self.state.decide_hold(
                row.id, list_digest=row.list_digest, decision=decision, actor="jo", reason="", at=self.at
            )
        return await self.settle()


@pytest.mark.parametrize("decision", ["", "approved", "rejected"])
@pytest.mark.parametrize("anew", [ANEW[:1], ANEW])
async def test_a_hold_stays_whole_while_a_unit_of_it_is_not_judged_again(decision: str, anew: list[UnitReport]) -> None:
    world = World()
    before = await world.decided(decision)
    assert await world.settle(*anew) == before
    assert await world.settle(*ASKING) == before


@pytest.mark.parametrize(("decision", "after"), [("", ""), ("approved", "approved"), ("rejected", "")])
async def test_a_unit_that_was_judged_and_asks_for_nothing_is_on_its_hold_no_more(decision: str, after: str) -> None:
    world = World()
    before = await world.decided(decision)
    now = await world.settle(JUDGED[0])
    assert now.decision == after
    assert (now.list_digest == before.list_digest) == (decision == "approved")


async def test_what_was_approved_and_then_rejected_is_approved_to_no_worker_and_stays_rejected() -> None:
    world = World()
    told(world, COMMIT)
    approved = await world.decided("approved")
    assert set(world.board.standing.approved) == {(UNIT, COMMIT), (OTHER, COMMIT)}
    ref = GONE.ref.key
    begun = AuditEntry(world.at, "w", "delete", unit=str(UNIT), object=ref, uid=GONE.uid, commit=COMMIT)
    await world.state.write(begun)
    await world.state.write(replace(begun, outcome="done"))
    await world.state.decide_hold(
        approved.id, list_digest=approved.list_digest, decision="rejected", actor="al", reason="", at=world.at
    )
    row = await world.settle(JUDGED[0], OWNING[1])
    assert (row.decision, world.board.standing.approved) == ("rejected", {})
    again = await world.settle(JUDGED[0], ASKING[1])  # what is left is asked about again, and is rejected already
    assert (again, world.board.standing.approved) == (row, {})
    later = await world.settle(
        JUDGED[0],
        replace(
            ASKING[1], holds=(HoldRequest(OTHER, COMMIT, "precious-kind", "m", (GONE, replace(GONE, uid="another"))),)
        ),
    )
    assert (later.decision, world.board.standing.approved) == ("", {})


async def test_of_a_record_that_waits_for_a_person_nothing_is_asked_and_no_hold_opens_and_closes_in_turns() -> None:
    link = Blocker(Standing.HELD, "cluster eu-1", "its record was rebuilt", 1.0, "", ASKS_RECOVERY)
    world = World()
    await world.decided("approved")
    rebuilt = [replace(one, blocked_by=(link,)) for one in ASKING]
    assert [(await world.settle(*rebuilt)).decision for _ in range(3)] == ["void"] * 3
    assert (await world.settle(*ASKING)).decision == "", "asked anew once it was confirmed"


async def test_an_approval_ends_with_its_time_while_its_units_are_not_judged() -> None:
    world = World()
    await world.decided("approved")
    world.at += HOLD_SECONDS
    assert (await world.settle(*ANEW)).decision == "void"


async def test_what_was_void_is_not_asked_again_because_nobody_judged_it() -> None:
    world = World()
    await world.decided("approved")
    assert (await world.settle(*JUDGED)).decision == "void"
    assert (await world.settle(*ANEW)).decision == "void"


STILL = ObjectStatus(GONE.ref, Sync.OUT_OF_SYNC, Health.HEALTHY, uid="uid")
OWNING = [replace(one, objects=(STILL,)) for one in JUDGED]


def told(world: World, commit: Revision) -> None:
    world.board.books.results.update((report.unit, Rendered(Digest("b"), commit)) for report in JUDGED)


async def test_what_was_approved_stays_so_while_a_unit_has_it_still_and_asks_no_more() -> None:
    """Its first try failed, or a suspension came amid it."""
    world = World()
    told(world, COMMIT)
    before = await world.decided("approved")
    assert await world.settle(*OWNING) == before
    assert await world.settle(JUDGED[0]) == before, "the other one is not done"
    unseen = replace(OWNING[1], objects=(replace(STILL, uid=""),))
    assert await world.settle(unseen) == before, "what its cluster does not show may be there"
    assert approvals_of(await world.state.holds())[OTHER, COMMIT]


async def test_what_was_approved_stays_so_in_a_process_that_has_read_no_commit_yet() -> None:
    world = World()
    before = await world.decided("approved")
    world.board.books.held.update((report.unit, Rendered(Digest("b"), COMMIT)) for report in JUDGED)
    assert await world.settle(*OWNING) == before


@pytest.mark.parametrize("how", ["done", "another object", "a later commit", "expired", "left the repo"])
async def test_twin_an_approval_is_over_once_it_is_carried_out_or_cannot_be_any_more(how: str) -> None:
    world = World()
    told(world, COMMIT)
    await world.decided("approved")
    now = OWNING
    if how == "done":
        now = JUDGED
    if how == "another object":
        now = [replace(one, objects=(replace(STILL, uid="new"),)) for one in OWNING]
    if how == "a later commit":
        told(world, LATER)
    if how == "expired":
        world.at += HOLD_SECONDS
    if how == "left the repo":
        world.board.books.results.clear()
    row = await world.settle(*now)
    words = "the approval expired" if how == "expired" else "nothing is to be deleted any more"
    assert (row.decision, row.reason) == ("void", words)


async def test_twin_what_is_left_and_asks_by_another_live_state_is_asked_about_anew() -> None:
    world = World()
    told(world, COMMIT)
    await world.decided("approved")
    other = replace(GONE, content=Digest("edited"))
    asks = replace(OWNING[0], holds=(HoldRequest(UNIT, COMMIT, "precious-kind", "m", (other,)),))
    for _ in range(2):
        row = await world.settle(asks, OWNING[1])
        assert (row.decision, row.requests[0], len(row.requests)) == ("", asks.holds[0], 2)
        assert (row.requests[1].unit, row.requests[1].deletions[0].content) == (OWNING[1].unit, GONE.content)
    both = [replace(one, holds=asked.holds) for one, asked in zip(OWNING, ASKING, strict=True)]
    await world.settle(*both)
    row = await world.settle(both[0], OWNING[1])
    assert row.requests == ASKING[0].holds, "once its worker asked by itself, what that says is so"


async def test_twin_a_list_that_was_approved_and_then_rejected_stays_so_while_its_workers_ask_one_after_the_other() -> (
    None
):
    world = World()
    told(world, COMMIT)
    row = await world.decided("approved")
    both = [replace(one, holds=asked.holds) for one, asked in zip(OWNING, ASKING, strict=True)]
    await world.settle(*OWNING)
    await world.state.decide_hold(
        row.id, list_digest=row.list_digest, decision="rejected", actor="al", reason="", at=world.at
    )
    for reports in ([both[0], OWNING[1]], both):
        assert (await world.settle(*reports)).decision == "rejected"


@pytest.mark.parametrize("decision", ["", "rejected"])
async def test_a_question_goes_on_with_what_is_asked_still_and_not_with_what_a_worker_stopped_asking_for(
    decision: str,
) -> None:
    """As where somebody writes `prune: disabled` on an object, or another overlay takes it: it is there, and stays."""
    world, more = World(), replace(GONE, ref=replace(GONE.ref, name="more"))
    told(world, COMMIT)
    has = (STILL, replace(STILL, ref=more.ref))
    ask = [HoldRequest(one.unit, COMMIT, "precious-kind", "m", (GONE, more)) for one in JUDGED]
    both = [replace(one, objects=has, holds=(asked,)) for one, asked in zip(JUDGED, ask, strict=True)]
    row = await world.settle(*both)
    if decision:
        await world.state.decide_hold(
            row.id, list_digest=row.list_digest, decision=decision, actor="jo", reason="", at=world.at
        )
    less = replace(ask[0], deletions=(GONE,))
    row = await world.settle(replace(both[0], holds=(less,)))
    assert (row.decision, row.requests) == ("", (less, ask[1]))
    row = await world.settle(replace(both[0], holds=()))
    assert row.requests == (ask[1],)
