"""What is judged across clusters: overlays that leave many at once, and deletions that reach many (R8, R9)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.steps import Stage, limit_of, unavailable_limit_of
from fleet.values import dataclass

FALL_SHARE = 0.25  # R8: this share of an overlay's clusters, and
FALL_FROM = 4  # at least so many, leaving at once is held


def judge_fall(left: Iterable[UnitName], had_units: Iterable[UnitName]) -> Mapping[OverlayName, str]:
    """Overlays that lose too many clusters at once, with the reason in words; their units are kept (R8).

    had_units: all units before, `left` included. Units whose leaving is held already belong into both, so that an
    overlay cannot trickle away in steps.
    """
    had: dict[OverlayName, int] = {}
    for name in had_units:
        had[name.overlay] = had.get(name.overlay, 0) + 1
    lost: dict[OverlayName, int] = {}
    for name in left:
        lost[name.overlay] = lost.get(name.overlay, 0) + 1
    return {
        overlay: f"{count} of {had[overlay]} clusters would leave overlay {overlay} at once"
        for overlay, count in lost.items()
        if count >= FALL_FROM and count > FALL_SHARE * had[overlay]
    }


@dataclass(frozen=True, slots=True)
class AcrossVerdict:
    """Deletions judged across clusters: what each unit may do by itself, and what waits for a person."""

    permits: Mapping[UnitName, frozenset[ObjectRef]]
    held: frozenset[ObjectRef]


def judge_across(
    candidates: Mapping[UnitName, frozenset[ObjectRef]],
    *,
    limit_clusters: int,
    recent: Mapping[ObjectRef, frozenset[ClusterName]] | None = None,
    barred: Collection[ObjectRef] = frozenset(),
) -> AcrossVerdict:
    """Judge one overlay's deletions: the same one on more than `limit_clusters` clusters is held on all (R9).

    candidates: without what an earlier step of the rollout has proven; recent: clusters on which the same object was
    permitted to go within the last hour; they count. barred: what only a person's word lets go.
    """
    clusters: dict[ObjectRef, set[ClusterName]] = {}
    for unit, refs in candidates.items():
        for ref in refs:
            clusters.setdefault(ref, set((recent or {}).get(ref, ()))).add(unit.cluster)
    held = frozenset(ref for ref, found in clusters.items() if len(found) > limit_clusters or ref in barred)
    return AcrossVerdict({unit: refs - held for unit, refs in candidates.items()}, held)


def permits_by_steps(
    candidates: Mapping[UnitName, frozenset[ObjectRef]],
    stages: Sequence[Stage],
    *,
    changed: Collection[ClusterName],
    limit_clusters: int,
) -> Mapping[UnitName, frozenset[ObjectRef]]:
    """What a rollout in which nothing goes wrong permits of one overlay's deletions, step after step, within an hour.

    changed: all clusters of the overlay that the rollout takes; stages: none where it goes to all at once. What one
    batch of a step loses counts for the next one of it, and proves nothing; what is held in one is in those after it.
    """
    steps = [batches for stage in stages for batches in _batches_of(stage, changed)]
    rest = {unit.cluster for unit in candidates}.difference(*(batch for batches in steps for batch in batches))
    permits: dict[UnitName, frozenset[ObjectRef]] = {}
    proven, recent = frozenset[ObjectRef](), dict[ObjectRef, frozenset[ClusterName]]()
    for batches in (*steps, [tuple(rest)]):
        lost = proven if batches in steps else frozenset[ObjectRef]()  # to what goes by no step nothing is proven
        barred = frozenset[ObjectRef]()
        for batch in batches:
            asked = {unit: refs for unit, refs in candidates.items() if unit.cluster in batch}
            unproven = {unit: refs - lost for unit, refs in asked.items()}
            verdict = judge_across(unproven, limit_clusters=limit_clusters, recent=recent, barred=barred)
            barred |= verdict.held
            for unit, refs in verdict.permits.items():
                permits[unit] = refs | (asked[unit] & lost)
                proven |= permits[unit]
                recent |= {ref: recent.get(ref, frozenset()) | {unit.cluster} for ref in refs}
    return permits


def _batches_of(stage: Stage, changed: Collection[ClusterName]) -> Iterator[list[tuple[ClusterName, ...]]]:
    """The changed clusters of a step, as they go together; a first one alone proves for the others.

    Under a limit the first go together, and then one as soon as another is done.
    """
    step, total = stage.step, len(stage.clusters)
    taken = tuple(name for name in stage.clusters if name in changed)
    if step.one_first:
        yield [taken[:1]]
    rest = taken[1:] if step.one_first else taken
    limits = limit_of(step.max_parallel, total), unavailable_limit_of(step.max_unavailable, total)
    most = min(limit or len(rest) for limit in limits)
    yield [rest[:most], *((name,) for name in rest[most:])]
