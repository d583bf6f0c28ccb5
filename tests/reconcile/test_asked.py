"""What a hold asked about goes by an approval alone, and which hour the budget counts (R9). On a simulated cluster."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from rig import Hub, config_map

from fleet.core.guard import Approved
from fleet.core.ids import ObjectRef, UnitName
from fleet.core.record import PARENT_NAMESPACE
from fleet.core.rollout import Apply, Rename
from fleet.core.status import HoldRequest, asks_recovery
from fleet.sim import Simulation
from fleet.store.memory_journal import MemoryJournal

SHOP, HOUR = "default", 3600.0
NAMES = [f"c{number:02}" for number in range(40)]


@dataclass
class SlidingHub(Hub):
    """A hub whose worker reaches a simulated cluster, by clocks that can be moved."""

    ahead: float = 0.0  # of the wall clock
    ran: float = 0.0  # more seconds

    def __post_init__(self) -> None:
        self.wall = lambda: time.time() + self.ahead
        self.journal = MemoryJournal(lambda: time.time() + self.ran)

    async def kubeconfig(self, name: str) -> bytes:
        simulation: Simulation = self.plane  # type: ignore[assignment]
        return simulation.kubeconfig("one")

    def drop(self, count: int, commit: str, approved: tuple[Approved, ...] = ()) -> UnitName:
        return self.want("web", [config_map(name, SHOP) for name in NAMES[count:]], commit=commit, approved=approved)

    def wrote_since(self) -> None:
        """Another hub of this installation went on, and this one's state was put back; nothing was heard of it yet."""
        simulation: Simulation = self.plane  # type: ignore[assignment]
        said = {"metadata": {"annotations": {"fleet.internal/record-generation": "1000"}}}
        simulation.cluster("one").drift("", "ConfigMap", PARENT_NAMESPACE, "unit-web", said)
        self.units.clear()

    def there(self, unit: UnitName) -> set[str]:
        return {status.ref.name for status in self.units[unit].objects}

    async def held(self, unit: UnitName, count: int, commit: str) -> HoldRequest:
        """The one hold of the unit, once it is by this commit and lists so many."""

        def found() -> HoldRequest | None:
            holds = self.units[unit].holds
            return holds[0] if holds and (holds[0].commit, len(holds[0].deletions)) == (commit * 40, count) else None

        return await self.until(found, f"a hold of {count} by {commit}")


@pytest.fixture
async def hub() -> AsyncIterator[SlidingHub]:
    async with Simulation(["one"], seed=1, ready_seconds=0.02) as simulation:
        yield SlidingHub(simulation)  # type: ignore[arg-type]


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_was_held_is_asked_about_still_when_the_hour_is_over(hub: SlidingHub, restarted: bool) -> None:
    """A quarter of the 40 may go within an hour: 8, and not 7 more. It comes back with the next commit, too."""
    unit = hub.drop(0, "a")
    async with hub.worker():
        await hub.until_well(unit)
        hub.drop(8, "b")
        await hub.until_well(unit)
        hub.drop(15, "c")
        await hub.held(unit, 7, "c")
        hub.ran += HOUR + 60
        if not restarted:
            hub.send_desired()
            hub.drop(15, "d")
            await hub.held(unit, 7, "d")
    if restarted:
        hub.units.pop(unit)
        async with hub.worker():
            await hub.until(lambda: unit in hub.units and hub.units[unit].holds, "asked about still")
            hub.drop(15, "d")
            await hub.held(unit, 7, "d")
    assert hub.there(unit) == set(NAMES[8:])


@pytest.mark.parametrize("case", ["held", "within the hour", "neither"])
async def test_a_record_that_is_rebuilt_lets_nothing_go_that_was_held_and_no_more_within_the_hour(
    hub: SlidingHub, case: str
) -> None:
    """The state is older than the cluster, and knows still what was asked, and what went. What is neither goes."""
    unit = hub.drop(0, "a")
    async with hub.worker():
        await hub.until_well(unit)
        hub.drop(8, "b")
        await hub.until_well(unit)
        if case == "held":
            hub.drop(15, "c")
            await hub.held(unit, 7, "c")
    hub.wrote_since()
    if case != "within the hour":
        hub.ran += HOUR + 60
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and asks_recovery(hub.units[unit]), "it asks")
        hub.drop(15, "c")
        hub.send_desired(recovered=hub.shown())
        if case == "neither":
            await hub.until(lambda: hub.there(unit) == set(NAMES[15:]), "goes as ever")
            return
        await hub.held(unit, 7, "c")
    assert hub.there(unit) == set(NAMES[8:])


async def test_what_was_approved_goes_and_what_is_new_goes_beside_what_is_held(hub: SlidingHub) -> None:
    unit = hub.drop(0, "a")
    async with hub.worker():
        await hub.until_well(unit)
        hub.drop(12, "b")
        hold = await hub.held(unit, 12, "b")
        hub.ran += HOUR + 60
        some = tuple(Approved(item.ref, item.uid, item.content) for item in hold.deletions[:10])  # type: ignore[arg-type]
        hub.drop(12, "b", some)
        await hub.held(unit, 2, "b")
        hub.ran += HOUR + 60
        hub.drop(14, "c")
        await hub.held(unit, 2, "c")
        await hub.until(lambda: hub.there(unit) == set(NAMES) - set(NAMES[:10]) - set(NAMES[12:14]), "the two went")


async def test_what_is_wanted_again_is_dropped_later_as_if_nobody_had_been_asked(hub: SlidingHub) -> None:
    unit = hub.drop(0, "a")
    async with hub.worker():
        await hub.until_well(unit)
        hub.drop(12, "b")
        await hub.held(unit, 12, "b")
        hub.drop(0, "c")
        await hub.until_well(unit)
        assert hub.units[unit].holds == ()
        hub.drop(9, "d")
        await hub.until_well(unit)
        assert hub.units[unit].holds == ()
    assert hub.there(unit) == set(NAMES[9:])


@pytest.mark.parametrize("ran", [False, True])
async def test_a_wall_clock_that_jumps_makes_no_room_in_the_budget(hub: SlidingHub, ran: bool) -> None:
    unit = hub.drop(0, "a")
    async with hub.worker():
        await hub.until_well(unit)
        hub.drop(8, "b")
        await hub.until_well(unit)
        hub.ahead += HOUR + 60
        hub.ran += HOUR + 60 if ran else 0.0
        hub.drop(15, "c")
        if ran:
            await hub.until_well(unit)
        else:
            await hub.held(unit, 7, "c")
    assert hub.there(unit) == set(NAMES[15 if ran else 8 :])


@pytest.mark.parametrize("is_said", [False, True])
async def test_a_rename_that_is_none_stays_asked_about_and_what_the_hub_alone_holds_goes_by_its_permit(
    hub: SlidingHub, is_said: bool
) -> None:
    unit = hub.drop(0, "a")
    async with hub.worker():
        await hub.until_well(unit)
        after = [config_map(name, SHOP) for name in NAMES[1:]]
        bundle = hub.bundle_of([*after, config_map("other", SHOP, {"a": "something else"})])
        old, new = (ObjectRef("", "ConfigMap", SHOP, name) for name in (NAMES[0], "other"))
        said = Rename(old, new, hub.bundle_of([config_map(name, SHOP) for name in NAMES]).digest)
        action = Apply(bundle.digest, renames=frozenset({said} if is_said else ()))
        hub.want("web", commit="b", action=action)
        await hub.held(unit, 1, "b")
        hub.want("web", after, commit="c")
        if is_said:
            await hub.held(unit, 1, "c")
        else:
            await hub.until_well(unit)
        assert (NAMES[0] in hub.there(unit)) is is_said
