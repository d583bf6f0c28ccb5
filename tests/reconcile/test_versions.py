"""Which of two states of an object is the older one, by what its cluster says; a cluster may say anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import integers

from fleet.core.ids import is_at_or_before
from fleet.reconcile.observe import _stands_at_or_before  # pyright: ignore[reportPrivateUsage]


def labelled(version: str) -> dict[str, object]:
    return {"metadata": {"resourceVersion": version, "labels": {"fleet.internal/installation": "i"}}}


@given(integers(0, 30), integers(0, 30))
def test_versions_compare_as_numbers(one: int, other: int) -> None:
    assert is_at_or_before(str(one), str(other)) == (one <= other)
    assert _stands_at_or_before(labelled(str(one)), str(other)) == (one <= other)


@pytest.mark.parametrize("odd", ["²", "٣", "", "x", "-1"])
def test_what_is_no_number_is_before_nothing_else(odd: str) -> None:
    for one, other in ((odd, "7"), ("7", odd)):
        assert not is_at_or_before(one, other)
        assert not _stands_at_or_before(labelled(one), other)


def test_thousands_of_digits_compare_as_well() -> None:
    small, great = "1" + "0" * 5000, "9" * 5001
    assert is_at_or_before(small, great)
    assert not is_at_or_before(great, small)
    assert _stands_at_or_before(labelled(small), great)
    assert not _stands_at_or_before(labelled(great), small)
