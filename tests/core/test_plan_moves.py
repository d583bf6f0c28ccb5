"""An overlay under another name, and objects that another overlay takes over: told as moves, not as new ones (R16)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.building import MARK, live_of, ref
from core.test_change import config, fleet_of, name_of, plan, result, web, workload
from core.test_plan_live import SETTING, seen

from fleet.core.ids import ClusterName, OverlayName
from fleet.core.objects import Bundle, ObjectOptions
from fleet.core.planning.change import ObjectChange, SideResult, Sign, UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.field_words import FOLDED
from fleet.core.planning.fleet_plan import Claim, FleetPlan
from fleet.core.planning.groups import groups_of
from fleet.core.planning.listing import listed_of
from fleet.core.planning.live_judge import judge_object
from fleet.core.planning.words import lines_of, summary, title_of, totals_of
from fleet.errors import ImmutableField

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


def selected(app: str, image: str, **annotations: str) -> dict[str, Any]:
    made = workload(image=image, replicas=1, selector={"matchLabels": {"app": app}})
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}}


WAS, IS = selected("web", "reg/web:1"), selected("shop", "reg/web:2")
WHAT_CHANGES = [
    "spec.selector cannot be changed in place: the apply fails",
    "image reg/web:1 -> 2",
    "spec.selector.matchLabels.app web -> shop",
]


def moving(*units: tuple[str, SideResult | None, SideResult | None], is_hub: bool = False) -> FleetPlan:
    """Units as two commits have them, with their bundles as `fleet plan` has them; a hub passes none."""
    changes = [web(before, after, name) for name, before, after in units]
    sides = {name_of(name): (bundle_of(before), bundle_of(after)) for name, before, after in units}
    names = [name for name, *_ in units]
    found = plan(changes, fleet_of(*names), fleet_of(*names), bundles={} if is_hub else sides)
    jsonschema.validate(document_of(found), SCHEMA)
    return found


def bundle_of(side: SideResult | None) -> Bundle | None:
    return side.result if side is not None and isinstance(side.result, Bundle) else None


def said(found: FleetPlan, ref_or_name: str) -> list[str]:
    """What is said of one object."""
    lines = [line for group in groups_of(found.units) for line in lines_of(group, found, FOLDED)]
    start = next(index for index, line in enumerate(lines) if line.startswith(ref_or_name))
    texts = [lines[start].removeprefix(ref_or_name).strip()]
    for line in lines[start + 1 :]:
        if not line.startswith(" "):
            break
        texts.append(line.strip())
    return texts


@pytest.mark.parametrize("stays", [False, True])
def test_what_an_object_changes_by_its_move_is_told_and_counted(stays: bool) -> None:
    """An overlay under another name, or one object that goes to another overlay."""
    left = result(config("a")) if stays else None
    units = ("web@eu-1", result(WAS, config("a")), left), ("shop@eu-1", None, result(IS))
    found = moving(*units)
    assert found.digest == moving(*units, is_hub=True).digest
    first, *others = said(found, "+ Deployment shop/web")
    assert first == "taken over from overlay web"  # and no pod restarts: the apply fails
    assert others == WHAT_CHANGES
    assert summary(found) == "1 object changes, none is deleted, none is created"
    if stays:
        assert said(found, "- Deployment shop/web") == ["moves to overlay shop"]
    plain = moving(("web@eu-1", result(IS, config("a")), left), ("shop@eu-1", None, result(IS)))
    assert said(plain, "+ Deployment shop/web") == ["taken over from overlay web"], "twin"
    assert summary(plain) == "0 objects change, none is deleted, none is created"


def test_what_moves_is_never_made_anew_whatever_it_asks_for() -> None:
    """The worker deletes nothing that another overlay gives up: `stages._is_replaced`."""
    old, new = (selected(app, "reg/web:1", **{"fleet.internal/replace": "enabled"}) for app in ("web", "shop"))
    found = moving(("web@eu-1", result(old), None), ("shop@eu-1", None, result(new)))
    assert "spec.selector cannot be changed in place: the apply fails" in said(found, "+ Deployment shop/web")
    assert (found.holds, listed_of(found.text).doomed) == ((), {})
    stays = moving(("web@eu-1", result(old), result(new)))
    words = said(stays, "~ Deployment shop/web")[0]
    assert words.startswith("deleted and made anew: spec.selector cannot be changed in place"), "twin: without a move"


def test_what_the_new_overlay_leaves_as_it_is_changes_by_no_move() -> None:
    left = selected("shop", "reg/web:2", **{"fleet.internal/reconcile": "ifAbsent"})
    found = moving(("web@eu-1", result(WAS), None), ("shop@eu-1", None, result(left)))
    text = said(found, "+ Deployment shop/web")[0]
    assert text.startswith("left as it is where it is there already")
    assert summary(found) == "0 objects change, none is deleted, none is created"


def test_live_an_object_whose_overlay_stays_is_taken_over_and_the_apply_fails() -> None:
    live = live_of(WAS)  # with the mark of overlay web
    setting = replace(SETTING, overlay=OverlayName("shop"), mark=replace(MARK, overlay="shop"))
    options = ObjectOptions(replace=True)

    def messages(found: FleetPlan) -> list[str]:
        (change,) = (item for unit in found.units for item in unit.of_sign(Sign.CREATE))
        refused = ImmutableField("x", why="spec.selector: field is immutable")
        one = replace(seen(live, IS, None), change=change, refused=refused, options=options)
        return [finding.message for finding in judge_object(one, setting)]

    stays = web(result(WAS, config("a")), result(config("a")))
    taken = web(None, result(IS), "shop@eu-1")
    assert messages(plan([stays, taken])) == [
        "the apply will fail, a field cannot be changed: spec.selector: field is immutable"
    ]
    alone = messages(plan([taken]))
    assert any("neither of both changes it" in text for text in alone), "twin: web keeps it"
