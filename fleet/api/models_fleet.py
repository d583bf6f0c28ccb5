"""The API's objects of the whole fleet: the commit in force and its problems, the glance, how far a commit has come."""

from __future__ import annotations

from typing import Literal

from fleet.api.models import API_VERSION, ApiModel


class ProblemOut(ApiModel):
    """One problem of the repo at the head."""

    severity: str
    reason: str
    what: str
    where: str
    why: str = ""
    effect: str = ""
    next_step: str = ""


class RevisionOut(ApiModel):
    """The commit in force, and how far it has come."""

    commit: str
    branch: str
    subject: str = ""
    author: str = ""
    authored_at: str | None = None
    fetched_at: str | None = None
    fetched_age_seconds: float | None = None
    fetch_reason: str = ""
    fetch_message: str = ""
    trace_id: str = ""
    converged: bool = False
    rendering: int = 0
    skipped_documents: int = 0


class EnvironmentRow(ApiModel):
    """Counts of clusters in one environment."""

    environment: str
    clusters: int
    on_main: int
    waiting: int
    suspended: int
    held: int
    drifted: int
    degraded: int
    unreachable: int


class NeedsPerson(ApiModel):
    """One line under "Needs a person"."""

    since: str | None
    age_seconds: float | None
    what: str
    next: str


class EndsSoon(ApiModel):
    """One line under "Ends soon": a credential that nobody renews by itself."""

    at: str | None
    in_seconds: float  # negative: it has ended
    what: str
    next: str


class StatusOut(ApiModel):
    """The fleet at a glance."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    kind: Literal["Status"] = "Status"
    installation: str
    revision: RevisionOut
    environments: list[EnvironmentRow]
    needs_person: list[NeedsPerson]
    ends_soon: list[EndsSoon]
    problems: list[ProblemOut]
    relaxed: list[str]


class CommitUnit(ApiModel):
    """A unit that has not come as far as a commit, and why."""

    unit: str
    reason: str


class CommitProgress(ApiModel):
    """Whether a commit is everywhere: every target holds it, or a later one, and is well (`fleet wait --commit`).

    known: it is on the tracked branch as fetched; superseded_by: the commit in force, where that is a later one.
    """

    commit: str
    known: bool
    superseded_by: str
    done: bool
    units: int
    there: int
    missing: list[CommitUnit]
    message: str
