"""Who wants which object: the index against a look at every unit, whatever happened to them in between."""

from __future__ import annotations

import pytest
from core.building import ref, wanted
from hypothesis import given
from hypothesis.strategies import booleans, lists, one_of, sampled_from, sets, tuples
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.plan import Disputed
from fleet.core.rollout import Action, Apply, Detach, Hold, UnitDesired, UnitPolicy
from fleet.core.sync_policy import Adopt, Suspension, SyncPolicy, Validate
from fleet.ports.worker import UnitMemory
from fleet.reconcile.claims import UnitClaims
from fleet.reconcile.memory import UnitState
from fleet.reconcile.standing import bundle_of

EAST = ClusterName("east")
OVERLAYS = [OverlayName(name) for name in ("web", "api", "db")]
REFS = [ref(name) for name in "abcd"]
BUNDLES = [Digest(name) for name in ("1", "2")]
FREEZE = Suspension("freeze", "jo", "", "overlay web")
Step = tuple[str, OverlayName, Digest, set[ObjectRef], bool]

STEPS = tuples(
    sampled_from(["told", "read", "detached", "unsaid", "forgotten", "rebuilt"]),
    sampled_from(OVERLAYS),
    sampled_from(BUNDLES),
    sets(sampled_from(REFS)),
    booleans(),
)


def unit_named(overlay: OverlayName) -> UnitState:
    name = UnitName(overlay, EAST)
    return UnitState(name, UnitMemory(name))


def order(unit: UnitState, action: Action) -> None:
    unit.desired = UnitDesired(unit.name, Revision("c" * 40), action)


def wants(unit: UnitState) -> set[ObjectRef]:
    """By looking: what a unit's list says, if it is the list of what the unit was told."""
    is_its_list = unit.bundle is not None and bundle_of(unit.desired) == unit.bundle
    return {*unit.wanted, *(hook.ref for hook in unit.hooks)} if is_its_list else set()


@given(lists(one_of(STEPS), max_size=20))
def test_the_index_says_what_a_look_at_every_unit_says(steps: list[Step]) -> None:
    units: dict[UnitName, UnitState] = {}
    claims, read = UnitClaims(EAST, units, lambda _: False), dict[UnitName, set[ObjectRef]]()
    for what, overlay, bundle, refs, as_hooks in steps:
        name = UnitName(overlay, EAST)
        if what == "forgotten":
            units.pop(name, None)
            continue
        unit = unit_named(overlay) if what == "rebuilt" else units.get(name, unit_named(overlay))
        units[name] = unit
        match what:
            case "told":
                order(unit, Hold("waits", bundle) if as_hooks else Apply(bundle))
            case "detached":
                order(unit, Detach())
            case "unsaid":
                unit.desired = None
            case "read":
                items = {of: wanted(of) for of in refs}
                unit.wanted, unit.hooks = ({}, tuple(items.values())) if as_hooks else (items, ())
                unit.bundle = bundle
                came_or_went = refs ^ read.get(name, set())
                touched = {other for other in units if other != name and wants(units[other]) & came_or_went}
                assert claims.put(unit) >= touched
                read[name] = refs
    anew = UnitClaims(EAST, units, lambda _: False)  # as after a new connection
    for overlay in OVERLAYS:
        for of in REFS:
            others = {unit.name.overlay for unit in units.values() if of in wants(unit)} - {overlay}
            assert claims.others(of, overlay) == others
            assert anew.others(of, overlay) == others
        unit = units.get(UnitName(overlay, EAST))
        is_gone = unit is not None and unit.desired is not None and isinstance(unit.desired.action, Detach)
        is_read = unit is not None and unit.bundle is not None and bundle_of(unit.desired) == unit.bundle
        assert claims.is_known(overlay) == (is_gone or is_read)
    for of in REFS:
        listing = [unit for unit in units.values() if of in unit.wanted or any(h.ref == of for h in unit.hooks)]
        assert (claims.wanter(of) in listing) if listing else claims.wanter(of) is None


@given(lists(tuples(sampled_from(OVERLAYS), sampled_from(["goes", "leaves", "unsaid"]), booleans()), max_size=8))
def test_a_unit_keeps_what_it_has_exactly_while_it_is_told_that_it_is_suspended(
    steps: list[tuple[OverlayName, str, bool]],
) -> None:
    units: dict[UnitName, UnitState] = {}
    claims, suspended = UnitClaims(EAST, units, lambda _: False), set[OverlayName]()
    for overlay, what, stops in steps:
        unit = units.setdefault(UnitName(overlay, EAST), unit_named(overlay))
        policy = UnitPolicy(suspensions=(FREEZE,) if stops else ())
        actions = {"goes": Apply(BUNDLES[0]), "leaves": Detach()}
        unit.desired = UnitDesired(unit.name, Revision("c" * 40), actions[what], policy) if what in actions else None
        suspended -= {overlay}
        suspended |= {overlay} if stops and what in actions else set()
    for overlay in OVERLAYS:
        name, items = UnitName(overlay, EAST), [Disputed(of, overlay, "") for of in REFS[:2]]
        assert claims.keeps(overlay) == (overlay in suspended)
        found = claims.awaited(items)
        assert found.keys() == ({name} if overlay in suspended else set())
        if found:
            assert found[name].refs == tuple(REFS[:2])
            assert (found[name].stop.reason, found[name].stop.scope) == ("suspended by jo: freeze", "overlay web")


def test_a_list_that_is_not_of_what_the_unit_was_told_claims_nothing_but_is_found_for_its_events() -> None:
    unit = unit_named(OVERLAYS[0])
    units = {unit.name: unit}
    claims = UnitClaims(EAST, units, lambda _: False)
    unit.wanted, unit.bundle = {REFS[0]: wanted(REFS[0])}, BUNDLES[0]
    order(unit, Apply(BUNDLES[0]))
    claims.put(unit)
    assert claims.others(REFS[0], OVERLAYS[1]) == {OVERLAYS[0]}
    order(unit, Apply(BUNDLES[1]))
    assert claims.others(REFS[0], OVERLAYS[1]) == frozenset()
    assert not claims.is_known(OVERLAYS[0])
    assert claims.wanter(REFS[0]) is unit


def test_an_overlay_is_gone_where_neither_a_unit_nor_a_parent_object_of_it_is_here() -> None:
    unit, parents = unit_named(OVERLAYS[0]), {"unit-db"}
    claims = UnitClaims(EAST, {unit.name: unit}, lambda name: name not in parents)
    assert [claims.is_gone(overlay) for overlay in OVERLAYS] == [False, True, False]  # nothing is said of the first one
    assert not claims.is_gone(OverlayName("No Overlay/s"))
    assert not any(UnitClaims(EAST, {}, lambda _: False).is_gone(overlay) for overlay in OVERLAYS)  # nothing is read


@pytest.mark.parametrize("adopt", [Adopt.IF_NO_DIFF, Adopt.NEVER])
async def test_what_one_of_two_overlays_gives_up_by_leaving_git_is_judged_by_the_other_at_once(
    first: SimHub, adopt: Adopt
) -> None:
    first.cluster.create(config_map("r", SHOP, {"a": "theirs"}))
    sync = SyncPolicy(validate=Validate.SCHEMA, adopt=adopt)
    stays = first.want("a", [config_map("r", SHOP), config_map("a1", SHOP)], sync=sync, send=False)
    leaves = first.want("b", [config_map("r", SHOP), config_map("b1", SHOP)])

    def reason_of(unit: UnitName) -> str:
        found = first.object(unit, "ConfigMap", "r")
        return found.reason if found else ""

    async with first.worker():
        await first.until(lambda: {reason_of(unit) for unit in (stays, leaves)} == {"OwnedByOther"}, "both name it")
        first.want("b", action=Detach(), commit="b")
        why = "ObjectForeign" if adopt is Adopt.NEVER else "WriterActive"
        await first.until(lambda: reason_of(stays) == why, "named by what is in its way now", seconds=5)
