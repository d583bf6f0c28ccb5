"""What may not happen without a person: deletions beyond the budget, empty units, foreign kinds and namespaces.

The hub judges deletions across clusters and hands each worker its permits; what is here judges one unit's own share
(R8-R10, R29). Times and counts are handed in; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from fleet.core.asked import Asked
from fleet.core.documents import Document, text_at
from fleet.core.fleet import TeamRights
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.inside import covers, takes_along
from fleet.core.objects import BundleObject, PruneRule
from fleet.core.sync_policy import Budget
from fleet.errors import NotAllowedForTeam, RenderEmpty
from fleet.values import dataclass

# Of a unit of which nobody knows whose it is: in any namespace, and nothing outside of them that was not judged (R5).
UNREAD_TEAM = TeamRights("", (), namespaces=("*",))
FALL_SHARE = 0.5  # R8: a unit that loses more than this share of its objects
_RBAC = "rbac.authorization.k8s.io"
_PRECIOUS = frozenset(
    {
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("apps", "StatefulSet"),
        (_RBAC, "ClusterRole"),
        (_RBAC, "ClusterRoleBinding"),
    }
)
_SHOWN = 3


def is_precious(ref: ObjectRef) -> bool:
    """Whether even one deletion of this kind asks a person (R10)."""
    return (ref.group, ref.kind) in _PRECIOUS


def prune_rule_of(live: Document) -> PruneRule:
    """`fleet.internal/prune` of a live object; a value that is not known asks a person."""
    text = text_at(live, "metadata", "annotations", "fleet.internal/prune")
    if not text:
        return PruneRule.ALLOWED
    try:
        return PruneRule(text)
    except ValueError:
        return PruneRule.CONFIRM


def wave_of(live: Document) -> int:
    """`fleet.internal/wave` of a live object, which no bundle knows any more; 0 where it cannot be read."""
    try:
        return int(text_at(live, "metadata", "annotations", "fleet.internal/wave") or "0")
    except ValueError:
        return 0


@dataclass(frozen=True, slots=True, order=True)
class Approved:
    """One deletion that a person approved: bound to the live object as it was when it was shown (R9)."""

    ref: ObjectRef
    uid: str
    content: Digest  # of the live object then; another content voids the approval
    inside: tuple[str, ...] = ()  # what would have gone with it; more voids the approval too


Approvals = Mapping[tuple[UnitName, Revision], frozenset[Approved]]  # by the unit and the commit that were asked about


def approved_at(approvals: Approvals, unit: UnitName, commit: Revision) -> frozenset[Approved]:
    """What a person approved of a unit for this very commit: by a later one the same deletion is asked about anew."""
    return approvals.get((unit, commit), frozenset())


@dataclass(frozen=True, slots=True)
class Doomed:
    """One object that its unit dropped. uid and content as read from the cluster; "" where not read yet.

    replaced: a generated name whose successor is in the same bundle, or an object that is there under another name: not
    counted, and there until the unit is Healthy without it (R9).
    """

    ref: ObjectRef
    uid: str = ""
    content: Digest = Digest("")  # `fingerprint.content_of` the live object
    prune: PruneRule = PruneRule.ALLOWED
    replaced: bool = False
    wave: int = 0  # of the live object: deletions go from the last wave to the first
    more: bool = False  # it holds what is not ours, and so not under another name (`renames.holds_more`)
    inside: tuple[str, ...] | None = None  # what would go with it now; None: not read


@dataclass(frozen=True, slots=True)
class GuardHold:
    """A stop with its exact list. reason as in HoldRequest; message for people, without the unit's name."""

    reason: str
    message: str
    doomed: tuple[Doomed, ...]


@dataclass(frozen=True, slots=True)
class PruneVerdict:
    """What may be deleted now, what asks a person, what waits for the hub's permit, what is kept on purpose."""

    allowed: tuple[Doomed, ...] = ()
    hold: GuardHold | None = None
    waiting: tuple[Doomed, ...] = ()
    kept: tuple[Doomed, ...] = ()


def judge_prune(
    doomed: Sequence[Doomed],
    *,
    owned: int,
    recent: int,
    budget: Budget,
    permits: Collection[ObjectRef],
    approved: Collection[Approved] = frozenset(),
    before: Collection[Asked] = (),
    prune: bool = True,
) -> PruneVerdict:
    """Say which deletions may run now, and which wait for a person or for the hub.

    owned: objects the unit owns now, `doomed` included, without what `recent` counts: its deletions in the last 3600 s.
    An approval counts only for the very object that was shown, by UID and content; what is approved needs no permit,
    and neither does a replacement, which the hub does not count. What is approved counts as done: it makes no room in
    the budget for the rest of its list. One hold lists all that is neither approved nor kept, because the approval is
    bound to the exact list (R9, R10). before: what a person was asked about and did not approve: it stays held where no
    guard minds any more, because its hour is over or its list is shorter; the rest goes.
    """
    if not prune:
        return PruneVerdict(kept=tuple(doomed))
    kept = tuple(item for item in doomed if item.prune is PruneRule.DISABLED)
    passed = [item for item in doomed if item not in kept and is_approved(item, approved)]
    asked = [item for item in doomed if item not in kept and item not in passed]
    counted = [item for item in asked if not item.replaced]
    done = len(passed)
    found = _first_reason(asked, counted, owned=owned - done, recent=recent + done, budget=budget)
    if found is not None:
        reason, message = found
        # Replacements that no guard minds go on: their unit would else never settle on its new names.
        free = [item for item in asked if item.replaced and _is_free(item)]
        held = tuple(item for item in asked if not (item.replaced and _is_free(item)))
        return PruneVerdict((*passed, *free), GuardHold(reason, message, held), kept=kept)
    hold = _asked_again(asked, before)
    rest = asked if hold is None else [item for item in asked if item not in hold.doomed]
    allowed = [item for item in rest if item.replaced or item.ref in permits]
    waiting = tuple(item for item in rest if item not in allowed)
    return PruneVerdict((*passed, *allowed), hold, waiting, kept)


def _asked_again(asked: Sequence[Doomed], before: Collection[Asked]) -> GuardHold | None:
    """A hold of what a person was asked about before. What is there under another name by now is no deletion (R9)."""
    reasons = {each.ref: each.reason for each in before}
    again = tuple(item for item in asked if item.ref in reasons and not (item.replaced and _is_free(item)))
    if not again:
        return None
    refs = sorted(_refs(again))
    message = f"would delete {list_of(refs)}, which was asked about before and not approved"
    return GuardHold(reasons[refs[0]], message, again)


def approval_of(item: Doomed, approved: Collection[Approved]) -> Approved | None:
    """What a person approved of this very object, by UID and content; what goes with it may be more by now."""
    plain = Approved(item.ref, item.uid, item.content)
    if not item.uid:
        return None
    if not takes_along(item.ref):
        return plain if plain in approved else None
    return next((each for each in approved if replace(each, inside=()) == plain), None)


def is_approved(item: Doomed, approved: Collection[Approved]) -> bool:
    """Whether a person approved this deletion, with all that goes with it now; what was not read is not (R5)."""
    found = approval_of(item, approved)
    if found is None or not takes_along(item.ref):
        return found is not None
    return item.inside is not None and covers(found.inside, item.inside)


def _is_free(item: Doomed) -> bool:
    return not is_precious(item.ref) and item.prune is PruneRule.ALLOWED


def _first_reason(
    asked: Sequence[Doomed], counted: Sequence[Doomed], *, owned: int, recent: int, budget: Budget
) -> tuple[str, str] | None:
    """The first guard that says stop: its reason and a message."""
    precious = [item.ref for item in asked if is_precious(item.ref)]
    if precious:
        return "precious-kind", f"would delete {list_of(precious)}"
    confirm = [item.ref for item in asked if item.prune is PruneRule.CONFIRM]
    if confirm:
        return "prune-confirm", f"would delete {list_of(confirm)}, marked prune: confirm"
    if not counted:
        return None
    # Share of what was there an hour ago: a slow trickle must not lower its own bar.
    total, had = recent + len(counted), owned + recent
    if total > FALL_SHARE * had:
        return "sharp-fall", f"would delete {total} of {had} objects within an hour: {list_of(_refs(counted))}"
    if total > budget.objects:
        return "prune-budget", f"would delete {total} objects within an hour, more than {budget.objects}"
    if had >= budget.share_from and total > budget.share * had:
        return "prune-budget", f"would delete {total} of {had} objects within an hour, more than {budget.share:.0%}"
    return None


def _refs(items: Iterable[Doomed]) -> list[ObjectRef]:
    return [item.ref for item in items]


def list_of(refs: Sequence[ObjectRef]) -> str:
    """Objects as people read them: the first three by name, the others counted."""
    names = [str(ref) for ref in sorted(refs)]
    shown, more = names[:_SHOWN], len(names) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def judge_empty(unit: UnitName, *, wanted: int, owned: int, allow_empty: bool) -> RenderEmpty | None:
    """Zero objects are an error unless the unit says `allowEmpty` in the same commit (R8)."""
    if wanted or allow_empty:
        return None
    why = f"the unit owns {owned} objects, which stay" if owned else "its kustomization holds nothing"
    return RenderEmpty(
        f"{unit} renders to zero objects", why=why, next_step="put the objects back, or say allowEmpty: true"
    )


def judge_force(
    obj: BundleObject,
    *,
    reason: str,
    owned: int,
    recent: int,
    budget: Budget,
    approved: Collection[Approved] = frozenset(),
    before: Collection[Asked] = (),
    live: Doomed | None = None,
) -> PruneVerdict | None:
    """Whether an object may be deleted and made anew, which counts as a deletion (R15, R29).

    None: it does not ask for that (`fleet.internal/replace: enabled`), so the error stands. live: the object as read;
    reason: what cannot be changed in place, for the message of a hold. An object's own annotation is the reason for
    its deletion (V1), so no permit of the hub is needed; precious kinds and the budget ask a person all the same.
    """
    if not obj.options.replace:
        return None
    item = live or Doomed(obj.ref)
    verdict = judge_prune(
        [item],
        owned=owned,
        recent=recent,
        budget=budget,
        permits=frozenset({obj.ref}),
        approved=approved,
        before=before,
    )
    if verdict.hold is None:
        return verdict
    message = f"would delete {obj.ref} and make it anew: {reason}"
    return PruneVerdict(hold=GuardHold(verdict.hold.reason, message, verdict.hold.doomed))


def judge_hook_deletion(live: Doomed, *, approved: Collection[Approved]) -> PruneVerdict:
    """Whether a hook's object may go by its own `hook-delete` annotation.

    That is the reason for it (V1), so it needs no permit and counts against no budget, as a replaced name; but precious
    kinds and `prune: confirm` ask a person all the same, and `prune: disabled` keeps it (R10).
    """
    item = replace(live, replaced=True)
    verdict = judge_prune([item], owned=1, recent=0, budget=Budget(), permits=frozenset({item.ref}), approved=approved)
    if verdict.hold is None:
        return verdict
    message = f"would delete {item.ref}, as its hook-delete annotation asks"
    return PruneVerdict(hold=GuardHold(verdict.hold.reason, message, verdict.hold.doomed))


def judge_team_rights(
    objects: Iterable[BundleObject], rights: TeamRights, *, where: str = ""
) -> tuple[NotAllowedForTeam, ...]:
    """Every object that a team may not have (R29), each as an error; empty: all are allowed.

    kinds: `Deployment`, or `Deployment.apps` where a kind exists in several groups. Kinds outside namespaces are
    allowed only where `kinds` names them, and a Namespace only where its name is among the team's namespaces.
    """
    judged = ((obj.ref, _why_refused(obj, rights)) for obj in objects)
    return tuple(_not_allowed(ref, rights, where, why) for ref, why in judged if why)


def judge_place(ref: ObjectRef, rights: TeamRights, *, where: str = "") -> NotAllowedForTeam | None:
    """Whether a team may have an object where its cluster keeps it, which a commit cannot say of every kind (R29).

    ref: without the namespace that the commit gave it, because this cluster keeps the kind outside of all.
    """
    if why := _why_not_there(ref, rights):
        return _not_allowed(ref, rights, where, f"{why}; its namespace means nothing to this cluster")
    return None


def _not_allowed(ref: ObjectRef, rights: TeamRights, where: str, why: str) -> NotAllowedForTeam:
    if rights == UNREAD_TEAM:
        return NotAllowedForTeam(
            f"{ref} may be more than its team may have",
            where=where,
            why=f"nobody knows which team that is, because its file cannot be read; {why}",
            next_step="fleet validate",
        )
    return NotAllowedForTeam(
        f"{ref} is not allowed for team {rights.name}",
        where=where,
        why=why,
        next_step=f"take it out, or widen team {rights.name} in fleet.yaml",
    )


def may_hold(ref: ObjectRef, rights: TeamRights) -> bool:
    """Whether an object of this kind and place may be among what a team holds (R29)."""
    return not _why_not_there(ref, rights)


def _why_refused(obj: BundleObject, rights: TeamRights) -> str:
    if why := _why_not_there(obj.ref, rights):
        return why
    if obj.options.replace and not rights.replace:
        return "replace: enabled deletes the object, which the team may not"
    return ""


def _why_not_there(ref: ObjectRef, rights: TeamRights) -> str:
    names = {ref.kind, f"{ref.kind}.{ref.group}" if ref.group else ref.kind}
    if rights.kinds is not None and not names & set(rights.kinds):
        return f"kind {ref.kind} is not among its kinds"
    if rights.namespaces is not None:
        is_namespace = ref.group == "" and ref.kind == "Namespace"
        place = ref.name if is_namespace else ref.namespace
        if place and not any(fnmatchcase(place, pattern) for pattern in rights.namespaces):
            return f"namespace {place} is not among its namespaces"
        if not place and (rights.kinds is None or not names & set(rights.kinds)):
            return f"kind {ref.kind} is outside namespaces and not named in its kinds"
    return ""
