"""Simulated clusters named by the arguments, until standard input closes; one line of JSON says how to reach them."""

from __future__ import annotations

import asyncio
import json
import sys

from fleet.sim import Simulation
from fleet.sim.control import Control


async def serve(names: list[str]) -> None:
    async with Simulation(names, seed=1, history=20_000, ledger_limit=30_000) as sim:
        control = Control(sim)
        await control.start()
        kubeconfigs = {name: sim.kubeconfig(name).decode() for name in names}
        said = {"url": control.url, "token": control.token, "kubeconfigs": kubeconfigs}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await control.stop()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
