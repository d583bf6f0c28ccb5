"""The mirror against hosts and histories that misbehave, and against its own sudden end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from testbed.gitrepo import Content, GitRepo, Link, Submodule
from testbed.gitserver import GitHttpServer, GitSshServer, HttpFault

from fleet.core.ids import Revision
from fleet.errors import (
    CommitTooLarge,
    FetchFailed,
    GitDenied,
    GitHostRefused,
    RefMissing,
    SignatureInvalid,
    SourceError,
)
from fleet.source.askpass import GitAuth
from fleet.source.command import _SAFE_CONFIGURATION, GitLimits
from fleet.source.mirror import Mirror, MirrorSettings
from fleet.source.signatures import SignaturePolicy

MakeMirror = Callable[..., Mirror]
TOKEN = "seeded-token-5d2e"


def _explains(error: SourceError) -> bool:
    return all((error.what, error.where, error.why, error.next_step))


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def _is_refused(mirror: Mirror, expected: type[SourceError], words: str = "") -> None:
    with pytest.raises(expected) as refused:
        await mirror.fetch()
    assert _explains(refused.value)
    assert words in str(refused.value)
    assert TOKEN not in str(refused.value)


class TestCommandsPerFetch:
    async def test_one_when_nothing_is_new_and_at_most_four_for_a_change(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"a": "1"})
        mirror = make_mirror(url=git_http.url(git_repo))
        await mirror.fetch()
        for turn in range(3):
            before = len(mirror.commands)
            await mirror.fetch()
            assert list(mirror.commands[before:]) == ["fetch"]
            git_repo.commit({"a": f"new {turn}"})
            before = len(mirror.commands)
            fetched = await mirror.fetch()
            fetched.snapshot.read("a")
            assert list(mirror.commands[before:]) == ["fetch", "diff-tree", "update-ref"]

    async def test_a_restart_needs_no_second_clone(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror
    ) -> None:
        revision = git_repo.commit({"a": "1"})
        first = make_mirror(url=git_http.url(git_repo))
        await first.fetch()
        await first.close()
        git_http.requests.clear()
        again = make_mirror(url=git_http.url(git_repo))
        assert await again.in_force() == revision
        assert (await again.at(Revision(revision))).read("a") == b"1"
        assert (await again.fetch()).changed is None
        # Two requests tell that nothing is new; a third would have carried a pack.
        assert len(git_http.requests) == 2


class TestHttpHost:
    @pytest.fixture
    def guarded(self, git_http: GitHttpServer, tmp_path: Path) -> GitAuth:
        git_http.users["bot"] = TOKEN
        (tmp_path / "token").write_text(TOKEN + "\n")
        return GitAuth(username="bot", token_file=tmp_path / "token")

    async def test_a_token_opens_it_and_lies_in_no_other_file_argument_or_environment(
        self, git_repo: GitRepo, git_http: GitHttpServer, guarded: GitAuth, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        mirror = make_mirror(url=git_http.url(git_repo), auth=guarded)
        await mirror.fetch()
        assert git_http.requests[-1].authorization == "bot"
        for path in (tmp_path / "mirror").rglob("*"):
            assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
        # While git waits for the host, nothing of it shows the token.
        git_http.fault = HttpFault.STALL
        waiting = asyncio.create_task(mirror.fetch())
        async with asyncio.timeout(10):
            while not any("git-remote-http" in " ".join(child.cmdline()) for child in _children()):
                await asyncio.sleep(0.01)
        for child in _children():
            assert TOKEN not in " ".join(child.cmdline())
            assert TOKEN not in str(child.environ())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    async def test_a_wrong_token_is_denied_and_the_right_one_works_from_the_next_fetch_on(
        self, git_repo: GitRepo, git_http: GitHttpServer, guarded: GitAuth, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        (tmp_path / "token").write_text("wrong-" + TOKEN)
        mirror = make_mirror(url=git_http.url(git_repo), auth=guarded)
        await _is_refused(mirror, GitDenied)
        (tmp_path / "token").write_text(TOKEN)
        await mirror.fetch()

    async def test_no_token_an_empty_file_and_no_file_are_told_apart(
        self, git_repo: GitRepo, git_http: GitHttpServer, guarded: GitAuth, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        await _is_refused(make_mirror(url=git_http.url(git_repo)), GitDenied, "FLEET_GIT_TOKEN_FILE")
        missing = replace(guarded, token_file=tmp_path / "absent")
        await _is_refused(make_mirror(url=git_http.url(git_repo), auth=missing), GitDenied, "absent")
        (tmp_path / "token").write_text("")
        await _is_refused(make_mirror(url=git_http.url(git_repo), auth=guarded), GitDenied)

    @pytest.mark.parametrize(
        ("fault", "error", "words"),
        [
            (HttpFault.UNAUTHORIZED, GitDenied, ""),
            (HttpFault.FORBIDDEN, GitDenied, "may not read"),
            (HttpFault.NOT_FOUND, FetchFailed, "no such repository"),
            (HttpFault.ERROR, FetchFailed, "error of its own"),
            (HttpFault.HTML, SourceError, ""),
            (HttpFault.TRUNCATE, FetchFailed, ""),
            (HttpFault.STALL, FetchFailed, "stopped answering"),
            (HttpFault.STALL_IN_PACK, FetchFailed, "stopped answering"),
        ],
    )
    async def test_a_fault_is_named_changes_nothing_and_passes_by_itself(
        self,
        git_repo: GitRepo,
        git_http: GitHttpServer,
        guarded: GitAuth,
        make_mirror: MakeMirror,
        fault: HttpFault,
        error: type[SourceError],
        words: str,
    ) -> None:
        first = Revision(git_repo.commit({"a": "1"}))
        mirror = make_mirror(url=git_http.url(git_repo), auth=guarded)
        await mirror.fetch()
        second = git_repo.commit({"a": "2", "big": os.urandom(300_000)})
        git_http.fault = fault
        await _is_refused(mirror, error, words)
        assert (await mirror.at(first)).read("a") == b"1"
        git_http.fault = None
        assert (await mirror.fetch()).snapshot.revision == second

    async def test_a_redirect_to_another_host_is_refused_and_gets_no_credential(
        self, git_repo: GitRepo, git_root: Path, git_http: GitHttpServer, guarded: GitAuth, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"a": "1"})
        other = GitHttpServer(git_root, users=git_http.users)
        try:
            git_http.fault, git_http.redirect_to = HttpFault.REDIRECT, other.url("", host="localhost").rstrip("/")
            await _is_refused(make_mirror(url=git_http.url(git_repo), auth=guarded), GitHostRefused, "redirects")
            assert other.requests == []
        finally:
            other.close()

    async def test_a_host_that_is_gone_is_told(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        await _is_refused(make_mirror(url="http://127.0.0.1:1/fleet.git"), FetchFailed, "refuses connections")
        await _is_refused(make_mirror(url="http://no-such-host.invalid/fleet.git"), FetchFailed)

    async def test_an_untrusted_certificate_is_refused_and_the_named_authority_taken(
        self, git_repo: GitRepo, git_root: Path, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"a": "1"})
        server = GitHttpServer(git_root, tls=True)
        try:
            await _is_refused(make_mirror(url=server.url(git_repo)), GitHostRefused, "certificate")
            assert server.ca_file is not None
            mirror = make_mirror(url=server.url(git_repo), auth=GitAuth(ca_file=server.ca_file.absolute()))
            await mirror.fetch()
        finally:
            server.close()

    async def test_the_hubs_environment_does_not_reach_git(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        git_repo.commit({"a": "1"})
        for name, value in {
            "http_proxy": "http://127.0.0.1:1",
            "GIT_DIR": "/nonexistent",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.allow",
            "GIT_CONFIG_VALUE_0": "broken",
            "GIT_ASKPASS": "/nonexistent",
        }.items():
            monkeypatch.setenv(name, value)
        await make_mirror(url=git_http.url(git_repo)).fetch()


class TestSshHost:
    async def test_an_unknown_host_key_is_refused(
        self, git_repo: GitRepo, git_ssh: GitSshServer, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        (tmp_path / "empty").write_text("")
        for known_hosts in (None, tmp_path / "empty"):
            auth = GitAuth(ssh_key=git_ssh.client_key_file, known_hosts=known_hosts)
            await _is_refused(make_mirror(url=git_ssh.url(git_repo), auth=auth), GitHostRefused, "host key")
        assert git_ssh.commands == []

    async def test_a_key_that_is_not_known_there_is_denied(
        self, git_repo: GitRepo, git_root: Path, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        server = GitSshServer(git_root, tmp_path / "stranger keys", authorized=False)
        try:
            auth = GitAuth(ssh_key=server.client_key_file, known_hosts=server.known_hosts_file)
            await _is_refused(make_mirror(url=server.url(git_repo), auth=auth), GitDenied, "ssh key")
        finally:
            server.close()


class TestHostileRepository:
    async def test_its_hooks_and_filters_do_not_run(
        self, git_repo: GitRepo, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
        git_repo.commit({".gitattributes": "*.bin filter=lfs\n", "x.bin": pointer})
        trap = tmp_path / "trap"
        for name in ("post-checkout", "reference-transaction", "pre-receive", "post-update", "upload-pack"):
            hook = git_repo.path / "hooks" / name
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
            hook.chmod(0o755)
        git_repo.git("config", "uploadpack.packObjectsHook", f"touch {trap};")
        git_repo.git("config", "filter.lfs.smudge", f"touch {trap}")
        git_repo.git("config", "core.fsmonitor", f"touch {trap}")
        fetched = await make_mirror().fetch()
        assert fetched.snapshot.read("x.bin").decode() == pointer
        assert not trap.exists()

    async def test_submodules_stay_what_they_are(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        git_repo.commit({".gitmodules": '[submodule "x"]\n\tpath = sub\n\turl = https://example.invalid/x\n', "a": "1"})
        tree = git_repo.git("ls-tree", "main")
        lines = f"{tree}160000 commit {'1' * 40}\tsub\n"
        new = subprocess.run(
            ["git", "-C", str(git_repo.path), "mktree", "--missing"], input=lines.encode(), capture_output=True
        ).stdout.decode()
        revision = git_repo.git(
            *("-c", "user.name=t", "-c", "user.email=t@t", "commit-tree", "-p", "main", "-m", "sub", new.strip())
        ).strip()
        git_repo.reset(revision)
        snapshot = (await make_mirror().fetch()).snapshot
        assert snapshot.tree["sub"].mode == "160000"
        with pytest.raises(KeyError):
            snapshot.read("sub")
        assert snapshot.read("a") == b"1"

    async def test_text_of_commits_cannot_drive_a_terminal(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        git_repo.commit({"a": "1"}, "evil \x1b[2J\r title\n\nbody", author="A \x1b]0;x\x07 B <a@b>")
        info = (await make_mirror().fetch()).info
        assert info.subject == "evil  [2J  title"
        assert info.author.isprintable()

    async def test_a_path_that_is_no_utf8_is_named_and_disturbs_no_other(
        self, git_repo: GitRepo, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"a": "1"})
        blob = git_repo.git("rev-parse", "main:a").strip()
        tree = f"100644 blob {blob}\ta\0".encode() + f"100644 blob {blob}\t".encode() + b"caf\xe9\0"
        new = subprocess.run(
            ["git", "-C", str(git_repo.path), "mktree", "-z"], input=tree, capture_output=True
        ).stdout.decode()
        revision = git_repo.git(
            *("-c", "user.name=t", "-c", "user.email=t@t", "commit-tree", "-p", "main", "-m", "odd", new.strip())
        ).strip()
        git_repo.reset(revision)
        snapshot = (await make_mirror().fetch()).snapshot
        assert set(snapshot.tree) == {"a", "caf\\xe9"}
        assert snapshot.read("caf\\xe9") == b"1"

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({f"f{number}": "" for number in range(25)}, "too many files"),
            ({"d/" * 12 + "f": ""}, "too deep"),
            ({"x" * 90: ""}, "too long"),
        ],
    )
    async def test_a_commit_beyond_the_limits_is_refused_and_can_be_withdrawn(
        self, git_repo: GitRepo, make_mirror: MakeMirror, files: dict[str, str], words: str
    ) -> None:
        limits = GitLimits(files=20, path_bytes=80, path_depth=10)
        first = git_repo.commit({"a": "1"})
        mirror = make_mirror(limits=limits)
        await mirror.fetch()
        git_repo.commit(files)
        for _ in range(2):
            await _is_refused(mirror, CommitTooLarge, words)
        assert await mirror.in_force() == first
        # It never came into force, so taking it back is no rewriting of history.
        git_repo.reset(first)
        good = git_repo.commit({"b": "2"})
        assert (await mirror.fetch()).snapshot.revision == good
        await _is_refused_from_the_start(make_mirror, limits, git_repo, files)

    async def test_a_file_that_is_too_large_is_refused_when_read_and_no_other(
        self, git_repo: GitRepo, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"small": "1", "large": bytes(5000)})
        snapshot = (await make_mirror(limits=GitLimits(file_bytes=4999)).fetch()).snapshot
        with pytest.raises(CommitTooLarge, match="large"):
            snapshot.read_many(["small", "large", "small"])
        assert snapshot.read("small") == b"1"

    async def test_links_out_of_the_commit_are_only_text(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        git_repo.commit({"escape": Link("/etc/passwd"), "up": Link("../../x")})
        snapshot = (await make_mirror().fetch()).snapshot
        assert (snapshot.read("escape"), snapshot.read("up")) == (b"/etc/passwd", b"../../x")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            pytest.param({"teams/x/.gitattributes": f"* a={'b' * 3000}\n"}, "long", id="attributes-line"),
            pytest.param({"a/.gitattributes/b": "1"}, "folder", id="attributes-folder"),
            pytest.param({"a/.gitattributes": Submodule()}, "submodule", id="attributes-submodule"),
            pytest.param({".gitmodules": '[submodule "x"]\n\turl = -u./evil\n\tpath = s\n'}, "url", id="modules-url"),
            pytest.param({".gitmodules": '[submodule "../x"]\n\turl = a\n\tpath = -s\n'}, "name", id="modules-name"),
            pytest.param({".gitmodules": '[submodule "x"]\n\tupdate = !touch a\n'}, "run", id="modules-update"),
            pytest.param({".gitmodules": Link("elsewhere")}, "link", id="modules-link"),
            pytest.param({".gitmodules/b": "1"}, "folder", id="modules-folder"),
            pytest.param({".gitmodules": "[submodule\n"}, "no configuration", id="modules-text"),
            pytest.param({"a": "2"}, "a \0 in it", id="nul-in-message"),
        ],
    )
    async def test_what_nothing_here_reads_is_in_nobodys_way(
        self,
        git_repo: GitRepo,
        git_http: GitHttpServer,
        make_mirror: MakeMirror,
        files: dict[str, Content],
        message: str,
    ) -> None:
        git_repo.commit({"a": "1"})
        mirror = make_mirror(url=git_http.url(git_repo))
        await mirror.fetch()
        odd = git_repo.commit(files, message)
        assert (await mirror.fetch()).snapshot.revision == odd
        good = git_repo.commit({**dict.fromkeys(files), "a": "3"})
        for each in (mirror, make_mirror(at="from the start", url=git_http.url(git_repo))):
            fetched = await each.fetch()
            assert (fetched.snapshot.revision, fetched.snapshot.read("a")) == (good, b"3")

    async def test_a_check_that_this_git_does_not_know_is_no_error(
        self, git_repo: GitRepo, make_mirror: MakeMirror, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        later = "fetch.fsck.checkOfALaterGit=ignore"
        monkeypatch.setattr("fleet.source.command._SAFE_CONFIGURATION", (*_SAFE_CONFIGURATION, later))
        revision = git_repo.commit({"a": "1"})
        assert (await make_mirror().fetch()).snapshot.revision == revision

    async def test_an_object_that_gits_own_check_refuses_never_comes_in(
        self, git_repo: GitRepo, make_mirror: MakeMirror
    ) -> None:
        first = git_repo.commit({"a": "1"})
        mirror = make_mirror()
        await mirror.fetch()
        blob = bytes.fromhex(git_repo.git("rev-parse", "main:a").strip())
        raw = b"100644 ..\0" + blob
        done = subprocess.run(
            ["git", "-C", str(git_repo.path), "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
            input=raw,
            capture_output=True,
        )
        revision = git_repo.git(
            *("-c", "user.name=t", "-c", "user.email=t@t"),
            *("commit-tree", "-p", "main", "-m", "evil", done.stdout.decode().strip()),
        ).strip()
        git_repo.reset(revision)
        tree = done.stdout.decode().strip()
        await _is_refused(mirror, GitHostRefused, f"refuses: {tree} (hasDotdot)")
        assert await mirror.in_force() == first


async def _is_refused_from_the_start(
    make_mirror: MakeMirror, limits: GitLimits, repo: GitRepo, files: dict[str, str]
) -> None:
    repo.commit(files)
    with pytest.raises(CommitTooLarge):
        await make_mirror(at="another", limits=limits).fetch()


class TestSuddenEnds:
    async def test_a_cancelled_fetch_ends_all_its_processes(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"a": "1"})
        mirror = make_mirror(url=git_http.url(git_repo))
        await mirror.fetch()
        before = {child.pid for child in _children()}
        git_http.fault = HttpFault.STALL
        waiting = asyncio.create_task(mirror.fetch())
        async with asyncio.timeout(10):
            while not any("git-remote-http" in " ".join(child.cmdline()) for child in _children()):
                await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert {child.pid for child in _children()} <= before
        git_http.fault = None
        assert (await mirror.fetch()).changed == frozenset()

    async def test_a_fetch_that_takes_too_long_is_ended(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror
    ) -> None:
        git_repo.commit({"a": "1"})
        git_http.fault = HttpFault.STALL
        mirror = make_mirror(url=git_http.url(git_repo), limits=GitLimits(first_fetch_seconds=1.0))
        started = time.monotonic()
        await _is_refused(mirror, FetchFailed, "took too long")
        assert time.monotonic() - started < 6

    async def test_reading_does_not_wait_for_a_fetch_that_hangs(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror
    ) -> None:
        first, second = Revision(git_repo.commit({"a": "1"})), Revision(git_repo.commit({"a": "2"}))
        mirror = make_mirror(url=git_http.url(git_repo))
        await mirror.fetch()
        git_http.fault = HttpFault.STALL
        waiting = asyncio.create_task(mirror.fetch())
        async with asyncio.timeout(1.5):
            assert (await mirror.at(first)).read("a") == b"1"
            assert await mirror.is_ancestor(first, second)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    async def test_what_a_killed_process_left_is_cleaned_at_the_start(
        self, git_repo: GitRepo, make_mirror: MakeMirror, tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        mirror = make_mirror()
        await mirror.fetch()
        await mirror.close()
        (folder,) = (tmp_path / "mirror").glob("*.git")
        leftovers = ["HEAD.lock", "config.lock", "packed-refs.lock", "refs/fleet/seen.lock", "refs/fleet/in-force.lock"]
        leftovers += ["objects/pack/tmp_pack_x", "objects/pack/.tmp-1-pack-x.pack", "objects/ab/tmp_obj_x"]
        leftovers += ["objects/incoming-x/pack/y", "objects/tmp_objdir-incoming-x/y"]
        for name in leftovers:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("half")
        new = git_repo.commit({"a": "2"})
        again = make_mirror()
        assert (await again.fetch()).snapshot.revision == new
        assert [name for name in leftovers if (folder / name).exists()] == []

    @pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2])
    async def test_a_hub_killed_within_its_first_fetch_starts_again_without_hands(
        self, git_repo: GitRepo, git_http: GitHttpServer, make_mirror: MakeMirror, tmp_path: Path, delay: float
    ) -> None:
        revision = git_repo.commit({f"f{number}": os.urandom(20_000) for number in range(50)})
        program = (
            "import asyncio, sys; from pathlib import Path; from fleet.source.mirror import *\n"
            "print('ready', flush=True)\n"
            "asyncio.run(Mirror(MirrorSettings(sys.argv[1], allow_http=True), Path(sys.argv[2])).fetch())"
        )
        url = git_http.url(git_repo)
        child = subprocess.Popen(
            [sys.executable, "-c", program, url, str(tmp_path / "mirror")], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)  # any moment will do: each is one of those at which a process may die
        child.send_signal(signal.SIGKILL)
        child.communicate()
        mirror = make_mirror(url=url)
        fetched = await mirror.fetch()
        assert fetched.snapshot.revision == revision
        assert len(fetched.snapshot.read("f49")) == 20_000

    async def test_a_reader_whose_process_was_killed_reads_on(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        git_repo.commit({"a": "1"})
        snapshot = (await make_mirror().fetch()).snapshot
        for _ in range(3):
            for child in _children():
                if "cat-file" in child.cmdline():
                    child.kill()
                    child.wait()  # taken away from under the reader, too
            assert snapshot.read("a") == b"1"

    async def test_many_threads_read_at_once(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        git_repo.commit({f"f{number}": f"content {number}" * number for number in range(300)})
        snapshot = (await make_mirror().fetch()).snapshot
        paths = [f"f{number}" for number in range(300)]
        answers = await asyncio.gather(
            *(asyncio.to_thread(snapshot.read, path) for path in paths),
            *(asyncio.to_thread(snapshot.read_many, paths) for _ in range(3)),
        )
        assert answers[:300] == [f"content {number}".encode() * number for number in range(300)]
        assert all(list(many.values()) == answers[:300] for many in answers[300:])

    async def test_closing_ends_every_child(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        before = {child.pid for child in _children()}
        git_repo.commit({"a": "1"})
        mirror = make_mirror()
        (await mirror.fetch()).snapshot.read("a")
        await mirror.close()
        assert {child.pid for child in _children()} <= before

    async def test_a_mirror_that_fetched_often_is_tidied_and_still_whole(
        self, git_repo: GitRepo, make_mirror: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fleet.source.mirror._TIDY_AFTER_CHANGES", 10)
        mirror = make_mirror()
        revisions = [Revision(git_repo.commit({"a": str(number), f"f{number}": "x"})) for number in range(1)]
        await mirror.fetch()
        for number in range(1, 25):
            revisions.append(Revision(git_repo.commit({"a": str(number), f"f{number}": "x"})))
            await mirror.fetch()
        async with asyncio.timeout(10):
            while mirror.commands.count("repack") < 2:
                await asyncio.sleep(0.01)
        for number, revision in enumerate(revisions):
            assert (await mirror.at(revision)).read("a") == str(number).encode()
        await mirror.close()
        (folder,) = (tmp_path / "mirror").glob("*.git")
        assert len(list((folder / "objects/pack").glob("*.pack"))) < 20


class TestSignatures:
    @pytest.fixture
    def signers(self, tmp_path: Path) -> dict[str, Path]:
        keys: dict[str, Path] = {}
        for name in ("mara", "stranger"):
            keys[name] = tmp_path / f"key-{name}"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys[name])], check=True)
        public = (tmp_path / "key-mara.pub").read_text()
        keys["allowed"] = tmp_path / "allowed"
        keys["allowed"].write_text(f"mara@example.org {public}")
        return keys

    def _sign(self, repo: GitRepo, key: Path) -> str:
        tree = repo.git("rev-parse", "main^{tree}").strip()
        options = ["user.name=Mara", "user.email=mara@example.org", "gpg.format=ssh", f"user.signingKey={key}"]
        flags = [word for option in options for word in ("-c", option)]
        revision = repo.git(*flags, "commit-tree", "-S", "-p", "main", "-m", "signed", tree).strip()
        repo.reset(revision)
        return revision

    async def test_an_allowed_signer_is_taken_in_at_most_four_commands(
        self, git_repo: GitRepo, make_mirror: MakeMirror, signers: dict[str, Path]
    ) -> None:
        git_repo.commit({"a": "1"})
        self._sign(git_repo, signers["mara"])
        mirror = make_mirror(signatures=SignaturePolicy(ssh_signers=signers["allowed"]))
        await mirror.fetch()
        git_repo.commit({"a": "2"})
        signed = self._sign(git_repo, signers["mara"])
        before = len(mirror.commands)
        assert (await mirror.fetch()).snapshot.revision == signed
        assert len(mirror.commands) - before <= 4

    async def test_unsigned_and_foreign_commits_are_refused_and_the_last_good_one_stays(
        self, git_repo: GitRepo, make_mirror: MakeMirror, signers: dict[str, Path]
    ) -> None:
        git_repo.commit({"a": "1"})
        good = self._sign(git_repo, signers["mara"])
        mirror = make_mirror(signatures=SignaturePolicy(ssh_signers=signers["allowed"]))
        await mirror.fetch()
        git_repo.commit({"a": "2"})
        await _is_refused(mirror, SignatureInvalid)
        self._sign(git_repo, signers["stranger"])
        await _is_refused(mirror, SignatureInvalid)
        assert await mirror.in_force() == good
        # A good signature on top brings all of it into force, and so does taking it back.
        better = self._sign(git_repo, signers["mara"])
        assert (await mirror.fetch()).snapshot.revision == better

    async def test_a_list_that_is_missing_or_empty_trusts_nobody(
        self, git_repo: GitRepo, make_mirror: MakeMirror, signers: dict[str, Path], tmp_path: Path
    ) -> None:
        git_repo.commit({"a": "1"})
        self._sign(git_repo, signers["mara"])
        (tmp_path / "empty").write_text("")
        for path in (tmp_path / "absent", tmp_path / "empty"):
            await _is_refused(make_mirror(signatures=SignaturePolicy(ssh_signers=path)), SignatureInvalid)
        await _is_refused(make_mirror(signatures=SignaturePolicy(gpg_home=tmp_path)), SignatureInvalid)

    async def test_without_a_policy_nothing_is_asked(self, git_repo: GitRepo, make_mirror: MakeMirror) -> None:
        git_repo.commit({"a": "1"})
        mirror = make_mirror()
        await mirror.fetch()
        assert "verify-commit" not in mirror.commands


async def test_another_url_never_meets_the_mirror_of_the_first(
    git_repo: GitRepo, git_root: Path, make_mirror: MakeMirror
) -> None:
    git_repo.commit({"a": "1"})
    other = GitRepo.create(git_root / "other.git")
    other.commit({"b": "2"})
    await make_mirror().fetch()
    # Other history, same folder: not a rewrite, because it is another mirror.
    assert set((await make_mirror(url=str(other.path)).fetch()).snapshot.tree) == {"b"}


async def test_a_branch_that_names_no_commit_is_said(git_repo: GitRepo, make_mirror: MakeMirror) -> None:
    git_repo.commit({"a": "1"})
    blob = git_repo.git("rev-parse", "main:a").strip()
    (git_repo.path / "refs/heads/odd").write_text(blob + "\n")
    await _is_refused(make_mirror(branch="odd"), SourceError)


async def test_a_shallow_source_is_refused_with_the_remedy(
    git_repo: GitRepo, make_mirror: MakeMirror, tmp_path: Path
) -> None:
    git_repo.commit({"a": "1"})
    git_repo.commit({"a": "2"})
    shallow = tmp_path / "shallow"
    git_repo.git("clone", "-q", "--depth=1", git_repo.file_url, str(shallow))
    await _is_refused(make_mirror(url=str(shallow)), FetchFailed, "unshallow")


async def test_settings_that_are_refused_never_start_git(tmp_path: Path) -> None:
    for url, branch in (("ext::sh -c touch", "main"), ("https://git.example.org/fleet", "--upload-pack=x")):
        with pytest.raises(SourceError):
            Mirror(MirrorSettings(url, branch), tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_branch_is_missing(git_repo: GitRepo, make_mirror: MakeMirror) -> None:
    git_repo.commit({"a": "1"})
    await _is_refused(make_mirror(branch="release"), RefMissing, "release")
