"""Where Git may be asked: URLs, branches and revisions as literal text, checked before git sees them (R25, R26).

https and ssh are allowed; plain http and a local path only where the hub's own configuration says so. Anything that
git could take for an option, another protocol or a helper is refused by name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fleet.core.ids import Revision
from fleet.errors import GitUrlRefused
from fleet.values import dataclass

Protocol = Literal["https", "http", "ssh", "file"]

_PROTOCOLS: dict[str, Protocol] = {"https": "https", "http": "http", "ssh": "ssh"}
_MAX_URL = 2048
_MAX_BRANCH = 200
_SCP_LIKE = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^-:].*)"
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")
_REVISION = re.compile(r"[0-9a-f]{40}\Z")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A checked place: `text` is what git gets, `host` is "" for a local path."""

    protocol: Protocol
    text: str
    host: str = ""


def parse_url(text: str, *, allow_http: bool = False, allow_path: bool = False) -> GitUrl:
    """Read the place of a fleet repo; raises GitUrlRefused.

    allow_http, allow_path: what the hub's own configuration relaxes, never the repo. A URL with a password is
    refused, because it would show in process lists and logs.
    """
    if not text or len(text) > _MAX_URL or not text.isprintable() or " " in text:
        raise _refused("it is empty, too long, or holds spaces or control characters")
    if text.startswith("-") or "::" in text.partition("/")[0]:
        raise _refused("git would take it for an option or a helper program")
    if "://" in text:
        return _parse_absolute(text, allow_http=allow_http, allow_path=allow_path)
    if text.startswith(("/", "./", "../")) or text in {".", ".."} or ":" not in text.partition("/")[0]:
        return _path(text, allow_path=allow_path)
    if match := _SCP_LIKE.fullmatch(text):
        return GitUrl("ssh", text, match["host"])
    raise _refused("it is neither https://, ssh://, user@host:path nor a path")


def check_branch(name: str) -> str:
    """A branch name by git's own rules (git-check-ref-format), and nothing that could be an option or a refspec."""
    parts = name.split("/")
    well_formed = (
        0 < len(name) <= _MAX_BRANCH
        and not _BAD_IN_REF.search(name)
        and not name.startswith(("-", "+", "/"))
        and not name.endswith(("/", "."))
        and name not in {"@", "HEAD"}
        and not any(part.startswith(".") or part.endswith(".lock") for part in parts)
        and not name.startswith("refs/")
    )
    if well_formed:
        return name
    raise GitUrlRefused(
        "the tracked branch is refused",
        where=f"branch {name[:80]!r}",
        why="it is no plain branch name",
        next_step="name a branch as in: main, release/2026",
    )


def check_revision(text: str) -> Revision:
    """A whole commit id; raises GitUrlRefused for anything else, abbreviations included."""
    if _REVISION.match(text):
        return Revision(text)
    raise GitUrlRefused(
        "a commit id is refused",
        where=repr(text[:80]),
        why="it must be 40 hex digits",
        next_step="give the whole commit id, as git rev-parse prints it",
    )


def _parse_absolute(text: str, *, allow_http: bool, allow_path: bool) -> GitUrl:
    try:
        parts = urlsplit(text)
        host, user, password, port = parts.hostname or "", parts.username, parts.password, parts.port
    except ValueError as error:
        raise _refused("host or port do not read") from error
    if parts.scheme == "file":
        if host or user is not None:
            raise _refused("a file URL names no host")
        return _path(parts.path, allow_path=allow_path)
    if parts.scheme == "http" and not allow_http:
        raise _refused("plain http is neither encrypted nor proves its host")
    protocol = _PROTOCOLS.get(parts.scheme)
    if protocol is None:
        raise _refused(f"the protocol {parts.scheme!r} is not allowed")
    if password is not None:
        raise _refused("it holds a password", next_step="put the token into a file and name it by FLEET_GIT_TOKEN_FILE")
    if not _HOST.match(host) or (user is not None and not _USER.match(user)) or port == 0:
        raise _refused("host or user hold characters that are not allowed")
    if parts.query or parts.fragment or parts.path in {"", "/"} or parts.path.startswith("/-"):
        raise _refused("it must end in the path of a repository, without ? and #")
    return GitUrl(protocol, text, host.lower())


def _path(text: str, *, allow_path: bool) -> GitUrl:
    if not allow_path:
        raise _refused("a local path is allowed only where the hub's own configuration names it")
    return GitUrl("file", str(Path(text).absolute()))


def _refused(why: str, *, next_step: str = "use https://HOST/PATH or ssh://git@HOST/PATH") -> GitUrlRefused:
    # The URL itself is left out: what was typed may hold a token.
    return GitUrlRefused("the URL of the fleet repo is refused", where="FLEET_REPO", why=why, next_step=next_step)
