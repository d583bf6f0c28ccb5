"""Digits that others wrote: none of them stops anybody (R18)."""

from __future__ import annotations

import pytest
from core.building import live_of
from hypothesis import given
from hypothesis.strategies import one_of, text

from fleet.core.causes import _revision_of
from fleet.core.digits import number_in
from fleet.core.fieldset import ABSENT, step
from fleet.core.fingerprint import OwnEntry, fingerprint_of
from fleet.core.ignore import strip_ignored
from fleet.core.sync_policy import IgnoreRule

AWKWARD = ["²", "٣", "1²", "9" * 5000, "-1", "1_0", " 1", "", "+1"]
BODY = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"l": ["x", "y", "z"]}}


@given(one_of(text(), text("0123456789²٣", max_size=12)))
def test_a_text_says_a_number_where_all_of_it_is_plain_digits(words: str) -> None:
    found = number_in(words)
    if found is not None:
        assert str(found) == (words.lstrip("0") or "0")
    else:
        assert not words or len(words) > 9 or set(words) - set("0123456789")


@pytest.mark.parametrize("awkward", AWKWARD)
def test_what_is_no_index_means_no_item(awkward: str) -> None:
    assert step(["x", "y"], f"i:{awkward}") is ABSENT
    assert fingerprint_of(BODY, OwnEntry("v1", {"f:spec": {"f:l": {f"i:{awkward}": {}}}}))
    rule = IgnoreRule(pointers=(f"/spec/l/{awkward}",))
    assert strip_ignored(BODY, live_of(BODY), (rule,)) == BODY
    assert _revision_of({"metadata": {"annotations": {"deployment.kubernetes.io/revision": awkward}}}) == 0


def test_twin_an_index_means_its_item() -> None:
    assert step(["x", "y"], "i:1") == "y"
    assert _revision_of({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "12"}}}) == 12
