"""A plan hides nothing behind what it tells once: other objects, other contents and other ends are told as such."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.test_change import config, fleet_of, plan, result, web, workload

from fleet.core.documents import Json, canonical
from fleet.core.ids import ClusterName
from fleet.core.planning import groups
from fleet.core.planning.change import UnitChange
from fleet.core.planning.document import document_of
from fleet.core.planning.field_words import FOLDED, WHOLE
from fleet.core.planning.groups import VARIANTS_SHOWN, groups_of
from fleet.core.planning.live import ClusterLook, LiveView
from fleet.core.planning.markdown import LIMIT_BYTES, markdown_of
from fleet.core.planning.words import lines_of
from fleet.core.problems import Origin, Problem, Severity

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())
OVERLAYS = ("crds", "logging", "network")


def named(document: dict[str, Any], name: str, **annotations: str) -> dict[str, Any]:
    metadata = {**document["metadata"], "name": name}
    return {**document, "metadata": {**metadata, "annotations": annotations} if annotations else metadata}


def deployment(overlay: str, image: str = "", **annotations: str) -> dict[str, Any]:
    return named(workload(image=image or f"reg/{overlay}:1"), overlay, **annotations)


def grows(overlay: str, *more: dict[str, Any], cluster: str = "eu-1") -> UnitChange:
    kept = config("kept")
    return web(result(kept), result(kept, *more), f"{overlay}@{cluster}")


def shrinks(overlay: str, *less: dict[str, Any], cluster: str = "eu-1") -> UnitChange:
    kept = [config(f"k{index}") for index in range(9)]
    return web(result(*kept, *less), result(*kept), f"{overlay}@{cluster}")


def folded(units: list[UnitChange], *, wide: bool = False) -> str:
    found = plan(units)
    told = groups_of(found.units, folded=not wide)
    return "\n".join(line for group in told for line in lines_of(group, found, WHOLE if wide else FOLDED))


def in_json(units: list[UnitChange]) -> dict[str, list[dict[str, Any]]]:
    """What the document says of each unit: its own objects, or those of its group."""
    found = document_of(plan(units))
    jsonschema.validate(found, SCHEMA)
    document: Any = found
    of_group = {name: group["objects"] for group in document["groups"] for name in group["units"]}
    return {unit["name"]: unit.get("objects", of_group[unit["name"]]) for unit in document["units"]}


def test_new_objects_of_several_overlays_are_told_each_with_its_own_images() -> None:
    units = [grows(overlay, deployment(overlay)) for overlay in OVERLAYS]
    for text in (folded(units), folded(units, wide=True), markdown_of(plan(units))):
        for overlay in OVERLAYS:
            assert f"+ Deployment shop/{overlay}" in text
            assert f"image reg/{overlay}:1" in text
    images = {name: objects[0]["images"][0]["after"] for name, objects in in_json(units).items()}
    assert images == {f"{overlay}@eu-1": f"reg/{overlay}:1" for overlay in OVERLAYS}


def test_the_same_new_object_of_several_overlays_is_told_once() -> None:
    units = [grows(overlay, deployment("agent")) for overlay in OVERLAYS]
    assert folded(units).count("+ Deployment") == 1


def test_deleted_objects_of_several_overlays_are_all_named() -> None:
    units = [shrinks(overlay, deployment(overlay)) for overlay in OVERLAYS]
    assert folded(units) == "- Deployment shop/crds and 2 more  also shop/logging, shop/network"
    for text in (folded(units, wide=True), markdown_of(plan(units))):
        assert all(f"shop/{overlay}" in text for overlay in OVERLAYS)
    names = {name: objects[0]["object"]["name"] for name, objects in in_json(units).items()}
    assert names == {f"{overlay}@eu-1": overlay for overlay in OVERLAYS}


def test_what_is_kept_in_one_overlay_is_not_said_to_be_kept_in_all() -> None:
    units = [
        shrinks(overlay, deployment(overlay, **({"fleet.internal/prune": "disabled"} if overlay == "crds" else {})))
        for overlay in OVERLAYS
    ]
    for text in (folded(units), folded(units, wide=True), markdown_of(plan(units))):
        (kept,) = [line for line in text.splitlines() if "kept: prune is disabled" in line]
        assert "shop/crds " in kept
        assert "more" not in kept
    rules = {name: objects[0]["prune"] for name, objects in in_json(units).items()}
    assert rules == {"crds@eu-1": "disabled", "logging@eu-1": "allowed", "network@eu-1": "allowed"}


def test_what_is_kept_on_one_cluster_is_not_said_to_be_kept_on_many_others() -> None:
    kept = [config(f"k{index}") for index in range(9)]
    units = [
        web(
            result(*kept, deployment("old", **({"fleet.internal/prune": "disabled"} if not index else {}))),
            result(*kept, config("region", at=f"r{index}")),  # so that there are too many ways to tell each apart
            f"web@c{index}",
        )
        for index in range(VARIANTS_SHOWN + 2)
    ]
    told = [line for line in folded(units).splitlines() if line.startswith("- Deployment")]
    assert len(told) == 2
    assert [line for line in told if "kept" in line] == ["- Deployment shop/old    kept: prune is disabled on it"]


def of_cluster(index: int, **more: Any) -> dict[str, Any]:
    return deployment("web", f"reg-{index}/web:1", **more)


def comes(index: int, cluster: str) -> UnitChange:
    return grows("web", of_cluster(index), cluster=cluster)


def moves_on(index: int, cluster: str) -> UnitChange:
    return web(result(of_cluster(99)), result(of_cluster(index)), f"web@{cluster}")


@pytest.mark.parametrize("made", [comes, moves_on])
def test_an_image_of_its_own_on_each_cluster_is_said_to_differ(made: Callable[[int, str], UnitChange]) -> None:
    units = [made(index, f"c{index:02}") for index in range(30)]
    assert "image differs from cluster to cluster, 30 values" in folded(units)
    assert "reg-0/web:1" not in folded(units)
    wide = folded(units, wide=True)
    assert all(f"reg-{index}/web:1" in wide for index in range(30))
    found = in_json(units)
    assert [found[f"web@c{index:02}"][0]["images"][0]["after"] for index in range(30)] == [
        f"reg-{index}/web:1" for index in range(30)
    ]
    few = [made(index, f"c{index:02}") for index in range(VARIANTS_SHOWN)]
    assert all(f"reg-{index}/web:1" in folded(few) for index in range(VARIANTS_SHOWN))


def test_a_new_object_whose_content_differs_is_said_to_differ_and_one_that_does_not_is_not() -> None:
    units = [grows("web", config("region", at=f"r{index}"), cluster=f"c{index}") for index in range(9)]
    assert folded(units) == "+ ConfigMap shop/region  content differs from cluster to cluster, 9 results"
    assert document_of(plan(units))["groups"][0]["varying"] == ["ConfigMap shop/region: content"]  # type: ignore[index, call-overload]
    alike = [grows("web", config("region", at="r"), cluster=f"c{index}") for index in range(9)]
    assert folded(alike) == "+ ConfigMap shop/region"


def test_pods_that_restart_are_told_as_they_differ() -> None:
    units = [
        web(
            result(workload(replicas=replicas)),
            result(workload(replicas=replicas, image="reg/web:2")),
            f"web@c{replicas}",
        )
        for replicas in (2, 5)
    ]
    assert folded(units).endswith("restarts 2-5 pods")
    assert folded(units[:1]).endswith("restarts 2 pods")


def test_objects_of_several_overlays_are_compared_with_those_to_which_the_same_happens() -> None:
    """Their names sort otherwise from overlay to overlay."""
    units = [
        web(
            result(config(f"{one}-cfg", a="1"), config(f"{two}-cfg", b="1")),
            result(config(f"{one}-cfg", a="2"), config(f"{two}-cfg", b="2")),
            f"{overlay}@eu-1",
        )
        for overlay, one, two in (("crds", "a", "z"), ("logging", "z", "a"), ("network", "a", "z"))
    ]
    assert folded(units).splitlines() == [
        "~ ConfigMap shop/a-cfg and 1 more  data.a 1 -> 2",
        "                                   also shop/z-cfg",
        "~ ConfigMap shop/z-cfg and 1 more  data.b 1 -> 2",
        "                                   also shop/a-cfg",
    ]


# Many overlays


def own_change(index: int) -> UnitChange:
    return web(result(config("own", a="1")), result(config("own", a=f"new{index}")), f"o{index:03}@eu-1")


def test_the_work_grows_with_the_units_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Json] = []

    def counting(value: Json) -> bytes:
        written.append(value)
        return canonical(value)

    monkeypatch.setattr(groups, "canonical", counting)

    def work_of(count: int) -> int:
        written.clear()
        assert len(groups_of([own_change(index) for index in range(count)])) == count
        return len(written)

    assert work_of(60) == 3 * work_of(20)


def test_what_a_group_has_beside_another_of_its_overlay_alone_is_told() -> None:
    def both(overlay: str, *more: dict[str, Any], cluster: str) -> UnitChange:
        return web(result(config("own", a="1")), result(config("own", a="2"), *more), f"{overlay}@{cluster}")

    units = [both("web", cluster=f"c{index}") for index in range(3)]
    more = config("more", a="1")
    found = groups_of([*units, both("web", more, cluster="c9")])
    assert [(group.based_on, len(group.objects)) for group in found] == [("", 1), ("A", 1)]
    found = groups_of([*units, both("api", more, cluster="c9")])
    assert [(group.based_on, len(group.objects)) for group in found] == [("", 1), ("", 2)], "twin: another overlay's"


def test_what_stays_of_units_that_leave_is_counted_over_their_group_alone() -> None:
    leaving = [web(result(config("a"), config("b")), None, f"{overlay}@eu-1") for overlay in ("crds", "logging")]
    told = folded([*leaving, grows("network", config("c"))], wide=True).splitlines()
    stays = "2 objects stay there, without our marks (to delete them first: state: absent)"
    assert told.count(stays) == 2
    assert len(told) == 3


def policy(overlay: str, name: str = "deny") -> dict[str, Any]:
    metadata = {"name": name, "namespace": overlay}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": {}}


def test_a_new_object_in_the_own_namespace_of_each_of_many_overlays_is_told_once() -> None:
    overlays = [f"o{index}" for index in range(VARIANTS_SHOWN + 1)]
    units = [grows(overlay, policy(overlay), cluster=cluster) for overlay in overlays for cluster in ("eu-1", "eu-2")]
    assert folded(units).splitlines() == [
        "+ NetworkPolicy o0/deny and 3 more  content differs from unit to unit, 4 results",
        "                                    also o1/deny, o2/deny, o3/deny",
    ]
    assert folded(units, wide=True).count("+ NetworkPolicy") == len(overlays)
    assert {name: objects[0]["object"]["namespace"] for name, objects in in_json(units).items()} == {
        str(unit.name): unit.name.overlay for unit in units
    }
    few = [unit for unit in units if unit.name.overlay != overlays[-1]]
    assert folded(few).splitlines() == [f"+ NetworkPolicy {overlay}/deny" for overlay in overlays[:-1]]


def test_new_images_of_many_overlays_are_said_to_differ() -> None:
    units = [grows(overlay, deployment(overlay)) for overlay in ("api", *OVERLAYS)]
    assert "image differs from unit to unit, 4 values" in folded(units)
    assert "reg/api:1" not in folded(units)


def test_new_objects_whose_contents_differ_are_told_by_their_names() -> None:
    units = [grows(overlay, policy(overlay, "dns"), policy(overlay)) for overlay in (f"o{index}" for index in range(9))]
    told = [line for line in folded(units).splitlines() if "also" in line]
    assert told == [
        f"{'':<36}also {', '.join(f'o{at}/{name}' for at in range(1, 7))} and 2 more" for name in ("deny", "dns")
    ]


# A comment


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("ask @acme/admins", "@acme"),
        ("see #12", "#12"),
        ("see acme/x#12", "#12"),
        ("see !12", "!12"),
        ("see gh-12", "gh-12"),
        ("www.evil.example/login", "www.evil"),
        ("https://evil.example", "://"),
        ("a@b.co", "a@b"),
    ],
)
def test_nothing_that_a_person_wrote_becomes_a_mention_or_a_link(text: str, linked: str) -> None:
    """A host looks for these in the shown text: a backslash before them is gone by then."""
    shown = markdown_of(plan([], notes=(text,))).replace("\\", "")
    assert linked not in shown
    assert text in shown.replace("\u200b", "")


def test_what_looks_like_none_stays_as_it_is() -> None:
    assert "- **Note:** a: b, 7 of 8 (c) - done! www" in markdown_of(plan([], notes=("a: b, 7 of 8 (c) - done! www",)))


def with_step(next_step: str) -> str:
    looks = (ClusterLook(ClusterName("eu-1"), "no answer", next_step),)
    (line,) = [line for line in markdown_of(plan([], live=LiveView(looks))).splitlines() if "no answer" in line]
    return line.partition("no answer; ")[2]


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        ("fleet diff web@eu-1", "`fleet diff web@eu-1`"),
        ("a `b` and ``c``", "``` a `b` and ``c`` ```"),
        ("see @acme <b>\n# x", "`see @acme <b>\ufffd# x`"),
    ],
)
def test_a_next_step_can_be_copied_and_is_nothing_but_code(step: str, shown: str) -> None:
    assert with_step(step) == shown


@pytest.mark.parametrize("limit", [16 * 1024, LIMIT_BYTES])
def test_a_comment_of_long_words_of_many_bytes_stays_within_its_limit(limit: int) -> None:
    places = [Origin(f"o/{'目' * 200}{index}.yaml", 1) for index in range(30)]
    problems = tuple(
        Problem(Severity.WARNING, "X", "設定" * 300 + str(index), place) for index, place in enumerate(places)
    )
    fleets = fleet_of("web@eu-1"), replace(fleet_of("web@eu-1"), problems=problems)
    found = plan(
        [grows("web", deployment("web"))], *fleets, notes=tuple("@理由" * 300 + str(index) for index in range(30))
    )
    text = markdown_of(found, limit_bytes=limit)
    assert len(text.encode()) <= limit
    assert "more: `fleet plan` shows them" in text
    assert "more: `fleet validate` shows them" in text
    few = markdown_of(plan([], notes=("a", "b")), limit_bytes=limit)
    assert "shows them" not in few


def test_clusters_of_one_overlay_on_which_the_same_comes_in_another_order_are_told_together() -> None:
    """Names of their own put what is new before what differs on one cluster, and behind it on another."""
    units = [
        web(
            result(config("b", namespace=overlay, a="1")),
            result(config("b", namespace=overlay, a="2"), config(new, namespace=overlay, a=overlay + cluster)),
            f"{overlay}@{cluster}",
        )
        for overlay in ("one", "two", "three", "four")
        for cluster, new in (("eu-1", "a"), ("eu-2", "c"))
    ]
    text = folded(units)
    assert "+ ConfigMap" in text
    assert "~ ConfigMap" in text
    for name, objects in in_json(units).items():
        new = "a" if name.endswith("eu-1") else "c"
        assert {one["object"]["name"] for one in objects} == {"b", new}
