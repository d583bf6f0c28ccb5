"""From an inventory and results to orders: what is kept, let go, permitted and held."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.building import ref
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.across import FALL_FROM, judge_across, judge_fall
from fleet.core.documents import parse_document
from fleet.core.fleet import (
    Cluster,
    Connection,
    Fleet,
    Mode,
    Overlay,
    OverlayState,
    TeamRights,
    Unit,
    Unknown,
)
from fleet.core.guard import UNREAD_TEAM, Approved
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.leaving import Leave, Leaving, decode_leaving, encode_leaving
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.release import (
    Orders,
    is_part_of,
    list_digest_of,
    plan_desired,
    plan_leaving_unit,
    plan_unit,
    plan_unknown_unit,
    policy_of,
    units_that_left,
)
from fleet.core.results import EMPTY_BUNDLE, Rendered, RenderProblem, facts_of
from fleet.core.rollout import Apply, Detach, Hold, UnknownDesired
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.core.sync_policy import Suspension

HERE = Origin("fleet.yaml", 1)
C1, C2 = Revision("1" * 40), Revision("2" * 40)
PROBLEM = Problem(Severity.ERROR, "FileInvalid", "clusters/eu-1.yaml does not parse", Origin("clusters/eu-1.yaml", 3))


def name(overlay: str, cluster: str) -> UnitName:
    return UnitName(OverlayName(overlay), ClusterName(cluster))


def unit(overlay: str = "web", cluster: str = "eu-1", **more: object) -> Unit:
    entry = Cluster(ClusterName(cluster), HERE, environment="prod")
    made = Overlay(OverlayName(overlay), HERE, f"overlays/{overlay}")
    made = replace(made, **{key: value for key, value in more.items() if key in {"depends_on", "suspend", "state"}})
    return Unit(name(overlay, cluster), f"overlays/{overlay}", HERE, (), {}, made, entry)


def fleet_of(*units: Unit, unknown: Unknown | None = None, **more: object) -> Fleet:
    clusters = {found.cluster.name: found.cluster for found in units}
    overlays = {found.overlay.name: found.overlay for found in units}
    made = Fleet(C2, clusters=clusters, overlays=overlays, units={found.name: found for found in units})
    return replace(made, unknown=unknown or Unknown(), **more)


HELD = Rendered(Digest("b1"), C1)
TEAM = TeamRights("shop", ("teams/shop",), namespaces=("shop",))


def test_a_rendered_unit_is_applied_with_what_was_permitted_and_approved() -> None:
    approved = frozenset({Approved(ref("old"), "u", Digest("d"))})
    orders = Orders(Rendered(Digest("b2"), C2), HELD, frozenset({ref("gone")}), approved)
    planned = plan_unit(unit(), fleet_of(unit()), orders)
    assert planned is not None
    assert planned.action == Apply(Digest("b2"), frozenset({ref("gone")}), approved)
    assert planned.commit == C2


def test_a_worker_is_told_what_the_team_of_a_unit_is_held_to() -> None:
    planned = plan_unit(replace(unit(), team=TEAM), fleet_of(unit(), teams=(TEAM,)), Orders(HELD))
    assert planned is not None
    assert planned.policy.team == TEAM
    assert policy_of(unit(), fleet_of(unit())).team is None


def test_a_unit_of_which_nobody_knows_whose_it_is_is_held_to_the_least_where_there_are_teams() -> None:
    orders = Orders(held=HELD)
    for teams, rights in (((TEAM,), UNREAD_TEAM), ((), None)):
        fleet = fleet_of(unit(), teams=teams)
        assert plan_unknown_unit(unit().name, PROBLEM, fleet, orders).policy.team == rights
        kept = replace(unit(), team=TEAM)
        assert plan_unknown_unit(unit().name, PROBLEM, fleet, orders, kept).policy.team == TEAM


def test_a_unit_that_cannot_be_rendered_stays_on_what_it_holds() -> None:
    problem = RenderProblem("ResourceMissing", "no such file", C2, "correct it")
    planned = plan_unit(unit(), fleet_of(unit()), Orders(problem, HELD))
    assert planned is not None
    assert planned.action == UnknownDesired("ResourceMissing", "no such file", HELD.bundle)
    assert planned.commit == C1
    never = plan_unit(unit(), fleet_of(unit()), Orders(problem))
    assert never is not None
    assert never.action == UnknownDesired("ResourceMissing", "no such file", None)


def test_a_unit_that_is_not_rendered_yet_is_not_mentioned() -> None:
    assert plan_unit(unit(), fleet_of(unit()), Orders(held=HELD)) is None


def test_a_unit_of_a_broken_file_is_unknown_and_names_the_file() -> None:
    planned = plan_unknown_unit(name("web", "eu-1"), PROBLEM, fleet_of(), Orders(held=HELD))
    assert isinstance(planned.action, UnknownDesired)
    assert planned.action.bundle == HELD.bundle
    assert "clusters/eu-1.yaml:3" in planned.action.message


def test_a_unit_that_left_is_detached_unless_its_leaving_is_held() -> None:
    assert plan_leaving_unit(name("web", "eu-1"), fleet_of(), Orders(held=HELD)).action == Detach()
    held = plan_leaving_unit(name("web", "eu-1"), fleet_of(), Orders(held=HELD, fall="4 of 9"))
    assert held.action == Hold("4 of 9", HELD.bundle)
    assert held.commit == C1


def test_a_wipe_takes_the_place_of_letting_go_and_of_nothing_that_stands_before_it() -> None:
    web, wiped = name("web", "eu-1"), Leave(C2, wipe="op-1 by mara")
    told = plan_leaving_unit(web, fleet_of(), Orders(held=HELD, wipe=wiped))
    assert told.action == Apply(EMPTY_BUNDLE.digest, wipe="op-1 by mara")
    assert (told.commit, told.policy.allow_empty, told.policy.sync.prune) == (C2, True, True)
    for before in (
        Orders(held=HELD, wipe=wiped, fall="4 of 9"),
        Orders(held=HELD, wipe=wiped, unproven=(ClusterName("eu-9"),)),
        Orders(held=HELD, wipe=wiped, waits="shop is being rendered"),
        Orders(held=HELD, wipe=replace(wiped, wiped=True)),
        Orders(held=HELD, wipe=Leave(C2)),
    ):
        assert plan_leaving_unit(web, fleet_of(), before) == plan_leaving_unit(
            web, fleet_of(), replace(before, wipe=None)
        )


def test_a_wipe_carries_out_no_more_than_a_person_approved() -> None:
    approved = frozenset({Approved(ObjectRef("", "ConfigMap", "a", "b"), "uid", Digest("d"))})
    orders = Orders(held=HELD, approved=approved, permits=frozenset({ref("b")}), wipe=Leave(C2, wipe="op-1 by mara"))
    action = plan_leaving_unit(name("web", "eu-1"), fleet_of(), orders).action
    assert isinstance(action, Apply)
    assert (action.approved, action.permits) == (approved, frozenset())


def test_suspensions_of_every_scope_reach_the_unit_and_others_do_not() -> None:
    in_git = Suspension("in Git", "jo")
    given_by_command = [
        Suspension(scope, "jo", "", scope)
        for scope in ("fleet", "cluster eu-1", "overlay web", "unit web@eu-1", "cluster eu-2", "unit web@eu-2")
    ]
    found = policy_of(unit(suspend=in_git), fleet_of(unit()), given_by_command).suspensions
    assert [suspension.scope for suspension in found[1:]] == ["fleet", "cluster eu-1", "overlay web", "unit web@eu-1"]
    assert found[0] == in_git


SAID = Suspension("freeze", "jo", "", "cluster eu-1", Origin("clusters/eu-1.yaml", 7))
WEB, EU1 = name("web", "eu-1"), Cluster(ClusterName("eu-1"), HERE, environment="prod")


@pytest.mark.parametrize(
    "fleet",
    [
        fleet_of(suspend=SAID),
        fleet_of(clusters={EU1.name: replace(EU1, suspend=SAID)}),
        fleet_of(overlays={WEB.overlay: replace(unit().overlay, suspend=SAID)}),
    ],
)
def test_a_suspend_in_git_stops_what_leaves_and_what_this_commit_does_not_say(fleet: Fleet) -> None:
    wipe = Leave(C2, wipe="op-1 by mara")
    for orders in (Orders(held=HELD), Orders(held=HELD, wipe=wipe), Orders(held=HELD, fall="4 of 9")):
        assert plan_leaving_unit(WEB, fleet, orders).policy.suspensions == (SAID,)
        assert plan_leaving_unit(name("web", "eu-1"), fleet_of(), orders).policy.suspensions == ()
    assert plan_unknown_unit(WEB, PROBLEM, fleet, Orders(held=HELD)).policy.suspensions == (SAID,)


def test_a_suspend_of_another_cluster_stops_nothing_that_leaves() -> None:
    elsewhere = fleet_of(
        clusters={ClusterName("us-1"): replace(EU1, name=ClusterName("us-1"), suspend=SAID), EU1.name: EU1},
        overlays={OverlayName("edge"): replace(unit("edge").overlay, suspend=SAID)},
    )
    assert plan_leaving_unit(WEB, elsewhere, Orders(held=HELD, wipe=Leave(C2))).policy.suspensions == ()


def test_a_cluster_that_left_suspended_stays_so_until_its_entry_is_back_without() -> None:
    leave = Leaving({WEB: Leave(C2)}).with_entries({}, {EU1.name: replace(EU1, suspend=SAID)})
    assert decode_leaving(encode_leaving(leave)).units == leave.units
    orders = Orders(held=HELD, wipe=leave.units[WEB])
    (found,) = plan_leaving_unit(WEB, fleet_of(), orders).policy.suspensions
    assert found.reason == (
        "freeze (clusters/eu-1.yaml:7 left Git with this in it; put it back without, and take it out then)"
    )
    assert (found.scope, found.origin, found.owner) == (SAID.scope, SAID.origin, "jo")
    assert plan_leaving_unit(WEB, fleet_of(clusters={EU1.name: EU1}), orders).policy.suspensions == ()
    assert leave.with_entries({EU1.name: EU1}, {}).units == {WEB: Leave(C2)}
    again = leave.with_entries({EU1.name: EU1}, {}).with_entries({}, {EU1.name: EU1})
    assert again.units == {WEB: Leave(C2)}
    assert leave.with_entries({}, {}) is leave, "the next commit does not forget it"


def test_the_entry_of_a_cluster_that_goes_after_its_units_is_remembered() -> None:
    leaving = Leaving({WEB: Leave(C1)}).with_entries({EU1.name: EU1}, {EU1.name: EU1})
    assert leaving.clusters == {}
    assert leaving.with_entries({}, {EU1.name: EU1}).clusters == {EU1.name: EU1}


def test_only_dependencies_on_the_same_cluster_are_waited_for() -> None:
    web = unit(depends_on=(OverlayName("platform"),))
    assert policy_of(web, fleet_of(web, unit("platform", "eu-2"))).depends_on == ()
    assert policy_of(web, fleet_of(web, unit("platform"))).depends_on == (name("platform", "eu-1"),)


def test_a_dependency_that_cannot_be_read_is_waited_for() -> None:
    web = unit(depends_on=(OverlayName("platform"),))
    needed = name("platform", "eu-1")
    for unknown in (Unknown(overlays={needed.overlay: PROBLEM}), Unknown(units={needed: PROBLEM})):
        assert policy_of(web, fleet_of(web, unknown=unknown)).depends_on == (needed,)
    for unknown in (Unknown(units={name("platform", "us-1"): PROBLEM}), Unknown(unnamed=(PROBLEM,))):
        assert policy_of(web, fleet_of(web, unknown=unknown)).depends_on == (), "what is bad costs itself alone"


def test_what_is_removed_waits_for_what_depends_on_it_and_for_what_cannot_be_read() -> None:
    platform = unit("platform", state=OverlayState.ABSENT)
    web, other = unit("web", depends_on=(OverlayName("platform"),)), unit("other")
    assert policy_of(platform, fleet_of(platform, web, other)).removed_after == (web.name,)
    assert policy_of(platform, fleet_of(platform, other)).removed_after == ()
    for unknown in (Unknown(overlays={web.name.overlay: PROBLEM}), Unknown(units={web.name: PROBLEM})):
        assert policy_of(platform, fleet_of(platform, other, unknown=unknown)).removed_after == (web.name,)
    elsewhere = Unknown(units={name("web", "us-1"): PROBLEM})
    assert policy_of(platform, fleet_of(platform, other, unknown=elsewhere)).removed_after == ()
    assert policy_of(other, fleet_of(platform, other, unknown=Unknown(units={web.name: PROBLEM}))).removed_after == ()


def test_an_absent_overlay_may_be_empty() -> None:
    assert policy_of(unit(state=OverlayState.ABSENT), fleet_of(unit())).allow_empty


def test_facts_are_canonical_and_name_the_cluster() -> None:
    assert parse_document(facts_of(unit())) == {
        "name": "eu-1", "environment": "prod", "location": "", "labels": {}, "variables": {},
    }  # fmt: skip


def test_an_order_takes_the_identity_of_git_before_the_recorded_one() -> None:
    entry = Cluster(ClusterName("eu-1"), HERE, identity=Identity("git"))
    made = plan_desired(entry, {}, fleet_of(), identity=Identity("seen"), requests=(), sequence=3)
    assert (made.identity, made.sequence, made.cluster) == ("git", 3, "eu-1")
    made = plan_desired(
        replace(entry, identity=None), {}, fleet_of(), identity=Identity("seen"), requests=(), sequence=4
    )
    assert made.identity == "seen"


# Leaving (R5, R8, R13)


def test_what_a_problem_covers_has_not_left() -> None:
    had = [name("web", "eu-1"), name("web", "eu-2"), name("edge", "eu-1")]
    for unknown, left in (
        (Unknown(), set(had)),
        (Unknown(clusters={ClusterName("eu-1"): PROBLEM}), {name("web", "eu-2")}),
        (Unknown(overlays={OverlayName("web"): PROBLEM}), {name("edge", "eu-1")}),
        (Unknown(units={had[0]: PROBLEM}), set(had[1:])),
        (Unknown(incomplete={ClusterName("eu-1"): PROBLEM}), {name("web", "eu-2")}),
        (Unknown(unnamed=(PROBLEM,)), set()),
        (Unknown(everything=PROBLEM), set()),
    ):
        assert units_that_left(had, fleet_of(unknown=unknown)) == left


def test_a_unit_that_is_still_there_has_not_left() -> None:
    assert units_that_left([name("web", "eu-1")], fleet_of(unit())) == frozenset()


def units_of(count: int, overlay: str = "web") -> list[UnitName]:
    return [name(overlay, f"c-{number}") for number in range(count)]


@given(total=st.integers(1, 40), lost=st.integers(0, 40))
def test_a_fall_is_held_exactly_above_a_quarter_and_from_four_clusters(total: int, lost: int) -> None:
    had = units_of(total)
    left = had[: min(lost, total)]
    is_held = OverlayName("web") in judge_fall(left, had)
    assert is_held == (len(left) >= FALL_FROM and len(left) / total > 0.25)


def test_overlays_fall_each_for_itself() -> None:
    had = [*units_of(8), *units_of(3, "edge")]
    falls = judge_fall(had, had)
    assert set(falls) == {"web"}
    assert falls[OverlayName("web")] == "8 of 8 clusters would leave overlay web at once"


# Deletions across clusters (R9)


def spread(ref_: ObjectRef, count: int) -> dict[UnitName, frozenset[ObjectRef]]:
    return {found: frozenset({ref_}) for found in units_of(count)}


@given(count=st.integers(1, 8), before=st.integers(0, 8), limit=st.integers(1, 5))
def test_spreading_a_deletion_over_commits_never_permits_more_than_at_once(count: int, before: int, limit: int) -> None:
    gone = ref("old")
    earlier = frozenset(ClusterName(f"b-{number}") for number in range(before))
    apart = judge_across(spread(gone, count), limit_clusters=limit, recent={gone: earlier})
    at_once = judge_across(spread(gone, count + before), limit_clusters=limit)
    assert (gone in apart.held) == (gone in at_once.held) == (count + before > limit)


def test_a_held_deletion_does_not_hold_the_others() -> None:
    everywhere, alone = ref("everywhere"), ref("alone")
    candidates = spread(everywhere, 4)
    first = next(iter(candidates))
    candidates[first] |= {alone}
    verdict = judge_across(candidates, limit_clusters=3)
    assert verdict.held == {everywhere}
    assert verdict.permits[first] == {alone}
    assert all(not refs for found, refs in verdict.permits.items() if found != first)


def test_the_same_cluster_counts_once() -> None:
    gone = ref("old")
    recent = {gone: frozenset(ClusterName(f"c-{number}") for number in range(3))}
    assert judge_across(spread(gone, 3), limit_clusters=3, recent=recent).held == frozenset()


# Approvals are bound to the exact list


def request(cluster: str, *deletions: PendingDeletion, commit: Revision = C2) -> HoldRequest:
    return HoldRequest(name("web", cluster), commit, "precious-kind", "would delete", deletions)


def doomed(called: str, uid: str = "u", content: str | None = "d") -> PendingDeletion:
    return PendingDeletion(ref(called), uid, None if content is None else Digest(content))


LIST = (request("eu-1", doomed("a"), doomed("b")), request("eu-2", doomed("a")))
OTHERS = [
    (LIST[0],),
    (request("eu-1", doomed("a"), doomed("b", uid="u2")), LIST[1]),
    (request("eu-1", doomed("a"), doomed("b", content="d2")), LIST[1]),
    (request("eu-1", doomed("a"), doomed("b"), commit=C1), LIST[1]),
    (request("eu-1", doomed("a"), doomed("b"), doomed("c")), LIST[1]),
    (*LIST, request("eu-3", doomed("a"))),
]


def test_the_list_digest_follows_every_part_and_no_order() -> None:
    assert list_digest_of(LIST) == list_digest_of(reversed(LIST))
    digests = {list_digest_of(other) for other in OTHERS}
    assert len(digests) == len(OTHERS)
    assert list_digest_of(LIST) not in digests


def test_what_is_left_of_an_approved_list_stays_approved() -> None:
    assert is_part_of(LIST, LIST)
    assert is_part_of((LIST[1],), LIST)
    assert is_part_of((request("eu-1", doomed("b")),), LIST)
    assert is_part_of((), LIST)


def test_of_two_lists_for_one_reason_each_stays_approved_whichever_is_carried_out_first() -> None:
    both = (request("eu-1", doomed("a")), request("eu-1", doomed("b")))
    assert is_part_of(both, both)
    for left in both:
        assert is_part_of((left,), both)
    assert not is_part_of((request("eu-1", doomed("c")),), both)


def test_anything_that_was_not_approved_is_no_part_of_it() -> None:
    for other in OTHERS[1:]:
        assert not is_part_of(other, LIST)


# What must be remembered of those that leave


def test_leaving_survives_being_written_down() -> None:
    entry = Cluster(
        ClusterName("us-1"), Origin(""), environment="prod", mode=Mode.OBSERVE, connection=Connection("key", True),
        identity=Identity("uid"), suspend=SAID,
    )  # fmt: skip
    leaving = Leaving(
        {
            name("web", "us-1"): Leave(C2, "4 of 9"), name("edge", "eu-1"): Leave(C1),
            name("shop", "us-1"): Leave(C1, wipe="op-1 by mara", wiped=True, suspend=SAID),
        },
        {ClusterName("us-1"): entry},
    )  # fmt: skip
    assert decode_leaving(encode_leaving(leaving)) == leaving
    earlier = encode_leaving(replace(leaving, clusters={})).replace('"suspend":{}', '"other":1')
    assert decode_leaving(earlier) == replace(leaving, clusters={}), "as earlier versions wrote it"


def test_what_goes_with_an_object_is_part_of_the_list_and_more_of_it_is_another_list() -> None:
    def asked(*inside: str) -> tuple[HoldRequest]:
        item = PendingDeletion(ObjectRef("", "Namespace", "", "x"), "u", Digest("c"), inside=inside)
        return (HoldRequest(name("web", "eu-1"), C1, "precious-kind", "m", (item,)),)

    assert len({list_digest_of(asked(*inside)) for inside in ((), ("a",), ("b",), ("a", "b"))}) == 4
    assert is_part_of(asked("a"), asked("a", "b"))
    assert is_part_of(asked(), asked())
    assert not is_part_of(asked("a", "c"), asked("a", "b"))


def test_a_clusters_entry_goes_with_its_last_unit() -> None:
    entry = Cluster(ClusterName("us-1"), HERE)
    leaving = Leaving({name("web", "us-1"): Leave(C2), name("edge", "us-1"): Leave(C2)}, {ClusterName("us-1"): entry})
    one_less = leaving.without(frozenset({name("web", "us-1")}))
    assert set(one_less.clusters) == {"us-1"}
    assert one_less.without(frozenset({name("edge", "us-1")})) == Leaving()
