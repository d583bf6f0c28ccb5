"""Credentials of gates by name: what is shown to one server and no other, kept as kubeconfigs are (R32).

A credential is a small mapping: `url` of the server that it is for, and `token`, or `username` and `password`; `ca`
where its certificate is signed by an authority of one's own. It lies as `NAME.gate` in the directory of credentials,
or in the encrypted store.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

from fleet.core.documents import Json
from fleet.core.gates import origin_of
from fleet.core.ids import is_dns_subdomain
from fleet.errors import CredentialMissing, CredentialRefused
from fleet.inventory.yamlfile import YamlRefused, read_documents
from fleet.ports.gates import Secret

_MOST_BYTES = 64 << 10
_FIELDS = {"url", "token", "username", "password", "ca"}
Stored = Callable[[str], Awaitable[bytes | None]]


class NamedSecrets:
    """Implements `fleet.ports.gates.GateCredentials`. Files are read at each call, so a change is seen at once."""

    def __init__(self, directory: Path | None = None, stored: Stored | None = None) -> None:
        self._directory, self._stored = directory, stored

    async def secret(self, name: str) -> Secret:
        """As it stands now; raises CredentialMissing, CredentialRefused."""
        if not is_dns_subdomain(name):  # also keeps the name inside the directory
            raise CredentialMissing(
                f"there is no credential {name!r:.80}",
                why="no credential can have this name",
                next_step="correct the name; those there are: fleet credential list",
            )
        raw = None
        if self._directory is not None:
            raw = await asyncio.to_thread(_read, self._directory / f"{name}.gate")
        if raw is None and self._stored is not None:
            raw = await self._stored(name)
        if raw is None:
            raise CredentialMissing(
                f"there is no credential {name}",
                why=f"neither as {name}.gate in the directory of credentials nor in the encrypted store",
                next_step="fleet credential add",
            )
        return secret_of(raw, name)


def is_gate_credential(raw: bytes) -> bool:
    """Whether these bytes mean to be a gate's credential, and no kubeconfig."""
    try:
        fields = _mapping(raw)
    except ValueError:
        return False
    return "url" in fields and "clusters" not in fields


def secret_of(raw: bytes, name: str) -> Secret:
    """Read one; raises CredentialRefused, which shows no value of it."""
    try:
        fields = _mapping(raw)
        if unknown := sorted(set(fields) - _FIELDS):
            raise ValueError(f"{unknown[0]!r:.40} is not known; there are {', '.join(sorted(_FIELDS))}")
        texts = {key: value for key, value in fields.items() if isinstance(value, str) and value}
        if len(texts) != len(fields) or "url" not in texts:
            raise ValueError("url is missing, or a value is no text")
        origin = origin_of(texts["url"])
        if "token" in texts and not {"username", "password"} & texts.keys():
            authorization = f"Bearer {texts['token'].strip()}"
        elif {"username", "password"} <= texts.keys() and "token" not in texts:
            pair = f"{texts['username']}:{texts['password']}".encode()
            authorization = f"Basic {base64.b64encode(pair).decode()}"
        else:
            raise ValueError("give token, or username and password")
        if not (authorization.isascii() and authorization.isprintable()):
            raise ValueError("its token holds characters that no header has")
        return Secret(origin, authorization, texts.get("ca", "").encode("ascii"))
    except ValueError as error:
        raise CredentialRefused(
            f"credential {name} is none that a gate can use", why=str(error), next_step="correct it: url and token"
        ) from None


def _mapping(raw: bytes) -> dict[str, Json]:
    try:
        documents = [document.value for document in read_documents(raw[: _MOST_BYTES + 1])]
    except YamlRefused:
        raise ValueError("it is no YAML") from None
    if len(raw) > _MOST_BYTES or len(documents) != 1 or not isinstance(documents[0], dict):
        raise ValueError("it is no mapping with url and token")
    return documents[0]


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialRefused(
            f"{path} cannot be read", why=error.strerror or "", next_step="see who owns it"
        ) from None
