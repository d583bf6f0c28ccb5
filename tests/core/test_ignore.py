"""Ignored fields: stripped, handed over first, never in the way of a creation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from core.building import MARK, entry, live_of, ref
from hypothesis import given
from hypothesis.strategies import sampled_from, sets

from fleet.core.diff import diff_fields
from fleet.core.fieldset import entries_of
from fleet.core.fingerprint import own_entry
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
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
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


INGRESS: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"rules": [{"host": "git.example", "http": "a"}, {"host": "two.example", "http": "b"}]},
}
HOST = IgnoreRule(pointers=("/spec/rules/0/host",))
WHOLE: dict[str, Any] = {"f:spec": {"f:rules": {}}}


def ingress(*hosts: str | None, fields: dict[str, Any] = WHOLE) -> dict[str, Any]:
    """The live object with these hosts of its rules; None: a rule without one."""
    found = copy.deepcopy(live_of(INGRESS, fields=fields))
    rules = [{"host": host, "http": http} for host, http in zip(hosts, "abc", strict=False)]
    found["spec"]["rules"] = [{name: value for name, value in rule.items() if value} for rule in rules]
    return found


@pytest.mark.parametrize("fields", [WHOLE, {}])
@pytest.mark.parametrize(
    ("there", "applied"),
    [
        (("live.example", "two.example"), ["live.example", "two.example"]),
        (("live.example", "theirs.example"), ["live.example", "two.example"]),
        (("live.example",), ["live.example", "two.example"]),
        ((None, "two.example"), [None, "two.example"]),
        ((), ["git.example", "two.example"]),
    ],
)
def test_in_a_list_that_is_owned_as_a_whole_the_live_value_stays(
    fields: dict[str, Any], there: tuple[str | None, ...], applied: list[str | None]
) -> None:
    stripped = strip_ignored(INGRESS, ingress(*there, fields=fields), (HOST,))
    assert [rule.get("host") for rule in stripped["spec"]["rules"]] == applied
    assert [rule["http"] for rule in stripped["spec"]["rules"]] == ["a", "b"]
    assert INGRESS["spec"]["rules"][0]["host"] == "git.example"


def test_in_a_whole_list_of_an_item_with_a_key_the_live_value_of_that_item_stays() -> None:
    body = copy.deepcopy(BODY)
    body["spec"]["template"]["spec"]["containers"][1]["args"] = ["--git", "--both"]
    there = copy.deepcopy(live_of(body))
    containers = there["spec"]["template"]["spec"]["containers"]
    injected = {"name": "injected", "args": ["--other"]}
    there["spec"]["template"]["spec"]["containers"] = [injected, containers[0], {**containers[1], "args": ["--live"]}]
    rule = IgnoreRule(pointers=("/spec/template/spec/containers/1/args/0",))
    stripped = strip_ignored(body, there, (rule,))
    assert stripped["spec"]["template"]["spec"]["containers"][1]["args"] == ["--live", "--both"]


def test_a_whole_map_keeps_its_ignored_live_value() -> None:
    body = {**INGRESS, "spec": {"selector": {"a": "git", "b": "git"}}}
    there = {**live_of(body, fields={"f:spec": {"f:selector": {}}}), "spec": {"selector": {"a": "live", "b": "old"}}}
    stripped = strip_ignored(body, there, (IgnoreRule(pointers=("/spec/selector/a",)),))
    assert stripped["spec"]["selector"] == {"a": "live", "b": "git"}


@pytest.mark.parametrize(("there", "applied"), [({}, {}), ({"scaling": {"min": 7}}, {"scaling": {"min": 7}})])
def test_an_ignored_field_of_a_map_that_the_object_has_not_is_not_applied(
    there: dict[str, Any], applied: dict[str, Any]
) -> None:
    body = {**INGRESS, "spec": {"a": 1, "scaling": {"min": 3}}}
    found = live_of({**body, "spec": {"a": 1, **there}}, fields={"f:spec": {"f:a": {}}})
    stripped = strip_ignored(body, found, (IgnoreRule(pointers=("/spec/scaling/min",)),))
    assert stripped["spec"] == {"a": 1, **applied}


def test_what_lies_in_a_whole_list_needs_no_handover() -> None:
    assert plan_handover(ingress("live.example", "two.example"), (HOST,), INGRESS) is None


def test_a_difference_names_no_ignored_field_of_a_whole_list() -> None:
    there = ingress("live.example", "two.example")
    assert diff_fields(INGRESS, there, own_entry(there), (HOST,)) == ()
    (found,) = diff_fields(INGRESS, there, own_entry(there))
    assert found.path == "spec.rules"
    there = ingress("live.example", "theirs.example")
    assert [drift.path for drift in diff_fields(INGRESS, there, own_entry(there), (HOST,))] == ["spec.rules"]


def test_what_is_asked_for_each_field_does_not_look_through_all_managers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cluster may name tens of thousands of them (R18)."""
    body = {**INGRESS, "spec": {f"f{number}": "git" for number in range(200)}}
    there = {**live_of(body), "spec": {f"f{number}": "live" for number in range(200)}}
    there["metadata"]["managedFields"] += [entry(f"m{number}", {"f:spec": {"f:f1": {}}}) for number in range(50)]
    walked: list[str] = []

    def counts(live: Any) -> Any:
        for found in entries_of(live):
            walked.append(found.manager)
            yield found

    for module in ("diff", "ignore"):
        monkeypatch.setattr(f"fleet.core.{module}.entries_of", counts)
    rules = (IgnoreRule(managers=("m1",)), IgnoreRule(pointers=("/spec/f2",)))
    assert len(diff_fields(body, there, own_entry(there), rules)) == 198
    plan_handover(there, rules, body)
    assert len(walked) <= 51 * 12
