"""What a rollout knows of a unit: never more than whoever looks at its cluster now has said (R5, R21)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core.fleet import (
    Cluster,
    Fleet,
    Overlay,
    OverlayState,
    Unit,
    Unknown,
)
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Quarantine, Quarantined, Stop
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.rollout_facts import Condition, UnitFact
from fleet.core.status import Health, Report, Sync, UnitReport
from fleet.core.unit_facts import behind_of, fact_of

HERE = Origin("fleet.yaml", 1)
EU = ClusterName("eu-1")
PLATFORM, WEB = (Overlay(OverlayName(name), f"overlays/{name}", HERE) for name in ("platform", "web"))
ENTRY = Cluster(EU, HERE)
NEEDED = UnitName(PLATFORM.name, EU)
NEW = Rendered(Digest("b2"), Revision("2" * 40))
PROBLEM = Problem(Severity.ERROR, "FileInvalid", "the file does not parse", Origin("overlays/platform/overlay.yaml", 3))
NOW = 1000.0


def unit(overlay: Overlay = WEB) -> Unit:
    return Unit(UnitName(overlay.name, EU), overlay.directory, HERE, (), {}, overlay, ENTRY)


# An old word of a cluster that speaks again


def fact(*, is_unspoken: bool, released: bool = True, health: Health = Health.HEALTHY) -> UnitFact:
    held = NEW if released else Rendered(Digest("b1"), Revision("1" * 40))
    report = UnitReport(UnitName(WEB.name, EU), held.commit, held.bundle, Sync.SYNCED, health, 1.0)
    cluster = Report(EU, 2, 1, NOW, reachable=True, began_at=NOW - 1)
    return fact_of(
        unit(), result=NEW, held=held, report=report, cluster=cluster, suspensions=(), quarantine={}, behind="",
        now=NOW, is_unspoken=is_unspoken,
    )  # fmt: skip


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("released", [True, False])
def test_what_an_earlier_worker_said_is_neither_well_nor_bad_now(released: bool, health: Health) -> None:
    found = fact(is_unspoken=True, released=released, health=health)
    assert (found.condition, found.available) == (Condition.AWAY, False)
    assert found.why == "its worker has not looked at it yet since it began"


def test_twin_what_this_worker_said_counts() -> None:
    assert fact(is_unspoken=False) == UnitFact("b2", released=True, condition=Condition.WELL)
    assert fact(is_unspoken=False, released=False).condition is Condition.WELL
    assert fact(is_unspoken=False, health=Health.DEGRADED).condition is Condition.BAD


@pytest.mark.parametrize("released", [True, False])
def test_what_a_person_suspended_in_it_holds_no_rollout_up(released: bool) -> None:
    """A CronJob with `suspend: true` is there in full; else a rollout with one would be late, and taken back."""
    found = fact(is_unspoken=False, released=released, health=Health.SUSPENDED)
    assert (found.condition, found.available) == (Condition.WELL, True)


# Behind another unit


def behind(
    result: Result | None = NEW,
    *,
    waits: bool = False,
    building: bool = False,
    there: bool = True,
    quarantine: Quarantine | None = None,
    **more: Unknown,
) -> str:
    web, platform = unit(replace(WEB, depends_on=(PLATFORM.name,))), unit(PLATFORM)
    units = {found.name: found for found in ((web, platform) if there else (web,))}
    fleet = Fleet(NEW.commit, units=units, unknown=more.get("unknown", Unknown()))
    results = {NEEDED: result} if result is not None else {}
    names = {NEEDED} if building else set[UnitName]()
    return behind_of(
        web, fleet, results=results, building=names, waits=lambda name: waits and name == NEEDED,
        quarantine=quarantine or {},
    )  # fmt: skip


def test_nothing_goes_on_behind_a_unit_of_which_there_is_no_result() -> None:
    failed = RenderProblem("ResourceMissing", "missing.yaml is not there", NEW.commit)
    assert behind(failed) == "platform@eu-1, which has no result: missing.yaml is not there"
    assert behind(None) == behind(building=True) == "platform@eu-1, which is not built yet"
    for unknown in (
        Unknown(overlays={PLATFORM.name: PROBLEM}), Unknown(units={NEEDED: PROBLEM}), Unknown(everything=PROBLEM),
    ):  # fmt: skip
        assert behind(None, there=False, unknown=unknown) == (
            "platform@eu-1, which has no result: the file does not parse (overlays/platform/overlay.yaml:3)"
        )


def test_twin_one_that_is_released_or_known_not_to_be_there_holds_nothing() -> None:
    assert behind() == ""
    assert behind(waits=True) == "platform@eu-1"
    assert behind(None, there=False) == ""
    elsewhere = UnitName(PLATFORM.name, ClusterName("eu-2"))
    for unknown in (
        Unknown(units={elsewhere: PROBLEM}), Unknown(unnamed=(PROBLEM,)), Unknown(incomplete={EU: PROBLEM}),
        Unknown(overlays={OverlayName("dns"): PROBLEM}),
    ):  # fmt: skip
        assert behind(None, there=False, unknown=unknown) == "", "what is bad costs itself alone"


def test_what_was_taken_back_is_waited_for_with_the_order_that_lets_it_in_again() -> None:
    entry = Quarantined(Revision("3" * 40), Stop("crash", "hub", 1.0), frozenset({EU}))
    resume = 'platform@eu-1, which was taken back with 3333333 (fleet rollout resume 3333333 --reason "...")'
    assert behind(waits=True, quarantine={PLATFORM.name: {"b2": entry}}) == resume
    assert behind(waits=True, quarantine={OverlayName("earlier-name"): {"b2": entry}}) == "platform@eu-1", (
        "its own alone"
    )
    assert behind(waits=True, quarantine={PLATFORM.name: {"b1": entry}}) == "platform@eu-1", "twin: its step comes"


def test_what_is_removed_waits_for_nothing_here() -> None:
    gone = unit(replace(WEB, depends_on=(PLATFORM.name,), state=OverlayState.ABSENT))
    fleet = Fleet(NEW.commit, units={gone.name: gone, NEEDED: unit(PLATFORM)})
    assert behind_of(gone, fleet, results={}, building={NEEDED}, waits=lambda _: True, quarantine={}) == ""
