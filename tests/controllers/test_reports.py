"""Reports and what people ordered: identities, operations, suspensions, and each once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from controllers.rig import Brain
from hubworld import AT_ONCE, cluster_file, config_map, overlay

from fleet.core.ids import ClusterName, Identity, UnitName
from fleet.core.rollout import Apply
from fleet.core.status import HoldRequest, Report
from fleet.core.sync_policy import Suspension
from fleet.errors import StateNotWritable
from fleet.ports.state import OPEN, OperationRow

FILES = {f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "eu-2")} | overlay(
    "overlays/web", {"one": config_map("one", "1")}
)


class Counting:
    """A fake around the real state that counts what is asked of it."""

    def __init__(self, state) -> None:
        self._state, self.calls = state, []

    def __getattr__(self, name: str):
        self.calls.append(name)
        return getattr(self._state, name)


async def test_the_identity_of_the_first_contact_is_recorded_once_and_audited(brain: Brain) -> None:
    await brain.commit(FILES)
    assert await brain.state.identities() == {"eu-1": "uid-eu-1", "eu-2": "uid-eu-2"}
    entries = [link.entry.action for link in await brain.state.audit_entries()]
    assert entries.count("record-identity") == 2
    assert brain.board.publisher.slot(ClusterName("eu-1")).desired.identity == "uid-eu-1"


async def test_a_report_of_a_known_cluster_asks_nothing_of_the_state(brain: Brain) -> None:
    await brain.commit(FILES)
    counting = Counting(brain.state)
    brain.intake._state = counting
    report = Report(ClusterName("eu-1"), 1, 99, brain.wall(), identity=Identity("uid-eu-1"), reachable=True)
    await brain.intake.send(report)
    assert counting.calls == ["put_reports"]
    await brain.intake.send(report)
    assert counting.calls == ["put_reports"]


async def test_a_sync_fetches_first_and_its_operation_ends_once(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.state.add_operation(OperationRow("op-1", "sync", "web@eu-1", "jo", brain.wall()))
    await brain.orders.look()
    assert await brain.answer() == {}
    await brain.commits.fetch_once()
    await brain.orders.look()
    assert await brain.answer() == {"eu-1": []}
    ended = await brain.state.operation("op-1")
    assert ended.outcome == "done"
    assert not [link for link in await brain.state.audit_entries() if link.entry.action.startswith("sync")]
    assert not await brain.state.end_operation("op-1", "refused", "", brain.wall())
    await brain.orders.look()
    assert brain.board.publisher.slot(ClusterName("eu-1")).desired.requests == ()


async def test_a_sync_of_a_unit_that_is_gone_is_refused(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.state.add_operation(OperationRow("op-1", "sync", "gone@eu-1", "jo", brain.wall()))
    await brain.commits.fetch_once()
    await brain.orders.look()
    assert (await brain.state.operation("op-1")).outcome == "refused"


async def test_a_sync_of_a_unit_that_waits_for_its_step_is_refused_with_the_reason(brain: Brain) -> None:
    steps = "steps: [{name: ok, approve: 1}, {name: all, rest: true}]"
    await brain.commit({**FILES, "fleet.yaml": AT_ONCE.replace("steps: []", steps)})
    brain.repo.commit({"overlays/web/one.yaml": config_map("one", "2")})
    await brain.state.add_operation(OperationRow("op-1", "sync", "web@eu-1", "jo", brain.wall()))
    await brain.commits.fetch_once()
    await brain.orders.look()
    ended = await brain.state.operation("op-1")
    assert (ended.outcome, ended.message) == ("refused", "waits: for its step of the rollout")
    assert brain.board.publisher.slot(ClusterName("eu-1")).desired.requests == ()


async def test_a_suspension_reaches_its_scope_alone_and_is_lifted(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.state.put_suspension(Suspension("disk swap", "jo", "", "cluster eu-1"))
    await brain.orders.look()
    assert await brain.answer() == {"eu-1": ["web@eu-1"]}
    assert [each.reason for each in brain.desired("web@eu-1").policy.suspensions] == ["disk swap"]
    await brain.state.lift_suspensions("cluster eu-1", ["jo"])
    await brain.orders.look()
    assert brain.desired("web@eu-1").policy.suspensions == ()


async def test_a_suspension_reaches_its_scope_also_where_the_rest_cannot_be_written_down(brain: Brain) -> None:
    await brain.commit(FILES)
    full, put_hold = StateNotWritable("the state cannot be written", next_step="make room"), brain.state.put_hold

    async def refuse(_row: object) -> None:
        raise full

    report = Report(ClusterName("eu-2"), 1, 99, brain.wall(), identity=Identity("uid-eu-2"), reachable=True)
    unit = brain.view.units[UnitName.parse("web@eu-2")]
    asks = HoldRequest(unit.unit, unit.commit, "prune-budget", "would delete 30 objects", ())
    await brain.intake.send(replace(report, units=(replace(unit, holds=(asks,)),)))
    brain.state.put_hold = refuse
    await brain.state.put_suspension(Suspension("incident", "jo", "", "fleet"))
    with pytest.raises(StateNotWritable):
        await brain.orders.look()
    assert [each.reason for each in brain.desired("web@eu-1").policy.suspensions] == ["incident"]
    brain.state.put_hold = put_hold
    await brain.orders.look()
    assert [row.commit for row in await brain.state.holds(decisions=OPEN)] == [unit.commit]


async def test_a_rename_lets_orders_be_read_again_under_the_new_name(brain: Brain) -> None:
    await brain.commit(FILES)
    brain.bells.orders.clear()
    await brain.intake.rename(ClusterName("eu-2"), ClusterName("eu-9"))
    assert brain.bells.orders.is_set()


LEFT = ClusterName("eu-2")
LEAVES, RETURNS = {"clusters/eu-2.yaml": None}, {"clusters/eu-2.yaml": FILES["clusters/eu-2.yaml"]}


async def test_a_cluster_that_left_is_forgotten(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.commit(LEAVES)
    await brain.intake.forget(LEFT)
    assert await brain.state.identities() == {"eu-1": "uid-eu-1"}
    assert (brain.board.identities.of(LEFT), brain.desired("web@eu-2")) == (None, None)
    assert LEFT not in brain.view.clusters
    assert brain.desired("web@eu-1") is not None


async def test_a_cluster_that_cannot_be_forgotten_in_the_state_is_forgotten_nowhere(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.commit(LEAVES)

    async def full(cluster: ClusterName) -> None:
        raise StateNotWritable("the state cannot be written", next_step="free space")

    brain.state.forget_cluster = full
    with pytest.raises(StateNotWritable):
        await brain.intake.forget(LEFT)
    assert brain.board.identities.of(LEFT) == "uid-eu-2"
    assert LEFT in brain.view.clusters


async def test_a_cluster_that_came_back_is_not_forgotten(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.commit(LEAVES)
    brain.repo.commit(RETURNS)
    await brain.commits.fetch_once()
    await brain.intake.forget(LEFT)
    assert (await brain.state.identities())[LEFT] == brain.board.identities.of(LEFT) == "uid-eu-2"
    assert isinstance(brain.desired("web@eu-2").action, Apply)


async def test_a_cluster_that_comes_back_while_it_is_being_forgotten_gets_its_orders(brain: Brain) -> None:
    await brain.commit(FILES)
    await brain.commit(LEAVES)
    forget, begun, may_end = brain.state.forget_cluster, asyncio.Event(), asyncio.Event()

    async def slowly(cluster: ClusterName) -> None:
        await forget(cluster)
        begun.set()
        await may_end.wait()

    brain.state.forget_cluster = slowly
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(brain.intake.forget(LEFT))
        await begun.wait()
        brain.repo.commit(RETURNS)
        fetch = tasks.create_task(brain.commits.fetch_once())
        await asyncio.wait({fetch}, timeout=1)  # as far as it comes meanwhile
        assert LEFT in brain.view.fleet.clusters
        may_end.set()
    assert isinstance(brain.desired("web@eu-2").action, Apply)
    brain.workers.clear()
    assert (await brain.answer())["eu-2"] == ["web@eu-2"]
    await brain.board.publish()
    assert await brain.state.identities() == {"eu-1": "uid-eu-1", "eu-2": "uid-eu-2"}


async def test_news_reach_every_listener(brain: Brain) -> None:
    first, second = brain.bells.news.count, brain.bells.news.count
    await brain.commit(FILES)
    assert await brain.bells.news.after(first) == await brain.bells.news.after(second) > first
