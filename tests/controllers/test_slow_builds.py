"""Builds that take long hold up nobody else's commits for more than their share, and nothing is lost by that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import cluster, fleet_file, settle
from controllers.test_rollouts import rollouts_of
from hubworld import cluster_file, config_map, kustomization, overlay

from fleet.controllers import rendering
from fleet.core.ids import UnitName
from fleet.core.results import Rendered, RenderProblem
from fleet.core.rollout import Apply
from fleet.errors import RenderError, RenderInterrupted, RenderTimeout

WEB = UnitName.parse("web@eu-1")
SLOW = [f"slow-{number:02}" for number in range(20)]


def files(value: str, names: list[str]) -> dict[str, str]:
    made = {"clusters/eu-1.yaml": cluster_file("eu-1")}
    for name in names:
        made |= overlay(f"overlays/{name}", {name: config_map(name, value)})
    return made


class Slow:
    """Builds of these overlays end in their time limit, two at one time, until they are `mended`."""

    def __init__(self, brain: Brain, error: type[RenderError] = RenderTimeout) -> None:
        self.real, self.begun, self.mended = brain.renderer.render, list[str](), False
        self.workers, self.seconds, self.error = asyncio.Semaphore(2), 0.05, error
        brain.renderer.render = self.render

    async def render(self, snapshot: Any, request: Any, **options: Any) -> Any:
        name = request.path.rpartition("/")[2]
        if options or self.mended or not name.startswith("slow"):
            self.begun += [] if options else [name]
            return await self.real(snapshot, request, **options)
        self.begun.append(name)
        async with self.workers:
            await asyncio.sleep(self.seconds)
        raise self.error(f"{request.path}: kustomize was ended")


def reasons(brain: Brain) -> dict[str, int]:
    found: dict[str, int] = {}
    for result in brain.view.results.values():
        word = result.reason if isinstance(result, RenderProblem) else "Rendered"
        found[word] = found.get(word, 0) + 1
    return found


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "BUILD_SECONDS", 0.02)


async def test_a_newer_commit_is_in_force_and_released_though_builds_before_it_never_end_in_time(
    brain: Brain, brief: None
) -> None:
    await brain.commit(files("1", [*SLOW, "web"]))
    held = dict(brain.board.books.held)
    slow = Slow(brain)
    await brain.commit(files("2", SLOW))
    assert len(slow.begun) == rendering.RENDERS_IN_FLIGHT
    assert reasons(brain) == {
        "RenderTimeout": len(slow.begun),
        "RenderInterrupted": 20 - len(slow.begun),
        "Rendered": 1,
    }
    assert brain.board.books.held == held, "what is not built keeps what it holds"
    assert brain.view.rendering == frozenset()
    slow.begun.clear()
    second = await brain.commit({"overlays/web/web.yaml": config_map("web", "2")})
    assert brain.view.head.commit == second
    assert brain.desired("web@eu-1").commit == second
    assert isinstance(brain.desired("web@eu-1").action, Apply)
    assert slow.begun[0] == "web", "what failed by time comes after what did not"
    timed_out = {f"slow-{number:02}" for number in range(rendering.RENDERS_IN_FLIGHT)}
    assert not timed_out & set(slow.begun), "what ran into its limit comes last"


async def test_builds_that_the_system_ends_are_cut_off_as_well(brain: Brain, brief: None) -> None:
    await brain.commit(files("1", [*SLOW, "web"]))
    slow = Slow(brain, RenderInterrupted)
    await brain.commit(files("2", SLOW))
    assert len(slow.begun) == rendering.RENDERS_IN_FLIGHT
    slow.begun.clear()
    second = await brain.commit({"overlays/web/web.yaml": config_map("web", "2")})
    assert slow.begun[0] == "web"
    assert brain.desired("web@eu-1").commit == second


async def test_what_was_not_built_in_time_is_built_by_the_next_fetches_with_no_new_commit(
    brain: Brain, brief: None
) -> None:
    await brain.commit(files("1", [*SLOW, "web"]))
    slow = Slow(brain)
    commit = await brain.commit(files("2", SLOW))
    assert commit not in brain.view.converged
    slow.mended = True
    for _ in SLOW:
        await brain.commits.fetch_once()
        await brain.answer()
        if reasons(brain) == {"Rendered": 21}:
            break
    assert all(brain.desired(f"{name}@eu-1").commit == commit for name in SLOW)
    assert commit in brain.view.converged


async def test_builds_that_take_long_and_end_are_all_released_by_one_fetch_and_once(brain: Brain, brief: None) -> None:
    await brain.commit(files("1", [*SLOW, "web"]))
    slow, released = Slow(brain), list[UnitName]()
    slow.mended, real = True, brain.releases.release

    async def late(snapshot: Any, request: Any, **options: Any) -> Any:
        await asyncio.sleep(0.1)
        return await slow.render(snapshot, request, **options)

    async def release(results: Any, *more: Any) -> None:
        released.extend(results)
        await real(results, *more)

    brain.renderer.render, brain.releases.release = late, release
    commit = await brain.commit(files("2", SLOW))
    assert sorted(map(str, released)) == [f"{name}@eu-1" for name in SLOW]
    assert all(brain.desired(f"{name}@eu-1").commit == commit for name in SLOW)
    assert commit in brain.view.converged


async def test_the_first_commit_of_an_empty_state_is_built_as_a_whole(brain: Brain, brief: None) -> None:
    slow = Slow(brain)
    slow.mended = True
    await brain.commit(files("1", [*SLOW, "web"]))
    assert reasons(brain) == {"Rendered": 21}


async def test_a_restart_takes_from_the_cache_what_was_built_however_late_it_is(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(files("1", [*SLOW, "web"]))
    monkeypatch.setattr(rendering, "BROKEN_OFF", 0)
    monkeypatch.setattr(rendering, "BUILD_SECONDS", -1.0)
    again = await brain.restart()
    await again.commits.resume()
    assert reasons(again) == {"Rendered": 21}
    assert again.renderer.stats.builds == 0
    await again.close()


async def test_what_is_built_in_time_is_built_by_each_of_many_commits_that_change_it_all(
    brain: Brain, brief: None
) -> None:
    calm = [f"calm-{number:02}" for number in range(12)]
    await brain.commit(files("1", [*SLOW[:2], *calm]))
    Slow(brain)
    for number in range(2, 5):
        commit = await brain.commit(files(str(number), [*SLOW[:2], *calm]))
        behind = [name for name in calm if brain.desired(f"{name}@eu-1").commit != commit]
        assert behind == []


async def test_an_object_that_moves_to_an_overlay_that_is_not_built_in_time_is_no_deletion(
    brain: Brain, brief: None
) -> None:
    two = overlay("overlays/a-web", {"one": config_map("one", "1"), "two": config_map("two", "1")})
    await brain.commit(files("1", [*SLOW, "zz"]) | two)
    slow = Slow(brain)
    to_zz = overlay("overlays/zz", {"zz": config_map("zz", "1"), "two": config_map("two", "1")})
    left = {"overlays/a-web/kustomization.yaml": kustomization("one.yaml")}
    commit = await brain.commit(files("2", SLOW) | left | to_zz)
    assert brain.view.results[UnitName.parse("zz@eu-1")].reason == "RenderInterrupted"
    assert brain.desired("a-web@eu-1").commit == commit
    assert brain.desired("a-web@eu-1").action.permits == frozenset()
    slow.mended = True
    for _ in SLOW:
        await brain.commits.fetch_once()
        await brain.answer()
    assert isinstance(brain.view.results[UnitName.parse("zz@eu-1")], Rendered)
    assert brain.desired("a-web@eu-1").action.permits == frozenset()


async def test_teams_take_turns_though_one_of_them_changes_much(brain: Brain, brief: None) -> None:
    head = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
    teams = ", ".join(
        f"{team}: {{dirs: [{', '.join(f'overlays/{name}' for name in names)}], allow: {{kinds: [ConfigMap]}}}}"
        for team, names in (("bulk", SLOW), ("shop", ["web"]))
    )
    fleet = {"fleet.yaml": f"{head}spec: {{teams: {{{teams}}}, rollout: {{steps: []}}}}\n"}
    await brain.commit(files("1", [*SLOW, "web"]) | fleet)
    Slow(brain)
    commit = await brain.commit(files("2", [*SLOW, "web"]))
    assert isinstance(brain.view.results[WEB], Rendered)
    assert brain.desired("web@eu-1").commit == commit


async def test_a_rollout_skips_no_step_of_what_was_not_built_in_time(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = rollouts_of(brain)
    clusters = {path: text for name in ("dev-1", "prod-1") for path, text in cluster(name).items()}
    await brain.commit({**fleet_file(), **clusters, **overlay("overlays/web", {"web": config_map("web", "1")})})
    await settle(brain, rollouts)
    monkeypatch.setattr(rendering, "BROKEN_OFF", 0)
    monkeypatch.setattr(rendering, "BUILD_SECONDS", -1.0)
    before = {name: brain.board.books.held[UnitName.parse(f"web@{name}")] for name in ("dev-1", "prod-1")}
    commit = await brain.commit(overlay("overlays/web", {"web": config_map("web", "2")}))
    await settle(brain, rollouts)
    assert {name: brain.board.books.held[UnitName.parse(f"web@{name}")] for name in before} == before
    monkeypatch.setattr(rendering, "BUILD_SECONDS", 120.0)
    await brain.commits.fetch_once()
    await rollouts.look()
    held = brain.board.books.held
    assert held[UnitName.parse("web@dev-1")].commit == commit
    assert held[UnitName.parse("web@prod-1")] == before["prod-1"], "its step comes after the first"
    await settle(brain, rollouts)
    assert held[UnitName.parse("web@prod-1")].commit == commit
