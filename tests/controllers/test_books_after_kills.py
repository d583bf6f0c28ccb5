"""What a hub that was killed tells units that were only shown a result until then, and go by themselves from now on.

Examples of the model of the books, each with a harmless twin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from controllers.books_world import OVERLAYS, STAGES, Entry, Key, Policy, made
from controllers.test_books_model import Holding

from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.rollout import Apply, UnitDesired
from fleet.core.status import Health
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
