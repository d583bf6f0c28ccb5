"""Field sets: walking and showing."""

from __future__ import annotations

from typing import Any

import pytest
from core.building import entry, fields_of
from hypothesis import given
from hypothesis.strategies import dictionaries, integers, recursive, sampled_from, text

from fleet.core.fieldset import (
    ABSENT,
    entries_of,
    holds,
    intended,
    item_keys,
    leaves,
    paths,
    set_value,
    show,
    touches,
    value_at,
    without,
)

NAME = 'k:{"name":"web"}'
FIELDS: dict[str, Any] = {
    "f:spec": {
        "f:replicas": {},
        "f:containers": {NAME: {".": {}, "f:image": {}}},
        "f:tags": {'v:"a"': {}},
        "f:l": {"i:0": {}},
    }
}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (
            ("f:spec", "f:template", "f:spec", "f:containers", NAME, "f:image"),
            "spec.template.spec.containers[name=web].image",
        ),
        (("f:metadata", "f:labels", "f:app.kubernetes.io/name"), "metadata.labels[app.kubernetes.io/name]"),
        (("f:spec", "f:ports", 'k:{"port":53,"protocol":"UDP"}'), "spec.ports[port=53,protocol=UDP]"),
        (("f:finalizers", 'v:"x/y"'), "finalizers[x/y]"),
        (("f:l", "i:2", "f:a"), "l[2].a"),
        (("f:data", "f:a.yaml"), "data[a.yaml]"),
    ],
)
def test_paths_are_shown_as_kubectl_explains_them(path: tuple[str, ...], shown: str) -> None:
    assert show(path) == shown


def test_leaves_are_what_is_owned_as_a_whole_and_paths_the_nodes_too() -> None:
    assert {show(path) for path in leaves(FIELDS)} == {
        "spec.replicas",
        "spec.containers[name=web].image",
        "spec.tags[a]",
        "spec.l[0]",
    }
    assert {show(path) for path in paths(FIELDS)} - {show(path) for path in leaves(FIELDS)} == {
        "spec.containers[name=web]"
    }


def test_holding_is_exact_or_by_an_ancestor_and_touching_goes_both_ways() -> None:
    image = ("f:spec", "f:containers", NAME, "f:image")
    assert holds(FIELDS, image)
    assert holds(FIELDS, ("f:spec", "f:replicas", "f:anything"))
    assert holds(FIELDS, image[:3])
    assert not holds(FIELDS, ("f:spec",))
    assert touches(FIELDS, ("f:spec",))
    assert not touches(FIELDS, ("f:spec", "f:other"))


def test_a_key_that_a_manifest_leaves_to_its_default_is_found() -> None:
    port = 'k:{"port":53,"protocol":"TCP"}'
    assert value_at({"l": [{"port": 53}]}, ("f:l", port)) == {"port": 53}
    both = {"l": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}
    assert value_at(both, ("f:l", port)) == {"port": 53}
    assert value_at(both, ("f:l", 'k:{"port":53,"protocol":"UDP"}')) == {"port": 53, "protocol": "UDP"}
    assert value_at({"l": [{"port": 53}]}, ("f:l", 'k:{"port":53,"protocol":"UDP"}')) is ABSENT


def test_null_is_not_absent() -> None:
    assert value_at({"a": None}, ("f:a",)) is None
    assert value_at({}, ("f:a",)) is ABSENT


def test_entries_carry_manager_and_time() -> None:
    live = {"metadata": {"managedFields": [entry("kubectl", FIELDS, subresource="status")]}}
    (found,) = entries_of(live)
    assert (found.manager, found.operation, found.subresource) == ("kubectl", "Update", "status")
    assert found.since == 1795600800.0
    assert entries_of({"metadata": {"managedFields": [{"manager": "x", "time": "never"}]}})[0].since == 0.0


DOCUMENTS = recursive(
    integers(), lambda inner: dictionaries(sampled_from("abc"), inner, min_size=1, max_size=3), max_leaves=9
)


@given(dictionaries(text(alphabet="xyz", min_size=1, max_size=2), DOCUMENTS, max_size=3))
def test_every_leaf_of_a_documents_fields_has_its_value(document: dict[str, Any]) -> None:
    fields = fields_of(document)
    found = list(leaves(fields))
    assert len(set(found)) == len(found)
    for path in found:
        assert isinstance(value_at(document, path), int)
        assert holds(fields, path)
    assert without(fields, lambda path: path in found) == {}
    assert without(fields, lambda _: False) == fields


def test_what_is_intended_holds_each_field_of_the_body_and_nothing_else() -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {"x": "1"}},
        "data": {"a": "1"},
        "ports": [{"port": 1}],
    }
    own = intended(body)
    assert holds(own, ("f:data", "f:a"))
    assert holds(own, ("f:metadata", "f:labels", "f:x"))
    assert holds(own, ("f:ports", 'k:{"port":1}', "f:port"))  # a list stands as a whole
    assert not holds(own, ("f:data", "f:b"))
    assert not holds(own, ("f:metadata", "f:name"))


def test_an_element_that_is_longer_than_any_of_an_api_server_is_not_read() -> None:
    bomb = "[" + "[]," * 3000 + "[]]"
    assert item_keys(f'k:{{"name":{bomb}}}') == {}
    assert set_value(f"v:{bomb}") == f"v:{bomb}"
    assert value_at({"a": [[[]] * 3001]}, ("f:a", f"v:{bomb}")) is ABSENT


def test_twin_an_element_as_long_as_names_are_is_read() -> None:
    name = "x" * 4000
    assert item_keys(f'k:{{"name":"{name}","port":80}}') == {"name": name, "port": 80}
    assert set_value(f'v:"{name}"') == name
