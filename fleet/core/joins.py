"""Rollouts that only brought an overlay to clusters which held nothing: they go with the one that is taken back. Pure.

Nothing can go back where they went. Else such a cluster would keep what is barred without a word, and one that waits
for its step would get it still, or stand for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.core.ids import OverlayName, UnitName
from fleet.core.passage import Passage, Passages, Row, Stop
from fleet.core.quarantine import with_barred
from fleet.core.results import Rendered
from fleet.core.takeover import ABORTED, TakenBack, ended_with
from fleet.core.turns import with_row


def joining(kept: Passages, overlay: OverlayName, held: Mapping[UnitName, Rendered]) -> Passage | None:
    """The rollout under way that brings an overlay for the first time, and did so somewhere."""
    passage = with_row(kept, overlay)
    if passage is None or not _is_join(row := passage.rows[overlay], overlay, held):
        return None
    return passage if any(UnitName(overlay, name) in held for name in row.targets) else None


def with_joins(
    before: Passages,
    done: TakenBack,
    passage: Passage,
    overlay: OverlayName,
    held: Mapping[UnitName, Rendered],
    stop: Stop,
) -> TakenBack:
    """A rollback with all such rollouts since: what they were to bring is barred with it, and they end.

    before: what was kept before it. Named are all clusters that hold something of it, and have nothing to go back to.
    """
    kept = done.kept
    for one in done.kept.all:
        row = one.rows.get(overlay)
        if row is None or one.commit == passage.commit or one.started_at < passage.started_at:
            continue
        if row.cut or not _is_join(row, overlay, held):
            continue
        kept = with_barred(kept, replace(passage, rows={overlay: Row({})}), stop, {overlay: [row.targets]})
        if not row.done:
            rows = {**one.rows, overlay: replace(row, done=True, cut=True)}
            kept = ended_with(kept, replace(one, rows=rows), stop, stop, ABORTED, {overlay: []})
    barred = kept.quarantine.get(overlay, {}).keys() - before.quarantine.get(overlay, {}).keys()
    had = passage.rows[overlay].before
    more = {
        unit
        for unit, has in held.items()
        if unit.overlay == overlay and has.bundle in barred and unit not in done.back and unit.cluster not in had
    }
    return replace(done, kept=kept, stays=tuple(sorted({*done.stays, *more})))


def _is_join(row: Row, overlay: OverlayName, held: Mapping[UnitName, Rendered]) -> bool:
    """Whether each cluster of it held nothing before."""
    there = ((held.get(UnitName(overlay, name)), digest) for name, digest in row.targets.items())
    return not row.can_go_back and all(has is None or has.bundle == digest for has, digest in there)
