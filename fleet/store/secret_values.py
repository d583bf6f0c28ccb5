"""Secret values of rendered results, encrypted (R32), for as long as a result that is in use has them.

Which result has which values is noted with them, in one transaction. So what may go is decided by the database alone:
no rendered result has to be read for it, and none that cannot be read costs its values (R5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice

from sqlalchemy import Connection, exists, select

from fleet.core.ids import Digest
from fleet.store.crypto import Cipher
from fleet.store.database import Database
from fleet.store.puts import Puts
from fleet.store.tables import VAULT, VAULT_RESULTS, VAULT_USES

KEEP_SECONDS = 3600.0  # of run time, after a result was in use: much longer than from a build to its being held
_FRESH_SECONDS = KEEP_SECONDS / 2  # so recently in use that it needs no new note; more than between two sweeps
_NAMES_PER_QUERY = 500
_USES_AT_ONCE = 64  # of one transaction: others wait for no more than these


class SqlVault:
    """`fleet.ports.render.Vault` in the database. run_time: seconds that no step of the wall clock moves."""

    def __init__(self, database: Database, cipher: Cipher, run_time: Callable[[], float]) -> None:
        self._database, self._cipher, self._run_time = database, cipher, run_time

    async def put(self, result: Digest, values: Mapping[str, bytes]) -> None:
        """Durable when this returns."""
        kept = dict(values)

        def keep(connection: Connection) -> None:
            puts = Puts()
            for name, value in kept.items():  # sealed here: nothing lands under a key that is being left
                puts.put(VAULT, {"name": name, "sealed": self._cipher.seal(f"vault/{name}", value)})
            self._note(puts, result, kept)
            puts.write(connection)

        await self._database.write(keep)

    async def get(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Those that are known."""
        found: dict[str, bytes] = {}
        for part in _parts(names):
            query = select(VAULT.c.name, VAULT.c.sealed).where(VAULT.c.name.in_(part))
            rows = await self._database.read(lambda connection, query=query: connection.execute(query).all())
            for name, sealed in rows:
                found[name] = self._cipher.open(f"vault/{name}", sealed)
        return found

    async def use(self, result: Digest, names: Collection[str]) -> bool:
        """In the transaction in which it is noted all of them are there: a sweep comes before it or after it."""
        wanted = frozenset(names)

        def note(connection: Connection) -> bool:
            there = sum(len(_there(connection, part)) for part in _parts(wanted))
            if there == len(wanted):
                puts = Puts()
                self._note(puts, result, wanted)
                puts.write(connection)
            return there == len(wanted)

        return await self._database.read(lambda connection: self._is_fresh(connection, result, wanted)) or (
            await self._database.write(note)
        )

    async def unknown(self, results: Collection[Digest]) -> Collection[Digest]:
        """Those of which nobody noted what they have."""
        known: set[str] = set()
        for part in _parts(results):
            query = select(VAULT_RESULTS.c.result).where(VAULT_RESULTS.c.result.in_(part))
            known.update(await self._database.read(lambda connection, query=query: connection.execute(query).scalars()))
        return [result for result in results if result not in known]

    async def sweep(self, in_use: Collection[Digest]) -> int:
        """Note what is in use, then let go what was not for so long; some in each transaction, decided in it."""
        now, count = self._run_time(), 0
        for part in _parts(in_use):
            seen = VAULT_RESULTS.update().where(VAULT_RESULTS.c.result.in_(part)).values(at=now)
            await self._database.write(lambda connection, seen=seen: connection.execute(seen).rowcount)
        is_over = False
        while not is_over:
            gone, is_over = await self._database.write(lambda connection: _let_go(connection, now - KEEP_SECONDS))
            count += gone
        return count

    def _note(self, puts: Puts, result: Digest, names: Iterable[str]) -> None:
        puts.put(VAULT_RESULTS, {"result": result, "at": self._run_time()})
        for name in names:
            puts.put(VAULT_USES, {"result": result, "name": name})

    def _is_fresh(self, connection: Connection, result: Digest, names: frozenset[str]) -> bool:
        at = connection.execute(select(VAULT_RESULTS.c.at).where(VAULT_RESULTS.c.result == result)).scalar()
        if at is None or at < self._run_time() - _FRESH_SECONDS:
            return False
        uses = select(VAULT_USES.c.name).join(VAULT, VAULT.c.name == VAULT_USES.c.name)
        return names <= set(connection.execute(uses.where(VAULT_USES.c.result == result)).scalars())


def _let_go(connection: Connection, before: float) -> tuple[int, bool]:
    """Some of what results had that were last in use before that: how many values went, and whether that was all."""
    old = select(VAULT_RESULTS.c.result).where(VAULT_RESULTS.c.at < before)
    uses = select(VAULT_USES.c.result, VAULT_USES.c.name).where(VAULT_USES.c.result.in_(old))
    rows = connection.execute(uses.limit(_USES_AT_ONCE)).all()
    for result, name in rows:
        connection.execute(VAULT_USES.delete().where(VAULT_USES.c.result == result, VAULT_USES.c.name == name))
    is_used = exists().where(VAULT_USES.c.name == VAULT.c.name)
    unused = VAULT.delete().where(VAULT.c.name.in_({name for _, name in rows}), ~is_used)
    count = connection.execute(unused).rowcount if rows else 0
    if len(rows) == _USES_AT_ONCE:
        return count, False
    connection.execute(VAULT_RESULTS.delete().where(VAULT_RESULTS.c.at < before))
    return count, True


def _there(connection: Connection, names: Collection[str]) -> Collection[str]:
    return connection.execute(select(VAULT.c.name).where(VAULT.c.name.in_(names))).scalars().all()


def _parts(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    rest = iter(names)
    while part := tuple(islice(rest, _NAMES_PER_QUERY)):
        yield part
