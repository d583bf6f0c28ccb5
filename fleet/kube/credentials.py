"""Kubeconfigs by name: files in a directory first (a mounted Secret will do), else the encrypted store (R32)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from fleet.core.ids import is_dns_subdomain
from fleet.core.renewal import Place
from fleet.errors import CredentialMissing

_MOST_BYTES = 1 << 20
Stored = Callable[[str], Awaitable[bytes | None]]


class NamedCredentials:
    """Implements `fleet.ports.kube.Credentials`. Files are read at each call, so a change is seen at once."""

    def __init__(self, directory: Path | None = None, stored: Stored | None = None) -> None:
        self._directory, self._stored = directory, stored

    async def kubeconfig(self, name: str) -> bytes:
        """The kubeconfig as it stands now; raises CredentialMissing."""
        return (await self.find(name))[0]

    async def find(self, name: str) -> tuple[bytes, Place]:
        """The kubeconfig as it stands now, and where it lies; raises CredentialMissing."""
        if not is_dns_subdomain(name):  # also keeps the name inside the directory
            raise self._missing(name, "no credential can have this name")
        if self._directory is not None:
            path = self._directory / f"{name}.kubeconfig"
            try:
                found = await asyncio.to_thread(_read, path)
            except OSError as error:
                raise self._missing(name, f"{path} cannot be read: {error.strerror}") from None
            if found is not None:
                return found, Place.FILE
        found = await self._stored(name) if self._stored is not None else None
        if found is None:
            places = [str(self._directory / f"{name}.kubeconfig")] if self._directory else []
            raise self._missing(name, f"not in {' nor in '.join([*places, 'the encrypted store'])}")
        return found, Place.STORED

    def _missing(self, name: str, why: str) -> CredentialMissing:
        return CredentialMissing(
            f"there is no credential {name!r:.80}", why=why, next_step="fleet cluster grant, or fleet credential add"
        )


def _read(path: Path) -> bytes | None:
    """The content; None where there is no such file. OSError when it is there and cannot be read, or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(content) > _MOST_BYTES:
        raise OSError(0, f"larger than {_MOST_BYTES >> 20} MiB")
    return content
