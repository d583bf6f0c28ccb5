"""The fingerprint where webhooks change what is stored: injection on admission, conversion between versions."""

from __future__ import annotations

from typing import Any

import pytest
from core.building import MARK, row
from testbed.controlplane import ControlPlane
from testbed.rest import Rest, path_of
from testbed.webhooks import Mood, WebhookServer, gadget, install_gadgets, install_mutating
from testbed.workloads import deployment
from testbed.writers import Autoscaler

from fleet.core.diff import diff_fields
from fleet.core.fingerprint import SyncState, judge_sync, own_entry, recorded_after
from fleet.core.ids import Digest
from fleet.core.objects import ref_of
from fleet.core.record import Row, RowState, mark_body

DESIRED = Digest("d" * 64)
MERGE = "application/merge-patch+json"


@pytest.fixture
def admin(api_server: ControlPlane, namespace: str) -> Rest:
    client = api_server.client()
    client.make_namespace(namespace)
    return client


def applied(admin: Rest, body: dict[str, Any]) -> Row:
    answer = admin.apply(body, manager="fleet", force=False)
    fresh = row(ref_of(body), uid="", state=RowState.INTENDED)
    return recorded_after(fresh, body, answer, DESIRED, rules=(), key=b"", at=0.0)


def state_of(admin: Rest, record: Row, body: dict[str, Any]) -> SyncState:
    return judge_sync(record, DESIRED, admin.get(path_of(body))).state


def patch(admin: Rest, path: str, change: dict[str, Any]) -> None:
    admin.request("PATCH", path, change, content_type=MERGE, query={"fieldManager": "kubectl-edit"})


def test_what_a_webhook_injects_is_no_drift_and_a_change_beside_it_is(
    admin: Rest, api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    install_mutating(api_server, webhook_server, namespace)
    webhook_server.mood = Mood.SIDECAR
    body = mark_body(deployment("web", namespace), MARK)
    record = applied(admin, body)
    assert state_of(admin, record, body) is SyncState.IN_SYNC
    patch(admin, path_of(body), {"metadata": {"annotations": {"others": "x"}}})
    assert state_of(admin, record, body) is SyncState.IN_SYNC
    Autoscaler(api_server, namespace, "web").scale_to(3)
    assert state_of(admin, record, body) is SyncState.DRIFTED
    live = admin.get(path_of(body))
    (drift,) = diff_fields(body, live, own_entry(live), last_fields=record.fields)
    assert (drift.path, drift.live, drift.manager) == ("spec.replicas", 3, "kube-controller-manager (scale)")


def test_an_object_read_at_the_version_it_was_applied_at_survives_conversion(
    admin: Rest, api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    group = f"{namespace}.example.org"
    install_gadgets(api_server, webhook_server, group)
    body = mark_body(gadget(group, namespace, "g", version="v1"), MARK)
    newer = f"/apis/{group}/v2/namespaces/{namespace}/gadgets/g"
    record = applied(admin, body)
    assert state_of(admin, record, body) is SyncState.IN_SYNC
    patch(admin, newer, {"spec": {"color": "blue"}})
    assert state_of(admin, record, body) is SyncState.IN_SYNC
    patch(admin, newer, {"spec": {"size": {"amount": 4}}})
    assert state_of(admin, record, body) is SyncState.DRIFTED
    live = admin.get(path_of(body))
    (drift,) = diff_fields(body, live, own_entry(live), last_fields=record.fields)
    assert (drift.path, drift.desired, drift.live) == ("spec.size", "3Gi", "4Gi")


def test_an_object_read_at_another_version_is_left_to_the_arbiter(
    admin: Rest, api_server: ControlPlane, webhook_server: WebhookServer, namespace: str
) -> None:
    group = f"{namespace}.example.org"
    install_gadgets(api_server, webhook_server, group)
    body = mark_body(gadget(group, namespace, "g", version="v1"), MARK)
    record = applied(admin, body)
    live = admin.get(f"/apis/{group}/v2/namespaces/{namespace}/gadgets/g")
    assert judge_sync(record, DESIRED, live).state is SyncState.ASK_ARBITER
