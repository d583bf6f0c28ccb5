"""`fleet demo --script`: a commit, a drift, a bad commit that stops at one cluster, its revert; judged by ledgers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.passage import Stop
from fleet.core.status import Health

if TYPE_CHECKING:
    from fleet.cli.stage import Demo
    from fleet.sim.ledger import Entry

QUIET_SECONDS = 5.0
KUSTOMIZATION = "overlays/web/base/kustomization.yaml"
OVERLAY = OverlayName("web")


@dataclass(slots=True)
class _Ledger:
    """What was asked of all clusters since the last look, the simulation's own writers aside."""

    demo: Demo
    seen: dict[str, int] = field(default_factory=dict[str, int])

    def mark(self) -> None:
        """Count from here."""
        self.seen = {name: cluster.ledger.sequence for name, cluster in self.demo.sim.clusters.items()}

    def entries(self) -> list[Entry]:
        """All requests of the hub since the mark."""
        return [
            entry
            for name, cluster in self.demo.sim.clusters.items()
            for entry in cluster.ledger.since(self.seen.get(name, 0))
            if entry.agent.startswith("fleet/")
        ]

    def writes(self) -> list[Entry]:
        """Writes of units' own objects: dry-runs and the parents' summaries aside."""
        return [entry for entry in self.entries() if entry.writes and entry.namespace != "fleet-system"]


@dataclass(slots=True)
class _Checks:
    """Claims and whether they held."""

    demo: Demo
    failed: int = 0

    def that(self, holds: bool, claim: str) -> None:
        """Print one claim."""
        self.failed += not holds
        self.demo.say(f"  {'ok  ' if holds else 'FAIL'}  {claim}")


async def tell(demo: Demo) -> int:
    """Play the story; 0 when every claim held."""
    ledger, checks = _Ledger(demo), _Checks(demo)
    await _quiet(demo, ledger, checks)
    await _commit(demo, ledger, checks)
    await _drift(demo, ledger, checks)
    await _bad_commits(demo, ledger, checks)
    _summary(demo, checks)
    return 1 if checks.failed else 0


async def _quiet(demo: Demo, ledger: _Ledger, checks: _Checks) -> None:
    demo.say(f"\nNothing changes for {QUIET_SECONDS:g} s")
    ledger.mark()
    await asyncio.sleep(QUIET_SECONDS)
    busy = Counter(entry.verb for entry in ledger.entries() if entry.verb != "watch")
    checks.that(not busy, f"no cluster is asked for anything but watches{f' {dict(busy)}' if busy else ''}")


def _web_units(demo: Demo) -> list[UnitName]:
    return [UnitName(OVERLAY, ClusterName(name)) for name in demo.sim.clusters]


def _edit(demo: Demo, old: str, new: str) -> None:
    path = demo.repo / KUSTOMIZATION
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{KUSTOMIZATION} of the example holds no {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")


async def _commit(demo: Demo, ledger: _Ledger, checks: _Checks) -> None:
    demo.say('\nA commit: "web: 1.7.5"')
    ledger.mark()
    _edit(demo, "newTag: 1.7.4", "newTag: 1.7.5")
    commit = demo.commit("web: 1.7.5")
    took = await demo.until("web 1.7.5 on all clusters", lambda: demo.is_everywhere(commit), 120)
    writes = Counter((entry.cluster, entry.resource, entry.name) for entry in ledger.writes())
    clusters = set(demo.sim.clusters)
    checks.that(
        writes == Counter({(name, "deployments", "web"): 1 for name in clusters}),
        f"exactly one write on each of {len(clusters)} clusters, Deployment shop/web; all Healthy after {took:.1f} s",
    )


async def _drift(demo: Demo, ledger: _Ledger, checks: _Checks) -> None:
    name = next(iter(demo.sim.clusters))
    cluster = demo.sim.cluster(name)
    demo.say(f"\nA drift: somebody takes the selector of Service shop/web away on {name}")
    before = cluster.get("", "Service", "shop", "web")
    ledger.mark()
    cluster.drift("", "Service", "shop", "web", {"spec": {"selector": None}})

    def healed() -> bool:
        live = cluster.get("", "Service", "shop", "web")
        return live is not None and before is not None and _selector(live) == _selector(before)

    took = await demo.until("the drift healed", healed, 30)
    writes = ledger.writes()
    checks.that(len(writes) == 1 and writes[0].cluster == name, f"healed by one write after {took * 1000:.0f} ms")


def _selector(service: object) -> object:
    from fleet.core.documents import at

    return at(service, "spec", "selector")  # pyright: ignore[reportArgumentType]


async def _bad_commits(demo: Demo, ledger: _Ledger, checks: _Checks) -> None:
    demo.say('\nA bad commit: "web: 1.8.0" crashes at its start')
    ledger.mark()
    _edit(demo, "newTag: 1.7.5", "newTag: crash")
    demo.commit("web: 1.8.0")

    def halted() -> Stop | None:
        return next((passage.halted for passage in demo.hub.view.passages.all if passage.halted is not None), None)

    took = await demo.until("the rollout halted", lambda: halted() is not None, 120)
    stop = halted()
    message = stop.reason if stop is not None else ""
    checks.that("crash" in message, f"halted after {took:.1f} s, with the cause: {message}")
    hit = {entry.cluster for entry in ledger.writes() if entry.resource == "deployments"}
    checks.that(len(hit) == 1, f"{len(hit)} of {len(demo.sim.clusters)} clusters is hit: {', '.join(sorted(hit))}")
    others = [demo.hub.view.units.get(unit) for unit in _web_units(demo) if unit.cluster not in hit]
    well = all(report is not None and report.health is Health.HEALTHY for report in others)
    checks.that(well, "all others are Healthy on 1.7.5 and wait")
    demo.say('\nAnother one: "tidy" names a file that does not exist')
    _edit(demo, "newTag: crash", "newTag: 1.7.5")
    _edit(demo, "  - service.yaml", "  - servise.yaml")
    broken = demo.commit("tidy")
    await demo.until("the broken commit is judged", lambda: _is_refused(demo, broken), 60)
    refused = demo.hub.view.results[_web_units(demo)[0]]
    checks.that("servise.yaml" in getattr(refused, "message", ""), f"refused: {getattr(refused, 'message', '')}")
    deleted = [entry for entry in ledger.entries() if entry.verb in ("delete", "deletecollection")]
    checks.that(not deleted, "nothing was deleted anywhere")
    demo.say("\nThe remedy: one more commit")
    _edit(demo, "  - servise.yaml", "  - service.yaml")
    commit = demo.commit("web: back to 1.7.5")
    took = await demo.until("all clusters Healthy again", lambda: demo.is_everywhere(commit), 120)
    checks.that(True, f"everywhere Synced and Healthy after {took:.1f} s")


def _is_refused(demo: Demo, commit: str) -> bool:
    view = demo.hub.view
    return (
        view.head.commit == commit
        and not view.rendering
        and all(hasattr(view.results.get(unit), "reason") for unit in _web_units(demo))
    )


def _summary(demo: Demo, checks: _Checks) -> None:
    counts: Counter[str] = Counter()
    for cluster in demo.sim.clusters.values():
        for entry in cluster.ledger:
            if entry.agent.startswith("fleet/"):
                counts[f"{entry.verb} (dry-run)" if entry.dry_run else entry.verb] += 1
    objects = sum(len(report.objects) for report in demo.hub.view.units.values())
    verbs = ", ".join(f"{verb} {count}" for verb, count in sorted(counts.items()))
    demo.say(
        f"\nFrom the ledgers of {len(demo.sim.clusters)} clusters, {objects} objects: {verbs}\n"
        f"{'All claims held' if not checks.failed else f'{checks.failed} claims did not hold'}, "
        f"{time.strftime('%H:%M:%S')}"
    )
