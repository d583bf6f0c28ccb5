"""Hostile and broken repos, each with its harmless twin: refused before a process starts, with file and line."""

from __future__ import annotations

import pytest
from render.world import SMALL, World, commit, config_map

from fleet.errors import (
    DocumentInvalid,
    FleetError,
    PathEscapes,
    PathMissing,
    PluginRefused,
    RemoteBaseRefused,
    RenderFailed,
    ResourceMissing,
)
from fleet.render.closure import read_closure
from fleet.render.inputs import Closure
from fleet.render.reader import Reader
from fleet.render.remote import is_repository
from fleet.render.tree import CommitTree


def closure_of(texts: dict[str, str], path: str = "app", links: dict[str, str] | None = None) -> Closure:
    return read_closure(CommitTree(commit(texts, links)), Reader(), path)


def error_of(texts: dict[str, str], path: str = "app", links: dict[str, str] | None = None) -> FleetError:
    error = closure_of(texts, path, links).error
    assert error is not None
    return error


def app(kustomization: str, **more: str) -> dict[str, str]:
    return {**SMALL, "app/kustomization.yaml": kustomization, **more}


def test_a_missing_file_is_named_with_file_line_and_what_was_meant() -> None:
    error = error_of({**SMALL, "app/kustomization.yaml": "resources:\n  - settings.yaml\n  - setings.yaml\n"})
    assert isinstance(error, ResourceMissing)
    assert error.where == "app/kustomization.yaml:3"
    assert "settings.yaml" in error.next_step


def test_a_missing_base_is_named_with_file_and_line() -> None:
    error = error_of(app("resources: [settings.yaml]\ncomponents:\n- ../bse\n", **{"base/kustomization.yaml": ""}))
    assert isinstance(error, ResourceMissing)
    assert error.where == "app/kustomization.yaml:3"
    assert "../base" in error.next_step


def test_a_base_without_a_kustomization_is_named_where_it_is_used() -> None:
    error = error_of(app("resources: [../base]\n", **{"base/deployment.yaml": ""}))
    assert isinstance(error, ResourceMissing)
    assert error.where == "app/kustomization.yaml:1"
    assert "base holds no kustomization.yaml" in error.why


def test_a_missing_directory_of_a_unit_is_never_read_as_empty() -> None:
    error = error_of(SMALL, "gone")
    assert isinstance(error, PathMissing)
    assert error.what == "the directory gone is not in this commit"


def test_a_directory_that_lost_its_kustomization_is_never_read_as_empty() -> None:
    error = error_of({"app/README.md": "moved"})
    assert isinstance(error, PathMissing)
    assert error.next_step == "add app/kustomization.yaml"


def test_two_kustomization_files_in_one_directory_are_both_named() -> None:
    error = error_of({**SMALL, "app/Kustomization": ""})
    assert isinstance(error, RenderFailed)
    assert "app/kustomization.yaml" in error.where
    assert "app/Kustomization" in error.where


@pytest.mark.parametrize(
    "field",
    [
        "resources: [{}]",
        "bases: [{}]",
        "components: [{}]",
        "crds: [{}]",
        "configurations: [{}]",
        "patches: [{{path: {}}}]",
        "Patches: [{{Path: {}}}]",
        "patchesStrategicMerge: [{}]",
        "patchesJson6902: [{{path: {}, target: {{kind: X}}}}]",
        "replacements: [{{path: {}}}]",
        "configMapGenerator: [{{name: x, files: [{}]}}]",
        "configMapGenerator: [{{name: x, files: [key={}]}}]",
        "configMapGenerator: [{{name: x, envs: [{}]}}]",
        "configMapGenerator: [{{name: x, env: {}}}]",
        "secretGenerator: [{{name: x, FILES: [{}]}}]",
        "openapi: {{path: {}}}",
        "transformers: [{}]",
        "generators: [{}]",
        "validators: [{}]",
        "transformers: ['{{apiVersion: builtin, kind: PatchTransformer, metadata: {{name: x}}, path: {}}}']",
        "someNewField: [{{deep: {}}}]",
    ],
)
def test_no_field_names_a_file_outside_of_the_commit(field: str) -> None:
    for outside in ("/etc/passwd", "../../etc/passwd", "link"):
        texts = app(f"{field.format(outside)}\n")
        error = error_of(texts, links={"app/link": "../../outside"})
        assert isinstance(error, PathEscapes), (outside, error)
        assert error.where.startswith("app/kustomization.yaml:1")


def test_a_path_that_stays_inside_is_let_through() -> None:
    texts = {
        "teams/a/app/kustomization.yaml": "resources: [../../../shared/one.yaml, link]\n",
        "shared/one.yaml": config_map("one"),
        "shared/base/kustomization.yaml": "resources: [../one.yaml]\n",
    }
    assert closure_of(texts, "teams/a/app", {"teams/a/app/link": "../../../shared/base"}).error is None


def test_a_link_to_an_absolute_path_is_refused_also_where_the_commit_holds_the_same_path() -> None:
    texts = app("resources: [link]\n", **{"app/etc/passwd": config_map("one"), "etc/passwd": config_map("one")})
    error = error_of(texts, links={"app/link": "/etc/passwd"})
    assert isinstance(error, PathEscapes)
    assert "absolute" in error.why


def test_links_in_a_circle_are_refused() -> None:
    error = error_of(app("resources: [a]\n"), links={"app/a": "b", "app/b": "a"})
    assert isinstance(error, PathEscapes)
    assert "links" in error.why


def test_links_too_long_to_follow_are_refused() -> None:
    long = error_of(app("resources: [a]\n"), links={"app/a": "./" * 2048 + "b"})
    assert isinstance(long, PathEscapes)
    assert long.why == "the link app/a has more than 4095 bytes"
    many = error_of(app("resources: [a]\n"), links={"app/a": "./" * 600 + "b", "app/b": "./" * 600 + "c"})
    assert isinstance(many, PathEscapes)
    assert "steps" in many.why
    short = closure_of(app("resources: [a]\n", **{"app/c": config_map("one")}), links={"app/a": "./b", "app/b": "c"})
    assert short.error is None


def test_a_link_that_many_lines_name_is_followed_once() -> None:
    names = ", ".join(["x=a"] * 500)
    texts = app(f"configMapGenerator: [{{name: x, files: [{names}]}}]\n", **{"app/b": "x"})
    snapshot = commit(texts, {"app/a": "b"})
    closure = read_closure(CommitTree(snapshot), Reader(), "app")
    assert closure.error is None
    assert snapshot.reads.count("app/a") == 1
    assert closure.links.keys() == {"app/a"}


@pytest.mark.parametrize(("target", "is_followed"), [("settings.yaml", True), ("./" * 3000, False), ("/etc", False)])
def test_a_target_that_many_links_share_is_read_once(target: str, is_followed: bool) -> None:
    links = {f"app/link-{n}": target for n in range(500)}
    snapshot = commit(app("resources: [settings.yaml]\nsomethingNew: x\n"), links)
    tree, reader = CommitTree(snapshot), Reader()
    for _ in range(2):
        closure = read_closure(tree, reader, "app")
        assert closure.error is None
        assert closure.links.keys() == (links.keys() if is_followed else set())
    assert len([path for path in snapshot.reads if path in links]) == 1


@pytest.mark.parametrize(("count", "is_refused"), [(64, False), (65, True), (1000, True)])
def test_bases_nested_too_deeply_are_refused(count: int, is_refused: bool) -> None:
    texts = {f"base-{n}/kustomization.yaml": f"resources: [../base-{n + 1}]\n" for n in range(count)}
    error = closure_of({**texts, f"base-{count}/kustomization.yaml": "resources: []\n"}, "base-0").error
    assert isinstance(error, RenderFailed) == is_refused
    assert error is None or (error.what, error.where) == ("bases are nested too deeply", "base-64/kustomization.yaml:1")


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/org/repo",
        "https://example.com/manifests.yaml",
        "http://example.com/x",
        "HTTPS://example.com/org/repo//deploy?ref=v1",
        "github.com/org/repo",
        "github.com/org/repo/deploy?ref=v1",
        "git@github.com:org/repo.git",
        "ssh://git@example.com/org/repo.git",
        "git::https://example.com/org/repo",
        "file:///etc",
        "gitlab.com/org/repo/deploy",
        "org@dev.azure.com/org/project/_git/repo",
    ],
)
def test_a_base_from_the_network_is_refused_with_its_line(address: str) -> None:
    error = error_of(app(f"resources:\n- settings.yaml\n- {address}\n"))
    assert isinstance(error, RemoteBaseRefused)
    assert error.where == "app/kustomization.yaml:3"


@pytest.mark.parametrize("field", ["resources: [{}]", "patches: [{{path: {}}}]"])
def test_a_file_from_the_network_is_refused_also_where_the_commit_holds_its_name(field: str) -> None:
    texts = app(f"{field.format('https://example.com/x.yaml')}\n", **{"app/https:/example.com/x.yaml": config_map("x")})
    assert isinstance(error_of(texts), RemoteBaseRefused)


def test_a_directory_that_kustomize_would_take_for_an_address_is_refused_too() -> None:
    texts = app("resources: [github.com/org/repo]\n", **{"app/github.com/org/repo/kustomization.yaml": "resources: []"})
    assert isinstance(error_of(texts), RemoteBaseRefused)


def test_a_file_with_the_name_of_an_address_is_only_a_file() -> None:
    texts = app("resources: [github.com/org/repo]\n", **{"app/github.com/org/repo": config_map()})
    assert closure_of(texts).error is None


@pytest.mark.parametrize("path", ["../base", "base", "./a/b", "a.b/c/d/e", "/abs/olute", "deploy.git"])
def test_a_path_is_no_address(path: str) -> None:
    assert not is_repository(path)


@pytest.mark.parametrize(
    "kustomization",
    [
        "transformers: ['{apiVersion: someteam.example.com/v1, kind: Exec, metadata: {name: x}}']",
        "generators: [plugin.yaml]",
        "generators: ['{apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: x}}']",
        "helmCharts: [{name: x, repo: 'https://charts.example.com'}]",
        "HelmCharts: [{name: x}]",
        "validators: ['{apiVersion: builtin, kind: LabelTransformer, metadata: {name: x, annotations: "
        '{config.kubernetes.io/function: "exec: {path: ./x}"}}}\']',
        "transformers: [plugins]",
    ],
)
def test_plugins_functions_and_charts_are_refused(kustomization: str) -> None:
    plugin = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {config.kubernetes.io/function: x}}\n"
    texts = app(kustomization, **{"app/plugin.yaml": plugin, "app/plugins/kustomization.yaml": "resources: []"})
    error = error_of(texts)
    assert isinstance(error, PluginRefused)
    assert error.where.startswith("app/")


def test_a_built_in_transformer_is_let_through() -> None:
    texts = app("transformers: ['{apiVersion: builtin, kind: LabelTransformer, metadata: {name: x}}']")
    assert closure_of(texts).error is None


def test_a_field_that_is_not_known_widens_the_closure_to_the_whole_commit() -> None:
    closure = closure_of(app("resources: [settings.yaml]\nsomethingNew: [other]\n", **{"far/away.txt": "x"}))
    assert closure.error is None
    assert "far/away.txt" in closure.files
    assert "somethingNew" in closure.widened[0]
    assert "app/kustomization.yaml:2" in closure.widened[0]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("../../etc/passwd", PathEscapes),
        ("/etc/passwd", PathEscapes),
        ("https://example.com/a.yaml", RemoteBaseRefused),
        ("git@example.com:a/b.git", RemoteBaseRefused),
    ],
)
def test_a_text_in_an_unknown_field_may_neither_lead_out_nor_be_an_address(text: str, error: type[FleetError]) -> None:
    found = error_of(app(f"resources: [settings.yaml]\nsomethingNew:\n- deep: [{text}]\n"))
    assert isinstance(found, error)
    assert found.where == "app/kustomization.yaml:3"


def test_a_field_that_is_written_twice_in_any_case_is_refused() -> None:
    error = error_of(app("resources: [settings.yaml]\nResources: [other.yaml]\n"))
    assert isinstance(error, DocumentInvalid)
    assert error.where == "app/kustomization.yaml:2"


def test_an_alias_bomb_in_a_kustomization_is_refused_and_a_plain_alias_is_not() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    error = error_of(app("l0: &l0 [a, b]\n" + levels))
    assert isinstance(error, DocumentInvalid)
    assert error.where.startswith("app/kustomization.yaml:")
    assert closure_of(app("commonLabels: &l {a: b}\nlabels: [{pairs: *l}]\nresources: [settings.yaml]\n")).error is None


def test_a_kustomization_of_too_many_values_is_not_read_to_its_end() -> None:
    many = "a, " * 50_000
    error = error_of(app(f"namePrefix: x\nimages: [{many}]\nresources: [\n"))
    assert isinstance(error, DocumentInvalid)
    assert error.why == "more than 50000 values"
    assert error.where == "app/kustomization.yaml"
    assert closure_of(app(f"images: [{many[: 3 * 40_000]}]\n")).error is None


def test_broken_yaml_in_a_kustomization_is_named_with_its_line() -> None:
    error = error_of(app("resources:\n  - a\n b: [\n"))
    assert isinstance(error, DocumentInvalid)
    assert error.where == "app/kustomization.yaml:3"


def test_a_submodule_is_said_to_be_one() -> None:
    snapshot = commit({**SMALL, "app/kustomization.yaml": "resources: [sub]\n", "app/sub": ""})
    snapshot.tree["app/sub"] = type(snapshot.tree["app/sub"])("160000", "0" * 40)
    error = read_closure(CommitTree(snapshot), Reader(), "app").error
    assert isinstance(error, ResourceMissing)
    assert "submodule" in error.why


async def test_a_circle_of_bases_is_reported_and_ends(world: World) -> None:
    texts = {"a/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "resources: [../a]\n"}
    with pytest.raises(RenderFailed, match="cycle"):
        await world.render(texts, "a")


async def test_the_harmless_one_renders(world: World) -> None:
    assert len((await world.render(SMALL)).objects) == 1
