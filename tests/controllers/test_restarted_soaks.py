"""A hub that was killed amid a soak: the same is left of it, and the gates that passed have passed (issue 7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import DEV, FIRST, cluster, fleet_file, last, web
from controllers.test_rollouts import order, settle
from hubworld import config_map, overlay

from fleet.controllers.rollout_clock import DEAF_SECONDS
from fleet.controllers.rollouts import CLOCK_SECONDS, Rollouts
from fleet.core.gates import Read, Verdict, Word
from fleet.core.ids import ClusterName, UnitName

GATES = "[{name: ok, http: {url: 'https://x', contains: ok}, window: 0s, timeout: 10h}]"
SOAKS = f"[{{name: dev, environments: [dev], soak: 9h, gates: {GATES}}}, {{name: prod, rest: true}}]"
UNIT = UnitName.parse(f"web@{DEV}")


class Loop:
    """Rollouts of a brain on a clock that a test moves."""

    def __init__(self, brain: Brain) -> None:
        self.brain, self.now = brain, 0.0
        self.rollouts = Rollouts(
            state=brain.state, board=brain.board, releases=brain.releases, view=brain.view, bells=brain.bells,
            gates=brain.gates, wall=brain.wall, clock=lambda: self.now,
        )  # fmt: skip

    async def look(self, seconds: float = 1.0) -> None:
        self.now += seconds
        await self.rollouts.look()

    @property
    def left(self) -> int:
        """Seconds of the soak."""
        (found,) = self.brain.view.advances.values()
        why = found.steps[0].why
        minutes, seconds = why.removeprefix("soaks for ").removesuffix("s more").split("m")
        return int(minutes) * 60 + int(seconds)


async def soaking(brain: Brain) -> Loop:
    """Web 2 is Healthy on dev-1 for an hour, and its gate has passed."""
    loop = Loop(brain)
    await loop.rollouts.start()
    await brain.commit({**fleet_file(SOAKS), **cluster(DEV), **cluster(FIRST), **web("1")})
    await settle(brain, loop.rollouts)
    await brain.commit(web("2"))
    await settle(brain, loop.rollouts)
    await brain.measure.answers.put(Read(Word.GOOD, "ok"))
    await loop.look()
    await asyncio.sleep(0.01)
    for _ in range(3600 // 4):
        await loop.look(4.0)
    return loop


async def connect(brain: Brain, name: str, *, judged: bool) -> None:
    """A worker's first word, of the cluster alone; or its second, of the units."""
    known = brain.view.clusters[ClusterName(name)]
    if not judged:
        began = brain.wall()
        await brain.intake.send(replace(known, epoch=known.epoch + 1, at=began, began_at=began))
        return
    units = tuple(report for unit, report in brain.view.units.items() if unit.cluster == name)
    await brain.intake.send(replace(known, sequence=known.sequence + 1, at=brain.wall(), units=units))


@pytest.mark.parametrize("slow", [2.0, DEAF_SECONDS + 20.0], ids=["soon", "twin: only after a minute"])
async def test_a_restarted_hub_waits_for_its_units_and_has_the_same_soak_left(brain: Brain, slow: float) -> None:
    before = await soaking(brain)
    left, gate = before.left, last(brain).rows[UNIT.overlay].gates["dev/ok"]
    assert (round(left / 3600), gate.verdict) == (8, Verdict.PASSED)
    again = await brain.restart()
    loop = Loop(again)
    await again.commits.fetch_once()
    await loop.rollouts.start()
    await loop.look()
    assert again.view.advances[last(again).commit].steps[0].why == "waits for the first word of dev-1, prod-1"
    assert again.view.advances[last(again).commit].steps[0].done == 1, "as it was known last"
    for name in (DEV, FIRST):
        await connect(again, name, judged=False)
    assert UNIT in again.view.unspoken
    for _ in range(int(slow * 2)):
        await loop.look(0.5)
    waits = again.view.advances[last(again).commit].steps[0].why.startswith("waits for the first word of")
    assert waits == (slow <= DEAF_SECONDS)
    await loop.look()
    for name in (DEV, FIRST):
        await connect(again, name, judged=True)
    await loop.look()
    assert left - 2 <= loop.left <= left + CLOCK_SECONDS
    assert last(again).rows[UNIT.overlay].gates["dev/ok"] == gate
    await again.close()


async def test_twin_what_cannot_be_reached_after_a_restart_keeps_nobody_waiting_for_its_units(brain: Brain) -> None:
    await soaking(brain)
    again = await brain.restart()
    loop = Loop(again)
    await again.commits.fetch_once()
    await loop.rollouts.start()
    await connect(again, DEV, judged=False)
    await connect(again, DEV, judged=True)
    known = again.view.clusters[ClusterName(FIRST)]
    await again.intake.send(
        replace(
            known, epoch=known.epoch + 1, at=again.wall(), began_at=again.wall(), reachable=False, reason="Unreachable"
        )
    )
    await loop.look()
    assert round(loop.left / 3600) == 8
    await again.close()


async def test_promote_is_carried_out_only_once_the_clusters_were_heard(brain: Brain) -> None:
    clusters = {path: text for name in (DEV, FIRST) for path, text in cluster(name).items()}
    loop = Loop(brain)
    await brain.commit({**fleet_file(), **clusters, **web("1")})
    await settle(brain, loop.rollouts)
    commit = brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    await order(brain, "pause", commit)
    await loop.look()
    again = await brain.restart()
    loop = Loop(again)
    await again.commits.fetch_once()
    await loop.rollouts.start()
    await order(again, "promote", commit)
    await order(again, "pause", commit[:9])  # given later, so it is carried out later
    await loop.look()
    assert len(await again.state.operations(open_only=True, limit=9)) == 2
    assert not last(again).rows[UNIT.overlay].passed, "its first step was passed because nobody was heard yet"
    await again.answer()
    await loop.look()
    assert not await again.state.operations(open_only=True, limit=9), "twin: once they are heard"
    assert last(again).paused is not None
    assert not last(again).rows[UNIT.overlay].passed


async def paused(brain: Brain) -> tuple[str, str]:
    """Web 2 is paused before its first step, and so is a commit of api; the hub was begun anew since."""
    loop, clusters = Loop(brain), {path: text for name in (DEV, FIRST) for path, text in cluster(name).items()}
    await brain.commit({**fleet_file(), **clusters, **web("1"), **api("1")})
    await settle(brain, loop.rollouts)
    commits: list[str] = []
    for files in (web("2"), api("2")):
        commits.append(brain.repo.commit(files))
        await brain.commits.fetch_once()
        await order(brain, "pause", commits[-1])
        await loop.look()
    first, second = commits
    return first, second


def api(value: str) -> dict[str, str]:
    return overlay("overlays/api", {"api": config_map("api", value)})


async def begun_again(brain: Brain) -> tuple[Brain, Loop]:
    again = await brain.restart()
    loop = Loop(again)
    await again.commits.fetch_once()
    await loop.rollouts.start()
    return again, loop


async def still_open(brain: Brain) -> set[str]:
    return {f"{row.kind} {row.target}" for row in await brain.state.operations(open_only=True, limit=99)}


async def test_a_promotion_that_waits_for_the_clusters_holds_back_no_order_of_another_commit(brain: Brain) -> None:
    first, second = await paused(brain)
    again, loop = await begun_again(brain)
    await order(again, "promote", first)
    await order(again, "abort", second)
    await order(again, "abort", first[:9])
    await order(again, "rollback", "web")
    await order(again, "rollback", "api")
    await loop.look()
    twins = {f"rollout-promote {first}", f"rollout-abort {first[:9]}", "rollout-rollback web"}
    assert await still_open(again) == twins, "what is about the same commit alone follows in its turn"
    assert [one.outcome for one in again.view.passages.all if one.commit in (first, second)] == ["", "aborted"]
    await again.answer()
    await loop.look()
    assert not await still_open(again)
    await again.close()


async def test_what_waits_behind_a_promotion_is_carried_out_before_anything_is_released(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await paused(brain)
    again, loop = await begun_again(brain)
    await order(again, "resume", first)
    await order(again, "promote", first)
    await order(again, "pause", first[:9])
    read, held = again.state.get_value, again.board.books.held[UNIT]

    async def heard_meanwhile(key: str) -> str | None:
        if key.startswith("courses/"):
            await again.answer()
        return await read(key)

    monkeypatch.setattr(again.state, "get_value", heard_meanwhile)
    await loop.look()
    assert again.board.books.held[UNIT] == held, "it began before the pause was carried out"
    await loop.look()
    assert (await still_open(again), again.board.books.held[UNIT]) == (set(), held)
    await order(again, "resume", first[:10])
    await loop.look()
    assert again.board.books.held[UNIT] != held, "twin: once a person lets it go on"
    await again.close()


async def test_a_promotion_that_is_given_again_before_the_clusters_were_heard_goes_past_one_step(brain: Brain) -> None:
    steps = (
        f"[{{name: dev, environments: [dev], soak: 9h}}, {{name: look, gates: {GATES}}}, {{name: prod, rest: true}}]"
    )
    loop = Loop(brain)
    await brain.commit({**fleet_file(steps), **cluster(DEV), **cluster(FIRST), **web("1")})
    await settle(brain, loop.rollouts)
    await brain.commit(web("2"))
    await settle(brain, loop.rollouts)
    commit = last(brain).commit
    again, loop = await begun_again(brain)
    await order(again, "promote", commit)
    await order(again, "promote", commit[:9])
    await loop.look()
    assert await still_open(again) == {f"rollout-promote {commit}", f"rollout-promote {commit[:9]}"}
    await again.answer()
    await loop.look()
    ended = {row.target: row.outcome for row in await again.state.operations(limit=2)}
    assert ended == {commit: "done", commit[:9]: "refused"}
    assert last(again).rows[UNIT.overlay].passed == {"dev"}
    await again.close()


async def test_an_order_that_is_decided_anew_comes_before_what_was_ordered_after_it(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = "[{name: dev, environments: [dev], soak: 9h}, {name: prod, rest: true}]"
    loop = Loop(brain)
    await brain.commit({**fleet_file(steps), **cluster(DEV), **cluster(FIRST), **web("1")})
    await settle(brain, loop.rollouts)
    await brain.commit(web("2"))
    await settle(brain, loop.rollouts)
    before, commit = brain.board.books.held[UnitName.parse(f"web@{FIRST}")], last(brain).commit
    await order(brain, "promote", commit)
    await order(brain, "pause", commit)
    let = brain.releases.let

    async def renamed_meanwhile(*args: Any) -> bool:
        brain.view.passages = replace(brain.view.passages)
        monkeypatch.undo()
        return await let(*args)

    monkeypatch.setattr(brain.releases, "let", renamed_meanwhile)
    await loop.look()
    assert await still_open(brain) == {f"rollout-promote {commit}", f"rollout-pause {commit}"}
    await loop.look()
    assert (await still_open(brain), last(brain).rows[UNIT.overlay].passed) == (set(), {"dev"})
    assert last(brain).paused is not None, "the promotion undid what was ordered after it"
    assert brain.board.books.held[UnitName.parse(f"web@{FIRST}")] == before
