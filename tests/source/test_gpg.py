"""Signatures by gpg: only keys of the hub's own keyring count."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testbed.gitrepo import GitRepo, isolated_environment

from fleet.errors import SignatureInvalid
from fleet.source.mirror import Mirror
from fleet.source.signatures import SignaturePolicy


class Keyring:
    """A GNUPGHOME with one key of its own, under a path short enough for gpg's sockets."""

    def __init__(self, home: Path, name: str) -> None:
        home.mkdir(mode=0o700)
        self.home, self.name = home, name
        self.gpg("--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")

    def gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        environment = {**isolated_environment(self.home), "GNUPGHOME": str(self.home)}
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, env=environment, input=stdin, capture_output=True, check=True).stdout

    def sign_on_top(self, repo: GitRepo) -> str:
        tree = repo.git("rev-parse", "main^{tree}").strip()
        identity = ("-c", "user.name=x", "-c", f"user.email={self.name}@example.org")
        done = subprocess.run(
            ["git", *identity, "commit-tree", f"-S{self.name}@example.org", "-p", "main", "-m", "signed", tree],
            cwd=repo.path,
            env={**isolated_environment(repo.path), "GNUPGHOME": str(self.home)},
            capture_output=True,
            text=True,
            check=True,
        )
        repo.reset(done.stdout.strip())
        return done.stdout.strip()

    def close(self) -> None:
        environment = {**isolated_environment(self.home), "GNUPGHOME": str(self.home)}
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=environment, capture_output=True)


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[Callable[[str], Keyring]]:
    if shutil.which("gpg") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gpg is required in CI")
        pytest.skip("needs gpg")
    made: list[Keyring] = []

    def make(name: str) -> Keyring:
        made.append(Keyring(tmp_path / name, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def test_only_a_signature_by_a_key_of_the_keyring_is_taken(
    git_repo: GitRepo, make_mirror: Callable[..., Mirror], keyring: Callable[[str], Keyring]
) -> None:
    mara, stranger = keyring("mara"), keyring("eve")
    git_repo.commit({"a": "1"})
    signed = mara.sign_on_top(git_repo)
    mirror = make_mirror(signatures=SignaturePolicy(gpg_home=mara.home))
    assert (await mirror.fetch()).snapshot.revision == signed
    stranger.sign_on_top(git_repo)
    with pytest.raises(SignatureInvalid):
        await mirror.fetch()
    git_repo.commit({"a": "2"})
    with pytest.raises(SignatureInvalid):
        await mirror.fetch()
    again = mara.sign_on_top(git_repo)
    assert (await mirror.fetch()).snapshot.revision == again


async def test_a_gpg_signature_does_not_stand_for_an_ssh_signer(
    git_repo: GitRepo, make_mirror: Callable[..., Mirror], keyring: Callable[[str], Keyring], tmp_path: Path
) -> None:
    git_repo.commit({"a": "1"})
    keyring("mara").sign_on_top(git_repo)
    (tmp_path / "allowed").write_text("")
    with pytest.raises(SignatureInvalid):
        await make_mirror(signatures=SignaturePolicy(ssh_signers=tmp_path / "allowed")).fetch()
