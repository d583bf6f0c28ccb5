"""What a pass may still do: as much as it began with where nothing changed, and nothing that was taken back since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core.fleet import Mode
from fleet.core.ids import Digest, Revision, UnitName
from fleet.core.rollout import Action, Apply, Detach, Hold, UnitDesired, UnitPolicy, UnknownDesired
from fleet.core.sync_policy import SyncMode, SyncPolicy
from fleet.reconcile.standing import Leave, judge_leave, leave_left

UNIT, BUNDLE = UnitName.parse("web@eu-1"), Digest("a" * 64)
ACTIONS = [Apply(BUNDLE), Hold("m", BUNDLE), UnknownDesired("FileInvalid", "m", BUNDLE), Detach()]


def wanted(action: Action, *, heals: bool = True) -> UnitDesired:
    return UnitDesired(UNIT, Revision("c" * 40), action, UnitPolicy(SyncPolicy(self_heal=heals)))


def leave_of(desired: UnitDesired) -> Leave:
    return judge_leave(
        desired, mode=Mode.MANAGE, confirmed=True, request=None, waits_for=(), now=1_800_000_000.0, since=0.0
    )


@pytest.mark.parametrize("heals", [True, False])
def test_a_unit_that_nothing_stops_may_be_applied_and_pruned_and_healed_where_it_is_to_be(heals: bool) -> None:
    leave = leave_of(wanted(Apply(BUNDLE), heals=heals))
    assert leave == Leave(apply=True, heal=heals, prune=True)
    assert leave_left(leave, leave_of(wanted(Apply(BUNDLE), heals=heals)), told := wanted(Apply(BUNDLE)), told) == leave


@pytest.mark.parametrize("action", ACTIONS)
def test_what_did_not_change_leaves_all_that_there_was(action: Action) -> None:
    told = wanted(action)
    leave = leave_of(told)
    assert leave_left(leave, leave, told, told) == leave_left(leave, leave, told, replace(told)) == leave


@pytest.mark.parametrize("newest", [None, wanted(Detach()), wanted(Hold("m", BUNDLE), heals=False)])
def test_what_was_ordered_since_takes_back_what_it_does_not_say(newest: UnitDesired | None) -> None:
    told = wanted(Apply(BUNDLE))
    now = judge_leave(newest, mode=Mode.MANAGE, confirmed=True, request=None, waits_for=(), now=0.0, since=0.0)
    left = leave_left(leave_of(told), now, told, newest)
    assert not left.prune
    assert left.apply <= (newest is not None and isinstance(newest.action, Hold))


def test_a_person_who_syncs_by_hand_is_waited_for() -> None:
    by_hand = UnitDesired(UNIT, Revision("c" * 40), Apply(BUNDLE), UnitPolicy(SyncPolicy(SyncMode.MANUAL)))
    assert leave_of(by_hand) == Leave(apply=False, heal=False, prune=False)
