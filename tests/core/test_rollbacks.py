"""Rollbacks by example: what goes back, what stays as it was, and that the same order twice goes back once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from core.test_takeover import API, CLUSTERS, DEV, HERE, OLD, ONE, TWO, WEB, facts_of, look

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Row, Stop, decode_last, decode_passages, encode_last, encode_passages
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_orders import Done, RolloutOrder, carry_out, find
from fleet.core.rollout_policy import Step
from fleet.core.takeover import ENDED_KEPT, ROWS_KEPT, RolloutUnit, settle, take_over, taken_back
from fleet.core.turns import latest_of

UI = OverlayName("ui")
FIRST, SECOND, THIRD = (Revision(letter * 40) for letter in "bcd")
STEPS = (Step("dev", HERE, environments=("dev",)), Step("prod", HERE, rest=True))


class World:
    """Overlays on all clusters, and a hub that looks, releases and carries out orders."""

    def __init__(self, *overlays: OverlayName) -> None:
        self.kept, self.wall = Passages(), 0.0
        self.held: dict[OverlayName, dict[ClusterName, Rendered | None]] = {
            name: dict.fromkeys(CLUSTERS, OLD) for name in overlays
        }
        self.newest = dict.fromkeys(overlays, Rendered(OLD.bundle, OLD.commit))
        self.bad: set[UnitName] = set()

    def commit(self, commit: Revision, digest: str, *overlays: OverlayName) -> None:
        self.wall += 10.0
        for name in overlays:
            self.newest[name] = Rendered(Digest(digest), commit)
            wanted = {cluster: RolloutUnit(self.newest[name], held) for cluster, held in self.held[name].items()}
            self.kept = take_over(self.kept, name, wanted, commit, self.wall)

    def look(self, times: int = 1) -> list[str]:
        """What was released."""
        released: list[str] = []
        for _ in range(times):
            self.wall += 1.0
            open_ones = [one for one in self.kept.all if not one.outcome]
            for passage in open_ones:
                only = replace(self.kept, all=(passage,))
                only, found = look(only, {name: self._facts(name) for name in self.held}, self.wall)
                rows = dict(only.all[-1].rows)
                for unit in found.releases:
                    row = rows[unit.overlay]
                    if (had := self.held[unit.overlay][unit.cluster]) is not None:
                        rows[unit.overlay] = replace(row, before={**row.before, unit.cluster: had})
                self.kept = settle(self.kept, replace(only.all[-1], rows=rows), self.wall)
                for unit in found.releases:
                    self.held[unit.overlay][unit.cluster] = self.newest[unit.overlay]
                released += map(str, found.releases)
        return sorted(released)

    def order(self, kind: str, target: str) -> Done:
        held = {unit: result for unit, result in self._held() if result is not None}
        done = carry_out(
            RolloutOrder("op", kind, target, "jo", "because", self.wall), self.kept, {}, held, self.wall, 0.0
        )
        self.kept = done.kept
        for unit, result in done.back.items():
            self.held[unit.overlay][unit.cluster] = result
        return done

    def on(self, overlay: OverlayName) -> list[str]:
        return [held.bundle if held is not None else "" for _, held in sorted(self.held[overlay].items())]

    def _held(self) -> Iterable[tuple[UnitName, Rendered | None]]:
        for overlay, held in self.held.items():
            yield from ((UnitName(overlay, cluster), result) for cluster, result in held.items())

    def _facts(self, overlay: OverlayName):
        conditions: Mapping[ClusterName, Condition] = {
            unit.cluster: Condition.BAD for unit in self.bad if unit.overlay == overlay
        }
        held = {name: self.held[overlay].get(name) or Rendered(Digest(""), OLD.commit) for name in CLUSTERS}
        return facts_of(held, self.newest[overlay].bundle, conditions, steps=STEPS)


def test_rolling_one_overlay_back_leaves_the_halt_of_another() -> None:
    world = World(WEB, API, UI)
    world.commit(FIRST, "1", WEB, API, UI)
    world.look()
    world.bad = {UnitName(WEB, DEV)}
    assert world.look() == []
    world.bad = set()  # it recovers, and the commit is halted until a person says otherwise
    assert world.look() == []
    assert world.order("rollback", "api").outcome == "done"
    assert world.look(3) == [], "nobody resumed"
    assert world.kept.all[-1].halted is not None
    assert world.order("resume", FIRST).outcome == "done"
    assert world.look(2) == ["ui@prod-1", "ui@prod-2", "web@prod-1", "web@prod-2"]


def test_rolling_back_what_failed_lets_the_others_go_on() -> None:
    world = World(WEB, API)
    world.commit(FIRST, "1", WEB, API)
    world.look()
    world.bad = {UnitName(WEB, DEV)}
    assert world.look(2) == []
    assert world.order("rollback", "web").outcome == "done"
    world.bad = set()
    assert world.look() == ["api@prod-1", "api@prod-2"]
    assert world.on(WEB) == ["0", "0", "0"]


def test_a_halt_stays_though_the_row_that_failed_is_through() -> None:
    world = World(WEB, API, UI)
    world.commit(FIRST, "1", WEB, API, UI)
    passage = world.kept.all[-1]
    rows = {
        **passage.rows,
        WEB: replace(passage.rows[WEB], done=True),
        API: replace(passage.rows[API], before={DEV: OLD}),
    }
    halted = Stop("it crashed", "hub", 1.0, UnitName(WEB, TWO))
    world.kept = settle(world.kept, replace(passage, rows=rows, halted=halted), 1.0)
    assert world.order("rollback", "api").outcome == "done"
    assert world.look() == []
    assert world.kept.all[-1].halted == halted


def done_once() -> World:
    """Both overlays went through the first commit, and are at the first step of the second."""
    world = World(WEB, API)
    world.commit(FIRST, "1", WEB, API)
    world.look(5)
    assert world.kept.all[-1].outcome == "done"
    world.commit(SECOND, "2", WEB, API)
    assert world.look() == ["api@dev", "web@dev"]
    return world


def test_the_same_rollback_twice_goes_back_once_and_bars_nothing_that_is_good() -> None:
    world = done_once()
    assert world.order("rollback", "api").outcome == "done"
    assert world.on(API) == ["1", "1", "1"]
    again = world.order("rollback", "api")
    assert (again.outcome, again.message) == (
        "refused",
        "api went back from ccccccc already; for an earlier commit revert in Git",
    )
    world.look(5)  # web goes on, and its commit ends
    assert world.kept.all[-1].outcome == "done"
    assert world.order("rollback", "api").outcome == "refused"
    assert world.on(API) == ["1", "1", "1"]
    assert set(world.kept.quarantine[API]) == {"2"}
    assert world.order("rollback", "web").outcome == "done", "the other one was not taken back yet"


def test_a_newer_rollout_of_what_went_back_can_be_taken_back_in_its_turn() -> None:
    world = done_once()
    world.order("rollback", "api")
    world.commit(THIRD, "3", API)
    assert world.order("rollback", "api").outcome == "refused", "the third has released nothing"
    assert world.look()[0] == "api@dev"
    assert world.order("rollback", "api").outcome == "done"
    assert world.on(API) == ["1", "1", "1"]


def test_what_a_person_let_in_again_can_be_taken_back_again() -> None:
    world = done_once()
    world.order("rollback", "api")
    assert world.order("resume", SECOND).outcome == "done"
    world.commit(SECOND, "2", API)
    assert "api@dev" in world.look()
    assert world.order("rollback", "api").outcome == "done"
    assert world.on(API) == ["1", "1", "1"]


def test_a_rollback_concerns_the_rollout_that_it_was_asked_of() -> None:
    world = done_once()
    late = world.order("rollback", f"api - {FIRST}")
    assert late.outcome == "refused"
    assert "on its way with ccccccc by now, not with bbbbbbb" in late.message
    assert world.on(API) == ["2", "1", "1"]
    assert world.order("rollback", f"api {FIRST[:7]} {SECOND}").outcome == "done"
    assert world.on(API) == ["1", "1", "1"]


@pytest.mark.parametrize("to", ["b", "bbbbbb", "ccccccc"])
def test_the_commit_to_go_back_to_is_named_by_seven_digits_of_it(to: str) -> None:
    assert done_once().order("rollback", f"api {to} {SECOND}").outcome == "refused"


def test_a_failure_takes_nothing_back_that_a_newer_rollout_changed_since() -> None:
    world = World(WEB, API)
    world.commit(FIRST, "1", WEB, API)
    world.look()
    passage = world.kept.all[-1]
    through = replace(passage.rows[API], done=True, before=dict.fromkeys(CLUSTERS, OLD))
    world.kept = settle(world.kept, replace(passage, rows={**passage.rows, API: through}), world.wall)
    world.held[API] = dict.fromkeys(CLUSTERS, Rendered(Digest("1"), FIRST))
    world.commit(SECOND, "2", API)
    assert "api@dev" in world.look()
    held = {unit: result for unit, result in world._held() if result is not None}
    first = world.kept.all[0]
    done = taken_back(world.kept, first, held, Stop("crash", "hub", 1.0, UnitName(WEB, DEV)), first.rows)
    assert done.back == {UnitName(WEB, cluster): OLD for cluster in first.rows[WEB].before}
    assert done.back
    assert API not in done.kept.quarantine
    assert [one.outcome for one in done.kept.all] == ["rolled back", ""]


def test_a_cluster_that_held_nothing_before_is_named_by_who_and_why_it_keeps_it() -> None:
    world = World(WEB)
    world.held[WEB][DEV] = None
    world.commit(FIRST, "1", WEB)
    assert world.look() == ["web@dev"]
    world.look()
    done = world.order("rollback", "web")
    assert world.on(WEB) == ["1", "0", "0"]
    assert done.stays == (UnitName(WEB, DEV),)
    assert done.message.endswith("web@dev has nothing to go back to and keeps it: revert it in Git")
    ended = world.kept.all[-1].ended
    assert ended is not None
    assert ended.reason == "because; web@dev has nothing to go back to and keeps it: revert it in Git"


def test_where_all_held_something_a_rollback_names_none() -> None:
    world = World(WEB)
    world.commit(FIRST, "1", WEB)
    world.look(2)
    done = world.order("rollback", "web")
    assert (done.stays, done.message) == ((), "web goes back from bbbbbbb to aaaaaaa on 3 clusters: because")


def joined_later() -> World:
    """The second commit was done before a cluster joined that holds nothing yet."""
    world = World(WEB)
    world.held[WEB] = {DEV: OLD, ONE: OLD}
    for commit, digest in ((FIRST, "1"), (SECOND, "2")):
        world.commit(commit, digest, WEB)
        world.look(4)
    assert world.kept.all[-1].outcome == "done"
    world.held[WEB][TWO] = None
    world.commit(SECOND, "2", WEB)
    assert world.look() == ["web@prod-2"]
    return world


def test_a_cluster_that_joined_once_it_was_over_makes_no_older_rollout_the_latest() -> None:
    world = joined_later()
    done = world.order("rollback", "web")
    assert done.outcome == "done"
    assert (world.on(WEB), done.stays) == (["1", "1", "2"], (UnitName(WEB, TWO),))
    assert set(world.kept.quarantine[WEB]) == {"2"}
    assert world.order("rollback", "web").outcome == "refused"
    assert world.on(WEB) == ["1", "1", "2"]


def test_where_a_cluster_that_joined_fails_the_policy_takes_nothing_of_the_others_back() -> None:
    world = joined_later()
    passage = world.kept.all[-1]
    held = {unit: result for unit, result in world._held() if result is not None}
    done = taken_back(world.kept, passage, held, Stop("crash", "hub", 1.0, UnitName(WEB, TWO)), passage.rows)
    assert (done.back, done.stays) == ({}, (UnitName(WEB, TWO),))


def test_what_was_released_before_an_abort_can_go_back_after_it_was_let_in_again() -> None:
    world = World(WEB)
    world.commit(FIRST, "1", WEB)
    assert world.look() == ["web@dev"]
    assert world.order("abort", FIRST).outcome == "done"
    assert world.order("resume", FIRST).outcome == "done"
    world.commit(FIRST, "1", WEB)
    assert world.look(2) == ["web@prod-1", "web@prod-2"]
    world.kept = replace(decode_passages(encode_passages(world.kept)), last=decode_last(encode_last(world.kept)))
    assert world.order("rollback", "web").outcome == "done"
    assert world.on(WEB) == ["0", "0", "0"]


def number(digits: int) -> Revision:
    return Revision(f"{digits:040x}")


def test_an_overlay_can_go_back_however_many_rollouts_of_others_ended_since() -> None:
    world = World(WEB, API)
    world.commit(FIRST, "1", WEB)
    world.look(4)
    for other in range(ENDED_KEPT + ROWS_KEPT + 1):
        world.commit(number(other), f"n{other}", API)
        world.look(4)
    assert len(world.kept.all) == ENDED_KEPT
    world.kept = replace(decode_passages(encode_passages(world.kept)), last=decode_last(encode_last(world.kept)))
    assert world.order("rollback", f"web - {FIRST}").outcome == "done"
    assert world.on(WEB) == ["0", "0", "0"]
    assert set(world.kept.quarantine[WEB]) == {"1"}
    assert world.order("rollback", "web").outcome == "refused", "once"
    for other in range(100, 100 + ROWS_KEPT + 1):
        world.commit(number(other), f"n{other}", API)
        world.look(4)
    assert world.order("rollback", "web").outcome == "refused", "and not once more after a while"


def test_the_latest_row_is_kept_and_no_older_one() -> None:
    world = World(WEB, API)
    world.commit(FIRST, "1", WEB)
    world.look(4)
    world.commit(SECOND, "2", WEB)
    world.look(4)
    for other in range(ROWS_KEPT):
        world.commit(number(other), f"n{other}", API)
        world.look(4)
    assert {name: one.commit for name, one in world.kept.last.items()} == {WEB: SECOND}
    latest = latest_of(world.kept, WEB)
    assert latest is not None
    assert latest.rows[WEB].before == dict.fromkeys(CLUSTERS, Rendered(Digest("1"), FIRST))


def test_a_rollout_is_found_by_seven_digits_that_name_it_alone() -> None:
    one, two = Revision("abcdef01" + "0" * 32), Revision("abcdef02" + "0" * 32)
    kept = Passages((Passage(one, 1.0, {WEB: Row({})}), Passage(two, 2.0, {WEB: Row({})})))
    for vague in ("", "a", "abcdef", "abcdef0"):
        assert find(kept, vague) is None
        for kind in ("pause", "resume", "promote", "abort", "approve"):
            refused = carry_out(RolloutOrder("op", kind, vague, "jo", "why", 3.0), kept, {}, {}, 3.0, 0.0)
            assert (refused.kept, refused.outcome) == (kept, "refused")
    assert find(kept, "abcdef01") is kept.all[0]
    assert find(kept, two) is kept.all[1]
