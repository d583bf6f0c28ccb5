"""What is about to be shown is noted first; whoever changes the books meanwhile is held up by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from controllers.books_world import OVERLAYS, made, refs_in
from controllers.test_books_after_kills import BY_HAND, FIRST, SECOND, B, comes
from controllers.test_books_model import Holding

from fleet.core.ids import ClusterName
from fleet.core.status import OperationResult, Report

FOURTH = 4


@pytest.fixture
def fleet() -> Iterator[Holding]:
    found = Holding()
    found.first(dict.fromkeys(OVERLAYS, BY_HAND), "manage")
    found.all_work(1)
    yield found
    found.loop.close()


def test_a_commit_that_settles_while_a_new_sync_is_being_told_holds_up_nobody(fleet: Holding) -> None:
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    fleet.say("sync", "web@b")
    fleet.do(fleet.fetch)
    identities = fleet.hub.state.durable.identities

    async def amid() -> object:
        await fleet.hub.releases.settle()
        return await identities()

    fleet.hub.state.durable.identities = amid
    fleet.run(fleet.hub.orders.look())
    assert fleet.hub.books.shown


@pytest.mark.parametrize("newest", [SECOND, FOURTH])
def test_a_sync_that_a_commit_overtook_is_noted_and_the_newest_is_shown(fleet: Holding, newest: int) -> None:
    """The twin: no commit comes between the sync and its report."""
    comes(fleet, FIRST)
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    fleet.sync(B, "none")
    brought = made("web", SECOND)
    fleet.has[B], fleet.of[B], fleet.objects[B] = brought.digest, fleet.branch[-1].revision, refs_in(brought.digest)
    if newest != SECOND:
        comes(fleet, newest)
    (row,) = fleet.run(fleet.durable.operations(open_only=True, limit=10))
    send = fleet.hub.intake.send

    async def done(report: Report) -> None:
        await send(replace(report, operations=(OperationResult(row.id, "done"),)))

    fleet.hub.intake.send = done
    fleet.run(fleet.answer(ClusterName("b"), "stale"))
    held = {str(name): one.bundle for name, one in fleet.hub.books.held.items()}
    assert held["web@b"] == brought.digest
