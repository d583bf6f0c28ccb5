"""The address of an entry leads to another cluster and back, again and again, in the middle of everything (R1, V2).

The other cluster is the worst that can happen: a copy of the first, so that each of its objects carries the mark of the
first and the same token opens it, and each of them has drifted, so that there is always something to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hubworld import HubWorld, NotSeen, cluster_file, config_map, kustomization, overlay
from testbed.gitrepo import GitRepo

from fleet.core.retry import Backoff
from fleet.reconcile import worker
from fleet.sim import Simulation

NAMES = tuple(f"n{number}" for number in range(60))  # so many that none drifts often enough to be left alone (R17)


@dataclass
class Switch:
    """A port that leads to one of several others; a turn of it cuts what is open, or leaves it as it is."""

    port: int = 0
    leads_to: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.turn(0, cut=True)

    def turn(self, port: int, *, cut: bool) -> None:
        self.leads_to = port
        if cut:
            for writer in tuple(self._open):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@dataclass(slots=True)
class SwitchedWorld(HubWorld):
    """A fleet of one entry, whose credential leads through the switch."""

    switch: Switch = field(default_factory=Switch)

    def write_credentials(self) -> None:
        folder = self.root / "credentials"
        folder.mkdir(exist_ok=True)
        config = json.loads(self.sim.kubeconfig("eu-1"))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.switch.port}"
        (folder / "eu-1.kubeconfig").write_text(json.dumps(config))


@dataclass(frozen=True, slots=True)
class Flips:
    """What came of it: how often the hub was answered by the wrong cluster, what landed there, and here meanwhile."""

    reached_wrong: int
    wrong_writes: list[str]
    right_writes: int
    mismatches: int
    converged: bool


_FIRST_SECONDS = 180.0  # nothing is wrong yet


async def flip(root: Path, count: int, seed: int, *, settle_seconds: float = 60.0) -> Flips:
    """Turn the switch `count` times; afterwards the right cluster must hold what Git says.

    The worker's pause after a mismatch (15 s and more) is shortened, so that it comes back to be fooled again.
    """
    random, worker.REFUSALS = Random(seed), Backoff(0.01, 0.05)
    async with Simulation(("eu-1", "copy"), seed=seed) as sim:
        world = SwitchedWorld(root, GitRepo.create(root / "fleet.git"), sim, {"render_workers": 1})
        right, wrong = sim.cluster("eu-1"), sim.cluster("copy")
        wrong.access.tokens[right.token] = right.access.tokens[right.token]
        await world.switch.start()
        world.switch.turn(right.port, cut=False)
        world.commit({"clusters/eu-1.yaml": cluster_file("eu-1"),
                      **overlay("overlays/web", {name: config_map(name, "0") for name in NAMES})})  # fmt: skip
        async with world.run():
            await world.until_everywhere(world.repo.head(), _FIRST_SECONDS)
            for name in NAMES:
                document = right.get("", "ConfigMap", "default", name)
                assert document is not None
                metadata = {key: document["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
                wrong.create({**document, "metadata": metadata, "data": {"a": "a copy, and drifted"}})
            before, mismatches = right.ledger.sequence, 0
            commit, added = world.repo.head(), list[str]()
            for number in range(count):
                there = number % 2 == 0
                if random.random() < 0.25:
                    commit = world.commit(_change(random, number))
                right.drift("", "ConfigMap", "default", NAMES[number % 60], {"data": {"a": f"by hand {number}"}})
                side, asked_before = (wrong, wrong.ledger.sequence) if there else (right, right.ledger.sequence)
                cut = random.random() < 0.8
                world.switch.turn(side.port, cut=cut)
                await asyncio.sleep(random.uniform(0.0, 0.1))
                if random.random() < 0.7:  # mostly until the hub is there, sometimes it is turned back before
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(15.0 if cut else 0.1):
                            while side.ledger.sequence <= asked_before + (not there) and not (there and _told(world)):
                                await asyncio.sleep(0.005)
                    name = NAMES[(number + 30) % 60]  # who watches there sees something to heal
                    side.drift("", "ConfigMap", "default", name, {"data": {"a": f"by hand again {number}"}})
                    await asyncio.sleep(random.uniform(0.0, 0.1))
                if there and number % 4 == 0:  # something that was never anywhere: no precondition stands in its way
                    added.append(f"added-{number}")
                    commit = world.commit(_added(added))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(5.0):
                            while not _told(world) and not any(entry.landed for entry in wrong.ledger):
                                await asyncio.sleep(0.01)
                mismatches += _told(world)
            world.switch.turn(right.port, cut=True)
            try:
                await world.until_everywhere(commit, settle_seconds)
                converged = True
            except NotSeen:
                converged = False
            asked = [entry for entry in wrong.ledger if entry.agent.startswith("fleet")]
            result = Flips(
                reached_wrong=len(asked),
                wrong_writes=[f"{entry.verb} {entry.resource} {entry.name}" for entry in asked if entry.landed],
                right_writes=len(right.ledger.writes(before)),
                mismatches=mismatches,
                converged=converged,
            )
        await world.switch.stop()
        return result


def _added(names: Sequence[str]) -> dict[str, str]:
    listed = kustomization(*(f"{name}.yaml" for name in (*NAMES, *names)))
    return {"overlays/web/kustomization.yaml": listed, f"overlays/web/{names[-1]}.yaml": config_map(names[-1], "1")}


def _told(world: HubWorld) -> bool:
    return world.opened.view.clusters["eu-1"].reason == "IdentityMismatch"


def _change(random: Random, number: int) -> dict[str, str]:
    name = random.choice(NAMES)
    return {f"overlays/web/{name}.yaml": config_map(name, str(number))}
