"""A state that was lost, or put back from an earlier time without `fleet restore`: the parents show it (R24)."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import Any

import pytest
from rig import CLUSTER, config_map
from simulated import SHOP, SimHub
from two_hubs import WAITS_SECONDS, bundle_said, parent_on, settled, writes_since

from fleet.core.ids import Digest, Identity, ObjectRef, UnitName
from fleet.core.objects import OWNER_ANNOTATION
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.recovery import asked_of, given_of, shown_of
from fleet.core.rollout import Detach
from fleet.core.status import ASKS_RECOVERY
from fleet.core.sync_policy import Adopt, SyncPolicy, Validate
from fleet.ports.worker import JournalEntry
from fleet.store.memory_journal import MemoryJournal

BARRED = Digest("5f0c")
GENERATION = "fleet.internal/record-generation"


def asks(hub: SimHub, *units: UnitName) -> bool:
    found = [hub.units.get(unit) for unit in units]
    return all(report is not None and ASKS_RECOVERY in [link.next for link in report.blocked_by] for report in found)


def generation_on(hub: SimHub) -> int:
    return int(parent_on(hub)["metadata"]["annotations"][GENERATION])


def note(hub: SimHub, **notes: str | None) -> None:
    """Annotations of the parent of `web`, as anybody changes them who may edit ConfigMaps in fleet-system."""
    said = {
        OWNER_ANNOTATION if key == "owner" else f"fleet.internal/{key.replace('_', '-')}": notes[key] for key in notes
    }
    hub.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", {"metadata": {"annotations": said}})


async def left_behind(hub: SimHub, *, barred: bool = False) -> tuple[UnitName, UnitName, Any]:
    """Units web and api; web went on, to `a` at 2 and a new `x`, after the journal of the end was copied."""
    web, api = await settled(hub, "web"), await settled(hub, "api", "b")
    earlier = copy.deepcopy(hub.journal)
    hub.want("web", [config_map("a", SHOP, {"a": "2"}), config_map("x", SHOP)], commit="b", send=False)
    if barred:
        hub._parts[web] = replace(hub._parts[web], quarantined=(BARRED,))
    hub.send_desired()
    async with hub.worker():
        await hub.until_well(web)
        await hub.until(lambda: generation_on(hub) > 1, "its parent")
    hub.units.clear()
    return web, api, earlier


async def test_an_earlier_data_directory_put_back_observes_until_a_person_says_so(first: SimHub) -> None:
    web, api, first.journal = await left_behind(first, barred=True)
    mark = first.cluster.ledger.sequence
    gone = [ObjectRef("", "ConfigMap", SHOP, "x")]
    first.want("web", [config_map("a", SHOP)], commit="a", permits=gone, send=False)  # as the earlier state has it
    first.want("api", [config_map("b", SHOP, {"a": "3"})], commit="c", permits=())
    async with first.worker():
        await first.until(lambda: asks(first, web, api), "asked, of all units")
        assert first.units[web].quarantined == (BARRED,), "what was taken back since"
        assert "older than the cluster" in first.units[web].blocked_by[0].reason
        await asyncio.sleep(WAITS_SECONDS)
        assert writes_since(first, mark) == []
    async with first.worker():  # nor after a restart
        await first.until(lambda: asks(first, web, api), "asked again")
        await asyncio.sleep(WAITS_SECONDS)
        assert writes_since(first, mark) == []
        first.send_desired(recovered=first.shown())
        await first.until_well(api)
        await first.until(lambda: first.cluster.get("", "ConfigMap", SHOP, "x") is None, "its record is the cluster's")


@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_recovery_keeps_what_a_parent_says_of_the_audit_log(first: SimHub, *, is_lost: bool) -> None:
    """It tells of an end that the log has lost since (R43), until something is deleted anew."""
    web, api, earlier = await left_behind(first)
    first.journal = MemoryJournal() if is_lost else earlier
    head = f"99:{'a' * 64}"
    note(first, audit_head=f"{head} 7:{'b' * 64}")
    before = generation_on(first)
    first.want("web", [config_map("a", SHOP)], commit="a", permits=())
    async with first.worker():
        await first.until(lambda: asks(first, web, api), "asked")
        first.send_desired(recovered=first.shown())
        await first.until(lambda: generation_on(first) > before, "its parent is written again")
        assert parent_on(first)["metadata"]["annotations"]["fleet.internal/audit-head"] == head


async def test_what_is_new_while_records_wait_goes_on_once_these_are_confirmed(first: SimHub) -> None:
    """The word may be older than the newcomer: it was for all that waited."""
    web, api, first.journal = await left_behind(first)
    first.want("web", [config_map("a", SHOP)], commit="a", permits=())
    async with first.worker():
        await first.until(lambda: asks(first, web, api), "asked")
        word, mark = first.shown(), first.cluster.ledger.sequence
        late = first.want("late", [config_map("late", SHOP)], commit="d")
        await first.until(lambda: asks(first, late), "it waits as well")
        assert "it is new here" in first.units[late].blocked_by[0].reason
        await asyncio.sleep(WAITS_SECONDS)
        assert writes_since(first, mark) == []
        first.send_desired(recovered=word)
        await first.until_well(late)
        after = first.want("after", [config_map("after", SHOP)], commit="e", send=False)
        first.send_desired()
        await first.until_well(after)


async def test_what_comes_while_records_are_read_anew_waits_with_them(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, api, first.journal = await left_behind(first)
    first.want("web", [config_map("a", SHOP)], commit="a", permits=())
    mark, commit, late = first.cluster.ledger.sequence, MemoryJournal.commit, UnitName.parse(f"late@{CLUSTER}")

    async def slow(journal: MemoryJournal, entry: JournalEntry) -> None:
        if len(entry.units) > 1 and late not in first._parts:
            first.want("late", [config_map("late", SHOP)], commit="d")
            await asyncio.sleep(WAITS_SECONDS)
        await commit(journal, entry)

    monkeypatch.setattr(MemoryJournal, "commit", slow)
    async with first.worker():
        await first.until(lambda: asks(first, web, api, late), "all of them wait")
        await asyncio.sleep(WAITS_SECONDS)
        assert writes_since(first, mark) == []
        first.send_desired(recovered=first.shown())
        await first.until_well(late)


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_word_that_waits_is_not_for_a_later_loss_nor_for_a_unit_that_nobody_was_shown(
    first: SimHub, *, restarts: bool
) -> None:
    web, api, first.journal = await left_behind(first)
    first._parts.pop(api)  # not rendered yet, as by a hub that was lost
    identity = Identity(first.cluster.identity)
    known = {memory.unit: memory.bundle for memory in (await first.journal.load()).units}
    version = first.cluster.get("", "ConfigMap", SHOP, "b")["metadata"]["resourceVersion"]
    before = shown_of(web, known[web], identity)
    mark = first.cluster.ledger.sequence
    first.want("web", [config_map("a", SHOP)], commit="a", permits=(), send=False)
    first.send_desired(recovered=frozenset({before}))  # of an earlier look, before this loss
    async with first.worker():
        await first.until(lambda: asks(first, web), "asked")
        await asyncio.sleep(WAITS_SECONDS)
        assert writes_since(first, mark) == []
        word = first.shown()
        if not restarts:
            first.send_desired(recovered=word)
            await first.until(lambda: not asks(first, web), "heard")
    first.units.clear()
    first.want("api", [config_map("b", SHOP, {"a": "3"})], commit="c", permits=(), send=False)
    first.send_desired(recovered=word)  # a restart between the word and what it is for changes nothing
    async with first.worker():
        await first.until(lambda: web in first.units and not asks(first, web) and asks(first, api), "api was not shown")
        await asyncio.sleep(WAITS_SECONDS)
        assert first.cluster.get("", "ConfigMap", SHOP, "b")["metadata"]["resourceVersion"] == version
        first.send_desired(recovered=first.shown())
        await first.until_well(api)


async def test_a_word_waits_for_a_cluster_that_a_restarted_worker_has_not_reached_yet(
    first: SimHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says whose records it reports: of an unknown cluster nothing was shown, and the word would be over."""
    web, _, first.journal = await left_behind(first)
    first.want("web", [config_map("a", SHOP)], commit="a", permits=())
    async with first.worker():
        await first.until(lambda: asks(first, web), "asked")
        await first.until(lambda: first.reports[-1].reachable, "reached")
    given = asked_of(first.units.values(), {CLUSTER: first.reports[-1]})
    assert given
    first.reports.clear()
    first.send_desired()
    monkeypatch.setattr(first, "kubeconfig", lambda name: asyncio.Event().wait())  # nobody answers
    async with first.worker():
        await first.until(lambda: first.reports, "an answer to the order")
    report = first.reports[0]
    assert not report.reachable
    assert given_of(given, asked_of(first.units.values(), {CLUSTER: report})) == given


async def test_a_word_for_a_unit_that_waits_to_be_let_go_is_heard_for_good(first: SimHub) -> None:
    """It asks no more from that pass on, and then the hub takes the word for used."""
    web, _, first.journal = await left_behind(first)
    first.want("web", [config_map("a", SHOP)], commit="a", permits=(), send=False)
    first.send_desired()
    async with first.worker():
        await first.until(lambda: asks(first, web), "asked")
        first.want("web", action=Detach("its objects move to another overlay"), send=False)
        first.send_desired(recovered=first.shown())
        await first.until(lambda: not asks(first, web), "heard")
        memories = {memory.unit: memory for memory in (await first.journal.load()).units}
        assert memories[web].confirmed


async def test_an_earlier_data_directory_that_does_not_know_a_unit_yet_is_found_out_by_it(first: SimHub) -> None:
    await settled(first, "api", "b")
    earlier = copy.deepcopy(first.journal)
    web = await settled(first, "web")
    first.journal = earlier
    mark = first.cluster.ledger.sequence
    first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b")
    async with first.worker():
        await first.until(lambda: asks(first, web), "asked")
        await asyncio.sleep(WAITS_SECONDS)
    assert writes_since(first, mark) == []


class NoJots(MemoryJournal):
    """A hub that is killed each time before anything but a commit is written."""

    def jot(self, entry: Any) -> None:
        pass

    async def commit(self, entry: Any) -> None:
        super().jot(entry)


class Stuck:
    """The hub ends just before a parent is written, or once it is and nothing was heard of it."""

    def __init__(self, kube: Any, lands: bool) -> None:
        self._kube, self._lands, self.reached = kube, lands, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, namespace: str, name: str, body: bytes, **options: Any) -> Any:
        if name != "unit-web":
            return await self._kube.apply(kind, namespace, name, body, **options)
        if self._lands:
            await self._kube.apply(kind, namespace, name, body, **options)
        self.reached.set()
        return await asyncio.Future[Any]()


@pytest.mark.parametrize("lands", [True, False])
async def test_a_hub_that_is_killed_around_the_write_of_a_parent_goes_on(first: SimHub, lands: bool) -> None:
    first.journal = NoJots()
    unit = await settled(first, "web")
    for value in "234":
        made: list[Stuck] = []

        def between(kube: Any, made: list[Stuck] = made) -> Stuck:
            made.append(Stuck(kube, lands))
            return made[-1]

        first.between = between
        first.want("web", [config_map(name, SHOP, {"a": value}) for name in ("a", f"x{value}")], commit=value)
        async with first.worker():
            await first.until(lambda made=made: made, "connected")
            async with asyncio.timeout(WAITS_SECONDS * 10):
                await made[-1].reached.wait()
        first.units.clear()
    first.between = None
    async with first.worker():
        await first.until_well(unit)


@pytest.mark.parametrize("way", ["restarted", "let go and back", "renamed", "refused"])
async def test_whose_memory_is_whole_asks_nobody(first: SimHub, way: str) -> None:
    unit = await settled(first, "web")
    if way == "let go and back":
        async with first.worker():
            await first.until_well(unit)
            first.want("web", action=Detach())
            await first.until(lambda: parent_on(first) is None, "let go")
    elif way == "renamed":
        first.journal.rename(unit.cluster)
    elif way == "refused":
        first.cluster.faults.add("error", code=500, verbs={"patch"}, resource="configmaps", name="unit-web")
        first.want("web", [config_map("a", SHOP, {"a": "5"})], commit="b")
        async with first.worker():
            await first.until(lambda: first.units[unit].warnings, "not written")
        first.cluster.faults.clear()
    first.units.clear()
    again = SyncPolicy(adopt=Adopt.ALWAYS)
    first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="c", sync=again)
    async with first.worker():
        await first.until_well(unit)
        await first.until(lambda: bundle_said(parent_on(first)), "its parent")
    async with first.worker():
        first.want("web", [config_map("a", SHOP, {"a": "3"})], commit="d", sync=again)
        await first.until_well(unit)


async def test_a_parent_that_a_finalizer_keeps_is_waited_for_and_is_no_loss(first: SimHub) -> None:
    web, api = await settled(first, "web"), await settled(first, "api", "b")
    first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", {"metadata": {"finalizers": ["acme/keep"]}})
    first.units.clear()
    first.want("web", action=Detach())
    for _ in range(2):  # after a restart as well
        async with first.worker():
            await first.until_well(api)
            await first.until(lambda: web in first.units and first.units[web].warnings, "said")
            assert "a finalizer keeps it" in first.units[web].warnings[0]
            assert not asks(first, api)
        first.units.clear()
    async with first.worker():
        await first.until(lambda: web in first.units, "waits")
        first.cluster.drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", {"metadata": {"finalizers": None}})
        await first.until(lambda: web not in first.units, "let go")
    assert parent_on(first) is None
    assert {memory.unit for memory in (await first.journal.load()).units} == {api}


# Lost, where somebody changed the parent


@pytest.mark.parametrize(
    "notes",
    [
        {"owner": "rival/5f0c/web"},
        {"owner": "nonsense"},
        {"owner": "acme/{identity}/api"},
        {"owner": None},
        {"record_digest": None},
        {"record_generation": "many"},
        {"record_generation": "²"},
        {"record_generation": "9" * 5000},
        {"quarantined": "[1"},
    ],
    ids=lambda notes: " ".join(f"{key} {str(value)[:20]}" for key, value in notes.items()),
)
async def test_a_lost_state_is_found_out_by_a_parent_that_somebody_changed(
    first: SimHub, notes: dict[str, str | None]
) -> None:
    unit = first.want("web", [config_map("a", SHOP), config_map("b", SHOP)], send=False)
    first._parts[unit] = replace(first._parts[unit], quarantined=(BARRED,))
    first.send_desired()
    async with first.worker():
        await first.until_well(unit)
        await first.until(lambda: bundle_said(parent_on(first)), "its parent")
    note(first, **{key: value and value.format(identity=first.cluster.identity) for key, value in notes.items()})
    first.journal = MemoryJournal()
    first.units.clear()
    mark = first.cluster.ledger.sequence
    first.want("web", [config_map("a", SHOP, {"a": "2"})], commit="b", permits=())
    for _ in range(2):  # after a restart as well
        async with first.worker():
            await first.until(lambda: asks(first, unit), "asked")
            assert {status.ref.name for status in first.units[unit].objects} == {"a", "b"}
            assert first.units[unit].quarantined == (() if "quarantined" in notes else (BARRED,))
            await asyncio.sleep(WAITS_SECONDS)
            assert writes_since(first, mark) == []
    async with first.worker():
        first.send_desired(recovered=first.shown())
        await first.until(lambda: first.units[unit].holds, "what it held is asked for")
        await first.until(
            lambda: parent_on(first)["metadata"]["annotations"][OWNER_ANNOTATION].endswith("/web"), "mended"
        )
    assert first.cluster.get("", "ConfigMap", SHOP, "b") is not None
    first.units.clear()
    first.send_desired()
    async with first.worker():
        await first.until(lambda: first.units.get(unit) and first.units[unit].holds, "as before")
        assert not asks(first, unit), "a word is for good"


async def test_an_older_state_is_still_found_out_after_somebody_wrote_the_highest_generation(first: SimHub) -> None:
    unit = await settled(first, "web")
    note(first, record_generation="9" * 15)
    first.units.clear()
    async with first.worker():
        await first.until(lambda: asks(first, unit), "asked")
        first.send_desired(recovered=first.shown())
        await first.until_well(unit)
        await first.until(lambda: generation_on(first) < 10**15 - 1, "written over")
        assert not first.units[unit].warnings
    earlier, before = copy.deepcopy(first.journal), generation_on(first)
    first.want("web", [config_map("a", SHOP, {"a": "2"}), config_map("x", SHOP)], commit="b")
    first.units.clear()
    async with first.worker():  # the twin: what is as new as its cluster asks nobody
        await first.until_well(unit)
        assert not asks(first, unit)
        await first.until(lambda: generation_on(first) > before, "one more of its own")
    first.journal = earlier
    first.units.clear()
    async with first.worker():
        await first.until(lambda: asks(first, unit), "asked again")
        assert not first.units[unit].warnings, "nobody changed it"


async def test_what_was_damaged_is_said_to_who_confirms_it(first: SimHub) -> None:
    unit = await settled(first, "web")
    note(first, owner="nonsense")
    first.journal = MemoryJournal()
    first.units.clear()
    async with first.worker():
        await first.until(lambda: asks(first, unit), "asked")
        assert "changed by somebody" in first.units[unit].warnings[0]


async def test_a_copy_of_a_parent_and_what_others_left_ask_nobody(first: SimHub) -> None:
    """The harmless twins: a copy that somebody made by hand, of another cluster, of another installation."""
    unit = await settled(first, "web")
    document = parent_on(first)
    for name, change in {
        "unit-web-old": {},
        "kept": {},
        "unit-old": {OWNER_ANNOTATION: "acme/77/old"},
    }.items():
        made = copy.deepcopy(document)
        metadata = {key: made["metadata"][key] for key in ("namespace", "labels", "annotations")}
        metadata["annotations"].update(change)
        first.cluster.create({**made, "metadata": {**metadata, "name": name}})
    first.units.clear()
    async with first.worker():
        await first.until_well(unit)
    first.journal = MemoryJournal()
    async with first.worker():
        await first.until(lambda: asks(first, unit), "lost")
    assert {memory.unit for memory in (await first.journal.load()).units} == {unit}


def hook(name: str, image: str) -> dict[str, Any]:
    notes = {"fleet.internal/hook": "PreSync"}
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}}
    metadata = {"name": name, "namespace": SHOP, "annotations": notes}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": pod}}


@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_hook_of_which_an_older_state_knows_that_it_ran_does_not_run_again(
    first: SimHub, *, is_lost: bool
) -> None:
    """What it ran for is not applied in full yet: another hook's pod finds no node. The twin: nothing was lost."""
    unit, sync = await settled(first, "web"), SyncPolicy(validate=Validate.SCHEMA)
    hooks = [hook("one", "i:1"), hook("two", "i:unschedulable")]
    first.want("web", [config_map("a", SHOP, {"a": "2"}), *hooks], commit="b", sync=sync)

    def waits_for_two() -> bool:
        report = first.units.get(unit)
        return report is not None and report.message == "PreSync hook Job default/two has not ended yet"

    def made() -> str:
        found: Any = first.cluster.get("batch", "Job", SHOP, "one")
        return found["metadata"]["uid"]

    async with first.worker():
        await first.until(waits_for_two, "one is over")
        before = made()
    if is_lost:
        note(first, record_generation="1000")
    first.units.clear()
    async with first.worker():
        if is_lost:
            await first.until(lambda: asks(first, unit), "asked")
            first.send_desired(recovered=first.shown())
        await first.until(lambda: waits_for_two() and not asks(first, unit), "goes on")
        assert made() == before
