"""A unit's plan: every object ends in one place, and nothing unknown is ever deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from core.building import UNIT, bundle_object, ref, row, seen, wanted
from hypothesis import given
from hypothesis.strategies import booleans, dictionaries, fixed_dictionaries, none, one_of, sampled_from, sets

from fleet.core.fingerprint import SyncState
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.objects import PruneRule
from fleet.core.plan import Cause, Complete, DesiredObject, Incomplete, Seen, UnitPlan, plan_unit, prove_complete
from fleet.core.record import MarkKind, Row, RowState
from fleet.core.sync_policy import Adopt

A, B, C = ref("a"), ref("b"), ref("c")
KINDS = {("", "ConfigMap")}
BUNDLE = Digest("b")


@dataclass(frozen=True)
class Claims:
    """What other units want, as a table."""

    wants: Mapping[ObjectRef, frozenset[OverlayName]] = field(default_factory=dict)
    known: frozenset[OverlayName] = frozenset()
    passive: frozenset[OverlayName] = frozenset()  # whom an object is `ifAbsent` to
    suspended: frozenset[OverlayName] = frozenset()
    gone: frozenset[OverlayName] = frozenset()

    def others(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        return self.wants.get(ref, frozenset()) - {overlay}

    def takers(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        return self.others(ref, overlay) - self.passive

    def is_known(self, overlay: OverlayName) -> bool:
        return overlay in self.known

    def is_gone(self, overlay: OverlayName) -> bool:
        return overlay in self.gone

    def keeps(self, overlay: OverlayName) -> bool:
        return overlay in self.suspended


def plan(
    items: list[DesiredObject],
    rows: list[Row] = [],  # noqa: B006
    live: dict[ObjectRef, Seen | None] | None = None,
    *,
    claims: Claims = Claims(),
    adopt: Adopt = Adopt.NEVER,
    complete: Complete | Incomplete | None = None,
) -> UnitPlan:
    proof = complete or prove()
    return plan_unit(
        UNIT, items, {item.ref: item for item in rows}, live or {}, claims=claims, adopt=adopt, complete=proof
    )


def test_an_object_that_is_not_there_is_created() -> None:
    made = plan([wanted(A)], live={A: None})
    assert [(step.wanted.ref, step.cause) for step in made.create] == [(A, Cause.NEW)]
    assert made.writes


def test_an_object_that_vanished_is_made_anew() -> None:
    assert plan([wanted(A)], [row(A)], {A: None}).create[0].cause is Cause.GONE


def test_a_job_that_completed_and_vanished_is_done_for_its_digest() -> None:
    done = row(A, state=RowState.DONE, desired="new")
    assert plan([wanted(A)], [done], {A: None}).unchanged == [A]
    assert plan([wanted(A, digest="newer")], [done], {A: None}).create[0].cause is Cause.GONE


@pytest.mark.parametrize(
    ("state", "where"),
    [
        (SyncState.IN_SYNC, "unchanged"),
        (SyncState.CHANGED, "change"),
        (SyncState.DRIFTED, "drifted"),
        (SyncState.ASK_ARBITER, "ask"),
        (SyncState.MISSING, "unknown"),
    ],
)
def test_an_object_of_ours_goes_where_its_verdict_says(state: SyncState, where: str) -> None:
    made = plan([wanted(A)], [row(A)], {A: seen(state)})
    assert len(getattr(made, where)) == 1
    assert places_of(made)[A] == 1


def test_an_object_whose_view_is_not_complete_is_unknown_and_never_created() -> None:
    made = plan([wanted(A)], [row(A)], {})
    assert made.unknown == [A]
    assert not made.writes


@pytest.mark.parametrize("adopt", list(Adopt))
def test_an_unmarked_object_is_foreign_and_carries_the_rule_for_adoption(adopt: Adopt) -> None:
    made = plan([wanted(A)], live={A: seen(mark=MarkKind.UNMARKED)}, adopt=adopt)
    assert [(found.wanted.ref, found.adopt) for found in made.foreign] == [(A, adopt)]
    assert not made.writes


def test_our_own_object_without_any_mark_is_released_and_another_incarnation_is_foreign() -> None:
    released = plan([wanted(A)], [row(A, uid="u1")], {A: seen(mark=MarkKind.UNMARKED, uid="u1")})
    assert released.released == [A]
    foreign = plan([wanted(A)], [row(A, uid="u1")], {A: seen(mark=MarkKind.UNMARKED, uid="u2")})
    assert len(foreign.foreign) == 1


def test_an_object_without_our_annotation_is_released_and_one_without_the_label_is_healed() -> None:
    assert plan([wanted(A)], [row(A)], {A: seen(mark=MarkKind.ANNOTATION_LOST)}).released == [A]
    healed = plan([wanted(A)], [row(A)], {A: seen(mark=MarkKind.LABEL_LOST)})
    assert healed.drifted[0].cause is Cause.LABEL_LOST


@pytest.mark.parametrize(
    ("state", "rows", "where"),
    [
        (SyncState.CHANGED, [row(A, desired="older")], "change"),
        (SyncState.ASK_ARBITER, [row(A, desired="older")], "ask"),
        (SyncState.ASK_ARBITER, [row(A, desired="")], "ask"),
        (SyncState.ASK_ARBITER, [], "ask"),
    ],
    ids=["changed", "respelled", "rebuilt", "unrecorded"],
)
def test_a_label_is_put_back_by_what_git_changed_not_the_other_way_round(
    state: SyncState, rows: list[Row], where: str
) -> None:
    made = plan([wanted(A)], rows, {A: seen(state, MarkKind.LABEL_LOST)})
    assert (len(getattr(made, where)), made.drifted) == (1, [])
    assert all(step.cause is Cause.CHANGED for step in made.change)
    assert places_of(made)[A] == 1


@pytest.mark.parametrize("state", [SyncState.IN_SYNC, SyncState.DRIFTED, SyncState.ASK_ARBITER])
def test_a_label_of_what_git_left_as_it_was_is_put_back_whatever_became_of_the_rest(state: SyncState) -> None:
    made = plan([wanted(A)], [row(A)], {A: seen(state, MarkKind.LABEL_LOST)})
    assert [step.cause for step in made.drifted] == [Cause.LABEL_LOST]
    assert places_of(made)[A] == 1


def test_released_stays_released_until_a_person_decides() -> None:
    for live in ({}, {A: seen()}, {A: seen(mark=MarkKind.UNMARKED)}):
        assert plan([wanted(A)], [row(A, state=RowState.RELEASED)], live).released == [A]


@pytest.mark.parametrize("mark", [MarkKind.OTHER_INSTALLATION, MarkKind.FORGED])
def test_an_object_with_anothers_mark_is_left_alone(mark: MarkKind) -> None:
    made = plan([wanted(A)], live={A: seen(mark=mark, who="rival")}, adopt=Adopt.ALWAYS)
    assert [(found.ref, found.who) for found in made.disputed] == [(A, "rival")]
    assert not made.writes


def test_two_units_that_want_one_object_both_leave_it_and_are_named() -> None:
    claims = Claims({A: frozenset({OverlayName("web"), OverlayName("api")})}, frozenset({OverlayName("api")}))
    made = plan([wanted(A)], [row(A)], {A: seen(SyncState.CHANGED)}, claims=claims)
    assert [found.who for found in made.disputed] == ["api"]
    assert not made.writes


def test_what_a_suspended_unit_has_is_not_taken_over_until_it_is_resumed() -> None:
    api = OverlayName("api")
    theirs = {A: seen(SyncState.CHANGED, MarkKind.OTHER_UNIT, who="api"), B: None}
    made = plan([wanted(A), wanted(B)], live=theirs, claims=Claims(known=frozenset({api}), suspended=frozenset({api})))
    assert [(item.ref, item.who, item.message) for item in made.awaited] == [
        (A, "api", "ConfigMap shop/a moves here once overlay api gives it up")
    ]
    assert ([step.wanted.ref for step in made.create], made.change, made.disputed) == ([B], [], [])
    other = Claims(known=frozenset({api}), suspended=frozenset({OverlayName("db")}))
    resumed = plan([wanted(A), wanted(B)], live=theirs, claims=other)
    assert ([step.cause for step in resumed.change], resumed.awaited) == ([Cause.MOVED], [])


def test_an_object_moves_between_units_without_being_deleted() -> None:
    api = OverlayName("api")
    theirs = seen(SyncState.CHANGED, MarkKind.OTHER_UNIT, who="api")
    taken = plan([wanted(A)], live={A: theirs}, claims=Claims(known=frozenset({api})))
    assert [step.cause for step in taken.change] == [Cause.MOVED]
    given_up = plan([], [row(A)], {A: seen()}, claims=Claims({A: frozenset({api})}, frozenset({api})))
    assert given_up.doomed == []
    assert [found.who for found in given_up.moving] == ["api"]
    passive = Claims({A: frozenset({api})}, frozenset({api}), passive=frozenset({api}))
    left = plan([], [row(A)], {A: seen()}, claims=passive)
    assert (left.doomed, left.moving, left.let_go) == ([], [], [A])
    after = plan([], [row(A)], {A: seen(mark=MarkKind.OTHER_UNIT, who="api")})
    assert after.doomed == []
    assert after.let_go == [A]


def test_an_object_of_a_unit_that_is_not_known_now_is_not_taken() -> None:
    theirs = seen(SyncState.CHANGED, MarkKind.OTHER_UNIT, who="api")
    made = plan([wanted(A)], live={A: theirs})
    assert not made.writes
    assert made.disputed[0].who == "api"


@pytest.mark.parametrize("adopt", list(Adopt))
def test_what_an_overlay_left_that_is_gone_is_nobodys_and_carries_the_rule_for_adoption(adopt: Adopt) -> None:
    theirs = {A: seen(SyncState.CHANGED, MarkKind.OTHER_UNIT, who="api")}
    made = plan([wanted(A)], live=theirs, adopt=adopt, claims=Claims(gone=frozenset({OverlayName("api")})))
    assert [(found.wanted.ref, found.adopt) for found in made.foreign] == [(A, adopt)]
    assert made.foreign[0].seen.managers == ("overlay api, which is gone",)
    assert (made.writes, made.disputed) == (False, [])
    other = plan([wanted(A)], live=theirs, adopt=adopt, claims=Claims(gone=frozenset({OverlayName("db")})))
    assert (other.foreign, [found.who for found in other.disputed]) == ([], ["api"])


def test_what_came_along_before_its_overlay_was_gone_is_applied() -> None:
    """It is in our record: a hook was waited for, and the hub was started anew meanwhile."""
    theirs = {A: seen(SyncState.CHANGED, MarkKind.OTHER_UNIT, who="api", uid="u1")}
    gone = Claims(gone=frozenset({OverlayName("api")}))
    assert [step.cause for step in plan([wanted(A)], [row(A, uid="u1")], theirs, claims=gone).change] == [Cause.MOVED]
    assert plan([wanted(A)], [row(A, uid="u2")], theirs, claims=gone).change == []


def test_reconcile_disabled_is_skipped_and_still_not_deleted() -> None:
    made = plan([wanted(A, reconcile=False)], [row(A)], {A: seen(SyncState.CHANGED)})
    assert made.skipped == [A]
    assert made.doomed == []


def test_a_kind_that_is_not_served_is_named() -> None:
    assert [item.ref for item in plan([wanted(A, served=False)], live={}).kind_missing] == [A]


def test_an_object_that_is_being_deleted_is_waited_for() -> None:
    assert plan([wanted(A)], [row(A)], {A: seen(deleting=True)}).terminating == [A]


def test_what_git_dropped_is_a_candidate_with_its_uid_and_rule() -> None:
    made = plan(
        [wanted(A)], [row(A), row(B)], {A: seen(), B: seen(uid="u1", content=Digest("c"), prune=PruneRule.CONFIRM)}
    )
    assert made.doomed is not None
    assert [(item.ref, item.uid, item.content, item.prune) for item in made.doomed] == [
        (B, "u1", "c", PruneRule.CONFIRM)
    ]


def test_what_git_dropped_and_is_gone_only_leaves_the_record() -> None:
    made = plan([wanted(A)], [row(A), row(B)], {A: seen(), B: None})
    assert made.gone == [B]
    assert made.doomed == []


def test_what_git_dropped_and_the_view_cannot_tell_stays_in_the_record() -> None:
    made = plan([], [row(B)], {})
    assert (made.unknown, made.gone, made.doomed) == ([B], [], [])


@pytest.mark.parametrize(
    "there",
    [
        seen(uid="u2"),
        seen(mark=MarkKind.UNMARKED),
        seen(mark=MarkKind.ANNOTATION_LOST),
        seen(mark=MarkKind.OTHER_INSTALLATION),
        seen(mark=MarkKind.LABEL_LOST),
        seen(mark=MarkKind.COPIED),
    ],
)
def test_an_object_that_does_not_carry_exactly_our_mark_is_never_a_candidate(there: Seen) -> None:
    assert plan([], [row(B)], {B: there}).doomed == []


def test_what_lost_a_label_before_git_dropped_it_is_let_go_unless_another_unit_takes_it() -> None:
    api, there = OverlayName("api"), {B: seen(mark=MarkKind.LABEL_LOST)}
    alone = plan([wanted(A)], [row(A), row(B)], {A: seen(), **there})
    assert (alone.unlabelled, alone.let_go, alone.disputed, alone.doomed) == ([B], [], [], [])
    taken = plan([], [row(B)], there, claims=Claims({B: frozenset({api})}, frozenset({api})))
    assert ([found.who for found in taken.moving], taken.unlabelled) == (["api"], [])
    passive = plan([], [row(B)], there, claims=Claims({B: frozenset({api})}, passive=frozenset({api})))
    assert (passive.let_go, passive.unlabelled, passive.moving) == ([B], [], [])


def test_a_generated_name_with_a_successor_is_a_replacement() -> None:
    old, new = ref("web-cfg-fhc4t7m2k8"), ref("web-cfg-9dk2b5c6ht")
    item = DesiredObject(new, bundle_object(new, generated_from="web-cfg"), Digest("new"))
    made = plan([item], [row(old), row(C)], {new: None, old: seen(), C: seen()})
    assert [(found.old, found.new) for found in made.replacements] == [(old, new)]
    assert made.doomed is not None
    assert {found.ref: found.replaced for found in made.doomed} == {old: True, C: False}


def test_a_name_that_only_looks_generated_is_counted() -> None:
    old = ref("web-cfg-fhc4t7m2k8")
    made = plan([wanted(ref("web-cfg"))], [row(old)], {ref("web-cfg"): None, old: seen()})
    assert made.doomed is not None
    assert [found.replaced for found in made.doomed] == [False]


def prove(unit: UnitName = UNIT, **changes: object) -> Complete | Incomplete:
    facts: dict[str, object] = {
        "bundle": BUNDLE,
        "expected": BUNDLE,
        "listed": KINDS,
        "rows": [row(A)],
        "confirmed": True,
    }
    return prove_complete(unit, **{**facts, **changes})  # type: ignore[arg-type]


def test_a_proof_needs_desired_lists_and_record_complete() -> None:
    assert isinstance(prove(), Complete)
    for change in ({"bundle": None}, {"expected": Digest("other")}, {"listed": set()}, {"confirmed": False}):
        found = prove(**change)
        assert isinstance(found, Incomplete)
        assert found.reason


def test_nobody_but_its_prover_makes_a_proof_nor_turns_one_into_another_units() -> None:
    found = prove()
    assert isinstance(found, Complete)
    for seal in (None, object(), found):
        with pytest.raises(TypeError, match="prove_complete"):
            Complete(UNIT, seal)
    with pytest.raises(TypeError, match="seal"):
        Complete(UNIT)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="seal"):
        replace(found, unit=UnitName(OverlayName("api"), ClusterName("eu-1")))


def test_a_group_that_does_not_answer_is_named_as_what_a_proof_waits_for() -> None:
    found = prove(listed=set(), silent={A.group})
    assert isinstance(found, Incomplete)
    assert "does not answer" in found.reason
    assert isinstance(prove(silent={A.group}), Complete)  # listed all the same


def test_without_a_proof_there_is_not_even_a_list_of_deletions() -> None:
    made = plan([], [row(A)], {A: seen()}, complete=Incomplete("the list of ConfigMaps is not complete"))
    assert made.doomed is None
    assert made.incomplete == "the list of ConfigMaps is not complete"


def test_a_proof_of_another_unit_proves_nothing() -> None:
    other = prove(UnitName(OverlayName("api"), ClusterName("eu-1")))
    with pytest.raises(ValueError, match="api@eu-1"):
        plan([], [row(A)], {A: seen()}, complete=other)


REFS = [ref(name) for name in "abcdef"]
LIVE = one_of(
    none(),
    fixed_dictionaries(
        {
            "state": sampled_from(SyncState),
            "mark": sampled_from(MarkKind),
            "uid": sampled_from(["u1", "u2"]),
            "deleting": booleans(),
        }
    ).map(lambda facts: seen(**facts)),
)


def places_of(made: UnitPlan) -> dict[ObjectRef, int]:
    """How often each object is named in the plan."""
    found = [
        *(step.wanted.ref for step in (*made.create, *made.change, *made.drifted, *made.ask)),
        *(item.wanted.ref for item in made.foreign),
        *(item.ref for item in (*made.disputed, *made.moving, *made.kind_missing, *(made.doomed or ()))),
        *made.unchanged,
        *made.released,
        *made.skipped,
        *made.terminating,
        *made.unknown,
        *made.gone,
        *made.let_go,
        *made.unlabelled,
    ]
    return {ref_: found.count(ref_) for ref_ in found}


@given(
    items=sets(sampled_from(REFS)),
    rows=dictionaries(sampled_from(REFS), sampled_from(RowState)),
    live=dictionaries(sampled_from(REFS), LIVE),
    claimed=sets(sampled_from(REFS)),
    is_complete=booleans(),
)
def test_every_object_is_in_exactly_one_place_and_only_our_own_is_doomed(
    items: set[ObjectRef],
    rows: dict[ObjectRef, RowState],
    live: dict[ObjectRef, Seen | None],
    claimed: set[ObjectRef],
    is_complete: bool,
) -> None:
    api = OverlayName("api")
    claims = Claims({of: frozenset({api}) for of in claimed}, frozenset({api}))
    records = [replace(row(of), state=state) for of, state in rows.items()]
    proof = prove() if is_complete else Incomplete("not known")
    made = plan([wanted(of) for of in sorted(items)], records, live, claims=claims, complete=proof)
    expected = items | set(rows) if is_complete else items
    assert places_of(made) == dict.fromkeys(expected, 1)
    assert (made.doomed is None) == (not is_complete)
    assert all(of in live and live[of] is None for of in made.gone)
    for doomed in made.doomed or ():
        there = live[doomed.ref]
        assert doomed.ref not in items
        assert there is not None
        assert there.mark.kind is MarkKind.OURS
        assert there.uid == "u1"
        assert rows[doomed.ref] is not RowState.RELEASED
        assert doomed.ref not in claimed
