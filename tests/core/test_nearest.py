"""Did-you-mean."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.core.nearest import hint, nearest

WORDS = ["environment", "variables", "overlays", "matchLabels", "except"]


@given(st.sampled_from(WORDS), st.data())
def test_one_slip_of_a_finger_is_understood(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 1))
    slip = data.draw(st.sampled_from(["drop", "double", "swap"]))
    match slip:
        case "drop":
            typed = word[:at] + word[at + 1 :]
        case "double":
            typed = word[:at] + word[at] + word[at:]
        case _:
            assume(at + 1 < len(word))
            typed = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    assert nearest(typed, WORDS) == word


@given(st.text(), st.lists(st.text()))
def test_it_is_always_one_of_the_known_words_or_none(word: str, known: list[str]) -> None:
    assert nearest(word, known) in (None, *known)


def test_case_alone_is_a_slip_and_far_words_are_none() -> None:
    assert nearest("EXCEPT", WORDS) == "except"
    assert nearest("zzz", WORDS) is None
    assert hint("zzz", WORDS, otherwise="known: 5") == "known: 5"
    assert nearest("x" * 10_000, WORDS) is None
