"""`fleet plan --live` by a hub: what its workers see anyway, where a person has no way to a cluster of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fleet.cli.client import Client
from fleet.core.ids import ClusterName, ObjectRef, UnitName
from fleet.core.objects import Bundle, is_secret
from fleet.core.planning.live import ClusterLook, LiveView
from fleet.core.planning.live_hub import Base, HubWord, KnownObject, KnownUnit, view_of
from fleet.errors import FleetError, UsageInvalid
from fleet.values import dataclass

if TYPE_CHECKING:
    from fleet.cli.planning_live import LiveUnit

UNITS_AT_ONCE = 1000  # as the hub takes them
Through = Literal["", "hub", "kubeconfig"]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is asked. seconds: for one cluster, or one answer of the hub; hub: its address, "" for the one known here.

    through: "" the kubeconfig, and the hub for clusters that have no context in it.
    """

    seconds: float
    hub: str = ""
    through: Through = ""


def through_of(word: str) -> Through:
    """What `--through` says. Raises UsageInvalid."""
    if word not in ("", "hub", "kubeconfig"):
        raise UsageInvalid(f"--through {word} is no way to a cluster", next_step="hub or kubeconfig")
    return word


async def hub_view(units: Sequence[LiveUnit], commit: str, asking: Asking) -> LiveView:
    """What the hub knows of these units; where it does not answer, no cluster is read, and this is said.

    commit: what the change starts from.
    """
    changes = [unit.change for unit in units]
    try:
        word = await asyncio.to_thread(_word, units, commit, asking)
    except FleetError as error:
        problem, clusters = f"the hub was not asked: {error.brief}", sorted({one.name.cluster for one in changes})
        return LiveView(tuple(ClusterLook(name, problem, error.next_step, by_hub=True) for name in clusters))
    return view_of(changes, word)


def _word(units: Sequence[LiveUnit], commit: str, asking: Asking) -> HubWord:
    client = Client(asking.hub, timeout_seconds=asking.seconds)
    clusters: dict[ClusterName, str] = {}
    known: dict[UnitName, KnownUnit] = {}
    asked = [
        {"unit": str(unit.unit.name), "base": _digest_of(unit.before), "after": _digest_of(unit.after)}
        for unit in units
    ]
    for first in range(0, len(asked), UNITS_AT_ONCE):
        body = {"commit": commit, "units": asked[first : first + UNITS_AT_ONCE]}
        answer = client.call("POST", "/api/v1/plans:look", body)
        clusters |= {ClusterName(item["name"]): item.get("problem", "") for item in answer["clusters"]}
        known |= {UnitName.parse(item["unit"]): _known(item) for item in answer["units"]}
    return HubWord(clusters, known)


def _digest_of(bundle: Bundle | None) -> str:
    """A digest with Secrets in it is of the key of whoever built it: it can be compared with nobody else's."""
    if bundle is None or any(is_secret(item.ref) for item in bundle.objects):
        return ""
    return bundle.digest


def _known(item: dict[str, Any]) -> KnownUnit:
    return KnownUnit(
        base=Base(item["base"]),
        commit=item.get("commit", ""),
        waits=item.get("waits", ""),
        is_stopped=item.get("stopped", False),
        barred=item.get("barred", ""),
        age_seconds=item.get("ageSeconds"),
        problem=item.get("problem", ""),
        objects=tuple(_objects(item.get("objects", []))),
        more=item.get("more", 0),
    )


def _objects(items: Sequence[dict[str, Any]]) -> Iterator[KnownObject]:
    for item in items:
        ref = ObjectRef(item["group"], item["kind"], item["namespace"], item["name"])
        drifted = tuple((found["path"], found.get("manager", "")) for found in item.get("drifted", []))
        yield KnownObject(ref, item.get("reason", ""), item.get("message", ""), drifted=drifted)
