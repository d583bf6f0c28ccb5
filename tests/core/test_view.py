"""What the hub knows: newer words replace older ones, and the times tell since when."""

from __future__ import annotations

from typing import Any

from fleet.core.ids import ClusterName, Digest, Revision, UnitName
from fleet.core.status import Health, Report, Sync, UnitReport
from fleet.core.view import Head, View

EU = ClusterName("eu-1")


def unit(name: str, at: float, health: Health = Health.HEALTHY, **more: object) -> UnitReport:
    return UnitReport(UnitName.parse(name), Revision("c"), Digest("b"), Sync.SYNCED, health, at, **more)


def report(sequence: int, *units: UnitReport, epoch: int = 1, **more: Any) -> Report:
    return Report(EU, epoch, sequence, float(sequence), units=units, **{"reachable": True, **more})


def view_with(*reports: Report) -> View:
    view = View(Head("main"))
    for each in reports:
        view.take(each)
    return view


def test_older_repeated_and_overtaken_reports_change_nothing() -> None:
    view = view_with(report(5, unit("web@eu-1", 5.0, Health.DEGRADED)))
    version = view.version
    for stale in (report(5, unit("web@eu-1", 9.0)), report(4, unit("web@eu-1", 9.0)), report(99, epoch=0)):
        assert not view.take(stale)
    assert view.units[UnitName.parse("web@eu-1")].health is Health.DEGRADED
    assert view.version == version
    assert view.take(report(1, epoch=2))


def test_a_delta_keeps_what_it_does_not_mention_and_a_full_report_does_not() -> None:
    view = view_with(report(1, unit("web@eu-1", 1.0), unit("edge@eu-1", 1.0)), report(2, unit("web@eu-1", 2.0)))
    assert set(map(str, view.units)) == {"web@eu-1", "edge@eu-1"}
    view.take(report(3, unit("web@eu-1", 3.0), full=True))
    assert set(map(str, view.units)) == {"web@eu-1"}


def test_a_full_report_leaves_other_clusters_alone() -> None:
    view = view_with(report(1, unit("web@eu-1", 1.0)))
    view.take(Report(ClusterName("us-1"), 1, 1, 1.0, full=True))
    assert set(map(str, view.units)) == {"web@eu-1"}


def test_the_time_of_a_change_stays_while_the_state_stays() -> None:
    name = UnitName.parse("web@eu-1")
    view = view_with(report(1, unit("web@eu-1", 10.0)), report(2, unit("web@eu-1", 20.0)))
    assert view.since[name] == 10.0
    view.take(report(3, unit("web@eu-1", 30.0, Health.DEGRADED)))
    assert view.since[name] == 30.0


def test_a_lost_cluster_was_seen_when_it_was_reached_last() -> None:
    view = view_with(report(7), report(8, reachable=False), report(9, reachable=False))
    assert view.seen_at(EU) == 7.0
    assert view.seen_at(ClusterName("never")) == 0.0


def test_a_detached_unit_and_a_forgotten_cluster_leave_nothing() -> None:
    view = view_with(report(1, unit("web@eu-1", 1.0), unit("edge@eu-1", 1.0)))
    view.take(report(2, unit("web@eu-1", 2.0, detached=True)))
    assert set(map(str, view.units)) == {"edge@eu-1"}
    view.forget(EU)
    books = (view.units, view.clusters, view.since, view.reached, view.vouched, view.unspoken)
    assert books == ({},) * 6


def test_what_is_restored_keeps_its_age() -> None:
    view = View(Head("main"))
    view.restore([report(3)], [unit("web@eu-1", 3.0)])
    assert view.seen_at(EU) == 3.0
    assert view.since[UnitName.parse("web@eu-1")] == 3.0
    assert not view.take(report(3))


def test_what_is_restored_is_as_old_as_the_last_word_of_a_worker_that_had_reported_it() -> None:
    web, edge = UnitName.parse("web@eu-1"), UnitName.parse("edge@eu-1")
    view = View(Head("main"))
    # The worker that beat last began at 50: it had reported web, and of edge an earlier one had.
    view.restore([report(80, began_at=50.0)], [unit("web@eu-1", 60.0), unit("edge@eu-1", 40.0)])
    assert (view.heard_at(web), view.heard_at(edge)) == (80.0, 40.0)
    view.take(report(90, epoch=2, began_at=85.0))
    assert (view.heard_at(web), view.heard_at(edge)) == (80.0, 40.0)
    view.take(report(91, unit("web@eu-1", 91.0), epoch=2, began_at=85.0))
    view.take(report(95, epoch=2, began_at=85.0))
    assert (view.heard_at(web), view.heard_at(edge)) == (95.0, 40.0)


def test_one_worker_after_the_other_that_says_nothing_of_a_unit_makes_it_no_younger() -> None:
    web = UnitName.parse("web@eu-1")
    view = view_with(report(5, unit("web@eu-1", 5.0)), report(20))
    for at in (30, 60, 90):
        view.take(report(at, began_at=float(at)))
        view.take(report(at + 10, began_at=float(at)))
        assert view.heard_at(web) == 20.0


def test_a_cluster_that_was_away_is_no_younger_when_it_is_looked_at_anew() -> None:
    web = UnitName.parse("web@eu-1")
    view = view_with(report(5, unit("web@eu-1", 5.0)), report(20), report(30, reachable=False))
    view.take(report(40, began_at=40.0))
    assert view.heard_at(web) == 20.0


def test_what_is_handed_on_is_as_old_as_what_the_worker_before_knew_of_its_cluster() -> None:
    """A worker believes its watches for a while; its successor does not begin that time anew (R21)."""
    web = UnitName.parse("web@eu-1")
    view = view_with(report(5, unit("web@eu-1", 5.0)), report(140, known_at=20.0))
    assert view.heard_at(web) == 140.0, "its own worker says when it does not know any more"
    restored = View(Head("main"))
    restored.restore(view.clusters.values(), view.units.values())
    assert restored.heard_at(web) == 20.0
    view.take(report(150, began_at=145.0, known_at=150.0))
    assert view.heard_at(web) == 20.0
