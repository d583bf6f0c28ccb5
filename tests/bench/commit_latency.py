"""A one-line commit in 1 of N overlays, from the webhook to the answered write: git over http, simulated cluster.

One hub for each size, all idle but the one whose turn it is. The moment of a write is the simulated server's own.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Samples, Table, progress, ratio
from bench.objects import namespace_of, objects
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
from testbed.gitrepo import Content, GitRepo
from testbed.gitserver import GitHttpServer

NAMESPACE = "shop"
PER_OVERLAY = 2


class Site:
    """A fleet repo of N overlays, its hub, and one simulated cluster."""

    def __init__(self, size: int, folder: Path, sim: Simulated, git: GitHttpServer) -> None:
        self.size, self.sim, self.cluster = size, sim, f"c{size}"
        files: dict[str, Content] = {**fleet_file(f"bench-{size}"), **cluster_file(self.cluster)}
        files |= overlay_files("a-namespace", [namespace_of(NAMESPACE)], clusters=[{"all": True}])
        for number in range(size - 1):
            files |= overlay_files(f"o{number}", self._documents(number, "1"), clusters=[{"all": True}])
        self.repo: GitRepo = make_repo(folder / "git", self.cluster, files)
        self.hub = Hub(folder / f"hub-{size}", git.url(self.repo))
        self.hub.give(self.cluster, sim.kubeconfigs[self.cluster].encode())
        self.turn = 0
        self.delay, self.cpu = Samples(" ms"), Samples(" ms")
        self.writes, self.renders, self.commands = Samples(), Samples(), Samples()

    def _documents(self, number: int, value: str) -> list[dict]:
        """Two objects of the thirteen kinds in turn, so that each overlay has another pair."""
        at = number * PER_OVERLAY % 13
        return objects(NAMESPACE, at + PER_OVERLAY, prefix=f"o{number}", value=value)[at:]

    def one_commit(self) -> None:
        """Commit one line, ring, and read from the ledger when it was applied."""
        self.turn += 1
        number = self.turn * 7 % (self.size - 1)
        before, after = self._documents(number, "1"), self._documents(number, "1")
        after[0]["metadata"]["labels"]["value"] = str(self.turn + 1)
        files = overlay_files(f"o{number}", after, clusters=[{"all": True}])
        assert before != after
        commit = self.repo.commit({f"overlays/o{number}/objects.yaml": files[f"overlays/o{number}/objects.yaml"]})
        marks = {self.cluster: self.sim.marks()[self.cluster]}
        counted, cpu = len(self.hub.counts()), self.hub.cpu()
        asked = self.hub.ring()
        time.sleep(0.5)  # nobody asks the hub anything while it works
        self.hub.until_done(commit)
        spent = self.hub.cpu() - cpu
        wrote = [entry for entry in self.sim.since(marks) if is_own_write(entry)]
        started = self.hub.counts()[counted:]
        self.delay.add((wrote[0]["moment"] - asked) * 1000)
        self.cpu.add(spent * 1000)
        self.writes.add(len(wrote))
        self.renders.add(started.count("render"))
        self.commands.add(sum(words.startswith("git ") for words in started))


def measure(sizes: list[int], rounds: int) -> None:
    names = [f"c{size}" for size in sizes]
    with scratch() as folder, ExitStack() as open_parts:
        (folder / "git").mkdir()
        sim = open_parts.enter_context(simulation(*names))
        git = open_parts.enter_context(git_host(folder / "git"))
        sites = [Site(size, folder, sim, git) for size in sizes]
        for site in sites:
            began = time.monotonic()
            open_parts.enter_context(running(site.hub))
            site.hub.until_done(site.repo.head() or "", every=1.0, seconds=1500)
            progress(
                f"{site.size} overlays everywhere after {time.monotonic() - began:.1f} s, {site.hub.cpu():.1f} CPU s"
            )
        for site in sites:
            site.one_commit()  # warm
            for found in (site.delay, site.cpu, site.writes, site.renders, site.commands):
                found.values.clear()
        for number in range(rounds):
            for site in sites:
                site.one_commit()
            progress(f"round {number + 1}: " + ", ".join(f"{s.size}: {s.delay.values[-1]:.0f} ms" for s in sites))
        table = Table("commit_latency", "One-line commit in 1 of N overlays, from the webhook to the answered write")
        usual = next((site for site in sites if site.size == 1000), sites[0])
        for site in sites:
            what = f"{site.size:,} overlays"
            if site is usual:
                met = site.delay.median <= 150 and site.delay.percentile(0.95) <= 300
                table.add(what, site.delay.tail(), "p50 <= 150 ms, p95 <= 300 ms", met=met)
            else:
                compared = ratio(site.delay, usual.delay)
                table.add(what, site.delay.tail())
                table.add(f"{what}: vs {usual.size:,}", compared, "0.8-1.2x", met=0.8 <= compared.median <= 1.2)
            table.exactly(f"{what}: renders", site.renders, 1)
            table.exactly(f"{what}: writes", site.writes, 1)
            table.at_most(f"{what}: git commands", site.commands, 4)
            table.add(f"{what}: CPU a commit, with build and git", site.cpu)
            memory = site.hub.memory()
            table.add(f"{what}: memory of the hub; with workers", f"{memory.hub:.0f} MB; {memory.whole:.0f} MB")
        table.show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    given = parser.parse_args()
    measure(given.sizes, given.rounds)


if __name__ == "__main__":
    main()
