"""What a JSON text costs, told before it is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, dictionaries, integers, lists, none, recursive, sampled_from, text

from fleet.core.documents import Json
from fleet.kube import weight
from fleet.kube.limits import KubeLimits
from fleet.kube.weight import values_in

texts = text(sampled_from('{}[],:"\\\nxä'), max_size=12)
documents = recursive(
    none() | booleans() | integers() | texts,
    lambda inner: lists(inner, max_size=4) | dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def signs_of(document: Json) -> int:
    """Its braces, brackets, commas and colons."""
    if isinstance(document, dict):
        return 1 + max(0, len(document) - 1) + len(document) + sum(map(signs_of, document.values()))
    if isinstance(document, list):
        return 1 + max(0, len(document) - 1) + sum(map(signs_of, document))
    return 0


@given(document=documents, slice_bytes=integers(1, 40), is_ascii=booleans())
def test_signs_in_strings_are_not_counted_wherever_a_slice_ends(
    document: Any, slice_bytes: int, is_ascii: bool
) -> None:
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight, "_SLICE", slice_bytes)
        assert values_in(raw, len(raw), rough=-1) == signs_of(document)


@given(document=documents, most=integers(0, 30))
def test_what_is_beyond_the_limit_is_beyond_it_and_nothing_else(document: Any, most: int) -> None:
    raw = json.dumps(document, separators=(",", ":")).encode()
    assert (values_in(raw, most) > most) is (signs_of(document) > most)


def field(depth: int) -> dict[str, Any]:
    """A field of a CRD's schema, with others in it."""
    inner = {f"field{n}": field(depth - 1) for n in range(5)} if depth else {}
    return {"type": "object" if depth else "string", **({"properties": inner} if inner else {})}


def test_the_densest_objects_there_are_hold_fewer_values_than_the_limits() -> None:
    limits = KubeLimits()
    schema = json.dumps(field(6), separators=(",", ":")).encode()
    assert 400_000 < len(schema) < 1_500_000  # a CRD as large as one may be, without a word of description
    managed = json.dumps({f"f:name{n}": {} for n in range(35_000)}, separators=(",", ":")).encode()
    fields = json.dumps({f"name{n}": f"value{n}" for n in range(35_000)}, separators=(",", ":")).encode()
    assert len(managed) + len(fields) > 1_300_000
    for raw in (schema * 2, managed + fields, managed * 2):
        assert values_in(raw, 10**9) < limits.event_values / 1.5
    assert values_in(schema, 10**9) / len(schema) * (18 << 20) < limits.answer_values  # a page of 500 of 36 KiB
