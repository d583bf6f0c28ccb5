"""`fleet rollout revert` in a real clone: what a patch and a branch put back, what they leave, and what is refused."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hubworld import cluster_file, config_map, kustomization, make_world, overlay

from fleet.cli.app import run
from fleet.cli.revert import Wish, revert
from fleet.cli.rollout import describe
from fleet.errors import FleetError, MergeConflict, NotKnown, RefMissing, UsageInvalid

WEB, DEV = "overlays/web/base/web.yaml", "overlays/web/dev/kustomization.yaml"
SHARED = "shared/common.yaml"
FLEET = "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec: {environments: [dev, prod]}\n"


def files() -> dict[str, str]:
    """Web has a base and an environment each, and a file that api is built from too."""
    web = overlay("overlays/web", {"web": config_map("web", "1")})
    return {
        "fleet.yaml": FLEET,
        "clusters/dev-1.yaml": cluster_file("dev-1", "dev"),
        "clusters/prod-1.yaml": cluster_file("prod-1", "prod"),
        "overlays/web/overlay.yaml": web["overlays/web/overlay.yaml"],
        "overlays/web/base/kustomization.yaml": kustomization("web.yaml", "../../../shared"),
        WEB: config_map("web", "1"),
        DEV: kustomization("../base"),
        "overlays/web/prod/kustomization.yaml": kustomization("../base"),
        "shared/kustomization.yaml": kustomization("common.yaml"),
        SHARED: config_map("common", "1"),
        **overlay("overlays/api", {"api": config_map("api", "1")}),
        "overlays/api/kustomization.yaml": kustomization("api.yaml", "../../shared"),
        "README.md": "one\n",
    }


class Clone:
    """A person's clone, with commits of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / ".git").exists():
            git(root, "init", "-q", "-b", "main")
        git(root, "config", "user.name", "jo")
        git(root, "config", "user.email", "jo@acme.example")

    def commit(self, changed: dict[str, str | None], message: str = "change") -> str:
        for name, text in changed.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "-m", message)
        return git(self.root, "rev-parse", "HEAD").strip()

    def revert(self, commit: str, name: str = "web", **more: str) -> tuple[bytes, str]:
        patch, notes = io.BytesIO(), io.StringIO()
        assert revert(self.root, Wish(commit, name, **more), patch, notes) == 0
        return patch.getvalue(), notes.getvalue()

    def apply(self, patch: bytes) -> None:
        subprocess.run(["git", "-C", str(self.root), "apply", "-3"], input=patch, check=True, capture_output=True)

    def tree(self, commit: str = "HEAD") -> dict[str, str]:
        listed = git(self.root, "ls-tree", "-r", commit).splitlines()
        return {line.partition("\t")[2]: line.partition("\t")[0] for line in listed}

    def staged(self) -> dict[str, str]:
        """What a commit of the index would hold."""
        return self.tree(git(self.root, "write-tree").strip())

    def state(self) -> tuple[str, ...]:
        return (
            git(self.root, "status", "--porcelain"),
            git(self.root, "rev-parse", "HEAD"),
            git(self.root, "for-each-ref", "refs/heads/main"),
            git(self.root, "ls-files", "--stage"),
        )


def git(root: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(root), *words], env=environment, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".gitconfig").write_text("[user]\nname = jo\nemail = jo@acme.example\n[diff]\nnoprefix = true\n")
    (tmp_path / "here").mkdir()
    return Clone(tmp_path / "here")


BAD = {
    WEB: config_map("web", "bad"),
    "overlays/web/base/extra.yaml": config_map("extra", "1"),
    "overlays/web/base/kustomization.yaml": kustomization("web.yaml", "extra.yaml", "../../../shared"),
    "overlays/api/api.yaml": config_map("api", "2"),
    "README.md": "two\n",
}


def test_a_patch_puts_back_what_the_overlay_is_built_from_and_nothing_else(clone: Clone) -> None:
    first = clone.commit(files())
    bad = clone.commit(BAD, "web bad, api 2")
    before = clone.state()
    patch, notes = clone.revert(bad[:7])
    assert clone.state() == before, "nothing was written"
    assert notes == ""
    assert patch.startswith(f'Put web back to {first[:7]}\n\nTakes back {bad} "web bad, api 2" (jo)\n'.encode())
    clone.apply(patch)
    wanted = clone.tree()
    for path in (WEB, "overlays/web/base/kustomization.yaml"):
        wanted[path] = clone.tree(first)[path]
    del wanted["overlays/web/base/extra.yaml"]
    assert clone.staged() == wanted


def test_a_branch_is_one_commit_on_head_and_all_else_stays(clone: Clone) -> None:
    first = clone.commit(files())
    bad = clone.commit(BAD)
    (clone.root / WEB).write_text("half written")
    before = clone.state()
    patch, notes = clone.revert(bad, branch="revert/web")
    assert (patch, clone.state()) == (b"", before)
    assert git(clone.root, "log", "--format=%s", "main..revert/web").splitlines() == [f"Put web back to {first[:7]}"]
    made, head = clone.tree("revert/web"), clone.tree()
    assert "overlays/web/base/extra.yaml" not in made
    assert made[WEB] == clone.tree(first)[WEB]
    assert made["overlays/api/api.yaml"] == head["overlays/api/api.yaml"]
    assert "fleet plan --base main --head revert/web" in notes
    with pytest.raises(UsageInvalid, match="is here already"):
        clone.revert(bad, branch="revert/web")


def test_what_lies_between_goes_back_too_where_the_hub_fetched_several_at_once(clone: Clone) -> None:
    first = clone.commit(files())
    clone.commit({WEB: config_map("web", "bad")})
    last = clone.commit({"README.md": "three\n"})  # the commit that the rollout is called by changed nothing of web
    patch, notes = clone.revert(last)
    assert (patch, "built from nothing that differs" in notes) == (b"", True)
    patch, _ = clone.revert(last, to=first)
    clone.apply(patch)
    assert clone.staged()[WEB] == clone.tree(first)[WEB]


def test_what_came_since_in_other_places_stays_and_in_the_same_is_refused(clone: Clone) -> None:
    lines = config_map("web", "1") + "# 1\n# 2\n# 3\n# 4\n# 5\n# end\n"
    clone.commit({**files(), WEB: lines})
    bad = clone.commit({WEB: lines.replace("web", "bad")})
    clone.commit({WEB: lines.replace("web", "bad").replace("# end", "# the end")})
    patch, _ = clone.revert(bad)
    clone.apply(patch)
    assert git(clone.root, "show", f":{WEB}") == lines.replace("# end", "# the end")
    git(clone.root, "reset", "-q", "--hard")
    clone.commit({WEB: lines.replace("web", "worse")})
    with pytest.raises(MergeConflict) as refused:
        clone.revert(bad)
    assert (refused.value.where, "changed there again" in refused.value.why) == (WEB, True)


def test_who_else_is_built_from_it_is_named_and_who_is_not_is_not(clone: Clone) -> None:
    clone.commit(files())
    bad = clone.commit({SHARED: config_map("common", "2")})
    _, notes = clone.revert(bad)
    assert notes == "also built from these files, and goes back with them: api\n"
    own = clone.commit({WEB: config_map("web", "2")})
    assert clone.revert(own)[1] == ""


def test_what_a_result_may_rest_on_besides_is_named_and_left(clone: Clone) -> None:
    clone.commit(files())
    labels = cluster_file("dev-1", "dev").replace("spec:", "spec:\n  variables: {size: large}", 1)
    bad = clone.commit({WEB: config_map("web", "2"), "clusters/dev-1.yaml": labels})
    patch, notes = clone.revert(bad)
    assert b"clusters/dev-1.yaml" not in patch
    assert notes == "not in it, though results may rest on it: clusters/dev-1.yaml\n"


def test_a_build_that_the_commit_broke_goes_back_as_far_as_its_directory(clone: Clone) -> None:
    first = clone.commit(files())
    broken = {DEV: kustomization("../base", "missing.yaml"), "overlays/web/dev/unused.yaml": config_map("unused", "1")}
    bad = clone.commit(broken)
    patch, _ = clone.revert(bad)
    clone.apply(patch)
    assert clone.staged() == clone.tree(first)


def test_a_repo_below_the_top_is_put_back_there(clone: Clone) -> None:
    first = clone.commit({f"deploy/{path}": text for path, text in files().items()})
    bad = clone.commit({f"deploy/{path}": text for path, text in BAD.items()})
    root, clone.root = clone.root, clone.root / "deploy"
    patch, _ = clone.revert(bad)
    clone.revert(bad, branch="revert/web")
    clone.root = root
    clone.apply(patch)
    assert clone.staged()[f"deploy/{WEB}"] == clone.tree(first)[f"deploy/{WEB}"]
    assert clone.staged() == clone.tree("revert/web")


def test_a_revert_is_put_back_once(clone: Clone) -> None:
    clone.commit(files())
    bad = clone.commit(BAD)
    clone.apply(clone.revert(bad)[0])
    git(clone.root, "commit", "-q", "-m", "revert")
    patch, notes = clone.revert(bad)
    assert (patch, "they are so already" in notes) == (b"", True)


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        ({"commit": "nope"}, RefMissing, "names no commit here"),
        ({"name": "nope"}, NotKnown, "there is no overlay nope"),
        ({"to": "HEAD~0", "commit": "HEAD~1"}, UsageInvalid, "does not come before"),
        ({"onto": "HEAD~1"}, UsageInvalid, "does not contain"),
        ({"commit": "HEAD~1", "onto": "HEAD"}, UsageInvalid, "has no commit before it here"),
        ({"branch": "-x"}, UsageInvalid, "is no name of a branch"),
    ],
)
def test_what_cannot_be_put_back_is_refused(
    clone: Clone, wish: dict[str, str], error: type[FleetError], words: str
) -> None:
    clone.commit(files())
    clone.commit(BAD)
    with pytest.raises(error, match=words):
        clone.revert(**{"commit": "HEAD", **wish})


def test_what_is_described_says_the_exact_command(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    first, bad = clone.commit(files()), clone.commit(BAD)
    item = {"commit": bad, "overlays": ["api", "web"], "state": "rolled back", "startedAt": "2026-11-24T10:00:00Z"}
    describe({**item, "reverts": [{"overlay": "web", "to": [first], "clusters": 2}]})
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("in Git")]
    command = line.removeprefix("in Git").partition("|")[0].split()
    assert command == ["fleet", "rollout", "revert", bad[:7], "--overlay", "web", "--to", first[:7]]
    raw, problems = io.BytesIO(), io.StringIO()
    with redirect_stdout(io.TextIOWrapper(raw, write_through=True)), redirect_stderr(problems):
        assert run([*command[1:], "--root", str(clone.root)]) == 0
        written = raw.getvalue()
    assert written == clone.revert(bad, to=first)[0]
    describe({**item, "reverts": []})
    assert "revert" not in capsys.readouterr().out


async def test_a_rollback_says_the_command_that_makes_git_agree_with_the_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\nname = jo\nemail = jo@acme.example\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)

    def fleet(*arguments: str) -> str:
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, write_through=True)
        with redirect_stdout(out), redirect_stderr(out):
            assert run(list(arguments)) == 0, raw.getvalue()
        return raw.getvalue().decode()

    async with make_world(tmp_path, ("dev-1", "prod-1")) as world:
        first = world.commit(files() | {"overlays/api/kustomization.yaml": kustomization("api.yaml")})
        async with world.run():
            await world.until_everywhere(first)
            bad = world.commit(BAD, "web bad, api 2")
            await world.until_everywhere(bad)
            monkeypatch.setenv("FLEET_HUB", world.url)
            monkeypatch.setenv("FLEET_TOKEN", world.token)
            said = await asyncio.to_thread(fleet, "rollback", "web", "--reason", "it breaks")
            described = await asyncio.to_thread(fleet, "describe", "rollout", bad[:7])
            (line,) = [line for line in said.splitlines() if "--branch" in line]
            assert line in described.splitlines()
            assert f"--overlay web --to {first[:7]}" in line
            git(tmp_path, "clone", "-q", str(world.repo.path), "there")
            command = line.partition("     the same")[0].split()[1:]
            await asyncio.to_thread(fleet, *command, "--root", str(tmp_path / "there"))
            there, branch = Clone(tmp_path / "there"), command[-1]
            made, old, new = (there.tree(name) for name in (branch, first, bad))
            assert (made[WEB], made["overlays/api/api.yaml"]) == (old[WEB], new["overlays/api/api.yaml"])
            git(tmp_path / "there", "push", "-q", "origin", f"{branch}:main")
            world.opened.bells.fetch.set()
            await world.until_everywhere(world.repo.head())
            await world.until(lambda: not world.opened.view.waits, "Git and clusters agree")
