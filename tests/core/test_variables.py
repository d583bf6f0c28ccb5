"""Order of variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.fleet import Cluster, Environment
from fleet.core.ids import ClusterName
from fleet.core.problems import Origin
from fleet.core.selection import Variable
from fleet.core.variables import built_in_variables, is_built_in, is_variable_name, stage_variables, unit_variables

LAYERS = ("fleet", "environment", "overlay", "target", "cluster", "entry")


@given(st.lists(st.sets(st.sampled_from(["a", "b", "c"])), min_size=6, max_size=6))
def test_the_last_layer_that_defines_a_variable_wins_with_its_origin(defined: list[set[str]]) -> None:
    layers = {
        layer: {name: Variable(layer, Origin(layer)) for name in names}
        for layer, names in zip(LAYERS, defined, strict=True)
    }
    cluster = Cluster(ClusterName("eu-1"), Origin("c"), environment="prod", variables=layers["cluster"])
    found = unit_variables(
        stage=stage_variables(layers["fleet"], Environment("prod", layers["environment"])),
        overlay=layers["overlay"],
        target=layers["target"],
        cluster=cluster,
        entry=layers["entry"],
        built_in=built_in_variables(cluster),
    )
    for name in "abc":
        winners = [layer for layer in LAYERS if name in layers[layer]]
        assert (name in found) == bool(winners)
        if winners:
            assert found[name] == Variable(winners[-1], Origin(winners[-1]))
    assert found["cluster_name"].value == "eu-1"


def test_what_is_not_known_of_a_cluster_is_no_variable() -> None:
    assert set(built_in_variables(Cluster(ClusterName("a"), Origin("c")))) == {"cluster_name"}


@pytest.mark.parametrize("name", ["cluster_name", "cluster_label_region"])
def test_built_in_names_are_known(name: str) -> None:
    assert is_built_in(name)
    assert is_variable_name(name)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "a b", "a\n", "ä"])
def test_odd_names_are_no_variables(name: str) -> None:
    assert not is_variable_name(name)
