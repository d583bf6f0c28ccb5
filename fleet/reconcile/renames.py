"""What a unit dropped and has under another name: the worker's own look at what the hub says of it (R9).

A rename counts as no deletion, so that all must hold at once: both bundles say the same but for names, the old object
was applied as the old bundle says and has not left that, and the new one is made by this unit and no other.
"""

from __future__ import annotations

from fleet.core.fingerprint import SyncState
from fleet.core.ids import ObjectRef
from fleet.core.objects import BundleObject
from fleet.core.record import desired_digest_of
from fleet.core.rollout import Apply, Rename, UnitDesired
from fleet.errors import StateDamaged
from fleet.reconcile.judging import sync_of
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site


async def renamed(site: Site, unit: UnitState, told: UnitDesired) -> frozenset[ObjectRef]:
    """What is there under another name, once the unit is Healthy: that is for who prunes to wait for."""
    named = told.action.renames if isinstance(told.action, Apply) else frozenset[Rename]()
    left = unit.rows.keys() - unit.wanted.keys()
    asked = [each for each in named if each.old in left and each.new in unit.wanted]
    if not asked or unit.bundle is None:
        return frozenset()
    found: set[ObjectRef] = set()
    for digest in sorted({each.said_by for each in asked}):
        try:
            pairs = await site.library.renames(digest, unit.bundle)
            bodies = {item.ref: item for item in (await site.library.bundle(digest)).objects}
        except StateDamaged:
            continue  # it is not kept any more: a deletion like any other
        for each in asked:
            if each.said_by == digest and pairs.get(each.old) == each.new and _stands(site, unit, bodies[each.old]):
                found.add(each.old)
    return frozenset(found)


def _stands(site: Site, unit: UnitState, said: BundleObject) -> bool:
    """Whether the old object is as this body says, by the record and by what is there now."""
    row, live = unit.rows.get(said.ref), site.view.find(said.ref)
    if row is None or row.desired != desired_digest_of(said, site.mark(unit.name), site.rules(unit, said.ref)):
        return False
    return sync_of(row, row.desired, live, site.verdicts) is SyncState.IN_SYNC
