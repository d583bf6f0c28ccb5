"""What a change says and no hub writes: objects that ask to be left, and fields that are ignored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.test_change import config, fleet_of, plan, result, web, workload

from fleet.core.fleet import Fleet, IgnoreRule
from fleet.core.planning.change import UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.groups import groups_of
from fleet.core.planning.remarks import remarks
from fleet.core.planning.words import FOLDED, lines_of, totals_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())


def asking(word: str, image: str = "reg/web:1") -> dict[str, Any]:
    found = workload(image=image)
    notes = {"annotations": {"fleet.internal/reconcile": word}}
    return {**found, "metadata": {**found["metadata"], **notes}}


def told(unit: UnitChange) -> tuple[str, int, int, int]:
    found = plan([unit])
    jsonschema.validate(document_of(found), SCHEMA)
    (group,) = groups_of(found.units)
    totals = totals_of(found)
    return "\n".join(lines_of(group, found, FOLDED)), totals.created, totals.changed, totals.pods


@pytest.mark.parametrize(("word", "left"), [("disabled", True), ("ifAbsent", True), ("enabled", False)])
def test_an_object_that_asks_to_be_left_changes_nothing_and_restarts_nothing(word: str, left: bool) -> None:
    text, _, changed, pods = told(web(result(asking(word)), result(asking(word, "reg/web:2"))))
    assert ("left as it is" in text, "restarts" in text) == (left, not left)
    assert (changed, pods) == ((0, 0) if left else (1, 3))


@pytest.mark.parametrize(("word", "created"), [("disabled", 0), ("ifAbsent", 1), ("enabled", 1)])
def test_a_new_object_is_made_but_where_it_is_not_reconciled(word: str, created: int) -> None:
    text, found, _, _ = told(web(result(config("a")), result(config("a"), asking(word))))
    assert (found, "left as it is" in text) == (created, not created)


def test_fields_that_are_ignored_are_said_to_stay() -> None:
    unit = web(result(workload(replicas=2)), result(workload(replicas=5)))

    def ignoring(rule: IgnoreRule) -> Fleet:
        fleet = fleet_of("web@eu-1")
        units = {
            name: replace(found, overlay=replace(found.overlay, ignore=(rule,))) for name, found in fleet.units.items()
        }
        return replace(fleet, units=units)

    def words(rule: IgnoreRule) -> list[str]:
        return [one.line for one in remarks(plan([unit], after=ignoring(rule))) if one.word == "Ignored"]

    assert words(IgnoreRule(kind="Deployment", pointers=("/spec/replicas",))) == [
        "web on eu-1: Deployment shop/web keeps spec.replicas as it is there (ignoreDifferences)"
    ]
    assert words(IgnoreRule(pointers=("/spec",)))
    assert words(IgnoreRule(kind="StatefulSet", pointers=("/spec/replicas",))) == []
    assert words(IgnoreRule(pointers=("/spec/replica",))) == []
    assert words(IgnoreRule(pointers=("/spec/replicas",), managers=("hpa",))) == [], "only the cluster can tell"
