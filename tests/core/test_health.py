"""Health by kstatus, and by CEL where a rule is given."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.core.health import judge_health, shown_as
from fleet.core.status import Health, Kstatus
from fleet.core.sync_policy import HealthRule

CURRENT, MOVING, FAILED = Kstatus.CURRENT, Kstatus.IN_PROGRESS, Kstatus.FAILED


def obj(api: str, kind: str, *, status: Any = None, generation: int = 2, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "x", "generation": generation},
        **body,
    }
    if status is not None:
        found["status"] = status
    return found


def cond(kind: str, status: str = "True", reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def counts(
    total: int, updated: int, available: int, ready: int, *conditions: dict[str, str], observed: int = 2
) -> dict[str, Any]:
    return {
        "observedGeneration": observed,
        "replicas": total,
        "updatedReplicas": updated,
        "availableReplicas": available,
        "readyReplicas": ready,
        "conditions": list(conditions),
    }


def deployment(status: Any, **spec: Any) -> dict[str, Any]:
    return obj("apps/v1", "Deployment", spec={"replicas": 3, **spec}, status=status)


PAUSED = (cond("Available"), cond("Progressing", "Unknown", "DeploymentPaused"))
GOOD = (cond("Available"), cond("Progressing", reason="NewReplicaSetAvailable"))


@pytest.mark.parametrize(
    ("live", "kstatus"),
    [
        (deployment(counts(3, 3, 3, 3, *GOOD)), CURRENT),
        (deployment(counts(3, 3, 3, 3)), CURRENT),
        (deployment({}), MOVING),
        (deployment(counts(3, 3, 3, 3, *GOOD, observed=1)), MOVING),
        (deployment(counts(2, 2, 2, 2, *GOOD)), MOVING),
        (deployment(counts(4, 3, 3, 3, *GOOD)), MOVING),
        (deployment(counts(3, 2, 2, 3, *GOOD)), MOVING),
        (deployment(counts(3, 3, 2, 3, *GOOD)), MOVING),
        (deployment(counts(3, 3, 3, 3, cond("Available", "False"))), MOVING),
        (deployment(counts(3, 3, 0, 0, cond("Progressing", "False", "ProgressDeadlineExceeded"))), FAILED),
        (obj("apps/v1", "Deployment", spec={"replicas": 0}, status=counts(0, 0, 0, 0)), CURRENT),
        (obj("apps/v1", "StatefulSet", spec={"replicas": 1}, status={}), MOVING),
        (
            obj(
                "apps/v1",
                "StatefulSet",
                spec={"replicas": 1},
                status={
                    "observedGeneration": 2,
                    "replicas": 1,
                    "readyReplicas": 1,
                    "currentReplicas": 1,
                    "updatedReplicas": 1,
                    "currentRevision": "a",
                    "updateRevision": "a",
                },
            ),
            CURRENT,
        ),
        (
            obj(
                "apps/v1",
                "StatefulSet",
                spec={"replicas": 1},
                status={
                    "observedGeneration": 2,
                    "replicas": 1,
                    "readyReplicas": 1,
                    "currentReplicas": 1,
                    "currentRevision": "a",
                    "updateRevision": "b",
                },
            ),
            MOVING,
        ),
        (
            obj("apps/v1", "StatefulSet", spec={"replicas": 1, "updateStrategy": {"type": "OnDelete"}}, status={}),
            CURRENT,
        ),
        (
            obj(
                "apps/v1",
                "DaemonSet",
                status={
                    "observedGeneration": 2,
                    "desiredNumberScheduled": 2,
                    "currentNumberScheduled": 2,
                    "updatedNumberScheduled": 2,
                    "numberAvailable": 2,
                    "numberReady": 2,
                },
            ),
            CURRENT,
        ),
        (obj("apps/v1", "DaemonSet", status={"observedGeneration": 2, "desiredNumberScheduled": 0}), CURRENT),
        (obj("apps/v1", "DaemonSet", status={"observedGeneration": 2, "desiredNumberScheduled": 1}), MOVING),
        (obj("apps/v1", "DaemonSet", status={}), MOVING),
        (
            obj(
                "apps/v1",
                "ReplicaSet",
                spec={"replicas": 1},
                status={"fullyLabeledReplicas": 1, "availableReplicas": 1, "readyReplicas": 1, "replicas": 1},
            ),
            CURRENT,
        ),
        (
            obj(
                "apps/v1",
                "ReplicaSet",
                spec={"replicas": 1},
                status={"conditions": [cond("ReplicaFailure", message="quota")]},
            ),
            MOVING,
        ),
        (obj("batch/v1", "Job", status={}), MOVING),
        (obj("batch/v1", "Job", status={"startTime": "t", "active": 1}), MOVING),
        (obj("batch/v1", "Job", status={"conditions": [cond("Complete")]}), CURRENT),
        (obj("batch/v1", "Job", status={"conditions": [cond("Failed", reason="BackoffLimitExceeded")]}), FAILED),
        (obj("batch/v1", "CronJob"), CURRENT),
        (obj("v1", "Pod", status={"phase": "Running", "conditions": [cond("Ready")]}), CURRENT),
        (obj("v1", "Pod", status={"phase": "Running"}), MOVING),
        (obj("v1", "Pod", status={"phase": "Succeeded"}), CURRENT),
        (obj("v1", "Pod", status={"phase": "Failed"}), FAILED),
        (obj("v1", "Pod"), MOVING),
        (obj("v1", "PersistentVolumeClaim", status={"phase": "Bound"}), CURRENT),
        (obj("v1", "PersistentVolumeClaim", status={"phase": "Pending"}), MOVING),
        (obj("v1", "PersistentVolumeClaim", status={"phase": "Lost"}), FAILED),
        (obj("v1", "Service", spec={"type": "ClusterIP"}), CURRENT),
        (obj("v1", "Service", spec={"type": "LoadBalancer"}), MOVING),
        (obj("v1", "Service", spec={"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), CURRENT),
        (obj("policy/v1", "PodDisruptionBudget", status={}), MOVING),
        (obj("policy/v1", "PodDisruptionBudget", status={"observedGeneration": 2}), CURRENT),
        (obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", status={}), MOVING),
        (
            obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", status={"conditions": [cond("Established")]}),
            CURRENT,
        ),
        (
            obj(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                status={"conditions": [cond("Established", "False", "Installing")]},
            ),
            MOVING,
        ),
        (
            obj(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                status={"conditions": [cond("NamesAccepted", "False", "ListKindConflict")]},
            ),
            FAILED,
        ),
        (obj("apiregistration.k8s.io/v1", "APIService", status={"conditions": [cond("Available")]}), CURRENT),
        (
            obj(
                "apiregistration.k8s.io/v1",
                "APIService",
                status={"conditions": [cond("Available", "False", "MissingEndpoints")]},
            ),
            MOVING,
        ),
        (obj("v1", "Namespace", status={"phase": "Active"}), CURRENT),
        (obj("v1", "Namespace", status={"phase": "Terminating"}), Kstatus.TERMINATING),
        (obj("autoscaling/v2", "HorizontalPodAutoscaler", status={}), CURRENT),
        (
            obj(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                status={"conditions": [cond("AbleToScale", "False", "FailedGetScale")]},
            ),
            FAILED,
        ),
        (
            obj(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                status={"conditions": [cond("ScalingActive", "False", "FailedGetResourceMetric", "none")]},
            ),
            CURRENT,
        ),
        (obj("networking.k8s.io/v1", "Ingress", status={"loadBalancer": {}}), CURRENT),
        (obj("v1", "ConfigMap"), CURRENT),
        (obj("example.com/v1", "Widget"), CURRENT),
        (obj("example.com/v1", "Widget", status={"conditions": [cond("Ready")]}), CURRENT),
        (obj("example.com/v1", "Widget", status={"conditions": [cond("Ready", "False", "Wait", "soon")]}), MOVING),
        (obj("example.com/v1", "Widget", status={"conditions": [cond("Ready", "Unknown")]}), MOVING),
        (
            obj(
                "example.com/v1", "Widget", status={"conditions": [cond("Ready"), cond("Stalled", message="no quota")]}
            ),
            FAILED,
        ),
        (obj("example.com/v1", "Widget", status={"conditions": [cond("Ready"), cond("Reconciling")]}), MOVING),
        (obj("example.com/v1", "Widget", status={"observedGeneration": 1, "conditions": [cond("Ready")]}), MOVING),
        # the same kind in another group is judged by conditions alone
        (obj("other.io/v1", "Deployment", spec={"replicas": 3}), CURRENT),
    ],
)
def test_each_kind_is_judged_by_its_rule(live: dict[str, Any], kstatus: Kstatus) -> None:
    health = judge_health(live)
    assert health.kstatus is kstatus, health
    assert bool(health.message) or kstatus is CURRENT
    assert health.health in (shown_as(kstatus), Health.SUSPENDED)


def test_what_is_being_deleted_says_what_it_waits_for() -> None:
    live = obj("example.com/v1", "Widget", status={"conditions": [cond("Ready")]})
    live["metadata"] |= {"deletionTimestamp": "2026-11-25T09:00:00Z", "finalizers": ["example.com/guard"]}
    health = judge_health(live)
    assert health.kstatus is Kstatus.TERMINATING
    assert "example.com/guard" in health.message


@pytest.mark.parametrize(
    "live",
    [
        obj("batch/v1", "CronJob", spec={"suspend": True}),
        obj("batch/v1", "Job", spec={"suspend": True}, status={}),
        obj("apps/v1", "Deployment", spec={"paused": True}, status=counts(1, 1, 1, 1, *PAUSED)),
    ],
)
def test_what_a_person_paused_is_suspended_and_holds_up_nothing(live: dict[str, Any]) -> None:
    health = judge_health(live)
    assert (health.kstatus, health.health) == (CURRENT, Health.SUSPENDED)


def test_what_was_paused_before_all_of_it_was_there_is_not_there() -> None:
    health = judge_health(obj("apps/v1", "Deployment", spec={"paused": True}, status=counts(1, 0, 1, 1, *PAUSED)))
    assert (health.kstatus, health.health) == (Kstatus.IN_PROGRESS, Health.PROGRESSING)
    assert health.message == "is paused: 0 of 1 pods updated"


def test_the_message_counts_pods() -> None:
    assert judge_health(deployment(counts(3, 1, 1, 3, *GOOD))).message == "1 of 3 pods updated"


READY = HealthRule("Certificate", healthy='status.conditions.exists(c, c.type == "Ready" && c.status == "True")')


def certificate(status: Any = None) -> dict[str, Any]:
    return obj("cert-manager.io/v1", "Certificate", status=status)


def test_a_rule_decides_over_its_kind() -> None:
    assert judge_health(certificate({"conditions": [cond("Ready")]}), (READY,)).kstatus is CURRENT
    waiting = judge_health(certificate({"conditions": [cond("Ready", "False", message="issuing")]}), (READY,))
    assert (waiting.kstatus, waiting.message) == (MOVING, "issuing")
    assert judge_health(certificate({"conditions": []}), (READY,)).kstatus is MOVING


def test_a_rule_of_another_group_or_kind_does_not_count() -> None:
    never = HealthRule("Certificate", group="other.io", healthy="false")
    assert judge_health(certificate({"conditions": [cond("Ready")]}), (never,)).kstatus is CURRENT
    assert judge_health(certificate(), (HealthRule("Issuer", healthy="false"),)).kstatus is CURRENT


def test_a_degraded_rule_comes_first() -> None:
    rule = HealthRule("Certificate", healthy="true", degraded='status.phase == "Broken"')
    assert judge_health(certificate({"phase": "Broken"}), (rule,)).kstatus is FAILED
    assert judge_health(certificate({"phase": "Fine"}), (rule,)).kstatus is CURRENT


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("status.phase ==", "cannot be read"),
        ("status.none.deeper == 1", "fails"),
        ("1 + 1", "int"),
        ("no_such(1)", "fails"),
    ],
)
def test_a_rule_that_cannot_tell_gives_unknown_and_says_why(expression: str, word: str) -> None:
    health = judge_health(certificate({"phase": "x"}), (HealthRule("Certificate", healthy=expression),))
    assert (health.kstatus, health.health) == (Kstatus.UNKNOWN, Health.UNKNOWN)
    assert word in health.message


def test_an_object_without_any_status_yet_is_progressing() -> None:
    assert judge_health(certificate(), (READY,)).kstatus is MOVING


@pytest.mark.parametrize(
    "status", [None, 1, "x", [], [1], {"conditions": 3}, {"conditions": [1, None]}, {"replicas": "three"}]
)
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
def test_a_status_of_another_shape_is_no_error(kind: str, status: Any) -> None:
    judge_health({"apiVersion": "apps/v1", "kind": kind, "metadata": {}, "spec": None, "status": status})
