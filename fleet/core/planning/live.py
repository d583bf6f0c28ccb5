"""What clusters said to a change before it is merged; judged in live_judge.py."""

from __future__ import annotations

from enum import StrEnum

from fleet.core.ids import ClusterName, ObjectRef, OverlayName
from fleet.values import dataclass


class Danger(StrEnum):
    """What a finding is about, the worst first."""

    IMMUTABLE = "immutable"  # the apply will fail
    REFUSED = "refused"  # the API server refuses it for another reason: schema, admission
    KIND = "kind-missing"
    ORDER = "order"  # what it needs comes with another overlay, and nothing says that this goes first
    BARRED = "barred"  # the result was taken back there: it is not rolled out again
    GOES = "deleted"  # it was kept until now
    OWNER = "other-owner"
    QUOTA = "quota"
    RIGHT = "missing-right"  # of the hub
    DRIFT = "drift"  # would be overwritten
    WRITER = "other-writer"  # still active
    DISRUPTION = "disruption-budget"
    BASE = "base-missing"  # the cluster does not hold what the change starts from
    STOPPED = "stopped"  # the unit waits for a person: suspended, held, or halted


@dataclass(frozen=True, slots=True)
class LiveFinding:
    """One thing to know about one cluster. ref None: the unit as a whole."""

    danger: Danger
    overlay: OverlayName
    cluster: ClusterName
    message: str
    ref: ObjectRef | None = None
    next_step: str = ""
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class ClusterLook:
    """How one cluster was looked at. problem: why it was not, or not to the end; "" where all was read."""

    cluster: ClusterName
    problem: str = ""
    next_step: str = ""
    approximate: int = 0  # objects without a dry-run
    version: str = ""
    by_hub: bool = False  # a hub said what it knows; the cluster itself was not asked
    age_seconds: float | None = None  # of the oldest word of the hub that was used; None where the cluster was read


@dataclass(frozen=True, slots=True)
class LiveView:
    """What all clusters said."""

    looks: tuple[ClusterLook, ...] = ()
    findings: tuple[LiveFinding, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every cluster was read to the end."""
        return not any(look.problem for look in self.looks)
