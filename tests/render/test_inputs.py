"""The closure against the files that a real build opens, and the cache against changes of each of them."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import dictionaries, none, sampled_from
from render.every_field import FILES
from render.world import World, bodies, commit, commit_of

from fleet.ports.render import RenderRequest
from fleet.render.closure import read_closure
from fleet.render.inputs import Closure
from fleet.render.reader import Reader
from fleet.render.service import Renderer
from fleet.render.tree import CommitTree

_CALLS = "openat,open,newfstatat,stat,lstat,readlink,readlinkat,statx,access,faccessat2"


def write(texts: dict[str, str], directory: Path) -> None:
    for path, text in texts.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)


def traced(kustomize: str, base: Path, root: str, log: Path) -> tuple[set[str], set[str]]:
    """Files that a build opened and names that it probed and did not find, below `base`."""
    verb = "kustomize" if Path(kustomize).name.startswith("kubectl") else "build"
    build = [kustomize, verb, str(base / root), "--load-restrictor", "LoadRestrictionsNone"]
    strace = shutil.which("strace")
    assert strace
    done = subprocess.run(
        [strace, "-f", "-qq", "-s", "4096", "-o", str(log), "-e", f"trace={_CALLS}", *build],
        capture_output=True,
        env={"PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    opened: set[str] = set()
    absent: set[str] = set()
    for line in log.read_text(errors="replace").splitlines():
        found = re.search(r'"([^"]*)"', line)
        if not found or not found[1].startswith(f"{base}/"):
            continue
        path = os.path.normpath(found[1])[len(str(base)) + 1 :]
        if "ENOENT" in line or "ENOTDIR" in line:
            absent.add(path)
        elif "open" in line.split("(")[0] and (base / path).is_file():
            opened.add(path)
    return opened, absent


def closure_of(base: Path, root: str) -> Closure:
    return read_closure(CommitTree(commit_of(base)), Reader(), root)


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace on this machine")


@needs_strace
def test_the_closure_is_exactly_what_a_build_of_every_field_opens_and_probes(kustomize: str, tmp_path: Path) -> None:
    base = tmp_path / "repo"
    write(FILES, base)
    closure = closure_of(base, "app")
    assert closure.error is None
    opened, absent = traced(kustomize, base, "app", tmp_path / "log")
    assert opened <= set(closure.files)
    # A text of YAML objects is first tried as what it is and never opened; all else that is absent was foreseen.
    assert {path for path in absent if "\n" not in path} <= closure.absent
    assert set(closure.files) - opened == set()


@needs_strace
def test_links_are_part_of_the_closure(kustomize: str, tmp_path: Path) -> None:
    base = tmp_path / "repo"
    write({"app/kustomization.yaml": "resources: [linked, file.yaml]\n", "real/base/kustomization.yaml": ""}, base)
    write(
        {"real/base/kustomization.yaml": "resources: [../one.yaml]\n", "real/one.yaml": FILES["deeper/one.yaml"]}, base
    )
    write({"real/two.yaml": FILES["app/extra.yaml"]}, base)
    (base / "app/linked").symlink_to("../real/base")
    (base / "app/file.yaml").symlink_to("../real/two.yaml")
    closure = closure_of(base, "app")
    assert set(closure.links) == {"app/linked", "app/file.yaml"}
    opened, absent = traced(kustomize, base, "app", tmp_path / "log")
    assert {os.path.relpath((base / path).resolve(), base) for path in opened} == set(closure.files)
    assert absent <= closure.absent


async def test_every_field_renders(world: World) -> None:
    made = bodies(await world.render(FILES))
    web = made["Deployment/p-web-s"]
    assert web["spec"]["revisionHistoryLimit"] == 2
    assert web["spec"]["progressDeadlineSeconds"] == 99
    assert web["spec"]["minReadySeconds"] == 3
    assert web["spec"]["paused"] is False
    assert web["spec"]["strategy"] == {"type": "Recreate"}
    assert web["spec"]["template"]["spec"]["containers"][0]["image"] == "reg/web:2"
    assert web["metadata"]["annotations"]["by"] == "transformer"
    assert {"ConfigMap/p-one-s", "ConfigMap/p-two-s", "ConfigMap/p-from-component-s"} <= set(made)


@pytest.mark.parametrize("path", sorted(set(FILES) - {"components/unused/kustomization.yaml", "elsewhere/readme.md"}))
def test_a_change_of_any_file_that_is_read_misses_the_cache(path: str) -> None:
    before, after = (read_closure(CommitTree(commit(files)), Reader(), "app") for files in (FILES, changed(path)))
    assert before.input_digest(b"") != after.input_digest(b"")
    assert before.renewed(CommitTree(commit(changed(path)))) is not before


def changed(path: str) -> dict[str, str]:
    comment = "\n" if path.endswith(".json") else "\n# changed\n"
    return {**FILES, path: FILES[path] + comment}


@pytest.mark.parametrize(
    "path", ["components/unused/kustomization.yaml", "elsewhere/readme.md", "app/new.yaml", "other"]
)
def test_a_change_of_anything_else_hits_the_cache(path: str) -> None:
    after = commit({**FILES, path: "anything\n"})
    before = read_closure(CommitTree(commit(FILES)), Reader(), "app")
    again = read_closure(CommitTree(after), Reader(), "app")
    assert before.input_digest(b"") == again.input_digest(b"")
    assert before.renewed(CommitTree(after)) is before


_TEXTS = sampled_from(
    [
        *sorted(set(FILES.values())),
        "",
        "# a comment\n",
        "a: fleet-cluster\n",
        "resources: [one.yaml]\n",
        "kind: Component\n",
    ]
)
_NEW = ("app/new.yaml", "app/kustomization.yml", "deeper/kustomization.yaml", "other/x", "app/conf", "components")
_EDITS = dictionaries(sampled_from([*sorted(FILES), *_NEW]), none() | _TEXTS, min_size=1, max_size=3)


@given(edits=_EDITS)
def test_a_closure_told_from_the_one_before_is_the_one_that_reading_gives(edits: dict[str, str | None]) -> None:
    merged = {path: text for path, text in {**FILES, **edits}.items() if text is not None}
    # A file where a directory was takes what lay below it away.
    files = {path: text for path, text in merged.items() if not any(path.startswith(f"{other}/") for other in merged)}
    tree = CommitTree(commit(files))
    told = read_closure(CommitTree(commit(FILES)), Reader(), "app").renewed(tree)
    assert told is None or told == read_closure(tree, Reader(), "app")


def test_a_closure_is_told_without_reading_where_only_contents_differ() -> None:
    before = read_closure(CommitTree(commit(FILES)), Reader(), "app")
    told = {path: before.renewed(CommitTree(commit(changed(path)))) for path in before.files}
    assert {path for path, found in told.items() if found is None} == before.read
    assert {*before.kustomizations.values()} < before.read < before.files.keys()


async def test_a_change_builds_once_and_the_way_back_builds_nothing(world: World) -> None:
    assert await world.builds_for(FILES) == 1
    assert await world.builds_for(FILES) == 0
    assert await world.builds_for(changed("app/conf/app.env")) == 1
    assert await world.builds_for({**FILES, "elsewhere/readme.md": "new"}) == 0
    assert await world.builds_for(FILES) == 0


def test_a_new_file_that_shadows_is_seen() -> None:
    files = {"app/kustomization.yaml": "resources: [one.yaml]\n", "app/one.yaml": FILES["deeper/one.yaml"]}
    before = read_closure(CommitTree(commit(files)), Reader(), "app")
    shadowed = commit({**files, "app/kustomization.yml": "resources: []\n"})
    assert before.renewed(CommitTree(shadowed)) is None
    assert read_closure(CommitTree(shadowed), Reader(), "app").error is not None


async def test_another_tool_or_flag_misses_the_cache(
    make_renderer: Callable[..., Renderer], kustomize: str, tmp_path: Path
) -> None:
    renderer = make_renderer()
    other = dataclasses.replace(renderer.tool, digest="0" * 64)
    cache, snapshot, request = renderer._results._cache, commit(FILES), RenderRequest("app")
    await renderer.render(snapshot, request)
    again = make_renderer(cache=cache, vault=renderer._builder._vault)
    await again.render(snapshot, request)
    assert again.stats.builds == 0
    changed_tool = make_renderer(cache=cache, vault=renderer._builder._vault, used=other)
    await changed_tool.render(snapshot, request)
    assert changed_tool.stats.builds == 1
    await again.render(snapshot, RenderRequest("app", components=("components/facts",)))
    assert again.stats.builds == 1


def test_a_mode_bit_changes_nothing() -> None:
    before = commit(FILES)
    after = commit(FILES)
    for path, entry in list(after.tree.items()):
        after.tree[path] = type(entry)("100755", entry.oid)
    first, second = (read_closure(CommitTree(snapshot), Reader(), "app") for snapshot in (before, after))
    assert first.input_digest(b"") == second.input_digest(b"")
