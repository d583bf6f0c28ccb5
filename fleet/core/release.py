"""From an inventory and rendered results to what each cluster shall hold: pure, so that it can be judged alone.

Which cluster gets a result when is for rollouts to say. Deletions are judged across clusters (across.py) before any
worker may carry them out (R9); each worker judges its own share again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.core.documents import digest_of_bytes
from fleet.core.fleet import Cluster, Fleet, OverlayState, Unit
from fleet.core.guard import UNREAD_TEAM, Approved
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.inside import covers
from fleet.core.leaving import Leave
from fleet.core.problems import Problem
from fleet.core.results import EMPTY_BUNDLE, Rendered, RenderProblem, Result
from fleet.core.rollout import (
    Apply,
    Desired,
    Detach,
    Hold,
    Move,
    Rename,
    SyncRequest,
    UnitDesired,
    UnitPolicy,
    UnknownDesired,
)
from fleet.core.status import HoldRequest, PendingDeletion, UnitReport
from fleet.core.sync_policy import Suspension, SyncMode, SyncPolicy
from fleet.errors import IdentityUnknown
from fleet.values import dataclass


def scopes_of(name: UnitName) -> frozenset[str]:
    """The scopes whose suspension stops this unit, as in Suspension.scope."""
    return frozenset({"fleet", f"cluster {name.cluster}", f"overlay {name.overlay}", f"unit {name}"})


def scope_renamed(scope: str, old: ClusterName, new: ClusterName) -> str:
    """The scope of a suspension (`cluster eu-1`, `unit web@eu-1`) after a cluster got another name."""
    if scope == f"cluster {old}":
        return f"cluster {new}"
    is_unit = scope.startswith("unit ") and scope.endswith(f"@{old}")
    return f"{scope.removesuffix(f'@{old}')}@{new}" if is_unit else scope


def _suspensions(
    name: UnitName, in_git: Iterable[Suspension | None], by_command: Iterable[Suspension]
) -> tuple[Suspension, ...]:
    scopes = scopes_of(name)
    said = (suspension for suspension in in_git if suspension is not None)
    return (*said, *(suspension for suspension in by_command if suspension.scope in scopes))


def policy_of(unit: Unit, fleet: Fleet, by_command: Sequence[Suspension] = ()) -> UnitPolicy:
    """All that the worker must know of the settings that hold for a unit; suspensions of Git come first."""
    overlay = unit.overlay
    is_absent, cluster = overlay.state is OverlayState.ABSENT, unit.name.cluster
    # What is removed waits for nothing to be Healthy: the order is the other way round.
    before = () if is_absent else overlay.depends_on
    needed = (UnitName(other, cluster) for other in before)
    depends_on = tuple(name for name in needed if name in fleet.units or unsaid_at(name, fleet) is not None)
    removed_after = tuple(sorted(_dependants_of(overlay.name, cluster, fleet))) if is_absent else ()
    return UnitPolicy(
        sync=overlay.sync,
        ignore=overlay.ignore,
        health=overlay.health,
        allow_empty=overlay.allow_empty or is_absent,
        health_timeout_seconds=overlay.health_timeout_seconds,
        depends_on=depends_on,
        removed_after=removed_after,
        suspensions=_suspensions(unit.name, (fleet.suspend, unit.cluster.suspend, overlay.suspend), by_command),
        budget=fleet.budget,
        team=unit.team,
    )


def linked(fleet: Fleet) -> frozenset[OverlayName]:
    """Overlays that depend on others, and those that these depend on."""
    needs = {overlay.name: overlay.depends_on for overlay in fleet.overlays.values() if overlay.depends_on}
    return frozenset(needs).union(*needs.values())


def unsaid_at(name: UnitName, fleet: Fleet) -> Problem | None:
    """Why nobody knows whether a unit that another one depends on is there; None where it is known (R5).

    A file that defines nobody knows what, or an entry whose list of overlays is not whole, says nothing of a unit that
    an overlay which can be read does not put there.
    """
    unknown = fleet.unknown
    return unknown.everything or unknown.units.get(name) or unknown.overlays.get(name.overlay)


def _dependants_of(overlay: OverlayName, cluster: ClusterName, fleet: Fleet) -> set[UnitName]:
    """Units of a cluster that depend on an overlay; what this commit does not say may depend on it too (R5)."""
    said = {UnitName(other.name, cluster) for other in fleet.overlays.values() if overlay in other.depends_on}
    unsaid = {UnitName(other, cluster) for other in fleet.unknown.overlays}
    unsaid |= {name for name in fleet.unknown.units if name.cluster == cluster and name.overlay != overlay}
    return unsaid | {name for name in said if name in fleet.units or fleet.unknown.covers(name) is not None}


@dataclass(frozen=True, slots=True)
class Orders:
    """What decides about one unit beside the repo."""

    result: Result | None = None  # None: not rendered yet
    held: Rendered | None = None  # what it was told to hold last
    permits: frozenset[ObjectRef] = frozenset()
    approved: frozenset[Approved] = frozenset()
    renames: frozenset[Rename] = frozenset()
    moves: frozenset[Move] = frozenset()
    waits: str = ""  # why what leaves is not let go yet
    suspensions: Sequence[Suspension] = ()
    fall: str = ""  # why its leaving is held (R8)
    wipe: Leave | None = None  # of what leaves: whether a person has what it owns deleted first, or had it suspended
    unproven: Sequence[ClusterName] = ()  # entries that may be its cluster under a new name (R2)


def plan_unit(unit: Unit, fleet: Fleet, orders: Orders) -> UnitDesired | None:
    """What a unit of the repo shall hold; None while it is not rendered yet (it is kept as it is)."""
    policy = policy_of(unit, fleet, orders.suspensions)
    match orders.result:
        case Rendered(bundle, commit):
            action = Apply(bundle, orders.permits, orders.approved, orders.renames, orders.moves)
            return UnitDesired(unit.name, commit, action, policy)
        case RenderProblem(reason, message, commit):
            action = UnknownDesired(reason, message, orders.held.bundle if orders.held else None)
            return UnitDesired(unit.name, orders.held.commit if orders.held else commit, action, policy)
        case None:
            return None


def plan_unknown_unit(
    name: UnitName, problem: Problem, fleet: Fleet, orders: Orders, kept: Unit | None = None
) -> UnitDesired:
    """A unit that this commit does not say because of a problem: it stays on what it holds (R5).

    kept: the unit as it was said last. Where nobody knows (the hub was started since), what its ignored fields and
    suspensions were is not known either: then nothing is written to it at all.
    """
    held = orders.held
    action = UnknownDesired(problem.reason, f"{problem.what} ({problem.origin})", held.bundle if held else None)
    policy = policy_of(kept, fleet, orders.suspensions) if kept is not None else _quiet(name, fleet, orders)
    return UnitDesired(name, held.commit if held else fleet.commit, action, policy)


def plan_leaving_unit(name: UnitName, fleet: Fleet, orders: Orders) -> UnitDesired:
    """A unit that left the repo: detached, or left alone while its leaving is held or may be a rename (R2, R8, R13).

    A wipe only takes the place of letting it go: what keeps it from being let go keeps it from being wiped. Its commit
    is the one that dropped it, because later ones change nothing of what was approved.
    """
    held, quiet = orders.held, _quiet(name, fleet, orders)
    commit, bundle = (held.commit, held.bundle) if held else (fleet.commit, None)
    if orders.fall:
        return UnitDesired(name, commit, Hold(orders.fall, bundle), quiet)
    if orders.unproven:
        names = ", ".join(orders.unproven[:3]) + (" and others" if len(orders.unproven) > 3 else "")
        message = (
            f"{name.cluster} left the repo, and may have been renamed: kept until {names} said which cluster it is"
        )
        return UnitDesired(name, commit, UnknownDesired(IdentityUnknown.__name__, message, bundle), quiet)
    if orders.wipe is not None and orders.wipe.wipe and not orders.wipe.wiped and not orders.waits:
        action = Apply(EMPTY_BUNDLE.digest, approved=orders.approved, wipe=orders.wipe.wipe)
        policy = replace(quiet, sync=SyncPolicy(), allow_empty=True, budget=fleet.budget)
        return UnitDesired(name, orders.wipe.commit, action, policy)
    return UnitDesired(name, fleet.commit, Detach(orders.waits), replace(quiet, sync=SyncPolicy()))


def _quiet(name: UnitName, fleet: Fleet, orders: Orders) -> UnitPolicy:
    """Of a unit whose settings nobody knows: nothing is written, and who suspended it is still said (R17).

    Git may do so for the fleet, for its cluster and for its overlay, where these are there, and once more where its
    cluster's entry left suspended (`Leave.suspend`).
    """
    cluster, overlay = fleet.clusters.get(name.cluster), fleet.overlays.get(name.overlay)
    in_git = (
        fleet.suspend,
        cluster.suspend if cluster is not None else _still_suspended(orders.wipe),
        overlay.suspend if overlay is not None else None,
    )
    suspensions = _suspensions(name, in_git, orders.suspensions)
    return UnitPolicy(
        sync=SyncPolicy(mode=SyncMode.MANUAL, self_heal=False),
        suspensions=suspensions,
        team=UNREAD_TEAM if fleet.teams else None,  # a person's sync applies what it holds
    )


def _still_suspended(leave: Leave | None) -> Suspension | None:
    if leave is None or leave.suspend is None:
        return None
    said = leave.suspend
    why = f"{said.origin} left Git with this in it; put it back without, and take it out then"
    return replace(said, reason=f"{said.reason} ({why})")


def plan_desired(
    entry: Cluster,
    parts: Mapping[UnitName, UnitDesired],
    fleet: Fleet,
    *,
    identity: Identity | None,
    requests: Sequence[SyncRequest],
    sequence: int,
    recovered: frozenset[str] = frozenset(),
) -> Desired:
    """The whole order for one cluster of the fleet, or one that leaves it. A unit not in `parts` is kept as it is."""
    return Desired(
        sequence=sequence,
        cluster=entry.name,
        commit=fleet.commit,
        installation=fleet.name,
        mode=entry.mode,
        connection=entry.connection,
        identity=entry.identity or identity,
        units=tuple(parts.values()),
        requests=tuple(requests),
        recovered=recovered,
    )


def units_that_left(had: Iterable[UnitName], after: Fleet) -> frozenset[UnitName]:
    """Units to detach: gone from the repo, and not merely Unknown at the new commit (R5, R13)."""
    return frozenset(name for name in had if name not in after.units and after.unknown.covers(name) is None)


def is_part_of(asked: Iterable[HoldRequest], approved: Iterable[HoldRequest]) -> bool:
    """Whether what is asked for now is a part of what was approved, object for object.

    Clusters carry out an approved list one after the other; what is left of it stays approved (R9). A unit may ask for
    one reason twice.
    """
    known: dict[tuple[UnitName, Revision, str], dict[tuple[ObjectRef, str, str | None], tuple[str, ...]]] = {}
    for request in approved:
        listed = known.setdefault((request.unit, request.commit, request.reason), {})
        listed |= {(item.ref, item.uid, item.content): item.inside for item in request.deletions}
    for request in asked:
        listed = known.get((request.unit, request.commit, request.reason))
        if listed is None:
            return False
        for item in request.deletions:
            inside = listed.get((item.ref, item.uid, item.content))
            if inside is None or not covers(inside, item.inside):
                return False
    return True


def still_there(report: UnitReport, deletions: Iterable[PendingDeletion]) -> tuple[PendingDeletion, ...]:
    """Which of these very objects a unit has still; one that its cluster does not show now may be there (R5)."""
    uids = {status.ref: status.uid for status in report.objects}
    return tuple(item for item in deletions if uids.get(item.ref) in ("", item.uid))


def list_digest_of(requests: Iterable[HoldRequest]) -> Digest:
    """What an approval is bound to: each unit's references, UIDs, contents, and what goes with them (R9)."""
    lines: list[str] = []
    for request in requests:
        lines.append(f"{request.unit} {request.commit} {request.reason}")
        lines.extend(
            " ".join([f"{request.unit} {item.ref.key} {item.uid} {item.content}", *item.inside])
            for item in request.deletions
        )
    return digest_of_bytes("\n".join(sorted(lines)).encode())
