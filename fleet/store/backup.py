"""Backups of the state: one tar file with a manifest, its seal under the installation's key, and the database.

The database is copied in one read transaction, so a hub may run meanwhile. The key itself stays out unless it is asked
for; the seal shows that whoever restores holds the key that made the backup, and that nobody changed it.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet import __version__
from fleet.errors import BackupForeign, BackupInvalid, KeyMissing, StateError, StateNotWritable, UsageInvalid
from fleet.ports.state import INSTALLATION
from fleet.store.crypto import DATABASE_FILE, KEY_BYTES, KEY_FILE, FoundKey, name_of_key
from fleet.store.inspect import inspect_state
from fleet.store.trouble import state_error_of
from fleet.values import dataclass

FORMAT = 1
MANIFEST, SEAL = "manifest.json", "manifest.seal"
_MANIFEST_LIMIT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_ANOTHER = "take another backup, or one of before"


class Member(BaseModel):
    """One file of the backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What a backup says of itself; nothing in it is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    fleet: str  # the version that made it
    db_schema: str
    installation: str  # "" where no commit was in force yet
    made_at: float
    clusters: int
    key: str  # names the key without telling it
    left_out: tuple[str, ...]  # what a restore needs beside this file, in words
    files: dict[str, Member]


def make_backup(
    data_dir: Path, file: Path, found: FoundKey, *, with_key: bool, left_out: Sequence[str], at: float
) -> Manifest:
    """Write a backup of a data directory to `file` (0600), which must not exist; blocking, also beside a running hub.

    left_out: what else the hub uses, in words. Raises UsageInvalid, KeyMissing, StateDamaged, StateNotWritable; then
    there is no file.
    """
    database = data_dir / DATABASE_FILE
    if not database.exists():
        raise UsageInvalid(
            "there is no state to back up", where=str(data_dir), next_step="name the hub's directory with --data-dir"
        )
    if file.exists():
        raise UsageInvalid(f"{file} exists already", next_step="name a new file; backups are never overwritten")
    with _writing(file), tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        copy = Path(folder) / DATABASE_FILE
        _copy(database, copy)
        facts = inspect_state(copy.parent, found)
        assert facts is not None, "it was just copied"
        if not facts.keys.all_here:
            missing = ", ".join(facts.keys.missing) or "another one"
            raise KeyMissing(
                "the backup could not be read by the keys that are here",
                where=found.where,
                why=f"entries of the state lie under key {missing}",
                next_step="put that key below the first line: fleet doctor",
            )
        needed = (name_of_key(found.key), *facts.older)  # the first opens the seal, the others entries
        members = {DATABASE_FILE: _member(copy)}
        key = "".join(f"{each.hex()}\n" for each in found.keys).encode()
        if with_key:
            members[KEY_FILE] = Member(size=len(key), sha256=hashlib.sha256(key).hexdigest())
        manifest = Manifest(
            format=FORMAT,
            fleet=__version__,
            db_schema=facts.schema,
            installation=facts.installation,
            made_at=at,
            clusters=facts.clusters,
            key=name_of_key(found.key),
            left_out=(*(() if with_key else [f"key {name} ({found.where})" for name in needed]), *left_out),
            files=members,
        )
        written = manifest.model_dump_json(indent=1).encode()
        draft = Path(folder) / "draft"
        with _new_file(draft) as raw, tarfile.open(fileobj=raw, mode="w") as archive:
            _add(archive, MANIFEST, io.BytesIO(written), len(written))
            seal = _seal(found.key, written)
            _add(archive, SEAL, io.BytesIO(seal), len(seal))
            if with_key:
                _add(archive, KEY_FILE, io.BytesIO(key), len(key))
            with copy.open("rb") as content:
                _add(archive, DATABASE_FILE, content, members[DATABASE_FILE].size)
            archive.close()
            raw.flush()
            os.fsync(raw.fileno())
        os.link(draft, file)  # fails where somebody else was first
    return manifest


def installation_of(database: Path) -> str:
    """Whose state it is, "" where it does not say; raises StateError. Leaves nothing beside a database at rest."""
    with _reading(database) as connection:
        named = connection.execute("SELECT text FROM value WHERE name = ?", (f"hub/{INSTALLATION}",)).fetchone()
    return str(named[0]) if named else ""


@dataclass(frozen=True, slots=True)
class OpenedBackup:
    """A backup whose manifest and files were verified, and its database laid out in a folder of its own."""

    manifest: Manifest
    keys: tuple[bytes, ...]  # of this machine, the first of which seals, and those that it brings
    brings_key: bool


def unpack(file: Path, found: FoundKey | None, folder: Path) -> OpenedBackup:
    """Verify a backup and put its database into `folder`; raises BackupInvalid, BackupForeign, UsageInvalid.

    found: the keys of this machine; None where it has none, then the backup must bring its own.
    """
    try:
        with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            return _unpack(archive, file, found, folder)
    except FileNotFoundError as error:
        raise UsageInvalid(f"there is no file {file}", next_step="name a file that fleet backup made") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _invalid(file, f"it does not read as one: {error}") from error
    except OSError as error:
        raise StateNotWritable(
            "the backup cannot be unpacked",
            where=str(folder),
            why=error.strerror or type(error).__name__,
            next_step="make room, and check the rights on both",
        ) from error


def _unpack(archive: tarfile.TarFile, file: Path, found: FoundKey | None, folder: Path) -> OpenedBackup:
    written = _small(archive, MANIFEST, file)
    seal = _small(archive, SEAL, file)
    try:
        manifest = Manifest.model_validate_json(written)
    except ValidationError as error:
        raise _invalid(file, "its manifest does not read") from error
    if manifest.format != FORMAT or set(manifest.files) not in ({DATABASE_FILE}, {DATABASE_FILE, KEY_FILE}):
        raise _invalid(file, f"its form {manifest.format} is not known to fleet {__version__}; fleet {manifest.fleet}")
    brought: tuple[bytes, ...] = ()
    if KEY_FILE in manifest.files:
        brought = _keys_of(_checked(_small(archive, KEY_FILE, file), manifest.files[KEY_FILE], KEY_FILE, file), file)
    trusted = found.keys if found is not None else brought
    if not trusted:
        raise BackupForeign(
            "the key of this backup is not here",
            where=str(file),
            why=f"it was made under key {manifest.key}, and does not hold it",
            next_step="put the kept copy of the key into FLEET_KEY_FILE or the data directory, and restore again",
        )
    used = next((key for key in trusted if name_of_key(key) == manifest.key), None)
    if used is None:
        raise BackupForeign(
            "the backup is of another installation",
            where=str(file),
            why=f"it was made under key {manifest.key}; here is key {name_of_key(trusted[0])}",
            next_step="restore it where its own key is, or into an empty data directory with that key",
        )
    if not hmac.compare_digest(seal, _seal(used, written)):
        raise _invalid(file, "its manifest was changed after it was made")
    with _new_file(folder / DATABASE_FILE) as target:
        source = _next(archive, DATABASE_FILE, file)
        digest, size = hashlib.sha256(), 0
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
        expected = manifest.files[DATABASE_FILE]
        if (size, digest.hexdigest()) != (expected.size, expected.sha256):
            raise _invalid(file, f"{DATABASE_FILE} in it is damaged")
    return OpenedBackup(manifest, tuple(dict.fromkeys((*trusted, *brought))), brings_key=found is None)


def _small(archive: tarfile.TarFile, name: str, file: Path) -> bytes:
    content = _next(archive, name, file).read(_MANIFEST_LIMIT_BYTES + 1)
    if len(content) > _MANIFEST_LIMIT_BYTES:
        raise _invalid(file, f"{name} in it is too large")
    return content


def _next(archive: tarfile.TarFile, name: str, file: Path) -> BinaryIO:
    member = archive.next()
    content = archive.extractfile(member) if member is not None and member.isreg() and member.name == name else None
    if content is None:
        raise _invalid(file, f"it holds no {name} where one must be")
    return content  # type: ignore[return-value]


def _checked(content: bytes, expected: Member, name: str, file: Path) -> bytes:
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise _invalid(file, f"{name} in it is damaged")
    return content


def _keys_of(content: bytes, file: Path) -> tuple[bytes, ...]:
    try:
        keys = tuple(bytes.fromhex(line) for line in content.decode("ascii").split())
    except ValueError as error:
        raise _invalid(file, f"{KEY_FILE} in it is damaged") from error
    if {*map(len, keys)} != {KEY_BYTES}:
        raise _invalid(file, f"{KEY_FILE} in it holds no keys")
    return keys


def _invalid(file: Path, why: str) -> BackupInvalid:
    return BackupInvalid("this is no whole backup of fleet", where=str(file), why=why, next_step=_ANOTHER)


def _seal(key: bytes, written: bytes) -> bytes:
    return hmac.digest(hmac.digest(key, b"fleet/backup", hashlib.sha256), written, hashlib.sha256)


def _copy(database: Path, copy: Path) -> None:
    with _reading(database) as connection:
        # One read transaction; writers go on beside it, and pages of deleted rows stay behind.
        connection.execute("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)
    with _reading(copy) as connection:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != ("ok",):
            raise sqlite3.DatabaseError(str(verdict))


@contextmanager
def _reading(path: Path) -> Generator[sqlite3.Connection]:
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=30)
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise state_error_of(error, str(path)) or StateError(
            "the state database cannot be read",
            where=str(path),
            why=str(error),
            next_step="is this a data directory of fleet?",
        ) from error


@contextmanager
def _writing(file: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StateNotWritable(
            "the backup cannot be written",
            where=str(file),
            why=error.strerror or type(error).__name__,
            next_step="name another file, or make room; nothing was left behind",
        ) from error


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _member(path: Path) -> Member:
    with path.open("rb") as file:
        return Member(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _add(archive: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    archive.addfile(info, content)
