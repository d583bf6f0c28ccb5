"""A cluster that is Healthy and not Healthy in turns: no failure, and what holds its step up is said."""

from __future__ import annotations

from core.three_clusters import DEV, DEV_STEP, HERE, ONE, TWO, WEB, World

from fleet.core.ids import ClusterName
from fleet.core.passage import Passages, decode_passages, encode_passages
from fleet.core.rollout_facts import Condition
from fleet.core.rollout_policy import Step

SOAKS = Step("all", HERE, rest=True, soak_seconds=600.0)


def flapping(times: int) -> World:
    """Every ten minutes prod-2 is on its way for one; looked at twice a minute."""
    world = World(SOAKS)
    for number in range(times * 20 + 3):
        is_busy = number >= 20 and number % 20 < 2
        world.look(number * 30.0, web=world.facts(WEB, {TWO: Condition.BUSY} if is_busy else {}))
    return world


def test_it_says_how_often_a_soak_began_anew_for_whom_and_when() -> None:
    world = flapping(5)
    now = (5 * 20 + 4) * 30.0
    (step,) = world.look(now).steps
    assert "began anew 5 times, last 2m00s ago for prod-2" in step.why
    assert (world.last.outcome, world.last.halted) == ("", None), "no failure"


def test_twin_a_soak_that_was_never_disturbed_says_nothing_of_it() -> None:
    world = World(DEV_STEP, SOAKS)
    world.look()
    world.look(1.0)
    (_, step) = world.look(2.0).steps
    assert step.why == "soaks for 10m00s more"
    assert world.has(DEV, ONE, TWO)


def test_it_is_kept_over_a_restart_and_under_another_name_and_stays_one_entry() -> None:
    row = flapping(5).last.rows[WEB]
    assert len(row.anew) == 1
    again = decode_passages(encode_passages(Passages((flapping(5).last,)))).all[-1]
    assert again.rows[WEB].anew == row.anew
    nine = ClusterName("prod-9")
    assert again.renamed(TWO, nine).rows[WEB].anew["all"].cluster == nine
