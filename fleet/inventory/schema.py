"""The three kinds of a fleet repo as they are written: Fleet, Cluster, Overlay (`apiVersion: fleet.internal/v1`).

Unknown fields are errors. What a single value can break is checked here; what needs other files (names, targets,
rights) is checked where they are joined. `json_schema` gives the published JSON Schema of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator
from pydantic_core import PydanticCustomError

from fleet.inventory.gate_schema import GatePart
from fleet.inventory.part import STEP_INVALID, TARGET_INVALID, Part
from fleet.inventory.texts import (
    AtLeastNone,
    AtLeastOne,
    ClusterNameText,
    CredentialText,
    DurationText,
    EnvironmentText,
    Labels,
    OverlayNameText,
    PathText,
    Pattern,
    PercentText,
    PointerText,
    ScheduleText,
    TemplateText,
    VariablesMap,
    ZoneText,
    duration_seconds,
    share_of,
    text_or_mapping,
)

GROUP = "fleet.internal"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"


def _dirs_or_name(value: Any) -> str:
    named = isinstance(value, NamedOverlay) or (isinstance(value, Mapping) and "name" in value)
    return "<named>" if named else "<dirs>"


UntilText = Annotated[str, Field(description="RFC 3339, as 2026-11-30T18:00:00Z", pattern=r"^\d{4}-\d\d-\d\dT.+$")]


class SuspendPart(Part):
    """A person stops it: reason, owner and until when."""

    reason: Annotated[str, Field(min_length=1)]
    owner: str = ""
    until: UntilText = ""


class WindowPart(Part):
    """A time in which syncs are allowed or denied; deny wins."""

    kind: Literal["allow", "deny"]
    schedule: ScheduleText
    duration: DurationText
    time_zone: ZoneText = "UTC"


class SyncPart(Part):
    """How a unit is kept equal to Git. What is not said comes from the fleet."""

    mode: Literal["auto", "manual"] | None = None
    prune: bool | None = None
    self_heal: bool | None = None
    validation: Annotated[Literal["server", "schema"] | None, Field(alias="validate")] = None
    adopt: Literal["never", "ifNoDiff", "always"] | None = None
    windows: list[WindowPart] | None = None


class BudgetPart(Part):
    """Deletions in an hour before a person is asked."""

    objects: Annotated[int, Field(ge=0)] = 20
    share: PercentText = "25%"
    share_from: Annotated[int, Field(ge=1)] = 8
    clusters: Annotated[int, Field(ge=0)] = 3


class TargetPart(Part):
    """Clusters, and what is different on them. All criteria that are given must hold."""

    all: Literal[True] | None = None
    names: Annotated[list[ClusterNameText], Field(min_length=1)] | None = None
    environments: Annotated[list[EnvironmentText], Field(min_length=1)] | None = None
    match_labels: Annotated[Labels, Field(min_length=1)] | None = None
    excluded: Annotated[list[ClusterNameText], Field(alias="except")] = Field(default_factory=list[str])
    path: PathText | None = None
    components: list[PathText] = Field(default_factory=list[str])
    variables: VariablesMap = Field(default_factory=dict[str, JsonValue])

    @model_validator(mode="after")
    def _says_whom(self) -> TargetPart:
        if not (self.all or self.names or self.environments or self.match_labels):
            raise PydanticCustomError(TARGET_INVALID, "no criterion: give all, names, environments or matchLabels")
        return self


class StepPart(Part):
    """One step of a rollout. Which clusters it takes, how many at once, and what it waits for."""

    name: ClusterNameText
    clusters: TargetPart | None = None
    environments: Annotated[list[EnvironmentText], Field(min_length=1)] | None = None
    rest: Literal[True] | None = None
    soak: DurationText | None = None
    max_parallel: AtLeastOne | None = None
    max_unavailable: AtLeastNone | None = None
    approve: Annotated[int, Field(ge=1, le=10)] | None = None
    approve_timeout: Annotated[
        DurationText | None, Field(description="Halts when it is not approved within this; without it, waits for ever")
    ] = None
    gates: Annotated[list[GatePart], Field(min_length=1, max_length=20)] | None = None

    @model_validator(mode="after")
    def _can_be_done(self) -> StepPart:
        takes = self.rest or self.environments or self.clusters
        if self.rest and (self.environments or self.clusters):
            raise PydanticCustomError(STEP_INVALID, "rest takes all that is left; take the other criteria out")
        if self.clusters and (self.clusters.path or self.clusters.components or self.clusters.variables):
            raise PydanticCustomError(STEP_INVALID, "a step only selects; path, components, variables are a target's")
        if not takes and not self.approve and not self.gates:
            raise PydanticCustomError(STEP_INVALID, "no cluster: give clusters, environments, rest, approve or gates")
        names = [gate.name for gate in self.gates or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PydanticCustomError(STEP_INVALID, "gate {name} is given twice", {"name": twice})
        if not takes and any(gate.job and not gate.job.cluster for gate in self.gates or ()):
            raise PydanticCustomError(STEP_INVALID, "a Job in a step without clusters must name its cluster")
        if not takes and (self.soak or self.max_parallel or self.max_unavailable is not None):
            raise PydanticCustomError(STEP_INVALID, "a step that takes no clusters has nothing to soak or to limit")
        if self.approve_timeout and not self.approve:
            raise PydanticCustomError(STEP_INVALID, "approveTimeout without approve: nobody is asked")
        if self.approve_timeout and not 60 <= duration_seconds(self.approve_timeout) <= 720 * 3600:
            raise PydanticCustomError(STEP_INVALID, "an approveTimeout is between 1m and 720h")
        if _is_none(self.max_parallel) or _is_none(self.max_unavailable):
            raise PydanticCustomError(STEP_INVALID, "a limit of 0 lets no cluster begin; give at least 1 or 1%")
        return self


def _is_none(limit: int | str | None) -> bool:
    return limit is not None and (share_of(limit) if isinstance(limit, str) else limit) == 0


class RolloutPart(Part):
    """In which steps a commit goes through its clusters."""

    steps: Annotated[list[StepPart], Field(max_length=50)] | None = None
    health_timeout: DurationText | None = None
    on_failure: Literal["halt", "rollback"] | None = None

    @model_validator(mode="after")
    def _named_once(self) -> RolloutPart:
        names = [step.name for step in self.steps or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PydanticCustomError(STEP_INVALID, "step {name} is given twice", {"name": twice})
        return self


class IgnorePart(Part):
    """Fields that are neither compared nor applied; why, by whom and until when."""

    group: str | None = None
    kind: str = ""
    namespace: str = ""
    name: str = ""
    pointers: list[PointerText] = Field(default_factory=list[str])
    managers: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list[str])
    reason: str = ""
    owner: str = ""
    until: UntilText = ""

    @model_validator(mode="after")
    def _says_what(self) -> IgnorePart:
        if not self.pointers and not self.managers:
            raise ValueError("it ignores nothing: give pointers or managers")
        return self


class HealthPart(Part):
    """CEL expressions over the live object, for kinds that are not known."""

    kind: Annotated[str, Field(min_length=1)]
    group: str | None = None
    healthy: str = ""
    degraded: str = ""

    @model_validator(mode="after")
    def _says_what(self) -> HealthPart:
        if not self.healthy and not self.degraded:
            raise ValueError("it says nothing: give healthy or degraded")
        return self


class OverlaySpec(Part):
    """What an overlay says about itself."""

    clusters: Annotated[list[TargetPart], Field(min_length=1)] | None = None
    state: Literal["present", "absent"] = "present"
    depends_on: list[OverlayNameText] = Field(default_factory=list[str])
    sync: SyncPart = Field(default_factory=SyncPart)
    rollout: RolloutPart | None = None
    substitute: bool = False
    ignore_differences: list[IgnorePart] = Field(default_factory=list[IgnorePart])
    health: list[HealthPart] = Field(default_factory=list[HealthPart])
    allow_empty: bool = False
    compat: list[Literal["argocd", "flux"]] = Field(default_factory=list[Literal["argocd", "flux"]])
    variables: VariablesMap = Field(default_factory=dict[str, JsonValue])
    suspend: SuspendPart | None = None


class DirectoryOverlays(Part):
    """Overlays by their directories, and the templates of paths below each."""

    dirs: PathText
    paths: Annotated[list[TemplateText], Field(min_length=1)] = Field(
        default_factory=lambda: ["{cluster}", "{environment}", "."]
    )


class NamedOverlay(OverlaySpec):
    """One overlay by name, with one template of its path from the root."""

    name: OverlayNameText
    path: TemplateText


class EnvironmentPart(Part):
    """A stage of promotion."""

    name: EnvironmentText
    variables: VariablesMap = Field(default_factory=dict[str, JsonValue])


OverlaySource = Annotated[
    Annotated[DirectoryOverlays, Tag("<dirs>")] | Annotated[NamedOverlay, Tag("<named>")], Discriminator(_dirs_or_name)
]
EnvironmentEntry = Annotated[
    Annotated[EnvironmentText, Tag("<text>")] | Annotated[EnvironmentPart, Tag("<mapping>")],
    Discriminator(text_or_mapping),
]


class ClusterSelector(Part):
    """Clusters by labels."""

    match_labels: Labels = Field(default_factory=dict[str, str])


class AllowPart(Part):
    """What a team's objects may be; a list that is not given is no limit."""

    namespaces: list[Pattern] | None = None
    kinds: list[Pattern] | None = None


class TeamPart(Part):
    """Rights of one team over its directories."""

    dirs: Annotated[list[PathText], Field(min_length=1)]
    reads: list[PathText] = Field(default_factory=list[str])
    clusters: ClusterSelector = Field(default_factory=ClusterSelector)
    allow: AllowPart = Field(default_factory=AllowPart)
    replace: bool = False


class OverridesPart(Part):
    """Who must agree before a person passes windows and the order of rollouts."""

    approve: Annotated[int, Field(ge=0, le=5, description="By so many people beside the one who asks")] = 0


class FleetSpec(Part):
    """Rights and defaults of the whole fleet."""

    clusters: PathText = "clusters/"
    overlays: list[OverlaySource] = Field(default_factory=lambda: [DirectoryOverlays(dirs="overlays/*")])
    environments: list[EnvironmentEntry] = Field(default_factory=list["EnvironmentEntry"])
    variables: VariablesMap = Field(default_factory=dict[str, JsonValue])
    sync: SyncPart = Field(default_factory=SyncPart)
    rollout: RolloutPart | None = None
    budget: BudgetPart = Field(default_factory=BudgetPart)
    overrides: OverridesPart = Field(default_factory=OverridesPart)
    teams: dict[ClusterNameText, TeamPart] = Field(default_factory=dict[str, TeamPart])
    suspend: SuspendPart | None = None


class EmptyPart(Part):
    """A mapping without fields."""


class ConnectionPart(Part):
    """How the hub reaches a cluster."""

    credential: CredentialText | None = None
    in_cluster: EmptyPart | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ConnectionPart:
        if self.credential is not None and self.in_cluster is not None:
            raise ValueError("credential and inCluster exclude each other")
        return self


class OverlayUsePart(Part):
    """A Cluster's own naming of an overlay that selects no clusters itself."""

    name: OverlayNameText
    path: PathText | None = None
    components: list[PathText] = Field(default_factory=list[str])
    variables: VariablesMap = Field(default_factory=dict[str, JsonValue])


OverlayEntry = Annotated[
    Annotated[OverlayNameText, Tag("<text>")] | Annotated[OverlayUsePart, Tag("<mapping>")],
    Discriminator(text_or_mapping),
]


class ClusterSpec(Part):
    """One cluster: where it stands, how it is reached, what it gets."""

    environment: EnvironmentText | None = None
    location: Literal["public", "private", "on-prem"] | None = None
    mode: Literal["manage", "observe"] = "manage"
    connection: ConnectionPart = Field(default_factory=ConnectionPart)
    identity: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    overlays: list[OverlayEntry] = Field(default_factory=list["OverlayEntry"])
    variables: VariablesMap = Field(default_factory=dict[str, JsonValue])
    suspend: SuspendPart | None = None


class FleetMetadata(Part):
    """The installation id."""

    name: ClusterNameText = "default"


class ClusterMetadata(Part):
    """Name and labels of a cluster."""

    name: ClusterNameText
    labels: Labels = Field(default_factory=dict[str, str])


class OverlayMetadata(Part):
    """Name of an overlay; the directory's where it is not given."""

    name: OverlayNameText | None = None


class FleetFile(Part):
    """fleet.yaml at the root."""

    kind_name: ClassVar[str] = "Fleet"
    api_version: Literal["fleet.internal/v1"]
    kind: Literal["Fleet"]
    metadata: FleetMetadata = Field(default_factory=FleetMetadata)
    spec: FleetSpec = Field(default_factory=FleetSpec)


class ClusterFile(Part):
    """A cluster of the inventory; one or more in a file below clusters/."""

    kind_name: ClassVar[str] = "Cluster"
    api_version: Literal["fleet.internal/v1"]
    kind: Literal["Cluster"]
    metadata: ClusterMetadata
    spec: ClusterSpec = Field(default_factory=ClusterSpec)


class OverlayFile(Part):
    """overlay.yaml in an overlay's directory."""

    kind_name: ClassVar[str] = "Overlay"
    api_version: Literal["fleet.internal/v1"]
    kind: Literal["Overlay"]
    metadata: OverlayMetadata = Field(default_factory=OverlayMetadata)
    spec: OverlaySpec = Field(default_factory=OverlaySpec)


KINDS: dict[str, type[FleetFile] | type[ClusterFile] | type[OverlayFile]] = {
    kind.kind_name: kind for kind in (FleetFile, ClusterFile, OverlayFile)
}


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind, for editors and for other validators."""
    schema = KINDS[kind].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": kind}
