"""The batched lane: what a cluster would tell again anyway is written at most every 100 ms, the last state only.

Nothing here is lost while the process lives: what cannot be written waits, folded by key, and is tried again. Only
the timeline is bounded meanwhile, its oldest events go first.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from fleet.core.ids import ClusterName, OverlayName
from fleet.core.status import Event, Report, UnitReport
from fleet.errors import StateError
from fleet.store import tables
from fleet.store.database import Database
from fleet.store.encode import encode_cluster, encode_unit
from fleet.store.events import prune_events, values_of_event
from fleet.store.puts import Puts

log = structlog.get_logger("store")
WINDOW_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_BUG_SECONDS = 10.0
_WAITING_EVENTS = 10_000
# Clusters, units and events that are encoded in one go: more would be felt by everything else in the process.
_FLY_AT_ONCE = 200
_PRUNE_EVERY = 1_000  # events between two looks at the cap

UnitKey = tuple[ClusterName, OverlayName]


class Lane:
    """Collects puts, reports and events, and writes them in windows.

    `told`, where somebody set it, hears the bug that a window met, and None once one was written again.
    """

    def __init__(self, database: Database, *, known_units: set[UnitKey], event_cap: int) -> None:
        self._database = database
        self._known = known_units
        self._event_cap = event_cap
        self._puts = Puts()
        self._flying = Puts()
        self._clusters: dict[ClusterName, Report] = {}
        self._units: dict[UnitKey, UnitReport | None] = {}
        self._events: list[Event] = []
        self._since_prune = _PRUNE_EVERY
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.told: Callable[[Exception | None], None] = _to_nobody
        self._task = asyncio.create_task(self._write_windows(), name="store-lane")

    def jot(self, puts: Puts) -> None:
        """Write these with the next window."""
        self._puts.merge(puts)
        self._wake.set()

    def report(self, reports: Sequence[Report]) -> None:
        """Keep the newest state of the clusters and units in these reports, and their events."""
        for report in reports:
            self._clusters[report.cluster] = report
            seen = {unit.unit.overlay for unit in report.units if not unit.detached}
            for unit in report.units:
                self._set_unit((report.cluster, unit.unit.overlay), None if unit.detached else unit)
            if report.full:
                for key in [key for key in self._known if key[0] == report.cluster and key[1] not in seen]:
                    self._set_unit(key, None)
            self._events.extend(report.events)
        if len(self._events) > _WAITING_EVENTS:
            del self._events[: len(self._events) - _WAITING_EVENTS]
        self._wake.set()

    def supersede(self, puts: Puts) -> None:
        """A durable write is about to say these keys anew: an older word that waits here must not come after it."""
        self._puts.forget(puts)
        self._flying.forget(puts)

    def forget_cluster(self, cluster: ClusterName) -> None:
        """Drop what waits for this cluster; its events stay."""
        for puts in (self._puts, self._flying):
            puts.forget_where(lambda table, key: table in tables.BY_CLUSTER and key[0] == cluster)
        self._clusters.pop(cluster, None)
        for key in [key for key in self._units if key[0] == cluster]:
            del self._units[key]
        self._known = {key for key in self._known if key[0] != cluster}

    async def flush(self) -> None:
        """Write all that waits now; raises StateError, and then it still waits."""
        async with self._flushing:
            while self._take_off():
                # On failure what flew stays aboard; the next flight folds newer words over it.
                await self._database.put(self._flying)
                self._since_prune += len(self._flying.appends.get(tables.EVENTS, ()))
                self._flying = Puts()
            if self._since_prune >= _PRUNE_EVERY:
                await prune_events(self._database, keep=self._event_cap)
                self._since_prune = 0

    async def close(self) -> None:
        """Stop the windows; what waits is written by `flush` before."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _set_unit(self, key: UnitKey, report: UnitReport | None) -> None:
        self._units[key] = report
        if report is None:
            self._known.discard(key)
        else:
            self._known.add(key)

    def _take_off(self) -> bool:
        """Fold what waits into what flies, at most so many units at once; False when there is nothing to write."""
        flying = self._flying
        flying.merge(self._puts)
        self._puts = Puts()
        for cluster in list(itertools.islice(self._clusters, _FLY_AT_ONCE)):
            body = encode_cluster(self._clusters.pop(cluster))
            flying.put(tables.CLUSTER_REPORTS, {"cluster": cluster, "body": body})
        for key in list(itertools.islice(self._units, _FLY_AT_ONCE)):
            cluster, overlay = key
            unit = self._units.pop(key)
            if unit is None:
                flying.drop(tables.UNIT_REPORTS, cluster, overlay)
            elif body := _body_of(unit):
                flying.put(tables.UNIT_REPORTS, {"cluster": cluster, "overlay": overlay, "body": body})
        for event in self._events[:_FLY_AT_ONCE]:
            flying.append(tables.EVENTS, values_of_event(event))
        del self._events[:_FLY_AT_ONCE]
        if events := flying.appends.get(tables.EVENTS):
            del events[: max(0, len(events) - _WAITING_EVENTS)]
        return bool(flying)

    async def _write_windows(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(WINDOW_SECONDS)
            self._wake.clear()
            try:
                await self.flush()
            except StateError:
                # Whoever must not act without the state hears it from a durable write; this lane only tries again.
                self._wake.set()
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:  # the edge of a loop: without it nothing of any cluster is written any more
                log.exception("batched writes failed", tried_again_after_seconds=_BUG_SECONDS)
                self.told(error)
                self._wake.set()
                await asyncio.sleep(_BUG_SECONDS)
            else:
                self.told(None)


def _body_of(unit: UnitReport) -> bytes | None:
    """A unit report as it is kept, without its objects where they cannot be; None where nothing of it can be.

    Whatever one cluster says of one unit, what the others say is written (R18).
    """
    for said in (unit, replace(unit, objects=())):
        try:
            return encode_unit(said)
        except (TypeError, ValueError, RecursionError) as error:
            log.error("report not kept whole", unit=str(unit.unit), objects=len(said.objects), why=str(error))
    return None


def _to_nobody(_: Exception | None) -> None:
    """Until somebody wants to know."""
