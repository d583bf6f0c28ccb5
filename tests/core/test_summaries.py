"""What is kept of a fold is what a fold made anew would say, whatever changed between two looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import lists, sampled_from, tuples

import fleet.core.summaries as summaries
from fleet.core.fleet import Cluster, Fleet, Overlay, Unit
from fleet.core.folded import Folded
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.problems import Origin
from fleet.core.results import Rendered, RenderProblem
from fleet.core.status import Blocker, Health, Report, Standing, Sync, UnitReport
from fleet.core.summaries import cluster_summary, unit_summary, units_by_cluster, units_by_overlay
from fleet.core.view import Head, View

HERE = Origin("fleet.yaml", 1)
C1, C2 = Revision("1" * 40), Revision("2" * 40)
NAMES = [UnitName.parse(text) for text in ("web@eu-1", "edge@eu-1", "web@eu-2")]


def fleet_of(names: list[UnitName]) -> Fleet:
    clusters = {name: Cluster(name, HERE, environment="prod") for name in (ClusterName("eu-1"), ClusterName("eu-2"))}
    overlays = {name: Overlay(OverlayName(name), HERE, name) for name in ("web", "edge")}
    units = {
        name: Unit(name, name.overlay, HERE, (), {}, overlays[name.overlay], clusters[name.cluster]) for name in names
    }
    return Fleet(C1, clusters=clusters, overlays=overlays, units=units)


def report(view: View, name: UnitName, *, began_at: float = 0.0, **more: Any) -> None:
    known = view.clusters.get(name.cluster)
    sequence = known.sequence + 1 if known is not None else 1
    at = 100.0 + sequence
    unit = replace(UnitReport(name, C1, Digest("b"), Sync.SYNCED, Health.HEALTHY, at), **more)
    view.take(Report(name.cluster, 1, sequence, at, began_at=began_at, reachable=True, units=(unit,)))


def hear(view: View, name: UnitName, *, reachable: bool, anew: bool = False) -> None:
    known = view.clusters.get(name.cluster)
    sequence, began = (known.sequence + 1, known.began_at) if known is not None else (1, 0.0)
    message = "" if reachable else "refuses connections"
    began = 100.0 + sequence if anew else began
    at = 100.0 + sequence
    view.take(Report(name.cluster, 1, sequence, at, began_at=began, reachable=reachable, message=message))


def set_result(view: View, name: UnitName, result: Rendered | RenderProblem) -> None:
    view.results = {**view.results, name: result}


def wait(view: View, name: UnitName) -> None:
    view.waits = {} if name in view.waits else {name: Blocker(Standing.WAITS, "fleet", "for its step", 5.0, "", "")}


def leave(view: View, name: UnitName) -> None:
    view.fleet = fleet_of([other for other in NAMES if other != name])


CHANGES: dict[str, Callable[[View, UnitName], None]] = {
    "reports": lambda view, name: report(view, name),
    "reports trouble": lambda view, name: report(view, name, health=Health.DEGRADED, message="exit 1"),
    "beats": lambda view, name: hear(view, name, reachable=True),
    "is looked at anew": lambda view, name: hear(view, name, reachable=True, anew=True),
    "is lost": lambda view, name: hear(view, name, reachable=False),
    "has its result": lambda view, name: set_result(view, name, Rendered(Digest("b"), C2)),
    "has another result": lambda view, name: set_result(view, name, Rendered(Digest("c"), C2)),
    "is not built": lambda view, name: set_result(view, name, RenderProblem("BuildFailed", "no such file", C2)),
    "waits": wait,
    "renders": lambda view, name: setattr(view, "rendering", view.rendering ^ {name}),
    "new head": lambda view, name: setattr(view.head, "commit", C2),
    "leaves": leave,
    "all are back": lambda view, name: setattr(view, "fleet", fleet_of(NAMES)),
}


def everything(view: View, now: float) -> object:
    units = {name: unit_summary(view, name, now) for name in view.entries()}
    groups = units_by_cluster(view)
    assert view.fleet is not None
    clusters = [cluster_summary(view, entry, groups.get(name, ()), now) for name, entry in view.fleet.clusters.items()]
    return units, clusters, groups, units_by_overlay(view)


@given(lists(tuples(sampled_from(sorted(CHANGES)), sampled_from(NAMES), sampled_from([0.0, 30.0, 400.0])), max_size=25))
def test_what_is_kept_is_what_would_be_folded_anew(changes: list[tuple[str, UnitName, float]]) -> None:
    view, now = View(Head("main", C1), fleet_of(NAMES)), 100.0
    for change, name, seconds in changes:
        CHANGES[change](view, name)
        now += seconds
        kept = everything(view, now)
        before, view.folded = view.folded, Folded()
        assert kept == everything(view, now)
        view.folded = before
    assert view.fleet is None or view.folded.units.keys() <= {*view.fleet.units}


def test_what_did_not_change_is_not_folded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    view, folds = View(Head("main", C1), fleet_of(NAMES)), list[str]()
    for name in NAMES:
        report(view, name)
    fold_unit, fold_cluster = summaries.fold_unit, summaries.fold_cluster

    def counted_unit(found: UnitReport, *arguments: object, **options: object) -> object:
        folds.append(str(found.unit))
        return fold_unit(found, *arguments, **options)  # type: ignore[arg-type]

    def counted_cluster(cluster: ClusterName, *arguments: object, **options: object) -> object:
        folds.append(cluster)
        return fold_cluster(cluster, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(summaries, "fold_unit", counted_unit)
    monkeypatch.setattr(summaries, "fold_cluster", counted_cluster)
    everything(view, 110.0)
    assert sorted(folds) == ["edge@eu-1", "eu-1", "eu-2", "web@eu-1", "web@eu-2"]
    folds.clear()
    everything(view, 120.0)
    assert folds == []
    report(view, NAMES[2], health=Health.DEGRADED)
    everything(view, 120.0)
    assert folds == ["web@eu-2", "eu-2"]


@pytest.mark.parametrize("reachable", [False, True], ids=["connecting", "connected"])
def test_a_worker_that_has_said_nothing_of_a_unit_makes_it_no_younger(reachable: bool) -> None:
    """After a restart: what was known is shown for three intervals after it was heard, however often somebody beats."""
    view, name = View(Head("main", C1), fleet_of(NAMES)), NAMES[0]
    report(view, name)  # heard at 101
    for now, shown in ((150.0, Sync.SYNCED), (279.0, Sync.SYNCED), (285.0, Sync.UNKNOWN), (600.0, Sync.UNKNOWN)):
        known = view.clusters[name.cluster]
        view.take(Report(name.cluster, 1, known.sequence + 1, now, began_at=110.0, reachable=reachable))
        found = unit_summary(view, name, now)
        assert (found.sync, found.seen_at) == (shown, 101.0)


def test_a_unit_that_its_worker_has_reported_stays_fresh_by_its_heartbeats() -> None:
    view, name = View(Head("main", C1), fleet_of(NAMES)), NAMES[0]
    report(view, name, began_at=90.0)
    for now in (150.0, 285.0, 600.0):
        known = view.clusters[name.cluster]
        view.take(Report(name.cluster, 1, known.sequence + 1, now, began_at=90.0, reachable=True))
        found = unit_summary(view, name, now)
        assert (found.sync, found.seen_at) == (Sync.SYNCED, now)
