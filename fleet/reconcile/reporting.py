"""From what the worker knows of a unit to the report of it: every object, worst first in words, and the chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.core.fingerprint import SyncState
from fleet.core.fleet import Mode
from fleet.core.fold import MISSED_LIMIT, worst_health, worst_sync
from fleet.core.ids import Digest, ObjectRef, Revision
from fleet.core.record import FORM, Row, RowState
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.rollout import Apply, Detach, Move, UnknownDesired
from fleet.core.status import Blocker, Health, HoldRequest, ObjectStatus, Standing, Sync, UnitReport
from fleet.core.sync_policy import SyncMode
from fleet.reconcile.heal import rival_of
from fleet.reconcile.judging import sync_of
from fleet.reconcile.memory import Drift, Live, UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.reverify import not_run, runs_once_changed
from fleet.reconcile.site import Site
from fleet.reconcile.standing import bundle_of, judge_spared, spared_by


def report_of(site: Site, unit: UnitState, outcome: Outcome, mode: Mode) -> UnitReport:
    """The whole report of one unit after a pass."""
    objects = outcome.observed
    if objects is None:
        moves = _moves_of(unit)
        objects = tuple(_object(site, unit, ref, moves) for ref in sorted(unit.refs(), key=_place_of))
    sync, health = _sums(site, unit, objects, outcome)
    reason, message, next_step = _words(site, unit, outcome, objects)
    memory, desired = unit.memory, unit.desired
    wanted = bundle_of(desired)
    at_bundle = desired is not None and memory.bundle is not None and memory.bundle == wanted
    told = outcome.told or desired
    judged = told.commit if told and outcome.judged and not isinstance(told.action, UnknownDesired) else None
    return UnitReport(
        unit=unit.name,
        commit=desired.commit if at_bundle and desired else memory.commit,
        bundle=memory.bundle,
        sync=sync,
        health=health,
        observed_at=site.wall(),
        reason=reason,
        message=message,
        next_step=next_step,
        observed_commit=judged,
        applied_at=unit.applied_at,
        changed=unit.changed,
        objects=objects,
        blocked_by=_chain(unit, outcome, sync, mode),
        holds=_holds_of(unit),
        warnings=tuple(
            [f"{ref}: {text}" for ref, texts in sorted(unit.warnings.items()) for text in texts]
            + _not_run(unit)
            + ([unit.parent_trouble] if unit.parent_trouble else [])
        ),
        quarantined=() if memory.confirmed else memory.quarantined,
        unjudged=_unjudged(unit, mode),
    )


def _not_run(unit: UnitState) -> list[str]:
    """Jobs of which nobody knows whether they ran, and how to run them (R22)."""
    why = "may have run, and nobody knows how it ended: it is not run again"
    how = "change any field of it in Git to run it"
    return [f"{ref}: {why}; {how}" if runs_once_changed(unit, ref) else f"{ref}: {why}" for ref in not_run(unit)]


def _ordered(unit: UnitState) -> Revision:
    return unit.desired.commit if unit.desired is not None else unit.memory.commit


def _holds_of(unit: UnitState) -> tuple[HoldRequest, ...]:
    """What it asks of a person. By a commit that is not ordered any more nothing is deleted, and nothing is asked."""
    commit = _ordered(unit)
    return tuple(hold for hold in (*unit.holds, *unit.replace_holds.values()) if hold.commit == commit)


def _unjudged(unit: UnitState, mode: Mode) -> Revision | None:
    """The commit of which this worker has not judged yet what to ask: it began anew, and asks nothing meanwhile (R5).

    Where nothing is deleted nothing is asked, and of a record that was rebuilt all is asked anew (R12).
    """
    lets_go = unit.desired is not None and isinstance(unit.desired.action, Detach)
    if mode is Mode.OBSERVE or lets_go or not unit.memory.confirmed:
        return None
    commit = _ordered(unit)
    return None if unit.judged == commit else commit


def _moves_of(unit: UnitState) -> Mapping[ObjectRef, Move]:
    """What it dropped and still owns, because another unit takes it, or may."""
    action = unit.desired.action if unit.desired is not None else None
    moves = action.moves if isinstance(action, Apply) else ()
    return {move.ref: move for move in moves if move.ref in unit.rows and move.ref not in unit.wanted}


def _place_of(ref: ObjectRef) -> tuple[str, str, str, str]:
    return ref.group, ref.kind, ref.namespace, ref.name


def _changed_at(row: Row | None, live: Live | None) -> float:
    """Wall clock; 0.0 where it is not known."""
    if row is not None and row.state is not RowState.DELETING:
        return row.since
    return live.changed_at if row is not None and live is not None else 0.0


ANEW = "compared anew after an upgrade of fleet"


def _shown(site: Site, ref: ObjectRef) -> Live | None:
    """An object as a watch showed it, as long as anybody vouches for that (R5, R21)."""
    part = site.view.part_of(ref)
    return None if part is not None and site.is_stale(part) else site.view.find(ref)


def stale_at(site: Site, unit: UnitState) -> float | None:
    """Loop time at which the next of its objects is Unknown, unless its stream is well again by then; None: none."""
    parts = [part for ref in unit.refs() if (part := site.view.part_of(ref)) is not None and part.is_lost]
    ends = [part.told_at + MISSED_LIMIT * site.limits.watched_seconds for part in parts if not site.is_stale(part)]
    return min((end for end in ends if end >= site.clock()), default=None)


def _unseen(site: Site, unit: UnitState, outcome: Outcome) -> list[ObjectRef]:
    """What a new result holds and was not compared with, because the stream that would show it broke."""
    if outcome.plan is None or not outcome.leave.apply or unit.memory.bundle == unit.bundle:
        return []
    return sorted(r for r in outcome.plan.unknown if (part := site.view.part_of(r)) is not None and part.is_lost)


def _object(site: Site, unit: UnitState, ref: ObjectRef, moves: Mapping[ObjectRef, Move]) -> ObjectStatus:
    row, item, live = unit.rows.get(ref), unit.wanted.get(ref), _shown(site, ref) or unit.contact.get(ref)
    trouble = unit.troubles.get(ref)
    kept = unit.kept.get(ref)
    known = site.view.is_known(ref) or live is not None
    desired = item.digest if item else Digest("")
    reason, message = "", ""
    if not _counts(unit, ref):
        sync = Sync.SYNCED
        message = "not reconciled: fleet.internal/reconcile: disabled"
    elif item is not None and item.source.options.only_if_absent and live is not None:
        sync = Sync.SYNCED  # whatever it holds
    elif not known:
        sync = Sync.UNKNOWN if trouble is None else Sync.OUT_OF_SYNC
    elif item is None and ref in unit.kept_for_good:
        sync = Sync.SYNCED  # as somebody asked, for good: nothing waits for it
        message = f"no longer in the overlay; {spared_by(unit.desired)} keeps it"
    elif item is None and ref in moves:
        sync = Sync.SYNCED  # as far as this unit goes: what it waits for is another unit's
        message = f"no longer in the overlay; {moves[ref].why}"
    elif item is None:
        sync = Sync.OUT_OF_SYNC
        reason, message = kept or ("", "no longer in the overlay")
    elif live is None:
        done = row is not None and row.state.is_end and row.desired == desired
        sync = Sync.SYNCED if done else Sync.OUT_OF_SYNC
    else:
        state = sync_of(row, desired, live, site.verdicts)
        words = {SyncState.IN_SYNC: Sync.SYNCED, SyncState.ASK_ARBITER: Sync.UNKNOWN}
        sync = words.get(state, Sync.OUT_OF_SYNC) if live.mark.ours else Sync.OUT_OF_SYNC
        if state is SyncState.ASK_ARBITER and row is not None and row.form != FORM:
            message = ANEW
        known_drift = unit.drifts.get(ref)
        if state is SyncState.DRIFTED and known_drift == Drift(live.resource_version, ()):
            sync = Sync.SYNCED  # only who holds the fields changed, every value is as desired
    if giver := next((name for name, awaited in unit.awaits.items() if ref in awaited.refs), None):
        sync, message = Sync.OUT_OF_SYNC, f"moves here from {giver.overlay}, which is {unit.awaits[giver].stop.reason}"
    if live is not None:
        health, why = live.health.health, live.health.message
    elif not _counts(unit, ref):
        health, why = Health.UNKNOWN, ""  # nobody looks
    elif not known:
        health, why = Health.UNKNOWN, "not seen yet"
        part = site.view.part_of(ref)
        if part is not None and part.is_lost:
            reason, why = part.unknown, part.message
    elif row is not None and row.state is RowState.DONE:
        health, why = Health.HEALTHY, "ended, and removed itself" if row.uid else "may have run; see the warning"
    elif item is not None and row is not None and row.state is RowState.FAILED and row.desired == desired:
        how = "; change any field of it in Git to run it again" if runs_once_changed(unit, ref) else ""
        health, why = Health.DEGRADED, f"failed, and removed itself{how}"
    else:
        health, why = Health.MISSING, "is not there"
    if row is not None and row.state is RowState.RELEASED:
        sync, reason, message = Sync.OUT_OF_SYNC, "Released", "our annotation was taken off; left alone"
    if trouble is not None:
        reason, message = trouble.reason, trouble.message
    elif (reverts := unit.reverts.get(ref)) and reverts.next_at > site.clock():
        rival = rival_of(ref, reverts)
        reason, message = rival.reason, f"{rival.what}: {rival.why}"
    drift = unit.drifts.get(ref)
    return ObjectStatus(
        ref=ref,
        sync=sync,
        health=health,
        message=message or why,
        reason=reason,
        changed_at=_changed_at(row, live),
        drift=drift.fields if drift and sync is Sync.OUT_OF_SYNC else (),
        uid=live.uid if live else "",
    )


def _counts(unit: UnitState, ref: ObjectRef) -> bool:
    """Whether an object takes part in how its unit stands: not one that is left alone (`reconcile: disabled`)."""
    item = unit.wanted.get(ref)
    return item is None or item.source.options.reconcile


def _sums(site: Site, unit: UnitState, objects: tuple[ObjectStatus, ...], outcome: Outcome) -> tuple[Sync, Health]:
    sync = worst_sync(status.sync for status in objects)
    health = worst_health(status.health for status in objects if _counts(unit, status.ref))
    wanted = bundle_of(unit.desired)
    if wanted is None and not objects:
        return Sync.UNKNOWN, Health.UNKNOWN  # nobody knows what it should hold, and it holds nothing (R5)
    if wanted is not None and unit.bundle != wanted:
        return Sync.UNKNOWN, health if objects else Health.UNKNOWN
    if outcome.plan is None and outcome.observed is None and sync is Sync.SYNCED:
        sync = Sync.UNKNOWN
    pending = outcome.plan is not None and outcome.leave.apply and not outcome.settled
    if sync is Sync.SYNCED and pending and outcome.reason:
        sync = Sync.OUT_OF_SYNC
    if sync is Sync.SYNCED and _unseen(site, unit, outcome):
        sync = Sync.UNKNOWN
    if outcome.reason in ("HookFailed", "HealthTimeout"):
        health = Health.DEGRADED
    elif outcome.reason in ("HookRuns", "WaveWaits") and health is Health.MISSING:
        health = Health.PROGRESSING
    return sync, health


def _words(site: Site, unit: UnitState, outcome: Outcome, objects: tuple[ObjectStatus, ...]) -> tuple[str, str, str]:
    """One line that holds the cause, not the symptom."""
    if isinstance(unit.desired.action if unit.desired else None, UnknownDesired) and unit.desired:
        action = unit.desired.action
        if isinstance(action, UnknownDesired):
            return action.reason, action.message, "fleet validate"
    if outcome.reason:
        return outcome.reason, outcome.message, outcome.next_step
    troubles = [(ref, trouble) for ref, trouble in unit.troubles.items() if ref in unit.wanted or ref in unit.rows]
    if troubles:
        _, trouble = min(troubles, key=lambda found: found[0])
        more = f" (and {len(troubles) - 1} more objects)" if len(troubles) > 1 else ""
        return trouble.reason, trouble.message + more, trouble.next_step
    for status in objects:
        if status.reason:
            return status.reason, status.message, f"fleet describe unit {unit.name}"
    if unseen := _unseen(site, unit, outcome):
        part, more = site.view.part_of(unseen[0]), f" (and {len(unseen) - 1} more objects)" if len(unseen) > 1 else ""
        why = part.message if part is not None else ""
        return "", f"{unseen[0]}{more} is not applied while nobody sees it: {why}", f"fleet describe unit {unit.name}"
    if outcome.plan is None and outcome.observed is None and outcome.incomplete:
        return "", outcome.incomplete, ""  # before what merely follows from it
    for word in (Health.DEGRADED, Health.MISSING, Health.PROGRESSING):
        for status in objects:
            if status.health is word and _counts(unit, status.ref):
                return "", f"{status.ref}: {status.message}", f"fleet describe unit {unit.name}"
    drifted = [status for status in objects if status.drift]
    if drifted:
        managers = sorted({f.manager for status in drifted for f in status.drift if f.manager})
        by = f" by {', '.join(managers)}" if managers else ""
        text = f"{len(drifted)} object{'s' if len(drifted) > 1 else ''} drifted{by}: {drifted[0].ref}"
        return "", text, f"fleet diff {unit.name}"
    if anew := sum(1 for status in objects if status.message == ANEW):
        return "", f"{anew} of {len(objects)} objects are {ANEW}", ""
    if outcome.incomplete and any(status.sync is not Sync.SYNCED for status in objects):
        return "", f"nothing is deleted: {outcome.incomplete}", f"fleet describe unit {unit.name}"
    return "", "", ""


def awaited_links(unit: UnitState) -> list[Blocker]:
    """Why objects that another unit has do not move here yet: one link for each of those units."""
    links: list[Blocker] = []
    for name, awaited in sorted(unit.awaits.items()):
        first, *others = awaited.refs
        more = f" (and {len(others)} more objects)" if others else ""
        reason = f"{first}{more} moves here from {name.overlay}, which is {awaited.stop.reason}"
        links.append(replace(awaited.stop, reason=reason))
    return links


def _chain(unit: UnitState, outcome: Outcome, sync: Sync, mode: Mode) -> tuple[Blocker, ...]:
    links = list(outcome.leave.blockers)
    desired, name = unit.desired, str(unit.name)
    links += [
        Blocker(Standing.HELD, name, hold.message, unit.held_since, "", "fleet get holds") for hold in _holds_of(unit)
    ]
    links += awaited_links(unit)
    if moves := sorted(_moves_of(unit).values()):
        first, more = moves[0], len(moves) - 1
        reason = f"{first.ref} stays: {first.why}" + (f" (and {more} more objects)" if more else "")
        links.append(Blocker(Standing.WAITS, name, reason, unit.pending_since, "", first.next_step))
    if unit.kept_for_good and bundle_of(desired) == EMPTY_BUNDLE.digest:
        links.append(judge_spared(unit.name, unit.kept_for_good, desired, unit.pending_since))
    manual = desired is not None and desired.policy.sync.mode is SyncMode.MANUAL and mode is Mode.MANAGE
    if manual and sync is Sync.OUT_OF_SYNC and not outcome.leave.apply:
        reason = "sync.mode is manual: changes wait for fleet sync"
        links.append(Blocker(Standing.WAITS, name, reason, unit.pending_since, "", f"fleet sync {name}"))
    return tuple(links)
