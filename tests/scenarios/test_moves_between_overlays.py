"""An object that moves to another overlay keeps its UID, however little of the commit is known yet (R5, R9, R16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, overlay
from testbed.gitrepo import Content

from fleet.core.ids import UnitName
from fleet.core.status import Health, Standing, Sync
from fleet.render.service import Renderer

NAMES = tuple("abcdefghijx")
CLUSTERS = ("dev-1", "prod-1")
WEB, SHOP, STORE = "overlays/web", "overlays/zshop", "overlays/store"
STEPS = "{steps: [{name: dev, environments: [dev]}, {name: ok, approve: 1}, {name: prod, rest: true}]}"
FLEET = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec:\n  environments: [dev, prod]\n"
SHOP_WITH_X = kustomization("s.yaml", "x.yaml")
Files = dict[str, Content]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        yield made


def base(fleet: str = "", **web: str) -> Files:
    files: Files = {f"clusters/{name}.yaml": cluster_file(name, name.partition("-")[0]) for name in CLUSTERS}
    files |= overlay(WEB, {name: config_map(name, "1") for name in NAMES}, **web)
    files |= overlay(SHOP, {"s": config_map("s", "1")})
    return files | ({"fleet.yaml": f"{FLEET}  rollout: {fleet}\n"} if fleet else {})


def moved(*more: str) -> Files:
    """x goes from web to zshop. more: what zshop lists beside it."""
    return dropped() | {
        f"{SHOP}/x.yaml": config_map("x", "1"),
        f"{SHOP}/kustomization.yaml": kustomization("s.yaml", "x.yaml", *more),
    }


def dropped() -> Files:
    listed = (f"{name}.yaml" for name in NAMES if name != "x")
    return {f"{WEB}/kustomization.yaml": kustomization(*listed), f"{WEB}/x.yaml": None}


def renamed(*more: str) -> Files:
    """web is called store from now on. more: what it lists beside its objects."""
    gone: Files = {path: None for path in base() if path.startswith(f"{WEB}/")}
    files = gone | overlay(STORE, {name: config_map(name, "1") for name in NAMES})
    listed = kustomization(*(f"{name}.yaml" for name in NAMES), *more)
    return files | ({f"{STORE}/kustomization.yaml": listed} if more else {})


def live(world: HubWorld, cluster: str, name: str) -> Mapping[str, Any] | None:
    return world.sim.cluster(cluster).get("", "ConfigMap", "default", name)


def uids(world: HubWorld, names: Collection[str] = NAMES) -> dict[tuple[str, str], str]:
    found = {(cluster, name): live(world, cluster, name) for cluster in CLUSTERS for name in names}
    return {place: item["metadata"]["uid"] for place, item in found.items() if item is not None}


def owners(world: HubWorld, cluster: str, names: Collection[str] = NAMES) -> set[str]:
    found = (live(world, cluster, name) for name in names)
    notes = [item["metadata"].get("annotations", {}) if item is not None else {} for item in found]
    return {note.get("fleet.internal/owner", "").rpartition("/")[2] for note in notes}


def deleted(world: HubWorld) -> list[tuple[str, str]]:
    return [
        (name, entry.name)
        for name, cluster in world.sim.clusters.items()
        for entry in cluster.ledger
        if entry.verb in {"delete", "deletecollection"} and entry.landed and entry.namespace != "fleet-system"
    ]


def waits(world: HubWorld, unit: str, words: str) -> bool:
    report = world.unit(unit)
    said = [link.reason for link in report.blocked_by if link.state is Standing.WAITS] if report else []
    return any(words in reason for reason in (*said, report.message if report else ""))


def asks(world: HubWorld) -> bool:
    return any(unit.holds for unit in world.opened.view.units.values())


async def taken(world: HubWorld, commit: str) -> None:
    view = world.opened.view
    await world.until(lambda: view.head.commit == commit and not view.rendering, "taken over")


async def let_on(world: HubWorld, commit: str) -> None:
    """A person lets the step of prod begin."""
    path, body = f"/api/v1/rollouts/{commit}:approve", {"step": "ok", "reason": "looks well"}
    assert (await world.call("POST", path, body))[0] == 202


@asynccontextmanager
async def building(monkeypatch: pytest.MonkeyPatch, overlay_name: str) -> AsyncIterator[None]:
    """Builds of this overlay end no sooner than the block."""
    go_on, real = asyncio.Event(), Renderer.render

    async def late(self: Renderer, snapshot: Any, request: Any) -> Any:
        if overlay_name in str(request):
            await go_on.wait()
        return await real(self, snapshot, request)

    monkeypatch.setattr(Renderer, "render", late)
    try:
        yield
    finally:
        go_on.set()


async def test_a_move_within_one_commit_keeps_the_uid_and_asks_nobody(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        await world.until_everywhere(world.commit(moved()))
        assert uids(world) == before
        assert deleted(world) == []
        assert not asks(world)
        assert owners(world, "prod-1", "x") == {"zshop"}


async def test_what_moves_to_an_overlay_that_is_still_being_built_stays(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        async with building(monkeypatch, "zshop"):
            commit = world.commit(moved())
            for unit in ("web@dev-1", "web@prod-1"):
                await world.until(lambda unit=unit: waits(world, unit, "zshop, which is being built"), "waits")
                report = world.unit(unit)
                assert (report.sync, report.health) == (Sync.SYNCED, Health.HEALTHY)
            assert not asks(world)
        await world.until_everywhere(commit)
        await world.until(lambda: owners(world, "prod-1", "x") == {"zshop"}, "moved")
        assert uids(world) == before
        assert deleted(world) == []


async def test_what_moves_to_an_overlay_that_cannot_be_built_stays_until_it_is_mended(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        await taken(world, world.commit(moved("nope.yaml")))
        await world.until(lambda: waits(world, "web@prod-1", "zshop, which cannot be built: "), "waits")
        await world.until_everywhere(world.commit({f"{SHOP}/kustomization.yaml": kustomization("s.yaml", "x.yaml")}))
        await world.until(lambda: owners(world, "prod-1", "x") == {"zshop"}, "moved")
        assert uids(world) == before
        assert deleted(world) == []


async def test_a_deletion_goes_as_soon_as_the_overlay_that_was_broken_is_known_not_to_want_it(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        broken = {f"{SHOP}/kustomization.yaml": kustomization("s.yaml", "nope.yaml")}
        await taken(world, world.commit({**dropped(), **broken}))
        await world.until(lambda: waits(world, "web@prod-1", "x stays: may move to zshop"), "waits")
        changed = {f"{WEB}/a.yaml": config_map("a", "2")}  # nothing else of the overlay waits for that
        await taken(world, world.commit(changed))
        await world.until(lambda: (live(world, "prod-1", "a") or {})["data"] == {"a": "2"}, "applied meanwhile")
        assert deleted(world) == []
        await world.until_everywhere(world.commit({f"{SHOP}/kustomization.yaml": kustomization("s.yaml")}))
        await world.until(lambda: sorted(deleted(world)) == [("dev-1", "x"), ("prod-1", "x")], "deleted")
        assert not asks(world)


async def test_a_real_deletion_goes_at_once_beside_an_overlay_that_is_well(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.until_everywhere(world.commit({**dropped(), f"{SHOP}/s.yaml": config_map("s", "2")}))
        await world.until(lambda: sorted(deleted(world)) == [("dev-1", "x"), ("prod-1", "x")], "deleted")
        assert not asks(world)


async def test_what_moves_to_an_overlay_that_waits_for_its_step_stays_and_asks_nobody(world: HubWorld) -> None:
    """The giver goes to all clusters at once, the receiver by steps, and a person lets its second one begin."""
    world.commit(base(STEPS, rollout="{steps: []}"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        commit = world.commit(moved())
        await taken(world, commit)
        await world.until(lambda: owners(world, "dev-1", "x") == {"zshop"}, "moved on dev")
        await world.until(lambda: waits(world, "web@prod-1", "moves to zshop once that is released here"), "waits")
        assert not asks(world)
        assert world.unit("web@prod-1").sync is Sync.SYNCED
        await let_on(world, commit)
        await world.until(lambda: owners(world, "prod-1", "x") == {"zshop"}, "moved on prod")
        await world.until_everywhere(commit)
        assert uids(world) == before
        assert deleted(world) == []


@pytest.mark.parametrize("way", ["at once", "still being built", "cannot be built at first"])
async def test_an_overlay_that_is_renamed_keeps_all_uids_and_marks(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        if way == "still being built":
            async with building(monkeypatch, "store"):
                commit = world.commit(renamed())
                await world.until(
                    lambda: waits(world, "web@prod-1", "may move to store, which is being built"), "waits"
                )
                assert owners(world, "prod-1") == {"web"}
        elif way == "cannot be built at first":
            await taken(world, world.commit(renamed("nope.yaml")))
            await world.until(lambda: waits(world, "web@prod-1", "may move to store, which cannot be built"), "waits")
            assert owners(world, "prod-1") == {"web"}
            listed = kustomization(*(f"{name}.yaml" for name in NAMES))
            commit = world.commit({f"{STORE}/kustomization.yaml": listed, f"{STORE}/a.yaml": config_map("a", "2")})
        else:
            commit = world.commit(renamed())
        await world.until_everywhere(commit)
        await world.until(lambda: world.unit("web@prod-1") is None and world.unit("web@dev-1") is None, "let go")
        assert uids(world) == before
        assert owners(world, "prod-1") == owners(world, "dev-1") == {"store"}
        assert deleted(world) == []


async def test_an_overlay_that_is_renamed_goes_by_its_steps(world: HubWorld) -> None:
    world.commit(base(STEPS))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        commit = world.commit(renamed())
        await world.until(lambda: owners(world, "dev-1") == {"store"}, "taken over on dev")
        await world.until(lambda: waits(world, "web@prod-1", "to store once that is released here"), "waits")
        assert owners(world, "prod-1") == {"web"}
        await let_on(world, commit)
        await world.until_everywhere(commit)
        await world.until(lambda: world.unit("web@prod-1") is None, "let go")
        assert uids(world) == before
        assert owners(world, "prod-1") == {"store"}
        assert deleted(world) == []


def says_so(world: HubWorld, unit: str) -> bool:
    report = world.unit(unit)
    following = "fleet resume unit web@prod-1 --owner local-admin"
    return any(
        (link.state, link.scope, link.next) == (Standing.SUSPENDED, "unit web@prod-1", following)
        and "moves here from web, which is suspended by local-admin: freeze" in link.reason
        for link in (report.blocked_by if report else ())
    )


@pytest.mark.parametrize(("change", "to"), [(moved, "zshop"), (renamed, "store")], ids=["one object", "all"])
async def test_what_a_suspended_unit_has_moves_once_that_is_resumed(world: HubWorld, change: Any, to: str) -> None:
    """Nobody writes to it meanwhile, also after a restart; on the other cluster it moves at once."""
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.call("POST", "/api/v1/units/web@prod-1:suspend", {"reason": "freeze"})
        await world.until(lambda: (unit := world.unit("web@prod-1")) and unit.blocked_by, "suspended")
        uids_before, before = uids(world), world.marks()
        commit = world.commit(change())
        await world.until(lambda: owners(world, "dev-1", "x") == {to}, "moved on dev")
        await world.until(lambda: says_so(world, f"{to}@prod-1"), "waits")
        assert "prod-1" not in world.writes(before)
    async with world.run():
        await world.until(lambda: world.opened.view.head.commit == commit, "up")
        started = world.opened.view.units[UnitName.parse(f"{to}@prod-1")].observed_at
        await world.until(lambda: world.unit(f"{to}@prod-1").observed_at > started, "looked at again")
        await world.until(lambda: says_so(world, f"{to}@prod-1"), "what the other unit has is known again")
        words = "moves here from web, which is suspended by local-admin: freeze"
        x = next(item for item in world.unit(f"{to}@prod-1").objects if item.ref.name == "x")
        assert (x.sync, x.message) == (Sync.OUT_OF_SYNC, words)
        assert "prod-1" not in world.writes(before)
        assert owners(world, "prod-1") == {"web"}
        assert (await world.call("POST", "/api/v1/units/web@prod-1:resume", {}))[0] == 200
        await world.until(lambda: owners(world, "prod-1", "x") == {to}, "moved")
        await world.until_everywhere(commit)
        assert uids(world) == uids_before
        assert deleted(world) == []
        assert not world.unit(f"{to}@prod-1").blocked_by


async def test_a_sync_of_what_waits_for_a_suspended_unit_is_refused_with_the_reason(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        await world.call("POST", "/api/v1/units/web@prod-1:suspend", {"reason": "freeze"})
        await world.until(lambda: (unit := world.unit("web@prod-1")) and unit.blocked_by, "suspended")
        world.commit(moved())
        await world.until(lambda: says_so(world, "zshop@prod-1"), "waits")
        _, asked = await world.call("POST", "/api/v1/units/zshop@prod-1:sync", {})
        answer: Any = {}
        while not answer.get("outcome"):
            _, answer = await world.call("GET", f"/api/v1/operations/{asked['id']}")
            await asyncio.sleep(0.05)
        assert answer["outcome"] == "refused", answer
        assert "x moves here from web, which is suspended by local-admin: freeze" in answer["message"]


async def test_an_overlay_that_goes_leaves_its_objects_at_once(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        await world.until_everywhere(world.commit({path: None for path in base() if path.startswith(f"{WEB}/")}))
        await world.until(lambda: owners(world, "prod-1") == owners(world, "dev-1") == {""}, "let go")
        assert uids(world) == before


async def test_a_hub_that_is_killed_before_the_receiver_is_known_goes_on_with_the_move(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
    before = uids(world)
    async with AsyncExitStack() as stack, world.run(kill=True):
        await taken(world, world.repo.head())
        await stack.enter_async_context(building(monkeypatch, "zshop"))
        commit = world.commit(moved())
        await world.until(lambda: waits(world, "web@prod-1", "zshop, which is being built"), "waits")
    async with world.run():
        await world.until_everywhere(commit)
        await world.until(lambda: owners(world, "prod-1", "x") == {"zshop"}, "moved")
        assert uids(world) == before
        assert deleted(world) == []


async def test_a_cluster_that_a_label_moves_to_another_overlay_keeps_its_objects(world: HubWorld) -> None:
    def files(color: str) -> Files:
        made: Files = {f"clusters/{name}.yaml": cluster_file(name, name.partition("-")[0]) for name in CLUSTERS}
        made["clusters/prod-1.yaml"] = cluster_file("prod-1").replace("labels: {", f"labels: {{color: {color}, ")
        for name, of in (("web", "blue"), ("store", "green")):
            chosen = f"[{{matchLabels: {{color: {of}}}}}]"
            made |= overlay(f"overlays/{name}", {each: config_map(each, of) for each in NAMES}, clusters=chosen)
        return made

    world.commit(files("blue"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        await world.until_everywhere(world.commit(files("green")))
        await world.until(lambda: world.unit("web@prod-1") is None, "let go")
        assert owners(world, "prod-1") == {"store"}
        assert uids(world) == before
        assert deleted(world) == []


async def test_what_moves_out_of_an_overlay_that_is_removed_stays_while_its_receiver_cannot_be_read(
    world: HubWorld,
) -> None:
    """`state: absent` drops all, and the file of the overlay that takes it does not parse at first."""
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before = uids(world)
        store = overlay(STORE, {name: config_map(name, "1") for name in NAMES})
        absent: Files = {f"{WEB}/overlay.yaml": base(state="absent")[f"{WEB}/overlay.yaml"]}
        await taken(world, world.commit({**absent, **store, f"{STORE}/overlay.yaml": "kind: Overlay\nspec: ["}))
        await world.until(lambda: waits(world, "web@prod-1", "which cannot be read: "), "waits")
        assert not asks(world)
        await world.until_everywhere(world.commit({f"{STORE}/overlay.yaml": store[f"{STORE}/overlay.yaml"]}))
        await world.until(lambda: owners(world, "prod-1") == owners(world, "dev-1") == {"store"}, "moved")
        assert uids(world) == before
        assert deleted(world) == []


async def test_what_two_overlays_claim_neither_heals_and_both_name_until_one_gives_it_up(world: HubWorld) -> None:
    world.commit(base())
    async with world.run():
        await world.until_everywhere(world.repo.head())
        before, prod = uids(world), world.sim.cluster("prod-1")
        world.commit({f"{SHOP}/x.yaml": config_map("x", "1"), f"{SHOP}/kustomization.yaml": SHOP_WITH_X})
        for unit in ("web@prod-1", "zshop@prod-1"):
            await world.until(lambda name=unit: world.unit(name).reason == "OwnedByOther", f"refused to {unit}")
        marks = world.marks()
        for name in ("x", "a"):
            prod.drift("", "ConfigMap", "default", name, {"data": {"a": "by hand"}})
        await world.until(lambda: value(world, "a") == "1", "what one overlay alone claims is healed")
        await world.until(lambda: drifted(world, "web@prod-1"), "what two claim is named")
        assert value(world, "x") == "by hand"
        assert world.writes(marks)["prod-1"] == ["patch configmaps a"]
        world.commit({f"{SHOP}/x.yaml": None, f"{SHOP}/kustomization.yaml": kustomization("s.yaml")})
        for unit in ("web@prod-1", "zshop@prod-1"):
            await world.until(lambda name=unit: is_well(world, name), f"{unit} is well again", seconds=60)
        assert value(world, "x") == "1"
        assert uids(world) == before
        assert deleted(world) == []


def value(world: HubWorld, name: str) -> str:
    found = live(world, "prod-1", name)
    return found["data"]["a"] if found else ""


def drifted(world: HubWorld, name: str) -> bool:
    return any(item.ref.name == "x" and item.sync is Sync.OUT_OF_SYNC for item in world.unit(name).objects)


def is_well(world: HubWorld, name: str) -> bool:
    unit = world.unit(name)
    return (unit.sync, unit.reason, [item.message for item in unit.objects if item.reason]) == (Sync.SYNCED, "", [])
