"""What a cluster serves: asked anew while something says that the known answer is out of date, else never.

A kind that is served no more took its objects along. An API server that has just started, or is behind, may leave one
out for a moment, and a definition may stand there of which no version is served: a kind is surely gone where answers to
questions some time apart agree, the last of them a fresh one, and no definition of it is stored.
"""

from __future__ import annotations

from collections.abc import Collection

from fleet.core.documents import text_at
from fleet.core.plan import DesiredObject
from fleet.errors import ClusterError, Forbidden, KindNotServed
from fleet.ports.kube import Catalog, ServedKind
from fleet.reconcile.memory import Kind, UnitState, kind_of
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site, serves

DEFINITION: Kind = ("apiextensions.k8s.io", "CustomResourceDefinition")
_SECONDS = 30.0
_SOON_SECONDS = 0.3  # while a new definition is being taken over by the server
_GROWTH = 0.25  # of the time since: a busy server takes long to publish what it has established
_SURELY_SECONDS = 10.0


def is_doubted(site: Site, unit: UnitState) -> bool:
    """Whether something of this unit waits for another answer."""
    if any(not item.served for item in (*unit.wanted.values(), *unit.hooks)):
        return True
    if any(trouble.reason == KindNotServed.__name__ for trouble in unit.troubles.values()):
        return True
    kinds = {kind_of(ref) for ref in unit.refs()}
    views = [site.view.kinds[kind] for kind in kinds if kind in site.view.kinds]
    if any(part.unknown == KindNotServed.__name__ for view in views for part in view.parts.values()):
        return True
    return any(site.catalog.find(*kind) is None and not is_gone(site, kind) for kind in kinds)


def is_gone(site: Site, kind: Kind) -> bool:
    """Whether a kind of the record is surely served no more, and its objects are gone with it."""
    since = site.missing_kinds.get(kind)
    is_fresh = site.clock() - site.answered_at <= _SECONDS
    return since is not None and is_fresh and site.answered_at - since >= _SURELY_SECONDS


def pause_of(site: Site, defined_at: float) -> float:
    """Seconds between two questions. defined_at: loop time at which a definition was seen established last."""
    soon = max(_SOON_SECONDS, _GROWTH * (site.clock() - defined_at))
    is_unsure = any(site.answered_at - since < _SURELY_SECONDS for since in site.missing_kinds.values())
    return min(_SURELY_SECONDS if is_unsure else _SECONDS, soon)


async def discover_anew(site: Site) -> bool:
    """Ask what is served; whether that is anything else for a kind that is used here. Raises ClusterError."""
    asked_at = site.catalog_at = site.clock()
    catalog = await site.kube.discover(fresh=True)
    kinds = {kind_of(ref) for unit in site.units.values() for ref in unit.rows}
    missing = {kind for kind in kinds if catalog.find(*kind) is None and not catalog.is_unsure(*kind)}
    if missing:
        missing -= await _defined(site, catalog, missing)
    site.answered_at = asked_at
    site.missing_kinds = {kind: site.missing_kinds.get(kind, asked_at) for kind in missing}
    before, site.catalog = site.catalog, catalog
    used = {*kinds, *site.view.kinds}
    used |= {kind_of(item.ref) for unit in site.units.values() for item in (*unit.wanted.values(), *unit.hooks)}
    if all(_answer(before, kind) == _answer(catalog, kind) for kind in used):
        return False
    site.catalog_version += 1
    for unit in site.units.values():
        _forget_missing(unit, catalog)
    return True


def _answer(catalog: Catalog, kind: Kind) -> tuple[ServedKind | None, bool]:
    return catalog.find(*kind), catalog.is_unsure(*kind)


async def _defined(site: Site, catalog: Catalog, missing: Collection[Kind]) -> set[Kind]:
    """Those of these kinds that a stored definition defines, or of which that cannot be told (R5).

    Where a credential may not read definitions, the answers alone count.
    """
    served = catalog.find(*DEFINITION)
    if served is None:
        return set(missing) if catalog.is_unsure(*DEFINITION) else set()
    try:
        stored = await site.kube.list(served, metadata_only=True)
        names = [text_at(item, "metadata", "name") for item in stored.items]
        groups = {group for group, _ in missing}
        read = [await site.kube.get(served, "", name) for name in names if name.partition(".")[2] in groups]
    except ENDS_SESSION:
        raise
    except Forbidden:
        return set()
    except ClusterError:
        return set(missing)
    defined = {(text_at(item, "spec", "group"), text_at(item, "spec", "names", "kind")) for item in read if item}
    return {kind for kind in missing if kind in defined}


def outdated(site: Site) -> list[Kind]:
    """Kinds that are followed, but surely not served any more, or not at the version at which they are followed."""
    found: list[Kind] = []
    for kind, view in site.view.kinds.items():
        served = site.catalog.find(*kind)
        is_at = served is not None and serves(served, view.served.version)
        if not is_at and not site.catalog.is_unsure(*kind):
            found.append(kind)
    return found


def left_behind(site: Site, unit: UnitState) -> set[Kind]:
    """Kinds of a unit that are followed at a version at which nothing is applied any more: no event could be compared.

    Where two versions are in use, what is applied at the other one is read by name.
    """
    kinds = {kind_of(item.ref) for item in unit.wanted.values() if _is_elsewhere(site, item)}
    for other in site.units.values() if kinds else ():
        for ref in other.refs():
            item = other.wanted.get(ref)
            version = item.source.version if item is not None else other.rows[ref].version
            if (kind := kind_of(ref)) in kinds and version == site.view.kinds[kind].served.version:
                kinds.remove(kind)
    return kinds


def _is_elsewhere(site: Site, item: DesiredObject) -> bool:
    """Whether an object is applied at another version than the one at which its kind is followed."""
    view, served = site.view.kinds.get(kind_of(item.ref)), site.catalog.find(item.ref.group, item.ref.kind)
    version = item.source.version
    return view is not None and served is not None and view.served.version != version and serves(served, version)


def _forget_missing(unit: UnitState, catalog: Catalog) -> None:
    """Objects that only waited for their kind need not wait for their next try as well."""
    for ref in [ref for ref, trouble in unit.troubles.items() if trouble.reason == KindNotServed.__name__]:
        served, item = catalog.find(ref.group, ref.kind), unit.wanted.get(ref)
        if served is not None and (item is None or serves(served, item.source.version)):
            del unit.troubles[ref]
