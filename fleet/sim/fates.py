"""What becomes of a simulated pod: it runs, crashes, cannot pull its image, finds no node, or is slow.

Said by the annotation `sim.fleet.internal/fate` on the pod (template) or by the tag of its first container's image:
`app:crash`, `app:1.8.0-pull`. `sim.fleet.internal/message` and `/exit-code` say the last words of a crash.
"""

from __future__ import annotations

from enum import StrEnum

from fleet.core.documents import Document, Json, documents_at, mapping_at, text_at

ANNOTATION = "sim.fleet.internal/fate"
_MESSAGE = "sim.fleet.internal/message"
_EXIT_CODE = "sim.fleet.internal/exit-code"


class Fate(StrEnum):
    """How a pod ends up."""

    RUN = "run"
    CRASH = "crash"
    PULL = "pull"
    UNSCHEDULABLE = "unschedulable"
    SLOW = "slow"


def fate_of(pod: Document) -> Fate:
    """The fate that a pod or pod template carries."""
    said = text_at(pod, "metadata", "annotations", ANNOTATION)
    if said in set(Fate):
        return Fate(said)
    for container in documents_at(pod, "spec", "containers"):
        tag = text_at(container, "image").rpartition("/")[2].partition(":")[2]
        ending = tag.rpartition("-")[2]
        if ending in set(Fate):
            return Fate(ending)
    return Fate.RUN


def last_words(pod: Document) -> str:
    """What a crashing container says."""
    return text_at(pod, "metadata", "annotations", _MESSAGE) or "KeyError: 'DB_HOST'"


def _exit_code(pod: Document) -> int:
    text = text_at(pod, "metadata", "annotations", _EXIT_CODE)
    return int(text) if text.isdigit() else 1


def _condition(kind: str, status: str, now: str, reason: str = "", message: str = "") -> Document:
    made: Document = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": now}
    if reason:
        made |= {"reason": reason, "message": message}
    return made


def status_of(pod: Document, fate: Fate, now: str, restarts: int) -> Document:
    """The status of a pod once its fate has come true."""
    base: Document = {"qosClass": text_at(pod, "status", "qosClass") or "BestEffort"}
    if fate is Fate.UNSCHEDULABLE:
        why = (
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims."
        )
        return {
            **base,
            "phase": "Pending",
            "conditions": [_condition("PodScheduled", "False", now, "Unschedulable", why)],
        }
    ready = fate in {Fate.RUN, Fate.SLOW}
    names = ", ".join(text_at(one, "name") for one in documents_at(pod, "spec", "containers"))
    unready = ("ContainersNotReady", f"containers with unready status: [{names}]") if not ready else ("", "")
    conditions: list[Json] = [
        _condition("PodReadyToStartContainers", "True", now),
        _condition("Initialized", "True", now),
        _condition("Ready", "True" if ready else "False", now, *unready),
        _condition("ContainersReady", "True" if ready else "False", now, *unready),
        _condition("PodScheduled", "True", now),
    ]
    statuses: list[Json] = [
        _container_status(pod, container, fate, now, restarts) for container in documents_at(pod, "spec", "containers")
    ]
    return {
        **base,
        "phase": "Pending" if fate is Fate.PULL else "Running",
        "conditions": conditions,
        "hostIP": "10.0.0.1",
        "podIP": "10.244.0.10",
        "podIPs": [{"ip": "10.244.0.10"}],
        "startTime": now,
        "containerStatuses": statuses,
    }


def _container_status(pod: Document, container: Document, fate: Fate, now: str, restarts: int) -> Document:
    image = text_at(container, "image")
    made: Document = {
        "name": text_at(container, "name"),
        "image": image,
        "imageID": "" if fate is Fate.PULL else f"sim://{image}",
        "ready": fate in {Fate.RUN, Fate.SLOW},
        "started": fate in {Fate.RUN, Fate.SLOW},
        "restartCount": restarts,
        "lastState": {},
        "state": {"running": {"startedAt": now}},
    }
    if fate is Fate.PULL:
        made["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}}
    elif fate is Fate.CRASH:
        name = text_at(pod, "metadata", "name")
        back_off = f"back-off 10s restarting failed container={text_at(container, 'name')} pod={name}"
        made["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": back_off}}
        made["lastState"] = {"terminated": _terminated(now, _exit_code(pod), "Error", last_words(pod))}
    return made


def _terminated(now: str, code: int, reason: str, message: str) -> Document:
    made: Document = {"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}
    if message:
        made["message"] = message
    return made


def finished_status(pod: Document, now: str, *, succeeded: bool) -> Document:
    """The status of a Job's pod that has ended."""
    code, reason, words = (0, "Completed", "") if succeeded else (_exit_code(pod), "Error", last_words(pod))
    statuses: list[Json] = [
        {
            "name": text_at(container, "name"),
            "image": text_at(container, "image"),
            "imageID": f"sim://{text_at(container, 'image')}",
            "ready": False,
            "started": False,
            "restartCount": 0,
            "lastState": {},
            "state": {"terminated": _terminated(now, code, reason, words)},
        }
        for container in documents_at(pod, "spec", "containers")
    ]
    return {
        **mapping_at(pod, "status"),
        "phase": "Succeeded" if succeeded else "Failed",
        "conditions": [_condition("Ready", "False", now, "PodCompleted" if succeeded else "PodFailed", "")],
        "containerStatuses": statuses,
    }


def is_ready(pod: Document) -> bool:
    """Whether a pod is Running and Ready."""
    return any(
        one.get("type") == "Ready" and one.get("status") == "True" for one in documents_at(pod, "status", "conditions")
    )
