"""From commits to orders, on a real mirror and a real renderer: only what a commit touches moves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from controllers.rig import Brain
from hubworld import AT_ONCE, cluster_file, config_map, kustomization, overlay
from testbed.gitrepo import Content, Link, Submodule

from fleet.controllers.deletions import JUDGED
from fleet.core.ids import ClusterName, Revision, UnitName
from fleet.core.judged import decode_judged
from fleet.core.results import Rendered, RenderProblem
from fleet.core.rollout import Apply, Detach, Hold, UnknownDesired
from fleet.core.status import ASKS_RECOVERY, Blocker, Health, Report, Standing, Sync, UnitReport
from fleet.core.sync_policy import Suspension
from fleet.errors import FetchFailed, HistoryRewritten, StateNotWritable
from fleet.ports.source import Fetched
from fleet.ports.state import OPEN, RECOVERED
from fleet.source.snapshot import GitSnapshot

BROKEN_OVERLAY = "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: edge}\nspec: {clusterz: []}\n"
CLUSTERS = ("dev-1", "eu-1", "eu-2", "us-1")


def small(*names: str) -> dict[str, str]:
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in names or CLUSTERS}
    files |= overlay("overlays/web", {"one": config_map("one", "1"), "two": config_map("two", "1")})
    files |= overlay("overlays/edge", {"edge": config_map("edge", "1")}, clusters="[{matchLabels: {region: eu}}]")
    return files


async def test_a_one_overlay_commit_reaches_exactly_the_affected_clusters(brain: Brain) -> None:
    await brain.commit(small())
    assert brain.renderer.stats.builds == 2
    second = brain.repo.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    await brain.commits.fetch_once()
    assert await brain.answer() == {"eu-1": ["edge@eu-1"], "eu-2": ["edge@eu-2"]}
    assert brain.renderer.stats.builds == 3
    assert brain.desired("edge@eu-1").commit == second
    assert brain.desired("web@eu-1").commit != second


async def test_a_commit_that_changes_no_result_wakes_no_cluster(brain: Brain) -> None:
    await brain.commit(small())
    brain.repo.commit({"README.md": "words", "overlays/edge/edge.yaml": "# a remark\n" + config_map("edge", "1")})
    await brain.commits.fetch_once()
    assert await brain.answer() == {}
    assert brain.view.head.commit == brain.repo.head()
    assert brain.view.head.commit in brain.view.converged


@pytest.mark.parametrize("text", ["kind: [", "- kind: Cluster\n", Link("../shared/us-1.yaml")])
async def test_a_broken_cluster_file_keeps_its_units_and_the_others_go_on(brain: Brain, text: Content) -> None:
    await brain.commit(small() | {"shared/us-1.yaml": cluster_file("us-1")})
    await brain.commit({"clusters/us-1.yaml": text, "overlays/web/one.yaml": config_map("one", "2")})
    assert ClusterName("us-1") in brain.view.fleet.clusters
    held = brain.desired("web@us-1").action
    assert isinstance(held, Apply | UnknownDesired)
    assert held.bundle == brain.board.books.held.get(UnitName.parse("web@us-1")).bundle
    assert brain.board.roster.leaving.of_cluster(ClusterName("us-1")) == frozenset()
    assert brain.desired("web@eu-1").commit == brain.repo.head()
    mended = await brain.commit({"clusters/us-1.yaml": cluster_file("us-1")})
    assert isinstance(brain.desired("web@us-1").action, Apply)
    assert brain.desired("web@us-1").action == brain.desired("web@eu-1").action
    assert mended in brain.view.converged


@pytest.mark.parametrize(
    "text",
    [
        BROKEN_OVERLAY,
        "spec: {clusters: [{names: [eu-2]}]}",
        "kind: [",
        "spec:\n\t- x",
        "- apiVersion: fleet.internal/v1\n  kind: Overlay\n",
        Link("../../shared/overlay.yaml"),
    ],
)
async def test_a_broken_overlay_file_keeps_the_overlay_in_force_and_shown(brain: Brain, text: Content) -> None:
    await brain.commit(small())
    held = brain.board.books.held.get(UnitName.parse("edge@eu-1"))
    await brain.commit({"overlays/edge/overlay.yaml": text})
    assert UnitName.parse("edge@eu-1") in brain.view.entries()
    order = brain.desired("edge@eu-1").action
    assert isinstance(order, UnknownDesired)
    assert order.bundle == held.bundle
    assert isinstance(brain.desired("web@eu-1").action, Apply)


@pytest.mark.parametrize("content", [Submodule(), b"#" * (17 << 20)], ids=["submodule", "too large"])
@pytest.mark.parametrize(
    "path", ["clusters/eu-2.yaml", "overlays/edge/overlay.yaml", "overlays/edge/kustomization.yaml", "fleet.yaml"]
)
async def test_one_file_that_cannot_be_read_is_named_and_stops_nobody_else(
    brain: Brain, path: str, content: Content
) -> None:
    await brain.commit(small())
    told, before = {name: brain.desired(name).action for name in ("web@eu-2", "edge@eu-1")}, brain.repo.head()
    await brain.commit({path: content, "overlays/web/one.yaml": config_map("one", "2")})
    assert (brain.view.head.commit, brain.view.head.error) == (brain.repo.head(), None)
    failed = brain.view.results[UnitName.parse("edge@eu-1")]
    said = [f"{problem.origin}: {problem.what}" for problem in brain.view.fleet.problems]
    said += [failed.message] if isinstance(failed, RenderProblem) else []
    assert any(path in text or path.rpartition("/")[0] in text for text in said)
    assert brain.desired("web@eu-1").commit == (before if path == "fleet.yaml" else brain.repo.head())
    assert brain.desired("edge@eu-1").action.bundle == told["edge@eu-1"].bundle
    if path == "clusters/eu-2.yaml":
        assert brain.desired("web@eu-2").action.bundle == told["web@eu-2"].bundle
    mended = {"clusters/eu-2.yaml": cluster_file("eu-2"), "fleet.yaml": AT_ONCE}
    await brain.commit({**mended, **{name: text for name, text in small().items() if name == path}})
    assert brain.desired("web@eu-2").action == brain.desired("web@eu-1").action
    assert brain.view.head.commit in brain.view.converged


async def test_a_commit_that_cannot_be_read_is_shown_and_read_again_with_the_next_fetch(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(small())
    before = brain.repo.head()
    damage = FetchFailed("the mirror of the fleet repo cannot be read", why="an object is missing")

    def refuse(*_: object) -> Mapping[str, bytes]:
        raise damage

    with monkeypatch.context() as patched:
        patched.setattr(GitSnapshot, "read_many", refuse)
        await brain.commit(
            {"overlays/edge/overlay.yaml": BROKEN_OVERLAY, "overlays/web/one.yaml": config_map("one", "2")}
        )
        assert (brain.view.head.commit, brain.view.head.error, brain.view.head.is_taken) == (before, damage, False)
        assert brain.desired("web@eu-1").commit == before
    await brain.commits.fetch_once()
    assert (brain.view.head.commit, brain.view.head.error) == (brain.repo.head(), None)
    assert brain.desired("web@eu-1").commit == brain.repo.head()


async def test_a_commit_in_force_that_could_not_be_read_is_read_again_though_git_does_not_answer(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(small())
    again = await brain.restart()
    in_force: list[str | None] = []
    is_over, read_many = asyncio.Event(), GitSnapshot.read_many

    def fails_once(*given: Any) -> Mapping[str, bytes]:
        monkeypatch.setattr(GitSnapshot, "read_many", read_many)
        raise FetchFailed("the mirror of the fleet repo cannot be read", why="an object is missing")

    async def no_answer() -> Fetched:
        in_force.append(again.view.head.commit)
        if len(in_force) == 1:
            again.bells.fetch.set()
        else:
            is_over.set()
        raise FetchFailed("the fleet repo cannot be reached")

    monkeypatch.setattr(GitSnapshot, "read_many", fails_once)
    monkeypatch.setattr(again.source, "fetch", no_answer)
    running = asyncio.create_task(again.commits.run(), name="commits")
    async with asyncio.timeout(60):
        await is_over.wait()
    running.cancel()
    assert not in_force[0]
    assert in_force[1] == brain.repo.head()
    assert isinstance(again.desired("web@eu-1").action, Apply)
    await again.close()


async def test_a_build_that_fails_keeps_the_unit_on_its_last_result_and_names_the_file(brain: Brain) -> None:
    await brain.commit(small())
    held = brain.board.books.held.get(UnitName.parse("web@eu-1"))
    broken = await brain.commit({"overlays/web/kustomization.yaml": kustomization("one.yaml", "missing.yaml")})
    result = brain.view.results[UnitName.parse("web@eu-1")]
    assert isinstance(result, RenderProblem)
    assert (result.reason, "overlays/web/kustomization.yaml:3" in result.message) == ("ResourceMissing", True)
    assert brain.desired("web@eu-1").action.bundle == held.bundle
    assert broken not in brain.view.converged
    mended = await brain.commit({"overlays/web/kustomization.yaml": kustomization("one.yaml", "two.yaml")})
    assert brain.desired("web@eu-1").action == Apply(held.bundle)
    assert mended in brain.view.converged


async def test_a_removed_target_is_detached(brain: Brain) -> None:
    await brain.commit(small())
    brain.repo.commit(overlay("overlays/edge", {"edge": config_map("edge", "1")}, clusters="[{names: [eu-2]}]"))
    await brain.commits.fetch_once()
    assert brain.desired("edge@eu-1").action == Detach()
    await brain.answer()
    await brain.board.publish()
    assert brain.desired("edge@eu-1") is None
    assert brain.board.books.held.get(UnitName.parse("edge@eu-1")) is None
    assert brain.desired("edge@eu-2").action != Detach()


async def test_what_leaves_waits_again_while_the_next_commit_builds_what_may_take_its_objects(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its inventory says the same as before: only a file of another overlay differs."""
    await brain.commit(small())
    brain.repo.commit(overlay("overlays/edge", {"edge": config_map("edge", "1")}, clusters="[{names: [eu-2]}]"))
    await brain.commits.fetch_once()
    assert brain.desired("edge@eu-1").action == Detach()
    render, seen = brain.renderer.render, list[Detach]()

    async def looking(*given: Any, **more: Any) -> Any:
        seen.append(brain.desired("edge@eu-1").action)
        return await render(*given, **more)

    monkeypatch.setattr(brain.renderer, "render", looking)
    brain.repo.commit({"overlays/web/one.yaml": config_map("one", "2")})
    await brain.commits.fetch_once()
    waits = "it left the repo; ConfigMap default/edge may move to web, which is being built"
    assert {action.waits for action in seen} == {waits}
    assert brain.desired("edge@eu-1").action == Detach()


async def test_what_a_commit_begins_to_build_amid_another_release_stays_known_as_being_built(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(small())
    unit, other = UnitName.parse("web@eu-1"), UnitName.parse("edge@eu-1")
    judge = brain.board.deletions.permits_of

    async def meanwhile(*given: Any, **more: Any) -> Any:
        brain.view.rendering = frozenset({unit, other})  # as the next commit does
        return await judge(*given, **more)

    monkeypatch.setattr(brain.board.deletions, "permits_of", meanwhile)
    await brain.releases.release({unit: RenderProblem("Slow", "too slow", Revision("f" * 40))})
    assert brain.view.rendering == {other}


async def test_a_unit_that_came_back_before_it_was_let_go_keeps_its_orders_and_is_told_anew(brain: Brain) -> None:
    await brain.commit(small())
    unit = UnitName.parse("edge@eu-1")
    held = brain.board.books.held.get(unit)
    brain.repo.commit(overlay("overlays/edge", {"edge": config_map("edge", "1")}, clusters="[{names: [eu-2]}]"))
    await brain.commits.fetch_once()
    brain.repo.commit(small())
    await brain.commits.fetch_once()
    told = brain.workers["eu-1"]
    await told.obey()
    late = UnitReport(unit, brain.repo.head(), None, Sync.SYNCED, Health.HEALTHY, brain.wall(), detached=True)
    told.sequence += 1
    await brain.intake.send(Report(unit.cluster, 1, told.sequence, brain.wall(), told.seen, units=(late,)))
    await brain.board.publish()
    assert brain.desired("edge@eu-1").action.bundle == held.bundle
    assert brain.board.books.held.get(unit) == held
    assert unit in brain.view.results
    seen = told.seen
    await brain.answer()
    assert told.seen > seen
    assert brain.view.units[unit].bundle == held.bundle


async def test_a_removed_cluster_is_ordered_to_let_go_through_the_entry_it_had(brain: Brain) -> None:
    await brain.commit(small())
    brain.repo.commit({"clusters/us-1.yaml": None})
    await brain.commits.fetch_once()
    assert brain.desired("web@us-1").action == Detach()
    again = await brain.restart()
    await again.commits.resume()
    assert ClusterName("us-1") in again.board.entries()
    assert again.desired("web@us-1").action == Detach()
    await again.answer()
    assert ClusterName("us-1") not in again.board.entries()
    await again.close()


async def test_a_sharp_fall_is_held_until_a_person_allows_it_also_over_a_restart(brain: Brain) -> None:
    names = [f"c-{number}" for number in range(8)]
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in names}
    files |= overlay("overlays/web", {"one": config_map("one", "1")})
    await brain.commit(files)
    fallen = await brain.commit(
        overlay("overlays/web", {"one": config_map("one", "1")}, clusters="[{names: [c-0, c-1]}]")
    )
    assert all(isinstance(brain.desired(f"web@{name}").action, Hold) for name in names[2:])
    await brain.orders.look()
    hold = (await brain.state.holds(decisions=OPEN))[0]
    assert (hold.overlay, hold.commit, len(hold.requests)) == ("web", fallen, 6)
    later = await brain.commit({"README.md": "words"})
    await brain.orders.look()
    assert [row.id for row in await brain.state.holds(decisions=OPEN)] == [hold.id]
    again = await brain.restart()
    await again.commits.resume()
    await again.orders.look()
    assert [row.id for row in await again.state.holds(decisions=OPEN)] == [hold.id]
    await again.state.decide_hold(
        hold.id, list_digest=hold.list_digest, decision="approved", actor="jo", reason="", at=again.wall()
    )
    await again.orders.look()
    assert all(again.desired(f"web@{name}").action == Detach() for name in names[2:])
    assert again.view.head.commit == later
    third = await again.restart()
    await third.commits.resume()
    assert all(third.desired(f"web@{name}").action == Detach() for name in names[2:])
    assert not third.board.roster.falls()
    await third.close()


async def test_three_clusters_may_leave_without_asking(brain: Brain) -> None:
    names = [f"c-{number}" for number in range(4)]
    await brain.commit(
        {f"clusters/{name}.yaml": cluster_file(name) for name in names}
        | overlay("overlays/web", {"one": config_map("one", "1")})
    )
    brain.repo.commit(overlay("overlays/web", {"one": config_map("one", "1")}, clusters="[{names: [c-0]}]"))
    await brain.commits.fetch_once()
    assert [brain.desired(f"web@{name}").action for name in names[1:]] == [Detach()] * 3


async def test_the_same_deletion_on_more_than_three_clusters_is_permitted_on_none(brain: Brain) -> None:
    await brain.commit(small())
    await brain.commit({"overlays/web/kustomization.yaml": kustomization("one.yaml")})
    assert all(brain.desired(f"web@{name}").action.permits == frozenset() for name in CLUSTERS)
    await brain.orders.look()
    hold = (await brain.state.holds(decisions=OPEN))[0]
    assert {str(request.unit) for request in hold.requests} == {f"web@{name}" for name in CLUSTERS}
    await brain.state.decide_hold(
        hold.id, list_digest=hold.list_digest, decision="approved", actor="jo", reason="", at=brain.wall()
    )
    await brain.orders.look()
    await brain.answer("us-1")
    await brain.orders.look()
    kept = (await brain.state.holds(decisions=OPEN))[0]
    assert (kept.id, kept.decision) == (hold.id, "approved")  # carried out in part: still approved for the rest
    await brain.answer()
    await brain.orders.look()
    assert await brain.state.holds(decisions=OPEN) == ()
    assert all(unit.sync is Sync.SYNCED for unit in brain.view.units.values())


async def test_what_was_judged_of_deletions_goes_along_with_a_rename_in_the_same_write(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(small())
    await brain.commit({"overlays/web/kustomization.yaml": kustomization("one.yaml")})
    written: list[str] = []
    rename = brain.state.rename_cluster

    async def full(old: ClusterName, new: ClusterName, values: Mapping[str, str]) -> None:
        written.append(values[JUDGED])
        if len(written) == 1:
            raise StateNotWritable("the disk is full")
        await rename(old, new, values)

    monkeypatch.setattr(brain.state, "rename_cluster", full)
    with pytest.raises(StateNotWritable):
        await brain.claims.rename(ClusterName("eu-1"), ClusterName("eu-9"))
    assert "web@eu-1" in {str(name) for name in brain.board.deletions._judged.held}
    await brain.claims.rename(ClusterName("eu-1"), ClusterName("eu-9"))
    for text in written:
        held = {str(name) for name in decode_judged(text).held}
        assert "web@eu-9" in held
        assert "web@eu-1" not in held


async def test_what_could_not_be_judged_after_a_rename_is_judged_with_what_comes_next(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(small())
    put, tries = brain.state.put_released, iter([True])

    async def full(*given: object, **values: object) -> None:
        if next(tries, False):
            raise StateNotWritable("the disk is full")
        await put(*given, **values)

    brain.repo.commit({"clusters/eu-1.yaml": None, "clusters/eu-9.yaml": cluster_file("eu-9")})
    await brain.commits.fetch_once()
    monkeypatch.setattr(brain.state, "put_released", full)
    with pytest.raises(StateNotWritable):
        await brain.claims.rename(ClusterName("eu-1"), ClusterName("eu-9"))
    new = UnitName.parse("web@eu-9")
    assert brain.desired(str(new)) is not None
    assert new in brain.board.books.results
    await brain.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    assert brain.board.books.held[new] == brain.board.books.results[new]
    assert not brain.board.books.unjudged


@pytest.mark.parametrize("where", ["_look_for_kept", "reserve"])
async def test_orders_are_of_one_commit_though_the_next_one_comes_while_they_are_made(
    brain: Brain, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    await brain.commit(small("eu-1", "us-1"))
    publisher, fleet = brain.board.publisher, brain.view.fleet
    part = publisher if where == "reserve" else brain.board
    usual = getattr(part, where)
    later = [replace(fleet, commit=Revision("f" * 40), suspend=Suspension("a look"))]

    async def meanwhile(*given: UnitName) -> None:
        await usual(*given)
        if later:
            brain.board.take_fleet(later.pop())

    monkeypatch.setattr(part, where, meanwhile)
    brain.board.books.dirty.add(UnitName.parse("web@us-1"))
    publisher.dirty.add(ClusterName("eu-1"))
    await brain.board.publish()
    desired = publisher.slot(ClusterName("eu-1")).desired
    assert desired.commit == "f" * 40
    assert [each.reason for each in brain.desired("web@eu-1").policy.suspensions] == ["a look"]


def with_paths() -> dict[str, str]:
    """An overlay with a path of its own for each of four clusters."""
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in ("a", "b", "c", "d")}
    for name in ("a", "b", "c", "d"):
        directory = f"overlays/web/{name}"
        files[f"{directory}/kustomization.yaml"] = kustomization("one.yaml", "two.yaml")
        files |= {f"{directory}/{each}.yaml": config_map(each, name) for each in ("one", "two")}
    files["overlays/web/overlay.yaml"] = (
        "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: web}\nspec: {clusters: [{all: true}]}\n"
    )
    return files


@pytest.mark.parametrize(("seconds", "permitted"), [(0, 0), (3500, 0), (3700, 1)])
async def test_a_deletion_on_three_clusters_is_permitted_and_counts_for_an_hour(
    brain: Brain, seconds: float, permitted: int
) -> None:
    await brain.commit(with_paths())
    await brain.commit({f"overlays/web/{name}/kustomization.yaml": kustomization("one.yaml") for name in "abc"})
    assert all(len(brain.desired(f"web@{name}").action.permits) == 1 for name in "abc")
    brain.wall.now += seconds
    await brain.commit({"overlays/web/d/kustomization.yaml": kustomization("one.yaml")})
    assert len(brain.desired("web@d").action.permits) == permitted


@pytest.mark.parametrize("decision", ["rejected", ""])
async def test_a_persons_no_takes_the_same_deletion_back_from_clusters_that_did_not_do_it_yet(
    brain: Brain, decision: str
) -> None:
    await brain.commit(with_paths())
    brain.repo.commit({f"overlays/web/{name}/kustomization.yaml": kustomization("one.yaml") for name in "abc"})
    await brain.commits.fetch_once()
    brain.repo.commit({"overlays/web/d/kustomization.yaml": kustomization("one.yaml")})
    await brain.commits.fetch_once()
    await brain.answer("a", "b", "c")  # these are away
    await brain.orders.look()
    (hold,) = await brain.state.holds(decisions=OPEN)
    assert [str(request.unit) for request in hold.requests] == ["web@d"]
    if decision:
        await brain.state.decide_hold(
            hold.id, list_digest=hold.list_digest, decision=decision, actor="jo", reason="no", at=brain.wall()
        )
    await brain.orders.look()
    assert [len(brain.desired(f"web@{name}").action.permits) for name in "abcd"] == [0 if decision else 1] * 3 + [0]


async def test_an_object_that_moves_to_another_overlay_is_no_deletion(brain: Brain) -> None:
    await brain.commit(small("eu-1", "us-1"))  # so few clusters that a deletion would be permitted
    brain.repo.commit(
        {
            "overlays/web/kustomization.yaml": kustomization("one.yaml"),
            **overlay("overlays/extra", {"two": config_map("two", "1")}),
        }
    )
    await brain.commits.fetch_once()
    assert isinstance(brain.desired("extra@eu-1").action, Apply)
    assert brain.desired("web@eu-1").action.permits == frozenset()


def beside_steps(*extra: str) -> dict[str, str]:
    """web goes to all clusters at once, extra by a step that nothing lets begin."""
    steps = {"fleet.yaml": AT_ONCE.replace("steps: []", "steps: [{name: ok, approve: 1}, {name: all, rest: true}]")}
    files = steps | small("eu-1", "us-1")
    files |= overlay("overlays/web", {name: config_map(name, "1") for name in ("one", "two")}, rollout="{steps: []}")
    return files | overlay("overlays/extra", {name: config_map(name, "1") for name in ("more", *extra)})


async def test_what_moves_to_an_overlay_that_waits_for_its_step_is_no_deletion(brain: Brain) -> None:
    await brain.commit(beside_steps())
    brain.repo.commit(beside_steps("two") | {"overlays/web/kustomization.yaml": kustomization("one.yaml")})
    await brain.commits.fetch_once()
    both = dict(brain.board.books.results)
    brain.repo.commit(beside_steps() | {"overlays/extra/two.yaml": None})
    await brain.commits.fetch_once()
    assert brain.desired("web@eu-1").action.moves == frozenset()
    await brain.releases.release(both)  # as where both were built while another overlay was released
    action = brain.desired("web@eu-1").action
    assert isinstance(action, Apply)
    assert action.permits == frozenset()
    assert {(move.ref.name, move.why) for move in action.moves} == {
        ("two", "moves to extra once that is released here")
    }


async def test_what_is_dropped_beside_an_overlay_that_waits_for_its_step_is_a_deletion(brain: Brain) -> None:
    await brain.commit(beside_steps())
    brain.repo.commit(beside_steps("other") | {"overlays/web/kustomization.yaml": kustomization("one.yaml")})
    await brain.commits.fetch_once()
    action = brain.desired("web@eu-1").action
    assert isinstance(action, Apply)
    assert {ref.name for ref in action.permits} == {"two"}
    assert action.moves == frozenset()


async def test_a_restart_builds_nothing_and_orders_the_same(brain: Brain) -> None:
    await brain.commit(small())
    await brain.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    before = {name: brain.desired(str(name)) for name in brain.view.units}
    again = await brain.restart()
    await again.commits.resume()
    await again.commits.fetch_once()
    assert again.renderer.stats.builds == 0
    assert {name: again.desired(str(name)) for name in before} == before
    assert again.view.head.commit in again.view.converged
    first = again.board.publisher.slot(ClusterName("eu-1")).desired.sequence
    assert first > brain.workers["eu-1"].seen
    await again.close()


async def test_the_timeline_has_a_commit_before_anything_that_follows_from_it(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(small())
    render, seen = brain.renderer.render, list[str]()

    async def looking(*given: Any, **more: Any) -> Any:
        seen.extend(row.event.message for row in await brain.state.events())
        return await render(*given, **more)

    monkeypatch.setattr(brain.renderer, "render", looking)
    second = await brain.commit({"overlays/web/one.yaml": config_map("one", "2")})
    assert [text for text in seen if second[:7] in text][:1] == [f'main is {second[:7]} "change" (Mara Example)']


async def test_a_confirmed_recovery_is_carried_out_once_git_was_read_and_not_before(brain: Brain) -> None:
    """What a backup has in force may be older than what the clusters hold: they would go back to it."""
    await brain.commit(small())
    again = await brain.restart()
    await again.commits.resume()
    await again.state.set_value(RECOVERED, "eu-1")
    unit, asks = UnitName.parse("web@eu-1"), Blocker(Standing.HELD, "web@eu-1", "found", 0.0, "", ASKS_RECOVERY)
    again.view.units[unit] = replace(again.view.units[unit], blocked_by=(asks,))
    await again.orders.look()
    assert not again.board.standing.recovered
    again.repo.path.rename(moved := again.repo.path.with_name("away"))
    await again.commits.fetch_once()
    await again.orders.look()
    assert not again.board.standing.recovered, "a fetch that fails tells nothing"
    moved.rename(again.repo.path)
    await again.commits.fetch_once()
    await again.orders.look()
    assert set(again.board.standing.recovered) == {"eu-1"}
    await again.close()


async def test_a_lost_mirror_and_a_rewritten_history_keep_what_is_in_force(brain: Brain) -> None:
    await brain.commit(small())
    again = await brain.restart(lost_mirror=True)
    again.repo.rewrite({**small("dev-1")})
    await again.commits.resume()
    await again.commits.fetch_once()
    assert isinstance(again.view.head.error, HistoryRewritten)
    assert again.view.fleet is None
    assert again.desired("web@eu-1") is None
    await again.close()


@pytest.mark.parametrize("rewritten", [True, False])
async def test_a_damaged_mirror_that_is_moved_away_under_a_running_hub_takes_the_same_history_alone(
    brain: Brain, rewritten: bool
) -> None:
    await brain.commit(small())
    again = await brain.restart()
    (mirror,) = (again.root / "mirror").glob("*.git")
    (mirror / "objects").rename(mirror / "lost+found")
    (mirror / "objects").write_text("damaged")
    await again.commits.resume()
    await again.commits.fetch_once()
    assert isinstance(again.view.head.error, FetchFailed)
    mirror.rename(again.root / "aside")
    if rewritten:
        again.repo.rewrite({**small("dev-1")})
    later = again.repo.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    await again.commits.fetch_once()
    if rewritten:
        assert isinstance(again.view.head.error, HistoryRewritten)
        assert again.view.fleet is None
    else:
        assert (again.view.head.error, again.view.head.commit) == (None, later)
    await again.close()


async def test_a_lost_mirror_with_the_same_history_goes_on(brain: Brain) -> None:
    await brain.commit(small())
    again = await brain.restart(lost_mirror=True)
    later = again.repo.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    await again.commits.resume()
    await again.commits.fetch_once()
    assert again.view.head.error is None
    assert again.view.head.commit == later
    await again.close()


async def test_a_teams_object_outside_its_rights_is_refused_and_others_go_on(brain: Brain) -> None:
    teams = "{payments: {dirs: [overlays/pay], allow: {namespaces: [payments], kinds: [ConfigMap]}}}"
    files = small("eu-1") | overlay("overlays/pay", {"ok": config_map("ok", "1", "payments")})
    files["fleet.yaml"] = (
        "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: acme}\n"
        f"spec: {{teams: {teams}, rollout: {{steps: []}}}}\n"
    )
    await brain.commit(files)
    assert isinstance(brain.view.results[UnitName.parse("pay@eu-1")], Rendered)
    held = brain.board.books.held.get(UnitName.parse("pay@eu-1"))
    await brain.commit({"overlays/pay/ok.yaml": config_map("ok", "2", "kube-system")})
    refused = brain.view.results[UnitName.parse("pay@eu-1")]
    assert isinstance(refused, RenderProblem)
    assert refused.reason == "NotAllowedForTeam"
    assert brain.desired("pay@eu-1").action.bundle == held.bundle
    assert isinstance(brain.view.results[UnitName.parse("web@eu-1")], Rendered)


async def test_rights_that_change_reach_results_whose_files_did_not(brain: Brain) -> None:
    def rights(namespace: str, more: str = "") -> dict[str, str]:
        teams = f"{{payments: {{dirs: [overlays/pay], allow: {{namespaces: [{namespace}], kinds: [ConfigMap]}}}}}}"
        return {"fleet.yaml": AT_ONCE.replace("spec: {", f"spec: {{{more}teams: {teams}, ")}

    pay = UnitName.parse("pay@eu-1")
    files = small("eu-1") | overlay("overlays/pay", {"ok": config_map("ok", "1", "payments")})
    await brain.commit(files | rights("other"))
    assert brain.view.results[pay].reason == "NotAllowedForTeam"
    await brain.commit(rights("payments"))
    held = brain.view.results[pay]
    assert isinstance(held, Rendered)
    assert brain.desired("pay@eu-1").action == Apply(held.bundle)
    builds, hits = brain.renderer.stats.builds, brain.renderer.stats.hits
    await brain.commit(rights("payments", "budget: {objects: 30}, "))
    assert brain.view.results[pay] == held
    assert (brain.renderer.stats.builds, brain.renderer.stats.hits) == (builds, hits)
    await brain.commit(rights("other"))
    refused = brain.view.results[pay]
    assert isinstance(refused, RenderProblem)
    assert (refused.reason, refused.commit) == ("NotAllowedForTeam", brain.repo.head())
    assert brain.desired("pay@eu-1").action.bundle == held.bundle
    assert brain.renderer.stats.builds == builds


async def test_a_suspension_in_git_reaches_units_whose_files_did_not_change(brain: Brain) -> None:
    await brain.commit(small("eu-1"))
    await brain.commit(
        {
            "fleet.yaml": "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
            "spec: {suspend: {reason: freeze, owner: jo}, rollout: {steps: []}}\n"
        }
    )
    assert [each.reason for each in brain.desired("web@eu-1").policy.suspensions] == ["freeze"]


class FullState:
    """A fake of a state whose disk is full at one write; everything else goes to the real one."""

    def __init__(self, state, name: str, nth: int) -> None:
        self._state, self._name, self._left = state, name, nth

    def __getattr__(self, name: str):
        if name == self._name:
            self._left -= 1
            if not self._left:
                return self._refuse
        return getattr(self._state, name)

    async def _refuse(self, *_: object, **__: object) -> None:
        raise StateNotWritable("the state cannot be written", why="the disk is full")


OTHER_NAME = AT_ONCE.replace("name: default", "name: other")


@pytest.mark.parametrize("text", ["kind: [", OTHER_NAME], ids=["broken", "renamed"])
async def test_a_commit_that_is_not_taken_over_goes_nowhere_until_it_is_mended(brain: Brain, text: str) -> None:
    await brain.commit(small("eu-1", "eu-2"))
    orders = {name: brain.desired(name) for name in ("web@eu-1", "edge@eu-2")}
    refused = brain.repo.commit({"fleet.yaml": text, "overlays/web/one.yaml": config_map("one", "2")})
    await brain.commits.fetch_once()
    brain.repo.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    await brain.commits.fetch_once()
    assert brain.renderer.stats.builds == 2
    assert {name: brain.desired(name) for name in orders} == orders
    assert refused not in brain.view.converged
    mended = await brain.commit({"fleet.yaml": AT_ONCE})
    assert brain.renderer.stats.builds == 4
    assert {brain.desired(name).commit for name in orders} == {mended}
    assert mended in brain.view.converged


@pytest.mark.parametrize(
    ("write", "nth"), [("put_released", 1), ("put_released", 2), ("set_value", 1), ("next_sequence", 1)]
)
async def test_a_commit_that_was_taken_over_in_part_is_finished_later(brain: Brain, write: str, nth: int) -> None:
    await brain.commit(small("eu-1", "eu-2"))
    full = FullState(brain.state, write, nth)
    for part in (brain.releases, brain.board.publisher, brain.commits, brain.convergence):
        part._state = full
    publisher = brain.board.publisher
    publisher._sequence = publisher._sequence_end
    second = brain.repo.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    with pytest.raises(StateNotWritable):
        await brain.commits.fetch_once()
    await brain.commits.fetch_once()
    await brain.answer()
    assert brain.desired("edge@eu-1").commit == second
    assert brain.view.units[UnitName.parse("edge@eu-1")].commit == second
    assert second in brain.view.converged


async def test_a_commit_that_no_approval_could_be_held_against_is_finished_later(brain: Brain) -> None:
    """The first one is over only then: what came next went to all clusters at once."""
    tries = []

    class Plans:
        async def taken(self, now: object, was: object) -> None:
            tries.append(now)
            if len(tries) == 1:
                raise StateNotWritable("the disk is full")

    brain.commits._plans = Plans()
    first = brain.repo.commit(small("eu-1", "eu-2"))
    with pytest.raises(StateNotWritable):
        await brain.commits.fetch_once()
    assert brain.board.books.is_first
    await brain.commits.fetch_once()
    await brain.answer()
    assert not brain.board.books.is_first
    assert first in brain.view.converged
    assert len(tries) == 2


async def test_health_of_units_is_not_asked_of_a_cluster_that_never_reported(brain: Brain) -> None:
    brain.repo.commit(small("eu-1"))
    await brain.commits.fetch_once()
    assert brain.view.units == {}
    assert brain.view.head.commit not in brain.view.converged
    await brain.answer()
    assert brain.view.head.commit in brain.view.converged
    assert all(unit.health is Health.HEALTHY for unit in brain.view.units.values())


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_commit_that_removes_the_last_unit_is_taken_also_where_nobody_knows_what_else_it_changes(
    brain: Brain, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """As with the first fetch after a start: no unit is resolved anew, and what left is not to be built."""
    await brain.commit(small("eu-2"))
    fetch = brain.source.fetch

    async def unknown() -> Fetched:
        return replace(await fetch(), changed=None)

    if not is_known:
        monkeypatch.setattr(brain.source, "fetch", unknown)
    head = await brain.commit({"clusters/eu-2.yaml": None})
    assert brain.view.head.commit == head
    assert "eu-2" not in brain.board.entries()
