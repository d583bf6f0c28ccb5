"""Approvals of plans while the hub is busy, full or ended: nobody waits for them, and none counts without evidence."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from controllers.rig import Clock, NoClusters

from fleet.controllers import plan_approvals
from fleet.controllers.plan_approvals import APPROVALS, MOST, PlanApprovals
from fleet.core.differences import entry_by_name
from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, Revision, UnitName
from fleet.core.planning.approval import (
    PlanApproval,
    Standing,
    approvals_of_text,
    approvals_text,
    digest_of_text,
    plan_text,
)
from fleet.core.planning.change import How, UnitChange
from fleet.core.status import HoldRequest
from fleet.core.view import Head, View
from fleet.errors import ClusterUnreachable, PreconditionFailed, StateNotWritable
from fleet.ports.state import Bells, HoldRow
from fleet.store.memory import MemoryState

WEB, BEFORE, COMMIT = UnitName.parse("web@eu-1"), Revision("b" * 40), Revision("c" * 40)
LEAVES = plan_text([UnitChange(WEB, How.VANISHES)])
REQUEST = HoldRequest(WEB, COMMIT, "sharp-fall", "", ())
HOLD = HoldRow("h-1", "web", COMMIT, 1.0, Digest("list"), (REQUEST,), 2e9)


def approval(digest: str = "a" * 64, **changes) -> PlanApproval:
    made = PlanApproval(Digest(digest), frozenset({WEB}), (), frozenset(), "jo", "", 1.0, 2e9)
    return replace(made, **changes)


def plans_on(state: MemoryState, *, at=None, connector=None, clusters: tuple[str, ...] = ()) -> PlanApprovals:
    view = View(Head("main"))
    view.fleet = replace(Fleet(BEFORE), clusters={name: entry_by_name(name) for name in map(ClusterName, clusters)})
    return PlanApprovals(
        state=state, view=view, bells=Bells(), renderer=None, connector=connector or NoClusters(),
        identity_of=lambda _: Identity("uid"), at=at, digest_key=b"k" * 32, wall=Clock(), lock=asyncio.Lock(),
    )  # fmt: skip


async def kept(state: MemoryState) -> tuple[PlanApproval, ...]:
    return approvals_of_text(await state.get_value(APPROVALS) or "")


async def audited(state: MemoryState) -> list[tuple[str, str]]:
    return [(link.entry.action, link.entry.outcome) for link in await state.audit_entries(limit=1000)]


async def test_holds_are_looked_at_while_a_commit_is_compared() -> None:
    state, began, go_on = MemoryState(), asyncio.Event(), asyncio.Event()
    await state.set_value(APPROVALS, approvals_text([approval()]))

    async def at(commit: str):
        began.set()
        await go_on.wait()

    plans = plans_on(state, at=at)
    comparing = asyncio.create_task(plans.taken(Fleet(BEFORE), Fleet(COMMIT)))
    await began.wait()
    async with asyncio.timeout(5):
        assert not await plans.decide([HOLD])
    assert not comparing.done()
    go_on.set()
    await comparing
    assert (await kept(state))[0].standing is Standing.WAITS  # a commit without a change


async def test_what_became_of_an_approval_is_audited_before_it_counts() -> None:
    class Ended(MemoryState):
        async def set_value(self, name: str, value: str) -> None:
            raise StateNotWritable("the hub was ended here")

    before, bound = MemoryState(), approval(standing=Standing.BOUND, commit=COMMIT)
    await before.set_value(APPROVALS, approvals_text([bound]))
    ended = Ended()
    await MemoryState.set_value(ended, APPROVALS, approvals_text([bound]))
    with pytest.raises(StateNotWritable):
        await plans_on(ended).decide([HOLD])
    assert await audited(ended) == [("plan-void", "")]
    await plans_on(before).decide([HOLD])
    assert await audited(before) == [("plan-void", ""), ("plan-void", "done")]


async def test_no_approval_is_dropped_for_another_and_void_ones_make_room() -> None:
    state, digest = MemoryState(), digest_of_text(LEAVES)
    full = [approval(f"{number:064x}") for number in range(MOST)]
    await state.set_value(APPROVALS, approvals_text(full))
    with pytest.raises(PreconditionFailed, match="open already"):
        await plans_on(state).approve(digest, LEAVES, actor="jo", reason="")
    assert await kept(state) == tuple(full)
    assert await audited(state) == [("plan-approved", ""), ("plan-approved", "refused: PreconditionFailed")]
    full[7] = full[7].voided("x")
    await state.set_value(APPROVALS, approvals_text(full))
    await plans_on(state).approve(digest, LEAVES, actor="jo", reason="")
    assert [item.digest for item in await kept(state)] == [*(item.digest for item in full if item != full[7]), digest]


class Slow:
    """A fake `Connector`: one cluster refuses once the others are asked, and those never answer."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.asked, self.ended = refuses, asyncio.Event(), 0

    async def connect(self, cluster, connection, *, expected, fence):
        if cluster == self.refuses:
            await self.asked.wait()
            raise ClusterUnreachable(f"{cluster} is not there", next_step="none")
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


CLUSTERS = ("eu-1", "eu-2", "eu-3")
DOOMED = {UnitName.parse(f"web@{name}"): frozenset({ObjectRef("", "ConfigMap", "s", "c")}) for name in CLUSTERS}


async def test_a_cluster_that_refuses_ends_the_reads_of_the_others() -> None:
    slow = Slow("eu-2")
    with pytest.raises(ClusterUnreachable, match="eu-2"):
        await plans_on(MemoryState(), connector=slow, clusters=CLUSTERS)._read_live(DOOMED)
    assert slow.ended == 2


async def test_clusters_that_say_nothing_are_waited_for_once_and_not_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_approvals, "ALL_SECONDS", 0.05)
    slow = Slow()
    with pytest.raises(PreconditionFailed, match="3 of 3 clusters"):
        await plans_on(MemoryState(), connector=slow, clusters=CLUSTERS)._read_live(DOOMED)
    assert slow.ended == 3
