"""The fingerprint's details on plain values; the real server's answers are in test_fingerprint_real.py."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import pytest
from core.building import MARK, UNIT, entry, live_of, ref, row
from hypothesis import given
from hypothesis.strategies import booleans, dictionaries, integers, lists, none, one_of, recursive, sampled_from, text

from fleet.core.fingerprint import (
    OwnEntry,
    SyncState,
    applied_fields,
    content_of,
    fingerprint_of,
    judge_sync,
    own_entry,
    recorded_after,
)
from fleet.core.ids import Digest
from fleet.core.record import RowState, mark_body
from fleet.core.sync_policy import IgnoreRule

V1 = "v1"
BODY: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {"containers": [{"name": "app", "image": "a:1", "args": ["x"]}, {"name": "side", "image": "s"}]}
        },
    },
}
DESIRED = Digest("d")


def print_of(fields: dict[str, Any], **spec: Any) -> str:
    return fingerprint_of({"apiVersion": V1, "spec": spec}, OwnEntry(V1, {"f:spec": fields}))


def test_only_our_own_apply_counts_as_ours() -> None:
    live = live_of(BODY)
    ours = live["metadata"]["managedFields"][0]
    live["metadata"]["managedFields"] = [
        entry("kubectl", {"f:spec": {}}),
        entry("fleet", {"f:status": {}}, operation="Apply", subresource="status"),
        entry("fleet", {"f:spec": {}}, operation="Update"),
        ours,
    ]
    found = own_entry(live)
    assert found is not None
    assert found.fields == ours["fieldsV1"]
    live["metadata"]["managedFields"].pop()
    assert own_entry(live) is None
    assert own_entry({"metadata": {}}) is None


def test_a_leaf_counts_its_value_and_absent_is_a_value() -> None:
    fields: dict[str, Any] = {"f:a": {}}
    assert print_of(fields, a=1) == print_of(fields, a=1, b=2)
    assert len({print_of(fields, a=1), print_of(fields, a="1"), print_of(fields, a=None), print_of(fields)}) == 4


def test_fields_that_are_not_ours_do_not_count() -> None:
    fields = {"f:a": {"f:b": {}}}
    assert print_of(fields, a={"b": 1}) == print_of(fields, a={"b": 1, "c": 2}, d=3)


def test_an_item_is_found_by_its_key_wherever_it_stands() -> None:
    fields = {"f:l": {'k:{"name":"x"}': {".": {}, "f:v": {}}}}
    x, y = {"name": "x", "v": 1}, {"name": "y", "v": 9}
    assert print_of(fields, l=[x, y]) == print_of(fields, l=[y, x])
    assert print_of(fields, l=[x]) != print_of(fields, l=[y])
    assert print_of(fields, l=[x]) != print_of(fields, l=[])
    twin = {"name": "x", "v": 2}
    assert len({print_of(fields, l=[x]), print_of(fields, l=[x, twin]), print_of(fields, l=[twin, x])}) == 3


def test_a_key_of_several_fields_is_compared_whole() -> None:
    fields = {"f:l": {'k:{"port":53,"protocol":"UDP"}': {".": {}, "f:n": {}}}}
    udp, tcp = {"port": 53, "protocol": "UDP", "n": 1}, {"port": 53, "protocol": "TCP", "n": 1}
    assert print_of(fields, l=[udp]) == print_of(fields, l=[tcp, udp])
    assert print_of(fields, l=[udp]) != print_of(fields, l=[tcp])


def test_a_member_of_a_set_counts_as_being_in_it() -> None:
    fields = {"f:s": {'v:"a"': {}}}
    assert print_of(fields, s=["a"]) == print_of(fields, s=["b", "a"])
    assert print_of(fields, s=["a"]) != print_of(fields, s=["b"])


def test_an_index_counts_the_item_there() -> None:
    fields = {"f:l": {"i:1": {}}}
    assert print_of(fields, l=[0, 1]) == print_of(fields, l=[5, 1])
    assert print_of(fields, l=[0, 1]) != print_of(fields, l=[0, 2])
    assert print_of(fields, l=[0]) != print_of(fields, l=[0, None])


def test_a_field_that_the_server_left_out_is_drift_once_another_takes_and_sets_it() -> None:
    ours = print_of({"f:a": {}, "f:empty": {}}, a=1)
    assert ours != print_of({"f:a": {}}, a=1, empty="theirs")


def test_a_dot_counts_existence() -> None:
    fields = {"f:m": {".": {}, "f:x": {}}}
    assert print_of(fields, m={"x": 1}) != print_of(fields)


@pytest.mark.parametrize("wrong", [None, 1, "text", [], [1], {"x": 1}])
def test_a_value_of_another_shape_is_a_difference_and_no_error(wrong: Any) -> None:
    fields = {"f:l": {'k:{"name":"x"}': {".": {}, "f:v": {}}, 'v:"a"': {}, "i:0": {}, "f:z": {"f:q": {}}}}
    assert print_of(fields, l=wrong) != print_of(fields, l=[{"name": "x", "v": 1}, "a"])


def after_apply(body: dict[str, Any], answer: dict[str, Any], **more: Any):
    fresh = row(ref("web", "Deployment", "apps"), state=RowState.INTENDED)
    return recorded_after(fresh, body, answer, DESIRED, **{"rules": (), "key": b"", "at": 1.0, **more})


def judge(record, live, **more):
    return judge_sync(record, DESIRED, live, **more).state


def with_spec(live: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**live, "spec": {**live["spec"], **spec}}


def test_what_was_applied_last_is_in_sync_until_a_field_of_ours_changes() -> None:
    live = live_of(BODY)
    record = after_apply(mark_body(BODY, MARK), live)
    assert record.state is RowState.APPLIED
    assert record.uid == "u1"
    assert judge(record, live) is SyncState.IN_SYNC
    assert judge(record, with_spec(live, paused=True)) is SyncState.IN_SYNC
    assert judge(record, with_spec(live, replicas=3)) is SyncState.DRIFTED
    assert judge(record, None) is SyncState.MISSING


def test_another_desired_digest_is_a_change_whatever_is_live() -> None:
    live = live_of(BODY)
    record = after_apply(mark_body(BODY, MARK), live)
    assert judge_sync(record, Digest("other"), live).state is SyncState.CHANGED


def test_where_the_fingerprint_cannot_tell_the_arbiter_is_asked() -> None:
    live = live_of(BODY)
    record = after_apply(mark_body(BODY, MARK), live)
    bare = copy.deepcopy(live)
    bare["metadata"]["managedFields"] = []
    older = copy.deepcopy(live)
    older["metadata"]["managedFields"][0]["apiVersion"] = "apps/v1beta2"
    assert judge(record, bare) is SyncState.ASK_ARBITER
    assert judge(record, older) is SyncState.ASK_ARBITER
    assert judge(record, {**live, "apiVersion": "apps/v1beta2"}) is SyncState.ASK_ARBITER
    assert judge(None, live) is SyncState.ASK_ARBITER
    assert judge(replace(record, fingerprint=Digest("")), live) is SyncState.ASK_ARBITER
    assert judge(replace(record, state=RowState.INTENDED), live) is SyncState.ASK_ARBITER


def test_the_arbiters_answer_is_remembered_for_the_content_it_was_given() -> None:
    live = live_of(BODY)
    bare = {**live, "metadata": {**live["metadata"], "managedFields": []}}
    record = after_apply(mark_body(BODY, MARK), live)
    key = judge_sync(record, DESIRED, bare).memory_key
    later = {
        **bare,
        "metadata": {**bare["metadata"], "resourceVersion": "9", "generation": 4},
        "status": {"replicas": 1},
    }
    assert judge_sync(record, DESIRED, later).memory_key == key
    assert judge_sync(record, DESIRED, with_spec(bare, replicas=9)).memory_key != key


def test_the_arbiters_answer_is_forgotten_once_somebody_takes_a_field_that_is_not_seen_at_this_version() -> None:
    fields = {"f:spec": {"f:replicas": {}, "f:tier": {}}}
    live = live_of({**BODY, "apiVersion": "apps/v1beta2"}, fields=fields)
    taken = live_of({**BODY, "apiVersion": "apps/v1beta2"}, fields={"f:spec": {"f:replicas": {}}})
    record = after_apply(mark_body(BODY, MARK), live_of(BODY, fields=fields))
    first, second = judge_sync(record, DESIRED, live), judge_sync(record, DESIRED, taken)
    assert first.state is second.state is SyncState.ASK_ARBITER
    assert first.memory_key != second.memory_key


def test_a_map_that_we_applied_empty_counts_by_being_ours_alone() -> None:
    body = {**BODY, "spec": {"strategy": {}, "void": {}, "whole": {"a": 1}}}
    fields = {"f:spec": {"f:strategy": {}, "f:void": {}, "f:whole": {}}}
    live = live_of({**BODY, "spec": {"strategy": {"type": "RollingUpdate"}, "whole": {"a": 1}}}, fields=fields)
    record = after_apply(body, live)
    assert judge(record, live) is SyncState.IN_SYNC
    assert judge(record, with_spec(live, strategy={"type": "Recreate"})) is SyncState.IN_SYNC
    assert judge(record, with_spec(live, void={"theirs": 1})) is SyncState.IN_SYNC
    assert judge(record, with_spec(live, whole={"a": 2})) is SyncState.DRIFTED
    lost = live_of(live, fields={"f:spec": {"f:void": {}, "f:whole": {}}})
    assert judge(record, lost) is SyncState.DRIFTED
    left_out_lost = live_of(live, fields={"f:spec": {"f:strategy": {}, "f:whole": {}}})
    assert judge(record, left_out_lost) is SyncState.IN_SYNC


def test_ignored_pointers_are_left_out() -> None:
    live = live_of(BODY)
    rules = (IgnoreRule(pointers=("/spec/replicas", "/spec/template/spec/containers/0/image")),)
    record = after_apply(mark_body(BODY, MARK), live, rules=rules)
    changed = copy.deepcopy(with_spec(live, replicas=7))
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2"
    assert judge(record, changed, rules=rules) is SyncState.IN_SYNC
    changed["spec"]["template"]["spec"]["containers"][1]["image"] = "other"
    assert judge(record, changed, rules=rules) is SyncState.DRIFTED


def test_digests_of_secrets_need_the_key() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"p": "eA=="},
    }
    live = live_of(secret)
    found = own_entry(live)
    assert found is not None
    keys = (b"", b"one", b"two")
    assert len({fingerprint_of(live, found, key=key) for key in keys}) == 3
    assert len({content_of(live, key=key) for key in keys}) == 3
    plain = {**live, "kind": "ConfigMap"}
    assert len({fingerprint_of(plain, found, key=key) for key in keys}) == 1


SCALARS = one_of(none(), booleans(), integers(-3, 3), text(alphabet="ab", max_size=2))
NAMES = sampled_from(["a", "b", "c.d/e"])
VALUES = recursive(
    SCALARS, lambda inner: one_of(lists(inner, max_size=3), dictionaries(NAMES, inner, max_size=3)), max_leaves=8
)


@given(spec=dictionaries(NAMES, VALUES, max_size=3), other=VALUES, name=NAMES)
def test_the_fingerprint_changes_exactly_when_an_owned_value_does(spec: dict[str, Any], other: Any, name: str) -> None:
    body = {**BODY, "spec": spec}
    live = live_of(body)
    record = after_apply(mark_body(body, MARK), live)
    assert judge(record, live) is SyncState.IN_SYNC
    shuffled = {**live, "spec": dict(reversed(list(spec.items()))), "status": {"x": other}}
    assert judge(record, shuffled) is SyncState.IN_SYNC
    changed = with_spec(live, **{name: other})
    touched = name in spec and spec[name] != {} and differs_in(spec[name], other)
    assert (judge(record, changed) is SyncState.DRIFTED) == touched


def differs_in(ours: Any, theirs: Any) -> bool:
    """Whether any value of ours is another one in theirs: more beside it does not count."""
    if isinstance(ours, dict) and ours:
        return not isinstance(theirs, dict) or any(
            differs_in(value, theirs.get(key, ...)) if value != {} else False for key, value in ours.items()
        )
    return type(ours) is not type(theirs) or ours != theirs or (ours == [] and theirs != [])


def test_recorded_fields_spell_empty_maps_apart() -> None:
    found = OwnEntry(V1, {"f:a": {}, "f:b": {}, "f:c": {}})
    assert applied_fields(found, {"a": {}, "b": {}, "c": 1}, {"a": {"x": 1}, "c": 1}) == (
        b'{"f:a":{".":{}},"f:b":{"!":{}},"f:c":{}}'
    )


@pytest.mark.bench
def test_a_typical_deployment_is_judged_within_sixty_microseconds() -> None:
    live = live_of(BODY)
    record = after_apply(mark_body(BODY, MARK), live)
    best = 1.0
    for _ in range(20):
        start = time.process_time()
        for _ in range(200):
            judge_sync(record, DESIRED, live)
        best = min(best, (time.process_time() - start) / 200)
    assert best < 60e-6


def test_the_unit_of_a_row_is_kept() -> None:
    assert after_apply(mark_body(BODY, MARK), live_of(BODY)).unit == UNIT


HOSTS: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"rules": [{"host": "git.example"}, {"host": "two.example"}]},
}


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize(
    ("hosts", "rule", "state"),
    [
        (["other.example", "two.example"], IgnoreRule(pointers=("/spec/rules/0/host",)), SyncState.IN_SYNC),
        ([None, "two.example"], IgnoreRule(pointers=("/spec/rules/0/host",)), SyncState.IN_SYNC),
        (["other.example", "theirs.example"], IgnoreRule(pointers=("/spec/rules/0/host",)), SyncState.DRIFTED),
        (["other.example"], IgnoreRule(pointers=("/spec/rules/0/host",)), SyncState.DRIFTED),
        (["other.example", "two.example"], IgnoreRule(pointers=("/spec/rules/1/host",)), SyncState.DRIFTED),
        (["other.example", "two.example"], IgnoreRule(pointers=("/spec/rules",)), SyncState.IN_SYNC),
    ],
)
def test_an_ignored_field_in_a_list_owned_as_a_whole_is_no_drift_whoever_has_the_list(
    hosts: list[str | None], rule: IgnoreRule, state: SyncState, is_taken: bool
) -> None:
    """Who changes a field in such a list takes all of it from us."""
    ours: dict[str, Any] = {"f:metadata": {"f:labels": {}}, "f:spec": {"f:rules": {}}}
    answer = live_of(HOSTS, fields=ours)
    known = recorded_after(row(ref("web", "Ingress")), HOSTS, answer, DESIRED, rules=(rule,), key=b"", at=1.0)
    there = copy.deepcopy(live_of(HOSTS, fields={"f:metadata": ours["f:metadata"]} if is_taken else ours))
    if is_taken:
        there["metadata"]["managedFields"].append(entry("hands", {"f:spec": ours["f:spec"]}))
    there["spec"]["rules"] = [{"host": host} if host else {} for host in hosts]
    assert judge_sync(known, DESIRED, there, rules=(rule,)).state is state
