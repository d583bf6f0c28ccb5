"""Waits between tries: bounded, spread, and never a repeat where waiting cures nothing."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, sampled_from, text

from fleet.core.retry import (
    READS,
    REFUSALS,
    STREAMS,
    Backoff,
    bounds_for,
    next_wait,
    retry_after_of,
    wait_before_repeat,
)
from fleet.errors import (
    ClusterTimeout,
    Conflict,
    Expired,
    Forbidden,
    IdentityMismatch,
    NotFound,
    TooManyRequests,
    Unauthorized,
)

fractions = floats(0, 1, exclude_max=True)


@given(first=floats(0.01, 20), factor=floats(1, 100), previous=floats(0, 1000), random=fractions)
def test_a_wait_stays_between_its_bounds(first: float, factor: float, previous: float, random: float) -> None:
    bounds = Backoff(first, first * factor)
    assert first <= next_wait(previous, random, bounds) <= bounds.longest_seconds * (1 + 1e-9)


@given(previous=floats(0.5, 20))
def test_a_longer_wait_follows_a_long_one(previous: float) -> None:
    assert next_wait(previous, 0.999, STREAMS) > previous


def test_equal_failures_are_spread_by_the_random_value() -> None:
    assert next_wait(1, 0.1, STREAMS) != next_wait(1, 0.9, STREAMS)


def test_refusals_are_asked_seldom_and_outages_soon() -> None:
    assert bounds_for(Unauthorized("x"), STREAMS) is REFUSALS
    assert bounds_for(Forbidden("x"), STREAMS) is REFUSALS
    assert bounds_for(ClusterTimeout("x"), STREAMS) is STREAMS


@given(seconds=integers(0, 10**12))
def test_retry_after_in_seconds_is_obeyed_up_to_two_minutes(seconds: int) -> None:
    assert retry_after_of(str(seconds), 0) == min(seconds, 120)


def test_retry_after_as_a_date_counts_from_now() -> None:
    assert retry_after_of(formatdate(1_000_030, usegmt=True), 1_000_000) == 30
    assert retry_after_of(formatdate(999_000, usegmt=True), 1_000_000) == 0


@given(text())
def test_any_other_retry_after_is_read_without_an_exception(header: str) -> None:
    wait = retry_after_of(header, 0)
    assert wait is None or 0 <= wait <= 120


@pytest.mark.parametrize("header", ["", "soon", "-1", "1.5", "²"])
def test_a_senseless_retry_after_is_none(header: str) -> None:
    assert retry_after_of(header, 0) is None


@given(
    error=sampled_from([NotFound("x"), Unauthorized("x"), IdentityMismatch("x"), Conflict("x"), Expired("x")]),
    tries=integers(1, 9),
)
def test_what_waiting_does_not_cure_is_not_repeated(error: NotFound, tries: int) -> None:
    assert wait_before_repeat(error, tries=tries, most_tries=10, previous=0, random=0.5) is None


@given(tries=integers(1, 9), random=fractions)
def test_an_outage_is_repeated_a_bounded_number_of_times(tries: int, random: float) -> None:
    wait = wait_before_repeat(ClusterTimeout("x"), tries=tries, most_tries=4, previous=0, random=random)
    assert (wait is None) == (tries >= 4)
    assert wait is None or READS.first_seconds <= wait <= READS.longest_seconds


@given(asked=floats(0, 120), random=fractions)
def test_a_repeat_never_comes_before_retry_after(asked: float, random: float) -> None:
    wait = wait_before_repeat(TooManyRequests("x"), tries=1, most_tries=4, previous=0, random=random, asked=asked)
    assert wait is not None
    assert asked <= wait <= asked * 1.25
