"""What a person was asked about, and until when it counts."""

from __future__ import annotations

from core.building import UNIT, ref
from hypothesis import given
from hypothesis.strategies import dictionaries, frozensets, integers, none, sampled_from

from fleet.core.asked import Asked, asked_of, still_asked
from fleet.core.ids import Digest, ObjectRef
from fleet.core.record import Row, RowState

REFS = [ref(name) for name in "abcdef"]
ASKED = asked_of((), "prune-budget", frozenset(REFS[:3]))
OLD, NEW = Digest("old"), Digest("new")


def rows(*refs: ObjectRef) -> dict[ObjectRef, Row]:
    return {each: Row(UNIT, each, RowState.APPLIED, desired=OLD) for each in refs}


def test_what_is_dropped_still_stays_asked_about() -> None:
    assert still_asked(ASKED, rows(*REFS), dict[ObjectRef, Digest]().get) == ASKED


def test_what_is_gone_or_wanted_again_is_asked_about_no_more() -> None:
    _, b, c = REFS[:3]
    assert still_asked(ASKED, rows(b, c), {b: OLD}.get) == (Asked(c, "prune-budget"),)


def test_what_is_to_be_made_anew_is_wanted_and_stays_asked_about_until_it_stands_as_wanted() -> None:
    a = REFS[0]
    assert Asked(a, "prune-budget") in still_asked(ASKED, rows(*REFS), {a: NEW}.get)
    assert Asked(a, "prune-budget") not in still_asked(ASKED, rows(*REFS), {a: OLD}.get)


def test_another_hold_of_the_same_object_gives_the_reason() -> None:
    assert asked_of(ASKED, "sharp-fall", {REFS[0], REFS[5]}) == (
        Asked(REFS[0], "sharp-fall"),
        *ASKED[1:],
        Asked(REFS[5], "sharp-fall"),
    )


@given(
    holds=dictionaries(integers(0, 5), frozensets(sampled_from(REFS)), max_size=4),
    there=frozensets(sampled_from(REFS)),
    wanted=dictionaries(sampled_from(REFS), none() | sampled_from([OLD, NEW])),
)
def test_it_is_sorted_has_each_object_once_and_only_shrinks_by_what_is_settled(
    holds: dict[int, frozenset[ObjectRef]], there: frozenset[ObjectRef], wanted: dict[ObjectRef, Digest | None]
) -> None:
    known: tuple[Asked, ...] = ()
    for number, refs in holds.items():
        known = asked_of(known, f"reason-{number}", refs)
    assert [each.ref for each in known] == sorted(frozenset[ObjectRef]().union(*holds.values()))
    left = still_asked(known, rows(*there), wanted.get)
    assert {each.ref for each in left} == {
        each.ref for each in known if each.ref in there and wanted.get(each.ref) != OLD
    }
    assert still_asked(left, rows(*there), wanted.get) == left
