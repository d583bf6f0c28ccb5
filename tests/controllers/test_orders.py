"""What a person's approval lets go, and what it says nothing about."""

from __future__ import annotations

from fleet.controllers.orders import FALL, approvals_of, released_falls_of
from fleet.core.guard import Approved, approved_at
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.leaving import Leave
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.ports.state import HoldRow

UNIT, COMMIT, LATER = UnitName.parse("web@eu-1"), Revision("c" * 40), Revision("d" * 40)
GONE = PendingDeletion(ObjectRef("", "ConfigMap", "shop", "c"), "uid", Digest("x"))


def approved(commit: Revision, *deletions: PendingDeletion, decision: str = "approved") -> tuple[HoldRow, ...]:
    request = HoldRequest(UNIT, commit, FALL, "", deletions)
    return (HoldRow("h-1", "web", commit, 1.0, "digest", (request,), 1000.0, decision=decision),)


def test_a_unit_goes_that_a_person_let_go() -> None:
    assert released_falls_of(approved(COMMIT), {UNIT: Leave(COMMIT, "4 of 4 units leave")}) == {UNIT}


def test_who_lets_objects_go_does_not_let_the_unit_go() -> None:
    for leave in (Leave(LATER, "4 of 4 units leave"), Leave(COMMIT, "4 of 4 units leave")):
        assert not released_falls_of(approved(COMMIT, GONE), {UNIT: leave})


def test_a_unit_that_came_back_and_leaves_anew_is_asked_about_anew() -> None:
    assert not released_falls_of(approved(COMMIT), {UNIT: Leave(LATER, "4 of 4 units leave")})
    assert not released_falls_of(approved(COMMIT), {})


def test_what_nobody_decided_lets_nothing_go() -> None:
    assert not released_falls_of(approved(COMMIT, decision=""), {UNIT: Leave(COMMIT, "4 of 4 units leave")})


def test_what_was_approved_goes_by_the_commit_that_was_asked_about() -> None:
    approvals = approvals_of(approved(COMMIT, GONE))
    assert approved_at(approvals, UNIT, COMMIT) == {Approved(GONE.ref, "uid", Digest("x"))}


def test_what_was_approved_for_one_commit_is_not_for_another() -> None:
    approvals = approvals_of(approved(COMMIT, GONE))
    assert not approved_at(approvals, UNIT, LATER)
    assert not approved_at(approvals, UnitName.parse("web@eu-2"), COMMIT)
