"""Ignored fields: stripped, handed over first, never in the way of a creation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from core.building import MARK, entry, live_of, ref
from hypothesis import given
from hypothesis.strategies import sampled_from, sets

from fleet.core.ignore import concerns, plan_handover, rules_for, strip_ignored
from fleet.core.record import mark_body
from fleet.core.sync_policy import IgnoreRule

BODY: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "annotations": {"a.b/c": "x"}},
    "spec": {
        "replicas": 2,
        "strategy": {"type": "Recreate"},
        "template": {
            "spec": {
                "containers": [
                    {"name": "app", "image": "a:1", "resources": {"limits": {"cpu": "1"}}},
                    {"name": "side", "image": "s:1"},
                ]
            }
        },
    },
}
REPLICAS = IgnoreRule(kind="Deployment", pointers=("/spec/replicas",))
SECOND_IMAGE = IgnoreRule(pointers=("/spec/template/spec/containers/1/image",))
CPU = {"f:limits": {"f:cpu": {}}}
RESOURCES: dict[str, Any] = {
    "f:spec": {
        "f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:name": {}, "f:resources": CPU}}}}
    }
}


def live(*entries: dict[str, Any]) -> dict[str, Any]:
    found = live_of(BODY)
    found["metadata"]["managedFields"] += entries
    return found


@pytest.mark.parametrize(
    ("rule", "is_meant"),
    [
        (IgnoreRule(pointers=("/a",)), True),
        (IgnoreRule(group="apps", kind="Deployment", namespace="shop", name="web"), True),
        (IgnoreRule(group=""), False),
        (IgnoreRule(kind="Service"), False),
        (IgnoreRule(namespace="sh*", name="w*"), True),
        (IgnoreRule(name="we"), False),
    ],
)
def test_empty_criteria_match_all_and_the_others_exactly_or_by_pattern(rule: IgnoreRule, is_meant: bool) -> None:
    of = ref("web", "Deployment", "apps")
    assert concerns(rule, of) == is_meant
    assert rules_for(of, [rule]) == ((rule,) if is_meant else ())


def test_an_ignored_field_is_not_applied_over_a_live_object() -> None:
    stripped = strip_ignored(BODY, live(), (REPLICAS,))
    assert stripped["spec"] == {name: value for name, value in BODY["spec"].items() if name != "replicas"}
    assert BODY["spec"]["replicas"] == 2


def test_a_new_object_is_created_whole() -> None:
    assert strip_ignored(BODY, None, (REPLICAS,)) == BODY


def test_a_map_that_held_only_ignored_fields_goes_with_them() -> None:
    rules = (IgnoreRule(pointers=("/spec/strategy/type", "/metadata/annotations/a.b~1c")),)
    stripped = strip_ignored(BODY, live(), rules)
    assert "strategy" not in stripped["spec"]
    assert stripped["metadata"] == {"name": "web", "namespace": "shop"}


def test_a_pointer_by_index_means_that_item_and_no_other() -> None:
    containers = strip_ignored(BODY, live(), (SECOND_IMAGE,))["spec"]["template"]["spec"]["containers"]
    assert containers == [BODY["spec"]["template"]["spec"]["containers"][0], {"name": "side"}]


def test_fields_of_a_named_manager_are_ignored_while_it_holds_them() -> None:
    rule = IgnoreRule(managers=("vpa",))
    assert strip_ignored(BODY, live(), (rule,)) == BODY
    held = live(entry("vpa", RESOURCES))
    containers = strip_ignored(BODY, held, (rule,))["spec"]["template"]["spec"]["containers"]
    assert containers[0] == {"name": "app", "image": "a:1"}


def test_a_pointer_with_managers_counts_only_while_one_of_them_holds_it() -> None:
    rule = IgnoreRule(pointers=("/spec/template/spec/containers/0/resources",), managers=("vpa",))
    assert strip_ignored(BODY, live(), (rule,)) == BODY
    containers = strip_ignored(BODY, live(entry("vpa", RESOURCES)), (rule,))["spec"]["template"]["spec"]["containers"]
    assert "resources" not in containers[0]


def test_identity_and_keys_of_items_are_never_stripped() -> None:
    everything: dict[str, Any] = copy.deepcopy(live_of(BODY)["metadata"]["managedFields"][0]["fieldsV1"])
    everything["f:metadata"] = {"f:name": {}, "f:namespace": {}}
    rules = (
        IgnoreRule(pointers=("/metadata/name", "/kind", "/apiVersion", "/metadata/namespace")),
        IgnoreRule(managers=("all",)),
    )
    stripped = strip_ignored(BODY, live(entry("all", everything)), rules)
    assert stripped["metadata"]["name"] == "web"
    assert stripped["kind"] == "Deployment"
    assert [item["name"] for item in stripped["spec"]["template"]["spec"]["containers"]] == ["app", "side"]


def test_a_field_that_only_we_own_is_handed_over_with_its_live_value() -> None:
    there = live()
    there["spec"] = {**there["spec"], "replicas": 5}
    handover = plan_handover(there, (REPLICAS,), mark_body(BODY, MARK))
    assert handover == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "spec": {"replicas": 5},
    }


def test_a_field_in_an_item_is_handed_over_with_the_items_key() -> None:
    handover = plan_handover(live(), (SECOND_IMAGE,), BODY)
    assert handover is not None
    assert handover["spec"] == {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}


def test_what_another_manager_holds_too_needs_no_handover() -> None:
    assert plan_handover(live(entry("hpa", {"f:spec": {"f:replicas": {}}})), (REPLICAS,), BODY) is None
    assert plan_handover(live(), (), BODY) is None
    assert plan_handover(live_of(BODY, fields={"f:spec": {}}), (REPLICAS,), BODY) is None


def test_what_was_handed_over_before_stays_with_it() -> None:
    held = live(entry("fleet-handover", {"f:spec": {"f:strategy": {"f:type": {}}}}, operation="Apply"))
    handover = plan_handover(held, (REPLICAS,), BODY)
    assert handover is not None
    assert handover["spec"] == {"replicas": 2, "strategy": {"type": "Recreate"}}


POINTERS = {
    "/spec/replicas": ("spec", "replicas"),
    "/spec/strategy": ("spec", "strategy"),
    "/spec/template": ("spec", "template"),
    "/metadata/annotations": ("metadata", "annotations"),
    "/spec/none": ("spec", "none"),
}


@given(sets(sampled_from(sorted(POINTERS))))
def test_stripping_takes_exactly_what_is_pointed_at(pointers: set[str]) -> None:
    stripped = strip_ignored(BODY, live(), (IgnoreRule(pointers=tuple(sorted(pointers))),))
    expected = copy.deepcopy(BODY)
    for pointer in pointers:
        part, name = POINTERS[pointer]
        expected[part].pop(name, None)
    assert stripped == {name: value for name, value in expected.items() if value}
