"""What a worker vouches for: units that it has reported since it looked at the cluster last, and no others (R21).

Its heartbeats keep these fresh. What an earlier worker knew gets no younger, and is not dropped either, before it was
judged anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rig import Hub, config_map
from testbed.controlplane import ControlPlane

from fleet.core.fleet import Connection
from fleet.core.ids import UnitName
from fleet.core.view import Head, View
from fleet.ports.kube import Seen
from fleet.reconcile.limits import WorkerLimits


class Mute:
    """A connection whose watches tell nothing, as where one byte comes a second."""

    def __init__(self, kube: Any) -> None:
        self._kube = kube

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def follow(self, *_: Any, **__: Any) -> AsyncIterator[Seen]:
        await asyncio.Event().wait()
        yield


class OnlyLists(Mute):
    """A connection whose lists answer, and whose watches tell nothing then."""

    async def follow(self, *arguments: Any, **options: Any) -> AsyncIterator[Seen]:
        async for seen in self._kube.follow(*arguments, **options):
            yield seen
            await asyncio.Event().wait()


class Shown:
    """A hub's view of the reports that came so far; as of now, a hub that was started anew may be restored from it."""

    def __init__(self, hub: Hub) -> None:
        self._hub, self._taken, self.view = hub, 0, View(Head("main"))

    def take(self) -> View:
        for report in self._hub.reports[self._taken :]:
            self.view.take(report)
        self._taken = len(self._hub.reports)
        return self.view

    def beats(self, count: int, since: float) -> bool:
        """Whether the worker said so often that it reaches its cluster."""
        return sum(1 for report in self._hub.reports if report.at > since and report.reachable) >= count

    def start_over(self) -> View:
        before = self.take()
        self.view = View(Head("main"))
        self.view.restore(before.clusters.values(), before.units.values())
        return self.view


def beating(hub: Hub) -> None:
    hub.limits = WorkerLimits(report_seconds=0.1, reconnect_first_seconds=0.05)


async def well_once(hub: Hub, *units: UnitName) -> None:
    async with hub.worker():
        await hub.until_well(*units)
        await asyncio.sleep(0.3)  # its tokens are kept, so that the next worker resumes


async def test_a_worker_that_reached_its_cluster_and_was_told_nothing_keeps_no_unit_fresh(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    beating(hub)
    unit, shown = hub.want("web", [config_map("a", shop)]), Shown(hub)
    await well_once(hub, unit)
    last = hub.reports[-1].at
    vouched = shown.start_over().heard_at(unit)
    assert last - 2.0 < vouched <= last
    hub.between = Mute
    async with hub.worker():
        await hub.until(lambda: shown.beats(5, last), "heartbeats")
        assert shown.take().clusters[unit.cluster].at > last
        assert shown.view.heard_at(unit) == vouched


async def test_what_a_worker_hands_on_is_as_old_as_the_last_word_of_its_watches(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """It believes them for a while longer; who comes after it does not begin that time anew."""
    beating(hub)
    unit, shown = hub.want("web", [config_map("a", shop)]), Shown(hub)
    hub.between = OnlyLists
    async with hub.worker():
        await hub.until_well(unit)
        first = hub.reports[-1].at
        await hub.until(lambda: hub.reports[-1].at > first + 1.0, "heartbeats")
        assert shown.take().heard_at(unit) > first, "its own worker says when it does not know any more"
    assert shown.start_over().heard_at(unit) < first + 0.1


async def test_a_worker_that_found_a_unit_unchanged_keeps_it_fresh(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    beating(hub)
    unit, shown = hub.want("web", [config_map("a", shop)]), Shown(hub)
    await well_once(hub, unit)
    last = hub.reports[-1].at
    shown.start_over()
    async with hub.worker():
        await hub.until(lambda: shown.take().heard_at(unit) > last, "vouched for by another worker")
        first = hub.reports[-1].at
        await hub.until(lambda: shown.take().heard_at(unit) > first, "and by its heartbeats")


async def test_each_connection_reports_its_units_anew(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    beating(hub)
    unit, shown = hub.want("web", [config_map("a", shop)]), Shown(hub)
    async with hub.worker():
        await hub.until_well(unit)
        first = shown.take().clusters[unit.cluster].began_at
        hub.send_desired(connection=Connection(credential="another"))
        await hub.until(lambda: shown.take().clusters[unit.cluster].began_at > first, "another connection")
        again = shown.view.clusters[unit.cluster].began_at
        await hub.until(lambda: shown.take().heard_at(unit) > again, "reported over it")


async def test_what_is_not_mentioned_yet_is_in_no_full_report_left_out(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    beating(hub)
    web, edge = hub.want("web", [config_map("a", shop)]), hub.want("edge", [config_map("b", shop)])
    shown = Shown(hub)
    await well_once(hub, web, edge)
    shown.start_over()
    last, said = hub.reports[-1].at, hub._parts.pop(edge)
    hub.send_desired()  # as a hub that was started anew and has rendered one overlay
    async with hub.worker():
        await hub.until(lambda: shown.take().heard_at(web) > last, "web judged")
        await hub.until(lambda: shown.beats(5, last), "heartbeats")
        assert edge in shown.take().units
        assert shown.view.heard_at(edge) <= last
        hub._parts[edge] = said
        hub.send_desired()
        await hub.until(lambda: shown.take().heard_at(edge) > last, "edge judged")
        await hub.until(lambda: any(report.full for report in hub.reports if report.at > last), "a full report")
        assert {web, edge} <= shown.take().units.keys()
