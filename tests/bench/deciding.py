"""Deciding one pass of a rollout over 10,000 units, against a raw walk over the same facts. No I/O."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

from bench.figures import Samples, Table, ratio

from fleet.core.advance import Advance, advance
from fleet.core.ids import ClusterName, OverlayName, Revision
from fleet.core.passage import Passage, Row
from fleet.core.problems import Origin
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import Amount, Step
from fleet.core.steps import Stage

MOST_MS = 50.0
NEW = "n" * 64
_ORIGIN = Origin("fleet.yaml", 1)


def stages(clusters: list[ClusterName], limit: Amount | None) -> tuple[Stage, ...]:
    """A canary, a tenth, and the rest under a limit."""
    tenth = len(clusters) // 10
    parts = {"canary": clusters[:1], "early": clusters[1 : 1 + tenth], "rest": clusters[1 + tenth :]}
    return tuple(
        Stage(Step(name, _ORIGIN, rest=True, soak_seconds=60.0, max_parallel=limit), tuple(part))
        for name, part in parts.items()
    )


def world(
    overlays: int, clusters: int, arrived: int, limit: Amount | None, *, flying: bool = False
) -> tuple[Passage, dict[OverlayName, RowFacts]]:
    """A commit on its way. arrived: clusters of each overlay that are Healthy on it already; flying: others got it."""
    names = [ClusterName(f"c{number:05}") for number in range(clusters)]
    way = stages(names, limit)
    passed = frozenset(stage.name for stage in way if set(stage.clusters) <= set(names[:arrived]))
    rows: dict[OverlayName, Row] = {}
    facts: dict[OverlayName, RowFacts] = {}
    for number in range(overlays):
        overlay = OverlayName(f"o{number:05}")
        rows[overlay] = Row(dict.fromkeys(names, NEW), passed=passed)
        there = UnitFact(NEW, released=True, condition=Condition.WELL)
        still = UnitFact(NEW, released=False, condition=Condition.WELL)
        if flying:
            still = UnitFact(NEW, released=True, condition=Condition.BUSY, available=False, why="1 of 3 pods ready")
        units = {name: there if at < arrived else still for at, name in enumerate(names)}
        facts[overlay] = RowFacts(way, units, patience_seconds=600.0)
    return Passage(Revision("c" * 40), 0.0, rows), facts


def look(passage: Passage, facts: dict[OverlayName, RowFacts]) -> Advance:
    return advance(passage, facts, 1000.0, 1000.0)


def raw_walk(passage: Passage, facts: dict[OverlayName, RowFacts]) -> dict[OverlayName, int]:
    """What any decision has to do: look at every unit once, in the order of its step."""
    found: dict[OverlayName, int] = {}
    for overlay, row in passage.rows.items():
        units = facts[overlay].units
        found[overlay] = sum(
            units[name].released and units[name].condition is Condition.WELL and units[name].target == row.targets[name]
            for stage in facts[overlay].stages
            for name in stage.clusters
        )
    return found


def milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    table = Table("deciding", "Deciding one pass of a rollout, 10,000 units (CPU time)")
    shapes = {"100 overlays x 100 clusters": (100, 100), "1 overlay x 10,000 clusters": (1, 10_000)}
    for title, (overlays, clusters) in shapes.items():
        middle = 1 + clusters // 10
        for what, arrived, limit in (
            ("begins", 0, None),
            ("the rest is released, 10 % at a time", middle, Amount(share=0.1)),
            ("the rest is released at once", middle, None),
            ("the rest is on its way", middle, Amount(share=0.1)),
            ("all are there", clusters, None),
        ):
            passage, facts = world(overlays, clusters, arrived, limit, flying=what.endswith("on its way"))
            passage = replace(look(passage, facts).passage)  # a look later: moments are noted
            ours, raw = Samples(" ms"), Samples(" ms")
            for _ in range(given.rounds):
                ours.add(milliseconds(lambda passage=passage, facts=facts: look(passage, facts)))
                raw.add(milliseconds(lambda passage=passage, facts=facts: raw_walk(passage, facts)))
            table.at_most(f"{title}: {what}", ours, MOST_MS)
            table.add(f"{title}: {what}, against a raw walk", ratio(ours, raw))
    table.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
