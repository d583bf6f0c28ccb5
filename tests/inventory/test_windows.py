"""Sync windows that never open are named with their line; those that open at all are not."""

from __future__ import annotations

import pytest
from inventory.snapshots import fleet, load, overlay, said, small_repo

NIGHT = "{kind: allow, schedule: 0 22 * * *, duration: 2h}"
SHUT, SHORT = "{kind: deny, schedule: 0 0 * * *, duration: 24h}", "{kind: deny, schedule: 0 0 * * *, duration: 20h}"


def sync(*windows: str) -> str:
    return "sync:\n  windows:\n" + "".join(f"  - {window}\n" for window in windows)


def warned(files: dict[str, str]) -> list[str]:
    return [line for line in said(load(files)) if "windows" in line]


def test_windows_of_the_fleet_that_a_deny_covers_are_named_once_with_their_line() -> None:
    shut = fleet(sync(NIGHT, SHUT))
    line = shut.split("\n").index("    windows:") + 1
    found = [f"warning FieldInvalid fleet.yaml:{line}: the windows of the fleet never open"]
    assert warned({**small_repo(), "fleet.yaml": shut}) == found
    assert warned({**small_repo(), "fleet.yaml": fleet(sync(NIGHT, SHORT))}) == []
    assert warned({**small_repo(), "fleet.yaml": fleet()}) == []


def test_windows_of_an_overlay_that_never_open_are_named_at_its_own() -> None:
    path = "overlays/web/overlay.yaml"
    shut = overlay("clusters: [{all: true}]\n" + sync(NIGHT, SHUT))
    line = shut.split("\n").index("    windows:") + 1
    assert warned({**small_repo(), path: shut}) == [
        f"warning FieldInvalid {path}:{line}: the windows of overlay web never open"
    ]
    opens = {**small_repo(), path: overlay("clusters: [{all: true}]\n" + sync(NIGHT)), "fleet.yaml": fleet(sync(SHORT))}
    assert warned(opens) == []


@pytest.mark.parametrize(("own", "never"), [(SHUT, True), (SHORT, False)])
def test_a_teams_window_that_shuts_what_the_fleet_allows_is_named_at_the_teams(own: str, never: bool) -> None:
    teams = "teams:\n  web: {dirs: [overlays/web]}\n"
    files = {**small_repo(), "fleet.yaml": fleet(teams + sync(NIGHT))}
    files["overlays/web/overlay.yaml"] = overlay("clusters: [{all: true}]\n" + sync(own))
    found = [each for each in load(files).fleet.problems if "windows" in each.what]
    places = [[place.path for place in (each.origin, *each.also)] for each in found]
    assert places == ([["overlays/web/overlay.yaml", "fleet.yaml"]] if never else [])


def test_a_window_on_another_line_is_the_same_window() -> None:
    first = load({**small_repo(), "fleet.yaml": fleet(sync(NIGHT))})
    moved = load({**small_repo(), "fleet.yaml": "# a comment\n" + fleet(sync(NIGHT))}, first)
    before, after = (next(iter(each.fleet.units.values())).overlay.sync for each in (first, moved))
    assert before == after
    assert hash(before.windows) == hash(after.windows)
