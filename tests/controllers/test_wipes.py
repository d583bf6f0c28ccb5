"""From the operation of a wipe to what the board is told, and how it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.controllers.board import Board
from fleet.controllers.claims import Claims
from fleet.controllers.orders import HOLD_SECONDS, Orders
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.controllers.wipes import Wipes
from fleet.core.fleet import Cluster, Fleet, Mode, Unknown
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.leaving import Leave, Leaving, encode_leaving
from fleet.core.objects import Bundle
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.rollout import Apply, Detach, UnitDesired
from fleet.core.status import Health, HoldRequest, PendingDeletion, Sync, UnitReport
from fleet.core.view import Head, View
from fleet.core.wipe import WIPE, key_of
from fleet.ports.state import LEAVING, Bells, HoldRow, OperationRow
from fleet.store.memory import MemoryState

WEB = UnitName(OverlayName("web"), ClusterName("eu-1"))
C1, C2 = Revision("1" * 40), Revision("2" * 40)
ROW = OperationRow("op-1", WIPE, str(WEB), "mara", 1.0, "retired", idempotency_key=key_of(WEB, C1))
LEFT = Leave(C1)
CLEAN = UnitReport(WEB, C1, EMPTY_BUNDLE.digest, Sync.SYNCED, Health.HEALTHY, 1.0)


WAITS = replace(CLEAN, bundle=None, sync=Sync.UNKNOWN)  # what may move to others is being built: nothing is asked
HELD = HoldRequest(
    WEB, C1, "sharp-fall", "m", (PendingDeletion(ObjectRef("", "ConfigMap", "a", "b"), "u", Digest("c")),)
)
NOTHING = Unknown()
OTHER = UnitName(OverlayName("other"), ClusterName("eu-2"))
BROKEN = Problem(Severity.ERROR, "FieldUnknown", "spec.bogus", Origin("overlays/web/overlay.yaml", 3))


async def no_bundle(digest: Digest) -> Bundle:
    raise AssertionError(digest)


class World:
    """A board that knows one leaving unit, and an operation for it."""

    async def start(self, leave: Leave = LEFT, mode: Mode = Mode.MANAGE) -> None:
        self.state, self.view = MemoryState(), View(Head("main"))
        entry = Cluster(WEB.cluster, Origin("c"), mode=mode)
        self.view.fleet = Fleet(C1, "acme", clusters={entry.name: entry})
        await self.state.set_value(LEAVING, encode_leaving(Leaving({WEB: leave})))
        self.board = Board(self.state, self.view, no_bundle, self.state.vault, lambda: 1.0)
        await self.board.start()
        await self.state.add_operation(ROW)

    async def told(self, unknown: Unknown = NOTHING) -> UnitDesired:
        """What the unit is told by a commit that does not say it, as far as that can be read."""
        assert self.view.fleet is not None
        self.board.take_fleet(replace(self.view.fleet, commit=C2, units={}, unknown=unknown))
        await self.board.publish()
        desired = self.board.publisher.slot(WEB.cluster).desired
        assert desired is not None
        return desired.units[0]

    async def settle(self, report: UnitReport, at: float = 3.0) -> HoldRow:
        """The loop of orders looks once after this report; what became of the hold."""
        self.view.units[WEB] = report
        refusals = Refusals(self.state, lambda: at)
        releases = Releases(self.state, self.view, self.board)
        claims = Claims(self.view, self.board, releases)
        await Orders(self.state, self.board, releases, claims, self.view, Bells(), refusals, lambda: at).look()
        return (await self.state.holds())[0]

    async def approve(self) -> None:
        """What the unit asks for now, by a person."""
        asked = await self.settle(replace(CLEAN, sync=Sync.OUT_OF_SYNC, holds=(HELD,)))
        await self.state.decide_hold(
            asked.id, list_digest=asked.list_digest, decision="approved", actor="jo", reason="", at=3.0
        )

    async def look(self) -> tuple[Leave, OperationRow]:
        wipes = Wipes(self.state, self.board, self.view, lambda: 2.0)
        await wipes.look(await self.state.operations(open_only=True))
        row = await self.state.operation(ROW.id)
        assert row is not None
        return self.board.roster.leaving.units[WEB], row

    async def log(self) -> list[tuple[str, str, str, str]]:
        entries = [link.entry for link in await self.state.audit_entries()]
        return [(entry.actor, entry.action, entry.unit, entry.outcome) for entry in entries]


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_wipe_is_told_once_and_over_once_nothing_is_left(world: World) -> None:
    await world.start()
    leave, row = await world.look()
    assert (leave.wipe, leave.wiped, row.outcome) == ("op-1 by mara", False, "")
    world.view.units[WEB] = replace(CLEAN, sync=Sync.OUT_OF_SYNC)
    assert (await world.look())[0] == leave
    world.view.units[WEB] = CLEAN
    assert await world.log() == []
    leave, row = await world.look()
    assert (leave.wiped, row.outcome) == (True, "done")
    await world.look()
    assert await world.log() == [("mara", "wipe", "web@eu-1", "done")]


async def test_a_wipe_of_an_earlier_leaving_touches_no_later_one(world: World) -> None:
    await world.start(Leave(C2))
    leave, row = await world.look()
    assert leave == Leave(C2)
    assert row.outcome == "refused"


async def test_where_nothing_is_written_nothing_is_wiped(world: World) -> None:
    await world.start(mode=Mode.OBSERVE)
    leave, row = await world.look()
    assert leave == Leave(C1)
    assert (row.outcome, "observe" in row.message) == ("refused", True)
    assert await world.log() == [("mara", "wipe", "web@eu-1", f"refused: {row.message}")]


async def test_a_hub_that_ended_before_it_said_so_says_it_later(world: World) -> None:
    await world.start(Leave(C1, wipe="op-1 by mara", wiped=True))
    world.view.units[WEB] = CLEAN
    leave, row = await world.look()
    assert (leave.wiped, row.outcome) == (True, "done")


HIDES_IT = [
    Unknown(overlays={WEB.overlay: BROKEN}),
    Unknown(units={WEB: BROKEN}),
    Unknown(clusters={WEB.cluster: BROKEN}),
    Unknown(incomplete={WEB.cluster: BROKEN}),
    Unknown(unnamed=(BROKEN,)),
]
HIDES_OTHERS = Unknown(
    overlays={OTHER.overlay: BROKEN}, units={OTHER: BROKEN}, clusters={OTHER.cluster: BROKEN},
    incomplete={OTHER.cluster: BROKEN},
)  # fmt: skip


@pytest.mark.parametrize("hides", HIDES_IT)
@pytest.mark.parametrize("wipe", ["", "op-1 by mara"])
async def test_what_may_be_back_is_neither_wiped_nor_let_go_while_that_cannot_be_read(
    world: World, hides: Unknown, wipe: str
) -> None:
    await world.start(Leave(C1, wipe=wipe))
    action = (await world.told(hides)).action
    assert isinstance(action, Detach)
    assert action.waits.startswith("it left the repo; whether it is back cannot be read: FieldUnknown")
    goes_on = Apply(EMPTY_BUNDLE.digest, wipe=wipe) if wipe else Detach()
    assert (await world.told()).action == goes_on
    assert (await world.told(HIDES_OTHERS)).action == goes_on


async def test_a_report_from_before_it_left_ends_no_wipe(world: World) -> None:
    await world.start()
    world.view.units[WEB] = replace(CLEAN, commit=C2)
    await world.look()
    leave, row = await world.look()
    assert (leave.wipe, leave.wiped, row.outcome) == ("op-1 by mara", False, "")


async def test_an_approval_of_a_wipe_outlives_that_the_wipe_waits_and_ends_with_it(world: World) -> None:
    await world.start()
    await world.approve()
    assert (await world.settle(WAITS)).decision == "approved"
    assert (await world.settle(CLEAN)).decision == "approved"
    assert world.board.roster.leaving.units[WEB].wiped
    assert (await world.settle(CLEAN)).decision == "void"


async def test_an_approval_of_a_wipe_ends_with_its_time_while_the_wipe_waits(world: World) -> None:
    await world.start()
    await world.approve()
    assert (await world.settle(WAITS, at=3.0 + HOLD_SECONDS)).decision == "void"


@pytest.mark.parametrize("leave", [LEFT, Leave(C2, wipe="op-2 by mara")])
async def test_what_no_wipe_asks_for_any_more_is_not_approved_any_more(world: World, leave: Leave) -> None:
    await world.start(leave)
    await world.state.end_operation(ROW.id, "refused", "", 1.0)
    await world.approve()
    assert (await world.settle(WAITS)).decision == "void"
