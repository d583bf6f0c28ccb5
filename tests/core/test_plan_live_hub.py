"""What a hub's word says to a change: each finding with its harmless twin, and nothing out of what is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.ids import ClusterName, Digest, ObjectRef, UnitName
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.live import Danger, LiveView
from fleet.core.planning.live_hub import Base, HubWord, KnownObject, KnownUnit, judge_known, view_of
from fleet.core.planning.live_words import live_remarks

EU = ClusterName("eu-1")
WEB = UnitName.parse("web@eu-1")
REF, OTHER = (ObjectRef("apps", "Deployment", "shop", name) for name in ("web", "aside"))
CHANGE = UnitChange(WEB, How.CHANGES, (ObjectChange(Sign.CHANGE, REF, "apps/v1", after=Digest("b")),))
HELD = KnownUnit(Base.HELD, "9" * 40)
DRIFTED = KnownObject(REF, drifted=(("spec.replicas", "kubectl-edit"),))


def dangers(change: UnitChange = CHANGE, known: KnownUnit | None = HELD) -> list[tuple[Danger, str]]:
    return [(found.danger, found.message) for found in judge_known(change, known)]


def test_a_unit_that_holds_the_base_and_did_not_drift_is_no_finding() -> None:
    assert dangers() == []
    assert dangers(known=KnownUnit(Base.UNKNOWN)) == [], "what cannot be compared is not said to differ"


def test_a_unit_that_does_not_hold_the_base_says_what_it_has_and_what_it_waits_for() -> None:
    waits = replace(HELD, base=Base.OTHER, waits="waits: for step prod")
    assert dangers(known=waits) == [
        (Danger.BASE, "does not hold the base: it has 9999999; what is applied is more (waits: for step prod)")
    ]
    nothing = "holds nothing of it by fleet yet: the whole of it is applied, not only what changes"
    assert dangers(known=KnownUnit(Base.NOTHING)) == [(Danger.BASE, nothing)]
    ((danger, _),) = dangers(known=None)
    assert danger is Danger.BASE
    assert dangers(replace(CHANGE, how=How.APPEARS), None) == [], "twin: it is new"


def test_a_result_that_was_taken_back_is_told() -> None:
    ((danger, message),) = dangers(known=replace(HELD, barred="abcdef0123"))
    assert (danger, message.endswith("(of abcdef0)")) == (Danger.BARRED, True)


def test_drift_of_what_changes_is_told_and_of_anything_else_is_not() -> None:
    assert dangers(known=replace(HELD, objects=(DRIFTED,))) == [
        (Danger.DRIFT, "drifted, and would be overwritten: spec.replicas (set by kubectl-edit)")
    ]
    assert dangers(known=replace(HELD, objects=(replace(DRIFTED, ref=OTHER),))) == []
    gone = replace(CHANGE, objects=(replace(CHANGE.objects[0], sign=Sign.DELETE),))
    assert dangers(gone, replace(HELD, objects=(DRIFTED,))) == [], "a deletion overwrites nothing"


@pytest.mark.parametrize(
    ("reason", "danger"),
    [("ObjectForeign", Danger.OWNER), ("ImmutableField", Danger.IMMUTABLE), ("RivalManager", Danger.WRITER),
     ("Forbidden", Danger.RIGHT), ("AdmissionDenied", Danger.REFUSED)],
)  # fmt: skip
def test_what_stands_in_the_way_of_an_object_already_is_told(reason: str, danger: Danger) -> None:
    known = replace(HELD, objects=(KnownObject(REF, reason, "of jo"),))
    assert dangers(known=known) == [(danger, f"the hub reports {reason}: of jo")]


def test_a_unit_that_waits_for_a_person_keeps_the_change_waiting_and_one_that_waits_by_itself_is_no_finding() -> None:
    stopped = replace(HELD, waits="suspended by jo: disk swap", is_stopped=True)
    assert dangers(known=stopped) == [
        (Danger.STOPPED, "waits for a person, and so does the change: suspended by jo: disk swap")
    ]
    assert dangers(known=replace(HELD, waits="waits: for step prod")) == []


def test_the_age_of_the_oldest_word_is_told() -> None:
    found = view_of([CHANGE], HubWord({EU: ""}, {WEB: replace(HELD, age_seconds=41.6)}))
    ((_, text),) = words(found)
    assert "from its reports, 42 s old at most" in text


def test_objects_that_the_hub_did_not_tell_are_said() -> None:
    ((danger, message),) = dangers(known=replace(HELD, more=7))
    assert (danger, message.startswith("7 more objects")) == (Danger.DRIFT, True)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        (HubWord(), "the hub knows no cluster of this name"),
        (HubWord({EU: "10.0.0.1:6443 refuses connections"}, {WEB: HELD}), "10.0.0.1:6443 refuses connections"),
        (HubWord({EU: ""}, {WEB: replace(HELD, problem="not reported yet")}), "not reported yet"),
    ],
    ids=["unknown cluster", "unreachable", "unit not reported"],
)
def test_what_is_not_known_is_not_read_and_never_well(word: HubWord, problem: str) -> None:
    drifted = {name: replace(known, base=Base.OTHER, objects=(DRIFTED,)) for name, known in word.units.items()}
    found = view_of([CHANGE], replace(word, units=drifted))
    assert [look.problem for look in found.looks] == [problem]
    assert (found.findings, found.is_complete) == ((), False)
    assert ("Not read", problem) in [(heading, text.split(": ", 1)[-1].split(";")[0]) for heading, text in words(found)]


def words(found: LiveView) -> list[tuple[str, str]]:
    return [(remark.word, remark.line) for remark in live_remarks(found)]


def test_twin_what_the_hub_says_is_told_as_its_word_and_what_it_cannot_tell_beside_it() -> None:
    found = view_of([CHANGE], HubWord({EU: ""}, {WEB: HELD}))
    assert found.is_complete
    ((heading, text),) = words(found)
    assert heading == "By the hub"
    assert "1 of 1 cluster" in text
    assert "needs your kubeconfig" in text


@given(base=st.sampled_from(Base), how=st.sampled_from([How.APPEARS, How.CHANGES]), problem=st.sampled_from(["", "x"]))
def test_a_finding_needs_a_word_that_is_good_now(base: Base, how: How, problem: str) -> None:
    known = KnownUnit(base, problem=problem, objects=(DRIFTED,))
    found = view_of([replace(CHANGE, how=how)], HubWord({EU: ""}, {WEB: known}))
    assert bool(found.findings) == (not problem)
