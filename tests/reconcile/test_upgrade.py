"""After an upgrade that spells objects otherwise: compared anew, spread over time, and nothing is applied."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from
from rig import CLUSTER, Hub, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.ledger import Request

from fleet import telemetry
from fleet.core.ids import Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.record import FORM, Row, RowState
from fleet.core.rollout import Apply, UnitDesired, UnitPolicy
from fleet.ports.worker import JournalEntry, UnitMemory
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.memory import UnitState
from fleet.reconcile.reverify import Reverifier, carry_done

COUNT = 12
AT_ONCE = WorkerLimits(reverify_spread_seconds=0.0, reverify_per_second=1000.0)


def asked(plane: ControlPlane, mark: Any) -> tuple[list[Request], list[Request]]:
    """Dry-runs, and writes, of the unit's ConfigMaps since then; its own parent object may follow a new bundle."""
    found = plane.ledger(mark, user_agent="fleet")
    mine = [one for one in found if one.resource == "configmaps" and one.namespace != "fleet-system"]
    return [one for one in mine if one.dry_run], [one for one in mine if one.is_write]


async def age_records(hub: Hub) -> None:
    """As if an earlier version, with other digests for the same, had written them."""
    state = await hub.journal.load()
    rows = tuple(
        replace(row, form=FORM - 1, desired=Digest("1" * 64), fingerprint=Digest("2" * 64)) for row in state.rows
    )
    units = tuple(replace(unit, form=FORM - 1, bundle=Digest("3" * 64)) for unit in state.units)
    await hub.journal.commit(JournalEntry(put=rows, units=units, resume=dict.fromkeys(state.resume, "")))
    hub.units.clear()
    hub.events.clear()


def maps(shop: str) -> list[dict[str, Any]]:
    return [config_map(f"c{number}", shop) for number in range(COUNT)]


async def test_records_of_another_form_cost_dry_runs_over_time_and_no_apply(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    unit = hub.want("web", maps(shop))
    async with hub.worker():
        await hub.until_well(unit)
    await age_records(hub)
    hub.limits = WorkerLimits(reverify_spread_seconds=0.0, reverify_per_second=10.0)
    before, mark = telemetry.REVERIFIED._value.get(), api_server.ledger_mark()
    async with hub.worker():
        began = time.monotonic()
        said = await hub.until(lambda: (u := hub.units.get(unit)) and "compared anew" in u.message and u, "said")
        assert said.sync == "Unknown"
        assert f"of {COUNT} objects are compared anew after an upgrade of fleet" in said.message
        await hub.until_well(unit)
        assert time.monotonic() - began > (COUNT - 2) / 10.0
    dry_runs, writes = asked(api_server, mark)
    assert (len(dry_runs), writes) == (COUNT, [])
    assert telemetry.REVERIFIED._value.get() - before == COUNT
    assert {row.form for row in (await hub.journal.load()).rows} == {FORM}
    mark = api_server.ledger_mark()
    async with hub.worker():
        await asyncio.sleep(0.3)
        await hub.until_well(unit)
    assert asked(api_server, mark) == ([], [])


async def test_what_was_changed_by_hand_meanwhile_is_healed_and_nothing_else(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    unit = hub.want("web", maps(shop))
    async with hub.worker():
        await hub.until_well(unit)
    await age_records(hub)
    hub.limits = AT_ONCE
    path = f"/api/v1/namespaces/{shop}/configmaps/c3"
    api_server.client().merge(path, {"data": {"a": "by hand"}})
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until_well(unit)
    assert [one.name for one in asked(api_server, mark)[1]] == ["c3"]
    assert api_server.client().get(path)["data"] == {"a": "1"}


async def test_a_commit_that_comes_with_the_upgrade_waits_for_nothing_and_applies_what_it_changes(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    unit = hub.want("web", maps(shop))
    async with hub.worker():
        await hub.until_well(unit)
    await age_records(hub)
    hub.limits = WorkerLimits(reverify_spread_seconds=3600.0, reverify_per_second=0.001)
    hub.want("web", [config_map("c0", shop, {"a": "2"}), *maps(shop)[1:]], commit="b")
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until_well(unit)
    assert [one.name for one in asked(api_server, mark)[1]] == ["c0"]


async def test_hooks_do_not_run_again_for_a_commit_that_is_only_spelled_otherwise(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    hook = config_map("hook", shop, {"hook": "yes"}, **notes(hook="PreSync", hook_delete="BeforeHookCreation"))
    hub.limits = AT_ONCE
    unit = hub.want("web", [hook, config_map("c", shop)])
    async with hub.worker():
        await hub.until_well(unit)
    await age_records(hub)
    mark = api_server.ledger_mark()
    respelled = config_map("c", shop)
    respelled["metadata"]["annotations"] = {}  # another digest, the same object
    hub.want("web", [hook, respelled])
    async with hub.worker():
        await hub.until_well(unit)
        assert asked(api_server, mark)[1] == []
        hub.want("web", [hook, config_map("c", shop, {"a": "2"})], commit="b")
        await hub.until_well(unit)
    assert {one.name for one in asked(api_server, mark)[1]} == {"c", "hook"}


@pytest.mark.parametrize(("form", "carried"), [(FORM, False), (FORM - 1, True)])
def test_a_job_that_ended_is_carried_over_from_another_version_alone(form: int, carried: bool) -> None:
    name, old, new = UnitName(OverlayName("web"), CLUSTER), Digest("1" * 64), Digest("2" * 64)
    ref = ObjectRef("batch", "Job", "shop", "migrate")
    row = Row(name, ref, RowState.DONE, desired=new, form=form)  # a bundle that never settled made it
    site: Any = SimpleNamespace(journal=SimpleNamespace(jot=lambda entry: None))
    site.put_row = lambda unit, put: unit.rows.update({put.ref: put})
    unit = UnitState(name, UnitMemory(name, bundle=Digest("b" * 64)))
    unit.desired = UnitDesired(
        name, Revision("a" * 40), Apply(Digest("b" * 64), frozenset(), frozenset()), UnitPolicy()
    )
    unit.bundle, unit.rows[ref] = unit.memory.bundle, row
    wanted: Any = SimpleNamespace(ref=ref, digest=old)
    unit.wanted[ref] = wanted
    assert unit.holds_commit
    carry_done(site, unit)
    assert (unit.rows[ref].desired == old) is carried


def outdated(name: str, objects: int) -> tuple[UnitState, list[Any]]:
    """A unit whose records are of an earlier form, and a step for each of its objects."""
    refs = [ObjectRef("", "ConfigMap", "shop", f"{name}-{number}") for number in range(objects)]
    bundle, unit = Digest("b" * 64), UnitName(OverlayName(name), CLUSTER)
    state = UnitState(unit, UnitMemory(unit, commit=Revision("a" * 40), bundle=bundle, form=FORM - 1), bundle=bundle)
    state.desired = UnitDesired(unit, Revision("a" * 40), Apply(bundle, frozenset(), frozenset()), UnitPolicy())
    state.rows = {ref: Row(unit, ref, RowState.APPLIED, desired=Digest("1" * 64), form=FORM - 1) for ref in refs}
    return state, [SimpleNamespace(wanted=SimpleNamespace(ref=ref)) for ref in refs]


@given(
    sizes=lists(integers(1, 40), min_size=1, max_size=12),
    begin=sampled_from([0.0, 0.5, 1.0]),
    rate=sampled_from([0.5, 2.0, 10.0]),
)
def test_units_take_turns_from_a_random_start_on_and_each_is_woken_for_its_own_alone(
    sizes: list[int], begin: float, rate: float
) -> None:
    now, start = 1000.0, 1000.0 + 100.0 * begin
    limits = WorkerLimits(reverify_spread_seconds=100.0, reverify_per_second=rate)
    paced = Reverifier(limits, lambda: now, lambda: begin)
    left = {name: outdated(name, size) for name, size in zip("abcdefghijkl", sizes, strict=False)}
    asked, queue = list[float](), [(now, name) for name in left]
    while queue:  # as a session does: all once, and then each when it asked for it
        now, name = heappop(queue)
        unit, steps = left[name]
        taken, later = paced.due(unit, steps)
        assert taken or now == 1000.0, "woken before its turn"
        asked += [now] * len(taken)
        left[name] = (unit, later)
        if later:
            heappush(queue, (paced.next_at(unit.name), name))
    assert len(asked) == sum(sizes)
    assert asked[0] == start
    assert all(number <= rate * (at - start) + 1e-6 for number, at in enumerate(asked))
    assert asked[-1] <= start + len(asked) / rate + 1e-6, "as quick as it may be"
