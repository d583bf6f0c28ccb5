"""The fleets of the shows: clusters in three environments and two regions, one Deployment on each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hubworld import HubWorld, cluster_file, overlay

from fleet.core.passage import Passage

ENVIRONMENTS = ("dev", "staging", "prod")


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


def clusters(names: Iterable[str]) -> dict[str, str]:
    return {f"clusters/{name}.yaml": cluster_file(name, environment_of(name)) for name in names}


def fleet_file(steps: Sequence[str], **more: str) -> dict[str, str]:
    rollout = ", ".join([f"steps: [{', '.join(steps)}]", *(f"{key}: {value}" for key, value in more.items())])
    head = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
    return {"fleet.yaml": f"{head}spec:\n  environments: [{', '.join(ENVIRONMENTS)}]\n  rollout: {{{rollout}}}\n"}


def app(tag: str, name: str = "web", notes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The overlay `web` with one Deployment; notes: annotations of its pods."""
    annotations = "".join(f"        {key}: '{value}'\n" for key, value in (notes or {}).items())
    text = (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: default}}\nspec:\n"
        f"  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata:\n"
        f"      labels: {{app: {name}}}\n" + (f"      annotations:\n{annotations}" if annotations else "") +
        f"    spec: {{containers: [{{name: c, image: 'reg/web:{tag}'}}]}}\n"
    )  # fmt: skip
    return overlay("overlays/web", {"web": text})


def image_on(world: HubWorld, cluster: str, name: str = "web") -> str:
    """The tag that a simulated cluster's Deployment has."""
    found = world.sim.cluster(cluster).get("apps", "Deployment", "default", name)
    if found is None:
        return ""
    return found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]  # type: ignore[index]


def on(world: HubWorld, tag: str) -> set[str]:
    return {name for name in world.sim.clusters if image_on(world, name) == tag}


def rollout_of(world: HubWorld, commit: str) -> Passage | None:
    return next((one for one in world.opened.view.passages.all if one.commit == commit), None)


def outcome_of(world: HubWorld, commit: str) -> str:
    passage = rollout_of(world, commit)
    return passage.outcome if passage is not None else ""


def released(world: HubWorld, commit: str) -> list[str]:
    """The clusters that got one commit's web, in their order."""
    passage = rollout_of(world, commit)
    return [str(name) for name in passage.rows["web"].before] if passage is not None else []


def went(story: Iterable[str]) -> list[str]:
    """The clusters in the order in which they were released."""
    return [name for text in story if "goes to" in text for name in text.rpartition("goes to ")[2].split(", ")]
