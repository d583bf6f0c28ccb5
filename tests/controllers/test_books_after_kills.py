"""What a hub that was killed tells units that were only shown a result until then, and go by themselves from now on.

Examples of the model of the books, each with a harmless twin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
from controllers.books_world import OVERLAYS, STAGES, Entry, Key, Policy, made, refs_in
from controllers.test_books_model import Holding

from fleet.controllers import releases
from fleet.controllers.handovers import Handed, handed_over
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.rollout import Apply, UnitDesired
from fleet.core.status import Health, OperationResult, Report
from fleet.core.sync_policy import SyncMode
from fleet.store.memory import MemoryState

A, B, C = (("web", name) for name in STAGES)  # A is of the first step
BY_HAND, BY_STEPS = Policy("steps", "manual"), Policy("steps")
BROKEN, FIRST, SECOND, THIRD = range(4)
HOUR = 3600.0


@pytest.fixture
def fleet() -> Iterator[Holding]:
    """Three clusters that were heard, and two overlays that a person syncs; nothing of them is there yet."""
    found = Holding()
    found.first(dict.fromkeys(OVERLAYS, BY_HAND), "manage")
    found.all_work(1)
    yield found
    found.loop.close()


def comes(fleet: Holding, version: int, overlay: str = "web") -> None:
    fleet.commit({}, {}, {}, {overlay: version}, True)


def goes_by_itself(fleet: Holding) -> None:
    fleet.commit_of_a_policy("web", BY_STEPS)


def part(fleet: Holding, key: Key) -> UnitDesired | None:
    name = UnitName(OverlayName(key[0]), ClusterName(key[1].lower()))
    desired = fleet.hub.board.publisher.slot(name.cluster).desired
    return next((each for each in desired.units if each.unit == name), None) if desired is not None else None


def told(fleet: Holding, key: Key, *, unasked: bool = True) -> int | None:
    """Which version a unit is told to have; None where it is told none, or only shown it. unasked: to write it."""
    one = part(fleet, key)
    if one is None or not isinstance(one.action, Apply) or (unasked and one.policy.sync.mode is not SyncMode.AUTO):
        return None
    return next(number for number in range(1, 5) if made(key[0], number).digest == one.action.bundle)


def has(fleet: Holding, key: Key) -> int | None:
    return next((number for number in range(1, 5) if made(key[0], number).digest == fleet.has.get(key)), None)


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "twin: not killed"])
@pytest.mark.parametrize("is_observed", [True, False], ids=["observed", "by hand"])
def test_a_unit_begins_with_what_it_was_shown_last_also_where_the_newest_build_is_broken(
    is_killed: bool, is_observed: bool
) -> None:
    """Its report had not come, so that the books did not say that it holds what it was shown."""
    fleet = Holding()
    fleet.first(dict.fromkeys(OVERLAYS, BY_STEPS if is_observed else BY_HAND), "observe")
    fleet.work("B", "well")
    if is_killed:
        fleet.kill()
    comes(fleet, SECOND)
    comes(fleet, BROKEN)
    if is_killed:
        fleet.kill()
    fleet.work("B", "well")
    fleet.commit({"web": BY_STEPS}, {"B": Entry("n")}, {}, {}, True)
    comes(fleet, THIRD)
    fleet.work("B", "well")
    assert has(fleet, B) == SECOND
    fleet.loop.close()


@pytest.mark.parametrize("is_restarted", [True, False], ids=["restarted", "twin: not restarted"])
def test_a_first_step_that_begins_at_once_is_waited_for_also_by_a_hub_that_began_anew(
    fleet: Holding, is_restarted: bool
) -> None:
    """The commit that brought the result of both is known still."""
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    comes(fleet, THIRD, "api")
    if is_restarted:
        fleet.restart()
    fleet.all_work(1)
    goes_by_itself(fleet)
    fleet.work("A", "busy")
    for _ in range(2):
        fleet.look()
        assert (told(fleet, A), told(fleet, B)) == (SECOND, FIRST)
        fleet.work("B", "well")
    fleet.work("A", "well")
    fleet.look()
    fleet.look()
    assert told(fleet, B) == SECOND


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "twin: not killed"])
def test_nothing_is_written_by_itself_before_it_is_known_what_is_there(fleet: Holding, is_killed: bool) -> None:
    if is_killed:
        fleet.kill()
    comes(fleet, SECOND)
    goes_by_itself(fleet)
    assert told(fleet, B) == (None if is_killed else SECOND)
    assert told(fleet, B, unasked=False) == SECOND, "it is shown all the same"
    fleet.kill()
    assert told(fleet, B) == (None if is_killed else SECOND), "a second kill changes nothing"
    fleet.work("B", "well")
    assert told(fleet, B) == SECOND, "it has nothing, and begins"


def test_what_was_synced_stays_until_its_step_where_a_commit_came_before_the_word_of_it(fleet: Holding) -> None:
    """The hub heard last that nothing is there, and was killed before it heard of the sync."""
    fleet.run(fleet.process.flush())
    fleet.sync(B, "none")
    fleet.process.dies_after = 1
    fleet.work("B", "well")
    assert has(fleet, B) == FIRST
    comes(fleet, SECOND)
    goes_by_itself(fleet)
    assert told(fleet, B) is None
    fleet.work("B", "well")
    assert (told(fleet, B), has(fleet, B)) == (FIRST, FIRST)


@pytest.mark.parametrize("is_amid", [True, False], ids=["amid", "twin: nobody asked"])
def test_a_hub_that_lost_its_mirror_too_writes_nothing_back_amid_a_sync(fleet: Holding, is_amid: bool) -> None:
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    if is_amid:
        fleet.sync(B, "half")
    fleet.run(fleet.process.flush())
    last = fleet.branch[-1]
    fleet.push(replace(last, policies={**last.policies, "web": BY_STEPS}))
    fleet.make()
    fleet.hub.source.has_lost = True
    fleet.run(fleet.begin())
    fleet.do(fleet.fetch)
    assert told(fleet, B) == (SECOND if is_amid else None), "the first word of its cluster has not come"
    fleet.work("B", "half")
    assert told(fleet, B) == (SECOND if is_amid else FIRST)


@pytest.mark.parametrize("is_away", [True, False], ids=["away", "twin: there"])
def test_a_sync_that_its_cluster_was_never_reached_for_is_not_gone_on_with_for_ever(
    fleet: Holding, is_away: bool
) -> None:
    """Until it had no effect for an hour it is only shown; nothing of it counts as held."""
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    fleet.reach("B", not is_away)
    fleet.work("B", "stale")
    fleet.sync(B, "none")
    goes_by_itself(fleet)
    assert told(fleet, B) == (None if is_away else SECOND)
    fleet.now += HOUR
    fleet.work("B", "half")
    fleet.do(fleet.hub.orders.look)
    assert told(fleet, B) == (FIRST if is_away else SECOND)


def test_what_was_shown_is_forgotten_where_a_unit_holds_something_else(fleet: Holding) -> None:
    state: MemoryState = fleet.durable
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    shown = fleet.run(state.shown())
    assert {name.cluster: one.result.bundle for name, one in shown.items()} == {"b": made("web", SECOND).digest}
    fleet.sync(B, "well")
    assert fleet.run(state.shown()) == fleet.hub.books.shown == {}
    assert fleet.health[B] is Health.HEALTHY


@pytest.mark.parametrize("is_toggled", [True, False], ids=["by hand for a while", "twin: all along by itself"])
def test_what_is_there_in_part_stays_held_through_a_while_by_hand(is_toggled: bool) -> None:
    """It was managed when it was shown the newest: what it holds may be written already, in part."""
    fleet = Holding()
    fleet.first(dict.fromkeys(OVERLAYS, Policy("back")), "manage")
    for key, how in ((A, "well"), (C, "well"), (B, "half")):
        fleet.work(key[1], how)
    fleet.look()
    comes(fleet, SECOND)
    fleet.look()
    fleet.work("A", "busy")
    fleet.work("B", "half")
    fleet.look()
    if is_toggled:
        fleet.commit_of_a_policy("web", Policy("back", "manual"))
        fleet.work("B", "half")
        fleet.commit_of_a_policy("web", Policy("back"))
    assert told(fleet, B) == FIRST
    for _ in range(3):
        fleet.time_passes(700.0)
        fleet.work("A", "bad")
        fleet.work("B", "well")
        fleet.look()
    assert (told(fleet, A), told(fleet, B), has(fleet, B)) == (FIRST, FIRST, FIRST)
    fleet.loop.close()


def test_what_was_only_noted_to_begin_with_is_held_no_more_once_a_rollout_leads_it() -> None:
    """The twin: it never went by itself, so that nothing of what it held can be there."""
    fleet = Holding()
    fleet.first(dict.fromkeys(OVERLAYS, BY_STEPS), "observe")
    fleet.work("A", "busy")
    fleet.kill()
    comes(fleet, SECOND)
    fleet.commit({}, {"B": Entry("b")}, {}, {}, True)
    fleet.look()
    fleet.work("B", "half")
    assert told(fleet, B, unasked=False) is None
    fleet.loop.close()


@pytest.mark.parametrize("how", ["away", "killed", "twin: let go"])
def test_a_unit_that_left_does_not_begin_with_what_it_was_shown_before(how: str) -> None:
    fleet = Holding()
    fleet.first(dict.fromkeys(OVERLAYS, BY_HAND), "observe")
    fleet.all_work(1)
    fleet.kill()
    fleet.reach("B", how != "away")
    comes(fleet, SECOND)
    if how == "killed":
        fleet.process.dies_after = 1
    fleet.commit({}, {"B": Entry("", "")}, {}, {}, True)
    fleet.look()
    if how == "twin: let go":
        fleet.work("B", "well")
        fleet.look()
    comes(fleet, THIRD)
    fleet.look()
    fleet.reach("B", True)
    fleet.commit({"web": BY_STEPS}, {"B": Entry("n")}, {}, {}, True)
    fleet.kill()
    assert told(fleet, B) is None
    fleet.work("B", "half")
    assert told(fleet, B) is None, "it joins its step, as one that is new"
    for _ in range(3):
        fleet.look()
        fleet.all_work(1)
    assert told(fleet, B) == THIRD
    fleet.loop.close()


@pytest.mark.parametrize("outcome", ["failed", "twin: amid"])
def test_a_sync_that_is_over_by_the_same_report_brings_nothing(fleet: Holding, outcome: str) -> None:
    fleet.sync(B, "well")
    comes(fleet, SECOND)
    fleet.reach("B", False)
    fleet.work("B", "stale")
    fleet.sync(B, "none")
    goes_by_itself(fleet)
    row = next(iter(fleet.run(fleet.durable.operations(open_only=True, limit=10))))
    send = fleet.hub.intake.send

    async def says_its_end(report: Report) -> None:
        ended = (OperationResult(row.id, outcome, "no rights"),) if outcome == "failed" and report.units else ()
        await send(replace(report, operations=ended))

    fleet.hub.intake.send = says_its_end  # type: ignore[method-assign]
    fleet.reach("B", True)
    fleet.work("B", "half")
    assert told(fleet, B) == (FIRST if outcome == "failed" else SECOND)


def test_the_word_of_one_cluster_is_for_its_own_units(fleet: Holding, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others are by hand still: after a restart each one speaks once."""
    looked: list[set[str]] = []

    def spied(*given: object) -> Handed:
        looked.append({name.cluster for name in cast("list[UnitName]", given[-1])})
        return handed_over(*given)  # type: ignore[arg-type]

    fleet.kill()
    comes(fleet, SECOND)
    goes_by_itself(fleet)
    assert {name.cluster for name in fleet.hub.books.shown} >= {"a", "b", "c"}
    monkeypatch.setattr(releases, "handed_over", spied)
    fleet.run(fleet.answer(ClusterName("b"), "well"))
    assert looked
    assert set.union(*looked) == {"b"}
    fleet.do(fleet.hub.releases.settle)
    assert set.union(*looked) > {"b"}, "a commit looks at all"


# What is about to be shown is noted first; whoever changes the books meanwhile is held up by nobody


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


@pytest.mark.parametrize("newest", [SECOND, 4])
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
