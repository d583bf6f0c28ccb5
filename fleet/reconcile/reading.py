"""From a bundle to what a unit wants on this cluster: scopes as the cluster serves them, hooks apart, no bodies.

And reads of whole live objects, where a comparison needs more than the view keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.core.documents import Document
from fleet.core.guard import judge_place
from fleet.core.hooks import split_hooks
from fleet.core.ids import ObjectRef
from fleet.core.objects import BundleObject, ref_of
from fleet.core.plan import DesiredObject
from fleet.core.record import desired_digest_of
from fleet.core.rollout import UnitDesired
from fleet.errors import NotAllowedForTeam
from fleet.reconcile.memory import UnitState
from fleet.reconcile.questions import forget_settled
from fleet.reconcile.site import Site, serves
from fleet.reconcile.standing import bundle_of


async def read_bundle(site: Site, unit: UnitState, desired: UnitDesired) -> None:
    """Resolve the bundle of an order for this cluster, if it names one; nothing is kept of the bodies."""
    digest = bundle_of(desired)
    if digest is None:
        return
    key = (digest, desired.policy.ignore, desired.policy.team, site.catalog_version)
    if unit.read_key == key:
        return
    bundle = await site.library.bundle(digest)
    mark, rules = site.mark(unit.name), desired.policy.ignore
    found: list[tuple[BundleObject, DesiredObject]] = []
    unit.misplaced, unit.forbidden = {}, {}
    for obj in bundle.objects:
        served = site.served(obj.ref, obj.version)
        ref = obj.ref
        if served is not None and not served.namespaced and ref.namespace:
            ref = replace(ref, namespace="")
            if error := beyond_team(site, desired, ref):
                unit.forbidden[ref] = error
        source = replace(obj, ref=ref, body=b"")
        is_served = served is not None and serves(served, obj.version)
        item = DesiredObject(ref, source, desired_digest_of(obj, mark, rules), is_served)
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
    unit.replaced -= unit.wanted.keys()
    forget_settled(site, unit)
    unit.bundle, unit.read_key = digest, key
    for other in site.claims.put(unit):
        site.wake(other)


def beyond_team(site: Site, desired: UnitDesired | None, ref: ObjectRef) -> NotAllowedForTeam | None:
    """Why a unit's team may not have an object that this cluster keeps outside of namespaces (R29)."""
    team = desired.policy.team if desired is not None else None
    return judge_place(ref, team, where=f"cluster {site.cluster}") if team is not None else None


async def read_live(site: Site, items: Sequence[DesiredObject]) -> dict[ObjectRef, Document]:
    """The live objects of one kind and namespace that exist: a few by name, more by one list. Raises ClusterError."""
    first = items[0].ref
    served = site.served(first, items[0].source.version)
    if served is None:
        return {}
    if len(items) <= site.limits.direct_reads:
        found: dict[ObjectRef, Document] = {}
        for item in items:
            document = await site.kube.get(served, item.ref.namespace, item.ref.name)
            if document is not None:
                found[item.ref] = document
        return found
    listed = await site.kube.list(served, namespace=first.namespace)
    refs = {ref_of(document): document for document in listed.items}
    return {ObjectRef(first.group, first.kind, ref.namespace, ref.name): document for ref, document in refs.items()}
