"""What clusters said to a plan, in words."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.core.ids import ClusterName
from fleet.core.planning.live import Danger, LiveView
from fleet.core.planning.phrases import Remark, counted, on_clusters

_DANGERS = {
    Danger.IMMUTABLE: "Will fail",
    Danger.REFUSED: "Will fail",
    Danger.KIND: "Will fail",
    Danger.ORDER: "Order",
    Danger.BARRED: "Barred",
    Danger.GOES: "Goes",
    Danger.OWNER: "Not ours",
    Danger.QUOTA: "Quota",
    Danger.RIGHT: "No right",
    Danger.DRIFT: "Drift",
    Danger.WRITER: "Writer",
    Danger.DISRUPTION: "Disruption",
    Danger.BASE: "No base",
    Danger.STOPPED: "Stopped",
}
_NOT_BY_HUB = "what an API server refuses, quotas, budgets, rights and who owns new objects needs your kubeconfig"


def live_remarks(live: LiveView) -> Iterator[Remark]:
    """What the clusters said: how many answered, then each finding once with its clusters."""
    read = [look for look in live.looks if not look.problem and not look.by_hub]
    by_hub = [look.age_seconds for look in live.looks if look.by_hub and not look.problem]
    tried = sum(look.approximate for look in live.looks)
    approximate = f"; {counted(tried, 'answer')} approximate, by reading alone" if tried else ""
    if len(read) > 0 or not by_hub:
        yield Remark("Live", f"{len(read)} of {counted(len(live.looks), 'cluster')} read as you{approximate}")
    if by_hub:
        oldest = max((age for age in by_hub if age is not None), default=None)
        age = f", {round(oldest)} s old at most" if oldest is not None else ""
        of_all = f"{len(by_hub)} of {counted(len(live.looks), 'cluster')}"
        yield Remark("By the hub", f"{of_all}, from its reports{age}; {_NOT_BY_HUB}")
    problems: dict[tuple[str, str], list[ClusterName]] = {}
    for look in live.looks:
        if look.problem:
            problems.setdefault((look.problem, look.next_step), []).append(look.cluster)
    for (problem, next_step), clusters in problems.items():
        yield Remark("Not read", f"{on_clusters(clusters)}: {problem}", next_step)
    alike: dict[tuple[Danger, str, str, str, bool], list[ClusterName]] = {}
    for found in live.findings:
        what = f"{found.ref} of {found.overlay}" if found.ref is not None else found.overlay
        key = (found.danger, what, found.message, found.next_step, found.approximate)
        alike.setdefault(key, []).append(found.cluster)
    for (danger, what, message, next_step, approximate), clusters in alike.items():
        ending = " (approximate)" if approximate else ""
        yield Remark(_DANGERS[danger], f"{what} on {on_clusters(clusters)}: {message}{ending}", next_step)
