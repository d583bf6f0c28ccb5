"""The job files in docs/ci do what they say: their scripts run here, against a code host of our own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from cli.planrepo import BASE, Repo, git
from render.conftest import _kustomize as find_kustomize

ROOT = Path(__file__).resolve().parents[2]


BOT = ("github-actions[bot]", 7)  # whose token the job has


def wrote(login: str, number: int) -> dict[str, Any]:
    """Who wrote a comment, as each host says it."""
    return {"user": {"login": login}, "author": {"id": number}}


class Host(ThreadingHTTPServer):
    """Comments of one pull request, 100 a page, by the routes of both hosts."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = [
            {"id": number, "body": "a remark", **wrote("jo", 1)} for number in range(130)
        ]
        self.head = ""  # the newest commit of the request; "" where that is the one that is planned
        self.newest = ""
        self.tokens: set[str] = set()
        self.refuses = False
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def plans(self) -> list[str]:
        return [comment["body"] for comment in self.comments if "fleet plan" in comment["body"]]


class _Handler(BaseHTTPRequestHandler):
    server: Host

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        self.server.tokens.add(self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer: Any = {}
        match method:
            case "GET" if url.path == "/user":
                answer = {"id": BOT[1]}
            case "GET" if re.search(r"/(pulls|merge_requests)/7$", url.path):
                answer = {"sha": self.server.newest, "head": {"sha": self.server.newest}}
            case "GET":
                page = int(parse_qs(url.query)["page"][0])
                answer = self.server.comments[(page - 1) * 100 : page * 100]
            case "POST" if re.search(r"/(issues/7/comments|merge_requests/7/notes)$", url.path):
                self.server.comments.append({"id": len(self.server.comments), **json.loads(raw), **wrote(*BOT)})
            case _:
                assert re.search(r"/(issues/comments|merge_requests/7/notes)/\d+$", url.path)
                self.server.comments[int(url.path.rpartition("/")[2])].update(json.loads(raw))
        self.send_response(403 if self.server.refuses else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    server = Host()
    thread = threading.Thread(target=server.serve_forever, name="code host")
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def repo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Repo:
    if find_kustomize() is None:
        pytest.skip("no kustomize on this machine")
    return Repo(tmp_path, capsys)


def script_of(name: str) -> str:
    document = yaml.safe_load((ROOT / "docs" / "ci" / f"{name}.yaml").read_text())
    if name == "github":
        return str(document["jobs"]["plan"]["steps"][-1]["run"])
    return "\n".join(document["fleet plan"]["script"])


def run(
    name: str, repo: Repo, host: Host, *, path: str = "", user: int | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """As a runner does it: the variables that the host sets, and the checkout as working directory."""
    planned = git(repo.root, "rev-parse", "HEAD")
    host.newest = host.head or planned
    theirs = {
        "github": {
            "BASE": "origin/main",
            "NUMBER": "7",
            "PLANNED": planned,
            "GITHUB_TOKEN": "secret-token",
            "AUTHOR": BOT[0],
            "GITHUB_API_URL": host.address,
            "GITHUB_REPOSITORY": "acme/fleet",
            "GITHUB_STEP_SUMMARY": str(repo.root.parent / "summary.md"),
        },
        "gitlab": {
            "CI_PROJECT_DIR": str(repo.root),
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_API_V4_URL": host.address,
            "CI_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_PROJECT_URL": str(repo.origin),
            "CI_COMMIT_SHA": planned,
            "FLEET_PLAN_TOKEN": "secret-token",
        },
    }[name]
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script_of(name)],
        cwd=repo.root,
        env={
            "PATH": f"{path}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(repo.root.parent),
            "FLEET_KUSTOMIZE": str(find_kustomize()),
            **theirs,
            **more,
        },
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_a_job_keeps_one_comment_up_to_date(name: str, repo: Repo, host: Host) -> None:
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    repo.commit("10s")
    first = run(name, repo, host)
    assert first.returncode == 0, first.stderr
    (body,) = host.plans()
    assert "data.timeout 30s -> 10s" in body
    repo.edit(f"{BASE}/web.env", "10s", "5s")
    repo.commit("5s")
    assert run(name, repo, host).returncode == 0
    (body,) = host.plans()
    assert "data.timeout 30s -> 5s" in body
    assert {token.removeprefix("Bearer ") for token in host.tokens} == {"secret-token"}
    assert git(repo.root, "status", "--porcelain") == ""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_a_job_fails_with_what_cannot_be_told_and_says_it_in_the_comment(name: str, repo: Repo, host: Host) -> None:
    repo.edit(f"{BASE}/kustomization.yaml", "web.yaml", "wep.yaml")
    repo.commit("a slip")
    assert run(name, repo, host).returncode != 0
    assert "ResourceMissing" in host.plans()[0]
    git(repo.root, "checkout", "-q", "--orphan", "nothing-in-common")
    repo.commit("no history in common")
    assert run(name, repo, host).returncode != 0
    (body,) = host.plans()
    assert "fleet plan failed" in body


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_a_comment_of_somebody_else_is_never_taken_for_the_jobs_own(name: str, repo: Repo, host: Host) -> None:
    """Anybody may write the mark, and a comment of theirs could not be kept up to date, or would be overwritten."""
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    repo.commit("10s")
    theirs = {"id": 130, "body": "<!-- fleet plan -->\nNothing changes.", **wrote("mallory", 2)}
    host.comments.append(dict(theirs))
    assert run(name, repo, host).returncode == 0
    assert host.comments[130] == theirs
    assert "data.timeout 30s -> 10s" in host.comments[131]["body"]
    assert run(name, repo, host).returncode == 0
    assert len(host.comments) == 132


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["github", "gitlab"])
@pytest.mark.parametrize("code", [0, 1, 2, 137])
def test_a_job_without_a_plan_fails_and_what_was_said_stays_in_its_block(
    name: str, code: int, repo: Repo, host: Host, tmp_path: Path
) -> None:
    tool = tmp_path / "tools" / "fleet"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nprintf '~~~\\n```\\r\\n@acme/admins\\n' >&2\nexit {code}\n")
    tool.chmod(0o755)
    assert run(name, repo, host, path=str(tool.parent)).returncode != 0
    (body,) = host.plans()
    head, blank, *said = body.splitlines()[1:]
    assert (head, blank) == ("### fleet plan failed", "")
    assert said == ["    ~~~", "    ```", "    @acme/admins"]


@pytest.mark.timeout(240)
def test_a_job_that_may_not_comment_still_shows_the_plan(repo: Repo, host: Host) -> None:
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    repo.commit("10s")
    host.refuses = True
    done = run("github", repo, host)
    assert done.returncode == 0
    assert "the comment could not be written" in done.stdout
    assert "data.timeout 30s -> 10s" in (repo.root.parent / "summary.md").read_text()
    assert host.plans() == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["github", "gitlab"])
@pytest.mark.parametrize("newest", ["f" * 40, ""])
def test_a_job_of_an_older_commit_leaves_the_comment_of_the_newest_alone(
    name: str, newest: str, repo: Repo, host: Host
) -> None:
    """It may be slow, or run again by hand; of the newest commit is the twin."""
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    head = repo.commit("10s")
    host.head = newest
    done = run(name, repo, host)
    assert done.returncode == 0
    assert len(host.plans()) == (0 if newest else 1)
    assert (f"a newer commit is there, {newest}" in done.stdout) == bool(newest)
    assert "could not be written" not in done.stdout, "it was left alone on purpose"
    assert newest or f"at {head[:7]} merged into it" in host.plans()[0]


@pytest.mark.timeout(240)
def test_from_a_fork_on_gitlab_the_base_is_the_target_projects_and_no_note_is_written(
    repo: Repo, host: Host, tmp_path: Path
) -> None:
    """A fork's pipeline runs in the fork: `origin` is the fork, whose main may be an old one."""
    git(tmp_path, "clone", "-q", "--bare", str(repo.origin), "fork.git")
    target = tmp_path / "target"
    git(tmp_path, "clone", "-q", "--bare", str(repo.origin), f"{target}.git")
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    repo.commit("main of the target project goes on")
    git(repo.root, "push", "-q", f"{target}.git", "HEAD:main")
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    repo.commit("10s")
    git(repo.root, "remote", "set-url", "origin", str(tmp_path / "fork.git"))
    done = run("gitlab", repo, host, CI_MERGE_REQUEST_PROJECT_ID="1", CI_MERGE_REQUEST_PROJECT_URL=str(target))
    assert done.returncode == 0, done.stderr
    assert "data.timeout 30s -> 10s" in done.stdout
    assert "web:1.7.4" not in done.stdout, "what the target project has already is no change"
    assert "from a fork no note is written" in done.stdout
    assert "could not be written" not in done.stdout, "it was left out on purpose"
    assert host.plans() == []
    assert not host.tokens


IMAGE_USER = 65532


@pytest.fixture
def foreign(capsys: pytest.CaptureFixture[str]) -> Iterator[Repo]:
    """A clone as a GitLab runner makes it: root's, and to be written by all. Its host is asked as the image's user."""
    if os.geteuid() != 0:
        pytest.skip("only root runs anything as another user")
    with tempfile.TemporaryDirectory(prefix="fleet-ci-") as name:
        place = Path(name)
        repo = Repo(place, capsys)
        place.chmod(0o755)
        for path in (repo.root, *repo.root.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        for path in (repo.origin, *repo.origin.rglob("*")):
            os.chown(path, IMAGE_USER, IMAGE_USER)
        yield repo


def as_image(repo: Repo, host: Host, **more: str) -> subprocess.CompletedProcess[str]:
    """The job of GitLab, which leaves the image's user as it is; nobody has a home there.

    Root's own environment may be closed to others: a tool stands in for fleet, and asks git as that does.
    """
    tool = repo.root.parent / "tools" / "fleet"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "plan from $(git --git-dir=.git rev-parse "$3")"\n')
    tool.chmod(0o755)
    return run("gitlab", repo, host, path=str(tool.parent), user=IMAGE_USER, HOME="/", **more)


@pytest.mark.timeout(240)
def test_the_job_of_gitlab_runs_as_the_user_of_the_image_in_a_clone_of_root(foreign: Repo, host: Host) -> None:
    base = git(foreign.root, "rev-parse", "origin/main")
    done = as_image(foreign, host)
    assert done.returncode == 0, done.stderr
    assert f"plan from {base}" in done.stdout


@pytest.mark.timeout(240)
def test_a_base_that_cannot_be_fetched_is_said_in_the_note(foreign: Repo, host: Host) -> None:
    assert as_image(foreign, host, CI_MERGE_REQUEST_TARGET_BRANCH_NAME="gone").returncode != 0
    (body,) = host.plans()
    assert "couldn't find remote ref" in body


def test_the_job_of_github_runs_as_a_user_that_may_write_the_workspace() -> None:
    """GitHub runs every step as the image's user, the checkout too, and the workspace is another's."""
    user = re.search(r"^USER (\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert int(user[1]) == IMAGE_USER
    document = yaml.safe_load((ROOT / "docs" / "ci" / "github.yaml").read_text())
    assert "--user 0" in document["jobs"]["plan"]["container"]["options"]
