"""How long a change takes before it is merged: the least by its steps, an interval by history, never a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.forecast import Course as Past
from fleet.core.forecast import Leg
from fleet.core.ids import ClusterName, OverlayName
from fleet.core.planning.course import Course, least_of
from fleet.core.planning.estimate import estimate_of
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Gate, HttpCheck, Step
from fleet.core.steps import Stage, Staged

HERE = Origin("fleet.yaml", 1)
WEB = OverlayName("web")


def gate(window: float) -> Gate:
    return Gate("calm", HttpCheck("https://x.example"), HERE, window_seconds=window)


def course(*stages: tuple[float, float, int]) -> Course:
    """Stages of soak, a gate's window, and so many clusters."""
    found = [
        Stage(
            Step(f"s{number}", HERE, rest=True, soak_seconds=soak, gates=(gate(window),) if window else ()),
            tuple(ClusterName(f"c{number}-{index}") for index in range(clusters)),
        )
        for number, (soak, window, clusters) in enumerate(stages)
    ]
    return Course(WEB, Staged(tuple(found), ()), frozenset(name for stage in found for name in stage.clusters))


def past(count: int, *names: str, seconds: float = 60.0) -> list[Past]:
    return [Past({name: Leg(1, seconds + turn, (seconds + turn,)) for name in names}) for turn in range(count)]


def test_gates_are_read_while_it_soaks_and_a_step_without_clusters_takes_no_time() -> None:
    assert least_of(course((600.0, 60.0, 2), (0.0, 120.0, 1), (900.0, 0.0, 0))).least_seconds == 720.0
    found = least_of(course((600.0, 0.0, 1)))
    assert (found.words, found.low, found.high) == ("10m at least, by its soaks and gates alone", None, None)


def test_without_soak_or_gate_nothing_is_claimed() -> None:
    found = least_of(course((0.0, 0.0, 3)))
    assert (found.words, found.least_seconds, found.low) == ("", 0.0, None)
    assert "depends on how soon clusters are Healthy" in found.basis


def test_earlier_rollouts_give_an_interval_to_which_soaks_are_added() -> None:
    found = estimate_of(course((600.0, 0.0, 1)), past(12, "s0"), patience_seconds=600.0)
    assert found.low is not None
    assert found.high is not None
    assert 660.0 <= found.low < found.high <= 680.0
    assert found.words == "11-11 min (80 %, from 12 earlier rollouts of web)"


def test_too_few_or_other_steps_give_the_least_and_say_why() -> None:
    few = estimate_of(course((600.0, 0.0, 1)), past(2, "s0"), patience_seconds=600.0)
    assert few.words == "10m at least, by its soaks and gates alone; no forecast for web: only 2 earlier rollouts"
    others = estimate_of(course((0.0, 0.0, 1)), past(12, "other"), patience_seconds=600.0)
    assert (others.words, others.high) == ("no forecast for web: no earlier rollout through these steps", None)


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(1, 4)), min_size=1, max_size=4))
def test_an_interval_never_ends_before_the_soaks_do(drawn: list[tuple[int, int, int]]) -> None:
    asked = course(*((float(soak), float(window), clusters) for soak, window, clusters in drawn))
    names = [stage.name for stage in asked.staged.stages]
    found = estimate_of(asked, past(9, *names), patience_seconds=600.0)
    assert found.low is not None
    assert found.low >= asked.soak_seconds
    assert found.least_seconds >= asked.soak_seconds == pytest.approx(sum(soak for soak, _, _ in drawn))
