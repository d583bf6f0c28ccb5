"""What a cluster's objects say to a change: each finding with its harmless twin."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from core.building import MARK, live_of
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName
from fleet.core.objects import ref_of
from fleet.core.options import options_of
from fleet.core.planning.change import ObjectChange, Sign
from fleet.core.planning.live import Danger, LiveFinding
from fleet.core.planning.live_judge import Seen, Setting, judge_object, worst_findings
from fleet.core.planning.pods import Restart
from fleet.core.planning.room import judge_disruption, judge_quotas, selects
from fleet.core.record import mark_body
from fleet.core.sync_policy import Adopt, IgnoreRule
from fleet.errors import AdmissionDenied, FleetError, Forbidden, ImmutableField, ObjectInvalid

SETTING = Setting(OverlayName("web"), ClusterName("eu-1"), MARK, Adopt.NEVER, now=2e9)
BEFORE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "replicas": 4,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {"name": "web", "image": "web:1", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
                ]
            },
        },
    },
}


def edited(document: dict[str, Any], value: Any, *path: Any) -> dict[str, Any]:
    found = copy.deepcopy(document)
    at: Any = found
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return found


NEW_IMAGE = edited(BEFORE, "web:2", "spec", "template", "spec", "containers", 0, "image")


def seen(
    live: dict[str, Any] | None,
    after: dict[str, Any] | None = NEW_IMAGE,
    before: dict[str, Any] | None = BEFORE,
    *,
    sign: Sign = Sign.CHANGE,
    restart: Restart | None = None,
    **more: Any,
) -> Seen:
    of = ref_of(after or before or {})
    change = ObjectChange(sign, of, "apps/v1", before=Digest("a"), after=Digest("b"), restart=restart)
    marked = [mark_body(body, MARK) if body else None for body in (before, after)]
    return Seen(change, live, *marked, **more)


def dangers(found: Iterable[LiveFinding]) -> set[Danger]:
    return {item.danger for item in found}


def test_an_object_as_the_base_says_is_no_finding() -> None:
    assert not list(judge_object(seen(live_of(BEFORE)), SETTING))


def test_an_edit_that_the_change_writes_over_is_drift_and_one_that_it_keeps_is_not() -> None:
    image = ("spec", "template", "spec", "containers", 0, "image")
    theirs = live_of(edited(BEFORE, "web:hotfix", *image))
    (lost,) = judge_object(seen(theirs), SETTING)
    assert lost.danger is Danger.DRIFT
    assert "image" in lost.message
    kept = live_of(edited(BEFORE, "web:2", *image))  # by hand what the change says
    assert not list(judge_object(seen(kept), SETTING))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("pointer", "managers", "is_lost"),
    [
        ("/spec/template/spec/containers/0/image", (), False),
        ("/spec/template/spec/containers/1/image", (), True),
        ("/metadata/annotations/acme.io~1checked", (), True),
        ("/spec/template/spec/containers/0/image", ("somebody",), True),
    ],
)
def test_an_edit_that_is_ignored_is_not_written_over(
    pointer: str, managers: tuple[str, ...], is_lost: bool, known: bool
) -> None:
    image = ("spec", "template", "spec", "containers", 0, "image")
    theirs = live_of(edited(BEFORE, "web:hotfix", *image))
    if not known:
        theirs["metadata"].pop("managedFields")
    rules = (IgnoreRule(kind="Deployment", name="w*", pointers=(pointer,), managers=managers),)
    found = [one for one in judge_object(seen(theirs), replace(SETTING, ignore=rules)) if one.danger is Danger.DRIFT]
    assert bool(found) is is_lost
    others = (IgnoreRule(kind="StatefulSet", pointers=(pointer,), managers=managers),)
    assert dangers(judge_object(seen(theirs), replace(SETTING, ignore=others))) >= {Danger.DRIFT}, (
        "twin: of other kinds"
    )


def test_an_edit_under_an_escaped_name_is_ignored_by_its_pointer() -> None:
    before, after = (edited(BEFORE, {"acme.io/checked": text}, "metadata", "annotations") for text in "ab")
    theirs = live_of(edited(BEFORE, {"acme.io/checked": "mine"}, "metadata", "annotations"))
    rules = (IgnoreRule(pointers=("/metadata/annotations/acme.io~1checked",)),)
    assert dangers(judge_object(seen(theirs, after, before), SETTING)) == {Danger.DRIFT}
    assert not list(judge_object(seen(theirs, after, before), replace(SETTING, ignore=rules)))


def test_where_the_base_is_not_there_yet_nothing_is_called_drift() -> None:
    theirs = live_of(edited(BEFORE, 9, "spec", "replicas"))
    assert dangers(judge_object(seen(theirs), SETTING)) == {Danger.DRIFT}
    setting = Setting(OverlayName("web"), ClusterName("eu-1"), MARK, Adopt.NEVER, holds_base=False, now=2e9)
    assert not list(judge_object(seen(theirs), setting))


@pytest.mark.parametrize(("adopt", "words"), [(Adopt.NEVER, "stays as it is"), (Adopt.ALWAYS, "sync.adopt is always")])
def test_an_object_of_nobody_we_know_is_named(adopt: Adopt, words: str) -> None:
    live = live_of(BEFORE, marked=False)
    setting = Setting(OverlayName("web"), ClusterName("eu-1"), MARK, adopt, holds_base=False, now=2e9)
    (found,) = judge_object(seen(live, before=None, sign=Sign.CREATE), setting)
    assert (found.danger, words in found.message) == (Danger.OWNER, True)


def test_who_wrote_within_the_hour_is_still_active_and_who_did_yesterday_is_not() -> None:
    live = live_of(BEFORE)
    entry = {"manager": "argocd-controller", "operation": "Update", "fieldsV1": {}, "time": "2033-05-18T03:30:00Z"}
    live["metadata"]["managedFields"].append(entry)  # 2e9 is 03:33:20
    assert dangers(judge_object(seen(live), SETTING)) == {Danger.WRITER}
    entry["time"] = "2033-05-17T03:30:00Z"
    assert not list(judge_object(seen(live), SETTING))


@pytest.mark.parametrize(
    ("refused", "danger"),
    [
        (ImmutableField("x", why="spec.selector: field is immutable"), Danger.IMMUTABLE),
        (ObjectInvalid("x", why="spec.replicas: must be positive"), Danger.REFUSED),
        (AdmissionDenied("x", why="exceeded quota: q, requested: services=1, used: services=1"), Danger.QUOTA),
        (Forbidden("x"), None),  # of the person: answered by reading alone
        (None, None),
    ],
)
def test_what_the_dry_run_answers_is_told(refused: FleetError | None, danger: Danger | None) -> None:
    found = dangers(judge_object(seen(live_of(BEFORE), refused=refused), SETTING))
    assert found == ({danger} if danger else set())


def test_no_text_of_the_server_is_told_about_a_secret() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "shop"},
        "data": {"k": "YQ=="},
    }
    refused = ObjectInvalid("x", why='data[k]: Invalid value: "hunter2"')
    (found,) = judge_object(seen(live_of(secret), secret, secret, refused=refused), SETTING)
    assert "hunter2" not in str(found)


def test_without_a_dry_run_a_fixed_field_is_told_as_approximate_and_a_free_one_is_not() -> None:
    fixed = edited(BEFORE, {"matchLabels": {"app": "other"}}, "spec", "selector")
    (found,) = judge_object(seen(live_of(BEFORE), fixed, exact=False), SETTING)
    assert (found.danger, found.approximate) == (Danger.IMMUTABLE, True)
    assert not list(judge_object(seen(live_of(BEFORE), exact=False), SETTING))
    assert not list(judge_object(seen(live_of(BEFORE), fixed, exact=True), SETTING))  # the server said it may


def quota(name: str, hard: str, used: str) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "status": {"hard": {name: hard}, "used": {name: used}}}


@pytest.mark.parametrize(
    ("hard", "fits"),
    [("3", True), ("2500m", False)],  # 4 pods of 0.5 use 2; one more at the peak of the rollout
)
def test_a_rollout_that_does_not_fit_its_quota_is_told(hard: str, fits: bool) -> None:
    item = seen(live_of(BEFORE), restart=Restart(4))
    used = "2" if fits else "2100m"
    found = list(judge_quotas("shop", [item], [quota("requests.cpu", hard, used)], SETTING))
    assert dangers(found) == (set() if fits else {Danger.QUOTA})


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 60))
def test_pods_beyond_the_quota_are_told_exactly_then(had: int, wanted: int, room: int) -> None:
    live, after = live_of(edited(BEFORE, had, "spec", "replicas")), edited(BEFORE, wanted, "spec", "replicas")
    found = list(judge_quotas("shop", [seen(live, after)], [quota("pods", str(room), str(had))], SETTING))
    assert bool(found) == (wanted > had and wanted > room)


def budget(allowed: int, labels: dict[str, str]) -> dict[str, Any]:
    status = {"disruptionsAllowed": allowed, "expectedPods": 4, "currentHealthy": 4, "desiredHealthy": 4 - allowed}
    return {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": labels}}, "status": status}


@pytest.mark.parametrize(
    ("allowed", "labels", "restart", "told"),
    [
        (0, {"app": "web"}, Restart(4), True),
        (1, {"app": "web"}, Restart(4), False),
        (0, {"app": "db"}, Restart(4), False),
        (0, {"app": "web"}, None, False),
    ],
)
def test_a_budget_that_allows_nothing_is_told_where_pods_are_replaced(
    allowed: int, labels: dict[str, str], restart: Restart | None, told: bool
) -> None:
    item = seen(live_of(BEFORE), restart=restart)
    assert bool(list(judge_disruption([item], [budget(allowed, labels)], SETTING))) == told


@pytest.mark.parametrize(
    ("rule", "selected"),
    [
        ({"key": "app", "operator": "In", "values": ["web", "db"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "app", "operator": "Guess"}, False),
    ],
)
def test_a_selector_is_read_as_kubernetes_does(rule: dict[str, Any], selected: bool) -> None:
    assert selects({"matchExpressions": [rule]}, {"app": "web"}) == selected


def test_the_worst_comes_first_and_nothing_twice() -> None:
    def finding(danger: Danger) -> LiveFinding:
        return LiveFinding(
            danger, OverlayName("web"), ClusterName("eu-1"), "m", ObjectRef("", "Service", "shop", "web")
        )

    found = worst_findings([finding(Danger.BASE), finding(Danger.IMMUTABLE), finding(Danger.BASE)])
    assert [item.danger for item in found] == [Danger.IMMUTABLE, Danger.BASE]


def selecting(app: str = "a", **annotations: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "q", "namespace": "shop", "annotations": annotations}
    body = {"selector": {"matchLabels": {"app": app}}}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": body}


def queue(service: str, **annotations: str) -> dict[str, Any]:
    return {**selecting(**annotations), "kind": "StatefulSet", "spec": {"serviceName": service}}


def judged(after: dict[str, Any], live: dict[str, Any] | None = None, **more: Any) -> list[tuple[Danger, str]]:
    found = seen(live or live_of(selecting()), after, None, options=options_of(after), **more)
    return [(one.danger, one.message) for one in judge_object(found, SETTING)]


@pytest.mark.parametrize("exact", [True, False])
def test_an_object_that_asks_to_be_made_anew_is_told_to_go_and_not_to_fail(exact: bool) -> None:
    more: dict[str, Any] = {"exact": exact}
    if exact:
        more["refused"] = ImmutableField("x", why="field is immutable")
    asked = {"fleet.internal/replace": "enabled"}
    ((danger, message),) = judged(selecting("b", **asked), **more)
    assert danger is Danger.GOES
    assert message.startswith("is deleted and made anew (fleet.internal/replace), as ")
    ((danger, message),) = judged(selecting("b", **asked, **{"fleet.internal/prune": "confirm"}), **more)
    assert (danger, "after a person was asked" in message) == (Danger.GOES, True)
    ((danger, message),) = judged(queue("b", **asked), live=live_of(queue("a")), **more)
    assert (danger, "after a person was asked" in message) == (Danger.GOES, True), "a precious kind"
    for other in ({}, {**asked, "fleet.internal/prune": "disabled"}):
        ((danger, message),) = judged(selecting("b", **other), **more)
        assert (danger, message.startswith("the apply will fail")) == (Danger.IMMUTABLE, True)


def test_a_hooks_earlier_run_goes_before_the_next_one_or_stands_in_its_way() -> None:
    def job(**annotations: str) -> dict[str, Any]:
        body = {"template": {"spec": {"containers": []}}}
        notes = {"fleet.internal/hook": "PreSync", **annotations}
        metadata = {"name": "m", "namespace": "shop", "annotations": notes}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": body}

    def told(body: dict[str, Any], **more: Any) -> set[Danger]:
        return dangers(judge_object(seen(live_of(body), body, body, options=options_of(body), **more), SETTING))

    fixed = ImmutableField("x", why="field is immutable")
    assert told(job(), refused=fixed) == set()
    assert told(job()) == set()
    kept = job(**{"fleet.internal/hook-delete": "HookSucceeded"})
    assert told(kept) == told(kept, refused=fixed) == {Danger.REFUSED}
    assert told(job(), refused=AdmissionDenied("x", why="no")) == {Danger.REFUSED}, "another refusal is told"
