"""The example fleet at the root of this repo is what the README says, and builds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from inventory.building import build

from fleet.core.fleet import Fleet
from fleet.core.ids import UnitName
from fleet.inventory.load import load_fleet
from fleet.inventory.worktree import WorkingTree

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example() -> Fleet:
    loaded = load_fleet(WorkingTree(ROOT))
    assert loaded.skipped == 0
    return loaded.fleet


def test_it_has_30_clusters_in_three_environments_and_three_kinds_of_place(example: Fleet) -> None:
    assert Counter(cluster.environment for cluster in example.clusters.values()) == {"dev": 6, "staging": 8, "prod": 16}
    assert {cluster.location for cluster in example.clusters.values()} == {"public", "private", "on-prem"}


def test_it_has_12_overlays_without_a_problem(example: Fleet) -> None:
    assert len(example.overlays) == 12
    assert example.problems == ()
    assert example.unknown.everything is None
    assert not example.unknown.units


@pytest.fixture(scope="module")
def built(example: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[UnitName, list[dict[str, object]]]:
    """The objects of each unit; equal inputs are built once."""
    scratch = tmp_path_factory.mktemp("scratch")
    known: dict[tuple[str, tuple[str, ...]], list[dict[str, object]]] = {}
    for unit in example.units.values():
        if (unit.path, unit.components) not in known:
            known[unit.path, unit.components] = build(ROOT, unit, scratch)
    return {name: known[unit.path, unit.components] for name, unit in example.units.items()}


def test_each_unit_builds_and_stays_small(built: dict[UnitName, list[dict[str, object]]]) -> None:
    assert all(1 <= len(objects) <= 25 for objects in built.values())
    sizes: Counter[str] = Counter()
    for name, objects in built.items():
        sizes[name.cluster] += len(objects)
    assert max(sizes.values()) <= 120


def test_no_object_is_claimed_by_two_units_of_a_cluster(built: dict[UnitName, list[dict[str, object]]]) -> None:
    claimed: Counter[tuple[str, ...]] = Counter()
    for name, objects in built.items():
        for found in objects:
            metadata = found["metadata"]
            assert isinstance(metadata, dict)
            place = str(metadata.get("namespace", ""))
            claimed[name.cluster, str(found["kind"]), place, str(metadata["name"])] += 1
    assert max(claimed.values()) == 1


def test_each_file_of_ours_names_a_schema_that_is_there() -> None:
    files = [ROOT / "fleet.yaml", *ROOT.glob("clusters/**/*.yaml"), *ROOT.glob("overlays/*/overlay.yaml")]
    assert len(files) == 1 + 26 + 12 - 1
    for file in files:
        first = file.read_text().partition("\n")[0]
        prefix, mark, schema = first.partition("$schema=")
        assert (prefix, mark) == ("# yaml-language-server: ", "$schema="), file
        assert (file.parent / schema).is_file(), file
