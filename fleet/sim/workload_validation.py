"""Validation of workloads: selectors, templates, strategies, Jobs and their schedules."""

from __future__ import annotations

from collections.abc import Callable

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, number_at, text_at
from fleet.sim.causes import Causes, forbidden, invalid, not_negative, one_of, required, selector_causes
from fleet.sim.pod_validation import restart_causes, spec_causes, template_causes
from fleet.sim.statuses import Cause


def _workload(document: Document, *, name: str) -> Causes:
    """Selector and template, as in Deployments, ReplicaSets, StatefulSets and DaemonSets."""
    spec = mapping_at(document, "spec")
    found: Causes = []
    selector = spec.get("selector")
    if not isinstance(selector, dict):
        found.append(required("spec.selector"))
    else:
        problems = selector_causes(selector, "spec.selector")
        found += problems
        if problems:
            found.append(invalid("spec.selector", selector, "invalid label selector"))
        elif not selector:
            found.append(invalid("spec.selector", {}, f"empty selector is invalid for {name}"))
    template = mapping_at(spec, "template")
    labels = mapping_at(template, "metadata", "labels")
    broken = isinstance(selector, dict) and (not selector or selector_causes(selector, ""))
    if not broken and not _selects(selector if isinstance(selector, dict) else None, labels):
        why = "`selector` does not match template `labels`"
        found.append(invalid("spec.template.metadata.labels", labels or None, why))
    found += template_causes(template, "spec.template")
    found += restart_causes(mapping_at(template, "spec"), "spec.template.spec", ["Always"])
    return found


def _selects(selector: Document | None, labels: Document) -> bool:
    if selector is None:
        return False
    for key, value in mapping_at(selector, "matchLabels").items():
        if labels.get(key) != value:
            return False
    for one in documents_at(selector, "matchExpressions"):
        key, values = text_at(one, "key"), items_at(one, "values")
        fits = {
            "In": key in labels and labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not fits.get(text_at(one, "operator"), False):
            return False
    return True


def _deployment(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found = not_negative(spec, "replicas", "spec") + _workload(document, name="deployment")
    strategy = mapping_at(spec, "strategy")
    kind, rolling = text_at(strategy, "type"), strategy.get("rollingUpdate")
    if kind not in {"Recreate", "RollingUpdate"}:
        shown = f'{{"Type":"{kind}","RollingUpdate":null}}'
        message = f'Unsupported value: {shown}: supported values: "Recreate", "RollingUpdate"'
        found.append(Cause("FieldValueNotSupported", message, "spec.strategy"))
    elif kind == "Recreate" and rolling is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        found.append(forbidden("spec.strategy.rollingUpdate", why))
    elif (
        isinstance(rolling, dict)
        and _is_nothing(rolling.get("maxSurge"))
        and _is_nothing(rolling.get("maxUnavailable"))
    ):
        why = "may not be 0 when `maxSurge` is 0"
        found.append(invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling.get("maxUnavailable"), why))
    found += not_negative(spec, "minReadySeconds", "spec") + not_negative(spec, "revisionHistoryLimit", "spec")
    deadline = spec.get("progressDeadlineSeconds")
    if isinstance(deadline, int):
        found += not_negative(spec, "progressDeadlineSeconds", "spec")
        if 0 <= deadline <= number_at(spec, "minReadySeconds"):
            found.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return found


def _is_nothing(value: Json) -> bool:
    return value in (0, "0%", None)


def _sized(name: str) -> Callable[[Document], Causes]:
    def check(document: Document) -> Causes:
        spec = mapping_at(document, "spec")
        found = not_negative(spec, "replicas", "spec") + _workload(document, name=name)
        found += not_negative(spec, "minReadySeconds", "spec")
        return found + not_negative(spec, "revisionHistoryLimit", "spec")

    return check


def _job(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found = _job_spec(spec, "spec")
    if spec.get("manualSelector") is not True:
        selector, labels = spec.get("selector"), mapping_at(spec, "template", "metadata", "labels")
        wanted = {"matchLabels": {"batch.kubernetes.io/controller-uid": text_at(document, "metadata", "uid")}}
        if selector != wanted:
            found.append(invalid("spec.selector", selector, "`selector` not auto-generated"))
            if not _selects(selector if isinstance(selector, dict) else None, labels):
                why = "`selector` does not match template `labels`"
                found.append(invalid("spec.template.metadata.labels", labels, why))
    return found


def _job_spec(spec: Document, field: str) -> Causes:
    found: Causes = []
    for key in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        found += not_negative(spec, key, field)
    found += one_of(spec, "completionMode", field, ["NonIndexed", "Indexed"])
    pod = mapping_at(spec, "template", "spec")
    found += template_causes(mapping_at(spec, "template"), f"{field}.template")
    if pod.get("restartPolicy") == "Always":
        found.append(required(f"{field}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return found


def _cron_job(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found: Causes = []
    schedule = text_at(spec, "schedule")
    if not schedule:
        found.append(required("spec.schedule"))
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        words = schedule.split()
        why = f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]"
        found.append(invalid("spec.schedule", schedule, why))
    found += one_of(spec, "concurrencyPolicy", "spec", ["Allow", "Forbid", "Replace"])
    for key in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found += not_negative(spec, key, "spec")
    return found + _job_spec(mapping_at(spec, "jobTemplate", "spec"), "spec.jobTemplate.spec")


def _pod(document: Document) -> Causes:
    return spec_causes(mapping_at(document, "spec"), "spec")


CHECKS: dict[str, Callable[[Document], Causes]] = {
    "cronjobs.batch": _cron_job,
    "daemonsets.apps": _sized("daemonset"),
    "deployments.apps": _deployment,
    "jobs.batch": _job,
    "pods": _pod,
    "replicasets.apps": _sized("replicaset"),
    "statefulsets.apps": _sized("statefulset"),
}
