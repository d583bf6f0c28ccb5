"""What git complains about, in the words of fleet: which error it is, why, and what helps."""

from __future__ import annotations

import re

from fleet.errors import (
    FetchFailed,
    GitDenied,
    GitHostRefused,
    GitUrlRefused,
    HistoryRewritten,
    RefMissing,
    SourceError,
)

SHALLOW = "because shallow roots are not allowed to be updated"
_REFUSED_BY_CHECK = "fsck error"
_LINE_LIMIT = 200
_REFUSED_OBJECT = re.compile(r"^error: object (?P<object>[0-9a-f]{40,64}): (?P<check>[A-Za-z0-9]+): ", re.MULTILINE)
_CREDENTIALS_IN_URL = re.compile(r"(?<=://)[^/@\s]*@")

# In the order in which they are tried: phrase in git's (untranslated) words, error, why, next step.
_COMPLAINTS: tuple[tuple[str, type[SourceError], str, str], ...] = (
    (
        SHALLOW,
        FetchFailed,
        "the source is a shallow clone, without the history that rollback and blame need",
        "run git fetch --unshallow there",
    ),
    (
        "returned error: 30",
        GitHostRefused,
        "the Git host redirects elsewhere",
        "set FLEET_REPO to the address it names",
    ),
    (
        "unable to update url base from redirection",
        GitHostRefused,
        "the Git host redirects elsewhere",
        "set FLEET_REPO to the address it names",
    ),
    (
        "could not read Username",
        GitDenied,
        "the Git host asks for a credential",
        "put a token with read access into a file and name it by FLEET_GIT_TOKEN_FILE",
    ),
    (
        "could not read Password",
        GitDenied,
        "the token file is empty or cannot be read",
        "put a token with read access into the file named by FLEET_GIT_TOKEN_FILE",
    ),
    (
        "Authentication failed",
        GitDenied,
        "the Git host does not accept the token",
        "replace the token in the file named by FLEET_GIT_TOKEN_FILE; the next fetch uses it",
    ),
    (
        "returned error: 401",
        GitDenied,
        "the Git host does not accept the token",
        "replace the token in the file named by FLEET_GIT_TOKEN_FILE; the next fetch uses it",
    ),
    ("returned error: 403", GitDenied, "the credential may not read this repository", "grant it read access"),
    (
        "UNPROTECTED PRIVATE KEY FILE",
        GitDenied,
        "ssh refuses a key file that others may read",
        "chmod 600 the file named by FLEET_GIT_SSH_KEY",
    ),
    (
        "Host key verification failed",
        GitHostRefused,
        "the host key is not the one in the known hosts file",
        "compare it with what the host's owner publishes, then add it to the file named by FLEET_GIT_KNOWN_HOSTS",
    ),
    (
        "Permission denied (",
        GitDenied,
        "the Git host does not accept the ssh key",
        "add its public key to the repository as a read-only deploy key",
    ),
    (
        "not allowed",
        GitUrlRefused,
        "the protocol is not allowed",
        "use https://HOST/PATH or ssh://git@HOST/PATH",
    ),
    ("Could not resolve", FetchFailed, "the name of the Git host does not resolve", "check the name and the DNS"),
    ("Failed to connect", FetchFailed, "the Git host refuses connections", "check address, port and network"),
    ("Connection refused", FetchFailed, "the Git host refuses connections", "check address, port and network"),
    (
        "certificate",
        GitHostRefused,
        "the certificate of the Git host is not trusted",
        "name its authority by FLEET_GIT_CA",
    ),
    (
        "Operation too slow",
        FetchFailed,
        "the Git host stopped answering",
        "it is tried again; check the Git host and the network between",
    ),
    (
        "No space left",
        FetchFailed,
        "the disk of the data directory is full",
        "free space; the next fetch goes on by itself",
    ),
    (
        _REFUSED_BY_CHECK,
        GitHostRefused,
        "the Git host sent an object that git's own check refuses",
        "find it in a clone by git log --all --find-object=ID, or git show ID, and rewrite the branch without it",
    ),
    (
        "dubious ownership",
        FetchFailed,
        "the local repository belongs to another user",
        "run the hub as its owner, or serve it by https or ssh",
    ),
    ("returned error: 404", FetchFailed, "the Git host knows no such repository", "check FLEET_REPO and the token"),
    ("not found", FetchFailed, "the Git host knows no such repository", "check FLEET_REPO and the token"),
    (
        "does not appear to be a git repository",
        FetchFailed,
        "there is no Git repository at that place",
        "check FLEET_REPO",
    ),
    ("not valid: is this a git repository", FetchFailed, "what answers is no Git host", "check FLEET_REPO"),
    ("returned error: 5", FetchFailed, "the Git host has an error of its own", "it is tried again"),
)


def error_of_fetch(errors: str, *, where: str, branch: str, in_force: str) -> SourceError:
    """The error that a failed fetch means. `in_force`: the commit that stays, "" where there is none."""
    # What the other side says is its own text: it never decides what we understand.
    own = [line for line in errors.splitlines() if not line.startswith("remote:")]
    text = "\n".join(own)
    if "couldn't find remote ref" in text:
        return RefMissing(
            f"branch {branch} is not there any more" if in_force else f"branch {branch} is not there",
            where=where,
            why="the Git host answers and lists no such branch (a login page in its place looks the same)",
            next_step=f"push {branch} again, or set FLEET_BRANCH to another one",
        )
    if "[rejected]" in text and "non-fast-forward" in text:
        return HistoryRewritten(
            f"branch {branch} was rewritten",
            where=where,
            why=f"it no longer contains commit {in_force[:7]}, which stays in force",
            next_step=f"push a history that contains it: git merge -s ours {in_force[:12]} && git push",
        )
    for phrase, error, why, next_step in _COMPLAINTS:
        if phrase in text:
            if phrase == _REFUSED_BY_CHECK and (refused := _REFUSED_OBJECT.search(text)):
                why = f"{why}: {refused['object']} ({refused['check']})"
            return error("the fleet repo could not be fetched", where=where, why=why, next_step=next_step)
    return FetchFailed(
        "the fleet repo could not be fetched",
        where=where,
        why=last_words(own),
        next_step="it is tried again; run git fetch with the same address to see more",
    )


def last_words(lines: list[str]) -> str:
    """The line that most likely names the cause, harmless to print: no control characters, no credential."""
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or ["git gave no reason"]
    text = _CREDENTIALS_IN_URL.sub("", telling[0])
    return "".join(char if char.isprintable() else " " for char in text)[:_LINE_LIMIT]
