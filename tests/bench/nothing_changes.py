"""Nothing changes: 100 simulated clusters of 100 objects each, hub and clusters in processes of their own.

The hub polls Git as it does by default. Requests are the simulated servers' ledger; CPU is the hub's with all children.
With --restart the hub is then stopped, one change of each kind is made, and it is started again.
"""

from __future__ import annotations

import argparse
import json
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.figures import Samples, Table, progress
from bench.objects import Document, namespace_of, objects
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
from testbed.rest import path_of

OVERLAYS = 5
NAMESPACE = "shop"
LABEL = "fleet.internal/installation"


def overlay(number: int, each: int, value: str = "1") -> dict[str, Content]:
    found: list[Document] = objects(NAMESPACE, each, prefix=f"o{number}")
    found[0]["data"]["value"] = value
    return overlay_files(
        f"o{number}", [namespace_of(NAMESPACE), *found] if number == 0 else found, clusters=[{"all": True}]
    )


def fleet_repo(names: Sequence[str], each: int) -> dict[str, Content]:
    files: dict[str, Content] = dict(fleet_file("bench"))
    for name in names:
        files |= cluster_file(name)
    for number in range(OVERLAYS):
        files |= overlay(number, each)
    return files


def stand_still(sim: Simulated, hub: Hub, minutes: int, table: Table) -> None:
    """Minute by minute, so that a proof list shows in its minute alone."""
    cpu, requests = Samples(" %"), Samples()
    renewals, all_sorts = 0, Counter[str]()
    for minute in range(minutes):
        marks, spent, began = sim.marks(), hub.cpu(), time.monotonic()
        time.sleep(60)
        cpu.add((hub.cpu() - spent) / (time.monotonic() - began) * 100)
        seen = sim.since(marks)
        sorts = Counter(entry["verb"] for entry in seen)
        renewals += sorts.pop("watch", 0)
        requests.add(sum(sorts.values()))
        all_sorts += sorts
        progress(f"minute {minute + 1}: {dict(sorts)}, CPU {cpu.values[-1]:.2f} %")
    shown = f"{requests}; in all {dict(all_sorts)} and {renewals} watch renewals in {minutes} minutes"
    table.add(
        "requests a minute but watch renewals", shown, "0 and counted proof lists", met=set(all_sorts) <= {"list"}
    )
    table.at_most("CPU of the hub, with polls of Git, of one core", cpu, 1)
    found = hub.memory()
    table.add("memory of the hub; with workers", f"{found.hub:.0f} MB; {found.whole:.0f} MB")


class Hand:
    """Somebody with the admin's rights on one simulated cluster."""

    def __init__(self, kubeconfig: str) -> None:
        config = json.loads(kubeconfig)
        cluster = config["clusters"][0]["cluster"]
        self.url, self.token = cluster["server"], config["users"][0]["user"]["token"]
        self.trust = ssl.create_default_context()
        self.trust.check_hostname, self.trust.verify_mode = False, ssl.CERT_NONE

    def send(self, method: str, path: str, patch: Any = None) -> None:
        body = json.dumps(patch).encode() if patch is not None else None
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/merge-patch+json"}
        request = urllib.request.Request(self.url + path, body, {**headers, "User-Agent": "hand"}, method=method)
        with urllib.request.urlopen(request, context=self.trust, timeout=10) as answer:
            answer.read()


def change_while_down(sim: Simulated, repo: GitRepo, names: Sequence[str], each: int) -> tuple[str, int]:
    """One change of each kind; returns the new commit and how many writes they deserve."""
    paths = {document["kind"]: path_of(document) for document in objects(NAMESPACE, each, prefix="o1")}
    hand = Hand(sim.kubeconfigs[names[0]])
    hand.send("PATCH", paths["Service"], {"metadata": {"labels": {"value": "drifted"}}})
    hand.send("DELETE", paths["Role"])
    hand.send("PATCH", paths["Secret"], {"metadata": {"labels": {LABEL: None}}})
    hand.send("PATCH", paths["Ingress"], {"metadata": {"annotations": {"other.example/seen": "1"}}})
    hand.send("PATCH", paths["NetworkPolicy"], {"spec": {"policyTypes": ["Ingress", "Egress"]}})
    commit = repo.commit(overlay(4, each, "2"), "while the hub was down")
    # field drift, deletion, lost label and a list that others extended; the annotation is nobody's business
    return commit, 4 + len(names)


def restart(
    sim: Simulated, hub: Hub, repo: GitRepo, names: Sequence[str], each: int, rounds: int, table: Table
) -> None:
    """Without any change, then with one of each kind."""
    seconds, cpu = Samples(" s"), Samples(" s")
    for number in range(rounds):
        hub.stop()
        marks, counted = sim.marks(), len(hub.counts())
        last = number == rounds - 1
        commit, deserved = change_while_down(sim, repo, names, each) if last else (repo.head() or "", 0)
        if last:
            marks = sim.marks()
        began = time.monotonic()
        hub.start()
        hub.until_done(commit, every=0.2)
        time.sleep(5)
        seconds.add(time.monotonic() - began - 5)
        cpu.add(hub.cpu())
        seen = sim.since(marks)
        writes = [entry for entry in seen if is_own_write(entry)]
        renders = hub.counts()[counted:].count("render")
        watches = [entry for entry in seen if entry["verb"] == "watch"]
        resumed = sum(1 for entry in watches if entry["query"].get("resourceVersion", "0") not in ("", "0"))
        sorts = Counter(entry["verb"] for entry in seen if not is_own_write(entry) and entry["verb"] != "watch")
        case = "with one change of each kind" if last else "nothing changed"
        if last or number == 0:
            table.add(f"restart, {case}: renders", renders, str(int(last)), met=renders == int(last))
            table.add(f"restart, {case}: applies", len(writes), str(deserved), met=len(writes) == deserved)
            met = resumed == len(watches) and "list" not in sorts
            table.add(
                f"restart, {case}: watches resumed; other requests",
                f"{resumed} of {len(watches)}; {dict(sorts)}",
                "all",
                met=met,
            )
        progress(
            f"restart {number + 1}: {seconds.values[-1]:.1f} s, {renders} renders, {len(writes)} writes, {dict(sorts)}"
        )
    table.add("restart: start to all clusters Synced at the head; CPU", f"{seconds}; {cpu}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=7)
    parser.add_argument("--restarts", type=int, default=7)
    parser.add_argument("--patience", type=int, default=900)
    given = parser.parse_args()
    names = [f"c{number:03}" for number in range(given.clusters)]
    each = given.objects // OVERLAYS
    size = f"{given.clusters} simulated clusters x {given.objects} objects"
    with scratch() as folder, simulation(*names) as sim:
        (folder / "git").mkdir()
        with git_host(folder / "git") as git:
            repo = make_repo(git.root, "fleet", fleet_repo(names, each))
            hub = Hub(folder / "hub", git.url(repo))
            for name in names:
                hub.give(name, sim.kubeconfigs[name].encode())
            with running(hub):
                began = time.monotonic()
                hub.until_done(repo.head() or "", every=1, seconds=given.patience)
                progress(f"everywhere after {time.monotonic() - began:.1f} s, {hub.cpu():.1f} CPU s")
                time.sleep(20)
                if given.minutes:
                    still = Table("nothing_changes", f"Nothing changes: {size}")
                    stand_still(sim, hub, given.minutes, still)
                    still.show()
                if given.restarts:
                    again = Table("hub_restart", f"Hub restart: {size}")
                    restart(sim, hub, repo, names, each, given.restarts, again)
                    again.show()


if __name__ == "__main__":
    main()
