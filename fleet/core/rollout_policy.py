"""How a commit goes out: its steps, what each waits for and measures, and what a failure does."""

from __future__ import annotations

from enum import StrEnum

from fleet.core.ids import Revision
from fleet.core.problems import Origin
from fleet.core.selection import Target
from fleet.values import dataclass


class OnFailure(StrEnum):
    """What a rollout does when a cluster fails: stop and wait for a person, or also take back what it released."""

    HALT = "halt"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Amount:
    """So many clusters: a number, or a share (0..1) of those that a step takes."""

    number: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class PrometheusCheck:
    """An instant query; every value of its answer must be within the bounds. credential: by name, "" for none."""

    url: str
    query: str
    below: float | None = None
    above: float | None = None
    credential: str = ""


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A GET whose answer must have this status, and this text in its body where one is given."""

    url: str
    status: int = 200
    contains: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class JobCheck:
    """A Job of the repo that must complete. cluster: "" for the first one of the step that is Healthy.

    file: blob id of its manifest, which is as much of what it asks as the rest; at: a commit that has it. Both are ""
    in a policy, and known where it is asked.
    """

    path: str
    cluster: str = ""
    file: str = ""
    at: Revision = Revision("")


@dataclass(frozen=True, slots=True)
class Gate:
    """What is measured once a step's clusters are Healthy, before the step is over.

    It passes when it read well for `window_seconds`; `retries` bad readings in a row are forgiven; after
    `timeout_seconds` without passing it has failed, unless it reads well then: so it has until its window is over.
    """

    name: str
    check: PrometheusCheck | HttpCheck | JobCheck
    origin: Origin
    interval_seconds: float = 30.0
    timeout_seconds: float = 600.0
    window_seconds: float = 0.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a rollout: which clusters it takes, how many at once, and what it waits for.

    All criteria that are given must hold; a step without any takes no clusters: it asks for approvals, or measures.
    """

    name: str
    origin: Origin
    clusters: Target | None = None
    environments: tuple[str, ...] = ()
    rest: bool = False
    one_first: bool = False  # one cluster alone until it is Healthy
    soak_seconds: float = 0.0
    max_parallel: Amount | None = None  # None: no limit
    max_unavailable: Amount | None = None  # None: no limit
    approvals: int = 0  # by so many different people
    approve_timeout_seconds: float | None = None  # it halts when they did not come within this; None: it waits for ever
    gates: tuple[Gate, ...] = ()

    @property
    def takes_clusters(self) -> bool:
        """Whether it says which clusters it takes."""
        return self.rest or bool(self.environments) or self.clusters is not None


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """Section 8 of the design. steps None: environment by environment, one cluster first; empty: all at once."""

    steps: tuple[Step, ...] | None = None
    own_steps: bool = False  # the overlay's, not the fleet's
    health_timeout_seconds: int = 600
    on_failure: OnFailure = OnFailure.HALT
