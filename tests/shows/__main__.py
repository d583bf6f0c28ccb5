"""`python -m shows NAME`: one of a rollout's shows; says what was seen, or fails with what was not."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from shows import away, good_and_bad, kills, slow_region
from shows.fleets import REAL, make_fleet
from testbed.controlplane import ControlPlaneFleet
from testbed.processes import Run

WITHIN = {"good-and-bad": good_and_bad.show, "slow-region": slow_region.show, "away": away.show}


async def told_of(name: str, count: int, seed: int, root: Path) -> list[str]:
    run = Run.begin()
    try:
        planes = await asyncio.to_thread(ControlPlaneFleet.start, run, REAL, controllers_in=REAL)
        async with make_fleet(root, [planes[name] for name in REAL]) as fleet:
            if name == "kills":
                return await kills.show(fleet, count, seed)
            async with fleet.world.run():
                return await WITHIN[name](fleet)
    finally:
        run.end()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shows", description=__doc__)
    parser.add_argument("show", choices=[*WITHIN, "kills"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fleet-show-") as folder:
        told = asyncio.run(told_of(given.show, given.kills, given.seed, Path(folder)))
    for line in told:
        sys.stdout.write(f"- {line}\n")
    sys.stdout.write(f"- in {time.monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
