"""The normal form: a row each, idempotent, and nothing of a custom resource lost."""

from __future__ import annotations

import base64
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.normalise import TABLE, normalise
from fleet.errors import DocumentInvalid


def secret(**fields):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **fields}


def test_string_data_of_a_secret_becomes_data_and_wins() -> None:
    made = normalise(secret(data={"a": "b2xk", "b": "Yg=="}, stringData={"a": "new"}))
    assert made == secret(data={"a": base64.b64encode(b"new").decode(), "b": "Yg=="})


def test_base64_has_one_spelling() -> None:
    long = base64.encodebytes(b"x" * 100).decode()
    assert normalise(secret(data={"a": long}))["data"] == {"a": base64.b64encode(b"x" * 100).decode()}


@pytest.mark.parametrize("fields", [{"data": {"a": "no base64!"}}, {"data": {"a": 5}}, {"stringData": {"a": 5}}])
def test_a_value_that_cannot_be_used_is_named_without_being_shown(fields) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        normalise(secret(**fields))
    assert "a of Secret s" in caught.value.what
    assert "no base64!" not in str(caught.value)


@pytest.mark.parametrize("part", ["data", "stringData"])
@pytest.mark.parametrize("value", ["a hidden text", ["a hidden text"], 5, True, ""])
def test_what_stands_in_place_of_all_values_is_refused_without_being_shown(part, value) -> None:
    with pytest.raises(DocumentInvalid, match="not a mapping") as caught:
        normalise(secret(**{part: value}))
    assert "hidden text" not in str(caught.value)
    assert normalise(secret(data={"a": "YQ=="}) | {part: None})  # no value at all, as a server takes it


def test_what_only_a_server_writes_is_dropped() -> None:
    metadata = {"name": "x", "uid": "1", "resourceVersion": "5", "creationTimestamp": None, "generation": 1}
    managed = {"managedFields": [], "selfLink": "/x", "labels": {"uid": "kept"}}
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {**metadata, **managed}, "status": {"a": 1}}
    assert normalise(document) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x", "labels": {"uid": "kept"}},
    }


def test_null_is_dropped_in_built_in_kinds_and_kept_in_custom_ones() -> None:
    spec = {"a": None, "b": [{"c": None}], "template": {"metadata": {"creationTimestamp": None}}}
    built_in = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": copy.deepcopy(spec)}
    custom = {**copy.deepcopy(built_in), "apiVersion": "acme.io/v1"}
    assert normalise(built_in)["spec"] == {"b": [{}], "template": {"metadata": {}}}
    assert normalise(custom)["spec"] == {"a": None, "b": [{"c": None}], "template": {"metadata": {}}}


def test_a_field_called_status_inside_of_spec_stays() -> None:
    document = {"apiVersion": "acme.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"status": "on"}}
    assert normalise(copy.deepcopy(document)) == document


def test_rules_beside_an_aggregation_rule_are_dropped() -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "x"},
        "rules": [{"verbs": ["*"]}],
    }
    assert "rules" in normalise(copy.deepcopy(role))
    assert "rules" not in normalise({**role, "aggregationRule": {"clusterRoleSelectors": [{}]}})


def test_each_row_has_a_reason() -> None:
    assert all(len(row.reason) > 20 for row in TABLE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
KINDS = st.sampled_from([("v1", "ConfigMap"), ("apps/v1", "Deployment"), ("acme.io/v1", "Thing"), ("v1", "Secret")])


@given(KINDS, st.dictionaries(st.sampled_from(["spec", "status", "metadata", "extra"]), JSON))
def test_the_normal_form_is_its_own_normal_form(kind: tuple[str, str], fields: dict) -> None:
    metadata = fields.pop("metadata", None)
    document = {
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": metadata if isinstance(metadata, dict) else {"name": "x"},
        **fields,
    }
    once = normalise(copy.deepcopy(document))
    assert normalise(copy.deepcopy(once)) == once
