"""Whether the steps of rollouts fit the clusters: each cluster is taken by a step, each step takes some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fleet.core.fleet import Cluster, Environment, Overlay
from fleet.core.ids import ClusterName
from fleet.core.problems import Problem, Severity
from fleet.core.rollout_policy import RolloutPolicy, Step
from fleet.core.steps import stages_of, steps_without_clusters

_WAITS = "new results of the overlay wait at this step; its clusters stay on what they hold"


def unclaimed(
    overlay: Overlay, clusters: Mapping[ClusterName, Cluster], environments: Sequence[Environment]
) -> tuple[tuple[ClusterName, ...], Problem | None]:
    """The clusters of an overlay that no step takes, and what is wrong with them (`what` follows after the name)."""
    steps = overlay.rollout.steps or ()
    if not steps or any(step.rest for step in steps):
        return (), None
    left = stages_of(overlay.rollout, clusters, environments).left_over
    if not left:
        return (), None
    problem = Problem(
        Severity.ERROR,
        "StepInvalid",
        "is taken by no step of its rollout",
        steps[-1].origin,
        why=f"none of the steps {', '.join(step.name for step in steps)} matches",
        effect="these units stay as they are; nothing is deleted",
        next_step="add a last step {name: rest, rest: true}",
    )
    return left, problem


def empty_steps(policy: RolloutPolicy, clusters: Sequence[Cluster], of: str) -> tuple[Problem, ...]:
    """Steps that match nothing among these clusters. of: `overlay web`, or `the fleet`."""
    return tuple(_empty(step, of, clusters) for step in steps_without_clusters(policy, clusters))


def unread_steps(policies: Iterable[RolloutPolicy]) -> Iterator[Problem]:
    """Steps without clusters after the last one that takes some: with that one the rollout is over."""
    for policy in policies:
        steps = policy.steps or ()
        last = max((n for n, step in enumerate(steps) if step.takes_clusters), default=-1)
        for step in steps[last + 1 :]:
            yield Problem(
                Severity.WARNING,
                "StepInvalid",
                f"step {step.name} is never asked about",
                step.origin,
                why="it takes no clusters, and no step after it does",
                effect="the rollout is over without its approvals and gates",
                next_step="put it before a step that takes clusters, or give its gates to the last one that does",
            )


def _empty(step: Step, of: str, clusters: Sequence[Cluster]) -> Problem:
    keys = tuple(step.clusters.match_labels) if step.clusters is not None else ()
    values = sorted({cluster.labels[key] for key in keys for cluster in clusters if key in cluster.labels})
    known = f"label values there: {', '.join(values[:10])}" if values else "no such cluster is there"
    return Problem(
        Severity.ERROR,
        "StepInvalid",
        f"step {step.name} matches no cluster of {of}",
        step.origin,
        why=known,
        effect=_WAITS,
        next_step="correct what it selects, or take the step out",
    )
