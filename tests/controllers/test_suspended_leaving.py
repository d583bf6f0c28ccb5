"""What left Git while it was suspended in Git: it is told so, over commits and restarts, until Git says otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from contracts.state_contract import StateWithVault
from controllers.test_wipes import C1, C2, WEB, World, no_bundle

from fleet.controllers.board import Board
from fleet.controllers.roster import Roster
from fleet.core.fleet import (
    Cluster,
    Connection,
    Fleet,
    Mode,
    Overlay,
    Unit,
    Unknown,
)
from fleet.core.ids import ClusterName, Digest, Identity
from fleet.core.leaving import Leave, Leaving
from fleet.core.objects import Bundle
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.rollout import Detach, UnitDesired
from fleet.core.sync_policy import Suspension
from fleet.core.view import Head, View
from fleet.ports.state import ReleasedBundle
from fleet.store.memory import MemoryState
from fleet.store.sql import open_state

ENTRY = Cluster(WEB.cluster, Origin("clusters/eu-1.yaml"))
CALM = replace(ENTRY, connection=Connection(WEB.cluster))
FREEZE = Suspension("freeze", "jo", "", "cluster eu-1", Origin("clusters/eu-1.yaml", 7))
FROZEN = {WEB.cluster: replace(ENTRY, suspend=FREEZE)}


class Leaves(World):
    """A hub whose repo drops what it has, one commit after the other."""

    async def take(self, fleet: Fleet) -> UnitDesired:
        self.board.take_fleet(fleet)
        self.board.departures.look_again()  # as with each commit
        await self.board.publish()
        desired = self.board.publisher.slot(WEB.cluster).desired
        assert desired is not None
        return desired.units[0]

    async def restart(self) -> None:
        self.view = View(Head("main"))
        self.board = Board(self.state, self.view, no_bundle, self.state.vault, lambda: 1.0)
        await self.board.start()

    async def commit(self, fleet: Fleet, *, restart: bool) -> UnitDesired:
        told = await self.take(fleet)
        if restart:
            await self.restart()
            assert await self.take(fleet) == told
        return told


@pytest.fixture
async def hub() -> Leaves:
    made = Leaves()
    await made.start(Leave(C1))
    return made


@pytest.mark.parametrize("restart", [False, True])
async def test_a_freeze_of_the_fleet_that_comes_while_a_unit_leaves_reaches_it(hub: Leaves, restart: bool) -> None:
    calm = Fleet(C1, "acme", clusters={WEB.cluster: ENTRY})
    assert (await hub.commit(calm, restart=restart)).policy.suspensions == ()
    frozen = replace(calm, commit=C2, suspend=replace(FREEZE, scope="fleet"))
    assert [each.scope for each in (await hub.commit(frozen, restart=restart)).policy.suspensions] == ["fleet"]
    told = await hub.commit(replace(calm, commit=C2), restart=restart)
    assert (told.action, told.policy.suspensions) == (Detach(), ())


@pytest.mark.parametrize("restart", [False, True])
async def test_a_cluster_that_leaves_suspended_stays_so_until_it_is_back_without(hub: Leaves, restart: bool) -> None:
    """Also where no unit of it was left when its file went, and over the commits after that."""
    await hub.commit(Fleet(C1, "acme", clusters=FROZEN), restart=restart)
    for commit in (C1, C2):
        told = await hub.commit(Fleet(commit, "acme"), restart=restart)
        (stop,) = told.policy.suspensions
        assert (stop.scope, stop.origin) == (FREEZE.scope, FREEZE.origin)
        assert stop.reason.startswith("freeze (clusters/eu-1.yaml:7 left Git with this in it")
    told = await hub.commit(Fleet(C2, "acme", clusters={WEB.cluster: ENTRY}), restart=restart)
    assert (told.action, told.policy.suspensions) == (Detach(), ())
    told = await hub.commit(Fleet(C2, "acme"), restart=restart)
    assert (told.action, told.policy.suspensions) == (Detach(), ())


@pytest.mark.parametrize("restart", [False, True])
async def test_a_suspend_in_a_file_that_broke_since_stays_in_force(hub: Leaves, restart: bool) -> None:
    """Also for what asks of the cluster alone, as the Job of a gate does, by a hub that never read the file itself."""
    await hub.take(Fleet(C1, "acme", clusters=FROZEN))
    if restart:
        await hub.restart()
    broken = Problem(
        Severity.ERROR, "FileInvalid", "clusters/eu-1.yaml does not parse", Origin("clusters/eu-1.yaml", 1)
    )
    await hub.take(Fleet(C2, "acme", unknown=Unknown(clusters={WEB.cluster: broken})))
    assert stops_on(hub) == ["cluster eu-1"]
    await hub.take(Fleet(C2, "acme", clusters={WEB.cluster: ENTRY}))
    assert stops_on(hub) == []


def stops_on(hub: Leaves) -> list[str]:
    assert hub.view.fleet is not None
    entry = hub.view.fleet.clusters[WEB.cluster]
    return [stop.scope for stop in hub.board.standing.suspensions_at(WEB, entry)]


@pytest.mark.parametrize(
    ("name", "identity", "asked"), [("eu-1", "uid", True), ("eu-2", "uid", False), ("eu-2", "x", True)]
)
def test_a_fall_is_asked_about_but_where_git_gives_its_cluster_another_name(
    name: str, identity: str, asked: bool
) -> None:
    """A cluster that is back without the overlay is no other name of itself."""
    left = replace(ENTRY, identity=Identity("uid"))
    roster = Roster(MemoryState())
    roster.leaving = Leaving({WEB: Leave(C2, fall="4 of 12 clusters would leave")}, {left.name: left})
    entry = replace(left, name=ClusterName(name), identity=Identity(identity))
    assert bool(roster.falls_to_ask(Fleet(C2, "acme", clusters={entry.name: entry}))) is asked


class Killed(Exception):
    """Nothing of the process is left."""


class Ending:
    """A fake of a state whose process is killed amid a write, after `left` others; the rest goes to the real one."""

    def __init__(self, state: StateWithVault, left: int) -> None:
        self._state, self._left = state, left

    def __getattr__(self, name: str):
        if name in ("set_value", "put_released", "next_sequence"):
            self._left -= 1
            if self._left < 0:
                return self._kill
        return getattr(self._state, name)

    async def _kill(self, *_: object, **__: object) -> None:
        raise Killed


@pytest.fixture(params=["memory", "sqlite"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateWithVault]:
    if request.param == "memory":
        yield MemoryState()
        return
    opened = await open_state(tmp_path, b"k" * 32)
    yield opened
    await opened.close()


@pytest.mark.parametrize("left", range(5))
@pytest.mark.parametrize(
    "entry",
    [
        replace(CALM, suspend=FREEZE),
        replace(CALM, mode=Mode.OBSERVE),
        replace(CALM, connection=Connection("shared")),
        CALM,  # the harmless twin: its name alone says all of it
    ],
    ids=["suspended", "observed", "by another credential", "calm"],
)
async def test_a_hub_killed_amid_what_it_notes_of_a_cluster_that_left_goes_on_as_the_cluster_was(
    state: StateWithVault, entry: Cluster, left: int
) -> None:
    """Mode, credential and what it had suspended: a name alone would let go of a cluster that is frozen (R17, R22)."""
    overlay = Overlay(WEB.overlay, "overlays/web", Origin("overlays/web/overlay.yaml"))
    unit = Unit(WEB, overlay.directory, overlay.origin, (), {}, overlay, entry)
    await state.put_released([ReleasedBundle(WEB, C1, Digest("d" * 64))])
    there = Fleet(C1, "acme", clusters={entry.name: entry}, overlays={WEB.overlay: overlay}, units={WEB: unit})
    await board_of(state, there)
    with suppress(Killed):
        await board_of(Ending(state, left), there, replace(there, commit=C2, clusters={}, units={}))
    board = await board_of(state, replace(there, commit=C2, clusters={}, units={}))
    kept = board.entries()[WEB.cluster]
    assert (kept.mode, kept.connection, kept.suspend is None) == (entry.mode, entry.connection, entry.suspend is None)
    desired = board.publisher.slot(WEB.cluster).desired
    assert desired is not None
    assert [stop.scope for stop in desired.units[0].policy.suspensions] == ([FREEZE.scope] if entry.suspend else [])
    assert desired.units[0].action == Detach()


async def held_bundle(_: Digest) -> Bundle:
    return EMPTY_BUNDLE


async def board_of(state: StateWithVault, *fleets: Fleet) -> Board:
    """A hub that starts on this state and takes these commits."""
    board = Board(state, View(Head("main")), held_bundle, state.vault, lambda: 1.0)
    await board.start()
    for fleet in fleets:
        board.take_fleet(fleet)
        await board.publish()
    return board
