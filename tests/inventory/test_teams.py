"""Rights of teams (R29): their directories narrow, they never widen."""

from __future__ import annotations

import pytest
from inventory.snapshots import COMPONENT, KUSTOMIZATION, cluster, fleet, load, overlay, units_of

from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.sync_policy import Adopt, WindowKind

TEAMS = """
overlays: [{dirs: teams/*/*}, {dirs: overlays/*}]
sync: {adopt: ifNoDiff, prune: false, windows: [{kind: allow, schedule: "0 9 * * *", duration: 8h}]}
teams:
  payments: {dirs: [teams/payments/*], reads: [components/**], clusters: {matchLabels: {payments: "yes"}},
             allow: {namespaces: [payments], kinds: [Deployment]}}
"""


def repo(spec: str) -> dict[str, str]:
    return {
        "fleet.yaml": fleet(TEAMS),
        "clusters/a.yaml": cluster("a", "{environment: prod}", '{payments: "yes"}'),
        "clusters/b.yaml": cluster("b"),
        "teams/payments/api/overlay.yaml": overlay(spec),
        "teams/payments/api/kustomization.yaml": KUSTOMIZATION,
        "components/x/kustomization.yaml": COMPONENT,
        "overlays/web/kustomization.yaml": KUSTOMIZATION,
        "overlays/web/part/kustomization.yaml": COMPONENT,
    }


NAME = OverlayName("payments.api")


def test_a_teams_unit_carries_its_rights_for_the_guard() -> None:
    loaded = load(repo('clusters: [{matchLabels: {payments: "yes"}, components: [components/x]}]'))
    unit = loaded.fleet.units[UnitName(NAME, ClusterName("a"))]
    assert unit.team is not None
    assert (unit.team.namespaces, unit.team.kinds, unit.team.replace) == (("payments",), ("Deployment",), False)
    assert loaded.fleet.overlays[NAME].team == "payments"


def test_a_team_may_not_run_where_fleet_yaml_does_not_let_it() -> None:
    loaded = load(repo("clusters: [{all: true}]"))
    assert units_of(loaded) == {"payments.api@a": "teams/payments/api"}
    (problem,) = [p for p in loaded.fleet.problems if p.reason == "NotAllowedForTeam"]
    assert problem.what == "payments.api of team payments may not run on b"


@pytest.mark.parametrize(
    "sync",
    ["adopt: always", "validate: schema", "prune: true", "windows: [{kind: allow, schedule: 0 1 * * *, duration: 1h}]"],
)
def test_a_teams_settings_may_not_widen(sync: str) -> None:
    loaded = load(repo(f"{{clusters: [{{names: [a]}}], sync: {{{sync}}}}}"))
    assert loaded.fleet.unknown.overlays[NAME].reason == "NotAllowedForTeam"
    assert not loaded.fleet.units


def test_a_teams_settings_may_narrow_and_the_fleets_windows_stay() -> None:
    spec = (
        "{clusters: [{names: [a]}], sync: {adopt: never, windows: [{kind: deny, schedule: '0 1 * * *', duration: 1h}]}}"
    )
    sync = load(repo(spec)).fleet.overlays[NAME].sync
    assert sync.adopt is Adopt.NEVER
    assert [window.kind for window in sync.windows] == [WindowKind.ALLOW, WindowKind.DENY]


@pytest.mark.parametrize("spec", ["components: [overlays/web/part]", "path: ../../../overlays/web"])
def test_a_team_uses_only_what_it_owns_or_may_read(spec: str) -> None:
    loaded = load(repo(f"clusters: [{{names: [a], {spec}}}]"))
    assert not loaded.fleet.units
    assert "NotAllowedForTeam" in {p.reason for p in loaded.fleet.problems}


def test_a_directory_of_two_teams_is_an_error() -> None:
    files = repo("clusters: [{names: [a]}]")
    files["fleet.yaml"] += "    other: {dirs: [teams/**]}\n"
    assert load(files).fleet.unknown.overlays[NAME].reason == "NotAllowedForTeam"
