"""What is held, and what passes: each danger with its harmless twin."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.building import UNIT, bundle_object, config_map, ref
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers, lists, sampled_from

from fleet.core.asked import asked_of
from fleet.core.fleet import TeamRights
from fleet.core.guard import (
    UNREAD_TEAM,
    Approved,
    Doomed,
    is_precious,
    judge_empty,
    judge_force,
    judge_hook_deletion,
    judge_place,
    judge_prune,
    judge_team_rights,
    prune_rule_of,
)
from fleet.core.ids import Digest, ObjectRef
from fleet.core.objects import PruneRule
from fleet.core.sync_policy import Budget
from fleet.errors import NotAllowedForTeam

BUDGET = Budget(objects=8, share=0.25, share_from=8)


def config_maps(count: int) -> list[Doomed]:
    return [Doomed(ref(f"c{number}"), f"u{number}", Digest("c")) for number in range(count)]


def judge(doomed, *, owned=100, recent=0, permits=None, **more):
    allowed = frozenset(item.ref for item in doomed) if permits is None else permits
    return judge_prune(doomed, owned=owned, recent=recent, budget=BUDGET, permits=allowed, **more)


def test_a_few_deletions_within_the_budget_run() -> None:
    assert judge(config_maps(8)).allowed == tuple(config_maps(8))


def test_one_more_than_the_budget_is_held_with_its_exact_list() -> None:
    verdict = judge(config_maps(9))
    assert verdict.allowed == ()
    assert verdict.hold is not None
    assert verdict.hold.reason == "prune-budget"
    assert verdict.hold.doomed == tuple(config_maps(9))


def test_a_share_of_the_unit_is_held_only_from_eight_objects_on() -> None:
    assert judge(config_maps(3), owned=7).hold is None
    held = judge(config_maps(3), owned=8)
    assert held.hold is not None
    assert held.hold.reason == "prune-budget"
    assert judge(config_maps(2), owned=8).hold is None


def test_half_of_a_unit_may_go_and_more_is_a_sharp_fall() -> None:
    assert judge(config_maps(2), owned=4).hold is None
    held = judge(config_maps(3), owned=5)
    assert held.hold is not None
    assert held.hold.reason == "sharp-fall"


PRECIOUS = [
    ObjectRef("", "Namespace", "", "shop-old"),
    ObjectRef("apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.example.com"),
    ObjectRef("", "PersistentVolume", "", "disk"),
    ref("data", "PersistentVolumeClaim"),
    ref("db", "StatefulSet", "apps"),
    ObjectRef("rbac.authorization.k8s.io", "ClusterRole", "", "all"),
    ObjectRef("rbac.authorization.k8s.io", "ClusterRoleBinding", "", "all"),
]


@pytest.mark.parametrize("precious", PRECIOUS, ids=str)
def test_even_one_precious_object_asks_a_person(precious: ObjectRef) -> None:
    verdict = judge([Doomed(precious), *config_maps(1)])
    assert verdict.hold is not None
    assert verdict.hold.reason == "precious-kind"
    assert str(precious) in verdict.hold.message
    assert len(verdict.hold.doomed) == 2


@pytest.mark.parametrize("harmless", [ref("web", "Deployment", "apps"), ref("r", "Role", "rbac.authorization.k8s.io")])
def test_kinds_that_come_back_by_themselves_are_not_precious(harmless: ObjectRef) -> None:
    assert not is_precious(harmless)
    assert judge([Doomed(harmless)]).hold is None


def test_a_kind_of_another_group_with_a_precious_name_is_no_precious_kind() -> None:
    assert not is_precious(ref("x", "Namespace", "example.com"))


def test_prune_disabled_keeps_and_prune_confirm_asks() -> None:
    keep = Doomed(ref("keep"), prune=PruneRule.DISABLED)
    assert judge([keep, *config_maps(1)]) == judge_prune(
        [keep, *config_maps(1)], owned=100, recent=0, budget=BUDGET, permits={keep.ref, ref("c0")}
    )
    assert judge([keep]).kept == (keep,)
    assert judge([keep]).allowed == ()
    asked = judge([Doomed(ref("ask"), prune=PruneRule.CONFIRM)])
    assert asked.hold is not None
    assert asked.hold.reason == "prune-confirm"


def test_with_prune_off_everything_is_kept() -> None:
    assert judge(config_maps(3), prune=False).kept == tuple(config_maps(3))


def test_what_the_hub_has_not_permitted_waits() -> None:
    verdict = judge(config_maps(2), permits=frozenset({ref("c0")}))
    assert [item.ref for item in verdict.allowed] == [ref("c0")]
    assert [item.ref for item in verdict.waiting] == [ref("c1")]


def test_a_replacement_needs_no_permit_because_the_hub_does_not_count_it() -> None:
    old, *others = (replace(item, replaced=index == 0) for index, item in enumerate(config_maps(2)))
    verdict = judge([old, *others], permits=frozenset())
    assert verdict.allowed == (old,)
    assert verdict.waiting == tuple(others)
    claim = Doomed(ref("data", "PersistentVolumeClaim"))
    held = judge([old, claim], permits=frozenset())
    assert held.allowed == (old,)
    assert held.hold is not None
    assert held.hold.doomed == (claim,)
    assert judge([replace(claim, replaced=True)], permits=frozenset()).allowed == ()


def test_an_approval_passes_the_guards_for_the_very_object_that_was_shown() -> None:
    claim = Doomed(ref("data", "PersistentVolumeClaim"), "u1", Digest("c"), inside=())
    approved = frozenset({Approved(claim.ref, "u1", Digest("c"))})
    assert judge([claim], permits=frozenset(), approved=approved).allowed == (claim,)
    for other in (replace(claim, uid="u2"), replace(claim, content=Digest("d")), replace(claim, uid="")):
        assert judge([other], approved=approved).hold is not None


def test_an_approval_covers_what_would_have_gone_along_and_nothing_more() -> None:
    space = Doomed(ObjectRef("", "Namespace", "", "x"), "u1", Digest("c"))
    approved = frozenset({Approved(space.ref, "u1", Digest("c"), ("a", "b"))})
    for inside in (("a", "b"), ("a",), ()):
        now = replace(space, inside=inside)
        assert judge([now], permits=frozenset(), approved=approved).allowed == (now,)
    for inside in (("a", "b", "c"), ("c",), None):
        assert judge([replace(space, inside=inside)], approved=approved).hold is not None


def test_an_approval_of_a_part_leaves_the_rest_held() -> None:
    first, *others = config_maps(12)
    verdict = judge([first, *others], approved=frozenset({Approved(first.ref, first.uid, first.content)}))
    assert verdict.allowed == (first,)
    assert verdict.hold is not None
    assert verdict.hold.doomed == tuple(others)


@pytest.mark.parametrize(("more", "is_held"), [(2, False), (3, True)])
def test_what_was_approved_makes_no_room_in_the_budget_for_the_rest(more: int, *, is_held: bool) -> None:
    """A quarter of 40 objects is 10, and 8 of them are approved."""
    doomed = config_maps(8 + more)
    verdict = judge_prune(
        doomed,
        owned=40,
        recent=0,
        budget=Budget(objects=20, share=0.25, share_from=8),
        permits=frozenset(item.ref for item in doomed),
        approved=frozenset(Approved(item.ref, item.uid, item.content) for item in doomed[:8]),
    )
    assert (verdict.hold is not None) is is_held
    assert len(verdict.allowed) == (8 if is_held else 10)


def test_replacements_of_generated_names_are_not_counted() -> None:
    replaced = [replace(item, replaced=True) for item in config_maps(60)]
    assert judge(replaced).allowed == tuple(replaced)


def test_replacements_go_on_while_other_deletions_are_held() -> None:
    replaced = replace(config_maps(1)[0], replaced=True)
    namespace = Doomed(ObjectRef("", "Namespace", "", "x"))
    verdict = judge([replaced, namespace])
    assert verdict.allowed == (replaced,)
    assert verdict.hold is not None
    assert verdict.hold.doomed == (namespace,)


def test_what_was_asked_about_stays_held_when_its_hour_is_over() -> None:
    before = asked_of((), "prune-budget", {item.ref for item in config_maps(6)})
    verdict = judge(config_maps(6), before=before)
    assert verdict.allowed == ()
    assert verdict.hold is not None
    assert (verdict.hold.reason, verdict.hold.doomed) == ("prune-budget", tuple(config_maps(6)))
    assert "asked about before" in verdict.hold.message


def test_what_nobody_was_asked_about_goes_beside_it_and_so_does_what_was_approved() -> None:
    approved, again, *fresh = config_maps(6)
    word = Approved(approved.ref, approved.uid, approved.content)
    before = asked_of((), "sharp-fall", {approved.ref, again.ref})
    verdict = judge(config_maps(6), before=before, approved=[word])
    assert set(verdict.allowed) == {approved, *fresh}
    assert verdict.hold is not None
    assert (verdict.hold.reason, verdict.hold.doomed) == ("sharp-fall", (again,))


def test_what_was_asked_about_and_is_there_under_another_name_now_goes() -> None:
    renamed = replace(config_maps(1)[0], replaced=True)
    verdict = judge([renamed], before=asked_of((), "prune-budget", {renamed.ref}))
    assert (verdict.allowed, verdict.hold) == ((renamed,), None)


@given(count=integers(0, 12), asked=integers(0, 12), owned=integers(0, 60), recent=integers(0, 20), data=booleans())
def test_what_was_asked_about_goes_by_an_approval_alone(
    count: int, asked: int, owned: int, recent: int, data: bool
) -> None:
    """Whatever the budget says; and where nothing was asked about, the guards judge as ever."""
    doomed = config_maps(count)
    before = asked_of((), "prune-budget", {item.ref for item in doomed[:asked]})
    permits = None if data else frozenset[ObjectRef]()
    more = {"owned": owned + count, "recent": recent, "permits": permits}
    verdict, plain = judge(doomed, before=before, **more), judge(doomed, **more)
    assert not {item.ref for item in verdict.allowed} & {each.ref for each in before}
    assert set(verdict.allowed) | set(doomed[:asked]) >= set(plain.allowed)
    assert set(verdict.allowed) <= set(plain.allowed)
    held = verdict.hold.doomed if verdict.hold else ()
    assert sorted(item.ref for item in (*verdict.allowed, *held, *verdict.waiting)) == sorted(
        item.ref for item in doomed
    )
    if not before:
        assert verdict == plain


@settings(max_examples=400)
@given(count=integers(1, 9), others=integers(0, 28), recent=integers(0, 8))  # around all limits
def test_spreading_deletions_over_passes_never_beats_the_budget(count: int, others: int, recent: int) -> None:
    spread = judge(config_maps(count), owned=count + others, recent=recent)
    at_once = judge(config_maps(count + recent), owned=count + others + recent, recent=0)
    assert (spread.hold is None) == (at_once.hold is None)


@given(
    rules=lists(sampled_from(PruneRule), max_size=12),
    replaced=booleans(),
    owned=integers(0, 60),
    recent=integers(0, 20),
)
def test_every_doomed_object_ends_in_exactly_one_place(
    rules: list[PruneRule], replaced: bool, owned: int, recent: int
) -> None:
    doomed = [
        replace(item, prune=rule, replaced=replaced) for item, rule in zip(config_maps(len(rules)), rules, strict=True)
    ]
    verdict = judge(doomed, owned=owned + len(doomed), recent=recent)
    held = verdict.hold.doomed if verdict.hold else ()
    placed = [*verdict.allowed, *held, *verdict.waiting, *verdict.kept]
    assert sorted(item.ref for item in placed) == sorted(item.ref for item in doomed)


@given(count=integers(0, 30), owned=integers(0, 60), recent=integers(0, 20))
def test_nothing_is_deleted_that_the_hub_did_not_permit(count: int, owned: int, recent: int) -> None:
    assert judge(config_maps(count), owned=count + owned, recent=recent, permits=frozenset()).allowed == ()


def test_a_prune_annotation_that_nobody_knows_asks_a_person() -> None:
    def rule(text: str) -> PruneRule:
        return prune_rule_of({"metadata": {"annotations": {"fleet.internal/prune": text}}})

    assert prune_rule_of({"metadata": {}}) is PruneRule.ALLOWED
    assert rule("disabled") is PruneRule.DISABLED
    assert rule("disable") is PruneRule.CONFIRM


def test_zero_objects_are_an_error_unless_the_unit_says_so() -> None:
    assert judge_empty(UNIT, wanted=0, owned=5, allow_empty=True) is None
    assert judge_empty(UNIT, wanted=1, owned=5, allow_empty=False) is None
    error = judge_empty(UNIT, wanted=0, owned=5, allow_empty=False)
    assert error is not None
    assert "allowEmpty" in error.next_step
    assert "5 objects" in error.why


def test_replacing_an_object_counts_as_a_deletion() -> None:
    asks = bundle_object(ref("web", "Deployment", "apps"), replace=True)
    same = {"reason": "spec.selector cannot change", "owned": 50, "budget": BUDGET}
    assert judge_force(config_map("x"), recent=0, **same) is None
    done = judge_force(asks, recent=0, **same)
    assert done is not None
    assert [item.ref for item in done.allowed] == [asks.ref]
    again = judge_force(asks, recent=0, before=asked_of((), "prune-budget", {asks.ref}), **same)
    assert again is not None
    assert again.hold is not None
    over = judge_force(asks, recent=8, **same)
    assert over is not None
    assert over.hold is not None
    assert "spec.selector" in over.hold.message
    claim = judge_force(bundle_object(ref("d", "PersistentVolumeClaim"), replace=True), recent=0, **same)
    assert claim is not None
    assert claim.hold is not None
    assert claim.hold.reason == "precious-kind"


TEAM = TeamRights(
    "payments", ("teams/payments/*",), namespaces=("payments", "payments-*"), kinds=("Deployment", "ConfigMap")
)


@pytest.mark.parametrize(
    ("of", "is_allowed"),
    [
        (ref("a", namespace="payments"), True),
        (ref("a", namespace="payments-eu"), True),
        (ref("a", namespace="paymentsx"), False),
        (ref("a", namespace="shop"), False),
        (ref("a", "Secret", namespace="payments"), False),
        (ref("a", "Deployment", "apps", "payments"), True),
        (ObjectRef("rbac.authorization.k8s.io", "ClusterRole", "", "a"), False),
        (ObjectRef("", "Namespace", "", "payments"), False),
    ],
)
def test_a_team_holds_only_its_kinds_and_namespaces(of: ObjectRef, is_allowed: bool) -> None:
    refused = judge_team_rights([bundle_object(of)], TEAM)
    assert (refused == ()) == is_allowed
    assert all(isinstance(error, NotAllowedForTeam) and str(of) in error.what for error in refused)


def test_without_a_list_of_kinds_namespaces_still_bound_a_team() -> None:
    rights = replace(TEAM, kinds=None)
    assert judge_team_rights([bundle_object(ref("a", "Secret", namespace="payments"))], rights) == ()
    assert judge_team_rights([bundle_object(ObjectRef("", "Namespace", "", "payments"))], rights) == ()
    assert len(judge_team_rights([bundle_object(ObjectRef("", "Namespace", "", "shop"))], rights)) == 1
    assert len(judge_team_rights([bundle_object(ObjectRef("", "PersistentVolume", "", "a"))], rights)) == 1


def test_a_custom_kind_that_a_cluster_keeps_outside_of_namespaces_must_be_named() -> None:
    said, kept = (
        ObjectRef("kyverno.io", "ClusterPolicy", "payments", "x"),
        ObjectRef("kyverno.io", "ClusterPolicy", "", "x"),
    )
    rights = replace(TEAM, kinds=None)
    assert judge_team_rights([bundle_object(said)], rights) == ()  # no commit says where the kind lives
    refused = judge_place(kept, rights, where="cluster eu-1")
    assert refused is not None
    assert "kind ClusterPolicy is outside namespaces" in refused.why
    assert "team payments" in refused.next_step


def test_a_custom_kind_outside_of_namespaces_is_a_teams_where_it_is_named_or_nothing_limits_it() -> None:
    kept = ObjectRef("kyverno.io", "ClusterPolicy", "", "x")
    assert judge_place(kept, replace(TEAM, kinds=("ClusterPolicy",))) is None
    assert judge_place(kept, replace(TEAM, kinds=("ClusterPolicy.kyverno.io",))) is None
    assert judge_place(kept, replace(TEAM, kinds=None, namespaces=None)) is None


def test_of_a_team_that_nobody_knows_nothing_outside_of_namespaces_passes() -> None:
    refused = judge_place(ObjectRef("kyverno.io", "ClusterPolicy", "", "x"), UNREAD_TEAM)
    assert refused is not None
    assert "cannot be read" in refused.why


def test_replace_needs_the_right_to_replace() -> None:
    asks = bundle_object(ref("a", namespace="payments"), replace=True)
    assert len(judge_team_rights([asks], TEAM)) == 1
    assert judge_team_rights([asks], replace(TEAM, replace=True)) == ()


def test_a_kind_may_be_named_with_its_group() -> None:
    rights = replace(TEAM, kinds=("Deployment.apps",))
    assert judge_team_rights([bundle_object(ref("a", "Deployment", "apps", "payments"))], rights) == ()
    assert len(judge_team_rights([bundle_object(ref("a", "Deployment", "other", "payments"))], rights)) == 1


def test_a_hooks_object_goes_by_its_annotation_unless_it_is_precious_or_asks() -> None:
    plain = Doomed(ref("h"), "u1", Digest("c"))
    assert judge_hook_deletion(plain, approved=frozenset()).hold is None
    space = Doomed(ObjectRef("", "Namespace", "", "scratch"), "u1", Digest("c"), inside=())
    for asks in (space, replace(plain, prune=PruneRule.CONFIRM)):
        found = judge_hook_deletion(asks, approved=frozenset())
        assert found.allowed == ()
        assert found.hold is not None
        assert "hook-delete" in found.hold.message
        approved = frozenset({Approved(asks.ref, asks.uid, asks.content)})
        assert judge_hook_deletion(asks, approved=approved).hold is None
        assert judge_hook_deletion(replace(asks, uid="u2"), approved=approved).hold is not None
    kept = judge_hook_deletion(replace(plain, prune=PruneRule.DISABLED), approved=frozenset())
    assert kept.allowed == ()
    assert kept.hold is None
