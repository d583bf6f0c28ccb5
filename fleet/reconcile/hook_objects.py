"""The objects of hooks on a cluster: read, applied over exactly what was read, and deleted.

What another overlay wants, owns or has marked is neither written nor deleted by a hook of the same name (R4, R16).
"""

from __future__ import annotations

import orjson

from fleet.core.documents import Document, text_at
from fleet.core.fingerprint import content_of
from fleet.core.guard import Approved, Doomed, judge_hook_deletion, prune_rule_of
from fleet.core.hooks import held_back
from fleet.core.ids import ObjectRef, OverlayName
from fleet.core.options import is_hook
from fleet.core.plan import Claims, DesiredObject
from fleet.core.record import MarkKind, MarkVerdict, judge_mark
from fleet.core.rollout import Apply
from fleet.errors import Conflict, OwnedByOther, PruneStuck
from fleet.ports.kube import Answer, May, ServedKind
from fleet.reconcile.apply import ABSENT_VERSION, Applier
from fleet.reconcile.deletion import Deleter, created_at
from fleet.reconcile.holds import Holds
from fleet.reconcile.memory import UnitState
from fleet.reconcile.not_ours import NotOurs, refusal_of
from fleet.reconcile.parent import Parents
from fleet.reconcile.site import Site

_STALE_TRIES = 3


class HookObjects:
    """Hook objects of all units of one site."""

    def __init__(self, site: Site, applier: Applier, deleter: Deleter, holds: Holds, parents: Parents) -> None:
        self._site, self._applier, self._deleter, self._holds = site, applier, deleter, holds
        self._parents = parents

    def claimants(self, unit: UnitState, ref: ObjectRef, claims: Claims) -> frozenset[OverlayName]:
        """Other overlays that want this object or hold it in their record (R16)."""
        owner = self._site.owners.get(ref)
        others = claims.others(ref, unit.name.overlay)
        return others | {owner.overlay} if owner is not None and owner != unit.name else others

    def refuse_claimed(self, unit: UnitState, ref: ObjectRef, claims: Claims) -> None:
        """Raise NotOurs where another overlay claims this object."""
        if others := self.claimants(unit, ref, claims):
            who = ", ".join(sorted(others))
            raise NotOurs(
                OwnedByOther(
                    f"hook {ref} was not started: it is also in overlay {who}",
                    why="two overlays may not claim one object",
                    next_step="give the hook a name of its own",
                )
            )

    async def refuse_recorded(self, unit: UnitState, ref: ObjectRef, served: ServedKind) -> None:
        """Raise PruneStuck where an object of the record would become a hook's: its deletion needs no permit (R9)."""
        if ref not in unit.rows:
            return
        if await self._site.kube.get(served, ref.namespace, ref.name, metadata_only=True) is None:
            await self._deleter.found_gone(unit, [ref])
            return
        raise PruneStuck(
            f"hook {ref} was not started: it was an ordinary object of this overlay until now",
            why="a hook's object goes without a budget, and nobody agreed to lose this one",
            next_step="give the hook a name of its own",
        )

    async def read(self, unit: UnitState, ref: ObjectRef, served: ServedKind, claims: Claims | None) -> Document | None:
        """The object under a hook's name, None where there is none; raises NotOurs on one that is not ours (R4).

        claims: by which what a hook of another overlay left is ours too; None where our own mark alone will do.
        """
        site = self._site
        live = await site.kube.get(served, ref.namespace, ref.name)
        if live is None:
            return None
        verdict = judge_mark(live, site.mark(unit.name))
        moved, left = claims is not None and await self._is_left_over(live, verdict, claims), site.is_nobodys(verdict)
        if foreign := refusal_of(ref, verdict, moved=moved, left=left):
            foreign.next_step = "give the hook a name of its own"
            raise NotOurs(foreign)
        return live

    async def _is_left_over(self, live: Document, verdict: MarkVerdict, claims: Claims) -> bool:
        """Whether a hook of an overlay that does not have it any more left this: it moved here, or was renamed."""
        other = OverlayName(verdict.who)
        # Of one that a person suspended nothing is written to, its hooks included (R17).
        if verdict.kind is not MarkKind.OTHER_UNIT or claims.keeps(other) or not is_hook(live):
            return False
        return claims.is_known(other) or await self._parents.is_gone(other)

    async def create(
        self,
        unit: UnitState,
        hook: DesiredObject,
        served: ServedKind,
        live: Document | None,
        claims: Claims,
        may: May,
        *,
        suspended: bool = False,
        fresh: bool = False,
    ) -> Answer:
        """Apply a hook's object over exactly this state; one of somebody else that came meanwhile stays (R4).

        fresh: we have just made it, and its controller may have written to it since; may: asked just before it is sent.
        """
        self._applier.refuse_forbidden(unit, hook)
        ref = hook.ref
        uid, version = ("", ABSENT_VERSION) if live is None else _identity_of(live)
        version = "" if fresh else version
        body = await self._applier.body(unit, hook, live, uid, version)
        raw = orjson.dumps(held_back(body.document)) if suspended else body.raw
        try:
            return await self._site.kube.apply(served, ref.namespace, ref.name, raw, may=may)
        except Conflict:
            await self.read(unit, ref, served, claims)
            raise

    async def delete(
        self,
        unit: UnitState,
        ref: ObjectRef,
        served: ServedKind,
        claims: Claims,
        may: May,
        reason: str,
        *,
        uid: str = "",
    ) -> bool:
        """Delete a hook's object of ours in the state that was just read (R11); True once it is gone.

        uid: another object under this name is none of it, and counts as gone. A precious one asks a person first (R10).
        Raises NotOurs, PruneStuck where it is to be kept, and ClusterError; one that changes meanwhile is read again a
        few times.
        """
        site, tries = self._site, 0
        while (live := await self._read_doomed(unit, ref, served, claims if not uid else None)) is not None:
            found, version = _identity_of(live)
            if uid and found != uid:
                unit.replace_holds.pop(ref, None)
                return True
            if text_at(live, "metadata", "deletionTimestamp"):
                return False
            if not await self._may_go(unit, ref, live):
                return False
            tries += 1
            try:
                left = await site.delete(unit, ref, served, may, uid=found, reason=reason, version=version)
            except Conflict:
                if tries == _STALE_TRIES:
                    raise
                continue
            if left is not None:
                return False
            break
        unit.replace_holds.pop(ref, None)
        site.view.drop(ref)
        return True

    async def _read_doomed(
        self, unit: UnitState, ref: ObjectRef, served: ServedKind, claims: Claims | None
    ) -> Document | None:
        """As `_read`; nobody is asked any more about an object that turns out not to be ours."""
        try:
            return await self.read(unit, ref, served, claims)
        except NotOurs:
            unit.replace_holds.pop(ref, None)
            raise

    async def _may_go(self, unit: UnitState, ref: ObjectRef, live: Document) -> bool:
        """Whether no guard minds, else it is held; raises PruneStuck where it is kept on purpose."""
        action = unit.desired.action if unit.desired is not None else None
        approved = action.approved if isinstance(action, Apply) else frozenset[Approved]()
        content = content_of(live, key=self._site.key)
        doomed = Doomed(ref, text_at(live, "metadata", "uid"), content, prune_rule_of(live))
        doomed = await self._holds.with_inside(unit, doomed, approved)
        verdict = judge_hook_deletion(doomed, approved=approved)
        if verdict.hold is not None:
            created = self._site.as_ours(created_at(live))
            await self._holds.ask_for(unit, doomed, verdict.hold, created)
            return False
        unit.replace_holds.pop(ref, None)
        if not verdict.allowed:
            raise PruneStuck(
                f"hook {ref} was not started: what its last run left is still there",
                why="prune: disabled on that object keeps it",
                next_step="delete it by hand, or give the hook a name of its own",
            )
        return True


def _identity_of(live: Document) -> tuple[str, str]:
    """UID and resourceVersion."""
    return text_at(live, "metadata", "uid"), text_at(live, "metadata", "resourceVersion")
