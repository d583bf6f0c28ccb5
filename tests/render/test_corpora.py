"""Real fleet repos: what kustomize builds from the whole tree, a build from the closure alone gives as well."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from render.world import KEY, MemorySnapshot, commit_of

from fleet.core.bundles import assemble, flatten
from fleet.core.objects import Bundle
from fleet.errors import FleetError, NamespaceMissing
from fleet.ports.render import RenderRequest
from fleet.render.closure import read_closure
from fleet.render.parse import documents
from fleet.render.reader import Reader
from fleet.render.service import Renderer
from fleet.render.tools import Tool
from fleet.render.tree import CommitTree

EVERY = int(os.environ.get("FLEET_TEST_CORPORA_EVERY", "8"))  # builds are dear: 1 builds all roots
NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


PLACE = os.environ.get("FLEET_TEST_CORPORA")
if not PLACE:
    pytest.skip("FLEET_TEST_CORPORA is not set", allow_module_level=True)


@pytest.fixture(scope="module")
def corpora() -> list[Path]:
    return sorted(path for path in Path(PLACE or "").iterdir() if path.is_dir())


def roots_of(snapshot: MemorySnapshot) -> list[str]:
    return sorted({path.rpartition("/")[0] for path in snapshot.tree if path.rpartition("/")[2] in NAMES})


def plainly(tool: Tool, directory: Path) -> subprocess.CompletedProcess[bytes]:
    # No git on PATH, so that a remote base fails at once instead of going to the network.
    return subprocess.run(tool.argv(str(directory)), capture_output=True, check=False, env={"PATH": ""}, timeout=60)


def test_no_root_needs_the_whole_tree(corpora: list[Path]) -> None:
    roots = widened = 0
    for corpus in corpora:
        snapshot = commit_of(corpus)
        tree, reader = CommitTree(snapshot), Reader()
        for root in roots_of(snapshot):
            roots += 1
            widened += bool(read_closure(tree, reader, root).widened)
    assert roots > 600
    assert widened <= roots * 0.01


async def outcome(renderer: Renderer, snapshot: MemorySnapshot, root: str) -> Bundle | FleetError:
    try:
        return await renderer.render(snapshot, RenderRequest(root, allow_empty=True))
    except FleetError as error:
        return error


@pytest.mark.timeout(900)
async def test_a_build_from_the_closure_equals_one_from_the_whole_tree(
    corpora: list[Path], make_renderer: Callable[..., Renderer], tool: Tool
) -> None:
    compared = 0
    for corpus in corpora:
        renderer, snapshot = make_renderer(), commit_of(corpus)
        for root in roots_of(snapshot)[::EVERY]:
            plain = plainly(tool, corpus / root)
            bundle = await outcome(renderer, snapshot, root)
            if isinstance(bundle, NamespaceMissing):
                continue  # ours to refuse, kustomize does not mind
            assert (plain.returncode == 0) == isinstance(bundle, Bundle), f"{root}: {bundle}"
            if not isinstance(bundle, Bundle):
                continue
            wanted = assemble(flatten(documents(plain.stdout)), key=KEY)
            assert [made.digest for made in bundle.objects] == [made.digest for made in wanted.objects], root
            compared += 1
    assert compared > 400 / EVERY
