"""Whether a commit may come into force: off, or signed by someone on the list. git checks; doubt is a refusal (R28).

The signature of the newest commit covers its tree and its history, so it is the one that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet.core.ids import Revision
from fleet.errors import SignatureInvalid
from fleet.source.command import GitCommand
from fleet.source.complaints import last_words
from fleet.values import dataclass

_GPG_REFUSALS = ("BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NO_PUBKEY")


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """ssh_signers: a file in the form of ssh-keygen's ALLOWED SIGNERS; gpg_home: a keyring that holds signers alone.

    With neither, signatures are not looked at.
    """

    ssh_signers: Path | None = None
    gpg_home: Path | None = None

    @property
    def is_on(self) -> bool:
        """Whether a commit without a good signature is refused."""
        return self.ssh_signers is not None or self.gpg_home is not None

    def configuration(self) -> Sequence[str]:
        """What git is told; without a list of ssh signers none is trusted."""
        return (
            f"gpg.ssh.allowedSignersFile={self.ssh_signers.absolute() if self.ssh_signers else os.devnull}",
            "gpg.minTrustLevel=undefined",
        )

    def environment(self) -> Mapping[str, str]:
        """Where gpg finds its keyring."""
        return {"GNUPGHOME": str(self.gpg_home.absolute())} if self.gpg_home else {}


async def verify_commit(git: GitCommand, revision: Revision, policy: SignaturePolicy, *, seconds: float) -> None:
    """Raise SignatureInvalid unless git finds a good signature of a signer on the list."""
    if not policy.is_on:
        return
    done = await git.run("verify-commit", "--raw", revision, seconds=seconds)
    lines = done.errors.splitlines()
    if done.status == 0 and (_good_ssh(lines, policy) or _good_gpg(lines, policy)):
        return
    raise SignatureInvalid(
        f"commit {revision[:7]} is not signed by an allowed signer",
        where=f"commit {revision}",
        why=last_words(lines) if lines else "it carries no signature",
        next_step="sign it (git commit --amend -S) and push, or add its signer to the file named by FLEET_SIGNERS",
    )


def _good_ssh(lines: Sequence[str], policy: SignaturePolicy) -> bool:
    """A known key gives `Good "git" signature for NAME with ...`; an unknown one leaves the name out."""
    return policy.ssh_signers is not None and any(line.startswith('Good "git" signature for ') for line in lines)


def _good_gpg(lines: Sequence[str], policy: SignaturePolicy) -> bool:
    words = [line.split()[1] for line in lines if line.startswith("[GNUPG:] ") and len(line.split()) > 1]
    good = "GOODSIG" in words and "VALIDSIG" in words and not any(word in _GPG_REFUSALS for word in words)
    return policy.gpg_home is not None and good
