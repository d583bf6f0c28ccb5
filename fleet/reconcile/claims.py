"""Who wants which object on one cluster, asked object by object.

The index says only where to look: whether a unit's list counts is judged when it is asked, from what the unit holds and
was told then. So nothing has to be made anew when one unit of thousands changes, and an entry that is out of date is
passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName, is_dns_subdomain
from fleet.core.plan import Cause, Disputed, Step
from fleet.core.record import parent_name
from fleet.core.rollout import Detach
from fleet.core.status import Blocker, Standing
from fleet.reconcile.memory import Awaited, UnitState
from fleet.reconcile.standing import bundle_of, suspended_by


class UnitClaims:
    """See `core.plan.Claims`; one per session.

    units: of the cluster, as they come and go; lacks: whether no parent object of this name is there, as far as known.
    """

    def __init__(self, cluster: ClusterName, units: Mapping[UnitName, UnitState], lacks: Callable[[str], bool]) -> None:
        self._cluster, self._units, self._lacks = cluster, units, lacks
        self._holders: dict[ObjectRef, tuple[UnitName, ...]] = {}
        self._indexed: dict[UnitName, frozenset[ObjectRef]] = {}
        for unit in units.values():
            self.put(unit)

    def put(self, unit: UnitState) -> frozenset[UnitName]:
        """Take over a unit's list; to be called whenever one was read.

        Returns units that list an object which this one lists since, or lists no more: they are to look again, so that
        both are named, or neither (R16).
        """
        refs = frozenset(_refs(unit))
        before = self._indexed.get(unit.name, frozenset())
        for ref in refs - before:
            self._holders[ref] = (*self._holders.get(ref, ()), unit.name)
        for ref in before - refs:
            left = tuple(name for name in self._holders[ref] if name != unit.name)
            if left:
                self._holders[ref] = left
            else:
                del self._holders[ref]
        self._indexed[unit.name] = refs
        return frozenset(name for ref in refs ^ before for name in self._holders.get(ref, ()) if name != unit.name)

    def others(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        """Other overlays that want this object, by the bundle that they shall hold."""
        return frozenset(
            unit.name.overlay
            for unit in self._listing(ref)
            if unit.name.overlay != overlay and bundle_of(unit.desired) == unit.bundle
        )

    def takers(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        """Those of them that apply it over what is there: not where it is `ifAbsent` or `disabled` to them."""
        return frozenset(other for other in self.others(ref, overlay) if self._takes(other, ref))

    def _takes(self, overlay: OverlayName, ref: ObjectRef) -> bool:
        item = self._units[UnitName(overlay, self._cluster)].wanted.get(ref)
        return item is None or (item.source.options.reconcile and not item.source.options.only_if_absent)

    def is_known(self, overlay: OverlayName) -> bool:
        """Whether the whole list of an overlay is known now (R5); one that is let go wants nothing."""
        unit = self._units.get(UnitName(overlay, self._cluster))
        if unit is None or unit.desired is None:
            return False
        wanted = bundle_of(unit.desired)
        return isinstance(unit.desired.action, Detach) if wanted is None else unit.bundle == wanted

    def is_gone(self, overlay: OverlayName) -> bool:
        """Whether nothing is left of an overlay but marks: no unit of ours, in whatever standing, and no parent object.

        Whose parent is there has what bears its mark, be it of another hub. What can be no overlay's name is nobody's.
        """
        is_here = UnitName(overlay, self._cluster) in self._units
        return not is_here and is_dns_subdomain(overlay) and self._lacks(parent_name(overlay))

    def keeps(self, overlay: OverlayName) -> bool:
        """Whether nothing of what an overlay has here is written to, whoever wants it.

        It is suspended (R17), or its record waits for a person (R24): what it has was shown to nobody yet.
        """
        unit = self._units.get(UnitName(overlay, self._cluster))
        if unit is None or unit.desired is None:
            return False
        return bool(unit.desired.policy.suspensions) or not unit.memory.confirmed

    def keeps_back(self, step: Step) -> bool:
        """Whether an object that was to be taken over is kept now by the unit that has it."""
        return step.cause is Cause.MOVED and step.seen is not None and self.keeps(OverlayName(step.seen.mark.who))

    def awaited(self, items: Iterable[Disputed]) -> dict[UnitName, Awaited]:
        """Objects that are to be taken over once who has them gives them up, by these units; with what stops each."""
        refs: dict[UnitName, list[ObjectRef]] = {}
        for item in items:
            refs.setdefault(UnitName(OverlayName(item.who), self._cluster), []).append(item.ref)
        found: dict[UnitName, Awaited] = {}
        for name, kept in refs.items():
            unit = self._units.get(name)
            stops = suspended_by(unit.desired, unit.blocked_since) if unit and unit.desired else []
            if unit and not unit.memory.confirmed:  # asked about there, not here
                reason, next_step = "not confirmed yet: its record was rebuilt", f"fleet describe unit {name}"
                stops.append(Blocker(Standing.HELD, str(name), reason, unit.blocked_since, "", next_step))
            if stops:
                found[name] = Awaited(tuple(kept), stops[0])
        return found

    def wanter(self, ref: ObjectRef) -> UnitState | None:
        """A unit that lists this object, whatever it was told since."""
        return next(self._listing(ref), None)

    def _listing(self, ref: ObjectRef) -> Iterator[UnitState]:
        for name in self._holders.get(ref, ()):
            unit = self._units.get(name)
            if unit is not None and (ref in unit.wanted or any(hook.ref == ref for hook in unit.hooks)):
                yield unit


def _refs(unit: UnitState) -> Iterator[ObjectRef]:
    """What it may not have it claims in vain: the unit that has it goes on (R29)."""
    yield from unit.wanted.keys() - unit.forbidden.keys()
    yield from (hook.ref for hook in unit.hooks if hook.ref not in unit.forbidden)
