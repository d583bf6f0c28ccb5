"""First sync of 500 objects, rendered already, to one real API server: the worker, a raw loop and kubectl in turn.

The worker runs in this process with a journal on disk; its clock starts with the order and ends with the last answer,
so connecting, discovery, lists and first contact are within.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

from bench.figures import Samples, Table, progress, ratio
from bench.objects import Document, kinds_of, objects, ready_made
from bench.processes import own_cpu
from bench.rawloop import apply_all
from bench.world import api_server, clear, scratch
from reconcile.rig import CLUSTER, Hub
from testbed.controlplane import ControlPlane
from testbed.ledger import Request

from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.store.sql import open_state

WIDE = 16


class Contest:
    """One API server; each contestant gets fresh namespaces and the same objects."""

    def __init__(self, plane: ControlPlane, count: int, folder: Path) -> None:
        self.plane, self.count, self.folder = plane, count, folder
        self.config = plane.write_kubeconfig(folder / "kubeconfig")

    def fresh(self) -> list[Document]:
        namespace = f"b-{uuid.uuid4().hex[:8]}"
        self.plane.client().make_namespace(namespace)
        return objects(namespace, self.count)

    async def raw(self) -> tuple[float, float]:
        """Seconds and CPU seconds of the raw loop."""
        documents = self.fresh()
        work = ready_made(documents)
        cpu, began = own_cpu(), time.perf_counter()
        await apply_all(self.plane.url, self.plane.trust, self.plane.tokens["admin"], work, WIDE)
        taken = time.perf_counter() - began, own_cpu() - cpu
        clear(self.plane, documents)
        return taken

    async def kubectl(self) -> tuple[float, float]:
        """Seconds and CPU seconds of kubectl."""
        documents = self.fresh()
        file = self.folder / "all.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        argv = ["kubectl", "apply", "--server-side", "--validate=false", "-f", str(file)]
        cpu, began = own_cpu(), time.perf_counter()
        environment = {"KUBECONFIG": str(self.config), "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        subprocess.run(argv, env=environment, check=True, capture_output=True)
        taken = time.perf_counter() - began, own_cpu() - cpu
        clear(self.plane, documents)
        return taken

    async def fleet(self, validate: Validate) -> tuple[float, float, float, list[Request]]:
        """Seconds from the order to the last answer, of the applies alone, CPU seconds until it is reported; ledger."""
        documents = self.fresh()
        with tempfile.TemporaryDirectory(dir=self.folder) as data:
            state = await open_state(Path(data), b"k" * 32)
            hub = Hub(self.plane, journal=state.journal(CLUSTER), installation=f"i-{uuid.uuid4().hex[:8]}")
            unit = hub.want("shop", documents, sync=SyncPolicy(validate=validate), send=False)  # rendered already
            (digest,) = hub.bundles
            mark = self.plane.ledger_mark()
            cpu, began = own_cpu(), time.time()
            async with hub.worker():
                hub.send_desired()
                await hub.until(lambda: hub.units.get(unit) and hub.units[unit].bundle == digest, "applied", 120)
                spent = own_cpu() - cpu
            await state.close()
        requests = self.plane.ledger(mark, user_agent="fleet")
        applies = [r for r in requests if r.is_write and r.namespace != "fleet-system" and r.resource != "namespaces"]
        last = max(r.answered for r in applies)
        clear(self.plane, documents)
        return last - began, last - min(r.received for r in applies), spent, requests


def count(requests: list[Request]) -> Counter[str]:
    """What was asked, by sort."""
    return Counter(_sort_of(request) for request in requests)


def _sort_of(request: Request) -> str:
    if request.dry_run:
        return "dry-run"
    if request.is_write:
        return "parent" if "fleet-system" in (request.namespace, request.name) else "write"
    if request.verb in ("list", "watch"):
        return request.verb
    return "identity" if request.name == "kube-system" else "discovery" if not request.resource else request.verb


async def measure(plane: ControlPlane, rounds: int, size: int, folder: Path) -> None:
    contest = Contest(plane, size, folder)
    names = ("raw", "kubectl", "fleet", "applies", "server")
    seconds = {name: Samples(" s") for name in names}
    cpu = {name: Samples(" s") for name in names}
    writes, sorts, server_sorts = Samples(), Counter[str](), Counter[str]()
    await contest.raw()  # warms the server's caches; counts for nobody
    for number in range(rounds):
        turns = ["raw", "fleet", "kubectl", "server"]
        for turn in turns[number % 4 :] + turns[: number % 4]:
            if turn in ("raw", "kubectl"):
                taken, spent = await getattr(contest, turn)()
            else:
                validate = Validate.SERVER if turn == "server" else Validate.SCHEMA
                taken, apart, spent, requests = await contest.fleet(validate)
                if turn == "fleet":
                    seconds["applies"].add(apart)
                    sorts = count(requests)
                    writes.add(sorts["write"] / size)
                else:
                    server_sorts = count(requests)
            seconds[turn].add(taken)
            cpu[turn].add(spent)
        progress(f"round {number + 1}: " + ", ".join(f"{n} {s.values[-1]:.2f} s" for n, s in seconds.items()))
    title = (
        f"First sync of {size} objects ({kinds_of(objects('n', size))} kinds), rendered already, one real API server"
    )
    table = Table("first_sync", title)
    table.at_least(
        "rate vs raw loop at the same concurrency (connect to last answer)", _over(seconds, "raw", "fleet"), 0.9
    )
    table.add("rate vs raw loop, from the first apply to the last", _over(seconds, "raw", "applies"))
    table.at_least("rate vs kubectl apply --server-side --validate=false", _over(seconds, "kubectl", "fleet"), 2.5)
    table.exactly("writes per object, validate: schema", writes, 1)
    table.add("requests, validate: schema", _shown(sorts), "lists, watches, discovery, identity as exact numbers")
    both = (server_sorts["write"] + server_sorts["dry-run"]) / size
    table.at_most("write requests per object, validate: server", both, 2)
    table.add("requests, validate: server", _shown(server_sorts))
    for name, what in (
        ("raw", "raw loop"),
        ("fleet", "fleet"),
        ("server", "fleet, validate: server"),
        ("kubectl", "kubectl"),
    ):
        table.add(f"{what}: wall clock; CPU", f"{seconds[name]}; {cpu[name]}")
    table.show()


def _over(seconds: dict[str, Samples], peer: str, ours: str) -> Samples:
    return ratio(seconds[peer], seconds[ours])


def _shown(sorts: Counter[str]) -> str:
    return ", ".join(f"{number} {sort}" for sort, number in sorted(sorts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--objects", type=int, default=500)
    given = parser.parse_args()
    with scratch() as folder, api_server() as plane:
        asyncio.run(measure(plane, given.rounds, given.objects, folder))


if __name__ == "__main__":
    main()
