"""Takes over objects that exist without our mark, where `sync.adopt` asks for it (design, section 6.4; R4).

Two writes an object: its former tool's fields move to us by one conditional patch, then our apply brings the mark.
Until that apply the object is not ours, so that a worker killed in between begins anew. What `ifNoDiff` may take
is told by dry-runs, before anything is written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from fleet.core.adopt import (
    Takeable,
    TooFresh,
    Untakeable,
    Writer,
    counted,
    extras_left,
    extras_of,
    foreign_line,
    is_former,
    is_same_but_marked,
    is_tracked_by_label,
    judge_adoption,
    move_patch,
    owners_of,
    plan_move,
    removal_patch,
    shown_paths,
    tracked_line,
)
from fleet.core.documents import Document, text_at
from fleet.core.fingerprint import own_entry
from fleet.core.ids import Digest, ObjectRef, OverlayName, UnitName
from fleet.core.plan import Cause, DesiredObject, Foreign, Step, UnitPlan
from fleet.core.record import MarkKind, judge_mark
from fleet.core.status import EventKind
from fleet.core.sync_policy import Adopt
from fleet.errors import (
    ClusterError,
    Conflict,
    FleetError,
    ObjectForeign,
    ObjectInvalid,
    OwnedByOther,
    Withdrawn,
    WriterActive,
)
from fleet.ports.kube import May
from fleet.reconcile.apply import Applier
from fleet.reconcile.memory import UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.parent import Parents
from fleet.reconcile.reading import read_live
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site, outcome_of

JSON_PATCH = "application/json-patch+json"
_STALE_TRIES = 3
_METADATA = {"apiVersion", "kind", "metadata"}  # all that first contact brings


class Adopter:
    """Adoptions of all units of one site."""

    def __init__(self, site: Site, applier: Applier, parents: Parents) -> None:
        self._site, self._applier, self._parents = site, applier, parents
        self._allowed: dict[tuple[UnitName, ObjectRef], tuple[Digest, str]] = {}  # as wanted, at which version
        self._asked: dict[UnitName, Adopt] = {}  # by the last pass
        self._taken: dict[UnitName, list[tuple[str, ...]]] = defaultdict(list)  # managers of each object, untold
        self._tracked: Counter[UnitName] = Counter()  # how many of these Argo CD tracks by label

    async def choose(self, unit: UnitState, plan: UnitPlan) -> None:
        """Turn what may be taken over from `plan.foreign` into steps, and note why the rest may not. Writes nothing."""
        adopt = unit.desired.policy.sync.adopt if unit.desired else Adopt.NEVER
        if self._asked.get(unit.name, adopt) is not adopt:
            for foreign in plan.foreign:  # refused under another rule
                unit.troubles.pop(foreign.wanted.ref, None)
        self._asked[unit.name] = adopt
        if adopt is Adopt.NEVER:
            return
        found, plan.foreign = plan.foreign, []
        due: list[Foreign] = []
        for foreign in found:
            if self._applier.is_troubled(unit, foreign.wanted):
                plan.foreign.append(foreign)
            elif self._is_allowed(unit, foreign.wanted):  # and waits for its wave
                plan.change.append(Step(foreign.wanted, Cause.ADOPTED, foreign.seen))
            else:
                due.append(foreign)
        due = await self._without_owner(unit, plan, due)
        documents = await self._read(unit, [foreign.wanted for foreign in due], adopt)
        warned: list[Writer] = []

        async def judge(foreign: Foreign) -> None:
            item, document = foreign.wanted, documents.get(foreign.wanted.ref)
            if document is not None and await self._judge(unit, item, document, adopt, warned):
                plan.change.append(Step(item, Cause.ADOPTED, foreign.seen))
                return
            if document is None and not self._applier.is_troubled(unit, item):
                unit.contact[item.ref] = None  # it went since it was met: the next pass makes it
                self._site.wake(unit.name)
            plan.foreign.append(foreign)

        await self._site.pace.each(due, judge)
        if warned:
            names = " and ".join(sorted({writer.manager for writer in warned}))
            count = "1 object is" if len(warned) == 1 else f"{len(warned)} objects are"
            message = f"{count} taken over that {names} wrote minutes ago: stop {names}, or both go on changing them"
            self._site.outbox.tell(EventKind.NOTE, message, unit=unit.name)

    async def _without_owner(self, unit: UnitState, plan: UnitPlan, due: list[Foreign]) -> list[Foreign]:
        """Those that nobody has, as the cluster says now; what another hub has since is disputed from then on."""
        gone: dict[str, bool | ClusterError] = {}
        for who in {foreign.seen.mark.who for foreign in due if foreign.seen.mark.kind is MarkKind.OTHER_UNIT}:
            try:
                gone[who] = await self._parents.is_gone(OverlayName(who))
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                gone[who] = error
        if not all(gone.values()):
            self._site.wake(unit.name)
        free: list[Foreign] = []
        for foreign in due:
            found = gone.get(foreign.seen.mark.who, True) if foreign.seen.mark.kind is MarkKind.OTHER_UNIT else True
            if found is True:
                free.append(foreign)
                continue
            plan.foreign.append(foreign)
            if found:
                self._applier.trouble(unit, foreign.wanted.ref, foreign.wanted.digest, found)
        return free

    async def take(self, unit: UnitState, item: DesiredObject, may: May) -> bool:
        """Take over one object that `choose` allowed; False where that failed, with the trouble noted.

        may: asked just before each write of it (R17).
        """
        site, ref = self._site, item.ref
        live = unit.contact.get(ref)
        self._allowed.pop((unit.name, ref), None)
        try:
            if live is None or live.document is None:
                raise _changed(ref, site.cluster)
            managers = owners_of(live.document)
            reason = f"sync.adopt: fields of {', '.join(managers) or 'nobody'} move to fleet"
            if live.mark.kind is MarkKind.OTHER_UNIT:
                reason = f"sync.adopt: it moves from overlay {live.mark.who}, which is gone"
            await site.audited(unit, ref, "adopt", uid=live.uid, reason=reason, outcome="")
            try:
                moved, body = await self._move(unit, item, live.document, may)
                done = await self._applier.write(unit, item, may, adopted=moved)
            except FleetError as error:
                said = outcome_of(error)
                await site.audited(unit, ref, "adopt", uid=live.uid, reason=reason, outcome=said, after=live.uid)
                raise
            said = "done"
            if not done:
                trouble = unit.troubles.get(ref)  # none where an event said since that it is another object
                said = f"{'unknown' if trouble.look_first else 'failed'}: {trouble.reason}" if trouble else "failed"
            await site.audited(unit, ref, "adopt", uid=live.uid, reason=reason, outcome=said, after=live.uid)
        except ENDS_SESSION:
            raise
        except ClusterError as error:
            if not isinstance(error, Withdrawn):
                self._applier.trouble(unit, ref, item.digest, error)
            return False
        if done:
            self._taken[unit.name].append(managers)
            self._tracked[unit.name] += is_tracked_by_label(live.document, body)
            if others := [name for name in managers if not is_former(name)]:
                note = f"{' and '.join(others)} also set fields of it: what Git drops of these stays"
                unit.warnings[ref] = (*unit.warnings.get(ref, ()), note)
        return done

    def tell(self, unit: UnitState) -> None:
        """One line for the timeline on what was taken over since the last one."""
        taken = self._taken.pop(unit.name, [])
        if taken:
            noun = "object" if len(taken) == 1 else "objects"
            message = f"took over {len(taken)} {noun}, fields moved from {counted(taken)}"
            commit = unit.desired.commit if unit.desired else None
            self._site.outbox.tell(EventKind.NOTE, message, unit=unit.name, commit=commit)
            if tracked := self._tracked.pop(unit.name, 0):
                self._site.outbox.tell(EventKind.NOTE, tracked_line(tracked), unit=unit.name, commit=commit)

    def name(self, unit: UnitState, plan: UnitPlan, outcome: Outcome) -> None:
        """One line on what is left and not ours: counts, owners, the next command."""
        groups = [
            (trouble.reason, found.seen.managers)
            for found in plan.foreign
            if (trouble := unit.troubles.get(found.wanted.ref)) is not None
        ]
        if groups and not outcome.reason:
            outcome.reason, outcome.message, outcome.next_step = foreign_line(unit.name, groups, plan.foreign[0].adopt)

    def _is_allowed(self, unit: UnitState, item: DesiredObject) -> bool:
        live = unit.contact.get(item.ref)
        if live is None or live.document is None:
            return False
        return self._allowed.get((unit.name, item.ref)) == (item.digest, live.resource_version)

    async def _read(self, unit: UnitState, items: list[DesiredObject], adopt: Adopt) -> dict[ObjectRef, Document]:
        """The objects as they are; their metadata, which first contact brought, where nothing more is needed."""
        found: dict[ObjectRef, Document] = {}
        unread: dict[tuple[str, str, str], list[DesiredObject]] = defaultdict(list)
        for item in items:
            live = unit.contact.get(item.ref)
            is_enough = adopt is Adopt.ALWAYS and not self._site.rules(unit, item.ref)
            if is_enough and live is not None and live.document is not None:
                found[item.ref] = live.document
            else:
                unread[item.ref.group, item.ref.kind, item.ref.namespace].append(item)
        for group in unread.values():
            try:
                found |= await read_live(self._site, group)
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                for item in group:
                    self._applier.trouble(unit, item.ref, item.digest, error)
        return found

    async def _judge(
        self, unit: UnitState, item: DesiredObject, document: Document, adopt: Adopt, warned: list[Writer]
    ) -> bool:
        """Whether the object may be taken over; where it may not, why is noted as its trouble."""
        site, ref = self._site, item.ref
        verdict = judge_adoption(document, adopt, now=site.wall_there(), quiet_seconds=site.limits.adopt_quiet_seconds)
        match verdict:
            case Untakeable(owner):
                error = OwnedByOther(
                    f"{ref} belongs to {owner}",
                    why="what another object owns is never taken over",
                    next_step="take it out of the overlay; its owner makes and deletes it",
                )
                self._applier.trouble(unit, ref, item.digest, error)
                return False
            case TooFresh(active, seconds):
                names = ", ".join(str(writer) for writer in active)
                error = WriterActive(
                    f"{ref} is not taken over yet",
                    why=f"{names} wrote it, and may go on; ifNoDiff takes it in {seconds:.0f} s if it stays quiet",
                    next_step=f"stop {active[0].manager} for this object; sync.adopt: always does not wait",
                )
                trouble = self._applier.trouble(unit, ref, item.digest, error)
                unit.troubles[ref] = replace(trouble, next_at=site.clock() + seconds + 1.0)
                return False
            case Takeable(active):
                pass
        if adopt is not Adopt.ALWAYS:
            try:
                error = await self._difference(unit, item, document)
            except ENDS_SESSION:
                raise
            except ClusterError as raised:
                error = raised
            if error is not None:
                self._applier.trouble(unit, ref, item.digest, error)
                return False
        live = unit.contact[ref] = site.judge(unit, ref, document)
        self._allowed[unit.name, ref] = (item.digest, live.resource_version)
        warned += active[:1]
        return True

    async def _difference(self, unit: UnitState, item: DesiredObject, live: Document) -> ObjectForeign | None:
        """What taking the object over would change, asked of the server; None: nothing. Dry-runs store nothing."""
        site, ref = self._site, item.ref
        served, owners = self._applier.served(item), ", ".join(owners_of(live)) or "nobody named"
        body = await self._applier.body(unit, item, live, text_at(live, "metadata", "uid"))
        answer = await site.kube.apply(served, ref.namespace, ref.name, body.raw, force=True, dry_run=True)
        unit.validate_anew()
        unit.validated.add(ref)
        whole, entry = answer.object, own_entry(answer.object)
        if not is_same_but_marked(live, whole):
            return _differs(unit, ref, f"owned by {owners}, and Git would change it")
        move = plan_move(live, body.document, site.rules(unit, ref))
        extras = extras_of(move, entry.fields if entry else {}, whole) if move else ()
        if not extras:
            return None
        patch = removal_patch(live, whole, extras)
        try:
            tried = (await site.kube.patch(served, ref.namespace, ref.name, patch, JSON_PATCH, dry_run=True)).object
        except ObjectInvalid:
            tried = {}
        if is_same_but_marked(whole, tried):
            return None  # the server fills all of them in again
        left = extras_left(whole, tried, extras)
        return _differs(unit, ref, f"{shown_paths(left or extras)} is set by {owners} and not in Git")

    async def _move(
        self, unit: UnitState, item: DesiredObject, document: Document, may: May
    ) -> tuple[Document, Document]:
        """Move the fields; the object as it is then, and the body for it.

        Where the object changed meanwhile, `always` reads it again.
        """
        site, ref = self._site, item.ref
        served, rules, uid = self._applier.served(item), site.rules(unit, ref), text_at(document, "metadata", "uid")
        whole = not document.keys() <= _METADATA
        for _ in range(_STALE_TRIES):
            body = await self._applier.body(unit, item, document, uid)
            move = plan_move(document, body.document, rules)
            if move is None and whole:
                return document, body.document
            if move is not None:
                if move.left:
                    note = f"fields of {', '.join(move.left)} are written at another API version and stay with it"
                    unit.warnings[ref] = (note,)
                try:
                    patch = move_patch(document, move)
                    moved = await site.kube.patch(served, ref.namespace, ref.name, patch, JSON_PATCH, may=may)
                    return moved.object, body.document
                except Conflict:
                    if unit.desired is None or unit.desired.policy.sync.adopt is not Adopt.ALWAYS:
                        raise  # somebody is at work
            fresh = await site.kube.get(served, ref.namespace, ref.name)
            if fresh is None or not self._is_takeable(unit, fresh, uid):
                break
            document, whole = fresh, True
        raise _changed(ref, site.cluster)

    def _is_takeable(self, unit: UnitState, live: Document, uid: str) -> bool:
        """Whether an object that was read again is still the one that was judged, and nobody's."""
        verdict = judge_mark(live, self._site.mark(unit.name))
        judged = judge_adoption(live, Adopt.ALWAYS, now=0.0, quiet_seconds=0.0)
        same = text_at(live, "metadata", "uid") == uid
        return same and self._site.is_nobodys(verdict) and isinstance(judged, Takeable)


def _differs(unit: UnitState, ref: ObjectRef, why: str) -> ObjectForeign:
    return ObjectForeign(
        f"{ref} exists already and is not as in Git",
        why=f"{why}; sync.adopt: ifNoDiff leaves it alone",
        next_step=f"fleet diff {unit.name}; sync.adopt: always takes it over and makes it as in Git",
    )


def _changed(ref: ObjectRef, cluster: str) -> Conflict:
    return Conflict(
        f"{ref} was not taken over",
        where=f"cluster {cluster}",
        why="it changed while it was being taken over",
        next_step="it is tried again by itself",
    )
