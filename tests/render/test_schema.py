"""The part of the slim schema for one build: what an input names, and the whole where a name may hide."""

from __future__ import annotations

import base64
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
MADE = {"ConfigMap", "Secret", "ServiceAccount"}
KINDS = sorted({gvk["kind"] for node in DEFINITIONS.values() for gvk in node.get(GVK, [])})


def test_each_kind_is_one_word() -> None:
    assert all(re.fullmatch("[A-Z][A-Za-z]+", kind) for kind in KINDS)


def definitions(*texts: str) -> dict[str, Any]:
    found = schema_for(text.encode() for text in texts)
    assert found is not None
    return json.loads(found)["definitions"]


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
    assert named | MADE <= kinds_in(found)
    for name, node in found.items():
        assert node == DEFINITIONS[name]
        assert references(node) <= found.keys()
    every = {name for name, node in DEFINITIONS.items() if kinds_in({name: node}) & named}
    assert every <= found.keys()


def test_a_kind_that_nothing_names_is_left_out() -> None:
    assert kinds_in(definitions("kind: Service\n")) == MADE | {"Service"}
    assert len(schema_for([b"kind: Service"]) or WHOLE) < len(WHOLE) / 20


def test_where_the_name_stands_makes_no_difference() -> None:
    for text in ('{"kind":"Deployment"}', "kind: &a 'Deployment'", "kind: DeploymentList", "#v1Deployment"):
        assert "Deployment" in kinds_in(definitions("kind: Service\n", text))


@pytest.mark.parametrize("escape", [r"\N", r"\L", r"\P", r"\n"])
def test_an_escape_of_a_line_break_is_no_part_of_a_name(escape: str) -> None:
    named = f'patch: "{{apiVersion: apps/v1, kind: {escape}Deployment, metadata: {{name: web}}}}"'
    assert "Deployment" in kinds_in(definitions("kind: Any\n", named))


OTHER_SPELLINGS = [
    'kind: "Deploy\\x6dent"',
    '{"kind": "\\u0044eployment"}',
    'kind: "\\U00000044eployment"',
    *(f'kind: "Deploy\\{end}  ment"' for end in ("\n", "\r\n", "\r", "\u0085", "\u2028", "\u2029")),
    "vars: [{name: KIND}]",
    "Vars: [{name: KIND}]",
    "var\u017f: [{name: KIND}]",
    "replacements: [{targets: [{options: {delimiter: m}}]}]",
    "replacements: [{targets: [{options: {Delimiter: m}}]}]",
    "apiVersion: builtin\nkind: PrefixTransformer\nfieldSpecs: [{path: kind}]",
    "apiVersion: builtin\nkind: PrefixTransformer\nFIELDSPECS: [{path: kind}]",
    "configurations: [names.yaml]",
    "Configurations: [names.yaml]",
    '{"com.example.v1.ment": {"properties": {"kind": {"x-kubernetes-identity": ""}}}}',
    '{"com.example.v1.ment": {"properties": {"kind": {"x-kubernetes-object-ref-kind": "ConfigMap"}}}}',
    "namePrefix: Deploy\nreplacements: [{targets: [{fieldPaths: [kind]}]}]",
    "nameSuffix: ment\npatches: [{patch: '[{op: copy, from: /metadata/name, path: /kind}]'}]",
    "kind: PrefixSuffixTransformer\n---\nop: move",
    "secretGenerator: [{name: a, files: [a]}]\nreplacements: [{sourceValue: a, targets: [{FieldPaths: [kind]}]}]",
]
DEFINITION_MAY_BE_NAMED = [
    '# {"$ref": "#/definitions/io.k8s.api.core.v1.PodTemplateSpec"}',
    *(f'patch: "# {spelt}"' for spelt in (r"\x24ref", r"\u0024ref", r"\U00000024ref", r"$r\x65f", r"\x5cu0024ref")),
    *(f'patch: "# $r\\{end}  ef"' for end in ("\n", "\r", "\u0085", "\u2029")),
    "\ufeffkind: Deployment".encode("utf-16-le").decode("latin-1"),
    "kind: !!binary RGVwbG95bWVudA==",
    "kind: !<tag:yaml.org,2002:binary> RGVwbG95bWVudA==",
    "%TAG !a! tag:yaml.org,2002:\n---\nkind: !a!binary RGVwbG95bWVudA==",
]


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_where_a_name_may_be_spelt_otherwise_the_schema_is_whole(text: str) -> None:
    assert schema_for([b"kind: Service\n", text.encode()]) == WHOLE


@pytest.mark.parametrize("text", DEFINITION_MAY_BE_NAMED)
def test_where_a_definition_may_be_named_there_is_no_slim_schema(text: str) -> None:
    assert schema_for([b"kind: Service\n", text.encode()]) is None


def test_a_file_that_becomes_base64_and_may_be_carried_to_a_kind_has_the_whole() -> None:
    carries = b"replacements: [{targets: [{fieldPaths: [kind]}]}]"
    assert schema_for([base64.b64decode("Role"), carries]) == WHOLE
    assert schema_for([base64.b64decode("Role"), b"kind: Service"]) != WHOLE


@pytest.mark.parametrize(
    "text",
    [
        "data: {greeting: hello}",
        "namePrefix: shop-\nsecretGenerator: [{name: a, files: [a]}]",
        "replacements: [{source: {kind: ConfigMap, name: fleet-cluster}, targets: [{fieldPaths: [data.a]}]}]",
        "patches: [{patch: '[{op: remove, path: /spec/a}]'}]\nnamePrefix: a-",
        "args: [sh, -c, 'for f in *; do echo ${REF} $f \\\\n; done']",
        "namePrefix: a-\nenv: [{valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        "gr\u00fc\u00dfe: \u4f60\u597d",
    ],
)
def test_usual_files_get_the_part(text: str) -> None:
    assert kinds_in(definitions("kind: Service\n", text)) == MADE | {"Service"}
