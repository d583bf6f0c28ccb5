"""What a person may order of a rollout, from a written operation to what it changes. Pure.

Orders name a commit (or a beginning of it). One that changed something is kept with what it changed, so that a hub
that was killed amid it does not carry it out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleet.core.approving import missing_of
from fleet.core.gating import asked_again
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName, short
from fleet.core.passage import Passage, Passages, Row, Stop
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.takeover import NAMED, aborted, readmitted, settle, taken_back
from fleet.core.turns import latest_of
from fleet.values import dataclass, field

PREFIX = "rollout-"
SHORTEST = 7  # digits that name a commit in an order: as many as are shown
KINDS = ("pause", "resume", "promote", "abort", "approve", "rollback")


@dataclass(frozen=True, slots=True)
class RolloutOrder:
    """One order. target: a commit; of approve `COMMIT STEP`, of rollback `OVERLAY TO FROM`.

    TO: the commit to go back to; FROM: the rollout that was the latest when it was asked for; "-" for whichever it is.
    """

    operation: str
    kind: str
    target: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """How an order ended, and what is kept from now on."""

    kept: Passages
    outcome: str
    message: str
    commit: str = ""
    back: Mapping[UnitName, Rendered] = field(default_factory=dict[UnitName, Rendered])
    stays: tuple[UnitName, ...] = ()  # of a rollback: what held nothing before


def carry_out(
    order: RolloutOrder,
    kept: Passages,
    facts: Mapping[OverlayName, RowFacts],
    held: Mapping[UnitName, Rendered],
    wall: float,
    now: float,
) -> Done:
    """Carry one order out; one that does not fit is refused in words. now: on the hub's own clock."""
    stop = Stop(order.reason, order.actor, wall)
    if order.kind == "rollback":
        return _roll_back(order, kept, held, stop)
    commit, _, step = order.target.partition(" ")
    passage = find(kept, commit)
    if order.kind == "resume" and (barred := _barred(kept, passage, commit)) is not None:
        return Done(readmitted(kept, barred), "done", f"rollout of {short(barred)} begins again", barred)
    if passage is None:
        return Done(kept, "refused", f"there is no rollout of {commit}")
    name = short(passage.commit)
    if passage.outcome:
        return Done(kept, "refused", f"rollout of {name} is over: {passage.outcome}")
    match order.kind:
        case "pause":
            after, text = replace(passage, paused=stop), f"rollout of {name} paused: {order.reason}"
        case "resume":
            after, text = resumed(passage), f"rollout of {name} goes on"
        case "promote":
            after = promoted(passage, facts, now)
            text = f"rollout of {name} goes {_promotion_of(passage, after)}: {order.reason}"
            if after == passage:
                why = "an approval is missing, a step cannot be done, or nothing of it was released yet"
                way = "promote passes none of these (fleet suspend unit leaves a unit out)"
                return Done(kept, "refused", f"rollout of {name} goes past no step: {why}; {way}")
        case "abort":
            return Done(aborted(kept, passage, stop), "done", f"rollout of {name} aborted", passage.commit)
        case _:
            its_own = (row for overlay, row in facts.items() if overlay in passage.rows)
            if not any(step == stage.name for row in its_own for stage in row.stages):
                return Done(kept, "refused", f"rollout of {name} has no step {step}")
            after, text = approved(passage, step, order.actor), f"step {step} of {name} approved"
    return Done(settle(kept, after, wall), "done", text, passage.commit)


def _roll_back(order: RolloutOrder, kept: Passages, held: Mapping[UnitName, Rendered], stop: Stop) -> Done:
    """The overlay's latest rollout is taken back, once and no older one after it (R42)."""
    word, to, asked_of = [*order.target.split(" "), "-", "-"][:3]
    overlay, passage = OverlayName(word), latest_of(kept, OverlayName(word))
    if passage is None:
        return Done(kept, "refused", f"nothing is known that {overlay} could go back to; revert the commit in Git")
    if asked_of != "-" and passage.commit != asked_of:
        why = f"{overlay} is on its way with {short(passage.commit)} by now, not with {short(Revision(asked_of))}"
        return Done(kept, "refused", f"{why}; ask again to take that back")
    if passage.rows[overlay].back:
        why = f"{overlay} went back from {short(passage.commit)} already; for an earlier commit revert in Git"
        return Done(kept, "refused", why)
    before = {one.commit for one in passage.rows[overlay].before.values()}
    if to != "-" and not any(_is_named(commit, to) for commit in before):
        known = ", ".join(sorted(short(commit) for commit in before))
        return Done(kept, "refused", f"{overlay} held {known} before, not {to}; for another commit revert in Git")
    newer = _came_by_no_steps(kept, passage, overlay, held)
    if newer and newer >= passage.rows[overlay].before.keys():
        why = f"{overlay} holds newer results than {short(passage.commit)} by now, which came by no steps"
        return Done(kept, "refused", f"{why}; revert the commit in Git")
    done = taken_back(
        kept,
        passage,
        {unit: has for unit, has in held.items() if unit.overlay != overlay or unit.cluster not in newer},
        stop,
        [overlay],
    )
    names = ", ".join(sorted(short(commit) for commit in before))
    text = f"{overlay} goes back from {short(passage.commit)} to {names} on {len(done.back)} clusters: {order.reason}"
    text = "; ".join(filter(None, (text, done.words)))
    return Done(done.kept, "done", text, passage.commit, done.back, done.stays)


def _came_by_no_steps(
    kept: Passages, passage: Passage, overlay: OverlayName, held: Mapping[UnitName, Rendered]
) -> set[ClusterName]:
    """Clusters of a rollout that hold by now what no rollout brought: an older one is not taken back there (R42)."""
    row, commits = passage.rows[overlay], {passage.commit, *(one.commit for one in kept.all if overlay in one.overlays)}
    return {
        name
        for name, before in row.before.items()
        if (has := held.get(UnitName(overlay, name))) is not None
        and has.commit not in commits
        and has.bundle not in (before.bundle, row.targets.get(name))
    }


def approved(passage: Passage, step: str, who: str) -> Passage:
    """One person's approval of a step; twice by the same one counts once."""
    given = passage.approvals.get(step, ())
    approvals = passage.approvals if who in given else {**passage.approvals, step: (*given, who)}
    rows = {overlay: _seen_by(row, step, who) for overlay, row in passage.rows.items()}
    return replace(passage, approvals=approvals, rows=rows)


def _seen_by(row: Row, step: str, who: str) -> Row:
    """Whoever approves a step again approves what was built since, too."""
    if who not in (early := row.early.get(step, ())):
        return row
    return replace(row, early={**row.early, step: tuple(other for other in early if other != who)})


def resumed(passage: Passage) -> Passage:
    """Go on after a halt or a pause; all that is on its way is judged again, with its whole time before it."""
    rows = {overlay: replace(asked_again(row), flying={}) for overlay, row in passage.rows.items()}
    return replace(passage, halted=None, paused=None, rows=rows)


def promoted(passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float) -> Passage:
    """Go past the step that each row stands at, without those that are not Healthy; the others may still fail.

    Never past an approval that is missing, nor past a step that cannot be done, or that the row did not begin: that is
    what another overlay's failure, or a pause, keeps it from.
    """
    rows = dict(passage.rows)
    for overlay, row in passage.rows.items():
        if row.done or (fact := facts.get(overlay)) is None or fact.adrift:
            continue
        slow: set[ClusterName] = set()  # of the steps before it too: what fails there would halt it at once again
        for stage in fact.stages:
            units = {name: fact.units[name] for name in stage.clusters if name in fact.units}
            touched = {name for name in row.targets if name in units}
            slow |= {name for name in touched if _is_slow(units[name])}
            is_stuck = bool(fact.stuck_at(stage))
            if stage.name in row.passed or (stage.step.takes_clusters and not touched and not is_stuck):
                continue
            is_agreed = not missing_of(passage, row, stage)
            if is_agreed and not is_stuck and _is_to_begin(row, {name: units[name] for name in touched}, fact, now):
                # What failed before it, or ahead of it where a person let it go, would halt it again and again.
                failed = {name for name in row.targets if name in fact.units and _has_failed(row, name, fact, now)}
                rows[overlay] = replace(row, excused=row.excused | failed)
            elif is_agreed and not is_stuck:
                rows[overlay] = replace(row, passed=row.passed | {stage.name}, excused=row.excused | slow)
            break
        else:  # no step is left: what fails there now would halt the others again
            if slow - row.excused:
                rows[overlay] = replace(row, excused=row.excused | slow)
    return passage if rows == passage.rows else replace(passage, rows=rows, halted=None, paused=None)


def _is_slow(fact: UnitFact) -> bool:
    """Whether a step that a person goes past goes on without this unit."""
    return fact.condition is Condition.AWAY or (fact.released and fact.condition is not Condition.WELL)


def _has_failed(row: Row, name: ClusterName, facts: RowFacts, now: float) -> bool:
    """Whether a unit that was released halts the row; what is on its way may still become Healthy, or fail."""
    fact = facts.units[name]
    is_late = now - row.flying.get(name, now) >= facts.patience_seconds
    return fact.released and (fact.condition is Condition.BAD or (fact.condition is Condition.BUSY and is_late))


def _promotion_of(before: Passage, after: Passage) -> str:
    """What a promotion changed, in words."""
    if any(row.passed != before.rows[overlay].passed for overlay, row in after.rows.items()):
        return "past the step it stood at"
    names = sorted({name for overlay, row in after.rows.items() for name in row.excused - before.rows[overlay].excused})
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"on without {', '.join(names[:NAMED])}{more}"


def _is_to_begin(row: Row, changed: Mapping[ClusterName, UnitFact], facts: RowFacts, now: float) -> bool:
    """Whether nothing of a step is released yet, and something of it may be: no unit of it says anything so far.

    One that was lost a moment ago may be released as any; only one that stays away is left out.
    """
    return not any(fact.released for fact in changed.values()) and any(
        now - row.away.get(name, now) < facts.patience_seconds
        if fact.condition is Condition.AWAY
        else fact.condition is not Condition.STOPPED
        for name, fact in changed.items()
    )


def is_behind(kind: str, target: str, commits: Sequence[str], kept: Passages) -> bool:
    """Whether an operation is about the rollout of one of these commits, so that it follows what these wait for."""
    word = target.partition(" ")[0]
    if kind != f"{PREFIX}rollback":
        return kind.startswith(PREFIX) and any(one.startswith(word) or word.startswith(one) for one in commits)
    return any(word in one.overlays and one.commit.startswith(tuple(commits)) for one in kept.all)


def about_of(kind: str, target: str) -> str:
    """What an order is about, for the audit log."""
    first, *more = target.split(" ")
    if kind != f"{PREFIX}rollback":
        return f"rollout {short(Revision(first))} {' '.join(more)}".strip()
    return f"overlay {first}" + (f", rollout {short(Revision(more[1]))}" if len(more) == 2 else "")


def _barred(kept: Passages, passage: Passage | None, commit: str) -> Revision | None:
    """The commit whose results a resume lets in again; a halt or pause of what goes on is lifted before that."""
    if passage is not None and not passage.outcome and (passage.halted or passage.paused):
        return None
    if passage is not None and passage.outcome in ("aborted", "rolled back"):
        return passage.commit
    if passage is not None:
        return passage.commit if taken_back_by(kept, passage.commit) else None
    return taken_back_by(kept, commit)


def taken_back_by(kept: Passages, commit: str) -> Revision | None:
    """The commit whose results were taken back, by it or a beginning of it alone; its rollout may be forgotten."""
    known = {entry.commit for entries in kept.quarantine.values() for entry in entries.values()}
    found = [one for one in known if _is_named(one, commit)]
    return found[0] if len(found) == 1 else None


def find(kept: Passages, commit: str) -> Passage | None:
    """The rollout of a commit, or of the one that begins so; none where several do, or too little is said (R3)."""
    found = [one for one in kept.all if _is_named(one.commit, commit)]
    return found[0] if len(found) == 1 else None


def _is_named(commit: Revision, word: str) -> bool:
    return commit == word or (len(word) >= SHORTEST and commit.startswith(word))
