"""Ordinary life amid a rollout: the rules of docs/rollouts.md, each on the loop with a real board, Git and renderer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import order, report_ill, result, rollouts_of, settle, told
from hubworld import cluster_file, config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import ClusterName, UnitName
from fleet.core.passage import Passage
from fleet.core.status import Health

DEV, FIRST, SECOND = "dev-1", "prod-1", "prod-2"
STEPS = "[{name: dev, environments: [dev]}, {name: prod, rest: true, maxParallel: 1}]"


def fleet_file(steps: str = STEPS, **more: str) -> dict[str, str]:
    rollout = ", ".join([f"steps: {steps}", *(f"{key}: {value}" for key, value in more.items())])
    head = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
    return {"fleet.yaml": f"{head}spec:\n  environments: [dev, prod]\n  rollout: {{{rollout}}}\n"}


def cluster(name: str, environment: str = "", **spec: str) -> dict[str, str]:
    return {f"clusters/{name}.yaml": cluster_file(name, environment or name.split("-")[0], **spec)}


def web(value: str, **spec: str) -> dict[str, str]:
    return overlay("overlays/web", {"web": config_map("web", value)}, **spec)


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """All clusters hold web 1."""
    made = rollouts_of(brain)
    clusters = cluster(DEV) | cluster(FIRST) | cluster(SECOND)
    await brain.commit({**fleet_file(), **clusters, **web("1")})
    await settle(brain, made)
    return made


async def halfway(brain: Brain, rollouts: Rollouts) -> str:
    """Web 2 is on dev-1 and on its way to prod-1; prod-2 has not got it. Returns what all held before."""
    before = told(brain, SECOND)
    await brain.commit(web("2"))
    await look(brain, rollouts)  # dev-1
    await look(brain, rollouts, silent=(FIRST,))  # prod-1, which says nothing yet
    assert (told(brain, DEV), told(brain, FIRST), told(brain, SECOND)) == (result(brain), result(brain), before)
    return before


async def look(brain: Brain, rollouts: Rollouts, silent: tuple[str, ...] = ()) -> None:
    await rollouts.look()
    await brain.answer(*silent)


async def push(brain: Brain, files: dict[str, str | None], silent: tuple[str, ...] = (FIRST,)) -> None:
    """A commit that comes while prod-1 is on its way."""
    brain.repo.commit(files)
    await brain.commits.fetch_once()
    await brain.answer(*silent)
    await brain.board.publish()
    await brain.answer(*silent)


def reach(brain: Brain, name: str, *, there: bool) -> None:
    known = brain.view.clusters[ClusterName(name)]
    message = "" if there else "10.0.0.1:6443 refuses connections"
    brain.view.clusters[ClusterName(name)] = replace(known, reachable=there, at=brain.wall(), message=message)


def last(brain: Brain) -> Passage:
    return brain.view.passages.all[-1]


async def story(brain: Brain) -> list[str]:
    return [row.event.message for row in await brain.state.events() if "goes to" in row.event.message]


async def test_a_cluster_that_joins_goes_into_its_step(brain: Brain, rollouts: Rollouts) -> None:
    before = await halfway(brain, rollouts)
    await push(brain, cluster("prod-0"))
    await look(brain, rollouts, silent=(FIRST,))
    assert told(brain, SECOND) == before
    assert brain.desired("web@prod-0") is None or told(brain, "prod-0") != result(brain), "beyond maxParallel"
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND, "prod-0")} == {result(brain)}
    assert last(brain).outcome == "done"


async def test_a_cluster_that_joins_a_step_that_is_over_follows_under_its_limits(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = await halfway(brain, rollouts)
    await push(brain, cluster("dev-2"))
    await look(brain, rollouts, silent=(FIRST,))
    assert told(brain, "dev-2") == result(brain)
    assert told(brain, SECOND) == before
    assert "dev" in last(brain).rows["web"].passed
    await settle(brain, rollouts)
    assert told(brain, SECOND) == result(brain)


async def test_a_cluster_that_leaves_holds_nothing_up_any_more(brain: Brain, rollouts: Rollouts) -> None:
    await halfway(brain, rollouts)
    await push(brain, {f"clusters/{FIRST}.yaml": None})
    await settle(brain, rollouts)
    assert told(brain, SECOND) == result_of(brain, SECOND)
    assert last(brain).outcome == "done"


async def test_a_cluster_that_is_renamed_amid_a_look_keeps_its_way(
    brain: Brain, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, let, renames = await halfway(brain, rollouts), brain.releases.let, ["prod-9"]
    await push(brain, {f"clusters/{FIRST}.yaml": None, **cluster("prod-9")})

    async def meanwhile(*given):
        if renames:
            await brain.claims.rename(ClusterName(FIRST), ClusterName(renames.pop()))
        return await let(*given)

    monkeypatch.setattr(brain.releases, "let", meanwhile)
    await look(brain, rollouts, silent=("prod-9",))
    assert not renames
    for _ in range(3):
        await look(brain, rollouts, silent=("prod-9",))
        row = last(brain).rows["web"]
        assert set(row.targets) == {DEV, "prod-9", SECOND}
        assert row.before["prod-9"].bundle == before, "what it goes back to"
        assert told(brain, SECOND) == before, "it is on its way still, one at a time"


async def test_a_cluster_whose_environment_changes_goes_on_in_its_new_step(brain: Brain, rollouts: Rollouts) -> None:
    before = await halfway(brain, rollouts)
    await push(brain, cluster(SECOND, "dev"))
    await look(brain, rollouts, silent=(FIRST,))
    assert told(brain, SECOND) == result(brain) != before, "its step is over: it follows at once, beside prod-1"
    assert "dev" in last(brain).rows["web"].passed
    await settle(brain, rollouts)
    assert last(brain).outcome == "done"


async def test_a_cluster_that_goes_offline_is_waited_for_left_out_and_follows(brain: Brain, rollouts: Rollouts) -> None:
    await brain.commit(fleet_file(healthTimeout="10m"))
    before = await halfway(brain, rollouts)
    reach(brain, FIRST, there=False)
    await look(brain, rollouts, silent=(FIRST,))
    assert told(brain, SECOND) == before
    (step,) = [one for one in brain.view.advances[last(brain).commit].steps if one.name == "prod"]
    assert step.held_up_by[0] == (FIRST, "10.0.0.1:6443 refuses connections")
    for _ in range(300):
        reach(brain, FIRST, there=False)
        await look(brain, rollouts, silent=(FIRST,))
        if told(brain, SECOND) == result(brain):
            break
    assert told(brain, SECOND) == result(brain), "left out after healthTimeout"
    assert not last(brain).outcome
    reach(brain, FIRST, there=True)
    await settle(brain, rollouts)
    assert last(brain).outcome == "done"


async def test_what_an_overlay_selects_no_more_is_no_part_of_it_and_what_it_selects_now_is(
    brain: Brain, rollouts: Rollouts
) -> None:
    await halfway(brain, rollouts)
    await push(brain, web("2", clusters="[{names: [dev-1, prod-2]}]"))
    await settle(brain, rollouts)
    assert told(brain, SECOND) == result_of(brain, SECOND)
    assert last(brain).outcome == "done"
    assert set(last(brain).rows["web"].targets) >= {DEV, SECOND}
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    assert told(brain, FIRST) == result(brain)


def result_of(brain: Brain, name: str) -> str:
    return brain.board.books.results[UnitName.parse(f"web@{name}")].bundle


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param("[{name: dev, environments: [dev]}, {name: late, rest: true, maxParallel: 1}]", id="renamed"),
        pytest.param("[{name: all, rest: true, maxParallel: 1}]", id="removed"),
        pytest.param(
            "[{name: dev, environments: [dev]}, {name: canary, clusters: {names: [prod-1]}}, {name: prod, rest: true}]",
            id="added",
        ),
    ],
)
async def test_a_step_list_that_is_edited_judges_what_is_under_way(
    brain: Brain, rollouts: Rollouts, steps: str
) -> None:
    before = await halfway(brain, rollouts)
    await push(brain, fleet_file(steps))
    for _ in range(3):
        await look(brain, rollouts, silent=(FIRST,))
        assert told(brain, SECOND) == before, "prod-1 is still on its way, whatever its step is called"
    await settle(brain, rollouts)
    assert told(brain, SECOND) == result(brain)
    assert last(brain).outcome == "done"


async def test_a_policy_that_is_removed_leaves_the_order_of_environments(brain: Brain, rollouts: Rollouts) -> None:
    before = await halfway(brain, rollouts)
    text = fleet_file()["fleet.yaml"]
    await push(brain, {"fleet.yaml": text[: text.index("  rollout:")]})
    for _ in range(3):
        await look(brain, rollouts, silent=(FIRST,))
        assert told(brain, SECOND) == before, "one cluster first"
    await settle(brain, rollouts)
    assert told(brain, SECOND) == result(brain)


async def test_steps_that_become_none_let_all_go_at_once(brain: Brain, rollouts: Rollouts) -> None:
    await halfway(brain, rollouts)
    await push(brain, fleet_file("[]"))
    await look(brain, rollouts, silent=(FIRST,))
    assert told(brain, SECOND) == result(brain)
    assert last(brain).outcome == "superseded"


async def test_an_overlay_that_is_removed_ends_its_rollout(brain: Brain, rollouts: Rollouts) -> None:
    await halfway(brain, rollouts)
    await push(brain, dict.fromkeys(web("2")))
    await settle(brain, rollouts)
    assert last(brain).outcome == "superseded"
    assert brain.desired(f"web@{SECOND}") is None or not brain.board.books.waiting


@pytest.mark.parametrize("window", [True, False], ids=["a window closes", "it only takes too long"])
async def test_a_window_that_closes_midway_keeps_what_is_behind_it_and_costs_no_time(
    brain: Brain, rollouts: Rollouts, window: bool
) -> None:
    """Both clocks are virtual, and the window is judged as a worker does. It is open from 8 to 9; now it is 8:59."""
    clock, day = [0.0], brain.wall.now - brain.wall.now % 86_400
    rollouts = rollouts_of(brain, lambda: clock[0])
    text = fleet_file(healthTimeout="10m")["fleet.yaml"]
    allow = "  sync: {windows: [{kind: allow, schedule: '0 8 * * *', duration: 1h, timeZone: UTC}]}\n"
    await brain.commit({"fleet.yaml": text + (allow if window else "")})

    async def live(until: str, silent: tuple[str, ...] = ()) -> None:
        """Half a minute at a time up to a time of this day, or of the next; all workers speak but the silent ones."""
        hour, minute = map(int, until.split(":"))
        end = day + hour * 3600 + minute * 60
        while brain.wall.now < end:
            step = min(30.0, end - brain.wall.now)
            clock[0], brain.wall.now = clock[0] + step, brain.wall.now + step
            for name in (DEV, FIRST, SECOND):
                reach(brain, name, there=True)
            await look(brain, rollouts, silent)

    await live("8:59")
    before = told(brain, SECOND)
    brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    await look(brain, rollouts)  # dev-1
    await rollouts.look()
    assert told(brain, FIRST) == result(brain)
    if not window:
        await live("9:30", silent=(FIRST,))
        assert last(brain).halted is not None, "twin: the same time without a window is a failure"
        return
    await live("9:01", silent=(FIRST,))  # released at 8:59, and it had no time to apply it
    await live("32:00")  # until 8 o'clock of the next day, looked at all the time
    assert [text for text in await story(brain) if SECOND in text and last(brain).commit[:7] in text] == []
    assert (told(brain, SECOND), last(brain).halted) == (before, None)
    (step,) = [one for one in brain.view.advances[last(brain).commit].steps if one.name == "prod"]
    assert (step.held_up_by[0][0], "window" in step.held_up_by[0][1]) == (FIRST, True)
    await live("32:03")  # it opens: nobody has to ask
    assert told(brain, SECOND) == result(brain)
    assert (last(brain).outcome, last(brain).halted) == ("done", None)


async def test_of_two_commits_while_the_first_is_halfway_only_the_newest_goes_on(
    brain: Brain, rollouts: Rollouts
) -> None:
    before = await halfway(brain, rollouts)
    first = last(brain).commit
    await push(brain, web("3"))
    await push(brain, web("4"))
    await look(brain, rollouts, silent=(FIRST,))
    assert told(brain, DEV) == result(brain), "the newest begins at the first step"
    assert told(brain, SECOND) == before
    await settle(brain, rollouts)
    assert {told(brain, name) for name in (DEV, FIRST, SECOND)} == {result(brain)}
    assert {one.commit: one.outcome for one in brain.view.passages.all if one.commit == first} == {first: "superseded"}
    assert last(brain).outcome == "done"
    went = [text for text in await story(brain) if SECOND in text]
    assert len(went) == 1 or not any(first[:7] in text for text in went), "prod-2 went straight to the newest"


async def test_a_halt_stays_when_a_cluster_joins_or_steps_change(brain: Brain, rollouts: Rollouts) -> None:
    before = await halfway(brain, rollouts)
    await brain.answer()
    report_ill(brain, FIRST)
    await rollouts.look()
    assert last(brain).halted is not None
    for files in cluster("prod-0"), fleet_file("[{name: all, rest: true}]"), cluster(SECOND, "dev"):
        await push(brain, files)
        report_ill(brain, FIRST)
        await look(brain, rollouts, silent=(FIRST,))
        assert told(brain, SECOND) == before
        assert last(brain).halted is not None
    brain.view.units[UnitName.parse(f"web@{FIRST}")] = replace(
        brain.view.units[UnitName.parse(f"web@{FIRST}")], health=Health.HEALTHY
    )
    await order(brain, "resume", last(brain).commit)
    await settle(brain, rollouts)
    assert told(brain, SECOND) == result(brain)


async def test_a_fifth_of_all_clusters_is_away_from_the_start_and_back_a_day_later(brain: Brain) -> None:
    """The hub's clocks are virtual here, its board, Git and renderer are real, its workers only say yes."""
    names = [f"{stage}-{number}" for stage in ("dev", "prod") for number in range(10)]
    away = ("dev-1", "dev-6", "prod-3", "prod-8")
    clock = [0.0]
    rollouts = rollouts_of(brain, lambda: clock[0])
    files = {path: text for name in names for path, text in cluster(name).items()}
    steps = "[{name: dev, environments: [dev]}, {name: prod, rest: true, maxParallel: 5, maxUnavailable: 50%}]"
    await brain.commit({**files, **fleet_file(steps, healthTimeout="10m"), **web("1")})
    await settle(brain, rollouts)
    before = told(brain, "dev-0")

    async def live(seconds: float, lost: tuple[str, ...]) -> None:
        """Half a minute at a time: every worker speaks, but of those that are lost it is known that they are."""
        for _ in range(max(1, int(seconds // 30))):
            clock[0] += 30.0
            brain.wall.now += 30.0
            for name in names:
                reach(brain, name, there=name not in lost)
            await look(brain, rollouts, silent=lost)

    for name in away:
        reach(brain, name, there=False)
    brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    await live(5 * 60, away)
    new = result_of(brain, "dev-0")
    assert {name for name in names if told(brain, name) == new} == {n for n in names if n[:3] == "dev"} - set(away)
    await live(40 * 60, away)
    assert {name for name in names if told(brain, name) == new} == set(names) - set(away), "left out after 10 m each"
    assert not last(brain).outcome, "not done without them"
    await live(3600, away)
    clock[0] += 86_400.0
    brain.wall.now += 86_400.0
    assert {told(brain, name) for name in away} == {before}
    await live(600, ())
    assert {told(brain, name) for name in names} == {new}
    assert (last(brain).outcome, last(brain).halted) == ("done", None)
