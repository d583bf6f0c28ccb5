"""Why a unit is what it is."""

from __future__ import annotations

import pytest
from inventory.snapshots import COMPONENT, KUSTOMIZATION, cluster, fleet, load, overlay, small_repo

from fleet.core.explain import explain_unit
from fleet.core.ids import UnitName
from fleet.errors import NotKnown

FILES = small_repo() | {
    "fleet.yaml": fleet("{environments: [dev, prod], variables: {domain: acme.io, list: [1, a]}}"),
    "components/big/kustomization.yaml": COMPONENT,
    "overlays/web/overlay.yaml": overlay("clusters:\n  - {all: true, components: [components/big]}"),
    "overlays/logs/kustomization.yaml": KUSTOMIZATION,
    "overlays/logs/overlay.yaml": overlay("clusters: [{names: [eu-1]}]"),
}


def test_path_and_each_variable_come_with_file_and_line() -> None:
    lines = explain_unit(load(FILES).fleet, UnitName.parse("web@eu-1"))
    assert lines[1] == "path       overlays/web/prod       by overlays/web/overlay.yaml:5 (environment: prod)"
    assert lines[2] == "component  components/big"
    said = "\n".join(lines)
    assert "domain=acme.io" in said
    assert 'list=[1,"a"]' in said
    assert "cluster_name=eu-1" in said
    assert said.count("  by ") == 1 + 4


def test_variables_that_nothing_uses_are_said_to_be_unused() -> None:
    assert "not used here" in explain_unit(load(FILES).fleet, UnitName.parse("logs@eu-1"))[-1]


def test_a_unit_that_is_not_there_says_why() -> None:
    with pytest.raises(NotKnown, match="no target and no Cluster puts this overlay there"):
        explain_unit(load(FILES).fleet, UnitName.parse("logs@dev-1"))
    broken = load(FILES | {"clusters/eu-1.yaml": cluster("eu-1", "{mdoe: x}")}).fleet
    with pytest.raises(NotKnown, match=r"unknown field spec\.mdoe"):
        explain_unit(broken, UnitName.parse("web@eu-1"))
