from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import floats, integers, lists, sampled_from, tuples

from fleet.core.refusal_log import (
    API_ENTRIES_AN_HOUR,
    CALLER_ENTRIES_AN_HOUR,
    CHANGED_SECONDS,
    ENTRIES_AN_HOUR,
    HOUR_SECONDS,
    REPEAT_SECONDS,
    Boundary,
    Refusal,
    RefusalLog,
)


def refusal(reason: str = "IdentityMismatch", message: str = "another cluster", **place: str) -> Refusal:
    return Refusal(Boundary.CLUSTER, reason, message, **{"cluster": "eu-1", **place})


def test_a_refusal_is_written_with_its_rule_and_a_failure_is_not() -> None:
    log = RefusalLog()
    entry = log.take(refusal(), 1000.0)
    assert entry is not None
    assert (entry.action, entry.outcome, entry.cluster) == ("refuse", "refused", "eu-1")
    assert entry.reason == "IdentityMismatch (R1): another cluster"
    assert log.take(refusal("ClusterUnreachable"), 1000.0) is None


def test_what_stays_is_written_again_after_an_hour_with_its_count() -> None:
    log = RefusalLog()
    assert log.take(refusal(), 0.0)
    assert [log.take(refusal(), float(at)) for at in range(1, 100)] == [None] * 99
    again = log.take(refusal(), REPEAT_SECONDS)
    assert again is not None
    assert again.reason.endswith("; 99 times more since it was written last")


def test_other_words_are_written_after_a_minute_and_other_places_at_once() -> None:
    log = RefusalLog()
    assert log.take(refusal(), 0.0)
    assert log.take(refusal(message="yet another"), CHANGED_SECONDS - 1) is None
    assert log.take(refusal(message="yet another"), CHANGED_SECONDS)
    assert log.take(refusal(cluster="eu-2"), 1.0)
    assert log.take(refusal(actor="jo"), 1.0)


def test_foreign_text_is_cut_and_cannot_drive_a_terminal() -> None:
    entry = RefusalLog().take(refusal(message="\x1b[2J\n" + "x" * 9000, object="\u202e" + "y" * 9000), 0.0)
    assert entry is not None
    assert len(entry.reason) < 600
    assert entry.reason.isprintable()
    assert len(entry.object) <= 500


moments = floats(0, 4 * HOUR_SECONDS)
kinds = tuples(integers(0, 2000), sampled_from(["IdentityMismatch", "AddressRefused", "ClusterUnreachable"]))


@given(lists(tuples(moments, kinds), max_size=400))
def test_each_refusal_is_written_or_counted_in_a_later_entry(knocks) -> None:
    log, written = RefusalLog(), 0
    for at, (number, reason) in sorted(knocks):
        written += log.take(refusal(reason, cluster=f"c-{number}"), at) is not None
    told = {(number, reason) for _, (number, reason) in knocks if reason != "ClusterUnreachable"}
    assert len(told) <= written <= sum(reason != "ClusterUnreachable" for _, (_, reason) in knocks)


def test_a_flood_of_different_refusals_is_bounded_and_says_how_many_were_left_out() -> None:
    log = RefusalLog()
    entries = [log.take(refusal(cluster=f"c-{number}"), 1.0) for number in range(3 * ENTRIES_AN_HOUR)]
    assert sum(entry is not None for entry in entries) == ENTRIES_AN_HOUR
    later = log.take(refusal(cluster="late"), 1.0 + HOUR_SECONDS)
    assert later is not None
    assert later.reason.endswith(f"; {2 * ENTRIES_AN_HOUR} other refusals were only counted")


def asked(reason: str, number: int, actor: str = "dash") -> Refusal:
    return Refusal(Boundary.API, reason, f"x{number}: not known", actor=actor, object=f"GET /api/v1/{number}")


def test_no_caller_of_the_api_uses_up_the_entries_of_others_nor_those_of_its_own_worse_deeds() -> None:
    log = RefusalLog()
    entries = [log.take(asked("RequestInvalid", number), 1.0) for number in range(2000)]
    assert sum(entry is not None for entry in entries) == CALLER_ENTRIES_AN_HOUR
    assert log.take(asked("NotAllowed", 1), 2.0)
    assert log.take(asked("RequestInvalid", 1, "jo"), 2.0)
    assert log.take(Refusal(Boundary.GIT, "HistoryRewritten", "the branch was rewritten"), 2.0)
    assert log.take(refusal(), 2.0)
    assert log.take(asked("RequestInvalid", 1), 1.0 + HOUR_SECONDS)


def test_all_callers_together_leave_the_other_boundaries_all_of_their_entries() -> None:
    log = RefusalLog()
    knocks = [asked("NotAllowed", number, f"ci-{number % 90}") for number in range(3000)]
    assert sum(log.take(each, 1.0) is not None for each in knocks) == API_ENTRIES_AN_HOUR
    others = [refusal(cluster=f"c-{number}") for number in range(ENTRIES_AN_HOUR)]
    assert all(log.take(each, 2.0) for each in others)


def test_an_hour_of_different_clumsy_requests_of_a_person_is_written_as_a_whole() -> None:
    log = RefusalLog()
    assert all(log.take(asked("NotAllowed", number), 60.0 * number) for number in range(CALLER_ENTRIES_AN_HOUR))


def test_a_clock_that_goes_back_silences_nothing_for_good() -> None:
    log = RefusalLog()
    assert log.take(refusal(), 10_000.0)
    assert log.take(refusal(), 5.0)
