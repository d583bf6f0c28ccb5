"""`mode: observe`: compare by reads alone. Nothing is written, not even a dry-run; differences are approximate."""

from __future__ import annotations

from collections import defaultdict

from fleet.core.diff import is_same_value
from fleet.core.documents import Document
from fleet.core.field_diff import FieldDrift, diff_documents
from fleet.core.health import judge_health
from fleet.core.objects import is_secret
from fleet.core.plan import DesiredObject
from fleet.core.status import Health, ObjectStatus, Sync
from fleet.errors import ClusterError
from fleet.reconcile.memory import UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.reading import read_live
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site
from fleet.reconcile.standing import Leave

OBSERVE_SECONDS = 60.0  # between two comparisons of a unit


class Comparer:
    """Compares units of one site with what is there."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def compare(self, unit: UnitState, leave: Leave) -> Outcome:
        """Read every object of the unit's kinds and namespaces, and say what differs."""
        site = self._site
        outcome = Outcome(leave, judged=True)
        groups: dict[tuple[str, str, str], list[DesiredObject]] = defaultdict(list)
        for item in unit.wanted.values():
            groups[item.ref.group, item.ref.kind, item.ref.namespace].append(item)
        statuses: list[ObjectStatus] = []
        for items in groups.values():
            try:
                live = await read_live(site, items)
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                outcome.reason, outcome.message, outcome.next_step = error.reason, error.brief, error.next_step
                outcome.judged = False
                statuses += [
                    ObjectStatus(i.ref, Sync.UNKNOWN, Health.UNKNOWN, error.brief, error.reason) for i in items
                ]
                continue
            for item in items:
                statuses.append(await self._status(unit, item, live.get(item.ref)))
        outcome.observed = tuple(sorted(statuses, key=lambda status: status.ref))
        site.wake_at(unit.name, site.clock() + OBSERVE_SECONDS * (1 + site.random() / 10))
        return outcome

    async def _status(self, unit: UnitState, item: DesiredObject, live: Document | None) -> ObjectStatus:
        if live is None:
            return ObjectStatus(item.ref, Sync.OUT_OF_SYNC, Health.MISSING, "is not there")
        assert unit.bundle is not None
        source = await self._site.library.object(unit.bundle, item.source)
        desired = source.document()
        if is_secret(item.ref):
            # Values are sealed here, and reading them to compare would be more than observing needs: only keys count.
            desired = {**desired, "data": {}}
        drift = differences(desired, live)
        health = judge_health(live, self._site.health_rules(unit))
        sync = Sync.OUT_OF_SYNC if drift else Sync.SYNCED
        message = f"{len(drift)} fields differ (approximate)" if drift else health.message
        return ObjectStatus(item.ref, sync, health.health, message, drift=drift)


def differences(desired: Document, live: Document) -> tuple[FieldDrift, ...]:
    """Fields of the desired document that are not so in the live one; what only the live one has does not count."""
    if is_same_value(desired, {**live, "apiVersion": desired.get("apiVersion")}):
        return ()
    found = diff_documents(desired, live)
    return tuple(
        drift
        for drift in found
        if drift.path != "apiVersion" and (drift.masked or drift.desired is not None) and not _is_same(drift)
    )


def _is_same(drift: FieldDrift) -> bool:
    return drift.live is not None and drift.desired is not None and is_same_value(drift.desired, drift.live)
