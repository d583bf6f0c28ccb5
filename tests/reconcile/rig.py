"""A hub of a few lines around one real worker: orders in, reports out, memory that outlives the worker."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from testbed.controlplane import ControlPlane

from fleet.core.audit import AuditEntry, Head
from fleet.core.bundles import assemble
from fleet.core.documents import Document
from fleet.core.fleet import Mode
from fleet.core.guard import Approved
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.objects import Bundle, bundle_digest
from fleet.core.recovery import asked_of
from fleet.core.rollout import Action, Apply, Desired, SyncRequest, UnitDesired, UnitPolicy
from fleet.core.status import Event, EventKind, Health, OperationResult, Report, Sync, UnitReport
from fleet.core.sync_policy import SyncPolicy, Validate
from fleet.errors import StateDamaged
from fleet.kube.connect import KubeConnector
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Changed
from fleet.ports.worker import JournalEntry, JournalState
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.worker import Worker
from fleet.store.memory_journal import MemoryJournal

CLUSTER = ClusterName("eu-1")
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
SECONDS = 20.0


class NotSeen(Exception):
    """What a test waited for did not come to be."""


@dataclass
class Hub:
    """Feed, sink, audit, credentials and fence of one worker. `journal` outlives workers."""

    plane: ControlPlane
    journal: Any = field(default_factory=MemoryJournal)
    user: str = "admin"
    installation: str = "acme"
    desired: Desired | None = None
    mode: Mode = Mode.MANAGE
    bundles: dict[Digest, Bundle] = field(default_factory=dict)
    vault: dict[str, bytes] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    units: dict[UnitName, UnitReport] = field(default_factory=dict)
    results: list[OperationResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    audited: list[AuditEntry] = field(default_factory=list)
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    kube_limits: KubeLimits = field(default_factory=KubeLimits)
    _parts: dict[UnitName, UnitDesired] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _sequence: int = 0
    wrong: str = ""  # answered by the fence
    wall: Callable[[], float] = time.time
    between: Callable[[Any], Any] | None = None  # what stands between the worker and its cluster

    # What the worker sees

    async def next(self, after: int) -> Desired:
        while self.desired is None or self.desired.sequence <= after:
            self._changed.clear()
            await self._changed.wait()
        return self.desired

    async def bundle(self, digest: Digest) -> Bundle:
        if digest not in self.bundles:
            raise StateDamaged(f"no bundle {digest}")
        return self.bundles[digest]

    async def secrets(self, sealed: Collection[str]) -> Mapping[str, bytes]:
        return {name: self.vault[name] for name in sealed}

    async def send(self, report: Report) -> None:
        self.reports.append(report)
        for unit in report.units:
            if unit.detached:
                self.units.pop(unit.unit, None)
            else:
                self.units[unit.unit] = unit
        self.results += report.operations
        self.events += report.events
        self._heard.set()

    async def write(self, entry: AuditEntry) -> Head:
        self.audited.append(entry)
        return Head(len(self.audited), "0" * 64)

    async def check(self) -> int:
        return 1

    async def kubeconfig(self, name: str) -> bytes:
        return json.dumps(self.plane.kubeconfig(self.user)).encode()

    # What a test does

    @asynccontextmanager
    async def worker(self, **options: Any):
        """Run a worker; it is ended at once (as by kill, nothing is flushed) when the block ends."""
        worker = Worker(
            CLUSTER,
            feed=self,
            sink=self,
            journal=self.journal,
            audit=self,
            connector=_Between(KubeConnector(self, limits=self.kube_limits, allowed=[LOOPBACK]), self),
            fence=self,
            limits=self.limits,
            wall=self.wall,
            digest_key=b"k" * 32,
            **options,
        )
        task = asyncio.create_task(worker.run())
        try:
            yield worker
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled() and (error := task.exception()):
                raise error

    def bundle_of(self, documents: Iterable[dict[str, Any]]) -> Bundle:
        """A bundle as the render stage makes it."""
        made = assemble([json.loads(json.dumps(document)) for document in documents], key=b"s" * 32)
        self.vault.update(made.secrets)
        bundle = Bundle(bundle_digest(made.objects), made.objects)
        self.bundles[bundle.digest] = bundle
        return bundle

    def want(
        self,
        overlay: str,
        documents: Iterable[dict[str, Any]] | None = None,
        *,
        commit: str = "a",
        action: Action | None = None,
        permits: Iterable[ObjectRef] | str = "all",
        approved: Iterable[Approved] = (),
        sync: SyncPolicy | None = None,
        send: bool = True,
        **policy: Any,
    ) -> UnitName:
        """Order a unit to hold these documents (or another action)."""
        name = UnitName(OverlayName(overlay), CLUSTER)
        if action is None:
            bundle = self.bundle_of(documents or [])
            owned = {status.ref for status in self.units[name].objects} if name in self.units else set()
            wanted = {obj.ref for obj in bundle.objects}
            allowed = owned - wanted if permits == "all" else set(permits)
            action = Apply(bundle.digest, frozenset(allowed), frozenset(approved))
        chosen = sync or SyncPolicy(validate=Validate.SCHEMA)
        self._parts[name] = UnitDesired(name, Revision(commit * 40), action, UnitPolicy(sync=chosen, **policy))
        if send:
            self.send_desired()
        return name

    def unmention(self, name: UnitName) -> None:
        """Say nothing of a unit any more."""
        del self._parts[name]
        self.send_desired()

    def send_desired(self, *, requests: Sequence[SyncRequest] = (), **changes: Any) -> None:
        self._sequence += 1
        self.desired = replace(
            Desired(
                sequence=self._sequence,
                cluster=CLUSTER,
                commit=Revision("c" * 40),
                installation=self.installation,
                mode=self.mode,
                units=tuple(self._parts.values()),
                requests=tuple(requests),
            ),
            **changes,
        )
        self._changed.set()

    def shown(self) -> frozenset[str]:
        """What `fleet recover` shows now."""
        return asked_of(self.units.values(), {CLUSTER: self.reports[-1]}).get(CLUSTER, frozenset())

    async def until(self, found: Callable[[], Any], what: str = "", seconds: float = SECONDS) -> Any:
        """Wait for reports until `found` gives something true."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := found()):
                    self._heard.clear()
                    await self._heard.wait()
                return value
        except TimeoutError:
            shown = "\n".join(describe(unit) for unit in self.units.values())
            last = replace(self.reports[-1], units=(), events=()) if self.reports else None
            raise NotSeen(f"{what or found}\n{shown}\n{last}\n{self.events[-10:]}") from None

    async def until_well(self, *names: UnitName, seconds: float = SECONDS) -> None:
        """Wait until these units are Synced, Healthy and at the commit ordered last."""
        await self.until(lambda: all(self.is_well(name) for name in names), f"{names} well", seconds)

    def is_well(self, name: UnitName) -> bool:
        unit = self.units.get(name)
        wanted = self._parts[name].commit
        well = unit is not None and unit.sync is Sync.SYNCED and unit.health is Health.HEALTHY
        return well and unit.observed_commit == wanted and unit.commit == wanted

    def object(self, name: UnitName, kind: str, called: str) -> Any:
        """One object's status, or None."""
        unit = self.units.get(name)
        found = (s for s in unit.objects if s.ref.kind == kind and s.ref.name == called) if unit else ()
        return next(iter(found), None)

    def told(self, kind: EventKind, text: str = "") -> list[Event]:
        return [event for event in self.events if event.kind is kind and text in event.message]


@dataclass
class _Between:
    """A connector whose connections are seen through something of a test."""

    connector: KubeConnector
    hub: Hub

    async def connect(self, *arguments: Any, **options: Any) -> Any:
        kube = await self.connector.connect(*arguments, **options)
        return self.hub.between(kube) if self.hub.between else kube


class LateAnswers:
    """The answer of an apply of `kind` arrives after an event that `until` waits for: a busy machine, a slow way."""

    def __init__(self, kube: Any, kind: str, until: Callable[[Document], bool]) -> None:
        self._kube, self._kind, self._until = kube, kind, until
        self._seen = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def follow(self, kind: Any, **options: Any) -> Any:
        async for seen in self._kube.follow(kind, **options):
            yield seen
            if kind.kind == self._kind and isinstance(seen, Changed) and self._until(seen.object):
                self._seen.set()

    async def apply(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        answer = await self._kube.apply(kind, *arguments, **options)
        if kind.kind == self._kind:
            await self._seen.wait()
        return answer


class Deaf:
    """A connection whose watches tell nothing any more once `ears` are shut."""

    def __init__(self, kube: Any, ears: asyncio.Event) -> None:
        self._kube, self._shut = kube, ears

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def follow(self, kind: Any, **options: Any) -> Any:
        async for seen in self._kube.follow(kind, **options):
            if not self._shut.is_set():
                yield seen


def describe(unit: UnitReport) -> str:
    """A unit as a failing test shows it."""
    lines = [f"{unit.unit} {unit.sync} {unit.health} {unit.reason} {unit.message} {unit.blocked_by} {unit.holds}"]
    lines += [f"  {s.ref} {s.sync} {s.health} {s.reason} {s.message} {s.drift}" for s in unit.objects]
    return "\n".join(lines)


def config_map(name: str, namespace: str, data: Mapping[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": dict(data or {"a": "1"}),
    }


def notes(**annotations: str) -> dict[str, dict[str, str]]:
    """`fleet.internal/*` annotations: wave="1", hook_delete=..."""
    return {"annotations": {f"fleet.internal/{name.replace('_', '-')}": value for name, value in annotations.items()}}


__all__ = ["CLUSTER", "Deaf", "Document", "Hub", "JournalEntry", "JournalState", "config_map", "describe", "notes"]
