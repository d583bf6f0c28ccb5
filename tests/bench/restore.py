"""A backup restored on another machine: how long it takes until the hub stands again, and what it writes meanwhile."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Samples, Table
from bench.objects import namespace_of, objects
from bench.world import (
    Hub,
    cluster_file,
    fleet_file,
    git_host,
    make_repo,
    overlay_files,
    running,
    scratch,
    simulation,
)

NAMESPACE = "shop"
GOAL_SECONDS = 60.0
WRITES = ("create", "update", "patch", "delete", "deletecollection")


def command(*words: str) -> float:
    """Seconds of one `fleet` command."""
    began = time.perf_counter()
    subprocess.run([str(Path(sys.executable).parent / "fleet"), *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--overlays", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    names = [f"c{number}" for number in range(given.clusters)]
    files = {**fleet_file("bench-restore"), **overlay_files("a", [namespace_of(NAMESPACE)], clusters=[{"all": True}])}
    for name in names:
        files |= cluster_file(name)
    for number in range(given.overlays):
        documents = objects(NAMESPACE, 5, prefix=f"o{number}", value="1")
        files |= overlay_files(f"o{number}", documents, clusters=[{"all": True}])
    back, stands = Samples(" s"), Samples(" s")
    with scratch() as folder, simulation(*names) as sim, git_host(folder) as git:
        repo = make_repo(folder, "fleet", files)
        hub = Hub(folder / "hub", git.url(repo))
        for name in names:
            hub.give(name, sim.kubeconfigs[name].encode())
        data, file = folder / "hub" / "data", folder / "fleet.tar"
        with running(hub):
            hub.until_done(repo.head() or "", every=1.0)
            taken = command("backup", str(file), "--data-dir", str(data), "--with-key")
        wrote = 0
        for _ in range(given.rounds):
            shutil.rmtree(data)
            marks = sim.marks()
            back.add(command("restore", str(file), "--data-dir", str(data)))
            began = time.perf_counter()
            with running(hub):
                while len(hub.get("/api/v1/recovery")["items"]) < len(names) * (given.overlays + 1):
                    time.sleep(0.1)
                stands.add(time.perf_counter() - began)
            wrote += sum(entry["verb"] in WRITES and not entry["dry_run"] for entry in sim.since(marks))
        size = file.stat().st_size / 1e6
    units = len(names) * (given.overlays + 1)
    table = Table("restore", f"Restore of {len(names)} clusters, {units} units, a backup of {size:.1f} MB")
    table.add("backup, while the hub runs", f"{taken:.1f} s")
    table.at_most("fleet restore", back, GOAL_SECONDS)
    table.add("from there to all units read, and waiting for a person", stands)
    table.add("writes to the clusters", wrote, "0", met=wrote == 0)
    table.show()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
