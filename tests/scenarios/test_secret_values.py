"""Values of Secrets in the store: what is in force and what a rollback goes back to stays, what was rotated goes."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from hubworld import HubWorld, cluster_file, make_world, overlay

from fleet.core.ids import Digest
from fleet.core.objects import seals_of
from fleet.render.service import Renderer
from fleet.store.secret_values import KEEP_SECONDS

COUNT = 8


def secret(value: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: default}}\nstringData: {{a: '{value}'}}\n"


def kept(world: HubWorld) -> tuple[int, int]:
    """How many values lie in the store, and their bytes."""
    with closing(sqlite3.connect(world.data_dir / "state.db")) as connection:
        return connection.execute("SELECT count(*), coalesce(sum(length(sealed)), 0) FROM vault").fetchone()


def on_cluster(world: HubWorld) -> str:
    found = world.sim.clusters["eu-1"].get("", "Secret", "default", "s")
    return base64.b64decode(found["data"]["a"]).decode() if found else ""


def set_ahead(world: HubWorld) -> None:
    """The store goes by the clock that this world sets forward."""
    state = world.opened.adapters.state
    state.vault._run_time = lambda run_time=state.run_time: run_time() + world.ahead.seconds


def in_hub(world: HubWorld) -> Renderer:
    return world.opened.adapters.renderer


def in_use(world: HubWorld) -> frozenset[Digest]:
    """What units hold or shall hold, and what a rollback goes back to."""
    return frozenset(in_hub(world)._results._spared())


async def names_of(world: HubWorld, results: Iterable[Digest]) -> int:
    """How many values these have, all of which are there."""
    assert {row.bundle for row in await world.opened.adapters.state.released()} <= set(results)
    wanted = set[str]()
    for digest in results:
        for made in (await in_hub(world).bundle(digest)).objects:
            wanted |= set(seals_of(made.document()))
    assert (await world.opened.adapters.vault.get(wanted)).keys() == wanted
    return len(wanted)


async def pass_hours(world: HubWorld, hours: int = 3) -> None:
    """With the sweeps that come meanwhile, and nothing of what was rendered left in memory alone."""
    set_ahead(world)
    results = in_hub(world)._results
    results._bundles.clear()
    results._bundle_bytes = 0
    sweep = next(service for service in world.opened.hub.services if service.name == "values").run.__self__.sweep
    await sweep()
    for _ in range(2 * hours):
        world.ahead.seconds += KEEP_SECONDS / 2
        await sweep()


async def change(world: HubWorld, value: str) -> str:
    commit = world.commit({"overlays/other/s.yaml": secret(value)})
    await world.until_everywhere(commit)
    assert on_cluster(world) == value
    return commit


async def test_rotated_values_go_and_the_one_in_force_stays(tmp_path: Path) -> None:
    values = [f"value-{number}-{'x' * 50_000}" for number in range(COUNT)]
    async with make_world(tmp_path, ["eu-1"]) as world:
        files = {"clusters/a.yaml": cluster_file("eu-1"), **overlay("overlays/other", {"s": secret(values[0])})}
        commit = world.commit(files)
        async with world.run():
            await world.until_everywhere(commit)
            for value in values[1:]:
                await change(world, value)
            assert kept(world)[0] == COUNT
            await pass_hours(world)
            count, size = kept(world)
            assert count == await names_of(world, in_use(world)) == 1
            assert size < 60_000
            await vanish(world, values[-1])  # what is in force heals
        async with world.run():
            assert kept(world)[0] == count
            await pass_hours(world)
            await vanish(world, values[-1])
            # A commit that goes back brings what was let go: it is built again.
            builds = in_hub(world).stats.builds
            await change(world, values[0])
            assert in_hub(world).stats.builds == builds + 1
            await vanish(world, values[0])


async def vanish(world: HubWorld, value: str) -> None:
    """The Secret is deleted by hand, and made anew with its value."""
    cluster = world.sim.clusters["eu-1"]
    uid = cluster.get("", "Secret", "default", "s")["metadata"]["uid"]
    cluster.remove("", "Secret", "default", "s")
    await world.until(lambda: on_cluster(world) == value, "the Secret again")
    assert cluster.get("", "Secret", "default", "s")["metadata"]["uid"] != uid


async def test_twin_what_a_rollback_goes_back_to_stays(tmp_path: Path) -> None:
    fleet = (
        "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
        "spec: {rollout: {steps: [{name: all, rest: true}]}}\n"
    )
    async with make_world(tmp_path, ["eu-1"]) as world:
        files = {"clusters/a.yaml": cluster_file("eu-1"), **overlay("overlays/other", {"s": secret("value-0")})}
        commit = world.commit({"fleet.yaml": fleet, **files})
        async with world.run():
            await world.until_everywhere(commit)
            for number in range(1, COUNT + 2):
                await change(world, f"value-{number}")
                await world.until(lambda: world.opened.view.passages.all[-1].outcome == "done", "done")
            assert kept(world)[0] == COUNT + 2
            await pass_hours(world)
            count, _ = kept(world)
            assert 1 < count == await names_of(world, in_use(world)) < COUNT
        async with world.run():
            await pass_hours(world)
            assert kept(world)[0] == count
            builds = in_hub(world).stats.builds
            status, _ = await world.call("POST", "/api/v1/overlays/other:rollback", {"reason": "it breaks"})
            assert status == 202
            await world.until(lambda: on_cluster(world) == f"value-{COUNT}", "back")
            assert in_hub(world).stats.builds == builds
