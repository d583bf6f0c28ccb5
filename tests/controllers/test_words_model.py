"""What a person said of a deletion against what a later step may delete, in any order of asking, saying and doing (R9).

What was rejected or is not decided is permitted nowhere in its overlay, whoever asked, also while their workers began
anew and ask nothing yet; what was approved and is half carried out bars nothing that the first of them have proven.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from controllers.test_deletions import WITH, WITHOUT, World, X, Y, web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet.core.ids import UnitName
from fleet.core.status import HoldRequest, PendingDeletion

FIRST, LATER = web(0, 1, 2, 3), web(4, 5, 6, 7)  # more of each than the budget lets go by itself
OWN = FIRST[:3]  # what the budget lets go; but for the first one, their workers' own guards hold it
ASKS = PendingDeletion(X, "u", None)
Say, Do, Go, Again = ("say", "approved"), ("do", 0), ("go", 0), ("restart", 0)
ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["approved", "approved", "rejected", ""])),
    st.tuples(st.sampled_from(["do", "go", "go and do"]), st.integers(0, 3)),
    st.sampled_from([Again, ("hour", 0)]),
    st.tuples(st.just("began anew"), st.integers(0, 3)),
)


@dataclass
class Model:
    """Who was asked and still has it, and what a person said to that last."""

    words: dict[UnitName, str] = field(default_factory=lambda: dict.fromkeys(FIRST, ""))
    is_proven: bool = False
    lists: int = 0

    def lets_go(self) -> bool:
        return self.is_proven and all(word == "approved" for word in self.words.values())


def asks(world: World, unit: UnitName) -> None:
    """Its own guard holds it."""
    hold = HoldRequest(unit, WITHOUT.commit, "prune-budget", "", (ASKS,))
    world.reports[unit] = replace(world.reports[unit], holds=(hold,))


async def begin(own: bool) -> tuple[World, Model]:
    """The first step is told; what it has still is held, by the hub or by the workers' own guards."""
    world, model = World(), Model()
    for unit in (*FIRST, *LATER):
        world.says(unit, WITH, X, Y)
    first = OWN if own else FIRST
    assert await world.release([*first], WITHOUT) == (set(first) if own else set())
    for unit in first:
        world.guided.guides[unit.cluster] = WITH
        world.says(unit, WITHOUT, X, Y)
    if own:
        world.says(OWN[0], WITHOUT, Y)
        await world.audit(OWN[0])
        model = Model(dict.fromkeys(OWN[1:], ""), is_proven=True)
        for unit in model.words:
            asks(world, unit)
        await world.ask(sorted(model.words), "", "list 0")
    return world, model


async def play(actions: list[tuple[str, object]], own: bool) -> None:
    world, model = await begin(own)
    for action, of in actions:
        if action == "say" and model.words:
            model.lists += 1
            await world.ask(sorted(model.words), str(of), f"list {model.lists}")
            model.words = dict.fromkeys(model.words, str(of))
        elif action == "do" and model.words.get(FIRST[of]) == "approved":
            world.says(FIRST[of], WITHOUT, Y)
            await world.audit(FIRST[of])
            del model.words[FIRST[of]]
            model.is_proven = True
        elif action == "restart":
            await world.restart()
        elif action == "began anew" and FIRST[of] in model.words:  # suspended, say, so that it judges nothing
            world.reports[FIRST[of]] = replace(world.reports[FIRST[of]], holds=(), unjudged=WITHOUT.commit)
        elif action == "hour" and not own:  # else what the budget lets go needs no proof
            world.now += 3700
        elif action in ("go", "go and do") and X in {each.ref for each in world.reports[LATER[of]].objects}:
            unit, lets_go = LATER[of], model.lets_go()
            assert await world.release([unit], WITHOUT) == ({unit} if lets_go else set()), (unit, model)
            if not lets_go:
                model.words.setdefault(unit, "")  # its worker asks by now, in the same hold
            is_gone = lets_go and action == "go and do"
            world.says(unit, WITHOUT, *((Y,) if is_gone else (X, Y)))
            if is_gone:
                model.words.pop(unit, None)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(ACTIONS, max_size=14), st.booleans())
@example([Say, Do, Go], False)
@example([Say, Do, ("say", "rejected"), Go], False)
@example([Say, Do, ("say", ""), Go], False)
@example([Say, Do, Go, ("say", "rejected"), ("say", ""), Again, Go], False)
@example([Say, ("began anew", 1), ("began anew", 2), Again, Go], True)
@example([("began anew", 1), ("began anew", 2), Again, Go], True)
@example([("say", "rejected"), ("began anew", 1), ("began anew", 2), Again, Go], True)
def test_a_later_step_deletes_what_is_proven_and_nothing_that_a_person_has_not_approved_elsewhere(
    actions: list[tuple[str, object]], own: bool
) -> None:
    asyncio.run(play(actions, own))
