"""Four layouts as public repos have them: each is understood as it lies, and everything in it builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.layouts import charts, monorepo, nested, percluster
from inventory.building import build, write
from inventory.snapshots import load, said, units_of

LAYOUTS = {
    "monorepo": monorepo.files(),
    "percluster": percluster.files(),
    "charts": charts.files(),
    "nested": nested.files(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_understood_without_a_problem_and_each_path_builds(layout: str, tmp_path: Path) -> None:
    files = LAYOUTS[layout]
    loaded = load(files)
    assert said(loaded) == []
    root, scratch = write(tmp_path / "repo", files), tmp_path / "scratch"
    scratch.mkdir()
    for unit in {(unit.path, unit.components): unit for unit in loaded.fleet.units.values()}.values():
        assert build(root, unit, scratch)


def test_the_monorepo_has_a_unit_per_application_and_cluster() -> None:
    units = units_of(load(LAYOUTS["monorepo"]))
    assert len(units) == 7 * 6
    assert units["cart@staging-2"] == "apps/cart/overlays/staging"
    assert units["dns@prod-2"] == "infrastructure/dns/overlays/prod-2"
    assert units["dns@prod-1"] == "infrastructure/dns/base"


def test_a_directory_per_cluster_is_one_overlay() -> None:
    units = units_of(load(LAYOUTS["percluster"]))
    assert units == {f"everything@{name}": f"deploy/{name}" for name in percluster.CLUSTERS}


def test_nested_clusters_take_their_path_from_environment_and_label() -> None:
    units = units_of(load(LAYOUTS["nested"]))
    assert units["cluster-config@par-9"] == "cluster-scope/overlays/staging/eu/par-9"
    assert units["cart@lon-1"] == "apps/shop/cart/overlays/prod"
    assert len(units) == 4 * 4


def test_the_charts_are_more_than_300_objects_with_their_crds(tmp_path: Path) -> None:
    files = LAYOUTS["charts"]
    unit = next(unit for unit in load(files).fleet.units.values() if unit.cluster.name == "live-1")
    assert unit.components == ("components/custom",)
    objects = build(write(tmp_path / "repo", files), unit, tmp_path)
    assert len(objects) == 1 + charts.SUBCHARTS * 8 + charts.CUSTOM_KINDS * 2
    assert len(objects) > 300


def test_the_layouts_are_the_same_each_time() -> None:
    assert charts.files() == LAYOUTS["charts"]
    assert monorepo.files() == LAYOUTS["monorepo"]
