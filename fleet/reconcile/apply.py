"""Writes single objects by server-side apply, manager `fleet`; what comes back is at once the new row and the new view.

Never forced blindly: a conflict is forced once, with the UID and resourceVersion of the state that showed it, and only
over fields of our own last applied set (R17). A write without an answer is read before it is repeated (R20).
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from fleet.core.conflicts import Conflicting, Contested, ForceOnce, judge_conflict
from fleet.core.documents import Document, mapping_at, text_at
from fleet.core.fingerprint import recorded_after
from fleet.core.ids import Digest, ObjectRef
from fleet.core.ignore import plan_handover, strip_ignored
from fleet.core.objects import HANDOVER_MANAGER, is_secret, seals_of, unsealed
from fleet.core.plan import DesiredObject
from fleet.core.record import Row, RowState, judge_mark, mark_body
from fleet.core.retry import REFUSALS, Backoff, next_wait
from fleet.errors import (
    ClusterError,
    Conflict,
    FieldConflict,
    FleetError,
    KindNotServed,
    NotFound,
    ObjectInvalid,
    ReconcileError,
    Retry,
    TooManyRequests,
    Withdrawn,
)
from fleet.ports.kube import Answer, May, ServedKind
from fleet.reconcile.judging import as_ended, live_after
from fleet.reconcile.memory import Trouble, UnitState
from fleet.reconcile.not_ours import NotOurs, refusal_of
from fleet.reconcile.reading import beyond_team
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import UNKNOWN_RESULT, Site, outcome_of, serves
from fleet.values import dataclass

_STALE_TRIES = 3
# No object is ever at this resourceVersion (the store's numbers begin above it): an apply that carries it creates, and
# answers 409 where the object exists, so that nothing is taken over that came since we looked (R4; decision 5).
ABSENT_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent for one object. Holds clear Secret values: it lives for one write and is never logged."""

    document: Document
    raw: bytes


class Applier:
    """Writes objects of any unit of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def write(self, unit: UnitState, wanted: DesiredObject, may: May, *, adopted: Document | None = None) -> bool:
        """Make one object as desired; False when that failed, with the trouble noted in the unit.

        The record must hold the object already (R12). What ends the session is raised.
        may: asked just before anything is sent (R17); where it says no, there is no trouble either.
        adopted: an object without our mark that is taken over in this state of it; its fields have moved to us.
        """
        site, ref = self._site, wanted.ref
        site.in_flight.add(ref)

        def leaves() -> bool:
            """As `may`. The turn ends here: until then its cluster may be connected to, and thousands are at once."""
            site.share.end()
            return may()

        try:
            self.refuse_forbidden(unit, wanted)
            if adopted is None:
                answer, body = await self._write(unit, wanted, leaves)
            else:
                uid = text_at(adopted, "metadata", "uid")
                served = self.served(wanted)
                answer, body = await self._write_over(unit, wanted, served, adopted, leaves, adopted_uid=uid)
            self._note(unit, wanted, answer, body)
        except ENDS_SESSION:
            raise
        except NotOurs as refused:
            self.trouble(unit, ref, wanted.digest, refused.error)
            return False
        except Withdrawn:
            return False
        except (ClusterError, ReconcileError) as error:
            self.trouble(unit, ref, wanted.digest, error)
            return False
        finally:
            site.in_flight.discard(ref)
            site.unstash(ref)
        unit.troubles.pop(ref, None)
        return True

    async def body(
        self, unit: UnitState, wanted: DesiredObject, live: Document | None, uid: str, version: str = ""
    ) -> Body:
        """The document to send: marked, ignored fields left out, Secret values put back, preconditions in."""
        site, ref = self._site, wanted.ref
        document = await self.plain_body(unit, wanted)
        metadata = dict(mapping_at(document, "metadata"))
        if ref.namespace:
            metadata["namespace"] = ref.namespace
        else:
            metadata.pop("namespace", None)
        if uid:
            metadata["uid"] = uid
        if version:
            metadata["resourceVersion"] = version
        document["metadata"] = metadata
        if rules := site.rules(unit, ref):
            document = strip_ignored(document, live, rules)
        if is_secret(ref) and (seals := seals_of(document)):
            document = unsealed(document, await site.library.secrets(seals))
        return Body(document, orjson.dumps(document))

    async def plain_body(self, unit: UnitState, wanted: DesiredObject) -> Document:
        """The marked document, Secret values sealed, before anything of this cluster is put in or left out."""
        site = self._site
        assert unit.bundle is not None  # wanted objects come from a bundle
        source = await site.library.object(unit.bundle, wanted.source)
        return mark_body(source.document(), site.mark(unit.name))

    def is_troubled(self, unit: UnitState, wanted: DesiredObject) -> bool:
        """Whether an object was refused as it is wanted now, and its next try is not due yet."""
        trouble = unit.troubles.get(wanted.ref)
        return trouble is not None and trouble.digest == wanted.digest and trouble.next_at > self._site.clock()

    def trouble(self, unit: UnitState, ref: ObjectRef, digest: Digest, error: FleetError) -> Trouble:
        """Note what stopped an object and when it is tried again."""
        site, now = self._site, self._site.clock()
        before = unit.troubles.get(ref)
        again = before is not None and before.digest == digest and before.reason == error.reason
        tries = before.tries + 1 if before is not None and again else 1
        if isinstance(error, TooManyRequests):
            site.pace.slow_down()
        soon = Backoff(site.limits.retry_first_seconds, site.limits.retry_most_seconds)
        # A namespace that is not there yet comes with another unit, as a rule within seconds.
        bounds = soon if error.retry is Retry.SOON or isinstance(error, NotFound) else REFUSALS
        wait = before.wait if before is not None and again else 0.0
        wait = next_wait(wait, site.random(), bounds)
        row = unit.rows.get(ref)
        if isinstance(error, UNKNOWN_RESULT) and row is not None and row.state is not RowState.DELETING:
            site.put_row(unit, replace(row, state=RowState.INTENDED))
        since = before.since if before is not None and again else site.wall()
        found = Trouble(
            reason=error.reason,
            message=f"{error.what}: {error.why}" if error.why else error.what,
            next_step=error.next_step,
            digest=digest,
            tries=tries,
            wait=wait,
            next_at=now + wait,
            since=since,
            look_first=isinstance(error, UNKNOWN_RESULT),
        )
        unit.troubles[ref] = found
        return found

    async def _write(self, unit: UnitState, wanted: DesiredObject, may: May) -> tuple[Answer, Body]:
        site, ref = self._site, wanted.ref
        served = self.served(wanted)
        live = site.view.find(ref)
        seen = live.document if live else None
        if live is not None and seen is None and site.rules(unit, ref):
            seen = await site.kube.get(served, ref.namespace, ref.name)  # which fields are ignored depends on it
        if seen is not None:
            return await self._write_over(unit, wanted, served, seen, may)
        row = unit.rows.get(ref)
        uid = row.uid if row is not None and live is not None else ""
        body = await self.body(unit, wanted, None, uid, "" if uid else ABSENT_VERSION)
        try:
            return await site.kube.apply(served, ref.namespace, ref.name, body.raw, may=may), body
        except (Conflict, ObjectInvalid) as error:
            current = await site.kube.get(served, ref.namespace, ref.name)
            if current is None and uid:  # it vanished since it was recorded: made anew
                return await self._create(unit, wanted, served, may)
            same = current is not None and uid in ("", text_at(current, "metadata", "uid"))
            if current is None or (same and isinstance(error, ObjectInvalid)):
                raise
            return await self._write_over(unit, wanted, served, current, may)

    async def _write_over(
        self,
        unit: UnitState,
        wanted: DesiredObject,
        served: ServedKind,
        current: Document,
        may: May,
        *,
        adopted_uid: str = "",
    ) -> tuple[Answer, Body]:
        """Apply over a known live state; re-read a bounded number of times while it changes under us."""
        site, ref = self._site, wanted.ref
        for _ in range(_STALE_TRIES):
            row = unit.rows.get(ref)
            self._refuse_foreign(unit, ref, current, row, adopted_uid)
            found = None
            try:
                current = await self._hand_over(unit, wanted, served, current, may)
                uid = text_at(current, "metadata", "uid")
                body = await self.body(unit, wanted, current, uid)
                # What was only intended counts for what we made, not for what somebody else had made before us.
                is_ours = row is not None and not (adopted_uid and row.state is RowState.INTENDED)
                found = judge_conflict(current, body.document, row.fields if row and is_ours else b"")
                if isinstance(found, ForceOnce):
                    body = await self.body(unit, wanted, current, uid, found.resource_version)
                    reason = f"fields of ours taken by {_names(found.fields)}"
                    return await self._force(unit, ref, served, body, may, uid=uid, reason=reason), body
                return await site.kube.apply(served, ref.namespace, ref.name, body.raw, may=may), body
            except Conflict as error:
                if isinstance(found, Conflicting):
                    raise _field_conflict(ref, found.fields) from error
                fresh = await site.kube.get(served, ref.namespace, ref.name)
                if fresh is None:
                    return await self._create(unit, wanted, served, may)
                current = fresh
        raise Conflict(
            f"{ref} could not be applied",
            where=f"cluster {site.cluster}",
            why=f"it changed {_STALE_TRIES} times while it was being written",
            next_step="it is tried again by itself",
        )

    async def _force(
        self, unit: UnitState, ref: ObjectRef, served: ServedKind, body: Body, may: May, *, uid: str, reason: str
    ) -> Answer:
        """The one forced apply of an event, with evidence before and after (R17, R43)."""
        site = self._site
        await site.audited(unit, ref, "force", uid=uid, reason=reason, outcome="")
        try:
            answer = await site.kube.apply(served, ref.namespace, ref.name, body.raw, force=True, may=may)
        except FleetError as error:
            await site.audited(unit, ref, "force", uid=uid, reason=reason, outcome=outcome_of(error), after=uid)
            raise
        await site.audited(unit, ref, "force", uid=uid, reason=reason, outcome="done", after=uid)
        return answer

    async def _create(
        self, unit: UnitState, wanted: DesiredObject, served: ServedKind, may: May
    ) -> tuple[Answer, Body]:
        """Apply an object that the server just said is not there."""
        body = await self.body(unit, wanted, None, "", ABSENT_VERSION)
        ref = wanted.ref
        return await self._site.kube.apply(served, ref.namespace, ref.name, body.raw, may=may), body

    async def _hand_over(
        self, unit: UnitState, wanted: DesiredObject, served: ServedKind, current: Document, may: May
    ) -> Document:
        """Give fields that became ignored to their own manager first, or our next apply would delete them."""
        site, ref = self._site, wanted.ref
        rules = site.rules(unit, ref)
        if not rules:
            return current
        assert unit.bundle is not None  # wanted objects come from a bundle
        whole = (await site.library.object(unit.bundle, wanted.source)).document()
        handover = plan_handover(current, rules, whole)
        if handover is None:
            return current
        answer = await site.kube.apply(
            served, ref.namespace, ref.name, orjson.dumps(handover), manager=HANDOVER_MANAGER, may=may
        )
        return answer.object

    def _refuse_foreign(
        self, unit: UnitState, ref: ObjectRef, current: Document, row: Row | None, adopted_uid: str
    ) -> None:
        verdict = judge_mark(current, self._site.mark(unit.name), known_uid=row.uid if row else "")
        uid = text_at(current, "metadata", "uid")
        if adopted_uid and adopted_uid == uid and self._site.is_nobodys(verdict):
            return
        moved = row is not None and row.uid == uid
        if error := refusal_of(ref, verdict, moved=moved, left=self._site.is_nobodys(verdict)):
            unit.contact[ref] = self._site.judge(unit, ref, current)

            raise NotOurs(error)

    def _note(self, unit: UnitState, wanted: DesiredObject, answer: Answer, body: Body) -> None:
        """Take the answer as the new row and the new live state; nothing is compared."""
        site, ref = self._site, wanted.ref
        rules = site.rules(unit, ref)
        row = unit.rows.get(ref) or Row(unit.name, ref, RowState.INTENDED)
        new = recorded_after(
            row, body.document, answer.object, wanted.digest, rules=rules, key=site.key, at=site.wall()
        )
        site.put_row(unit, new)
        if new.fingerprint:
            live = live_after(new, answer.object, site.health_rules(unit), at=new.since)
            site.put_live(ref, live)
        else:
            live = site.see(unit, ref, answer.object)
        new = as_ended(new, live)
        site.put_row(unit, new)
        site.changed_rows.append(new)
        if answer.warnings:
            unit.warnings[ref] = answer.warnings

    def refuse_forbidden(self, unit: UnitState, wanted: DesiredObject) -> None:
        """Raise NotOurs where the unit's team may not have the object in its place on this cluster (R29).

        Asked at each write too: the cluster may have said where it keeps the kind since the list was made.
        """
        ref = wanted.ref
        error = unit.forbidden.get(ref)
        served = self._site.served(ref, wanted.source.version)
        if error is None and ref.namespace and served is not None and not served.namespaced:
            error = beyond_team(self._site, unit.desired, replace(ref, namespace=""))
        if error is not None:
            raise NotOurs(error)

    def served(self, wanted: DesiredObject) -> ServedKind:
        """The kind that an object is written at; raises KindNotServed."""
        served = self._site.served(wanted.ref, wanted.source.version)
        if served is None or not serves(served, wanted.source.version):
            raise KindNotServed(
                f"{wanted.ref} was not applied",
                where=f"cluster {self._site.cluster}",
                why=f"the cluster does not serve {wanted.source.api_version} {wanted.ref.kind}",
                next_step="bring its CustomResourceDefinition along, or in an overlay this one depends on",
            )
        return served


def _field_conflict(ref: ObjectRef, fields: tuple[Contested, ...]) -> FieldConflict:
    return FieldConflict(
        f"{ref} was not changed: {', '.join(sorted({field.path for field in fields}))}",
        why=f"held by {_names(fields)}, and never applied by fleet",
        next_step="leave the field out of the overlay, or list it in ignoreDifferences",
    )


def _names(fields: tuple[Contested, ...]) -> str:
    return ", ".join(sorted({field.manager for field in fields}))
