"""What is new goes before what follows from it: by turns, and nobody waits for long or for somebody who hangs."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from rig import Hub, config_map

from fleet.core.ids import ClusterName
from fleet.core.status import EventKind, Report
from fleet.reconcile import outbox as outbox_of
from fleet.reconcile import rush as rush_of
from fleet.reconcile.outbox import Outbox
from fleet.reconcile.rush import HOLD_SECONDS, WIDE, Rush, Turn
from fleet.reconcile.session import Session

SOON = 10.0  # far above every limit here


async def all_turns(rush: Rush) -> list[Turn]:
    return [await rush.turn() for _ in range(WIDE)]


async def test_one_cluster_goes_its_whole_way_to_its_write_before_the_ones_behind_it_are_planned() -> None:
    rush, said = Rush(), list[str]()

    async def cluster(number: int) -> None:
        turn = await rush.turn()
        for stage in ("read", "plan", "write"):
            said.append(f"{stage} {number}")
            await asyncio.sleep(0)
        turn.end()

    async with asyncio.TaskGroup() as tasks:
        for number in range(4 * WIDE):
            tasks.create_task(cluster(number))
    assert said.index("write 0") < said.index(f"read {2 * WIDE}")
    assert [each for each in said if each.startswith("write")] == [f"write {number}" for number in range(4 * WIDE)]


async def test_who_hangs_in_its_turn_keeps_the_others_for_a_moment_only() -> None:
    rush, loop = Rush(), asyncio.get_running_loop()
    began = loop.time()
    hanging = await all_turns(rush)
    async with asyncio.timeout(SOON):
        await rush.turn()
    assert loop.time() - began >= HOLD_SECONDS
    assert all(turn.is_over for turn in hanging)


async def test_a_turn_that_came_to_one_who_left_goes_to_the_next() -> None:
    rush = Rush()
    turns = await all_turns(rush)
    first, second = asyncio.create_task(rush.turn()), asyncio.create_task(rush.turn())
    await asyncio.sleep(0)
    turns[0].end()  # it comes to the first, which leaves at that moment
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert second.done()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_follows_waits_until_nobody_brings_anything_new() -> None:
    rush = Rush()
    turns = await all_turns(rush)
    behind = asyncio.create_task(rush.turn())
    await asyncio.sleep(0)
    lull = rush.lull()
    for turn in turns:
        turn.end()
        turn.end()
    assert not lull.done()
    (await behind).end()
    assert lull.done()


async def test_what_follows_goes_on_in_portions_and_waits_again_where_something_new_comes_between() -> None:
    rush, loop = Rush(), asyncio.get_running_loop()
    turn = await rush.turn()
    lulls, seen = [rush.lull() for _ in range(4 * WIDE)], list[int]()

    def look() -> None:
        seen.append(sum(lull.done() for lull in lulls))

    turn.end()
    look()
    loop.call_soon(look)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    newer = await rush.turn()
    look()
    assert seen[0] == WIDE
    assert seen[0] < seen[1] <= seen[2] < 4 * WIDE
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(lull.done() for lull in lulls) == seen[2]
    newer.end()
    async with asyncio.timeout(SOON):
        await asyncio.gather(*lulls)


async def test_where_nothing_is_new_nothing_waits() -> None:
    assert Rush().lull().done()


async def test_what_follows_waits_for_a_short_while_at_most_however_much_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rush_of, "HOLD_SECONDS", 600.0)
    monkeypatch.setattr(rush_of, "LULL_SECONDS", 0.2)
    rush, loop = Rush(), asyncio.get_running_loop()
    turn, began = await rush.turn(), loop.time()
    async with asyncio.timeout(SOON):
        await rush.lull()
    assert loop.time() - began >= 0.2
    assert not turn.is_over


async def test_a_lull_that_was_ended_before_is_not_ended_again() -> None:
    rush = Rush()
    turn = await rush.turn()
    lull = rush.lull()
    lull.set_result(None)
    turn.end()
    assert lull.done()


class Noting:
    """Hands everything on, and notes what is applied."""

    def __init__(self, kube: Any, applied: list[str], changed: asyncio.Event) -> None:
        self._kube, self._applied, self._changed = kube, applied, changed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        answer = await self._kube.apply(kind, namespace, name, *rest, **options)
        self._applied.append(name)
        self._changed.set()
        return answer


async def test_a_parent_waits_while_others_bring_what_is_new_to_them_but_no_newer_order_does(
    hub: Hub, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOLD_SECONDS", "LULL_SECONDS"):
        monkeypatch.setattr(rush_of, name, 600.0)
    rush, applied, changed = Rush(), list[str](), asyncio.Event()
    hub.between = lambda kube: Noting(kube, applied, changed)

    async def until_applied(*names: str) -> None:
        async with asyncio.timeout(SOON):
            while applied != list(names):
                changed.clear()
                await changed.wait()

    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker(rush=rush):
        await hub.until_well(unit)
        elsewhere = await rush.turn()
        applied.clear()
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b")
        await until_applied("a")
        hub.want("web", [config_map("a", shop, {"a": "3"})], commit="d")
        await until_applied("a", "unit-web", "a")
        assert not hub.is_well(unit)
        elsewhere.end()
        await hub.until_well(unit)
    assert applied == ["a", "unit-web", "a", "unit-web"]


class Connecting(Noting):
    """Has no connection until one is there."""

    connected: asyncio.Event

    async def apply(self, kind: Any, namespace: str, name: str, *rest: Any, **options: Any) -> Any:
        self._changed.set()
        await self.connected.wait()
        return await super().apply(kind, namespace, name, *rest, **options)


async def test_a_turn_lasts_until_its_first_write_has_a_connection(
    hub: Hub, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOLD_SECONDS", "LULL_SECONDS"):
        monkeypatch.setattr(rush_of, name, 600.0)
    rush, begun = Rush(), asyncio.Event()
    monkeypatch.setattr(Connecting, "connected", connected := asyncio.Event(), raising=False)
    connected.set()
    hub.between = lambda kube: Connecting(kube, [], begun)
    unit = hub.want("web", [config_map("a", shop)])
    async with hub.worker(rush=rush), asyncio.timeout(SOON):
        await hub.until_well(unit)
        connected.clear()
        begun.clear()
        hub.want("web", [config_map("a", shop, {"a": "2"})], commit="b")
        await begun.wait()
        assert len(rush._held) == 1
        connected.set()
        await hub.until_well(unit)
        assert not rush._held


class Heard:
    """A sink."""

    def __init__(self) -> None:
        self.reports = asyncio.Queue[Report]()

    async def send(self, report: Report) -> None:
        self.reports.put_nowait(report)


async def test_the_answer_to_an_order_waits_while_others_bring_what_is_new_and_a_report_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_of, "_ANSWER_SECONDS", 0.0)
    for name in ("HOLD_SECONDS", "LULL_SECONDS"):
        monkeypatch.setattr(rush_of, name, 600.0)
    rush, heard = Rush(), Heard()
    outbox = Outbox(ClusterName("eu-1"), heard, time.time, 600.0, lull=rush.lull)
    sending = asyncio.create_task(outbox.run())
    elsewhere = await rush.turn()
    outbox.answer(7)
    async with asyncio.timeout(SOON):
        while not rush._lulls:
            await asyncio.sleep(0)
        assert heard.reports.empty()
        outbox.tell(EventKind.NOTE, "what happened here")
        assert (await heard.reports.get()).desired_sequence == 7
        outbox.answer(8)
        while len(rush._lulls) < 2:
            await asyncio.sleep(0)
        elsewhere.end()
        assert (await heard.reports.get()).desired_sequence == 8
    sending.cancel()
    assert heard.reports.empty()


class Many:
    """What a session starts passes of; `started` are the units whose passes began."""

    def __init__(self, count: int) -> None:
        self.started: list[str] = []
        self._units = [SimpleNamespace(name=f"u{number}") for number in range(count)]
        self._orders = SimpleNamespace(desired="first", due={unit.name for unit in self._units})
        self._running, self._due, self.told = set[str](), asyncio.Event(), self._orders

    def _startable(self) -> list[Any]:
        return list(self._units)

    def _pass(self, unit: Any) -> str:
        return unit.name

    def spawn(self, work: str, name: str) -> None:
        self.started.append(work)

    async def start(self) -> None:
        await Session._start_passes(self)  # type: ignore[arg-type]


async def test_what_is_ready_elsewhere_has_its_turn_between_the_passes_of_many_units() -> None:
    many, seen = Many(100), list[int]()

    async def elsewhere() -> None:
        while len(many.started) < 100:
            seen.append(len(many.started))
            await asyncio.sleep(0)

    other = asyncio.create_task(elsewhere())
    await many.start()
    await other
    assert len(many.started) == 100
    assert max(b - a for a, b in pairwise([0, *seen, 100])) <= 32


async def test_an_order_that_comes_between_passes_is_read_before_any_more_of_them() -> None:
    many = Many(100)

    async def order() -> None:
        many.told.desired = "second"

    other = asyncio.create_task(order())
    await many.start()
    await other
    assert many._due.is_set()
    assert 0 < len(many.started) < 100
    assert many.told.due == {f"u{number}" for number in range(100)} - set(many.started)
