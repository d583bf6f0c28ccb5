"""What a rollout knows of the units of its overlays at one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.core.fleet import OnFailure
from fleet.core.gates import Reading
from fleet.core.ids import ClusterName
from fleet.core.steps import Stage


class Condition(StrEnum):
    """How a unit stands with what it was told to hold last."""

    WELL = "well"  # Synced and Healthy
    BUSY = "busy"  # on its way
    BAD = "bad"  # Degraded or Missing
    AWAY = "away"  # not reachable, or nothing is known
    STOPPED = "stopped"  # suspended, held or quarantined: a person goes on with it
    WAITS = "waits"  # for a window or another unit: goes on by itself


@dataclass(frozen=True, slots=True)
class UnitFact:
    """One unit of an overlay. target: the digest of its newest result, "" where there is none."""

    target: str
    released: bool  # it was told to hold `target`
    condition: Condition
    available: bool = True  # reachable and Healthy, on whatever it holds
    why: str = ""  # the cause, in one line


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is known of one overlay now: its stages, and all its units that go by them, changed or not."""

    stages: tuple[Stage, ...]
    units: Mapping[ClusterName, UnitFact]
    patience_seconds: float
    on_failure: OnFailure = OnFailure.HALT
    broken: Mapping[str, str] = field(default_factory=dict[str, str])  # step -> why it cannot be done
    readings: Mapping[str, Reading] = field(default_factory=dict[str, Reading])  # the newest, by STEP/GATE
