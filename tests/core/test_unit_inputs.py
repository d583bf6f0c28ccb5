"""Whether a change touches a unit, also where what belongs to it cannot be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.fleet import Cluster, Overlay, Unit
from fleet.core.ids import ClusterName, Digest, OverlayName, UnitName
from fleet.core.planning.inputs import RenderInputs, UnitInput, is_unit_touched
from fleet.core.problems import Origin

HERE = Origin("fleet.yaml", 1)
DIRECTORIES = ("", "apps/web", "apps/web/eu", "apps/website", "base")
digests = st.sampled_from("ab").map(Digest)
paths = st.lists(st.sampled_from([f"{one}/kustomization.yaml".lstrip("/") for one in DIRECTORIES]), max_size=3)
inputs = st.builds(RenderInputs, digests, digests, is_partial=st.booleans(), is_whole=st.booleans())


def unit_in(path: str, directory: str) -> Unit:
    web, eu = OverlayName("web"), ClusterName("eu-1")
    return Unit(UnitName(web, eu), path, HERE, (), {}, Overlay(web, directory, HERE), Cluster(eu, HERE))


units = st.builds(unit_in, st.sampled_from(DIRECTORIES[1:]), st.sampled_from(DIRECTORIES))
sides = st.builds(UnitInput, units, inputs, st.sampled_from([None, "team a", "team b"]))


def must_not_be_asked() -> Any:
    raise AssertionError("all paths of two commits were asked for where they decide nothing")


def lies_in(path: str, side: UnitInput) -> bool:
    return any(place and path.startswith(f"{place}/") for place in (side.unit.path, side.unit.overlay.directory))


@given(sides, sides)
def test_a_unit_that_is_known_is_touched_by_its_input_alone(one: UnitInput, other: UnitInput) -> None:
    known = [replace(side, made_from=RenderInputs(Digest(""), side.made_from.all)) for side in (one, other)]
    assert is_unit_touched(*known, must_not_be_asked) is not known[0].gives_as(known[1])


@given(sides, sides, paths)
def test_which_side_came_first_makes_no_difference(one: UnitInput, other: UnitInput, found: list[str]) -> None:
    assert is_unit_touched(one, other, lambda: found) is is_unit_touched(other, one, lambda: found)


@given(sides, sides, paths, st.booleans())
def test_what_lies_in_its_directories_touches_a_unit_that_is_not_known(
    one: UnitInput, other: UnitInput, found: list[str], is_whole: bool
) -> None:
    unknown = replace(one, made_from=replace(one.made_from, is_partial=not is_whole, is_whole=is_whole))
    same = replace(other, asked=unknown.asked, made_from=unknown.made_from)  # so that only the paths can tell
    assert is_unit_touched(unknown, same, lambda: found) is any(
        lies_in(path, side) for path in found for side in (one, other)
    )


@given(sides, paths, st.booleans())
def test_what_lies_elsewhere_does_not_touch_a_unit_that_fails_as_it_did(
    side: UnitInput, found: list[str], is_whole: bool
) -> None:
    unknown = replace(side, made_from=replace(side.made_from, is_partial=not is_whole, is_whole=is_whole))
    elsewhere = [path for path in found if not lies_in(path, side)]
    assert not is_unit_touched(unknown, unknown, lambda: elsewhere)


@given(sides, sides, paths)
def test_the_whole_commit_as_an_input_touches_nothing_by_itself(
    one: UnitInput, other: UnitInput, found: list[str]
) -> None:
    whole = [replace(side, asked=None, made_from=replace(side.made_from, is_whole=True)) for side in (one, other)]
    elsewhere = [path for path in found if not any(lies_in(path, side) for side in whole)]
    assert not is_unit_touched(*whole, lambda: elsewhere)
