"""A hub that lost all its data finds on the clusters what was taken back there, and does not roll it out again."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.core.results import Rendered
from fleet.core.status import asks_recovery

CLUSTERS = ("dev-1", "prod-1")
FLEET = (
    "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec:\n  environments: [dev, prod]\n"
    "  rollout: {steps: [{name: dev, environments: [dev]}, {name: ok, approve: 1}, {name: prod, rest: true}]}\n"
)
AT_ONCE = FLEET[: FLEET.index("  rollout:")] + "  rollout: {steps: [{name: all, rest: true}]}\n"
PIN = {"variables": "{pin: 4711}"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


def value_on(world: HubWorld, cluster: str) -> str:
    found: Any = world.sim.cluster(cluster).get("", "ConfigMap", "default", "web")
    return found["data"]["a"]


def told_on(world: HubWorld, cluster: str) -> list[str]:
    parents = world.sim.cluster(cluster).list("", "ConfigMap", "fleet-system")
    notes: list[Any] = [each["metadata"].get("annotations", {}) for each in parents]  # type: ignore[union-attr]
    return [digest for note in notes for digest in orjson.loads(note.get("fleet.internal/quarantined", "[]"))]


def key(value: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: default}}\nstringData: {{k: {value}}}\n"


async def roll_back(world: HubWorld, keys: tuple[str, ...] = (), **spec: str) -> str:
    """Web 2 on dev-1, and taken back by a person; its commit. keys: values of a Secret that goes along."""
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0], **PIN) for name in CLUSTERS}
    first, *then = [{"key": key(value)} for value in keys] or [{}]
    world.commit(
        files | overlay("overlays/web", {"web": config_map("web", "1"), **first}, **spec) | {"fleet.yaml": FLEET}
    )
    await world.until_everywhere(world.repo.head())
    changed = {f"overlays/web/{name}.yaml": text for each in then for name, text in each.items()}
    second = world.commit({"overlays/web/web.yaml": config_map("web", "2"), **changed})
    await world.until(lambda: value_on(world, "dev-1") == "2", "dev-1 at 2")
    await world.until(lambda: world.opened.view.advances, "under way")
    await world.call("POST", "/api/v1/overlays/web:rollback", {"reason": "it breaks"})
    await world.until(lambda: value_on(world, "dev-1") == "1", "dev-1 back at 1")
    await world.until(lambda: all(told_on(world, name) for name in CLUSTERS), "written to all parents")
    return second


async def lose_and_recover(world: HubWorld) -> None:
    """The hub runs on nothing, and a person confirmed what it found."""
    view = world.opened.view
    await world.until(lambda: len([u for u in view.units.values() if u.blocked_by]) == len(CLUSTERS), "asks")
    assert all(unit.quarantined for unit in view.units.values())
    status, _ = await world.recover()
    assert status == 200
    await world.until(lambda: not any(u.quarantined for u in view.units.values()), "confirmed")


async def test_it_does_not_come_back_after_the_loss_until_a_person_lets_it_in(world: HubWorld) -> None:
    async with world.run():
        second = await roll_back(world)
    shutil.rmtree(world.data_dir)
    marks = world.marks()
    async with world.run():
        await lose_and_recover(world)
        same = world.commit({"README.md": "the same result under another commit"})
        view = world.opened.view
        await world.until(lambda: view.head.commit == same and not view.rendering and view.waits, "taken over")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}
        assert not world.writes(marks)
        assert {"was taken back by an earlier hub" in link.reason for link in view.waits.values()} == {True}
        assert all(told_on(world, name) for name in CLUSTERS)
    async with world.run():  # nor after a restart of that one
        await world.until(lambda: world.opened.view.waits, "waits")
        (named, *_) = {entry.commit for entry in world.opened.view.passages.quarantine["web"].values()}
        await world.call("POST", f"/api/v1/rollouts/{named}:resume", {"reason": "it was the database"})
        await world.until(lambda: value_on(world, "dev-1") == "2", "let in")
        await world.until(lambda: not told_on(world, "dev-1"), "taken off its parent")
        assert value_on(world, "prod-1") == "1", f"{second} begins at its first step"


def passed(world: HubWorld) -> set[str]:
    """The steps that are over of what is under way."""
    going = (one for one in world.opened.view.passages.all if not one.outcome)
    return {step for one in going for row in one.rows.values() for step in row.passed}


def say_taken_back(world: HubWorld, cluster: str, *digests: str) -> None:
    """As whoever administers a cluster writes into the parent object there: by a hub that came later than this one."""
    sim, parent = world.sim.cluster(cluster), ("", "ConfigMap", "fleet-system", "unit-web")
    notes: Any = sim.get(*parent)["metadata"]["annotations"]  # type: ignore[index]
    generation = int(notes["fleet.internal/record-generation"]) + 1000
    said = {
        "fleet.internal/record-generation": str(generation),
        "fleet.internal/quarantined": orjson.dumps(list(digests)).decode(),
    }
    sim.drift(*parent, {"metadata": {"annotations": said}})


@pytest.mark.parametrize("confirms", [False, True])
async def test_what_one_cluster_says_was_taken_back_is_kept_from_no_other(world: HubWorld, confirms: bool) -> None:
    async with world.run():
        files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
        world.commit(files | overlay("overlays/web", {"web": config_map("web", "1")}) | {"fleet.yaml": FLEET})
        await world.until_everywhere(world.repo.head())
        second = world.commit({"overlays/web/web.yaml": config_map("web", "2")})
        await world.until(lambda: value_on(world, "dev-1") == "2", "dev-1 at 2")
        await world.until(lambda: "dev" in passed(world), "its step is over")
        digest = world.unit("web@dev-1").bundle
        assert digest is not None
    say_taken_back(world, "dev-1", digest)
    async with world.run():
        await world.until(lambda: world.unit("web@dev-1").quarantined, "asks")
        if confirms:
            assert (await world.recover())[0] == 200
            await world.until(lambda: not world.unit("web@dev-1").quarantined, "confirmed")
        view = world.opened.view
        assert not any("was taken back" in link.reason for unit, link in view.waits.items() if unit.cluster != "dev-1")
        await world.call("POST", f"/api/v1/rollouts/{second}:approve", {"step": "ok", "reason": "seen on dev-1"})
        await world.until(lambda: value_on(world, "prod-1") == "2", "on to prod-1")
        # On its own cluster it is barred, under whichever commit.
        assert view.passages.quarantine["web"][digest].clusters == {"dev-1"}
        assert value_on(world, "dev-1") == "2", "and nothing goes back by it"


def keeps_back(world: HubWorld, cluster: str) -> bool:
    """Whether web waits there as it was taken back."""
    return any(
        unit.cluster == cluster and "was taken back" in link.reason for unit, link in world.opened.view.waits.items()
    )


async def confirm(world: HubWorld, clusters: tuple[str, ...], *, unheard: bool = False) -> None:
    view = world.opened.view

    def asking() -> set[str]:
        return {name.cluster for name, unit in view.units.items() if asks_recovery(unit)}

    await world.until(lambda: asking() == set(clusters), f"{clusters} ask")
    assert (await world.recover(unheard=unheard))[0] == 200
    await world.until(lambda: not asking(), "confirmed")


async def not_told_on_prod(world: HubWorld) -> None:
    """Web 2 is taken back on dev-1, and prod-1 cannot be reached meanwhile."""
    # It would get there by itself as soon as dev-1 is done.
    world.sim.cluster("prod-1").faults.add("refuse")
    world.commit({"overlays/web/web.yaml": config_map("web", "2")})
    await world.until(lambda: value_on(world, "dev-1") == "2", "dev-1 at 2")
    await world.until(lambda: world.opened.view.advances, "under way")
    await world.call("POST", "/api/v1/overlays/web:rollback", {"reason": "it breaks"})
    await world.until(lambda: value_on(world, "dev-1") == "1", "dev-1 back at 1")
    await world.until(lambda: told_on(world, "dev-1"), "written to dev-1")
    assert not told_on(world, "prod-1")


@pytest.mark.parametrize("together", [True, False])
async def test_it_does_not_come_after_the_loss_to_a_cluster_that_was_not_told_of_it(
    world: HubWorld, together: bool
) -> None:
    async with world.run():
        files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
        world.commit(files | overlay("overlays/web", {"web": config_map("web", "1")}) | {"fleet.yaml": FLEET})
        await world.until_everywhere(world.repo.head())
        await not_told_on_prod(world)
    shutil.rmtree(world.data_dir)
    marks = world.marks()
    if together:
        world.sim.cluster("prod-1").faults.clear()
    async with world.run():
        if together:
            await confirm(world, CLUSTERS)
        else:
            await confirm(world, CLUSTERS[:1], unheard=True)
            world.sim.cluster("prod-1").faults.clear()
            await confirm(world, CLUSTERS[1:])
        await world.until(lambda: all(keeps_back(world, name) for name in CLUSTERS), "waits for a person on both")
        await world.until(lambda: all(told_on(world, name) for name in CLUSTERS), "and both parents say so")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}
        assert not world.writes(marks)
        (named,) = {entry.commit for entry in world.opened.view.passages.quarantine["web"].values()}
        await world.call("POST", f"/api/v1/rollouts/{named}:resume", {"reason": "it was the database"})
        await world.until(lambda: value_on(world, "dev-1") == "2", "let in")
        assert value_on(world, "prod-1") == "1", "from its first step"


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_cluster_that_was_not_told_of_it_waits_for_the_one_that_was_or_for_a_further_word(
    world: HubWorld, is_awaited: bool
) -> None:
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    async with world.run():
        world.commit(files | overlay("overlays/web", {"web": config_map("web", "1")}) | {"fleet.yaml": AT_ONCE})
        await world.until_everywhere(world.repo.head())
        await not_told_on_prod(world)
        world.sim.cluster("dev-1").faults.add("refuse")
    shutil.rmtree(world.data_dir)
    world.sim.cluster("prod-1").faults.clear()
    async with world.run():
        await world.until(lambda: (unit := world.unit("web@prod-1")) and asks_recovery(unit), "prod-1 asks")
        status, problem = await world.recover()
        assert (status, "dev-1 was not heard yet" in str(problem)) == (409, True)
        if not is_awaited:
            await confirm(world, CLUSTERS[1:], unheard=True)
            await world.until(lambda: value_on(world, "prod-1") == "2", "by a person's word")
            return
        world.sim.cluster("dev-1").faults.clear()
        await confirm(world, CLUSTERS)
        await world.until(lambda: all(keeps_back(world, name) for name in CLUSTERS), "waits for a person on both")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}


@pytest.mark.parametrize("value", ["2", "3"])
async def test_nor_does_it_where_what_the_cluster_gets_could_not_be_built_as_it_was_confirmed(
    world: HubWorld, value: str
) -> None:
    """The commit in force is broken then, and mended later. What nobody took back goes on: the twin."""
    files = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    web = overlay("overlays/web", {"web": config_map("web", "1")})
    async with world.run():
        world.commit(files | web | {"fleet.yaml": AT_ONCE})
        await world.until_everywhere(world.repo.head())
        await not_told_on_prod(world)
    shutil.rmtree(world.data_dir)
    world.sim.cluster("prod-1").faults.clear()
    world.commit({path: "resources: [missing.yaml]" for path in web if path.endswith("kustomization.yaml")})
    marks = world.marks()
    async with world.run():
        await confirm(world, CLUSTERS)
        assert not world.writes(marks)
        world.commit(web | {"overlays/web/web.yaml": config_map("web", value)})
        if value == "3":
            await world.until(lambda: value_on(world, "prod-1") == "3", "goes on")
            return
        await world.until(lambda: all(keeps_back(world, name) for name in CLUSTERS), "waits for a person on both")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}


async def test_what_was_not_taken_back_goes_on_after_the_loss(world: HubWorld) -> None:
    """The harmless twin."""
    async with world.run():
        await roll_back(world)
        third = world.commit({"overlays/web/web.yaml": config_map("web", "3")})
        await world.until(lambda: value_on(world, "dev-1") == "3", "dev-1 at 3")
    shutil.rmtree(world.data_dir)
    async with world.run():
        await lose_and_recover(world)
        await world.until(lambda: value_on(world, "prod-1") == "3", f"{third} everywhere")


async def stays(world: HubWorld, files: dict[str, str]) -> None:
    """These files bring the result that was taken back, and it waits for a person."""
    head, view = world.commit(files), world.opened.view
    await world.until(lambda: view.head.commit == head and not view.rendering and view.waits, "taken over")
    assert {value_on(world, name) for name in CLUSTERS} == {"1"}
    assert {"was taken back by an earlier hub" in link.reason for link in view.waits.values()} == {True}


@pytest.mark.parametrize(
    ("keys", "spec"),
    [(("one", "one"), {}), (("one", "two"), {}), (("'${pin}'", "'${pin}-2'"), {"substitute": "true"})],
    ids=["beside it", "with it", "from a variable"],
)
async def test_what_holds_a_secret_does_not_come_back_under_another_key(
    world: HubWorld, keys: tuple[str, ...], spec: dict[str, str]
) -> None:
    async with world.run():
        await roll_back(world, keys, **spec)
        await world.until(lambda: all(len(told_on(world, name)) == 2 for name in CLUSTERS), "by both names")
    shutil.rmtree(world.data_dir)
    marks = world.marks()
    async with world.run():
        await lose_and_recover(world)
        await stays(world, {"README.md": "the same result under another commit"})
        assert not world.writes(marks)
        (named,) = {entry.commit for entry in world.opened.view.passages.quarantine["web"].values()} & {
            result.commit for result in world.opened.view.results.values() if isinstance(result, Rendered)
        }
        await world.call("POST", f"/api/v1/rollouts/{named}:resume", {"reason": "it was the database"})
        await world.until(lambda: value_on(world, "dev-1") == "2", "let in")


async def test_it_does_not_come_back_either_where_its_files_come_after_the_recovery(world: HubWorld) -> None:
    async with world.run():
        await roll_back(world, ("one", "two"))
        await world.until(lambda: all(len(told_on(world, name)) == 2 for name in CLUSTERS), "by both names")
        reverted = {"overlays/web/web.yaml": config_map("web", "1"), "overlays/web/key.yaml": key("one")}
        await world.until_everywhere(world.commit(reverted))
    shutil.rmtree(world.data_dir)
    async with world.run():
        await lose_and_recover(world)
        await stays(world, {"overlays/web/web.yaml": config_map("web", "2"), "overlays/web/key.yaml": key("two")})
    async with world.run():
        await world.until(lambda: world.opened.view.waits, "waits after a restart too")
        assert {value_on(world, name) for name in CLUSTERS} == {"1"}


async def test_it_stays_barred_where_a_file_with_its_variables_was_edited_before_the_loss(world: HubWorld) -> None:
    async with world.run():
        await roll_back(world, ("'${pin}'", "'${pin}-2'"), substitute="true")
        await world.until(lambda: all(len(told_on(world, name)) == 2 for name in CLUSTERS), "by both names")
        before = {name: set(told_on(world, name)) for name in CLUSTERS}
        said = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0], **PIN) for name in CLUSTERS}
        world.commit({path: f"# a comment\n{text}" for path, text in said.items()})
        await world.until(lambda: all(set(told_on(world, name)) != before[name] for name in CLUSTERS), "told anew")
        # The name of the old file goes as that of the new one comes: edits do not pile up on the parents.
        assert all(len(told_on(world, name)) == 2 for name in CLUSTERS)
    shutil.rmtree(world.data_dir)
    marks = world.marks()
    async with world.run():
        await lose_and_recover(world)
        await stays(world, {"README.md": "the same result under another commit"})
        assert not world.writes(marks)


async def test_another_secret_is_another_result(world: HubWorld) -> None:
    """The harmless twin."""
    async with world.run():
        await roll_back(world, ("one", "two"))
    shutil.rmtree(world.data_dir)
    world.commit({"overlays/web/key.yaml": key("three")})
    async with world.run():
        await lose_and_recover(world)
        await world.until(lambda: value_on(world, "prod-1") == "2", "everywhere")
