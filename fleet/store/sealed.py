"""Encrypted entries: credentials and the Secret values of rendered bundles. Clear values exist in memory only (R32)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from itertools import islice

from sqlalchemy import Connection, select

from fleet.errors import KeyMissing, StateDamaged
from fleet.store.crypto import Cipher
from fleet.store.database import Database
from fleet.store.puts import Puts
from fleet.store.tables import AUDIT, CREDENTIALS, VALUES, VAULT

KEY_CHECK = "key-check"
_BEFORE_CHAIN, _CHAINED = b"fleet", b"fleet+chain"  # what is sealed there: nobody without the key can say it
_NAMES_PER_QUERY = 500


async def check_key(database: Database, cipher: Cipher, *, where: str) -> bool:
    """Prove that the database was written under this key, or bind it at the first start.

    True where its audit log is chained, as it is from the start; False where it is from before that. Raises KeyMissing,
    and StateDamaged where a database in use does not say under which key.
    """

    def check(connection: Connection) -> str | None:
        found = connection.execute(select(VALUES.c.text).where(VALUES.c.name == KEY_CHECK)).scalar()
        if found is None:
            if used := [t.name for t in (AUDIT, CREDENTIALS, VAULT) if connection.execute(select(t).limit(1)).first()]:
                raise StateDamaged(
                    "the state does not say under which key it was written",
                    where=where,
                    why=f"its key check is missing, and it has rows in {', '.join(used)}",
                    next_step="restore the data directory from a backup, or move it away and run fleet recover",
                )
            say_chained(connection, cipher)
        return found

    found = await database.write(check)
    if found is None:
        return True
    try:
        return cipher.open(KEY_CHECK, bytes.fromhex(found)) != _BEFORE_CHAIN
    except (StateDamaged, ValueError) as error:
        raise KeyMissing(
            "the key does not open the encrypted store",
            where=where,
            why="the database was written under another key",
            next_step="put the kept copy of the key back, or move the data directory away and run fleet recover",
        ) from error


def say_chained(connection: Connection, cipher: Cipher) -> None:
    """Bind the database to the key, with the word that its audit log is chained from here on."""
    puts = Puts()
    puts.put(VALUES, {"name": KEY_CHECK, "text": cipher.seal(KEY_CHECK, _CHAINED).hex()})
    puts.write(connection)


class SqlVault:
    """`fleet.ports.render.Vault` in the database."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database, self._cipher = database, cipher

    async def put(self, values: Mapping[str, bytes]) -> None:
        """Durable when this returns."""
        puts = Puts()
        for name, value in values.items():
            puts.put(VAULT, {"name": name, "sealed": self._cipher.seal(f"vault/{name}", value)})
        await self._database.put(puts)

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
        sealed = await asyncio.to_thread(self._cipher.seal, f"credential/{name}", kubeconfig)
        puts = Puts()
        puts.put(CREDENTIALS, {"name": name, "sealed": sealed, "at": at})
        await self._database.put(puts)

    async def renew(self, name: str, known: bytes, renewed: bytes, at: float) -> bool:
        """Replace `known` and nothing else, in one transaction."""
        sealed = await asyncio.to_thread(self._cipher.seal, f"credential/{name}", renewed)

        def replace(connection: Connection) -> bool:
            row = CREDENTIALS.c.name == name
            found = connection.execute(select(CREDENTIALS.c.sealed).where(row)).scalar()
            if found is None or self._cipher.open(f"credential/{name}", found) != known:
                return False
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
