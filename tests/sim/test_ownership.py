"""Field sets, merge and server-side apply: what holds for every document."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.sim import fieldset
from fleet.sim.codec import decode
from fleet.sim.fieldset import difference, intersection, is_member, paths, union
from fleet.sim.managed import APPLY, ApplyConflict, ManagerId, apply, update
from fleet.sim.merge import compare, field_set, merge, remove
from fleet.sim.quantity import canonical_quantity, value_of
from fleet.sim.schema import Type, built_in, zero

DEPLOYMENT = built_in("apps", "v1", "Deployment") or Type(0)  # type: ignore[arg-type]
ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"1"'])


def normal(node: Any) -> Any:
    return {key: normal(below) for key, below in node.items()}


def nodes(depth: int = 3) -> st.SearchStrategy[Any]:
    if not depth:
        return st.just({})
    below = st.tuples(st.booleans(), st.dictionaries(ELEMENTS, nodes(depth - 1), max_size=3))
    made = below.map(lambda pair: {**pair[1], ".": {}} if pair[0] and pair[1] else pair[1])
    return st.dictionaries(ELEMENTS, made, max_size=3)


roots = st.dictionaries(ELEMENTS, nodes(2).map(lambda node: node), max_size=3)


def members(node: Any) -> set[str]:
    return set(paths(node))


@given(roots, roots)
def test_the_algebra_of_field_sets_is_that_of_sets(left: Any, right: Any) -> None:
    before = (copy.deepcopy(left), copy.deepcopy(right))
    assert members(union(left, right)) == members(left) | members(right)
    assert members(intersection(left, right)) == members(left) & members(right)
    assert members(difference(left, right)) == members(left) - members(right)
    assert (left, right) == before


names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "2"])
variables = st.dictionaries(names, texts, max_size=3).map(
    lambda found: [{"name": name, "value": value} for name, value in found.items()]
)


@st.composite
def containers(draw: Any) -> list[Any]:
    chosen = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    found: list[Any] = []
    for name in chosen:
        one: dict[str, Any] = {"name": name}
        if draw(st.booleans()):
            one["image"] = draw(texts)
        env = draw(variables)
        if env:
            one["env"] = env
        if draw(st.booleans()):
            one["args"] = draw(st.lists(texts, max_size=2))
        found.append(one)
    return found


@st.composite
def deployments(draw: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "web"}
    labels = draw(st.dictionaries(names, texts, max_size=2))
    if labels:
        metadata["labels"] = labels
    spec: dict[str, Any] = {"template": {"spec": {"containers": draw(containers())}}}
    if draw(st.booleans()):
        spec["replicas"] = draw(st.integers(0, 3))
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def applied(live: Any, body: Any, managers: Any, name: str, *, force: bool = True) -> Any:
    manager = ManagerId(name, APPLY, "", "")
    return apply(live, body, DEPLOYMENT, managers, manager, version="apps/v1", force=force, reset={"f:status": {}})


def stored(document: Any) -> Any:
    return decode(document, DEPLOYMENT) | {"apiVersion": "apps/v1", "kind": "Deployment"}


EMPTY = zero(DEPLOYMENT)


@given(deployments())
def test_applying_twice_changes_nothing(body: Any) -> None:
    first = applied(EMPTY, body, {}, "one")
    second = applied(stored(first.object), body, first.managers, "one")
    assert stored(second.object) == stored(first.object)
    assert normal(second.managers[ManagerId("one", APPLY, "", "")].fields) == normal(
        first.managers[ManagerId("one", APPLY, "", "")].fields
    )


@given(deployments(), deployments())
def test_what_one_drops_is_gone_and_nothing_else(before: Any, after: Any) -> None:
    first = applied(EMPTY, before, {}, "one")
    second = applied(stored(first.object), after, first.managers, "one")
    alone = applied(EMPTY, after, {}, "one")

    def comparable(document: Any) -> Any:
        made = copy.deepcopy(stored(document))
        for one in made["spec"]["template"]["spec"]["containers"] or []:
            one["env"] = sorted(one.get("env", []), key=str)
        made["spec"]["template"]["spec"]["containers"].sort(key=lambda one: one["name"])
        return made

    assert comparable(second.object) == comparable(alone.object)


@given(deployments(), deployments())
def test_a_force_leaves_each_changed_field_with_one_owner(first_body: Any, second_body: Any) -> None:
    first = applied(EMPTY, first_body, {}, "one")
    second = applied(stored(first.object), second_body, first.managers, "two")
    one = second.managers.get(ManagerId("one", APPLY, "", ""))
    two = second.managers[ManagerId("two", APPLY, "", "")]
    shared = intersection(one.fields, two.fields) if one else {}
    live, new = stored(first.object), stored(second.object)
    changed = union(*(lambda found: (found.modified, found.added))(compare(live, new, DEPLOYMENT)))
    assert not members(intersection(shared, changed))


@given(deployments(), deployments())
def test_without_force_a_conflict_is_told_exactly_when_a_shared_field_would_change(left: Any, right: Any) -> None:
    first = applied(EMPTY, left, {}, "one")
    live = stored(first.object)
    mine = first.managers[ManagerId("one", APPLY, "", "")].fields
    merged = merge(live, right, DEPLOYMENT)
    found = compare(live, merged, DEPLOYMENT)
    expected = members(intersection(mine, union(found.modified, found.added)))
    if not expected:
        applied(live, right, first.managers, "two", force=False)
        return
    with pytest.raises(ApplyConflict) as clash:
        applied(live, right, first.managers, "two", force=False)
    assert {one.path for one in clash.value.conflicts} == expected


@given(deployments(), deployments())
def test_an_update_owns_what_it_changed(before: Any, after: Any) -> None:
    manager = ManagerId("kubectl", "Update", "apps/v1", "")
    first = applied(EMPTY, before, {}, "one")
    live, new = stored(first.object), stored(after)
    managers = update(live, new, DEPLOYMENT, first.managers, manager, version="apps/v1", time="t", reset={})
    found = compare(live, new, DEPLOYMENT)
    changed = members(union(found.modified, found.added)) - {".metadata", ".kind", ".apiVersion", ".metadata.name"}
    owned = members(managers[manager].fields) if manager in managers else set()
    assert owned == changed
    theirs = managers.get(ManagerId("one", APPLY, "", ""))
    assert not (members(theirs.fields) if theirs else set()) & (changed | members(found.removed))


@given(deployments())
def test_removing_all_that_was_said_leaves_nothing_said(body: Any) -> None:
    named = fieldset.with_named_members(field_set(body, DEPLOYMENT), DEPLOYMENT)
    assert remove(body, named, DEPLOYMENT) == {}


@given(deployments(), deployments())
def test_a_merge_holds_all_that_was_applied(live: Any, body: Any) -> None:
    merged = merge(live, body, DEPLOYMENT)
    assert members(field_set(body, DEPLOYMENT)) <= members(field_set(merged, DEPLOYMENT))


@given(roots)
def test_members_are_told_by_emptiness_or_a_dot(node: Any) -> None:
    for below in node.values():
        assert is_member(below) == (not below or "." in below)


QUANTITIES = {
    "1000m": "1",
    "1024Mi": "1Gi",
    "0.5": "500m",
    "1.5Gi": "1536Mi",
    "0": "0",
    "1e3": "1e3",
    "100k": "100k",
    "1024": "1024",
    "1024Ki": "1Mi",
    "0.5Gi": "512Mi",
    "2000": "2k",
    "512Mi": "512Mi",
    "1.1Ki": "1126400m",
}


def test_quantities_are_printed_as_the_server_prints_them() -> None:
    assert {text: canonical_quantity(text) for text in QUANTITIES} == QUANTITIES


@given(st.integers(0, 10**12), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))
def test_a_printed_quantity_has_the_same_value(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert value_of(canonical_quantity(text)) == value_of(text)
