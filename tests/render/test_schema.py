"""The part of the slim schema for one build: what an input names, and the whole where a name may hide."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from, sets

from fleet.render.schema import SLIM_SCHEMA, schema_for

WHOLE = SLIM_SCHEMA.read_bytes()
DEFINITIONS: dict[str, Any] = json.loads(WHOLE)["definitions"]
GVK = "x-kubernetes-group-version-kind"
KINDS = sorted({gvk["kind"] for node in DEFINITIONS.values() for gvk in node.get(GVK, [])})


def test_each_kind_is_one_word() -> None:
    assert all(re.fullmatch("[A-Z][A-Za-z]+", kind) for kind in KINDS)


def definitions(*texts: str) -> dict[str, Any]:
    return json.loads(schema_for(text.encode() for text in texts))["definitions"]


def kinds_in(found: dict[str, Any]) -> set[str]:
    return {gvk["kind"] for node in found.values() for gvk in node.get(GVK, [])}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set[str]()
        return own.union(*map(references, value.values()))
    return set[str]().union(*map(references, value)) if isinstance(value, list) else set()


@given(named=sets(sampled_from(KINDS), max_size=6))
def test_each_kind_that_is_named_comes_whole_with_all_that_it_refers_to(named: set[str]) -> None:
    found = definitions(*(f"apiVersion: v1\nkind: {kind}\n" for kind in sorted(named)))
    assert named | {"ConfigMap", "Secret"} <= kinds_in(found)
    for name, node in found.items():
        assert node == DEFINITIONS[name]
        assert references(node) <= found.keys()
    every = {name for name, node in DEFINITIONS.items() if kinds_in({name: node}) & named}
    assert every <= found.keys()


def test_a_kind_that_nothing_names_is_left_out() -> None:
    assert kinds_in(definitions("kind: Service\n")) == {"ConfigMap", "Secret", "Service"}
    assert len(schema_for([b"kind: Service"])) < len(WHOLE) / 20


def test_where_the_name_stands_makes_no_difference() -> None:
    for text in ('{"kind":"Deployment"}', "kind: &a 'Deployment'", "kind: DeploymentList", "#v1Deployment"):
        assert "Deployment" in kinds_in(definitions("kind: Service\n", text))


@pytest.mark.parametrize(
    "text",
    [
        'kind: "Deploy\\x6dent"',
        '{"kind": "\\u0044eployment"}',
        'kind: "\\U00000044eployment"',
        'kind: "Deploy\\\n  ment"',
        'kind: "Deploy\\\r\n  ment"',
        "\ufeffkind: Deployment".encode("utf-16-le").decode("latin-1"),
        "kind: !!binary RGVwbG95bWVudA==",
        "kind: !<tag:yaml.org,2002:binary> RGVwbG95bWVudA==",
        "%TAG !a! tag:yaml.org,2002:\n---\nkind: !a!binary RGVwbG95bWVudA==",
        "vars: [{name: KIND}]",
        "replacements: [{targets: [{options: {delimiter: m}}]}]",
        "apiVersion: builtin\nkind: PrefixTransformer\nfieldSpecs: [{path: kind}]",
        "configurations: [names.yaml]",
    ],
)
def test_where_a_name_may_be_spelt_otherwise_the_schema_is_whole(text: str) -> None:
    assert schema_for([b"kind: Service\n", text.encode("latin-1", "replace")]) == WHOLE
    assert schema_for([b"kind: Service\n", b"data: {greeting: hello}\n"]) != WHOLE
