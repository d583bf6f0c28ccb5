from __future__ import annotations

from email.utils import formatdate

import pytest

from fleet.core.clocks import ahead_by, moment_of, skew_of

NOW = 1_000_000.0


def date(at: float) -> str:
    return formatdate(at, usegmt=True)


@pytest.mark.parametrize(("there", "skew"), [(3600, 3600), (-3600, -3599), (0, 0), (-0.4, 0), (1, 1)])
def test_a_date_says_how_far_a_clock_is_off_as_far_as_whole_seconds_go(there: float, skew: float) -> None:
    assert skew_of(date(NOW + there), NOW, NOW) == skew


@pytest.mark.parametrize("said", ["", "soon", "Mon, 99 Foo 2026 25:61:00 GMT", "0"])
def test_what_is_no_date_says_nothing(said: str) -> None:
    assert moment_of(said) is None
    assert skew_of(said, NOW, NOW) is None
    assert ahead_by(42.0, said, NOW, NOW) == 42.0


def test_small_differences_are_none_and_do_not_move_what_is_held() -> None:
    assert ahead_by(0.0, date(NOW + 4), NOW, NOW) == 0.0
    held = ahead_by(0.0, date(NOW + 3600), NOW, NOW)
    assert held == 3600
    assert ahead_by(held, date(NOW + 3603), NOW, NOW) == held
    assert ahead_by(held, date(NOW), NOW, NOW) == 0.0  # somebody has set it right


def test_a_slow_answer_says_nothing_of_a_clock() -> None:
    assert ahead_by(0.0, date(NOW + 3600), NOW - 30, NOW) == 0.0
