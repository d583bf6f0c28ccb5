"""From reports to what is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import builds, floats, integers, lists, sampled_from

from fleet.core.field_diff import FieldDrift
from fleet.core.fold import (
    Age,
    UnitSummary,
    chain_of,
    fold_cluster,
    fold_fleet,
    fold_unit,
    judge_age,
    seen_ago,
    worst_health,
    worst_sync,
)
from fleet.core.ids import ClusterName, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.status import Blocker, Health, ObjectStatus, Report, Standing, Sync, UnitReport

NOW = 1_000_000.0
HEAD, OLD = Revision("3f9c1ab" + "0" * 33), Revision("9e02d41" + "0" * 33)


def unit_name(overlay: str = "web", cluster: str = "eu-1") -> UnitName:
    return UnitName(OverlayName(overlay), ClusterName(cluster))


def unit_report(overlay: str = "web", **changes: Any) -> UnitReport:
    facts: dict[str, Any] = {"sync": Sync.SYNCED, "health": Health.HEALTHY, "observed_at": NOW - 2, "commit": HEAD}
    return UnitReport(unit_name(overlay), bundle=None, **{**facts, **changes})


def unit(overlay: str = "web", **changes: Any) -> UnitSummary:
    return fold_unit(unit_report(overlay, **changes), NOW)


def report(**changes: Any) -> Report:
    facts: dict[str, Any] = {"at": NOW - 2, "reachable": True}
    return Report(ClusterName("eu-1"), 1, 1, **{**facts, **changes})


def cluster(*units: UnitSummary, name: str = "eu-1", environment: str = "prod", **changes: Any):
    said = changes["report"] if "report" in changes else report(**changes)
    return fold_cluster(ClusterName(name), environment, said, units, NOW, head=HEAD)


def blocker(state: Standing, reason: str = "r", since: float = 1.0, **more: Any) -> Blocker:
    return Blocker(state, "unit web@eu-1", reason, since, **more)


@given(age=floats(0, 1000), interval=floats(1, 300))
def test_a_report_is_unknown_after_three_missed_intervals_and_not_before(age: float, interval: float) -> None:
    expected = Age.UNKNOWN if NOW - (NOW - age) > 3 * interval else Age.FRESH
    assert judge_age(NOW - age, NOW, interval) is expected


def test_a_clock_ahead_is_fresh_and_no_report_is_unknown() -> None:
    assert judge_age(NOW + 50, NOW) is Age.FRESH
    assert judge_age(0.0, NOW) is Age.UNKNOWN
    assert judge_age(NOW - 180, NOW) is Age.FRESH
    assert judge_age(NOW - 181, NOW) is Age.UNKNOWN


def test_known_trouble_stands_before_what_is_not_known() -> None:
    assert worst_health([Health.UNKNOWN, Health.DEGRADED, Health.HEALTHY]) is Health.DEGRADED
    assert worst_health([Health.UNKNOWN, Health.PROGRESSING]) is Health.UNKNOWN
    assert worst_sync([Sync.UNKNOWN, Sync.OUT_OF_SYNC]) is Sync.OUT_OF_SYNC
    assert worst_sync([Sync.UNKNOWN, Sync.SYNCED]) is Sync.UNKNOWN
    assert (worst_sync([]), worst_health([])) == (Sync.SYNCED, Health.HEALTHY)


@given(lists(sampled_from(Health)), sampled_from(Health))
def test_unknown_is_never_folded_into_healthy(found: list[Health], more: Health) -> None:
    assert (worst_health([*found, Health.UNKNOWN]) is Health.HEALTHY) is False
    assert worst_health([*found, more]) in (worst_health(found), more)


def conditions(summary: UnitSummary) -> dict[str, str]:
    return {found.type: found.status for found in summary.conditions}


@pytest.mark.parametrize(
    ("summary", "ready", "reconciling", "stalled"),
    [
        (unit(), "True", "False", "False"),
        (unit(health=Health.SUSPENDED), "True", "False", "False"),
        (unit(health=Health.PROGRESSING), "False", "True", "False"),
        (unit(sync=Sync.OUT_OF_SYNC), "False", "True", "False"),
        (unit(health=Health.DEGRADED), "False", "False", "False"),
        (unit(health=Health.UNKNOWN), "Unknown", "False", "False"),
        (unit(sync=Sync.UNKNOWN), "Unknown", "False", "False"),
        (unit(sync=Sync.OUT_OF_SYNC, blocked_by=(blocker(Standing.HELD),)), "False", "False", "True"),
        (unit(sync=Sync.OUT_OF_SYNC, blocked_by=(blocker(Standing.SUSPENDED),)), "False", "False", "False"),
        (unit(blocked_by=(blocker(Standing.WAITS),)), "True", "False", "False"),
        (unit(observed_at=NOW - 1000), "Unknown", "False", "False"),
    ],
)
def test_conditions_say_ready_reconciling_and_stalled(summary, ready: str, reconciling: str, stalled: str) -> None:
    assert conditions(summary) == {"Ready": ready, "Reconciling": reconciling, "Stalled": stalled}


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = fold_unit(unit_report(), NOW)
    later = fold_unit(unit_report(observed_at=NOW + 10), NOW + 10, before=first.conditions)
    assert [found.since for found in later.conditions] == [NOW] * 3
    broken = fold_unit(unit_report(health=Health.DEGRADED), NOW + 20, before=later.conditions)
    assert {found.type: found.since for found in broken.conditions} == {
        "Ready": NOW + 20,
        "Reconciling": NOW,
        "Stalled": NOW,
    }


def test_an_old_report_says_unknown_and_what_it_was() -> None:
    summary = unit(observed_at=NOW - 840)
    assert (summary.sync, summary.health, summary.was) == (Sync.UNKNOWN, Health.UNKNOWN, "Synced, Healthy")
    assert summary.message.endswith("was Synced, Healthy")
    fresh = fold_unit(unit_report(observed_at=NOW - 840), NOW, seen_at=NOW - 1)
    assert fresh.health is Health.HEALTHY


def test_an_unreachable_cluster_is_unknown_whatever_its_units_said() -> None:
    lost = cluster(unit(), reachable=False, message="10.7.0.1:6443 refuses connections")
    assert (lost.sync, lost.health, lost.reachable) == (Sync.UNKNOWN, Health.UNKNOWN, False)
    assert lost.message == "10.7.0.1:6443 refuses connections; was Synced, Healthy"
    assert lost.needs_person


def test_a_cluster_that_is_silent_or_was_never_reached_is_unknown() -> None:
    assert cluster(unit(), at=NOW - 500).message.startswith("no word from its worker")
    never = cluster(report=None)
    assert (never.message, never.sync) == ("never reached yet", Sync.UNKNOWN)


def test_the_clusters_message_is_the_worst_units() -> None:
    crash = "new pod crashes, exit 1 (3 old pods serve)"
    found = cluster(unit("aaa"), unit("web", health=Health.DEGRADED, message=crash), unit("zzz", sync=Sync.OUT_OF_SYNC))
    assert found.message == f"web: {crash}"
    assert [summary.unit.overlay for summary in found.units] == ["web", "zzz", "aaa"]
    assert (found.sync, found.health) == (Sync.OUT_OF_SYNC, Health.DEGRADED)


def test_a_cluster_that_is_well_says_nothing_and_one_that_waits_says_for_what() -> None:
    assert cluster(unit()).message == ""
    waits = cluster(unit(commit=OLD, blocked_by=(blocker(Standing.WAITS, "rollout halted at eu-1"),)))
    assert waits.message == "web waits: rollout halted at eu-1"
    assert waits.commit == OLD
    suspended = cluster(unit(blocked_by=(blocker(Standing.SUSPENDED, "disk swap", until="18:00"),)))
    assert suspended.message == "web suspended until 18:00: disk swap"


def test_trouble_of_the_cluster_as_a_whole_stands_before_its_units_and_needs_a_person() -> None:
    said = "rival came to eu-1 as well"
    found = cluster(unit(sync=Sync.OUT_OF_SYNC, message="drifts"), reason="OwnedByOther", message=said)
    assert (found.reason, found.message, found.needs_person) == ("OwnedByOther", said, True)
    assert (found.sync, found.reachable) == (Sync.OUT_OF_SYNC, True)
    assert not cluster(unit()).needs_person


def test_a_chain_names_what_needs_a_person_first_and_each_link_once() -> None:
    waits, held = blocker(Standing.WAITS, since=1.0), blocker(Standing.HELD, since=9.0)
    halted = blocker(Standing.HALTED, since=5.0)
    chain = chain_of([waits, held], [halted, replace(held, since=3.0)])
    assert [(link.state, link.since) for link in chain] == [
        (Standing.HALTED, 5.0),
        (Standing.HELD, 3.0),
        (Standing.WAITS, 1.0),
    ]


def test_the_fleet_counts_by_environment_and_ends_in_one_line() -> None:
    drift = ObjectStatus(
        ObjectRef("", "Service", "x", "i"), Sync.OUT_OF_SYNC, Health.HEALTHY, drift=(FieldDrift("a", 1, 2),)
    )
    clusters = [
        cluster(unit(), name="dev-1", environment="dev"),
        cluster(unit(blocked_by=(blocker(Standing.SUSPENDED),)), name="us-2", environment="staging"),
        cluster(unit(sync=Sync.OUT_OF_SYNC, objects=(drift,)), name="us-5", environment="staging"),
        cluster(unit(health=Health.DEGRADED), name="eu-1"),
        cluster(unit(commit=OLD, blocked_by=(blocker(Standing.WAITS),)), name="eu-2"),
        cluster(unit(), name="eu-7", reachable=False),
    ]
    fleet = fold_fleet(clusters, head=HEAD, environments=("dev", "staging", "prod"))
    rows = {row.environment: row for row in fleet.rows}
    assert list(rows) == ["dev", "staging", "prod"]
    assert (rows["dev"].clusters, rows["dev"].on_head) == (1, 1)
    assert (rows["staging"].suspended, rows["staging"].drifted) == (1, 1)
    assert (rows["prod"].clusters, rows["prod"].waiting, rows["prod"].degraded, rows["prod"].unreachable) == (
        3,
        1,
        1,
        1,
    )
    assert [found.cluster for found in fleet.clusters][:2] == ["eu-7", "eu-1"]
    assert fleet.line == "6 clusters: 2 on main, 1 wait, 1 suspended, 3 need a person"


@given(lists(builds(unit, sampled_from("abcdef"), sync=sampled_from(Sync), health=sampled_from(Health)), max_size=6))
def test_no_cluster_looks_better_than_its_worst_unit(units: list[UnitSummary]) -> None:
    found = cluster(*units)
    assert found.health is worst_health(summary.health for summary in units)
    assert found.sync is worst_sync(summary.sync for summary in units)
    assert list(found.units) == sorted(units, key=lambda summary: summary.rank)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (840, "14m"), (3600, "1h"), (86399, "23h"), (86400, "1d"), (-5, "0s")],
)
def test_ages_are_told_in_the_largest_whole_unit(seconds: int, shown: str) -> None:
    assert seen_ago(NOW - seconds, NOW) == shown


@given(integers(0, 10**8))
def test_an_age_never_overstates(seconds: int) -> None:
    shown = seen_ago(NOW + 10**9 - seconds, NOW + 10**9)
    size = {"s": 1, "m": 60, "h": 3600, "d": 86400}[shown[-1]]
    assert int(shown[:-1]) * size <= seconds
    assert seen_ago(0, NOW) == "never"
