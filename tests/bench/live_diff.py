"""Live difference of 500 objects on a real API server: from fingerprints, by dry-run, and by `kubectl diff`.

From fingerprints: what the hub answers for a unit whose drift it knows and may not heal. By dry-run: `fleet diff`,
which asks the server as `kubectl diff --server-side` does; each runs as a person would start it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Samples, Table, progress, ratio
from bench.objects import Document, objects
from bench.processes import own_cpu
from bench.world import (
    Hub,
    api_server,
    cluster_file,
    fleet_file,
    git_host,
    kubeconfig_of,
    make_repo,
    overlay_files,
    running,
    scratch,
)
from testbed import binaries
from testbed.controlplane import ControlPlane
from testbed.rest import path_of

CLUSTER = "real"
DRIFTED = 20


@dataclass
class Person:
    """Somebody with a kubeconfig and a checkout."""

    folder: Path
    environment: dict[str, str]

    def run(self, argv: Sequence[str], *, codes: tuple[int, ...]) -> tuple[float, float, str]:
        """Seconds, CPU seconds and what it printed."""
        cpu, began = own_cpu(), time.perf_counter()
        done = subprocess.run(argv, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - began
        if done.returncode not in codes:
            raise RuntimeError(f"{argv}: {done.returncode} {done.stderr[-2000:]}")
        return taken, own_cpu() - cpu, done.stdout


def person(folder: Path, plane: ControlPlane) -> Person:
    config = plane.kubeconfig()
    config["contexts"][0]["name"] = config["current-context"] = CLUSTER
    (folder / "kubeconfig").write_text(json.dumps(config))
    own = {
        "KUBECONFIG": str(folder / "kubeconfig"),
        "FLEET_KUSTOMIZE": str(binaries.find("kustomize")),
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
    }
    return Person(folder, own)


def drift(plane: ControlPlane, documents: Sequence[Document]) -> None:
    """Change a label of some objects by hand; nobody heals it."""
    step = max(1, len(documents) // DRIFTED)
    for document in documents[::step][:DRIFTED]:
        plane.client(user_agent="hand").merge(path_of(document), {"metadata": {"labels": {"value": "drifted"}}})


def measure(plane: ControlPlane, hub: Hub, who: Person, theirs: list[Document], rounds: int, size: int) -> Table:
    file = who.folder / "theirs.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": theirs}))
    fleet = [str(Path(sys.executable).with_name("fleet")), "diff", f"shop@{CLUSTER}"]
    kubectl = ["kubectl", "diff", "--server-side", "--force-conflicts", "-f", str(file)]
    shown, requests = Samples(" ms"), Samples()
    seconds = {"fleet": Samples(" s"), "kubectl": Samples(" s")}
    cpu = {"fleet": Samples(" s"), "kubectl": Samples(" s")}
    asked = Samples()
    for number in range(rounds):
        mark = plane.ledger_mark()
        began = time.perf_counter()
        found = hub.get(f"/api/v1/units/shop@{CLUSTER}")
        shown.add((time.perf_counter() - began) * 1000)
        requests.add(len([r for r in plane.ledger(mark, user_agent="fleet") if r.verb != "watch"]))
        different = [one for one in found["status"]["objects"] if one["sync"] != "Synced"]
        if len(different) != DRIFTED:
            raise RuntimeError(f"{len(different)} of {DRIFTED} differences found")
        for name, argv in (
            (("fleet", fleet), ("kubectl", kubectl)) if number % 2 else (("kubectl", kubectl), ("fleet", fleet))
        ):
            mark = plane.ledger_mark()
            taken, spent, said = who.run(argv, codes=(1,))
            seconds[name].add(taken)
            cpu[name].add(spent)
            if name == "fleet":
                asked.add(len(plane.ledger(mark, user_agent="fleet")))
                if f"{DRIFTED} different" not in said:
                    raise RuntimeError(f"fleet diff found something else: {said[-500:]}")
        turns = ", ".join(f"{name} {found.values[-1]:.2f} s" for name, found in seconds.items())
        progress(f"round {number + 1}: {shown.values[-1]:.0f} ms, {turns}")
    table = Table("live_diff", f"Live difference of {size} objects, {DRIFTED} of them drifted, real API server")
    table.exactly("from fingerprints: requests to the cluster", requests, 0)
    table.at_most("from fingerprints: the hub's answer", shown, 100)
    table.at_least(
        "by dry-run, fleet diff: rate vs kubectl diff --server-side", ratio(seconds["kubectl"], seconds["fleet"]), 3
    )
    table.add("fleet diff: wall clock; CPU; requests", f"{seconds['fleet']}; {cpu['fleet']}; {asked}")
    table.add("kubectl diff: wall clock; CPU", f"{seconds['kubectl']}; {cpu['kubectl']}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--objects", type=int, default=500)
    given = parser.parse_args()
    with scratch() as folder, api_server() as plane:
        (folder / "git").mkdir()
        (folder / "person").mkdir()
        names = [f"b-{uuid.uuid4().hex[:8]}" for _ in range(2)]
        for name in names:
            plane.client().make_namespace(name)
        ours, theirs = (objects(name, given.objects) for name in names)
        files = fleet_file("bench", sync={"validate": "schema", "selfHeal": False}) | cluster_file(CLUSTER)
        files |= overlay_files("shop", ours, clusters=[{"all": True}])
        for path, text in files.items():
            file = folder / "person" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(text))
        with git_host(folder / "git") as git:
            repo = make_repo(git.root, "fleet", files)
            hub = Hub(folder / "hub", git.url(repo))
            hub.give(CLUSTER, kubeconfig_of(plane))
            with running(hub):
                hub.until_done(repo.head() or "")
                for document in theirs:
                    plane.client().apply(document, manager="kubectl")
                drift(plane, ours)
                drift(plane, theirs)
                time.sleep(3)
                table = measure(plane, hub, person(folder / "person", plane), theirs, given.rounds, given.objects)
    table.show()


if __name__ == "__main__":
    main()
