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


# Years that the calendar of every time zone has.
_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2, 9999))


def rfc3339(seconds: float) -> str | None:
    """A wall-clock time as text; None for "never", and for what is no time: some are what a cluster said (R18)."""
    if not seconds or not _FIRST <= seconds < _LAST:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Page(ApiModel):
    """A list; `continue` fetches the next page."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    total: int = 0
    continue_: str = Field(default="", validation_alias="continue", serialization_alias="continue")


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


class IgnoredOut(ApiModel):
    """Fields that an overlay has left alone: which, since which line, and by whose word until when."""

    what: str
    origin: str
    reason: str = ""
    owner: str = ""
    until: str = ""


class OverlaySpec(ApiModel):
    """One overlay of the repo."""

    directory: str
    origin: str
    team: str = ""
    depends_on: list[str] = Field(default_factory=list[str])
    ignore_differences: list[IgnoredOut] = Field(default_factory=list[IgnoredOut])


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


class ClusterList(Page):
    """Clusters, worst first."""

    items: list[ClusterOut]


class UnitList(Page):
    """Units, worst first."""

    items: list[UnitOut]


class OverlayList(Page):
    """Overlays by name."""

    items: list[OverlayOut]
