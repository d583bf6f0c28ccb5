"""The refusal table: every rule has its guards, every guard its attack and its twin, and switched off it is missed.

Here a handful is switched off; all of them by `python -m safety guards`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safety.guards import CASES
from safety.mutate import ROOT, Copy, NotThere, always, gives, never, rewritten

from fleet import errors
from fleet.core.ids import ClusterName
from fleet.core.refusals import GUARDS, rule_of
from fleet.errors import OwnedByOther, StateNotWritable
from fleet.ownership.local import LocalOwnership
from fleet.store.memory import MemoryState

HOLDS = {"prune-budget", "prune-confirm", "precious-kind", "sharp-fall"}
SHORT = ("the same deletion on many clusters", "a precious kind", "another incarnation is not deleted")


def test_every_rule_has_a_guard_and_every_guard_a_case_of_its_own() -> None:
    assert {*(f"R{number}" for number in range(1, 33)), "R43"} <= {rule for guard in GUARDS for rule in guard.rules}
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
    assert set(CASES) == {guard.name for guard in GUARDS}


def test_what_a_guard_says_is_an_error_or_a_hold() -> None:
    for guard in GUARDS:
        for word in guard.says:
            assert word in HOLDS or issubclass(getattr(errors, word), errors.FleetError)
    assert (rule_of("IdentityMismatch"), rule_of("precious-kind"), rule_of("ClusterUnreachable")) == ("R1", "R10", "")


def test_what_is_switched_off_stands_in_the_code() -> None:
    for guard in GUARDS:
        module, _, qualname = guard.decides.partition(":")
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert rewritten(source, qualname, CASES[guard.name].off) != source, guard.name


@pytest.mark.timeout(300)  # it collects half of all tests
def test_every_attack_and_every_twin_is_a_test() -> None:
    named = {test for case in CASES.values() for test in (*case.attacks, *case.twins)}
    assert all(case.attacks and case.twins for case in CASES.values())
    files = sorted({test.partition("::")[0] for test in named})
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, check=False)
    there = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert named - there == set(), done.stdout[-2000:]


@pytest.mark.timeout(300)
def test_a_guard_that_is_switched_off_is_missed(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for name in SHORT:
        guard, case = next(guard for guard in GUARDS if guard.name == name), CASES[name]
        copy.switch_off(guard.decides, case.off)
        ran = copy.run(case.attacks)
        assert (ran.code, bool(ran.failed)) == (1, True), f"{name}: {ran.words}"
        copy.restore(guard.decides)
    assert copy.run([test for name in SHORT for test in (*CASES[name].attacks, *CASES[name].twins)]).code == 0


def test_a_change_that_finds_nothing_is_said() -> None:
    source = "def judge(x):\n    if x > 1:\n        raise ValueError(x)\n    return [y for y in x if y]\n"
    assert "if False" in rewritten(source, "judge", (never("x > 1"),))
    assert "for y in x]" in rewritten(source, "judge", (always("y"),))
    assert rewritten(source, "judge", (gives("None"),)) == "def judge(x):\n    return None"
    for qualname, change in (("judge", never("x > 2")), ("other", gives("None"))):
        with pytest.raises(NotThere):
            rewritten(source, qualname, (change,))


# Attacks that no other test made


async def test_a_fence_whose_worker_was_ended_lets_nothing_pass() -> None:
    ownership = LocalOwnership(MemoryState())
    first = await ownership.take(ClusterName("eu-1"))
    second = await ownership.take(ClusterName("eu-1"))
    with pytest.raises(OwnedByOther):
        await first.check()
    assert await second.check() > first.epoch


async def test_a_fence_in_force_gives_its_epoch() -> None:
    fence = await LocalOwnership(MemoryState()).take(ClusterName("eu-1"))
    assert await fence.check() == fence.epoch


class FullDisk(MemoryState):
    """A state that cannot be written while `full`."""

    full = False

    async def set_value(self, name: str, value: str) -> None:
        if self.full:
            raise StateNotWritable("the state cannot be written", why="no space left on device", next_step="make room")
        await super().set_value(name, value)


async def test_no_fence_lets_a_write_pass_while_the_state_cannot_be_written_and_all_do_once_it_can() -> None:
    state = FullDisk()
    ownership = LocalOwnership(state)
    early, late = [await ownership.take(ClusterName(name)) for name in ("eu-1", "us-1")]
    await ownership.prove()
    state.full = True
    with pytest.raises(StateNotWritable):
        await ownership.prove()
    for fence in (early, late):
        with pytest.raises(StateNotWritable) as refused:
            await fence.check()
        assert (refused.value.why, refused.value.next_step) == ("no space left on device", "make room")
    state.full = False
    await ownership.prove()
    assert [await fence.check() for fence in (early, late)] == [early.epoch, late.epoch]
