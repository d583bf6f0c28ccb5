"""What is judged across clusters: overlays that leave many at once, and deletions that reach many (R8, R9)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.rollout_policy import Step
from fleet.core.steps import Stage, limit_of, unavailable_limit_of
from fleet.values import dataclass, field

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


@dataclass(slots=True)
class Places:
    """The places that the limits of a step leave, for all overlays of a change together.

    totals: clusters that the step of a name takes, over all of them; taken: by those that go first, by its name.
    """

    totals: Mapping[str, int]
    taken: dict[str, set[ClusterName]] = field(default_factory=dict[str, set[ClusterName]])

    def take(self, stage: Stage, ready: Sequence[ClusterName]) -> tuple[ClusterName, ...]:
        """Those that go together first; a cluster that is under way already takes no other of all overlays' places.

        An overlay is bound by the share of its own clusters, too.
        """
        step = stage.step
        own, of_all = (
            min((limit for limit in _limits_of(step, total) if limit is not None), default=None)
            for total in (len(stage.clusters), self.totals.get(stage.name, len(stage.clusters)))
        )
        if own is None or of_all is None:
            return tuple(ready)
        taken, first = self.taken.setdefault(stage.name, set()), list[ClusterName]()
        for name in ready:
            if len(first) < own and (name in taken or len(taken) < of_all):
                first.append(name)
                taken.add(name)
        return tuple(first)


def _limits_of(step: Step, total: int) -> tuple[int | None, int | None]:
    return limit_of(step.max_parallel, total), unavailable_limit_of(step.max_unavailable, total)


def permits_by_steps(
    candidates: Mapping[UnitName, frozenset[ObjectRef]],
    stages: Sequence[Stage],
    *,
    changed: Collection[ClusterName],
    limit_clusters: int,
    alone: Mapping[UnitName, frozenset[ObjectRef]] | None = None,
    places: Places | None = None,
) -> Mapping[UnitName, frozenset[ObjectRef]]:
    """What a rollout in which nothing goes wrong permits of one overlay's deletions, step after step, within an hour.

    changed: all clusters of the overlay that the rollout takes; stages: none where it goes to all at once; alone: what
    a unit's own guards ask about, whatever is permitted; places: shared with the overlays that were asked about before,
    in the order of their names. What one batch of a step loses counts for the next one of it,
    and proves nothing. A step goes past those that ask while another of its clusters does not: what they ask about is
    then held in the steps after it. Where all of it ask, what comes behind it comes once a person approved that, and
    then it is proven.
    """
    walk = _Walk({unit.cluster: unit for unit in candidates}, candidates, limit_clusters, alone or {})
    left, places = {unit.cluster for unit in candidates}, places or Places({})
    for stage in stages:
        is_there = False  # one of the step's clusters, with all that it was to do
        for batches in _batches_of(stage, changed, places):
            lost = walk.proven - walk.asked
            took = [walk.take(batch, lost) for batch in batches if batch]
            left.difference_update(*batches)
            is_there = is_there or any(took)
            if took and not is_there:
                walk.approve()
                is_there = True
    walk.take(tuple(left), frozenset())  # to what goes by no step nothing is proven
    return walk.permits


@dataclass(slots=True)
class _Walk:
    """How far `permits_by_steps` is. asked: what is held so far, and nobody approved."""

    units: Mapping[ClusterName, UnitName]
    candidates: Mapping[UnitName, frozenset[ObjectRef]]
    limit_clusters: int
    alone: Mapping[UnitName, frozenset[ObjectRef]]
    permits: dict[UnitName, frozenset[ObjectRef]] = field(default_factory=dict[UnitName, "frozenset[ObjectRef]"])
    proven: frozenset[ObjectRef] = frozenset()
    barred: frozenset[ObjectRef] = frozenset()
    asked: frozenset[ObjectRef] = frozenset()
    recent: dict[ObjectRef, frozenset[ClusterName]] = field(default_factory=dict[ObjectRef, "frozenset[ClusterName]"])

    def take(self, batch: Collection[ClusterName], lost: frozenset[ObjectRef]) -> bool:
        """Judge clusters that go together; whether one of them asks nobody. lost: what was proven before."""
        mine = {self.units[name]: self.candidates[self.units[name]] for name in batch if name in self.units}
        unproven = {unit: refs - lost for unit, refs in mine.items()}
        verdict = judge_across(unproven, limit_clusters=self.limit_clusters, recent=self.recent, barred=self.barred)
        self.barred |= verdict.held
        asking: set[ClusterName] = set()
        for unit, refs in verdict.permits.items():
            self.permits[unit] = refs | (mine[unit] & lost)
            self.proven |= self.permits[unit]
            self.recent |= {ref: self.recent.get(ref, frozenset()) | {unit.cluster} for ref in refs}
            asks = self.alone.get(unit, frozenset()) | (mine[unit] - self.permits[unit])
            self.asked |= asks
            asking.update([unit.cluster] if asks else [])
        return not asking.issuperset(batch)

    def approve(self) -> None:
        """A person says yes to all that is asked so far: it goes, and proves."""
        self.proven |= self.asked
        self.barred = self.asked = frozenset()


def _batches_of(
    stage: Stage, changed: Collection[ClusterName], places: Places
) -> Iterator[list[tuple[ClusterName, ...]]]:
    """The changed clusters of a step, as they go together; a first one alone proves for the others.

    Under a limit the first go together, and then one as soon as another is done.
    """
    taken = tuple(name for name in stage.clusters if name in changed)
    if stage.step.one_first:
        yield [taken[:1]]
    rest = taken[1:] if stage.step.one_first else taken
    first = places.take(stage, rest)
    yield [first, *((name,) for name in rest if name not in first)]
