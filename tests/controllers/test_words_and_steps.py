"""What a person said of a deletion holds for the steps that come after: no proof goes past a no, nor past silence (R9).

Its twin: what was approved and is half carried out goes on after a failed try and a restart, and on the later steps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from controllers import test_proven
from controllers.rig import Brain
from controllers.test_proven import held, owning, rollouts_of, settle, without
from controllers.test_stays_held import decide

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import ClusterName, Digest, Identity, UnitName
from fleet.core.status import ASKS_RECOVERY, Blocker, HoldRequest, Report, Standing
from fleet.ports.state import HoldRow

DEV, PROD = tuple(f"dev-{number}" for number in range(1, 6)), tuple(f"prod-{number}" for number in range(1, 6))
STEPS = "[{name: dev, environments: [dev]}, {name: prod, rest: true}]"
SPEC = f"spec: {{environments: [dev, prod], rollout: {{steps: {STEPS}}}}}"
LAST = UnitName.parse("web@dev-5")


@dataclass
class World:
    """Ten clusters; `one` is dropped, held on the five of the first step and approved, and gone from four of them."""

    brain: Brain
    rollouts: Rollouts
    hold: HoldRequest  # by which the fifth asked

    async def fifth(self, *holds: HoldRequest, found: Blocker | None = None) -> None:
        """It asks for these, has deleted nothing, and says that this stops it."""
        worker, known = self.brain.workers["dev-5"], self.brain.view.units[LAST]
        worker.sequence += 1
        kept = tuple(link for link in known.blocked_by if link.next != ASKS_RECOVERY)
        asks = replace(known, holds=holds, blocked_by=(*kept, *((found,) if found is not None else ())))
        await self.brain.intake.send(
            Report(
                ClusterName("dev-5"), 1, worker.sequence, self.brain.wall(), worker.seen, Identity("uid-dev-5"), True,
                units=(asks,),
            )
        )  # fmt: skip
        await self.brain.orders.look()

    async def edited(self, content: str = "edited") -> None:
        """Somebody edits it there, so that the approval is none of it."""
        items = tuple(replace(item, content=Digest(content)) for item in self.hold.deletions)
        await self.fifth(replace(self.hold, deletions=items))

    async def asked(self) -> HoldRow:
        (row,) = [row for row in await self.brain.state.holds() if not row.decision]
        return row

    async def go_on(self, *silent: str) -> None:
        for _ in range(12):
            await self.rollouts.look()
            await self.brain.answer(*silent)
            await self.brain.orders.look()

    async def restart(self) -> None:
        self.brain = await self.brain.restart()
        self.rollouts = rollouts_of(self.brain)
        await self.rollouts.start()
        await self.brain.commits.resume()
        await self.brain.answer("dev-5")
        await self.fifth(*self.brain.view.units[LAST].holds)


@pytest.fixture
async def world(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(test_proven, "CLUSTERS", (*DEV, *PROD))
    rollouts = rollouts_of(brain)
    await brain.commit(test_proven.files(SPEC))
    await settle(brain, rollouts)
    await brain.commit(without("one"))
    await settle(brain, rollouts)
    assert held(brain) == {f"web@{name}" for name in DEV}
    await brain.orders.look()
    made = World(brain, rollouts, brain.view.units[LAST].holds[0])
    await decide(brain, await made.asked(), "approved")
    await brain.answer("dev-5")
    assert owning(brain, "one") == {"dev-5", *PROD}
    yield made
    await made.brain.close()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("word", ["rejected", ""])
async def test_an_earlier_step_proves_nothing_of_what_a_person_rejected_there_or_has_not_decided(
    world: World, word: str, restarted: bool
) -> None:
    await world.edited()
    world.brain.wall.now += 5
    if word:
        await decide(world.brain, await world.asked(), word)
    if restarted:
        await world.restart()
    await world.go_on("dev-5")
    assert owning(world.brain, "one") == {"dev-5", *PROD}
    assert {row.decision for row in await world.brain.state.holds()} <= {"", word}
    row = await world.asked()
    assert {str(request.unit.cluster) for request in row.requests} >= set(PROD), "and all of it is asked about"
    await decide(world.brain, row, "approved")
    await world.go_on()
    assert owning(world.brain, "one") <= {"dev-5"}


@pytest.mark.parametrize("word", ["rejected", ""])
@pytest.mark.parametrize("is_asked_anew", [False, True])
async def test_a_rejection_takes_back_what_an_earlier_step_has_proven(
    world: World, word: str, is_asked_anew: bool
) -> None:
    """The clusters of the later step were told, and are away. What they were told before anybody asked stays else."""
    await world.go_on("dev-5", *PROD)
    refs = {item.ref for item in world.hold.deletions}
    given = {name: world.brain.desired(f"web@{name}").action.permits for name in PROD}
    if not any(given.values()):  # the fifth is under way, and the next step waits for it
        pytest.fail(f"nothing is proven: {given}")
    await world.edited()
    world.brain.wall.now += 5
    if word:
        row = await world.asked()
        await world.brain.state.decide_hold(
            row.id, list_digest=row.list_digest, decision=word, actor="jo", reason="", at=world.brain.wall()
        )
    await (world.edited("again") if is_asked_anew else world.brain.orders.look())
    left = {name for name in PROD if world.brain.desired(f"web@{name}").action.permits & refs}
    assert left == (set() if word else set(PROD))


async def asks(world: World, cluster: str) -> HoldRequest:
    """The own guard of a cluster that was told holds its `one`."""
    brain, name = world.brain, UnitName.parse(f"web@{cluster}")
    known, told = brain.view.units[name], brain.board.books.told(name)
    assert told is not None
    (uid,) = [status.uid for status in known.objects if status.ref.name == "one"]
    item = replace(world.hold.deletions[0], uid=uid)
    hold = HoldRequest(name, told.commit, "prune-budget", "would delete one", (item,))
    worker = brain.workers[cluster]
    worker.sequence += 1
    report = replace(known, bundle=told.bundle, commit=told.commit, holds=(hold,))
    await brain.intake.send(
        Report(
            name.cluster, 1, worker.sequence, brain.wall(), worker.seen, Identity(f"uid-{cluster}"), True,
            units=(report,),
        )
    )  # fmt: skip
    await brain.orders.look()
    return hold


@pytest.mark.parametrize("word", ["approved", "rejected"])
async def test_another_clusters_question_shows_what_is_left_of_an_approved_list_until_all_is_decided(
    world: World, word: str
) -> None:
    """The fifth is suspended amid it, and asks for nothing; both would take the other's approval in turns."""
    await world.fifth()
    await world.go_on("dev-5", *PROD)
    of_prod = await asks(world, "prod-1")
    assert of_prod.commit == world.hold.commit
    for _ in range(2):
        row = await world.asked()
        assert [str(request.unit) for request in row.requests] == ["web@dev-5", "web@prod-1"]
        await world.brain.orders.look()
    await decide(world.brain, row, word)
    for _ in range(2):
        await world.brain.orders.look()
        assert [row.decision for row in await world.brain.state.holds()] == [word]
    approved = [bool(world.brain.desired(f"web@{name}").action.approved) for name in ("dev-5", "prod-1")]
    assert approved == [word == "approved"] * 2


async def test_twin_what_is_gone_of_an_approved_list_is_in_no_further_question(world: World) -> None:
    await world.go_on(*PROD)
    assert owning(world.brain, "one") == set(PROD)
    await asks(world, "prod-1")
    assert [str(request.unit) for request in (await world.asked()).requests] == ["web@prod-1"]


@pytest.mark.parametrize("of", ["web@dev-5", "web@dev-1"])
async def test_of_a_unit_whose_record_was_rebuilt_all_that_was_approved_is_asked_anew(world: World, of: str) -> None:
    """The state may be older than what a person rejected since (R12, R24). A confirmed record alone lets nothing go."""
    await world.fifth()  # it was told, and its try failed
    assert world.brain.desired("web@dev-5").action.approved
    found = Blocker(Standing.HELD, "its cluster", "its record was rebuilt", 0.0, "", ASKS_RECOVERY)
    if of == "web@dev-5":
        await world.fifth(found=found)
    else:
        name = UnitName.parse(of)
        world.brain.view.units[name] = replace(world.brain.view.units[name], blocked_by=(found,))
        await world.brain.orders.look()
    assert {row.decision for row in await world.brain.state.holds()} == {"void"}
    await world.fifth()
    assert not world.brain.desired("web@dev-5").action.approved
    await world.fifth(world.hold)
    await decide(world.brain, await world.asked(), "approved")
    assert world.brain.desired("web@dev-5").action.approved


@pytest.mark.parametrize("how", ["failed", "restarted", "away"])
async def test_twin_what_was_approved_and_is_half_carried_out_goes_on_there_and_on_the_next_step(
    world: World, how: str
) -> None:
    if how != "away":
        await world.fifth()  # its worker was told, and asks no more
    if how == "restarted":
        await world.restart()
    await world.go_on("dev-5")
    assert owning(world.brain, "one") == {"dev-5"}
    assert [row.decision for row in await world.brain.state.holds()] == ["approved"]
    world.brain.workers["dev-5"].seen = -1  # it tries again
    await world.go_on()
    assert owning(world.brain, "one") == set()
    assert {row.decision for row in await world.brain.state.holds()} == {"void"}
