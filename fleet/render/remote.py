"""Which texts kustomize takes for an address: such a base is refused, whatever else it could mean (R27).

Follows kustomize's own reading (api/internal/git/repospec.go, api/internal/loader/fileloader.go), so that what is let
through here is a path to kustomize as well.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SCHEMES = ("ssh://", "https://", "http://", "file://")
_USER = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*@")
_HOST_LIKE = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?/[^/]+/[^/]+", re.IGNORECASE)


def is_remote_file(text: str) -> bool:
    """Whether kustomize would fetch it over HTTP as a file."""
    try:
        return urlsplit(text).scheme in ("http", "https")
    except ValueError:
        return True  # what cannot be read is not let through


def is_repository(text: str) -> bool:
    """Whether kustomize would clone it. A file of that name wins, a directory of that name does not."""
    if text.startswith("/"):
        return False
    rest, _, _ = text.partition("?")
    host, rest = _host_and_rest(rest)
    return host and _names_a_repository(rest)


def looks_remote(text: str) -> bool:
    """Whether a person most likely meant an address, although kustomize would read a path."""
    return "?ref=" in text or "://" in text or _HOST_LIKE.match(text) is not None


def _host_and_rest(text: str) -> tuple[bool, str]:
    if text.lower().startswith("git::"):
        text = text[5:]
    scheme = next((scheme for scheme in _SCHEMES if text.lower().startswith(scheme)), "")
    text = text[len(scheme) :]
    user = _USER.match(text)
    after_user = text[user.end() :] if user else text
    github = after_user.lower().startswith(("github.com/", "github.com:"))
    scp = not scheme and (user is not None or github)
    if not scheme and not scp:
        return False, ""
    if scheme == "file://":
        return True, text
    slash, colon = after_user.find("/"), after_user.find(":")
    cut = colon if scp and (slash == -1 or 0 < colon < slash) else slash
    return bool(after_user), after_user[cut + 1 :] if cut >= 0 else ""


def _names_a_repository(path: str) -> bool:
    marked = "_git/" in path or "//" in path or ".git" in path
    return marked or len(path.split("/")) >= 2 or path.startswith("/")
