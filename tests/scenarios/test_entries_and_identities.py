"""Entries of the repo and clusters are one to one (R2): renames, twins, and what only looks like one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay

from fleet.core.ids import ClusterName
from fleet.core.status import Health, Sync


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1", "us-1")) as made:
        yield made


def first_commit() -> dict[str, str]:
    clusters = {f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "us-1")}
    objects = {"ns": namespace("shop"), **{name: config_map(name, "1", "shop") for name in ("one", "two")}}
    return {**clusters, **overlay("overlays/web", objects)}


def renamed(world: HubWorld, old: str, new: str) -> dict[str, str | None]:
    """The change of a rename; the same cluster has a credential under the new name."""
    give(world, new, old)
    return {f"clusters/{old}.yaml": None, f"clusters/{new}.yaml": cluster_file(new)}


def give(world: HubWorld, entry: str, cluster: str) -> None:
    folder = world.root / "credentials"
    folder.mkdir(exist_ok=True)
    (folder / f"{entry}.kubeconfig").write_bytes(world.sim.kubeconfig(cluster))


def owner_of(world: HubWorld, cluster: str, name: str = "one") -> str | None:
    found = world.sim.cluster(cluster).get("", "ConfigMap", "shop", name)
    return found["metadata"].get("annotations", {}).get("fleet.internal/owner")


async def told(world: HubWorld, cluster: str) -> list[str]:
    _, events = await world.call("GET", f"/api/v1/events?cluster={cluster}")
    return [event["message"] for event in events["items"]]


def is_well(world: HubWorld, unit: str) -> bool:
    found = world.unit(unit)
    return found is not None and found.sync is Sync.SYNCED and found.health is Health.HEALTHY


async def test_a_renamed_cluster_keeps_record_and_marks_and_nothing_is_written(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before, mark = world.marks(), owner_of(world, "us-1")
        second = world.commit(renamed(world, "us-1", "us-9"))
        await world.until_everywhere(second)
        await world.until(lambda: is_well(world, "web@us-9"), "well under its new name")
        assert world.writes(before, own_only=False) == {}
        assert owner_of(world, "us-1") == mark
        assert "us-1" not in world.opened.view.clusters
        assert "renamed: entry us-1 is called us-9 now; record and objects stay" in await told(world, "us-9")
        world.sim.cluster("us-1").drift("", "ConfigMap", "shop", "one", {"data": {"a": "by hand"}})
        await world.until(lambda: world.writes(before).get("us-1"), "healed under its new name")
        async with asyncio.timeout(30):  # and noted: what a stop cuts off before that is judged anew
            while not any("healed" in message for message in await told(world, "us-9")):
                await asyncio.sleep(0.02)
    async with world.run():
        await world.until_everywhere(second)
        assert world.writes(before) == {"us-1": ["patch configmaps one"]}


async def test_what_the_rename_drops_is_pruned_and_what_it_adds_applied(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = world.marks()
        change = renamed(world, "us-1", "us-9")
        change["overlays/web/three.yaml"] = config_map("three", "1", "shop")
        change["overlays/web/kustomization.yaml"] = kustomization("ns.yaml", "one.yaml", "three.yaml")
        second = world.commit(change)
        await world.until_everywhere(second)
        await world.until(lambda: is_well(world, "web@us-9"), "well")
        assert sorted(world.writes(before)["us-1"]) == ["delete configmaps two", "patch configmaps three"]


async def test_a_suspended_cluster_is_suspended_under_its_new_name(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        body = {"reason": "disk swap"}
        assert (await world.call("POST", "/api/v1/clusters/us-1:suspend", body))[0] == 200
        await world.until(lambda: world.unit("web@us-1").blocked_by, "suspended")
        before = world.marks()
        world.commit({**renamed(world, "us-1", "us-9"), "overlays/web/one.yaml": config_map("one", "2", "shop")})
        found = await world.until(lambda: (unit := world.unit("web@us-9")) and unit.blocked_by and unit, "suspended")
        assert any("disk swap" in link.reason for link in found.blocked_by)
        await world.until(lambda: world.writes(before).get("eu-1"), "the other cluster")
        assert set(world.writes(before)) == {"eu-1"}


async def test_a_cluster_that_may_be_renamed_is_kept_until_the_new_entry_says_which_it_is(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before, mark = world.marks(), owner_of(world, "us-1")
        (world.root / "credentials" / "us-9.kubeconfig").unlink(missing_ok=True)
        world.commit({"clusters/us-1.yaml": None, "clusters/us-9.yaml": cluster_file("us-9")})
        found = await world.until(
            lambda: (unit := world.unit("web@us-1")) and unit.blocked_by and unit.blocked_by[0], "kept"
        )
        assert "kept until us-9 said which cluster it is" in found.reason
    give(world, "us-9", "us-1")
    async with world.run():  # over a restart as well
        await world.until(lambda: is_well(world, "web@us-9"), "renamed")
        assert "us-1" not in world.opened.view.clusters
    assert owner_of(world, "us-1") == mark
    assert world.writes(before) == {}


async def test_a_cluster_that_goes_as_another_comes_is_let_go(world: HubWorld) -> None:
    files = first_commit()
    later = files.pop("clusters/eu-1.yaml")
    world.commit(files)
    async with world.run():
        await world.until_everywhere(world.repo.head())
        second = world.commit({"clusters/us-1.yaml": None, "clusters/eu-1.yaml": later})
        await world.until_everywhere(second)
        await world.until(lambda: "us-1" not in world.opened.view.clusters, "let go")
        assert owner_of(world, "us-1") is None
        assert owner_of(world, "eu-1")


async def test_two_entries_of_one_cluster_are_both_stopped_by_name_and_all_others_go_on(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        give(world, "eu-9", "eu-1")
        before = world.marks()
        world.commit({"clusters/eu-9.yaml": cluster_file("eu-9")})
        refused = await world.until(
            lambda: (seen := world.opened.view.clusters.get(ClusterName("eu-9"))) and seen.reason and seen, "refused"
        )
        assert (refused.reachable, refused.reason) == (False, "IdentityMismatch")
        assert "entry eu-1" in refused.message
        stopped = await world.until(lambda: world.unit("web@eu-1").blocked_by, "stopped")
        assert "entry eu-9 reaches the same cluster" in stopped[0].reason
        assert stopped[0].next == "edit clusters/eu-9.yaml:3"

        for cluster in ("eu-1", "us-1"):
            world.sim.cluster(cluster).drift("", "ConfigMap", "shop", "one", {"data": {"a": "by hand"}})
        await world.until(lambda: world.writes(before).get("us-1"), "the others go on")
        await world.until(lambda: world.unit("web@eu-1").sync is Sync.OUT_OF_SYNC, "seen")
        assert "eu-1" not in world.writes(before, own_only=False)

        mended = world.commit({"clusters/eu-9.yaml": None})
        await world.until_everywhere(mended)
        await world.until(lambda: world.writes(before).get("eu-1") == ["patch configmaps one"], "free again")
        assert owner_of(world, "eu-1")


async def test_an_entry_that_left_unreached_does_not_stop_the_one_that_took_its_cluster(world: HubWorld) -> None:
    files = first_commit()
    taken = files.pop("clusters/us-1.yaml")
    world.commit({**files, "clusters/us-8.yaml": cluster_file("us-8")})  # nobody has a credential for it
    async with world.run():
        await world.until(lambda: is_well(world, "web@eu-1"), "the other cluster")
        await world.until(lambda: world.opened.view.results, "released")
        second = world.commit({"clusters/us-8.yaml": None, "clusters/us-1.yaml": taken})
        await world.until_everywhere(second)
        unreached = world.opened.view.clusters[ClusterName("us-8")]
        assert unreached.identity is None
        before = world.marks()
        give(world, "us-8", "us-1")
        await world.until(lambda: "us-8" not in world.opened.view.clusters, "nothing to let go there")
        assert world.writes(before, own_only=False) == {}
        await world.until_everywhere(world.commit({"overlays/web/one.yaml": config_map("one", "2", "shop")}))
        assert world.writes(before) == {name: ["patch configmaps one"] for name in ("eu-1", "us-1")}


@pytest.mark.parametrize("usable", [True, False])
async def test_a_cluster_that_git_gives_to_one_entry_gets_nothing_of_another_that_reaches_it_first(
    world: HubWorld, *, usable: bool
) -> None:
    """Also where the entry cannot be used itself: its name is there twice."""
    files, identity = first_commit(), world.sim.cluster("eu-1").identity
    give(world, "eu-9", "eu-1")
    mine = cluster_file("eu-1", identity=identity, connection="{credential: not-given-yet}")
    places = ("clusters/eu-1.yaml",) if usable else ("clusters/eu-1.yaml", "clusters/twice.yaml")
    world.commit({
        **dict.fromkeys(places, mine),
        "clusters/eu-9.yaml": cluster_file("eu-9"),
        "clusters/us-1.yaml": files["clusters/us-1.yaml"],
        **overlay("overlays/web", {"ns": namespace("shop"), "one": config_map("one", "1", "shop")}),
    })  # fmt: skip
    before = world.marks()
    async with world.run():
        refused = await world.until(
            lambda: (seen := world.opened.view.clusters.get(ClusterName("eu-9"))) and seen.reason and seen, "refused"
        )
        assert (refused.reason, refused.reachable) == ("IdentityMismatch", False)
        assert "entry eu-1" in refused.message
        await world.until(lambda: is_well(world, "web@us-1"), "the other cluster")
        body = {"identity": identity, "reason": "it answers"}
        status, problem = await world.call("POST", "/api/v1/clusters/eu-9:acceptIdentity", body)
        assert (status, problem["title"]) == (422, "this identity belongs to eu-1")
        assert set(world.writes(before, own_only=False)) == {"us-1"}
        if not usable:
            world.commit(dict.fromkeys(places))  # then it is eu-9 that this cluster is
            await world.until(lambda: is_well(world, "web@eu-9"), "the only entry that reaches it")


async def test_an_entry_that_is_known_goes_on_whatever_one_says_that_cannot_be_used(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        other = cluster_file("eu-9", identity=world.sim.cluster("eu-1").identity)
        world.commit({
            **dict.fromkeys(("clusters/eu-9.yaml", "clusters/twice.yaml"), other),
            "overlays/web/one.yaml": config_map("one", "2", "shop"),
        })  # fmt: skip
        found = world.sim.cluster("eu-1")
        await world.until(lambda: found.get("", "ConfigMap", "shop", "one")["data"] == {"a": "2"}, "it goes on")


async def test_an_identity_that_git_gives_to_a_second_entry_stops_both_until_one_has_another(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = world.marks()
        identity = world.sim.cluster("eu-1").identity
        world.commit({
            "clusters/eu-9.yaml": cluster_file("eu-9", identity=identity),  # nobody has a credential for it
            "overlays/web/one.yaml": config_map("one", "2", "shop"),
        })  # fmt: skip
        stopped = await world.until(lambda: world.unit("web@eu-1").blocked_by, "stopped")
        assert "entry eu-9 has the same identity" in stopped[0].reason
        assert stopped[0].next == "edit clusters/eu-9.yaml:3"
        await world.until(lambda: world.writes(before).get("us-1"), "the other one goes on")
        assert "eu-1" not in world.writes(before, own_only=False)
        await world.until_everywhere(world.commit({"clusters/eu-9.yaml": None}))
        assert world.writes(before)["eu-1"] == ["patch configmaps one"]


async def test_two_entries_swap_their_clusters_in_one_commit_that_says_so(world: HubWorld) -> None:
    world.commit(first_commit())
    of = {name: world.sim.cluster(name).identity for name in ("eu-1", "us-1")}
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = world.marks()
        give(world, "eu-1", "us-1")
        give(world, "us-1", "eu-1")
        swapped = {"eu-1": of["us-1"], "us-1": of["eu-1"]}
        world.commit({f"clusters/{name}.yaml": cluster_file(name, identity=own) for name, own in swapped.items()})

        def reached() -> bool:
            seen = world.opened.view.clusters
            return all((found := seen.get(ClusterName(n))) and found.identity == own for n, own in swapped.items())

        await world.until(reached, "each reached as the other")
        assert all(not seen.reason for seen in world.opened.view.clusters.values())
        # What carries our marks there is in no record under this name: a person says so first (R24).
        await world.until(lambda: all(world.unit(f"web@{name}").blocked_by for name in swapped), "both ask")
        assert (await world.recover())[0] == 200
        # Git may say no more of it then.
        third = world.commit({
            **{f"clusters/{name}.yaml": cluster_file(name) for name in swapped},
            "overlays/web/one.yaml": config_map("one", "2", "shop"),
        })  # fmt: skip
        await world.until_everywhere(third)
        assert world.writes(before) == {name: ["patch configmaps one"] for name in swapped}


async def test_a_renamed_entry_with_its_identity_in_git_is_kept_until_it_was_reached(world: HubWorld) -> None:
    world.commit(first_commit())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before, mark = world.marks(), owner_of(world, "us-1")
        declared = cluster_file("us-9", identity=world.sim.cluster("us-1").identity, connection="{credential: later}")
        world.commit({"clusters/us-1.yaml": None, "clusters/us-9.yaml": declared})
        found = await world.until(
            lambda: (unit := world.unit("web@us-1")) and unit.blocked_by and unit.blocked_by[0], "kept"
        )
        assert "kept until us-9 said which cluster it is" in found.reason
        give(world, "later", "us-1")
        await world.until(lambda: is_well(world, "web@us-9"), "renamed", 60)
        assert owner_of(world, "us-1") == mark
        assert world.writes(before) == {}


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_entry_that_was_renamed_twice_keeps_its_record_over_a_name_that_never_reached_it(
    world: HubWorld, restarts: bool
) -> None:
    world.commit(first_commit())

    def declared(entry: str, credential: str) -> str:
        identity = world.sim.cluster("us-1").identity
        return cluster_file(entry, identity=identity, connection=f"{{credential: {credential}}}")

    async def first_name_is_kept() -> None:
        await world.until(lambda: (unit := world.unit("web@us-1")) and unit.blocked_by, "kept")

    async def second_rename() -> None:
        give(world, "later", "us-1")
        world.commit({"clusters/us-9.yaml": None, "clusters/us-7.yaml": declared("us-7", "later")})
        await world.until(lambda: is_well(world, "web@us-7"), "renamed", 60)
        gone = {"us-1", "us-9"}
        await world.until(lambda: not gone & {str(name) for name in world.opened.view.clusters}, "the others are over")
        assert not world.unit("web@us-7").blocked_by
        assert (await world.call("GET", "/api/v1/recovery"))[1]["items"] == []
        assert owner_of(world, "us-1") == mark
        assert world.writes(before) == {}
        third = world.commit({"overlays/web/one.yaml": config_map("one", "2", "shop")})
        await world.until_everywhere(third)
        assert world.writes(before) == {name: ["patch configmaps one"] for name in ("eu-1", "us-1")}

    async with world.run():
        await world.until_everywhere(world.repo.head())
        before, mark = world.marks(), owner_of(world, "us-1")
        world.commit({"clusters/us-1.yaml": None, "clusters/us-9.yaml": declared("us-9", "no-such-thing")})
        await first_name_is_kept()
        if not restarts:
            await second_rename()
    if restarts:
        async with world.run():
            await first_name_is_kept()
            await second_rename()
