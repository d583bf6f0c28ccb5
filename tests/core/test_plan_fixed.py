"""Which differences between two commits an API server never takes in place: all of them, and none that is none."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.core.planning.fixed import fixed_changes, immutable_changes

CLAIM: dict[str, Any] = {"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def of(kind: str, api: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "spec": spec}


def selecting(**labels: str) -> dict[str, Any]:
    return of("Deployment", "apps/v1", selector={"matchLabels": labels})


def stateful(**spec: Any) -> dict[str, Any]:
    return of("StatefulSet", "apps/v1", **{"serviceName": "db", **spec})


def service(**spec: Any) -> dict[str, Any]:
    return of("Service", "v1", **spec)


def claim(**spec: Any) -> dict[str, Any]:
    return of("PersistentVolumeClaim", "v1", **spec)


def config(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "immutable": True, "data": {"a": "1", "b": "2"}, **more}


def secret(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "immutable": True, **more}


def binding(**role: str) -> dict[str, Any]:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "roleRef": role}


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (selecting(app="a", v="1"), selecting(app="a"), "spec.selector"),
        (selecting(app="a"), selecting(app="a", v="1"), "spec.selector"),
        (config(), config(data={"a": "1"}), "data"),
        (config(), config(data={}), "data"),
        (config(), config(immutable=False), "immutable"),
        (config(), config(immutable=None), "immutable"),
        (config(binaryData={"x": "AA=="}), config(binaryData={"x": "BB=="}), "binaryData"),
        (config(binaryData={"x": "AA=="}), config(), "binaryData"),
        (secret(stringData={"a": "x"}), secret(stringData={"a": "y"}), "data"),
        (stateful(podManagementPolicy="Parallel"), stateful(), "spec.podManagementPolicy"),
        (stateful(volumeClaimTemplates=[CLAIM]), stateful(), "spec.volumeClaimTemplates"),
        (
            stateful(volumeClaimTemplates=[{**CLAIM, "metadata": {"name": "d", "labels": {"a": "b"}}}]),
            stateful(volumeClaimTemplates=[CLAIM]),
            "spec.volumeClaimTemplates",
        ),
        (service(), service(clusterIP="None"), "spec.clusterIP"),
        (service(clusterIP="10.0.0.1"), service(clusterIP="10.0.0.2"), "spec.clusterIP"),
        (claim(storageClassName="a"), claim(storageClassName="b"), "spec.storageClassName"),
        (claim(), claim(volumeMode="Block"), "spec.volumeMode"),
        (binding(kind="Role", name="a"), binding(kind="Role", name="b"), "roleRef"),
    ],
)
def test_what_no_server_changes_in_place_is_told(before: dict[str, Any], after: dict[str, Any], path: str) -> None:
    assert fixed_changes(before, after) == (path,)
    assert fixed_changes(after, after) == (), "twin: nothing differs"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (stateful(), stateful(podManagementPolicy="OrderedReady")),
        (
            stateful(volumeClaimTemplates=[CLAIM]),
            stateful(
                volumeClaimTemplates=[
                    {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "metadata": {"name": "d", "labels": {}, "creationTimestamp": None},
                        "spec": {**CLAIM["spec"], "volumeMode": "Filesystem"},
                        "status": {"phase": "Pending"},
                    }
                ]
            ),
        ),
        (service(), service(clusterIP="10.0.0.1")),
        (claim(), claim(volumeMode="Filesystem", storageClassName="standard", volumeName="pv-1")),
        (of("Job", "batch/v1"), of("Job", "batch/v1", completionMode="NonIndexed")),
        (binding(kind="Role", name="a"), binding(kind="Role", name="a", apiGroup="rbac.authorization.k8s.io")),
        (secret(stringData={"a": "x"}), secret(data={"a": "eA=="})),
        (config(immutable=False), config()),
        (config(immutable=None), config(data={"a": "9"})),
    ],
)
def test_what_a_server_takes_for_the_same_or_chooses_itself_is_not_told(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert fixed_changes(before, after) == ()
    if "spec" in after:
        assert fixed_changes(after, before) == (), "nor the other way round"


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (service(), service(clusterIP="10.0.0.1"), "spec.clusterIP"),
        (claim(), claim(storageClassName="fast"), "spec.storageClassName"),
    ],
)
def test_what_is_made_anew_for_a_change_is_told_also_where_the_server_may_have_chosen_the_same(
    before: dict[str, Any], after: dict[str, Any], path: str
) -> None:
    assert fixed_changes(before, after, is_replaced=True) == (path,)
    assert fixed_changes(after, before, is_replaced=True) == (), "what the server chose stays"


def test_a_headless_service_that_says_so_no_more_stays_headless() -> None:
    assert fixed_changes(service(clusterIP="None"), service()) == ()


def test_the_live_object_may_hold_more_than_is_wanted_of_it() -> None:
    defaulted = {**CLAIM, "spec": {**CLAIM["spec"], "volumeMode": "Filesystem"}}
    assert immutable_changes(stateful(volumeClaimTemplates=[defaulted]), stateful(volumeClaimTemplates=[CLAIM])) == ()
    assert immutable_changes(config(), config(data={"a": "9"})) == ("data",)
