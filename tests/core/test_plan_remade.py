"""Fields that are never changed in place, told without a cluster: the apply fails, or the object is made anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.test_change import config, plan, result, web

from fleet.core.planning.change import UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.field_words import FOLDED
from fleet.core.planning.groups import OVERLAYS_SHOWN, VARIANTS_SHOWN, groups_of
from fleet.core.planning.listing import listed_of
from fleet.core.planning.words import lines_of

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


# Several units


def setting(name: str, before: str, after: str, *, is_fixed: bool) -> UnitChange:
    sides = [{**config("cfg", mode=value), **({"immutable": True} if is_fixed else {})} for value in (before, after)]
    return web(result(sides[0]), result(sides[1]), name)


FAILS = "data cannot be changed in place: the apply fails"


@pytest.mark.parametrize(
    "units",
    [
        [("web@c0", "b"), ("web@c1", "b")],
        [(f"web@c{index}", f"b{index}") for index in range(VARIANTS_SHOWN + 2)],
        [(f"o{index}@eu-1", "b") for index in range(OVERLAYS_SHOWN + 2)],
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_what_fails_on_one_unit_is_told_of_that_one_alone(units: list[tuple[str, str]], which: int) -> None:
    def groups(fixed: set[int]) -> list[tuple[bool, set[str]]]:
        changes = [setting(name, "a", after, is_fixed=at in fixed) for at, (name, after) in enumerate(units)]
        found = plan(changes)
        return [
            (FAILS in "\n".join(lines_of(group, found, FOLDED)), {str(name) for name in group.units})
            for group in groups_of(found.units)
        ]

    names = {name for name, _ in units}
    alone = {units[which][0]}
    assert sorted(groups({which})) == [(False, names - alone), (True, alone)]
    assert groups(set()) == [(False, names)], "twin: it fails nowhere"
    assert groups(set(range(len(units)))) == [(True, names)], "twin: it fails everywhere"


def test_a_hook_that_is_left_as_it_is_is_told_apart_from_one_that_is_not() -> None:
    hook = {"fleet.internal/hook": "PreSync"}

    def unit(name: str, **more: str) -> UnitChange:
        before, after = (result(config("k"), workload("q", app, **hook, **more)) for app in "ab")
        return web(before, after, name)

    units = [unit("web@c0"), unit("web@c1", **{"fleet.internal/reconcile": "disabled"})]
    assert len(groups_of(units)) == 2
    assert len(groups_of([units[1], replace(units[1], name=units[0].name)])) == 1, "twin: both are left"
