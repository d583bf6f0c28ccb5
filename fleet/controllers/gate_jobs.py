"""Runs the Jobs of gates: created once per run, read until they end, and deleted once what they said is durable.

A run has a name that is the same after a restart, so a hub that was killed finds its Job again, ended or not. Writes
go by the identity, the epoch and the marks that a worker's writes go by (R1, R4, R11, R23); a cluster that is
suspended, only observed, shared by two entries, another installation's or waiting for a recovery gets none; that is
asked once more just before each write (R17).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from fleet.core.audit import AuditEntry
from fleet.core.causes import judge_cause
from fleet.core.documents import Document, canonical, mapping_at, text_at
from fleet.core.fleet import Cluster, Fleet, Mode
from fleet.core.gate_jobs import is_run, job_document, judge_job
from fleet.core.gates import Ask, Read, Word
from fleet.core.ids import ClusterName, Identity, ObjectRef, UnitName
from fleet.core.neighbours import is_left_alone
from fleet.core.objects import Mark
from fleet.core.rollout_policy import JobCheck
from fleet.core.status import asks_recovery
from fleet.core.sync_policy import Suspension
from fleet.core.view import View
from fleet.errors import ClusterError, Conflict, FleetError, Withdrawn
from fleet.inventory.gate_jobs import read_job
from fleet.ports.kube import Answer, Connector, Fence, Kube, ServedKind
from fleet.ports.source import Source
from fleet.ports.worker import Audit
from fleet.reconcile.apply import ABSENT_VERSION
from fleet.reconcile.site import outcome_of
from fleet.values import dataclass

T = TypeVar("T")
POLL_SECONDS = 1.0
CLEAN_SECONDS = 10.0


class _NotRun(Exception):
    """The Job is not run now; the text says why."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one run's Job stands."""

    kube: Kube
    served: ServedKind
    mark: Mark
    ref: ObjectRef
    document: Document
    limit: object  # the deadline that its manifest gives it, None for none


def _uid_of_answer(answer: Answer) -> str:
    return text_at(answer.object, "metadata", "uid")


@dataclass(frozen=True, slots=True)
class GateJobs:
    """One instance per hub. fence_of: of the worker that owns a cluster, None where none does."""

    connector: Connector
    fence_of: Callable[[ClusterName], Fence | None]
    identity_of: Callable[[ClusterName], Identity | None]
    suspensions_of: Callable[[UnitName, Cluster], Sequence[Suspension]]
    source: Source
    audit: Audit
    view: View
    wall: Callable[[], float]

    async def read(self, ask: Ask) -> Read:
        """Run the Job, or go on with it, until it has ended or the gate's time is over.

        One that ended stays until `drop`: whoever asked calls that when the reading is durable (R22).
        """
        kube: Kube | None = None
        try:
            async with asyncio.timeout(ask.seconds):
                entry, fleet = self._entry_of(ask)
                kube = await self._connected(entry)
                return await self._run(ask, await self._place(ask, kube, fleet))
        except TimeoutError:
            await self.drop(ask)
            return Read(Word.NONE, f"its Job did not end within {ask.seconds:.0f} s")
        except _NotRun as error:
            return Read(Word.NONE, str(error))
        except FleetError as error:
            return Read(Word.NONE, f"{error.what}: {error.why}" if error.why else error.what)
        finally:
            if kube is not None:
                await kube.close()

    async def drop(self, ask: Ask) -> None:
        """Delete what is left of a run that nobody waits for any more; trouble is left to the Job's own end."""
        with suppress(TimeoutError, _NotRun, FleetError):
            async with asyncio.timeout(CLEAN_SECONDS):
                entry, fleet = self._entry_of(ask)
                kube = await self._connected(entry)
                try:
                    await self._clean(ask, await self._place(ask, kube, fleet))
                finally:
                    await kube.close()

    def _entry_of(self, ask: Ask) -> tuple[Cluster, Fleet]:
        fleet, name = self.view.fleet, ClusterName(ask.cluster)
        entry = fleet.clusters.get(name) if fleet is not None else None
        if fleet is None or entry is None:
            raise _NotRun(f"there is no cluster {name or 'of this step'} to run its Job on")
        if entry.mode is Mode.OBSERVE:
            raise _NotRun(f"{name} is in mode observe: no Job is run there")
        if stops := self.suspensions_of(UnitName(ask.overlay, name), entry):
            raise _NotRun(f"{name} is suspended, and gets no Job: {stops[0].reason}")
        if any(unit.cluster == name and asks_recovery(report) for unit, report in self.view.units.items()):
            raise _NotRun(f"{name} waits for fleet recover, and gets no Job before")
        if is_left_alone(self.view.clusters.get(name)):
            raise _NotRun(f"{name} is another installation's, and gets no Job")
        return entry, fleet

    async def _connected(self, entry: Cluster) -> Kube:
        fence, identity = self.fence_of(entry.name), entry.identity or self.identity_of(entry.name)
        heard = self.view.clusters.get(entry.name)  # before its first word nobody knows what waits there
        if fence is None or identity is None or heard is None or not heard.reachable:
            raise _NotRun(f"{entry.name} was not reached by its worker yet")
        return await self.connector.connect(entry.name, entry.connection, expected=identity, fence=fence)

    async def _place(self, ask: Ask, kube: Kube, fleet: Fleet) -> _Place:
        assert isinstance(ask.gate.check, JobCheck)  # whoever asks tells the kinds apart
        snapshot = await self.source.at(ask.gate.check.at)
        manifest = await asyncio.to_thread(read_job, snapshot, ask.gate.check.path, fleet.teams)
        mark = Mark(fleet.name, kube.identity, ask.overlay)
        document = job_document(manifest, mark, ask)
        served = (await kube.discover()).find("batch", "Job")
        if served is None:
            raise _NotRun(f"{ask.cluster} serves no Jobs")
        namespace, name = text_at(document, "metadata", "namespace"), text_at(document, "metadata", "name")
        limit = mapping_at(manifest, "spec").get("activeDeadlineSeconds")
        return _Place(kube, served, mark, ObjectRef("batch", "Job", namespace, name), document, limit)

    async def _run(self, ask: Ask, place: _Place) -> Read:
        live = await self._live(ask, place)
        if live is None:
            live = await self._create(ask, place)
        while (found := judge_job(live, place.limit)) is None:
            await asyncio.sleep(POLL_SECONDS)
            after = await self._live(ask, place)
            if after is None:
                raise _NotRun(f"{place.ref} vanished before it ended")
            live = after
        if found.word is Word.NONE:  # the next try is the same run, and would find it again
            await self._clean(ask, place)
        if found.word is Word.BAD and (why := await self._cause(place, live)):
            return replace(found, text=f"{found.text}; {why}")
        return found

    async def _cause(self, place: _Place, live: Document) -> str:
        """What a pod of a failed Job ended with; "" where none says it, or it cannot be read."""
        with suppress(ClusterError):
            pods = (await place.kube.discover()).find("", "Pod")
            if pods is not None:
                selector = f"batch.kubernetes.io/job-name={place.ref.name}"
                found = await place.kube.list(pods, namespace=place.ref.namespace, selector=selector)
                there = self.wall() + place.kube.clock_ahead
                cause = judge_cause(live, (), found.items, there).cause
                return cause.message if cause is not None else ""
        return ""

    async def _live(self, ask: Ask, place: _Place) -> Document | None:
        live = await place.kube.get(place.served, place.ref.namespace, place.ref.name)
        if live is not None and not is_run(live, place.mark, ask.run):
            raise _NotRun(f"{place.ref} is there already, and not ours: it is neither changed nor read")
        return live

    async def _create(self, ask: Ask, place: _Place) -> Document:
        metadata = place.document["metadata"]
        assert isinstance(metadata, dict)  # job_document made it
        body: Document = {**place.document, "metadata": {**metadata, "resourceVersion": ABSENT_VERSION}}
        served, ref, may = place.served, place.ref, partial(self._may, ask)
        apply = partial(place.kube.apply, served, ref.namespace, ref.name, canonical(body), may=may)
        try:
            answer = await self._written(ask, place, "gate-job", "", apply, _uid_of_answer)
        except Conflict:
            if (live := await self._live(ask, place)) is not None:
                return live
            raise
        except Withdrawn:
            self._entry_of(ask)  # says why
            raise
        return answer.object

    async def _clean(self, ask: Ask, place: _Place) -> None:
        """Delete this run's Job, in the state that was just read (R11); its pods go with it."""
        with suppress(ClusterError, _NotRun):  # what stays is removed by the cluster itself, by its ttl
            live = await self._live(ask, place)
            if live is None:
                return
            uid = text_at(live, "metadata", "uid")
            delete = partial(
                place.kube.delete,
                place.served,
                place.ref.namespace,
                place.ref.name,
                uid=uid,
                resource_version=text_at(live, "metadata", "resourceVersion"),
                may=partial(self._may, ask),
            )
            await self._written(ask, place, "gate-job-delete", uid, delete, lambda left: "" if left is None else uid)

    def _may(self, ask: Ask) -> bool:
        """Whether a write may still be sent: connecting, reading and waiting for a turn take their time (R17)."""
        try:
            self._entry_of(ask)
        except _NotRun:
            return False
        return True

    async def _written(
        self,
        ask: Ask,
        place: _Place,
        action: str,
        uid: str,
        write: Callable[[], Awaitable[T]],
        after: Callable[[T], str],
    ) -> T:
        """One write with evidence before and after, whatever becomes of it (R43, V5). after: the UID that is left."""
        note = partial(self._note, ask, place, action, uid)
        await note("")
        try:
            answer = await write()
        except FleetError as error:
            await note(outcome_of(error), uid)
            raise
        except asyncio.CancelledError as error:
            await note(f"unknown: {type(error).__name__}", uid)
            raise
        await note("done", after(answer))
        return answer

    async def _note(self, ask: Ask, place: _Place, action: str, uid: str, outcome: str, after: str = "") -> None:
        """Evidence before and after (R43)."""
        entry = AuditEntry(
            at=self.wall(),
            actor="hub",
            action=action,
            cluster=ask.cluster,
            identity=place.mark.identity,
            unit=f"{ask.overlay}@{ask.cluster}",
            object=place.ref.key,
            uid=uid,
            commit=ask.commit,
            reason=f"gate {ask.gate.name} of step {ask.step}",
            outcome=outcome,
            uid_after=after,
        )
        await self.audit.write(entry)
