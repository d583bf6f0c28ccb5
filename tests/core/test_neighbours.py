"""Whose a parent is, and which of several installations on one cluster goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from core.building import MARK, UNIT, ref
from hypothesis import given
from hypothesis.strategies import dictionaries, integers, lists, sampled_from, text

from fleet.core.ids import ClusterName, Digest, Revision
from fleet.core.neighbours import (
    ParentSeen,
    Whose,
    is_owed,
    judge_neighbour,
    judge_parent,
    neighbour_error,
    parent_error,
)
from fleet.core.objects import FIELD_MANAGER, INSTALLATION_LABEL, OWNER_ANNOTATION, Mark
from fleet.core.parent import PARENT_LABEL, parent_document, parent_of
from fleet.core.record import installation_hash

NOON = "2026-11-26T12:00:00Z"
OURS = "acme"


def parent(
    installation: str = OURS, overlay: str = "web", *, identity: str = MARK.identity, created: str = NOON
) -> Any:
    """As it lies on the cluster once its hub has written it."""
    mark = Mark(installation, identity, overlay)
    made = parent_of(mark, [ref("a")], generation=1, bundle=Digest("b"), commit=Revision("c"))
    document = json.loads(json.dumps(parent_document(made)))
    applied = {"manager": FIELD_MANAGER, "operation": "Apply"}
    server = {"uid": "u1", "resourceVersion": "7", "creationTimestamp": created, "managedFields": [applied]}
    return {**document, "metadata": {**document["metadata"], **server}}


def judged(document: Any) -> ParentSeen:
    return judge_parent(document, OURS, MARK.identity)


def without(document: Any, part: str, *names: str) -> Any:
    for name in names:
        del document["metadata"][part][name]
    return document


def test_what_we_wrote_is_ours_and_is_written_over_in_this_very_state() -> None:
    seen = judged(parent())
    assert (seen.whose, seen.name, seen.uid, seen.version) == (Whose.OURS, "unit-web", "u1", "7")


@pytest.mark.parametrize(
    "damaged",
    [
        without(parent(), "annotations", OWNER_ANNOTATION),
        without(parent(), "labels", INSTALLATION_LABEL),
        without(parent(), "labels", PARENT_LABEL),
        {**parent(), "metadata": {**parent()["metadata"], "managedFields": []}},
    ],
    ids=["no annotation", "no label", "no id", "put back from a copy"],
)
def test_ours_stays_ours_where_it_was_damaged(damaged: Any) -> None:
    assert judged(damaged).whose is Whose.OURS


@pytest.mark.parametrize(
    ("foreign", "who"),
    [
        (parent("rival"), "rival"),
        (parent(identity="77"), "acme on the cluster 77"),
        (without(parent("rival"), "annotations", OWNER_ANNOTATION), "another installation"),
        (without(parent("rival"), "labels", INSTALLATION_LABEL), "rival"),
    ],
    ids=["another installation", "another cluster", "by its label", "by its annotation"],
)
def test_a_parent_of_others_is_foreign_and_says_whose(foreign: Any, who: str) -> None:
    seen = judged(foreign)
    assert (seen.whose, seen.who) == (Whose.FOREIGN, who)
    error = parent_error(UNIT, seen)
    assert who in error.what
    assert "delete configmap unit-web" in error.next_step


def with_owner(document: Any, owner: str) -> Any:
    document["metadata"]["annotations"][OWNER_ANNOTATION] = owner
    return document


@pytest.mark.parametrize("owner", ["rival/5f0c/web", "acme", "acme//web", "////"])
def test_under_our_label_it_stays_ours_whatever_its_annotation_was_changed_to(owner: str) -> None:
    assert judged(with_owner(parent(), owner)).whose is Whose.OURS


def test_a_mark_that_nobody_writes_under_another_label_is_foreign() -> None:
    """The harmless twin: what may be another installation's is not written over."""
    changed = parent()
    changed["metadata"]["labels"][INSTALLATION_LABEL] = installation_hash("rival")
    assert judged(changed).whose is Whose.FOREIGN


def test_what_carries_no_mark_at_all_is_nobodys() -> None:
    plain = without(parent(), "annotations", OWNER_ANNOTATION)
    assert judged(without(plain, "labels", INSTALLATION_LABEL)).whose is Whose.NOBODYS


@given(
    sampled_from([OURS, "rival", "third"]),
    sampled_from([MARK.identity, "77"]),
    sampled_from(["web", "api"]),
)
def test_only_our_installation_on_this_cluster_is_ours(installation: str, identity: str, overlay: str) -> None:
    seen = judged(parent(installation, overlay, identity=identity))
    assert (seen.whose is Whose.OURS) == ((installation, identity) == (OURS, MARK.identity))


@given(text(max_size=300))
def test_what_another_calls_itself_is_cut_and_never_part_of_a_command(name: str) -> None:
    document = parent("rival")
    document["metadata"]["annotations"][OWNER_ANNOTATION] = f"{name}/5f0c/web"
    seen = judged(document)
    assert len(seen.who) <= 121
    found = judge_neighbour([seen], OURS)
    if found is not None:
        command = neighbour_error(ClusterName("eu-1"), found).next_step.rpartition("kubectl")[2]
        assert command == (
            " -n fleet-system delete configmap"
            f" -l fleet.internal/installation={installation_hash('rival')},applyset.kubernetes.io/id"
        )


# What has to be written again


@pytest.mark.parametrize(
    ("document", "is_whole"),
    [
        (parent(), True),
        (parent(overlay="w" * 300), True),
        ({**parent(), "metadata": {**parent()["metadata"], "managedFields": []}}, True),
        (with_owner(parent(), "rival/5f0c/web"), False),
        (with_owner(parent(), f"{OURS}/{MARK.identity}/api"), False),
        (with_owner(parent(), f"{OURS}/{MARK.identity}/web/x"), False),
        (without(parent(), "annotations", OWNER_ANNOTATION), False),
        (without(parent(), "labels", INSTALLATION_LABEL), False),
        (without(parent(), "labels", PARENT_LABEL), False),
        (parent("rival"), False),
        (parent(identity="77"), False),
    ],
)
def test_only_ours_with_its_mark_as_we_write_it_is_whole(document: Any, is_whole: bool) -> None:
    assert judged(document).is_whole is is_whole


def test_a_parent_that_is_gone_or_damaged_is_owed_and_one_that_stands_is_not() -> None:
    whole, damaged, theirs = judged(parent()), judged(with_owner(parent(), "x")), judged(parent("rival"))
    nobodys = replace(whole, whose=Whose.NOBODYS, is_whole=False)
    assert is_owed({"unit-web": whole}, {})
    assert is_owed({"unit-web": whole}, {"unit-web": damaged})
    assert is_owed({"unit-web": nobodys}, {}), "the place may be free"
    assert not is_owed({"unit-web": whole}, {"unit-web": whole, "unit-api": whole})
    assert not is_owed({"unit-web": theirs}, {}), "another installation's"
    assert not is_owed({}, {})


# Of several installations


def seen_by(installation: str, parents: Any) -> list[ParentSeen]:
    return [judge_parent(one, installation, MARK.identity) for one in parents]


TIMES = integers(0, 3).map(lambda hour: f"2026-11-26T1{hour}:00:00Z")  # few: equal ones must come


@given(dictionaries(sampled_from(["acme", "rival", "third"]), lists(TIMES, min_size=1, max_size=3), min_size=1))
def test_of_all_installations_exactly_one_goes_on(there: dict[str, list[str]]) -> None:
    parents = [
        parent(name, f"{name}-{place}", created=created)
        for name, times in there.items()
        for place, created in enumerate(times)
    ]
    going_on = [
        name for name in there if (found := judge_neighbour(seen_by(name, parents), name)) is None or not found.is_elder
    ]
    assert len(going_on) == 1
    assert min(there[going_on[0]]) == min(min(times) for times in there.values())


def test_who_has_nothing_there_yet_is_not_the_first() -> None:
    found = judge_neighbour(seen_by(OURS, [parent("rival", "a"), parent("rival", "b")]), OURS)
    assert found is not None
    assert (found.name, found.is_elder, found.parents) == ("rival", True, ("unit-a", "unit-b"))
    assert "nothing is written to eu-1: rival was there first" in str(neighbour_error(ClusterName("eu-1"), found))


def test_who_was_first_goes_on_and_says_who_came() -> None:
    mine, theirs = parent(created="2026-11-26T11:00:00Z"), parent("rival", "api")
    found = judge_neighbour(seen_by(OURS, [mine, theirs]), OURS)
    assert found is not None
    assert not found.is_elder
    assert "rival came to eu-1 as well" in str(neighbour_error(ClusterName("eu-1"), found))


def test_one_whose_time_cannot_be_read_counts_as_the_elder() -> None:
    found = judge_neighbour(seen_by(OURS, [parent(), parent("rival", "api", created="")]), OURS)
    assert found is not None
    assert found.is_elder


OWNERS = sampled_from(["acme/5f0c/web", "rival/5f0c/web", "acme/77/web", "acme", "a//b", ""])
LABELS = sampled_from([installation_hash(OURS), installation_hash("rival"), "x", ""])


@given(OWNERS, LABELS)
def test_our_own_parents_changed_by_hand_stop_one_unit_at_most_and_no_command_names_all_of_ours(
    owner: str, label: str
) -> None:
    """The oldest one, changed: were it another installation's, that one would have been there first."""
    changed = with_owner(parent(overlay="old", created="2020-01-01T00:00:00Z"), owner)
    changed["metadata"]["labels"][INSTALLATION_LABEL] = label
    found = judge_neighbour(seen_by(OURS, [changed, parent()]), OURS)
    is_anothers = not owner.startswith("acme/") and label != installation_hash(OURS)
    assert found is None or is_anothers
    command = neighbour_error(ClusterName("eu-1"), found).next_step if found is not None else ""
    assert installation_hash(OURS) not in command


def test_alone_on_a_cluster_there_is_no_neighbour() -> None:
    assert judge_neighbour(seen_by(OURS, [parent(), parent(overlay="api")]), OURS) is None
    assert judge_neighbour([], OURS) is None


def test_our_own_of_another_cluster_is_no_other_installation() -> None:
    """A cluster made from the copy of another one: the unit is refused, and nobody else is there."""
    assert judge_neighbour(seen_by(OURS, [parent(identity="77")]), OURS) is None
