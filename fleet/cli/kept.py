"""What commands on a checkout keep between runs, so that the next one builds only what a change touches.

Rendered results, and what was read of a commit, lie in the user's cache folder (0700), sealed with a key that lies in
the state folder (0600): whoever can only write the cache, as a restored cache of another CI job, makes misses and
nothing else. Secret values are in neither. Where a folder is not this user's alone, nothing is kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import secrets
import stat
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from hashlib import sha256
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.core.ids import Digest
from fleet.errors import StateNotWritable
from fleet.render.cache import DiskCache, MemoryCache
from fleet.values import dataclass

if TYPE_CHECKING:
    from fleet.core.fleet import Fleet
    from fleet.ports.render import RenderCache
    from fleet.render.index import Place
    from fleet.render.inputs import Closure

VARIABLE = "FLEET_CACHE"  # a folder, or `off`
_CAP_BYTES = 512 * 1024 * 1024
_KEY_BYTES = 32
_READS = ("core", "inventory", "render")  # packages whose code decides what is kept of a commit
_PLAIN = {("builtins", "set"): set, ("builtins", "frozenset"): frozenset}


@dataclass(frozen=True, slots=True)
class Read:
    """What reading a commit gave: its fleet, the closure of each place that can be built, and what would change it.

    clusters_directory, asked: as `touches_inventory` takes them.
    """

    fleet: Fleet
    closures: Mapping[Place, Closure]
    clusters_directory: str
    asked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Kept:
    """The folder of this user, or memory where there is none."""

    results: RenderCache
    key: bytes

    async def read_of(self, *names: str) -> Read | None:
        """What `keep_read` was given under these names by this version of the program; None if it is not there."""
        raw = await self.results.get(_key(names))
        try:
            found = _Values(io.BytesIO(raw)).load() if raw is not None else None
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, TypeError, ValueError, IndexError):
            return None
        return found if isinstance(found, Read) else None

    async def is_noted(self, *names: str) -> bool:
        """Whether `note` was given these names by this version of the program."""
        return await self.results.get(_key(names)) is not None

    async def note(self, *names: str) -> None:
        """Keep that this was done once: a hint to what need not be expected again, and nothing else."""
        await self.results.put(_key(names), b"")

    async def keep_read(self, read: Read, *names: str) -> None:
        """Keep what reading a commit gave; a cache that cannot be written costs time and nothing else."""
        with contextlib.suppress(StateNotWritable):
            await self.results.put(_key(names), _written(read))


def open_kept(environment: Mapping[str, str]) -> Kept:
    """The caches of this user: `FLEET_CACHE`, else `$XDG_CACHE_HOME/fleet`, else `~/.cache/fleet`."""
    named = environment.get(VARIABLE, "")
    home = environment.get("HOME", "")
    root = Path(named) if named else _under(environment, "XDG_CACHE_HOME", home, ".cache")
    state = _under(environment, "XDG_STATE_HOME", home, ".local/state")
    key = None if named == "off" or not (named or home) else _key_in(state)
    if key is None or not _is_private(root):
        return Kept(MemoryCache(), secrets.token_bytes(_KEY_BYTES))
    return Kept(_Lenient(root / "builds", key, cap_bytes=_CAP_BYTES, count_every=64), key)


class _Lenient(DiskCache):
    """A cache that cannot be written (a full disk) keeps nothing, and the command goes on."""

    async def get(self, key: Digest) -> bytes | None:
        return self._read(key)  # a command waits for nothing else meanwhile, and a thread costs more than the file

    async def put(self, key: Digest, value: bytes) -> None:
        with contextlib.suppress(StateNotWritable):
            if self._write(key, value):
                self._sweep()


class _Writer(pickle.Pickler):
    """Writes a dataclass as a call with all its fields: three times as fast to read back as its state would be."""

    def reducer_override(self, obj: object) -> Any:
        names = _fields_of(type(obj))
        return NotImplemented if names is None else (type(obj), tuple(getattr(obj, name) for name in names))


@cache
def _fields_of(kind: type) -> tuple[str, ...] | None:
    found = getattr(kind, "__dataclass_fields__", None)
    return None if found is None else tuple(found)


def _written(read: Read) -> bytes:
    buffer = io.BytesIO()
    _Writer(buffer, pickle.HIGHEST_PROTOCOL).dump(read)
    return buffer.getvalue()


class _Values(pickle.Unpickler):
    """Reads back values of this program's own dataclasses and enums, and calls nothing else (the seal aside)."""

    def find_class(self, module: str, name: str) -> Any:
        plain = _PLAIN.get((module, name))
        if plain is not None:
            return plain
        if module.startswith("fleet."):
            found: Any = getattr(import_module(module), name)
            if is_dataclass(found) or (isclass(found) and issubclass(found, Enum)):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no value")


def _under(environment: Mapping[str, str], variable: str, home: str, default: str) -> Path:
    root = environment.get(variable, "")
    return (Path(root) if root else Path(home) / default) / "fleet"


def _is_private(folder: Path) -> bool:
    """Make the folder for this user alone; False where it is not, or cannot be made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _key_in(folder: Path) -> bytes | None:
    """The key of this user's caches, made when first asked for; None where it cannot be kept to oneself."""
    path = folder / "cache.key"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = folder / f".cache.key-{secrets.token_hex(4)}"
        if not path.exists():
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            with contextlib.suppress(FileExistsError):
                os.link(new, path)  # another command may have been first: then its key is the one
            new.unlink()
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            found, key = os.fstat(file.fileno()), file.read(_KEY_BYTES + 1)
        if found.st_uid == os.geteuid() and not found.st_mode & 0o077 and len(key) == _KEY_BYTES:
            return key
    return None


def _key(names: tuple[str, ...]) -> Digest:
    """Names of one kept value, with the code that made it: another version reads nothing of this one's."""
    digest = sha256(b"fleet-read-1\0")
    for name in names:
        digest.update(f"{len(name)}:{name}".encode())
    digest.update(_state_of_code(_READS))
    return Digest(digest.hexdigest())


@cache
def _state_of_code(packages: tuple[str, ...]) -> bytes:
    """Size and time of each module of these packages; a command asks for it several times."""
    state: list[str] = []
    for package in packages:
        with os.scandir(Path(__file__).parents[1] / package) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".py"):
                    found = entry.stat()
                    state.append(f"{package}/{entry.name} {found.st_size} {found.st_mtime_ns}\0")
    return "".join(state).encode()
