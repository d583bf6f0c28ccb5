"""What the audit log says of a rollback: before anything goes back, and how it went, by whom and by whose policy."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import (
    STEPS,
    clusters,
    fleet_file,
    held,
    order,
    report_ill,
    result,
    rollouts_of,
    settle,
    told,
    web,
)

from fleet.controllers.rollouts import Rollouts
from fleet.core.audit import AuditEntry
from fleet.errors import StateNotWritable

SOAKS = "{steps: [{name: dev, environments: [dev], soak: 9h}, {name: prod, rest: true}]}"


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1."""
    made = rollouts_of(brain)
    await brain.commit({"fleet.yaml": fleet_file(SOAKS), **clusters(), **web("1")})
    await settle(brain, made)
    assert len(held(brain)) == 1
    return made


async def on_dev(brain: Brain, rollouts: Rollouts) -> tuple[str, str, str]:
    """Web 2 is on dev-1. Returns what it held before, what it holds now, and the commit."""
    before = told(brain, "dev-1")
    commit = await brain.commit(web("2"))
    await settle(brain, rollouts)
    assert told(brain, "dev-1") == result(brain) != before
    return before, result(brain), commit


async def log(brain: Brain) -> list[AuditEntry]:
    """What is about rollouts, oldest first."""
    entries = [link.entry for link in await brain.state.audit_entries(limit=1000)]
    return [entry for entry in entries if entry.action.startswith("roll")]


async def test_a_persons_rollback_is_in_the_log_before_it_happens_and_after(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, bad, commit = await on_dev(brain, rollouts)
    let, seen = brain.releases.let, list[AuditEntry]()

    async def watched(*arguments, **named) -> bool:
        seen.extend(await log(brain))
        return await let(*arguments, **named)

    monkeypatch.setattr(brain.releases, "let", watched)
    await order(brain, "rollback", f"web - {commit}")
    await rollouts.look()
    (begun,) = seen
    assert (begun.actor, begun.action, begun.cluster, begun.unit) == ("jo", "rollback", "dev-1", "web@dev-1")
    assert (begun.object, begun.commit, begun.outcome) == (f"bundle {bad} -> {before}", commit, "")
    assert begun.reason == "rollback of web: because"
    assert begun.identity == brain.board.identities.of("dev-1")
    monkeypatch.undo()
    await settle(brain, rollouts)
    asked, done, ended = await log(brain)
    assert asked == begun
    assert (done.unit, done.object, done.outcome) == (begun.unit, begun.object, "done")
    assert (ended.actor, ended.action, ended.outcome) == ("jo", "rollout-rollback", "done")
    assert ended.object == f"overlay web, rollout {commit[:7]}"


async def test_a_rollback_by_policy_names_the_policy_and_what_failed(brain: Brain, rollouts: Rollouts) -> None:
    await brain.commit({"fleet.yaml": fleet_file(f"{{steps: {STEPS}, onFailure: rollback}}")})
    before = told(brain, "dev-1")
    commit = await brain.commit(web("bad"))
    await rollouts.look()
    await brain.answer()
    report_ill(brain, "dev-1")
    await settle(brain, rollouts)
    assert held(brain) == {before}
    begun, done = await log(brain)
    assert [entry.outcome for entry in (begun, done)] == ["", "done"]
    for entry in (begun, done):
        assert (entry.actor, entry.unit, entry.commit) == ("hub", "web@dev-1", commit)
        assert entry.object == f"bundle {result(brain)} -> {before}"
        assert entry.reason.startswith("onFailure: rollback of web: dev-1: ")


async def test_a_cluster_that_keeps_it_is_in_the_log_too(brain: Brain, rollouts: Rollouts) -> None:
    _, bad, commit = await on_dev(brain, rollouts)
    await brain.commit({"clusters/dev-2.yaml": clusters()["clusters/dev-1.yaml"].replace("dev-1", "dev-2")})
    await settle(brain, rollouts)
    await order(brain, "rollback", f"web - {commit}")
    await settle(brain, rollouts)
    (kept,) = [entry for entry in await log(brain) if entry.unit == "web@dev-2"]
    assert kept.object == f"bundle {bad} -> nothing"
    assert kept.outcome == "refused: it has nothing to go back to, and keeps it"


async def test_nothing_goes_back_that_the_log_cannot_take(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, bad, commit = await on_dev(brain, rollouts)
    await order(brain, "rollback", f"web - {commit}")

    async def full(_: AuditEntry) -> None:
        raise StateNotWritable("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(brain.state, "write", full)
        with pytest.raises(StateNotWritable):
            await rollouts.look()
    assert told(brain, "dev-1") == bad
    assert not brain.view.passages.quarantine
    await settle(brain, rollouts)
    assert told(brain, "dev-1") == before


async def test_a_rollback_that_is_overtaken_is_ended_as_that_and_decided_anew(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _, commit = await on_dev(brain, rollouts)
    await order(brain, "rollback", f"web - {commit}")

    async def overtaken(*_, **__) -> bool:
        monkeypatch.undo()
        return False

    monkeypatch.setattr(brain.releases, "let", overtaken)
    await rollouts.look()
    await settle(brain, rollouts)
    assert told(brain, "dev-1") == before
    units = [(entry.unit, entry.outcome) for entry in await log(brain) if entry.unit]
    assert units == [("web@dev-1", each) for each in ("", "superseded", "", "done")]


async def test_orders_that_take_nothing_back_have_a_last_word_and_no_more(brain: Brain, rollouts: Rollouts) -> None:
    _, _, commit = await on_dev(brain, rollouts)
    await order(brain, "pause", commit)
    await settle(brain, rollouts)
    await order(brain, "approve", f"{commit} nope")
    await settle(brain, rollouts)
    await rollouts.look()
    said = [(entry.action, entry.object, entry.outcome) for entry in await log(brain)]
    name = f"rollout {commit[:7]}"
    assert said == [
        ("rollout-pause", name, "done"),
        ("rollout-approve", f"{name} nope", f"refused: rollout of {commit[:7]} has no step nope"),
    ]
