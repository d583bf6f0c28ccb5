from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from rig import Hub, config_map, notes
from simulated import SHOP, SimHub
from testbed.controlplane import ControlPlane
from testbed.workloads import job

from fleet.core.documents import text_at
from fleet.core.ids import UnitName
from fleet.core.record import RowState
from fleet.core.status import EventKind, Health, Sync
from fleet.ports.worker import JournalEntry
from fleet.reconcile.sightings import token_key
from fleet.store.memory_journal import MemoryJournal


def writes(plane: ControlPlane, mark) -> list:
    return [r for r in plane.ledger(mark, user_agent="fleet") if r.is_write]


async def test_after_a_restart_nothing_is_listed_or_applied_but_what_changed_meanwhile(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    path = f"/api/v1/namespaces/{shop}/configmaps"
    wanted = [config_map(f"c{n}", shop) for n in range(6)]
    unit = hub.want("web", wanted)
    async with hub.worker():
        await hub.until_well(unit)
    # The first restart reads the lists' tokens; the second resumes from them.
    async with hub.worker():
        await asyncio.sleep(0.5)
        await hub.until_well(unit)
    client.merge(f"{path}/c0", {"data": {"a": "drifted while down"}})
    client.delete(f"{path}/c1")
    client.merge(f"{path}/c2", {"metadata": {"labels": {"fleet.internal/installation": None}}})
    hub.want("web", [config_map("c3", shop, {"a": "3"}) if n == 3 else wanted[n] for n in range(6)], commit="b")
    hub.events.clear()
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until(lambda: len(hub.told(EventKind.HEALED)) == 3, "three healed")
        await hub.until_well(unit)
        await asyncio.sleep(0.3)
    done = writes(api_server, mark)
    applied = sorted(r.name for r in done if r.resource == "configmaps" and r.namespace == shop)
    assert applied == ["c0", "c1", "c2", "c3"]
    listed = [r for r in api_server.ledger(mark, user_agent="fleet") if r.verb == "list"]
    assert [(r.resource, r.namespace) for r in listed] == [("configmaps", "fleet-system")]  # who is here (R23)


async def test_a_restart_with_nothing_to_do_writes_nothing(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    unit = hub.want("web", [config_map(f"c{n}", shop) for n in range(6)])
    async with hub.worker():
        await hub.until_well(unit)
    mark = api_server.ledger_mark()
    hub.units.clear()
    async with hub.worker():
        await hub.until_well(unit)
        await asyncio.sleep(0.3)
    assert writes(api_server, mark) == []


def cron_job(shop: str, *, suspend: bool) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    spec = {"schedule": "0 0 1 1 *", "suspend": suspend, "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "j", "namespace": shop}, "spec": spec}


async def test_what_is_suspended_is_shown_so_after_restarts_too(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    unit = hub.want("web", [cron_job(shop, suspend=False)])
    async with hub.worker():
        await hub.until_well(unit)
    async with hub.worker():  # its list's token is newer than the first apply, and older than the next one
        await hub.until_well(unit)
        await asyncio.sleep(0.5)
        hub.want("web", [cron_job(shop, suspend=True)], commit="b")
        await hub.until(lambda: hub.units[unit].health is Health.SUSPENDED, "suspended")
    for _ in range(2):
        hub.units.clear()
        async with hub.worker():
            seen = await hub.until(lambda: (s := hub.object(unit, "CronJob", "j")) and s.sync is Sync.SYNCED and s)
            assert seen.health is Health.SUSPENDED
            await asyncio.sleep(0.5)
    async with hub.worker():
        hub.want("web", [cron_job(shop, suspend=False)], commit="c")
        await hub.until_well(unit)


async def test_a_lost_journal_that_meets_our_marks_only_observes_until_confirmed(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    path = f"/api/v1/namespaces/{shop}/configmaps"
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        await asyncio.sleep(0.3)
    hub.journal = MemoryJournal()
    hub.units.clear()
    mark = api_server.ledger_mark()
    hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b", permits=())
    async with hub.worker():
        found = await hub.until(lambda: (u := hub.units.get(unit)) and u.blocked_by and u, "held")
        assert [link.next for link in found.blocked_by] == ["fleet recover"]
        await asyncio.sleep(0.3)
        assert writes(api_server, mark) == []
        assert client.exists(f"{path}/b")
        hub.send_desired(recovered=hub.shown())
        await hub.until(lambda: client.get(f"{path}/a")["data"] == {"a": "2"}, "applied after the confirmation")
        # What the lost record held is known again, and still asks before it goes.
        await hub.until(lambda: hub.units[unit].holds, "the hold")
        assert client.exists(f"{path}/b")


@pytest.mark.parametrize("missing", [False, True])
async def test_a_record_that_is_not_found_whole_says_so_to_who_confirms_it(
    hub: Hub, api_server: ControlPlane, shop: str, *, missing: bool
) -> None:
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        await asyncio.sleep(0.3)
    if missing:
        api_server.client().delete(f"/api/v1/namespaces/{shop}/configmaps/b")
    hub.journal = MemoryJournal()
    hub.units.clear()
    async with hub.worker():
        found = await hub.until(lambda: (u := hub.units.get(unit)) and u.blocked_by and u, "held")
    assert any("not the list" in text for text in found.warnings) is missing


async def test_what_a_hook_left_is_no_object_of_a_record_that_is_found_again(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    hook = config_map("h", shop, **notes(hook="PreSync", hook_delete="BeforeHookCreation"))
    unit = hub.want("web", [hook, config_map("a", shop), config_map("b", shop)])
    async with hub.worker():
        await hub.until_well(unit)
    before = client.get(f"/api/v1/namespaces/{shop}/configmaps/h")["metadata"]["uid"]
    hub.journal = MemoryJournal()
    hub.units.clear()
    hub.want("web", [hook, config_map("a", shop, {"a": "2"})], commit="b", permits=())
    async with hub.worker():
        await hub.until(lambda: (u := hub.units.get(unit)) and u.blocked_by, "held")
        hub.send_desired(recovered=hub.shown())
        (hold,) = await hub.until(lambda: hub.units[unit].holds, "asked for")
        assert [item.ref.name for item in hold.deletions] == ["b"]  # an ordinary one is known again
    assert client.get(f"/api/v1/namespaces/{shop}/configmaps/h")["metadata"]["uid"] != before  # it ran again


async def test_killed_between_record_and_apply_the_object_is_neither_lost_nor_applied_twice(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """A crash is a journal that knows less than the cluster: here every jot after the record is lost."""

    class Forgetful(MemoryJournal):
        def jot(self, entry) -> None:
            if self.commits:
                return
            super().jot(entry)

        commits = False

        async def commit(self, entry) -> None:
            super().jot(entry)

    hub.journal = Forgetful()
    unit = hub.want("web", [config_map("a", shop), config_map("b", shop)])
    hub.journal.commits = True
    async with hub.worker():
        await hub.until_well(unit)
    state = await hub.journal.load()
    assert {row.state.value for row in state.rows} == {"intended"}
    hub.journal.commits = False
    hub.units.clear()
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until_well(unit)
        await asyncio.sleep(0.2)
    assert [r for r in writes(api_server, mark) if r.namespace == shop] == []


_REST = [config_map(f"c{n}", SHOP) for n in range(8)]


async def ended_job(hub: SimHub, *, removed: bool) -> UnitName:
    """A unit with a Job that has ended (and was removed since), and a token from after that."""
    unit = hub.want("web", [job("once", SHOP), *_REST])
    async with hub.worker():
        await hub.until_well(unit)
        await rows_of(hub, "done")
    if removed:
        hub.cluster.remove("batch", "Job", SHOP, "once")
    hub.journal.jot(JournalEntry(resume={token_key(("batch", "Job")): newest_on(hub)}))
    hub.units.clear()
    return unit


def newest_on(hub: SimHub) -> str:
    """A resourceVersion from after everything that is there."""
    later = hub.cluster.create(config_map("later", SHOP), manager="kubectl")
    return text_at(later.object, "metadata", "resourceVersion")


async def rows_of(hub: SimHub, *states: str) -> None:
    """Once these are the states of the Jobs in the journal."""
    async with asyncio.timeout(10):
        while [r.state for r in (await hub.journal.load()).rows if r.ref.kind == "Job"] != [*states]:
            await asyncio.sleep(0.02)


async def test_a_job_that_ended_before_a_restart_is_deleted_once_git_drops_it(first: SimHub) -> None:
    unit = await ended_job(first, removed=False)
    async with first.worker():
        await first.until_well(unit)
        first.want("web", _REST, commit="b")
        await first.until_well(unit)
        await rows_of(first)
    assert first.cluster.get("batch", "Job", SHOP, "once") is None
    assert len(first.asked("delete", "once")) == 1


async def test_twin_a_job_that_removed_itself_is_forgotten_after_one_read(first: SimHub) -> None:
    unit = await ended_job(first, removed=True)
    reads = len(first.asked("get", "once"))
    async with first.worker():
        await first.until_well(unit)
        assert len(first.asked("get", "once")) == reads
        first.want("web", _REST, commit="b")
        await first.until_well(unit)
        await rows_of(first)
    assert len(first.asked("get", "once")) == reads + 1
    assert not first.asked("delete", "once")


async def test_a_kind_is_listed_once_whose_token_an_older_version_kept(first: SimHub) -> None:
    """To it a completed Job was applied, and what is suspended was as well as all else."""
    unit = first.want("web", [cron_job(SHOP, suspend=True), job("once", SHOP)])
    async with first.worker():
        await first.until(lambda: (u := first.units.get(unit)) and u.health is Health.SUSPENDED, "suspended")
        await rows_of(first, "done")
    rows = tuple(replace(row, state=RowState.APPLIED) for row in (await first.journal.load()).rows)
    first.journal.jot(JournalEntry(put=rows, resume=dict.fromkeys(["batch/CronJob", "batch/Job"], newest_on(first))))
    first.units.clear()
    async with first.worker():
        seen = await first.until(lambda: (s := first.object(unit, "CronJob", "j")) and s.sync is Sync.SYNCED and s)
        assert seen.health is Health.SUSPENDED
        await rows_of(first, "done")
