"""The API's objects: shaped like Kubernetes', times as RFC 3339, every status with its age (R21)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_VERSION = "fleet.internal/v1"


class ApiModel(BaseModel):
    """camelCase outside, snake_case inside; unknown fields are refused where they are read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


def rfc3339(seconds: float) -> str | None:
    """A wall-clock time as text; None for "never"."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else None


class Metadata(ApiModel):
    """Name and labels."""

    name: str
    labels: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: str | None = None


class ConditionOut(ApiModel):
    """Ready, Reconciling or Stalled."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class BlockerOut(ApiModel):
    """One link of the chain that says why something stands still."""

    state: str
    scope: str
    reason: str
    since: str | None
    until: str = ""
    next: str = ""


class DriftOut(ApiModel):
    """One field that is not as desired; values of Secrets are left out."""

    path: str
    desired: Any = None
    live: Any = None
    manager: str = ""
    since: str | None = None
    masked: bool = False


class ObjectOut(ApiModel):
    """One object of a unit."""

    group: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    sync: str
    health: str
    reason: str = ""
    message: str = ""
    changed_at: str | None = None
    drift: list[DriftOut] = Field(default_factory=list[DriftOut])


class UnitStatus(ApiModel):
    """State of one unit, as reported last and judged by its age now."""

    sync: str
    health: str
    commit: str = ""
    target_commit: str = ""  # where it should be
    at_head: bool = False
    reason: str = ""
    message: str = ""
    next_step: str = ""
    observed_at: str | None = None
    age_seconds: float | None = None
    applied_at: str | None = None
    changed: int = 0
    object_count: int = 0
    drifted: int = 0
    blocked_by: list[BlockerOut] = Field(default_factory=list[BlockerOut])
    conditions: list[ConditionOut] = Field(default_factory=list[ConditionOut])
    warnings: list[str] = Field(default_factory=list[str])
    objects: list[ObjectOut] | None = None  # only where one unit is asked for


class UnitSpec(ApiModel):
    """Where a unit comes from."""

    overlay: str
    cluster: str
    path: str = ""
    path_from: str = ""
    components: list[str] = Field(default_factory=list[str])
    variables: dict[str, str] = Field(default_factory=dict)  # name -> where it was written


class UnitOut(ApiModel):
    """One overlay on one cluster."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    kind: Literal["Unit"] = "Unit"
    metadata: Metadata
    spec: UnitSpec
    status: UnitStatus


class ClusterSpec(ApiModel):
    """One entry of the inventory."""

    environment: str = ""
    location: str = ""
    mode: str = "manage"
    origin: str = ""
    overlays: list[str] = Field(default_factory=list[str])


class CredentialStatus(ApiModel):
    """When the credential of a cluster ends, and whether the hub renews it by itself."""

    name: str
    place: str  # stored | file
    what: str  # the part of it that ends first
    ends_at: str | None = None  # None: it has no end
    renew_at: str | None = None  # None: not by the hub
    message: str = ""
    next_step: str = ""


class ClusterStatus(ApiModel):
    """State of one cluster: the worst of its units, and its own connection."""

    sync: str
    health: str
    commit: str = ""
    reachable: bool = False
    identity: str = ""
    version: str = ""
    reason: str = ""
    message: str = ""
    next_step: str = ""
    seen_at: str | None = None
    age_seconds: float | None = None
    units: int = 0
    at_head: int = 0
    needs_person: bool = False
    credential: CredentialStatus | None = None
    conditions: list[ConditionOut] = Field(default_factory=list[ConditionOut])


class ClusterOut(ApiModel):
    """One cluster."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    kind: Literal["Cluster"] = "Cluster"
    metadata: Metadata
    spec: ClusterSpec
    status: ClusterStatus


class OverlaySpec(ApiModel):
    """One overlay of the repo."""

    directory: str
    origin: str
    team: str = ""
    depends_on: list[str] = Field(default_factory=list[str])


class OverlayStatus(ApiModel):
    """The overlay over all its clusters."""

    units: int
    synced: int
    healthy: int
    at_head: int


class OverlayOut(ApiModel):
    """One overlay."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    kind: Literal["Overlay"] = "Overlay"
    metadata: Metadata
    spec: OverlaySpec
    status: OverlayStatus


class HoldDeletion(ApiModel):
    """One object that a hold would delete."""

    unit: str
    object: str
    uid: str
    created_at: str | None = None
    goes_with: list[str] = Field(default_factory=list[str])
    reason: str = ""
    message: str = ""


class HoldOut(ApiModel):
    """One hold: its exact list, and how it ended."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    kind: Literal["Hold"] = "Hold"
    metadata: Metadata
    overlay: str
    commit: str
    list_digest: str
    clusters: list[str]
    messages: list[str]
    deletions: list[HoldDeletion]
    created_at: str | None
    expires_at: str | None
    decision: str = ""
    decided_by: str = ""
    reason: str = ""


class EventOut(ApiModel):
    """One line of the timeline."""

    id: int
    at: str | None
    kind: str
    cluster: str = ""
    unit: str = ""
    commit: str = ""
    object: str = ""
    message: str


class AuditOut(ApiModel):
    """One entry of the audit log."""

    id: int
    at: str | None
    actor: str
    action: str
    cluster: str = ""
    identity: str = ""
    unit: str = ""
    object: str = ""
    uid: str = ""
    uid_after: str = ""
    commit: str = ""
    reason: str = ""
    approver: str = ""
    outcome: str = ""
    seal: str = ""


class OperationOut(ApiModel):
    """A requested action and how it ended."""

    id: str
    kind: str
    target: str
    actor: str
    requested_at: str | None
    reason: str = ""
    outcome: str = ""
    message: str = ""
    ended_at: str | None = None


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


class Page(ApiModel):
    """A list; `continue` fetches the next page."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    total: int = 0
    continue_: str = Field(default="", validation_alias="continue", serialization_alias="continue")


class ClusterList(Page):
    """Clusters, worst first."""

    items: list[ClusterOut]


class UnitList(Page):
    """Units, worst first."""

    items: list[UnitOut]


class OverlayList(Page):
    """Overlays by name."""

    items: list[OverlayOut]


class HoldList(Page):
    """Holds, newest first."""

    items: list[HoldOut]


class EventList(Page):
    """Events, oldest first unless asked otherwise."""

    items: list[EventOut]


class AuditList(Page):
    """Audit entries, oldest first."""

    items: list[AuditOut]


class OperationList(Page):
    """Operations, newest first."""

    items: list[OperationOut]


class TokenOut(ApiModel):
    """A token without its secret part; `token` is set once, in the answer to its creation."""

    id: str
    name: str
    role: str
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None = None
    token: str = ""


class TokenList(Page):
    """Tokens."""

    items: list[TokenOut]


class CredentialOut(ApiModel):
    """A credential's name, age and end; never its content (R32)."""

    name: str
    added_at: str | None
    ends_at: str | None = None
    renew_at: str | None = None


class CredentialList(Page):
    """Credentials."""

    items: list[CredentialOut]


class SuspensionOut(ApiModel):
    """A suspension by command."""

    scope: str
    reason: str
    owner: str = ""
    until: str = ""


class SuspensionList(Page):
    """Suspensions by command."""

    items: list[SuspensionOut]


class RecoveryOut(ApiModel):
    """A unit whose record was rebuilt from the cluster and waits for a person."""

    cluster: str
    unit: str
    objects: int
    commit: str = ""


class RecoveryList(Page):
    """Units that wait for `fleet recover --confirm`."""

    items: list[RecoveryOut]


class Done(ApiModel):
    """An action was carried out."""

    message: str = ""
