"""When a token is renewed, how often it is tried, and what a person is told."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis.strategies import floats, integers

from fleet.core.ids import ClusterName
from fleet.core.renewal import (
    SOON_SECONDS,
    CredentialState,
    Ends,
    Place,
    judge_ending,
    next_renewal,
    renewal_due,
)

DAY = 86_400.0
ISSUED = 1_800_000_000.0
NAME = ClusterName("eu-1")


def token(life: float, account: str = "fleet-system/fleet-hub") -> Ends:
    return Ends("token", ISSUED + life, ISSUED, account)


def state(life: float = 90 * DAY, place: Place = Place.STORED, **other: object) -> CredentialState:
    ends = token(life)
    return replace(
        CredentialState("eu-1", NAME, place, ends, ends, renew_at=renewal_due(ends, place)),
        **other,  # type: ignore[arg-type]
    )


@given(life=floats(1, 400 * DAY))
def test_a_token_is_renewed_when_two_thirds_of_its_life_are_over(life: float) -> None:
    due = renewal_due(token(life), Place.STORED)
    assert ISSUED < due < ISSUED + life
    assert abs(due - (ISSUED + life * 2 / 3)) < 1e-3 * max(1.0, life)


def test_what_is_no_token_of_ours_is_not_renewed() -> None:
    assert renewal_due(token(DAY), Place.FILE) == 0
    assert renewal_due(token(DAY, account=""), Place.STORED) == 0
    assert renewal_due(Ends("token"), Place.STORED) == 0
    assert renewal_due(Ends("token", ISSUED, ISSUED, "a/b"), Place.STORED) == 0


@given(life=floats(900, 400 * DAY), failures=integers(1, 200), part=floats(0.67, 1.5))
def test_a_failed_renewal_is_tried_again_later_and_often_before_the_end(
    life: float, failures: int, part: float
) -> None:
    tried = ISSUED + part * life
    failed = state(life, failures=failures, tried_at=tried, problem="no")
    following = next_renewal(failed)
    assert tried + 29 < following <= tried + 6 * 3600 + 1
    left = ISSUED + life - tried
    if left > 600:
        assert following <= tried + left / 10 + 1e-3
    assert following <= next_renewal(replace(failed, failures=failures + 1)) + 1e-3


def test_a_token_that_has_ended_is_tried_ever_more_seldom() -> None:
    now, tries = ISSUED + 90 * DAY, 0
    failed = state(failures=1, tried_at=now, problem="ended")
    while (now := next_renewal(failed)) < ISSUED + 100 * DAY:
        tries += 1
        failed = replace(failed, failures=failed.failures + 1, tried_at=now)
    assert tries < 60  # about four a day, not one a minute


def test_a_person_is_told_of_what_nobody_renews_and_of_what_failed() -> None:
    before, at_due = ISSUED + 50 * DAY, ISSUED + 61 * DAY
    assert judge_ending(state(), at_due) is None
    assert judge_ending(state(place=Place.FILE, renew_at=0.0), before) is None
    near = ISSUED + 90 * DAY - SOON_SECONDS + 1
    of_file = judge_ending(state(place=Place.FILE, renew_at=0.0), near)
    assert of_file is not None
    assert (of_file.failed, of_file.next_step) == (
        False,
        "put a newer one in its place: fleet cluster grant eu-1 --to FILE",
    )
    refused = state(problem="may not", reason="Forbidden", next_step="fleet cluster grant eu-1", failures=1)
    told = judge_ending(refused, at_due)
    assert told is not None
    assert (told.failed, told.what) == (True, "credential eu-1 is not renewed: may not")


def test_a_failure_that_may_pass_is_told_when_half_of_the_time_that_was_left_is_over() -> None:
    passing = state(problem="no answer", reason="ClusterUnreachable", passing=True, failures=3)
    assert judge_ending(passing, ISSUED + 70 * DAY) is None
    told = judge_ending(passing, ISSUED + 76 * DAY)
    assert told is not None
    assert told.failed


def test_an_authority_that_ends_is_told_though_the_token_is_renewed() -> None:
    held = state()
    held = replace(held, ends=Ends("authority", ISSUED + 20 * DAY, ISSUED - 300 * DAY))
    told = judge_ending(held, ISSUED + 10 * DAY)
    assert told is not None
    assert told.what == "credential eu-1, its authority"
