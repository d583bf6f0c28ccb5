"""`fleet plan` of a commit that touches 1, 20, all of N overlays (10 objects, one merge patch): cold, and warm.

The base is cached, as after any plan before. Each round plans, right one after the other, a commit nobody planned yet
and the same once more; the builds alone are the same builds by the same kustomize with the slim schema, without Python,
without a cache and without a comparison: once with the whole slim schema, once with the part of it that fleet gives to
such a build.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from bench.figures import Samples, Table, progress, ratio
from bench.objects import objects
from bench.world import cluster_file, fleet_file, overlay_files, scratch
from testbed import binaries

from fleet.render.schema import SLIM_SCHEMA, schema_for

WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@b"}
WHO |= {"GIT_COMMITTER_NAME": "b", "GIT_COMMITTER_EMAIL": "b@b"}


def patch_of(document: dict[str, Any], value: str) -> dict[str, Any]:
    metadata = {"name": document["metadata"]["name"], "namespace": document["metadata"]["namespace"]}
    kind = {name: document[name] for name in ("apiVersion", "kind")}
    return {**kind, "metadata": {**metadata, "annotations": {"turn": value}}}


class Repo:
    """N overlays on one cluster; each round's commit is a child of the base, so that the base stays the same."""

    def __init__(self, folder: Path, size: int) -> None:
        self.root, self.size, self.turn = folder / "repo", size, 0
        files = {**fleet_file("bench"), **cluster_file("c1")}
        self.first = [objects("shop", 10, prefix=f"o{number}")[0] for number in range(size)]
        for number in range(size):
            made = objects("shop", 10, prefix=f"o{number}")
            patches = {"patch.yaml": patch_of(self.first[number], "1")}
            files |= overlay_files(f"o{number}", made, clusters=[{"all": True}], patches=patches)
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(str(text))
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "base")
        self.git("tag", "base")

    def git(self, *words: str) -> None:
        subprocess.run(["git", "-C", str(self.root), *words], env={**os.environ, **WHO}, check=True)

    def commit(self, count: int) -> None:
        self.turn += 1
        self.git("checkout", "-q", "-B", "head", "base")
        for number in range(count):
            text = yaml.safe_dump(patch_of(self.first[number], f"{self.turn + 1}"))
            (self.root / f"overlays/o{number}/patch.yaml").write_text(text)
        self.git("commit", "-q", "-a", "-m", "change")


def timed(argv: list[str], environment: dict[str, str], *, code: int) -> tuple[float, float]:
    """Seconds by the clock, and of CPU with all children."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=False)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise RuntimeError(f"{argv} ended with {done.returncode}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def builds_alone(repo: Repo, count: int, folder: Path, kustomize: str, schema: bytes) -> float:
    """CPU of so many builds as the render workers make them."""
    wrapped = folder / "wrapped"
    shutil.rmtree(wrapped, ignore_errors=True)
    wrapped.mkdir()
    (wrapped / "slim.json").write_bytes(schema)
    (wrapped / "kustomization.yaml").write_text("openapi: {path: slim.json}\nresources: [target]\n")
    environment = {"GOGC": "400", "PATH": os.environ["PATH"]}
    cpu = 0.0
    for number in range(count):
        target = wrapped / "target"
        target.unlink(missing_ok=True)
        target.symlink_to(repo.root / f"overlays/o{number}")
        argv = [kustomize, "build", str(wrapped), "--load-restrictor", "LoadRestrictionsNone"]
        cpu += timed(argv, environment, code=0)[1]
    return cpu


def measure(size: int, counts: list[int], rounds: int) -> None:
    with scratch() as folder:
        repo, kustomize = Repo(folder, size), str(binaries.find("kustomize"))
        environment = {**os.environ, "FLEET_KUSTOMIZE": kustomize, "XDG_CACHE_HOME": str(folder / "cache")}
        environment |= {"XDG_STATE_HOME": str(folder / "state")}
        environment.pop("FLEET_CACHE", None)
        fleet = shutil.which("fleet", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "fleet"
        argv = [fleet, "plan", "--root", str(repo.root), "--base", "base", "--head", "head"]
        repo.commit(size)
        progress(f"the base is read and built: {timed(argv, environment, code=1)[0]:.1f} s")
        table = Table("plan", f"`fleet plan` offline, {size:,} overlays of 10 objects and one merge patch, base cached")
        whole = SLIM_SCHEMA.read_bytes()
        part = schema_for(path.read_bytes() for path in (repo.root / "overlays/o0").iterdir())
        assert part is not None
        for count in counts:
            cold, warm, cpu, warm_cpu, alone, alone_with_part = (Samples(" s") for _ in range(6))
            for number in range(rounds):
                repo.commit(count)
                took, spent = timed(argv, environment, code=1)
                cold.add(took)
                cpu.add(spent)
                took, spent = timed(argv, environment, code=1)
                warm.add(took)
                warm_cpu.add(spent)
                alone.add(builds_alone(repo, count, folder, kustomize, whole))
                alone_with_part.add(builds_alone(repo, count, folder, kustomize, part))
                progress(f"{count}: round {number + 1}: {cold.values[-1]:.2f} s, again {warm.values[-1]:.2f} s")
            what = f"{count:,} touched"
            if count in (1, 20):
                table.at_most(f"{what}: wall clock", cold, 0.3 if count == 1 else 2.0)
            else:
                table.add(f"{what}: wall clock", cold)
                table.at_most(f"{what}: CPU against the builds alone", ratio(cpu, alone), 1.15)
                table.add(f"{what}: the same with that part of the schema", ratio(cpu, alone_with_part))
                table.at_most(f"{what}: again, wall clock", warm, 2.0)
            table.add(f"{what}: CPU; of the builds alone; with that part", f"{cpu}; {alone}; {alone_with_part}")
            table.add(f"{what}: again: wall clock; CPU", f"{warm}; {warm_cpu}")
        table.show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overlays", type=int, default=1000)
    parser.add_argument("--touched", type=int, nargs="+", default=[1, 20, 1000])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    measure(given.overlays, given.touched, given.rounds)


if __name__ == "__main__":
    main()
