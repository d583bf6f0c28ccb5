"""Whose fields an apply would change, foreseen and read from a 409."""

from __future__ import annotations

from typing import Any

import pytest
from core.building import MARK, entry, live_of

from fleet.core.conflicts import (
    BEFORE_FIRST_APPLY,
    Conflicting,
    Contested,
    ForceOnce,
    NoConflict,
    Stale,
    classify_conflict,
    judge_conflict,
)
from fleet.core.documents import canonical
from fleet.core.record import mark_body

BODY: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "app", "image": "a:1"}]}}},
}
DESIRED = mark_body(BODY, MARK)
REPLICAS: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
OURS = canonical(REPLICAS)


def live(*entries: dict[str, Any], **spec: Any) -> dict[str, Any]:
    found = live_of({**BODY, "spec": {**BODY["spec"], **spec}})
    found["metadata"]["managedFields"] += entries
    return found


def test_nobody_elses_fields_are_no_conflict() -> None:
    assert judge_conflict(live(), DESIRED, OURS) == NoConflict()


def test_the_same_value_is_shared() -> None:
    assert judge_conflict(live(entry("kubectl", REPLICAS)), DESIRED, OURS) == NoConflict()


def test_a_field_that_was_ours_may_be_forced_once_with_the_events_uid_and_version() -> None:
    verdict = judge_conflict(live(entry("kubectl-edit", REPLICAS), replicas=5), DESIRED, OURS)
    assert verdict == ForceOnce("u1", "7", (Contested("spec.replicas", "kubectl-edit"),))


def test_a_field_that_was_never_ours_is_reported() -> None:
    contested = live(entry("kubectl-edit", REPLICAS), replicas=5)
    assert judge_conflict(contested, DESIRED, b"") == Conflicting((Contested("spec.replicas", "kubectl-edit"),))


def test_one_field_that_was_never_ours_stops_the_force_over_all_others() -> None:
    image = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}}}}}
    other = {**BODY["spec"], "replicas": 5, "template": {"spec": {"containers": [{"name": "app", "image": "a:9"}]}}}
    contested = live(entry("kubectl-edit", REPLICAS), entry("updater", image), **other)
    verdict = judge_conflict(contested, DESIRED, OURS)
    assert verdict == Conflicting((Contested("spec.template.spec.containers[name=app].image", "updater"),))


def test_fields_that_we_do_not_apply_are_nobodys_conflict() -> None:
    contested = live(entry("vpa", {"f:spec": {"f:paused": {}}}), paused=True)
    assert judge_conflict(contested, DESIRED, OURS) == NoConflict()


def conflict(manager: str, field: str, more: str = "") -> dict[str, Any]:
    return {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"{more}', "field": field}


@pytest.mark.parametrize("more", ["", " using apps/v1", ' with subresource "scale" using apps/v1'])
def test_a_409_names_fields_and_managers(more: str) -> None:
    causes = [conflict("kubectl edit", '.spec.template.spec.containers[name="app"].image', more)]
    status = {"code": 409, "message": "Apply failed", "details": {"causes": causes}}
    assert classify_conflict(status) == Conflicting(
        (Contested("spec.template.spec.containers[name=app].image", "kubectl edit"),)
    )


def test_a_409_without_causes_is_a_failed_precondition() -> None:
    message = "Precondition failed: UID in precondition: a, UID in object meta: "
    assert classify_conflict({"code": 409, "message": message}) == Stale(message)


def test_where_nobody_is_said_to_own_anything_only_what_was_ours_may_be_forced() -> None:
    """Who clears `managedFields` leaves all values to the server's own manager, which an apply conflicts with."""
    cleared = live(**{**BODY["spec"], "replicas": 5})
    cleared["metadata"]["managedFields"] = []
    who = (Contested("spec.replicas", BEFORE_FIRST_APPLY),)
    assert judge_conflict(cleared, DESIRED, OURS) == ForceOnce("u1", "7", who)
    assert judge_conflict(cleared, DESIRED, b"") == Conflicting(who)
    same = live()
    same["metadata"]["managedFields"] = []
    assert judge_conflict(same, DESIRED, OURS) == NoConflict()


@pytest.mark.parametrize("below", ["f:a", 'k:{"name":"a"}'])
@pytest.mark.parametrize(("ours", "forces"), [(OURS, True), (b"", False)])
def test_what_somebody_made_a_map_or_a_list_of_is_contested_as_a_whole(ours: bytes, forces: bool, below: str) -> None:
    made: Any = {"a": 1} if below == "f:a" else [{"name": "a"}]
    contested = live(entry("tenant", {"f:spec": {"f:replicas": {below: {}}}}), **{**BODY["spec"], "replicas": made})
    verdict = judge_conflict(contested, DESIRED, ours)
    assert verdict.fields == (Contested("spec.replicas", "tenant"),)  # type: ignore[union-attr]
    assert isinstance(verdict, ForceOnce) is forces
