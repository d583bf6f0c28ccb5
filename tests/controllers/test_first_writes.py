"""Where nothing was ever written, `manage` begins with what is shown: the newest result, and never an earlier one."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
from controllers.rig import Brain, YesWorker
from controllers.test_rollout_life import DEV, FIRST, SECOND, cluster, fleet_file, last, web
from controllers.test_rollouts import order, report_ill, rollouts_of, settle, told

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import ClusterName, Digest, Identity, Revision, UnitName
from fleet.core.status import ASKS_RECOVERY, Blocker, Event, EventKind, Health, Report, Standing, Sync, UnitReport
from fleet.core.sync_policy import SyncMode
from fleet.errors import StateError
from fleet.ports.state import ReleasedBundle

UNIT = UnitName.parse(f"web@{SECOND}")
OBSERVED, MANAGED = cluster(SECOND, mode="observe"), cluster(SECOND)
BY_HAND = {"sync": "{mode: manual}"}


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """Web 1 is on dev-1 and prod-1, and shown on prod-2, which is only observed."""
    made = rollouts_of(brain)
    await push(brain, {**fleet_file(), **cluster(DEV), **cluster(FIRST), **OBSERVED, **web("1")})
    await rest(brain, made)
    return made


async def push(brain: Brain, files: dict[str, str | None], *, met: bool = True) -> None:
    """A commit; prod-2 looks, if it is there, and has nothing of it."""
    brain.repo.commit(files)
    await brain.commits.fetch_once()
    await brain.answer(SECOND)
    if met:
        await look_on(brain)


async def look_on(brain: Brain, has: Digest | None = None, *blocked_by: Blocker) -> None:
    """What the worker of prod-2 says, which applied nothing yet, or what a person synced."""
    worker = brain.workers.setdefault(SECOND, YesWorker(brain, SECOND))
    worker.sequence += 1
    now, name = brain.wall(), ClusterName(SECOND)
    unit = UnitReport(UNIT, Revision(""), has, Sync.OUT_OF_SYNC, Health.MISSING, now, blocked_by=blocked_by)
    identity = Identity(f"uid-{SECOND}")
    await brain.intake.send(Report(name, 1, worker.sequence, now, 0, identity, True, "v1.36.3", units=(unit,)))


async def rest(brain: Brain, rollouts: Rollouts) -> None:
    """Look and answer until nothing moves any more; prod-2 applies nothing."""
    for _ in range(20):
        await rollouts.look()
        if not await brain.answer(SECOND):
            return
    raise AssertionError("it never comes to rest")


async def newer(brain: Brain, rollouts: Rollouts, *values: str, met: bool = True, **spec: str) -> str:
    """Commits that change it, each on its way to its end; returns the newest result, which is shown."""
    for value in values:
        await push(brain, web(value, **spec), met=met)
        await rest(brain, rollouts)
    shown = newest(brain)
    assert told(brain, SECOND) == shown
    return shown


def newest(brain: Brain) -> Digest:
    return brain.board.books.results[UNIT].bundle


async def restarted(brain: Brain) -> tuple[Brain, Rollouts]:
    again = await brain.restart()
    looks = rollouts_of(again)
    await looks.start()
    await again.commits.resume()
    return again, looks


@pytest.mark.parametrize("met", [True, False])
async def test_a_cluster_that_was_only_observed_begins_with_the_newest_result_at_once(
    brain: Brain, rollouts: Rollouts, met: bool
) -> None:
    """Also one that nobody could reach until then."""
    if not met:
        brain.view.forget(ClusterName(SECOND))
        brain.board.identities.forget(ClusterName(SECOND))
    shown = await newer(brain, rollouts, "2", "3", "4", met=met)
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    assert told(brain, SECOND) == shown
    assert not brain.board.books.waiting, "it waits for a step"


async def test_a_cluster_begins_with_the_newest_result_though_the_hub_was_started_anew(
    brain: Brain, rollouts: Rollouts
) -> None:
    await newer(brain, rollouts, "2", "3")
    again, looks = await restarted(brain)
    shown = await newer(again, looks, "4")
    last_one, _ = await restarted(again)
    last_one.repo.commit(MANAGED)
    await last_one.commits.fetch_once()
    assert told(last_one, SECOND) == shown
    assert not last_one.board.books.waiting
    await last_one.close()


async def test_what_an_earlier_version_noted_as_held_is_not_begun_with(brain: Brain, rollouts: Rollouts) -> None:
    first = brain.board.books.held[UNIT]
    shown = await newer(brain, rollouts, "2", "3")
    await brain.state.put_released([ReleasedBundle(UNIT, first.commit, first.bundle)])
    again, _ = await restarted(brain)
    again.repo.commit(MANAGED)
    await again.commits.fetch_once()
    assert told(again, SECOND) == shown
    await again.close()


@pytest.mark.parametrize("spec", [{}, BY_HAND])
async def test_what_was_only_shown_while_there_were_no_steps_is_never_written_for_what_is_held(
    brain: Brain, rollouts: Rollouts, spec: dict[str, str]
) -> None:
    """It has web 1, and is told nothing else before web 3 comes to its step: web 2 was never there."""
    await push(brain, MANAGED)
    await settle(brain, rollouts)
    had = told(brain, SECOND)
    await push(brain, MANAGED if spec else OBSERVED, met=False)
    await newer(brain, rollouts, "2", met=False, rollout="{steps: []}", **spec)
    brain.repo.commit({**MANAGED, **web("3")})
    await brain.commits.fetch_once()
    assert told(brain, SECOND) == had
    await settle(brain, rollouts)
    assert told(brain, SECOND) == newest(brain) != had


async def test_twin_what_was_shown_goes_at_once_where_there_are_still_no_steps(
    brain: Brain, rollouts: Rollouts
) -> None:
    await push(brain, MANAGED)
    await settle(brain, rollouts)
    await push(brain, OBSERVED, met=False)
    shown = await newer(brain, rollouts, "2", met=False, rollout="{steps: []}")
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    await rollouts.look()
    assert told(brain, SECOND) == shown
    assert not brain.board.books.waiting


async def test_a_cluster_that_is_heard_of_late_begins_with_the_newest_result(brain: Brain, rollouts: Rollouts) -> None:
    brain.view.units.pop(UNIT)
    shown = await newer(brain, rollouts, "2", "3", met=False)
    await look_on(brain)
    await rollouts.look()
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    assert told(brain, SECOND) == shown


@pytest.mark.parametrize("known", [True, False])
async def test_twin_a_cluster_that_has_an_earlier_result_keeps_it_until_its_step(
    brain: Brain, rollouts: Rollouts, known: bool
) -> None:
    """Also where its report was lost: it goes by itself once it is known what it has."""
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    await settle(brain, rollouts)
    had = told(brain, SECOND)
    brain.repo.commit(OBSERVED)
    await brain.commits.fetch_once()
    if not known:
        brain.view.units.pop(UNIT)
    shown = await newer(brain, rollouts, "2", "3", met=False)
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    if not known:
        assert told(brain, SECOND) == shown
        desired = brain.desired(str(UNIT))
        assert desired is not None
        assert desired.policy.sync.mode is SyncMode.MANUAL
        await look_on(brain, had)
    assert told(brain, SECOND) == had != shown
    await settle(brain, rollouts)
    assert told(brain, SECOND) == shown


async def test_what_nobody_synced_begins_with_the_newest_result_once_it_goes_by_itself(
    brain: Brain, rollouts: Rollouts
) -> None:
    await push(brain, {**MANAGED, **web("2", **BY_HAND)})
    await rest(brain, rollouts)
    shown = await newer(brain, rollouts, "3", "4", **BY_HAND)
    brain.repo.commit(web("4"))
    await brain.commits.fetch_once()
    assert told(brain, SECOND) == shown
    assert not brain.board.books.waiting


async def test_twin_what_somebody_synced_stays_until_its_step_once_it_goes_by_itself(
    brain: Brain, rollouts: Rollouts
) -> None:
    await push(brain, MANAGED)
    await settle(brain, rollouts)
    had = told(brain, SECOND)
    shown = await newer(brain, rollouts, "2", "3", met=False, **BY_HAND)
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    assert told(brain, SECOND) == had != shown
    await settle(brain, rollouts)
    assert told(brain, SECOND) == shown


async def by_hand(brain: Brain, value: str) -> Digest:
    """A commit of an overlay that a person syncs; its newest result."""
    brain.repo.commit(web(value, **BY_HAND))
    await brain.commits.fetch_once()
    return newest(brain)


async def lost_its_report(brain: Brain) -> tuple[Brain, Digest]:
    """A hub that begins anew without the report of what a unit has, and what that is; a newer commit came since."""
    made = rollouts_of(brain)
    await push(brain, {**fleet_file(), **cluster(DEV), **cluster(FIRST), **MANAGED, **web("0", **BY_HAND)})
    await rest(brain, made)
    brain.view.units.pop(UNIT)
    synced = await by_hand(brain, "1")
    again, _ = await restarted(brain)
    await by_hand(again, "2")
    return again, synced


async def goes_by_itself(brain: Brain, value: str) -> Digest:
    """What prod-2 is told to have once its overlay goes by itself."""
    brain.repo.commit(web(value))
    await brain.commits.fetch_once()
    return told(brain, SECOND)


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "twin: heard before"])
async def test_what_somebody_synced_stays_until_its_step_though_the_report_of_it_was_lost(
    brain: Brain, is_lost: bool
) -> None:
    """Also where the hub that begins after it releases a commit before it hears the worker."""
    made = rollouts_of(brain)
    await push(brain, {**fleet_file(), **cluster(DEV), **cluster(FIRST), **MANAGED, **web("1", **BY_HAND)})
    await rest(brain, made)
    synced = newest(brain)
    if not is_lost:
        await look_on(brain, synced)
    again, looks = await restarted(brain)
    shown = await by_hand(again, "2")
    await looks.look()
    await look_on(again, synced)
    assert told(again, SECOND) == shown != synced, "it is shown all the same"
    assert await goes_by_itself(again, "2") == synced
    await again.close()


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "twin: not synced"])
async def test_what_somebody_synced_is_not_written_over_with_what_an_earlier_report_said(
    brain: Brain, rollouts: Rollouts, is_lost: bool
) -> None:
    await push(brain, MANAGED)
    await settle(brain, rollouts)
    had = told(brain, SECOND)
    synced = await by_hand(brain, "2")
    again, _ = await restarted(brain)
    await by_hand(again, "3")
    there = synced if is_lost else had
    await look_on(again, there)
    assert await goes_by_itself(again, "3") == there
    await again.close()


async def test_what_was_lost_is_held_though_the_state_could_not_be_written_at_its_first_word(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, synced = await lost_its_report(brain)

    async def fails(*_: object, **__: object) -> None:
        raise StateError("the state could not be written", why="disk full")

    with monkeypatch.context() as patch:
        patch.setattr(again.state, "put_released", fails)
        with pytest.raises(StateError):
            await look_on(again, synced)
    await look_on(again, synced)
    assert await goes_by_itself(again, "2") == synced
    await again.close()


async def test_what_was_lost_is_held_though_the_hub_is_killed_before_it_noted_what_it_heard(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of the report until then does not say that it is there; all else of it is kept."""
    again, synced = await lost_its_report(brain)
    kept = {row.unit: row for row in await again.state.unit_reports()}

    async def is_killed(*_: object, **__: object) -> None:
        raise StateError("the hub was killed", why="")

    with monkeypatch.context() as patch:
        patch.setattr(again.state, "put_released", is_killed)
        with pytest.raises(StateError):
            await look_on(again, synced)
    assert again.view.units[UNIT].bundle == synced, "it is shown all the same"
    assert {row.unit: row for row in await again.state.unit_reports()} == kept
    third, _ = await restarted(again)
    await look_on(third, synced)
    assert await goes_by_itself(third, "2") == synced
    await third.close()


@pytest.mark.parametrize("fails", [True, False], ids=["not noted", "noted"])
async def test_twin_all_else_of_a_report_is_kept_at_once_and_all_of_it_once_it_is_noted(
    brain: Brain, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    again, synced = await lost_its_report(brain)
    name = ClusterName(SECOND)
    known, web_there = again.view.clusters[name], replace(again.view.units[UNIT], bundle=synced)
    api_there = replace(web_there, unit=UnitName.parse(f"api@{SECOND}"), bundle=None)
    line = Event(again.wall(), EventKind.NOTE, name, UNIT, "it is there")
    said = replace(
        known, sequence=known.sequence + 1, at=again.wall(), units=(web_there, api_there), events=(line,), full=True
    )

    async def cannot(*_: object, **__: object) -> None:
        raise StateError("the state could not be written", why="disk full")

    with monkeypatch.context() as patch:
        if fails:
            patch.setattr(again.state, "put_released", cannot)
        with pytest.raises(StateError) if fails else nullcontext():
            await again.intake.send(said)
    rows = {row.unit: row.bundle for row in await again.state.unit_reports() if row.unit.cluster == name}
    assert rows == {UNIT: None if fails else synced, api_there.unit: None}
    assert [row.sequence for row in await again.state.cluster_reports() if row.cluster == name] == [said.sequence]
    events = [row.event for row in await again.state.events(limit=1000)]
    assert events.count(line) == 1
    await again.close()


async def test_twin_what_a_rebuilt_record_says_is_held_only_once_a_person_confirmed_it(
    brain: Brain, rollouts: Rollouts
) -> None:
    await push(brain, MANAGED)
    await settle(brain, rollouts)
    had = brain.board.books.held[UNIT]
    found = await by_hand(brain, "2")
    again, _ = await restarted(brain)
    await look_on(again, found, Blocker(Standing.HELD, "its cluster", "it was rebuilt", 0.0, "", ASKS_RECOVERY))
    assert again.board.books.held[UNIT].bundle == had.bundle
    await again.close()


async def test_an_overlay_by_hand_for_a_while_skips_no_step(brain: Brain) -> None:
    """A person stops a new one at its first cluster so, and lets it go on."""
    made = rollouts_of(brain)
    await push(brain, {**fleet_file(), **cluster(DEV), **cluster(FIRST), **MANAGED}, met=False)
    brain.repo.commit(web("1"))
    await brain.commits.fetch_once()
    await made.look()
    assert told(brain, DEV) == newest(brain)
    brain.repo.commit(web("1", **BY_HAND))
    await brain.commits.fetch_once()
    await look_on(brain)
    for _ in range(3):
        await made.look()
    brain.repo.commit(web("1"))
    await brain.commits.fetch_once()
    assert brain.desired(str(UNIT)) is None, "it is told something before its step"
    await settle(brain, made)
    assert told(brain, SECOND) == newest(brain)


async def test_nothing_begins_with_a_result_whose_rollout_is_halted(brain: Brain, rollouts: Rollouts) -> None:
    await push(brain, web("2"))
    await rollouts.look()
    await brain.answer(SECOND)
    report_ill(brain, DEV)
    await rollouts.look()
    assert last(brain).halted is not None
    assert told(brain, SECOND) == newest(brain), "it is shown all the same"
    again, looks = await restarted(brain)
    await push(again, MANAGED)
    for _ in range(3):
        await looks.look()
        assert again.desired(str(UNIT)) is None
    assert last(again).halted is not None
    await order(again, "resume", last(again).commit)
    await settle(again, looks)
    assert told(again, SECOND) == newest(again)
    await again.close()


async def test_what_is_resumed_before_is_begun_with_at_once(brain: Brain, rollouts: Rollouts) -> None:
    await push(brain, web("2"))
    await rollouts.look()
    await order(brain, "pause", last(brain).commit)
    await rollouts.look()
    assert UNIT not in brain.board.books.held
    await order(brain, "resume", last(brain).commit)
    await rest(brain, rollouts)
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    assert told(brain, SECOND) == newest(brain)


@pytest.mark.parametrize("known", [True, False])
async def test_nothing_begins_with_what_was_taken_back(brain: Brain, rollouts: Rollouts, known: bool) -> None:
    """Also where its report was lost: it is not known to have it."""
    bad = await newer(brain, rollouts, "2")
    if not known:
        brain.view.units.pop(UNIT)
    await order(brain, "rollback", "web")
    await rest(brain, rollouts)
    brain.repo.commit(MANAGED)
    await brain.commits.fetch_once()
    await settle(brain, rollouts)
    assert brain.desired(str(UNIT)) is None
    assert "was taken back" in brain.view.waits[UNIT].reason
    await brain.commit(web("3"))
    await settle(brain, rollouts)
    assert told(brain, SECOND) == newest(brain) != bad
