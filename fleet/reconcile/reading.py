"""From a bundle to what a unit wants on this cluster: scopes as the cluster serves them, hooks apart, no bodies."""

from __future__ import annotations

from dataclasses import replace

from fleet.core.hooks import split_hooks
from fleet.core.ids import Digest
from fleet.core.objects import BundleObject
from fleet.core.plan import Wanted
from fleet.core.record import desired_digest_of
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site


async def read_bundle(site: Site, unit: UnitState, digest: Digest) -> None:
    """Resolve a bundle for this cluster; nothing is kept of the bodies."""
    desired = unit.desired
    assert desired is not None
    key = (digest, desired.policy.ignore, site.catalog_version)
    if unit.read_key == key:
        return
    bundle = await site.library.bundle(digest)
    mark, rules = site.mark(unit.name), desired.policy.ignore
    found: list[tuple[BundleObject, Wanted]] = []
    unit.misplaced = {}
    for obj in bundle.objects:
        served = site.served(obj.ref, obj.version)
        ref = obj.ref
        if served is not None and not served.namespaced and ref.namespace:
            ref = replace(ref, namespace="")
        source = replace(obj, ref=ref, body=b"")
        item = Wanted(ref, source, desired_digest_of(obj, mark, rules), served is not None)
        if served is not None and served.namespaced and not ref.namespace:
            unit.misplaced[ref] = item
        found.append((source, item))
    plain, hooks = split_hooks(source for source, _ in found)
    items = {source.ref: item for source, item in found}
    unit.wanted = {source.ref: items[source.ref] for source in plain}
    unit.hooks = tuple(items[source.ref] for source in hooks)
    if unit.bundle != digest:
        unit.contact.clear()
        unit.troubles.clear()
        unit.waves_since.clear()
        unit.warnings.clear()
        unit.kept.clear()
        unit.replace_holds.clear()
        unit.changed = 0
    unit.bundle, unit.read_key = digest, key
