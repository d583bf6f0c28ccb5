"""Health of one object by the rules of kstatus, generation-aware; CEL rules for kinds it does not know.

Differences from kstatus (sigs.k8s.io/cli-utils, pkg/kstatus): a running Job is InProgress, not Current, because waves
and hooks wait for its end; paused and suspended objects are shown as Suspended. Pods' own causes are in causes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, number_at, text_at
from fleet.core.objects import split_api_version
from fleet.core.status import Health, Kstatus
from fleet.core.sync_policy import HealthRule
from fleet.values import dataclass

_SHOWN_AS: Mapping[Kstatus, Health] = {
    Kstatus.CURRENT: Health.HEALTHY,
    Kstatus.IN_PROGRESS: Health.PROGRESSING,
    Kstatus.FAILED: Health.DEGRADED,
    Kstatus.TERMINATING: Health.PROGRESSING,
    Kstatus.NOT_FOUND: Health.MISSING,
    Kstatus.UNKNOWN: Health.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class ObjectHealth:
    """Health of one object, in both vocabularies. reason: a CamelCase word; message: for people, "" when Current."""

    kstatus: Kstatus
    health: Health
    reason: str = ""
    message: str = ""


def shown_as(kstatus: Kstatus) -> Health:
    """The word that users see for a kstatus word."""
    return _SHOWN_AS[kstatus]


def _of(kstatus: Kstatus, reason: str = "", message: str = "") -> ObjectHealth:
    return ObjectHealth(kstatus, _SHOWN_AS[kstatus], reason, message)


_CURRENT = _of(Kstatus.CURRENT)
NOT_FOUND = _of(Kstatus.NOT_FOUND, "NotFound", "is not there")


def _suspended(message: str) -> ObjectHealth:
    return ObjectHealth(Kstatus.CURRENT, Health.SUSPENDED, "Suspended", message)


def _waiting(reason: str, message: str) -> ObjectHealth:
    return _of(Kstatus.IN_PROGRESS, reason, message)


def judge_health(live: Document, rules: Sequence[HealthRule] = ()) -> ObjectHealth:
    """Judge one live object. A rule (CEL) that names its kind decides instead of the built-in ones."""
    if text_at(live, "metadata", "deletionTimestamp"):
        return _terminating(live)
    behind = _behind(live)
    if behind is not None:
        return behind
    group, _ = split_api_version(text_at(live, "apiVersion"))
    kind = text_at(live, "kind")
    for rule in rules:
        if rule.kind == kind and rule.group in (None, group):
            return _by_rule(rule, live)
    conditions = _by_common_conditions(live)
    if conditions is not None:
        return conditions
    judge = _KINDS.get((group, kind))
    return judge(live) if judge else _by_ready(live)


def _terminating(live: Document) -> ObjectHealth:
    message = "is being deleted"
    finalizers = [name for name in items_at(live, "metadata", "finalizers") if isinstance(name, str)]
    if finalizers:
        message += f", waits for {', '.join(finalizers)}"
    for name in ("NamespaceContentRemaining", "NamespaceDeletionContentFailure", "NamespaceFinalizersRemaining"):
        found = condition(live, name)
        if found and text_at(found, "status") == "True":
            message += f": {text_at(found, 'message')}"
            break
    return _of(Kstatus.TERMINATING, "Terminating", message)


def _behind(live: Document) -> ObjectHealth | None:
    """InProgress while the status speaks of an older generation."""
    generation = number_at(live, "metadata", "generation")
    observed = number_at(live, "status", "observedGeneration", default=-1)
    if observed >= 0 and generation and observed < generation:
        return _waiting("LatestGenerationNotObserved", "its controller has not seen the newest change yet")
    return None


def condition(live: Document, name: str) -> Document | None:
    """A condition of `status.conditions` by its type."""
    return next((found for found in documents_at(live, "status", "conditions") if found.get("type") == name), None)


def _is(live: Document, name: str, status: str) -> Document | None:
    found = condition(live, name)
    return found if found is not None and found.get("status") == status else None


def _said(found: Document, otherwise: str) -> str:
    return text_at(found, "message") or text_at(found, "reason") or otherwise


def _by_common_conditions(live: Document) -> ObjectHealth | None:
    if stalled := _is(live, "Stalled", "True"):
        return _of(Kstatus.FAILED, text_at(stalled, "reason") or "Stalled", _said(stalled, "is stalled"))
    if moving := _is(live, "Reconciling", "True"):
        return _waiting(text_at(moving, "reason") or "Reconciling", _said(moving, "is being reconciled"))
    return None


def _by_ready(live: Document) -> ObjectHealth:
    found = condition(live, "Ready")
    if found is None or found.get("status") == "True":
        return _CURRENT
    return _waiting(text_at(found, "reason") or "NotReady", _said(found, "is not ready"))


def _deployment(live: Document) -> ObjectHealth:
    wanted = number_at(live, "spec", "replicas", default=1)
    progressing = condition(live, "Progressing")
    if progressing and text_at(progressing, "reason") == "ProgressDeadlineExceeded":
        return _of(Kstatus.FAILED, "ProgressDeadlineExceeded", _said(progressing, "made no progress in time"))
    found = _rolled_out(live, wanted, progressing)
    if live.get("spec") is not None and mapping_at(live, "spec").get("paused") is True:
        is_there = found.kstatus is Kstatus.CURRENT
        return _suspended("is paused") if is_there else replace(found, message=f"is paused: {found.message}")
    return found


def _rolled_out(live: Document, wanted: int, progressing: Document | None) -> ObjectHealth:
    if "observedGeneration" not in mapping_at(live, "status"):
        return _waiting("NotObserved", "its controller has not looked at it yet")
    have, updated = number_at(live, "status", "replicas"), number_at(live, "status", "updatedReplicas")
    available, ready = number_at(live, "status", "availableReplicas"), number_at(live, "status", "readyReplicas")
    if have < wanted:
        return _waiting("LessReplicas", f"{have} of {wanted} pods made")
    if updated < wanted:
        return _waiting("LessUpdated", f"{updated} of {wanted} pods updated")
    if have > wanted:
        return _waiting("ExtraPods", f"{have - wanted} old pods still run")
    if available < updated:
        return _waiting("LessAvailable", f"{available} of {updated} pods available")
    if ready < wanted:
        return _waiting("LessReady", f"{ready} of {wanted} pods ready")
    is_paused = progressing is not None and text_at(progressing, "reason") == "DeploymentPaused"
    if progressing and not is_paused and text_at(progressing, "status") != "True":
        return _waiting("NotProgressing", _said(progressing, "does not progress"))
    if (found := condition(live, "Available")) and found.get("status") != "True":
        return _waiting("NotAvailable", _said(found, "is not available"))
    return _CURRENT


def _stateful_set(live: Document) -> ObjectHealth:
    if text_at(live, "spec", "updateStrategy", "type") == "OnDelete":
        return _CURRENT
    wanted = number_at(live, "spec", "replicas", default=1)
    if "observedGeneration" not in mapping_at(live, "status"):
        return _waiting("NotObserved", "its controller has not looked at it yet")
    have, ready = number_at(live, "status", "replicas"), number_at(live, "status", "readyReplicas")
    if have < wanted:
        return _waiting("LessReplicas", f"{have} of {wanted} pods made")
    if ready < wanted:
        return _waiting("LessReady", f"{ready} of {wanted} pods ready")
    if have > wanted:
        return _waiting("ExtraPods", f"{have - wanted} pods too many still run")
    partition = number_at(live, "spec", "updateStrategy", "rollingUpdate", "partition")
    updated = number_at(live, "status", "updatedReplicas")
    if partition:
        share = max(0, wanted - partition)
        return _waiting("PartitionRollout", f"{updated} of {share} pods updated") if updated < share else _CURRENT
    if number_at(live, "status", "currentReplicas") < wanted:
        return _waiting("LessCurrent", f"{updated} of {wanted} pods updated")
    if text_at(live, "status", "currentRevision") != text_at(live, "status", "updateRevision"):
        return _waiting("RevisionPending", "waits for its new revision")
    return _CURRENT


def _daemon_set(live: Document) -> ObjectHealth:
    if "observedGeneration" not in mapping_at(live, "status"):
        return _waiting("NotObserved", "its controller has not looked at it yet")
    wanted = number_at(live, "status", "desiredNumberScheduled", default=-1)
    if wanted < 0:
        return _waiting("NoDesiredNumber", "its pods are not counted yet")
    on_delete = text_at(live, "spec", "updateStrategy", "type") == "OnDelete"
    counted = (
        ("currentNumberScheduled", "LessScheduled", "scheduled"),
        ("updatedNumberScheduled", "LessUpdated", "updated"),
        ("numberAvailable", "LessAvailable", "available"),
        ("numberReady", "LessReady", "ready"),
    )
    for name, reason, word in counted:
        count = number_at(live, "status", name)
        if count < wanted and not (on_delete and name == "updatedNumberScheduled"):
            return _waiting(reason, f"{count} of {wanted} pods {word}")
    return _CURRENT


def _replica_set(live: Document) -> ObjectHealth:
    wanted = number_at(live, "spec", "replicas", default=1)
    if failure := _is(live, "ReplicaFailure", "True"):
        return _waiting("ReplicaFailure", _said(failure, "cannot make its pods"))
    for name, reason, word in (
        ("fullyLabeledReplicas", "LessLabelled", "made"),
        ("availableReplicas", "LessAvailable", "available"),
        ("readyReplicas", "LessReady", "ready"),
    ):
        count = number_at(live, "status", name)
        if count < wanted:
            return _waiting(reason, f"{count} of {wanted} pods {word}")
    have = number_at(live, "status", "replicas")
    return _waiting("ExtraPods", f"{have - wanted} pods too many still run") if have > wanted else _CURRENT


def _job(live: Document) -> ObjectHealth:
    if _is(live, "Complete", "True") or _is(live, "SuccessCriteriaMet", "True"):
        return _CURRENT
    for name in ("Failed", "FailureTarget"):
        if failed := _is(live, name, "True"):
            return _of(Kstatus.FAILED, text_at(failed, "reason") or "JobFailed", _said(failed, "failed"))
    if mapping_at(live, "spec").get("suspend") is True:
        return _suspended("is suspended")
    if not text_at(live, "status", "startTime"):
        return _waiting("JobNotStarted", "has not started yet")
    active, failures = number_at(live, "status", "active"), number_at(live, "status", "failed")
    message = f"runs, {active} active" + (f", {failures} failed so far" if failures else "")
    return _waiting("JobInProgress", message)


def _cron_job(live: Document) -> ObjectHealth:
    return _suspended("is suspended") if mapping_at(live, "spec").get("suspend") is True else _CURRENT


def _pod(live: Document) -> ObjectHealth:
    match text_at(live, "status", "phase"):
        case "Succeeded":
            return _CURRENT
        case "Failed":
            message = text_at(live, "status", "message") or text_at(live, "status", "reason") or "failed"
            return _of(Kstatus.FAILED, text_at(live, "status", "reason") or "PodFailed", message)
        case "Running":
            if _is(live, "Ready", "True"):
                return _CURRENT
            return _waiting("PodNotReady", "runs, not ready")
        case _:
            return _waiting("PodPending", "is not running yet")


def _claim(live: Document) -> ObjectHealth:
    match text_at(live, "status", "phase"):
        case "Bound":
            return _CURRENT
        case "Lost":
            return _of(Kstatus.FAILED, "Lost", "its volume is lost")
        case _:
            return _waiting("NotBound", "is not bound to a volume yet")


def _service(live: Document) -> ObjectHealth:
    if text_at(live, "spec", "type") == "LoadBalancer" and not text_at(live, "spec", "clusterIP"):
        return _waiting("NoIPAssigned", "has no address yet")
    return _CURRENT


def _disruption_budget(live: Document) -> ObjectHealth:
    if "observedGeneration" not in mapping_at(live, "status"):
        return _waiting("NotObserved", "its controller has not looked at it yet")
    return _CURRENT


def _definition(live: Document) -> ObjectHealth:
    if (refused := _is(live, "NamesAccepted", "False")) and text_at(refused, "reason") not in ("", "Accepted"):
        return _of(Kstatus.FAILED, text_at(refused, "reason"), _said(refused, "its names are taken"))
    if _is(live, "Established", "True"):
        return _CURRENT
    if (missing := _is(live, "Established", "False")) and text_at(missing, "reason") not in ("", "Installing"):
        return _of(Kstatus.FAILED, text_at(missing, "reason"), _said(missing, "is not established"))
    return _waiting("Installing", "is not established yet")


def _api_service(live: Document) -> ObjectHealth:
    found = condition(live, "Available")
    if found is not None and found.get("status") == "True":
        return _CURRENT
    reason = text_at(found, "reason") if found else ""
    return _waiting(reason or "NotAvailable", _said(found, "is not available") if found else "is not available yet")


def _namespace(live: Document) -> ObjectHealth:
    return _terminating(live) if text_at(live, "status", "phase") == "Terminating" else _CURRENT


def _autoscaler(live: Document) -> ObjectHealth:
    """A target that is not there is a failure; missing metrics are told, and nothing waits for them."""
    if unable := _is(live, "AbleToScale", "False"):
        return _of(Kstatus.FAILED, text_at(unable, "reason"), _said(unable, "cannot scale its target"))
    if inactive := _is(live, "ScalingActive", "False"):
        reason = text_at(inactive, "reason")
        return _of(Kstatus.CURRENT, reason, "" if reason == "ScalingDisabled" else _said(inactive, "does not scale"))
    return _CURRENT


_KINDS: Mapping[tuple[str, str], Callable[[Document], ObjectHealth]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Pod"): _pod,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Service"): _service,
    ("", "Namespace"): _namespace,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
}


# Rules in CEL


class _Program(Protocol):
    def execute(self, context: dict[str, Json]) -> object: ...


@lru_cache(maxsize=512)
def _compiled(expression: str) -> _Program | str:
    """The compiled expression, or why it is none. The library is loaded only where a rule is used."""
    import cel

    try:
        return cel.compile(expression)
    except Exception as error:  # the library raises its parser's errors under several types
        return str(error).splitlines()[0]


def _by_rule(rule: HealthRule, live: Document) -> ObjectHealth:
    if rule.degraded:
        verdict = _evaluate(rule.degraded, live)
        if isinstance(verdict, ObjectHealth):
            return verdict
        if verdict:
            found = condition(live, "Ready")
            return _of(Kstatus.FAILED, "HealthRule", _said(found, "") if found else "its health rule says degraded")
    if not rule.healthy:
        return _by_ready(live)
    verdict = _evaluate(rule.healthy, live)
    if isinstance(verdict, ObjectHealth):
        return verdict
    if verdict:
        return _CURRENT
    found = condition(live, "Ready")
    return _waiting("HealthRule", _said(found, "is not healthy yet") if found else "is not healthy yet")


def _evaluate(expression: str, live: Document) -> bool | ObjectHealth:
    """The value of an expression over the object's top-level fields; what it cannot tell is Unknown."""
    program = _compiled(expression)
    if isinstance(program, str):
        return _of(Kstatus.UNKNOWN, "HealthRuleInvalid", f"the health rule cannot be read: {program}")
    try:
        value = program.execute({**live, "object": live})
    except Exception as error:  # a field that is not there, or a type that does not fit
        if "status" not in live:
            return _waiting("NoStatus", "has no status yet")
        return _of(Kstatus.UNKNOWN, "HealthRuleFailed", f"the health rule fails: {error}")
    if isinstance(value, bool):
        return value
    return _of(Kstatus.UNKNOWN, "HealthRuleFailed", f"the health rule gives {type(value).__name__}, not true or false")
