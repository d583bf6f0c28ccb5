"""Naming what a unit may not or cannot write, and forgetting what stands in its way no more (R4, R16)."""

from __future__ import annotations

from fleet.core.plan import DesiredObject, UnitPlan
from fleet.core.record import MarkKind
from fleet.core.sync_policy import Adopt
from fleet.core.unserved import why_unserved
from fleet.errors import FleetError, KindNotServed, NamespaceMissing, OwnedByOther
from fleet.reconcile.apply import Applier
from fleet.reconcile.memory import UnitState
from fleet.reconcile.not_ours import refusal_of
from fleet.reconcile.site import Site


class Refuser:
    """Refuses single objects of the units of one site, by their plans."""

    def __init__(self, site: Site, applier: Applier) -> None:
        self._site, self._applier = site, applier

    @staticmethod
    def forget(unit: UnitState, plan: UnitPlan) -> None:
        """Drop the troubles of what a plan keeps back no more; called before anything is noted by that plan.

        What two overlays claimed waits for no next try once one of them has it; what is well was not refused.
        """
        disputed = frozenset(item.ref for item in plan.disputed)
        for ref in (*(unit.disputed - disputed), *plan.unchanged):
            unit.troubles.pop(ref, None)
        unit.disputed = disputed

    def refuse(self, unit: UnitState, plan: UnitPlan) -> None:
        """Note a trouble for each object that a plan keeps back."""
        for ref, item in unit.misplaced.items():
            error = NamespaceMissing(
                f"{ref} has no namespace",
                where=f"cluster {self._site.cluster}",
                why=f"{ref.kind} lives in namespaces on this cluster",
                next_step="name one in the object or in the kustomization",
            )
            self._note(unit, item, error)
        for ref, error in unit.forbidden.items():
            if item := unit.wanted.get(ref):
                self._note(unit, item, error)
        for foreign in plan.foreign:
            if foreign.adopt is not Adopt.NEVER:
                continue  # judged where it may be taken over, and waits where it may not be yet
            error = refusal_of(foreign.wanted.ref, foreign.seen.mark, moved=False, left=True)
            if error is not None:
                if foreign.seen.managers and foreign.seen.mark.kind is not MarkKind.OTHER_UNIT:
                    error.why = f"owned by {', '.join(foreign.seen.managers)}; {error.why}"
                self._note(unit, foreign.wanted, error)
        for disputed in plan.disputed:
            if item := unit.wanted.get(disputed.ref):
                why = "two overlays may not claim one object"
                self._note(unit, item, OwnedByOther(disputed.message, why=why, next_step="take it out of one of them"))
        for item in plan.kind_missing:
            if not item.source.options.skip_missing_kind:
                others = [(name.overlay, other.wanted) for name, other in self._site.units.items()]
                why, step = why_unserved(item, self._site.cluster, others)
                where = f"cluster {self._site.cluster}"
                self._note(unit, item, KindNotServed(f"{item.ref} waits", where=where, why=why, next_step=step))

    def _note(self, unit: UnitState, item: DesiredObject, error: FleetError) -> None:
        trouble = unit.troubles.get(item.ref)
        if trouble is None or trouble.digest != item.digest or trouble.next_at <= self._site.clock():
            self._applier.trouble(unit, item.ref, item.digest, error)
