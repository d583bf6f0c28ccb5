"""Hooks in a plan: that they run again is told, and what drops one deletes nothing (V1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from core.test_change import config, fleet_of, name_of, plan, result, web

from fleet.core.fleet import Mode
from fleet.core.planning.change import How, Sign, UnitChange, change_of_unit
from fleet.core.planning.document import document_of
from fleet.core.planning.field_words import FOLDED
from fleet.core.planning.groups import groups_of
from fleet.core.planning.listing import listed_of
from fleet.core.planning.remarks import remarks
from fleet.core.planning.words import lines_of, totals_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())


def job(name: str, phase: str = "PreSync", image: str = "reg/db:1") -> dict[str, Any]:
    pod = {"containers": [{"name": "db", "image": image}], "restartPolicy": "Never"}
    metadata = {"name": name, "namespace": "shop", "annotations": {"fleet.internal/hook": phase} if phase else {}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}


def hooks_told(units: list[UnitChange], **options: Any) -> list[str]:
    found = plan(units, **options)
    jsonschema.validate(document_of(found), SCHEMA)
    return [remark.line for remark in remarks(found) if remark.word == "Hooks"]


def bumps(name: str, *hooks: dict[str, Any]) -> UnitChange:
    return web(result(config("cfg", v="1"), *hooks), result(config("cfg", v="2"), *hooks), name)


def test_a_hook_runs_again_with_any_change_of_its_unit() -> None:
    units = [bumps(f"web@c{index}", job("migrate")) for index in range(28)]
    assert hooks_told(units) == ["PreSync Job shop/migrate of web runs again on 28 clusters"]
    assert hooks_told([bumps("web@c1", job("tell", "SyncFail"))]) == [
        "SyncFail Job shop/tell of web runs again on c1, if the sync fails"
    ]
    assert hooks_told([bumps("web@c1", job("migrate", ""))]) == [], "twin: a Job that is no hook"


def test_a_hook_that_is_new_runs_and_one_where_nothing_changes_or_is_written_does_not() -> None:
    new = web(result(config("cfg")), result(config("cfg"), job("migrate")), "web@c1")
    assert hooks_told([new]) == ["PreSync Job shop/migrate of web runs on c1"]
    assert hooks_told([web(None, result(job("migrate")), "web@c1")]) == ["PreSync Job shop/migrate of web runs on c1"]
    assert hooks_told([web(result(job("migrate")), result(job("migrate")), "web@c1")]) == []
    watched = fleet_of("web@c1", mode=Mode.OBSERVE)
    assert hooks_told([bumps("web@c1", job("migrate"))], before=watched, after=watched) == []


def test_a_hook_that_is_dropped_is_no_deletion() -> None:
    kept = [config("a"), job("check", "PostSync")]
    unit = web(result(*kept, job("migrate"), config("b")), result(*kept, config("b")), "web@c1")
    assert (unit.how, unit.owned) == (How.CHANGES, 2)
    found = plan([unit])
    (group,) = groups_of(found.units)
    assert list(lines_of(group, found, FOLDED)) == [
        "- Job shop/migrate  stays there: what a hook made goes by its hook-delete alone"
    ]
    assert totals_of(found).deleted == 0
    assert found.holds == ()
    assert listed_of(found.text).doomed == {}
    assert hooks_told([unit]) == ["PostSync Job shop/check of web runs again on c1"], "the result is another one"
    plain = web(result(*kept, job("migrate", ""), config("b")), result(*kept, config("b")), "web@c1")
    assert (totals_of(plan([plain])).deleted, plain.owned) == (1, 3), "twin: a Job that is no hook"
    assert [ref.name for ref in listed_of(plan([plain]).text).doomed[plain.name]] == ["migrate"]


def test_a_hook_that_another_overlay_gets_does_not_move() -> None:
    gone = web(result(config("a"), job("migrate")), result(config("a")), "web@c1")
    comes = web(result(config("c")), result(config("c"), job("migrate", "")), "api@c1")
    (dropped,) = [change for unit in plan([gone, comes]).units for change in unit.of_sign(Sign.DELETE)]
    assert dropped.moved_to == ""


def test_hooks_count_nothing_into_the_share_that_a_budget_goes_by() -> None:
    hooks = [job(f"h{index}") for index in range(20)]
    before = [config(f"k{index}") for index in range(8)]
    shrunk = change_of_unit(name_of("web@c1"), result(*before, *hooks), result(*before[:5], *hooks))
    assert [hold.reason for hold in plan([shrunk]).holds] == ["prune-budget"]
    assert [hold.reason for hold in plan([web(result(*before), result(*before[:5]), "web@c1")]).holds] == [
        "prune-budget"
    ]
