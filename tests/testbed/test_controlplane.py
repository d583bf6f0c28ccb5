"""The test bed itself: real servers do what the other tests rely on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
import yaml
from testbed.controlplane import ControlPlane, ControlPlaneFleet
from testbed.fates import fate
from testbed.rest import Refused
from testbed.workloads import deployment, job


def test_the_ledger_names_verb_object_and_user_agent(api_server: ControlPlane, namespace: str) -> None:
    since = api_server.ledger_mark()
    hands = api_server.client(user_agent="somebody/1.0")
    hands.make_namespace(namespace)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}}
    hands.apply(config, manager="me")
    hands.request("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/c", query={"dryRun": "All"})
    seen = api_server.ledger(since, user_agent="somebody")
    assert [(request.verb, request.resource, request.name, request.is_write) for request in seen] == [
        ("create", "namespaces", namespace, True),
        ("patch", "configmaps", "c", True),
        ("delete", "configmaps", "c", False),
    ]
    assert seen[1].query == {"fieldManager": "me", "force": "true"}
    assert [request.code for request in seen] == [201, 201, 200]


def test_a_user_has_only_the_rights_granted(api_server: ControlPlane, namespace: str) -> None:
    api_server.client().make_namespace(namespace)
    limited = api_server.client("nobody")
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with pytest.raises(Refused) as refused:
        limited.get(path)
    assert refused.value.code == 403
    api_server.grant("nobody", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}, namespace=namespace)
    api_server.client().wait(path, bool)
    assert limited.get(path)["items"] == []


def test_a_deployment_becomes_ready(real_cluster: ControlPlane, namespace: str) -> None:
    hands = real_cluster.client()
    hands.make_namespace(namespace)
    hands.apply(deployment("web", namespace, replicas=2))
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    hands.wait(path, lambda seen: seen.get("status", {}).get("readyReplicas") == 2)


@pytest.mark.parametrize(("kind", "reason"), [("crash", "CrashLoopBackOff"), ("pull", "ImagePullBackOff")])
def test_a_pod_meets_its_fate(real_cluster: ControlPlane, namespace: str, kind: str, reason: str) -> None:
    hands = real_cluster.client()
    hands.make_namespace(namespace)
    hands.apply(deployment("web", namespace, notes=fate(kind, exit_code=3, message="KeyError: 'DB_HOST'")))
    seen = hands.wait(f"/api/v1/namespaces/{namespace}/pods", lambda pods: _waiting_reason(pods) == reason)
    container = seen["items"][0]["status"]["containerStatuses"][0]
    if kind == "crash":
        assert container["lastState"]["terminated"]["exitCode"] == 3
        assert container["lastState"]["terminated"]["message"] == "KeyError: 'DB_HOST'"


def test_a_pod_stays_unschedulable_by_the_real_scheduler(real_cluster: ControlPlane, namespace: str) -> None:
    hands = real_cluster.client()
    hands.make_namespace(namespace)
    hands.apply(deployment("web", namespace, notes=fate("unschedulable")))
    seen = hands.wait(f"/api/v1/namespaces/{namespace}/pods", lambda pods: "Unschedulable" in str(pods))
    assert seen["items"][0]["status"]["phase"] == "Pending"


def test_a_job_completes_and_a_failing_one_fails(real_cluster: ControlPlane, namespace: str) -> None:
    hands = real_cluster.client()
    hands.make_namespace(namespace)
    hands.apply(job("good", namespace))
    hands.apply(job("bad", namespace, notes=fate("fail", exit_code=4)))
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    hands.wait(f"{jobs}/good", lambda seen: seen.get("status", {}).get("succeeded") == 1)
    hands.wait(f"{jobs}/bad", lambda seen: seen.get("status", {}).get("failed") == 1)


def test_a_fleet_is_five_servers_that_know_nothing_of_each_other(real_fleet: ControlPlaneFleet, namespace: str) -> None:
    assert len(real_fleet.planes) >= 5
    real_fleet["third"].client().make_namespace(namespace)
    there = [
        name for name, plane in real_fleet.planes.items() if plane.client().exists(f"/api/v1/namespaces/{namespace}")
    ]
    assert there == ["third"]


def _waiting_reason(pods: dict) -> str:
    statuses = [status for pod in pods["items"] for status in pod["status"].get("containerStatuses", [])]
    return statuses[0]["state"].get("waiting", {}).get("reason", "") if statuses else ""


def test_an_own_server_can_be_restarted_and_made_to_forget(own_api_server: Callable[..., ControlPlane]) -> None:
    plane = own_api_server(own_etcd=True)
    hands = plane.client()
    path = "/api/v1/namespaces/default/configmaps"
    version = hands.get(path)["metadata"]["resourceVersion"]
    hands.make_namespace("later")
    plane.compact()
    plane.stop_api_server(kill=True)
    with pytest.raises(OSError, match="refused"):
        hands.get(path)
    plane.start_api_server()
    assert hands.exists("/api/v1/namespaces/later")
    with pytest.raises(Refused) as refused:
        hands.request("GET", path, query={"resourceVersion": version, "resourceVersionMatch": "Exact"})
    assert refused.value.code == 410


def test_a_kubeconfig_works_in_all_its_forms(api_server: ControlPlane, namespace: str) -> None:
    api_server.client().make_namespace(namespace)
    forms = {
        "token": api_server.kubeconfig(),
        "certificate": api_server.kubeconfig(certificate=True),
        "files": api_server.kubeconfig(files=True),
        "another": api_server.kubeconfig("jo", certificate=True),
        "account": api_server.service_account_kubeconfig(namespace, "bot"),
    }
    users = {name: _user_of(api_server, config) for name, config in forms.items()}
    assert users == {
        "token": "admin",
        "certificate": "admin",
        "files": "admin",
        "another": "jo",
        "account": f"system:serviceaccount:{namespace}:bot",
    }


def _user_of(plane: ControlPlane, config: dict) -> str:
    """Who a kubeconfig makes one, by kubectl."""
    path = plane.folder / "whoami.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    argv = ["kubectl", "--kubeconfig", str(path), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout
