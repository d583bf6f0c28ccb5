"""A commit is aborted, or taken back by its policy, while another overlay of it is still being built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import cluster, fleet_file, settle, web
from controllers.test_rollouts import CLUSTERS, order, rollouts_of
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import OverlayName, UnitName
from fleet.core.status import Health, Standing

WEB, API = UnitName.parse("web@dev-1"), UnitName.parse("api@dev-1")


def api(value: str) -> dict[str, str]:
    return overlay("overlays/api", {"api": config_map("api", value)})


def has(brain: Brain, name: str) -> list[str]:
    """Clusters that are told to hold the newest result of an overlay."""
    results = brain.board.books.results
    return [
        one
        for one in CLUSTERS
        if (order := brain.desired(f"{name}@{one}")) is not None
        and order.action.bundle == results[UnitName.parse(f"{name}@{one}")].bundle
    ]


class Late:
    """Web 2 is on its canary, and api 2 of the same commit is being built until `build_ends`."""

    def __init__(self, brain: Brain, policy: str) -> None:
        self.brain, self.policy = brain, policy
        self.rollouts: Rollouts = rollouts_of(brain)
        self.gate = asyncio.Event()
        self.commit = ""
        self.files = {**web("2"), **api("2")}

    async def begin(self) -> None:
        brain, real = self.brain, self.brain.renderer.render
        clusters = {path: text for name in CLUSTERS for path, text in cluster(name).items()}
        await brain.commit({**fleet_file(onFailure=self.policy), **clusters, **web("1"), **api("1")})
        await settle(brain, self.rollouts)

        async def render(snapshot, request):
            if "api" in str(request):
                await self.gate.wait()
            return await real(snapshot, request)

        brain.renderer.render = render
        self.commit = brain.repo.commit(self.files)
        self.fetching = asyncio.create_task(brain.commits.fetch_once())
        while WEB not in brain.board.books.waiting:
            await asyncio.sleep(0.01)
        await self.rollouts.look()
        await brain.answer()
        assert (has(brain, "web"), API in brain.board.books.waiting) == (["dev-1"], False)

    async def build_ends(self) -> None:
        self.gate.set()
        await self.fetching
        await settle(self.brain, self.rollouts)

    async def order(self, kind: str) -> None:
        await order(self.brain, kind, self.commit)
        await self.rollouts.look()


@pytest.fixture(params=["halt", "rollback"], ids=["a person aborts it", "its policy takes it back"])
async def late(brain: Brain, request: pytest.FixtureRequest) -> AsyncIterator[Late]:
    made = Late(brain, request.param)
    await made.begin()
    yield made
    made.gate.set()
    await made.fetching


async def test_what_is_built_once_its_commit_was_stopped_goes_nowhere_before_a_person_resumes_it(
    brain: Brain, late: Late
) -> None:
    if late.policy == "halt":
        await late.order("abort")
    else:
        brain.view.units[WEB] = replace(brain.view.units[WEB], health=Health.DEGRADED)
        await late.rollouts.look()
        await brain.answer()
    outcome = brain.view.passages.all[-1].outcome
    assert outcome in ("aborted", "rolled back")
    await late.build_ends()
    assert (has(brain, "api"), brain.view.passages.all[-1].outcome) == ([], outcome)
    said = brain.view.waits[API]
    assert said.state is Standing.HALTED
    assert said.next == f'fleet rollout resume {late.commit[:7]} --reason "..."'
    assert any("is not released: its rollout was" in row.event.message for row in await brain.state.events())
    await late.order("resume")
    await settle(brain, late.rollouts)
    assert (has(brain, "api"), has(brain, "web")) == ([*CLUSTERS], [*CLUSTERS])


async def test_twin_what_is_built_while_its_commit_goes_on_joins_it(brain: Brain, late: Late) -> None:
    await late.build_ends()
    assert (has(brain, "api"), has(brain, "web")) == ([*CLUSTERS], [*CLUSTERS])


async def test_what_clusters_hold_already_is_barred_by_no_commit_that_was_aborted(brain: Brain) -> None:
    late = Late(brain, "halt")
    late.files = {**web("2"), **cluster("prod-3")}
    await late.begin()
    await late.order("abort")
    await late.build_ends()
    assert brain.desired("api@prod-3") is None
    assert OverlayName("api") not in brain.view.passages.quarantine
    said = brain.view.waits[UnitName.parse("api@prod-3")]
    assert (said.state, said.next) == (Standing.WAITS, f'fleet rollout resume {late.commit[:7]} --reason "..."')
    kept = brain.view.passages
    await late.rollouts.look()
    assert brain.view.passages == kept, "each look begins it again"
    await brain.commit(web("3"))
    await settle(brain, late.rollouts)
    assert brain.desired("api@prod-3") is not None
