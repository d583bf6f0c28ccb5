"""A plan foretells what the hub then does: the same two commits are planned, and played by the hub's controllers.

Small fleets of all shapes: whom the rollout takes and in which order, and who asks a person. Real are Git, kustomize,
the controllers, and of each cluster's worker its plan and guards; clusters answer one after the other, and whoever is
asked approves.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from controllers.rig import Brain
from hubworld import cluster_file, config_map, kustomization
from safety.replay import ModelWorker

from fleet.controllers.comparing import Comparing
from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import Revision, UnitName
from fleet.core.planning.fleet_plan import Comparison, FleetPlan, SideWords, plan_of
from fleet.core.rollout import Apply
from fleet.inventory.load import load_fleet
from fleet.ports.state import OPEN

LOOKS = 200
SEEDS = range(16)
NAMES = tuple(f"k{number:02}" for number in range(12))
POLICIES = (
    "",
    "rollout: {steps: []}",
    "rollout: {steps: [{name: all, rest: true}]}",
    "rollout: {steps: [{name: all, rest: true, maxParallel: 1}]}",
    "rollout: {steps: [{name: all, rest: true, maxParallel: 4}]}",
    "rollout: {steps: [{name: dev, environments: [dev], maxParallel: 4}, {name: prod, rest: true}]}",
    "rollout: {steps: [{name: dev, environments: [dev], maxParallel: 2}, {name: prod, rest: true, maxParallel: 50%}]}",
    "rollout: {steps: [{name: dev, environments: [dev]}, {name: prod, rest: true, maxUnavailable: 1}]}",
)


@dataclass(slots=True)
class Repo:
    """The files of a small fleet: one base for each overlay, and what an environment or a cluster has of its own."""

    policy: str
    clusters: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def drawn(cls, draw: random.Random) -> Repo:
        clusters = [f"{stage}-{n}" for stage in ("dev", "prod") for n in range(1, draw.randint(2, 7))]
        made = cls(draw.choice(POLICIES), tuple(clusters))
        made.files["fleet.yaml"] = (
            "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
            f"spec:\n  environments: [dev, prod]\n  {made.policy}\n"
        )
        made.files |= {f"clusters/{name}.yaml": cluster_file(name, name.partition("-")[0]) for name in clusters}
        for name in ("web", "api")[: draw.randint(1, 2)]:
            made.overlay(name, draw)
        return made

    def overlay(self, name: str, draw: random.Random) -> None:
        top = f"overlays/{name}"
        self.files[f"{top}/overlay.yaml"] = (
            f"apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {{name: {name}}}\n"
            "spec:\n  clusters: [{all: true}]\n"
        )
        for item in NAMES:
            self.files[f"{top}/base/{item}.yaml"] = config_map(f"{name}-{item}", "1")
        self.files[f"{top}/base/kustomization.yaml"] = kustomization(*(f"{item}.yaml" for item in NAMES))
        places = ["dev", "prod", *draw.sample(self.clusters, draw.randint(0, 2))]
        for place in places:
            self.files[f"{top}/{place}/extra.yaml"] = config_map(f"{name}-extra", "1")
            self.files[f"{top}/{place}/kustomization.yaml"] = kustomization("../base", "extra.yaml")

    def change(self, draw: random.Random) -> dict[str, str | None]:
        """A few edits of all kinds."""
        found: dict[str, str | None] = {}
        overlays = sorted({path.split("/")[1] for path in self.files if path.startswith("overlays/")})
        for _ in range(draw.randint(1, 4)):
            found |= self.edit(draw.choice(overlays), draw)
        return found

    def edit(self, name: str, draw: random.Random) -> dict[str, str | None]:
        top = f"overlays/{name}"
        places = sorted(
            {path.split("/")[2] for path in self.files if path.startswith(f"{top}/") and path.count("/") > 2}
        )
        places.remove("base")
        place, item = draw.choice(places), draw.choice(NAMES[:3])
        few = NAMES[: draw.choice([8, 10, 11])]
        bare = [cluster for cluster in self.clusters if cluster not in places]
        edits: list[dict[str, str | None]] = [
            {f"{top}/base/k11.yaml": "# a word\n" + self.files[f"{top}/base/k11.yaml"]},
            {f"{top}/base/{item}.yaml": config_map(f"{name}-{item}", "2")},
            {f"{top}/base/kustomization.yaml": kustomization(*(f"{one}.yaml" for one in NAMES if one != item))},
            {f"{top}/{place}/kustomization.yaml": kustomization("../base")},
            {f"{top}/{place}/kustomization.yaml": kustomization("../base")},
            {f"{top}/{place}/extra.yaml": config_map(f"{name}-extra", "2")},
            {f"{top}/{place}/kustomization.yaml": kustomization("extra.yaml", *(f"../base/{one}.yaml" for one in few))},
        ]
        if bare:  # its files move, and what is built of them is the same
            cluster = draw.choice(bare)
            own = f"{top}/{cluster}"
            stage = f"{top}/{cluster.partition('-')[0]}"
            edits.append(
                {f"{own}/{file}": self.files[f"{stage}/{file}"] for file in ("extra.yaml", "kustomization.yaml")}
            )
        return draw.choice(edits)


async def foretold(brain: Brain, base: str, head: str) -> FleetPlan:
    was, now = await brain.source.at(Revision(base)), await brain.source.at(Revision(head))
    before, after = load_fleet(was).fleet, load_fleet(now).fleet
    comparing = Comparing(brain.renderer, was, now, before, after)
    units = await comparing.changes()
    held = await comparing.held_beside(units)
    words = SideWords(base), SideWords(head)
    return plan_of(Comparison(*words, before, after, (), units, held, bundles=comparing.bundles))


@dataclass(slots=True)
class Played:
    """What the hub did. turns: units that were told another result, look by look."""

    turns: list[set[UnitName]] = field(default_factory=list)
    asked: set[UnitName] = field(default_factory=set)

    @property
    def taken(self) -> set[UnitName]:
        return set().union(*self.turns)


class Player:
    """One hub whose clusters answer one at a time."""

    def __init__(self, brain: Brain, clusters: tuple[str, ...]) -> None:
        self.brain, self.clusters = brain, clusters
        brain.workers.update({name: ModelWorker(brain, name) for name in clusters})
        self.rollouts = Rollouts(
            state=brain.state, board=brain.board, releases=brain.releases, view=brain.view, bells=brain.bells,
            gates=brain.gates, wall=brain.wall, clock=lambda: brain.wall.now,
        )  # fmt: skip

    def told(self) -> dict[UnitName, str]:
        found: dict[UnitName, str] = {}
        for cluster in self.brain.board.entries():
            desired = self.brain.board.publisher.slot(cluster).desired
            for each in desired.units if desired is not None else ():
                if isinstance(each.action, Apply):
                    found[each.unit] = each.action.bundle
        return found

    async def play(self) -> Played:
        """What was committed, until nothing moves any more."""
        found, before = Played(), self.told()
        await self.brain.commits.fetch_once()
        quiet = 0
        for _ in range(LOOKS):
            await self.rollouts.look()
            now = self.told()
            if turned := {name for name, bundle in now.items() if before.get(name) != bundle}:
                found.turns.append(turned)
            before = now
            moved = await self.answer_one()
            await self.brain.orders.look()
            if not moved:
                moved = await self.approve(found)
            quiet = 0 if moved or turned else quiet + 1
            if quiet > 2:
                return found
        raise AssertionError("it never comes to rest")

    async def answer_one(self) -> bool:
        for name in self.clusters:
            if await self.brain.answer(*(other for other in self.clusters if other != name)):
                return True
        return False

    async def approve(self, found: Played) -> bool:
        undecided = [hold for hold in await self.brain.state.holds(decisions=OPEN) if not hold.decision]
        for hold in undecided:
            found.asked |= {request.unit for request in hold.requests}
            await self.brain.state.decide_hold(
                hold.id, list_digest=hold.list_digest, decision="approved", actor="jo", reason="", at=self.brain.wall()
            )
        return bool(undecided)


def steps_of(plan: FleetPlan) -> dict[str, list[set[str]]]:
    return {
        course.overlay: [set(map(str, step.clusters)) for step in course.steps if step.clusters]
        for course in plan.courses
    }


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_plan_says_which_clusters_go_when_and_who_is_asked(brain: Brain, seed: int) -> None:
    draw = random.Random(seed)
    repo = Repo.drawn(draw)
    base = brain.repo.commit(repo.files)
    player = Player(brain, repo.clusters)
    await player.play()
    changes = repo.change(draw)
    head = brain.repo.commit(changes)
    played = await player.play()
    plan = await foretold(brain, base, head)
    told = f"{repo.policy or 'default'}, {len(repo.clusters)} clusters, {sorted(changes)}"
    goes = {
        str(overlay): {str(name) for name in course.changed} for course in plan.courses for overlay in [course.overlay]
    }
    taken: dict[str, set[str]] = {}
    for name in played.taken:
        taken.setdefault(str(name.overlay), set()).add(str(name.cluster))
    assert goes == taken, told
    for overlay, steps in steps_of(plan).items():
        turns = [{str(name.cluster) for name in turn if name.overlay == overlay} for turn in played.turns]
        order = [index for turn in filter(None, turns) for index, step in enumerate(steps) if turn & step]
        assert order == sorted(order), told
    holds = {str(unit) for hold in plan.holds for unit in hold.units}
    assert holds == set(map(str, played.asked)), told
