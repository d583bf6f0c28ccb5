"""Why a workload is not healthy: the worst trouble among its pods, the newest ones first, in words.

A crash loop, an image that cannot be pulled, or a pod that stays unschedulable makes the workload Degraded at once,
long before its own conditions give up. A pod that ended (evicted, or one of a Job's tries) only explains a failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from fleet.core.digits import number_in
from fleet.core.documents import Document, documents_at, mapping_at, number_at, text_at
from fleet.core.health import ObjectHealth, condition
from fleet.core.status import Health, Kstatus
from fleet.values import dataclass

UNSCHEDULABLE_SECONDS = 30.0
_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_PULL = frozenset({"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_PULL_TRIES = re.compile(r'\ABack-off pulling image "[^"]*"(: )?')  # says nothing that "cannot pull" does not
_WORDS_LIMIT = 160


@dataclass(frozen=True, slots=True)
class Cause:
    """One pod's trouble as the cause of its workload's. `message` is the one line for people."""

    reason: str  # CrashLoopBackOff, ImagePullBackOff, Unschedulable, ...
    message: str
    pod: str
    container: str = ""
    exit_code: int | None = None
    restarts: int = 0
    last_words: str = ""  # the last line of the termination message
    image: str = ""
    has_ended: bool = False  # the pod; others may have taken its place


@dataclass(frozen=True, slots=True)
class CauseVerdict:
    """The cause, if there is one now; again_at: time, by the same clock, at which waiting alone may make one."""

    cause: Cause | None = None
    again_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What is wrong with one pod. verb: how the sentence goes on after "pod"."""

    severity: int  # smaller is worse
    reason: str
    verb: str
    container: str = ""
    exit_code: int | None = None
    restarts: int = 0
    last_words: str = ""
    image: str = ""
    has_ended: bool = False


def judge_cause(
    workload: Document, replica_sets: Iterable[Document], pods: Iterable[Document], now_there: float
) -> CauseVerdict:
    """Find the cause among the pods of a Deployment, StatefulSet, DaemonSet, ReplicaSet or Job.

    replica_sets and pods may be all of the namespace: only what the workload owns counts. now_there: seconds since
    the epoch by the cluster's clock, for pods that are unschedulable only for a while.
    """
    new, old = _pods_of(workload, list(replica_sets), list(pods))
    again: list[float] = []
    found: list[tuple[_Trouble, Document]] = []
    for pod in new:
        since = _unschedulable_since(pod)
        if since is not None and now_there < since + UNSCHEDULABLE_SECONDS:
            again.append(since + UNSCHEDULABLE_SECONDS)
            continue
        trouble = _trouble_of(pod)
        if trouble is not None:
            found.append((trouble, pod))
    if not found:
        return CauseVerdict(None, min(again, default=None))
    trouble, pod = min(
        found, key=lambda item: (item[0].severity, -item[0].restarts, text_at(item[1], "metadata", "name"))
    )
    serving_old, serving_new = _count_ready(old), _count_ready(new)
    words = f": {trouble.last_words}" if trouble.last_words else ""
    subject = "new pod" if old or serving_new else "pod"
    return CauseVerdict(
        Cause(
            reason=trouble.reason,
            message=f"{subject} {trouble.verb}{words}{_who_serves(serving_old, serving_new)}",
            pod=text_at(pod, "metadata", "name"),
            container=trouble.container,
            exit_code=trouble.exit_code,
            restarts=trouble.restarts,
            last_words=trouble.last_words,
            image=trouble.image,
            has_ended=trouble.has_ended,
        )
    )


def with_cause(health: ObjectHealth, cause: Cause | None) -> ObjectHealth:
    """The workload's health with its cause: Degraded at once, unless the workload itself is well or being deleted."""
    if cause is None or health.kstatus not in (Kstatus.IN_PROGRESS, Kstatus.FAILED):
        return health
    if cause.has_ended and health.kstatus is not Kstatus.FAILED:
        return health
    return ObjectHealth(Kstatus.FAILED, Health.DEGRADED, cause.reason, cause.message)


def _who_serves(old: int, new: int) -> str:
    if old:
        return f" ({old} old pod{'s' if old > 1 else ''} serve{'' if old > 1 else 's'})"
    return f" ({new} other new pod{'s' if new > 1 else ''} serve{'' if new > 1 else 's'})" if new else ""


def _owned_by(document: Document, uid: str) -> bool:
    return any(text_at(owner, "uid") == uid for owner in documents_at(document, "metadata", "ownerReferences"))


def _pods_of(
    workload: Document, replica_sets: Sequence[Document], pods: Sequence[Document]
) -> tuple[list[Document], list[Document]]:
    """The pods of the newest revision, and those of older ones."""
    uid = text_at(workload, "metadata", "uid")
    kind = text_at(workload, "kind")
    if kind == "Deployment":
        mine = [found for found in replica_sets if _owned_by(found, uid)]
        newest = max(mine, key=_revision_of, default=None)
        new_uid = text_at(newest, "metadata", "uid") if newest else ""
        old_uids = [text_at(found, "metadata", "uid") for found in mine if found is not newest]
        new = [pod for pod in pods if new_uid and _owned_by(pod, new_uid)]
        return new, [pod for pod in pods if any(_owned_by(pod, old) for old in old_uids)]
    owned = [pod for pod in pods if _owned_by(pod, uid)]
    revision = text_at(workload, "status", "updateRevision") if kind == "StatefulSet" else ""
    if kind == "DaemonSet":
        # Not every change of the spec is one of the template.
        generation = text_at(workload, "metadata", "annotations", _TEMPLATE_GENERATION) or str(
            number_at(workload, "metadata", "generation")
        )
        label = "pod-template-generation"
        old = [pod for pod in owned if text_at(pod, "metadata", "labels", label) not in ("", generation)]
        return [pod for pod in owned if pod not in old], old
    old = [pod for pod in owned if revision and _hash_of(pod) not in ("", revision)]
    return [pod for pod in owned if pod not in old], old


def _hash_of(pod: Document) -> str:
    return text_at(pod, "metadata", "labels", "controller-revision-hash")


def _revision_of(replica_set: Document) -> int:
    return number_in(text_at(replica_set, "metadata", "annotations", _REVISION)) or 0


def _count_ready(pods: Iterable[Document]) -> int:
    return sum(1 for pod in pods if (found := condition(pod, "Ready")) and found.get("status") == "True")


def _unschedulable_since(pod: Document) -> float | None:
    found = condition(pod, "PodScheduled")
    if found is None or found.get("status") != "False" or found.get("reason") != "Unschedulable":
        return None
    try:
        return datetime.fromisoformat(text_at(found, "lastTransitionTime")).timestamp()
    except ValueError:
        return 0.0


def _trouble_of(pod: Document) -> _Trouble | None:
    """The worst trouble of one pod; one that is being deleted has none."""
    if text_at(pod, "metadata", "deletionTimestamp"):
        return None
    if _unschedulable_since(pod) is not None:
        found = condition(pod, "PodScheduled") or {}
        return _Trouble(2, "Unschedulable", "cannot be scheduled", last_words=_line(text_at(found, "message")))
    statuses = [
        *documents_at(pod, "status", "initContainerStatuses"),
        *documents_at(pod, "status", "containerStatuses"),
    ]
    if text_at(pod, "status", "phase") == "Failed":
        return _ended(pod, statuses)
    troubles = [trouble for status in statuses if (trouble := _trouble_of_container(status, pod)) is not None]
    return min(troubles, key=lambda trouble: trouble.severity, default=None)


def _ended(pod: Document, statuses: Sequence[Document]) -> _Trouble:
    reason = text_at(pod, "status", "reason") or "PodFailed"
    ends = [end for status in statuses if (end := mapping_at(status, "state", "terminated"))]
    words = _line(text_at(pod, "status", "message") or (text_at(ends[0], "message") if ends else ""))
    if ends:
        code = number_at(ends[0], "exitCode")
        return _Trouble(3, reason, f"failed, exit {code}", exit_code=code, last_words=words, has_ended=True)
    return _Trouble(3, reason, "failed", last_words=words or reason, has_ended=True)


def _trouble_of_container(status: Document, pod: Document) -> _Trouble | None:
    name, restarts = text_at(status, "name"), number_at(status, "restartCount")
    waiting = mapping_at(status, "state", "waiting")
    reason = text_at(waiting, "reason")
    ended = mapping_at(status, "lastState", "terminated") or mapping_at(status, "state", "terminated")
    if reason == "CrashLoopBackOff":
        return _crash(name, restarts, ended)
    if reason in _PULL:
        image = text_at(status, "image") or _image_of(pod, name)
        words = _line(_PULL_TRIES.sub("", text_at(waiting, "message")))
        return _Trouble(1, reason, f"cannot pull {image}", name, restarts=restarts, last_words=words, image=image)
    if reason in _CONFIG:
        return _Trouble(
            1, reason, "cannot start", name, restarts=restarts, last_words=_line(text_at(waiting, "message"))
        )
    ended_now = mapping_at(status, "state", "terminated")
    if restarts and ended_now and number_at(ended_now, "exitCode"):
        return _crash(name, restarts, ended_now)
    return None


def _crash(name: str, restarts: int, ended: Document) -> _Trouble:
    code = number_at(ended, "exitCode", default=-1)
    verb = f"crashes, exit {code}" if code >= 0 else "crashes"
    if text_at(ended, "reason") == "OOMKilled":
        verb = "runs out of memory"
    words = _line(text_at(ended, "message"))
    return _Trouble(0, "CrashLoopBackOff", verb, name, code if code >= 0 else None, restarts, words)


def _image_of(pod: Document, name: str) -> str:
    containers = [*documents_at(pod, "spec", "initContainers"), *documents_at(pod, "spec", "containers")]
    return next((text_at(found, "image") for found in containers if text_at(found, "name") == name), "its image")


def _line(text: str) -> str:
    """The last line that says something, without control characters, short enough for a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = "".join(letter for letter in lines[-1] if letter.isprintable()) if lines else ""
    return words if len(words) <= _WORDS_LIMIT else f"{words[: _WORDS_LIMIT - 1]}…"
