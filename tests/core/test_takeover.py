"""Rollouts by example: what people order, what failures take back, and what a newer result begins again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleet.core.advance import Advance, advance
from fleet.core.approving import missing_of
from fleet.core.fleet import Cluster
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passages, Quarantined, Stop
from fleet.core.problems import Origin
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_orders import Done, RolloutOrder, carry_out
from fleet.core.rollout_policy import OnFailure, RolloutPolicy, Step
from fleet.core.steps import Stage, stages_of
from fleet.core.takeover import RolloutUnit, settle, take_over, taken_back

HERE = Origin("fleet.yaml", 1)
DEV, ONE, TWO = ClusterName("dev"), ClusterName("prod-1"), ClusterName("prod-2")
CLUSTERS = {
    DEV: Cluster(DEV, HERE, environment="dev"),
    ONE: Cluster(ONE, HERE, environment="prod"),
    TWO: Cluster(TWO, HERE, environment="prod"),
}
STEPS = (Step("dev", HERE, environments=("dev",)), Step("ok", HERE, approvals=1), Step("prod", HERE, rest=True))
WEB, API = OverlayName("web"), OverlayName("api")
HEAD, OLD = Revision("b" * 40), Rendered(Digest("0"), Revision("a" * 40))
Conditions = Mapping[ClusterName, Condition]
NONE: Conditions = {}


def facts_of(
    held: Mapping[ClusterName, Rendered],
    target: str = "1",
    conditions: Conditions = NONE,
    steps: tuple[Step, ...] = STEPS,
    **more: Any,
) -> RowFacts:
    """Facts of an overlay on all clusters; what is not named stands well."""
    units = {
        name: UnitFact(target, held[name].bundle == target, conditions.get(name, Condition.WELL)) for name in CLUSTERS
    }
    return RowFacts(stages_of(RolloutPolicy(steps), CLUSTERS, ()).stages, units, 60.0, **more)


def wanted(target: str, *names: ClusterName, held: Rendered | None = OLD) -> dict[ClusterName, RolloutUnit]:
    return {name: RolloutUnit(Rendered(Digest(target), HEAD), held) for name in names or CLUSTERS}


def order(kept: Passages, kind: str, target: str = HEAD, facts: Mapping[OverlayName, RowFacts] | None = None) -> Done:
    held = {UnitName(overlay, name): Rendered(Digest("1"), HEAD) for overlay in (WEB, API) for name in CLUSTERS}
    return carry_out(RolloutOrder("op", kind, target, "jo", "because", 0.0), kept, facts or {}, held, 0.0, 0.0)


def look(kept: Passages, facts: Mapping[OverlayName, RowFacts], now: float = 0.0) -> tuple[Passages, Advance]:
    found = advance(kept.all[-1], facts, now, 0.0)
    return settle(kept, found.passage, 0.0), found


def after_dev() -> tuple[Passages, dict[ClusterName, Rendered]]:
    """A rollout whose first step is over."""
    held = dict.fromkeys(CLUSTERS, OLD)
    kept, found = look(take_over(Passages(), WEB, wanted("1"), HEAD, 0.0), {WEB: facts_of(held)})
    assert [unit.cluster for unit in found.releases] == [DEV]
    held[DEV] = Rendered(Digest("1"), HEAD)
    return look(kept, {WEB: facts_of(held)})[0], held


def test_promoting_never_passes_an_approval_even_where_its_step_takes_no_cluster() -> None:
    kept, held = after_dev()
    facts = {WEB: facts_of(held)}
    for _ in range(3):
        done = order(kept, "promote", facts=facts)
        assert done.outcome == "refused"
        kept, found = look(done.kept, facts)
        assert not found.releases
    kept = order(kept, "approve", f"{HEAD} ok", facts).kept
    assert {unit.cluster for unit in look(kept, facts)[1].releases} == {ONE, TWO}


def test_an_approval_is_for_a_step_of_the_rollout_that_is_named_not_of_another_one_on_its_way() -> None:
    kept, held = after_dev()
    other = (STEPS[0], Step("legal", HERE, approvals=1), STEPS[2])
    facts = {WEB: facts_of(held), API: facts_of(held, steps=other)}
    refused = order(kept, "approve", f"{HEAD} legal", facts)
    assert (refused.outcome, refused.kept) == ("refused", kept)
    assert "has no step legal" in refused.message
    assert order(kept, "approve", f"{HEAD} ok", facts).outcome == "done"


def test_promoting_never_passes_a_step_that_cannot_be_done() -> None:
    kept, held = after_dev()
    steps = (STEPS[0], Step("edge", HERE, environments=("edge",)), STEPS[2])
    facts = {WEB: facts_of(held, steps=steps, broken={"edge": "it matches no cluster"})}
    kept, found = look(order(kept, "promote", facts=facts).kept, facts)
    assert not found.releases
    mended = {WEB: facts_of(held, steps=steps)}
    assert {unit.cluster for unit in look(kept, mended)[1].releases} == {ONE, TWO}


def test_a_row_stands_still_while_a_newer_result_is_known_and_has_not_taken_it_over() -> None:
    kept, held = after_dev()
    kept = order(kept, "approve", f"{HEAD} ok", {WEB: facts_of(held)}).kept
    for newer in ("2", "0"):  # the second is what prod holds anyway
        after, found = look(kept, {WEB: facts_of(held, newer)})
        assert not found.releases
        assert after.all[-1].rows[WEB].passed == kept.all[-1].rows[WEB].passed
        assert not after.all[-1].rows[WEB].done
        assert "newer result" in found.steps[-1].why or "step ok" in found.steps[-1].why
    assert look(kept, {WEB: facts_of(held)})[1].releases


def test_a_result_that_comes_late_joins_the_rollout_of_its_commit_as_people_left_it() -> None:
    kept = take_over(Passages(), WEB, wanted("1", DEV, ONE), HEAD, 0.0)
    kept = order(kept, "pause").kept
    held = dict.fromkeys(CLUSTERS, OLD)
    late = take_over(kept, WEB, wanted("1"), HEAD, 1.0)
    assert late.all[-1].paused is not None
    assert set(late.all[-1].rows[WEB].targets) == set(CLUSTERS)
    late, found = look(late, {WEB: facts_of(held)})
    assert not found.releases
    other = take_over(late, WEB, wanted("2"), HEAD, 2.0)  # a build of the same commit that gave something else
    assert other.all[-1].paused is not None
    assert set(other.all[-1].rows[WEB].targets.values()) == {"2"}
    newer = take_over(late, WEB, wanted("2"), Revision("c" * 40), 2.0)  # a commit that says it is another matter
    assert [(one.outcome, one.paused) for one in newer.all] == [("superseded", None), ("", None)]


def test_a_failure_is_taken_back_where_asked_though_another_overlay_stopped_the_commit_before() -> None:
    kept = take_over(Passages(), API, wanted("1"), HEAD, 0.0)
    kept, _ = look(take_over(kept, WEB, wanted("1"), HEAD, 0.0), {})
    held = {**dict.fromkeys(CLUSTERS, OLD), DEV: Rendered(Digest("1"), HEAD)}
    bad = facts_of(held, conditions={DEV: Condition.BAD})
    back = facts_of(held, conditions={DEV: Condition.BUSY}, on_failure=OnFailure.ROLLBACK)
    kept, found = look(kept, {API: bad, WEB: back})
    assert found.passage.halted is not None
    assert not found.take_back
    kept, found = look(kept, {API: bad, WEB: replace(bad, on_failure=OnFailure.ROLLBACK)}, 1.0)
    assert found.take_back
    assert found.passage.halted == Stop("bad", "hub", 0.0, UnitName(WEB, DEV))
    assert look(kept, {API: bad, WEB: replace(bad, on_failure=OnFailure.ROLLBACK)}, 2.0)[1].take_back


def two_overlays() -> Passages:
    """Web was released to dev, api is on its way."""
    held = dict.fromkeys(CLUSTERS, OLD)
    kept = take_over(Passages(), WEB, wanted("1"), HEAD, 0.0)
    kept, _ = look(take_over(kept, API, wanted("1"), HEAD, 0.0), {WEB: facts_of(held), API: facts_of(held)})
    passage = kept.all[-1]
    web = replace(passage.rows[WEB], before={DEV: OLD})
    return settle(kept, replace(passage, rows={**passage.rows, WEB: web}), 0.0)


def test_what_was_taken_back_can_be_let_in_again_whatever_became_of_its_commit() -> None:
    kept = order(two_overlays(), "rollback", "web").kept
    assert kept.quarantine[WEB]
    passage = kept.all[-1]
    done = settle(kept, replace(passage, rows={API: replace(passage.rows[API], done=True)}), 0.0)
    assert done.all[-1].outcome == "done"
    forgotten = replace(done, all=())
    for state in (kept, done, forgotten):
        again = order(state, "resume")
        assert again.outcome == "done"
        assert not again.kept.quarantine


def test_resuming_what_is_paused_lets_nothing_in_that_was_taken_back() -> None:
    kept = order(order(two_overlays(), "rollback", "web").kept, "pause").kept
    resumed = order(kept, "resume").kept
    assert resumed.all[-1].paused is None
    assert resumed.quarantine[WEB]
    assert not order(resumed, "resume").kept.quarantine


def test_a_bad_result_stays_away_from_one_cluster_though_another_goes_back_to_it() -> None:
    kept = take_over(Passages(), WEB, {**wanted("2", DEV), **wanted("1", ONE)}, HEAD, 0.0)
    passage = kept.all[-1]
    row = replace(passage.rows[WEB], before={DEV: Rendered(Digest("1"), OLD.commit), ONE: OLD})
    kept = order(settle(kept, replace(passage, rows={WEB: row}), 0.0), "rollback", "web").kept
    assert set(kept.quarantine[WEB]) == {"1", "2"}
    assert take_over(kept, WEB, wanted("1", ONE), HEAD, 1.0) == kept


def test_a_revert_concerns_only_the_clusters_that_moved() -> None:
    kept, held = after_dev()
    newer = Revision("c" * 40)
    back = {name: RolloutUnit(Rendered(OLD.bundle, newer), held[name]) for name in CLUSTERS}  # a commit that reverts it
    kept = take_over(kept, WEB, back, newer, 1.0)
    assert set(kept.all[-1].rows[WEB].targets) == {DEV}


def test_an_approval_of_a_step_is_not_one_of_what_another_build_of_the_commit_gives() -> None:
    kept, held = after_dev()
    facts = {WEB: facts_of(held)}
    kept = order(kept, "approve", f"{HEAD} ok", facts).kept
    same = take_over(kept, WEB, wanted("1"), HEAD, 2.0)
    assert same.all[-1].approvals == {"ok": ("jo",)}, "nothing else came"
    other = take_over(kept, WEB, wanted("2"), HEAD, 2.0)
    assert missing_of(other.all[-1], other.all[-1].rows[WEB], Stage(STEPS[1])) == 1
    again = order(other, "approve", f"{HEAD} ok", facts).kept
    assert missing_of(again.all[-1], again.all[-1].rows[WEB], Stage(STEPS[1])) == 0, "twin: seen, and approved again"


def test_only_a_beginning_that_names_one_commit_lets_its_results_in_again() -> None:
    stop = Stop("it breaks", "jo", 1.0)
    one, two = Revision("abcdef01" + "0" * 32), Revision("abcdef02" + "0" * 32)
    kept = Passages(quarantine={WEB: {"d1": Quarantined(one, stop), "d2": Quarantined(two, stop)}})
    for vague in ("", "a", "abcdef", "abcdef0"):
        assert order(kept, "resume", vague) == Done(kept, "refused", f"there is no rollout of {vague}")
    assert set(order(kept, "resume", "abcdef02").kept.quarantine[WEB]) == {"d1"}
    assert set(order(kept, "resume", one).kept.quarantine[WEB]) == {"d2"}


NINE, NEWER = ClusterName("prod-9"), Revision("c" * 40)
FIRST = Rendered(Digest("1"), HEAD)


def after_prod_one() -> Passages:
    """The first result is on dev and on prod-1, which held another before."""
    kept = take_over(Passages(), WEB, wanted("1"), HEAD, 0.0)
    passage = kept.all[-1]
    row = replace(passage.rows[WEB], before={DEV: OLD, ONE: OLD}, flying={ONE: 0.0})
    return settle(kept, replace(passage, rows={WEB: row}), 0.0)


def newer(*names: ClusterName) -> dict[ClusterName, RolloutUnit]:
    """Results of a newer commit. Who is new holds nothing, as far as is known."""
    held = {DEV: FIRST, ONE: FIRST, TWO: OLD}
    return {name: RolloutUnit(Rendered(Digest("2"), NEWER), held.get(name)) for name in names}


def back_of(kept: Passages, *holds: ClusterName) -> Mapping[UnitName, Rendered]:
    held = {UnitName(WEB, name): FIRST for name in holds}
    return taken_back(kept, kept.all[-1], held, Stop("it breaks", "jo", 5.0), (WEB,)).back


def test_a_cluster_that_is_renamed_by_a_commit_which_changes_its_result_goes_back_to_what_it_held() -> None:
    kept = take_over(after_prod_one(), WEB, newer(DEV, NINE, TWO), NEWER, 1.0)
    row = kept.all[-1].rows[WEB]
    assert row.targets.keys() == {DEV, NINE, TWO}
    known = kept.renamed(ONE, NINE)  # as it is once the new entry was reached
    row = known.all[-1].rows[WEB]
    assert (row.targets[NINE], row.before) == ("2", {DEV: OLD, NINE: OLD})
    assert back_of(known, DEV, NINE) == {UnitName(WEB, DEV): OLD, UnitName(WEB, NINE): OLD}
    # Another commit may come before that is known.
    third = Revision("d" * 40)
    later = {name: replace(one, result=Rendered(Digest("3"), third)) for name, one in newer(DEV, NINE, TWO).items()}
    assert take_over(kept, WEB, later, third, 2.0).renamed(ONE, NINE).all[-1].rows[WEB].before[NINE] == OLD


def test_a_unit_whose_build_fails_at_a_newer_commit_goes_back_to_what_it_held() -> None:
    kept = take_over(after_prod_one(), WEB, newer(DEV, TWO), NEWER, 1.0)
    assert back_of(kept, DEV, ONE)[UnitName(WEB, ONE)] == OLD


def test_a_cluster_that_left_and_comes_back_with_nothing_has_nothing_to_go_back_to() -> None:
    left = take_over(after_prod_one(), WEB, newer(DEV, TWO), NEWER, 1.0)
    assert UnitName(WEB, ONE) not in back_of(left, DEV), "what it held was let go"
    again = {**newer(DEV, TWO), ONE: RolloutUnit(Rendered(Digest("2"), NEWER), None)}
    same = take_over(left, WEB, again, NEWER, 2.0)
    assert ONE in same.all[-1].rows[WEB].targets
    assert ONE not in same.all[-1].rows[WEB].before
    third = Revision("d" * 40)
    later = {name: replace(one, result=Rendered(Digest("3"), third)) for name, one in again.items()}
    assert ONE not in take_over(left, WEB, later, third, 2.0).all[-1].rows[WEB].before


NEXT = Revision("c" * 40)


def aborted_late(*, held: str = "0") -> Passages:
    """Web is aborted; api, which that commit does not change, is on all clusters but one that joins since."""
    kept = take_over(Passages(), WEB, wanted("1"), HEAD, 0.0)
    kept = order(kept, "abort").kept
    return take_over(kept, API, joining(held), HEAD, 1.0)


def joining(target: str, head: Revision = HEAD) -> dict[ClusterName, RolloutUnit]:
    there = {name: RolloutUnit(Rendered(Digest(target), head), OLD) for name in CLUSTERS}
    return {**there, ClusterName("prod-9"): RolloutUnit(Rendered(Digest(target), head), None)}


def test_a_commit_that_was_aborted_bars_nothing_that_clusters_of_another_overlay_hold_already() -> None:
    kept = aborted_late()
    assert API not in kept.quarantine
    assert all(one.outcome for one in kept.all), "it does not begin by that commit"
    assert take_over(kept, API, joining("0"), HEAD, 2.0) == kept
    kept = take_over(kept, API, joining("0", NEXT), NEXT, 3.0)
    assert [one.commit for one in kept.all if API in one.rows and not one.outcome] == [NEXT]
    assert not kept.all[-1].rows[API].passed


def test_twin_what_that_commit_is_the_first_to_bring_is_barred_until_it_is_resumed() -> None:
    kept = aborted_late(held="1")
    assert kept.quarantine[API]["1"].clusters == {*CLUSTERS, ClusterName("prod-9")}
    after = take_over(kept, API, joining("1", NEXT), NEXT, 3.0)
    assert after == kept
    kept = take_over(order(kept, "resume").kept, API, joining("1"), HEAD, 4.0)
    assert not kept.all[-1].outcome
