"""Jobs that are not there and that no record knows: run as ever, but where the record was rebuilt and never settled."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rig import CLUSTER, config_map
from simulated import SHOP, SimHub

from fleet.core.ids import Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.record import PARENT_NAMESPACE, Row, RowState
from fleet.core.rollout import Apply, UnitDesired
from fleet.core.status import Health, UnitReport, asks_recovery
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.ports.worker import Deletion, JournalEntry, UnitMemory
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.memory import UnitState
from fleet.reconcile.outbox import Outbox
from fleet.reconcile.reverify import carry_done, not_run, note_told, runs_once_changed
from fleet.sim import Simulation
from fleet.store.encode import decode_memory, encode_memory
from fleet.store.memory import MemoryJournal

COMPLETE = {"status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}}
SEED = ObjectRef("batch", "Job", SHOP, "seed")
NO_DRY_RUNS = SyncPolicy(validate=Validate.SCHEMA)


@pytest.fixture
def hub(sim: Simulation) -> SimHub:
    hub = SimHub(sim)  # type: ignore[arg-type]
    hub.limits = WorkerLimits(theirs_seconds=0.2)
    return hub


def job(image: str = "a", **notes: str) -> dict[str, Any]:
    metadata = {"name": SEED.name, "namespace": SHOP, "annotations": notes}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}


def is_there(hub: SimHub) -> bool:
    return hub.cluster.get("batch", "Job", SHOP, SEED.name) is not None


async def test_one_that_is_made_if_absent_is_made_once_somebody_elses_is_gone(hub: SimHub) -> None:
    hub.cluster.create(job(), manager="kubectl")
    hub.cluster.drift("batch", "Job", SHOP, SEED.name, COMPLETE)
    mine = job(**{"fleet.internal/reconcile": "ifAbsent"})
    unit = hub.want("web", [mine, config_map("c", SHOP)], sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
        hub.cluster.remove("batch", "Job", SHOP, SEED.name)
        await hub.until(lambda: is_there(hub), "made")
        assert not hub.units[unit].warnings


async def test_one_that_an_older_state_saw_deleted_within_the_hour_may_have_run_since_and_does_not_run_again(
    hub: SimHub,
) -> None:
    unit = hub.want("web", [job(), config_map("c", SHOP)], sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("c", SHOP)], commit="b", sync=NO_DRY_RUNS)
        await hub.until(lambda: not is_there(hub), "deleted")
        await hub.until_well(unit)
    newer = {"metadata": {"annotations": {"fleet.internal/record-generation": "1000"}}}
    hub.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", newer)  # another hub went on meanwhile
    hub.units.clear()
    hub.want("web", [job("b"), config_map("c", SHOP)], commit="d", sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and asks_recovery(hub.units[unit]), "it asks")
        hub.send_desired(recovered=hub.shown())
        await hub.until(lambda: not asks_recovery(hub.units[unit]) and hub.units[unit].warnings, "says so")
        assert "may have run" in hub.units[unit].warnings[0]
        await hub.until_well(unit)
        assert not is_there(hub)


@pytest.mark.parametrize("is_settled", [True, False])
async def test_one_without_a_row_is_run_unless_the_record_was_rebuilt_and_not_settled(
    hub: SimHub, *, is_settled: bool
) -> None:
    unit = hub.want("web", [job(), config_map("c", SHOP)], sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
    hub.cluster.remove("batch", "Job", SHOP, SEED.name)
    memory = (await hub.journal.load()).units[0]
    left = JournalEntry(
        drop=((unit, SEED),), units=(replace(memory, settled=is_settled),)
    )  # as an earlier prune leaves
    await hub.journal.commit(left)
    hub.units.clear()
    async with hub.worker():
        await hub.until_well(unit)
        if is_settled:
            await hub.until(lambda: is_there(hub), "run")
        assert is_there(hub) is is_settled
        assert bool(hub.units[unit].warnings) is not is_settled
    assert (await hub.journal.load()).units[0].settled


@pytest.mark.parametrize("state", [RowState.DONE, RowState.INTENDED])
async def test_what_an_earlier_state_knew_of_another_commits_job_does_not_run_this_ones(
    hub: SimHub, state: RowState
) -> None:
    unit = hub.want("web", [job(), config_map("c", SHOP)], sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
    hub.cluster.remove("batch", "Job", SHOP, SEED.name)
    loaded = await hub.journal.load()
    row = next(row for row in loaded.rows if row.ref == SEED)
    row = replace(row, state=state) if state is RowState.DONE else replace(row, state=state, uid="", desired="")
    await hub.journal.commit(JournalEntry(put=(row,), units=(replace(loaded.units[0], settled=False),)))
    hub.units.clear()
    hub.want("web", [job("b"), config_map("c", SHOP)], sync=NO_DRY_RUNS, commit="b")
    async with hub.worker():
        await hub.until_well(unit)
        assert not is_there(hub)
        assert hub.units[unit].warnings
        hub.want("web", [job("c"), config_map("c", SHOP)], sync=NO_DRY_RUNS, commit="c")
        await hub.until(lambda: is_there(hub), "as its warning says")


async def test_one_that_is_replaced_is_run_although_its_record_was_rebuilt(hub: SimHub) -> None:
    note = {"fleet.internal/replace": "enabled"}
    unit = hub.want("web", [job(**note), config_map("c", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
    hub.cluster.drift("batch", "Job", SHOP, SEED.name, {"metadata": {"finalizers": ["example.test/slow"]}})
    memory = (await hub.journal.load()).units[0]
    await hub.journal.commit(JournalEntry(units=(replace(memory, settled=False),)))
    hub.units.clear()
    hub.want("web", [job("b", **note), config_map("c", SHOP)], commit="b")
    async with hub.worker():
        await hub.until(lambda: hub.asked("delete", SEED.name), "deleted")
        await asyncio.sleep(0)
        hub.cluster.drift("batch", "Job", SHOP, SEED.name, {"metadata": {"finalizers": None}})
        await hub.until_well(unit)
        assert is_there(hub)
        assert not hub.units[unit].warnings


@pytest.mark.parametrize("state", [None, RowState.INTENDED])
@pytest.mark.parametrize("we_deleted", [True, False])
def test_what_we_deleted_is_not_taken_for_one_that_may_have_run(*, we_deleted: bool, state: RowState | None) -> None:
    """An intended one: it was to be made anew, and that failed."""
    unit, site = recovered()
    name = unit.name
    unit.deletions = [Deletion(name, SEED, 1.0)] if we_deleted else []
    wanted = SimpleNamespace(
        digest=Digest("1" * 64), ref=SEED, source=SimpleNamespace(options=SimpleNamespace(reconcile=True))
    )
    unit.wanted[SEED] = wanted  # type: ignore[assignment]
    if state is not None:
        unit.rows[SEED] = Row(name, SEED, state)
    carry_done(site, unit)
    is_done = SEED in unit.rows and unit.rows[SEED].state is RowState.DONE
    assert is_done is not we_deleted


ONE, TWO, THREE = Digest("1" * 64), Digest("2" * 64), Digest("3" * 64)


def recovered(*, is_confirmed: bool = True) -> tuple[UnitState, Any]:
    """A unit whose record was rebuilt, with a Job that is not there, and its site."""
    name = UnitName(OverlayName("web"), CLUSTER)
    unit = UnitState(name, UnitMemory(name, settled=False, confirmed=is_confirmed))
    view = SimpleNamespace(is_known=lambda ref: True, find=lambda ref: None)
    site: Any = SimpleNamespace(journal=SimpleNamespace(jot=lambda entry: None), view=view, wall=lambda: 1.0)
    site.put_row = lambda unit, put: unit.rows.update({put.ref: put})
    return unit, site


def pass_over(unit: UnitState, site: Any, wanted: Digest, *, ordered: Digest | None = None) -> bool:
    """Whether the report of a pass over a bundle with this Job says how to run it; `ordered` came amid it."""
    options = SimpleNamespace(options=SimpleNamespace(reconcile=True))
    unit.wanted[SEED] = SimpleNamespace(digest=wanted, ref=SEED, source=options)  # type: ignore[assignment]
    unit.bundle = wanted
    unit.desired = UnitDesired(unit.name, Revision("a" * 40), Apply(ordered or wanted))
    carry_done(site, unit)
    says = SEED in not_run(unit) and runs_once_changed(unit, SEED)
    note_told(site, unit)
    return says


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_one_that_git_changes_after_it_was_said_that_it_is_not_run_is_run(*, is_confirmed: bool) -> None:
    unit, site = recovered(is_confirmed=is_confirmed)
    assert pass_over(unit, site, ONE) is is_confirmed
    pass_over(unit, site, TWO)
    assert unit.rows[SEED].desired == (ONE if is_confirmed else TWO)


def test_one_that_git_had_changed_before_anybody_could_read_that_is_not_run() -> None:
    unit, site = recovered()
    assert not pass_over(unit, site, ONE, ordered=TWO)
    assert pass_over(unit, site, TWO)
    assert unit.rows[SEED].desired == TWO
    pass_over(unit, site, THREE)
    assert unit.rows[SEED].desired == TWO, "it is left to be run"


def waits_for_nothing() -> list[dict[str, Any]]:
    """What keeps a unit from settling: a wave behind a Deployment that never stands."""
    late = config_map("late", SHOP, annotations={"fleet.internal/wave": "1"})
    template = {
        "metadata": {"labels": {"app": "waits"}},
        "spec": {"containers": [{"name": "c", "image": "app:crash"}]},
    }
    waits = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "waits", "namespace": SHOP},
        "spec": {"selector": {"matchLabels": {"app": "waits"}}, "template": template},
    }
    return [waits, late]


async def lose(hub: SimHub) -> UnitName:
    """The Job of this unit ended and went, and of its record, which was rebuilt, nothing tells of it."""
    unit = hub.want("web", [job(), config_map("c", SHOP)], sync=NO_DRY_RUNS)
    async with hub.worker():
        await hub.until_well(unit)
    hub.cluster.remove("batch", "Job", SHOP, SEED.name)
    memory = (await hub.journal.load()).units[0]
    await hub.journal.commit(JournalEntry(drop=((unit, SEED),), units=(replace(memory, settled=False),)))
    hub.units.clear()
    hub.want("web", [job("b"), *waits_for_nothing()], sync=NO_DRY_RUNS, commit="b")
    return unit


async def test_a_job_for_which_the_rest_of_its_unit_waits_runs_once_git_changes_it(hub: SimHub) -> None:
    unit = await lose(hub)
    async with hub.worker():
        await hub.until(lambda: bool(hub.units.get(unit) and hub.units[unit].warnings), "warned")
        assert not is_there(hub)
        hub.want("web", [job("c"), *waits_for_nothing()], sync=NO_DRY_RUNS, commit="c")
        await hub.until(lambda: is_there(hub), "run, though the unit never settled")
    assert not (await hub.journal.load()).units[0].settled


async def test_one_that_git_changes_as_soon_as_the_first_report_says_so_is_run(
    hub: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lose(hub)
    put, said = Outbox.put_unit, list[str]()

    def put_and_change(outbox: Outbox, report: UnitReport) -> None:
        put(outbox, report)
        if report.warnings and not said:
            hub.want("web", [job("c"), *waits_for_nothing()], sync=NO_DRY_RUNS, commit="c")
        said.extend(report.warnings)

    monkeypatch.setattr(Outbox, "put_unit", put_and_change)
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "run")
    assert "change any field" in said[0]


async def tell(hub: SimHub) -> UnitName:
    """A hub that ended after it had said how to run the Job; Git has changed it since."""
    unit = await lose(hub)
    async with hub.worker():
        await hub.until(lambda: bool(hub.units.get(unit) and hub.units[unit].warnings), "warned")
    hub.units.clear()
    hub.want("web", [job("c"), *waits_for_nothing()], sync=NO_DRY_RUNS, commit="c")
    return unit


async def test_one_that_git_changes_while_no_hub_runs_is_run_where_it_was_said_before(hub: SimHub) -> None:
    unit = await tell(hub)
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "run")
        await hub.until(lambda: unit in hub.units and not hub.units[unit].warnings, "nothing to warn of any more")
    assert (await hub.journal.load()).units[0].told == (SEED,), "its run is on record: the next change runs it as well"


class Forgetful(MemoryJournal):
    """Of a hub that is killed before its last batch is written."""

    def jot(self, entry: JournalEntry) -> None:
        pass

    async def commit(self, entry: JournalEntry) -> None:
        super().jot(entry)


async def test_one_that_was_run_as_it_was_said_is_not_run_again_by_a_hub_that_does_not_know_it(hub: SimHub) -> None:
    unit = await tell(hub)
    hub.journal.__class__ = Forgetful
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "run")
    hub.journal.__class__ = MemoryJournal
    hub.cluster.remove("batch", "Job", SHOP, SEED.name)
    hub.units.clear()
    async with hub.worker():
        await hub.until(lambda: bool(hub.units.get(unit) and hub.units[unit].warnings), "warned")
        assert not is_there(hub)
        assert not hub.units[unit].blocked_by, "its state is no older one"
        hub.want("web", [job("d"), *waits_for_nothing()], sync=NO_DRY_RUNS, commit="d")
        await hub.until(lambda: is_there(hub), "as its warning says")


async def test_an_earlier_state_that_is_put_back_does_not_run_what_it_had_said_before(hub: SimHub) -> None:
    unit = await tell(hub)
    earlier = deepcopy(hub.journal)
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "run")
    hub.journal = earlier
    hub.cluster.remove("batch", "Job", SHOP, SEED.name)
    hub.units.clear()
    async with hub.worker():
        await hub.until(lambda: bool(hub.units.get(unit) and hub.units[unit].blocked_by), "it asks")
        hub.send_desired(recovered=hub.shown())
        await hub.until(lambda: "change any field" in "".join(hub.units[unit].warnings), "recovered")
        assert not is_there(hub)


async def test_a_unit_that_waited_for_a_person_before_an_upgrade_counts_as_not_settled(hub: SimHub) -> None:
    unit = hub.want("web", [config_map("c", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
    memory = (await hub.journal.load()).units[0]
    for confirmed in (True, False):
        written = encode_memory(replace(memory, confirmed=confirmed)).replace(b'"settled":true,', b"")
        assert b"settled" not in written
        assert decode_memory(written).settled is confirmed


async def test_one_that_ran_as_it_was_said_runs_after_a_restart_once_git_changes_it_again(hub: SimHub) -> None:
    unit = await tell(hub)
    async with hub.worker():
        await hub.until(lambda: is_there(hub), "run")
        hub.cluster.drift("batch", "Job", SHOP, SEED.name, COMPLETE)
        await hub.until(lambda: (s := hub.object(unit, "Job", SEED.name)) and s.health is Health.HEALTHY, "completed")
    assert not (await hub.journal.load()).units[0].settled
    hub.cluster.remove("batch", "Job", SHOP, SEED.name)
    hub.units.clear()
    async with hub.worker():
        await hub.until(lambda: unit in hub.units, "reported")
        assert not hub.units[unit].warnings
        assert not is_there(hub), "it has completed"
    hub.units.clear()
    hub.want("web", [job("d"), *waits_for_nothing()], sync=NO_DRY_RUNS, commit="d")
    async with hub.worker():
        await hub.until(lambda: is_there(hub) or (unit in hub.units and hub.units[unit].warnings), "known")
        assert is_there(hub)


@pytest.mark.parametrize(
    ("state", "uid", "desired", "is_kept"),
    [
        (RowState.APPLIED, "u", ONE, True),
        (RowState.DONE, "u", ONE, True),
        (RowState.INTENDED, "u", ONE, False),  # on its way again: a hub that is killed now does not hear of it
        (RowState.APPLIED, "u", TWO, False),
        (RowState.INTENDED, "", ONE, False),
    ],
)
def test_the_word_that_a_run_used_up_counts_again_once_that_run_is_on_record(
    state: RowState, uid: str, desired: Digest, *, is_kept: bool
) -> None:
    unit, site = recovered()
    unit.told = {SEED}
    unit.wanted[SEED] = SimpleNamespace(digest=ONE)  # type: ignore[assignment]
    unit.rows[SEED] = Row(unit.name, SEED, state, uid, desired=desired)
    note_told(site, unit)
    assert unit.memory.told == ((SEED,) if is_kept else ())
    unit.told, unit.memory = set(), replace(unit.memory, told=())
    note_told(site, unit)
    assert not unit.memory.told, "nobody had said so"
