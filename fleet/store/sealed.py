"""Encrypted entries: credentials and the Secret values of rendered bundles. Clear values exist in memory only (R32)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from sqlalchemy import Connection, select

from fleet.errors import KeyMissing, StateDamaged
from fleet.store.crypto import Cipher, name_of_key
from fleet.store.database import Database
from fleet.store.puts import Puts
from fleet.store.tables import AUDIT, CREDENTIALS, VALUES, VAULT
from fleet.values import dataclass, field

KEY_CHECK = "key-check"  # under the key of all entries; while they lie under two, under the old one
KEY_TURN = "key-turn"  # only then: names of all keys that entries may lie under, sealed under the new one
KEY_ROOT = "key-root"  # what names of Secret values and the chain of the audit log are derived from, for good
_BEFORE_CHAIN, _CHAINED = b"fleet", b"fleet+chain"  # what is sealed there: nobody without the key can say it
_NAMES_PER_QUERY = 500
_KEY_BACK = "put the kept copy of the key back, or move the data directory away and run fleet recover"
_BOTH = "put both keys into the key file, the new one first, until fleet doctor says that the old one may go"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a database says of its keys. is_chained: its audit log is, as it is from the start of newer ones."""

    is_chained: bool
    root: bytes = field(repr=False)


async def check_key(database: Database, cipher: Cipher, *, where: str) -> Bound:
    """Prove that these keys open all that the database holds, or bind it at the first start.

    Raises KeyMissing, and StateDamaged where a database in use does not say under which key.
    """

    def check(connection: Connection) -> Bound:
        found = sealed_value(connection, KEY_CHECK)
        if found is None:
            if used := [t.name for t in (AUDIT, CREDENTIALS, VAULT) if connection.execute(select(t).limit(1)).first()]:
                raise StateDamaged(
                    "the state does not say under which key it was written",
                    where=where,
                    why=f"its key check is missing, and it has rows in {', '.join(used)}",
                    next_step="restore the data directory from a backup, or move it away and run fleet recover",
                )
            say_chained(connection, cipher)
            put_sealed(connection, cipher, KEY_ROOT, cipher.keys[0])
            return Bound(is_chained=True, root=cipher.keys[0])
        turning = sealed_value(connection, KEY_TURN) is not None
        place, said = _opened(cipher, KEY_CHECK, found, where, turning=turning)
        needed = keys_in_use(connection, cipher, where) or (name_of_key(cipher.keys[place]),)
        known = sealed_value(connection, KEY_ROOT)
        root = cipher.keys[place] if known is None else _opened(cipher, KEY_ROOT, known, where)[1]
        if known is None:
            put_sealed(connection, cipher, KEY_ROOT, root)
        if place:
            begin_turn(connection, cipher, needed)
        return Bound(is_chained=said != _BEFORE_CHAIN, root=root)

    return await database.write(check)


def say_chained(connection: Connection, cipher: Cipher) -> None:
    """Bind the database to the key, with the word that its audit log is chained from here on."""
    put_sealed(connection, cipher, KEY_CHECK, _CHAINED)


def keys_in_use(connection: Connection, cipher: Cipher, where: str) -> tuple[str, ...]:
    """Names of the keys that entries lie under while it is more than one; raises KeyMissing where one is not here."""
    found = sealed_value(connection, KEY_TURN)
    if found is None:
        return ()
    names = tuple(_opened(cipher, KEY_TURN, found, where, turning=True)[1].decode().split())
    if absent := sorted(set(names) - set(map(name_of_key, cipher.keys))):
        raise KeyMissing(
            "a key that entries of the store need is not here",
            where=where,
            why=f"they are being sealed anew, and some may still lie under key {', '.join(absent)}",
            next_step=f"put {absent[0]} back below the first line of the key file, until fleet doctor says it may go",
        )
    return names


def begin_turn(connection: Connection, cipher: Cipher, needed: Iterable[str]) -> None:
    """Say, before an entry lies under the first key, under which others some do: no start goes without one of them."""
    names = dict.fromkeys((*needed, name_of_key(cipher.keys[0])))
    put_sealed(connection, cipher, KEY_TURN, " ".join(names).encode())


def sealed_value(connection: Connection, name: str) -> str | None:
    """One of the sealed values of the store itself, as it lies there."""
    return connection.execute(select(VALUES.c.text).where(VALUES.c.name == name)).scalar()


def put_sealed(connection: Connection, cipher: Cipher, name: str, value: bytes) -> None:
    """Keep one of them."""
    puts = Puts()
    puts.put(VALUES, {"name": name, "text": cipher.seal(name, value).hex()})
    puts.write(connection)


def _opened(cipher: Cipher, name: str, found: str, where: str, *, turning: bool = False) -> tuple[int, bytes]:
    try:
        return cipher.open_with(name, bytes.fromhex(found))
    except (StateDamaged, ValueError) as error:
        why, next_step = "the database was written under another key", _KEY_BACK
        if turning:
            why, next_step = "its key is being exchanged, and entries lie under another one as well", _BOTH
        raise KeyMissing(
            "the key does not open the encrypted store", where=where, why=why, next_step=next_step
        ) from error


class SqlVault:
    """`fleet.ports.render.Vault` in the database."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database, self._cipher = database, cipher

    async def put(self, values: Mapping[str, bytes]) -> None:
        """Durable when this returns."""
        kept = dict(values)

        def keep(connection: Connection) -> None:
            puts = Puts()
            for name, value in kept.items():  # sealed here: nothing lands under a key that is being left
                puts.put(VAULT, {"name": name, "sealed": self._cipher.seal(f"vault/{name}", value)})
            puts.write(connection)

        await self._database.write(keep)

    async def get(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Those that are known."""
        found: dict[str, bytes] = {}
        rest = iter(names)
        while part := tuple(islice(rest, _NAMES_PER_QUERY)):
            query = select(VAULT.c.name, VAULT.c.sealed).where(VAULT.c.name.in_(part))
            rows = await self._database.read(lambda connection, query=query: connection.execute(query).all())
            for name, sealed in rows:
                found[name] = self._cipher.open(f"vault/{name}", sealed)
        return found


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
