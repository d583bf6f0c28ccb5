"""`python -m shows NAME`: a rollout's shows in their long form; each says what was seen, or fails with what was not."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from hubworld import make_world
from shows import good_and_bad, kills, slow_region
from shows.fleets import names_of
from testbed.controlplane import ControlPlane, ControlPlaneFleet
from testbed.processes import Run

REAL = ("eu-dev-91", "eu-staging-91", "us-prod-91")


async def good_and_bad_on_sixty(root: Path) -> list[str]:
    run = Run.begin()
    try:
        found = await asyncio.to_thread(ControlPlaneFleet.start, run, REAL, controllers_in=REAL)
        planes: Mapping[str, ControlPlane] = {name: found[name] for name in REAL}
        async with make_world(root, names_of(60)) as world:
            return await good_and_bad.show(world, planes, "web")
    finally:
        run.end()


async def slow_region_on_sixty(root: Path) -> list[str]:
    async with make_world(root, names_of(60)) as world:
        return await slow_region.show(world, patience=30)


async def fifty_kills(root: Path, count: int, seed: int) -> list[str]:
    histories: list[tuple[list[str], int]] = []
    for kill in (0, count):
        folder = root / f"kills-{kill}"
        folder.mkdir()
        async with make_world(folder, names_of(60)) as world:
            histories.append(await kills.history_of(world, kill, seed, spread=4))
    (calm, _), (killed, many) = histories
    assert kills.shape_of(killed) == kills.shape_of(calm), f"another history:\n{killed}\n{calm}"
    assert many == count, f"the rollout was over after {many} kills"
    released, marks = kills.shape_of(calm)
    return [
        f"{many} kills -9: the same {len(released)} releases in the same order, the same {len(marks)} steps and gates"
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shows", description=__doc__)
    parser.add_argument("show", choices=["good-and-bad", "slow-region", "kills"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fleet-show-") as folder:
        root = Path(folder)
        match given.show:
            case "good-and-bad":
                told = asyncio.run(good_and_bad_on_sixty(root))
            case "slow-region":
                told = asyncio.run(slow_region_on_sixty(root))
            case _:
                told = asyncio.run(fifty_kills(root, given.kills, given.seed))
    for line in told:
        sys.stdout.write(f"- {line}\n")
    sys.stdout.write(f"- in {time.monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
