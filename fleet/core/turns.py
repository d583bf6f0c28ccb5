"""Which rollout of an overlay is the latest, and what a commit did to it in its turns: for rollbacks. Pure.

A commit comes to an overlay again once it was over there: where a cluster joins, it is built otherwise, or a person
lets it in after an abort. Its earlier turns are kept as one row besides, and so is the latest row of an overlay whose
passage ended long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.passage import Last, Passage, Passages, Row

LAST_KEPT = 2_000  # overlays with such a row


def latest_of(kept: Passages, overlay: OverlayName) -> Passage | None:
    """The latest rollout that changed something of an overlay: what a rollback takes back, if it did not already."""
    found = next((one for one in reversed(kept.all) if overlay in one.rows and one.rows[overlay].can_go_back), None)
    last = kept.last.get(overlay)
    if last is None or (found is not None and found.commit != last.commit and _is_newer(found, overlay, last)):
        return found
    known = next((one for one in kept.all if one.commit == last.commit), None)
    known = known or Passage(last.commit, last.started_at, overlays=(overlay,), outcome="done")
    return replace(known, rows={**known.rows, overlay: _joined(last.row, known.rows.get(overlay))})


def is_led(overlay: OverlayName, latest: Passage | None, fleet: Fleet) -> bool:
    """Whether an overlay is led by this commit: it says it, or hides what becomes of a cluster that its rollout was on.

    One that left on purpose has nothing to go back to, and what it held must not be barred where it comes again.
    latest: see `latest_of`.
    """
    row = latest.rows[overlay] if latest is not None else Row({})
    return overlay in fleet.overlays or any(
        fleet.unknown.covers(UnitName(overlay, name)) is not None for name in {*row.targets, *row.before}
    )


def _is_newer(found: Passage, overlay: OverlayName, last: Last) -> bool:
    """Whether this rollout is newer than that row. One under way is, whatever the wall clock said when they began."""
    return is_under_way(found, overlay) or found.started_at >= last.started_at


def rows_of(kept: Passages, passage: Passage) -> Mapping[OverlayName, Row]:
    """The rows of a passage, with the latest ones that are kept besides it."""
    last = {overlay: one.row for overlay, one in kept.last.items() if one.commit == passage.commit}
    return {**last, **passage.rows}


def every_row(kept: Passages, overlay: OverlayName) -> list[Row]:
    """All rows that are kept of an overlay."""
    last = kept.last.get(overlay)
    rows = [one.rows[overlay] for one in kept.all if overlay in one.rows]
    return [last.row, *rows] if last is not None else rows


def is_changed_since(kept: Passages, passage: Passage, overlay: OverlayName) -> bool:
    """Whether a newer rollout than this one has the overlay by now."""
    if (under_way := with_row(kept, overlay)) is not None and under_way.commit == passage.commit:
        return False  # it is what changes it now
    latest = latest_of(kept, overlay)
    return latest is not None and latest.commit != passage.commit and latest.started_at >= passage.started_at


def with_row(kept: Passages, overlay: OverlayName) -> Passage | None:
    """The passage that an overlay is under way with."""
    return next((passage for passage in kept.all if is_under_way(passage, overlay)), None)


def is_stopped(kept: Passages, overlay: OverlayName) -> bool:
    """Whether what leads an overlay is halted or paused: then nothing new goes to it, whatever its policy became."""
    passage = with_row(kept, overlay)
    return passage is not None and bool(passage.stopped)


def is_under_way(passage: Passage, overlay: OverlayName) -> bool:
    """Whether this rollout leads the overlay now."""
    return not passage.outcome and overlay in passage.rows and not passage.rows[overlay].done


def earlier_turn(kept: Passages, passage: Passage, overlay: OverlayName) -> Row | None:
    """The first turn of a commit, where this row goes back with it as a whole."""
    last, goes = kept.last.get(overlay), passage.rows[overlay].before
    if last is None or last.commit != passage.commit or last.row.back:
        return None
    return last.row if all(goes.get(name) == held for name, held in last.row.before.items()) else None


def last_of(last: Mapping[OverlayName, Last], old: Iterable[Passage]) -> Mapping[OverlayName, Last]:
    """The latest rows that changed something, with those of passages that lose theirs now."""
    found: dict[OverlayName, Last] = {}
    for passage in old:
        for overlay, row in passage.rows.items():
            known = found.get(overlay) or last.get(overlay)
            is_turn = known is not None and known.commit == passage.commit
            is_latest = known is None or known.started_at <= passage.started_at
            if is_turn or (row.can_go_back and is_latest):
                whole = _joined(known.row, row) if known is not None and is_turn else row
                lean = Row(whole.targets, before=whole.before, done=True, back=whole.back, cut=whole.cut)
                if whole.cut:  # what it left on its way goes on
                    lean = replace(lean, flying=whole.flying, overtaken=whole.overtaken)
                found[overlay] = Last(passage.commit, passage.started_at, lean)
    if not found:
        return last
    every = sorted({**last, **found}.items(), key=lambda item: item[1].started_at)
    return dict(every[-LAST_KEPT:])


def with_turn(
    kept: Passages, passage: Passage, overlay: OverlayName, names: Iterable[ClusterName] | None = None
) -> Passages:
    """The same, where an overlay leaves a rollout that can go back still. names: what is kept of it; None for all."""
    row = passage.rows[overlay]
    if names is not None:
        only = set(names)
        targets = {name: digest for name, digest in row.targets.items() if name in only}
        row = replace(row, targets=targets, before={name: held for name, held in row.before.items() if name in only})
    if not row.can_go_back:
        return kept
    return replace(kept, last=last_of(kept.last, [replace(passage, rows={overlay: row})]))


def without_who_came_anew(kept: Passages, overlay: OverlayName, names: Iterable[ClusterName]) -> Passages:
    """The same where these clusters hold nothing: one that left and comes back has nothing to go back to."""
    if (last := kept.last.get(overlay)) is None or not (anew := last.row.before.keys() & set(names)):
        return kept
    before = {name: held for name, held in last.row.before.items() if name not in anew}
    return replace(kept, last={**kept.last, overlay: replace(last, row=replace(last.row, before=before))})


def _joined(earlier: Row, later: Row | None) -> Row:
    """What a commit did to an overlay in two turns, as when a cluster came once it was done: both can go back.

    What a cluster held before the first turn is what it goes back to. Of a turn that went back already nothing is left.
    """
    if later is None or earlier.back:
        return later if later is not None and later.can_go_back else earlier
    new = {  # what a cluster got in the first turn is nothing that it held before
        name: held
        for name, held in later.before.items()
        if name in earlier.before or held.bundle != earlier.targets.get(name)
    }
    targets, before = {**earlier.targets, **later.targets}, {**new, **earlier.before}
    return replace(later, targets=targets, before=before, back=False)
