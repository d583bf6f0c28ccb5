"""What an override lets its worker do: the one result that it was asked for, whatever is ordered by then (R42)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter
from rig import Hub, config_map

from fleet.core.fleet import Mode
from fleet.core.ids import Digest, Revision, UnitName
from fleet.core.rollout import Action, Apply, Desired, Detach, SyncRequest, UnitDesired, UnitPolicy, UnknownDesired
from fleet.core.status import OperationResult
from fleet.core.sync_policy import SyncMode, SyncPolicy, Validate, Window, WindowKind
from fleet.ports.worker import JournalState
from fleet.reconcile.orders import Orders
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


@pytest.mark.parametrize("is_its_own", [False, True])
async def test_a_pass_ends_no_override_that_it_did_not_carry(hub: Hub, shop: str, is_its_own: bool) -> None:
    """It was recorded as done, for the result of whoever asked for a plain sync: nobody knew that it had no effect."""
    manual = SyncPolicy(SyncMode.MANUAL, validate=Validate.SCHEMA)
    unit = hub.want("web", [config_map("a", shop)], sync=manual, send=False)
    bundle = hub.bundle_of([config_map("a", shop)]).digest if is_its_own else ASKED
    override = SyncRequest("op-1", unit, override=True, bundle=bundle)
    hub.send_desired(requests=[override, SyncRequest("op-2", unit)])
    async with hub.worker():
        await hub.until_well(unit)
        await hub.until(lambda: hub.results, "ended")
        ended = {each.operation: each.outcome for each in hub.results}
        assert ended == {"op-2": "done"} | ({"op-1": "done"} if is_its_own else {})
        hub.send_desired()
        if not is_its_own:
            await hub.until(lambda: len(hub.results) == 2, "withdrawn")
            assert (hub.results[1].operation, hub.results[1].outcome) == ("op-1", "superseded")


class Ended(list[str]):
    """What an outbox would tell of requests that ended."""

    def answer(self, sequence: int) -> None: ...

    def end_operation(self, result: OperationResult) -> None:
        self.append(result.operation)


@pytest.mark.parametrize(
    ("told", "ordered", "expected"),
    [
        (ASKED, ASKED, ["op-1", "op-2"]),
        (NEWER, NEWER, ["op-2"]),
        (NEWER, ASKED, ["op-2"]),  # ordered amid the pass: the next one is the override's
        (ASKED, NEWER, ["op-2"]),  # withdrawn by the hub, which knows of the newer one
    ],
)
def test_an_override_is_ended_by_a_pass_of_its_result_that_is_ordered_still(
    told: Digest, ordered: Digest, expected: list[str]
) -> None:
    ended = Ended()
    orders = Orders(ended, JournalState(), lambda: 0.0)  # type: ignore[arg-type]
    carried, newest = (
        UnitDesired(UNIT, Revision("c" * 40), Apply(one), UnitPolicy(SyncPolicy())) for one in (told, ordered)
    )
    plain = SyncRequest("op-2", UNIT)
    orders.take(Desired(1, UNIT.cluster, newest.commit, "acme", units=(newest,), requests=(OVERRIDE, plain)))
    orders.end_carried(orders.units[UNIT], carried, "done", "1 objects written")
    assert ended == expected
    orders.end_all(UNIT, "superseded", "the unit was detached")
    assert ended == [*expected, *({"op-1"} - {*expected})]


def test_a_request_as_an_older_hub_wrote_it_is_read_and_carries_nothing() -> None:
    wire = TypeAdapter(SyncRequest)
    assert wire.validate_json(wire.dump_json(OVERRIDE)) == OVERRIDE
    older = wire.dump_python(OVERRIDE, mode="json", exclude={"bundle"})
    assert wire.validate_python(older) == replace(OVERRIDE, bundle=None)
