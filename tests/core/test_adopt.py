from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.adopt import (
    Takeable,
    TooFresh,
    Untakeable,
    counted,
    extras_left,
    extras_of,
    foreign_line,
    is_former,
    is_same_but_marked,
    is_tracked_by_label,
    judge_adoption,
    move_patch,
    owners_of,
    plan_move,
    removal_patch,
)
from fleet.core.fieldset import Path, entries_of, paths, split, union
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.sync_policy import Adopt, IgnoreRule

FORMER = ("kubectl", "kubectl-create", "kubectl-client-side-apply", "helm", "argocd-controller", "kustomize-controller")
OTHERS = ("kube-controller-manager", "vpa-updater", "kubectl-rollout", "fleet-handover")
NOW = 1_800_000_000.0
UNIT = UnitName(OverlayName("web"), ClusterName("eu-1"))

names = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'v:"y"'])
sets = st.recursive(
    st.just({}),
    lambda below: st.dictionaries(names, below, min_size=1, max_size=3).flatmap(
        lambda made: st.sampled_from([made, {".": {}, **made}])
    ),
    max_leaves=8,
).filter(lambda made: made != {} and made != {".": {}})


def raw(manager: str, fields: dict[str, Any], *, sub: str = "", version: str = "v1", at: str = "", op: str = "Update"):
    entry = {"manager": manager, "operation": op, "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields}
    return {**entry, **({"subresource": sub} if sub else {}), **({"time": at} if at else {})}


def made(*entries: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "shop", "uid": "u-1", "resourceVersion": "7", **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "managedFields": list(entries)}}


BODY: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}

entries = st.lists(
    st.builds(
        raw,
        st.sampled_from(FORMER + OTHERS),
        sets.map(lambda fields: {"f:data": fields}),
        sub=st.sampled_from(["", "", "", "status", "scale"]),
        version=st.sampled_from(["v1", "v1", "v1", "v2"]),
    ),
    max_size=6,
)


def owned(fields: Any) -> set[Path]:
    return set(paths(fields))


@given(sets, sets)
def test_a_union_owns_what_either_owns(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert owned(union(one, other)) == owned(one) | owned(other)
    assert owned(union(other, one)) == owned(union(one, other))


@given(sets, st.sets(st.integers(0, 30)))
def test_a_split_gives_each_path_to_one_side(fields: dict[str, Any], picked: set[int]) -> None:
    taken = {path for number, path in enumerate(sorted(owned(fields))) if number in picked}
    mine, rest = split(fields, lambda path: path in taken)
    assert owned(mine) == taken
    assert owned(rest) == owned(fields) - taken


@given(entries)
def test_a_move_neither_loses_a_field_nor_touches_what_is_not_a_former_tools(before: list[dict[str, Any]]) -> None:
    live = made(*before)
    move = plan_move(live, BODY)
    moving = [e for e in before if is_former(e["manager"]) and "subresource" not in e]
    if move is None:
        assert moving == []
        return
    ours, *rest = move.entries
    assert (ours["manager"], ours["operation"]) == ("fleet", "Apply")
    everything = set[Path]().union(*(owned(entry["fieldsV1"]) for entry in before))
    assert set[Path]().union(*(owned(entry["fieldsV1"]) for entry in move.entries)) == everything
    left = [entry for entry in moving if entry["apiVersion"] != ours["apiVersion"]]
    assert [e for e in before if e not in moving or e in left] == list(rest)
    assert set(move.left) == {entry["manager"] for entry in left}
    assert owned(ours["fieldsV1"]) == set[Path]().union(*(owned(e["fieldsV1"]) for e in moving if e not in left))


@given(entries)
def test_a_move_carried_out_leaves_nothing_of_that_version_to_move(before: list[dict[str, Any]]) -> None:
    live = made(*before)
    if (move := plan_move(live, BODY)) is not None:
        assert plan_move(made(*move.entries), BODY) is None
        patch = json.loads(move_patch(live, move))
        assert [step["path"] for step in patch[:2]] == ["/metadata/uid", "/metadata/resourceVersion"]
        assert patch[2]["value"] == list(move.entries)


@pytest.mark.parametrize("manager", ["kubectl-rollout", "fleet", "vpa-updater", "helmsman", "kube-controller-manager"])
def test_what_no_former_tool_owns_does_not_move(manager: str) -> None:
    assert plan_move(made(raw(manager, {"f:data": {"f:a": {}}})), BODY) is None


LEFT_OUT = {
    "f:metadata": {
        "f:labels": {"f:app.kubernetes.io/managed-by": {}, "f:team": {}},
        "f:finalizers": {'v:"a/b"': {}},
        "f:annotations": {"f:meta.helm.sh/release-name": {}},
    },
    "f:spec": {"f:replicas": {}, "f:paused": {}},
}


def test_what_git_leaves_to_others_stays_with_its_owner_unless_git_says_it() -> None:
    live = made(raw("helm", LEFT_OUT))
    move = plan_move(live, BODY)
    assert move is not None
    assert owned(move.entries[1]["fieldsV1"]) == {
        ("f:metadata", "f:labels", "f:app.kubernetes.io/managed-by"),
        ("f:metadata", "f:finalizers", 'v:"a/b"'),
        ("f:spec", "f:replicas"),
    }
    said = {**BODY, "metadata": {**BODY["metadata"], "finalizers": ["a/b"]}, "spec": {"replicas": 3}}
    said["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "fleet"}
    whole = plan_move(live, said)
    assert whole is not None
    assert len(whole.entries) == 1


def test_an_ignored_field_stays_where_it_is() -> None:
    live = {**made(raw("helm", {"f:data": {"f:a": {}, "f:b": {}}})), "data": {"a": "1", "b": "2"}}
    move = plan_move(live, {**BODY, "data": {"a": "1"}}, [IgnoreRule(pointers=("/data/b",))])
    assert move is not None
    assert [owned(entry["fieldsV1"]) for entry in move.entries] == [{("f:data", "f:a")}, {("f:data", "f:b")}]


def test_extras_are_what_only_the_former_tool_says_and_bookkeeping_is_none() -> None:
    fields = {"f:data": {"f:a": {}, "f:b": {}, "f:c": {}}, **LEFT_OUT}
    live = made(raw("helm", fields), raw("vpa-updater", {"f:data": {"f:c": {}}}), labels={"team": "shop"})
    live |= {"data": {"a": "1", "b": "2", "c": "3"}, "spec": {"replicas": 1, "paused": True}}
    move = plan_move(live, {**BODY, "data": {"a": "1"}})
    assert move is not None
    found = extras_of(move, {"f:data": {"f:a": {}}}, live)
    assert found == (("f:data", "f:b"), ("f:metadata", "f:labels", "f:team"), ("f:spec", "f:paused"))
    patch = {step["path"]: step.get("value") for step in json.loads(removal_patch(live, live, found))}
    assert patch["/data"] == {"a": "1", "c": "3"}
    assert patch["/spec"] == {"replicas": 1}
    assert patch["/metadata/labels"] == {}
    assert live["data"] == {"a": "1", "b": "2", "c": "3"}
    tried = {**live, "data": {"a": "1", "c": "3"}, "metadata": {**live["metadata"], "labels": {}}}
    assert extras_left(live, tried, found) == found[:2]


def test_a_list_item_that_only_the_former_tool_says_goes_whole() -> None:
    fields = {"f:spec": {"f:ports": {".": {}, 'k:{"port":1}': {".": {}, "f:port": {}}, 'k:{"port":2}': {".": {}}}}}
    live = {**made(raw("helm", fields)), "spec": {"ports": [{"port": 1}, {"port": 2, "name": "x"}]}}
    move = plan_move(live, {**BODY, "spec": {"ports": [{"port": 1}]}})
    assert move is not None
    found = extras_of(move, {"f:spec": {"f:ports": {'k:{"port":1}': {".": {}, "f:port": {}}}}}, live)
    assert found == (("f:spec", "f:ports", 'k:{"port":2}'),)
    assert json.loads(removal_patch(live, live, found))[2]["value"] == {"ports": [{"port": 1}]}


# May it be done now


def stamp(seconds_ago: float) -> str:
    return datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat().replace("+00:00", "Z")


@given(st.integers(-900, 900), st.sampled_from([Adopt.IF_NO_DIFF, Adopt.ALWAYS]))
def test_who_wrote_minutes_ago_is_named_and_waited_for_by_if_no_diff_alone(ago: int, adopt: Adopt) -> None:
    live = made(raw("argocd-controller", {"f:data": {}}, at=stamp(ago)))
    found = judge_adoption(live, adopt, now=NOW, quiet_seconds=300.0)
    if not -300 < ago < 300:
        assert found == Takeable(())
    elif adopt is Adopt.ALWAYS:
        assert isinstance(found, Takeable)
        assert [writer.manager for writer in found.active] == ["argocd-controller"]
    else:
        assert isinstance(found, TooFresh)
        assert found.seconds == pytest.approx(300.0 - max(0, ago))


@pytest.mark.parametrize(
    ("manager", "sub"),
    [("kube-controller-manager", ""), ("kubelet", ""), ("fleet", ""), ("argocd-controller", "status")],
)
def test_parts_of_the_cluster_and_writers_of_status_are_no_active_writers(manager: str, sub: str) -> None:
    live = made(raw(manager, {"f:data": {}}, at=stamp(5), sub=sub))
    assert judge_adoption(live, Adopt.IF_NO_DIFF, now=NOW, quiet_seconds=300.0) == Takeable(())


@pytest.mark.parametrize("adopt", [Adopt.IF_NO_DIFF, Adopt.ALWAYS])
def test_what_another_object_owns_is_never_taken_over(adopt: Adopt) -> None:
    live = made(raw("helm", {"f:data": {}}), ownerReferences=[{"kind": "Chart", "name": "shop", "uid": "u"}])
    assert judge_adoption(live, adopt, now=NOW, quiet_seconds=300.0) == Untakeable("Chart shop")


def test_what_is_said_to_us_alone_status_and_bookkeeping_are_no_difference_and_labels_are() -> None:
    before = {**made(raw("helm", {}), labels={"a": "b"}), "status": {"x": 1}, "data": {"a": "1"}}
    ours = {"a": "b", "fleet.internal/installation": "x", "applyset.kubernetes.io/part-of": "y"}
    notes = {"fleet.internal/owner": "i/c/o", "fleet.internal/prune": "disabled"}
    before["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    after = {**made(labels=ours, annotations=notes, generation=2), "data": {"a": "1"}}
    assert is_same_but_marked(before, after)
    assert not is_same_but_marked(before, {**after, "data": {"a": "2"}})
    assert not is_same_but_marked({**before, "metadata": {**before["metadata"], "labels": {}}}, after)


def test_the_line_of_a_unit_counts_reasons_and_owners_and_ends_in_a_command() -> None:
    groups = [("ObjectForeign", ["helm"])] * 2 + [("WriterActive", ["argocd-controller", "helm"])]
    reason, message, step = foreign_line(UNIT, groups, Adopt.IF_NO_DIFF)
    assert reason == "ObjectForeign"
    assert message == (
        "3 objects exist and are not ours: 2 not as in Git, 1 written minutes ago; "
        "owned by helm (3), argocd-controller (1)"
    )
    assert step == "fleet diff web@eu-1; sync.adopt: always takes these too"
    never = foreign_line(UNIT, groups[:1], Adopt.NEVER)
    assert never[1] == "1 object exists and is not ours, owned by helm (1)"
    assert "ifNoDiff" in never[2]
    assert counted([[], ["helm"]]) == "helm (1), nobody named (1)"


def test_owners_are_tools_and_people_not_parts_of_the_cluster() -> None:
    live = made(raw("helm", {}), raw("kube-controller-manager", {}), raw("argocd-controller", {}, sub="status"))
    assert owners_of(live) == ("helm",)
    assert len(entries_of(live)) == 3


INSTANCE = "app.kubernetes.io/instance"
LABELLED = {"f:metadata": {"f:labels": {f"f:{INSTANCE}": {}}}}


@pytest.mark.parametrize(
    ("manager", "annotations", "said", "expected"),
    [
        ("argocd-controller", {}, {}, True),
        ("argocd-application-controller", {}, {}, True),
        ("argocd-controller", {}, {INSTANCE: "shop"}, True),  # as in Git, so that it stays
        ("argocd-controller", {}, {INSTANCE: "web"}, False),
        ("argocd-controller", {"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:shop/a"}, {}, False),
        ("helm", {}, {}, False),
    ],
)
def test_argo_cd_goes_on_tracking_by_a_label_of_its_own_that_stays(
    manager: str, annotations: dict[str, str], said: dict[str, str], expected: bool
) -> None:
    live = made(raw(manager, LABELLED), labels={INSTANCE: "shop"}, annotations=annotations)
    body = {**BODY, "metadata": {**BODY["metadata"], "labels": said}}
    assert is_tracked_by_label(live, body) is expected
    assert not is_tracked_by_label(made(raw(manager, {"f:data": {}}), labels={INSTANCE: "shop"}), body)
    assert not is_tracked_by_label(made(raw(manager, LABELLED)), body)
