"""Whether a change's pods have room on a cluster: quotas that would be exceeded, disruption budgets in the way.

By arithmetic over what quotas and budgets say now: replicas of an autoscaler, limit ranges and scopes are not counted,
so that a finding is approximate where any of them plays a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from math import ceil

from fleet.core.diff import quantity_of
from fleet.core.digits import number_in
from fleet.core.documents import Document, Json, at, documents_at, mapping_at, number_at, text_at
from fleet.core.planning.live import Danger, LiveFinding
from fleet.core.planning.live_judge import Seen, Setting
from fleet.core.planning.pods import Restart

_WORKLOADS = frozenset({"Deployment", "StatefulSet", "ReplicaSet"})
_PER_POD = ("cpu", "memory")


def judge_quotas(
    namespace: str, seen: Sequence[Seen], quotas: Iterable[Document], setting: Setting
) -> Iterator[LiveFinding]:
    """Quotas of one namespace against the pods that all changes of one unit there add, at their rollout's peak."""
    more: dict[str, Decimal] = {}
    for item in seen:
        for name, amount in _added(item).items():
            more[name] = more.get(name, Decimal(0)) + amount
    for quota in quotas:
        if mapping_at(quota, "spec", "scopeSelector") or at(quota, "spec", "scopes"):
            continue
        for name, hard in mapping_at(quota, "status", "hard").items():
            wanted = more.get(_plain(name), Decimal(0))
            limit, used = quantity_of(hard), quantity_of(mapping_at(quota, "status", "used").get(name, "0"))
            if wanted > 0 and limit is not None and used is not None and used + wanted > limit:
                message = (
                    f"quota {text_at(quota, 'metadata', 'name')} in {namespace} would be exceeded: "
                    f"{name} {_number(used)} + {_number(wanted)} of {_number(limit)}"
                )
                yield LiveFinding(
                    Danger.QUOTA,
                    setting.overlay,
                    setting.cluster,
                    message,
                    next_step="raise the quota first, or ask for less",
                    approximate=True,
                )


def _plain(name: str) -> str:
    """`cpu` means `requests.cpu`; `count/pods` is `pods`."""
    return {"cpu": "requests.cpu", "memory": "requests.memory", "count/pods": "pods"}.get(name, name)


def _added(seen: Seen) -> dict[str, Decimal]:
    """What the pods of one workload need more than now, while it rolls out."""
    after = seen.after
    if after is None or text_at(after, "kind") not in _WORKLOADS or seen.change.ref.group != "apps":
        return {}
    there = seen.live if seen.live is not None else seen.before
    had = number_at(there, "spec", "replicas", default=1) if there is not None else 0
    default = had if there is not None else 1  # replicas that Git leaves out stay as they are
    wanted = number_at(after, "spec", "replicas", default=default)
    surge = _surge(after, wanted) if seen.change.restart is not None else 0
    pod, old = _needs(after), _needs(there) if there is not None else {}
    found: dict[str, Decimal] = {"pods": Decimal(max(0, wanted + surge - had))}
    for name in {*pod, *old}:
        steady = pod.get(name, Decimal(0)) * wanted - old.get(name, Decimal(0)) * had
        found[name] = max(Decimal(0), steady) + pod.get(name, Decimal(0)) * surge
    return found


def _surge(document: Document, replicas: int) -> int:
    """How many pods a Deployment has above its replicas while it rolls out."""
    if text_at(document, "kind") != "Deployment" or text_at(document, "spec", "strategy", "type") == "Recreate":
        return 0
    said: Json = at(document, "spec", "strategy", "rollingUpdate", "maxSurge")
    if isinstance(said, int) and not isinstance(said, bool):
        return said
    text = said if isinstance(said, str) else "25%"
    return ceil(replicas * (number_in(text.removesuffix("%")) or 0) / 100)


def _needs(document: Document) -> dict[str, Decimal]:
    """What one pod of a workload asks for: `requests.cpu` and so on; a limit without a request counts as one."""
    found: dict[str, Decimal] = {}
    for container in documents_at(document, "spec", "template", "spec", "containers"):
        limits, requests = mapping_at(container, "resources", "limits"), mapping_at(container, "resources", "requests")
        for kind, values in (("limits", limits), ("requests", {**limits, **requests})):
            for name in _PER_POD:
                amount = quantity_of(values[name]) if name in values else None
                if amount is not None:
                    found[f"{kind}.{name}"] = found.get(f"{kind}.{name}", Decimal(0)) + amount
    return found


def _number(value: Decimal) -> str:
    text = format(value.normalize(), "f")
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20)):
        if value >= size and value % size == 0:
            return f"{value // size}{suffix}"
    return text


def judge_disruption(seen: Sequence[Seen], budgets: Iterable[Document], setting: Setting) -> Iterator[LiveFinding]:
    """Budgets of one namespace that allow no pod of a workload to go, while the change replaces its pods."""
    found = list(budgets)
    for item in seen:
        if item.after is None or not _replaces(item):
            continue
        labels = mapping_at(item.after, "spec", "template", "metadata", "labels")
        for budget in found:
            if selects(mapping_at(budget, "spec", "selector"), labels) and _allows_none(budget):
                name = text_at(budget, "metadata", "name")
                healthy = number_at(budget, "status", "currentHealthy", default=0)
                desired = number_at(budget, "status", "desiredHealthy", default=0)
                message = (
                    f"PodDisruptionBudget {name} allows no pod to go now ({healthy} of {desired} that must stay): the "
                    "update itself does not ask it, a drain of a node meanwhile waits"
                )
                yield LiveFinding(
                    Danger.DISRUPTION, setting.overlay, setting.cluster, message, item.change.ref, approximate=True
                )


def _replaces(seen: Seen) -> bool:
    return isinstance(seen.change.restart, Restart)


def _allows_none(budget: Document) -> bool:
    observed = at(budget, "status", "disruptionsAllowed")
    return observed == 0 and number_at(budget, "status", "expectedPods", default=0) > 0


def selects(selector: Mapping[str, Json], labels: Mapping[str, Json]) -> bool:
    """A label selector as Kubernetes reads it; an empty one selects all, one that is no mapping nothing."""
    if any(labels.get(name) != value for name, value in mapping_at(dict(selector), "matchLabels").items()):
        return False
    for rule in documents_at(dict(selector), "matchExpressions"):
        key, values = text_at(rule, "key"), rule.get("values")
        listed = values if isinstance(values, list) else []
        match text_at(rule, "operator"):
            case "In":
                holds = key in labels and labels[key] in listed
            case "NotIn":
                holds = labels.get(key) not in listed
            case "Exists":
                holds = key in labels
            case "DoesNotExist":
                holds = key not in labels
            case _:
                holds = False
        if not holds:
            return False
    return True
