"""The mirror keeps the contract over each way to a repository."""

from __future__ import annotations

import pytest
from contracts.source_contract import SourceContract
from testbed.gitrepo import GitRepo
from testbed.gitserver import GitHttpServer, GitSshServer

from fleet.ports.source import Source
from fleet.source.askpass import GitAuth


class _Repo:
    @pytest.fixture
    def repo(self, git_repo: GitRepo) -> GitRepo:
        return git_repo


class TestPath(_Repo, SourceContract):
    @pytest.fixture
    def source(self, make_mirror) -> Source:
        return make_mirror()


class TestHttp(_Repo, SourceContract):
    @pytest.fixture
    def source(self, make_mirror, git_repo: GitRepo, git_http: GitHttpServer) -> Source:
        return make_mirror(url=git_http.url(git_repo))


class TestSsh(_Repo, SourceContract):
    @pytest.fixture
    def source(self, make_mirror, git_repo: GitRepo, git_ssh: GitSshServer) -> Source:
        auth = GitAuth(ssh_key=git_ssh.client_key_file, known_hosts=git_ssh.known_hosts_file)
        return make_mirror(url=git_ssh.url(git_repo), auth=auth)
