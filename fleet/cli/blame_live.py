"""What a hub knows of a blamed field: when its commit reached the cluster, and who else holds it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import age, when
from fleet.core.blame import arrival_of
from fleet.core.fleet import Unit
from fleet.core.ids import short
from fleet.core.objects import BundleObject
from fleet.errors import FleetError
from fleet.source.local import LocalRepo

_APPLIED = "applied"
_EVENTS = 1000  # per page
_SHOWN = 3
_KEYS = ("group", "kind", "namespace", "name")


@dataclass(slots=True)
class Live:
    """A hub's answers about one unit. unknown: why it gave none."""

    unknown: str = ""
    status: Mapping[str, Any] = field(default_factory=dict[str, Any])
    object: Mapping[str, Any] | None = None
    applied: tuple[tuple[str, str], ...] = ()  # time, commit; oldest first

    async def reached(self, repo: LocalRepo, commit: str) -> str:
        """When the cluster first got a commit, in words; unknown rather than wrong."""
        if self.unknown:
            return f"unknown: {self.unknown}"
        now = str(self.status.get("commit", ""))
        if not now:
            return "unknown: the hub has not seen yet what is there"
        known = {name: await repo.contains(name, commit) for name in {now, *(name for _, name in self.applied)}}
        if known[now] is False:
            return f"not yet: it is on {short(now)}"
        if known[now] is None:
            return f"unknown: this checkout does not know {short(now)}, which it is on"
        arrival = arrival_of([known[name] for _, name in self.applied])
        if arrival is None:
            return f"it is there with {short(now)}; since when is unknown: the timeline does not go back so far"
        at, name = self.applied[arrival]
        return f"{when(at)}, with {short(name)}"

    def holder(self, path: str) -> str:
        """Which manager holds a field that is live otherwise, in words; "" where that is not known."""
        if self.object is None:
            return ""
        seen = f"seen {age(self.status.get('ageSeconds'))} ago"
        drifts = [drift for drift in self.object.get("drift", []) if not path or _is_within(path, str(drift["path"]))]
        if not drifts:
            return f"as released, by the hub's last look ({seen})"
        said = [f"{drift['path']} by {drift.get('manager') or 'an unknown manager'}" for drift in drifts[:_SHOWN]]
        more = f" and {len(drifts) - _SHOWN} more" if len(drifts) > _SHOWN else ""
        return f"differs from what was released: {', '.join(said)}{more} ({seen})"


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))


def ask_hub(address: str, unit: Unit, item: BundleObject) -> Live:
    """What the hub says of a unit; a hub that is not known or does not answer is told as such."""
    try:
        client = Client(address, timeout_seconds=5.0)
        status: dict[str, Any] = client.get(f"/api/v1/units/{unit.name}")["status"]
        events = client.pages("/api/v1/events", {"unit": str(unit.name), "limit": str(_EVENTS)})["items"]
    except FleetError as error:
        return Live(unknown=error.what)
    ref = item.ref
    wanted = (ref.group, ref.kind, ref.namespace, ref.name)
    objects: list[dict[str, Any]] = status.get("objects") or []
    there = next((one for one in objects if tuple(one[key] for key in _KEYS) == wanted), None)
    applied = ((str(one.get("at")), str(one.get("commit", ""))) for one in events if one.get("kind") == _APPLIED)
    return Live(status=status, object=there, applied=tuple(applied))
