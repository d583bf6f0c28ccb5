"""`fleet plan` between any two commits equals what a loop of `kustomize build` and a plain comparison find."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cli import edits
from cli.bruteforce import Commit, differences, patched, unordered
from fixtures.layouts import charts, monorepo, percluster
from inventory.building import write

from fleet.cli import opening
from fleet.cli.kept import Kept
from fleet.cli.plan import compare_commits
from fleet.core.planning.change import How, ObjectChange, Sign
from fleet.core.planning.fleet_plan import FleetPlan, plan_of

ROOT = Path(__file__).parents[2]
WHO = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "jo", "GIT_AUTHOR_EMAIL": "jo@acme.example"}
WHO |= {"GIT_COMMITTER_NAME": "jo", "GIT_COMMITTER_EMAIL": "jo@acme.example"}
# What fleet refuses and a plain build does not: such a unit has no result to compare.
REFUSED = {"NamespaceMissing", "RenderEmpty", "DocumentInvalid"}


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], env={**os.environ, **WHO}, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def kustomize(real_kustomize: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)
    monkeypatch.delenv("FLEET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return real_kustomize


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many builds were run, over all plans."""
    counted: Counter[str] = Counter()
    original = opening.keeping_renderer

    @asynccontextmanager
    async def counting(kept: Kept, *, needs_values: bool) -> AsyncIterator[Any]:
        async with original(kept, needs_values=needs_values) as (renderer, vault):
            yield renderer, vault
            counted["builds"] += renderer.stats.builds

    monkeypatch.setattr(opening, "keeping_renderer", counting)
    return counted


def commits_of(
    root: Path,
    random: Random,
    count: int,
    places: Sequence[str] = (".",),
    edits_at_most: int = 3,
    *,
    harmless: bool = False,
) -> list[str]:
    """A history of random edits in these places of a repo that lies there. harmless: none that breaks a build."""
    choices = [edit for edit in edits.EDITS if not (harmless and edit in edits.BREAKING)]
    git(root.parent, "init", "-q", "-b", "main", str(root))
    found: list[str] = []
    while len(found) <= count:
        git(root, "add", "-A")
        if git(root, "status", "--porcelain") or not found:
            git(root, "commit", "-q", "-m", f"state {len(found)}")
            found.append(git(root, "rev-parse", "HEAD"))
        for _ in range(random.randint(1, edits_at_most)):
            random.choice(choices)(root / random.choice(places), random)
    return found


def signs_of(changes: tuple[ObjectChange, ...]) -> dict[tuple[str, str, str, str], str]:
    """As a plain comparison sees them: a new name is one object less and another more."""
    found: dict[tuple[str, str, str, str], str] = {}
    for change in changes:
        key = (change.ref.group, change.ref.kind, change.ref.namespace, change.ref.name)
        if change.renamed_from is not None:
            found[*key[:3], change.renamed_from.name] = "-"
        found[key] = "+" if change.renamed_from is not None else change.sign.value
    return found


def as_said(plan: FleetPlan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for unit in plan.units:
        match unit.how:
            case How.VANISHES:
                found[str(unit.name)] = "vanishes"
            case How.UNKNOWN:
                found[str(unit.name)] = "fails"
            case How.APPEARS | How.CHANGES if unit.objects or unit.how is How.APPEARS:
                found[str(unit.name)] = signs_of(unit.objects)
            case _:
                pass
    return found


def check_fields(plan: FleetPlan, before: Commit, after: Commit) -> int:
    """Every field that is told makes one side of an object the other, and nothing else is needed."""
    checked = 0
    for unit in plan.of(How.CHANGES):
        was, now = before.objects(str(unit.name)), after.objects(str(unit.name))
        if was is None or now is None:
            continue
        for change in unit.objects:
            if change.sign is not Sign.CHANGE or change.ref.kind == "Secret":
                continue
            ref, old = change.ref, change.renamed_from or change.ref
            document = copy.deepcopy(was[old.group, old.kind, old.namespace, old.name])
            document["metadata"]["name"] = ref.name
            for drift in change.fields:
                patched(document, drift.path, drift.desired, drift.live)
            assert unordered(document) == unordered(now[ref.group, ref.kind, ref.namespace, ref.name])
            checked += 1
    return checked


async def refused_at(root: Path, revision: str) -> set[str]:
    """Units that fleet refuses at a commit for a reason of its own: seen from a commit that has nothing."""
    empty = git(root, "commit-tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "-m", "nothing")
    found = await compare_commits(root, empty, revision)
    return {str(unit.name) for unit in found.units if unit.problem is not None and unit.problem.reason in REFUSED}


async def compare(root: Path, revisions: list[str], pairs: list[tuple[int, int]], folder: Path, kustomize: str) -> int:
    """Compare plan and brute force over pairs of commits; returns how many objects differed in all."""
    commits = {
        at: Commit(root, revisions[at], folder / str(at), kustomize)
        for at in sorted({at for pair in pairs for at in pair})
    }
    refusals = {at: await refused_at(root, revisions[at]) for at in commits}
    told = fields = 0
    for one, other in pairs:
        fresh = await compare_commits(root, revisions[one], revisions[other])
        # Again, with all that was kept of the base: nothing of it may differ.
        found = await compare_commits(root, revisions[one], revisions[other])
        assert found == fresh
        plan = plan_of(found)
        refused = refusals[one] | refusals[other] | {str(u.name) for u in plan.units if u.unknown_before}
        said, brute = as_said(plan), differences(commits[one], commits[other])
        for unit in {*said, *brute} - refused:
            assert said.get(unit) == brute.get(unit), (one, other, unit)
        told += sum(len(signs) for unit, signs in brute.items() if isinstance(signs, dict) and unit not in refused)
        fields += check_fields(plan, commits[one], commits[other])
    assert fields  # a comparison that met no changed object would prove nothing
    return told


def small_charts() -> Mapping[str, str]:
    return charts.files(schema_fields=2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("layout", [small_charts, monorepo.files, percluster.files])
async def test_a_layout_between_any_two_commits(
    layout: Callable[[], Mapping[str, str]], tmp_path: Path, kustomize: str
) -> None:
    random = Random(layout.__module__ + layout.__name__)
    revisions = commits_of(write(tmp_path / "repo", layout()), random, 8)
    pairs = [*pairwise(range(9)), (0, 8), (8, 0), (6, 2)]
    assert await compare(tmp_path / "repo", revisions, pairs, tmp_path, kustomize)


@pytest.mark.timeout(300)
async def test_the_example_repo_between_any_two_commits(tmp_path: Path, kustomize: str) -> None:
    for name in ("clusters", "overlays", "components"):
        shutil.copytree(ROOT / name, tmp_path / "repo" / name)
    shutil.copy(ROOT / "fleet.yaml", tmp_path / "repo")
    revisions = commits_of(tmp_path / "repo", Random("example"), 4)
    assert await compare(tmp_path / "repo", revisions, [*pairwise(range(5)), (0, 4), (3, 1)], tmp_path, kustomize)


FLUX = ("apps/production", "apps/staging", "infrastructure/controllers", "infrastructure/configs")
EVERY = int(os.environ.get("FLEET_TEST_CORPORA_EVERY", "24"))  # of the catalog's overlays: 1 compares all


@pytest.mark.timeout(900)
async def test_repos_of_others_between_any_two_commits(tmp_path: Path, kustomize: str, record_property: Any) -> None:
    place = os.environ.get("FLEET_TEST_CORPORA")
    if not place:
        pytest.skip("FLEET_TEST_CORPORA is not set")
    repo = tmp_path / "repo"
    shutil.copytree(place, repo, symlinks=True)
    catalog = sorted(path.parent for path in (repo / "gitops-catalog").glob("*/**/overlays/*/kustomization.yaml"))
    paths = [f"flux2-kustomize-helm-example/{root}" for root in FLUX]
    paths += [str(path.relative_to(repo)) for path in catalog[::EVERY]]
    overlays = [{"name": f"o{at}", "path": f"on/{at}", "clusters": [{"all": True}]} for at in range(len(paths))]
    # Most of these roots leave the namespace to whoever applies them; fleet wants it said.
    on = {
        f"on/{at}/kustomization.yaml": f"namespace: here\nresources: [../../{path}]\n" for at, path in enumerate(paths)
    }
    write(repo, on)
    fleet = {"apiVersion": "fleet.internal/v1", "kind": "Fleet", "metadata": {"name": "others"}}
    (repo / "fleet.yaml").write_text(json.dumps(fleet | {"spec": {"clusters": "inventory", "overlays": overlays}}))
    cluster = "apiVersion: fleet.internal/v1\nkind: Cluster\nmetadata: {name: one}\n"
    write(repo, {"inventory/one.yaml": cluster})
    near = {place for path in paths for place in (path, f"{path}/../../base", f"{path}/../base")}
    places = sorted(os.path.normpath(place) for place in near if (repo / place).is_dir())
    revisions = commits_of(repo, Random("others"), 5, places, edits_at_most=12, harmless=True)
    told = await compare(repo, revisions, [*pairwise(range(6)), (0, 5), (4, 1)], tmp_path, kustomize)
    record_property("objects", told)
    assert told > 20


async def test_only_what_a_change_touches_is_built(tmp_path: Path, kustomize: str, builds: Counter[str]) -> None:
    root = write(tmp_path / "repo", monorepo.files())
    git(tmp_path, "init", "-q", "-b", "main", str(root))
    revisions: list[str] = []
    for text in ("NAME=cart\nLEVEL=info\n", "NAME=cart\nLEVEL=debug\n"):
        (root / "apps/cart/base/settings.env").write_text(text)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", text)
        revisions.append(git(root, "rev-parse", "HEAD"))
    found = await compare_commits(root, *revisions)
    assert {unit.name.overlay for unit in found.units} == {"cart"}
    assert len(found.units) == 6
    assert builds["builds"] == 2 * 3  # both sides of three environments, not of six clusters, and of no other overlay
