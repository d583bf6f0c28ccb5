"""The parent object of a unit: written, read back, and refused when damaged."""

from __future__ import annotations

import pytest
from core.building import MARK, ref
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from, text

from fleet.core.ids import Digest, ObjectRef, Revision
from fleet.core.objects import Mark
from fleet.core.parent import (
    MOST_GENERATION,
    is_parent,
    next_generation,
    parent_document,
    parent_of,
    parse_parent,
    salvage_parent,
)
from fleet.core.record import applyset_id, record_digest

REFS = [ref("a"), ref("b", "Deployment", "apps"), ref("c", namespace="other"), ObjectRef("", "Namespace", "", "shop")]

GOOD = Revision("3f9c1ab")


def a_parent(**changes):
    facts = {"generation": 3, "bundle": Digest("b1"), "commit": Revision("3f9c1ab")}
    return parent_of(MARK, changes.pop("refs", REFS), **{**facts, **changes})


def test_other_applyset_tools_understand_it() -> None:
    document = parent_document(a_parent())
    metadata = document["metadata"]
    assert metadata["labels"]["applyset.kubernetes.io/id"] == applyset_id("unit-web", "fleet-system")
    notes = metadata["annotations"]
    assert notes["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Deployment.apps,Namespace"
    assert notes["applyset.kubernetes.io/additional-namespaces"] == "other,shop"
    assert notes["applyset.kubernetes.io/tooling"].startswith("fleet/v")
    assert is_parent(document)


@given(
    refs=lists(sampled_from(REFS)),
    generation=integers(0, 10**9),
    quarantined=lists(text(alphabet="abcdef0123", min_size=4, max_size=64).map(Digest), unique=True, max_size=10),
)
def test_what_is_written_is_read_back(refs: list[ObjectRef], generation: int, quarantined: list[Digest]) -> None:
    parent = a_parent(refs=refs, generation=generation, quarantined=quarantined)
    assert parse_parent(parent_document(parent)) == parent
    assert parent.record == record_digest(set(refs))


def test_it_is_written_only_when_the_list_or_the_bundle_changes() -> None:
    parent = a_parent()
    assert parent.same_content(a_parent(generation=4))
    assert not parent.same_content(a_parent(bundle=Digest("b2")))
    assert not parent.same_content(a_parent(refs=REFS[:2]))
    assert not parent.same_content(a_parent(quarantined=[Digest("x")]))
    assert not parent.same_content(None)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("fleet.internal/owner", "acme/5f0c"),
        ("fleet.internal/owner", "acme/5f0c/api"),
        ("fleet.internal/record-generation", "many"),
        ("fleet.internal/record-digest", ""),
        ("fleet.internal/quarantined", "[1"),
        ("fleet.internal/quarantined", "[" + "0," * 200_000 + "0]"),
    ],
)
def test_a_damaged_parent_is_none(annotation: str, value: str) -> None:
    document = parent_document(a_parent())
    document["metadata"]["annotations"][annotation] = value
    assert parse_parent(document) is None


@given(written=integers(0, 10**15 - 1), known=integers(0, 10**9), more=integers(0, 50))
def test_whatever_generation_somebody_writes_what_follows_is_read_and_higher(
    written: int, known: int, more: int
) -> None:
    generation = a_parent(generation=written).goes_on_from(known)
    assert generation >= max(1, known)
    for _ in range(more):
        before, generation = generation, next_generation(generation)
        assert generation > before
    found = parse_parent(parent_document(a_parent(generation=generation)))
    assert found is not None
    assert found.generation == generation


def test_a_generation_that_an_earlier_version_took_over_whole_is_followed_by_one_that_is_read() -> None:
    for known in (10**15 - 1, 10**15, 10**15 + 7):
        found = parse_parent(parent_document(a_parent(generation=next_generation(known))))
        assert found is not None
        assert found.generation == MOST_GENERATION + 1


def test_more_than_is_ever_written_is_not_read_as_taken_back() -> None:
    document = parent_document(a_parent(quarantined=[*(Digest(f"{n:064}") for n in range(150)), Digest("f" * 65)]))
    found = parse_parent(document)
    assert found is not None
    assert found.quarantined == tuple(f"{n:064}" for n in range(100))


@pytest.mark.parametrize("overlay", ["web@eu-1", "Web", "a/b", ".", ""])
def test_what_no_overlay_can_be_called_is_no_parent_of_a_unit(overlay: str) -> None:
    document = parent_document(parent_of(Mark("acme", "5f0c", overlay), REFS, generation=1, bundle=None, commit=GOOD))
    assert salvage_parent(document, "acme", "5f0c") is None
    document["metadata"]["annotations"]["fleet.internal/owner"] = ""
    assert salvage_parent(document, "acme", "5f0c") is None


@pytest.mark.parametrize("overlay", ["web", "teams.shop.web", "a" * 250])
def test_a_parent_whose_owner_was_changed_is_still_that_of_its_overlay(overlay: str) -> None:
    """The twin."""
    document = parent_document(parent_of(Mark("acme", "5f0c", overlay), REFS, generation=1, bundle=None, commit=GOOD))
    assert salvage_parent(document, "acme", "5f0c") == parse_parent(document)
