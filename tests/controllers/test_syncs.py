"""What a plain `fleet sync` covers: what was the newest when it was asked for, and no commit of days later."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import rollouts_of
from hubworld import AT_ONCE, cluster_file, config_map, overlay

from fleet.controllers.syncs import SYNC_SECONDS
from fleet.core.ids import ClusterName, Digest, UnitName
from fleet.core.overrides import OVERRIDE_SECONDS
from fleet.core.passage import Quarantined, Stop
from fleet.core.results import Rendered
from fleet.core.rollout import Apply, SyncRequest
from fleet.core.status import OperationResult, UnitReport
from fleet.core.sync_policy import SyncMode
from fleet.ports.state import OperationRow

EU_9, WEB = ClusterName("eu-9"), UnitName.parse("web@eu-9")


def web(value: str) -> dict[str, str]:
    return overlay("overlays/web", {"web": config_map("web", value)}, sync="{mode: manual}")


async def report(brain: Brain, *units: UnitReport, reachable: bool = True) -> None:
    """The cluster is seen now, or it is said that it cannot be reached."""
    worker, known = brain.workers[EU_9], brain.view.clusters[EU_9]
    worker.sequence += 1
    await brain.intake.send(replace(known, sequence=worker.sequence, at=brain.wall(), reachable=reachable, units=units))


async def report_again(brain: Brain) -> None:
    """The cluster says of its unit what it said before."""
    brain.workers[EU_9].sequence = brain.view.clusters[EU_9].sequence
    await report(brain, brain.view.units[WEB])


async def ask(brain: Brain) -> None:
    await brain.state.add_operation(OperationRow("op-1", "sync", "web@eu-9", "ann", brain.wall()))
    await brain.commits.fetch_once()
    await brain.orders.look()


def is_told(brain: Brain) -> bool:
    desired = brain.board.publisher.slot(EU_9).desired
    return desired is not None and [request.operation for request in desired.requests] == ["op-1"]


async def outcome(brain: Brain) -> tuple[str, str]:
    row = await brain.state.operation("op-1")
    assert row is not None
    return row.outcome, row.message


@pytest.fixture
async def asked(brain: Brain) -> Brain:
    """eu-9 holds web 1 and cannot be reached; web 2 is to come there by a sync."""
    await brain.commit({"clusters/eu-9.yaml": cluster_file("eu-9"), **web("1")})
    await report(brain, reachable=False)
    brain.repo.commit(web("2"))
    await ask(brain)
    assert is_told(brain)
    return brain


async def test_a_sync_that_did_not_reach_its_cluster_brings_no_later_commit_there(asked: Brain) -> None:
    asked.wall.now += SYNC_SECONDS
    asked.repo.commit(web("3"))
    await asked.commits.fetch_once()
    await asked.orders.look()
    word, message = await outcome(asked)
    assert word == "refused"
    assert "within 1 h: cluster eu-9 could not be told in that time; ask anew" in message
    assert "fleet sync web@eu-9" in message
    assert not is_told(asked)


async def test_a_cluster_that_is_back_within_minutes_carries_the_sync_out(asked: Brain) -> None:
    asked.wall.now += 600
    await asked.orders.look()
    assert is_told(asked)
    await asked.answer()
    assert (await outcome(asked))[0] == "done"


async def test_a_sync_that_goes_on_in_its_cluster_is_not_cut_off_before_its_day_is_over(asked: Brain) -> None:
    asked.wall.now += 2 * SYNC_SECONDS
    await report(asked)
    await asked.orders.look()
    assert is_told(asked)
    asked.wall.now += OVERRIDE_SECONDS
    await report(asked)
    await asked.orders.look()
    assert (await outcome(asked))[0] == "refused"
    assert "within 24 h; ask anew" in (await outcome(asked))[1]
    assert not is_told(asked)


@pytest.mark.parametrize(("seconds", "word"), [(600.0, ""), (SYNC_SECONDS, "refused")])
async def test_a_hub_that_was_away_for_long_carries_no_sync_out_that_waited(
    asked: Brain, seconds: float, word: str
) -> None:
    await report(asked)
    asked.wall.now += seconds
    again = await asked.restart()
    again.repo.commit(web("3"))
    await again.commits.fetch_once()
    await again.orders.look()
    assert (await outcome(again))[0] == word
    assert is_told(again) is not bool(word)
    await again.close()


@pytest.mark.parametrize("outcome", ["done", "superseded"])
async def test_what_a_person_synced_is_held_though_a_commit_came_before_its_report(asked: Brain, outcome: str) -> None:
    """So it is what its cluster keeps until its step, once the overlay goes by itself; what was not synced is not."""
    first, synced = asked.board.books.held[WEB], asked.board.books.results[WEB]
    asked.repo.commit(web("3"))
    await asked.commits.fetch_once()
    has = synced if outcome == "done" else first
    unit = replace(asked.view.units[WEB], bundle=has.bundle, commit=has.commit)
    worker, known = asked.workers[EU_9], asked.view.clusters[EU_9]
    ended = (OperationResult("op-1", outcome),)
    report = replace(known, sequence=worker.sequence + 1, at=asked.wall(), reachable=True, units=(unit,))
    await asked.intake.send(replace(report, operations=ended))
    again = await asked.restart()
    await again.commits.resume()
    files = overlay("overlays/web", {"web": config_map("web", "3")})
    again.repo.commit({**files, "fleet.yaml": AT_ONCE.replace("rollout: {steps: []}", "")})
    await again.commits.fetch_once()
    await report_again(again)
    desired = again.desired("web@eu-9")
    assert desired is not None
    assert desired.action.bundle == has.bundle
    await again.close()


async def test_a_moment_without_its_cluster_does_not_cut_a_sync_off(asked: Brain) -> None:
    asked.wall.now += SYNC_SECONDS
    await report(asked)
    asked.wall.now += 100
    await report(asked, reachable=False)
    await asked.orders.look()
    assert is_told(asked)
    asked.wall.now += SYNC_SECONDS
    await asked.orders.look()
    assert "within 1 h: cluster eu-9 could not be told" in (await outcome(asked))[1]


@pytest.mark.parametrize(
    ("reason", "away", "word"),
    [("HookRuns", 5.0, ""), ("WaveWaits", 5.0, ""), ("", 5.0, "refused"), ("HookRuns", SYNC_SECONDS, "refused")],
)
async def test_a_short_restart_does_not_cut_off_a_sync_that_its_cluster_is_working_on(
    asked: Brain, reason: str, away: float, word: str
) -> None:
    asked.wall.now += SYNC_SECONDS + 100
    await report(asked, replace(asked.view.units[WEB], reason=reason))
    await asked.orders.look()
    assert is_told(asked)
    asked.wall.now += away
    again = await asked.restart()
    await again.commits.fetch_once()
    await again.orders.look()
    assert (await outcome(again))[0] == word
    assert is_told(again) is not bool(word)
    assert ("could not be told" in (await outcome(again))[1]) == (away >= SYNC_SECONDS)
    await again.close()


async def test_a_sync_under_way_is_not_withdrawn_where_the_clock_is_put_back(asked: Brain) -> None:
    asked.wall.now -= 300
    await asked.commits.fetch_once()
    await asked.orders.look()
    assert is_told(asked)


async def test_a_sync_from_before_the_clock_was_put_back_waits_for_a_fetch_of_its_own_and_no_longer(
    asked: Brain,
) -> None:
    """The fetch that runs when it is seen first may have begun before it was asked for."""
    await asked.state.end_operation("op-1", "done", "", asked.wall())
    await asked.orders.look()
    head, standing = asked.view.head, asked.board.standing
    await asked.state.add_operation(OperationRow("op-2", "sync", "web@eu-9", "ann", asked.wall() + 1))
    asked.wall.now -= 7200
    head.fetches_begun += 1
    await asked.orders.look()
    head.fetches_over = head.fetches_begun
    await asked.orders.look()
    assert not standing.requests
    await asked.commits.fetch_once()
    await asked.orders.look()
    assert [request.operation for request in standing.requests] == ["op-2"]


async def end_with(brain: Brain, synced: Rendered) -> None:
    """The worker says that the sync is done, and with what its cluster is."""
    unit = replace(brain.view.units[WEB], bundle=synced.bundle, commit=synced.commit)
    worker, known = brain.workers[EU_9], brain.view.clusters[EU_9]
    worker.sequence += 1
    over = (OperationResult("op-1", "done"),)
    said = replace(known, sequence=worker.sequence, at=brain.wall(), reachable=True, units=(unit,), operations=over)
    await brain.intake.send(said)


@pytest.fixture
async def synced(asked: Brain) -> Rendered:
    found = asked.board.books.results[WEB]
    assert isinstance(found, Rendered)
    return found


async def test_what_was_synced_is_held_though_its_report_comes_amid_the_release_of_a_later_commit(
    asked: Brain, synced: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, amid, go_on = asked.releases._permits_of, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Any:
        amid.set()
        await go_on.wait()
        return await real(*arguments, **options)

    monkeypatch.setattr(asked.releases, "_permits_of", slow)
    asked.repo.commit(web("3"))
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(asked.commits.fetch_once())
        await amid.wait()
        tasks.create_task(end_with(asked, synced))
        for _ in range(20):
            await asyncio.sleep(0)
        go_on.set()
    assert (await outcome(asked))[0] == "done"
    assert asked.board.books.held[WEB].bundle == synced.bundle


async def test_what_was_synced_is_held_though_a_rollout_goes_on_just_then(asked: Brain, synced: Rendered) -> None:
    asked.repo.commit(web("3"))
    await asked.commits.fetch_once()
    books = asked.board.books
    async with asyncio.TaskGroup() as tasks, books.changing:
        tasks.create_task(end_with(asked, synced))
        for _ in range(20):
            await asyncio.sleep(0)
        books.bar(replace(asked.view.passages, carried={"op-2": ("done", "")}))
    assert (await outcome(asked))[0] == "done"
    assert books.held[WEB].bundle == synced.bundle


async def test_what_was_taken_back_is_not_held_for_the_sync_that_brought_it_before(
    asked: Brain, synced: Rendered
) -> None:
    books, stop = asked.board.books, Stop("broken", "ann", 1.0)
    first = books.held[WEB]
    taken_back = Quarantined(commit=synced.commit, stop=stop)
    books.bar(replace(asked.view.passages, quarantine={WEB.overlay: {synced.bundle: taken_back}}))
    await end_with(asked, synced)
    assert (await outcome(asked))[0] == "done"
    assert books.held[WEB] == first


def goes_by_itself(value: str) -> dict[str, str]:
    return overlay("overlays/web", {"web": config_map("web", value)}, rollout="{steps: [{name: all, rest: true}]}")


def told(brain: Brain) -> Digest | None:
    desired = brain.board.publisher.slot(EU_9).desired
    parts = desired.units if desired is not None else ()
    return next((part.action.bundle for part in parts if isinstance(part.action, Apply)), None)


async def test_a_commit_amid_a_sync_writes_nothing_back_where_the_overlay_goes_by_itself_from_then_on(
    asked: Brain, synced: Rendered
) -> None:
    """A part of it may be there: what the unit held before would be written over that."""
    asked.repo.commit(goes_by_itself("2"))
    await asked.commits.fetch_once()
    await asked.orders.look()
    assert told(asked) == synced.bundle
    await report(asked)
    await asked.orders.look()
    assert told(asked) == asked.board.books.held[WEB].bundle == synced.bundle
    await end_with(asked, synced)
    assert (await outcome(asked))[0] == "done"
    assert told(asked) == synced.bundle


async def test_a_hub_that_is_killed_then_writes_nothing_back_either(asked: Brain, synced: Rendered) -> None:
    asked.repo.commit(goes_by_itself("2"))
    await asked.commits.fetch_once()
    again = await asked.restart()
    await again.commits.resume()
    assert told(again) == synced.bundle
    await again.close()


@pytest.mark.parametrize("is_over", [False, True], ids=["nobody asked", "it was over"])
async def test_twin_a_commit_amid_no_sync_lets_a_unit_wait_for_its_step(asked: Brain, is_over: bool) -> None:
    held = asked.board.books.held[WEB]
    if is_over:
        await asked.state.end_operation("op-1", "refused", "its window is shut", asked.wall())
    else:
        await asked.state.end_operation("op-1", "superseded", "ann withdrew it", asked.wall())
        await asked.orders.look()
    asked.repo.commit(goes_by_itself("2"))
    await asked.commits.fetch_once()
    assert told(asked) == held.bundle


async def test_twin_a_newer_result_of_that_commit_waits_for_its_step(asked: Brain, synced: Rendered) -> None:
    await report(asked)
    asked.repo.commit(goes_by_itself("3"))
    await asked.commits.fetch_once()
    assert told(asked) == synced.bundle
    assert asked.board.books.waits(WEB)


async def test_twin_a_commit_amid_a_sync_that_leaves_the_overlay_by_hand_notes_nothing_as_held(asked: Brain) -> None:
    held = asked.board.books.held[WEB]
    asked.repo.commit(web("3"))
    await asked.commits.fetch_once()
    assert asked.board.books.held[WEB] == held


async def test_twin_what_was_taken_back_is_not_gone_on_with(asked: Brain, synced: Rendered) -> None:
    books = asked.board.books
    held, taken_back = books.held[WEB], Quarantined(commit=synced.commit, stop=Stop("broken", "ann", 1.0))
    books.bar(replace(asked.view.passages, quarantine={WEB.overlay: {synced.bundle: taken_back}}))
    asked.repo.commit(goes_by_itself("2"))
    await asked.commits.fetch_once()
    assert told(asked) == held.bundle


@pytest.mark.parametrize("is_for_it", [False, True], ids=["for an earlier result", "twin: for what is told"])
async def test_an_override_for_another_result_lets_no_unit_hold_the_newest_ahead_of_its_step(
    asked: Brain, synced: Rendered, is_for_it: bool
) -> None:
    """It is withdrawn with the next look at the orders, and a commit may come before that."""
    held, standing = asked.board.books.held[WEB], asked.board.standing
    await asked.state.end_operation("op-1", "done", "", asked.wall())
    await asked.state.add_operation(OperationRow("op-2", "sync", str(WEB), "ann", asked.wall(), override=True))
    standing.requests = (SyncRequest("op-2", WEB, override=True, bundle=synced.bundle),)
    asked.board.books.dirty.add(WEB)
    await asked.board.publish()
    newest = "2" if is_for_it else "3"
    if not is_for_it:
        asked.repo.commit(web("3"))
        await asked.commits.fetch_once()
    asked.repo.commit(goes_by_itself(newest))
    await asked.commits.fetch_once()
    assert told(asked) == (synced if is_for_it else held).bundle


async def meets(brain: Brain, value: str, *, looks_first: bool = False) -> Digest | None:
    """What the unit is told by a hub that begins anew, and finds a commit that lets its overlay go by itself.

    Once its cluster was heard: until then it is told what it was shown, as one that a person syncs.
    """
    again = await brain.restart()
    await rollouts_of(again).start()
    await again.commits.resume()
    if looks_first:
        await again.orders.look()
    again.repo.commit(goes_by_itself(value))
    await again.commits.fetch_once()
    await again.orders.look()
    desired = again.desired(str(WEB))
    assert desired is not None
    assert desired.policy.sync.mode is SyncMode.MANUAL or again.view.clusters[EU_9].reachable
    await report_again(again)
    await again.orders.look()
    await again.close()
    return told(again)


@pytest.mark.parametrize("looks_first", [False, True])
async def test_a_hub_that_was_down_when_that_commit_came_writes_nothing_back_either(
    asked: Brain, synced: Rendered, looks_first: bool
) -> None:
    assert await meets(asked, "2", looks_first=looks_first) == synced.bundle
    assert (await outcome(asked))[0] == "", "it goes on"


@pytest.mark.parametrize("reason", ["", "HookRuns"], ids=["twin: lapsed", "amid its hooks"])
async def test_a_hub_that_was_down_goes_on_with_a_sync_as_long_as_it_is_carried_out(
    asked: Brain, synced: Rendered, reason: str
) -> None:
    held = asked.board.books.held[WEB]
    asked.wall.now += SYNC_SECONDS
    await report(asked, replace(asked.view.units[WEB], reason=reason))
    assert await meets(asked, "2") == (synced if reason else held).bundle
    assert (await outcome(asked))[0] == ("" if reason else "refused")


async def test_twin_a_sync_that_ended_before_the_hub_was_down_lets_the_unit_wait_for_its_step(asked: Brain) -> None:
    held = asked.board.books.held[WEB]
    await asked.state.end_operation("op-1", "superseded", "ann withdrew it", asked.wall())
    assert await meets(asked, "2") == held.bundle


async def test_twin_a_sync_that_no_cluster_was_told_of_waits_for_its_step_once_a_fetch_is_over(asked: Brain) -> None:
    held = asked.board.books.held[WEB]
    await asked.state.end_operation("op-1", "superseded", "ann withdrew it", asked.wall())
    await asked.orders.look()
    await asked.state.add_operation(OperationRow("op-2", "sync", str(WEB), "ann", asked.wall()))
    asked.repo.commit(goes_by_itself("2"))
    await asked.commits.fetch_once()
    assert told(asked) == held.bundle


async def test_twin_a_target_that_is_no_unit_stops_no_commit(asked: Brain, synced: Rendered) -> None:
    await asked.state.add_operation(OperationRow("op-2", "sync", "web", "ann", asked.wall()))
    assert await meets(asked, "2") == synced.bundle


@pytest.mark.parametrize("is_bound", [True, False], ids=["bound", "twin: not bound yet"])
async def test_a_hub_that_was_down_goes_on_with_an_override_that_was_carried_out(
    asked: Brain, synced: Rendered, is_bound: bool
) -> None:
    held = asked.board.books.held[WEB]
    await asked.state.end_operation("op-1", "superseded", "ann withdrew it", asked.wall())
    await asked.state.add_operation(OperationRow("op-2", "sync", str(WEB), "ann", asked.wall(), override=True))
    if is_bound:
        looks = rollouts_of(asked)
        await looks.start()
        await asked.commits.fetch_once()
        await looks.look()
        await asked.orders.look()
        assert [request.bundle for request in asked.board.standing.requests] == [synced.bundle]
    assert await meets(asked, "2") == (synced if is_bound else held).bundle
