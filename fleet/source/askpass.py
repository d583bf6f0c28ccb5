"""How git gets a credential: it asks a little script, which reads the file that the hub's own configuration names.

So no token is ever in a URL, an argument, an environment or a configuration of git, and a token that is replaced in
its file is used from the next fetch on. ssh gets its key and the host keys it may trust by file as well.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import GitDenied
from fleet.source.url import GitUrl
from fleet.values import dataclass

# git asks "Username for 'https://host': " and then "Password for ...".
_SCRIPT = """#!/bin/sh
case "$1" in
  Username*) printf '%s\\n' "$FLEET_GIT_USERNAME" ;;
  Password*) IFS= read -r secret < "$FLEET_GIT_TOKEN_FILE"; printf '%s\\n' "$secret" ;;
  *) exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class GitAuth:
    """Credentials and trust for one Git host; nothing here is a secret itself, only the names of files."""

    username: str = "git"
    token_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None


def environment_of(url: GitUrl, auth: GitAuth, private: Path) -> Mapping[str, str]:
    """The part of git's environment that concerns credentials. `private` is a directory (0700) of the hub's own.

    Raises GitDenied when a file that is named is not there.
    """
    environment = {"HOME": str(private), "XDG_CONFIG_HOME": str(private)}
    for file, setting in (
        (auth.token_file, "FLEET_GIT_TOKEN_FILE"),
        (auth.ssh_key, "FLEET_GIT_SSH_KEY"),
        (auth.known_hosts, "FLEET_GIT_KNOWN_HOSTS"),
        (auth.ca_file, "FLEET_GIT_CA"),
    ):
        if file is not None and not os.access(file, os.R_OK):
            raise GitDenied(
                "a credential file for Git cannot be read",
                where=f"{setting}={file}",
                why="it is not there, or not readable by the hub",
                next_step="put it there; the next fetch uses it",
            )
    if url.protocol == "ssh":
        environment |= {"GIT_SSH_COMMAND": _ssh_command(auth), "GIT_SSH_VARIANT": "ssh"}
    elif url.protocol in {"https", "http"} and auth.token_file is not None:
        environment |= {
            "GIT_ASKPASS": str(_script(private)),
            "FLEET_GIT_USERNAME": auth.username,
            "FLEET_GIT_TOKEN_FILE": str(auth.token_file.absolute()),
        }
    return environment


def _script(private: Path) -> Path:
    path = private / "askpass"
    draft = private / "askpass.new"
    draft.write_text(_SCRIPT)
    draft.chmod(0o700)
    draft.replace(path)
    return path


def _ssh_command(auth: GitAuth) -> str:
    """ssh with one key and pinned host keys; reads no configuration, asks nobody, forwards nothing."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(auth.known_hosts.absolute()) if auth.known_hosts else os.devnull,
        "GlobalKnownHostsFile": os.devnull,
        "UpdateHostKeys": "no",
        "IdentityAgent": "none",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(auth.ssh_key.absolute()) if auth.ssh_key else os.devnull,
        "PermitLocalCommand": "no",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3",
    }
    words = ["ssh", "-F", os.devnull]
    for name, value in options.items():
        # ssh reads the value as a list of words, in which quotes keep one together.
        quoted = f'"{value}"' if " " in value else value
        words += ["-o", f"{name}={quoted}"]
    return shlex.join(words)
