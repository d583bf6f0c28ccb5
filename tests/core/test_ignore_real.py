"""Ignored fields on a real API server: left to others without being deleted or defaulted on the way."""

from __future__ import annotations

from typing import Any

import pytest
from core.building import MARK
from testbed.controlplane import ControlPlane
from testbed.rest import Rest, path_of
from testbed.workloads import deployment

from fleet.core.fieldset import entries_of, holds
from fleet.core.ignore import plan_handover, strip_ignored
from fleet.core.record import mark_body
from fleet.core.sync_policy import IgnoreRule

REPLICAS = (IgnoreRule(kind="Deployment", pointers=("/spec/replicas",)),)
IMAGE = (IgnoreRule(pointers=("/spec/template/spec/containers/0/image",)),)


@pytest.fixture
def admin(api_server: ControlPlane, namespace: str) -> Rest:
    client = api_server.client()
    client.make_namespace(namespace)
    return client


def owners_of(live: dict[str, Any], *path: str) -> set[str]:
    return {found.manager for found in entries_of(live) if holds(found.fields, path)}


def hand_over_and_apply(admin: Rest, body: dict[str, Any], rules: tuple[IgnoreRule, ...]) -> dict[str, Any]:
    live = admin.get(path_of(body))
    handover = plan_handover(live, rules, body)
    if handover is not None:
        live = admin.apply(handover, manager="fleet-handover", force=False)
    return admin.apply(strip_ignored(body, live, rules), manager="fleet", force=False)


def test_a_field_that_becomes_ignored_keeps_its_value_and_changes_hands(admin: Rest, namespace: str) -> None:
    body = mark_body(deployment("web", namespace, replicas=4), MARK)
    admin.apply(body, manager="fleet")
    live = hand_over_and_apply(admin, body, REPLICAS)
    assert live["spec"]["replicas"] == 4
    assert owners_of(live, "f:spec", "f:replicas") == {"fleet-handover"}
    again = hand_over_and_apply(admin, body, REPLICAS)
    assert again["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


def test_without_the_handover_the_field_would_be_defaulted(admin: Rest, namespace: str) -> None:
    body = mark_body(deployment("web", namespace, replicas=4), MARK)
    live = admin.apply(body, manager="fleet")
    lost = admin.apply(strip_ignored(body, live, REPLICAS), manager="fleet", force=False)
    assert lost["spec"]["replicas"] == 1


def test_an_autoscaler_takes_the_field_over_and_keeps_it(admin: Rest, namespace: str) -> None:
    body = mark_body(deployment("web", namespace, replicas=2), MARK)
    admin.apply(body, manager="fleet")
    hand_over_and_apply(admin, body, REPLICAS)
    scale = f"{path_of(body)}/scale"
    query = {"fieldManager": "hpa"}
    admin.request("PATCH", scale, {"spec": {"replicas": 7}}, content_type="application/merge-patch+json", query=query)
    live = hand_over_and_apply(admin, body, REPLICAS)
    assert live["spec"]["replicas"] == 7
    assert "fleet" not in owners_of(live, "f:spec", "f:replicas")


def test_a_field_of_a_list_item_is_handed_over_too(admin: Rest, namespace: str) -> None:
    body = mark_body(deployment("web", namespace), MARK)
    admin.apply(body, manager="fleet")
    live = hand_over_and_apply(admin, body, IMAGE)
    image = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"app"}', "f:image")
    assert owners_of(live, *image) == {"fleet-handover"}
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/app:1"
