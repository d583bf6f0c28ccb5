"""The failing pod's own words as the cause of its workload's health."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.core.causes import judge_cause, with_cause
from fleet.core.health import ObjectHealth, judge_health
from fleet.core.status import Health, Kstatus

NOW = 1795600800.0  # 2026-11-25T10:00:00Z
DEPLOYMENT: dict[str, Any] = {"kind": "Deployment", "metadata": {"name": "web", "uid": "d"}}
JOB: dict[str, Any] = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "m", "uid": "j"}}
PROGRESSING = ObjectHealth(Kstatus.IN_PROGRESS, Health.PROGRESSING, "LessAvailable", "0 of 1 pods available")


def replica_set(uid: str, revision: int, owner: str = "d") -> dict[str, Any]:
    notes = {"deployment.kubernetes.io/revision": str(revision)}
    return {"kind": "ReplicaSet", "metadata": {"uid": uid, "annotations": notes, "ownerReferences": [{"uid": owner}]}}


def pod(
    name: str, owner: str, *, ready: bool = False, status: dict[str, Any] | None = None, **labels: str
) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    metadata = {"name": name, "ownerReferences": [{"uid": owner}], "labels": labels}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "status": {"phase": "Running", "conditions": conditions, **(status or {})},
    }


def crash(code: int = 1, message: str = "", restarts: int = 5, reason: str = "Error") -> dict[str, Any]:
    return {
        "containerStatuses": [
            {
                "name": "app",
                "restartCount": restarts,
                "image": "reg/web:1",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"exitCode": code, "message": message, "reason": reason}},
            }
        ]
    }


def ended(code: int, message: str = "", restarts: int = 0) -> dict[str, Any]:
    end = {"terminated": {"exitCode": code, "message": message}}
    return {"phase": "Failed", "containerStatuses": [{"name": "app", "restartCount": restarts, "state": end}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    status = {
        "name": "app",
        "restartCount": 0,
        "image": "reg/web:2",
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return {"phase": "Pending", "containerStatuses": [status]}


def unschedulable(since: str) -> dict[str, Any]:
    found = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "lastTransitionTime": since,
        "message": "0/3 nodes are available",
    }
    return {"phase": "Pending", "conditions": [found]}


OLD, NEW = replica_set("old", 1), replica_set("new", 2)
SERVING = [pod(f"old-{number}", "old", ready=True) for number in range(3)]


def cause_of(*pods: dict[str, Any], workload: dict[str, Any] = DEPLOYMENT, now: float = NOW) -> Any:
    return judge_cause(workload, [OLD, NEW], pods, now)


def message_of(*pods: dict[str, Any], **more: Any) -> str:
    cause = cause_of(*pods, **more).cause
    return cause.message if cause else ""


def test_a_crash_loop_is_told_with_exit_code_last_words_and_who_serves() -> None:
    cause = cause_of(pod("new-1", "new", status=crash(1, "Traceback\n  ...\nKeyError: 'DB_HOST'\n")), *SERVING).cause
    assert cause.message == "new pod crashes, exit 1: KeyError: 'DB_HOST' (3 old pods serve)"
    assert (cause.pod, cause.container, cause.exit_code, cause.restarts) == ("new-1", "app", 1, 5)
    assert cause.reason == "CrashLoopBackOff"


def test_without_last_words_the_exit_code_stands_alone() -> None:
    assert (
        message_of(pod("new-1", "new", status=crash(137)), SERVING[0]) == "new pod crashes, exit 137 (1 old pod serves)"
    )
    assert message_of(pod("new-1", "new", status=crash(2))) == "pod crashes, exit 2"


def test_out_of_memory_is_named() -> None:
    assert message_of(pod("new-1", "new", status=crash(137, reason="OOMKilled"))) == "pod runs out of memory"


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    assert (
        message_of(pod("new-1", "new", status=waiting(reason)), *SERVING)
        == "new pod cannot pull reg/web:2 (3 old pods serve)"
    )


def test_why_an_image_cannot_be_pulled_is_told_and_the_back_off_is_not() -> None:
    text = 'Back-off pulling image "reg/web:2": ErrImagePull: not found'
    assert (
        message_of(pod("n", "new", status=waiting("ImagePullBackOff", text)))
        == "pod cannot pull reg/web:2: ErrImagePull: not found"
    )
    assert (
        message_of(pod("n", "new", status=waiting("ImagePullBackOff", 'Back-off pulling image "reg/web:2"')))
        == "pod cannot pull reg/web:2"
    )


def test_a_missing_reference_is_told() -> None:
    status = waiting("CreateContainerConfigError", 'secret "db" not found')
    assert message_of(pod("n", "new", status=status)) == 'pod cannot start: secret "db" not found'


def test_an_unschedulable_pod_is_a_cause_only_after_thirty_seconds() -> None:
    stuck = pod("n", "new", status=unschedulable("2026-11-25T09:59:40Z"))
    early = cause_of(stuck, now=NOW)
    assert early.cause is None
    assert early.again_at == NOW + 10
    late = cause_of(stuck, now=NOW + 10)
    assert late.again_at is None
    assert late.cause.message == "pod cannot be scheduled: 0/3 nodes are available"


def test_old_pods_that_crash_are_not_the_cause() -> None:
    assert cause_of(pod("old-1", "old", status=crash()), pod("new-1", "new", ready=True)).cause is None


def test_pods_of_other_workloads_do_not_count() -> None:
    other = replica_set("other", 9, owner="someone")
    assert judge_cause(DEPLOYMENT, [OLD, NEW, other], [pod("x", "other", status=crash())], NOW).cause is None


def test_pods_that_are_being_deleted_do_not_count() -> None:
    going = pod("n", "new", status=crash())
    going["metadata"]["deletionTimestamp"] = "now"
    assert cause_of(going).cause is None


def test_the_worst_of_several_pods_is_told() -> None:
    pods = [
        pod("a", "new", status=waiting("ImagePullBackOff")),
        pod("b", "new", status=crash(3)),
        pod("c", "new", ready=True),
    ]
    assert message_of(*pods) == "new pod crashes, exit 3 (1 other new pod serves)"


def test_between_two_restarts_the_pod_still_crashes() -> None:
    status = {"containerStatuses": [{"name": "app", "restartCount": 2, "state": {"terminated": {"exitCode": 1}}}]}
    assert message_of(pod("n", "new", status=status)) == "pod crashes, exit 1"
    first = {"containerStatuses": [{"name": "app", "restartCount": 0, "state": {"running": {}}}]}
    assert cause_of(pod("n", "new", status=first)).cause is None


def test_an_init_container_counts_too() -> None:
    status = {"initContainerStatuses": crash(4)["containerStatuses"]}
    assert message_of(pod("n", "new", status=status)) == "pod crashes, exit 4"


def test_stateful_sets_and_daemon_sets_tell_new_pods_by_their_revision() -> None:
    stateful = {"kind": "StatefulSet", "metadata": {"uid": "s"}, "status": {"updateRevision": "r2"}}
    old = pod("db-0", "s", ready=True, **{"controller-revision-hash": "r1"})
    new = pod("db-1", "s", status=crash(), **{"controller-revision-hash": "r2"})
    assert message_of(old, new, workload=stateful) == "new pod crashes, exit 1 (1 old pod serves)"
    daemon = {"kind": "DaemonSet", "metadata": {"uid": "s", "generation": 2}}
    old = pod("a", "s", ready=True, **{"pod-template-generation": "1"})
    new = pod("b", "s", status=crash(), **{"pod-template-generation": "2"})
    assert message_of(old, new, workload=daemon) == "new pod crashes, exit 1 (1 old pod serves)"


def test_a_daemon_set_whose_strategy_changed_still_has_new_pods() -> None:
    notes = {"deprecated.daemonset.template.generation": "1"}
    daemon = {"kind": "DaemonSet", "metadata": {"uid": "s", "generation": 2, "annotations": notes}}
    new = pod("a", "s", status=crash(), **{"pod-template-generation": "1"})
    assert message_of(new, workload=daemon) == "pod crashes, exit 1"


def test_a_failed_job_names_its_pod() -> None:
    cause = cause_of(pod("m", "j", status=ended(3, "no table")), workload=JOB).cause
    assert cause.message == "pod failed, exit 3: no table"
    failed = with_cause(judge_health({**JOB, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}), cause)
    assert (failed.kstatus, failed.reason, failed.message) == (Kstatus.FAILED, "PodFailed", cause.message)


def test_a_job_that_tries_again_is_not_degraded() -> None:
    running = {**JOB, "status": {"startTime": "2026-11-25T09:59:00Z", "active": 1, "failed": 1}}
    tries = [pod("m-1", "j", status=ended(1, "db not up yet")), pod("m-2", "j")]
    health = judge_health(running)
    assert with_cause(health, cause_of(*tries, workload=running).cause) == health


@pytest.mark.parametrize("reason", ["Evicted", "NodeShutdown", "Preempting"])
def test_a_pod_that_its_node_put_out_does_not_degrade_what_took_its_place(reason: str) -> None:
    gone = pod("new-1", "new", status={**ended(137, restarts=3), "reason": reason})
    assert with_cause(PROGRESSING, cause_of(gone, pod("new-2", "new", ready=True)).cause) == PROGRESSING


def test_a_pod_that_ended_does_not_hide_one_that_cannot_run() -> None:
    gone = pod("new-1", "new", status={"phase": "Failed", "reason": "Evicted"})
    stuck = pod("new-2", "new", status=unschedulable("2026-11-25T09:59:00Z"))
    assert with_cause(PROGRESSING, cause_of(gone, stuck).cause).reason == "Unschedulable"
    assert with_cause(PROGRESSING, cause_of(gone, pod("new-2", "new", status=crash())).cause).health is Health.DEGRADED


def test_control_characters_and_length_of_last_words_are_bounded() -> None:
    message = message_of(pod("n", "new", status=crash(1, "\x1b[31mred\x07 " + "x" * 500)))
    assert "\x1b" not in message
    assert len(message) < 200


def test_a_cause_makes_the_workload_degraded_at_once() -> None:
    cause = cause_of(pod("n", "new", status=crash())).cause
    health = with_cause(PROGRESSING, cause)
    assert (health.kstatus, health.health, health.reason) == (Kstatus.FAILED, Health.DEGRADED, "CrashLoopBackOff")
    assert with_cause(PROGRESSING, None) == PROGRESSING


@pytest.mark.parametrize("kstatus", [Kstatus.CURRENT, Kstatus.TERMINATING, Kstatus.UNKNOWN])
def test_a_workload_that_is_well_or_going_is_left_as_it_is(kstatus: Kstatus) -> None:
    health = ObjectHealth(kstatus, Health.HEALTHY)
    assert with_cause(health, cause_of(pod("n", "new", status=crash())).cause) == health
