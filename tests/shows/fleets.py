"""The fleet of the shows: 60 simulated clusters and three real control planes, in three environments and two regions.

One Deployment is on each cluster. The real control planes have controllers, so that it becomes Ready there, or meets
its fate, by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubworld import QUICK, HubWorld, cluster_file, make_world, overlay
from testbed.controlplane import ControlPlane

from fleet.core.passage import Passage

ENVIRONMENTS = ("dev", "staging", "prod")
REAL = ("us-dev-00", "eu-staging-00", "eu-prod-00")  # the first by name of environment and region
SIMULATED = 60
TALKATIVE = replace(QUICK, report_seconds=1.0)  # where the hub's clocks are set forward, words are soon old


def names_of(count: int) -> list[str]:
    """So many clusters: a fifth dev, a fifth staging, the rest prod; every other one in region us."""
    fifth = max(1, count // 5)
    stages = ["dev"] * fifth + ["staging"] * fifth + ["prod"] * (count - 2 * fifth)
    numbers = dict.fromkeys(ENVIRONMENTS, 0)
    names: list[str] = []
    for number, stage in enumerate(stages):
        numbers[stage] += 1
        names.append(f"{'eu' if number % 2 == 0 else 'us'}-{stage}-{numbers[stage]:02}")
    return names


def environment_of(name: str) -> str:
    return name.split("-")[1]


@dataclass(frozen=True, slots=True)
class ShowFleet:
    """planes: the real ones by their names in the fleet; app: the Deployment's name, which nobody else uses there."""

    world: HubWorld
    planes: Mapping[str, ControlPlane]
    app: str

    @property
    def names(self) -> list[str]:
        return [*self.planes, *self.world.sim.clusters]

    def clusters(self) -> dict[str, str]:
        return {f"clusters/{name}.yaml": cluster_file(name, environment_of(name)) for name in self.names}

    def web(self, tag: str, notes: Mapping[str, str] | None = None) -> dict[str, str]:
        """The overlay `web` with the one Deployment; notes: annotations of its pods."""
        annotations = "".join(f"        {key}: '{value}'\n" for key, value in (notes or {}).items())
        text = (
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {self.app}, namespace: default}}\nspec:\n"
            f"  replicas: 1\n  selector: {{matchLabels: {{app: {self.app}}}}}\n  template:\n    metadata:\n"
            f"      labels: {{app: {self.app}}}\n" + (f"      annotations:\n{annotations}" if annotations else "") +
            f"    spec: {{containers: [{{name: c, image: 'reg/web:{tag}'}}]}}\n"
        )  # fmt: skip
        return overlay("overlays/web", {"web": text})

    async def begin(self, tag: str) -> None:
        """All clusters hold this tag, Healthy, whatever was shown here before."""
        first = self.world.commit(self.clusters() | fleet_file([]) | self.web(tag))
        await self.world.until_everywhere(first, 240)

    def tag_on(self, name: str) -> str:
        """The tag that a cluster's Deployment has."""
        found = self.live(name)
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2] if found else ""

    def live(self, name: str) -> Any:
        """The Deployment as it stands on its cluster."""
        if name in self.planes:
            path = f"/apis/apps/v1/namespaces/default/deployments/{self.app}"
            return self.planes[name].client().get(path)
        return self.world.sim.cluster(name).get("apps", "Deployment", "default", self.app)

    def is_ready(self, name: str, tag: str) -> bool:
        """By the cluster's own word, not by the hub's: this tag's pod serves, and none of before is left."""
        status = self.live(name).get("status", {})
        counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")]
        return self.tag_on(name) == tag and counts == [1, 1, 1]

    async def on(self, tag: str) -> set[str]:
        return {name for name in self.names if await asyncio.to_thread(self.tag_on, name) == tag}

    async def ready_on(self, tag: str) -> set[str]:
        return {name for name in self.names if await asyncio.to_thread(self.is_ready, name, tag)}

    def rollout_of(self, commit: str) -> Passage | None:
        return next((one for one in self.world.opened.view.passages.all if one.commit == commit), None)

    def outcome_of(self, commit: str) -> str:
        passage = self.rollout_of(commit)
        return passage.outcome if passage is not None else ""

    def released(self, commit: str) -> list[str]:
        """The clusters that got one commit's web, in their order."""
        passage = self.rollout_of(commit)
        return [str(name) for name in passage.rows["web"].before] if passage is not None else []


@asynccontextmanager
async def make_fleet(
    root: Path, planes: Sequence[ControlPlane], simulated: int = SIMULATED
) -> AsyncIterator[ShowFleet]:
    """No hub runs yet. On the control planes, which others may have used, nobody's hub was."""
    named = dict(zip(REAL, planes, strict=True))
    async with make_world(root, names_of(simulated)) as world:
        world.limits = TALKATIVE
        world.write_credentials()
        for name, plane in named.items():
            await asyncio.to_thread(plane.forget_parents)
            plane.write_kubeconfig(root / "credentials" / f"{name}.kubeconfig")
        yield ShowFleet(world, named, f"web-{uuid.uuid4().hex[:8]}")


def fleet_file(steps: Sequence[str], **more: str) -> dict[str, str]:
    rollout = ", ".join([f"steps: [{', '.join(steps)}]", *(f"{key}: {value}" for key, value in more.items())])
    head = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
    return {"fleet.yaml": f"{head}spec:\n  environments: [{', '.join(ENVIRONMENTS)}]\n  rollout: {{{rollout}}}\n"}


def went(story: Iterable[str]) -> list[str]:
    """The clusters in the order in which they were released."""
    return [name for text in story if "goes to" in text for name in text.rpartition("goes to ")[2].split(", ")]
