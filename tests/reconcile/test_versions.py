"""Which of two states of an object is the older one, by what its cluster says; a cluster may say anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import integers

from fleet.reconcile.judging import is_older
from fleet.reconcile.observe import _is_older  # pyright: ignore[reportPrivateUsage]


def labelled(version: str) -> dict[str, object]:
    return {"metadata": {"resourceVersion": version, "labels": {"fleet.internal/installation": "i"}}}


@given(integers(0, 30), integers(0, 30))
def test_versions_compare_as_numbers(one: int, other: int) -> None:
    assert is_older(str(one), str(other)) == (one <= other)
    assert _is_older(labelled(str(one)), str(other)) == (one <= other)


@pytest.mark.parametrize("odd", ["²", "٣", "", "x", "-1"])
def test_what_is_no_number_is_older_than_nothing_else(odd: str) -> None:
    for one, other in ((odd, "7"), ("7", odd)):
        assert not is_older(one, other)
        assert not _is_older(labelled(one), other)


def test_thousands_of_digits_compare_as_well() -> None:
    small, great = "1" + "0" * 5000, "9" * 5001
    assert is_older(small, great)
    assert not is_older(great, small)
    assert _is_older(labelled(small), great)
    assert not _is_older(labelled(great), small)
