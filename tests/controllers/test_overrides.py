"""What an override covers: the one result that was the newest when it was asked for, and nothing that came later."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import STEPS, clusters, order, report_ill, result, rollouts_of, settle, told, web

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import ClusterName, UnitName
from fleet.core.overrides import OVERRIDE_SECONDS
from fleet.core.rollout import SyncRequest
from fleet.ports.state import OperationRow

SOAKS = STEPS.replace("[dev]}", "[dev], soak: 9h}")
UNIT = UnitName.parse("web@prod-1")


def fleet_file(approvals: int) -> dict[str, str]:
    return {
        "fleet.yaml": "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
        f"spec:\n  overrides: {{approve: {approvals}}}\n  environments: [dev, prod]\n  rollout: {{steps: {SOAKS}}}\n"
    }


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1, and web 2 waits on dev-1; an override needs one other person."""
    made = rollouts_of(brain)
    await brain.commit({**fleet_file(1), **clusters(), **web("1")})
    await settle(brain, made)
    await brain.commit(web("2"))
    await settle(brain, made)
    assert told(brain, "dev-1") == result(brain) != told(brain, "prod-1")
    return made


async def ask(brain: Brain) -> None:
    row = OperationRow("op-1", "sync", str(UNIT), "ann", brain.wall(), "the shop is down", override=True)
    await brain.state.add_operation(row)
    await brain.commits.fetch_once()


async def approve(brain: Brain) -> None:
    await brain.state.add_operation(OperationRow("op-2", "approve-override", "op-1", "bob", brain.wall()))


async def log(brain: Brain) -> list[tuple[str, str, str, str]]:
    """What the audit log has of overrides."""
    entries = [link.entry for link in await brain.state.audit_entries() if link.entry.action == "sync-override"]
    return [(entry.actor, entry.cluster, entry.object, entry.outcome) for entry in entries]


async def go_on(brain: Brain, rollouts: Rollouts, *silent: str) -> tuple[str, str]:
    """Everything that follows; how the override ended."""
    for _ in range(5):
        await brain.orders.look()
        await rollouts.look()
        await brain.answer(*silent)
    row = await brain.state.operation("op-1")
    assert row is not None
    return row.outcome, row.message


async def test_what_was_approved_goes_ahead_and_the_harmless_way_is_open(brain: Brain, rollouts: Rollouts) -> None:
    await ask(brain)
    assert (await go_on(brain, rollouts))[0] == ""
    await approve(brain)
    assert await log(brain) == []
    assert (await go_on(brain, rollouts))[0] == "done"
    assert told(brain, "prod-1") == result(brain) != told(brain, "prod-2")
    assert await log(brain) == [("ann", "prod-1", "op-1", "done")]


async def test_an_approval_for_what_was_seen_never_brings_a_newer_result(brain: Brain, rollouts: Rollouts) -> None:
    before = told(brain, "prod-1")
    await ask(brain)
    await go_on(brain, rollouts)
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    await approve(brain)
    outcome, message = await go_on(brain, rollouts)
    assert (outcome, "is the newest now; ask anew" in message) == ("refused", True)
    assert told(brain, "prod-1") == before
    assert await log(brain) == [("ann", "prod-1", "op-1", f"refused: {message}")]


async def test_an_override_that_stays_open_takes_no_newer_commit_along(brain: Brain, rollouts: Rollouts) -> None:
    await ask(brain)
    await approve(brain)
    await go_on(brain, rollouts, "prod-1")  # it is away
    second = result(brain)
    assert told(brain, "prod-1") == second
    brain.repo.commit(web("3"))
    await brain.commits.fetch_once()
    assert (await go_on(brain, rollouts, "prod-1"))[0] == "refused"
    assert told(brain, "prod-1") == second != result(brain)


@pytest.mark.parametrize("after", [True, False])
async def test_a_pause_that_came_later_ends_it_and_one_that_was_known_does_not(
    brain: Brain, rollouts: Rollouts, after: bool
) -> None:
    before = told(brain, "prod-1")
    if after:
        await ask(brain)
        await go_on(brain, rollouts)
    await order(brain, "pause", brain.view.head.commit)
    await rollouts.look()
    if not after:
        await ask(brain)
    await approve(brain)
    outcome, message = await go_on(brain, rollouts)
    assert (outcome, "stopped after it was asked for: because" in message) == (
        ("refused", True) if after else ("done", False)
    )
    assert (told(brain, "prod-1") == before) is after


async def test_a_pause_that_came_later_ends_it_though_a_halt_was_known(brain: Brain, rollouts: Rollouts) -> None:
    before = told(brain, "prod-1")
    report_ill(brain, "dev-1")
    await rollouts.look()
    assert brain.view.passages.all[-1].halted is not None
    await ask(brain)
    await brain.orders.look()
    await rollouts.look()
    await order(brain, "pause", brain.view.head.commit)
    await rollouts.look()
    await approve(brain)
    await brain.orders.look()
    row = await brain.state.operation("op-1")
    assert row is not None
    assert (row.outcome, "stopped after it was asked for: because" in row.message) == ("refused", True)
    assert told(brain, "prod-1") == before


async def test_what_nobody_approved_within_a_day_is_over_and_a_restart_forgets_nothing(
    brain: Brain, rollouts: Rollouts
) -> None:
    await ask(brain)
    await go_on(brain, rollouts)
    bound = brain.view.passages.overrides["op-1"]
    assert bound.bundle == result(brain)
    again = rollouts_of(brain)
    await again.start()
    assert brain.view.passages.overrides["op-1"] == bound
    brain.wall.now += OVERRIDE_SECONDS
    await approve(brain)
    await brain.orders.look()
    row = await brain.state.operation("op-1")
    assert row is not None
    assert (row.outcome, "within 24 h" in row.message) == ("refused", True)


CLOSED = "{windows: [{kind: deny, schedule: '* * * * *', duration: 2m, timeZone: UTC}]}"


async def test_a_cluster_is_told_which_result_an_override_is_for_before_a_newer_one_reaches_it(brain: Brain) -> None:
    """A commit is published amid its fetch, and the override is withdrawn by the next look at the orders."""
    made = rollouts_of(brain)
    at_once = {path: text.replace(SOAKS, "[]") for path, text in fleet_file(1).items()}
    await brain.commit({**at_once, **clusters(), **web("1", sync=CLOSED)})
    await settle(brain, made)
    await ask(brain)
    await made.look()  # it is bound to what its cluster is told
    await approve(brain)
    await brain.orders.look()
    asked_for = result(brain)
    (request,) = requests_to(brain, "prod-1")
    assert (request.override, request.bundle, told(brain, "prod-1")) == (True, asked_for, asked_for)
    brain.repo.commit(web("2", sync=CLOSED))
    await brain.commits.fetch_once()
    (request,) = requests_to(brain, "prod-1")
    assert request.bundle == asked_for != told(brain, "prod-1") == result(brain)
    outcome, message = await go_on(brain, made, "prod-1")
    assert (outcome, "is the newest now; ask anew" in message) == ("refused", True)


def requests_to(brain: Brain, cluster: str) -> tuple[SyncRequest, ...]:
    desired = brain.board.publisher.slot(ClusterName(cluster)).desired
    return desired.requests if desired is not None else ()


@pytest.mark.parametrize("approvals", [0, 1])
async def test_an_override_of_a_unit_that_was_never_built_is_refused_with_its_problem(
    brain: Brain, approvals: int
) -> None:
    """There is no result that its cluster could be told with it: it stayed open for a day. Nobody is asked for it."""
    made = rollouts_of(brain)
    files = web("1")
    broken = {path: "resources: [missing.yaml]\n" for path in files if path.endswith("kustomization.yaml")}
    assert broken
    await brain.commit({**fleet_file(approvals), **clusters(), **files, **broken})
    await settle(brain, made)
    await ask(brain)
    outcome, message = await go_on(brain, made)
    assert (outcome, message.startswith("waits: ResourceMissing: ")) == ("refused", True)
    assert "missing.yaml" in message
    assert await log(brain) == [("ann", "prod-1", "op-1", f"refused: {message}")]


async def test_an_override_of_a_unit_that_broke_is_told_to_its_cluster_with_what_it_holds(brain: Brain) -> None:
    made = rollouts_of(brain)
    at_once = {path: text.replace(SOAKS, "[]") for path, text in fleet_file(0).items()}
    await brain.commit({**at_once, **clusters(), **web("1")})
    await settle(brain, made)
    held = told(brain, "prod-1")
    files = web("1")
    await brain.commit({path: "resources: [missing.yaml]\n" for path in files if path.endswith("kustomization.yaml")})
    await settle(brain, made)
    await ask(brain)
    await made.look()
    await brain.orders.look()
    (request,) = requests_to(brain, "prod-1")
    assert (request.override, request.bundle) == (True, held)
