"""What a rollout knows of the units of its overlays at one look."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fleet.core.gates import Reading
from fleet.core.ids import ClusterName
from fleet.core.results import Rendered
from fleet.core.rollout_policy import OnFailure
from fleet.core.steps import Stage
from fleet.values import dataclass, field


class Condition(StrEnum):
    """How a unit stands with what it was told to hold last."""

    WELL = "well"  # Synced and Healthy
    BUSY = "busy"  # on its way
    BAD = "bad"  # Degraded or Missing
    AWAY = "away"  # not reachable, or nothing is known
    STOPPED = "stopped"  # suspended, quarantined, or Healthy with all but a deletion: a person goes on with it
    HELD = "held"  # released, and a person is asked before all of it is there: left out, and under way all the same
    WAITS = "waits"  # for a window or another unit: goes on by itself


@dataclass(frozen=True, slots=True)
class UnitFact:
    """One unit of an overlay. target: the digest of its newest result, "" where there is none."""

    target: str
    released: bool  # it was told to hold `target`
    condition: Condition
    available: bool = True  # reachable and Healthy, on whatever it holds
    why: str = ""  # the cause, in one line
    older: Condition = Condition.WELL  # where it holds another result, how it stands with that; or busy, stopped


@dataclass(frozen=True, slots=True)
class RolloutUnit:
    """One unit that goes by steps: its newest result, and what it was told to hold last.

    is_well: whether it is known to be Healthy on that, where it holds the newest; asked where a row begins. standing:
    how it stands with what it holds; asked where a newer result is to take that over.
    """

    result: Rendered
    held: Rendered | None
    is_well: bool = True
    standing: Condition = Condition.WELL


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is known of one overlay now: its stages, and all its units that go by them, changed or not.

    lost: clusters whose newest result nobody knows, and that no person stopped, with the cause. A step that has one is
    not over before that is known, and the others of it go on; where no stage has it, nobody knows its step, and the
    whole row stands still (R5).
    left_over: clusters that no step takes, as is known of them: they stay as they are, and hold nothing up.
    """

    stages: tuple[Stage, ...]
    units: Mapping[ClusterName, UnitFact]
    patience_seconds: float
    on_failure: OnFailure = OnFailure.HALT
    broken: Mapping[str, str] = field(default_factory=dict[str, str])  # step -> why it cannot be done
    readings: Mapping[str, Reading] = field(default_factory=dict[str, Reading])  # the newest, by STEP/GATE
    lost: Mapping[ClusterName, str] = field(default_factory=dict[ClusterName, str])
    left_over: frozenset[ClusterName] = frozenset()

    def lost_in(self, stage: Stage) -> dict[ClusterName, str]:
        """The clusters of a stage whose newest result nobody knows, and why."""
        return {name: self.lost[name] for name in stage.clusters if name in self.lost} if self.lost else {}

    def stuck_at(self, stage: Stage) -> str:
        """Why a step cannot be done; "" when it can."""
        return self.broken.get(stage.name) or _named(self.lost_in(stage))

    @property
    def adrift(self) -> str:
        """Of which clusters not even the step is known; "" for none."""
        if not self.lost:
            return ""
        placed = self.left_over.union(*(stage.clusters for stage in self.stages))
        return _named({name: why for name, why in self.lost.items() if name not in placed})


def _named(lost: Mapping[ClusterName, str]) -> str:
    """The first one with its cause, and how many more."""
    if not lost:
        return ""
    name, why = next(iter(lost.items()))
    return f"{name} has no result: {why}" + (f" (and {len(lost) - 1} more clusters)" if len(lost) > 1 else "")
