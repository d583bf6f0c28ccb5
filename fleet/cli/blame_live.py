"""What is known of a blamed field beyond the repo: when its commit reached the cluster, and who else holds it there.

A hub knows both. The cluster itself, read by a person's own kubeconfig, knows who holds a field now, and the commit
that it is on, but not since when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleet.cli.client import Client
from fleet.cli.output import age, when
from fleet.core.blame import arrival_of
from fleet.core.diff import held_otherwise
from fleet.core.documents import Document
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Unit
from fleet.core.ids import ObjectRef, short
from fleet.core.objects import BundleObject, Mark, is_secret
from fleet.core.parent import parse_parent
from fleet.core.record import PARENT_NAMESPACE, mark_body, parent_name
from fleet.errors import FleetError
from fleet.source.local import LocalRepo
from fleet.values import dataclass, field

if TYPE_CHECKING:
    from fleet.kube.connect import ClusterKube
    from fleet.ports.kube import Catalog

_APPLIED = "applied"
_EVENTS = 1000  # per page
_SHOWN = 3
_KEYS = ("group", "kind", "namespace", "name")


@dataclass(slots=True)
class Live:
    """Answers about one unit. unknown: why there are none; asked: how they were got."""

    unknown: str = ""
    asked: str = "by the hub's last look"
    status: Mapping[str, Any] = field(default_factory=dict[str, Any])
    object: Mapping[str, Any] | None = None
    applied: tuple[tuple[str, str], ...] = ()  # time, commit; oldest first

    async def reached(self, repo: LocalRepo, commit: str) -> str:
        """When the cluster first got a commit, in words; unknown rather than wrong."""
        if self.unknown:
            return f"unknown: {self.unknown}"
        now = str(self.status.get("commit", ""))
        if not now:
            return "unknown: nothing says yet which commit is there"
        known = {name: await repo.contains(name, commit) for name in {now, *(name for _, name in self.applied)}}
        if known[now] is False:  # a commit that leaves the unit's result as it is never becomes the unit's own
            return f"unknown: it is on {short(now)}, which came before; this one waits, or changes nothing there"
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
            return f"as released, {self.asked} ({seen})"
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


async def ask_cluster(unit: Unit, item: BundleObject, installation: str, *, seconds: float) -> Live:
    """What the cluster says to a person who may read it; where it does not answer, that is told.

    installation: whose marks the object carries.
    """
    from fleet.kube.connect import connect_person

    name = unit.name.cluster
    try:
        async with asyncio.timeout(seconds):
            kube = await connect_person(context=name, cluster=name, expected=unit.cluster.identity)
            try:
                catalog = await kube.discover()
                parent = await _read(kube, catalog, _parent_of(unit))
                there = await _read(kube, catalog, item.ref)
                mark = Mark(installation, kube.identity, unit.name.overlay)
            finally:
                await kube.close()
    except TimeoutError:
        return Live(unknown=f"{name} did not answer within {seconds:g} s")
    except FleetError as error:
        return Live(unknown=error.why or error.what)
    if there is None:
        return Live(unknown=f"{item.ref} is not on {name}")
    found = parse_parent(parent) if parent is not None else None
    # Values of Secrets are sealed here, so that none can be compared: who holds them is all there is to tell.
    desired = mark_body(item.document(), mark)
    drifts: Sequence[FieldDrift] = ()
    if not is_secret(item.ref):
        drifts = held_otherwise(desired, there)
    status = {"commit": found.commit if found else "", "ageSeconds": 0.0}
    drift = [{"path": one.path, "manager": one.manager} for one in drifts]
    return Live(asked="as the cluster has it", status=status, object={"drift": drift})


def _parent_of(unit: Unit) -> ObjectRef:
    return ObjectRef("", "ConfigMap", PARENT_NAMESPACE, parent_name(unit.name.overlay))


async def _read(kube: ClusterKube, catalog: Catalog, ref: ObjectRef) -> Document | None:
    kind = catalog.find(ref.group, ref.kind)
    return await kube.get(kind, ref.namespace, ref.name) if kind is not None else None
