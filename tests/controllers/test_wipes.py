"""From the operation of a wipe to what the board is told, and how it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.controllers.board import Board
from fleet.controllers.roster import LEAVING
from fleet.controllers.wipes import Wipes
from fleet.core.fleet import Cluster, Fleet, Mode, Origin
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.leaving import Leave, Leaving, encode_leaving
from fleet.core.objects import Bundle
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.status import Health, Sync, UnitReport
from fleet.core.view import Head, View
from fleet.core.wipe import WIPE, key_of
from fleet.ports.state import OperationRow
from fleet.store.memory import MemoryState

WEB = UnitName(OverlayName("web"), ClusterName("eu-1"))
C1, C2 = Revision("1" * 40), Revision("2" * 40)
ROW = OperationRow("op-1", WIPE, str(WEB), "mara", 1.0, "retired", idempotency_key=key_of(WEB, C1))
LEFT = Leave(C1)
CLEAN = UnitReport(WEB, C1, EMPTY_BUNDLE.digest, Sync.SYNCED, Health.HEALTHY, 1.0)


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

    async def look(self) -> tuple[Leave, OperationRow]:
        wipes = Wipes(self.state, self.board, self.view, lambda: 2.0)
        await wipes.look(await self.state.operations(open_only=True))
        row = await self.state.operation(ROW.id)
        assert row is not None
        return self.board.leaving()[WEB], row


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
    leave, row = await world.look()
    assert (leave.wiped, row.outcome) == (True, "done")


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


async def test_a_hub_that_ended_before_it_said_so_says_it_later(world: World) -> None:
    await world.start(Leave(C1, wipe="op-1 by mara", wiped=True))
    world.view.units[WEB] = CLEAN
    leave, row = await world.look()
    assert (leave.wiped, row.outcome) == (True, "done")
