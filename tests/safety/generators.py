"""Changes of what kustomize generates, on many clusters: each gives a ConfigMap and a Secret another name.

None may ask a person (R9), and no Pod may ever stand without what it mounts. That is judged at each change of a
cluster's own store, in the very step in which it happens, by code that shares nothing with the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from hubworld import AT_ONCE, HubWorld, cluster_file, config_map
from testbed.gitrepo import GitRepo

from fleet.sim import Simulation

WEB = "overlays/web"
_DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: reg.internal/web:1
        envFrom: [{configMapRef: {name: web-cfg}}]
      volumes: [{name: keys, secret: {secretName: web-keys}}]
"""
_OVERLAY = """apiVersion: fleet.internal/v1
kind: Overlay
metadata: {name: web}
spec: {clusters: [{all: true}]}
"""


def web(value: int) -> dict[str, str]:
    """The overlay with one value in both generators; equal values have equal names."""
    return {
        f"{WEB}/overlay.yaml": _OVERLAY,
        f"{WEB}/deployment.yaml": _DEPLOYMENT,
        f"{WEB}/plain.yaml": config_map("plain", "1"),
        f"{WEB}/kustomization.yaml": "resources: [deployment.yaml, plain.yaml]\n"
        "configMapGenerator:\n"
        f"- {{name: web-cfg, namespace: default, literals: [value={value}]}}\n"
        "secretGenerator:\n"
        f"- {{name: web-keys, namespace: default, literals: [key={value}]}}\n",
    }


@dataclass(slots=True)
class Watchman:
    """Sees each change of one cluster's store, and whether each Pod then has what it names."""

    cluster: str
    store: Any
    pods: dict[tuple[str, str], frozenset[tuple[str, str]]] = field(default_factory=dict)  # what each Pod names
    most_pods: int = 0
    looked: int = 0
    missing: list[str] = field(default_factory=list)

    def listen(self) -> None:
        for resource in ("configmaps", "secrets", "pods"):
            self.store.listen(resource, self._see)

    def _see(self, event: Any) -> None:
        self.looked += 1
        if event.resource == "pods":
            if event.after is None:
                self.pods.pop(event.key, None)
            else:
                self.pods[event.key] = named_by(event.after.document())
                self._judge(event.key)
            self.most_pods = max(self.most_pods, len(self.pods))
        elif event.after is None:
            for pod in self.pods:
                self._judge(pod)

    def _judge(self, pod: tuple[str, str]) -> None:
        for resource, name in self.pods[pod]:
            if self.store.get(resource, (pod[0], name)) is None:
                self.missing.append(f"{self.cluster}: Pod {pod[1]} stands without {resource} {name}")


def named_by(pod: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """ConfigMaps and Secrets that a Pod's environment and volumes name."""
    found: set[tuple[str, str]] = set()
    spec = pod["spec"]
    for container in spec["containers"]:
        for source in container.get("envFrom", []):
            found |= {("configmaps", source["configMapRef"]["name"])} if "configMapRef" in source else set()
    for volume in spec.get("volumes", []):
        found |= {("secrets", volume["secret"]["secretName"])} if "secret" in volume else set()
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Changes:
    """What came of it. generated: names of ConfigMaps that ever stood; left: those at the end, on all clusters."""

    holds: list[str]
    missing: list[str]
    looked: int
    most_pods: int
    generated: int
    left: int
    deleted: int
    others_deleted: list[str]


async def change(root: Path, clusters: int, changes: int, seed: int, *, seconds: float = 300.0) -> Changes:
    """Commit so many values one after the other; most are waited for, some come before the one before has arrived.

    Every fifth goes back to an earlier value, whose generated names are perhaps just being pruned.
    """
    random, names = Random(seed), [f"c{number:02}" for number in range(clusters)]
    async with Simulation(names, seed=seed, ready_seconds=0.1) as sim:
        repo = GitRepo.create(root / "fleet.git")
        world = HubWorld(root, repo, sim, {"render_workers": 1})
        files = {f"clusters/{name}.yaml": cluster_file(name) for name in names}
        world.commit({"fleet.yaml": AT_ONCE, **files, **web(0)})
        watchmen = [Watchman(name, sim.cluster(name).store) for name in names]
        for watchman in watchmen:
            watchman.listen()
        holds: set[str] = set()
        async with world.run():
            await world.until_everywhere(repo.head() or "", seconds)
            value = 0
            for number in range(1, changes + 1):
                earlier = value - 1 if number % 5 == 0 else value
                value = number if earlier == value else earlier
                commit = world.commit(web(value))
                if number == changes or random.random() < 0.7:
                    await world.until(partial(_has_arrived, world, commit, holds), commit, seconds)
            await world.until(lambda: holds or _is_pruned(sim), "the last names pruned", seconds)
            _note_holds(world, holds)
        deletes = [
            entry for cluster in sim.clusters.values() for entry in cluster.ledger
            if entry.verb == "delete" and entry.landed and entry.agent.startswith("fleet")
        ]  # fmt: skip
        return Changes(
            holds=sorted(holds),
            missing=[text for watchman in watchmen for text in watchman.missing],
            looked=sum(watchman.looked for watchman in watchmen),
            most_pods=max(watchman.most_pods for watchman in watchmen),
            generated=len({entry.name for entry in deletes}) + len(_standing(sim, names[0])),
            left=max(len(_standing(sim, name)) for name in names),
            deleted=len(deletes),
            others_deleted=[f"{one.resource} {one.name}" for one in deletes if not one.name.startswith("web-")],
        )


def _note_holds(world: HubWorld, holds: set[str]) -> None:
    for name, unit in world.opened.view.units.items():
        holds |= {f"{name} {hold.reason}: {hold.message}" for hold in unit.holds}


def _has_arrived(world: HubWorld, commit: str, holds: set[str]) -> bool:
    """Whether the commit is everywhere, and what it should delete gone; or something is held, which ends the wait."""
    _note_holds(world, holds)
    return bool(holds) or bool(world.progress(commit).done)


def _standing(sim: Simulation, cluster: str) -> list[str]:
    return [
        document["metadata"]["name"]
        for kind in ("ConfigMap", "Secret")
        for document in sim.cluster(cluster).list("", kind, "default")
        if document["metadata"]["name"].startswith("web-")
    ]


def _is_pruned(sim: Simulation) -> bool:
    return all(len(_standing(sim, name)) == 2 for name in sim.clusters)
