"""The whole of what a change does: its units, what would be held, what two units would claim, and its digest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.objects import Bundle
from fleet.core.planning.apis import ApiNotice, judge_apis
from fleet.core.planning.change import How, Sign, UnitChange, with_moves
from fleet.core.planning.course import Course, Estimate, courses_of, least_of
from fleet.core.planning.holds import HoldForecast, forecast_holds
from fleet.core.planning.listing import digest_of_text, plan_text
from fleet.core.planning.live import LiveView
from fleet.core.planning.renamed_clusters import perhaps_renamed
from fleet.core.planning.settings import SettingChange, settings_of
from fleet.core.planning.unread import renamed, taken_unread
from fleet.core.planning.woken import Woken, woken_in_all, woken_of
from fleet.core.problems import Problem, Severity
from fleet.core.rollout_policy import RolloutPolicy
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class SideWords:
    """One side as people read it. revision: "" for a working tree; name: the branch, "" where there is none."""

    revision: str
    name: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One object that several overlays of a cluster want: none of them changes it (R16)."""

    ref: ObjectRef
    overlays: tuple[OverlayName, ...]
    clusters: tuple[ClusterName, ...]


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What is printed, posted and approved."""

    base: SideWords
    head: SideWords
    before: Fleet
    after: Fleet
    units: tuple[UnitChange, ...] = ()  # sorted by name; those whose input differs, or that cannot be told
    settings: tuple[SettingChange, ...] = ()
    woken: tuple[Woken, ...] = ()  # what these settings let the hub begin with
    files: tuple[str, ...] = ()  # paths that differ
    holds: tuple[HoldForecast, ...] = ()
    claims: tuple[Claim, ...] = ()
    courses: tuple[Course, ...] = ()
    estimates: tuple[Estimate, ...] = ()  # of these courses
    kube: int = 0  # the minor version that `apis` were judged for; 0: none
    apis: tuple[ApiNotice, ...] = ()
    problems: tuple[
        Problem, ...
    ] = ()  # of the inventory, that the base does not have, or has and no plan can tell past
    notes: tuple[str, ...] = ()
    live: LiveView | None = None  # None: no cluster was asked
    text: bytes = b""  # what the digest is of
    digest: Digest = Digest("")

    def of(self, *hows: How) -> list[UnitChange]:
        """Units with one of these fates."""
        return [unit for unit in self.units if unit.how in hows]

    @property
    def is_different(self) -> bool:
        """Whether anything would be written, let go of, or stand still, or the hub would act by another setting."""
        return bool(self.settings) or any(unit.how is not How.SAME for unit in self.units)

    @property
    def is_unknown(self) -> bool:
        """Whether a part of it cannot be told: what a unit holds afterwards, or what it drops."""
        is_blind = any(unit.how is How.UNKNOWN or unit.drops_unlisted for unit in self.units)
        return is_blind or any(problem.severity is Severity.ERROR for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found by reading and rendering two commits."""

    base: SideWords
    head: SideWords
    before: Fleet
    after: Fleet
    files: tuple[str, ...]
    units: tuple[UnitChange, ...]
    held: Mapping[UnitName, frozenset[ObjectRef]] = field(default_factory=dict[UnitName, "frozenset[ObjectRef]"])
    # What units hold afterwards: of those on the same clusters, so that an object that two of them want is found, or
    # that one of them has still when another drops it, and of those that are written for the first time.
    notes: tuple[str, ...] = ()
    live: LiveView | None = None
    bundles: Mapping[UnitName, tuple[Bundle | None, Bundle | None]] = field(
        default_factory=dict[UnitName, tuple[Bundle | None, Bundle | None]]
    )  # before and after, of units that differ: for what an object that moves changes by it


def plan_of(
    found: Comparison, *, kube: int = 0, estimate: Callable[[Course, RolloutPolicy], Estimate] | None = None
) -> FleetPlan:
    """Judge a comparison.

    kube: minor version whose removed and deprecated APIs are told, 0: none; estimate: how long a course takes, by more
    than its steps.
    """
    units = with_moves(sorted(found.units, key=lambda unit: unit.name), found.held, found.bundles)
    settings = settings_of(found.before, found.after)
    text = plan_text(units, settings)
    known = {_words(problem) for problem in found.before.problems}
    coming_problems = (
        problem for problem in found.after.problems if _words(problem) not in known or _hides(problem, found.files)
    )
    claims = tuple(_claims(found.held, units))
    holds = forecast_holds(units, found.before, found.after)
    coming = ((change.ref, change.api_version) for unit in units for change in unit.objects if change.after)
    courses = courses_of(units, found.after)
    return FleetPlan(
        base=found.base,
        head=found.head,
        before=found.before,
        after=found.after,
        units=units,
        settings=settings,
        woken=woken_in_all(woken_of(found.before, found.after), found.held),
        files=found.files,
        holds=holds,
        claims=claims,
        courses=courses,
        estimates=tuple(
            estimate(course, found.after.overlays[course.overlay].rollout) if estimate else least_of(course)
            for course in courses
        ),
        kube=kube,
        apis=judge_apis(coming, kube) if kube else (),
        problems=(*coming_problems, *taken_unread(found.before, found.after), *renamed(found.before, found.after)),
        notes=(*found.notes, *perhaps_renamed(found.before, found.after)),
        live=found.live,
        text=text,
        digest=digest_of_text(text),
    )


def _hides(problem: Problem, files: Collection[str]) -> bool:
    """Whether what the change does to an entry cannot be told, because it was broken before and is still."""
    return problem.severity is Severity.ERROR and problem.origin.path in files


def _words(problem: Problem) -> tuple[str, str, str]:
    """What makes a problem the same one, though its line moved."""
    return problem.reason, problem.what, problem.origin.path


def _claims(held: Mapping[UnitName, frozenset[ObjectRef]], units: Iterable[UnitChange]) -> Iterator[Claim]:
    """Objects that the change makes two units of a cluster want, or leaves to two others."""
    gained = {
        (unit.name.cluster, change.ref)
        for unit in units
        for change in unit.objects
        if change.sign is Sign.CREATE or change.is_shared
    }
    wants: dict[tuple[ClusterName, ObjectRef], set[OverlayName]] = {}
    for name, refs in held.items():
        for ref in refs:
            if (name.cluster, ref) in gained:
                wants.setdefault((name.cluster, ref), set()).add(name.overlay)
    alike: dict[tuple[ObjectRef, tuple[OverlayName, ...]], list[ClusterName]] = {}
    for (cluster, ref), overlays in wants.items():
        if len(overlays) > 1:
            alike.setdefault((ref, tuple(sorted(overlays))), []).append(cluster)
    for (ref, overlays), clusters in sorted(alike.items()):
        yield Claim(ref, overlays, tuple(sorted(clusters)))
