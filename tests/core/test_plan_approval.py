"""An approval bound to a plan: it counts for exactly that, once, and any difference makes it void (R9)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.planning.approval import (
    FALL,
    ApprovalState,
    Broken,
    Covered,
    Going,
    NotConcerned,
    PlanApproval,
    approvals_of_text,
    approvals_text,
    judge_hold,
    next_approvals,
)
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.listing import digest_of_text, listed_of, plan_text
from fleet.core.planning.settings import SettingChange
from fleet.core.status import HoldRequest, PendingDeletion

COMMIT, OTHER = Revision("c" * 40), Revision("d" * 40)
WEB, DNS = (UnitName(OverlayName(name), ClusterName("eu-1")) for name in ("web", "dns"))
NAMESPACE, CLAIM = ObjectRef("", "Namespace", "", "shop"), ObjectRef("", "PersistentVolumeClaim", "shop", "data")
GOING = (Going(WEB, NAMESPACE, "u1", Digest("n")), Going(WEB, CLAIM, "u2", Digest("p")))
BOUND = PlanApproval(
    Digest("a" * 64), frozenset({WEB}), GOING, frozenset({DNS}), "jo", "", 0.0, 1000.0, ApprovalState.BOUND, COMMIT
)
WAITS = replace(BOUND, standing=ApprovalState.WAITS, commit=Revision(""))


def request(
    *deletions: PendingDeletion, unit: UnitName = WEB, commit: Revision = COMMIT, reason: str = "precious-kind"
) -> HoldRequest:
    return HoldRequest(unit, commit, reason, "", deletions)


def pending(going: Going, **changed: object) -> PendingDeletion:
    return replace(PendingDeletion(going.ref, going.uid, going.content), **changed)  # type: ignore[arg-type]


WHOLE = [pending(going) for going in GOING]


def test_the_very_list_is_covered_and_so_is_what_is_left_of_it() -> None:
    assert judge_hold(BOUND, [request(*WHOLE)], now=1) == Covered()
    assert judge_hold(BOUND, [request(WHOLE[0])], now=1) == Covered()
    assert judge_hold(BOUND, [request(*WHOLE), request(unit=DNS, reason=FALL)], now=1) == Covered()


@pytest.mark.parametrize(
    "requests",
    [
        [request(WHOLE[0], pending(GOING[1], uid="u9"))],
        [request(WHOLE[0], pending(GOING[1], content=Digest("x")))],
        [request(WHOLE[0], pending(GOING[1], content=None))],
        [request(WHOLE[0], pending(GOING[1], uid=""))],
        [request(*WHOLE, pending(GOING[1], ref=ObjectRef("", "Namespace", "", "other")))],
        [request(*WHOLE, unit=DNS)],
        [request(*WHOLE), request(unit=WEB, reason=FALL)],  # the plan keeps web there
        [request(*WHOLE), request(unit=DNS, reason="precious-kind")],
    ],
)
def test_anything_else_is_not_and_says_why(requests: list[HoldRequest]) -> None:
    verdict = judge_hold(BOUND, requests, now=1)
    assert isinstance(verdict, Broken)
    assert verdict.why


@pytest.mark.parametrize("going", GOING)
def test_what_goes_along_with_an_object_was_in_no_plan_and_is_asked_about(going: Going) -> None:
    verdict = judge_hold(BOUND, [request(pending(going, inside=("a thing",)))], now=1)
    assert isinstance(verdict, Broken)
    assert verdict.why.startswith("more goes with")
    assert judge_hold(BOUND, [request(pending(going))], now=1) == Covered()


@pytest.mark.parametrize("approval", [WAITS, BOUND.voided("x"), replace(BOUND, commit=OTHER)])
def test_an_approval_of_no_or_another_commit_says_nothing(approval: PlanApproval) -> None:
    assert judge_hold(approval, [request(*WHOLE)], now=1) == NotConcerned()


def test_holds_of_two_commits_or_of_nothing_are_never_covered() -> None:
    assert judge_hold(BOUND, [request(WHOLE[0]), request(WHOLE[1], commit=OTHER)], now=1) == NotConcerned()
    assert judge_hold(BOUND, [], now=1) == NotConcerned()


def test_it_ends_with_its_time() -> None:
    assert isinstance(judge_hold(BOUND, [request(*WHOLE)], now=1000), Broken)
    (later,) = next_approvals([WAITS], commit=COMMIT, digest=WAITS.digest, units=[WEB], now=1000)
    assert later.standing is ApprovalState.VOID


def test_the_commit_with_its_digest_binds_it_and_no_other_one() -> None:
    (bound,) = next_approvals([WAITS], commit=COMMIT, digest=WAITS.digest, units=[WEB], now=1)
    assert (bound.standing, bound.commit) == (ApprovalState.BOUND, COMMIT)
    (passed,) = next_approvals([WAITS], commit=COMMIT, digest=Digest("b" * 64), units=[DNS], now=1)
    assert passed == WAITS  # of other units: it goes on waiting for its merge
    (void,) = next_approvals([WAITS], commit=COMMIT, digest=Digest("b" * 64), units=[WEB, DNS], now=1)
    assert void.standing is ApprovalState.VOID
    assert "web@eu-1" in void.void


@pytest.mark.parametrize(
    ("scope", "name", "path"),
    [("overlay", "web", "sync.prune"), ("cluster", "eu-1", "mode"), ("fleet", "acme", "budget.objects")],
)
def test_a_commit_that_sets_something_for_its_units_otherwise_makes_it_void(scope: str, name: str, path: str) -> None:
    """Nothing is built anew by it, and what goes after it goes by other rules than were seen."""
    setting = SettingChange(scope, name, path, "a", "b")
    (void,) = next_approvals([WAITS], commit=COMMIT, digest=Digest("b" * 64), units=[], settings=[setting], now=1)
    assert void.void == "ccccccc changes a setting of web@eu-1 that the plan does not"
    (again,) = next_approvals([BOUND], commit=OTHER, digest=BOUND.digest, units=[], settings=[setting], now=1)
    assert again.standing is ApprovalState.VOID
    (bound,) = next_approvals([WAITS], commit=COMMIT, digest=WAITS.digest, units=[WEB], settings=[setting], now=1)
    assert bound.standing is ApprovalState.BOUND, "twin: the plan itself says so"
    if scope != "fleet":
        other = replace(setting, name="another")
        (waits,) = next_approvals([WAITS], commit=COMMIT, digest=Digest("b" * 64), units=[], settings=[other], now=1)
        assert waits == WAITS, "twin: of another one"


def test_the_same_plan_a_second_time_is_asked_anew() -> None:
    (void,) = next_approvals([BOUND], commit=OTHER, digest=BOUND.digest, units=[WEB], now=1)
    assert void.standing is ApprovalState.VOID


digests = st.sampled_from(["a" * 64, "b" * 64])
commits = st.tuples(digests, st.sets(st.sampled_from([WEB, DNS]))).filter(
    lambda pair: pair[0] != "a" * 64 or WEB in pair[1]
)


@given(st.lists(commits, max_size=6))
def test_whatever_comes_it_is_bound_to_the_first_commit_that_touches_its_units_or_to_none(
    history: list[tuple[str, set[UnitName]]],
) -> None:
    found = WAITS
    for number, (digest, units) in enumerate(history):
        commit = Revision(f"{number:040x}")
        (found,) = next_approvals([found], commit=commit, digest=Digest(digest), units=units, now=1)
    touching = [(number, digest) for number, (digest, units) in enumerate(history) if WEB in units]
    if not touching:
        assert found.standing is ApprovalState.WAITS
    elif touching[0][1] == WAITS.digest and len(touching) == 1:
        assert (found.standing, found.commit) == (ApprovalState.BOUND, Revision(f"{touching[0][0]:040x}"))
    else:
        assert found.standing is ApprovalState.VOID


goings = st.lists(
    st.builds(
        Going,
        st.sampled_from([WEB, DNS]),
        st.sampled_from([NAMESPACE, CLAIM]),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from([Digest("n"), Digest("p")]),
    ),
    min_size=1,
    max_size=4,
)


@given(goings, goings)
def test_nothing_is_covered_that_was_not_read_so(approved: list[Going], asked: list[Going]) -> None:
    approval = replace(BOUND, going=tuple(approved))
    requests = [request(pending(going), unit=going.unit) for going in asked]
    if isinstance(judge_hold(approval, requests, now=1), Covered):
        assert set(asked) <= set(approved)


@given(goings, st.sampled_from(list(ApprovalState)))
def test_what_is_kept_comes_back_the_same(going: list[Going], standing: ApprovalState) -> None:
    approval = replace(BOUND, going=tuple(going), standing=standing, void="x" if standing is ApprovalState.VOID else "")
    assert approvals_of_text(approvals_text([approval, WAITS])) == (approval, WAITS)


@pytest.mark.parametrize("text", ["{", "[]", '{"approvals": [{"digest": "a"}]}', '{"approvals": [{"going": [[]]}]}'])
def test_damaged_approvals_are_an_error_and_never_an_approval(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        approvals_of_text(text) or (_ for _ in ()).throw(ValueError("nothing"))


def change(sign: Sign, ref: ObjectRef, before: str = "1", after: str = "2", **more: object) -> ObjectChange:
    digests = {"before": Digest(before) if sign is not Sign.CREATE else Digest("")}
    digests["after"] = Digest(after) if sign is not Sign.DELETE else Digest("")
    return ObjectChange(sign, ref, "v1", **digests, **more)  # type: ignore[arg-type]


def test_the_text_lists_what_goes_and_who_leaves() -> None:
    old = ObjectRef("", "ConfigMap", "shop", "cfg-a")
    renamed = change(Sign.CHANGE, ObjectRef("", "ConfigMap", "shop", "cfg-b"), renamed_from=old)
    units = [
        UnitChange(DNS, How.VANISHES, path_before="a b\nc"),
        UnitChange(WEB, How.CHANGES, (change(Sign.DELETE, NAMESPACE), renamed, change(Sign.CREATE, CLAIM))),
    ]
    listed = listed_of(plan_text(units))
    assert listed.doomed == {WEB: frozenset({NAMESPACE, old})}
    assert listed.leaving == {DNS}
    assert listed.units == {WEB, DNS}


@pytest.mark.parametrize(
    "text", [b"{}", b"[1]", b'["changes","web@eu-1","","","",[["-","x"]]]', b'["eats","web@eu-1","","","",[]]']
)
def test_a_text_that_no_plan_has_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        listed_of(text)


signs = st.sampled_from(list(Sign))
refs = st.sampled_from([NAMESPACE, CLAIM, ObjectRef("", "Secret", "shop", "key")])
changes = st.builds(change, signs, refs, st.sampled_from(["1", "2"]), st.sampled_from(["3", "4"]))
inputs = st.tuples(st.sampled_from([Digest("i"), Digest("j")]), st.sampled_from([Digest("k"), Digest("l")]))
units = st.builds(
    UnitChange,
    st.sampled_from([WEB, DNS]),
    st.sampled_from([How.CHANGES, How.APPEARS]),
    st.lists(changes, max_size=2).map(tuple),
    st.sampled_from(["p", "q"]),
    st.sampled_from(["p", "q"]),
    inputs=inputs,
)


def _meaning(unit: UnitChange) -> object:
    """What a plan is about: of a Secret only the inputs of its build count."""

    def body(item: ObjectChange) -> object:
        if item.ref.kind != "Secret":
            return item.sign, item.ref, item.before, item.after
        return item.sign, item.ref, item.before and unit.inputs[0], item.after and unit.inputs[1]

    return unit.name, unit.how, unit.path_before, unit.path_after, tuple(map(body, unit.objects))


@given(units, units)
def test_two_plans_have_one_digest_exactly_when_they_mean_the_same(one: UnitChange, other: UnitChange) -> None:
    same = digest_of_text(plan_text([one])) == digest_of_text(plan_text([other]))
    assert same == (_meaning(one) == _meaning(other))
