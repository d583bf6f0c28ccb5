"""The fingerprint against a real control plane with its controllers: no false drift, and no true drift missed."""

from __future__ import annotations

import base64
import copy
import time
from dataclasses import dataclass
from typing import Any

import pytest
from core.awkward import CRD_GROUP, Awkward, awkward_objects, definition
from testbed.controlplane import ControlPlane
from testbed.rest import Refused, Rest, path_of

from fleet.core.conflicts import Conflicting, ForceOnce, NoConflict, Stale, classify_conflict, judge_conflict
from fleet.core.diff import diff_fields
from fleet.core.exact import is_applied_already
from fleet.core.field_diff import dry_run_diff
from fleet.core.fingerprint import SyncState, judge_sync, own_entry, recorded_after
from fleet.core.ids import ClusterName, Digest, OverlayName, UnitName
from fleet.core.normalise import normalise
from fleet.core.objects import Mark, ref_of
from fleet.core.record import MarkKind, Row, RowState, judge_mark, mark_body

UNIT = UnitName(OverlayName("awkward"), ClusterName("real"))
MARK = Mark("acme", "5f0c", "awkward")
DESIRED = Digest("d" * 64)
KEY = b"k" * 32
_NS = "awkward-fixtures"
NAMES = [item.name for item in awkward_objects(_NS)]
JSON_MERGE = "application/merge-patch+json"


@dataclass
class Managed:
    """One object as fleet would manage it."""

    case: Awkward
    body: dict[str, Any]
    path: str
    row: Row

    def live(self, admin: Rest) -> dict[str, Any]:
        return admin.get(self.path)


def apply(admin: Rest, body: dict[str, Any], *, force: bool = False) -> dict[str, Any]:
    return admin.apply(body, manager="fleet", force=force)


def manage(admin: Rest, case: Awkward) -> Managed:
    body = mark_body(normalise(copy.deepcopy(case.ours)), MARK)
    answer = apply(admin, body)
    fresh = Row(UNIT, ref_of(body), RowState.INTENDED)
    row = recorded_after(fresh, body, answer, DESIRED, rules=(), key=KEY, at=0.0)
    return Managed(case, body, path_of(body), row)


def patch_as(admin: Rest, path: str, patch: dict[str, Any], manager: str, content_type: str = JSON_MERGE) -> Any:
    return admin.request("PATCH", path, patch, content_type=content_type, query={"fieldManager": manager})


def settle(admin: Rest, item: Managed) -> None:
    def done(seen: dict[str, Any]) -> bool:
        good = ("Available", "Complete")
        return any(c["type"] in good and c["status"] == "True" for c in seen.get("status", {}).get("conditions", []))

    admin.wait(item.path, done, seconds=40)


def until_served(admin: Rest, path: str, seconds: float = 30) -> None:
    """A new kind answers 404, then 429, before it is served."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            admin.get(path)
            return
        except Refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="module")
def admin(real_cluster: ControlPlane) -> Rest:
    return real_cluster.client()


@pytest.fixture(scope="module")
def world(admin: Rest) -> dict[str, Managed]:
    """All awkward objects, applied, written to by controllers and others, and settled."""
    if not admin.exists(f"/api/v1/namespaces/{_NS}"):
        admin.make_namespace(_NS)
    admin.wait(f"/api/v1/namespaces/{_NS}/serviceaccounts/default", bool)
    admin.apply(definition(), manager="fleet")
    crd = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{CRD_GROUP}"
    admin.wait(crd, lambda seen: "Established" in str(seen.get("status", {}).get("conditions")))
    for version in ("v1", "v1beta1"):
        until_served(admin, f"/apis/{CRD_GROUP}/{version}/namespaces/{_NS}/widgets")
    managed = {case.name: manage(admin, case) for case in awkward_objects(_NS)}
    for item in managed.values():
        content_type = item.case.drift_type if "webhooks" in item.body else JSON_MERGE
        for patch in item.case.others:
            path = f"{item.path}/status" if "status" in patch else item.path
            patch_as(admin, path, patch, "controller", content_type)
        if item.case.scale_to:
            patch_as(admin, f"{item.path}/scale", {"spec": {"replicas": item.case.scale_to}}, "autoscaler")
    for item in managed.values():
        if item.case.settles:
            settle(admin, item)
    aggregated = managed["aggregated-cluster-role"].path
    admin.wait(aggregated, lambda seen: bool(seen.get("rules")))
    return managed


@pytest.mark.parametrize("name", NAMES)
def test_what_controllers_and_others_write_is_no_drift(world: dict[str, Managed], admin: Rest, name: str) -> None:
    item = world[name]
    live = item.live(admin)
    verdict = judge_sync(item.row, DESIRED, live, key=KEY)
    assert verdict.state is SyncState.IN_SYNC, diff_fields(
        item.body, live, own_entry(live), last_fields=item.row.fields
    )
    assert diff_fields(item.body, live, own_entry(live), last_fields=item.row.fields) == ()
    assert judge_mark(live, MARK).kind is MarkKind.OURS


@pytest.mark.parametrize("name", NAMES)
def test_an_apply_that_changes_nothing_leaves_the_fingerprint(
    world: dict[str, Managed], admin: Rest, name: str
) -> None:
    item = world[name]
    answer = apply(admin, item.body, force=True)
    assert judge_sync(item.row, DESIRED, answer, key=KEY).state is SyncState.IN_SYNC


def test_what_is_said_to_be_applied_already_is_left_alone_by_a_dry_run(world: dict[str, Managed], admin: Rest) -> None:
    known = {name: item for name, item in world.items() if is_applied_already(item.body, item.live(admin))}
    for item in known.values():
        before = item.live(admin)
        query = {"fieldManager": "fleet", "force": "true", "dryRun": "All"}
        answer = admin.request("PATCH", item.path, item.body, content_type="application/apply-patch+yaml", query=query)
        assert dry_run_diff(before, answer) == (), item.case.name
        assert own_entry(before) == own_entry(answer)
    assert len(known) >= 15  # of objects that were chosen for being respelled by the server


@pytest.mark.parametrize("name", NAMES)
def test_a_change_to_a_field_of_ours_is_found_named_and_healed(
    world: dict[str, Managed], admin: Rest, name: str
) -> None:
    item = world[name]
    live = patch_as(admin, item.path, item.case.drift, "kubectl-edit", item.case.drift_type)
    assert judge_sync(item.row, DESIRED, live, key=KEY).state is SyncState.DRIFTED
    assert not is_applied_already(item.body, live)

    drift = diff_fields(item.body, live, own_entry(live), last_fields=item.row.fields)
    named = next((found for found in drift if found.path == item.case.path), None)
    assert named is not None, drift
    assert named.manager in ("kubectl-edit", ""), drift
    assert abs(named.since - time.time()) < 120 or not named.manager
    if item.case.masked:
        assert named.masked
        assert named.desired is None
        assert named.live is None

    healed = heal(admin, item)
    row = recorded_after(item.row, item.body, healed, DESIRED, rules=(), key=KEY, at=1.0)
    assert judge_sync(row, DESIRED, item.live(admin), key=KEY).state is SyncState.IN_SYNC
    assert diff_fields(item.body, healed, own_entry(healed), last_fields=row.fields) == ()


def heal(admin: Rest, item: Managed, tries: int = 5) -> dict[str, Any]:
    """Apply as the worker would: forced only over fields of our own, with the event's resourceVersion."""
    for _ in range(tries):
        live = item.live(admin)
        verdict = judge_conflict(live, item.body, item.row.fields)
        assert not isinstance(verdict, Conflicting), verdict
        try:
            return apply(admin, guarded(item.body, verdict, live), force=isinstance(verdict, ForceOnce))
        except Refused as refused:
            if not isinstance(classify_conflict(refused.status), Stale):
                raise  # else a controller wrote in between, and the next event is judged anew
    raise AssertionError("the object is never still")


def guarded(body: dict[str, Any], verdict: NoConflict | ForceOnce, live: dict[str, Any]) -> dict[str, Any]:
    """The body with the preconditions of the event that showed the drift."""
    metadata = {**body["metadata"], "uid": live["metadata"]["uid"]}
    if isinstance(verdict, ForceOnce):
        metadata["resourceVersion"] = verdict.resource_version
    return {**body, "metadata": metadata}


def test_a_removed_field_and_a_removed_item_are_drift(admin: Rest, world: dict[str, Managed]) -> None:
    item = world["deployment-quantities"]
    remove = [{"op": "remove", "path": "/spec/template/spec/containers/0/args"}]
    live = admin.request("PATCH", item.path, remove, content_type="application/json-patch+json")
    row = current_row(item, admin)
    assert judge_sync(item.row, DESIRED, live, key=KEY).state is SyncState.DRIFTED
    drift = diff_fields(item.body, live, own_entry(live), last_fields=item.row.fields)
    assert [found.path for found in drift] == ["spec.template.spec.containers[name=app].args"]
    assert judge_conflict(live, item.body, row.fields) == NoConflict()
    apply(admin, item.body)


def current_row(item: Managed, admin: Rest) -> Row:
    return recorded_after(item.row, item.body, item.live(admin), DESIRED, rules=(), key=KEY, at=0.0)


def test_a_mark_taken_off_is_seen_as_what_it_is(admin: Rest, world: dict[str, Managed]) -> None:
    item = world["config-map-text"]
    patch_as(admin, item.path, {"metadata": {"labels": {"fleet.internal/installation": None}}}, "kubectl-label")
    live = item.live(admin)
    assert judge_mark(live, MARK).kind is MarkKind.LABEL_LOST
    assert judge_sync(item.row, DESIRED, live, key=KEY).state is SyncState.DRIFTED
    apply(admin, item.body)
    patch_as(admin, item.path, {"metadata": {"annotations": {"fleet.internal/owner": None}}}, "kubectl-annotate")
    assert judge_mark(item.live(admin), MARK).kind is MarkKind.ANNOTATION_LOST
    apply(admin, item.body)


def test_objects_that_controllers_copy_our_marks_to_are_not_ours(admin: Rest, world: dict[str, Managed]) -> None:
    found = admin.get(f"/apis/apps/v1/namespaces/{_NS}/replicasets")["items"]
    copies = [item for item in found if "fleet.internal/owner" in item["metadata"].get("annotations", {})]
    assert copies, "Deployments pass their annotations on to ReplicaSets"
    assert {judge_mark({**item, "kind": "ReplicaSet"}, MARK).kind for item in copies} == {MarkKind.COPIED}
    endpoints = admin.get(f"/api/v1/namespaces/{_NS}/endpoints")["items"]
    marked = [item for item in endpoints if "fleet.internal/installation" in item["metadata"].get("labels", {})]
    assert {judge_mark(item, MARK).kind for item in marked} <= {MarkKind.COPIED}


def test_a_conflict_is_foreseen_as_the_server_answers_it(admin: Rest, world: dict[str, Managed]) -> None:
    """Over fields we never applied: the server's 409 and our own computation name the same fields and managers."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "contested", "namespace": _NS},
        "data": {"a": "1", "b": "2"},
    }
    admin.apply(document, manager="kubectl")
    ours = mark_body({**document, "data": {"a": "other", "b": "2", "c": "3"}}, MARK)
    foreseen = judge_conflict(admin.get(path_of(document)), ours, b"")
    with pytest.raises(Refused) as refused:
        apply(admin, ours)
    assert refused.value.code == 409
    assert foreseen == classify_conflict(refused.value.status)
    assert isinstance(foreseen, Conflicting)
    assert [(found.path, found.manager) for found in foreseen.fields] == [("data.a", "kubectl")]


def test_a_secret_value_is_nowhere_in_what_is_recorded(world: dict[str, Managed]) -> None:
    item = world["secret-string-data"]
    text = repr(item.row)
    assert "s3cret-value" not in text
    assert base64.b64encode(b"s3cret-value").decode() not in text
