"""What a person may order of a rollout, from a written operation to what it changes. Pure.

Orders name a commit (or a beginning of it). One that changed something is kept with what it changed, so that a hub
that was killed amid it does not carry it out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fleet.core.approving import missing_of
from fleet.core.fleet import Fleet
from fleet.core.gating import asked_again
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName, short
from fleet.core.joins import joining, with_joins
from fleet.core.passage import Passage, Passages, Row, Stop
from fleet.core.quarantine import overlays_barred, readmitted
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.steps import Stage
from fleet.core.takeover import NAMED, aborted, settle, taken_back
from fleet.core.turns import is_led, latest_of
from fleet.values import dataclass, field

PREFIX = "rollout-"
SHORTEST = 7  # digits that name a commit in an order: as many as are shown
BRING_BACK = "revert the commit that dropped it"
KINDS = ("pause", "resume", "promote", "abort", "approve", "rollback")


@dataclass(frozen=True, slots=True)
class RolloutOrder:
    """One order. target: a commit; of approve `COMMIT STEP`, promote `COMMIT PLACE...`, rollback `OVERLAY TO FROM`, and
    of resume `COMMIT OVERLAY` for what is barred of one overlay alone.

    PLACE: where a row stood when it was asked for, or the name of a step; none for wherever it stands. TO: the commit
    to go back to; FROM: the rollout that was the latest when it was asked for; "-" for whichever it is. asked_at: wall
    clock.
    """

    operation: str
    kind: str
    target: str
    actor: str
    reason: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class Done:
    """How an order ended, and what is kept from now on."""

    kept: Passages
    outcome: str
    message: str
    commit: str = ""
    back: Mapping[UnitName, Rendered] = field(default_factory=dict[UnitName, Rendered])
    stays: tuple[UnitName, ...] = ()  # of a rollback: what has nothing to go back to


def carry_out(
    order: RolloutOrder,
    kept: Passages,
    facts: Mapping[OverlayName, RowFacts],
    held: Mapping[UnitName, Rendered],
    wall: float,
    now: float,
    fleet: Fleet | None = None,
) -> Done:
    """Carry one order out; one that does not fit is refused in words.

    now: on the hub's own clock; fleet: what the commit in force says, None where no overlay ever leaves it.
    """
    stop = Stop(order.reason, order.actor, wall)
    if order.kind == "rollback":
        return _roll_back(order, kept, held, stop, fleet)
    commit, _, step = order.target.partition(" ")
    passage = find(kept, commit)
    if order.kind == "resume" and (barred := _barred(kept, passage, commit, step)) is not None:
        return _let_in(kept, passage, barred, OverlayName(step))
    if passage is None:
        return Done(kept, "refused", f"there is no rollout of {commit}")
    name = short(passage.commit)
    if passage.outcome:
        return Done(kept, "refused", f"rollout of {name} is over: {passage.outcome}")
    match order.kind:
        case "pause":
            after, text = replace(passage, paused=stop), f"rollout of {name} paused: {order.reason}"
        case "resume":
            if step:
                return Done(kept, "refused", f"nothing of {step} was taken back or aborted with {name}")
            after, text = resumed(passage), f"rollout of {name} goes on"
            if left := overlays_barred(kept, passage.commit):
                text = f"{text}; barred still, until it is resumed again: {_few(left)}"
            if (still := after.paused) is not None:
                text = f"the halt of {name} is lifted; still paused by {still.by}: {still.reason}; resume again"
        case "promote":
            if refused := _not_to_promote(order, passage, places := places_of(passage, facts, now)):
                return Done(kept, "refused", f"rollout of {name} {refused}; ask anew")
            meant = {overlay: facts[overlay] for overlay, place in places.items() if _is_meant(order, place)}
            after = promoted(passage, meant, now)
            text = f"rollout of {name} goes {_promotion_of(passage, after)}: {order.reason}"
            if (still := after.paused) is not None:
                text = f"{text}; still paused by {still.by}: {still.reason}; resume it"
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


def _roll_back(
    order: RolloutOrder, kept: Passages, held: Mapping[UnitName, Rendered], stop: Stop, fleet: Fleet | None
) -> Done:
    """The overlay's latest rollout is taken back, once and no older one after it (R42)."""
    word, to, asked_of = [*order.target.split(" "), "-", "-"][:3]
    overlay, passage = OverlayName(word), latest_of(kept, OverlayName(word))
    passage = passage or joining(kept, overlay, held)
    if passage is None:
        return Done(kept, "refused", f"nothing is known that {overlay} could go back to; revert the commit in Git")
    if fleet is not None and not is_led(overlay, passage, fleet):
        return Done(kept, "refused", f"{overlay} left Git, and holds nothing to go back from; {BRING_BACK}")
    if asked_of != "-" and passage.commit != asked_of:
        why = f"{overlay} is on its way with {short(passage.commit)} by now, not with {short(Revision(asked_of))}"
        return Done(kept, "refused", f"{why}; ask again to take that back")
    if passage.rows[overlay].back:
        why = f"{overlay} went back from {short(passage.commit)} already; for an earlier commit revert in Git"
        return Done(kept, "refused", why)
    before = {one.commit for one in passage.rows[overlay].before.values()}
    if to != "-" and not any(_is_named(commit, to) for commit in before):
        known = ", ".join(sorted(short(commit) for commit in before)) or "nothing"
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
    done = with_joins(kept, done, passage, overlay, held, stop)
    names = ", ".join(sorted(short(commit) for commit in before))
    text = f"{overlay} goes back from {short(passage.commit)} to {names} on {len(done.back)} clusters: {order.reason}"
    if not before:
        text = f"{overlay} goes no further with {short(passage.commit)}, and nothing goes back: {order.reason}"
    text = "; ".join(filter(None, (text, done.words)))
    return Done(done.kept, "done", text, passage.commit, done.back, done.stays)


def _came_by_no_steps(
    kept: Passages, passage: Passage, overlay: OverlayName, held: Mapping[UnitName, Rendered]
) -> set[ClusterName]:
    """Clusters of a rollout that hold by now what no rollout brought: an older one is not taken back there (R42)."""
    every = [one.commit for one in kept.all]
    older = kept.all[: every.index(passage.commit)] if passage.commit in every else ()
    row, commits = passage.rows[overlay], {passage.commit, *(one.commit for one in older if overlay in one.overlays)}
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
    """Go on after a halt or a pause; all that is on its way is judged again, with its whole time before it.

    Where both stand the halt alone is lifted: what a person stopped is let go by a word about that.
    """
    rows = {overlay: replace(asked_again(row), flying={}) for overlay, row in passage.rows.items()}
    return _going_on(passage, rows)


def promoted(passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float) -> Passage:
    """Go past the step that each row stands at, without those that are not Healthy; the others may still fail.

    Where units fail in other steps alone, go on without these, and past none. Never past an approval that is missing,
    nor past a step that cannot be done, or that the row did not begin: that is what another overlay's failure, or a
    pause, keeps it from. Where it is halted and paused the halt alone is lifted, as when it is resumed.
    """
    rows = dict(passage.rows)
    for overlay, row, fact in _known(passage, facts):
        stage = _stage_of(row, fact)
        if stage is not None and (missing_of(passage, row, stage) or fact.stuck_at(stage)):
            continue
        # What failed before the step, or ahead of it where a person let it go, would halt it again and again.
        failed = _failed(row, fact, now)
        is_elsewhere = stage is not None and bool(failed) and failed.isdisjoint(stage.clusters)
        if is_elsewhere or (stage is not None and _is_to_begin(row, stage, fact, now)):
            rows[overlay] = replace(row, excused=row.excused | failed)
            continue
        so_far = fact.stages[: fact.stages.index(stage) + 1] if stage is not None else fact.stages
        changed = {name for each in so_far for name in each.clusters if name in row.targets and name in fact.units}
        slow = {name for name in changed if _is_slow(fact.units[name])}
        passed = row.passed | {stage.name} if stage is not None else row.passed
        rows[overlay] = replace(row, passed=passed, excused=row.excused | slow | failed)
    return passage if rows == passage.rows else _going_on(passage, rows)


def _going_on(passage: Passage, rows: Mapping[OverlayName, Row]) -> Passage:
    """With these rows, and without its halt; without its pause where that alone stood."""
    paused = passage.paused if passage.halted is not None else None
    return replace(passage, halted=None, paused=paused, rows=rows)


def places_of(passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float) -> dict[OverlayName, str]:
    """Where each row stands, as an order to go past it is bound to: `OVERLAY/STEP`, `OVERLAY/` where none is left.

    `OVERLAY/STEP/before` where nothing of its step is released yet.
    """
    places: dict[OverlayName, str] = {}
    for overlay, row, fact in _known(passage, facts):
        stage = _stage_of(row, fact)
        before = "/before" if stage is not None and _is_to_begin(row, stage, fact, now) else ""
        places[overlay] = f"{overlay}/{stage.name if stage is not None else ''}{before}"
    return places


def bound(passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float, step: str = "") -> str:
    """What an order to go past a step is about: the places where the rollout stands now, or those of one step alone.

    Without any the commit, with the step where one was named.
    """
    places = places_of(passage, facts, now).values()
    meant = [place for place in places if step in ("", _step_of(place))] or ([step] if step else [])
    return " ".join([passage.commit, *meant])


def _known(passage: Passage, facts: Mapping[OverlayName, RowFacts]) -> Iterator[tuple[OverlayName, Row, RowFacts]]:
    """The rows under way of which it is known where they stand."""
    for overlay, row in passage.rows.items():
        if not row.done and (fact := facts.get(overlay)) is not None and not fact.adrift:
            yield overlay, row, fact


def _stage_of(row: Row, facts: RowFacts) -> Stage | None:
    """The step that a row stands at; None where no step is left."""
    for stage in facts.stages:
        is_touched = any(name in row.targets and name in facts.units for name in stage.clusters)
        if stage.name not in row.passed and (not stage.step.takes_clusters or is_touched or facts.stuck_at(stage)):
            return stage
    return None


def _step_of(place: str) -> str:
    return place.split("/")[1] if "/" in place else place


def _is_meant(order: RolloutOrder, place: str) -> bool:
    _, *named = order.target.split()
    return not named or place in named or _step_of(place) in named


def _not_to_promote(order: RolloutOrder, passage: Passage, places: Mapping[OverlayName, str]) -> str:
    """Why a promotion is about something else than what stands here now; "" where it is about that."""
    stops = [stop for stop in (passage.halted, passage.paused) if stop is not None and stop.since > order.asked_at]
    if stops:  # who asks after that knows of it
        return f"was stopped after it was asked for: {stops[0].reason}"
    if not places or any(_is_meant(order, place) for place in places.values()):
        return ""
    return f"stands at {_told(places.values())} by now, not at {_told(order.target.split()[1:])}"


def _told(places: Iterable[str]) -> str:
    """Places for people, the first few."""
    words: list[str] = []
    for place in sorted(places):
        match place.split("/"):
            case [overlay, step, *before]:
                words.append(f"{step or 'the end'} of {overlay}{' (not begun)' if before else ''}")
            case _:
                words.append(place)
    return _few(words)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _is_slow(fact: UnitFact) -> bool:
    """Whether a step that a person goes past goes on without this unit."""
    return fact.condition is Condition.AWAY or (fact.released and fact.condition is not Condition.WELL)


def _failed(row: Row, facts: RowFacts, now: float) -> set[ClusterName]:
    """The units that halt the row and are not excused yet."""
    placed = {name for stage in facts.stages for name in stage.clusters if name in row.targets and name in facts.units}
    return {name for name in placed - row.excused if _has_failed(row, name, facts, now)}


def _has_failed(row: Row, name: ClusterName, facts: RowFacts, now: float) -> bool:
    """Whether a unit that was released halts the row; what is on its way may still become Healthy, or fail."""
    fact = facts.units[name]
    is_late = now - row.flying.get(name, now) >= facts.patience_seconds
    return fact.released and (fact.condition is Condition.BAD or (fact.condition is Condition.BUSY and is_late))


def _promotion_of(before: Passage, after: Passage) -> str:
    """What a promotion changed, in words."""
    every = [(overlay, before.rows[overlay], row) for overlay, row in sorted(after.rows.items())]
    if past := [f"{step} of {overlay}" for overlay, had, row in every for step in row.passed - had.passed]:
        return f"past {_few(past)}"
    return f"on without {_few(sorted({name for _, had, row in every for name in row.excused - had.excused}))}"


def _is_to_begin(row: Row, stage: Stage, facts: RowFacts, now: float) -> bool:
    """Whether nothing of a step is released yet, and something of it may be: no unit of it says anything so far.

    One that was lost a moment ago may be released as any; only one that stays away is left out.
    """
    units = facts.units
    changed = {name: units[name] for name in stage.clusters if name in row.targets and name in units}
    return not any(fact.released or name in row.flying for name, fact in changed.items()) and any(
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


def _let_in(kept: Passages, passage: Passage | None, commit: Revision, overlay: OverlayName) -> Done:
    """What was taken back or aborted with a commit begins again: of one overlay, or of all."""
    let_in, name = [overlay] if overlay else overlays_barred(kept, commit), short(commit)
    text = f"rollout of {name} begins again" + (f": {_few(let_in)}" if let_in else "")
    if left := [one for one in overlays_barred(kept, commit) if one not in let_in]:
        text = f"{text}; still barred: {_few(left)}"
    if passage is not None and passage.stopped and not passage.outcome:
        text = f"{text}; {passage.stopped}: resume it"
    return Done(readmitted(kept, commit, overlay), "done", text, commit)


def _barred(kept: Passages, passage: Passage | None, commit: str, overlay: str) -> Revision | None:
    """The commit whose results a resume lets in again; a halt or pause of what goes on is lifted before that.

    overlay: of which alone, whatever else of the commit stands still; "" for all.
    """
    if overlay:
        known = passage.commit if passage is not None else taken_back_by(kept, commit)
        return known if known is not None and overlay in overlays_barred(kept, known) else None
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
