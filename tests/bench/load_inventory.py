"""How long a commit takes in the inventory, by size of the repo: `python tests/bench/load_inventory.py [OVERLAYS ...]`.

Each row: median and range of 9 commits of one file, CPU milliseconds, loads after a first full one.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from inventory.snapshots import KUSTOMIZATION, MemorySnapshot, cluster, fleet, overlay  # noqa: E402

from fleet.core.ids import Revision  # noqa: E402
from fleet.inventory.load import Loaded, load_fleet  # noqa: E402

CLUSTERS, ROUNDS = 100, 9


class BenchSnapshot(MemorySnapshot):
    """Its revision costs nothing, as in Git."""

    revision = Revision("0" * 40)


def repo(overlays: int) -> dict[str, str]:
    """Overlays of three directories each, one cluster per overlay."""
    files = {"fleet.yaml": fleet("{environments: [dev, prod], variables: {a: 1}}")}
    for number in range(CLUSTERS):
        stage = "dev" if number % 2 else "prod"
        files[f"clusters/c{number}.yaml"] = cluster(f"c{number}", f"{{environment: {stage}}}", "{region: eu}")
    for number in range(overlays):
        root = f"overlays/o{number}"
        files[f"{root}/overlay.yaml"] = overlay(f"clusters: [{{names: [c{number % CLUSTERS}]}}]")
        for name in ("base", "dev", "prod"):
            files[f"{root}/{name}/kustomization.yaml"] = KUSTOMIZATION
            files[f"{root}/{name}/deployment.yaml"] = "kind: Deployment\n"
    return files


def commits(number: int, files: dict[str, str]) -> dict[str, tuple[str, str]]:
    """One file each: its path and its new text."""
    entry = f"clusters/c{number}.yaml"
    return {
        "a manifest": (f"overlays/o{number}/base/deployment.yaml", f"kind: Deployment # {number}\n"),
        "an overlay.yaml": (f"overlays/o{number}/overlay.yaml", overlay("clusters: [{names: [c1, c2]}]")),
        "a kustomization": (f"overlays/o{number}/prod/kustomization.yaml", f"{KUSTOMIZATION}# {number}\n"),
        "a new overlay": (f"overlays/new{number}/kustomization.yaml", KUSTOMIZATION),
        "a cluster's variable": (entry, files[entry].replace("spec:\n  {", "spec:\n  {variables: {n: 1}, ")),
    }


def main(overlays: int) -> None:
    """Measure one size and print a row per kind of commit."""
    files = repo(overlays)
    snapshot = BenchSnapshot(files)
    started = time.process_time()
    loaded: Loaded = load_fleet(snapshot)
    print(f"{overlays} overlays, {len(loaded.fleet.units)} units: full {time.process_time() - started:.2f} s")
    for kind in commits(0, files):
        taken: list[float] = []
        for number in range(ROUNDS):
            path, text = commits(number, files)[kind]
            entry = MemorySnapshot({path: text}).tree[path]
            snapshot.files[path], snapshot.tree = text.encode(), {**snapshot.tree, path: entry}
            started = time.process_time()
            loaded = load_fleet(snapshot, loaded, frozenset({path}))
            taken.append((time.process_time() - started) * 1000)
        print(f"  {kind:<22}{statistics.median(taken):7.1f} ms  ({min(taken):.1f} to {max(taken):.1f})")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    for size in [int(text) for text in sys.argv[1:]] or [100, 1_000, 10_000]:
        main(size)
