"""The steps of a rollout for one overlay: which of its clusters each step takes, and how many may be changed at once.

The first step that matches takes a cluster. Pure; the policy comes from `rollout:` in fleet.yaml or overlay.yaml.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.core.fleet import Cluster, Environment, Mode, Unit
from fleet.core.ids import ClusterName
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Amount, RolloutPolicy, Step
from fleet.core.sync_policy import SyncMode
from fleet.core.targets import matches
from fleet.values import dataclass

BY_DEFAULT = Origin("")


@dataclass(frozen=True, slots=True)
class Stage:
    """One step with the clusters of an overlay that it takes, in the order of their names."""

    step: Step
    clusters: tuple[ClusterName, ...] = ()

    @property
    def name(self) -> str:
        """The step's name: steps of one name in several overlays are one."""
        return self.step.name


@dataclass(frozen=True, slots=True)
class Staged:
    """All stages, and the clusters that no step takes."""

    stages: tuple[Stage, ...]
    left_over: tuple[ClusterName, ...] = ()


def is_at_once(policy: RolloutPolicy) -> bool:
    """Whether all clusters get a new result together."""
    return policy.steps == ()


def goes_by_itself(unit: Unit) -> bool:
    """Whether a unit's new results are written unasked: not where nothing is written, or a person syncs."""
    return unit.cluster.mode is Mode.MANAGE and unit.overlay.sync.mode is SyncMode.AUTO


def by_hand(unit: Unit) -> Unit:
    """The same unit where a person syncs it."""
    sync = replace(unit.overlay.sync, mode=SyncMode.MANUAL)
    return replace(unit, overlay=replace(unit.overlay, sync=sync))


def goes_by_steps(unit: Unit) -> bool:
    """Whether a unit's new results wait for their step."""
    return goes_by_itself(unit) and not is_at_once(unit.overlay.rollout)


def is_taken_by(step: Step, cluster: Cluster) -> bool:
    """Whether a step wants a cluster, whatever the steps before it took."""
    if not step.takes_clusters:
        return False
    if step.environments and cluster.environment not in step.environments:
        return False
    return step.clusters is None or matches(step.clusters, cluster)


def steps_by_default(environments: Sequence[Environment], clusters: Iterable[Cluster]) -> tuple[Step, ...]:
    """Environment by environment in the declared order, then the others by name; one cluster first in each."""
    names = [stage.name for stage in environments]
    others = sorted({cluster.environment for cluster in clusters} - {*names, ""})
    by_name = [
        Step(name=name, origin=BY_DEFAULT, environments=(name,), one_first=True)
        for name in dict.fromkeys([*names, *others])
    ]
    return (*by_name, Step(name="rest", origin=BY_DEFAULT, rest=True, one_first=True))


def stages_of(
    policy: RolloutPolicy, clusters: Mapping[ClusterName, Cluster], environments: Sequence[Environment]
) -> Staged:
    """Give each cluster of an overlay to the first step that matches it. No stages: all at once.

    Steps by default that take nothing are left out; those that somebody wrote are kept, so that they can be judged.
    """
    steps = policy.steps
    if steps == ():
        return Staged(())
    is_default = steps is None
    if steps is None:
        steps = steps_by_default(environments, clusters.values())
    left = [clusters[name] for name in sorted(clusters)]
    stages: list[Stage] = []
    for step in steps:
        taken = [cluster for cluster in left if is_taken_by(step, cluster)]
        if taken:
            names = {cluster.name for cluster in taken}
            left = [cluster for cluster in left if cluster.name not in names]
        if taken or not is_default:
            stages.append(Stage(step, tuple(cluster.name for cluster in taken)))
    return Staged(tuple(stages), tuple(cluster.name for cluster in left))


def limit_of(amount: Amount | None, total: int) -> int | None:
    """How many may be under way at once, out of `total`; a share is rounded up, so that it never forbids all."""
    if amount is None:
        return None
    return amount.number or max(1, math.ceil(amount.share * total - 1e-9))


def unavailable_limit_of(amount: Amount | None, total: int) -> int | None:
    """How many may be not available at once, out of `total`; a share is rounded down, to one at least.

    So does a Deployment with its own maxUnavailable: what protects is not stretched, and never forbids all.
    """
    if amount is None:
        return None
    return amount.number or max(1, math.floor(amount.share * total + 1e-9))


def steps_without_clusters(policy: RolloutPolicy, clusters: Iterable[Cluster]) -> tuple[Step, ...]:
    """Steps that somebody wrote and that match none of these clusters, those before them aside."""
    known = list(clusters)
    return tuple(
        step
        for step in policy.steps or ()
        if step.takes_clusters and not step.rest and not any(is_taken_by(step, cluster) for cluster in known)
    )
