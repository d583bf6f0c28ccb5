"""Differences as people read them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from core.building import MARK, entry, live_of
from hypothesis import given
from hypothesis.strategies import booleans, dictionaries, integers, lists, none, one_of, recursive, sampled_from, text

from fleet.core.diff import diff_fields, is_same_value, quantity_of
from fleet.core.documents import canonical
from fleet.core.field_diff import MOST_TOLD, FieldDrift, as_told, diff_documents, dry_run_diff
from fleet.core.fingerprint import OwnEntry, own_entry
from fleet.core.record import mark_body
from fleet.core.sync_policy import IgnoreRule

BODY: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {"containers": [{"name": "app", "image": "a:1", "resources": {"limits": {"cpu": "1000m"}}}]}
        },
    },
}
DESIRED = mark_body(BODY, MARK)
IMAGE = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}}}}}
LAST = canonical(live_of(BODY)["metadata"]["managedFields"][0]["fieldsV1"])


def taken_by(manager: str, fields: dict[str, Any], change: Any) -> dict[str, Any]:
    """The live object after another manager changed fields of ours: they leave our set for theirs."""
    live = copy.deepcopy(live_of(BODY))
    change(live)
    for_us = live["metadata"]["managedFields"][0]["fieldsV1"]
    here, theirs = for_us, fields
    while True:
        (name,) = theirs
        if not theirs[name]:
            del here[name]
            break
        here, theirs = here[name], theirs[name]
    live["metadata"]["managedFields"].append(entry(manager, fields))
    return live


def test_the_changed_field_is_named_with_both_values_manager_and_time() -> None:
    def change(live: dict[str, Any]) -> None:
        live["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2"

    live = taken_by("kubectl-edit", IMAGE, change)
    (drift,) = diff_fields(DESIRED, live, own_entry(live), last_fields=LAST)
    assert drift.path == "spec.template.spec.containers[name=app].image"
    assert (drift.desired, drift.live, drift.manager, drift.since) == ("a:1", "a:2", "kubectl-edit", 1795600800.0)


def test_an_item_that_was_removed_is_one_difference() -> None:
    live = copy.deepcopy(live_of(BODY))
    live["spec"]["template"]["spec"]["containers"] = []
    del live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]
    (drift,) = diff_fields(DESIRED, live, own_entry(live), last_fields=LAST)
    assert drift.path == "spec.template.spec.containers[name=app]"
    assert drift.live is None
    assert drift.manager == ""


def test_ignored_fields_are_left_out() -> None:
    def change(live: dict[str, Any]) -> None:
        live["spec"]["replicas"] = 9

    live = taken_by("hpa", {"f:spec": {"f:replicas": {}}}, change)
    assert len(diff_fields(DESIRED, live, own_entry(live), last_fields=LAST)) == 1
    for rule in (IgnoreRule(pointers=("/spec/replicas",)), IgnoreRule(managers=("hpa",))):
        assert diff_fields(DESIRED, live, own_entry(live), (rule,), last_fields=LAST) == ()
    other = IgnoreRule(pointers=("/spec/replicas",), managers=("vpa",))
    assert len(diff_fields(DESIRED, live, own_entry(live), (other,), last_fields=LAST)) == 1


def test_without_a_record_values_are_compared_leniently() -> None:
    live = copy.deepcopy(live_of(BODY))
    live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"
    assert diff_fields(DESIRED, live, own_entry(live)) == ()
    live["spec"]["replicas"] = 3
    assert [drift.path for drift in diff_fields(DESIRED, live, own_entry(live))] == ["spec.replicas"]


SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s", "namespace": "shop", "annotations": {"note": "old"}},
    "data": {"p": "c2VjcmV0"},
}


def test_values_of_secrets_are_never_in_a_difference() -> None:
    live = live_of({**SECRET, "data": {"p": "b3RoZXI=", "q": "bW9yZQ=="}})
    last = canonical({"f:data": {"f:p": {}}})
    ours = OwnEntry("v1", {})
    found = [
        *diff_fields(SECRET, live, ours, last_fields=last),
        *diff_fields(SECRET, live, None),
        *diff_documents(SECRET, live),
        *dry_run_diff(live, SECRET),
        *diff_documents(SECRET, {**SECRET, "data": {}}),
        *diff_documents(SECRET, {name: value for name, value in SECRET.items() if name != "data"}),
    ]
    assert found
    text_of = repr(found)
    for value in ("c2VjcmV0", "b3RoZXI=", "bW9yZQ=="):
        assert value not in text_of
    assert all(drift.masked for drift in found if drift.path.startswith("data"))


def test_what_is_not_secret_in_a_secret_is_shown() -> None:
    other = {**SECRET, "metadata": {**SECRET["metadata"], "annotations": {"note": "new"}}}
    (drift,) = diff_documents(SECRET, other)
    assert (drift.path, drift.desired, drift.live) == ("metadata.annotations.note", "old", "new")


def test_documents_are_compared_by_the_keys_of_their_lists() -> None:
    after = copy.deepcopy(BODY)
    containers = after["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "a:2"
    containers.insert(0, {"name": "first", "image": "f"})
    found = {drift.path: (drift.desired, drift.live) for drift in diff_documents(BODY, after)}
    assert found == {
        "spec.template.spec.containers[name=app].image": ("a:1", "a:2"),
        "spec.template.spec.containers[name=first]": (None, {"name": "first", "image": "f"}),
    }


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("live", [nested(51), nested(300), "x" * 8191, ["x" * 5000, "x" * 5000], {"x" * 9000: 1}])
def test_a_report_tells_of_a_value_that_is_too_large_its_size_alone(live: Any) -> None:
    (told,) = as_told([FieldDrift("spec.config", "plain", live, "tenant", 4.0)])
    assert told.live != live
    assert "too large to show" in str(told.live)
    assert (told.path, told.desired, told.manager, told.since) == ("spec.config", "plain", "tenant", 4.0)
    assert "too large to show" in str(as_told([FieldDrift("spec.config", live, None)])[0].desired)


@pytest.mark.parametrize("live", [None, True, 3, nested(50), "x" * 8190, ["x" * 4000, "x" * 4000], {}])
def test_a_report_tells_values_as_they_are(live: Any) -> None:
    drift = FieldDrift("spec.config", "plain", live, "tenant", 4.0)
    assert as_told([drift]) == (drift,)


def test_so_many_fields_of_one_object_are_told_and_the_others_by_their_number() -> None:
    """Whoever may change one object fills no report with it (R18)."""
    many = [FieldDrift(f"data.{number:06}", "a", "b", "tenant") for number in range(20_000)]
    told = as_told(many)
    assert told[:MOST_TOLD] == tuple(many[:MOST_TOLD])
    assert [one.path for one in told[MOST_TOLD:]] == ["(19900 more fields)"]
    assert as_told(many[:MOST_TOLD]) == tuple(many[:MOST_TOLD])


def test_the_values_of_one_object_have_a_limit_together() -> None:
    large = [FieldDrift(f"data.{number}", "x" * 8_000, "y" * 8_000) for number in range(MOST_TOLD)]
    told = as_told(large)
    assert len(str(told)) < 100_000
    assert told[0] == large[0]
    assert told[-1].live == "too large to show: 8002 bytes"
    assert len(as_told([FieldDrift("k" * 10_000, 1, 2)])[0].path) == 500


def test_the_order_of_a_list_is_a_difference_of_the_list() -> None:
    def of(names: str) -> dict[str, Any]:
        return {**BODY, "spec": {"l": [{"name": name} for name in names]}}

    assert [drift.path for drift in diff_documents(of("ab"), of("ba"))] == ["spec.l"]


def test_what_the_server_sets_and_the_status_are_no_differences() -> None:
    live = {**live_of(BODY, marked=False), "status": {"replicas": 2}}
    assert diff_documents(BODY, live) == ()


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        (0.5, "500m"),
        (2, "2"),
        ("1e3", "1k"),
        ("0.5Gi", "512Mi"),
        ({"a": 1}, {"a": 1, "b": 2}),
    ],
)
def test_respelled_values_are_the_same(value: Any, same: Any) -> None:
    assert is_same_value(value, same)


@pytest.mark.parametrize(
    ("value", "other"),
    [("1000m", "2"), ("a", "b"), (True, 1), ("1Gi", "1G"), ([1], [1, 2]), ({"a": 1}, {"b": 1}), (None, "")],
)
def test_other_values_are_not(value: Any, other: Any) -> None:
    assert not is_same_value(value, other)


@given(text(max_size=6))
def test_no_text_breaks_the_reading_of_quantities(value: str) -> None:
    quantity_of(value)


SCALARS = one_of(none(), booleans(), integers(-3, 3), text(alphabet="ab", max_size=2))
VALUES = recursive(
    SCALARS,
    lambda inner: one_of(lists(inner, max_size=3), dictionaries(sampled_from(["name", "b", "c"]), inner, max_size=3)),
    max_leaves=10,
)


@given(VALUES, VALUES)
def test_documents_differ_exactly_when_their_canonical_bytes_do(before: Any, after: Any) -> None:
    found = diff_documents({"kind": "X", "spec": before}, {"kind": "X", "spec": after})
    assert bool(found) == (canonical(before) != canonical(after))


def test_a_value_that_changed_while_every_field_stayed_ours_is_named() -> None:
    """A cluster's store that was put back to an earlier state of ours: nobody took a field."""
    live = copy.deepcopy(live_of(BODY))
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "a:0"
    (drift,) = diff_fields(DESIRED, live, own_entry(live), last_fields=LAST)
    assert (drift.path, drift.live) == ("spec.template.spec.containers[name=app].image", "a:0")


def test_values_that_are_only_respelled_while_every_field_stayed_ours_are_no_drift() -> None:
    live = copy.deepcopy(live_of(BODY))
    live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"
    assert diff_fields(DESIRED, live, own_entry(live), last_fields=LAST) == ()
