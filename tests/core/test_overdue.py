"""What was to end and has not is listed, wherever it was said, until a person ends it."""

from __future__ import annotations

import pytest

from fleet.core.fleet import Cluster, Fleet, Overlay, Unit
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName
from fleet.core.overdue import moment_of, overdue_of
from fleet.core.problems import Origin
from fleet.core.sync_policy import IgnoreNote, Suspension

NOW = moment_of("2026-11-26T12:00:00Z") or 0.0
PAST, LATER = "2026-11-26T11:00:00Z", "2026-11-26T13:00:00Z"
WEB, EU_1 = OverlayName("web"), ClusterName("eu-1")


def stopped(scope: str, until: str, line: int = 0) -> Suspension:
    return Suspension("disk swap", "mara", until, scope, Origin("fleet.yaml", line) if line else None)


def fleet_of(until: str) -> Fleet:
    note = IgnoreNote("Deployment /spec/replicas", Origin("overlays/web/overlay.yaml", 7), "HPA to come", "jo", until)
    overlay = Overlay(WEB, "overlays/web", Origin("o"), ignore_notes=(note,), suspend=stopped("overlay web", until, 3))
    cluster = Cluster(EU_1, Origin("c"), suspend=stopped("cluster eu-1", until, 2))
    return Fleet(
        Revision("a" * 40),
        "acme",
        clusters={EU_1: cluster},
        overlays={WEB: overlay},
        suspend=stopped("fleet", until, 1),
    )


def test_what_is_past_its_time_is_listed_wherever_it_was_said() -> None:
    found = overdue_of(fleet_of(PAST), {}, [stopped("unit web@eu-1", PAST)], NOW)
    assert {(each.what, each.next_step) for each in found} == {
        (f"{scope} still suspended, was to end {PAST}: disk swap (mara)", following)
        for scope, following in (
            ("fleet", "edit fleet.yaml:1"),
            ("cluster eu-1", "edit fleet.yaml:2"),
            ("overlay web", "edit fleet.yaml:3"),
            ("unit web@eu-1", "fleet resume unit web@eu-1 --owner mara"),
        )
    } | {
        (
            f"overlay web still ignores Deployment /spec/replicas, was to end {PAST}: HPA to come (jo)",
            "edit overlays/web/overlay.yaml:7",
        )
    }
    assert {each.since for each in found} == {NOW - 3600}


@pytest.mark.parametrize("until", [LATER, ""])
def test_what_still_has_time_or_no_end_is_not_listed(until: str) -> None:
    assert overdue_of(fleet_of(until), {}, [stopped("fleet", until)], NOW) == ()


def test_an_end_that_is_no_time_is_listed_at_once_rather_than_never() -> None:
    found = overdue_of(fleet_of("2026-13-45T99"), {}, [], NOW)
    assert len(found) == 4
    assert all("to end 2026-13-45T99, which is no time" in each.what for each in found)


def test_an_end_without_a_zone_is_utc() -> None:
    assert moment_of("2026-11-26T12:00:00") == NOW


def test_a_suspension_that_a_broken_file_hides_is_listed_by_what_was_said_last() -> None:
    said = fleet_of(PAST)
    unit = Unit(UnitName(WEB, EU_1), "p", Origin("o"), (), {}, said.overlays[WEB], said.clusters[EU_1])
    hidden = Fleet(said.commit, "acme")
    assert len(overdue_of(hidden, {unit.name: unit}, [], NOW)) == 3
