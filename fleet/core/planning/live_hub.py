"""What a hub knows already of the units that a plan changes, as findings; no cluster is asked for it.

A hub tries nothing out for a person: a dry-run with its rights would be one of any object, on clusters that the person
may not touch. So it tells what its workers see anyway: what a unit holds, what drifted, what stands in the way. What is
old or was never said is told as not read (R5, R21).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.planning.change import How, Sign, UnitChange
from fleet.core.planning.live import ClusterLook, Danger, LiveFinding, LiveView
from fleet.core.planning.live_judge import BARRED, worst_findings
from fleet.values import dataclass, field

PATHS_SHOWN = 3
_BY_REASON: Mapping[str, Danger] = {
    "ImmutableField": Danger.IMMUTABLE,
    "KindNotServed": Danger.KIND,
    "ObjectForeign": Danger.OWNER,
    "OwnedByOther": Danger.OWNER,
    "Forbidden": Danger.RIGHT,
    "WriterActive": Danger.WRITER,
    "FieldConflict": Danger.WRITER,
    "RivalManager": Danger.WRITER,
}


class Base(StrEnum):
    """Whether a unit holds what the change starts from."""

    HELD = "held"
    OTHER = "other"
    NOTHING = "nothing"  # nothing of it was applied whole yet
    UNKNOWN = "unknown"  # it cannot be told: it has Secrets, and another commit is in force


@dataclass(frozen=True, slots=True)
class KnownObject:
    """One object that is not as it was released. drifted: paths, each with the manager that holds it, "" unknown."""

    ref: ObjectRef
    reason: str = ""  # an error's class name
    message: str = ""
    next_step: str = ""
    drifted: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KnownUnit:
    """What a hub says of one unit. problem: why it says nothing of it now; "" where it does.

    waits: what holds it, in words; is_stopped: a person must go on with it; barred: the commit of which its new result
    was taken back.
    """

    base: Base = Base.UNKNOWN
    commit: str = ""
    waits: str = ""
    is_stopped: bool = False
    barred: str = ""
    problem: str = ""
    age_seconds: float | None = None
    objects: tuple[KnownObject, ...] = ()
    more: int = 0  # objects that are not as they were released, and are not among these


@dataclass(frozen=True, slots=True)
class HubWord:
    """A hub's answer. clusters: why it knows nothing of each now, "" where it does; units: those that it knows."""

    clusters: Mapping[ClusterName, str] = field(default_factory=dict[ClusterName, str])
    units: Mapping[UnitName, KnownUnit] = field(default_factory=dict[UnitName, KnownUnit])


def view_of(changes: Iterable[UnitChange], word: HubWord) -> LiveView:
    """What the hub's word says to these changes, cluster by cluster."""
    by_cluster: dict[ClusterName, list[UnitChange]] = {}
    for change in changes:
        by_cluster.setdefault(change.name.cluster, []).append(change)
    looks: list[ClusterLook] = []
    found: list[LiveFinding] = []
    for cluster, members in sorted(by_cluster.items()):
        problem = word.clusters.get(cluster, "the hub knows no cluster of this name")
        unsaid = [word.units[one.name].problem for one in members if one.name in word.units]
        problem = problem or next(filter(None, unsaid), "")
        if not problem:
            found += [finding for one in members for finding in judge_known(one, word.units.get(one.name))]
        next_step = f"fleet describe cluster {cluster}" if cluster in word.clusters and problem else ""
        ages = [age for one in members if one.name in word.units if (age := word.units[one.name].age_seconds)]
        looks.append(ClusterLook(cluster, problem, next_step, by_hub=True, age_seconds=max(ages, default=None)))
    return LiveView(tuple(looks), worst_findings(found))


def judge_known(change: UnitChange, known: KnownUnit | None) -> Iterator[LiveFinding]:
    """Findings of one unit that changes; None: the hub does not know it."""
    overlay, cluster = change.name.overlay, change.name.cluster
    if (message := _base(change, known)) and change.how is How.CHANGES:
        next_step = f"fleet describe unit {change.name}" if known is not None else ""
        yield LiveFinding(Danger.BASE, overlay, cluster, message, None, next_step)
    if known is not None and known.is_stopped:
        message = f"waits for a person, and so does the change: {known.waits}"
        yield LiveFinding(Danger.STOPPED, overlay, cluster, message, None, f"fleet describe unit {change.name}")
    if known is not None and known.barred:
        message = f"{BARRED} (of {known.barred[:7]})"
        yield LiveFinding(Danger.BARRED, overlay, cluster, message, None, f"fleet describe unit {change.name}")
    if known is not None and known.more:
        message = f"{known.more} more objects of it are not as they were released, and are not told one by one"
        next_step = f"fleet describe unit {change.name} -o wide"
        yield LiveFinding(Danger.DRIFT, overlay, cluster, message, None, next_step, approximate=True)
    changed = {item.ref: item.sign for item in change.objects}
    for item in known.objects if known is not None else ():
        if (sign := changed.get(item.ref)) is not None:
            yield from _object(item, sign, overlay, cluster)


def _base(change: UnitChange, known: KnownUnit | None) -> str:
    if known is None:
        return "the hub knows no such unit: the whole of it is applied, not only what changes"
    waits = f" ({known.waits})" if known.waits and not known.is_stopped else ""
    match known.base:
        case Base.NOTHING:
            return f"holds nothing of it by fleet yet: the whole of it is applied, not only what changes{waits}"
        case Base.OTHER:
            has = known.commit[:7] or "nothing whole"
            return f"does not hold the base: it has {has}; what is applied is more{waits}"
        case Base.HELD | Base.UNKNOWN:
            return ""


def _object(item: KnownObject, sign: Sign, overlay: OverlayName, cluster: ClusterName) -> Iterator[LiveFinding]:
    if item.reason:
        danger = _BY_REASON.get(item.reason, Danger.REFUSED)
        message = f"the hub reports {item.reason}: {item.message}".removesuffix(": ")
        yield LiveFinding(danger, overlay, cluster, message, item.ref, item.next_step, approximate=True)
    if item.drifted and sign is not Sign.DELETE:
        shown = ", ".join(f"{path}" + (f" (set by {by})" if by else "") for path, by in item.drifted[:PATHS_SHOWN])
        more = f" and {len(item.drifted) - PATHS_SHOWN} more" if len(item.drifted) > PATHS_SHOWN else ""
        message = f"drifted, and would be overwritten: {shown}{more}"
        next_step = f"fleet describe unit {overlay}@{cluster}"
        yield LiveFinding(Danger.DRIFT, overlay, cluster, message, item.ref, next_step, approximate=True)
