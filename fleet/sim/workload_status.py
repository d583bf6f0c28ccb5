"""Statuses of workloads as their controllers write them: pure functions of the workload and its pods."""

from __future__ import annotations

import hashlib
from functools import partial

import orjson

from fleet.core.documents import Document, Json, documents_at, mapping_at, number_at, text_at
from fleet.sim.fates import is_ready

_HASH_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def name_of(document: Document) -> str:
    """An object's name."""
    return text_at(document, "metadata", "name")


def label_of(document: Document, key: str) -> str:
    """A label's value; "" where there is none."""
    return text_at(document, "metadata", "labels", key)


def template_hash(template: Document) -> str:
    """Ten letters for a pod template: the same template has the same."""
    digest = hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).digest()
    return "".join(_HASH_LETTERS[byte % len(_HASH_LETTERS)] for byte in digest[:10])


def amount_of(value: Json, of: int, *, up: bool) -> int:
    """maxSurge (rounded up) or maxUnavailable (rounded down), as a number of pods."""
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * of
        return -(-share // 100) if up else share // 100
    return 0


def ordinal_labels(name: str, mark: str, index: int) -> dict[str, str]:
    """Labels of a StatefulSet's pod."""
    return {
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(index),
        "controller-revision-hash": mark,
    }


def with_claims(template: Document, claims: list[Document], name: str, index: int) -> Document:
    """A template whose volumes are the claims of this ordinal."""
    if not claims:
        return template
    spec = mapping_at(template, "spec")
    named = {name_of(claim) for claim in claims}
    volumes: list[Json] = [one for one in documents_at(spec, "volumes") if text_at(one, "name") not in named]
    for claim in claims:
        source: Document = {"claimName": f"{name_of(claim)}-{name}-{index}"}
        volumes.append({"name": name_of(claim), "persistentVolumeClaim": source})
    return {**template, "spec": {**spec, "volumes": volumes}}


def _condition(kind: str, status: str, reason: str, message: str, *, now: str) -> Document:
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def keep_times(new: Document, old: Document) -> Document:
    """The new status, with the times of conditions that say the same as before."""
    before = {text_at(one, "type"): one for one in documents_at(old, "conditions")}
    conditions: list[Json] = []
    for one in documents_at(new, "conditions"):
        was = before.get(text_at(one, "type"))
        if was is not None and all(was.get(key) == one.get(key) for key in ("status", "reason", "message")):
            conditions.append(was)
        else:
            conditions.append(one)
    return {**new, "conditions": conditions} if conditions else new


def deployment_status(deployment: Document, new: Document | None, old: list[Document], now: str) -> Document:
    """The status of a Deployment from its ReplicaSets, with kubectl's two conditions."""
    every = ([new] if new is not None else []) + old
    wanted = number_at(deployment, "spec", "replicas")
    total = sum(number_at(one, "status", "replicas") for one in every)
    ready = sum(number_at(one, "status", "readyReplicas") for one in every)
    updated = number_at(new, "status", "replicas") if new is not None else 0
    status: Document = {
        "observedGeneration": number_at(deployment, "metadata", "generation"),
        "terminatingReplicas": 0,
    }
    for key, value in (
        ("replicas", total),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
        ("unavailableReplicas", max(0, wanted - ready)),
    ):
        if value:
            status[key] = value
    strategy = mapping_at(deployment, "spec", "strategy", "rollingUpdate")
    enough = ready >= wanted - amount_of(strategy.get("maxUnavailable"), wanted, up=False)
    name = f'"{name_of(new)}"' if new is not None else f'"{name_of(deployment)}"'
    complete = updated == wanted and total == wanted and ready >= wanted and new is not None
    made = partial(_condition, now=now)
    conditions: list[Json] = [
        made("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if enough
        else made("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        made("Progressing", "True", "NewReplicaSetAvailable", f"ReplicaSet {name} has successfully progressed.")
        if complete
        else made("Progressing", "True", "ReplicaSetUpdated", f"ReplicaSet {name} is progressing."),
    ]
    status["conditions"] = conditions
    return status


def stateful_status(document: Document, pods: list[Document], mark: str) -> Document:
    """The status of a StatefulSet from its pods."""
    ready = sum(is_ready(pod) for pod in pods)
    updated = sum(label_of(pod, "controller-revision-hash") == mark for pod in pods)
    before = text_at(document, "status", "currentRevision") or mark
    complete = updated == len(pods) == number_at(document, "spec", "replicas")
    status: Document = {
        "observedGeneration": number_at(document, "metadata", "generation"),
        "replicas": len(pods),
        "availableReplicas": ready,
        "currentRevision": mark if complete else before,
        "updateRevision": mark,
        "collisionCount": 0,
    }
    for key, value in (
        ("readyReplicas", ready),
        ("updatedReplicas", updated),
        ("currentReplicas", updated if complete else len(pods) - updated),
    ):
        if value:
            status[key] = value
    return status


def job_status(job: Document, active: int, done: int, failed: int, wanted: int, tries: int, now: str) -> Document:
    """The status of a Job from the counts of its pods."""
    condition = partial(_job_condition, now=now)
    status: Document = {
        "startTime": text_at(job, "status", "startTime") or now,
        "terminating": 0,
        "uncountedTerminatedPods": {},
        "ready": 0,
    }
    for key, value in (("active", active), ("succeeded", done), ("failed", failed)):
        if value:
            status[key] = value
    if done >= wanted:
        why = ("CompletionsReached", "Reached expected number of succeeded pods")
        status |= {
            "conditions": [condition("SuccessCriteriaMet", *why), condition("Complete", *why)],
            "completionTime": now,
        }
    elif failed > tries:
        why = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        status["conditions"] = [condition("FailureTarget", *why), condition("Failed", *why)]
    return status


def _job_condition(kind: str, reason: str, message: str, *, now: str) -> Document:
    return {
        "type": kind,
        "status": "True",
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
