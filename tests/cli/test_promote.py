"""`fleet promote` against a real hub on simulated clusters, in a clone of its repo: branch, message, refusals."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, kustomization, make_world

from fleet.cli.app import run
from fleet.core.passage import Passage

CLUSTERS = ("staging-1", "staging-2", "prod-1")
STAGING, PROD = "overlays/web/staging/kustomization.yaml", "overlays/web/prod/kustomization.yaml"
BASE = "# the shop\n" + kustomization("../base") + "images:\n"
OLD = BASE + "- name: reg/web\n  newTag: 1.4.1  # see the runbook\n"
NEW = OLD.replace("1.4.1", "1.4.2")
GIVEN = ("--without-evidence", "--reason", "x")
Command = Callable[..., Awaitable[tuple[int, str]]]


def deployment(image: str) -> str:
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec:\n"
        "  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
        f"    spec: {{containers: [{{name: c, image: {image}}}]}}\n"
    )


def files(rollout: str = "{steps: []}") -> dict[str, str]:
    found = {f"clusters/{name}.yaml": cluster_file(name, name.split("-")[0]) for name in CLUSTERS}
    return found | {
        "fleet.yaml": "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\n"
        f"spec:\n  environments: [staging, prod]\n  rollout: {rollout}\n",
        "overlays/web/overlay.yaml": "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: web}\n"
        "spec: {clusters: [{all: true}]}\n",
        "overlays/web/base/kustomization.yaml": kustomization("web.yaml"),
        "overlays/web/base/web.yaml": deployment("reg/web"),
        STAGING: NEW,
        PROD: OLD,
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, CLUSTERS) as made:
        made.commit(files(), "Shop 1.4.2 on staging")
        yield made


@pytest.fixture
def promote(world: HubWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs it in a clone: exit code, and all that was printed."""
    git(tmp_path, "clone", "-q", str(world.repo.path), "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("FLEET_HUB", "FLEET_TOKEN", "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".gitconfig").write_text("[user]\nname = jo\nemail = jo@acme.example\n")

    def blocking(arguments: tuple[str, ...]) -> tuple[int, str]:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            code = run(["promote", *arguments])
        return code, out.getvalue()

    async def command(
        *arguments: str, overlay: str = "web", stages: tuple[str, str] = ("staging", "prod")
    ) -> tuple[int, str]:
        if world.url:
            monkeypatch.setenv("FLEET_HUB", world.url)
            monkeypatch.setenv("FLEET_TOKEN", world.token)
        return await asyncio.to_thread(blocking, (overlay, "--from", stages[0], "--to", stages[1], *arguments))

    return command


def git(root: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", "-C", str(root), *words], env=environment, capture_output=True, check=True)
    return done.stdout.decode()


def state_of(root: Path) -> tuple[str, ...]:
    """Work tree, index, HEAD and refs, new branches aside."""
    return (
        git(root, "status", "--porcelain"),
        git(root, "ls-files", "--stage"),
        git(root, "symbolic-ref", "HEAD"),
        git(root, "for-each-ref", "refs/remotes", "refs/heads/main"),
    )


async def test_what_staging_proved_is_one_commit_on_a_branch_with_the_evidence(
    world: HubWorld, promote: Command, tmp_path: Path
) -> None:
    here, head = tmp_path / "here", world.repo.head()
    (here / PROD).write_text("half written")
    (here / "new.txt").write_text("x")
    git(here, "add", "new.txt")
    before = state_of(here)
    async with world.run():
        await world.until_everywhere(head)
        code, text = await promote()
        again, refused = await promote()
        world.sim.cluster("staging-2").faults.add("refuse")
        await world.until(lambda: not world.opened.view.clusters["staging-2"].reachable, "unreachable")
        lost, away = await promote("--branch", "b")
    branch = f"promote/web-prod-{head[:7]}"
    assert code == 0, text
    assert state_of(here) == before
    assert git(here, "rev-parse", f"{branch}^").strip() == head
    assert git(here, "diff", "--name-only", head, branch).split() == [PROD]
    assert git(here, "show", f"{branch}:{PROD}") == NEW
    message = git(here, "log", "-1", "--format=%an %ae%n%B", branch)
    assert message.startswith("jo jo@acme.example\nPromote web to prod: web 1.4.2\n\nFrom staging")
    assert "  reg/web  reg/web:1.4.1 -> reg/web:1.4.2\n" in message
    assert f'  commit    {head} "Shop 1.4.2 on staging" (Mara Example)\n' in message
    for name in ("staging-1", "staging-2"):
        assert f"  {name}  Synced, Healthy since 20" in message
    assert "prod-1" not in message
    assert "reg/web:1.4.1 -> reg/web:1.4.2" in text
    assert text.endswith(f"Next\n  git push origin {branch}\n  fleet plan --base main --head {branch}\n")
    assert (again, f"branch {branch} is here already" in refused) == (2, True)
    assert (lost, "why   staging-2 (Unknown, " in away) == (1, True), away
    assert git(here, "branch", "--list", "b") == ""


async def test_a_rollout_that_is_not_over_or_fails_proves_nothing_and_its_approvals_are_told(
    world: HubWorld, promote: Command, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    steps = "{steps: [{name: staging, environments: [staging]}, {name: ok, approve: 1}, {name: all, rest: true}]}"
    world.commit(files(steps) | {STAGING: OLD}, "Steps")
    async with world.run():
        await world.until_everywhere(world.repo.head())
        head = world.commit({STAGING: NEW, "overlays/web/base/web.yaml": deployment("reg/web").replace("c,", "d,")})
        await world.until(lambda: len(world.progress(head).missing) == 1, "staging on it")
        await world.until(lambda: any(row.asked for row in last(world).rows.values()), "step ok asks")
        git(here, "fetch", "-q", "origin")
        code, text = await promote()
        assert code == 1
        assert f"the rollout of {head[:7]} still runs: step ok" in text
        assert f"fleet describe rollout {head[:7]}" in text
        await world.call("POST", f"/api/v1/rollouts/{head}:approve", {"step": "ok", "reason": "looks good"})
        await world.until_everywhere(head)
        await world.until(lambda: last(world).outcome, "over")
        code, text = await promote()
        assert code == 0, text
        assert f"rollout   {head} done" in text
        assert "approved  step ok by local-admin" in text
        bad = world.commit({STAGING: NEW.replace("1.4.2", "crash")}, "A crash")
        await world.until(lambda: last(world).halted is not None, "halted")
        git(here, "fetch", "-q", "origin")
        code, text = await promote("--branch", "b")
        assert code == 1
        assert f"error[PromotionRefused] staging does not prove web at {bad[:7]}" in text
        assert re.search(r"why +staging-[12] \(Synced, Degraded", text), text
        assert f"; the rollout of {bad[:7]} is halted: " in text
        assert "prod-1" not in text
        assert re.search(
            "next  fleet describe unit web@staging-.; or fleet promote web --from staging --to prod --wi", text
        )
        assert git(here, "branch", "--list", "b") == ""
        code, text = await promote("--branch", "b", "--without-evidence", "--reason", "the pager says so")
    assert code == 0
    assert "\nWithout evidence of staging: the pager says so\n" in git(here, "log", "-1", "--format=%B", "b")


def last(world: HubWorld) -> Passage:
    return world.opened.view.passages.all[-1]


async def test_nothing_to_promote_is_said_and_no_branch_is_made(
    world: HubWorld, promote: Command, tmp_path: Path
) -> None:
    world.commit({PROD: NEW + "namePrefix: a-\n", "overlays/web/prod/more.yaml": "a: 1\n"})
    git(tmp_path / "here", "pull", "-q")
    code, text = await promote(*GIVEN)
    assert code == 0
    assert "prod has the images of staging already" in text
    assert "not moved: namePrefix, more.yaml\n" in text
    assert git(tmp_path / "here", "branch", "--list", "promote/*") == ""


async def test_without_a_hub_it_refuses_and_with_a_reason_it_goes(promote: Command, tmp_path: Path) -> None:
    code, text = await promote()
    assert code == 1
    assert "there is no evidence that staging proves web: no hub is known here" in text
    assert '--without-evidence --reason "..."' in text
    code, text = await promote("--without-evidence")
    assert (code, "without evidence it needs a reason" in text) == (2, True)
    code, text = await promote("--reason", "x")
    assert (code, "a reason is for --without-evidence alone" in text) == (2, True)


@pytest.mark.parametrize(
    ("overlay", "stages", "code", "said"),
    [
        ("wbe", ("staging", "prod"), 3, "next  did you mean web?"),
        ("web", ("stagng", "prod"), 3, "next  did you mean staging?"),
        ("web", ("staging", "prdo"), 3, "next  did you mean prod?"),
        ("web", ("prod", "prod"), 2, "prod is both where it comes from and where it goes"),
        ("web", ("prod", "staging"), 2, "prod comes after staging"),
    ],
)
async def test_what_there_is_not_is_named(
    promote: Command, overlay: str, stages: tuple[str, str], code: int, said: str
) -> None:
    found, text = await promote(*GIVEN, overlay=overlay, stages=stages)
    assert (found, said in text) == (code, True), text


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({STAGING: None, PROD: None, "overlays/web/kustomization.yaml": NEW}, 2, "build web from one path"),
        ({PROD: BASE + "- {name: reg/web, newTag: 1.4.1}\n"}, 1, f"where {PROD}:5"),
        (
            {"overlays/web/overlay.yaml": "kind: Overlay\napiVersion: fleet.internal/v1\nspec: []\n"},
            1,
            "cannot be told",
        ),
        ({"clusters/prod-1.yaml": "a: ["}, 1, "cannot be told"),
    ],
)
async def test_what_cannot_be_promoted_is_refused(
    world: HubWorld, promote: Command, tmp_path: Path, changed: dict[str, str | None], code: int, said: str
) -> None:
    world.commit(changed)
    git(tmp_path / "here", "pull", "-q")
    found, text = await promote(*GIVEN)
    assert (found, said in text) == (code, True), text
    assert git(tmp_path / "here", "branch", "--list", "promote/*") == ""


SPLIT, LIKE = kustomization("../base-staging"), kustomization("../base-prod")
IMAGE, COMPONENT = (
    "images:\n- name: reg/web\n  newTag: {}\n",
    "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n",
)
WITH = kustomization("../base") + "components: [../../../components/{}]\n"
SOME = (
    "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: web}\nspec: {clusters: [{all: true}, "
    "{names: [%s], components: [components/a]}]}\n"
)


def component(name: str, text: str) -> dict[str, str]:
    return {f"components/{name}/kustomization.yaml": COMPONENT + text}


def bases(**tags: str) -> dict[str, str]:
    """A base for each environment, which alone says its images."""
    return {
        f"overlays/web/base-{stage}/kustomization.yaml": kustomization("../base") + IMAGE.format(tag)
        for stage, tag in tags.items()
    }


@pytest.mark.parametrize(
    ("changed", "edited"),
    [
        (
            {STAGING: SPLIT, PROD: LIKE, **bases(staging="1.4.2", prod="1.4.1")},
            "overlays/web/base-prod/kustomization.yaml",
        ),
        ({STAGING: SPLIT, **bases(staging="1.4.2")}, PROD),
        ({STAGING: WITH.format("a"), **component("a", IMAGE.format("1.4.2"))}, PROD),
        ({PROD: WITH.format("b"), **component("b", IMAGE.format("1.4.1"))}, "components/b/kustomization.yaml"),
        ({PROD: SPLIT.replace("staging", "prod") + IMAGE.format("1.4.1"), **bases(prod="0.9.1")}, PROD),
    ],
    ids=["base to base", "base to own", "component to own", "own to component", "own wins over its base"],
)
async def test_images_that_only_this_environment_is_built_from_move_wherever_they_stand(
    world: HubWorld, promote: Command, tmp_path: Path, changed: dict[str, str], edited: str
) -> None:
    here, head = tmp_path / "here", world.commit(changed)
    git(here, "pull", "-q")
    code, text = await promote(*GIVEN, "--branch", "b")
    assert code == 0, text
    assert git(here, "diff", "--name-only", head, "b").split() == [edited]
    assert git(here, "show", f"b:{edited}").count("newTag: 1.4.2") == 1
    assert "reg/web:1.4.1 -> reg/web:1.4.2" in text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {
                PROD: WITH.format("b"),
                **component("b", IMAGE.format("1.4.1")),
                "overlays/api/overlay.yaml": SOME.replace("web", "api") % "prod-1",
                "overlays/api/kustomization.yaml": kustomization() + "components: [../../components/b]\n",
                **component("a", ""),
            },
            "components/b/kustomization.yaml:4",
        ),
        (
            {
                STAGING: WITH.format("a, ../../../components/b"),
                **component("a", IMAGE.format("1.4.2")),
                **component("b", IMAGE.format("1.4.3")),
            },
            "where components/b/kustomization.yaml:4, components/a/kustomization.yaml:4",
        ),
        (
            {"overlays/web/overlay.yaml": SOME % "staging-1", **component("a", IMAGE.format("1.4.3"))},
            "components/a/kustomization.yaml:4",
        ),
        (
            {
                STAGING: NEW + "transformers: [tags.yaml]\n",
                "overlays/web/staging/tags.yaml": "apiVersion: builtin\nkind: ImageTagTransformer\n"
                "metadata: {name: t}\nimageTag: {name: reg/web, newTag: 1.4.3}\n",
            },
            "overlays/web/staging/tags.yaml:2",
        ),
        (
            {
                PROD: kustomization("../base-prod", "../more"),
                **bases(prod="1.4.1"),
                "overlays/web/more/kustomization.yaml": kustomization("more.yaml"),
                "overlays/web/more/more.yaml": deployment("reg/web").replace("name: web", "name: more"),
            },
            "is set for some of its objects alone",
        ),
        ({PROD: kustomization("../gone")}, "cannot be told"),
    ],
    ids=["shared with another overlay", "two places", "one cluster alone", "a transformer", "a part", "not known"],
)
async def test_images_that_cannot_be_taken_along_are_refused_with_their_line(
    world: HubWorld, promote: Command, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    world.commit(changed)
    git(tmp_path / "here", "pull", "-q")
    code, text = await promote(*GIVEN, "--branch", "b")
    assert (code, said in text) == (1, True), text
    assert git(tmp_path / "here", "branch", "--list", "b") == ""


PATCHED = kustomization("../base-staging") + (
    "patches:\n- patch: |-\n    - op: replace\n      path: /spec/template/spec/containers/0/image\n      value: reg/x\n"
    "  target: {kind: Deployment}\n"
)
PATCH = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec: {template: {spec: "
    "{containers: [{name: side, image: reg/side:%s}]}}} # image: no\n"
)


async def test_images_that_patches_say_are_named_as_not_moved_and_those_that_both_say_are_not(
    world: HubWorld, promote: Command, tmp_path: Path
) -> None:
    """A patch of a base that only one environment has is in no folder of its own."""
    base = kustomization("../base") + "patches: [{path: side.yaml}]\n" + IMAGE.format("%s")
    world.commit(
        {
            STAGING: PATCHED,
            PROD: LIKE,
            "overlays/web/base-staging/kustomization.yaml": base % "1.4.2",
            "overlays/web/base-prod/kustomization.yaml": base % "1.4.1",
            "overlays/web/base-staging/side.yaml": PATCH % "2",
            "overlays/web/base-prod/side.yaml": PATCH % "1",
        }
    )
    git(tmp_path / "here", "pull", "-q")
    code, text = await promote(*GIVEN, "--branch", "b")
    assert code == 0, text
    left = next(line for line in text.splitlines() if line.startswith("not moved: "))
    assert "image reg/side:2 (overlays/web/base-staging/side.yaml:4)" in left
    line = PATCHED[: PATCHED.index("/image")].count("\n") + 1
    assert f"image of a patch ({STAGING}:{line})" in left
    world.commit({"overlays/web/base-prod/side.yaml": PATCH % "2"})
    git(tmp_path / "here", "pull", "-q")
    code, text = await promote(*GIVEN, "--branch", "c")
    assert (code, "reg/side" in text) == (0, False), text


async def test_who_git_does_not_know_makes_no_commit(promote: Command, tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").unlink()
    code, text = await promote(*GIVEN)
    assert (code, "git does not know who makes this commit" in text) == (2, True), text
    code, text = await promote(*GIVEN, "--branch=-x")
    assert (code, "-x is no name of a branch" in text) == (2, True), text
