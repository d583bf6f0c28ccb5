"""Whether a unit may be written to now, and if not, the chain that says why (design, sections 1 and 7). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from fleet.core.fleet import Mode
from fleet.core.ids import Digest, ObjectRef, UnitName
from fleet.core.rollout import Apply, Detach, Hold, SyncRequest, UnitDesired, UnknownDesired
from fleet.core.status import ASKS_RECOVERY, Blocker, Standing
from fleet.core.sync_policy import SyncMode
from fleet.core.windows import Closed, judge_windows
from fleet.errors import FleetError
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Leave:
    """What a pass may do. `apply` bundles of a new commit, `heal` what left the applied bundle, `prune` deletions.

    A closed window keeps new bundles and deletions waiting; healing goes on in it. `stopped`: no write at all, that of
    its parent object included.
    """

    apply: bool
    heal: bool
    prune: bool
    blockers: tuple[Blocker, ...] = ()
    stopped: bool = False


# Of a unit that nothing stops, as most are: a pass asks a dozen times. By whether it heals.
_FREE = {heals: Leave(apply=True, heal=heals, prune=True) for heals in (True, False)}


def bundle_of(desired: UnitDesired | None) -> Digest | None:
    """The bundle that the unit should hold; None: nothing is said, keep what is there."""
    match desired.action if desired else None:
        case Apply(bundle=bundle):
            return bundle
        case Hold(bundle=bundle) | UnknownDesired(bundle=bundle):
            return bundle
        case _:
            return None


def is_for(request: SyncRequest, desired: UnitDesired | None) -> bool:
    """Whether a request is for what is ordered now: an override is for the one result that it was asked for (R42)."""
    return not request.override or (request.bundle is not None and request.bundle == bundle_of(desired))


def spared_by(desired: UnitDesired | None) -> str:
    """What keeps an object that its unit dropped, and that is never to be deleted."""
    by_policy = desired is not None and not desired.policy.sync.prune
    return "sync.prune: false" if by_policy else "its annotation fleet.internal/prune: disabled"


def judge_spared(unit: UnitName, spared: Sequence[ObjectRef], desired: UnitDesired | None, since: float) -> Blocker:
    """Why a unit that is to be removed as a whole is not gone, and what a person may do.

    spared: what is never to be deleted by us, at least one object.
    """
    more = f" and {len(spared) - 1} more" if len(spared) > 1 else ""
    reason = f"{spared[0]}{more} stays: {spared_by(desired)} keeps it"
    if desired is not None and not desired.policy.sync.prune:
        next_step = f"set sync.prune: true for {unit.overlay}, or drop it from the repo: its objects stay then"
    else:
        next_step = command_to_free(spared[0])
    return Blocker(Standing.HELD, str(unit), reason, since, "", next_step)


def command_to_free(ref: ObjectRef) -> str:
    """Takes `prune: disabled` off an object, so that it is deleted, by budget and holds as any other."""
    kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
    place = f"-n {ref.namespace} " if ref.namespace else ""
    return f"kubectl annotate {place}{kind}/{ref.name} fleet.internal/prune-"


def leave_left(leave: Leave, now: Leave, told: UnitDesired, newest: UnitDesired | None) -> Leave:
    """What a pass under way may still do (R17): never more than it began with, and nothing that was taken back since.

    leave: of the pass; now: by what is ordered now; told: what the pass carries out; newest: what is ordered now. A
    bundle that is no longer wanted is not completed, but where another is applied next. Nothing is deleted by an order
    that is not the newest.
    """
    if now is leave and newest is told:
        return leave
    newer = newest is not None and isinstance(newest.action, Apply)
    is_wanted = newest is not None and (newer or bundle_of(newest) == bundle_of(told))
    return Leave(
        apply=leave.apply and now.apply and is_wanted,
        heal=leave.heal and now.heal and is_wanted,
        prune=leave.prune and now.prune and newest == told,
        blockers=now.blockers or leave.blockers,
        stopped=leave.stopped or now.stopped,
    )


def suspended_by(desired: UnitDesired, since: float) -> list[Blocker]:
    """One link of the chain for each suspension of a unit."""
    links: list[Blocker] = []
    for item in desired.policy.suspensions:
        scope = item.scope or str(desired.unit)
        links.append(Blocker(Standing.SUSPENDED, scope, str(item), since, item.until, item.next_step))
    return links


def rebuilt_link(desired: UnitDesired, since: float, *, has_record: bool) -> Blocker:
    """Why nothing is written of a unit whose record no person confirmed yet, or of a new one beside it (R12, R24)."""
    lost = "the hub's state was lost, is older than the cluster, or another cluster was accepted"
    what = "its record was" if has_record else "it is new here, and waits as other records here were"
    reason = f"{what} rebuilt from the cluster: {lost}"
    if isinstance(desired.action, Detach):
        reason += "; it is not in Git: once that is confirmed it is let go, and its objects stay"
    return Blocker(Standing.HELD, f"cluster {desired.unit.cluster}", reason, since, "", ASKS_RECOVERY)


def judge_leave(
    desired: UnitDesired | None,
    *,
    mode: Mode,
    confirmed: bool,
    has_record: bool = True,
    request: SyncRequest | None,
    waits_for: Mapping[UnitName, str],
    other: Blocker | None = None,
    removed_after: Sequence[UnitName] = (),
    spared: Mapping[UnitName, Blocker] | None = None,
    forbidden: Iterable[FleetError] = (),
    now: float,
    since: float,
) -> Leave:
    """Say what may be done to a unit.

    confirmed: its record is the worker's own, or a person confirmed it (R12, R24); has_record: `UnitState.has_record`;
    waits_for: units it depends on that are not Healthy at their commit, with what the hub says of that; other: that it
    is another installation's (R23); removed_after: units that depend on it and still own objects; spared: why of these
    that keep some for good; forbidden: objects of its bundle that its team may not have here (R29): then nothing of the
    bundle is new and nothing goes, as where its build is refused; now: wall clock; since: when the unit last was free.
    """
    if desired is None or mode is Mode.OBSERVE:
        return Leave(apply=False, heal=False, prune=False, stopped=True)
    policy, unit = desired.policy, str(desired.unit)
    request = request if request is not None and is_for(request, desired) else None
    stops: list[Blocker] = []  # no write at all
    waits: list[Blocker] = []  # nothing new
    if not confirmed:
        stops.append(rebuilt_link(desired, since, has_record=has_record))
    if other is not None and not isinstance(desired.action, Detach):  # to be let go is the way out of it
        stops.append(other)
    stops += suspended_by(desired, since)
    forced = request is not None and request.override
    closed = judge_windows(policy.sync.windows, now) if policy.sync.windows and not forced else None
    if isinstance(closed, Closed):
        until = datetime.fromtimestamp(closed.until, UTC).isoformat() if closed.until else ""
        next_step = f"fleet sync {unit} --override --reason ..."
        waits.append(Blocker(Standing.WAITS, unit, closed.reason, since, until, next_step))
    match desired.action:
        case Hold(reason=reason):
            waits.append(Blocker(Standing.HELD, unit, reason, since, "", "fleet get holds"))
        case UnknownDesired(reason=reason, message=message):
            waits.append(Blocker(Standing.WAITS, unit, f"{reason}: {message}", since, "", "fleet validate"))
        case _:
            pass
    refused = next(iter(forbidden), None)
    if refused is not None:
        reason = f"{refused.reason}: {refused.brief}"
        waits.append(Blocker(Standing.WAITS, unit, reason, since, "", refused.next_step))
    if waits_for:
        names = ", ".join(f"{name}, which {why}," if why else str(name) for name, why in waits_for.items())
        next_step = f"fleet describe unit {next(iter(waits_for))}"
        waits.append(Blocker(Standing.WAITS, unit, f"for {names} to be Healthy", since, "", next_step))
    if removed_after:
        names = ", ".join(str(name) for name in removed_after)
        next_step = f"fleet describe unit {removed_after[0]}"
        reason = f"for {names} to be removed first, which depends on it or cannot be read"
        kept = next((spared[name] for name in removed_after if name in spared), None) if spared else None
        if kept is not None:  # nothing else ends this wait
            reason, next_step = f"for {names} to be removed first, which depends on it: {kept.reason}", kept.next
        waits.append(Blocker(Standing.WAITS, unit, reason, since, "", next_step))
    manual = policy.sync.mode is SyncMode.MANUAL and request is None
    # With no bundle nothing is said: one that was read before, and never applied, must not be applied now.
    in_force = isinstance(desired.action, Hold | UnknownDesired) and bundle_of(desired) is not None
    free = not stops and not manual
    if free and not waits:
        return _FREE[policy.sync.self_heal]
    return Leave(
        # What a held or unknown unit holds already is kept equal to its bundle, which is nothing new.
        apply=free and (not waits or (in_force and not (waits_for or refused) and not isinstance(closed, Closed))),
        heal=free and policy.sync.self_heal,
        prune=free and not waits,
        blockers=(*stops, *waits),
        stopped=bool(stops),
    )
