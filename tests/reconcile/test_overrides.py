"""What an override lets its worker do: the one result that it was asked for, whatever is ordered by then (R42)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from fleet.core.fleet import Mode
from fleet.core.ids import Digest, Revision, UnitName
from fleet.core.rollout import Action, Apply, Detach, SyncRequest, UnitDesired, UnitPolicy, UnknownDesired
from fleet.core.sync_policy import SyncMode, SyncPolicy, Window, WindowKind
from fleet.reconcile.standing import Leave, judge_leave

UNIT = UnitName.parse("web@eu-1")
ASKED, NEWER = Digest("a" * 64), Digest("b" * 64)
ALWAYS = (Window(WindowKind.DENY, "* * * * *", 120, "UTC"),)
OVERRIDE = SyncRequest("op-1", UNIT, override=True, bundle=ASKED)


def leave_of(action: Action, request: SyncRequest, mode: SyncMode = SyncMode.AUTO, *, closed: bool = True) -> Leave:
    policy = UnitPolicy(SyncPolicy(mode, windows=ALWAYS if closed else ()))
    desired = UnitDesired(UNIT, Revision("c" * 40), action, policy)
    return judge_leave(
        desired, mode=Mode.MANAGE, confirmed=True, request=request, waits_for=(), now=1_800_000_000.0, since=0.0
    )


@pytest.mark.parametrize("mode", SyncMode)
@pytest.mark.parametrize("action", [Apply(ASKED), UnknownDesired("FileInvalid", "m", ASKED)])
def test_an_override_passes_the_window_with_its_own_result(action: Action, mode: SyncMode) -> None:
    found = leave_of(action, OVERRIDE, mode)
    assert found.apply
    assert not any("deny window" in link.reason for link in found.blockers)


@pytest.mark.parametrize("action", [Apply(NEWER), UnknownDesired("FileInvalid", "m", NEWER), Detach()])
@pytest.mark.parametrize("request_", [OVERRIDE, replace(OVERRIDE, bundle=None)])
def test_an_override_carries_no_other_result_than_its_own(action: Action, request_: SyncRequest) -> None:
    """Nor one of a hub that does not say yet which it is for."""
    found = leave_of(action, request_)
    assert (found.apply, found.prune) == (False, False)
    assert "deny window" in str(found.blockers)


@pytest.mark.parametrize(("bundle", "expected"), [(ASKED, True), (NEWER, False)])
def test_under_manual_sync_an_override_is_no_sync_of_a_newer_result(bundle: Digest, expected: bool) -> None:
    assert leave_of(Apply(bundle), OVERRIDE, SyncMode.MANUAL, closed=False).apply is expected
    assert leave_of(Apply(bundle), SyncRequest("op-2", UNIT), SyncMode.MANUAL, closed=False).apply


def test_a_request_as_an_older_hub_wrote_it_is_read_and_carries_nothing() -> None:
    wire = TypeAdapter(SyncRequest)
    assert wire.validate_json(wire.dump_json(OVERRIDE)) == OVERRIDE
    older = wire.dump_python(OVERRIDE, mode="json", exclude={"bundle"})
    assert wire.validate_python(older) == replace(OVERRIDE, bundle=None)
