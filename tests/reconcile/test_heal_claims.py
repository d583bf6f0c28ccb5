"""A drift of what two overlays claim is nobody's to heal, also in the moment before a pass has named it (R16)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from core.building import UNIT, ref, row, wanted

from fleet.core.ids import Digest, OverlayName, Revision, UnitName
from fleet.core.rollout import Apply, UnitDesired
from fleet.ports.worker import UnitMemory
from fleet.reconcile.claims import UnitClaims
from fleet.reconcile.heal import Healer
from fleet.reconcile.memory import UnitState

X = ref("x")
OTHER = UnitName(OverlayName("shop"), UNIT.cluster)


def holding(name: UnitName, *, told: str = "bundle") -> UnitState:
    """A unit that wants x by its bundle, and was told to hold this one."""
    unit = UnitState(name, UnitMemory(name), UnitDesired(name, Revision("c" * 40), Apply(Digest(told))))
    unit.wanted, unit.bundle = {X: wanted(X)}, Digest("bundle")
    return unit


def healed(*others: UnitState) -> list[str]:
    """What is begun when x is seen to be gone."""
    unit = holding(UNIT)
    unit.rows = {X: row(X)}
    begun: list[str] = []

    def spawn(work: Any, name: str) -> None:
        work.close()
        begun.append(name)

    site: Any = SimpleNamespace(
        view=SimpleNamespace(find=lambda _: None),
        in_flight=set(),
        gone={X},
        clock=lambda: 0.0,
        claims=UnitClaims(UNIT.cluster, {state.name: state for state in (unit, *others)}, lambda _: False),
        spawn=spawn,
    )
    Healer(site, None, lambda _: True).saw(unit, X)  # type: ignore[arg-type]
    return begun


def test_what_two_overlays_claim_is_not_healed_by_the_one_that_has_it() -> None:
    assert healed(holding(OTHER)) == []


@pytest.mark.parametrize("others", [[], [holding(OTHER, told="another")]], ids=["alone", "given-up"])
def test_what_one_overlay_claims_is_healed(others: list[UnitState]) -> None:
    assert healed(*others) == ["heal ConfigMap shop/x"]
