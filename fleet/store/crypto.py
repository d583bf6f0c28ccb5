"""Encryption at rest: AES-256-GCM under a key that is made at the first start and never stored beside its data rows.

The name of an entry is bound to it as associated data, so that no entry can be put in another's place. Where the key is
read from there may be several: the first seals, the others only open, until `rotation` has sealed all anew.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleet.errors import KeyMissing, StateDamaged, StateNotWritable
from fleet.values import dataclass, field

KEY_BYTES = 32
KEY_FILE = "key"
DATABASE_FILE = "state.db"
_NONCE_BYTES = 12
_FILE_LIMIT_BYTES = 4096  # some sixty keys


def load_or_make_key(directory: Path, env: Mapping[str, str]) -> FoundKey:
    """The key of the store (32 bytes): `FLEET_KEY`, else the file `FLEET_KEY_FILE`, else `<directory>/key`.

    Text forms are 64 hex digits or base64, one key a line. Only `<directory>/key` is ever made, with mode 0600,
    and only where no state lies yet: a lost key never turns into a new one behind an existing database. Raises
    KeyMissing.
    """
    found = find_key(directory, env)
    if found is not None:
        return found
    path = directory / KEY_FILE
    if (directory / DATABASE_FILE).exists():
        raise KeyMissing(
            "the key of the encrypted store is gone",
            where=str(path),
            why="the database beside it was written with a key that is not there",
            next_step="put the kept copy of the key back, or move the data directory away and run fleet recover",
        )
    return FoundKey(_make(path), str(path))


@dataclass(frozen=True, slots=True)
class FoundKey:
    """Keys and, in words, the place they were found in. key: seals; older: only open what was sealed before."""

    key: bytes = field(repr=False)
    where: str
    older: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All of them, the one that seals first."""
        return (self.key, *self.older)


def name_of_key(key: bytes) -> str:
    """Twelve hex digits that tell keys apart."""
    return hmac.digest(key, b"fleet/key name", "sha256").hex()[:12]


def find_key(directory: Path, env: Mapping[str, str]) -> FoundKey | None:
    """The key by the same rule, never made; None where there is none. Raises KeyMissing on one that does not read."""
    if text := env.get("FLEET_KEY", ""):
        return _parse(text, "environment variable FLEET_KEY")
    if named := env.get("FLEET_KEY_FILE", ""):
        return _read(Path(named), private=False)
    path = directory / KEY_FILE
    return _read(path, private=True) if path.exists() else None


def write_key(directory: Path, keys: Sequence[bytes]) -> None:
    """Put keys into a data directory that has none, mode 0600; raises StateNotWritable."""
    _write(directory / KEY_FILE, keys)


def audit_key(key: bytes) -> bytes:
    """The key of the audit log's chain, from the root of the installation."""
    return _derived(key, b"fleet/audit")


class Cipher:
    """Seals and opens values by name. keys: the first seals, all of them open."""

    def __init__(self, *keys: bytes) -> None:
        self.turn(keys)

    def turn(self, keys: Sequence[bytes]) -> None:
        """Use these keys from now on, in whatever thread."""
        self.keys = tuple(keys)
        self._aeads = tuple(AESGCM(_derived(key, b"fleet/store")) for key in keys)

    def seal(self, name: str, value: bytes) -> bytes:
        """Encrypt a value for this name; each call gives other bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aeads[0].encrypt(nonce, value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """The value; raises StateDamaged when it was sealed for another name, under no key of these, or was changed."""
        return self.open_with(name, sealed)[1]

    def open_with(self, name: str, sealed: bytes) -> tuple[int, bytes]:
        """Which key opens it, by its place among them, and the value; raises StateDamaged."""
        for place, aead in enumerate(self._aeads):
            with suppress(InvalidTag, ValueError):
                return place, aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        raise StateDamaged(
            "an encrypted entry does not verify",
            where=name,
            why="it was changed on disk, or belongs to another name or key",
            next_step="put its key below the first line of the key file, add the credential again, or restore a backup",
        )


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _parse(text: str, where: str) -> FoundKey:
    """One key a line, or a word; each as 64 hex digits or base64. What does not read is never shown."""
    keys: list[bytes] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        place = f"{where}:{number}" if len(lines) > 1 else where
        keys += (_key_of(word, place) for word in line.split())
    if not keys:
        raise _does_not_read(where)
    return FoundKey(keys[0], where, tuple(key for key in dict.fromkeys(keys) if key != keys[0]))


def _key_of(word: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else base64.b64decode(word, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise _does_not_read(where)
    return key


def _does_not_read(where: str) -> KeyMissing:
    return KeyMissing(
        "the key of the encrypted store does not read",
        where=where,
        why="it must be 32 bytes as 64 hex digits or base64, one key a line",
        next_step="put the kept copy of the key there: openssl rand -hex 32 makes a new one, for the line above it",
    )


def _read(path: Path, *, private: bool) -> FoundKey:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer would keep us here
        try:
            mode = os.fstat(handle).st_mode
            content = os.read(handle, _FILE_LIMIT_BYTES + 1) if stat.S_ISREG(mode) else b""
        finally:
            os.close(handle)
        text = content.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _cannot_be_read(path, type(error).__name__) from error
    if not stat.S_ISREG(mode):
        raise _cannot_be_read(path, "it is no regular file, and is read again and again")
    if len(content) > _FILE_LIMIT_BYTES:
        raise _cannot_be_read(path, f"it is larger than {_FILE_LIMIT_BYTES} bytes")
    # A mounted secret has the mode its volume gives it; the file that fleet made itself stays private.
    if private and stat.S_IMODE(mode) & 0o077:
        raise KeyMissing(
            "the key of the encrypted store is open to others",
            where=str(path),
            why=f"its mode is {stat.S_IMODE(mode):04o}",
            next_step=f"chmod 600 {path}, and make new credentials if others could read it",
        )
    return _parse(text, str(path))


def _cannot_be_read(path: Path, why: str) -> KeyMissing:
    return KeyMissing(
        "the key of the encrypted store cannot be read",
        where=str(path),
        why=why,
        next_step="check that the file is there, holds keys alone, and is readable by the hub",
    )


def _make(path: Path) -> bytes:
    return _write(path, [secrets.token_bytes(KEY_BYTES)])


def _write(path: Path, keys: Sequence[bytes]) -> bytes:
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.writelines(f"{key.hex()}\n" for key in keys)
            file.flush()
            os.fsync(file.fileno())
        # Only a whole key ever carries the name; of two first starts the one that links first wins for both.
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read(path, private=True).key
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StateNotWritable(
            "the key of the encrypted store cannot be made",
            where=str(path),
            why=error.strerror or type(error).__name__,
            next_step="make the data directory writable",
        ) from error
    return keys[0]
