"""Ways to make the desired state empty or small: none deletes anything unasked, and each has a harmless twin.

In each world the twin comes first and must pass everywhere without a hold; then the cause, with a change of another
overlay beside it, so that the commit is known to have been taken over when that has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, overlay
from testbed.gitrepo import Content

from fleet.core.results import Rendered

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do

CLUSTERS = ("eu-1", "eu-2")
NAMES = tuple("abcdefghij")
WEB = "overlays/web"
LISTED = tuple(f"{name}.yaml" for name in NAMES)
ALL = kustomization(*LISTED)
Files = Mapping[str, Content]


def overlay_yaml(clusters: str = "[{all: true}]", more: str = "") -> str:
    return (
        f"apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {{name: web}}\nspec:\n  clusters: {clusters}\n{more}"
    )


def fleet_yaml(spec: str = "{}") -> str:
    return f"apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {{name: default}}\nspec: {spec}\n"


def deleting(*names: str) -> str:
    patches = "".join(
        "- patch: |\n    $patch: delete\n    apiVersion: v1\n    kind: ConfigMap\n"
        f"    metadata: {{name: {name}, namespace: default}}\n"
        for name in names
    )
    return f"{ALL}patches:\n{patches}"


def held_by(name: str, *names: str) -> dict[str, Content]:
    """An overlay of these objects."""
    return {**overlay(f"overlays/{name}", {each: config_map(each, "1") for each in names})}


@dataclass(frozen=True, slots=True)
class Way:
    """cause and twin: what the commit changes; goes: what the twin may delete, because it is one object of many."""

    cause: Files
    twin: Files
    goes: frozenset[str] = field(default_factory=frozenset)


BUILD, OVERLAY, FLEET = f"{WEB}/kustomization.yaml", f"{WEB}/overlay.yaml", "fleet.yaml"
WAYS = {
    "no resources": Way({BUILD: "resources: []\n"}, {BUILD: f"# tidied\n{ALL}"}),
    "kustomization gone": Way({BUILD: None}, {BUILD: ALL.replace("a.yaml", "z.yaml"), f"{WEB}/a.yaml": None,
                                          f"{WEB}/z.yaml": config_map("a", "1")}),
    "kustomization broken": Way({BUILD: "resources: [\n"}, {BUILD: f"---\n{ALL}"}),
    "kustomization empty": Way({BUILD: ""}, {BUILD: f"{ALL}\n\n"}),
    "listed file missing": Way({f"{WEB}/a.yaml": None}, {BUILD: kustomization(*LISTED[1:], LISTED[0])}),
    "listed file empty": Way({f"{WEB}/{name}.yaml": "" for name in NAMES}, {f"{WEB}/a.yaml": config_map("a", "2")}),
    "most objects dropped": Way({BUILD: kustomization(*LISTED[:2])}, {BUILD: kustomization(*LISTED[1:])},
                                frozenset("a")),
    "all names changed": Way({BUILD: f"namePrefix: newer-\ncommonAnnotations: {{note: other}}\n{ALL}"},
                             {BUILD: f"namePrefix: new-\n{ALL}"}, frozenset(NAMES)),  # the same under other names
    "another namespace": Way({BUILD: f"namespace: kube-public\n{ALL}"}, {BUILD: f"namespace: default\n{ALL}"}),
    "deleted by patches": Way({BUILD: deleting(*NAMES[1:])}, {BUILD: deleting("a")}, frozenset("a")),
    "selector matches nothing": Way({OVERLAY: overlay_yaml("[{matchLabels: {region: nowhere}}]")},
                                    {OVERLAY: overlay_yaml("[{matchLabels: {region: eu}}]")}),
    "overlay file broken": Way({OVERLAY: "kind: ["}, {OVERLAY: f"# ours\n{overlay_yaml()}"}),
    "overlay says absent": Way({OVERLAY: overlay_yaml(more="  state: absent\n")},
                               {OVERLAY: overlay_yaml(more="  state: present\n")}),
    "moved to an overlay that is broken": Way(
        {BUILD: kustomization(*LISTED[2:]), f"{WEB}/b.yaml": None, "overlays/more/b.yaml": config_map("b", "1"),
         "overlays/more/kustomization.yaml": kustomization("a.yaml", "b.yaml", "nope.yaml")},
        {BUILD: kustomization(*LISTED[1:]), f"{WEB}/a.yaml": None, **held_by("more", "a")}),
    "overlay renamed to one that is broken": Way(
        {**dict.fromkeys(held_by("more", *NAMES)), **held_by("most", *NAMES),
         "overlays/most/kustomization.yaml": kustomization(*LISTED, "nope.yaml")},
        {**dict.fromkeys(held_by("web", *NAMES)), **held_by("more", *NAMES)}),
    "clusters gone": Way({f"clusters/{name}.yaml": None for name in CLUSTERS},
                         {"clusters/eu-1.yaml": None, "clusters/eu/one.yaml": cluster_file("eu-1")}),
    "cluster file broken": Way({"clusters/eu-1.yaml": "kind: Cluster\nspec: ["},
                               {"clusters/eu-1.yaml": f"# ours\n{cluster_file('eu-1')}"}),
    "fleet file broken": Way({FLEET: "kind: Fleet\nspec: ["}, {FLEET: f"# ours\n{fleet_yaml()}"}),
    "clusters looked for elsewhere": Way({FLEET: fleet_yaml("{clusters: elsewhere/}")},
                                         {FLEET: fleet_yaml("{clusters: clusters/}")}),
    "overlays looked for elsewhere": Way({FLEET: fleet_yaml("{overlays: [{dirs: elsewhere/*}]}")},
                                         {FLEET: fleet_yaml("{overlays: [{dirs: overlays/*}]}")}),
}  # fmt: skip
REPO_WAYS = ("history rewritten to an empty tree", "branch deleted")


def base() -> dict[str, Content]:
    return {
        **{f"clusters/{name}.yaml": cluster_file(name) for name in CLUSTERS},
        **overlay(WEB, {name: config_map(name, "1") for name in NAMES}),
        **overlay("overlays/beacon", {"beacon": config_map("beacon", "0")}),
        FLEET: fleet_yaml(),
    }


def deleted(world: HubWorld) -> set[str]:
    """Objects that the hub deleted on any cluster; a unit that is let go loses its parent object alone."""
    return {
        entry.name
        for cluster in world.sim.clusters.values()
        for entry in cluster.ledger
        if entry.verb in {"delete", "deletecollection"} and entry.landed and entry.namespace != "fleet-system"
    }


def standing(world: HubWorld) -> set[tuple[str, str]]:
    return {
        (cluster, name)
        for cluster in CLUSTERS
        for name in (*NAMES, *(f"new-{name}" for name in NAMES))
        if world.sim.cluster(cluster).get("", "ConfigMap", "default", name) is not None
    }


@pytest.mark.parametrize("way", WAYS)
async def test_an_emptied_desired_state_deletes_nothing_and_its_twin_passes(tmp_path: Path, way: str) -> None:
    chosen = WAYS[way]
    async with make_world(tmp_path, CLUSTERS, render_workers=1) as world:
        world.commit(base())
        async with world.run():
            await world.until_everywhere(world.repo.head())
            await world.until_everywhere(world.commit(chosen.twin))
            await world.until(lambda: deleted(world) == chosen.goes, "what the twin drops")
            assert not any(unit.holds for unit in world.opened.view.units.values())
            before = standing(world)

            cause = world.commit({**chosen.cause, "overlays/beacon/beacon.yaml": config_map("beacon", "1")})
            view = world.opened.view
            await world.until(lambda: view.head.commit == cause and not view.rendering, "taken over")
            # What the whole fleet file or all clusters hide does not move at all; everything else has its beacon.
            if way not in {"clusters gone", "fleet file broken", "clusters looked for elsewhere",
                           "overlays looked for elsewhere"}:  # fmt: skip
                await world.until(lambda: _beacon(world, way) == {"1"}, "the beacon")
            await world.until(lambda: _has_settled(world), "settled")
            assert deleted(world) == chosen.goes
            assert before <= standing(world)


def _beacon(world: HubWorld, way: str) -> set[str]:
    clusters = CLUSTERS[1:] if way == "cluster file broken" else CLUSTERS
    found = (world.sim.cluster(name).get("", "ConfigMap", "default", "beacon") for name in clusters)
    return {one["data"]["a"] for one in found if one is not None}


def _has_settled(world: HubWorld) -> bool:
    """Each unit was passed over with its newest result, or says what stops it."""
    view = world.opened.view
    return all(
        unit.commit == result.commit or unit.holds or unit.blocked_by
        for name, unit in view.units.items()
        if isinstance(result := view.results.get(name), Rendered)
    )


@pytest.mark.parametrize("way", REPO_WAYS)
async def test_a_branch_that_lost_its_content_deletes_nothing_and_its_twin_passes(tmp_path: Path, way: str) -> None:
    """Twins: a forced push that keeps the history; a branch deleted that nobody follows."""
    async with make_world(tmp_path, CLUSTERS, render_workers=1) as world:
        world.commit(base())
        async with world.run():
            await world.until_everywhere(world.repo.head())
            world.commit({f"{WEB}/a.yaml": config_map("a", "2")})
            await world.until_everywhere(world.commit({f"{WEB}/a.yaml": config_map("a", "1")}))
            if way == "branch deleted":
                world.repo.make_branch("topic")
                await world.until_everywhere(world.commit({f"{WEB}/a.yaml": config_map("a", "3")}))
                world.repo.delete_branch("topic")
                world.opened.bells.fetch.set()
                await world.until_everywhere(world.commit({f"{WEB}/a.yaml": config_map("a", "4")}))
            else:
                pushed = world.repo.rewrite({f"{WEB}/a.yaml": config_map("a", "5")}, onto=world.repo.head())
                world.opened.bells.fetch.set()
                await world.until_everywhere(pushed)
            assert not any(unit.holds for unit in world.opened.view.units.values())
            if way == "branch deleted":
                world.repo.delete_branch()
            else:
                world.repo.rewrite({"README.md": "nothing here"})
            world.opened.bells.fetch.set()
            await world.until(lambda: world.opened.view.head.error is not None, "refused")
            assert deleted(world) == set()
            assert len(standing(world)) == len(NAMES) * len(CLUSTERS)
