"""Overrides: who must agree, and what they never pass."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.overrides import Way, judge_override

people = st.lists(st.sampled_from(["jo", "mara", "kim"]), max_size=5)


@given(people, st.integers(0, 3), st.booleans(), st.booleans(), st.sampled_from(["", "suspended"]))
def test_enough_others_must_agree_and_nothing_that_was_stopped_passes(
    approved_by: list[str], needed: int, waits: bool, is_bound: bool, refused: str
) -> None:
    found = judge_override(
        actor="jo", approved_by=approved_by, needed=needed, waits=waits, is_bound=is_bound, refused=refused
    )
    others = set(approved_by) - {"jo"}
    if refused:
        assert (found.way, found.why) == (Way.REFUSED, refused)
    elif not is_bound:
        assert found.way is Way.WAITS
    elif len(others) < needed:
        assert found.way is Way.WAITS
        assert "approval" in found.why
    else:
        assert found.way is (Way.RELEASE if waits else Way.SYNC)
