"""`fleet demo --script`: a good change, a drift, a crashing one that is taken back, a broken one; judged by ledgers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.status import Health
from fleet.values import dataclass, field

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
    await _crash(demo, ledger, checks)
    await _broken(demo, ledger, checks)
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
    demo.say('\nA good change: "web: 1.7.5", environment by environment, one cluster first')
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
    await demo.until("its rollout is done", lambda: _outcome(demo, commit) == "done", 30)
    checks.that(True, "its rollout passed all steps")


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


async def _crash(demo: Demo, ledger: _Ledger, checks: _Checks) -> None:
    demo.say('\nA bad commit: "web: 1.8.0" crashes at its start; its overlay says onFailure: rollback')
    ledger.mark()
    _edit(demo, "newTag: 1.7.5", "newTag: crash")
    _ask_for_rollback(demo)
    commit = demo.commit("web: 1.8.0")
    took = await demo.until("the rollout is taken back", lambda: _outcome(demo, commit) == "rolled back", 120)
    ended = next(one.ended for one in demo.hub.view.passages.all if one.commit == commit)
    message = ended.reason if ended is not None else ""
    checks.that("crash" in message, f"stopped after {took:.1f} s, with the cause: {message}")
    hit = {entry.cluster for entry in ledger.writes() if entry.resource == "deployments"}
    checks.that(len(hit) == 1, f"{len(hit)} of {len(demo.sim.clusters)} clusters is hit: {', '.join(sorted(hit))}")
    took = await demo.until("all Healthy on 1.7.5 again", lambda: _all_on(demo, ":1.7.5"), 60)
    checks.that(True, f"taken back by itself, all {len(demo.sim.clusters)} are Healthy on 1.7.5 after {took:.1f} s")
    again = demo.commit("the same once more", "--allow-empty")
    await demo.until("the same result is known", lambda: _is_taken(demo, again), 60)
    waits = [demo.hub.view.waits.get(unit) for unit in _web_units(demo)]
    kept_away = all(link is not None and "was taken back" in link.reason for link in waits)
    checks.that(kept_away and _all_on(demo, ":1.7.5"), "under another commit the same result does not come back either")


def _ask_for_rollback(demo: Demo) -> None:
    path = demo.repo / f"overlays/{OVERLAY}/overlay.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "  rollout: {onFailure: rollback}\n", encoding="utf-8")


def _outcome(demo: Demo, commit: str) -> str:
    return next((one.outcome for one in demo.hub.view.passages.all if one.commit == commit), "")


def _is_taken(demo: Demo, commit: str) -> bool:
    view = demo.hub.view
    return view.fleet is not None and view.fleet.commit == commit and not view.rendering and bool(view.waits)


def _all_on(demo: Demo, tag: str) -> bool:
    """Whether web runs with this tag on every cluster, Healthy."""
    reports = [demo.hub.view.units.get(unit) for unit in _web_units(demo)]
    healthy = all(one is not None and one.health is Health.HEALTHY for one in reports)
    return healthy and all(_image(demo, name).endswith(tag) for name in demo.sim.clusters)


def _image(demo: Demo, cluster: str) -> str:
    from fleet.core.documents import documents_at, text_at

    live = demo.sim.cluster(cluster).get("apps", "Deployment", "shop", "web") or {}
    return next((text_at(one, "image") for one in documents_at(live, "spec", "template", "spec", "containers")), "")


async def _broken(demo: Demo, ledger: _Ledger, checks: _Checks) -> None:
    demo.say('\nAnother one: "tidy" names a file that does not exist')
    ledger.mark()
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
