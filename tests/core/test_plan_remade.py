"""Fields that are never changed in place, told without a cluster: the apply fails, or the object is made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.test_change import config, plan, result, web

from fleet.core.planning.change import UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.groups import groups_of
from fleet.core.planning.listing import listed_of
from fleet.core.planning.words import FOLDED, lines_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())
REPLACE = {"fleet.internal/replace": "enabled"}


def workload(name: str, app: str, **annotations: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    body = {"selector": {"matchLabels": {"app": app}}}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": body}


def claim(size: str, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "data", "namespace": "shop", "annotations": annotations}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {"storageClassName": size},
    }


def changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> UnitChange:
    kept = [config(f"k{index}") for index in range(9)]
    return web(result(*kept, *before), result(*kept, *after))


def lines(unit: UnitChange) -> str:
    found = plan([unit])
    jsonschema.validate(document_of(found), SCHEMA)
    (group,) = groups_of(found.units)
    return "\n".join(lines_of(group, found, FOLDED))


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({}, "spec.selector cannot be changed in place: the apply fails"),
        (REPLACE, "deleted and made anew: spec.selector cannot be changed in place"),
        ({**REPLACE, "fleet.internal/prune": "disabled"}, "the apply fails"),
        (
            {**REPLACE, "fleet.internal/prune": "confirm"},
            "made anew: spec.selector cannot be changed in place; HOLD",
        ),
        ({"fleet.internal/hook": "PreSync"}, ""),
    ],
)
def test_a_field_that_cannot_be_changed_is_told_with_what_comes_of_it(annotations: dict[str, str], words: str) -> None:
    unit = changed([workload("q", "a", **annotations)], [workload("q", "b", **annotations)])
    assert words in lines(unit)
    assert ("in place" in lines(unit)) is bool(words)
    is_remade = "made anew" in words
    assert (unit.name in listed_of(plan([unit]).text).doomed) is is_remade, "an approval in advance covers it"
    other = [
        {**workload("q", "a", **annotations), "spec": {"selector": {"matchLabels": {"app": "a"}}, "minReadySeconds": 2}}
    ]
    assert "in place" not in lines(changed([workload("q", "a", **annotations)], other)), "twin: another field"


def test_a_precious_kind_asks_before_it_is_made_anew() -> None:
    unit = changed([claim("a", **REPLACE)], [claim("b", **REPLACE)])
    (hold,) = plan([unit]).holds
    assert hold.reason == "precious-kind"
    assert "would delete PersistentVolumeClaim shop/data and make it anew" in hold.message
    assert "HOLD: asks a person before it is deleted (precious-kind)" in lines(unit)
    assert plan([changed([claim("a")], [claim("b")])]).holds == (), "twin: it does not ask for that, and nothing goes"


def test_what_is_made_anew_counts_one_after_the_other_against_the_budget() -> None:
    def all_of(count: int) -> UnitChange:
        before, after = ([workload(f"q{index}", word, **REPLACE) for index in range(count)] for word in "ab")
        return changed(before, after)

    assert plan([all_of(3)]).holds == ()
    assert [hold.reason for hold in plan([all_of(4)]).holds] == ["prune-budget"]
