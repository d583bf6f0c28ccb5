"""Two fleets on a real API server: one unit of 500 objects, and 100 units of 10 objects with a merge patch each.

First sync with a fresh hub a round, a one-line commit in it; then both stand still for some minutes. Beside them, in
the same round: the build alone, and the raw loop over the same objects. Times are the API server's own (audit log).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Samples, Table, progress, ratio
from bench.first_sync import WIDE, count
from bench.objects import Document, objects, ready_made
from bench.processes import own_cpu
from bench.rawloop import apply_all
from bench.world import (
    Hub,
    api_server,
    clear,
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
from testbed.gitrepo import Content, GitRepo
from testbed.gitserver import GitHttpServer
from testbed.ledger import Request

CLUSTER = "real"
TOLD_SECONDS = 0.4  # after the first sync or a commit, before anybody asks the hub


@dataclass
class Shape:
    """A fleet by its measures. `patched`: each overlay has one merge patch."""

    name: str
    units: int
    each: int
    patched: bool

    def overlay(self, number: int, namespace: str, value: str) -> dict[str, Content]:
        prefix = f"u{number}"
        found = objects(namespace, self.each, prefix=prefix)
        found[0]["data"]["value"] = value
        patches: dict[str, dict[str, Any]] = {}
        if self.patched:
            labels = {"labels": {"patched": f"p{number}"}}
            container = {"name": "app", "env": [{"name": "REGION", "value": f"region-{number}"}]}
            pod = {"metadata": labels, "spec": {"containers": [container]}}
            name = f"{prefix}-4"
            patch = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}}
            patches["patch.yaml"] = {**patch, "spec": {"template": pod}}
        return overlay_files(f"u{number}", found, clusters=[{"all": True}], patches=patches)

    def everything(self, namespace: str) -> list[Document]:
        return [found for number in range(self.units) for found in objects(namespace, self.each, prefix=f"u{number}")]


@dataclass
class Figures:
    """What is measured of one shape."""

    first: Samples = field(default_factory=lambda: Samples(" s"))
    first_cpu: Samples = field(default_factory=lambda: Samples(" s"))
    first_writes: Samples = field(default_factory=Samples)
    first_told: Samples = field(default_factory=lambda: Samples(" s"))
    raw: Samples = field(default_factory=lambda: Samples(" s"))
    build: Samples = field(default_factory=lambda: Samples(" s"))
    build_cpu: Samples = field(default_factory=lambda: Samples(" s"))
    commit: Samples = field(default_factory=lambda: Samples(" s"))
    commit_told: Samples = field(default_factory=lambda: Samples(" s"))
    commit_cpu: Samples = field(default_factory=lambda: Samples(" s"))
    commit_writes: Samples = field(default_factory=Samples)
    commit_renders: Samples = field(default_factory=Samples)
    memory: Samples = field(default_factory=lambda: Samples(" MB"))
    whole: Samples = field(default_factory=lambda: Samples(" MB"))
    idle_cpu: Samples = field(default_factory=lambda: Samples(" s"))
    idle_requests: Samples = field(default_factory=Samples)
    sorts: str = ""


@dataclass
class Place:
    """One round's repo and hub for a shape."""

    shape: Shape
    plane: ControlPlane
    folder: Path
    git: GitHttpServer
    namespace: str = field(default_factory=lambda: f"b-{uuid.uuid4().hex[:8]}")
    repo: GitRepo = field(init=False)
    hub: Hub = field(init=False)

    def __post_init__(self) -> None:
        name = f"{self.shape.name}-{self.namespace}"
        self.plane.client().make_namespace(self.namespace)
        self.repo = make_repo(self.git.root, name, {**fleet_file(name), **cluster_file(CLUSTER)})
        self.hub = Hub(self.folder / name, self.git.url(self.repo))
        self.hub.give(CLUSTER, kubeconfig_of(self.plane))

    def own(self, requests: Sequence[Request]) -> list[Request]:
        return [request for request in requests if request.is_write and request.namespace == self.namespace]

    def first_sync(self, figures: Figures) -> None:
        """Commit everything, ring, and read the ledger once all is applied."""
        time.sleep(1.5)  # the hub has read the empty repo and met the cluster
        files: dict[str, Content] = {}
        for number in range(self.shape.units):
            files |= self.shape.overlay(number, self.namespace, "1")
        commit = self.repo.commit(files)
        mark, cpu = self.plane.ledger_mark(), self.hub.cpu()
        asked = self.hub.ring()
        while len(self.own(self.plane.ledger(mark, user_agent="fleet"))) < self.shape.units * self.shape.each:
            time.sleep(1)  # the server is looked at: what asks the hub costs the hub
        told = self.hub.until_done(commit, every=0.2)
        figures.first_cpu.add(self.hub.cpu() - cpu)
        requests = self.plane.ledger(mark, user_agent="fleet")
        wrote = self.own(requests)
        figures.first.add(max(request.answered for request in wrote) - asked)
        figures.first_told.add(told - asked)
        figures.first_writes.add(len(wrote))
        figures.sorts = ", ".join(f"{number} {sort}" for sort, number in sorted(count(requests).items()))

    def one_line(self, figures: Figures, turn: int) -> None:
        """Change one line of one overlay."""
        number = turn * 7 % self.shape.units
        files = self.shape.overlay(number, self.namespace, str(turn + 2))
        commit = self.repo.commit(files)
        mark, cpu, counted = self.plane.ledger_mark(), self.hub.cpu(), len(self.hub.counts())
        asked = self.hub.ring()
        time.sleep(TOLD_SECONDS)
        told = self.hub.until_done(commit, every=0.02)
        figures.commit_cpu.add(self.hub.cpu() - cpu)
        wrote = self.own(self.plane.ledger(mark, user_agent="fleet"))
        figures.commit.add(wrote[0].answered - asked)
        figures.commit_told.add(told - asked)
        figures.commit_writes.add(len(wrote))
        figures.commit_renders.add(self.hub.counts()[counted:].count("render"))


def build_alone(shape: Shape, folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of kustomize on one overlay of this shape, as a person runs it."""
    for path, content in shape.overlay(0, "shop", "1").items():
        file = folder / "alone" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(content))
    overlay = folder / "alone" / "overlays" / "u0"
    cpu, began = own_cpu(), time.perf_counter()
    program, environment = str(binaries.find("kustomize")), {"GOGC": "400", "PATH": os.environ["PATH"]}
    subprocess.run([program, "build", str(overlay)], env=environment, check=True, capture_output=True)
    return time.perf_counter() - began, own_cpu() - cpu


def raw_loop(shape: Shape, plane: ControlPlane) -> float:
    """Seconds of the raw loop over the same objects."""
    namespace = f"b-{uuid.uuid4().hex[:8]}"
    plane.client().make_namespace(namespace)
    documents = shape.everything(namespace)
    work = ready_made(documents)
    began = time.perf_counter()
    asyncio.run(apply_all(plane.url, plane.trust, plane.tokens["admin"], work, WIDE))
    taken = time.perf_counter() - began
    clear(plane, documents)
    return taken


def one_round(shape: Shape, figures: Figures, plane: ControlPlane, git: GitHttpServer, folder: Path) -> None:
    seconds, cpu = build_alone(shape, folder)
    figures.build.add(seconds)
    figures.build_cpu.add(cpu)
    figures.raw.add(raw_loop(shape, plane))
    place = Place(shape, plane, folder, git)
    with running(place.hub):
        place.first_sync(figures)
        for turn in range(3):
            place.one_line(figures, turn)
        found = place.hub.memory()
        figures.memory.add(found.hub)
        figures.whole.add(found.whole)
    clear(plane, shape.everything(place.namespace))


def stand_still(
    shapes: Sequence[tuple[Shape, Figures]], plane: ControlPlane, git: GitHttpServer, folder: Path, minutes: int
) -> None:
    """Both hubs at once, minute by minute; polls of Git go on as configured by default."""
    with ExitStack() as stack:
        places = [(Place(shape, plane, folder, git), figures) for shape, figures in shapes]
        for place, _ in places:
            stack.enter_context(running(place.hub))
            place.first_sync(Figures())
        time.sleep(10)
        for minute in range(minutes):
            mark = plane.ledger_mark()
            before = [place.hub.cpu() for place, _ in places]
            time.sleep(60)
            requests = plane.ledger(mark, user_agent="fleet")
            asked = [request for request in requests if request.verb != "watch"]
            for (place, figures), cpu in zip(places, before, strict=True):
                figures.idle_cpu.add(place.hub.cpu() - cpu)
                figures.idle_requests.add(len(asked))
            progress(f"minute {minute + 1}: {len(asked)} requests, CPU {[f.idle_cpu.values[-1] for _, f in places]}")


def judge(shape: Shape, figures: Figures, table: Table) -> None:
    what = f"{shape.units} x {shape.each}"
    every = shape.units * shape.each
    thrice = Samples(" s", [figures.build.values[number // 3] for number in range(len(figures.commit.values))])
    if shape.units == 1:
        allowed = [b + 1.2 * r for b, r in zip(figures.build.values, figures.raw.values, strict=True)]
        table.at_most(
            f"{what}: commit to all applied / (build + 1.2 raw loop)", ratio(figures.first, Samples("", allowed)), 1
        )
        table.at_most(f"{what}: one-line commit to applied / build alone", ratio(figures.commit, thrice), 1.3)
    else:
        table.at_most(f"{what}: first sync, CPU with builds", figures.first_cpu, 6)
        table.at_most(f"{what}: one-line commit to applied", figures.commit, 0.3)
        table.at_most(f"{what}: one-line commit, all units at the commit", figures.commit_told, 1)
    table.exactly(f"{what}: first sync, writes", figures.first_writes, every)
    table.exactly(f"{what}: one-line commit, writes", figures.commit_writes, 1)
    table.exactly(f"{what}: one-line commit, renders", figures.commit_renders, 1)
    table.at_most(f"{what}: memory of the hub", figures.memory, 120)
    table.at_most(f"{what}: memory with render workers", figures.whole, 200)
    table.add(f"{what}: first sync, commit to all applied; all reported", f"{figures.first}; {figures.first_told}")
    table.add(f"{what}: first sync, CPU; requests", f"{figures.first_cpu}; {figures.sorts}")
    table.add(f"{what}: raw loop; build of one overlay, CPU", f"{figures.raw}; {figures.build}, {figures.build_cpu}")
    table.add(
        f"{what}: one-line commit to applied; all at it; CPU",
        f"{figures.commit}; {figures.commit_told}; {figures.commit_cpu}",
    )
    if figures.idle_cpu.values:
        table.exactly(f"{what}: idle minute, requests (both fleets)", figures.idle_requests, 0)
        table.at_most(f"{what}: idle minute, CPU with polls of Git", figures.idle_cpu, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=int, default=7)
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--units", type=int, default=100)
    given = parser.parse_args()
    shapes = [(Shape("one", 1, given.objects, False), Figures()), (Shape("many", given.units, 10, True), Figures())]
    with scratch() as folder, api_server() as plane:
        (folder / "git").mkdir()
        with git_host(folder / "git") as git:
            for number in range(given.rounds):
                for shape, figures in shapes:
                    one_round(shape, figures, plane, git, folder)
                last = [f"{f.first.values[-1]:.2f} s, {f.first_cpu.values[-1]:.2f} CPU s" for _, f in shapes]
                progress(f"round {number + 1}: first {last}")
            if given.minutes:
                stand_still(shapes, plane, git, folder, given.minutes)
    table = Table("two_fleets", "Two fleets on a real API server")
    for shape, figures in shapes:
        judge(shape, figures, table)
    table.show()


if __name__ == "__main__":
    main()
