"""`fleet cluster add|identity|remove`: entries of the inventory, from a person's own kubeconfig."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from fleet.cli.client import Client
from fleet.cli.output import clean, say
from fleet.core.ids import is_dns_label
from fleet.errors import NotKnown, UsageInvalid


def add(root: Path, name: str, *, context: str, environment: str, location: str, labels: tuple[str, ...]) -> int:
    """Read the cluster as the person, write clusters/NAME.yaml in mode observe, and print the commit to make."""
    from fleet.cli.checkout import open_checkout

    if not is_dns_label(name):
        raise UsageInvalid(f"{name} is no name for a cluster", next_step="use a-z, 0-9 and -, at most 63")
    known = open_checkout(root).fleet
    if name in known.clusters:
        entry = known.clusters[name]  # pyright: ignore[reportArgumentType]
        raise UsageInvalid(
            f"there is a cluster {name} already",
            where=str(entry.origin),
            next_step="edit that file, or take another name",
        )
    version, identity = asyncio.run(_read(name, context))
    twin = next((entry for entry in known.clusters.values() if entry.identity == identity), None)
    if twin is not None:
        raise UsageInvalid(
            f"this cluster is in the inventory already, as {twin.name}",
            where=str(twin.origin),
            why="entries and identities are one to one (R2)",
            next_step="use that entry, or give the right --context",
        )
    path = root / "clusters" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _entry(name, identity, environment, location, dict(_label(word) for word in labels))
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    sys.stdout.write(
        clean(
            f"Cluster {context or name}: {version}, identity {identity}\n"
            f"Wrote {path}: mode observe, identity recorded. No access for a hub yet.\n"
            f'Next: git add {path} && git commit -m "{name}: observe"\n'
        )
    )
    return 0


async def _read(name: str, context: str) -> tuple[str, str]:
    from fleet.kube.connect import connect_person

    kube = await connect_person(context=context or name, cluster=name)
    try:
        return kube.version, kube.identity
    finally:
        await kube.close()


def _label(word: str) -> tuple[str, str]:
    key, mark, value = word.partition("=")
    if not mark or not key:
        raise UsageInvalid(f"{word} is no label", next_step="write --label KEY=VALUE")
    return key, value


def _entry(name: str, identity: str, environment: str, location: str, labels: dict[str, str]) -> str:
    lines = ["apiVersion: fleet.internal/v1", "kind: Cluster", "metadata:", f"  name: {name}"]
    if labels:
        # JSON is YAML, and quotes whatever needs it.
        lines.append(f"  labels: {json.dumps(labels)}")
    lines.append("spec:")
    if environment:
        lines.append(f"  environment: {json.dumps(environment)}")
    if location:
        lines.append(f"  location: {json.dumps(location)}")
    lines += ["  mode: observe", f"  identity: {identity}", ""]
    return "\n".join(lines)


def identity(client: Client, name: str, *, accept: str, reason: str) -> int:
    """Show the identity that is recorded; with `accept` take another one."""
    if accept:
        body = {"identity": accept, "reason": reason}
        say(client.call("POST", f"/api/v1/clusters/{name}:acceptIdentity", body)["message"])
        return 0
    status = client.get(f"/api/v1/clusters/{name}")["status"]
    say(status.get("identity") or "not recorded yet")
    if status.get("reason"):
        say(f"{status['reason']}: {status.get('message', '')}", sys.stderr)
    return 0


def remove(root: Path, name: str) -> int:
    """Delete the file of a cluster that stands alone in it; anything else is told where to edit."""
    from fleet.cli.checkout import open_checkout

    clusters = open_checkout(root).fleet.clusters
    entry = next((entry for entry in clusters.values() if entry.name == name), None)
    if entry is None:
        raise NotKnown(f"there is no cluster {name} in this checkout", next_step="fleet validate")
    others = [
        other.name for other in clusters.values() if other.origin.path == entry.origin.path and other is not entry
    ]
    if others:
        raise UsageInvalid(
            f"{name} shares its file with {', '.join(sorted(others))}",
            where=str(entry.origin),
            next_step="delete its document in that file by hand",
        )
    (root / entry.origin.path).unlink()
    sys.stdout.write(
        f"Removed {entry.origin.path}. Merging that detaches {name}: its objects stay and lose their marks.\n"
        f'Next: git commit -am "{name}: leave the fleet"\n'
    )
    return 0
