"""An overlay under another name, and objects that another overlay takes over: told as moves, not as new ones (R16)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
from core.building import MARK, live_of, ref
from core.test_change import config, fleet_of, name_of, plan, result, web
from core.test_plan_live import SETTING, seen

from fleet.core.ids import ClusterName, OverlayName
from fleet.core.planning.change import ObjectChange, Sign, UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.fleet_plan import Claim, FleetPlan
from fleet.core.planning.groups import groups_of
from fleet.core.planning.listing import listed_of
from fleet.core.planning.live_judge import judge_object
from fleet.core.planning.words import FOLDED, lines_of, title_of, totals_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())
OLD, NEW = ("web@eu-1", "web@eu-2"), ("shop@eu-1", "shop@eu-2")


def told(units: list[UnitChange]) -> tuple[list[str], Any]:
    found = plan(units, fleet_of(*OLD), fleet_of(*NEW))
    document: Any = document_of(found)
    jsonschema.validate(document, SCHEMA)
    assert totals_of(found).deleted == 0
    lines = [
        line for group in groups_of(found.units) for line in (title_of(group, found), *lines_of(group, found, FOLDED))
    ]
    return lines, document


def test_an_overlay_that_is_renamed_moves_its_objects() -> None:
    body = result(config("a"), config("b"))
    lines, document = told([web(body, None, name) for name in OLD] + [web(None, body, name) for name in NEW])
    assert lines == [
        "A  shop appears on 2 clusters: eu-1 eu-2",
        "+ ConfigMap shop/a  taken over from overlay web",
        "+ ConfigMap shop/b  taken over from overlay web",
        "B  web leaves 2 clusters: eu-1 eu-2",
        "4 objects are taken over by another overlay there",
    ]
    assert document["summary"]["objects"] == {"create": 0, "change": 0, "delete": 0}
    assert {one["movesFrom"] for one in document["groups"][0]["objects"]} == {"web"}


def test_what_nobody_takes_over_stays_and_what_nobody_had_is_new() -> None:
    lines, document = told(
        [web(result(config("a"), config("b")), None, OLD[0]), web(None, result(config("b"), config("c")), NEW[0])]
    )
    assert "+ ConfigMap shop/b  taken over from overlay web" in lines
    assert "+ ConfigMap shop/c" in lines
    assert "1 object is taken over by another overlay there" in lines
    assert "1 object stays there, without our marks (to delete it first: state: absent)" in lines
    assert document["summary"]["objects"]["create"] == 1
    elsewhere, document = told([web(result(config("a")), None, OLD[0]), web(None, result(config("a")), NEW[1])])
    assert "+ ConfigMap shop/a" in elsewhere, "twin: on another cluster"
    assert document["summary"]["objects"]["create"] == 1


def claim(name: str) -> dict[str, Any]:
    return {**config(name), "kind": "PersistentVolumeClaim", "data": None}


def test_what_another_overlay_of_the_cluster_has_too_moves_to_it_and_asks_nobody() -> None:
    """Two claimed it and the change takes it from one: the hub hands it over, and deletes nothing (R16)."""
    mended, data = web(result(config("a"), claim("data")), result(config("a"))), ref("data", "PersistentVolumeClaim")
    fleet = fleet_of(*OLD, "dns@eu-1", "api@eu-1", "dns@eu-2")

    def told_with(*holders: str) -> tuple[FleetPlan, list[str]]:
        found = plan([mended], fleet, fleet, held={name_of(name): frozenset({data, ref("z")}) for name in holders})
        (group,) = groups_of(found.units)
        return found, list(lines_of(group, found, FOLDED))

    found, lines = told_with("dns@eu-1")
    assert lines == [
        "- PersistentVolumeClaim shop/data  moves to overlay dns, which has it too and applies it from then on"
    ]
    assert (totals_of(found).created, totals_of(found).deleted, found.holds, found.claims) == (0, 0, (), ())
    assert document_of(found)["groups"][0]["objects"][0]["movesTo"] == "dns"  # type: ignore[index, call-overload]
    assert listed_of(found.text).doomed == {}
    plain, lines = told_with("dns@eu-2")
    assert lines == ["- PersistentVolumeClaim shop/data  HOLD: asks a person before it is deleted (precious-kind)"]
    assert listed_of(plain.text).doomed == {mended.name: {data}}, "twin: on another cluster"
    several, lines = told_with("dns@eu-1", "api@eu-1")
    assert "moves to overlay api, which has it too" in lines[0]
    assert several.claims == (Claim(data, (OverlayName("api"), OverlayName("dns")), (ClusterName("eu-1"),)),)
    assert len({found.digest, plain.digest, several.digest}) == 3


def test_who_gets_an_object_by_the_change_takes_it_and_nothing_is_created_by_that() -> None:
    leaving = web(result(config("a"), config("b")), result(config("b")))
    taking = web(result(config("c")), result(config("c"), config("a")), "api@eu-1")
    held = {name_of("api@eu-1"): frozenset({ref("a"), ref("c")}), leaving.name: frozenset({ref("b")})}
    found, alone = plan([leaving, taking], held=held), plan([leaving, taking])
    assert found.units == alone.units
    assert (totals_of(found).created, totals_of(found).deleted) == (0, 0)


def test_an_object_that_is_taken_over_is_not_said_to_be_claimed_by_both_live() -> None:
    live = live_of(config("a"))  # with the mark of overlay web
    other = replace(SETTING, overlay=OverlayName("shop"), mark=replace(MARK, overlay="shop"))

    def messages(**more: Any) -> list[str]:
        change = ObjectChange(Sign.CREATE, ref("a"), "v1", **more)
        return [one.message for one in judge_object(replace(seen(live, config("a"), None), change=change), other)]

    assert any("neither of both changes it" in text for text in messages())
    assert not any("neither of both changes it" in text for text in messages(moved_from="web"))
