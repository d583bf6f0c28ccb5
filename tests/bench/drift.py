"""Drift on a live object to healed, on a real API server; both moments are the server's own (audit log).

The hub heals 500 objects of thirteen kinds, a raw watcher in a process of its own as many; they take turns, one object
after the other, each object once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Samples, Table, progress
from bench.objects import Document, objects
from bench.world import (
    Hub,
    api_server,
    cluster_file,
    fleet_file,
    git_host,
    kubeconfig_of,
    make_repo,
    overlay_files,
    running,
    scratch,
)
from testbed.controlplane import ControlPlane
from testbed.ledger import Mark, Request
from testbed.rest import path_of

PAUSE_SECONDS = 0.15
LABEL = "fleet.internal/installation"
HAND = "testbed-hand"


class Meddler:
    """Somebody who changes objects by hand."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, self.hand = plane, plane.client(user_agent=HAND)

    def field(self, document: Document) -> None:
        self.hand.merge(path_of(document), {"metadata": {"labels": {"value": "drifted"}}})

    def delete(self, document: Document) -> None:
        self.hand.delete(path_of(document), propagationPolicy="Background")

    def take_label(self, document: Document) -> None:
        self.hand.merge(path_of(document), {"metadata": {"labels": {LABEL: None}}})

    def annotate(self, document: Document, number: int) -> None:
        self.hand.merge(path_of(document), {"metadata": {"annotations": {"other.example/seen": str(number)}}})

    def status(self, document: Document, number: int) -> None:
        self.hand.merge(f"{path_of(document)}/status", {"status": {"replicas": number % 3}})


def delays(plane: ControlPlane, since: Mark, healer: str) -> list[float]:
    """Milliseconds from each change by hand to the answered write that healed it; raises on one that never came."""
    requests = plane.ledger(since, user_agent="")
    writes = [request for request in requests if request.is_write and request.code < 300]
    heals: dict[tuple[str, str, str], list[Request]] = {}
    for request in writes:
        if request.user_agent.startswith(healer):
            heals.setdefault((request.resource, request.namespace, request.name), []).append(request)
    found: list[float] = []
    for change in (request for request in writes if request.user_agent == HAND):
        key = (change.resource, change.namespace, change.name)
        if key in heals:
            found.append((min(r.answered for r in heals[key] if r.answered > change.received) - change.answered) * 1000)
    return found


@contextmanager
def raw_watcher(plane: ControlPlane, documents: Sequence[Document]) -> Iterator[None]:
    """The raw watcher over objects that it is given."""
    hands = plane.client()
    bodies = {hands.apply(d, manager="rawloop")["metadata"]["uid"]: (path_of(d), json.dumps(d)) for d in documents}
    told = {"url": plane.url, "ca": str(plane.ca_file), "token": plane.tokens["admin"], "bodies": bodies}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.rawloop"], stdin=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdin
    process.stdin.write(json.dumps(told))
    process.stdin.close()
    time.sleep(3)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(
    plane: ControlPlane, hub: Hub, ours: list[Document], theirs: list[Document], samples: int, table: Table
) -> None:
    meddler = Meddler(plane)
    mark = plane.ledger_mark()
    for number in range(samples):  # interleaved: one of ours, one of theirs
        meddler.field(ours[number])
        time.sleep(PAUSE_SECONDS)
        meddler.field(theirs[number])
        time.sleep(PAUSE_SECONDS)
    time.sleep(1)
    healed, raw = Samples(" ms", delays(plane, mark, "fleet")), Samples(" ms", delays(plane, mark, "rawloop"))
    met = healed.median <= 20 and healed.percentile(0.99) <= 150 and len(healed.values) == samples
    table.add("field changed, to healed", healed.tail(0.99), "p50 <= 20 ms, p99 <= 150 ms", met=met)
    table.add("the same by the raw watcher", raw.tail(0.99))
    table.at_most("p50 over the raw watcher's", healed.median / raw.median, 1.5, "x")
    few = samples // 3
    for what, change, start in (
        ("deleted", meddler.delete, samples),
        ("our label taken", meddler.take_label, samples + few),
    ):
        mark = plane.ledger_mark()
        for document in ours[start : start + few]:
            change(document)
            time.sleep(PAUSE_SECONDS)
        time.sleep(1)
        asked = [r for r in plane.ledger(mark, user_agent="fleet") if r.verb != "watch"]
        table.add(f"{what}, to healed", Samples(" ms", delays(plane, mark, "fleet")).tail(0.99), "one more round trip")
        table.add(f"{what}: requests for each", f"{len(asked) / few:.2f}", "2", met=len(asked) == 2 * few)
    foreign(plane, hub, ours, samples * 5, meddler, table)


def foreign(plane: ControlPlane, hub: Hub, ours: list[Document], count: int, meddler: Meddler, table: Table) -> None:
    """Changes that are nobody's business: status, and other managers' own fields."""
    workloads = [document for document in ours if document["kind"] in ("Deployment", "StatefulSet")]
    mark, cpu = plane.ledger_mark(), hub.cpu()
    for number in range(count // 2):
        meddler.annotate(ours[number % len(ours)], number)
        meddler.status(workloads[number % len(workloads)], number)
    time.sleep(3)
    asked = [request for request in plane.ledger(mark, user_agent="fleet") if request.verb != "watch"]
    table.add(f"{count:,} foreign changes: requests", len(asked), "0", met=not asked)
    table.add(f"{count:,} foreign changes: CPU of the hub", f"{hub.cpu() - cpu:.2f} s")
    progress(f"{count} foreign changes, {[(r.verb, r.resource, r.name) for r in asked[:5]]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    given = parser.parse_args()
    table = Table("drift", "Drift on a live object to healed, real API server")
    with scratch() as folder, api_server() as plane:
        (folder / "git").mkdir()
        with git_host(folder / "git") as git:
            names = [f"b-{uuid.uuid4().hex[:8]}" for _ in range(2)]
            for name in names:
                plane.client().make_namespace(name)
            size = given.samples * 5 // 3 + 40
            ours, theirs = objects(names[0], size), objects(names[1], given.samples)
            files = fleet_file("drift") | cluster_file("real") | overlay_files("shop", ours, clusters=[{"all": True}])
            repo = make_repo(git.root, "drift", files)
            hub = Hub(folder / "hub", git.url(repo))
            hub.give("real", kubeconfig_of(plane))
            with running(hub), raw_watcher(plane, theirs):
                hub.until_done(repo.head() or "")
                time.sleep(2)
                measure(plane, hub, ours, theirs, given.samples, table)
    table.show()


if __name__ == "__main__":
    main()
