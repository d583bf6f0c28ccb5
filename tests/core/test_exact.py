from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.documents import canonical
from fleet.core.exact import is_applied_already


class Items(dict[str, Any]):
    """A list merged by `name`, as a mapping from name to the rest of the item."""


names = st.sampled_from("abcd")
scalars = st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["x", "y"]))
values = st.recursive(
    scalars | st.lists(st.sampled_from("pqr"), unique=True, min_size=1).map(tuple),
    lambda inner: st.dictionaries(names, inner, min_size=1) | st.dictionaries(names, inner, min_size=1).map(Items),
    max_leaves=8,
)


def document_of(value: Any) -> Any:
    """The value as JSON: a tuple is a set, Items a keyed list."""
    match value:
        case Items():
            return [{"name": name, "v": document_of(inner)} for name, inner in value.items()]
        case dict():
            return {name: document_of(inner) for name, inner in value.items()}
        case tuple():
            return list(value)
        case _:
            return value


def fields_of(value: Any) -> dict[str, Any]:
    """Its field set, as a server makes it."""
    match value:
        case Items():
            items = value.items()
            return {
                f"k:{canonical({'name': name}).decode()}": {".": {}, "f:name": {}, "f:v": fields_of(inner)}
                for name, inner in items
            }
        case dict():
            return {f"f:{name}": fields_of(inner) for name, inner in value.items()}
        case tuple():
            return {f"v:{canonical(one).decode()}": {} for one in value}
        case _:
            return {}


def pair(spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and the live object after it was applied by us and written to by a controller."""
    body = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "labels": {"l": "1"}}, "spec": spec}
    body = {**body, "spec": document_of(spec)}
    live = copy.deepcopy(body)
    live["status"] = {"ready": True}
    fields = {"f:metadata": {"f:labels": {"f:l": {}}}, "f:spec": fields_of(spec)}
    entry = {"manager": "fleet", "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}
    live["metadata"] |= {"uid": "u", "resourceVersion": "7", "managedFields": [entry]}
    return body, live


@given(st.dictionaries(names, values, min_size=1))
def test_what_we_hold_exactly_is_applied_already_whatever_others_add(spec: dict[str, Any]) -> None:
    body, live = pair(spec)
    assert is_applied_already(body, live)
    live["spec"]["others"] = {"x": 1}
    live["metadata"]["annotations"] = {"others": "1"}
    assert is_applied_already(body, live)


@given(st.dictionaries(names, values, min_size=1), st.data())
def test_any_value_of_ours_that_differs_live_must_be_asked_about(spec: dict[str, Any], data: st.DataObject) -> None:
    body, live = pair(spec)
    assert change_one(live["spec"], data)
    assert not is_applied_already(body, live)


def change_one(value: Any, data: st.DataObject) -> bool:
    """Change, remove or reorder something somewhere below."""
    if isinstance(value, dict):
        name = data.draw(st.sampled_from(sorted(value)))
        if isinstance(value[name], (dict, list)) and value[name] and data.draw(st.booleans()):
            return change_one(value[name], data)
        if data.draw(st.booleans()):
            del value[name]
        else:
            value[name] = "another"
        return True
    if len(value) > 1 and data.draw(st.booleans()):
        value.reverse()
        return True
    del value[data.draw(st.integers(0, len(value) - 1))]
    return True


@pytest.mark.parametrize(
    "change",
    [
        lambda body, live: body["spec"].update(more="1"),
        lambda body, live: body["spec"].pop("a"),
        lambda body, live: body["metadata"]["labels"].update(m="1"),
        lambda body, live: body.update(apiVersion="v2"),
        lambda body, live: live["metadata"].pop("managedFields"),
        lambda body, live: live["metadata"]["managedFields"][0].update(manager="kubectl"),
        lambda body, live: live["metadata"]["managedFields"][0].update(operation="Update"),
    ],
    ids=[
        "field-added",
        "field-dropped",
        "label-added",
        "other-version",
        "no-managed-fields",
        "not-ours",
        "not-applied",
    ],
)
def test_another_body_or_another_owner_must_be_asked_about(change: Any) -> None:
    body, live = pair({"a": 1, "b": Items(x=1, y=2)})
    assert is_applied_already(body, live)
    change(body, live)
    assert not is_applied_already(body, live)
