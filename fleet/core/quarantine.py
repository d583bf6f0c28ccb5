"""What was taken back is also written to the clusters, so that a hub that lost its data finds it there again. Pure.

Each unit's parent object carries the newest results that were taken back on it. A hub whose state was lost reads them
together with the record, while nothing is written yet (R24), and bars them as before. Digests of results that hold a
Secret are of no use to it if the installation's key was lost as well: beside them stands what those are made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Quarantine, Quarantined, Stop
from fleet.core.results import Rendered, Result
from fleet.core.status import UnitReport, asks_recovery

TOLD = 10  # of one unit: its parent object has 256 KiB for all annotations, and each is 64 characters

KEPT = 20_000  # of one overlay

MOST_SAID = 100  # found of one unit: as many as one reading of its parent object gives

MOST_FOUND = 1_000  # of one cluster, for units that have no result: parent objects there may name any overlay


def barred_by(quarantine: Quarantine, unit: UnitName, names: Iterable[str]) -> Quarantined | None:
    """Why a result, by any of its names, does not come to a unit: it was taken back, in this overlay.

    What only parent objects say is so on their own clusters. An overlay that is renamed is another one: barring its
    results too would keep back what a revert of that brings, and its clusters' objects would belong to neither.
    """
    entries = quarantine.get(unit.overlay, {})
    found = (entries[name] for name in names if name in entries)
    return next((entry for entry in found if entry.bars(unit.cluster)), None)


def with_barred(
    kept: Passages, passage: Passage, stop: Stop, barred: Mapping[OverlayName, Sequence[Mapping[ClusterName, str]]]
) -> Passages:
    """Bar what overlays of a passage were to hold. barred: their results, of each build of the commit."""
    quarantine = dict(kept.quarantine)
    for overlay, results in barred.items():
        entries, clusters = dict(quarantine.get(overlay, {})), dict[str, set[ClusterName]]()
        before = passage.rows[overlay].before
        for name, digest in (result for targets in results for result in targets.items()):
            if name not in before or before[name].bundle != digest:
                clusters.setdefault(digest, set()).add(name)
        for digest, names in clusters.items():
            known = entries.pop(digest, None)  # the newest stands last
            others = known.clusters if known is not None else frozenset[ClusterName]()
            entries[digest] = Quarantined(passage.commit, stop, others | names)
        quarantine[overlay] = newest_of(entries)
    return replace(kept, quarantine=quarantine)


def readmitted(kept: Passages, commit: Revision, overlay: str = "") -> Passages:
    """A person lets results that were rolled back or aborted with this commit begin again: of one overlay, or all."""
    quarantine = {
        name: {digest: entry for digest, entry in entries.items() if entry.commit != commit}
        if overlay in ("", name)
        else entries
        for name, entries in kept.quarantine.items()
    }
    every = tuple(replace(one, shut=False) if one.commit == commit else one for one in kept.all)
    return replace(kept, all=every, quarantine={name: entries for name, entries in quarantine.items() if entries})


def overlays_barred(kept: Passages, commit: Revision) -> list[OverlayName]:
    """Of which overlays something was taken back or aborted with a commit, and is still barred."""
    return sorted(
        overlay
        for overlay, entries in kept.quarantine.items()
        if any(entry.commit == commit for entry in entries.values())
    )


def told_of(quarantine: Quarantine) -> Mapping[UnitName, tuple[Digest, ...]]:
    """What each unit's parent shall carry: its newest, sorted."""
    found: dict[UnitName, list[Digest]] = {}
    for overlay, entries in quarantine.items():
        for digest, entry in entries.items():
            for cluster in entry.clusters:
                found.setdefault(UnitName(overlay, cluster), []).append(Digest(digest))
    return {unit: tuple(sorted(digests[-TOLD:])) for unit, digests in found.items()}


def with_found(
    kept: Passages, reports: Collection[UnitReport], results: Mapping[UnitName, Result], wall: float
) -> Passages:
    """Bar what parents say was taken back and this hub does not know; only units that wait for a recovery tell it.

    Each bars it on its own cluster: whoever administers that writes there what he likes, and speaks for no other. What
    the hub took back stands on all clusters that were to have it, but where they were not reached: so it is barred too
    where the hub does not know either what was done, and is asked to believe what it finds.

    A result with a Secret is barred by what it is made from too, and what is barred by that alone, as one whose key was
    lost is, by its digest as it is now: all that asks whether something is barred goes by that.
    """
    quarantine, others = dict(kept.quarantine), Counter[ClusterName]()
    if any(report.quarantined for report in reports):
        others = _counted(kept.quarantine, results)
    for report in reports:
        if report.quarantined:
            entries = _with_said(quarantine.get(report.unit.overlay, {}), report, results, others, wall)
            if entries:
                quarantine[report.unit.overlay] = entries
    concerned = [
        (unit, one)
        for unit, one in (results.items() if quarantine else ())
        if unit.overlay in quarantine and isinstance(one, Rendered)
    ]
    asking = {report.unit for report in reports if asks_recovery(report)} if concerned else set[UnitName]()
    two_names = [(unit, one) for unit, one in concerned if one.inputs]
    unsure = [(unit, one) for unit, one in concerned if unit in asking]
    for _ in range(2):  # what one cluster's result is barred by is a name of another one's
        for unit, result in unsure:
            quarantine[unit.overlay] = _where_it_is_not_known(quarantine[unit.overlay], result, unit.cluster)
        for unit, result in two_names:
            quarantine[unit.overlay] = _by_both_names(quarantine[unit.overlay], result, unit.cluster)
    return kept if quarantine == kept.quarantine else replace(kept, quarantine=quarantine)


def with_known(kept: Passages, results: Mapping[UnitName, Result]) -> Passages:
    """Bar what comes to units that were confirmed before it was known, where another cluster's parent bars it.

    results: as they are known now; a unit of which that is so is like all others from then on.
    """
    found = [(unit, one) for unit in kept.unsure if isinstance(one := results.get(unit), Rendered)]
    if not found:
        return kept
    quarantine = dict(kept.quarantine)
    for unit, result in found:
        if unit.overlay in quarantine:
            entries = _where_it_is_not_known(quarantine[unit.overlay], result, unit.cluster)
            quarantine[unit.overlay] = _by_both_names(entries, result, unit.cluster) if result.inputs else entries
    return replace(kept, quarantine=quarantine, unsure=kept.unsure.difference(unit for unit, _ in found))


def _with_said(
    before: Mapping[str, Quarantined],
    report: UnitReport,
    results: Mapping[UnitName, Result],
    others: Counter[ClusterName],
    wall: float,
) -> Mapping[str, Quarantined]:
    """The entries of an overlay with what one parent says. others: how much was found of units without a result."""
    unit, entries, result = report.unit, dict(before), results.get(report.unit)
    names = result.names if isinstance(result, Rendered) else ()
    for digest in report.quarantined:
        known = entries.get(digest)
        if known is not None and unit.cluster in known.clusters:
            continue
        if unit not in results:  # of no overlay that is known there yet: it may come, and may be a made-up one
            if others[unit.cluster] >= MOST_FOUND:
                continue
            others[unit.cluster] += 1
        newest = result if isinstance(result, Rendered) and digest in names else None
        # Never the commit in force: that one is good. Until its own is known, a result is named by its digest.
        commit = newest.commit if newest is not None else Revision(digest)
        stop = Stop("its parent object on the cluster says so", "an earlier hub", wall)
        entry = known or Quarantined(commit, stop, found=True)
        entries[digest] = replace(entry, clusters=entry.clusters | {unit.cluster})
    if len(entries) == len(before):
        return entries
    return _without_old(entries, unit.cluster, {*report.quarantined, *names})


def _without_old(
    entries: Mapping[str, Quarantined], cluster: ClusterName, now: Collection[str]
) -> Mapping[str, Quarantined]:
    """The entries, with no more of what a parent object said at earlier readings than there is room for.

    Whoever administers its cluster may write others there before each. now: what it says, and its unit would get.
    """
    mine = [name for name, entry in entries.items() if entry.found and cluster in entry.clusters]
    gone = set([name for name in mine if name not in now][: max(0, len(mine) - MOST_SAID)])
    left = {
        name: replace(entry, clusters=entry.clusters - {cluster}) if name in gone else entry
        for name, entry in entries.items()
    }
    return {name: entry for name, entry in left.items() if name not in gone or entry.clusters}


def newest_of(entries: Mapping[str, Quarantined]) -> Mapping[str, Quarantined]:
    """An overlay's newest, as many as are kept. What only parent objects say goes before what the hub took back."""
    old = set(sorted(entries, key=lambda name: not entries[name].found)[: max(0, len(entries) - KEPT)])
    return {name: entry for name, entry in entries.items() if name not in old} if old else entries


def _counted(quarantine: Quarantine, results: Mapping[UnitName, Result]) -> Counter[ClusterName]:
    """How much was found of each cluster's units that have no result."""
    return Counter(
        cluster
        for overlay, entries in quarantine.items()
        for entry in entries.values()
        for cluster in (entry.clusters if entry.found else ())
        if UnitName(overlay, cluster) not in results
    )


def _where_it_is_not_known(
    entries: Mapping[str, Quarantined], result: Rendered, cluster: ClusterName
) -> Mapping[str, Quarantined]:
    """The entries, where what another cluster's parent bars is the newest result of one whose record was rebuilt."""
    there = {
        name: replace(entries[name], clusters=entries[name].clusters | {cluster})
        for name in result.names
        if name in entries and not entries[name].bars(cluster)
    }
    return {**entries, **there} if there else entries


def _by_both_names(
    entries: Mapping[str, Quarantined], result: Rendered, cluster: ClusterName
) -> Mapping[str, Quarantined]:
    """The entries, where a result that is barred under one of its names stands under the other too.

    Both are of one commit, so that a person lets in both or none.
    """
    named, made = entries.get(result.bundle), entries.get(result.inputs)
    if made is not None and made.bars(cluster):
        there = named or replace(made, clusters=frozenset[ClusterName]())
        named = replace(there, clusters=there.clusters | {cluster}, found=there.found and made.found)
    if named is None or cluster not in named.clusters:
        return entries
    others = made or replace(named, clusters=frozenset[ClusterName]())
    both = replace(named, clusters=others.clusters | {cluster}, found=named.found and others.found)
    return {**entries, result.bundle: named, result.inputs: both}


def with_other_inputs(kept: Passages, before: Mapping[UnitName, Result], now: Mapping[UnitName, Result]) -> Passages:
    """What is barred by what it was made from, where the same result is made from other files by now.

    A file in which variables are written may change without any change of the result.
    """
    quarantine = dict(kept.quarantine)
    for unit, result in now.items():
        old, entries = before.get(unit), quarantine.get(unit.overlay, {})
        if not isinstance(old, Rendered) or not isinstance(result, Rendered) or old.inputs == result.inputs:
            continue
        entry = entries.get(old.inputs)
        if entry is None or unit.cluster not in entry.clusters or not result.inputs:
            continue
        others = {name: one for name, one in entries.items() if name != old.inputs}
        if left := entry.clusters - {unit.cluster}:
            others[old.inputs] = replace(entry, clusters=left)
        there = others.get(result.inputs, replace(entry, clusters=frozenset[ClusterName]()))
        moved = replace(entry, clusters=there.clusters | {unit.cluster}, found=entry.found and there.found)
        quarantine[unit.overlay] = {**others, result.inputs: moved}
    return kept if quarantine == kept.quarantine else replace(kept, quarantine=quarantine)


def barred_again(before: Quarantine, after: Quarantine, reports: Iterable[UnitReport]) -> str:
    """A cluster whose parent object still bars what an order would let in again, where it lets in nothing else.

    Such a unit waits for a recovery: until a person confirms it nothing is written there, and the next look would bar
    the result there anew. "" where the order lets in anything on another cluster, or nothing at all.
    """
    told: dict[tuple[OverlayName, str], set[ClusterName]] = {}
    asking: dict[OverlayName, set[ClusterName]] = {}  # which bar it as long as one of those says it
    for report in reports:
        if asks_recovery(report):
            asking.setdefault(report.unit.overlay, set()).add(report.unit.cluster)
        for digest in report.quarantined:
            told.setdefault((report.unit.overlay, digest), set()).add(report.unit.cluster)
    where = ""
    for overlay, entries in before.items():
        for digest in entries.keys() - after.get(overlay, {}).keys():
            entry, still = entries[digest], told.get((overlay, digest), set[ClusterName]())
            if not still or not entry.found or entry.clusters - still - asking.get(overlay, set()):
                return ""
            where = min(still)
    return where
