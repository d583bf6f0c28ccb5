"""What one worker may spend: per cluster, so that no cluster can delay another (R18)."""

from __future__ import annotations

from fleet.core.fold import WATCHED_SECONDS
from fleet.core.retry import LONGEST_SECONDS
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """All times in seconds."""

    concurrency: int = 16  # writes in flight, at most
    changed_per_slot: int = 16  # one write in flight for so many that are due
    reconnect_first_seconds: float = 1.0
    reconnect_most_seconds: float = 60.0
    retry_first_seconds: float = 1.0  # of a unit whose objects failed
    retry_most_seconds: float = LONGEST_SECONDS
    proof_seconds: float = 3600.0  # one complete list per kind in this time, at most
    parents_seconds: float = 3600.0  # how often it is looked whether another installation came,
    neighbour_seconds: float = 60.0  # and whether one that came has gone
    resume_seconds: float = 5.0  # how often resume tokens are jotted
    report_seconds: float = 60.0  # a full report at least so often: age is part of a status (R21)
    watched_seconds: float = WATCHED_SECONDS  # what a stream that broke told is believed for three times this (R21)
    watch_seconds: float = 5.0  # how often something unhealthy is looked at beyond what its own events say
    theirs_seconds: float = 600.0  # how often somebody else's object that counts as it is (`ifAbsent`) is read
    rival_window_seconds: float = 600.0  # reverts of one object in this time count together (R17)
    rival_reverts: int = 3  # so many reverts are healed at once; then they back off
    rival_most_seconds: float = LONGEST_SECONDS
    direct_reads: int = 8  # first contact: so many objects of a kind and namespace are read by name, more by a list
    adopt_quiet_seconds: float = 300.0  # who wrote a foreign object in this time still works on it (R17)
    reverify_spread_seconds: float = 120.0  # after an upgrade: clusters begin somewhere in this time to compare anew,
    reverify_per_second: float = 10.0  # with so many dry-runs
    bundles_kept: int = 8  # bundles in memory, for healing without a read
