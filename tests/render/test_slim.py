"""The slim schema against kustomize's own: fuzzed merge patches over all built-in kinds come out alike."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes.client as models
import pytest
from render.every_field import FILES
from render.world import bodies, commit, config_map

from fleet.ports.render import RenderRequest
from fleet.render.jobs import BuildJob
from fleet.render.kustomize import build
from fleet.render.schema import SLIM_SCHEMA, schema_for
from fleet.render.service import Renderer
from fleet.render.tools import SLIM_TESTED, Tool, find_tool

SEEDS = 5
KINDS_PER_BUILD = 12
WORDS = ("a", "b", "c")


@cache
def kinds() -> list[tuple[str, str, str]]:
    """(apiVersion, kind, model) of all built-in kinds that the Python client describes."""
    found = []
    for definition in json.loads(SLIM_SCHEMA.read_text())["definitions"].values():
        for gvk in definition.get("x-kubernetes-group-version-kind", []):
            group, version, kind = gvk.get("group", ""), gvk["version"], gvk["kind"]
            names = [f"{version.capitalize()}{kind}", f"V1{kind}", f"V2{kind}", f"Core{version.capitalize()}{kind}"]
            model = next((name for name in names if hasattr(models, name)), None)
            if model and "metadata" in getattr(models, model).openapi_types and not kind.endswith("List"):
                found.append((f"{group}/{version}".lstrip("/"), kind, model))
    return sorted(set(found))


class Fuzz:
    """Objects of the right shape with few different words, so that keys of lists meet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, shape: str, depth: int, *, patch: bool) -> Any:
        if patch and shape in ("int", "bool") and self.random.random() < 0.1:
            return None
        if found := re.fullmatch(r"(?i:list)\[(.*)\]", shape):
            return [self.value(found[1], depth - 1, patch=False) for _ in range(self.random.randint(0, 3))]
        if found := re.fullmatch(r"(?i:dict)[(\[]str, (.*)[)\]]", shape):
            return {word: self.value(found[1], depth - 1, patch=patch) for word in self.some(WORDS)}
        if hasattr(models, shape):
            return self.fields(shape, depth - 1, patch=patch)
        if shape == "object":
            return self.random.choice([self.free(), "a", 3])
        return {"int": self.random.randint(1, 3), "bool": self.random.random() < 0.5}.get(
            shape, self.random.choice(WORDS)
        )

    def free(self) -> Any:
        """What a free-form field may hold: other objects too, whose kind must not be looked up."""
        containers = [{"name": word, "image": self.random.choice(WORDS)} for word in self.some(WORDS)]
        spec = {"template": {"spec": {"containers": containers}}}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}

    def fields(self, model: str, depth: int, *, patch: bool) -> dict[str, Any]:
        kind = getattr(models, model)
        made: dict[str, Any] = {}
        if depth <= 0:
            return made
        for name, shape in kind.openapi_types.items():
            written = kind.attribute_map[name]
            wanted = 0.9 if shape.lower().startswith("list[v") or "Spec" in shape or "Template" in shape else 0.45
            key = written in ("name", "containerPort", "port", "type", "ip", "mountPath", "devicePath", "key", "uid")
            if key or self.random.random() < wanted:
                made[written] = self.value(shape, depth, patch=patch)
        if patch and self.random.random() < 0.05:
            made["$patch"] = self.random.choice(["replace", "delete", "merge"])
        return made

    def some(self, words: tuple[str, ...]) -> list[str]:
        return [word for word in words if self.random.random() < 0.6]

    def document(self, api_version: str, kind: str, model: str, name: str, *, patch: bool) -> dict[str, Any]:
        made = self.fields(model, 9, patch=patch)
        made.pop("$patch", None)
        metadata: dict[str, Any] = {"name": name, "labels": {"a": self.random.choice(WORDS)}}
        references = [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": word, "uid": word} for word in self.some(WORDS)
        ]
        return {
            **made,
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {**metadata, "ownerReferences": references},
        }


def run(kustomize: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    verb = "kustomize" if Path(kustomize).name.startswith("kubectl") else "build"
    argv = [kustomize, verb, str(directory), "--load-restrictor", "LoadRestrictionsNone"]
    return subprocess.run(argv, capture_output=True, check=False, timeout=60)


def in_each_way(kustomize: str, base: Path, directory: str) -> tuple[bytes, bytes, bytes]:
    """The output without the slim schema, with it, and with the part for these files; b"" for a build that fails."""
    top = base / "slim-top"
    top.mkdir(exist_ok=True)
    part = schema_for(path.read_bytes() for path in (base / directory).iterdir())
    (top / "part.json").write_bytes(part or b"")
    found = [run(kustomize, base / directory)]
    for schema in (str(SLIM_SCHEMA), "part.json" if part is not None else ""):
        chosen = {"openapi": {"path": schema}} if schema else {}
        written = {**chosen, "resources": [f"../{directory}"]}
        (top / "kustomization.yaml").write_text(json.dumps(written))
        found.append(run(kustomize, top))
        assert (found[0].returncode == 0) == (found[-1].returncode == 0), (found[0].stderr, found[-1].stderr)
    plain, slim, parted = (done.stdout for done in found)
    return plain, slim, parted


def sampled_job(tool: Tool, files: Mapping[str, str]) -> BuildJob:
    return BuildJob(
        argv=tuple(tool.argv("{directory}")),
        root="app",
        components=(),
        files=tuple(files),
        links=(),
        facts=None,
        order={},
        slim=True,
        sample=True,
        template=False,
        renderer="",
    )


def write_fuzzed(seed: int, directory: Path) -> None:
    fuzz = Fuzz(seed)
    chosen = fuzz.random.sample(kinds(), min(KINDS_PER_BUILD, len(kinds())))
    named = [(*kind, f"n{number}") for number, kind in enumerate(chosen)]
    bases = [fuzz.document(*kind, patch=False) for kind in named]
    patches = [fuzz.document(*kind, patch=True) for kind in named]
    directory.mkdir()
    (directory / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": bases}))
    inline = [{"patch": json.dumps(patch)} for patch in patches]
    (directory / "kustomization.yaml").write_text(json.dumps({"resources": ["all.json"], "patches": inline}))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_fuzzed_patches_give_the_same_bytes_in_each_way(kustomize: str, tmp_path: Path, seed: int) -> None:
    write_fuzzed(seed, tmp_path / "app")
    plain, slim, parted = in_each_way(kustomize, tmp_path, "app")
    assert plain
    assert slim == plain
    assert parted == plain


WEB = (
    "apiVersion: apps/v1\nkind: KIND\nmetadata: {name: web}\n"
    "spec: {template: {spec: {containers: [{name: a, image: a}]}}}\n"
)
# Names no kind, as it takes that of its target; merged by name, a list has both containers.
ADDS = "{apiVersion: v1, kind: Any, metadata: {name: web}, spec: {template: {spec: {containers: [{name: b}]}}}}"
PATCH = f"patches: [{{target: {{name: web}}, patch: '{ADDS}'}}]\n"
LATE = (
    f"apiVersion: builtin\nkind: PatchTransformer\nmetadata: {{name: late}}\ntarget: {{name: web}}\npatch: '{ADDS}'\n"
)
LATE_BY_PATTERN = LATE.replace("target: {name: web}", "target: {name: .*web}")
SECRETS = "{apiVersion: v1, kind: Any, metadata: {name: sa}, secrets: [{name: NAME}]}"
WORD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: word}\ndata: {word: TEXT}\n"
REFERS = '# {"$ref": "#/definitions/io.k8s.api.core.v1.PodTemplateSpec"}'
HIDDEN_KINDS = {
    "made by a generator": {
        "kustomization.yaml": "generators: [sa.yaml]\npatches:\n"
        + "".join(f"- {{target: {{name: sa}}, patch: '{SECRETS.replace('NAME', name)}'}}\n" for name in "ab"),
        "sa.yaml": "apiVersion: builtin\nkind: IAMPolicyGenerator\nmetadata: {name: iam}\ncloud: gke\n"
        "kubernetesService: {name: sa}\nserviceAccount: {name: a, projectId: p}\n",
    },
    **{
        f"a line that ends in U+{ord(end):04X} inside quotes": {
            "kustomization.yaml": "resources: [web.yaml]\n" + PATCH,
            "web.yaml": WEB.replace("KIND", f'"Deploy\\{end}  ment"'),
        }
        for end in "\u0085\u2028\u2029\n"
    },
    "a delimiter in any case": {
        "kustomization.yaml": "resources: [web.yaml, word.yaml]\ntransformers: [late.yaml]\nreplacements:\n"
        "- source: {kind: ConfigMap, name: word, fieldPath: data.word}\n"
        "  targets: [{select: {name: web}, fieldPaths: [kind], options: {Delimiter: 'y', index: 0}}]\n",
        "web.yaml": WEB.replace("KIND", "Nyment"),
        "word.yaml": WORD.replace("TEXT", "Deplo"),
        "late.yaml": LATE,
    },
    **{
        f"a prefix for other fields by {field}": {
            "kustomization.yaml": f"resources: [web.yaml]\nnamePrefix: Deploy\n{field}: [names.yaml]\n"
            "transformers: [late.yaml]\n",
            "web.yaml": WEB.replace("KIND", "ment"),
            "names.yaml": "namePrefix: [{path: kind}]\n",
            "late.yaml": LATE_BY_PATTERN,
        }
        for field in ("configurations", "Configurations", "configuration\u017f")
    },
    "a name with a prefix that is carried to the kind": {
        "kustomization.yaml": "resources: [web.yaml, word.yaml]\nnamePrefix: Deploy\ntransformers: [late.yaml]\n"
        "replacements:\n- source: {kind: ConfigMap, fieldPath: metadata.name}\n"
        "  targets: [{select: {name: web}, fieldPaths: [kind]}]\n",
        "web.yaml": WEB.replace("KIND", "Any"),
        "word.yaml": WORD.replace("word}\nd", "ment}\nd"),
        "late.yaml": LATE_BY_PATTERN,
    },
    "a comment that names a definition": {
        "kustomization.yaml": "resources: [own.yaml]\n" + PATCH,
        "own.yaml": "apiVersion: example.com/v1\nkind: Own\nmetadata: {name: web}\n"
        f"spec:\n  {REFERS}\n  template:\n    spec: {{containers: [{{name: a, image: a}}]}}\n",
    },
    "the same comment in a patch with escapes": {
        "kustomization.yaml": "resources: [own.yaml]\npatches:\n- target: {name: web}\n  patch: "
        + json.dumps(
            "apiVersion: v1\nkind: Any\nmetadata: {name: web}\n"
            f"spec:\n  {REFERS}\n  template:\n    spec: {{containers: [{{name: b}}]}}\n"
        ).replace("$", "\\x24"),
        "own.yaml": WEB.replace("apps/v1", "example.com/v1").replace("KIND", "Own"),
    },
}


@pytest.mark.parametrize("case", HIDDEN_KINDS)
def test_a_kind_or_definition_that_is_not_written_out_merges_alike(kustomize: str, tmp_path: Path, case: str) -> None:
    (tmp_path / "app").mkdir()
    for name, text in HIDDEN_KINDS[case].items():
        (tmp_path / "app" / name).write_bytes(text.encode())
    plain, _, parted = in_each_way(kustomize, tmp_path, "app")
    assert re.findall(rb"- (?:image: a\n *)?name: ([ab])\n", plain) == [b"b", b"a"]
    assert parted == plain


@pytest.mark.parametrize("fact", ["Deployment", "StatefulSet"])
async def test_a_kind_that_only_a_fact_names_merges_alike(tool: Tool, tmp_path: Path, fact: str) -> None:
    carried = (
        "replacements:\n- source: {kind: ConfigMap, name: fleet-cluster, fieldPath: data.kind}\n"
        "  targets: [{select: {name: web}, fieldPaths: [kind]}]\n"
    )
    files = {
        "app/kustomization.yaml": "resources: [web.yaml]\n",
        "app/web.yaml": WEB.replace("KIND", "Any"),
        "late/kustomization.yaml": "kind: Component\ntransformers: [late.yaml]\n" + carried,
        "late/late.yaml": LATE,
    }
    job = replace(sampled_job(tool, files), components=("late",), facts={"kind": fact}, inline_merge_patch=True)
    built = build(job, {path: text.encode() for path, text in files.items()}, tmp_path, None)
    assert (built.finished.returncode, built.slim, built.differs) == (0, True, False), built.finished
    assert b"name: b\n" in built.finished.stdout
    assert b"image: a\n" in built.finished.stdout


def test_the_fuzz_sees_a_schema_without_merge_keys(kustomize: str, tmp_path: Path) -> None:
    """The test above would notice: with an empty schema lists are replaced instead of merged."""
    noticed = 0
    for seed in range(3):
        base = tmp_path / str(seed)
        base.mkdir()
        write_fuzzed(seed, base / "app")
        (base / "empty.json").write_text('{"definitions": {}}')
        (base / "top").mkdir()
        (base / "top" / "kustomization.yaml").write_text("openapi: {path: ../empty.json}\nresources: [../app]\n")
        noticed += run(kustomize, base / "app").stdout != run(kustomize, base / "top").stdout
    assert noticed == 3


def test_most_built_in_kinds_are_in_the_fuzz() -> None:
    assert len(kinds()) > 80
    assert {("apps/v1", "Deployment"), ("v1", "Pod"), ("batch/v1", "Job")} <= {kind[:2] for kind in kinds()}


PATCHED = {
    "app/kustomization.yaml": "resources: [web.yaml]\npatches: [{path: patch.yaml}]\n",
    "app/web.yaml": FILES["base/web.yaml"].replace("{name: web}\nspec", "{name: web, namespace: shop}\nspec"),
    "app/patch.yaml": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n"
        "spec: {template: {spec: {containers: [{name: web, image: 'reg/web:9'}]}}}\n"
    ),
    "components/more/kustomization.yaml": "kind: Component\nnameSuffix: -x\n",
}


@pytest.fixture
def renderer(make_renderer: Callable[..., Renderer]) -> Renderer:
    made = make_renderer()
    if made.tool.kustomize not in SLIM_TESTED:
        pytest.skip(f"the slim schema is not used with {made.tool.name}")
    return made


async def test_a_merge_patch_is_built_with_the_slim_schema_and_merges_by_key(renderer: Renderer) -> None:
    made = bodies(await renderer.render(commit(PATCHED), RenderRequest("app")))
    (container,) = made["Deployment/web"]["spec"]["template"]["spec"]["containers"]
    assert container == {"env": [{"name": "REGION", "value": "none"}], "image": "reg/web:9", "name": "web"}
    assert renderer.stats.slim_builds == 1
    await renderer.render(commit(PATCHED), RenderRequest("app", components=("components/more",)))
    assert renderer.stats.slim_builds == 2


@pytest.mark.parametrize(
    "more",
    [
        "buildMetadata: [managedByLabel]\n",
        "sortOptions: {order: fifo}\n",
        "openapi: {version: v1.21.2}\n",
    ],
)
async def test_an_overlay_that_chooses_itself_is_built_plainly(renderer: Renderer, more: str) -> None:
    texts = {**PATCHED, "app/kustomization.yaml": PATCHED["app/kustomization.yaml"] + more}
    await renderer.render(commit(texts), RenderRequest("app"))
    assert (renderer.stats.builds, renderer.stats.slim_builds) == (1, 0)


@pytest.mark.parametrize(("sample", "runs"), [(False, 1), (True, 2)])
async def test_a_sample_is_built_twice_and_nothing_else_is(tool: Tool, tmp_path: Path, sample: bool, runs: int) -> None:
    script = tmp_path / "counting"
    script.write_text(f'#!/bin/sh\necho >> {tmp_path}/runs\nexec {tool.path} "$@"\n')
    script.chmod(0o700)
    job = replace(
        sampled_job(tool, PATCHED),
        argv=(str(script), *tool.argv("{directory}")[1:]),
        sample=sample,
        patch_files=("app/patch.yaml",),
    )
    built = build(job, {path: text.encode() for path, text in PATCHED.items()}, tmp_path, None)
    assert (built.finished.returncode, built.slim, built.differs) == (0, True, False)
    assert (tmp_path / "runs").read_text().count("\n") == runs


async def test_without_a_merge_patch_there_is_no_need_for_it(renderer: Renderer) -> None:
    operations = "- {op: add, path: /spec/paused, value: true}\n"
    head = "resources: [web.yaml]\npatches: [{path: patch.yaml, target: {kind: Deployment}}]\n"
    texts = {**PATCHED, "app/kustomization.yaml": head, "app/patch.yaml": operations}
    await renderer.render(commit(texts), RenderRequest("app"))
    assert renderer.stats.slim_builds == 0


async def test_a_failure_is_told_in_the_words_of_the_plain_build(renderer: Renderer) -> None:
    texts = {**PATCHED, "app/patch.yaml": config_map("unknown")}
    with pytest.raises(Exception, match="no matches for Id ConfigMap") as caught:
        await renderer.render(commit(texts), RenderRequest("app"))
    assert "slim" not in str(caught.value)
    assert renderer.stats.slim_differences == 0


async def test_the_tested_versions_are_those_that_were_tested(kustomize: str) -> None:
    """Add a version only after this module passed with it (FLEET_KUSTOMIZE=... pytest)."""
    assert (await find_tool({"FLEET_KUSTOMIZE": kustomize})).kustomize in SLIM_TESTED
