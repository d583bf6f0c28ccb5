"""One fleet, in health and with three tenths of it sick: how much later do the others get a commit (R18)?

A tenth of the clusters is a black hole, a tenth answers one byte a second, a tenth answers 500. A pair is the same
fleet in health, then sick: at the onset, while calls hang, and once the sick ones are marked unreachable. The sick
clusters have an API server process of their own, so that what is measured is the hub.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from bench.figures import Samples, Table, progress
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
from testbed.gitrepo import Content

NAMESPACE = "shop"
SICK = ({"kind": "blackhole"}, {"kind": "drip", "seconds": 1.0}, {"kind": "error", "code": 500})
SECONDS = 240.0
PAUSE = 3.0  # between two commits
AGED = 130.0  # a call that hung when its cluster was marked ends within 60 s, and its idle connection 50 s after


class Fleet:
    """A hub, and clusters of which three tenths can be made sick."""

    def __init__(self, clusters: int, folder: Path, well: Simulated, ill: Simulated, git: Any) -> None:
        self.well, self.ill = well, ill
        files: dict[str, Content] = {**fleet_file("isolation")}
        for name in (*well.kubeconfigs, *ill.kubeconfigs):
            files |= cluster_file(name)
        files |= overlay_files("a-namespace", [namespace_of(NAMESPACE)], clusters=[{"all": True}])
        files |= overlay_files("web", self._documents(0), clusters=[{"all": True}])
        self.repo = make_repo(folder / "git", "fleet", files)
        self.hub = Hub(folder / "hub", git.url(self.repo))
        for sim in (well, ill):
            for name, kubeconfig in sim.kubeconfigs.items():
                self.hub.give(name, kubeconfig.encode())
        self.turn = 0

    def _documents(self, value: int) -> list[dict]:
        made = objects(NAMESPACE, 3, prefix="web", value="1")
        made[0]["metadata"]["labels"]["value"] = str(value)
        return made

    def one_commit(self) -> list[float]:
        """Seconds from the webhook to the applied write, for each healthy cluster."""
        self.turn += 1
        path = "overlays/web/objects.yaml"
        self.repo.commit({path: overlay_files("web", self._documents(self.turn), clusters=[{"all": True}])[path]})
        marks = self.well.marks()
        asked = self.hub.ring()
        found: dict[str, float] = {}
        end = time.monotonic() + SECONDS
        while len(found) < len(marks):
            if time.monotonic() > end:
                raise TimeoutError(f"{len(found)} of {len(marks)} healthy clusters have it")
            time.sleep(0.5)  # nobody asks the hub anything while it works
            for entry in self.well.since(marks):
                if is_own_write(entry):
                    found.setdefault(entry["cluster"], entry["moment"] - asked)
        time.sleep(PAUSE)
        return list(found.values())

    def sicken(self) -> None:
        """Open connections are cut, as they are when a server or the way to it fails: else its watches stay alive."""
        for number, name in enumerate(self.ill.kubeconfigs):
            self.ill.call("POST", "/fault", {"cluster": name, "kind": "refuse"})
            self.ill.call("POST", "/fault", {"cluster": name, "clear": True})
            self.ill.call("POST", "/fault", {"cluster": name, **SICK[number % len(SICK)]})

    def heal(self) -> None:
        for name in self.ill.kubeconfigs:
            self.ill.call("POST", "/fault", {"cluster": name, "clear": True})

    def marked(self) -> tuple[set[str], set[str]]:
        """The sick clusters that are shown as Unknown, and those of them that are shown as unreachable."""
        found = [one for one in self.hub.get("/api/v1/clusters?limit=500")["items"]
                 if one["metadata"]["name"] in self.ill.kubeconfigs]  # fmt: skip
        unknown = {one["metadata"]["name"] for one in found if one["status"]["sync"] == "Unknown"}
        return unknown, {one["metadata"]["name"] for one in found if not one["status"]["reachable"]}

    def until(self, count: int) -> None:
        """Wait until so many of the sick clusters are marked, all but the drips (which do answer) as unreachable."""
        names = list(self.ill.kubeconfigs)
        drips = {name for number, name in enumerate(names) if SICK[number % len(SICK)]["kind"] == "drip"}
        end = time.monotonic() + SECONDS
        while True:
            unknown, gone = self.marked()
            if len(unknown) == count and (not count or gone >= set(names) - drips):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{sorted(unknown)} are Unknown, {sorted(gone)} unreachable; {count} are sick")
            time.sleep(1.0)

    def settled_sockets(self) -> int:
        """The most connections to an unreachable cluster, once those from before it was marked have aged."""
        end = time.monotonic() + AGED
        while True:
            _, gone = self.marked()
            most = max((count for name, count in self.sockets().items() if name in gone), default=0)
            if most <= 1 or time.monotonic() > end:
                return most
            time.sleep(1.0)

    def sockets(self) -> dict[str, int]:
        """How many connections the hub has to each sick cluster."""
        ports = {int(json.loads(text)["clusters"][0]["cluster"]["server"].rpartition(":")[2]): name
                 for name, text in self.ill.kubeconfigs.items()}  # fmt: skip
        found = dict.fromkeys(self.ill.kubeconfigs, 0)
        for one in psutil.Process(self.hub.pid).net_connections("tcp"):
            if one.raddr and one.raddr.port in ports:
                found[ports[one.raddr.port]] += 1
        return found


def interval(ratios: Sequence[float], share: float = 0.9, draws: int = 10_000) -> tuple[float, float]:
    """Of the median ratio, by resampling the pairs."""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(draws))
    edge = int((1 - share) / 2 * draws)
    return medians[edge], medians[-edge - 1]


def measure(clusters: int, pairs: int, commits: int, out: Path | None) -> None:
    names = [f"c{number:03}" for number in range(clusters)]
    sick = [name for number, name in enumerate(names) if number % 10 in (1, 4, 7)]
    kept: list[dict[str, Any]] = []
    with scratch() as folder, ExitStack() as parts:
        (folder / "git").mkdir()
        well = parts.enter_context(simulation(*(name for name in names if name not in sick)))
        ill = parts.enter_context(simulation(*sick))
        fleet = Fleet(clusters, folder, well, ill, parts.enter_context(git_host(folder / "git")))
        began = time.monotonic()
        parts.enter_context(running(fleet.hub))
        fleet.hub.until_done(fleet.repo.head() or "", every=1.0, seconds=900)
        progress(f"{clusters} clusters have everything after {time.monotonic() - began:.0f} s")
        fleet.one_commit()
        for number in range(pairs):
            pair: dict[str, Any] = {"health": [], "onset": [], "marked": []}
            for phase in ("health", "onset", "marked"):
                if phase == "onset":
                    fleet.sicken()
                if phase == "marked":
                    fleet.until(len(sick))
                cpu, began = fleet.hub.cpu(), time.monotonic()
                for _ in range(commits):
                    pair[phase] += fleet.one_commit()
                pair[f"{phase}_cpu"] = (fleet.hub.cpu() - cpu) / (time.monotonic() - began)
            pair["sockets"] = fleet.settled_sockets()
            fleet.heal()
            fleet.until(0)
            kept.append(pair)
            progress(f"pair {number + 1}: " + ", ".join(
                f"{phase} p50 {_part(pair[phase], 0.5):.2f} p95 {_part(pair[phase], 0.95):.2f} s"
                for phase in ("health", "onset", "marked")) + f", sockets {pair['sockets']}")  # fmt: skip
            if out is not None:
                out.write_text(json.dumps(kept))
        _show(clusters, kept)


def _part(values: Sequence[float], share: float) -> float:
    return Samples("", list(values)).percentile(share)


def _show(clusters: int, kept: list[dict[str, Any]]) -> None:
    table = Table("isolation", f"Delay of healthy clusters, {clusters} in all, three tenths of them sick")
    for share, goal in ((0.95, 1.1), (0.99, 1.5)):
        in_health = Samples(" s", [_part(pair["health"], share) for pair in kept])
        table.add(f"p{share * 100:g} in health", in_health)
        for phase, words in (("onset", "while calls to the sick hang"), ("marked", "once they are marked unreachable")):
            ratios = [_part(pair[phase], share) / _part(pair["health"], share) for pair in kept]
            low, high = interval(ratios)
            figure = f"{statistics.median(ratios):.2f}x ({low:.2f}-{high:.2f}, 90 %)"
            table.add(f"p{share * 100:g} {words}", figure, f"<= {goal}x", met=low <= goal)
    for phase in ("health", "onset", "marked"):
        table.add(f"CPU of the hub, {phase}", Samples(" of a core", [pair[f"{phase}_cpu"] for pair in kept]))
    table.at_most("connections to a cluster marked unreachable", max(pair["sockets"] for pair in kept), 1)
    table.show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--commits", type=int, default=3, help="of each phase")
    parser.add_argument("--out", type=Path, help="file for the delays")
    given = parser.parse_args()
    measure(given.clusters, given.pairs, given.commits, given.out)


if __name__ == "__main__":
    main()
