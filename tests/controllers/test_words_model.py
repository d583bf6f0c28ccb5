"""What a person said of a deletion against what a later step may delete, in any order of asking, saying and doing (R9).

What was rejected or is not decided is permitted nowhere in its overlay; what was approved and is half carried out bars
nothing that the first of them have proven.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from controllers.test_deletions import WITH, WITHOUT, World, X, Y, web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet.core.ids import UnitName

FIRST, LATER = web(0, 1, 2, 3), web(4, 5, 6, 7)  # more of each than the budget lets go by itself
Say, Do, Go, Again = ("say", "approved"), ("do", 0), ("go", 0), ("restart", 0)
ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["approved", "approved", "rejected", ""])),
    st.tuples(st.sampled_from(["do", "go", "go and do"]), st.integers(0, 3)),
    st.sampled_from([Again, ("hour", 0)]),
)


@dataclass
class Model:
    """Who was asked and still has it, and what a person said to that last."""

    words: dict[UnitName, str] = field(default_factory=lambda: dict.fromkeys(FIRST, ""))
    is_proven: bool = False
    lists: int = 0

    def lets_go(self) -> bool:
        return self.is_proven and all(word == "approved" for word in self.words.values())


async def play(actions: list[tuple[str, object]]) -> None:
    world, model = World(), Model()
    for unit in (*FIRST, *LATER):
        world.says(unit, WITH, X, Y)
    assert await world.release(FIRST, WITHOUT) == set()
    for unit in FIRST:
        world.guided.guides[unit.cluster] = WITH
        world.says(unit, WITHOUT, X, Y)
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
        elif action == "hour":
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
@given(st.lists(ACTIONS, max_size=14))
@example([Say, Do, Go])
@example([Say, Do, ("say", "rejected"), Go])
@example([Say, Do, ("say", ""), Go])
@example([Say, Do, Go, ("say", "rejected"), ("say", ""), Again, Go])
def test_a_later_step_deletes_what_is_proven_and_nothing_that_a_person_has_not_approved_elsewhere(
    actions: list[tuple[str, object]],
) -> None:
    asyncio.run(play(actions))
