"""From reports to what is shown: units, clusters, the fleet; worst first, every value with its age (R21).

A report that is too old says Unknown, and what it said before is only told in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from fleet.core.ids import ClusterName, Revision, UnitName, short
from fleet.core.status import Blocker, Condition, Health, Report, Standing, Sync, UnitReport
from fleet.values import dataclass

WATCHED_SECONDS = 60.0  # the interval of R21 where objects are watched
MISSED_LIMIT = 3

# Worst first. What is known to be bad stands before what is not known.
_HEALTH_ORDER = (
    Health.DEGRADED,
    Health.MISSING,
    Health.UNKNOWN,
    Health.PROGRESSING,
    Health.SUSPENDED,
    Health.HEALTHY,
)
_SYNC_ORDER = (Sync.OUT_OF_SYNC, Sync.UNKNOWN, Sync.SYNCED)
_STANDING_ORDER = (Standing.HALTED, Standing.HELD, Standing.SUSPENDED, Standing.WAITS)


class Age(StrEnum):
    """Whether a report still speaks for now."""

    FRESH = "fresh"
    UNKNOWN = "Unknown"


def judge_age(report_time: float, now: float, interval: float = WATCHED_SECONDS) -> Age:
    """Unknown after three missed intervals, in seconds (R21). A report from the future is fresh: clocks differ."""
    return Age.UNKNOWN if report_time <= 0 or now - report_time > MISSED_LIMIT * interval else Age.FRESH


def worst_health(found: Iterable[Health]) -> Health:
    """The worst of several; Healthy for none at all."""
    return min(found, key=_HEALTH_ORDER.index, default=Health.HEALTHY)


def worst_sync(found: Iterable[Sync]) -> Sync:
    """The worst of several; Synced for none at all. One OutOfSync is known, whatever is Unknown beside it."""
    return min(found, key=_SYNC_ORDER.index, default=Sync.SYNCED)


def chain_of(*chains: Iterable[Blocker]) -> tuple[Blocker, ...]:
    """One `blockedBy` chain of several: what needs a person first, each link once."""
    links: dict[tuple[Standing, str, str], Blocker] = {}
    for chain in chains:
        for link in chain:
            key = (link.state, link.scope, link.reason)
            before = links.get(key)
            if before is None or link.since < before.since:
                links[key] = link
    return tuple(sorted(links.values(), key=lambda link: (_STANDING_ORDER.index(link.state), link.since, link.scope)))


@dataclass(frozen=True, slots=True)
class UnitSummary:
    """One unit as it is shown now. seen_at: wall clock of the newest word about it."""

    unit: UnitName
    sync: Sync
    health: Health
    commit: Revision
    seen_at: float
    age: Age
    reason: str = ""
    message: str = ""
    next_step: str = ""
    blocked_by: tuple[Blocker, ...] = ()
    conditions: tuple[Condition, ...] = ()
    objects: int = 0
    drifted: int = 0
    was: str = ""  # "Synced, Healthy" of the last good word, where it is Unknown now

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Sorts worst first, then by name."""
        return _rank(self.health, self.sync, self.blocked_by, str(self.unit))


def _rank(health: Health, sync: Sync, blocked_by: Sequence[Blocker], name: str) -> tuple[int, int, int, str]:
    standing = min((_STANDING_ORDER.index(link.state) for link in blocked_by), default=len(_STANDING_ORDER))
    return _HEALTH_ORDER.index(health), _SYNC_ORDER.index(sync), standing, name


def fold_unit(
    report: UnitReport,
    now: float,
    *,
    seen_at: float | None = None,
    interval: float = WATCHED_SECONDS,
    before: Sequence[Condition] = (),
    blocked_by: Iterable[Blocker] = (),
    lost: str = "",
) -> UnitSummary:
    """One unit's report as it stands now.

    seen_at: newest word of its worker, by default when the unit was observed; before: the conditions shown last, whose
    `since` goes on while their status stays; blocked_by: links of the hub; lost: why the cluster cannot be reached.
    """
    seen = report.observed_at if seen_at is None else seen_at
    age = judge_age(seen, now, interval)
    sync, health, message, was = report.sync, report.health, report.message, ""
    if age is Age.UNKNOWN or lost:
        was = f"{sync}, {health}"
        sync, health = Sync.UNKNOWN, Health.UNKNOWN
        message = f"{lost or 'no word from its worker'}; was {was}"
    summary = UnitSummary(
        unit=report.unit,
        sync=sync,
        health=health,
        commit=report.commit,
        seen_at=seen,
        age=age,
        reason=report.reason,
        message=message,
        next_step=report.next_step,
        blocked_by=chain_of(report.blocked_by, blocked_by),
        objects=len(report.objects),
        drifted=sum(1 for found in report.objects if found.drift),
        was=was,
    )
    return replace(summary, conditions=conditions_of(summary, now, before))


def conditions_of(summary: UnitSummary, now: float, before: Sequence[Condition] = ()) -> tuple[Condition, ...]:
    """Ready, Reconciling, Stalled (kstatus): Ready only if Synced and Healthy; Stalled where waiting does not help."""
    blocked = next(iter(summary.blocked_by), None)
    stuck = blocked is not None and blocked.state in (Standing.HALTED, Standing.HELD)
    is_unknown = summary.sync is Sync.UNKNOWN or summary.health is Health.UNKNOWN
    is_ready = summary.sync is Sync.SYNCED and summary.health in (Health.HEALTHY, Health.SUSPENDED)
    is_moving = not is_unknown and not is_ready and blocked is None and summary.health is not Health.DEGRADED
    reason = summary.reason or (blocked.state.value.capitalize() if blocked else summary.health.value)
    message = summary.message or (blocked.reason if blocked else "")
    found = (
        Condition("Ready", _status(is_ready, is_unknown), reason if not is_ready else "Ready", message),
        Condition("Reconciling", "True" if is_moving else "False", reason if is_moving else "Settled", ""),
        Condition("Stalled", "True" if stuck else "False", reason if stuck else "NotStalled", message if stuck else ""),
    )
    since = {(item.type, item.status): item.since for item in before}
    return tuple(replace(item, since=since.get((item.type, item.status), now)) for item in found)


def _status(is_true: bool, is_unknown: bool) -> str:
    return "Unknown" if is_unknown else "True" if is_true else "False"


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """One cluster as it is shown now: one line of `fleet get clusters`."""

    cluster: ClusterName
    environment: str
    sync: Sync
    health: Health
    commit: Revision  # of the worst unit that is not on the head, else the head
    seen_at: float
    message: str
    units: tuple[UnitSummary, ...] = ()  # worst first
    reachable: bool = True
    reason: str = ""
    blocked_by: tuple[Blocker, ...] = ()

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Sorts worst first, then by name; a cluster that is not reached stands before all others."""
        if not self.reachable:
            return (-1, 0, 0, self.cluster)
        return _rank(self.health, self.sync, self.blocked_by, self.cluster)

    @property
    def needs_person(self) -> bool:
        """Whether waiting alone will not make it well."""
        return (
            not self.reachable
            or bool(self.reason)  # it is reached, and something about it as a whole is not well (R23)
            or self.health is Health.DEGRADED
            or any(link.state in (Standing.HELD, Standing.HALTED) for link in self.blocked_by)
            or any(unit.drifted and unit.sync is Sync.OUT_OF_SYNC for unit in self.units)
        )


def fold_cluster(
    cluster: ClusterName,
    environment: str,
    report: Report | None,
    units: Iterable[UnitSummary],
    now: float,
    *,
    head: Revision = Revision(""),
    interval: float = WATCHED_SECONDS,
    blocked_by: Iterable[Blocker] = (),
) -> ClusterSummary:
    """One cluster from its newest report and its units.

    report: the newest one, None where there has never been any; head: the commit in force, shown where all units are
    on it; blocked_by: links of the cluster or the fleet as a whole.
    """
    ordered = tuple(sorted(units, key=lambda unit: unit.rank))
    chain = chain_of(blocked_by, *(unit.blocked_by for unit in ordered))
    seen_at = report.at if report else 0.0
    lost = _why_lost(report, now, interval)
    commit = _commit_of(ordered, head)
    if lost:
        sync = worst_sync(_sync_before(unit) for unit in ordered)
        health = worst_health(_health_before(unit) for unit in ordered)
        message = f"{lost}; was {sync}, {health}" if ordered else lost
        return ClusterSummary(
            cluster, environment, Sync.UNKNOWN, Health.UNKNOWN, commit, seen_at, message, ordered, False,
            report.reason if report else "", chain,
        )  # fmt: skip
    return ClusterSummary(
        cluster=cluster,
        environment=environment,
        sync=worst_sync(unit.sync for unit in ordered),
        health=worst_health(unit.health for unit in ordered),
        commit=commit,
        seen_at=seen_at,
        message=_message_of(ordered, chain, report),
        units=ordered,
        reason=report.reason if report else "",
        blocked_by=chain,
    )


def _why_lost(report: Report | None, now: float, interval: float) -> str:
    if report is None:
        return "never reached yet"
    if not report.reachable:
        return report.message or report.reason or "cannot be reached"
    return "no word from its worker" if judge_age(report.at, now, interval) is Age.UNKNOWN else ""


def _sync_before(unit: UnitSummary) -> Sync:
    return Sync(unit.was.split(", ")[0]) if unit.was else unit.sync


def _health_before(unit: UnitSummary) -> Health:
    return Health(unit.was.split(", ")[1]) if unit.was else unit.health


def _commit_of(units: Sequence[UnitSummary], head: Revision) -> Revision:
    """The commit that the cluster is on: of the worst unit that is not on the head, else the head."""
    behind = [unit.commit for unit in units if unit.commit and unit.commit != head]
    if behind:
        return behind[0]
    return head if units else Revision("")


def _message_of(units: Sequence[UnitSummary], chain: Sequence[Blocker], report: Report | None) -> str:
    """The one line that holds the cause: what is wrong with all of it, the worst unit's words, what it waits for."""
    if report is not None and report.reason:
        return report.message
    for unit in units:
        if unit.message and (unit.health is not Health.HEALTHY or unit.sync is not Sync.SYNCED):
            return f"{unit.unit.overlay}: {unit.message}"
    for unit in units:
        if unit.blocked_by:
            link = unit.blocked_by[0]
            is_wide = link.scope == "fleet" or link.scope.startswith("cluster ")
            return _stands(link) if is_wide else f"{unit.unit.overlay} {_stands(link)}"
    if chain:
        return _stands(chain[0])
    return report.message if report else ""


def _stands(link: Blocker) -> str:
    until = f" until {link.until}" if link.until else ""
    if link.reason.startswith(link.state.value):
        return link.reason  # the worker said it in whole: "suspended by jo: disk swap"
    return f"{link.state.value}{until}: {link.reason}"


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One row of `fleet status`: how many clusters of an environment stand how. A cluster may count in several."""

    environment: str
    clusters: int = 0
    on_head: int = 0
    waiting: int = 0
    suspended: int = 0
    held: int = 0
    drifted: int = 0
    degraded: int = 0
    unreachable: int = 0


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """The fleet as it is shown now."""

    head: Revision
    sync: Sync
    health: Health
    rows: tuple[EnvironmentRow, ...]  # in the order of the environments
    clusters: tuple[ClusterSummary, ...]  # worst first
    needs_person: int = 0
    line: str = ""  # "30 clusters: 12 on main, 13 wait, 1 suspended, 4 need a person"


def fold_fleet(
    clusters: Iterable[ClusterSummary], *, head: Revision, environments: Sequence[str] = (), branch: str = "main"
) -> FleetSummary:
    """All clusters together. environments: in the declared order; others follow by name."""
    ordered = tuple(sorted(clusters, key=lambda cluster: cluster.rank))
    names = [*environments, *sorted({cluster.environment for cluster in ordered} - set(environments))]
    groups: Mapping[str, list[ClusterSummary]] = {
        name: [cluster for cluster in ordered if cluster.environment == name] for name in names
    }
    rows = tuple(_row_of(name, group, head) for name, group in groups.items() if group)
    needs = sum(1 for cluster in ordered if cluster.needs_person)
    return FleetSummary(
        head=head,
        sync=worst_sync(cluster.sync for cluster in ordered),
        health=worst_health(cluster.health for cluster in ordered),
        rows=rows,
        clusters=ordered,
        needs_person=needs,
        line=_line_of(ordered, rows, needs, branch),
    )


def _row_of(name: str, group: Sequence[ClusterSummary], head: Revision) -> EnvironmentRow:
    def count(standing: Standing) -> int:
        return sum(1 for cluster in group if any(link.state is standing for link in cluster.blocked_by))

    return EnvironmentRow(
        environment=name,
        clusters=len(group),
        on_head=sum(1 for cluster in group if _on_head(cluster, head)),
        waiting=count(Standing.WAITS),
        suspended=count(Standing.SUSPENDED),
        held=count(Standing.HELD),
        drifted=sum(1 for cluster in group if any(unit.drifted for unit in cluster.units)),
        degraded=sum(1 for cluster in group if cluster.health is Health.DEGRADED),
        unreachable=sum(1 for cluster in group if not cluster.reachable),
    )


def _on_head(cluster: ClusterSummary, head: Revision) -> bool:
    return cluster.reachable and cluster.sync is Sync.SYNCED and cluster.commit == head and not cluster.blocked_by


def _line_of(clusters: Sequence[ClusterSummary], rows: Sequence[EnvironmentRow], needs: int, branch: str) -> str:
    parts = [f"{sum(row.on_head for row in rows)} on {branch}"]
    if waiting := sum(row.waiting for row in rows):
        parts.append(f"{waiting} wait")
    if suspended := sum(row.suspended for row in rows):
        parts.append(f"{suspended} suspended")
    if needs:
        parts.append(f"{needs} need{'s' if needs == 1 else ''} a person")
    return f"{len(clusters)} cluster{'' if len(clusters) == 1 else 's'}: {', '.join(parts)}"


_AGE_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def seen_ago(seen_at: float, now: float) -> str:
    """An age as people read it: 2s, 14m, 3h, 12d; "never" where nothing was seen."""
    if seen_at <= 0:
        return "never"
    seconds = max(0, int(now - seen_at))
    size, unit = next(((size, unit) for size, unit in _AGE_UNITS if seconds >= size), (1, "s"))
    return f"{seconds // size}{unit}"


def commit_text(commit: Revision) -> str:
    """A commit for a table; "-" where there is none."""
    return short(commit) if commit else "-"
