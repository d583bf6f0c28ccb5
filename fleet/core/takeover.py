"""Which rollouts there are: new results make rows, a newer commit takes them over, people stop and move them. Pure.

A row belongs to the newest commit that changed one of its results. When a newer one does, the row goes over to it and
begins at its first step again; clusters that were not reached yet go straight to the newest. Within one commit a
result that comes late joins its row, and what people or failures stopped stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.core.fallbacks import before_of, earlier_of, goes_back_to, stood_of
from fleet.core.gating import asked_again
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.overtaken import left_by_aborted, overtaken
from fleet.core.passage import Passage, Passages, Row, Stop
from fleet.core.quarantine import barred_by, with_barred
from fleet.core.results import Rendered
from fleet.core.rollout_facts import RolloutUnit, UnitFact
from fleet.core.turns import (
    earlier_turn,
    every_row,
    is_changed_since,
    last_of,
    rows_of,
    with_row,
    with_turn,
    without_who_came_anew,
)
from fleet.values import dataclass

ABORTED, ROLLED_BACK = "aborted", "rolled back"
ENDED_KEPT = 50
ROWS_KEPT = 5  # of the latest passages that ended; of each overlay its latest row besides: a rollback needs it
NAMED = 5  # units in one line


def take_over(
    kept: Passages,
    overlay: OverlayName,
    wanted: Mapping[ClusterName, RolloutUnit],
    head: Revision,
    wall: float,
    *,
    is_apart: bool = False,
) -> Passages:
    """Bring the row of one overlay in line with its newest results.

    wanted: its units that go by steps and have a result; head: the commit in force; wall: for people; is_apart: what
    failed of that commit takes the overlay not back with it.
    """
    anew = [name for name, unit in wanted.items() if unit.held is None]
    kept = _mended(kept, overlay, wanted, head)
    return without_who_came_anew(_taken_over(kept, overlay, wanted, head, wall, is_apart), overlay, anew)


def _taken_over(
    kept: Passages,
    overlay: OverlayName,
    wanted: Mapping[ClusterName, RolloutUnit],
    head: Revision,
    wall: float,
    is_apart: bool,
) -> Passages:
    pending = {
        name
        for name, unit in wanted.items()
        if unit.held is None or unit.held.bundle != unit.result.bundle
        if barred_by(kept.quarantine, UnitName(overlay, name), (unit.result.bundle,)) is None
    }
    passage = with_row(kept, overlay)
    row = passage.rows[overlay] if passage is not None else None
    if passage is None or row is None:
        if not pending:
            return kept
        again = _unproven(kept, overlay, wanted, pending)
        before = {name: held for name, held in again.items() if held is not None}
        row = Row(_targets(wanted, pending | again.keys()), before=before)
        row = replace(row, overtaken=left_by_aborted(every_row(kept, overlay), _older(wanted)))
        return _begin(kept, overlay, row, wanted, head, wall, is_apart)
    others = {name for name in pending if name not in row.targets}
    differs = any(name in wanted and wanted[name].result.bundle != digest for name, digest in row.targets.items())
    # What was released and is the newest is judged further; what never moved, or was taken back, is no part of it.
    concerned = pending | {
        name
        for name, digest in row.targets.items()
        if name in wanted
        and (held := wanted[name].held) is not None
        and held.bundle == wanted[name].result.bundle
        and (held.bundle == digest or name in row.before or name in row.flying)
    }
    if passage.commit == head and differs:  # the same commit says something else now: from the first step again
        # Steps are asked about again: nobody agreed to this result.
        stood = stood_of(passage, row, wanted) & pending
        before = {name: held for name, held in row.before.items() if name not in stood}
        going = overtaken(row, wanted, _older(wanted))
        again = Row(_targets(wanted, concerned), before=before, early=passage.approvals, overtaken=going)
        again = replace(again, earlier=earlier_of(row, stood, wanted, pending))
        kept = with_turn(kept, passage, overlay, stood)
        return _put(kept, replace(passage, rows={**passage.rows, overlay: again}))
    if passage.commit != head and (differs or any(wanted[name].held is not None for name in others)):
        stood = stood_of(passage, row, wanted) & (pending | row.proven | (row.targets.keys() - wanted.keys()))
        before = {name: held for name, held in before_of(row, wanted, concerned).items() if name not in stood}
        moved = with_turn(kept, passage, overlay, stood)
        moved = _without_row(moved, passage, overlay, Stop(f"{head[:7]} took over", "hub", wall))
        targets, going = _targets(wanted, concerned - (stood - pending)), overtaken(row, wanted, _older(wanted))
        begun = Row(targets, before=before, overtaken=going, earlier=earlier_of(row, stood, wanted, pending))
        return _begin(moved, overlay, begun, wanted, head, wall, is_apart)
    if others:
        joined = replace(
            row, targets={**row.targets, **_targets(wanted, others)}, before=before_of(row, wanted, wanted)
        )
        return _put(kept, replace(passage, rows={**passage.rows, overlay: joined}))
    return kept


def _mended(
    kept: Passages, overlay: OverlayName, wanted: Mapping[ClusterName, RolloutUnit], head: Revision
) -> Passages:
    """The same where a newer commit changes what failed, went back, and halts the other overlays of its commit."""
    for passage in _halted_by(kept, overlay):
        targets = passage.rows[overlay].targets
        is_other = any(name in wanted and wanted[name].result.bundle != digest for name, digest in targets.items())
        if is_other and passage.commit != head:
            kept = _put(kept, replace(passage, halted=None))
    return kept


def _halted_by(kept: Passages, overlay: OverlayName) -> list[Passage]:
    return [one for one in kept.all if _halts_others(one) == overlay]


def _halts_others(passage: Passage) -> OverlayName | None:
    """What failed of a commit that is under way, and went back, so that its other overlays are halted."""
    name = passage.halted.overlay if passage.halted is not None else None
    row = passage.rows.get(name) if name is not None and not passage.outcome else None
    return name if row is not None and row.back else None


def _unproven(
    kept: Passages, overlay: OverlayName, wanted: Mapping[ClusterName, RolloutUnit], pending: Iterable[ClusterName]
) -> dict[ClusterName, Rendered | None]:
    """Clusters that hold the newest result already, and are a part of the row that begins with it all the same.

    What an earlier row brought there that ended before its time goes its way again, with soaks, gates and approvals;
    and so does what came with the same commit and is not Healthy now. With what each goes back to, None for nothing.
    """
    commits = {wanted[name].result.commit for name in pending}
    found: dict[ClusterName, Rendered | None] = {}
    for name, unit in wanted.items():
        if unit.held is None or unit.held.bundle != unit.result.bundle:
            continue
        is_early, before = _ended_early(kept, overlay, name, unit.held)
        if is_early or (not unit.is_well and unit.result.commit in commits):
            found[name] = before
    return found


def _ended_early(
    kept: Passages, overlay: OverlayName, cluster: ClusterName, held: Rendered
) -> tuple[bool, Rendered | None]:
    """Whether the latest row that had this result for a cluster was aborted, or taken back and left it there.

    With what that row found there.
    """
    last = kept.last.get(overlay)
    for passage in reversed(kept.all):
        row = passage.rows.get(overlay)
        for had in (row, last.row if last is not None and last.commit == passage.commit else None):
            if had is not None and had.targets.get(cluster) == held.bundle:
                return had.back or had.cut, had.before.get(cluster)
        if row is None and passage.commit == held.commit and overlay in passage.overlays:
            # Its rows are forgotten: an overlay that was done is not begun again for another one.
            return passage.outcome in (ABORTED, ROLLED_BACK), None
    if last is not None and last.row.targets.get(cluster) == held.bundle:
        return last.row.back or last.row.cut, last.row.before.get(cluster)
    return False, None


def drop_rows(kept: Passages, gone: Iterable[OverlayName], wall: float) -> Passages:
    """Overlays that go by steps no more, or are not there any more."""
    for overlay in gone:
        for halted in _halted_by(kept, overlay):
            kept = _put(kept, replace(halted, halted=None))
        passage = with_row(kept, overlay)
        if passage is not None:
            kept = with_turn(kept, passage, overlay)  # no older one is taken back in its place
            kept = _without_row(kept, passage, overlay, Stop(f"{overlay} left", "hub", wall))
    return kept


def open_rows(kept: Passages) -> frozenset[OverlayName]:
    """Overlays that are under way."""
    return frozenset(
        overlay for passage in kept.all if not passage.outcome for overlay, row in passage.rows.items() if not row.done
    )


def halting(kept: Passages) -> frozenset[OverlayName]:
    """Overlays that failed and went back, and halt the others of their commit still."""
    return frozenset(name for one in kept.all if (name := _halts_others(one)) is not None)


def settle(kept: Passages, passage: Passage, wall: float) -> Passages:
    """Put a passage back; one whose rows are all done is done."""
    if not passage.outcome and all(row.done for row in passage.rows.values()):
        passage = replace(passage, outcome="done", ended_at=wall, halted=None, paused=None)
    return _put(kept, passage)


# What people order


def with_release(
    kept: Passages, unit: UnitName, to: Rendered, held: Rendered | None, now: float, fact: UnitFact | None = None
) -> Passages:
    """A unit that a person lets go ahead of its step, in the row that it belongs to, with what it can go back to."""
    passage = with_row(kept, unit.overlay)
    row = passage.rows[unit.overlay] if passage is not None else None
    if passage is None or row is None or row.targets.get(unit.cluster) != to.bundle:
        return kept
    before = row.before
    if held is not None and unit.cluster not in before:
        before = {**before, unit.cluster: goes_back_to(row, unit.cluster, held, fact)}
    gone = replace(row, flying={**row.flying, unit.cluster: now}, before=before)
    return _put(kept, replace(passage, rows={**passage.rows, unit.overlay: gone}))


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What a rollback does: what is kept, what each unit shall hold again, and which have nothing to go back to.

    Those have what is taken back, as they held nothing before, or got it without steps: it is barred now, and stays.
    """

    kept: Passages
    back: Mapping[UnitName, Rendered]
    stays: tuple[UnitName, ...] = ()

    @property
    def words(self) -> str:
        """What stays, for people; "" where all goes back."""
        if not self.stays:
            return ""
        more = f" and {len(self.stays) - NAMED} more" if len(self.stays) > NAMED else ""
        named = ", ".join(map(str, self.stays[:NAMED]))
        return f"{named}{more} has nothing to go back to and keeps it: revert it in Git"


def taken_back(
    kept: Passages, passage: Passage, held: Mapping[UnitName, Rendered], stop: Stop, overlays: Iterable[OverlayName]
) -> TakenBack:
    """Back to what each unit held before this rollout; its results come under no commit again without a person.

    overlays: that go back; where one failed the others stay halted. One that went back already, or that a newer
    rollout changed since, stays as it is (R42).
    """
    back: dict[UnitName, Rendered] = {}
    stays: list[UnitName] = []
    barred: dict[OverlayName, list[Mapping[ClusterName, str]]] = {}
    whole: set[OverlayName] = set()  # whose earlier turn goes back with this one
    rows = {
        overlay: row
        for overlay, row in passage.rows.items()
        if overlay in set(overlays) and not row.back and not is_changed_since(kept, passage, overlay)
    }
    for overlay, row in rows.items():
        results, left = [row.targets], dict[ClusterName, str]()
        if (earlier := earlier_turn(kept, passage, overlay)) is not None:
            results.insert(0, earlier.targets)
            whole.add(overlay)
        for name in sorted(row.before.keys() | row.targets.keys()):
            unit, before = UnitName(overlay, name), row.before.get(name)
            if unit not in held:
                continue
            if before is None and any(held[unit].bundle == targets.get(name) for targets in results):
                stays.append(unit)
            elif before is not None and held[unit].bundle != before.bundle:
                back[unit], left[name] = before, held[unit].bundle
        barred[overlay] = [left, *results]  # of each build of the commit
    kept = replace(
        kept, last={name: one for name, one in kept.last.items() if name not in whole} if whole else kept.last
    )
    done = TakenBack(kept, back, tuple(stays))
    ended = replace(stop, reason="; ".join(filter(None, (stop.reason, done.words))))
    gone = {name: replace(row, done=True, back=True) for name, row in rows.items()}
    is_whole = stop.overlay is not None  # a failure; a person takes back one overlay, and the others go on
    passage = replace(passage, rows={**passage.rows, **gone}, shut=is_whole or passage.shut)
    return replace(done, kept=ended_with(kept, passage, stop, ended, ROLLED_BACK, barred))


def not_taken_back(passage: Passage, stop: Stop, before: Stop | None, why: str) -> Passage:
    """A failure whose policy asks for a rollback stays a halt, as not all can go back. before: the halt so far."""
    stays = replace(stop, reason=f"{stop.reason}; not taken back: {why}; revert it in Git")
    is_known = before is not None and replace(before, since=stays.since) == stays
    return replace(passage, halted=before if is_known else stays)


def aborted(kept: Passages, passage: Passage, stop: Stop) -> Passages:
    """Nothing more of it is released, under no commit; what was released stays, and so do overlays that are done."""
    barred = {name: [row.targets] for name, row in passage.rows.items() if not row.done}
    rows = {name: row if row.done else replace(row, done=True, cut=True) for name, row in passage.rows.items()}
    return ended_with(kept, replace(passage, rows=rows, shut=True), stop, stop, ABORTED, barred)


def ended_with(
    kept: Passages,
    passage: Passage,
    stop: Stop,
    ended: Stop,
    outcome: str,
    barred: Mapping[OverlayName, Sequence[Mapping[ClusterName, str]]],
) -> Passages:
    """Bar what these overlays were to hold. stop: why; ended: the same for the passage, where nothing else goes on."""
    kept = with_barred(kept, passage, stop, barred)
    if any(overlay not in barred and not row.done for overlay, row in passage.rows.items()):
        if stop.overlay is not None or passage.halted is None or passage.halted.overlay not in barred:
            return _put(kept, passage)  # the commit's other overlays go on, or stay halted for what failed
        rows = {overlay: asked_again(row) for overlay, row in passage.rows.items()}
        return _put(kept, replace(passage, rows=rows, halted=None))
    return _put(kept, replace(passage, outcome=outcome, ended=ended, ended_at=ended.since, halted=None, paused=None))


# Rows and passages


def _older(wanted: Mapping[ClusterName, RolloutUnit]) -> dict[ClusterName, Rendered]:
    """Of those that hold another result than the newest, which one."""
    held = {name: unit.held for name, unit in wanted.items() if unit.held is not None}
    return {name: one for name, one in held.items() if one.bundle != wanted[name].result.bundle}


def _targets(wanted: Mapping[ClusterName, RolloutUnit], names: Iterable[ClusterName]) -> dict[ClusterName, Digest]:
    return {name: wanted[name].result.bundle for name in sorted(names)}


def _begin(
    kept: Passages,
    overlay: OverlayName,
    row: Row,
    wanted: Mapping[ClusterName, RolloutUnit],
    head: Revision,
    wall: float,
    is_apart: bool,
) -> Passages:
    known = next((passage for passage in kept.all if passage.commit == head), None)
    if known is None:
        # Which one is the latest goes by this: never earlier than the others, though the wall clock was put back.
        begun = [one.started_at for one in (*kept.all, *kept.last.values())]
        return _put(kept, Passage(head, max([wall, *begun]), {overlay: row}, overlays=(overlay,)))
    if (back := _back_since(kept, known, overlay)) is not None:
        return _built_late(kept, known, back, overlay, row, wanted)
    halted = known.halted
    if known.shut and known.ended is not None:
        if not is_apart:
            return _built_late(kept, known, known.ended, overlay, row, wanted)
        halted = known.ended  # as if it had been under way when that failed
    overlays = known.overlays if overlay in known.overlays else (*known.overlays, overlay)
    if (earlier := known.rows.get(overlay)) is not None:
        only = replace(known, rows={overlay: earlier})
        kept = replace(kept, last=last_of(kept.last, [only]))  # what it released in that turn can go back, or did
    # What people agreed to is what they saw then, and this row they did not.
    if known.outcome:
        known = replace(known, outcome="", ended=None, ended_at=0.0, approvals={}, halted=halted)
    rows = {**known.rows, overlay: replace(row, early=known.approvals)}
    return _put(kept, replace(known, rows=rows, overlays=overlays))


def _back_since(kept: Passages, passage: Passage, overlay: OverlayName) -> Stop | None:
    """Why an overlay went back from a commit, as long as nobody let that in again: be it by an order for it alone."""
    row = rows_of(kept, passage).get(overlay)
    if row is None or not row.back:
        return None
    barred = kept.quarantine.get(overlay, {}).values()
    return next((entry.stop for entry in barred if entry.commit == passage.commit), None)


def _built_late(
    kept: Passages, shut: Passage, stop: Stop, overlay: OverlayName, row: Row, wanted: Mapping[ClusterName, RolloutUnit]
) -> Passages:
    """Kept back as if it had been under way when all of its commit was stopped.

    What a cluster holds is none of its doing, nor is what one that holds nothing would get like others. What the
    commit did before it was stopped is not begun again: it stays as proven as it is.
    """
    holds = {unit.held.bundle for unit in wanted.values() if unit.held is not None}
    new: dict[ClusterName, str] = {}
    for name, digest in row.targets.items():
        held = wanted[name].held
        if digest not in holds if held is None else digest != held.bundle:
            new[name] = digest
    earlier = rows_of(kept, shut).get(overlay)
    is_proven = earlier is not None and not earlier.cut
    if not new and (is_proven or not row.before):
        return kept
    overlays = shut.overlays if overlay in shut.overlays else (*shut.overlays, overlay)
    if new:
        kept = with_barred(kept, replace(shut, rows={overlay: Row(new)}), stop, {overlay: [new]})
    if is_proven:
        return _put(kept, replace(shut, overlays=overlays))
    if overlay in shut.rows:  # what it released in that turn can go back still
        kept = replace(kept, last=last_of(kept.last, [replace(shut, rows={overlay: shut.rows[overlay]})]))
    rows = {**shut.rows, overlay: replace(row, done=True, cut=True)}
    return _put(kept, replace(shut, rows=rows, overlays=overlays))


def _without_row(kept: Passages, passage: Passage, overlay: OverlayName, why: Stop) -> Passages:
    rows = {name: row for name, row in passage.rows.items() if name != overlay}
    rest = replace(passage, rows=rows)
    if rest.halted is not None and rest.halted.overlay == overlay:
        rest = replace(rest, halted=None)  # what failed goes its way with a newer commit
    if all(row.done for row in rows.values()):
        rest = replace(rest, outcome=_outcome_of(rows), ended=why, ended_at=why.since, halted=None, paused=None)
    return _put(kept, rest)


def _outcome_of(rows: Mapping[OverlayName, Row]) -> str:
    """How a passage ended that a newer commit took all from which was still under way."""
    if not rows:
        return "superseded"
    if all(row.back for row in rows.values()):
        return ROLLED_BACK
    return ABORTED if all(row.back or row.cut for row in rows.values()) else "done"


def _put(kept: Passages, passage: Passage) -> Passages:
    """Put one in its place; of those that ended long ago only a line is kept, and then nothing."""
    known = any(other.commit == passage.commit for other in kept.all)
    every = [passage if other.commit == passage.commit else other for other in kept.all]
    if not known:
        every.append(passage)
    ended = [other for other in every if other.outcome]
    last = last_of(kept.last, ended[:-ROWS_KEPT])
    old = {other.commit for other in ended[:-ROWS_KEPT]}
    gone = {other.commit for other in ended[:-ENDED_KEPT]}
    every = [replace(other, rows={}) if other.commit in old else other for other in every if other.commit not in gone]
    return replace(kept, all=tuple(every), last=last)
