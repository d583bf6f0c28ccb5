"""A commit that touches all clusters, without steps, to the last simulated cluster; beside a raw apply loop over them.

Hub and clusters are processes of their own. The hub's clock starts when it is rung, so fetch, plan, build, release and
journal are within; the raw loop knows each cluster's body beforehand and has a connection to each that is warm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
from bench.figures import Samples, Table, progress, ratio
from bench.objects import Document
from bench.rawloop import PATCH
from bench.world import (
    Hub,
    Simulated,
    cluster_file,
    fleet_file,
    git_host,
    is_own_write,
    make_repo,
    overlay_files,
    running,
    scratch,
    simulation,
)
from testbed.gitrepo import Content

WIDE = 64


def config_map(name: str, value: str) -> Document:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


def overlay(value: str) -> dict[str, Content]:
    return overlay_files("web", [config_map("web", value)], clusters=[{"all": True}])


class RawLoop:
    """One warm connection to each cluster."""

    def __init__(self, kubeconfigs: dict[str, str]) -> None:
        self._targets: list[tuple[str, str]] = []
        for text in kubeconfigs.values():
            config = json.loads(text)
            self._targets.append((config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]))
        self._trust = ssl.create_default_context()
        self._trust.check_hostname, self._trust.verify_mode = False, ssl.CERT_NONE

    async def __aenter__(self) -> RawLoop:
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0, keepalive_timeout=3600)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def apply(self, value: str) -> float:
        """One apply on each cluster, WIDE at a time; returns the seconds it took."""
        body = json.dumps(config_map("raw", value)).encode()
        path = "/api/v1/namespaces/default/configmaps/raw?fieldManager=rawloop&force=true"
        rest = iter(self._targets)

        async def run() -> None:
            for server, token in rest:
                headers = {**PATCH, "Authorization": f"Bearer {token}"}
                async with self._session.patch(server + path, data=body, headers=headers) as answer:
                    text = await answer.read()
                    if answer.status >= 300:
                        raise RuntimeError(f"{answer.status} {server}: {text[:300]!r}")

        began = time.monotonic()
        await asyncio.gather(*(run() for _ in range(WIDE)))
        return time.monotonic() - began


def written(sim: Simulated, marks: Mapping[str, int]) -> list[dict[str, Any]]:
    """Writes of the hub to the object of the overlay, those of the raw loop aside."""
    return [entry for entry in sim.since(marks) if is_own_write(entry) and entry["name"] == "web"]


async def measure(
    sim: Simulated, hub: Hub, commit: Callable[[str], object], names: Sequence[str], rounds: int
) -> Table:
    """commit: makes one with this value."""
    table = Table("fan_out", f"A commit that touches {len(names)} simulated clusters, without steps")
    ours, first, raw, cpu, asked = Samples(" s"), Samples(" s"), Samples(" s"), Samples(" s"), Samples()
    async with RawLoop(sim.kubeconfigs) as loop:
        await loop.apply("warm")
        for number in range(rounds):
            marks, spent = await asyncio.to_thread(sim.marks), hub.cpu()
            commit(str(number + 2))
            rung = await asyncio.to_thread(hub.ring)
            while len(writes := await asyncio.to_thread(written, sim, marks)) < len(names):
                await asyncio.sleep(1)  # nobody is asked while it works but the simulation, seldom
            await asyncio.sleep(2)
            cpu.add(hub.cpu() - spent)
            seen = await asyncio.to_thread(sim.since, marks)
            asked.add(sum(1 for entry in seen if entry["verb"] != "watch" and entry["name"] != "raw") / len(names))
            moments = sorted(entry["moment"] - rung for entry in writes)
            first.add(moments[0])
            ours.add(moments[-1])
            raw.add(await loop.apply(str(number)))
            progress(
                f"round {number + 1}: first {moments[0]:.2f} s, last {moments[-1]:.2f} s, raw {raw.values[-1]:.2f} s"
            )
    table.at_most("ring to the last cluster, over the raw loop", ratio(ours, raw), 1.2)
    spread = Samples("x", [(a - b) / c for a, b, c in zip(ours.values, first.values, raw.values, strict=True)])
    table.add("first cluster to last, over the raw loop", spread)
    table.add("ring to the first; to the last cluster", f"{first}; {ours}")
    table.add(f"raw loop, {WIDE} at a time, warm connections", raw)
    table.add("CPU of the hub for one such commit", cpu)
    table.add("requests a cluster but watches", asked)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    names = [f"c{number:04}" for number in range(given.clusters)]
    with scratch() as folder, simulation(*names) as sim:
        (folder / "git").mkdir()
        with git_host(folder / "git") as git:
            files: dict[str, Content] = dict(fleet_file("bench"))
            for name in names:
                files |= cluster_file(name)
            repo = make_repo(git.root, "fleet", files | overlay("1"))
            hub = Hub(folder / "hub", git.url(repo))
            for name in names:
                hub.give(name, sim.kubeconfigs[name].encode())
            with running(hub):
                marks = dict.fromkeys(names, 0)
                while len(written(sim, marks)) < len(names):
                    time.sleep(2)
                progress("all clusters hold the first commit")
                table = asyncio.run(
                    measure(sim, hub, lambda value: repo.commit(overlay(value), value), names, given.rounds)
                )
                table.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
