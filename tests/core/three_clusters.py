"""A commit on its way through three clusters, one look after the other; releases reach their clusters at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleet.core.advance import Advance, advance
from fleet.core.fleet import Cluster, Environment
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages
from fleet.core.problems import Origin
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import RolloutPolicy, Step
from fleet.core.selection import Target
from fleet.core.steps import stages_of
from fleet.core.takeover import RolloutUnit, settle, take_over

HERE = Origin("fleet.yaml", 1)
DEV, ONE, TWO = ClusterName("dev-1"), ClusterName("prod-1"), ClusterName("prod-2")
CLUSTERS = {name: Cluster(name, HERE, environment=name.split("-")[0]) for name in (DEV, ONE, TWO)}
DEV_STEP, OK, PROD = (
    Step("dev", HERE, environments=("dev",)),
    Step("ok", HERE, approvals=1),
    Step("prod", HERE, rest=True),
)
ONLY_ONE = Step("one", HERE, clusters=Target(HERE, names=(ONE,)))
WEB, API = OverlayName("web"), OverlayName("api")
HEAD, NEXT = Revision("b" * 40), Revision("c" * 40)
OLD = Rendered(Digest("0"), Revision("a" * 40))
Conditions = Mapping[ClusterName, Condition]
NONE: Conditions = {}


class World:
    """One overlay or more on three clusters; releases reach their clusters at once."""

    def __init__(self, *steps: Step, overlays: tuple[OverlayName, ...] = (WEB,)) -> None:
        self.steps = steps or None
        self.kept = Passages()
        self.held = {UnitName(overlay, name): OLD for overlay in overlays for name in CLUSTERS}
        self.target = dict.fromkeys(overlays, "0")
        for overlay in overlays:
            self.begin(overlay, "1")

    def begin(self, overlay: OverlayName, target: str, head: Revision = HEAD, *, without: tuple[ClusterName, ...] = ()):
        """A result of every cluster but some."""
        self.target[overlay] = target
        wanted = {
            name: RolloutUnit(Rendered(Digest(target), head), self.held[UnitName(overlay, name)])
            for name in CLUSTERS
            if name not in without
        }
        self.kept = take_over(self.kept, overlay, wanted, head, 0.0)

    def facts(self, overlay: OverlayName, conditions: Conditions = NONE, **more: Any) -> RowFacts:
        target = self.target[overlay]
        units = {
            name: UnitFact(
                target, self.held[UnitName(overlay, name)].bundle == target, conditions.get(name, Condition.WELL)
            )
            for name in CLUSTERS
        }
        environments = (Environment("dev"), Environment("prod"))
        stages = stages_of(RolloutPolicy(self.steps), CLUSTERS, environments).stages
        return RowFacts(stages, units, 600.0, **more)

    def look(self, now: float = 0.0, **facts: RowFacts) -> Advance:
        """One look at the newest passage; facts by overlay, all well where none are given."""
        known = {overlay: facts.get(overlay) or self.facts(overlay) for overlay in self.target}
        found = advance(self.last, known, now, 0.0)
        rows = dict(found.passage.rows)
        for unit in found.releases:
            row = rows[unit.overlay]
            rows[unit.overlay] = replace(row, before={unit.cluster: self.held[unit], **row.before})
            self.held[unit] = Rendered(Digest(row.targets[unit.cluster]), found.passage.commit)
        self.kept = settle(self.kept, replace(found.passage, rows=rows), 0.0)
        return found

    @property
    def last(self) -> Passage:
        return next(one for one in reversed(self.kept.all) if not one.outcome or one is self.kept.all[-1])

    def has(self, *names: ClusterName, overlay: OverlayName = WEB) -> bool:
        """Whether exactly these clusters hold what is newest."""
        return {name for name in CLUSTERS if self.held[UnitName(overlay, name)].bundle == self.target[overlay]} == {
            *names
        }
