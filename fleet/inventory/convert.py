"""From what is written (schema.py) to the values of the spine, each with the line it stands on."""

from __future__ import annotations

from dataclasses import replace

from fleet.core.documents import Json
from fleet.core.fleet import (
    Cluster,
    Connection,
    Environment,
    Mode,
    Overlay,
    OverlayState,
    OverlayUse,
    TeamRights,
)
from fleet.core.ids import ClusterName, Identity, OverlayName
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Amount, OnFailure, RolloutPolicy, Step
from fleet.core.selection import Target, Variable, Variables
from fleet.core.sync_policy import (
    Adopt,
    Budget,
    HealthRule,
    IgnoreNote,
    IgnoreRule,
    Suspension,
    SyncMode,
    SyncPolicy,
    Validate,
    Window,
    WindowKind,
)
from fleet.inventory import schema
from fleet.inventory.gates import gate_of
from fleet.inventory.texts import duration_seconds, share_of
from fleet.inventory.yamlfile import Spot
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """A document with its file: knows the line of each of its places."""

    path: str
    spot: Spot

    def origin(self, *loc: str | int) -> Origin:
        """The line of a place: of its key, or of the list item itself."""
        spot = self.spot.at(loc)
        return Origin(self.path, spot.key_line or spot.line)

    def variables(self, values: dict[str, Json], *loc: str | int) -> Variables:
        """Values with the line of each."""
        return {name: Variable(value, self.origin(*loc, name)) for name, value in values.items()}


def cluster_of(written: Written, file: schema.ClusterFile) -> Cluster:
    """A Cluster document."""
    spec = file.spec
    uses = tuple(_use_of(written, entry, index) for index, entry in enumerate(spec.overlays))
    connection = Connection(
        credential=spec.connection.credential or ("" if spec.connection.in_cluster is not None else file.metadata.name),
        in_cluster=spec.connection.in_cluster is not None,
    )
    return Cluster(
        name=ClusterName(file.metadata.name),
        origin=written.origin("metadata", "name"),
        labels=dict(file.metadata.labels),
        environment=spec.environment or "",
        location=spec.location or "",
        mode=Mode(spec.mode),
        connection=connection,
        identity=Identity(spec.identity) if spec.identity else None,
        overlays=uses,
        variables=written.variables(spec.variables, "spec", "variables"),
        suspend=suspension_of(written, spec.suspend, f"cluster {file.metadata.name}"),
    )


def _use_of(written: Written, entry: str | schema.OverlayUsePart, index: int) -> OverlayUse:
    origin = written.origin("spec", "overlays", index)
    if isinstance(entry, str):
        return OverlayUse(OverlayName(entry), origin=origin)
    return OverlayUse(
        name=OverlayName(entry.name),
        path=entry.path or "",
        components=tuple(entry.components),
        variables=written.variables(entry.variables, "spec", "overlays", index, "variables"),
        origin=origin,
    )


def suspension_of(written: Written, part: schema.SuspendPart | None, scope: str) -> Suspension | None:
    """A suspension in Git, with the scope it stands on."""
    if part is None:
        return None
    return Suspension(part.reason, part.owner, part.until, scope, written.origin("spec", "suspend"))


@dataclass(frozen=True, slots=True)
class Draft:
    """An overlay as its own document says, before directory, fleet defaults and rights are known.

    `overlay.name` is "" where the directory names it; `overlay.sync` and `overlay.paths` are not set yet.
    """

    overlay: Overlay
    sync: schema.SyncPart
    sync_origin: Origin
    windows_origin: Origin
    rollout: WrittenRollout | None = None


EMPTY_SYNC = schema.SyncPart()
NOWHERE = Origin("")


def silent_draft(origin: Origin) -> Draft:
    """An overlay without overlay.yaml."""
    return Draft(Overlay(OverlayName(""), "", origin), EMPTY_SYNC, origin, origin)


def draft_of(written: Written, file: schema.OverlayFile) -> Draft:
    """An Overlay document."""
    return _draft(written, file.spec, file.metadata.name or "", written.origin("metadata", "name"), "spec")


def named_draft_of(written: Written, part: schema.NamedOverlay, index: int) -> Draft:
    """An overlay that fleet.yaml names, with its one path template from the root."""
    draft = _draft(written, part, part.name, written.origin("spec", "overlays", index), *("spec", "overlays", index))
    return replace(draft, overlay=replace(draft.overlay, paths=(part.path,)))


def _draft(written: Written, spec: schema.OverlaySpec, name: str, origin: Origin, *at: str | int) -> Draft:
    targets = None
    if spec.clusters is not None:
        targets = tuple(_target_of(written, part, *at, "clusters", index) for index, part in enumerate(spec.clusters))
    overlay = Overlay(
        name=OverlayName(name),
        directory="",
        origin=origin,
        targets=targets,
        state=OverlayState(spec.state),
        depends_on=tuple(OverlayName(other) for other in dict.fromkeys(spec.depends_on)),
        substitute=spec.substitute,
        ignore=tuple(_ignore_of(part) for part in spec.ignore_differences),
        ignore_notes=tuple(
            _note_of(part, written.origin(*at, "ignoreDifferences", index))
            for index, part in enumerate(spec.ignore_differences)
        ),
        health=tuple(HealthRule(part.kind, part.group, part.healthy, part.degraded) for part in spec.health),
        allow_empty=spec.allow_empty,
        compat=frozenset(spec.compat),
        variables=written.variables(spec.variables, *at, "variables"),
        suspend=suspension_of(written, spec.suspend, f"overlay {name}"),
    )
    windows = written.origin(*at, "sync", "windows")
    rollout = written_rollout(written, spec.rollout, *at)
    return Draft(overlay, spec.sync, written.origin(*at, "sync"), windows, rollout)


def _target_of(written: Written, part: schema.TargetPart, *at: str | int) -> Target:
    return Target(
        origin=written.origin(*at),
        all=bool(part.all),
        names=tuple(ClusterName(name) for name in part.names or ()),
        environments=tuple(part.environments or ()),
        match_labels=dict(part.match_labels or {}),
        excluded=tuple(ClusterName(name) for name in part.excluded),
        path=part.path or "",
        components=tuple(part.components),
        variables=written.variables(part.variables, *at, "variables"),
    )


def _ignore_of(part: schema.IgnorePart) -> IgnoreRule:
    return IgnoreRule(part.group, part.kind, part.namespace, part.name, tuple(part.pointers), tuple(part.managers))


def _note_of(part: schema.IgnorePart, origin: Origin) -> IgnoreNote:
    kind = f"{part.kind or '*'}.{part.group}" if part.group else part.kind
    fields = ", ".join([*part.pointers, *(f"what {manager} holds" for manager in part.managers)])
    what = " ".join(filter(None, (kind, "/".join(filter(None, (part.namespace, part.name))), fields)))
    return IgnoreNote(what, origin, part.reason, part.owner, part.until)


@dataclass(frozen=True, slots=True)
class WrittenRollout:
    """A `rollout` block; None for what it does not say."""

    origin: Origin
    steps: tuple[Step, ...] | None = None
    health_timeout_seconds: int | None = None
    on_failure: OnFailure | None = None


def written_rollout(written: Written, part: schema.RolloutPart | None, *at: str | int) -> WrittenRollout | None:
    """The block below `at`, each step with its line."""
    if part is None:
        return None
    steps = None
    if part.steps is not None:
        steps = tuple(_step_of(written, step, *at, "rollout", "steps", index) for index, step in enumerate(part.steps))
    timeout = None if part.health_timeout is None else max(1, round(duration_seconds(part.health_timeout)))
    on_failure = OnFailure(part.on_failure) if part.on_failure else None
    return WrittenRollout(written.origin(*at, "rollout"), steps, timeout, on_failure)


def _step_of(written: Written, part: schema.StepPart, *at: str | int) -> Step:
    origin, clusters = written.origin(*at), None
    soak = duration_seconds(part.soak) if part.soak else 0.0
    if part.clusters is not None:
        clusters = Target(
            origin,
            all=bool(part.clusters.all),
            names=tuple(ClusterName(name) for name in part.clusters.names or ()),
            environments=tuple(part.clusters.environments or ()),
            match_labels=dict(part.clusters.match_labels or {}),
            excluded=tuple(ClusterName(name) for name in part.clusters.excluded),
        )
    return Step(
        name=part.name,
        origin=origin,
        clusters=clusters,
        environments=tuple(part.environments or ()),
        rest=bool(part.rest),
        soak_seconds=soak,
        max_parallel=_amount_of(part.max_parallel),
        max_unavailable=_amount_of(part.max_unavailable),
        approvals=part.approve or 0,
        approve_timeout_seconds=duration_seconds(part.approve_timeout) if part.approve_timeout else None,
        gates=tuple(
            gate_of(gate, written.origin(*at, "gates", index), soak) for index, gate in enumerate(part.gates or ())
        ),
    )


def _amount_of(value: int | str | None) -> Amount | None:
    if value is None:
        return None
    return Amount(share=share_of(value)) if isinstance(value, str) else Amount(number=value)


def rollout_of(part: WrittenRollout | None, default: RolloutPolicy, *, is_own: bool) -> RolloutPolicy:
    """A policy: what the block says, the default for the rest. is_own: the block is an overlay's."""
    if part is None:
        return default
    return RolloutPolicy(
        steps=default.steps if part.steps is None else part.steps,
        own_steps=is_own and part.steps is not None,
        health_timeout_seconds=part.health_timeout_seconds or default.health_timeout_seconds,
        on_failure=part.on_failure or default.on_failure,
    )


def sync_of(part: schema.SyncPart, default: SyncPolicy, windows_origin: Origin = NOWHERE) -> SyncPolicy:
    """A policy: what the part says, the default for the rest. windows_origin: where the part's windows stand."""
    if part == EMPTY_SYNC:
        return default
    return SyncPolicy(
        mode=SyncMode(part.mode) if part.mode else default.mode,
        prune=default.prune if part.prune is None else part.prune,
        self_heal=default.self_heal if part.self_heal is None else part.self_heal,
        validate=Validate(part.validation) if part.validation else default.validate,
        adopt=Adopt(part.adopt) if part.adopt else default.adopt,
        windows=default.windows
        if part.windows is None
        else tuple(_window_of(window, windows_origin) for window in part.windows),
    )


def _window_of(part: schema.WindowPart, origin: Origin) -> Window:
    seconds = max(1, round(duration_seconds(part.duration)))
    return Window(WindowKind(part.kind), part.schedule, seconds, part.time_zone, origin)


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What fleet.yaml says, or the defaults where there is none."""

    name: str
    clusters_directory: str  # "" for the root, else with "/" at its end
    sources: tuple[OverlaySource, ...]
    environments: tuple[Environment, ...]
    variables: Variables
    sync: SyncPolicy
    budget: Budget
    teams: tuple[TeamRights, ...]
    suspend: Suspension | None
    rollout: RolloutPolicy
    override_approvals: int
    origin: Origin
    declared_environments: bool


@dataclass(frozen=True, slots=True)
class OverlaySource:
    """One entry of `overlays` in fleet.yaml: a glob of directories with templates, or one overlay by name."""

    origin: Origin
    glob: str = ""
    paths: tuple[str, ...] = ()
    named: Draft | None = None


def settings_of(written: Written, file: schema.FleetFile) -> FleetSettings:
    """A Fleet document."""
    spec = file.spec
    return FleetSettings(
        name=file.metadata.name,
        clusters_directory=_directory(spec.clusters),
        sources=tuple(_source_of(written, entry, index) for index, entry in enumerate(spec.overlays)),
        environments=tuple(_environment_of(written, entry, index) for index, entry in enumerate(spec.environments)),
        variables=written.variables(spec.variables, "spec", "variables"),
        sync=sync_of(spec.sync, SyncPolicy(), written.origin("spec", "sync", "windows")),
        budget=Budget(spec.budget.objects, share_of(spec.budget.share), spec.budget.share_from, spec.budget.clusters),
        teams=tuple(_team_of(name, part) for name, part in spec.teams.items()),
        suspend=suspension_of(written, spec.suspend, "fleet"),
        rollout=rollout_of(written_rollout(written, spec.rollout, "spec"), RolloutPolicy(), is_own=False),
        override_approvals=spec.overrides.approve,
        origin=written.origin(),
        declared_environments=bool(spec.environments),
    )


def default_settings(path: str) -> FleetSettings:
    """A repo without fleet.yaml."""
    file = schema.FleetFile.model_validate({"apiVersion": schema.API_VERSION, "kind": "Fleet"})
    return settings_of(Written(path, Spot(0, 0)), file)


def _directory(text: str) -> str:
    plain = text.strip("/").removeprefix("./")
    return "" if plain in ("", ".") else plain + "/"


def _source_of(written: Written, part: schema.DirectoryOverlays | schema.NamedOverlay, index: int) -> OverlaySource:
    origin = written.origin("spec", "overlays", index)
    if isinstance(part, schema.NamedOverlay):
        return OverlaySource(origin, named=named_draft_of(written, part, index))
    return OverlaySource(origin, glob=part.dirs.rstrip("/").removeprefix("./"), paths=tuple(part.paths))


def _environment_of(written: Written, part: str | schema.EnvironmentPart, index: int) -> Environment:
    if isinstance(part, str):
        return Environment(part)
    return Environment(part.name, written.variables(part.variables, "spec", "environments", index, "variables"))


def _team_of(name: str, part: schema.TeamPart) -> TeamRights:
    return TeamRights(
        name=name,
        directories=tuple(pattern.rstrip("/") for pattern in part.dirs),
        reads=tuple(part.reads),
        match_labels=dict(part.clusters.match_labels),
        namespaces=None if part.allow.namespaces is None else tuple(part.allow.namespaces),
        kinds=None if part.allow.kinds is None else tuple(part.allow.kinds),
        replace=part.replace,
    )
