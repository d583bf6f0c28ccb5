"""What a failed build says: the file in the repo, the line, the cause, and never a Secret value or a temporary path."""

from __future__ import annotations

import json
import time

import pytest
from render.world import SMALL, World, config_map

from fleet.errors import (
    DocumentInvalid,
    DuplicateObject,
    EncryptedUnsupported,
    FleetError,
    NamespaceMissing,
    RenderEmpty,
    RenderFailed,
)


async def failure(world: World, texts: dict[str, str], path: str = "app", **asked) -> FleetError:
    with pytest.raises(FleetError) as caught:
        await world.render(texts, path, **asked)
    error = caught.value
    for text in (error.what, error.where, error.why, error.next_step):
        assert "/tmp" not in text
        assert "build-" not in text
    return error


def app(settings: str, kustomization: str = "resources: [settings.yaml]\n", **more: str) -> dict[str, str]:
    return {"app/kustomization.yaml": kustomization, "app/settings.yaml": settings, **more}


async def test_broken_yaml_is_named_with_file_and_line(world: World) -> None:
    error = await failure(world, app("apiVersion: v1\nkind: ConfigMap\n  metadata: {\n"))
    assert isinstance(error, DocumentInvalid)
    assert error.where == "app/settings.yaml:3"


async def test_a_key_that_is_written_twice_is_named_with_file_and_line(world: World) -> None:
    error = await failure(world, app(config_map() + "data: {a: x}\n" + "data: {b: y}\n"))
    assert isinstance(error, DocumentInvalid)
    assert error.where == "app/settings.yaml:7"
    assert "'data'" in error.why


async def test_an_alias_bomb_is_refused(world: World) -> None:
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    bomb = "apiVersion: v1\nkind: Bomb\nmetadata: {name: b}\nspec:\n  l0: &l0 [a, b]\n" + levels
    began = time.monotonic()
    error = await failure(world, app(bomb))
    assert isinstance(error, DocumentInvalid)
    assert error.where == "app/settings.yaml:10"  # 10 of 2 are 20, then 200, and so on
    assert "aliases" in error.why
    assert time.monotonic() - began < 5.0  # not the limit of a build, which is a minute


async def test_an_alias_bomb_in_a_patch_is_refused_before_the_build(world: World) -> None:
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    bomb = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata:\n  l0: &l0 [a, b]\n{levels}"
    build = "resources: [settings.yaml]\npatches: [{path: bomb.yaml}]\n"
    error = await failure(world, app(config_map(), build, **{"app/bomb.yaml": bomb}))
    assert isinstance(error, DocumentInvalid)
    assert error.where == "app/bomb.yaml:10"


async def test_harmless_aliases_pass(world: World) -> None:
    text = config_map() + "data: {a: &a x, b: *a, c: *a}\n"
    bundle = await world.render(app(text), "app")
    assert bundle.objects[0].document()["data"] == {"a": "x", "b": "x", "c": "x"}


async def test_an_object_that_is_defined_twice_names_both_files(world: World) -> None:
    texts = app(config_map(), "resources: [settings.yaml, again.yaml]\n", **{"app/again.yaml": config_map()})
    error = await failure(world, texts)
    assert isinstance(error, DuplicateObject)
    assert "ConfigMap shop/settings" in error.what
    assert error.where == "app/again.yaml:1 and app/settings.yaml:1"


async def test_two_versions_of_one_object_are_a_duplicate_too(world: World) -> None:
    first = "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web, namespace: shop}\n"
    texts = app(first, "resources: [settings.yaml, again.yaml]\n", **{"app/again.yaml": first.replace("/v1", "/v2")})
    error = await failure(world, texts)
    assert isinstance(error, DuplicateObject)
    assert error.where == "app/again.yaml:1 and app/settings.yaml:1"


async def test_a_namespaced_object_without_namespace_is_named_with_file_and_remedy(world: World) -> None:
    error = await failure(world, app("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"))
    assert isinstance(error, NamespaceMissing)
    assert error.where == "app/settings.yaml:1"
    assert "namespace:" in error.next_step


async def test_zero_objects_are_an_error_unless_allowed(world: World) -> None:
    local = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {config.kubernetes.io/local-config: ''}}\n"
    )
    assert isinstance(await failure(world, app(local)), RenderEmpty)
    assert (await world.render(app(local), allow_empty=True)).objects == ()


async def test_an_encrypted_object_is_refused_by_name(world: World) -> None:
    error = await failure(world, app(config_map().replace("ConfigMap", "Secret") + "sops: {mac: x}\n"))
    assert isinstance(error, EncryptedUnsupported)
    assert "settings" in error.what


async def test_an_unknown_field_is_named(world: World) -> None:
    error = await failure(world, app(config_map(), "resources: [settings.yaml]\nresourcez: [x]\n"))
    assert isinstance(error, RenderFailed)
    assert "resourcez" in error.what


async def test_a_patch_without_target_says_so(world: World) -> None:
    patch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
    texts = app(config_map(), "resources: [settings.yaml]\npatches: [{path: p.yaml}]\n", **{"app/p.yaml": patch})
    error = await failure(world, texts)
    assert "no matches for Id ConfigMap" in error.why


@pytest.mark.parametrize(
    "kustomization",
    [
        "secretGenerator: [{name: x, literals: [=hunter2secret]}]\n",
        "secretGenerator: [{name: x, literals: ['a=hunter2secret'], files: ['a=f.txt']}]\n",
        "secretGenerator: [{name: x, envs: [bad.env]}]\n",
        "resources: [secret.yaml]\n",
        "resources: [secret.yaml]\n"
        "patches: [{patch: '[{op: test, path: /stringData/a, value: x}]', target: {kind: Secret}}]\n",
        "resources: [dump.yaml]\n",
    ],
)
async def test_no_error_shows_a_secret_value(world: World, kustomization: str) -> None:
    texts = {
        "app/kustomization.yaml": kustomization,
        "app/f.txt": "hunter2secret\n",
        "app/dump.yaml": (
            'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: "\\x7fhunter2\\x7fsecret"}\n'
        ),
        "app/bad.env": "A B hunter2secret=hunter2secret\n",
        "app/secret.yaml": (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
            "stringData: {a: hunter2secret}\ndata: {b: hunter2secret}\n"
        ),
    }
    assert "hunter2" not in str(await failure(world, texts))


VALUE = "hunter2-s3cr3t-value"
NO_NAME = f"apiVersion: v1\nkind: Secret\nstringData:\n  password: {VALUE}\n"
BAD_INDENT = f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n stringData:\n  password: {VALUE}\n"
BAD_OPERATIONS = f"- op: add\n  path: /stringData/a\n value: {VALUE}\n"
PLUGIN = "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\ntarget: {kind: Secret}\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"patches": [{"patch": NO_NAME}]},
        {"patches": [{"patch": BAD_INDENT}]},
        {"patches": [{"patch": BAD_OPERATIONS, "target": {"kind": "Secret"}}]},
        {"patches": [{"patch": BAD_OPERATIONS, "target": {"kind": "ConfigMap"}}]},
        {"patches": [{"patch": NO_NAME.replace("Secret", "Se.*"), "target": {"kind": "Se.*"}}]},
        {"patches": [{"patch": NO_NAME.replace(VALUE, f"'\"{VALUE}`: x'")}]},
        {"patchesStrategicMerge": [NO_NAME]},
        {"patchesStrategicMerge": [BAD_INDENT]},
        {"patchesStrategicMerge": [NO_NAME.replace(VALUE, f"a//b/../{VALUE}")]},
        {"patchesStrategicMerge": [json.dumps({"kind": "Secret", "stringData": {"a": f"a//b/../{VALUE}"}})]},
        {"patchesStrategicMerge": [json.dumps({"kind": "Secret", "stringData": {"a": VALUE}}).rstrip("}")]},
        {"patchesStrategicMerge": [NO_NAME.replace(VALUE, f"{'n' * 260}\n  url: postgres://shop:{VALUE}@db/x")]},
        {"patchesStrategicMerge": [NO_NAME.replace(VALUE, f"{'n' * 5_000}\n  url: postgres://shop:{VALUE}@db/x")]},
        {"patchesJson6902": [{"patch": BAD_OPERATIONS, "target": {"version": "v1", "kind": "Secret", "name": "s"}}]},
        {"transformers": [f"{PLUGIN}patch: {json.dumps(NO_NAME)}\n"]},
        {"transformers": [f"{PLUGIN}patch: {json.dumps(BAD_OPERATIONS)}\n"]},
    ],
)
async def test_no_error_shows_a_value_of_an_inline_patch_of_a_secret(world: World, fields: dict[str, object]) -> None:
    error = await failure(world, app(config_map(), json.dumps({"resources": ["settings.yaml"], **fields})))
    assert "s3cr3t" not in str(error)
    assert any(word in f"{error.what} {error.why}" for word in ("patch", "not valid YAML"))


@pytest.mark.parametrize("field", ["patches", "patchesStrategicMerge"])
async def test_an_inline_patch_of_anything_else_is_shown(world: World, field: str) -> None:
    patch = "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: 7\n"
    entry = {"patch": patch} if field == "patches" else patch
    error = await failure(world, app(config_map(), json.dumps({"resources": ["settings.yaml"], field: [entry]})))
    assert "replicas: 7" in error.why


async def test_base64_that_is_none_is_named_without_its_value(world: World) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\ndata: {password: '!hunter2!'}\n"
    error = await failure(world, app(secret))
    assert isinstance(error, DocumentInvalid)
    assert "data.password" in error.what
    assert "hunter2" not in str(error)


async def test_other_units_go_on(world: World) -> None:
    texts = {**SMALL, "bad/kustomization.yaml": "resources: [x.yaml]\n", "bad/x.yaml": "apiVersion: v1\n"}
    await failure(world, texts, "bad")
    assert len((await world.render(texts)).objects) == 1
