"""What units hold, or go back to, can still be read however much was rendered since; and what if it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from controllers.rig import Brain
from controllers.test_rollback_evidence import log
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
from hubworld import AT_ONCE
from testbed.gitrepo import GitRepo

from fleet.controllers.books import Books
from fleet.controllers.identities import Identities
from fleet.controllers.rollouts import Rollouts
from fleet.core.documents import digest_of_bytes
from fleet.core.ids import ClusterName, Digest, Revision, UnitName
from fleet.core.passage import Last, Passage, Passages, Row
from fleet.core.results import EMPTY_BUNDLE, Rendered, RenderProblem
from fleet.core.rollout import Apply
from fleet.core.status import Health, Sync, UnitReport
from fleet.core.view import Head, View
from fleet.errors import StateDamaged
from fleet.render import results
from fleet.render.tools import Tool

DEV = UnitName.parse("web@dev-1")
ROLLBACK = f"{{steps: {STEPS}, onFailure: rollback}}"


@pytest.fixture
async def brain(tmp_path: Path, git_repo: GitRepo, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Brain]:
    """A hub whose cache holds a few results, and whose memory holds one."""
    monkeypatch.setattr(results, "_BUNDLE_BYTES", 1)
    git_repo.commit({"fleet.yaml": AT_ONCE})
    made = Brain(tmp_path, git_repo, tool, cache_bytes=20_000)
    await made.board.start()
    yield made
    await made.close()


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1."""
    made = rollouts_of(brain)
    await brain.commit({"fleet.yaml": fleet_file(ROLLBACK), **clusters(), **web("1")})
    await settle(brain, made)
    assert len(held(brain)) == 1
    return made


async def render_others(brain: Brain) -> None:
    """As other overlays do over weeks."""
    for number in range(20):
        await brain.renderer._results._cache.put(digest_of_bytes(b"other %d" % number), b"x" * 4_000)


async def read(brain: Brain, digest: str) -> None:
    """As a worker does whose library does not have it; raises StateDamaged."""
    await brain.board.feed(ClusterName("dev-1")).bundle(Digest(digest))


async def on_dev(brain: Brain, rollouts: Rollouts, value: str) -> str:
    """Another result is on dev-1 alone; returns the one before."""
    before = told(brain, "dev-1")
    await brain.commit(web(value))
    await rollouts.look()
    await brain.answer()
    assert told(brain, "dev-1") == result(brain) != before == told(brain, "prod-1")
    return before


def is_applied(brain: Brain, cluster: str, digest: str) -> bool:
    order = brain.desired(f"web@{cluster}")
    return order is not None and isinstance(order.action, Apply) and order.action.bundle == digest


async def lose(brain: Brain, digest: str) -> None:
    """Its entry is damaged, and nothing remembers it."""
    (brain.root / "cache" / digest[:2] / digest).write_bytes(b"damaged")
    with pytest.raises(StateDamaged):
        await read(brain, digest)


def test_what_is_in_use_is_what_units_hold_or_shall_hold_and_what_a_rollback_goes_back_to() -> None:
    view = View(Head("main"))
    books = Books(view, Identities())

    def some(name: str) -> Rendered:
        return Rendered(Digest(name), Revision("c"))

    def row(before: str) -> Row:
        return Row({DEV.cluster: "target"}, before={DEV.cluster: some(before)})

    ended = Passage(Revision("b"), 0.0, {DEV.overlay: row("ended")}, outcome="done")
    view.passages = Passages(
        (ended, Passage(Revision("c"), 0.0, {DEV.overlay: row("under way")})),
        last={DEV.overlay: Last(Revision("a"), 0.0, row("long over"))},
    )
    assert books.in_use() == {"ended", "under way", "long over"}
    books.held[DEV], books.waiting[DEV], books.results[DEV] = some("held"), some("waits"), some("newest")
    assert books.in_use() == {"ended", "under way", "long over", "held", "waits", "newest"}
    books.results[DEV] = RenderProblem("RenderFailed", "it does not build", Revision("c"))
    assert books.in_use() == {"ended", "under way", "long over", "held", "waits"}
    report = UnitReport(DEV, Revision("a"), Digest("on the cluster"), Sync.SYNCED, Health.HEALTHY, 0.0)
    view.units[DEV] = report  # as it waits for its window
    assert books.in_use() == {"ended", "under way", "long over", "held", "waits", "on the cluster"}
    view.units[DEV] = replace(report, bundle=None)
    assert books.in_use() == {"ended", "under way", "long over", "held", "waits"}


async def test_a_rollback_goes_back_to_what_was_rendered_long_ago(brain: Brain, rollouts: Rollouts) -> None:
    before = await on_dev(brain, rollouts, "bad")
    await render_others(brain)
    report_ill(brain, "dev-1")
    await settle(brain, rollouts)
    assert held(brain) == {before}
    await read(brain, before)


async def test_what_was_done_long_ago_can_still_be_taken_back_by_a_person(brain: Brain, rollouts: Rollouts) -> None:
    before = await on_dev(brain, rollouts, "2")
    await settle(brain, rollouts)
    assert held(brain) == {result(brain)}
    await render_others(brain)
    await order(brain, "rollback", "web")
    await settle(brain, rollouts)
    assert held(brain) == {before}
    await read(brain, before)


async def test_what_nothing_holds_or_goes_back_to_is_swept(brain: Brain, rollouts: Rollouts) -> None:
    first = await on_dev(brain, rollouts, "2")
    await settle(brain, rollouts)
    for number in range(3, 9):  # the latest five that ended can go back, and the one before them
        await on_dev(brain, rollouts, str(number))
        await settle(brain, rollouts)
    await render_others(brain)
    in_use = brain.board.books.in_use()
    assert {result(brain), told(brain, "dev-1")} < in_use
    for digest in in_use:
        await read(brain, digest)
    with pytest.raises(StateDamaged):
        await read(brain, first)
    entries = [path.stat().st_size for path in (brain.root / "cache").rglob("*") if path.is_file()]
    assert sum(entries) <= brain.cache_bytes


async def test_a_hub_that_starts_anew_knows_what_units_wait_on(brain: Brain, rollouts: Rollouts) -> None:
    await brain.commit({"fleet.yaml": fleet_file()})  # a failure halts, and takes nothing back
    before = await on_dev(brain, rollouts, "2")
    report_ill(brain, "dev-1")
    await rollouts.look()
    await render_others(brain)
    made = await brain.restart()
    await rollouts_of(made).start()
    await made.commits.resume()
    assert is_applied(made, "prod-1", before)
    await made.close()


async def test_a_rollback_to_what_cannot_be_read_is_not_done_and_stays_halted(brain: Brain, rollouts: Rollouts) -> None:
    before = await on_dev(brain, rollouts, "bad")
    bad = result(brain)
    await lose(brain, before)
    report_ill(brain, "dev-1")
    await rollouts.look()
    passage = brain.view.passages.all[-1]
    assert passage.outcome == ""
    assert passage.halted is not None
    assert passage.halted.unit == DEV
    for words in (f"the rendered result {before[:12]} is not there", "does not verify", "revert it in Git"):
        assert words in passage.halted.reason
    assert brain.board.books.held[DEV].bundle == bad == told(brain, "dev-1")
    assert not brain.view.passages.quarantine
    assert not await log(brain), "nothing went back"
    (said,) = [row.event.message for row in await brain.state.events() if "halted" in row.event.message]
    assert "is not there" in said
    for _ in range(3):
        await rollouts.look()
    assert brain.view.passages.all[-1].halted == passage.halted, "it is halted since then"
    await brain.commit(web("1"))
    await settle(brain, rollouts)
    assert held(brain) == {before}
    await read(brain, before)


async def test_what_can_be_read_again_is_taken_back_at_last(brain: Brain, rollouts: Rollouts) -> None:
    before = await on_dev(brain, rollouts, "bad")
    entry = brain.root / "cache" / before[:2] / before
    kept = entry.read_bytes()
    await lose(brain, before)
    report_ill(brain, "dev-1")
    await rollouts.look()
    assert told(brain, "dev-1") != before
    entry.write_bytes(kept)
    await settle(brain, rollouts)
    assert held(brain) == {before}
    assert brain.view.passages.all[-1].outcome == "rolled back"


async def test_a_persons_rollback_to_what_cannot_be_read_is_refused(brain: Brain, rollouts: Rollouts) -> None:
    before = await on_dev(brain, rollouts, "2")
    await settle(brain, rollouts)
    newest = result(brain)
    await lose(brain, before)
    await order(brain, "rollback", "web")
    await settle(brain, rollouts)
    assert held(brain) == {newest}
    assert not brain.view.passages.quarantine
    (row,) = await brain.state.operations()
    assert row.outcome == "refused"
    for words in (f"the rendered result {before[:12]} is not there", "revert it in Git"):
        assert words in row.message
    assert [entry.action for entry in await log(brain)] == ["rollout-rollback"]


async def test_a_unit_that_waits_on_nothing_at_all_waits_on_what_is_known(brain: Brain, rollouts: Rollouts) -> None:
    await brain.commit(web("1", state="absent"))
    await settle(brain, rollouts)
    assert held(brain) == {EMPTY_BUNDLE.digest}
    await brain.commit(web("2"))
    assert is_applied(brain, "prod-1", EMPTY_BUNDLE.digest)
    await settle(brain, rollouts)
    await order(brain, "rollback", "web")
    await settle(brain, rollouts)
    assert held(brain) == {EMPTY_BUNDLE.digest}
