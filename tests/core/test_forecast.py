"""When a rollout ends: the interval holds what it promises, and says nothing where it knows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.played import HERE, Played, ask_all, fleet, steps
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.core.forecast import (
    POINTS,
    Course,
    Leg,
    course_of,
    decode_courses,
    encode_courses,
    forecast,
    forecast_of_plan,
    said,
)
from fleet.core.gates import GateState, Verdict, opened
from fleet.core.ids import ClusterName, OverlayName, Revision
from fleet.core.passage import Passage, Row, Stop
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import (
    Gate,
    HttpCheck,
    JobCheck,
    RolloutPolicy,
    Step,
)
from fleet.core.steps import Stage

WEB = OverlayName("web")
NAMES = [ClusterName(f"c{number}") for number in range(4)]


def test_the_true_end_lies_inside_in_about_eight_of_ten_rollouts() -> None:
    asked = list(ask_all(worlds=8, each=16, seed=3))
    inside = [one.is_inside for one in asked if one.forecast.low is not None]
    assert len(inside) >= 60
    assert 0.7 <= sum(inside) / len(inside) <= 0.9  # few rollouts; the benchmark eta judges by many


def facts(*conditions: Condition, stages: tuple[Stage, ...] = (), soak: float = 0.0) -> RowFacts:
    units = {
        name: UnitFact("new", condition is not Condition.WELL or number < 2, condition)
        for number, (name, condition) in enumerate(zip(NAMES, conditions, strict=False))
    }
    return RowFacts(stages or (Stage(Step("all", HERE, rest=True, soak_seconds=soak), tuple(NAMES)),), units, 600.0)


def course(*landed: float, name: str = "all") -> Course:
    return Course({name: Leg(1, landed[-1], landed)})


def passage(**row: object) -> Passage:
    return Passage(Revision("c1"), 0.0, {WEB: Row(dict.fromkeys(NAMES, "new"), **row)})  # type: ignore[arg-type]


BUSY = (Condition.BUSY,) * 4
TEN = [course(10.0, 20.0, 30.0, 40.0 + 10 * number) for number in range(10)]


def test_of_fewer_than_three_rollouts_nothing_is_said_but_why() -> None:
    now = {WEB: facts(*BUSY)}
    for known, why in ([], "no history"), (TEN[:2], "only 2 earlier rollouts"):
        found = forecast(passage(), now, {WEB: known}, 0.0)
        assert (found.low, found.high) == (None, None)
        assert found.basis == f"no forecast for web: {why}"
        assert said(found) == found.basis
    other = [course(1.0, name="renamed")] * 9
    assert "no earlier rollout through these steps" in forecast(passage(), now, {WEB: other}, 0.0).basis


def test_from_nine_on_the_interval_lies_between_their_own_ends() -> None:
    found = forecast(passage(opened={"all": 0.0}), {WEB: facts(*BUSY)}, {WEB: TEN}, 0.0)
    assert (found.low, found.high) == (pytest.approx(41.0), pytest.approx(129.0))
    assert said(found) == "ends in 1-2 min (80 %, from 10 earlier rollouts of web)"


def test_what_is_done_already_and_how_long_it_stands_count() -> None:
    half = (Condition.WELL, Condition.WELL, Condition.BUSY, Condition.BUSY)
    row = {"opened": {"all": 0.0}, "landed": {NAMES[0]: 50.0, NAMES[1]: 100.0}}
    found = forecast(passage(**row), {WEB: facts(*half)}, {WEB: TEN}, 105.0)
    assert found.low == pytest.approx(41.0 - 25.0)  # from the second landing at 20 s, and 5 s stood
    slow = forecast(passage(**row), {WEB: facts(*half)}, {WEB: TEN}, 200.0)
    assert slow.low is not None
    assert slow.low > found.low
    assert "slower here than nearly all of 10 earlier rollouts" in slow.basis


def test_a_soak_is_known_and_not_guessed() -> None:
    all_well = (Condition.WELL,) * 2
    now = {WEB: facts(*all_well, soak=600.0)}
    found = forecast(passage(opened={"all": 0.0}, calm={"all": 100.0}), now, {WEB: TEN}, 400.0)
    assert (found.low, found.high) == (300.0, 300.0)


def test_a_step_of_twice_as_many_turns_takes_twice_as_long() -> None:
    stage = Stage(steps(parallel=2)[2], tuple(NAMES))
    once = [Course({"prod": Leg(1, 60.0 + number, (60.0 + number,))}) for number in range(12)]
    found = forecast_of_plan(WEB, NAMES, facts(*BUSY, stages=(stage,)), {WEB: once})
    alone = forecast_of_plan(WEB, NAMES[:2], facts(*BUSY, stages=(stage,)), {WEB: once})
    assert found.low == pytest.approx(2 * alone.low)


def test_what_a_person_must_do_first_is_said_and_not_counted() -> None:
    gate = (Stage(Step("ok", HERE, approvals=1)), Stage(Step("all", HERE, rest=True), tuple(NAMES)))
    found = forecast(passage(), {WEB: facts(*BUSY, stages=gate)}, {WEB: TEN}, 0.0)
    assert found.after == "once step ok is approved"
    assert "once step ok is approved (80 %" in said(found)
    waits = (Condition.WAITS, *BUSY[1:])
    assert forecast(passage(), {WEB: facts(*waits)}, {WEB: TEN}, 0.0).after.startswith("once c0 waits no more")


HTTP = Gate("smoke", HttpCheck("https://shop.acme.io"), HERE, window_seconds=600.0)
JOB = Gate("smoke", JobCheck("gates/smoke.yaml"), HERE)
LONG = replace(HTTP, window_seconds=900.0)
READS = opened(HTTP, 100.0)


@pytest.mark.parametrize(
    ("gate", "state", "now", "is_said"),
    [
        (HTTP, None, 0.0, False),  # before its step is Healthy: it is measured while that soaks
        (LONG, None, 0.0, True),
        (JOB, None, 0.0, True),  # how long it runs, nobody knows
        (HTTP, replace(READS, good_since=100.5), 400.0, False),  # it soaks for 300 s more
        (HTTP, READS, 400.0, True),  # its window begins anew
        (HTTP, replace(READS, good_since=350.0), 400.0, True),
        (LONG, replace(READS, good_since=100.5), 400.0, True),
        (JOB, READS, 400.0, True),
        (JOB, replace(READS, verdict=Verdict.PASSED), 400.0, False),
        (HTTP, replace(READS, good_since=300.0), 800.0, True),  # the soak is over
        (HTTP, replace(READS, verdict=Verdict.PASSED), 800.0, False),
    ],
)
def test_gates_that_last_longer_than_the_soak_are_said_and_not_counted(
    gate: Gate, state: GateState | None, now: float, is_said: bool
) -> None:
    stage = Stage(Step("all", HERE, rest=True, soak_seconds=600.0, gates=(gate,)), tuple(NAMES))
    soaks = {"opened": {"all": 0.0}, "calm": {"all": 100.0}} if now else {}
    row = {**soaks, "gates": {"all/smoke": state} if state is not None else {}}
    found = forecast(passage(**row), {WEB: facts(*BUSY, stages=(stage,))}, {WEB: TEN}, now)
    assert found.after == ("once the gates of step all are passed" if is_said else "")
    assert found.low is not None


def test_the_gates_of_a_step_without_soak_are_said_for_as_long_as_they_are_read() -> None:
    gate = replace(HTTP, window_seconds=0.0)
    stage = Stage(Step("all", HERE, rest=True, gates=(gate,)), tuple(NAMES))
    row = {"opened": {"all": 0.0}, "calm": {"all": 100.0}, "gates": {"all/smoke": opened(gate, 100.0)}}
    found = forecast(passage(**row), {WEB: facts(*BUSY, stages=(stage,))}, {WEB: TEN}, 130.0)
    assert said(found).startswith("ends in 0-1 s once the gates of step all are passed (80 %")


@pytest.mark.parametrize(
    ("last", "passed", "words"),
    [
        (
            Step("smoke", HERE, gates=(HTTP,)),
            {"all"},
            "all clusters have it; over once the gates of step smoke are passed",
        ),
        (Step("ok", HERE, approvals=1), {"all"}, "all clusters have it; over once step ok is approved"),
        (
            Step("smoke", HERE, gates=(HTTP,)),
            {"all", "smoke"},
            "all steps are over; clusters that were left out follow",
        ),
    ],
)
def test_a_last_step_that_takes_no_clusters_is_not_over_before_it_is(last: Step, passed: set[str], words: str) -> None:
    stages = (Stage(Step("all", HERE, rest=True), tuple(NAMES)), Stage(last))
    well = facts(*(Condition.WELL,) * 4, stages=stages)
    assert said(forecast(passage(passed=frozenset(passed)), {WEB: well}, {WEB: TEN}, 100.0)) == words


def test_a_last_step_with_gates_is_said_beside_an_overlay_that_has_clusters_left() -> None:
    stages = (Stage(Step("all", HERE, rest=True), tuple(NAMES)), Stage(Step("smoke", HERE, gates=(HTTP,))))
    api = OverlayName("api")
    through = Row(dict.fromkeys(NAMES, "new"), passed=frozenset({"all"}))
    both = replace(passage(), rows={api: through, **passage().rows})
    of_api = facts(*(Condition.WELL,) * 4, stages=stages)
    found = forecast(both, {WEB: facts(*BUSY), api: of_api}, {WEB: TEN}, 0.0)
    assert found.low is not None
    assert found.after == "once the gates of step smoke are passed"


@pytest.mark.parametrize("field", ["halted", "paused", "outcome"])
def test_of_what_does_not_go_on_no_end_is_forecast(field: str) -> None:
    stopped = replace(passage(), **{field: "aborted" if field == "outcome" else Stop("crash", "hub", 0.0)})
    assert forecast(stopped, {WEB: facts(*BUSY)}, {WEB: TEN}, 0.0).low is None


def test_a_step_that_matches_nothing_and_one_that_nobody_can_judge_have_no_end() -> None:
    broken = replace(facts(*BUSY), broken={"canary": "it matches no cluster"})
    assert (
        forecast(passage(), {WEB: broken}, {WEB: TEN}, 0.0).basis == "no forecast for web: step canary cannot be done"
    )
    stopped = {WEB: facts(*(Condition.STOPPED,) * 4)}
    assert "can be judged" in forecast(passage(), stopped, {WEB: TEN}, 0.0).basis


def test_a_cluster_that_cannot_be_reached_may_take_its_whole_patience() -> None:
    away = (Condition.AWAY, *BUSY[1:])
    near, far = (forecast(passage(opened={"all": 0.0}), {WEB: facts(*now)}, {WEB: TEN}, 0.0) for now in (BUSY, away))
    assert near.low == far.low
    assert far.high == pytest.approx((near.high or 0) + 600.0)


def test_a_rollout_that_was_stopped_is_no_measure_and_one_that_was_not_is() -> None:
    world = Played(fleet(), RolloutPolicy(steps()), {WEB: lambda: 30.0})
    world.to_the_end()
    row, known = world.passage.rows[WEB], world.facts()[WEB]
    kept = course_of(row, known)
    assert kept is not None
    assert list(kept.legs) == ["canary", "staging", "prod"]
    assert kept.legs["prod"].waves == 5
    assert kept.legs["prod"].seconds == pytest.approx(150.0)
    assert len(kept.legs["prod"].landed) == POINTS
    assert course_of(replace(row, disturbed=True), known) is None
    assert course_of(replace(row, excused=frozenset({NAMES[0]})), known) is None
    assert course_of(replace(row, calm={}), known) is None


legs = st.builds(Leg, st.integers(1, 9), st.floats(0, 1e6), st.lists(st.floats(0, 1e6), min_size=1).map(tuple))


@given(st.lists(st.builds(Course, st.dictionaries(st.text(max_size=5), legs, max_size=3)), max_size=5).map(tuple))
def test_courses_are_read_as_they_were_written(courses: tuple[Course, ...]) -> None:
    assert decode_courses(encode_courses(courses)) == courses


@pytest.mark.parametrize("text", ["{}x", "[1]", '[{"all": [1, 2]}]', '[{"all": 3}]', "null"])
def test_a_history_that_is_damaged_is_said_to_be(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_courses(text)


moments = st.lists(st.floats(0.0, 5000.0), min_size=1, max_size=9).map(lambda found: tuple(sorted(found)))


@settings(deadline=None)
@given(st.lists(moments, min_size=3, max_size=30), st.floats(0, 9000), st.lists(st.sampled_from(Condition), min_size=4))
def test_an_interval_has_its_ends_in_order_and_never_in_the_past(
    landed: list[tuple[float, ...]], now: float, conditions: list[Condition]
) -> None:
    found = forecast(
        passage(opened={"all": 0.0}), {WEB: facts(*conditions[:4])}, {WEB: [course(*one) for one in landed]}, now
    )
    if found.low is not None and found.high is not None:
        assert 0.0 <= found.low <= found.high
    assert found.basis
