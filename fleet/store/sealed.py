"""The key check of encrypted entries, and credentials. Clear values exist in memory only (R32)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from sqlalchemy import Connection, select

from fleet.errors import KeyMissing, StateDamaged
from fleet.ports.state import BOTH_KEYS
from fleet.store.crypto import Cipher, name_of_key
from fleet.store.database import Database
from fleet.store.puts import Puts
from fleet.store.tables import AUDIT, CREDENTIALS, VALUES, VAULT
from fleet.values import dataclass, field

KEY_CHECK = "key-check"  # under the key of all entries; while they lie under two, under the old one
KEY_NAMES = "key-names"  # in clear, as they tell nothing: names of all keys that entries may lie under
KEY_ROOT = "key-root"  # what names of Secret values and the chain of the audit log are derived from, for good
_BEFORE_CHAIN, _CHAINED = b"fleet", b"fleet+chain"  # what is sealed there: nobody without the key can say it
_KEY_BACK = "put the kept copy of the key back, or move the data directory away and run fleet recover"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a database says of its keys. is_chained: its audit log is, as it is from the start of newer ones."""

    is_chained: bool
    root: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysInUse:
    """Names of the keys that entries may lie under. missing: of these are not here; said: by the check, if it opens."""

    names: tuple[str, ...]
    missing: tuple[str, ...]
    said: bytes | None

    @property
    def all_here(self) -> bool:
        """Whether the keys that are here open the state."""
        return not self.missing and self.said is not None


def keys_in_use(cipher: Cipher, check: str, noted: str) -> KeysInUse:
    """What check and note say, each read on its own; a state from before there were notes has the check alone."""
    here, said = tuple(map(name_of_key, cipher.keys)), None
    by_check = here[:1]  # of a state that was never in use
    if check:
        by_check = ()
        with suppress(StateDamaged, ValueError):
            place, said = cipher.open_with(KEY_CHECK, bytes.fromhex(check))
            by_check = (here[place],)
    names = tuple(dict.fromkeys((*noted.split(), *by_check)))
    return KeysInUse(names, tuple(name for name in names if name not in here), said if check else b"")


async def check_key(database: Database, cipher: Cipher, *, where: str) -> Bound:
    """Prove that these keys open all that the database holds, or bind it at the first start.

    Raises KeyMissing, and StateDamaged where a database in use does not say under which key.
    """

    def check(connection: Connection) -> Bound:
        found = stored_value(connection, KEY_CHECK)
        if found is None:
            if used := [t.name for t in (AUDIT, CREDENTIALS, VAULT) if connection.execute(select(t).limit(1)).first()]:
                raise StateDamaged(
                    "the state does not say under which key it was written",
                    where=where,
                    why=f"its key check is missing, and it has rows in {', '.join(used)}",
                    next_step="restore the data directory from a backup, or move it away and run fleet recover",
                )
            note_keys(connection, cipher, ())
            say_chained(connection, cipher)
            root = cipher.keys[-1]  # after a lost state the first key that there was, if it was given again
            put_sealed(connection, cipher, KEY_ROOT, root)
            return Bound(is_chained=True, root=root)
        in_use = proven_keys(connection, cipher, where)
        known = stored_value(connection, KEY_ROOT)
        if known is None:
            root = cipher.keys[cipher.open_with(KEY_CHECK, bytes.fromhex(found))[0]]
            put_sealed(connection, cipher, KEY_ROOT, root)
        else:
            root = cipher.open(KEY_ROOT, bytes.fromhex(known))
        if name_of_key(cipher.keys[0]) not in (stored_value(connection, KEY_NAMES) or "").split():
            note_keys(connection, cipher, in_use.names)
        return Bound(is_chained=in_use.said != _BEFORE_CHAIN, root=root)

    return await database.write(check)


def say_chained(connection: Connection, cipher: Cipher) -> None:
    """Bind the database to the key, with the word that its audit log is chained from here on."""
    put_sealed(connection, cipher, KEY_CHECK, _CHAINED)


def proven_keys(connection: Connection, cipher: Cipher, where: str) -> KeysInUse:
    """Names of the keys that entries may lie under; raises KeyMissing where one of them is not here."""
    check, noted = (stored_value(connection, name) or "" for name in (KEY_CHECK, KEY_NAMES))
    in_use = keys_in_use(cipher, check, noted)
    if in_use.missing or in_use.said is None:
        why, next_step = "the database was written under another key", _KEY_BACK
        if len(in_use.names) > 1:
            why, next_step = "its key is being exchanged, and entries may lie under a key that is not here", BOTH_KEYS
        raise KeyMissing(
            "the key does not open the encrypted store",
            where=where,
            why=": ".join((why, ", ".join(in_use.missing))) if in_use.missing else why,
            next_step=next_step,
        )
    return in_use


def note_keys(connection: Connection, cipher: Cipher, needed: Iterable[str]) -> None:
    """Say, before an entry lies under the first key, under which others some do: no start goes without one of them."""
    names = dict.fromkeys((*needed, name_of_key(cipher.keys[0])))
    puts = Puts()
    puts.put(VALUES, {"name": KEY_NAMES, "text": " ".join(names)})
    puts.write(connection)


def stored_value(connection: Connection, name: str) -> str | None:
    """One of the values of the store itself, as it lies there."""
    return connection.execute(select(VALUES.c.text).where(VALUES.c.name == name)).scalar()


def put_sealed(connection: Connection, cipher: Cipher, name: str, value: bytes) -> None:
    """Keep one of them."""
    puts = Puts()
    puts.put(VALUES, {"name": name, "text": cipher.seal(name, value).hex()})
    puts.write(connection)


class SqlCredentials:
    """Kubeconfigs by name."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database, self._cipher = database, cipher

    async def put(self, name: str, kubeconfig: bytes, at: float) -> None:
        """Keep or replace one."""

        def keep(connection: Connection) -> None:
            puts, sealed = Puts(), self._cipher.seal(f"credential/{name}", kubeconfig)
            puts.put(CREDENTIALS, {"name": name, "sealed": sealed, "at": at})
            puts.write(connection)

        await self._database.write(keep)

    async def renew(self, name: str, known: bytes, renewed: bytes, at: float) -> bool:
        """Replace `known` and nothing else, in one transaction."""

        def replace(connection: Connection) -> bool:
            row = CREDENTIALS.c.name == name
            found = connection.execute(select(CREDENTIALS.c.sealed).where(row)).scalar()
            if found is None or self._cipher.open(f"credential/{name}", found) != known:
                return False
            sealed = self._cipher.seal(f"credential/{name}", renewed)
            connection.execute(CREDENTIALS.update().where(row).values(sealed=sealed, at=at))
            return True

        return await self._database.write(replace)

    async def remove(self, name: str) -> bool:
        """False if there was none."""
        change = CREDENTIALS.delete().where(CREDENTIALS.c.name == name)
        return await self._database.write(lambda connection: connection.execute(change).rowcount == 1)

    async def names(self) -> Mapping[str, float]:
        """Names and times."""
        query = select(CREDENTIALS.c.name, CREDENTIALS.c.at).order_by(CREDENTIALS.c.name)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {str(name): float(at) for name, at in rows}

    async def get(self, name: str) -> bytes | None:
        """One in clear."""
        query = select(CREDENTIALS.c.sealed).where(CREDENTIALS.c.name == name)
        sealed = await self._database.read(lambda connection: connection.execute(query).scalar())
        return None if sealed is None else self._cipher.open(f"credential/{name}", sealed)
