"""What a change says and no hub writes: objects that ask to be left, and fields that are ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.test_change import config, name_of, plan, result, web, workload

from fleet.core.planning.change import UnitChange, change_of_unit
from fleet.core.planning.document import document_of
from fleet.core.planning.field_words import FOLDED
from fleet.core.planning.groups import groups_of
from fleet.core.planning.remarks import remarks
from fleet.core.planning.words import lines_of, totals_of
from fleet.core.sync_policy import IgnoreRule

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
    def words(rule: IgnoreRule) -> list[str]:
        return ignored(workload(replicas=2), workload(replicas=5), rule)

    assert words(IgnoreRule(kind="Deployment", pointers=("/spec/replicas",))) == [
        "web on eu-1: Deployment shop/web keeps spec.replicas as it is there (ignoreDifferences)"
    ]
    assert words(IgnoreRule(pointers=("/spec",)))
    assert words(IgnoreRule(kind="StatefulSet", pointers=("/spec/replicas",))) == []
    assert words(IgnoreRule(pointers=("/spec/replica",))) == []
    assert words(IgnoreRule(pointers=("/spec/replicas",), managers=("hpa",))) == [], "only the cluster can tell"


def ignored(before: dict[str, Any], after: dict[str, Any], rule: IgnoreRule) -> list[str]:
    unit = change_of_unit(name_of("web@eu-1"), result(before), result(after), (rule,))
    return [one.line for one in remarks(plan([unit])) if one.word == "Ignored"]


def annotated(value: str) -> dict[str, Any]:
    found = workload()
    return {**found, "metadata": {**found["metadata"], "annotations": {"acme.io/checked": value}}}


@pytest.mark.parametrize(
    ("pointer", "stays"),
    [
        ("/metadata/annotations/acme.io~1checked", True),
        ("/metadata/annotations", True),
        ("/metadata/annotations/acme.io/checked", False),
    ],
)
@pytest.mark.parametrize("name", ["web", "w*", "api"])
def test_a_field_whose_name_is_escaped_in_its_pointer_is_said_to_stay(pointer: str, stays: bool, name: str) -> None:
    lines = ignored(annotated("a"), annotated("b"), IgnoreRule(name=name, pointers=(pointer,)))
    told = "web on eu-1: Deployment shop/web keeps metadata.annotations[acme.io/checked] as it is there"
    assert lines == ([f"{told} (ignoreDifferences)"] if stays and name != "api" else [])


@pytest.mark.parametrize(("index", "stays"), [(0, True), (1, False)])
def test_what_is_ignored_of_an_item_of_a_list_stays_and_restarts_nothing(index: int, stays: bool) -> None:
    rule = IgnoreRule(pointers=(f"/spec/template/spec/containers/{index}/image",))
    before, after = result(workload()), result(workload(image="reg/web:2"))
    unit = change_of_unit(name_of("web@eu-1"), before, after, (rule,))
    said = "web on eu-1: Deployment shop/web keeps spec.template.spec.containers[name=web].image as it is there"
    lines = [one.line for one in remarks(plan([unit])) if one.word == "Ignored"]
    assert lines == ([f"{said} (ignoreDifferences)"] if stays else [])
    assert told(unit)[3] == (0 if stays else 3)
    beside = result(workload(image="reg/web:2", pod={"hostNetwork": True}))
    assert told(change_of_unit(name_of("web@eu-1"), before, beside, (rule,)))[3] == 3, "twin: another field of the pods"


def test_a_fixed_field_that_is_ignored_fails_nothing() -> None:
    before, after = (workload(selector={"matchLabels": {"app": app}}) for app in ("web", "shop"))
    for pointer, fixed in (("/spec/selector", ()), ("/spec/strategy", ("spec.selector",))):
        rule = IgnoreRule(pointers=(pointer,))
        unit = change_of_unit(name_of("web@eu-1"), result(before), result(after), (rule,))
        assert [change.fixed for change in unit.objects] == [fixed]


def test_an_object_that_moves_keeps_what_its_new_overlay_ignores() -> None:
    rule = IgnoreRule(pointers=("/spec/template/spec/containers/0/image",))
    sides = result(workload()), result(workload(image="reg/web:2"))
    names = name_of("web@eu-1"), name_of("shop@eu-1")
    changes = [change_of_unit(names[0], sides[0], None), change_of_unit(names[1], None, sides[1], (rule,))]
    bundles = {names[0]: (sides[0].result, None), names[1]: (None, sides[1].result)}
    found = plan(changes, bundles=bundles)
    assert [one.text for one in remarks(found) if one.word == "Ignored"] == [
        "shop on eu-1: Deployment shop/web keeps spec.template.spec.containers[name=web].image as it is there "
        "(ignoreDifferences)"
    ]
    assert totals_of(found).pods == 0
