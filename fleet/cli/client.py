"""Speaks to the hub: finds its address and token, and turns its problems back into errors.

Address: --hub, FLEET_HUB, else what a hub on this machine wrote into its state folder. Token: FLEET_TOKEN, the file
named by FLEET_TOKEN_FILE, else that hub's own admin token (0600). Plain http goes to loopback only: a token is never
sent in clear over a network.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from fleet import __version__, errors
from fleet.errors import FleetError, HubUnreachable, NotAuthenticated, UsageInvalid

ANSWER_LIMIT_BYTES = 256 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def state_folder() -> Path:
    """Where a user's own hub keeps its data; as in settings.py, without importing it."""
    root = os.environ.get("XDG_STATE_HOME", "")
    return (Path(root) if root else Path.home() / ".local" / "state") / "fleet"


def demo_note() -> Path:
    """What a running demo writes: its data directory, and the URL and token of its simulator's control."""
    return state_folder() / "demo"


def data_folder() -> Path:
    """The data directory of the hub on this machine: FLEET_DATA_DIR, a running demo's, else the state folder."""
    if named := os.environ.get("FLEET_DATA_DIR", ""):
        return Path(named)
    if demo := _first_line(demo_note()).partition("\n")[0]:
        return Path(demo)
    return state_folder()


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        return ""


class Client:
    """One hub; a connection per call."""

    def __init__(self, hub: str = "", *, timeout_seconds: float = 30.0) -> None:
        folder = data_folder()
        self.url = hub or os.environ.get("FLEET_HUB", "") or _first_line(folder / "url")
        if not self.url:
            raise HubUnreachable(
                "no hub is known here",
                why=f"neither --hub nor FLEET_HUB is set, and {folder / 'url'} is not there",
                next_step="fleet hub --repo ., or set FLEET_HUB and FLEET_TOKEN",
            )
        token_file = os.environ.get("FLEET_TOKEN_FILE", "")
        local = _first_line(folder / "admin.token") if self.url == _first_line(folder / "url") else ""
        token = os.environ.get("FLEET_TOKEN", "") or (_first_line(Path(token_file)) if token_file else local)
        if not (token.isascii() and token.isprintable()):
            raise UsageInvalid("the token holds characters that no token has", next_step="check FLEET_TOKEN")
        self._token = token
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise UsageInvalid(
                f"{self.url} is no address of a hub", why=str(error), next_step="write https://HOST[:PORT]"
            ) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageInvalid(f"{self.url} is no address of a hub", next_step="write https://HOST[:PORT]")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise UsageInvalid(
                f"{self.url} would send your token in clear", next_step="use https, or a tunnel to loopback"
            )
        self._parts, self._timeout = parts, timeout_seconds

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET a JSON object; raises the hub's own error, or HubUnreachable."""
        return self.call("GET", path, query=query)

    def pages(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """GET a list with all its pages."""
        first = self.get(path, query)
        items, following = cast("list[Any]", first["items"]), first.get("continue", "")
        while following:
            page = self.get(path, {**query, "continue": following})
            items.extend(page["items"])
            following = page.get("continue", "")
        first.pop("continue", None)
        return first

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Any method with a JSON body."""
        connection = self._connect()
        try:
            response = self._send(connection, method, path, body, query)
            raw = response.read(ANSWER_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        try:
            answer = json.loads(raw or b"{}")
        except ValueError as error:
            raise self._unreachable(ValueError(f"HTTP {response.status}, no JSON")) from error
        if not isinstance(answer, dict):
            raise self._unreachable(ValueError(f"HTTP {response.status}, no JSON object: is this a hub?"))
        if response.status >= 400:
            raise error_from(cast("dict[str, Any]", answer), response.status)
        return cast("dict[str, Any]", answer)

    def text(self, path: str) -> str:
        """GET a short text, whatever its status; raises HubUnreachable."""
        connection = self._connect()
        try:
            return self._send(connection, "GET", path, None, None).read(1 << 16).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def events(self) -> Iterator[dict[str, Any]]:
        """The live stream of events, until it breaks or the caller stops."""
        connection = self._connect()
        try:
            response = self._send(connection, "GET", "/api/v1/stream", None, None)
            if response.status >= 400:
                raise error_from(json.loads(response.read(1 << 20) or b"{}"), response.status)
            for line in response:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])
        except TimeoutError:
            return
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            authority = os.environ.get("FLEET_HUB_CA", "") or None
            context = ssl.create_default_context(cafile=authority)
            return http.client.HTTPSConnection(host, self._parts.port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> http.client.HTTPResponse:
        target = quote(path, safe="/:@") + ("?" + urlencode({k: v for k, v in query.items() if v}) if query else "")
        headers = {"Accept": "application/json", "User-Agent": f"fleet/{__version__}"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, target, payload, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> HubUnreachable:
        match error:
            case ConnectionRefusedError():
                why = "it refuses connections"
            case socket.gaierror():
                why = "its name does not resolve"
            case TimeoutError():
                why = f"no answer within {self._timeout:g} s"
            case _:
                why = str(error) or type(error).__name__
        return HubUnreachable(
            f"the hub at {self.url} does not answer", why=why, next_step="is it running? fleet hub --repo ."
        )


def error_from(problem: Mapping[str, Any], status: int) -> FleetError:
    """The hub's problem as the error that it was there."""
    name = str(problem.get("type", "")).removeprefix("urn:fleet:")
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, FleetError)):
        kind = NotAuthenticated if status == 401 else FleetError
    return kind(
        str(problem.get("title", f"HTTP {status}")),
        where=str(problem.get("where", "")),
        why=str(problem.get("detail", "")),
        next_step=str(problem.get("next", "")),
    )
