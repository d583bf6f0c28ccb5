"""`fleet plan --live`: what each cluster that a change reaches says to it, read as the person who asks.

Nothing is written: objects are read, and tried out by server-side dry-run where rights allow it. A cluster that does
not answer costs its own deadline and is named; it delays no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.cli.grant import grant_differs
from fleet.core.documents import Document, canonical
from fleet.core.fleet import Fleet, Mode, Unit
from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.objects import PART_OF_LABEL, Bundle, BundleObject, Mark, ObjectOptions, is_secret, ref_of, unsealed
from fleet.core.parent import Parent, parse_parent
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.live import ClusterLook, Danger, LiveFinding, LiveView
from fleet.core.planning.live_judge import Seen, Setting, judge_barred, judge_kept, judge_object
from fleet.core.planning.live_judge import worst_findings as worst
from fleet.core.planning.live_order import coming_of
from fleet.core.planning.room import judge_disruption, judge_quotas
from fleet.core.planning.woken import Begins
from fleet.core.record import PARENT_NAMESPACE, applyset_id, mark_body, parent_name
from fleet.errors import AdmissionDenied, CredentialMissing, FleetError, Forbidden, NotChecked, NotFound, ObjectInvalid
from fleet.kube.connect import WritesAsPerson, connect_person
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Catalog, Kube, ServedKind
from fleet.values import dataclass

CLUSTERS_AT_ONCE, OBJECTS_AT_ONCE = 8, 8


@dataclass(frozen=True, slots=True)
class LiveUnit:
    """One unit of the change with both results; None: that commit has none.

    keeps_no_more: what `sync.prune: false` kept until now goes.
    """

    change: UnitChange
    unit: Unit
    before: Bundle | None
    after: Bundle | None
    keeps_no_more: bool = False


def concerned(units: Iterable[LiveUnit], woken: Mapping[UnitName, Collection[Begins]]) -> list[LiveUnit]:
    """Those of which something is written to a cluster.

    woken: units all of whose objects are asked about, as a setting lets the hub begin with them.
    """
    told = [_whole(unit, woken[unit.change.name]) if unit.change.name in woken else unit for unit in units]
    return [unit for unit in told if unit.change.how in (How.APPEARS, How.CHANGES) and unit.change.objects]


def _whole(unit: LiveUnit, begins: Collection[Begins]) -> LiveUnit:
    """With what does not change beside what does."""
    changed = {item.ref for item in unit.change.objects}
    others = [
        ObjectChange(Sign.CHANGE, item.ref, item.api_version, before=item.digest, after=item.digest)
        for item in (unit.after.objects if unit.after is not None else ())
        if item.ref not in changed and item.options.reconcile and not item.options.hook
    ]
    how = How.CHANGES if unit.change.how is How.SAME else unit.change.how
    whole = replace(unit.change, how=how, objects=(*unit.change.objects, *others))
    return replace(unit, change=whole, keeps_no_more=Begins.DELETES in begins)


async def look(
    units: Iterable[LiveUnit],
    fleet: Fleet,
    secrets: Mapping[str, bytes],
    *,
    seconds: float,
    otherwise: Callable[[Sequence[LiveUnit]], Awaitable[LiveView]] | None = None,
) -> LiveView:
    """Look at all clusters of these units. seconds: for one cluster, from connecting to the last answer.

    otherwise: asked for units of clusters that the kubeconfig does not know; what it does not read either is said as
    the kubeconfig says it.
    """
    by_cluster: dict[ClusterName, list[LiveUnit]] = {}
    for unit in units:
        by_cluster.setdefault(unit.unit.name.cluster, []).append(unit)
    turn, lost = asyncio.Semaphore(CLUSTERS_AT_ONCE), set[ClusterName]()

    async def one(name: ClusterName, members: list[LiveUnit]) -> tuple[ClusterLook, list[LiveFinding]]:
        looking = _Looking(name, members, fleet, secrets)
        async with turn:
            problem = next_step = ""
            try:
                async with asyncio.timeout(seconds):
                    await looking.run()
            except TimeoutError:
                problem = f"no answer within {seconds:g} s"
            except CredentialMissing as error:
                lost.add(name)
                problem, next_step = error.why or error.what, error.next_step
            except FleetError as error:
                problem, next_step = error.why or error.what, error.next_step
        return ClusterLook(name, problem, next_step, looking.approximate, looking.version), looking.found

    results = await asyncio.gather(*(one(name, members) for name, members in sorted(by_cluster.items())))
    looks = {one.cluster: one for one, _ in results}
    found = [finding for _, findings in results for finding in findings]
    if lost and otherwise is not None:
        told = await otherwise([unit for name in sorted(lost) for unit in by_cluster[name]])
        looks |= {one.cluster: _either(looks[one.cluster], one) for one in told.looks}
        found += told.findings
    return LiveView(tuple(looks.values()), worst(found))


def _either(mine: ClusterLook, other: ClusterLook) -> ClusterLook:
    """The other's word where it has one; else why neither has."""
    return replace(mine, problem=f"{mine.problem}; {other.problem}") if other.problem else other


class _Reads:
    """A connection that can only read and try out: there is no other way to it in this module."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.discover, self.get, self.list = kube.discover, kube.get, kube.list
        self.identity, self.version = kube.identity, kube.version

    def now(self) -> float:
        """Now, by the cluster's own clock: for what it has dated."""
        return time.time() + self._kube.clock_ahead

    async def try_out(self, kind: ServedKind, ref: ObjectRef, body: Document) -> None:
        """Server-side dry-run: the server judges and stores nothing."""
        await self._kube.apply(kind, ref.namespace, ref.name, canonical(body), force=True, dry_run=True)


class _Looking:
    """One cluster."""

    def __init__(
        self, name: ClusterName, units: Sequence[LiveUnit], fleet: Fleet, secrets: Mapping[str, bytes]
    ) -> None:
        self._name, self._units, self._fleet, self._secrets = name, units, fleet, secrets
        self._gate = asyncio.Semaphore(OBJECTS_AT_ONCE)
        self._coming = coming_of(
            {unit.unit.name.overlay: unit.after for unit in units if unit.after is not None},
            {unit.overlay: found.overlay.depends_on for unit, found in fleet.units.items() if unit.cluster == name},
        )
        self.found: list[LiveFinding] = []
        self.approximate = 0
        self.version = ""

    async def run(self) -> None:
        """All that is found is in `found`, also when it raises in between."""
        cluster = self._units[0].unit.cluster
        kube = await connect_person(
            context=self._name,
            cluster=self._name,
            expected=cluster.identity,
            fence=WritesAsPerson(),  # a dry-run is a write to the transport, and this module sends no other
            limits=KubeLimits(connect_seconds=5.0, read_tries=2),
        )
        try:
            reads = _Reads(kube)
            self.version = reads.version
            catalog = await reads.discover()
            await asyncio.gather(*(self._unit(reads, catalog, unit) for unit in self._units))
            objects = [item for unit in self._units if unit.after for item in unit.after.objects]
            is_watched = cluster.mode is Mode.OBSERVE
            for line in await grant_differs(kube, catalog, objects, read_only=is_watched):
                overlay = self._units[0].unit.name.overlay
                self._add(
                    LiveFinding(Danger.RIGHT, overlay, self._name, line, None, f"fleet cluster grant {self._name}")
                )
        finally:
            await kube.close()

    def _add(self, *found: LiveFinding) -> None:
        self.found += found

    async def _unit(self, reads: _Reads, catalog: Catalog, unit: LiveUnit) -> None:
        name, overlay = unit.unit.name, unit.unit.overlay
        mark = Mark(self._fleet.name, reads.identity, name.overlay)
        is_read, parent = await self._parent(reads, catalog, name.overlay)
        holds_base = not is_read or self._holds_base(unit, parent)
        if parent is not None and unit.after is not None:
            self._add(*judge_barred(name, unit.after.digest, parent))
            if unit.keeps_no_more:
                self._add(*await self._goes(reads, catalog, unit.after, parent, mark))
        setting = Setting(
            name.overlay, name.cluster, mark, overlay.sync.adopt, overlay.ignore, holds_base, now=reads.now()
        )
        seen = await asyncio.gather(
            *(self._object(reads, catalog, unit, change, setting) for change in unit.change.objects)
        )
        known = [item for item in seen if item is not None]
        for item in known:
            self._add(*judge_object(item, setting))
        await self._room(reads, catalog, known, setting)

    async def _parent(self, reads: _Reads, catalog: Catalog, overlay: OverlayName) -> tuple[bool, Parent | None]:
        """Whether the unit's parent object could be read, and what it says."""
        kind = catalog.find("", "ConfigMap")
        if kind is None:
            return False, None
        try:
            found = await reads.get(kind, PARENT_NAMESPACE, parent_name(overlay))
        except Forbidden:
            return False, None
        return True, parse_parent(found) if found is not None else None

    def _holds_base(self, unit: LiveUnit, parent: Parent | None) -> bool:
        """Whether the cluster holds what the change starts from; False is told. True where it cannot be said."""
        if unit.before is None:
            return True
        has_secrets = any(is_secret(item.ref) for item in unit.before.objects)
        if parent is None:
            message = "holds nothing of it by fleet yet: the whole of it is applied, not only what changes"
        elif parent.bundle != unit.before.digest and not has_secrets:
            message = f"does not hold the base: it has {parent.commit[:7] or 'nothing whole'}; what is applied is more"
        else:
            return True
        name = unit.unit.name
        self._add(LiveFinding(Danger.BASE, name.overlay, name.cluster, message, None, f"fleet describe unit {name}"))
        return False

    async def _goes(
        self, reads: _Reads, catalog: Catalog, after: Bundle, parent: Parent, mark: Mark
    ) -> list[LiveFinding]:
        """What `sync.prune: false` kept until now, by the kinds and places that the parent names."""
        wanted = {item.ref for item in after.objects}
        selector = f"{PART_OF_LABEL}={applyset_id(parent_name(mark.overlay), PARENT_NAMESPACE)}"
        found: list[LiveFinding] = []
        for group, name in parent.kinds:
            served = catalog.find(group, name)
            for namespace in parent.namespaces if served is not None and served.namespaced else ("",):
                for live in await self._listed(reads, catalog, group, name, namespace, selector):
                    if (ref := ref_of(live)) not in wanted:
                        found += judge_kept(live, ref, mark, self._name)
        return found

    async def _object(
        self, reads: _Reads, catalog: Catalog, unit: LiveUnit, change: ObjectChange, setting: Setting
    ) -> Seen | None:
        """What is read of one object; None where its kind is not served, or nothing is done to it."""
        if change.hook is not None and change.sign is Sign.DELETE:
            return None
        ref = change.ref
        before, after = _item(unit.before, ref), _item(unit.after, ref)
        kind = catalog.find(ref.group, ref.kind)
        if after is not None and (kind is None or after.version not in kind.versions):
            self._unserved(after, kind, setting)
            return None
        if kind is None:
            return None
        if after is not None:
            kind = kind.at(after.version)
        async with self._gate:
            try:
                live = await reads.get(kind, ref.namespace, ref.name)
            except (Forbidden, NotFound):
                self.approximate += 1
                return None
            body = mark_body(self._clear(after), setting.mark) if after is not None else None
            was = mark_body(self._clear(before), setting.mark) if before is not None else None
            if body is None or change.sign is Sign.DELETE:
                return Seen(change, live, was, None)
            refused, exact = await self._tried(reads, kind, unit, ref, body)
        self.approximate += not exact
        return Seen(change, live, was, body, refused, exact, after.options if after is not None else ObjectOptions())

    def _unserved(self, after: BundleObject, kind: ServedKind | None, setting: Setting) -> None:
        """Its version is not served there: the change brings it, or it is missing."""
        ref = after.ref
        if by := self._coming.kinds.get((ref.group, ref.kind, after.version)):
            self.approximate += 1
            self._comes(f"kind {ref.kind} of {ref.group}", by, setting.overlay)
            return
        message, next_step = (
            f"kind {ref.kind} of {ref.group or 'core'} is not served there",
            "install its definition first",
        )
        if kind is not None:
            message = f"{after.api_version} is not served there; {ref.kind} is, as {', '.join(kind.versions)}"
            next_step = "use a version that is"
        self._add(LiveFinding(Danger.KIND, setting.overlay, setting.cluster, message, ref, next_step))

    def _comes(self, what: str, by: Collection[OverlayName], overlay: OverlayName) -> None:
        """What the change brings itself."""
        self._add(*self._coming.judge(what, by, overlay, self._name))

    async def _tried(
        self, reads: _Reads, kind: ServedKind, unit: LiveUnit, ref: ObjectRef, body: Document
    ) -> tuple[FleetError | None, bool]:
        """What the server answers to the dry-run, and whether it judged at all."""
        try:
            await reads.try_out(kind, ref, body)
        except (Forbidden, NotChecked):
            return None, False
        except NotFound as error:
            if (by := self._coming.namespaces.get(ref.namespace)) is None:
                return error, True
            self._comes(f"Namespace {ref.namespace}", by, unit.unit.name.overlay)
            return None, False
        except (ObjectInvalid, AdmissionDenied) as error:
            return error, True
        return None, True

    async def _room(self, reads: _Reads, catalog: Catalog, seen: Sequence[Seen], setting: Setting) -> None:
        workloads = [item for item in seen if item.after is not None and item.change.ref.group == "apps"]
        for namespace in sorted({item.change.ref.namespace for item in workloads}):
            here = [item for item in workloads if item.change.ref.namespace == namespace]
            quotas = await self._listed(reads, catalog, "", "ResourceQuota", namespace)
            self._add(*judge_quotas(namespace, here, quotas, setting))
            if any(item.change.restart is not None for item in here):
                budgets = await self._listed(reads, catalog, "policy", "PodDisruptionBudget", namespace)
                self._add(*judge_disruption(here, budgets, setting))

    async def _listed(
        self, reads: _Reads, catalog: Catalog, group: str, kind: str, namespace: str, selector: str = ""
    ) -> Sequence[Document]:
        found = catalog.find(group, kind)
        if found is None:
            return ()
        try:
            return (await reads.list(found, namespace=namespace, selector=selector)).items
        except Forbidden:
            self.approximate += 1
            return ()

    def _clear(self, item: BundleObject) -> Document:
        document = item.document()
        return unsealed(document, self._secrets) if is_secret(item.ref) else document


def _item(bundle: Bundle | None, ref: ObjectRef) -> BundleObject | None:
    return next((item for item in bundle.objects if item.ref == ref), None) if bundle is not None else None
