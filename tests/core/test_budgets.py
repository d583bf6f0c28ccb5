"""A looser budget counts an hour after it was first fetched, a tighter one at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import builds, floats, integers, lists, sampled_from, tuples

from fleet.core.budgets import HOUR_SECONDS, MOST, Budgets, decode_budgets, encode_budgets, stricter
from fleet.core.sync_policy import Budget

STRICT, LOOSE = Budget(), Budget(1000, 1.0, 1000, 1000)
BUDGETS = builds(Budget, integers(0, 3), sampled_from([0.1, 0.25, 1.0]), integers(1, 3), integers(0, 3))


def test_the_first_budget_that_is_fetched_counts_at_once() -> None:
    assert Budgets().with_budget(LOOSE, 0.0).in_force(0.0) == LOOSE


@pytest.mark.parametrize(("later", "counts"), [(0.0, STRICT), (HOUR_SECONDS - 1, STRICT), (HOUR_SECONDS, LOOSE)])
def test_a_looser_one_counts_an_hour_later(later: float, counts: Budget) -> None:
    budgets = Budgets().with_budget(STRICT, 0.0).with_budget(LOOSE, 9_000.0)
    assert budgets.in_force(9_000.0 + later) == counts


def test_a_tighter_one_counts_at_once_and_loosening_it_again_begins_anew() -> None:
    budgets = Budgets().with_budget(LOOSE, 0.0).with_budget(STRICT, 9_000.0)
    assert budgets.in_force(9_000.0) == STRICT
    budgets = budgets.with_budget(LOOSE, 9_060.0)
    assert budgets.in_force(9_000.0 + HOUR_SECONDS) == STRICT
    assert budgets.in_force(9_060.0 + HOUR_SECONDS) == LOOSE


def test_what_was_fetched_before_keeps_its_time() -> None:
    budgets = Budgets().with_budget(STRICT, 0.0).with_budget(LOOSE, 9_000.0)
    assert budgets.with_budget(LOOSE, 10_000.0) is budgets


@given(lists(tuples(floats(0, 2000), BUDGETS), min_size=1, max_size=MOST * 2), floats(0, 9000))
def test_each_that_was_said_within_the_hour_counts(said: list[tuple[float, Budget]], later: float) -> None:
    budgets, now, spans = Budgets(), 0.0, list[list[float]]()
    order: list[Budget] = []
    for pause, budget in said:
        now += pause
        budgets = budgets.with_budget(budget, now)
        if not order or order[-1] != budget:
            if spans:
                spans[-1][1] = now
            order.append(budget)
            spans.append([now, float("inf")])
    now += later
    expected = order[-1]
    for budget, (_, end) in zip(order, spans, strict=True):
        if end > now - HOUR_SECONDS:
            expected = stricter(expected, budget)
    found = budgets.in_force(now)
    assert stricter(found, expected) == found  # never looser; where much was said it may be stricter
    if len(order) <= MOST:
        assert found == expected
    assert len(budgets.fetched) <= MOST
    assert decode_budgets(encode_budgets(budgets)) == budgets


@pytest.mark.parametrize("text", ["", "{", "[1]", '[["a", 1, 1, 1, 1]]', "[[0, 1]]", "null"])
def test_what_was_not_written_so_is_no_budget(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_budgets(text)
