"""Health and causes on real workloads whose pods crash, cannot be pulled, or find no node."""

from __future__ import annotations

import time
from typing import Any

import pytest
from testbed.controlplane import ControlPlane
from testbed.fates import fate
from testbed.rest import Rest, path_of
from testbed.workloads import deployment, job

from fleet.core.causes import UNSCHEDULABLE_SECONDS, Cause, judge_cause, with_cause
from fleet.core.health import judge_health
from fleet.core.status import Health, Kstatus


@pytest.fixture
def admin(real_cluster: ControlPlane, namespace: str) -> Rest:
    client = real_cluster.client()
    client.make_namespace(namespace)
    client.wait(f"/api/v1/namespaces/{namespace}/serviceaccounts/default", bool)
    return client


def cause_now(admin: Rest, workload: dict[str, Any], *, later: float = 0.0) -> Cause | None:
    namespace = workload["metadata"]["namespace"]
    live = admin.get(path_of(workload))
    sets = admin.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets")["items"]
    pods = admin.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return judge_cause(live, sets, pods, time.time() + later).cause


def wait_for_cause(admin: Rest, workload: dict[str, Any], *, later: float = 0.0, seconds: float = 30) -> Cause:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if cause := cause_now(admin, workload, later=later):
            return cause
        time.sleep(0.1)
    raise AssertionError(f"no cause within {seconds} s")


def is_current(live: dict[str, Any]) -> bool:
    return bool(live) and judge_health(live).kstatus is Kstatus.CURRENT


def test_a_good_deployment_becomes_current_and_has_no_cause(admin: Rest, namespace: str) -> None:
    web = deployment("web", namespace, replicas=2)
    first = admin.apply(web)
    assert judge_health(first).kstatus is Kstatus.IN_PROGRESS
    admin.wait(path_of(web), is_current)
    assert cause_now(admin, web) is None


def test_a_crashing_release_is_degraded_with_its_exit_code_while_old_pods_serve(admin: Rest, namespace: str) -> None:
    web = deployment("web", namespace, replicas=3)
    admin.apply(web)
    admin.wait(path_of(web), is_current)
    bad = deployment("web", namespace, replicas=3, notes=fate("crash", exit_code=1, message="KeyError: 'DB_HOST'"))
    admin.apply(bad)
    cause = wait_for_cause(admin, web)
    assert cause.message == "new pod crashes, exit 1: KeyError: 'DB_HOST' (3 old pods serve)"
    live = admin.get(path_of(web))
    health = with_cause(judge_health(live), cause)
    assert health.health is Health.DEGRADED


def test_an_image_that_cannot_be_pulled_is_named(admin: Rest, namespace: str) -> None:
    web = deployment("web", namespace, notes=fate("pull"), image="registry.example/app:typo")
    admin.apply(web)
    assert wait_for_cause(admin, web).message.startswith("pod cannot pull registry.example/app:typo")


def test_a_pod_without_a_node_is_a_cause_after_its_time(admin: Rest, namespace: str) -> None:
    web = deployment("web", namespace, notes=fate("unschedulable"))
    admin.apply(web)
    cause = wait_for_cause(admin, web, later=UNSCHEDULABLE_SECONDS)
    assert cause.message.startswith("pod cannot be scheduled: ")
    assert cause_now(admin, web) is None


def test_a_job_moves_from_in_progress_to_current_or_failed(admin: Rest, namespace: str) -> None:
    good, bad = job("good", namespace), job("bad", namespace, notes=fate("fail", exit_code=3, message="no table"))
    assert judge_health(admin.apply(good)).kstatus is Kstatus.IN_PROGRESS
    admin.apply(bad)
    admin.wait(path_of(good), is_current)
    failed = admin.wait(path_of(bad), lambda live: bool(live) and judge_health(live).kstatus is Kstatus.FAILED)
    assert judge_health(failed).reason == "BackoffLimitExceeded"
    cause = cause_now(admin, bad)
    assert cause is not None
    assert cause.message == "pod failed, exit 3: no table"
