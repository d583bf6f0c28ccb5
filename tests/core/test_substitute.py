"""Variables in rendered objects: typed, exact, and every fault in one error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.substitute import names_in, substitute
from fleet.errors import DocumentInvalid, VariableUnknown

VARIABLES = {"n": 3, "f": 0.5, "yes": True, "nothing": None, "text": "hi", "cidrs": ["10.0.0.0/8"], "map": {"a": 1}}


def thing(**fields):
    return {"apiVersion": "acme.io/v1", "kind": "Thing", "metadata": {"name": "x", "namespace": "ns"}, **fields}


def one(document, variables=None):
    return substitute([document], VARIABLES if variables is None else variables)[0]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${n}", 3),
        ("${f}", 0.5),
        ("${yes}", True),
        ("${nothing}", None),
        ("${text}", "hi"),
        ("${cidrs}", ["10.0.0.0/8"]),
        ("${map}", {"a": 1}),
        ("a${n}b", "a3b"),
        ("${yes}${f}", "true0.5"),
        ("<${nothing}>", "<>"),
        ("${gone:=5}", 5),
        ("${gone:=true}", True),
        ("${gone:=a b}", "a b"),
        ("${gone:=}", ""),
        ("x${gone:=5}", "x5"),
        ("${n:=9}", 3),
        ("$${n}", "${n}"),
        ("$$${n}", "$${n}"),
        ("$n $ $$ $(n) ${", "$n $ $$ $(n) ${"),
        ("${1} ${#a}", "${1} ${#a}"),
    ],
)
def test_a_scalar_takes_the_value_with_its_type_and_longer_text_takes_text(written: str, read: object) -> None:
    assert one(thing(spec={"field": written}))["spec"]["field"] == read


@pytest.mark.parametrize(
    "place",
    [
        lambda v: {"metadata": {"name": "x", "labels": {"a": v}}},
        lambda v: {"metadata": {"name": "x", "annotations": {"a": v}}},
        lambda v: {"spec": {"template": {"metadata": {"labels": {"a": v}}}}},
        lambda v: {"spec": {"selector": {"matchLabels": {"a": v}}}},
        lambda v: {"spec": {"nodeSelector": {"a": v}}},
        lambda v: {"spec": {"containers": [{"env": [{"name": "A", "value": v}]}]}},
        lambda v: {"spec": {"containers": [{"args": [v]}]}},
        lambda v: {"spec": {"containers": [{"command": [v]}]}},
        lambda v: {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": v}},
        lambda v: {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": v}},
        lambda v: {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"a": v}}},
    ],
)
def test_where_kubernetes_has_only_strings_the_value_is_text(place) -> None:
    assert one(thing(**place("${n}"))) == thing(**place("3"))
    assert one(thing(**place("${yes}"))) == thing(**place("true"))
    with pytest.raises(DocumentInvalid, match="refused"):
        one(thing(**place("${cidrs}")))


def test_numbers_stay_numbers_beside_the_text_fields() -> None:
    assert one(thing(spec={"replicas": "${n}", "value": "${n}"}))["spec"] == {"replicas": 3, "value": 3}


def test_keys_are_never_touched() -> None:
    assert one(thing(spec={"${n}": "x"}))["spec"] == {"${n}": "x"}


def test_a_value_that_looks_like_a_variable_is_not_read_again() -> None:
    assert one(thing(spec={"a": "${x}", "b": "-${x}"}), {"x": "${y}"})["spec"] == {"a": "${y}", "b": "-${y}"}


def test_the_variables_own_lists_are_never_shared() -> None:
    found = one(thing(spec={"a": "${cidrs}"}))
    found["spec"]["a"].append("changed")
    assert VARIABLES["cidrs"] == ["10.0.0.0/8"]


def test_all_unknown_names_stand_in_one_error_with_object_and_field() -> None:
    with pytest.raises(VariableUnknown) as caught:
        substitute([thing(spec={"a": "${x}"}), thing(spec={"b": [{"c": "${y} ${x}"}]})], {"known": 1})
    error = caught.value
    assert "x, y" in error.what
    assert "Thing ns/x spec.a (x)" in error.where
    assert "Thing ns/x spec.b[0].c (y)" in error.where
    assert "known" in error.why


@pytest.mark.parametrize("written", ["${n:-1}", "${n:+x}", "${text:0:1}", "${n }"])
def test_a_spelling_of_other_tools_is_an_error_and_not_silently_kept(written: str) -> None:
    with pytest.raises(DocumentInvalid, match="refused"):
        one(thing(spec={"a": written}))


def test_an_object_may_opt_out() -> None:
    document = thing(
        metadata={"name": "x", "annotations": {"fleet.internal/substitute": "disabled"}}, spec={"a": "${x}"}
    )
    assert one(document) == document
    assert names_in([document]) == frozenset()


def test_generated_objects_take_no_variables() -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x-abc"}, "data": {"a": "${n}"}}
    with pytest.raises(DocumentInvalid, match="refused"):
        substitute([document], VARIABLES, generated=[0])
    plain = {**document, "data": {"a": "$n"}}
    assert substitute([plain], VARIABLES, generated=[0]) == [plain]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON.filter(lambda value: "$" not in str(value)))
def test_documents_without_a_mention_are_unchanged(spec: object) -> None:
    assert one(thing(spec=spec)) == thing(spec=spec)


@given(st.text(st.characters(exclude_characters="${}")), st.text(st.characters(exclude_characters="${}")))
def test_an_escape_is_the_literal_wherever_it_stands(before: str, after: str) -> None:
    assert one(thing(spec={"a": f"{before}$${{n}}{after}"}))["spec"]["a"] == f"{before}${{n}}{after}"


@given(JSON)
def test_a_whole_value_arrives_as_it_is(value: object) -> None:
    assert one(thing(spec={"a": "${x}"}), {"x": value})["spec"]["a"] == value
