"""What one unit drops and another one takes, or may: nothing of it goes before that is known (R5, R9, R16)."""

from __future__ import annotations

from core.building import ref
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.fleet import (
    Cluster,
    Overlay,
    TeamRights,
    Unit,
    Unknown,
)
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.moves import (
    Taker,
    Unsure,
    is_built_soon,
    leaving_waits,
    moves_of,
    overlays_to_judge,
    unsure_on,
    whole_commit,
)
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import Rendered, RenderProblem, Result

HERE, COMMIT = Origin("overlays/zshop/overlay.yaml", 3), Revision("c" * 40)
WEB, SHOP, MORE = OverlayName("web"), OverlayName("zshop"), OverlayName("more")
X, Y, Z = ref("x"), ref("y"), ref("z", namespace="team-a")
TEAM = TeamRights("a", ("overlays/zshop",), namespaces=("team-*",))
GOOD, BROKEN = Rendered(Digest("b"), COMMIT), RenderProblem("ResourceMissing", "no such file", COMMIT)
REFS = st.frozensets(st.sampled_from([X, Y, Z, ref("v"), ref("w")]))


def at(overlay: OverlayName, cluster: str = "eu-1") -> UnitName:
    return UnitName(overlay, ClusterName(cluster))


def unit(overlay: OverlayName, team: TeamRights | None = None) -> Unit:
    made = Overlay(overlay, HERE, f"overlays/{overlay}")
    return Unit(at(overlay), f"overlays/{overlay}", HERE, (), {}, made, Cluster(ClusterName("eu-1"), HERE), team=team)


def problem(reason: str = "FieldUnknown") -> Problem:
    return Problem(Severity.ERROR, reason, "does not parse", HERE)


def unsure(results: dict[UnitName, Result], *building: UnitName, unknown: Unknown | None = None) -> list[Unsure]:
    units = [unit(WEB), unit(SHOP, TEAM), unit(MORE)]
    return list(unsure_on(ClusterName("eu-1"), units, results.get, building, unknown or Unknown()))


ALL_GOOD: dict[UnitName, Result] = {at(name): GOOD for name in (WEB, SHOP, MORE)}


def test_where_all_is_known_nothing_is_unsure() -> None:
    assert unsure(ALL_GOOD) == []


def test_what_is_being_built_or_cannot_be_built_is_unsure_and_says_so() -> None:
    assert [each.words for each in unsure(ALL_GOOD, at(SHOP))] == ["zshop, which is being built"]
    (found,) = unsure({**ALL_GOOD, at(SHOP): BROKEN})
    assert (found.words, found.building) == ("zshop, which cannot be built: ResourceMissing", False)
    (new,) = unsure({name: GOOD for name in ALL_GOOD if name != at(MORE)})
    assert (new.overlay, new.building) == ("more", True)


def test_what_a_broken_file_hides_is_unsure_where_it_may_be() -> None:
    for unknown in (
        Unknown(overlays={OverlayName("other"): problem()}),
        Unknown(units={at(OverlayName("other")): problem()}),
        Unknown(incomplete={ClusterName("eu-1"): problem()}),
        Unknown(unnamed=(problem(),)),
    ):
        (found,) = unsure(ALL_GOOD, unknown=unknown)
        assert found.words.endswith("which cannot be read: FieldUnknown (overlays/zshop/overlay.yaml:3)")
        assert found.may_take([X]) == {X}
    elsewhere = Unknown(
        units={at(OverlayName("other"), "us-1"): problem()}, incomplete={ClusterName("us-1"): problem()}
    )
    assert unsure(ALL_GOOD, unknown=elsewhere) == []


def test_an_overlay_delays_only_what_its_team_may_hold() -> None:
    moves = moves_of(at(WEB), frozenset({X, Z}), {}, unsure({**ALL_GOOD, at(SHOP): BROKEN}))
    assert {move.ref for move in moves} == {Z}


def test_a_known_taker_is_named_before_one_that_may_take() -> None:
    (move,) = moves_of(at(WEB), frozenset({X}), {X: Taker(MORE)}, [Unsure("zshop", "which is being built")])
    assert move.why == "moves to more once that is released here"
    assert move.next_step == "fleet describe unit more@eu-1"


@given(REFS, st.dictionaries(st.sampled_from([X, Y, Z]), st.sampled_from([SHOP, MORE])), st.booleans(), st.booleans())
def test_what_anybody_takes_or_may_take_stays_and_nothing_else(
    gone: frozenset[ObjectRef], taken: dict[ObjectRef, OverlayName], is_broken: bool, is_limited: bool
) -> None:
    others = [Unsure("other", "", rights=TEAM if is_limited else None)] if is_broken else []
    stay = {move.ref for move in moves_of(at(WEB), gone, {each: Taker(taken[each]) for each in taken}, others)}
    may = {item for item in gone if item.namespace.startswith("team-")} if is_limited else set(gone)
    assert stay == (gone & taken.keys()) | (may if is_broken else set())


def test_what_a_unit_itself_will_hold_delays_nothing_of_it() -> None:
    own = [Unsure("web", "which is being built", building=True)]
    assert moves_of(at(WEB), frozenset({X}), {}, own) == frozenset()
    assert not is_built_soon(at(WEB), frozenset({X}), own)
    assert leaving_waits(at(WEB), frozenset({X}), {}, own) == ""


def test_only_what_is_being_built_will_be_known_soon() -> None:
    gone = frozenset({X})
    assert is_built_soon(at(WEB), gone, [Unsure("zshop", "", building=True)])
    assert not is_built_soon(at(WEB), gone, [Unsure("zshop", "", building=True, rights=TEAM)])
    assert not is_built_soon(at(WEB), gone, [Unsure("zshop", "")])
    assert not is_built_soon(at(WEB), frozenset(), [Unsure("zshop", "", building=True)])


NAMES = st.sampled_from([at(name, cluster) for name in (WEB, SHOP, MORE) for cluster in ("c1", "c2", "c3")])


@given(st.sets(NAMES), st.sets(NAMES))
def test_an_overlay_is_judged_once_nothing_is_built_on_any_cluster_where_it_waits(
    waiting: set[UnitName], building: set[UnitName]
) -> None:
    found = overlays_to_judge(waiting, building)
    busy = {name.cluster for name in building}
    for overlay in (WEB, SHOP, MORE):
        clusters = {name.cluster for name in waiting if name.overlay == overlay}
        assert (overlay in found) == (bool(clusters) and not clusters & busy)


def test_what_waits_for_other_clusters_says_so() -> None:
    assert {move.ref for move in whole_commit({X, Y})} == {X, Y}
    assert all("a part of the commit is being built" in move.why for move in whole_commit({X}))


def test_what_left_waits_for_the_unit_that_takes_its_objects() -> None:
    assert leaving_waits(at(WEB), frozenset({X, Y}), {X: Taker(SHOP)}, ()) == (
        "it left the repo; ConfigMap shop/x moves to zshop once that is released here"
    )
    said = leaving_waits(at(WEB), frozenset({X, Y}), {}, unsure(ALL_GOOD, at(MORE)))
    assert said == "it left the repo; ConfigMap shop/x, ConfigMap shop/y may move to more, which is being built"


def test_what_left_and_nobody_takes_may_go() -> None:
    assert leaving_waits(at(WEB), frozenset({X}), {Y: Taker(SHOP)}, unsure(ALL_GOOD)) == ""
    assert leaving_waits(at(WEB), frozenset({X}), {}, unsure({**ALL_GOOD, at(SHOP): BROKEN})) == ""
    assert leaving_waits(at(WEB), frozenset(), {}, unsure(ALL_GOOD, at(MORE))) == ""
