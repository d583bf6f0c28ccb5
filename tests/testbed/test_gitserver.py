"""The Git servers of the test bed, asked by git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from testbed.gitrepo import GitRepo, Link, isolated_environment
from testbed.gitserver import GitHttpServer, GitSshServer, HttpFault


def clone(url: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = ["git", "clone", "--quiet", "--bare", "--filter=blob:none", url, str(folder / "clone.git")]
    isolated = {**isolated_environment(folder), **environment}
    return subprocess.run(argv, env=isolated, capture_output=True, text=True, timeout=20)


def head_of(folder: Path) -> str:
    argv = ["git", "--git-dir", str(folder / "clone.git"), "rev-parse", "HEAD"]
    return subprocess.run(argv, env=isolated_environment(folder), capture_output=True, text=True).stdout.strip()


def test_equal_commits_have_equal_revisions(tmp_path: Path) -> None:
    content = {"clusters/eu-1.yaml": "a: 1\n", 'odd name "x"': b"\x00", "link": Link("clusters")}
    repos = [GitRepo.create(tmp_path / name) for name in ("one.git", "two.git")]
    assert len({repo.commit(content, "first") for repo in repos}) == 1
    second = repos[0].commit({"clusters/eu-1.yaml": None}, "drop")
    assert repos[0].head() == second
    assert "eu-1" not in repos[0].git("ls-tree", "-r", "--name-only", second)


def test_a_rewrite_leaves_no_common_history(git_repo: GitRepo) -> None:
    first = git_repo.commit({"a": "1"})
    second = git_repo.rewrite({"b": "2"})
    assert git_repo.git("rev-list", second).split() == [second]
    assert first != second


def test_git_clones_over_http(git_repo: GitRepo, git_http: GitHttpServer, tmp_path: Path) -> None:
    revision = git_repo.commit({"a": "1"})
    assert clone(git_http.url(git_repo), tmp_path).returncode == 0
    assert head_of(tmp_path) == revision


def test_http_asks_for_credentials_and_takes_the_right_ones(
    git_repo: GitRepo, git_http: GitHttpServer, tmp_path: Path
) -> None:
    git_repo.commit({"a": "1"})
    git_http.users["bot"] = "s3cret"
    assert "could not read Username" in clone(git_http.url(git_repo), tmp_path).stderr
    askpass = tmp_path / "askpass"
    askpass.write_text('#!/bin/sh\ncase "$1" in Username*) echo bot;; *) echo s3cret;; esac\n')
    askpass.chmod(0o700)
    assert clone(git_http.url(git_repo), tmp_path, GIT_ASKPASS=str(askpass)).returncode == 0
    assert git_http.requests[-1].authorization == "bot"


@pytest.mark.parametrize("fault", [HttpFault.UNAUTHORIZED, HttpFault.ERROR, HttpFault.TRUNCATE, HttpFault.NOT_FOUND])
def test_a_fault_fails_the_clone(git_repo: GitRepo, git_http: GitHttpServer, tmp_path: Path, fault: HttpFault) -> None:
    git_repo.commit({f"file-{number}": "x" * number for number in range(200)})
    git_http.fault = fault
    assert clone(git_http.url(git_repo), tmp_path).returncode != 0


def test_a_web_page_looks_to_git_like_an_empty_repository(
    git_repo: GitRepo, git_http: GitHttpServer, tmp_path: Path
) -> None:
    git_repo.commit({"a": "1"})
    git_http.fault = HttpFault.HTML
    done = clone(git_http.url(git_repo), tmp_path)
    assert (done.returncode, "empty repository" in done.stderr) == (0, True)


def test_https_is_trusted_by_its_authority_alone(git_repo: GitRepo, git_root: Path, tmp_path: Path) -> None:
    git_repo.commit({"a": "1"})
    server = GitHttpServer(git_root, tls=True)
    try:
        assert "certificate" in clone(server.url(git_repo), tmp_path).stderr
        assert clone(server.url(git_repo), tmp_path, GIT_SSL_CAINFO=str(server.ca_file)).returncode == 0
    finally:
        server.close()


def test_git_clones_over_ssh_from_a_known_host_only(git_repo: GitRepo, git_ssh: GitSshServer, tmp_path: Path) -> None:
    revision = git_repo.commit({"a": "1"})
    known = git_ssh.known_hosts_file.read_text()
    git_ssh.known_hosts_file.write_text("")
    assert (
        "Host key verification failed"
        in clone(git_ssh.url(git_repo), tmp_path, GIT_SSH_COMMAND=git_ssh.ssh_command()).stderr
    )
    git_ssh.known_hosts_file.write_text(known)
    done = clone(git_ssh.url(git_repo), tmp_path, GIT_SSH_COMMAND=git_ssh.ssh_command())
    assert done.returncode == 0, done.stderr
    assert head_of(tmp_path) == revision
