"""The Renderer port: built once, kept sealed, nothing rendered after a restart, no clear Secret value anywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from render.world import KEY, SMALL, MemoryVault, World, bodies, commit, config_map

from fleet.core.ids import Digest
from fleet.core.objects import SEALED_PREFIX, unsealed
from fleet.errors import (
    DocumentInvalid,
    RenderFailed,
    RenderInterrupted,
    RenderTimeout,
    RenderTooLarge,
    StateDamaged,
    StateNotWritable,
    VariableUnknown,
)
from fleet.ports.render import RenderRequest
from fleet.render import results
from fleet.render.cache import DiskCache, MemoryCache
from fleet.render.service import Renderer

APP = RenderRequest("app")
SECRET = "hunter2-hunter2"
WITH_SECRET = {
    "app/kustomization.yaml": (
        "namespace: shop\nresources: [secret.yaml]\n"
        "secretGenerator:\n  - {name: made, literals: [token=hunter2-hunter2]}\n"
    ),
    "app/secret.yaml": (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  annotations:\n"
        '    kubectl.kubernetes.io/last-applied-configuration: \'{"stringData":{"password":"hunter2-hunter2"}}\'\n'
        "stringData: {password: hunter2-hunter2}\n"
    ),
}


def facts(name: str = "eu-1", **variables: object) -> bytes:
    said = {
        "name": name,
        "environment": "prod",
        "location": "public",
        "labels": {"region": "eu"},
        "variables": variables,
    }
    return json.dumps(said).encode()


async def test_concurrent_callers_share_one_build(make_renderer: Callable[..., Renderer]) -> None:
    renderer = make_renderer(workers=2)
    snapshot = commit(SMALL)
    found = await asyncio.gather(*(renderer.render(snapshot, RenderRequest("app")) for _ in range(20)))
    assert renderer.stats.builds == 1
    assert len({bundle.digest for bundle in found}) == 1


async def test_a_cancelled_caller_does_not_take_the_result_from_others(make_renderer: Callable[..., Renderer]) -> None:
    renderer = make_renderer()
    first = asyncio.create_task(renderer.render(commit(SMALL), RenderRequest("app")))
    second = asyncio.create_task(renderer.render(commit(SMALL), RenderRequest("app")))
    while not renderer.stats.builds:
        await asyncio.sleep(0)
    first.cancel()
    assert len((await second).objects) == 1
    assert renderer.stats.builds == 1


async def test_a_failed_build_is_not_repeated_until_its_input_changes(world: World) -> None:
    broken = {**SMALL, "app/settings.yaml": "apiVersion: v1\n"}
    for _ in range(3):
        with pytest.raises(RenderFailed):
            await world.render(broken)
    with pytest.raises(RenderFailed):
        await world.render({**broken, "elsewhere.txt": "x"})
    assert world.renderer.stats.builds == 1
    assert len((await world.render(SMALL)).objects) == 1


async def test_what_runs_into_its_time_limit_is_built_again_ever_later(
    make_renderer: Callable[..., Renderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, loop, now = make_renderer()._results, asyncio.get_running_loop(), [1e6]
    tries: list[float] = []

    async def make() -> bytes:
        tries.append(now[0])
        raise RenderTimeout("too long")

    monkeypatch.setattr(loop, "time", lambda: now[0])
    for _ in range(4 * 60):
        with pytest.raises(RenderTimeout):
            await kept.bundle_at(Digest("0" * 64), make)
        now[0] += 60.0
    minutes = [round((one - tries[0]) / 60) for one in tries]
    assert minutes == [0, 6, 17, 38, 79, 140, 201], "5, 10, 20 and 40 minutes, then an hour, each up to the next ask"


async def test_what_is_asked_for_only_where_it_is_kept_is_not_built(world: World) -> None:
    requests = [APP, RenderRequest("app", facts=facts(size="1"), substitute=True)]
    for request in requests:
        with pytest.raises(RenderInterrupted, match="not built yet"):
            await world.renderer.render(commit(SMALL), request, only_kept=True)
    assert (world.renderer.stats.builds, world.renderer.stats.finishes) == (0, 0)
    built = [await world.renderer.render(commit(SMALL), request) for request in requests]
    assert [await world.renderer.render(commit(SMALL), request, only_kept=True) for request in requests] == built
    other = RenderRequest("app", facts=facts("eu-2", size="2"), substitute=True)
    assert (await world.renderer.render(commit(SMALL), other, only_kept=True)).digest == built[1].digest


class CountingCache(MemoryCache):
    """Notes what is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Digest] = []

    async def get(self, key: Digest) -> bytes | None:
        self.asked.append(key)
        return await super().get(key)


async def test_clusters_with_the_same_input_look_it_up_once(make_renderer: Callable[..., Renderer]) -> None:
    cache = CountingCache()
    renderer = make_renderer(cache=cache)
    built = await renderer.render(commit(SMALL), RenderRequest("app", facts=facts("eu-0")))
    cache.asked.clear()
    found = [await renderer.render(commit(SMALL), RenderRequest("app", facts=facts(f"eu-{n}"))) for n in range(1, 9)]
    assert found == [built] * 8
    assert len(cache.asked) == 1


async def test_an_input_whose_bundle_was_swept_is_built_again_once(make_renderer: Callable[..., Renderer]) -> None:
    cache = CountingCache()
    renderer = make_renderer(cache=cache)
    *_, before = [await renderer.render(commit(SMALL), RenderRequest("app")) for _ in range(3)]
    del cache._entries[before.digest]
    renderer._results._bundles.clear()
    assert [await renderer.render(commit(SMALL), RenderRequest("app")) for _ in range(3)] == [before] * 3
    assert renderer.stats.builds == 2


async def test_a_restart_renders_nothing(make_renderer: Callable[..., Renderer], tmp_path: Path) -> None:
    vault = MemoryVault()
    first = make_renderer(cache=DiskCache(tmp_path / "cache", KEY), vault=vault)
    requests = [RenderRequest("app"), RenderRequest("app", facts=facts(), substitute=True)]
    before = [await first.render(commit(WITH_SECRET), request) for request in requests]
    again = make_renderer(cache=DiskCache(tmp_path / "cache", KEY), vault=vault)
    after = [await again.render(commit(WITH_SECRET), request) for request in requests]
    assert after == before
    assert (again.stats.builds, again.stats.finishes) == (0, 0)
    assert await again.bundle(before[0].digest) == before[0]


async def test_no_clear_secret_value_is_kept(make_renderer: Callable[..., Renderer], tmp_path: Path) -> None:
    vault = MemoryVault()
    renderer = make_renderer(cache=DiskCache(tmp_path / "cache", KEY), vault=vault)
    plain = await renderer.render(commit(WITH_SECRET), RenderRequest("app"))
    filled = await renderer.render(commit(WITH_SECRET), RenderRequest("app", substitute=True))
    assert plain.digest == filled.digest
    needles = (SECRET.encode(), base64.b64encode(SECRET.encode()))
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    for content in [*kept, *(made.body for made in plain.objects)]:
        assert not any(needle in content for needle in needles)
    sealed = bodies(plain)["Secret/db"]
    assert sealed["data"]["password"].startswith(SEALED_PREFIX)
    assert "stringData" not in sealed
    clear = unsealed(sealed, vault.values)
    assert base64.b64decode(str(clear["data"]["password"])).decode() == SECRET


ODD = "918273645"
ODD_VALUES = ("{pin: 918273645}", "{pin: 918273645.5}", "{pin: [918273645]}", "{pin: {is: '918273645'}}", "[918273645]")


@pytest.mark.parametrize("part", ["data", "stringData"])
@pytest.mark.parametrize("values", [*ODD_VALUES, "{pin: true}"])
async def test_a_secret_value_that_is_no_text_is_refused_and_kept_nowhere(
    make_renderer: Callable[..., Renderer], tmp_path: Path, values: str, part: str
) -> None:
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: shop}}\n{part}: {values}\n"
    texts = {"app/kustomization.yaml": "resources: [db.yaml]\n", "app/db.yaml": secret}
    renderer = make_renderer(cache=DiskCache(tmp_path / "cache", KEY))
    with pytest.raises(DocumentInvalid, match="Secret shop/db cannot be used") as refused:
        await renderer.render(commit(texts), RenderRequest("app", facts=facts(), substitute=True))
    assert ODD not in str(refused.value)
    assert refused.value.where.startswith(f"app: {part}")
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


def secret_of(more: str) -> dict[str, str]:
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: shop}}\n{more}\n"
    return {"app/kustomization.yaml": "resources: [db.yaml]\n", "app/db.yaml": secret}


@pytest.mark.parametrize(
    ("part", "value"), [("stringData", SECRET), ("data", base64.b64encode(SECRET.encode()).decode())]
)
async def test_a_variable_may_be_all_values_of_a_secret_and_is_sealed(
    make_renderer: Callable[..., Renderer], tmp_path: Path, part: str, value: str
) -> None:
    vault = MemoryVault()
    renderer = make_renderer(cache=DiskCache(tmp_path / "cache", KEY), vault=vault)
    asked = RenderRequest("app", facts=facts(creds={"password": value}), substitute=True)
    bundle = await renderer.render(commit(secret_of(f"{part}: '${{creds}}'")), asked)
    clear = unsealed(bodies(bundle)["Secret/db"], vault.values)
    assert clear["data"] == {"password": base64.b64encode(SECRET.encode()).decode()}
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert any(b"${creds}" in content for content in kept)
    assert not any(value.encode() in content for content in kept)


@pytest.mark.parametrize("part", ["data", "stringData"])
@pytest.mark.parametrize(
    "values",
    [
        "${text}",
        "${list}",
        "${number}",
        "${creds}x",
        "x${creds}",
        "${creds:=" + ODD + "}",
        "$${creds}",
        "$creds",
        ODD + "x",
    ],
)
async def test_a_text_in_place_of_the_values_of_a_secret_is_refused(world: World, part: str, values: str) -> None:
    said = facts(creds={"pin": "x"}, text=ODD, list=[ODD], number=int(ODD))
    with pytest.raises(DocumentInvalid, match="not a mapping") as refused:
        await world.render(secret_of(f"{part}: '{values}'"), substitute=True, facts=said)
    assert ODD not in str(refused.value)


async def test_a_secret_that_takes_no_variables_has_no_variable_for_its_values(world: World) -> None:
    texts = secret_of("stringData: '${creds}'")
    unwilling = "namespace: shop, annotations: {fleet.internal/substitute: disabled}"
    texts["app/db.yaml"] = texts["app/db.yaml"].replace("namespace: shop", unwilling)
    with pytest.raises(DocumentInvalid, match="not a mapping"):
        await world.render(texts, substitute=True, facts=facts(creds={"pin": "x"}))


async def test_texts_and_empty_values_of_a_secret_pass_before_substitution(world: World) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\ndata: {none: null}\n"
    texts = {
        "app/kustomization.yaml": "resources: [db.yaml]\n",
        "app/db.yaml": f"{secret}stringData: {{pin: '{ODD}'}}\n",
    }
    for asked in ({}, {"substitute": True, "facts": facts()}):
        bundle = await world.render(texts, **asked)
        clear = unsealed(bodies(bundle)["Secret/db"], world.renderer._builder._vault.values)
        assert clear["data"] == {"none": "", "pin": base64.b64encode(ODD.encode()).decode()}


async def test_a_bundle_whose_secrets_are_lost_is_built_again(make_renderer: Callable[..., Renderer]) -> None:
    first = make_renderer()
    await first.render(commit(WITH_SECRET), RenderRequest("app"))
    again = make_renderer(cache=first._results._cache, vault=MemoryVault())
    await again.render(commit(WITH_SECRET), RenderRequest("app"))
    assert again.stats.builds == 1


@pytest.mark.parametrize("is_there", [True, False])
async def test_what_is_held_is_read_also_while_nothing_can_be_written(
    make_renderer: Callable[..., Renderer], is_there: bool
) -> None:
    """Or a full disk would end the sessions of all clusters that look at what they hold."""

    class FullVault(MemoryVault):
        async def use(self, result: Digest, names: Collection[str]) -> bool:
            raise StateNotWritable("the state cannot be written", why="the disk is full")

    first, full = make_renderer(), FullVault()
    held = await first.render(commit(WITH_SECRET), RenderRequest("app"))
    full.values.update(first._builder._vault.values if is_there else {})
    again = make_renderer(cache=first._results._cache, vault=full)
    if is_there:
        assert await again.bundle(held.digest) == held
    else:
        with pytest.raises(StateDamaged):
            await again.bundle(held.digest)


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize("substitute", [True, False])
async def test_what_lost_its_values_to_a_sweep_is_built_again_and_what_is_held_loses_none(
    make_renderer: Callable[..., Renderer], is_held: bool, substitute: bool
) -> None:
    vault, asked = MemoryVault(), RenderRequest("app", facts=facts(), substitute=substitute)
    first = make_renderer(vault=vault)
    first.spare(tuple)
    held = await first.render(commit(WITH_SECRET), asked)
    clear = unsealed(bodies(held)["Secret/db"], vault.values)
    again = make_renderer(cache=first._results._cache, vault=vault)
    again.spare(lambda: {held.digest} if is_held else ())
    gone = await again.sweep_values()
    assert gone == (0 if is_held else 1) + (2 if substitute else 0)  # its template, which no unit holds, has its own
    assert await again.render(commit(WITH_SECRET), asked) == held
    assert again.stats.builds == (1 if substitute or not is_held else 0)
    assert unsealed(bodies(held)["Secret/db"], vault.values) == clear


@pytest.mark.parametrize("substitute", [True, False])
async def test_secret_values_beyond_their_limit_are_refused_at_the_file_that_holds_them(
    world: World, substitute: bool
) -> None:
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s%d, namespace: shop}\nstringData:\n"
    texts = {"app/kustomization.yaml": "resources: [" + ", ".join(f"s{n}.yaml" for n in range(17)) + "]\n"}
    for number in range(17):
        texts[f"app/s{number}.yaml"] = head % number + f"  a: '{number:02}{'x' * 1_000_000}'\n"
    with pytest.raises(RenderTooLarge, match="the Secret values of this build are too large") as refused:
        await world.render(texts, substitute=substitute, facts=facts())
    assert refused.value.where.startswith("app/s")
    assert "xxx" not in str(refused.value)
    texts["app/kustomization.yaml"] = texts["app/kustomization.yaml"].replace(", s16.yaml", "")
    assert len((await world.render(texts, substitute=substitute, facts=facts())).objects) == 16


async def test_what_is_in_memory_loses_no_value(make_renderer: Callable[..., Renderer]) -> None:
    vault = MemoryVault()
    renderer = make_renderer(vault=vault)
    renderer.spare(tuple)
    made = await renderer.render(commit(WITH_SECRET), APP)
    assert await renderer.sweep_values() == 0
    assert unsealed(bodies(await renderer.bundle(made.digest))["Secret/db"], vault.values)


async def test_a_sweep_reads_what_values_from_before_are_in_use(make_renderer: Callable[..., Renderer]) -> None:
    vault = MemoryVault()
    first = make_renderer(vault=vault)
    held = await first.render(commit(WITH_SECRET), APP)
    vault.uses = {Digest(""): frozenset(vault.values)}  # as the migration of the store notes them
    again = make_renderer(cache=first._results._cache, vault=vault)
    again.spare(lambda: {held.digest, Digest("f" * 64)})
    assert await again.sweep_values() == 0
    assert unsealed(bodies(held)["Secret/db"], vault.values)
    assert (again.stats.builds, dict(again._results._bundles)) == (0, {})


async def test_where_nobody_can_say_what_is_in_use_no_value_goes(make_renderer: Callable[..., Renderer]) -> None:
    vault = MemoryVault()
    renderer = make_renderer(vault=vault)
    await renderer.render(commit(WITH_SECRET), APP)
    renderer.spare(lambda: {}["a bug"])
    before = dict(vault.values)
    with pytest.raises(KeyError):
        await renderer.sweep_values()
    assert vault.values == before


async def test_the_name_of_a_value_that_is_gone_is_never_filled_in_for_it(
    make_renderer: Callable[..., Renderer],
) -> None:
    vault, asked = MemoryVault(), RenderRequest("app", facts=facts(), substitute=True)
    renderer = make_renderer(vault=vault)
    get, asks = vault.get, 0

    async def loses_it_after_the_template(names):
        nonlocal asks
        asks += 1
        return await get(names) if asks > 1 else {}

    vault.get = loses_it_after_the_template
    with pytest.raises(RenderInterrupted, match="could not be filled in") as refused:
        await renderer.render(commit(WITH_SECRET), asked)
    assert "2 of its Secret values" in refused.value.why
    made = await renderer.render(commit(WITH_SECRET), asked)
    clear = unsealed(bodies(made)["Secret/db"], vault.values)
    assert clear["data"] == {"password": base64.b64encode(SECRET.encode()).decode()}


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_result_that_a_unit_holds_outlives_all_that_is_rendered_since(
    make_renderer: Callable[..., Renderer], tmp_path: Path, is_held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_BUNDLE_BYTES", 1)
    vault = MemoryVault()
    renderer = make_renderer(cache=DiskCache(tmp_path / "cache", KEY, cap_bytes=20_000), vault=vault)
    held = await renderer.render(commit(WITH_SECRET), RenderRequest("app", facts=facts(), substitute=True))
    renderer = make_renderer(cache=DiskCache(tmp_path / "cache", KEY, cap_bytes=20_000), vault=vault)
    renderer.spare(lambda: {held.digest} if is_held else ())
    for number in range(8):
        await renderer.render(commit({**SMALL, "app/settings.yaml": config_map(size=str(number) * 4000)}), APP)
    again = make_renderer(cache=DiskCache(tmp_path / "cache", KEY), vault=vault)
    if is_held:
        assert await again.bundle(held.digest) == held
    else:
        with pytest.raises(StateDamaged, match="is not there"):
            await again.bundle(held.digest)


async def test_a_result_in_memory_is_not_swept_before_a_unit_holds_it(
    make_renderer: Callable[..., Renderer], tmp_path: Path
) -> None:
    renderer = make_renderer(cache=DiskCache(tmp_path / "cache", KEY, cap_bytes=20_000))
    renderer.spare(tuple)
    found = [
        await renderer.render(commit({**SMALL, "app/settings.yaml": config_map(size=str(number) * 4000)}), APP)
        for number in range(8)
    ]
    again = make_renderer(cache=DiskCache(tmp_path / "cache", KEY))
    assert [await again.bundle(bundle.digest) for bundle in found] == found


async def test_digests_of_secrets_are_keyed(make_renderer: Callable[..., Renderer]) -> None:
    one = await make_renderer().render(commit(WITH_SECRET), RenderRequest("app"))
    same = await make_renderer().render(commit(WITH_SECRET), RenderRequest("app"))
    other = await make_renderer(key=b"another key").render(commit(WITH_SECRET), RenderRequest("app"))
    assert one.digest == same.digest != other.digest


async def test_an_unknown_bundle_is_an_error_and_never_an_empty_one(make_renderer: Callable[..., Renderer]) -> None:
    with pytest.raises(StateDamaged):
        await make_renderer().bundle(Digest("0" * 64))


async def test_generated_names_are_recognised(world: World) -> None:
    bundle = await world.render(WITH_SECRET)
    assert {made.ref.name.partition("-")[0]: made.generated_from for made in bundle.objects} == {
        "db": "",
        "made": "made",
    }


async def test_changed_paths_lead_to_the_requests_they_touch(world: World) -> None:
    texts = {
        **SMALL,
        "other/kustomization.yaml": "resources: [../app]\n",
        "bad/kustomization.yaml": "resources: [x.yaml]",
    }
    for path in ("app", "other"):
        await world.render(texts, path)
    with pytest.raises(Exception, match=r"x\.yaml"):
        await world.render(texts, "bad")

    def affected(*paths: str) -> set[str]:
        return {request.path for request in world.renderer.affected(frozenset(paths))}

    assert affected("app/settings.yaml") == {"app", "other"}
    assert affected("other/kustomization.yaml") == {"other"}
    assert affected("app/Kustomization") == {"app", "other"}
    assert affected("bad/x.yaml") == {"bad"}
    assert affected("bad/x.yaml/below") == {"bad"}
    assert affected("app/unread.yaml", "app") == set()
    world.renderer.forget([RenderRequest("other")])
    assert affected("app/settings.yaml") == {"app"}


async def test_what_is_only_looked_at_changes_nothing_of_what_a_path_leads_to(world: World) -> None:
    old, request = commit(SMALL), RenderRequest("app")
    extra = {
        "app/kustomization.yaml": "resources: [settings.yaml, extra.yaml]\n",
        "app/extra.yaml": config_map("extra"),
    }
    new = commit({**SMALL, **extra})
    await world.renderer.render(old, request)
    await world.renderer.render(new, request)
    extra_is = frozenset({"app/extra.yaml"})
    assert world.renderer.affected(extra_is) == {request}
    other = RenderRequest("app", facts=b'{"name":"eu-9"}')
    for looked_at in (request, other):  # of the commit before, or of a unit that left with it
        world.renderer.inputs(old, looked_at)
        await world.renderer.render(old, looked_at, remember=False)
    assert world.renderer.affected(extra_is) == {request}
    world.renderer.forget([request])
    assert world.renderer.affected(extra_is) == frozenset()


async def test_a_killed_worker_is_replaced(world: World) -> None:
    await world.render(SMALL)
    (worker,) = world.renderer._pool._all
    os.kill(worker.process.pid, signal.SIGKILL)
    await worker.process.wait()
    assert len((await world.render({**SMALL, "app/settings.yaml": config_map(size="other")})).objects) == 1


async def test_workers_hold_nothing_of_the_hubs_environment(world: World) -> None:
    await world.render(SMALL)
    (worker,) = world.renderer._pool._all
    environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes()
    assert sorted(part.partition(b"=")[0] for part in environment.split(b"\0") if part) == [
        b"LC_ALL",
        b"PYTHONDONTWRITEBYTECODE",
    ]
    assert KEY not in Path(f"/proc/{worker.process.pid}/cmdline").read_bytes()


async def test_nothing_is_left_on_disk_after_a_build(world: World) -> None:
    await world.render(SMALL)
    assert list(world.renderer._scratch.iterdir()) == []
    assert world.renderer._scratch.stat().st_mode & 0o777 == 0o700


# Per-cluster values

COMPONENT = """\
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
replacements:
  - source: {kind: ConfigMap, name: fleet-cluster, fieldPath: data.variables.replicas}
    targets: [{select: {kind: Deployment}, fieldPaths: [spec.replicas]}]
  - source: {kind: ConfigMap, name: fleet-cluster, fieldPath: data.labels.region}
    targets: [{select: {kind: Deployment}, fieldPaths: [spec.template.metadata.labels.region], options: {create: true}}]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "reg/web:1", args: ["${tier:=none}", "$${tier}", $HOME]}]}
"""
WITH_FACTS = {
    "app/kustomization.yaml": "resources: [web.yaml]\n",
    "app/web.yaml": DEPLOYMENT,
    "components/size/kustomization.yaml": COMPONENT,
    "components/plain/kustomization.yaml": "kind: Component\nlabels: [{pairs: {a: b}}]\n",
}


async def test_components_take_values_from_the_clusters_own_config_map(world: World) -> None:
    bundle = await world.render(WITH_FACTS, components=("components/size",), facts=facts(replicas=3))
    web = bodies(bundle)
    assert set(web) == {"Deployment/web"}
    assert web["Deployment/web"]["spec"]["replicas"] == 3
    assert web["Deployment/web"]["spec"]["template"]["metadata"]["labels"]["region"] == "eu"


async def test_clusters_with_the_same_values_share_one_build(world: World) -> None:
    size = ("components/size",)
    assert await world.builds_for(WITH_FACTS, components=size, facts=facts("eu-1", replicas=3, other=1)) == 1
    assert await world.builds_for(WITH_FACTS, components=size, facts=facts("eu-2", replicas=3, other=2)) == 0
    assert await world.builds_for(WITH_FACTS, components=size, facts=facts("eu-3", replicas=4)) == 1


async def test_builds_that_use_no_values_do_not_depend_on_them(world: World) -> None:
    plain = ("components/plain",)
    assert await world.builds_for(WITH_FACTS, components=plain, facts=facts("eu-1", a=1)) == 1
    assert await world.builds_for(WITH_FACTS, components=plain, facts=facts("eu-2", a=2)) == 0


async def test_substitution_builds_once_and_fills_per_value_in_use(world: World) -> None:
    texts = {**WITH_FACTS, "app/web.yaml": DEPLOYMENT.replace("replicas: 1", "replicas: ${replicas}")}
    first = await world.render(texts, substitute=True, facts=facts("eu-1", replicas=3, unused=1))
    second = await world.render(texts, substitute=True, facts=facts("eu-2", replicas=3, unused=2))
    third = await world.render(texts, substitute=True, facts=facts("eu-3", replicas=5))
    assert first == second
    assert bodies(third)["Deployment/web"]["spec"]["replicas"] == 5
    args = bodies(third)["Deployment/web"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["none", "${tier}", "$HOME"]
    assert (world.renderer.stats.builds, world.renderer.stats.finishes) == (1, 2)


async def test_variables_reach_the_values_of_secrets(world: World) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData: {url: 'x://${host}'}\n"
    texts = {"app/kustomization.yaml": "resources: [db.yaml]\n", "app/db.yaml": secret}
    bundle = await world.render(texts, substitute=True, facts=facts(host="db.eu"))
    clear = unsealed(bodies(bundle)["Secret/db"], world.renderer._builder._vault.values)
    assert base64.b64decode(str(clear["data"]["url"])) == b"x://db.eu"


async def test_all_unknown_variables_are_named_in_one_error(world: World) -> None:
    texts = {**WITH_FACTS, "app/web.yaml": DEPLOYMENT.replace("reg/web:1", "${registry}/web:${tag}")}
    with pytest.raises(VariableUnknown) as caught:
        await world.render(texts, substitute=True, facts=facts())
    assert "registry, tag" in caught.value.what
    assert "Deployment shop/web spec.template.spec.containers[0].image" in caught.value.where


async def test_a_variable_in_a_generated_config_map_is_refused(world: World) -> None:
    texts = {"app/kustomization.yaml": "namespace: x\nconfigMapGenerator: [{name: g, literals: ['a=${b}']}]\n"}
    with pytest.raises(DocumentInvalid, match="generated"):
        await world.render(texts, substitute=True, facts=facts(b="1"))
    assert len((await world.render(texts)).objects) == 1


async def test_annotations_of_other_tools_are_understood_where_asked_and_cached_apart(
    make_renderer: Callable[..., Renderer],
) -> None:
    files = {
        "app/kustomization.yaml": "namespace: shop\nresources: [a.yaml]\n",
        "app/a.yaml": (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n"
            '    argocd.argoproj.io/sync-wave: "2"\n    kustomize.toolkit.fluxcd.io/substitute: disabled\n'
            "data: {k: '${name}'}\n"
        ),
    }
    renderer, snapshot = make_renderer(), commit(files)
    plain = await renderer.render(snapshot, RenderRequest("app"))
    asked = await renderer.render(snapshot, RenderRequest("app", compat=("argocd",)))
    assert [bundle.objects[0].options.wave for bundle in (plain, asked)] == [0, 2]
    both = RenderRequest("app", facts=facts(), substitute=True, compat=("argocd", "flux"))
    assert bodies(await renderer.render(snapshot, both))["ConfigMap/a"]["data"] == {"k": "${name}"}
    files["app/a.yaml"] = files["app/a.yaml"].replace('"2"', '"late"')
    with pytest.raises(DocumentInvalid) as caught:
        await renderer.render(commit(files), RenderRequest("app", compat=("argocd",)))
    assert caught.value.where.startswith("app/a.yaml")
