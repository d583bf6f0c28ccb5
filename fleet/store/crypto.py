"""Encryption at rest: AES-256-GCM under a key that is made at the first start and never stored beside its data rows.

The name of an entry is bound to it as associated data, so that no entry can be put in another's place. The key for
the store is derived from the installation's own key, which others may derive theirs from.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleet.errors import KeyMissing, StateDamaged, StateNotWritable
from fleet.values import dataclass

KEY_BYTES = 32
KEY_FILE = "key"
DATABASE_FILE = "state.db"
_NONCE_BYTES = 12


def load_or_make_key(directory: Path, env: Mapping[str, str]) -> bytes:
    """The installation's key (32 bytes): `FLEET_KEY`, else the file `FLEET_KEY_FILE`, else `<directory>/key`.

    Text forms are 64 hex digits or base64. Only `<directory>/key` is ever made, with mode 0600, and only where no
    state lies yet: a lost key never turns into a new one behind an existing database. Raises KeyMissing.
    """
    found = find_key(directory, env)
    if found is not None:
        return found.key
    path = directory / KEY_FILE
    if (directory / DATABASE_FILE).exists():
        raise KeyMissing(
            "the key of the encrypted store is gone",
            where=str(path),
            why="the database beside it was written with a key that is not there",
            next_step="put the kept copy of the key back, or move the data directory away and run fleet recover",
        )
    return _make(path)


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key and, in words, the place it was found in."""

    key: bytes
    where: str


def find_key(directory: Path, env: Mapping[str, str]) -> FoundKey | None:
    """The key by the same rule, never made; None where there is none. Raises KeyMissing on one that does not read."""
    if text := env.get("FLEET_KEY", ""):
        return FoundKey(_parse(text, "environment variable FLEET_KEY"), "environment variable FLEET_KEY")
    if named := env.get("FLEET_KEY_FILE", ""):
        return FoundKey(_read(Path(named), private=False), named)
    path = directory / KEY_FILE
    return FoundKey(_read(path, private=True), str(path)) if path.exists() else None


def write_key(directory: Path, key: bytes) -> None:
    """Put a key into a data directory that has none, mode 0600; raises StateNotWritable."""
    _write(directory / KEY_FILE, key)


def audit_key(key: bytes) -> bytes:
    """The key of the audit log's chain, from the installation's own."""
    return _derived(key, b"fleet/audit")


class Cipher:
    """Seals and opens values by name."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(_derived(key, b"fleet/store"))

    def seal(self, name: str, value: bytes) -> bytes:
        """Encrypt a value for this name; each call gives other bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """The value; raises StateDamaged when it was not sealed for this name under this key, or was changed."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise StateDamaged(
                "an encrypted entry does not verify",
                where=name,
                why="it was changed on disk, or belongs to another name or key",
                next_step="add the credential again, or restore the data directory from a backup",
            ) from error


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _parse(text: str, where: str) -> bytes:
    text = text.strip()
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) == KEY_BYTES:
        return key
    raise KeyMissing(
        "the key of the encrypted store does not read",
        where=where,
        why="it must be 32 bytes as 64 hex digits or base64",
        next_step="put the kept copy of the key there",
    )


def _read(path: Path, *, private: bool) -> bytes:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyMissing(
            "the key of the encrypted store cannot be read",
            where=str(path),
            why=type(error).__name__,
            next_step="check that the file is there and readable by the hub",
        ) from error
    # A mounted secret has the mode its volume gives it; the file that fleet made itself stays private.
    if private and stat.S_IMODE(mode) & 0o077:
        raise KeyMissing(
            "the key of the encrypted store is open to others",
            where=str(path),
            why=f"its mode is {stat.S_IMODE(mode):04o}",
            next_step=f"chmod 600 {path}, and make new credentials if others could read it",
        )
    return _parse(text, str(path))


def _make(path: Path) -> bytes:
    return _write(path, secrets.token_bytes(KEY_BYTES))


def _write(path: Path, key: bytes) -> bytes:
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Only a whole key ever carries the name; of two first starts the one that links first wins for both.
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read(path, private=True)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StateNotWritable(
            "the key of the encrypted store cannot be made",
            where=str(path),
            why=error.strerror or type(error).__name__,
            next_step="make the data directory writable",
        ) from error
    return key
