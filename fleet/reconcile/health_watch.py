"""Looks at the pods of workloads that are not Current, to name the cause; asks nothing while all is well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fleet.core.causes import judge_cause, with_cause
from fleet.core.documents import Document, mapping_at
from fleet.core.health import ObjectHealth
from fleet.core.ids import ObjectRef
from fleet.core.status import Kstatus
from fleet.errors import ClusterError, Forbidden
from fleet.reconcile.memory import Live, UnitState
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site

_WORKLOADS = frozenset(
    {("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("apps", "ReplicaSet"), ("batch", "Job")}
)
_UNWELL = (Kstatus.IN_PROGRESS, Kstatus.FAILED)
_FIRST_SECONDS = 1.0


class HealthWatch:
    """One task per site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """A workload became unwell."""
        self._nudged.set()

    async def run(self) -> None:
        """Look while something is wrong, sleep otherwise."""
        while True:
            await self._nudged.wait()
            self._nudged.clear()
            wait = _FIRST_SECONDS
            while await self._look():
                await asyncio.sleep(wait)
                wait = min(self._site.limits.watch_seconds, wait * 1.5)

    async def _look(self) -> bool:
        """One round; False once nothing is unwell."""
        found = [
            (unit, ref, live)
            for unit in self._site.units.values()
            for ref in unit.rows
            if (ref.group, ref.kind) in _WORKLOADS
            and (live := self._site.view.find(ref)) is not None
            and live.document is not None
            and live.own_health.kstatus in _UNWELL
        ]
        for unit, ref, live in found:
            if self._site.view.find(ref) is not live:
                continue  # seen anew while others were asked about, perhaps well by now: the next round knows
            try:
                await self._judge(unit, ref, live)
            except ENDS_SESSION:
                raise
            except Forbidden as error:
                self._tell(unit, live, replace(live.own_health, message=_unread(live.own_health.message, error)))
            except ClusterError:
                continue  # its pods cannot be listed now: the workload's own conditions go on speaking
        return bool(found)

    async def _judge(self, unit: UnitState, ref: ObjectRef, live: Live) -> None:
        site, document = self._site, live.document
        assert document is not None
        selector = selector_of(document)
        pods = site.served(ObjectRef("", "Pod", "", ""))
        if not selector or pods is None:
            return
        found = await site.kube.list(pods, namespace=ref.namespace, selector=selector)
        sets: tuple[Document, ...] = ()
        kinds = site.served(ObjectRef("apps", "ReplicaSet", "", ""))
        if ref.kind == "Deployment" and kinds is not None and found.items:
            sets = (await site.kube.list(kinds, namespace=ref.namespace, selector=selector)).items
        verdict = judge_cause(document, sets, found.items, site.wall_there())
        self._tell(unit, live, with_cause(live.own_health, verdict.cause))

    def _tell(self, unit: UnitState, live: Live, health: ObjectHealth) -> None:
        if health != live.health:
            live.health = health
            self._site.wake(unit.name)


def _unread(message: str, error: Forbidden) -> str:
    """What is known, and the right that is missing to know why."""
    return f"{message}; why is not known: {error.why}".removeprefix("; ")


def selector_of(workload: Document) -> str:
    """`spec.selector.matchLabels` as a label selector; "" where it has none (or needs expressions)."""
    labels = mapping_at(workload, "spec", "selector", "matchLabels")
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()) if isinstance(value, str))
