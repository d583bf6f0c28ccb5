"""The loop of rollouts around a real board: what it decided holds for what it decided it on, whatever comes between."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from controllers.rig import Brain
from hubworld import cluster_file, config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import Digest, UnitName
from fleet.core.recovery import asked_of, text_of, with_words, words_of
from fleet.core.status import ASKS_RECOVERY, Blocker, Health, Standing
from fleet.errors import StateNotWritable
from fleet.ports.state import BELIEVED, RECOVERED, OperationRow

CLUSTERS = ("dev-1", "prod-1", "prod-2")
STEPS = "[{name: dev, environments: [dev]}, {name: prod, rest: true}]"


def fleet_file(rollout: str = f"{{steps: {STEPS}}}") -> str:
    return (
        "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
        f"spec:\n  environments: [dev, prod]\n  rollout: {rollout}\n"
    )


def clusters(**spec: str) -> dict[str, str]:
    return {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0], **spec) for name in CLUSTERS}


def web(value: str, **spec: str) -> dict[str, str]:
    return overlay("overlays/web", {"web": config_map("web", value)}, **spec)


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1."""
    made = rollouts_of(brain)
    await brain.commit({"fleet.yaml": fleet_file(), **clusters(), **web("1")})
    await settle(brain, made)
    assert len(held(brain)) == 1
    return made


def rollouts_of(brain: Brain, clock: Callable[[], float] | None = None) -> Rollouts:
    ticks = itertools.count()
    return Rollouts(
        state=brain.state, board=brain.board, releases=brain.releases, view=brain.view, bells=brain.bells,
        gates=brain.gates, wall=brain.wall, clock=clock or (lambda: float(next(ticks))),
    )  # fmt: skip


async def settle(brain: Brain, rollouts: Rollouts) -> None:
    """Look and answer until nothing moves any more."""
    for _ in range(20):
        await rollouts.look()
        if not await brain.answer():
            return
    raise AssertionError("it never comes to rest")


def told(brain: Brain, cluster: str) -> str:
    """The bundle that a cluster is told to hold."""
    order = brain.desired(f"web@{cluster}")
    assert order is not None
    return order.action.bundle


def held(brain: Brain) -> set[str]:
    return {told(brain, name) for name in CLUSTERS}


def result(brain: Brain) -> str:
    return brain.board.books.results[UnitName.parse("web@prod-1")].bundle


async def test_a_commit_that_comes_amid_a_look_begins_at_its_first_step(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(web("2"))
    await rollouts.look()
    await brain.answer()  # dev-1 is well: the next look would let prod have it
    operations = brain.state.operations

    async def meanwhile(**query):
        monkeypatch.undo()
        brain.repo.commit(web("3"))
        await brain.commits.fetch_once()
        return await operations(**query)

    monkeypatch.setattr(brain.state, "operations", meanwhile)
    await rollouts.look()
    newest = result(brain)
    assert told(brain, "dev-1") == newest
    assert newest not in {told(brain, "prod-1"), told(brain, "prod-2")}
    await settle(brain, rollouts)
    assert held(brain) == {newest}


def report_ill(brain: Brain, cluster: str) -> None:
    name = UnitName.parse(f"web@{cluster}")
    brain.view.units[name] = replace(brain.view.units[name], health=Health.DEGRADED)


async def test_what_was_taken_back_stays_so_though_telling_the_clusters_failed(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit({"fleet.yaml": fleet_file(f"{{steps: {STEPS}, onFailure: rollback}}")})
    before = told(brain, "dev-1")
    await brain.commit(web("bad"))
    made = rollouts_of(brain)
    await made.look()
    await brain.answer()
    report_ill(brain, "dev-1")

    async def full() -> None:
        monkeypatch.undo()
        raise StateNotWritable("no space left on device")

    monkeypatch.setattr(brain.board, "publish", full)
    with pytest.raises(StateNotWritable):
        await made.run()
    again = asyncio.create_task(made.run())  # as the hub does after an error
    async with asyncio.timeout(20):
        while told(brain, "dev-1") != before or not brain.view.waits:
            await asyncio.sleep(0.01)
    again.cancel()
    await brain.answer()
    await settle(brain, made)
    assert held(brain) == {before}
    assert result(brain) in brain.view.passages.quarantine["web"]
    assert brain.view.passages.all[-1].outcome == "rolled back"
    story = [row.event.message for row in await brain.state.events()]
    assert len([text for text in story if "goes to dev-1" in text]) == 1, "it was released once more"


async def test_what_a_parent_bars_is_barred_before_its_unit_is_confirmed_though_no_look_came_between(
    brain: Brain, rollouts: Rollouts
) -> None:
    name, digest = UnitName.parse("web@dev-1"), Digest("d" * 64)
    asks = Blocker(Standing.HELD, "cluster dev-1", "its record was rebuilt", brain.wall(), "", ASKS_RECOVERY)
    brain.view.units[name] = replace(brain.view.units[name], quarantined=(digest,), blocked_by=(asks,))
    await brain.state.set_value(RECOVERED, "dev-1")
    await brain.orders.look()
    assert brain.view.passages.quarantine["web"][digest].clusters == {"dev-1"}
    brain.view.units[name] = replace(brain.view.units[name], quarantined=(), blocked_by=())  # as it says when confirmed
    made = await brain.restart()
    await rollouts_of(made).start()
    assert digest in made.view.passages.quarantine["web"]
    await made.close()


@pytest.mark.parametrize("is_built", [False, True])
async def test_a_unit_is_noted_that_is_confirmed_while_its_newest_result_is_being_built_and_no_other(
    brain: Brain, rollouts: Rollouts, is_built: bool
) -> None:
    name = UnitName.parse("web@dev-1")
    asks = Blocker(Standing.HELD, "cluster dev-1", "its record was rebuilt", brain.wall(), "", ASKS_RECOVERY)
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=(asks,))
    brain.view.rendering = frozenset() if is_built else frozenset({name, UnitName.parse("web@prod-1")})
    await brain.state.set_value(RECOVERED, text_of(asked_of(brain.view.units.values(), brain.view.clusters)))
    await brain.orders.look()
    assert brain.board.standing.recovered
    assert brain.view.passages.unsure == (frozenset() if is_built else {name})
    result = brain.board.books.results[name]
    await brain.releases.release({name: result})
    made = await brain.restart()
    await rollouts_of(made).start()
    assert made.view.passages.unsure == frozenset(), "it is known"
    await made.close()


async def test_a_confirmed_recovery_is_for_what_was_shown_and_a_later_loss_asks_again(
    brain: Brain, rollouts: Rollouts
) -> None:
    name = UnitName.parse("web@dev-1")
    asks = Blocker(Standing.HELD, "cluster dev-1", "its record was rebuilt", brain.wall(), "", ASKS_RECOVERY)
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=(asks,))
    await brain.state.set_value(RECOVERED, "dev-1")
    for _ in range(2):  # the worker has not heard it yet
        await brain.orders.look()
        assert await brain.state.get_value(RECOVERED) == "dev-1"  # of an earlier version: for whatever asks
        assert brain.board.standing.recovered == asked_of(brain.view.units.values(), brain.view.clusters)
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=())  # as it says when confirmed
    await brain.orders.look()
    assert not await brain.state.get_value(RECOVERED)
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=(asks,))
    await brain.orders.look()
    assert not await brain.state.get_value(RECOVERED)


async def test_a_word_that_its_cluster_did_not_hear_is_not_for_what_answers_there_next(
    brain: Brain, rollouts: Rollouts
) -> None:
    name = UnitName.parse("web@dev-1")
    asks = Blocker(Standing.HELD, "cluster dev-1", "its record was rebuilt", brain.wall(), "", ASKS_RECOVERY)
    shown = replace(brain.view.units[name], blocked_by=(asks,))
    brain.view.units[name] = shown
    said = text_of(asked_of(brain.view.units.values(), brain.view.clusters))
    await brain.state.set_value(RECOVERED, said)
    await brain.orders.look()
    assert brain.board.standing.recovered == words_of(said)
    assert await brain.state.get_value(RECOVERED) == said
    brain.view.units[name] = replace(shown, bundle=Digest("e" * 64))  # its record was lost once more
    await brain.orders.look()
    assert not brain.board.standing.recovered
    assert not await brain.state.get_value(RECOVERED)
    brain.view.units[name] = shown
    await brain.orders.look()
    assert not brain.board.standing.recovered, "what is over does not come back"


async def test_a_word_that_is_given_while_another_one_is_found_to_be_over_is_kept(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, other = UnitName.parse("web@dev-1"), UnitName.parse("web@prod-1")
    asks = Blocker(Standing.HELD, "its cluster", "its record was rebuilt", brain.wall(), "", ASKS_RECOVERY)
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=(asks,))
    await brain.state.set_value(RECOVERED, text_of(asked_of(brain.view.units.values(), brain.view.clusters)))
    await brain.orders.look()
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=())  # as it says when confirmed
    brain.view.units[other] = replace(brain.view.units[other], blocked_by=(asks,))
    asked = asked_of(brain.view.units.values(), brain.view.clusters)
    set_value = brain.state.set_value

    async def meanwhile(key: str, value: str) -> None:
        if key == BELIEVED:
            await brain.state.change_value(RECOVERED, lambda said: with_words(said, asked))
        await set_value(key, value)

    monkeypatch.setattr(brain.state, "set_value", meanwhile)
    await brain.orders.look()
    assert words_of(await brain.state.get_value(RECOVERED) or "") == asked
    monkeypatch.undo()
    await brain.orders.look()
    assert brain.board.standing.recovered == asked


async def test_a_unit_that_asks_after_the_word_waits_for_its_own_and_the_word_goes_on(
    brain: Brain, rollouts: Rollouts
) -> None:
    name, late = UnitName.parse("web@dev-1"), UnitName.parse("late@dev-1")
    asks = Blocker(Standing.HELD, "cluster dev-1", "its record was rebuilt", brain.wall(), "", ASKS_RECOVERY)
    brain.view.units[name] = replace(brain.view.units[name], blocked_by=(asks,))
    shown = asked_of(brain.view.units.values(), brain.view.clusters)
    await brain.state.set_value(RECOVERED, text_of(shown))
    await brain.orders.look()
    barred = Digest("d" * 64)
    brain.view.units[late] = replace(brain.view.units[name], unit=late)
    await brain.orders.look()
    assert brain.board.standing.recovered == shown
    assert told(brain, "dev-1") is not None
    brain.view.units[name] = replace(brain.view.units[name], quarantined=(barred,))
    both = asked_of(brain.view.units.values(), brain.view.clusters)
    await brain.state.set_value(RECOVERED, text_of(both))
    await brain.orders.look()
    assert brain.board.standing.recovered == both
    assert barred in brain.view.passages.quarantine["web"], "each word is believed"


async def taken_back(brain: Brain, rollouts: Rollouts) -> str:
    """Web 2 everywhere, and taken back by a person; what is held then."""
    before = told(brain, "dev-1")
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    assert held(brain) == {result(brain)}
    await order(brain, "rollback", "web")
    await settle(brain, rollouts)
    assert held(brain) == {before}
    return before


async def order(brain: Brain, kind: str, target: str) -> None:
    await brain.state.add_operation(
        OperationRow(f"op-{kind}-{target}", f"rollout-{kind}", target, "jo", brain.wall(), "because")
    )


@pytest.mark.parametrize("rollout", ["{steps: []}", f"{{steps: {STEPS}}}"])
async def test_what_was_taken_back_stays_away_whatever_becomes_of_the_steps(
    brain: Brain, rollouts: Rollouts, rollout: str
) -> None:
    before = await taken_back(brain, rollouts)
    second = brain.view.passages.all[-1].commit
    for change in ({"fleet.yaml": fleet_file("{steps: []}")}, clusters(mode="observe")):
        await brain.commit(change)
        await settle(brain, rollouts)
        assert held(brain) == {before}
    await brain.commit({"fleet.yaml": fleet_file(rollout), **clusters()})
    await settle(brain, rollouts)
    assert held(brain) == {before}
    await order(brain, "resume", second)
    await settle(brain, rollouts)
    assert held(brain) == {result(brain)} != {before}


@pytest.mark.parametrize("value", ["3", "2"])
async def test_what_waited_for_a_step_is_told_only_once_it_is_released_though_the_steps_are_gone(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The same commit may bring a newer result, "3", and a build takes its time."""
    before = told(brain, "prod-1")
    await brain.commit(web("2"))
    await rollouts.look()
    seen, render = {before}, brain.renderer.render

    async def slowly(*given, **named):
        seen.add(told(brain, "prod-1"))
        return await render(*given, **named)

    monkeypatch.setattr(brain.renderer, "render", slowly)
    brain.repo.commit({"fleet.yaml": fleet_file("{steps: []}"), **web(value)})
    await brain.commits.fetch_once()
    assert seen == {before}, "it is told what no commit in force has for it"
    assert told(brain, "prod-1") in {row.bundle for row in await brain.state.released() if row.unit.cluster == "prod-1"}
    await settle(brain, rollouts)
    assert held(brain) == {result(brain)} != {before}


async def test_what_waits_is_shown_while_nothing_is_written_and_waits_again_afterwards(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = told(brain, "dev-1")
    await brain.commit(web("2"))
    await rollouts.look()
    await brain.answer()
    report_ill(brain, "dev-1")
    await rollouts.look()
    assert told(brain, "prod-1") == before
    brain.repo.commit(clusters(mode="observe"))
    await brain.commits.fetch_once()
    await rollouts.look()
    assert told(brain, "prod-1") == result(brain)  # to compare with
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    await rollouts.look()
    assert told(brain, "prod-1") == result(brain)
    brain.repo.commit(clusters())
    await brain.commits.fetch_once()
    assert held(brain) - {told(brain, "dev-1")} == {before}
    await settle(brain, rollouts)
    assert held(brain) == {result(brain)}


async def test_what_a_person_synced_is_held_when_steps_apply_again(brain: Brain, rollouts: Rollouts) -> None:
    await brain.commit(web("1", sync="{mode: manual}"))
    await settle(brain, rollouts)
    await brain.commit(web("2", sync="{mode: manual}"))  # the workers here sync whatever they are shown
    await settle(brain, rollouts)
    newest = result(brain)
    assert {each.bundle for each in brain.board.books.held.values()} == {newest}
    brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    assert held(brain) == {newest}


async def test_a_hub_killed_amid_an_order_carries_it_out_once(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    soaks = "{name: dev, environments: [dev], soak: 9h}, {name: one, clusters: {names: [prod-1]}, soak: 9h}"
    await brain.commit({"fleet.yaml": fleet_file(f"{{steps: [{soaks}, {{name: all, rest: true}}]}}")})
    before = told(brain, "dev-1")
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    await order(brain, "promote", brain.view.head.commit)

    async def killed(*_) -> bool:
        monkeypatch.undo()
        raise StateNotWritable("killed")

    monkeypatch.setattr(brain.state, "end_operation", killed)
    with pytest.raises(StateNotWritable):
        await settle(brain, rollouts)
    again = rollouts_of(brain)
    await again.start()
    brain.view.clusters.update({name: replace(each, at=brain.wall()) for name, each in brain.view.clusters.items()})
    await settle(brain, again)
    assert told(brain, "prod-1") == result(brain)
    assert told(brain, "prod-2") == before
    (ended,) = await brain.state.operations()
    assert ended.outcome == "done"
    await again.look()
    assert not brain.view.passages.carried


async def test_a_soak_goes_on_where_it_was_once_all_workers_spoke_again(brain: Brain, rollouts: Rollouts) -> None:
    soaks = "{name: dev, environments: [dev], soak: 200s}, {name: all, rest: true}"
    await brain.commit({"fleet.yaml": fleet_file(f"{{steps: [{soaks}]}}")})
    before = told(brain, "dev-1")
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    calm = brain.view.passages.all[-1].rows["web"].calm["dev"]
    again = rollouts_of(brain)
    known = dict(brain.view.clusters)
    brain.view.clusters.clear()  # its last word was lost with the process
    await again.start()
    for _ in range(5):
        await again.look()
        assert told(brain, "prod-1") == before
        assert brain.view.passages.all[-1].rows["web"].calm == {"dev": calm}, "the soak began anew"
    brain.view.clusters.update({name: replace(each, at=brain.wall()) for name, each in known.items()})
    for _ in range(300):
        await again.look()
    assert told(brain, "prod-1") == result(brain)


async def test_what_goes_back_to_its_newest_result_waits_for_nothing(brain: Brain, rollouts: Rollouts) -> None:
    before = told(brain, "dev-1")
    await brain.commit(web("2"))
    await rollouts.look()
    await brain.answer()
    brain.repo.commit(web("1"))
    await brain.commits.fetch_once()
    await order(brain, "rollback", "web")
    await rollouts.look()
    assert told(brain, "dev-1") == before
    assert not brain.board.books.waiting


async def test_an_overlay_that_left_git_since_it_was_asked_is_not_rolled_back_nor_barred(
    brain: Brain, rollouts: Rollouts
) -> None:
    """It ended as done, on clusters where nothing changed; and what had left was barred once it came again."""
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    second = result(brain)
    await brain.commit(dict.fromkeys(web("2")))
    await order(brain, "rollback", "web")
    await settle(brain, rollouts)
    row = await brain.state.operation("op-rollback-web")
    assert row is not None
    why = "web left Git, and holds nothing to go back from; revert the commit that dropped it"
    assert (row.outcome, row.message, brain.view.passages.quarantine) == ("refused", why, {})
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    assert held(brain) == {second}


async def test_an_overlay_whose_file_broke_since_it_was_asked_goes_back(brain: Brain, rollouts: Rollouts) -> None:
    first = held(brain)
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    assert held(brain) != first
    await brain.commit({"overlays/web/overlay.yaml": "kind: ["})
    await order(brain, "rollback", "web")
    await settle(brain, rollouts)
    row = await brain.state.operation("op-rollback-web")
    assert row is not None
    assert (row.outcome, held(brain)) == ("done", first)
