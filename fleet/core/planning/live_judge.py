"""What clusters say to a change before it is merged: what would fail, be overwritten, or wait there.

Judged from what was read of one object, by dry-run where rights allow it; without one, by the few rules that can be
told from the documents alone, and then it says so. Values of Secrets are never in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fleet.core.adopt import active_writers, owners_of
from fleet.core.diff import diff_fields, is_same_value
from fleet.core.documents import Document
from fleet.core.field_diff import FieldDrift
from fleet.core.fingerprint import own_entry
from fleet.core.guard import is_precious, prune_rule_of
from fleet.core.hooks import collides
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.ignore import rules_for
from fleet.core.objects import HookDelete, Mark, ObjectOptions, PruneRule, is_secret, ref_of
from fleet.core.options import is_hook
from fleet.core.parent import Parent
from fleet.core.planning.change import ObjectChange, Sign
from fleet.core.planning.fixed import immutable_changes
from fleet.core.planning.live import Danger, LiveFinding
from fleet.core.record import MarkKind, judge_mark
from fleet.core.sync_policy import Adopt, IgnoreRule
from fleet.errors import FleetError, Forbidden, ImmutableField
from fleet.values import dataclass, field

ACTIVE_SECONDS = 3600.0  # who wrote within the last hour may well do so again


_PATHS_SHOWN = 3
BARRED = "this result was taken back there: it is not rolled out again until a person lets it"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of one object. Bodies carry our marks.

    before, after: as the two commits have it, None where one does not; refused: the answer to the dry-run; exact: a
    dry-run was made, or none is needed.
    """

    change: ObjectChange
    live: Document | None
    before: Document | None = None
    after: Document | None = None
    refused: FleetError | None = None
    exact: bool = True
    options: ObjectOptions = field(default_factory=ObjectOptions)  # of the object as it is afterwards


@dataclass(frozen=True, slots=True)
class Setting:
    """Of one unit. holds_base: False where the cluster holds another result than the base says."""

    overlay: OverlayName
    cluster: ClusterName
    mark: Mark
    adopt: Adopt
    ignore: Sequence[IgnoreRule] = ()
    holds_base: bool = True
    now: float = 0.0  # wall clock, seconds since the epoch


def judge_object(seen: Seen, setting: Setting) -> Iterator[LiveFinding]:
    """All that one object's state says about its change."""
    if seen.live is not None:
        yield from _owner(seen, setting)
        yield from _writers(seen, setting)
    if seen.change.sign is Sign.DELETE:
        return
    yield from _refusal(seen, setting)
    if seen.live is not None and seen.before is not None and setting.holds_base:
        yield from _drift(seen, setting)


def judge_barred(name: UnitName, after: Digest, parent: Parent) -> Iterator[LiveFinding]:
    """Whether the unit's parent object says that this result was taken back there."""
    if after in parent.quarantined:
        yield LiveFinding(Danger.BARRED, name.overlay, name.cluster, BARRED, None, f"fleet describe unit {name}")


def judge_kept(live: Document, ref: ObjectRef, mark: Mark, cluster: ClusterName) -> Iterator[LiveFinding]:
    """What becomes of an object that its unit does not want any more, now that nothing keeps it."""
    rule = prune_rule_of(live)
    if judge_mark(live, mark).ours and rule is not PruneRule.DISABLED and not is_hook(live):
        asks = ", after a person was asked" if is_precious(ref) or rule is PruneRule.CONFIRM else ""
        message = f"was kept until now by sync.prune: false, and is deleted{asks}"
        next_step = "fleet.internal/prune: disabled on it keeps it"
        yield LiveFinding(Danger.GOES, OverlayName(mark.overlay), cluster, message, ref, next_step)


def _finding(danger: Danger, seen: Seen, setting: Setting, message: str, next_step: str = "") -> LiveFinding:
    return LiveFinding(danger, setting.overlay, setting.cluster, message, seen.change.ref, next_step)


def _owner(seen: Seen, setting: Setting) -> Iterator[LiveFinding]:
    live = seen.live or {}
    verdict = judge_mark(live, setting.mark)
    match verdict.kind:
        case MarkKind.OURS | MarkKind.LABEL_LOST:
            return
        case MarkKind.UNMARKED | MarkKind.COPIED:
            by = ", ".join(owners_of(live)) or "nobody who can be named"
            if setting.adopt is Adopt.NEVER:
                message = f"is there already and is not ours (set by {by}): it stays as it is"
                yield _finding(Danger.OWNER, seen, setting, message, "sync.adopt: ifNoDiff or always takes it over")
            else:
                message = f"is there already, set by {by}: sync.adopt is {setting.adopt.value}"
                yield _finding(Danger.OWNER, seen, setting, message)
        case MarkKind.ANNOTATION_LOST:
            message = "has lost our annotation: it is neither changed nor deleted"
            yield _finding(Danger.OWNER, seen, setting, message, "put the annotation back, or let the object go")
        case MarkKind.OTHER_UNIT:
            if not seen.change.moved_to and seen.change.moved_from != verdict.who:
                message = f"belongs to overlay {verdict.who}: neither of both changes it while both want it"
                yield _finding(Danger.OWNER, seen, setting, message)
        case MarkKind.OTHER_INSTALLATION | MarkKind.FORGED:
            yield _finding(Danger.OWNER, seen, setting, f"carries the mark of {verdict.who}: it stays as it is")


def _writers(seen: Seen, setting: Setting) -> Iterator[LiveFinding]:
    active = active_writers(seen.live or {}, now=setting.now, quiet_seconds=ACTIVE_SECONDS)
    if active:
        named = ", ".join(map(str, active[:_PATHS_SHOWN]))
        message = f"is still written by {named}"
        yield _finding(Danger.WRITER, seen, setting, message, "stop it first, or ignoreDifferences for its fields")


def _refusal(seen: Seen, setting: Setting) -> Iterator[LiveFinding]:
    is_fixed = isinstance(seen.refused, ImmutableField)
    if seen.options.hook is not None and seen.live is not None and (seen.refused is None or is_fixed):
        yield from _rerun(seen, setting)
    elif seen.refused is not None and not isinstance(seen.refused, Forbidden):
        why = "" if is_secret(seen.change.ref) else f": {seen.refused.why}" if seen.refused.why else ""
        if is_fixed:
            yield _fixed(seen, setting, f"a field cannot be changed{why}")
        else:
            danger = _of_refusal(seen.refused)
            yield _finding(danger, seen, setting, f"the API server refuses it{why}", seen.refused.next_step)
    elif not seen.exact and seen.live is not None and seen.after is not None:
        for path in immutable_changes(seen.live, seen.after):
            yield replace(_fixed(seen, setting, f"{path} cannot be changed"), approximate=True)


def _fixed(seen: Seen, setting: Setting, why: str) -> LiveFinding:
    """What becomes of an object that cannot be changed in place. What moves is never made anew (R16)."""
    if seen.change.moved_from:
        next_step = "a new name; or move it as it is"
        return _finding(Danger.IMMUTABLE, seen, setting, f"the apply will fail, {why}", next_step)
    if not seen.options.replace or seen.options.prune is PruneRule.DISABLED:
        next_step = "a new name; or fleet.internal/replace: enabled"
        return _finding(Danger.IMMUTABLE, seen, setting, f"the apply will fail, {why}", next_step)
    is_asked = is_precious(seen.change.ref) or seen.options.prune is PruneRule.CONFIRM
    asks = ", after a person was asked" if is_asked else ""
    return _finding(Danger.GOES, seen, setting, f"is deleted and made anew (fleet.internal/replace){asks}, as {why}")


def _rerun(seen: Seen, setting: Setting) -> Iterator[LiveFinding]:
    """A hook's object of an earlier run goes before the next one, or stands in its way."""
    if HookDelete.BEFORE_CREATION not in seen.options.hook_delete and collides(
        seen.change.ref, seen.live, was_begun=False
    ):
        message = "an earlier run's object is there and its hook-delete keeps it: the hook is refused"
        next_step = "fleet.internal/hook-delete: BeforeHookCreation, or delete it"
        yield _finding(Danger.REFUSED, seen, setting, message, next_step)


def _of_refusal(error: FleetError) -> Danger:
    return Danger.QUOTA if "exceeded quota" in error.why else Danger.REFUSED


def _drift(seen: Seen, setting: Setting) -> Iterator[LiveFinding]:
    """Fields that differ live from what the base says, and that the change writes: somebody's edit is lost."""
    if seen.live is None or seen.before is None or seen.after is None:
        return
    drifted = _differing(seen.before, seen.live, setting.ignore)
    written = {drift.path for drift in _differing(seen.after, seen.live, setting.ignore)}
    lost = [drift for drift in drifted if drift.path in written]
    if lost:
        shown = ", ".join(
            f"{drift.path}" + (f" (set by {drift.manager})" if drift.manager else "") for drift in lost[:_PATHS_SHOWN]
        )
        more = f" and {len(lost) - _PATHS_SHOWN} more" if len(lost) > _PATHS_SHOWN else ""
        message = f"drifted, and would be overwritten: {shown}{more}"
        found = _finding(Danger.DRIFT, seen, setting, message, f"fleet diff {setting.overlay}@{setting.cluster}")
        yield replace(found, approximate=own_entry(seen.live) is None)


def _differing(body: Document, live: Document, ignore: Sequence[IgnoreRule]) -> list[FieldDrift]:
    """Fields that a body says and the live object says otherwise: those that we own, and those that others took."""
    entry, rules = own_entry(live), rules_for(ref_of(live), ignore)
    found = list(diff_fields(body, live, entry, rules)) if entry is not None else []
    known = {drift.path for drift in found}
    found += [
        drift
        for drift in diff_fields(body, live, None, rules)
        if drift.path not in known and (drift.masked or not is_same_value(drift.desired, drift.live))
    ]
    return found


def worst_findings(found: Iterable[LiveFinding]) -> tuple[LiveFinding, ...]:
    """Sorted by danger, then by overlay, object and cluster; each once."""
    order = {danger: index for index, danger in enumerate(Danger)}
    unique = set(found)
    return tuple(
        sorted(
            unique,
            key=lambda item: (
                order[item.danger],
                item.overlay,
                item.ref is not None,
                str(item.ref),
                item.message,
                item.cluster,
            ),
        )
    )
