"""What is waited for, and shown, before a hub that begins has heard the clusters of what is under way. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from fleet.core.advance import Advance, StepState, StepView
from fleet.core.ids import ClusterName, OverlayName, UnitName, short
from fleet.core.passage import Passage, Row
from fleet.core.rollout_facts import RowFacts
from fleet.core.status import Report

NAMED = 3  # clusters in one line


def unheard(
    passages: Sequence[Passage],
    entries: Collection[ClusterName],
    reports: Mapping[ClusterName, Report],
    unspoken: Collection[UnitName],
    since: float,
) -> list[ClusterName]:
    """Clusters of units under way that have not spoken since then, or speak and have not judged such a unit.

    A cluster's first word comes before that of its units, and one that cannot be reached has none of them. entries:
    the clusters that the commit in force says; since: wall clock.
    """
    under_way = (
        UnitName(overlay, cluster)
        for one in passages
        if not one.outcome
        for overlay, row in one.rows.items()
        if not row.done
        for cluster in row.targets
        if cluster in entries
    )
    heard = {
        name
        for name, report in reports.items()
        if report.at >= since and (report.reachable or report.reason)  # else it is still connecting
    }
    speaks = {name for name in heard if reports[name].reachable}
    return sorted(
        {
            name.cluster
            for name in under_way
            if name.cluster not in heard or (name.cluster in speaks and name in unspoken)
        }
    )


def as_known(passage: Passage, facts: Mapping[OverlayName, RowFacts], silent: Sequence[ClusterName]) -> Advance:
    """A rollout as it stood when its clusters were heard last, and why nothing of it is decided now."""
    more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
    why = f"waits for the first word of {', '.join(silent[:NAMED])}{more}"
    waits: dict[UnitName, str] = {}
    steps: list[StepView] = []
    for overlay, row in sorted(passage.rows.items()):
        if row.done or overlay not in facts:
            continue
        steps += _steps_of(overlay, row, facts[overlay], why)
        unreleased = (name for name, fact in facts[overlay].units.items() if name in row.targets and not fact.released)
        waits |= {UnitName(overlay, name): f"{short(passage.commit)} {why}" for name in unreleased}
    return Advance(passage, steps=tuple(steps), waits=waits)


def _steps_of(overlay: OverlayName, row: Row, facts: RowFacts, why: str) -> Iterator[StepView]:
    behind = ""
    for stage in facts.stages:
        mine = [name for name in stage.clusters if name in row.targets and name in facts.units]
        if stage.step.takes_clusters and not mine:
            continue
        there = sum(name in row.landed for name in mine)
        if stage.name in row.passed:
            yield StepView(overlay, stage.name, there, len(mine), StepState.DONE)
        else:
            yield StepView(
                overlay, stage.name, there, len(mine), StepState.WAITS, f"for step {behind}" if behind else why
            )
            behind = behind or stage.name
