"""Overlays of a commit whose results come when its rollout was aborted, or taken back by its policy, already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from core.three_clusters import API, CLUSTERS, DEV, HEAD, NEXT, OLD, ONE, PROD, TWO, WEB, World

from fleet.core.ids import ClusterName, Digest, Revision, UnitName
from fleet.core.passage import Passages, Stop, decode_last, decode_passages, encode_last, encode_passages
from fleet.core.problems import Origin
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_news import news_of
from fleet.core.rollout_orders import RolloutOrder, carry_out
from fleet.core.rollout_policy import OnFailure, Step
from fleet.core.takeover import RolloutUnit, open_rows, take_over, taken_back
from fleet.core.turns import last_of
from fleet.core.view import Outlook

DEV_STEP = Step("dev", Origin("fleet.yaml", 1), environments=("dev",))
BAD = {DEV: Condition.BAD}
EARLIER = Revision("9" * 40)
NEW = ClusterName("prod-9")


def order(world: World, kind: str, target: str = HEAD) -> str:
    facts = {overlay: world.facts(overlay) for overlay in world.target}
    done = carry_out(RolloutOrder("o", kind, target, "jo", "it breaks", 5.0), world.kept, facts, world.held, 5.0, 0.0)
    world.kept = done.kept
    world.held.update(done.back)
    return done.outcome


def by_a_person(world: World) -> None:
    assert order(world, "abort") == "done"


def by_policy(world: World) -> None:
    found = world.look(1.0, web=world.facts(WEB, BAD, on_failure=OnFailure.ROLLBACK))
    assert found.take_back
    assert found.passage.halted is not None
    done = taken_back(world.kept, found.passage, world.held, found.passage.halted, found.passage.rows)
    world.kept = done.kept
    world.held.update(done.back)


def by_rollback(world: World) -> None:
    assert order(world, "rollback", "web") == "done"


def web_alone(*, held: Rendered = OLD) -> World:
    """The canary has web of the commit; api of it is not built yet."""
    world = World(DEV_STEP, PROD)
    world.look()
    assert world.has(DEV)
    world.held.update({UnitName(API, name): held for name in CLUSTERS})
    return world


def looks(world: World, since: float = 10.0) -> set[UnitName]:
    """What all further looks release."""
    return {unit for number in range(5) for unit in world.look(since + number).releases if not world.last.outcome}


@pytest.fixture(params=[by_a_person, by_policy])
def end(request: pytest.FixtureRequest) -> Callable[[World], None]:
    return request.param


def test_nothing_of_a_commit_that_was_stopped_for_good_begins_when_it_is_built_late(
    end: Callable[[World], None],
) -> None:
    world = web_alone()
    end(world)
    outcome, stop = world.last.outcome, world.last.ended
    before = world.kept
    world.begin(API, "1")
    assert (world.last.outcome, world.last.ended, open_rows(world.kept)) == (outcome, stop, set())
    assert world.kept.quarantine[API]["1"].clusters == set(CLUSTERS)
    assert world.kept.quarantine[API]["1"].commit == HEAD
    assert not looks(world)
    assert API in world.last.overlays
    (line,) = (text for text, _ in news_of(before, world.kept, {}, Outlook({})))
    assert line.startswith(f"api bbbbbbb is not released: its rollout was {outcome} by ")
    assert 'fleet rollout resume bbbbbbb --reason "..."' in line
    again = world.kept
    world.begin(API, "1")
    assert world.kept is again, "twin: a second look finds nothing to do"


def test_one_order_lets_all_of_it_in_again_from_the_first_step(end: Callable[[World], None]) -> None:
    world = web_alone()
    end(world)
    world.begin(API, "1")
    assert order(world, "resume") == "done"
    for overlay in (API, WEB):
        world.begin(overlay, "1")
    world.look(10.0)
    assert world.has(DEV, overlay=API)
    looks(world)
    assert [world.has(*CLUSTERS, overlay=overlay) for overlay in (API, WEB)] == [True, True]


def test_one_order_lets_it_in_also_before_it_is_built(end: Callable[[World], None]) -> None:
    world = web_alone()
    end(world)
    assert order(world, "resume") == "done"
    world.begin(API, "1")
    assert looks(world)
    assert world.has(*CLUSTERS, overlay=API)


def test_a_newer_commit_takes_it_over_by_what_it_changes_alone(end: Callable[[World], None]) -> None:
    world = web_alone()
    end(world)
    world.begin(API, "1")
    world.begin(WEB, "2", NEXT)
    world.begin(API, "1", NEXT)
    assert {unit.overlay for unit in looks(world)} == {WEB}, "what was stopped came under another commit"
    world.begin(API, "2", NEXT)
    looks(world)
    assert world.has(*CLUSTERS, overlay=API), "twin: what it changes goes its way"


def test_what_was_on_its_way_with_an_earlier_commit_goes_no_further(end: Callable[[World], None]) -> None:
    world = web_alone()
    world.begin(API, "x", EARLIER)
    world.kept = replace(world.kept, all=world.kept.all[::-1])  # it began before the other
    assert open_rows(world.kept) == {API, WEB}
    end(world)
    world.begin(API, "1")
    assert open_rows(world.kept) == set()
    assert next(one for one in world.kept.all if one.commit == EARLIER).outcome == "superseded"
    assert not looks(world)


@pytest.mark.parametrize("end", [by_a_person, by_policy, by_rollback])
def test_other_tools_bring_nothing_of_it(end: Callable[[World], None]) -> None:
    world = web_alone()
    end(world)
    world.begin(WEB, "1 by other tools")
    assert open_rows(world.kept) == set()
    assert not looks(world)
    assert order(world, "resume") == "done"
    world.begin(WEB, "1 by other tools")
    assert looks(world)


@pytest.mark.parametrize("end", [by_a_person, by_policy, by_rollback])
def test_a_cluster_of_it_that_is_built_once_it_went_back_gets_nothing_of_it(end: Callable[[World], None]) -> None:
    world = World(DEV_STEP, PROD)
    world.kept = Passages()
    world.begin(WEB, "1", without=(TWO,))
    world.look()
    assert world.has(DEV)
    end(world)
    outcome = world.last.outcome
    world.begin(WEB, "1 of its own")
    assert (open_rows(world.kept), world.last.outcome) == (set(), outcome)
    assert not looks(world)
    assert order(world, "resume") == "done"
    world.begin(WEB, "1 of its own")
    looks(world)
    assert world.has(*CLUSTERS), "twin: a person let it in again"


def test_what_is_built_in_two_parts_is_kept_back_as_a_whole(end: Callable[[World], None]) -> None:
    world = web_alone()
    end(world)
    world.begin(API, "1", without=(TWO,))
    world.begin(API, "another")
    assert [entry.clusters for entry in world.kept.quarantine[API].values()] == [{DEV, ONE}, {*CLUSTERS}]
    assert open_rows(world.kept) == set()


def test_twin_a_person_takes_one_overlay_back_and_the_others_go_on() -> None:
    world = web_alone()
    by_rollback(world)
    assert world.last.outcome == "rolled back"
    world.begin(API, "1")
    looks(world)
    assert world.has(*CLUSTERS, overlay=API)


def test_twin_what_is_built_late_joins_a_commit_that_is_done() -> None:
    world = web_alone()
    looks(world)
    assert world.last.outcome == "done"
    world.begin(API, "1")
    looks(world)
    assert world.has(*CLUSTERS, overlay=API)


def test_a_hub_that_was_killed_knows_it(end: Callable[[World], None]) -> None:
    world = web_alone()
    end(world)
    text = encode_passages(world.kept)
    for known in (text, text.replace(',"shut":true', "")):  # twin: as earlier hubs wrote it
        world.kept = replace(decode_passages(known), last=decode_last(encode_last(world.kept)))
        world.begin(API, "1")
        assert open_rows(world.kept) == set()


def test_twin_what_earlier_hubs_took_back_by_order_alone_keeps_nothing_else_back() -> None:
    world = web_alone()
    by_rollback(world)
    text = encode_passages(world.kept)
    world.kept = decode_passages(text.replace(',"shut":false', ""))
    world.begin(API, "1")
    assert open_rows(world.kept) == {API}


def test_what_is_kept_back_takes_nothing_from_an_abort_that_is_forgotten_but_for_a_line() -> None:
    world = web_alone()
    by_a_person(world)
    kept = world.kept
    passages = (replace(kept.all[0], rows={}),)
    world.kept = Passages(passages, kept.quarantine, last=kept.last)
    world.begin(API, "1")
    assert open_rows(world.kept) == set()
    assert world.kept.quarantine[API]["1"].stop == Stop("it breaks", "jo", 5.0)
    assert set(world.kept.quarantine) == {API, WEB}


def api_is_done() -> World:
    """Api of the commit is everywhere, proven; web of it was aborted before its first step."""
    world = World(DEV_STEP, PROD, overlays=(API, WEB))
    for number in range(4):
        world.look(number, web=world.facts(WEB, dict.fromkeys(CLUSTERS, Condition.WAITS)))
    assert world.has(*CLUSTERS, overlay=API)
    by_a_person(world)
    row = world.last.rows[API]
    assert (row.done, row.cut, world.last.shut) == (True, False, True)
    return world


def joins(world: World, digest: str, head: Revision = HEAD) -> None:
    """One more cluster is built api for."""
    wanted = {name: RolloutUnit(Rendered(Digest("1"), head), world.held[UnitName(API, name)]) for name in CLUSTERS}
    wanted[NEW] = RolloutUnit(Rendered(Digest(digest), head), None)
    world.kept = take_over(world.kept, API, wanted, head, 20.0)


def test_what_joins_a_commit_that_was_stopped_with_what_others_hold_changes_nothing_of_what_is_proven() -> None:
    world = api_is_done()
    kept = world.kept
    for _ in range(3):
        joins(world, "1")
        assert world.kept is kept, "each look begins it again"
    joins(world, "1", NEXT)
    row = world.last.rows[API]
    assert (world.last.commit, set(row.targets), row.before) == (NEXT, {NEW}, {}), "what was proven begins again"


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_what_joins_it_with_a_result_of_its_own_is_barred_and_what_is_proven_stays_so(*, is_forgotten: bool) -> None:
    world = api_is_done()
    if is_forgotten:
        passage = replace(world.kept.all[0], rows={})
        world.kept = replace(world.kept, all=(passage,), last=last_of({}, world.kept.all))
    rows, last = world.last.rows, world.kept.last
    joins(world, "9")
    assert (world.last.rows, world.kept.last) == (rows, last)
    assert world.kept.quarantine[API]["9"].clusters == {NEW}
    kept = world.kept
    joins(world, "9")
    joins(world, "9", NEXT)
    assert world.kept is kept
    assert order(world, "resume") == "done"
    joins(world, "9")
    assert set(world.last.rows[API].targets) == {NEW}, "twin: a person lets it in"


def promotes(world: World, head: Revision = HEAD) -> None:
    """Prod is to have what dev holds."""
    world.held[UnitName(API, DEV)] = Rendered(Digest("1"), EARLIER)
    world.begin(API, "1", head)


def test_a_promotion_that_is_built_once_its_commit_was_stopped_comes_under_no_other_commit() -> None:
    world = web_alone()
    by_a_person(world)
    promotes(world)
    assert world.kept.quarantine[API]["1"].clusters == {ONE, TWO}
    promotes(world, NEXT)
    assert open_rows(world.kept) == set()
    assert order(world, "resume") == "done"
    promotes(world)
    assert set(world.last.rows[API].targets) == {ONE, TWO}, "twin: a person lets it in"


def test_a_promotion_that_was_built_in_time_is_barred_the_same_way() -> None:
    world = web_alone()
    promotes(world)
    by_a_person(world)
    assert world.kept.quarantine[API]["1"].clusters == {ONE, TWO}
    promotes(world, NEXT)
    assert open_rows(world.kept) == set()


def test_what_is_built_late_for_a_commit_that_was_stopped_twice_comes_under_no_other_commit() -> None:
    world = World(DEV_STEP, PROD, overlays=(WEB, API))
    world.look()
    assert order(world, "abort") == order(world, "resume") == "done"
    world.begin(WEB, "1")  # api's result is not known at that moment
    by_a_person(world)
    world.begin(API, "1")
    world.begin(API, "1", NEXT)
    assert not looks(world)


@pytest.mark.parametrize("is_apart", [False, True])
def test_what_does_not_go_back_with_what_failed_waits_halted_when_it_is_built_late(*, is_apart: bool) -> None:
    world = web_alone()
    by_policy(world)
    world.target[API] = "1"
    wanted = {name: RolloutUnit(Rendered(Digest("1"), HEAD), world.held[UnitName(API, name)]) for name in CLUSTERS}
    world.kept = take_over(world.kept, API, wanted, HEAD, 20.0, is_apart=is_apart)
    assert not looks(world)
    assert (API in world.kept.quarantine) is not is_apart
    assert order(world, "resume", f"{HEAD} {API}") == ("refused" if is_apart else "done")
    if is_apart:
        assert (world.last.outcome, world.last.halted is not None) == ("", True)
        assert order(world, "resume") == "done", "which lifts the halt"
        assert {unit.overlay for unit in looks(world, 30.0)} == {API}
        assert set(world.kept.quarantine) == {WEB}, "what failed stays barred"
