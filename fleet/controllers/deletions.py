"""What a release would delete, judged across clusters before any worker may carry it out (R9).

The shell around core/release.py's `judge_across`: it gathers what each unit owns, as far as the hub knows, and
remembers for an hour what it permitted, so that many small commits do not pass where one large one is held.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.objects import Bundle
from fleet.core.proven import Guidebook, Guides, proven_by
from fleet.core.release import EMPTY_BUNDLE, Rendered, Result, judge_across
from fleet.core.status import UnitReport
from fleet.errors import StateDamaged

HOUR_SECONDS = 3600.0
REFS_KEPT = 20_000  # bundles whose references stay in memory


class Deletions:
    """One instance per hub; used by the releasing task alone."""

    def __init__(self, bundle_of: Callable[[Digest], Awaitable[Bundle]], wall: Callable[[], float]) -> None:
        self._bundle_of, self._wall = bundle_of, wall
        self._refs: OrderedDict[Digest, frozenset[ObjectRef]] = OrderedDict()
        self._permitted: dict[tuple[OverlayName, ObjectRef], dict[ClusterName, float]] = {}

    async def permits_of(
        self,
        fresh: Mapping[UnitName, Result],
        *,
        held: Mapping[UnitName, Rendered],
        reports: Mapping[UnitName, UnitReport],
        results: Mapping[UnitName, Result],
        limit_clusters: int,
        guides: Guidebook,
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What each unit of `fresh` may delete by itself.

        held: what each was told to hold last; results: what all units hold at the newest commit, for moves (R16);
        guides: who went before each in its rollout. What those lost is proven, and counts on no number of clusters.
        """
        candidates: dict[OverlayName, dict[UnitName, frozenset[ObjectRef]]] = {}
        proven: dict[UnitName, frozenset[ObjectRef]] = {}
        for name, result in fresh.items():
            if not isinstance(result, Rendered):
                continue
            gone = await self._owned(name, held, reports) - await self._refs_of(result.bundle)
            moved = await self._moved(name, gone, results, fresh) if gone else frozenset[ObjectRef]()
            lost = await self._lost(name.overlay, guides.of(name, result.bundle), held, reports) if gone else gone
            proven[name] = (gone - moved) & lost
            candidates.setdefault(name.overlay, {})[name] = gone - moved - lost
        permits: dict[UnitName, frozenset[ObjectRef]] = {}
        for overlay, per_unit in candidates.items():
            verdict = judge_across(per_unit, limit_clusters=limit_clusters, recent=self._recent(overlay))
            permits.update({name: refs | proven[name] for name, refs in verdict.permits.items()})
            self._note(overlay, verdict.permits)
        return permits

    async def _lost(
        self,
        overlay: OverlayName,
        guides: Guides,
        held: Mapping[UnitName, Rendered],
        reports: Mapping[UnitName, UnitReport],
    ) -> frozenset[ObjectRef]:
        """What the units of an overlay that went before lost by it, as their workers reported it."""
        lost = frozenset[ObjectRef]()
        for cluster, before in guides.items():
            name = UnitName(overlay, cluster)
            now, report = held.get(name), reports.get(name)
            if now is None or report is None or report.bundle != now.bundle:
                continue
            left = frozenset(status.ref for status in report.objects)
            lost |= proven_by(await self._refs_of(before.bundle), await self._refs_of(now.bundle), left)
        return lost

    async def _owned(
        self, name: UnitName, held: Mapping[UnitName, Rendered], reports: Mapping[UnitName, UnitReport]
    ) -> frozenset[ObjectRef]:
        """What a unit holds as far as the hub knows: what it was told to hold, and what its worker reported."""
        refs = set(await self._refs_of(held[name].bundle)) if name in held else set[ObjectRef]()
        if name in reports:
            refs.update(status.ref for status in reports[name].objects)
        return frozenset(refs)

    async def _moved(
        self,
        name: UnitName,
        gone: frozenset[ObjectRef],
        results: Mapping[UnitName, Result],
        fresh: Mapping[UnitName, Result],
    ) -> frozenset[ObjectRef]:
        """Those of `gone` that another unit of the same cluster holds at this commit: moves, no deletions (R16)."""
        moved: set[ObjectRef] = set()
        for other, result in {**results, **fresh}.items():
            if other.cluster == name.cluster and other != name and isinstance(result, Rendered):
                moved |= gone & await self._refs_of(result.bundle)
        return frozenset(moved)

    async def _refs_of(self, digest: Digest) -> frozenset[ObjectRef]:
        if digest == EMPTY_BUNDLE.digest:
            return frozenset()
        refs = self._refs.get(digest)
        if refs is None:
            try:
                bundle = await self._bundle_of(digest)
            except StateDamaged:  # a bundle of an earlier data directory: the worker's report tells what it held
                return frozenset()
            refs = self._refs[digest] = frozenset(item.ref for item in bundle.objects)
            if len(self._refs) > REFS_KEPT:
                self._refs.popitem(last=False)
        else:
            self._refs.move_to_end(digest)
        return refs

    def _recent(self, overlay: OverlayName) -> Mapping[ObjectRef, frozenset[ClusterName]]:
        """What was permitted within the last hour, by object."""
        old = self._wall() - HOUR_SECONDS
        for key, clusters in list(self._permitted.items()):
            for cluster in [cluster for cluster, at in clusters.items() if at < old]:
                del clusters[cluster]
            if not clusters:
                del self._permitted[key]
        return {ref: frozenset(clusters) for (of, ref), clusters in self._permitted.items() if of == overlay}

    def _note(self, overlay: OverlayName, permits: Mapping[UnitName, frozenset[ObjectRef]]) -> None:
        now = self._wall()
        for name, refs in permits.items():
            for ref in refs:
                self._permitted.setdefault((overlay, ref), {}).setdefault(name.cluster, now)
