"""`fleet get clusters|overlays|units|holds|events|operations|rollouts`: lists, worst first."""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import Column, Item, age, name_of, show, until, when
from fleet.errors import NotKnown, UsageInvalid


def _status(key: str) -> Any:
    def cell(item: Item) -> str:
        return str(item["status"].get(key, ""))

    return cell


def _spec(key: str) -> Any:
    def cell(item: Item) -> str:
        return str(item["spec"].get(key, "") or "")

    return cell


def _commit(item: Item) -> str:
    return str(item["status"].get("commit", ""))[:7] or "-"


def _seen(item: Item) -> str:
    return age(item["status"].get("ageSeconds"))


def _credential(item: Item) -> str:
    """When it ends; a word where the hub sees to it."""
    held: Item = item["status"].get("credential") or {}
    end = until(held.get("endsAt"))
    if held.get("message"):
        return f"{end}, not renewed"
    return f"{end}, renewed" if held.get("renewAt") else end or "-"


_STATE: tuple[Column, ...] = (
    ("SYNC", _status("sync")),
    ("HEALTH", _status("health")),
    ("COMMIT", _commit),
    ("SEEN", _seen),
    ("MESSAGE", _status("message")),
)
CLUSTERS: tuple[Column, ...] = (("CLUSTER", name_of), ("ENV", _spec("environment")), *_STATE)
CLUSTERS_WIDE: tuple[Column, ...] = (
    ("LOCATION", _spec("location")),
    ("MODE", _spec("mode")),
    ("VERSION", _status("version")),
    ("UNITS", _status("units")),
    ("CREDENTIAL", _credential),
    ("IDENTITY", _status("identity")),
)
UNITS: tuple[Column, ...] = (("UNIT", name_of), *_STATE)
UNITS_WIDE: tuple[Column, ...] = (
    ("OBJECTS", _status("objectCount")),
    ("DRIFTED", _status("drifted")),
    ("PATH", _spec("path")),
)
OVERLAYS: tuple[Column, ...] = (
    ("OVERLAY", name_of),
    ("UNITS", _status("units")),
    ("SYNCED", _status("synced")),
    ("HEALTHY", _status("healthy")),
    ("ON MAIN", _status("atHead")),
    ("DIRECTORY", _spec("directory")),
)
HOLDS: tuple[Column, ...] = (
    ("HOLD", name_of),
    ("OVERLAY", lambda item: str(item["overlay"])),
    ("COMMIT", lambda item: str(item["commit"])[:7]),
    ("LIST", lambda item: str(item["listDigest"])[:6]),
    ("OBJECTS", lambda item: str(len(item["deletions"]))),
    ("CLUSTERS", lambda item: str(len(item["clusters"]))),
    ("STATE", lambda item: str(item.get("decision") or "waits")),
    ("MESSAGE", lambda item: "; ".join(item["messages"])),
)
ROLLOUTS: tuple[Column, ...] = (
    ("ROLLOUT", lambda item: str(item["commit"])[:7]),
    ("STATE", lambda item: str(item["state"])),
    ("STARTED", lambda item: age(item.get("ageSeconds"))),
    ("OVERLAYS", lambda item: ", ".join(item["overlays"])),
    ("DONE", lambda item: f"{item['there']}/{item['units']}"),
    ("MESSAGE", lambda item: str(item.get("why", ""))),
)
EVENTS: tuple[Column, ...] = (
    ("TIME", lambda item: when(item.get("at"))),
    ("KIND", lambda item: str(item["kind"])),
    ("WHERE", lambda item: str(item.get("unit") or item.get("cluster", ""))),
    ("COMMIT", lambda item: str(item.get("commit", ""))[:7] or "-"),
    ("MESSAGE", lambda item: str(item["message"])),
)
OPERATIONS: tuple[Column, ...] = (
    ("OPERATION", lambda item: str(item["id"])),
    ("KIND", lambda item: str(item["kind"])),
    ("TARGET", lambda item: str(item["target"])),
    ("ACTOR", lambda item: str(item["actor"])),
    ("OUTCOME", lambda item: str(item.get("outcome") or "runs")),
    ("MESSAGE", lambda item: str(item.get("message", ""))),
)
_KINDS: dict[str, tuple[str, tuple[Column, ...], tuple[Column, ...]]] = {
    "clusters": ("/api/v1/clusters", CLUSTERS, CLUSTERS_WIDE),
    "units": ("/api/v1/units", UNITS, UNITS_WIDE),
    "overlays": ("/api/v1/overlays", OVERLAYS, ()),
    "holds": ("/api/v1/holds", HOLDS, ()),
    "rollouts": ("/api/v1/rollouts", ROLLOUTS, ()),
    "events": ("/api/v1/events", EVENTS, ()),
    "operations": ("/api/v1/operations", OPERATIONS, ()),
}
_ONE = {"cluster": "clusters", "unit": "units", "overlay": "overlays", "hold": "holds", "rollout": "rollouts"}


def kind_of(word: str) -> str:
    """The plural of a resource's name, as kubectl takes both; raises UsageInvalid."""
    kind = _ONE.get(word, word)
    if kind not in _KINDS:
        raise UsageInvalid(f"{word} is nothing to get", next_step=f"one of {', '.join(_KINDS)}")
    return kind


def get(client: Client, kind: str, names: tuple[str, ...], output: str, filters: dict[str, str]) -> int:
    """Print a list, or the named items."""
    kind = kind_of(kind)
    path, columns, wide = _KINDS[kind]
    if len(names) == 1 and kind in _ONE.values():
        show(client.get(f"{path}/{names[0]}"), output, columns, sys.stdout, wide=wide)
        return 0
    document = client.pages(path, filters)
    if names:
        items = [item for item in document["items"] if name_of(item) in names]
        if missing := set(names) - {name_of(item) for item in items}:
            raise NotKnown(f"there is no {kind[:-1]} {', '.join(sorted(missing))}", next_step=f"fleet get {kind}")
        document["items"] = items
    show(document, output, columns, sys.stdout, wide=wide)
    if kind == "clusters" and output in ("table", "wide") and not names:
        sys.stdout.write(_summary(document["items"]) + "\n")
    return 0


def _summary(items: list[Item]) -> str:
    """The line below the clusters: how many are where, and how many need a person."""
    states = [item["status"] for item in items]
    on_main = sum(1 for state in states if state.get("atHead", 0) == state.get("units", 0) and not state.get("reason"))
    people = sum(1 for state in states if state.get("needsPerson"))
    parts = [f"{on_main} on main"]
    if people:
        parts.append(f"{people} need{'s' if people == 1 else ''} a person (fleet status)")
    return f"{len(items)} clusters: {', '.join(parts)}"
