"""Start of the installed command against `python -c pass`; `get clusters` asks a hub of 30 simulated clusters."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Samples, Table, ratio
from bench.nothing_changes import fleet_repo
from bench.processes import own_cpu
from bench.world import Hub, git_host, make_repo, running, scratch, simulation

GOALS = {"version": 60.0, "--help": 120.0, "get clusters": 250.0}


def measure(environment: dict[str, str], rounds: int, table: Table) -> None:
    fleet = str(Path(sys.executable).with_name("fleet"))
    commands = {"python -c pass": [sys.executable, "-c", "pass"]}
    commands |= {words: [fleet, *words.split()] for words in GOALS}
    wall = {name: Samples(" ms") for name in commands}
    cpu = {name: Samples(" ms") for name in commands}
    for number in range(rounds + 1):
        for name, argv in commands.items():
            spent, began = own_cpu(), time.perf_counter()
            subprocess.run(argv, env=environment, check=True, capture_output=True)
            if number:  # the first round reads the files
                wall[name].add((time.perf_counter() - began) * 1000)
                cpu[name].add((own_cpu() - spent) * 1000)
    for words, goal in GOALS.items():
        table.at_most(f"fleet {words}", wall[words], goal)
        table.add(
            f"fleet {words}: CPU; wall clock over python -c pass",
            f"{cpu[words]}; {ratio(wall[words], wall['python -c pass'])}",
        )
    table.add("python -c pass", f"{wall['python -c pass']}; CPU {cpu['python -c pass']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    names = [f"c{number:02}" for number in range(30)]
    table = Table("startup", "Start of the command, as installed script")
    with scratch() as folder, simulation(*names) as sim:
        (folder / "git").mkdir()
        with git_host(folder / "git") as git:
            repo = make_repo(git.root, "fleet", fleet_repo(names, 2))
            hub = Hub(folder / "hub", git.url(repo))
            for name in names:
                hub.give(name, sim.kubeconfigs[name].encode())
            with running(hub):
                hub.until_done(repo.head() or "", every=0.5)
                time.sleep(3)
                own = {"FLEET_HUB": hub.url, "FLEET_TOKEN": hub.token, "PATH": os.environ["PATH"], "HOME": str(folder)}
                measure(own, given.rounds, table)
    table.show()


if __name__ == "__main__":
    main()
