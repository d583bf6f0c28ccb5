"""What a team's directories may say (R29): they may narrow what fleet.yaml gives them, never widen it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.core.fleet import Cluster, TeamRights
from fleet.core.problems import Origin
from fleet.core.sync_policy import (
    Adopt,
    SyncMode,
    SyncPolicy,
    Validate,
    WindowKind,
)
from fleet.inventory import schema
from fleet.inventory.convert import sync_of
from fleet.inventory.layout import matches_glob

_ADOPT_ORDER = (Adopt.NEVER, Adopt.IF_NO_DIFF, Adopt.ALWAYS)


def teams_of(directory: str, teams: Sequence[TeamRights]) -> list[TeamRights]:
    """The teams whose directories hold this one; more than one is an error of fleet.yaml."""
    return [team for team in teams if matches_glob(directory, team.directories)]


def widened_fields(part: schema.SyncPart, fleet: SyncPolicy) -> list[str]:
    """The fields of a team's `sync` that do more, or ask less, than the fleet's."""
    wanted = sync_of(part, fleet)
    found: list[str] = []
    if fleet.mode is SyncMode.MANUAL and wanted.mode is SyncMode.AUTO:
        found.append("mode")
    if wanted.prune and not fleet.prune:
        found.append("prune")
    if wanted.self_heal and not fleet.self_heal:
        found.append("selfHeal")
    if fleet.validate is Validate.SERVER and wanted.validate is Validate.SCHEMA:
        found.append("validate")
    if _ADOPT_ORDER.index(wanted.adopt) > _ADOPT_ORDER.index(fleet.adopt):
        found.append("adopt")
    # Allow windows add up: a second one opens more time. A deny window only ever closes some.
    allows = any(window.kind is WindowKind.ALLOW for window in fleet.windows)
    if allows and any(window.kind == "allow" for window in part.windows or ()):
        found.append("windows")
    return found


def narrowed(part: schema.SyncPart, fleet: SyncPolicy, windows_origin: Origin) -> SyncPolicy:
    """A team's policy: its own windows come to the fleet's, they do not replace them."""
    wanted = sync_of(part, fleet, windows_origin)
    if part.windows is None:
        return wanted
    own = tuple(window for window in wanted.windows if window not in fleet.windows)
    return SyncPolicy(
        wanted.mode, wanted.prune, wanted.self_heal, wanted.validate, wanted.adopt, (*fleet.windows, *own)
    )


def may_run_on(team: TeamRights, cluster: Cluster) -> bool:
    """Whether fleet.yaml lets this team's overlays run on this cluster."""
    return all(cluster.labels.get(key) == value for key, value in team.match_labels.items())


def outside(team: TeamRights, path: str, components: Iterable[str]) -> str | None:
    """The first of a unit's own path and components that the team may not use."""
    if not matches_glob(path, team.directories):
        return path
    allowed = (*team.directories, *team.reads)
    return next((component for component in components if not matches_glob(component, allowed)), None)
