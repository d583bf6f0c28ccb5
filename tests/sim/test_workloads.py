"""What the simulated controllers make of workloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fleet.sim import SimCluster, Simulation


def deployment(image: str = "app:1", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


async def until(holds: Callable[[], Any], *, seconds: float = 5) -> Any:
    """Wait for a condition, looking after every turn of the loop that changes something."""
    async with asyncio.timeout(seconds):
        while not (found := holds()):
            await asyncio.sleep(0.005)
    return found


def status(cluster: SimCluster, group: str, kind: str, name: str = "web") -> dict[str, Any]:
    found: Any = cluster.get(group, kind, "default", name)
    return found["status"] if found else {}


def pods(cluster: SimCluster) -> list[Any]:
    return cluster.list("", "Pod", "default")


async def test_a_deployment_becomes_available_with_replica_set_and_pods(cluster: SimCluster) -> None:
    cluster.create(deployment())
    await until(lambda: status(cluster, "apps", "Deployment").get("availableReplicas") == 2)
    (replica_set,) = cluster.list("apps", "ReplicaSet")
    owners: Any = [pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods(cluster)]
    assert owners == [replica_set["metadata"]["uid"]] * 2  # type: ignore[index]


async def test_a_new_image_replaces_all_pods(cluster: SimCluster) -> None:
    cluster.create(deployment())
    await until(lambda: status(cluster, "apps", "Deployment").get("availableReplicas") == 2)
    new = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}}
    cluster.drift("apps", "Deployment", "default", "web", new)

    def replaced() -> bool:
        live: Any = cluster.get("apps", "Deployment", "default", "web")
        found = live["status"]
        return found["observedGeneration"] == 2 and found.get("updatedReplicas") == found.get("availableReplicas") == 2

    await until(replaced)
    await until(lambda: {pod["spec"]["containers"][0]["image"] for pod in pods(cluster)} == {"app:2"})


async def test_a_crashing_image_leaves_the_old_pods_serving(cluster: SimCluster) -> None:
    cluster.create(deployment())
    await until(lambda: status(cluster, "apps", "Deployment").get("availableReplicas") == 2)
    bad = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:crash"}]}}}}
    cluster.drift("apps", "Deployment", "default", "web", bad)

    def crash() -> Any:
        for pod in pods(cluster):
            for one in pod.get("status", {}).get("containerStatuses", []):
                if one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff":
                    return one
        return None

    found = await until(crash)
    assert found["lastState"]["terminated"]["exitCode"] == 1
    assert found["lastState"]["terminated"]["message"] == "KeyError: 'DB_HOST'"
    assert status(cluster, "apps", "Deployment")["availableReplicas"] == 2


@pytest.mark.parametrize(
    ("fate", "reason"),
    [("pull", "ImagePullBackOff"), ("unschedulable", "Unschedulable"), ("crash", "CrashLoopBackOff")],
)
async def test_a_fate_by_annotation_comes_true(cluster: SimCluster, fate: str, reason: str) -> None:
    body = deployment()
    body["spec"]["template"]["metadata"]["annotations"] = {"sim.fleet.internal/fate": fate}
    cluster.create(body)
    await until(lambda: any(reason in str(pod.get("status")) for pod in pods(cluster)))
    assert "availableReplicas" not in status(cluster, "apps", "Deployment")


async def test_a_stateful_set_starts_in_order_with_bound_claims(cluster: SimCluster) -> None:
    body = deployment()
    body["kind"] = "StatefulSet"
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    body["spec"] |= {"serviceName": "web", "volumeClaimTemplates": [claim]}
    cluster.create(body)
    await until(lambda: status(cluster, "apps", "StatefulSet").get("readyReplicas") == 2)
    assert [pod["metadata"]["name"] for pod in pods(cluster)] == ["web-0", "web-1"]
    await until(
        lambda: [one["status"]["phase"] for one in cluster.list("", "PersistentVolumeClaim")] == ["Bound", "Bound"]
    )


async def test_a_job_completes_and_a_crashing_one_fails(cluster: SimCluster) -> None:
    for name, image in (("good", "app:1"), ("bad", "app:crash")):
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}}
        cluster.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"backoffLimit": 1, "template": template},
            }
        )

    def ended(name: str) -> Any:
        return {one["type"] for one in status(cluster, "batch", "Job", name).get("conditions", [])}

    await until(lambda: "Complete" in ended("good") and "Failed" in ended("bad"))
    assert status(cluster, "batch", "Job", "good")["succeeded"] == 1


async def test_a_daemon_set_runs_on_the_node(cluster: SimCluster) -> None:
    body = deployment()
    body["kind"] = "DaemonSet"
    del body["spec"]["replicas"]
    cluster.create(body)
    await until(lambda: status(cluster, "apps", "DaemonSet").get("numberReady") == 1)


async def test_an_autoscaler_takes_replicas_through_the_scale_path(cluster: SimCluster) -> None:
    cluster.create(deployment(replicas=1))
    cluster.create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "minReplicas": 3,
                "maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            },
        }
    )
    await until(lambda: status(cluster, "apps", "Deployment").get("availableReplicas") == 3)
    live: Any = cluster.get("apps", "Deployment", "default", "web")
    scalers = [one for one in live["metadata"]["managedFields"] if one.get("subresource") == "scale"]
    assert [one["fieldsV1"] for one in scalers] == [{"f:spec": {"f:replicas": {}}}]


async def test_an_injected_sidecar_is_in_pods_alone(cluster: SimCluster) -> None:
    cluster.inject_sidecar()
    cluster.create(deployment(replicas=1))
    await until(lambda: status(cluster, "apps", "Deployment").get("availableReplicas") == 1)
    (pod,) = pods(cluster)
    assert [one["name"] for one in pod["spec"]["containers"]] == ["c", "mesh"]
    live: Any = cluster.get("apps", "Deployment", "default", "web")
    assert len(live["spec"]["template"]["spec"]["containers"]) == 1


async def test_a_settled_cluster_writes_nothing_more(cluster: SimCluster) -> None:
    cluster.create(deployment())
    await until(lambda: status(cluster, "apps", "Deployment").get("availableReplicas") == 2)
    await asyncio.sleep(0.3)
    settled = cluster.store.version
    await asyncio.sleep(0.3)
    assert cluster.store.version == settled


async def test_the_same_seed_gives_the_same_identities() -> None:
    first, second = (Simulation(["a", "b"], seed=7) for _ in range(2))
    assert [first.cluster(name).identity for name in "ab"] == [second.cluster(name).identity for name in "ab"]
    assert first.cluster("a").identity != first.cluster("b").identity
