"""Rollbacks of a commit that came to an overlay in more than one turn, and which rollout is the latest."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from core.test_rollbacks import FIRST, SECOND, THIRD, World, done_once, joined_later, number
from core.test_takeover import API, DEV, OLD, ONE, TWO, WEB

from fleet.core.ids import UnitName
from fleet.core.passage import Passage, Passages, Row, Stop, decode_passages, encode_passages
from fleet.core.takeover import ROWS_KEPT, TakenBack, taken_back
from fleet.core.turns import latest_of

NOTHING_OLDER = "web went back from ccccccc already; for an earlier commit revert in Git"


def through() -> World:
    """The first and the second commit are everywhere."""
    world = World(WEB)
    for commit, digest in ((FIRST, "1"), (SECOND, "2")):
        world.commit(commit, digest, WEB)
        world.look(4)
    assert world.kept.all[-1].outcome == "done"
    return world


def by_policy(world: World, at: UnitName) -> TakenBack:
    """The hub takes back what failed."""
    held = {UnitName(WEB, name): result for name, result in world.held[WEB].items() if result is not None}
    passage = world.kept.all[-1]
    done = taken_back(world.kept, passage, held, Stop("crash", "hub", world.wall, at), passage.rows)
    world.kept = done.kept
    world.held[WEB] |= {unit.cluster: result for unit, result in done.back.items()}
    return done


def barred(world: World) -> set[str]:
    return set(world.kept.quarantine.get(WEB, {}))


# After an abort


def test_an_abort_of_a_cluster_that_joined_makes_no_older_rollout_the_latest() -> None:
    world = World(WEB)
    del world.held[WEB][TWO]
    for commit, digest in ((FIRST, "1"), (SECOND, "2")):
        world.commit(commit, digest, WEB)
        world.look(4)
    world.held[WEB][TWO] = None
    world.commit(SECOND, "2", WEB)
    assert set(world.kept.all[-1].rows[WEB].targets) == {TWO}
    assert world.order("abort", SECOND).outcome == "done"
    assert world.order("rollback", f"web - {SECOND}").outcome == "done"
    assert world.on(WEB) == ["1", "1", ""]
    assert barred(world) == {"2"}
    assert world.order("rollback", "web").message == NOTHING_OLDER


def test_a_rollout_that_was_aborted_resumed_and_aborted_goes_back_and_no_older_one() -> None:
    world = World(WEB)
    world.commit(FIRST, "1", WEB)
    world.look(4)
    world.commit(SECOND, "2", WEB)
    assert world.look() == ["web@dev"]
    assert world.order("abort", SECOND).outcome == "done"
    assert world.order("resume", SECOND).outcome == "done"
    world.commit(SECOND, "2", WEB)
    assert world.order("abort", SECOND).outcome == "done"
    done = world.order("rollback", f"web - {SECOND}")
    assert (done.outcome, list(done.back)) == ("done", [UnitName(WEB, DEV)])
    assert world.on(WEB) == ["1", "1", "1"]
    assert barred(world) == {"2"}


def test_another_build_that_is_aborted_before_it_was_released_makes_no_older_rollout_the_latest() -> None:
    world = through()
    world.commit(SECOND, "9", WEB)
    assert world.order("abort", SECOND).outcome == "done"
    assert world.order("rollback", f"web - {SECOND}").outcome == "done"
    assert world.on(WEB) == ["1", "1", "1"]
    assert barred(world) == {"2", "9"}


def test_twin_a_rollout_that_was_aborted_before_it_changed_anything_is_not_the_latest() -> None:
    world = World(WEB)
    world.commit(FIRST, "1", WEB)
    world.look(4)
    world.commit(SECOND, "2", WEB)
    assert world.order("abort", SECOND).outcome == "done"
    assert world.order("rollback", f"web - {FIRST}").outcome == "done"
    assert world.on(WEB) == ["0", "0", "0"]


def test_what_went_back_and_is_let_in_again_is_followed_by_no_older_one_before_it_is_released() -> None:
    world = done_once()
    world.order("rollback", "web")
    assert world.order("resume", SECOND).outcome == "done"
    world.commit(SECOND, "2", WEB)
    assert world.order("rollback", "web").message == NOTHING_OLDER
    assert world.on(WEB) == ["1", "1", "1"]
    assert world.look()[-1] == "web@dev"
    assert world.order("rollback", "web").outcome == "done", "twin: it was released again"
    assert world.on(WEB) == ["1", "1", "1"]


# The same commit built anew


@pytest.mark.parametrize("looks", [0, 1, 4], ids=["not released yet", "on the canary", "everywhere"])
def test_a_commit_that_was_built_anew_goes_back_to_what_was_there_before_its_first_build(looks: int) -> None:
    world = through()
    world.commit(SECOND, "9", WEB)
    world.look(looks)
    assert world.on(WEB) == {0: ["2", "2", "2"], 1: ["9", "2", "2"], 4: ["9", "9", "9"]}[looks]
    done = world.order("rollback", "web")
    assert done.message == "web goes back from ccccccc to bbbbbbb on 3 clusters: because"
    assert world.on(WEB) == ["1", "1", "1"]
    assert barred(world) == {"2", "9"}, "both builds are the commit's"
    assert world.order("rollback", "web").message == NOTHING_OLDER
    assert world.on(WEB) == ["1", "1", "1"]


def test_of_a_commit_that_was_built_anew_on_its_way_both_builds_are_barred() -> None:
    world = done_once()
    world.commit(SECOND, "9", WEB)
    assert world.on(WEB) == ["2", "1", "1"]
    assert world.order("rollback", "web").outcome == "done"
    assert world.on(WEB) == ["1", "1", "1"]
    assert barred(world) == {"2", "9"}


def test_twin_of_a_commit_that_was_built_once_its_result_alone_is_barred() -> None:
    world = through()
    world.commit(SECOND, "2", WEB)
    assert world.order("rollback", "web").outcome == "done"
    assert world.on(WEB) == ["1", "1", "1"]
    assert barred(world) == {"2"}


@pytest.mark.parametrize("looks", [0, 4])
def test_a_cluster_that_held_nothing_before_the_first_build_keeps_what_it_has(looks: int) -> None:
    world = World(WEB)
    world.held[WEB][TWO] = None
    world.commit(FIRST, "1", WEB)
    world.look(4)
    world.commit(FIRST, "9", WEB)
    world.look(looks)
    has = "9" if looks else "1"
    assert world.on(WEB) == [has] * 3
    done = world.order("rollback", "web")
    assert (world.on(WEB), done.stays) == (["0", "0", has], (UnitName(WEB, TWO),))
    assert barred(world) == {"1", "9"}


@pytest.mark.parametrize("digest", ["2", "9"])
def test_a_cluster_that_left_and_comes_back_with_nothing_goes_back_to_nothing(digest: str) -> None:
    world = through()
    world.held[WEB][TWO] = None
    world.commit(SECOND, digest, WEB)
    assert "web@prod-2" in world.look(4)
    done = world.order("rollback", "web")
    assert (world.on(WEB), done.stays) == (["1", "1", digest], (UnitName(WEB, TWO),))


def test_the_policy_takes_another_build_back_and_a_person_the_whole_commit() -> None:
    world = through()
    world.commit(SECOND, "9", WEB)
    world.look()
    assert by_policy(world, UnitName(WEB, DEV)).back.keys() == {UnitName(WEB, DEV)}
    assert (world.on(WEB), barred(world)) == (["2", "2", "2"], {"9"})
    assert world.order("rollback", f"web - {SECOND}").outcome == "done"
    assert (world.on(WEB), barred(world)) == (["1", "1", "1"], {"2", "9"})
    assert world.order("rollback", "web").message == NOTHING_OLDER


def test_a_person_takes_a_commit_back_of_which_the_policy_took_what_joined() -> None:
    world = joined_later()
    by_policy(world, UnitName(WEB, TWO))
    done = world.order("rollback", f"web - {SECOND}")
    assert (world.on(WEB), done.stays) == (["1", "1", "2"], (UnitName(WEB, TWO),))
    assert world.order("rollback", "web").message == NOTHING_OLDER


def test_twin_what_the_policy_took_back_as_a_whole_goes_back_once() -> None:
    world = World(WEB)
    world.commit(FIRST, "1", WEB)
    world.look(4)
    world.commit(SECOND, "2", WEB)
    world.look()
    by_policy(world, UnitName(WEB, DEV))
    assert world.order("rollback", "web").message == NOTHING_OLDER
    assert world.on(WEB) == ["1", "1", "1"]


def test_all_turns_of_a_commit_are_kept_together_once_others_ended() -> None:
    world = joined_later()
    world.look(4)
    world.held[API] = dict.fromkeys(world.held[WEB], OLD)
    world.newest[API] = OLD
    for other in range(ROWS_KEPT + 1):
        world.commit(number(other), f"n{other}", API)
        world.look(4)
    assert all(WEB not in one.rows for one in world.kept.all)
    done = world.order("rollback", f"web - {SECOND}")
    assert (world.on(WEB), done.stays) == (["1", "1", "2"], (UnitName(WEB, TWO),))


# Which one is the latest


def after_the_clock_was_ahead() -> World:
    """The first commit's row is kept besides; the wall clock is put right before the second, which is on dev."""
    world = World(WEB, API)
    world.wall = 5000.0
    world.commit(FIRST, "1", WEB)
    world.look(4)
    for other in range(ROWS_KEPT):
        world.commit(number(other), f"n{other}", API)
        world.look(4)
    assert world.kept.last[WEB].commit == FIRST
    world.wall = 1500.0
    world.commit(SECOND, "2", WEB)
    assert world.look() == ["web@dev"]
    return world


def as_stored(world: World) -> World:
    """The same, where the second began before moments were compared."""
    *others, second = world.kept.all
    world.kept = replace(world.kept, all=(*others, replace(second, started_at=1510.0)))
    return world


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_failure_is_taken_back_though_the_wall_clock_was_put_back(*, is_stored: bool) -> None:
    world = after_the_clock_was_ahead()
    by_policy(as_stored(world) if is_stored else world, UnitName(WEB, DEV))
    assert world.on(WEB) == ["1", "1", "1"]
    assert world.kept.all[-1].outcome == "rolled back"


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_person_takes_the_newest_back_though_the_wall_clock_was_put_back(*, is_stored: bool) -> None:
    world = after_the_clock_was_ahead()
    done = (as_stored(world) if is_stored else world).order("rollback", f"web - {SECOND}")
    assert done.outcome == "done"
    assert world.on(WEB) == ["1", "1", "1"]


def test_the_newest_row_is_kept_though_the_wall_clock_was_put_back() -> None:
    world = after_the_clock_was_ahead()
    world.look(4)
    for other in range(100, 100 + ROWS_KEPT):
        world.commit(number(other), f"n{other}", API)
        world.look(4)
    assert world.kept.last[WEB].commit == SECOND


def test_of_two_rollouts_that_began_at_one_moment_the_older_takes_nothing_of_the_newer_back() -> None:
    world = World(WEB, API)
    world.wall = 5000.0
    world.commit(FIRST, "1", WEB, API)
    world.bad = {UnitName(API, ONE)}
    passage = world.kept.all[-1]
    row = replace(passage.rows[WEB], done=True, before=dict.fromkeys(world.held[WEB], OLD))
    world.kept = replace(world.kept, all=(replace(passage, rows={**passage.rows, WEB: row}),))
    world.held[WEB] = dict.fromkeys(world.held[WEB], world.newest[WEB])
    world.wall = 1500.0
    world.commit(SECOND, "2", WEB)
    first, second = world.kept.all
    assert first.started_at == second.started_at
    assert latest_of(world.kept, WEB) == first, "the second changed nothing yet"
    second = replace(second, rows={WEB: replace(second.rows[WEB], before={DEV: world.newest[WEB]}, done=True)})
    kept = replace(world.kept, all=(first, second))
    done = taken_back(kept, first, {}, Stop("crash", "hub", 1.0, UnitName(API, ONE)), first.rows)
    assert not done.kept.all[0].rows[WEB].back
    assert done.kept.all[0].rows[API].back, "twin: what no newer one changed"


# From before the upgrade


def test_an_order_that_names_no_rollout_as_the_latest_is_carried_out() -> None:
    world = done_once()
    assert world.order("rollback", f"web {FIRST}").outcome == "done"
    assert world.on(WEB) == ["1", "1", "1"]
    assert world.order("rollback", f"api - {THIRD}").outcome == "refused", "twin: one that names another"


def test_what_was_rolled_back_before_rows_said_so_does_not_go_back_again() -> None:
    rows = {WEB: Row({DEV: "2"}, before={DEV: OLD}), API: Row({DEV: "2"})}
    kept = Passages((Passage(FIRST, 1.0, rows, outcome="rolled back"), Passage(SECOND, 2.0, rows, outcome="done")))
    document = json.loads(encode_passages(kept))
    for passage in document["passages"]:
        for row in passage["rows"].values():
            del row["back"]
    rolled, done = decode_passages(json.dumps(document)).all
    assert [rolled.rows[name].back for name in (WEB, API)] == [True, False]
    assert not any(row.back for row in done.rows.values())
    assert decode_passages(encode_passages(kept)) == kept, "twin: what a row says stands"


# Clusters that joined since


def joins(world: World, looks: int) -> None:
    """Prod-1 and prod-2 join by a commit of their own, which changes nothing else."""
    world.held[WEB] |= {ONE: None, TWO: None}
    world.commit(THIRD, "2", WEB)
    world.look(looks)


def with_one_cluster() -> World:
    world = World(WEB)
    world.held[WEB] = {DEV: OLD}
    for commit, digest in ((FIRST, "1"), (SECOND, "2")):
        world.commit(commit, digest, WEB)
        world.look(4)
    return world


@pytest.mark.parametrize("looks", [0, 1, 4], ids=["not released yet", "on its way", "everywhere"])
def test_who_joined_since_is_named_and_gets_nothing_of_what_is_taken_back(looks: int) -> None:
    world = with_one_cluster()
    joins(world, looks)
    has = ["2" if looks else ""] * 2
    assert world.on(WEB) == ["2", *has]
    done = world.order("rollback", f"web - {SECOND}")
    assert done.outcome == "done"
    assert world.on(WEB) == ["1", *has]
    assert done.stays == ((UnitName(WEB, ONE), UnitName(WEB, TWO)) if looks else ())
    assert all(one.outcome for one in world.kept.all), "nothing stands for ever"
    world.commit(THIRD, "2", WEB)
    assert world.look(3) == []
    assert world.order("resume", SECOND).outcome == "done"
    world.commit(THIRD, "2", WEB)
    assert "web@dev" in world.look(4), "twin: a person let it in again"
    assert world.on(WEB) == ["2", "2", "2"]


def test_twin_a_newer_result_that_waits_goes_on_beside_a_rollback() -> None:
    world = through()
    world.commit(THIRD, "3", WEB)
    assert world.order("rollback", f"web - {SECOND}").outcome == "done"
    assert world.look(4) == ["web@dev", "web@prod-1", "web@prod-2"]
    assert world.on(WEB) == ["3", "3", "3"]


def test_an_overlay_that_the_commit_added_goes_no_further_where_a_person_rolls_it_back() -> None:
    world = World(WEB)
    world.held[WEB] = dict.fromkeys(world.held[WEB])
    world.commit(FIRST, "1", WEB)
    assert world.look() == ["web@dev"]
    done = world.order("rollback", "web")
    assert (done.outcome, done.stays) == ("done", (UnitName(WEB, DEV),))
    assert done.message.startswith(
        "web goes no further with bbbbbbb, and nothing goes back: because; web@dev has nothing"
    )
    assert world.look(4) == []
    assert world.on(WEB) == ["1", "", ""]
    assert barred(world) == {"1"}


def test_twin_one_that_is_everywhere_has_nothing_to_go_back_to() -> None:
    world = World(WEB)
    world.held[WEB] = dict.fromkeys(world.held[WEB])
    world.commit(FIRST, "1", WEB)
    world.look(4)
    assert world.order("rollback", "web").outcome == "refused"
    assert not barred(world)
