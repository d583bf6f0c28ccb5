"""Sync windows, also over clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given
from hypothesis.strategies import integers, sampled_from

from fleet.core.sync_policy import Window, WindowKind
from fleet.core.windows import Closed, Open, check_window, judge_windows, never_opens

BERLIN = "Europe/Berlin"
HOUR = 3600


def allow(schedule: str, hours: float, zone: str = "UTC") -> Window:
    return Window(WindowKind.ALLOW, schedule, int(hours * HOUR), zone)


def deny(schedule: str, hours: float, zone: str = "UTC") -> Window:
    return Window(WindowKind.DENY, schedule, int(hours * HOUR), zone)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_without_windows_it_is_open() -> None:
    assert judge_windows((), 0) == Open()


def test_an_allow_window_is_open_from_its_start_until_just_before_its_end() -> None:
    nightly = (allow("0 22 * * *", 2),)
    assert judge_windows(nightly, at("2026-11-25T22:00:00Z")) == Open(at("2026-11-26T00:00:00Z"))
    assert judge_windows(nightly, at("2026-11-25T23:59:59Z")) == Open(at("2026-11-26T00:00:00Z"))
    closed = judge_windows(nightly, at("2026-11-26T00:00:00Z"))
    assert isinstance(closed, Closed)
    assert closed.until == at("2026-11-26T22:00:00Z")
    assert "allow" in closed.reason


def test_deny_wins_over_allow() -> None:
    windows = (allow("0 0 * * *", 24), deny("0 12 * * *", 1))
    assert isinstance(judge_windows(windows, at("2026-11-25T11:00:00Z")), Open)
    assert judge_windows(windows, at("2026-11-25T12:30:00Z")) == Closed(
        at("2026-11-25T13:00:00Z"), "in a deny window (0 12 * * *, UTC)"
    )


def test_only_deny_windows_leave_the_rest_of_the_time_open() -> None:
    assert judge_windows((deny("0 12 * * *", 1),), at("2026-11-25T11:00:00Z")) == Open(at("2026-11-25T12:00:00Z"))


def test_local_time_follows_the_zone_in_summer_and_winter() -> None:
    morning = (allow("0 9 * * *", 1, BERLIN),)
    assert isinstance(judge_windows(morning, at("2026-07-01T07:30:00Z")), Open)
    assert isinstance(judge_windows(morning, at("2026-12-01T07:30:00Z")), Closed)
    assert isinstance(judge_windows(morning, at("2026-12-01T08:30:00Z")), Open)


def test_a_clock_change_inside_a_window_leaves_its_true_length() -> None:
    # In the night of 25 October 2026 Berlin has 02:00-03:00 twice.
    night = (allow("0 1 * * *", 4, BERLIN),)
    start = at("2026-10-25T01:00:00+02:00")
    assert judge_windows(night, start) == Open(start + 4 * HOUR)


@pytest.mark.parametrize(
    ("schedule", "zone", "start", "again"),
    [
        ("30 1 * * *", "America/New_York", "2025-11-02T05:30:00Z", "2025-11-02T06:00:00Z"),
        ("30 2 * * *", BERLIN, "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z"),  # half an hour
        ("30 1 * * *", "Antarctica/Troll", "2026-10-24T23:30:00Z", "2026-10-25T01:00:00Z"),  # two hours
    ],
)
def test_a_window_that_starts_in_the_hour_that_comes_twice_is_whole(
    schedule: str, zone: str, start: str, again: str
) -> None:
    """again: when the clock goes back, to before the window's start by its words."""
    denied, end = (deny(schedule, 4, zone),), at(start) + 4 * HOUR
    for now in (at(start), at(again) - 1, at(again), at(again) + 29 * 60, end - 1):
        verdict = judge_windows(denied, now)
        assert (type(verdict), verdict.until) == (Closed, end), now
    assert isinstance(judge_windows(denied, at(start) - 1), Open)
    assert isinstance(judge_windows(denied, end), Open)


@pytest.mark.parametrize("minutes", [-1, 0, 15, 30, 44, 45])
def test_what_began_in_the_part_that_comes_twice_holds_after_it_too(minutes: int) -> None:
    """Lord Howe goes back by half an hour at 15:00 UTC: 00:45 there was at 13:45, and from 15:30 on it is passed over
    by the words of the clock.
    """
    denied, again = (deny("45 */2 * * *", 2, "Australia/Lord_Howe"),), at("2026-04-04T15:00:00Z")
    now = again + 60 * minutes
    verdict = judge_windows(denied, now)
    assert isinstance(verdict, Open) is (minutes == 45), verdict


def test_a_start_that_the_clock_skips_happens_after_the_gap() -> None:
    # On 29 March 2026 there is no 02:30 in Berlin.
    night = (allow("30 2 * * *", 1, BERLIN),)
    assert isinstance(judge_windows(night, at("2026-03-29T01:15:00Z")), Open)


@pytest.mark.parametrize("schedule", ["30 2 * * *", "*/30 2 * * *", "0 * * * *", "*/20 2-3 * * *", "0 0 * * *"])
@pytest.mark.parametrize("zone", [BERLIN, "Australia/Lord_Howe"])
@pytest.mark.parametrize("day", ["2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24"])  # before a clock change
def test_the_time_until_which_it_stays_so_is_ahead_and_the_first_at_which_it_does_not(
    day: str, zone: str, schedule: str
) -> None:
    for kind in WindowKind:
        windows = (Window(kind, schedule, 1200, zone),)
        for number in range(40):
            now = at(f"{day}T12:05:00Z") + number * 1500
            verdict = judge_windows(windows, now)
            assert verdict.until is not None
            assert verdict.until > now, (day, now)
            other = Open if isinstance(verdict, Closed) else Closed
            assert isinstance(judge_windows(windows, verdict.until), other)
            assert isinstance(judge_windows(windows, verdict.until - 1), type(verdict))


@pytest.mark.parametrize(
    "windows",
    [
        (allow("0 22 * * *", 2), deny("0 0 * * *", 24)),
        (allow("0 22 * * *", 2), deny("0 20 * * *", 6)),
        (allow("0 9 * * 1", 1), deny("0 0 * * 1", 24), deny("0 0 * * 0", 24)),
        (allow("0 0 29 2 *", 1), deny("0 0 29 2 *", 3)),
        (allow("0 9 * * *", 1, BERLIN), deny("0 7 * * *", 2), deny("0 8 * * *", 1)),
        (deny("0 0 * * *", 24),),
        (deny("0 * * * *", 1),),
        (deny("0 0 * * *", 1e9),),
    ],
)
def test_windows_that_a_deny_covers_wholly_never_open(windows: tuple[Window, ...]) -> None:
    assert never_opens(windows)


@pytest.mark.parametrize(
    "windows",
    [
        (),
        (allow("0 22 * * *", 2),),
        (allow("0 22 * * *", 2), deny("0 20 * * *", 3.99)),
        (allow("0 9 * * 1", 1), deny("0 0 * * 0", 24)),
        (allow("0 0 29 2 *", 1), deny("0 0 28 2 *", 24)),
        (allow("0 9 * * *", 1, BERLIN), deny("0 7 * * *", 1)),  # in summer it is 7 in UTC, in winter 8
        (allow("0 22 * * *", 2), deny("0 0 1-30 * *", 24)),  # on the 31st
        (deny("0 0 * * *", 23.99),),
        (allow("0 25 * * *", 1), deny("0 0 * * *", 24)),  # cannot be read, which is said elsewhere
    ],
)
def test_windows_that_leave_a_minute_open_do(windows: tuple[Window, ...]) -> None:
    assert not never_opens(windows)


@pytest.mark.parametrize(
    ("window", "why"), [(allow("0 25 * * *", 1), "schedule"), (allow("0 1 * * *", 1, "Mars/Base"), "time zone")]
)
def test_a_window_that_cannot_be_read_closes_and_says_why(window: Window, why: str) -> None:
    invalid = check_window(window)
    assert invalid is not None
    assert why in invalid.why
    closed = judge_windows((window,), at("2026-11-25T01:00:00Z"))
    assert closed == Closed(None, invalid.why)


@given(
    minutes=integers(0, 60 * 24 * 400),
    schedule=sampled_from(["0 * * * *", "30 1 * * *", "30 2 * * *", "15 1 * * 0", "0 0 1 * *", "*/20 3 * * *"]),
    length=integers(60, 40 * HOUR),
    zone=sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"]),
)
@example(minutes=0, schedule="0 * * * *", length=60, zone="UTC")
@example(minutes=297 * 1440 + 70, schedule="30 2 * * *", length=4 * HOUR, zone=BERLIN)  # 02:10, the second time
@example(minutes=304 * 1440 + 370, schedule="30 1 * * *", length=4 * HOUR, zone="America/New_York")
def test_a_window_is_active_exactly_where_one_of_its_starts_lies_within_its_length(
    minutes: int, schedule: str, length: int, zone: str
) -> None:
    now = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC) + timedelta(minutes=minutes)
    starts = CronSim(schedule, (now - timedelta(seconds=length + 86400)).astimezone(ZoneInfo(zone)))
    active = False
    for start in starts:
        if start.timestamp() > now.timestamp():
            break
        active = active or now.timestamp() < start.timestamp() + length
    verdict = judge_windows((Window(WindowKind.ALLOW, schedule, length, zone),), now.timestamp())
    assert isinstance(verdict, Open) == active


@given(minutes=integers(0, 60 * 24 * 30), first=integers(0, 23), second=integers(0, 23), hours=integers(1, 20))
def test_the_time_until_which_it_is_closed_is_the_first_open_one(
    minutes: int, first: int, second: int, hours: int
) -> None:
    windows = (allow(f"0 {first} * * *", hours), deny(f"30 {second} * * *", 2))
    now = at("2026-01-01T00:00:00Z") + minutes * 60
    verdict = judge_windows(windows, now)
    if verdict.until is None:
        return
    other = Open if isinstance(verdict, Closed) else Closed
    assert isinstance(judge_windows(windows, verdict.until), other)
    assert isinstance(judge_windows(windows, verdict.until - 1), type(verdict))
