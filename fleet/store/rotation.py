"""From one key of the store to another, while the store is in use and wherever the hub may be killed.

Before an entry lies under the new key its name is noted beside the old one's (`key-names`); a start without a noted key
is refused. Entries are sealed anew some at a time; the key check and the root follow last, with the word that
all is done. Whoever comes back after a kill at any point holds keys that open every entry, and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from threading import Thread

from sqlalchemy import Connection, Table, select

from fleet.errors import KeyMissing, StateDamaged
from fleet.ports.state import KeyStanding
from fleet.store.crypto import Cipher, FoundKey, name_of_key
from fleet.store.database import Database
from fleet.store.sealed import KEY_CHECK, KEY_ROOT, note_keys, proven_keys, put_sealed, stored_value
from fleet.store.tables import CREDENTIALS, VAULT

SEALED_TABLES = ((CREDENTIALS, "credential"), (VAULT, "vault"))
_ROWS_AT_ONCE = 64  # of one transaction: others wait for no more than these
_FILE_SECONDS = 5.0  # for a small file

_Entry = tuple[str, str]  # its kind and name, which stand before what is sealed


class SqlKeys:
    """`fleet.ports.state.Keys` in the database. read: finds the keys where they lie now."""

    def __init__(self, database: Database, cipher: Cipher, *, where: str, read: Callable[[], FoundKey | None]) -> None:
        self._database, self._cipher, self._where, self._read = database, cipher, where, read
        self._reading: asyncio.Future[FoundKey | None] | None = None
        self._found: FoundKey | None = None  # what `turn` is to take
        # What a pass through all entries found, and for which keys: a note says less, entries may come without one.
        self._passed: tuple[bytes, ...] = ()
        self._under: frozenset[str] = frozenset()
        self._unreadable: tuple[_Entry, ...] = ()

    async def look(self) -> KeyStanding:
        """What the file asks for now; raises KeyMissing where it cannot be taken, and then nothing changes."""
        found = await self._read_in_time()
        if found is None:
            raise self._refused("the key of the encrypted store is gone", self._where, "the hub goes on with its copy")
        in_use = await self._in_use()
        names = set(map(name_of_key, found.keys))
        if absent := [name for name in in_use if name not in names]:
            why = f"entries of the store need key {absent[0]}, and the hub goes on with its copy until it ends"
            raise self._refused("the file does not hold a key that is needed", found.where, why, absent[0])
        await self._pass(found.keys)
        self._found = found
        return self._standing(found, in_use, 0)

    async def _pass(self, keys: tuple[bytes, ...]) -> None:
        """Which keys entries need: all at the first look with these keys, then those again that opened with none."""
        is_known, known, cipher = keys == self._passed, self._unreadable, Cipher(*keys)
        if is_known and not known:
            return

        def go(connection: Connection) -> tuple[frozenset[str], tuple[_Entry, ...]]:
            under, unreadable = set[str](), list[_Entry]()
            for entry, sealed in _those(connection, known) if is_known else _all(connection):
                try:
                    under.add(name_of_key(keys[cipher.open_with("/".join(entry), sealed)[0]]))
                except StateDamaged:
                    unreadable.append(entry)
            return frozenset(under), tuple(unreadable)

        under, self._unreadable = await self._database.read(go)
        self._passed, self._under = keys, self._under | under if is_known else under

    async def _read_in_time(self) -> FoundKey | None:
        """One read at a time, in a thread that keeps no end of the hub waiting: a mount that hangs has no deadline."""
        if self._reading is None:
            self._reading = asyncio.wrap_future(_in_thread(self._read))
        await asyncio.wait({self._reading}, timeout=_FILE_SECONDS)
        if not self._reading.done():
            why = f"what was asked for {_FILE_SECONDS:g} s ago has not come, and the hub goes on with its copy"
            raise self._refused("the key of the encrypted store was not read in time", self._where, why)
        done, self._reading = self._reading, None
        return done.result()

    async def turn(self) -> KeyStanding:
        """Take what was looked at last, and seal all entries anew under its first key."""
        found = self._found
        assert found is not None, "look first"
        in_use = await self._in_use()
        new, needed = Cipher(*found.keys), (*in_use, *sorted(self._under))
        if {*needed} != {name_of_key(found.key)}:
            await self._database.write(lambda connection: note_keys(connection, new, needed))
        self._cipher.turn(found.keys)  # what is sealed from here on is under it
        count, unreadable = 0, list[_Entry]()
        for table, prefix in SEALED_TABLES:
            after: str | None = ""
            while after is not None:
                last = after
                after, done, lost = await self._database.write(
                    lambda connection, table=table, prefix=prefix, last=last: self._seal_anew(
                        connection, table, prefix, last
                    )
                )
                count += done
                unreadable += lost
        await self._database.write(self._finish)
        self._passed, self._under, self._unreadable = found.keys, frozenset(), tuple(unreadable)
        return self._standing(found, await self._in_use(), count)

    def _seal_anew(
        self, connection: Connection, table: Table, prefix: str, after: str
    ) -> tuple[str | None, int, list[_Entry]]:
        """The next rows; returns the last of them, None at the end, how many were sealed anew, and what opens not."""
        query = select(table.c.name, table.c.sealed).where(table.c.name > after).order_by(table.c.name)
        rows = connection.execute(query.limit(_ROWS_AT_ONCE)).all()
        count, unreadable = 0, list[_Entry]()
        for name, sealed in rows:
            try:
                place, value = self._cipher.open_with(f"{prefix}/{name}", sealed)
            except StateDamaged:
                unreadable.append((prefix, name))
                continue
            if place:
                again = self._cipher.seal(f"{prefix}/{name}", value)
                connection.execute(table.update().where(table.c.name == name).values(sealed=again))
                count += 1
        return (rows[-1].name if len(rows) == _ROWS_AT_ONCE else None), count, unreadable

    def _finish(self, connection: Connection) -> None:
        """The check and the root last: a start without the old key is refused until here."""
        for name in (KEY_CHECK, KEY_ROOT):
            if (found := stored_value(connection, name)) is not None:
                put_sealed(connection, self._cipher, name, self._cipher.open(name, bytes.fromhex(found)))
        note_keys(connection, self._cipher, ())

    async def _in_use(self) -> tuple[str, ...]:
        """Names of the keys that entries lie under."""
        return await self._database.read(lambda connection: proven_keys(connection, self._cipher, self._where).names)

    def _standing(self, found: FoundKey, in_use: tuple[str, ...], count: int) -> KeyStanding:
        older = tuple(map(name_of_key, found.older))
        needed = tuple(name for name in older if name in in_use or name in self._under)
        is_due = bool(needed) or found.keys != self._cipher.keys
        free = () if is_due else older
        unreadable = tuple(map(" ".join, self._unreadable))
        return KeyStanding(name_of_key(found.key), found.where, needed, free, unreadable, count, is_due)

    def _refused(self, what: str, where: str, why: str, key: str = "") -> KeyMissing:
        key = key or name_of_key(self._cipher.keys[0])
        step = f"put key {key} back, below the first line where that is a new one; fleet doctor says when it may go"
        return KeyMissing(what, where=where, why=why, next_step=step)


def _in_thread(read: Callable[[], FoundKey | None]) -> Future[FoundKey | None]:
    answer = Future[FoundKey | None]()

    def work() -> None:
        try:
            answer.set_result(read())
        except Exception as error:  # whatever it is, it is raised where the answer is waited for
            answer.set_exception(error)

    Thread(target=work, name="key", daemon=True).start()
    return answer


def _all(connection: Connection) -> Iterator[tuple[_Entry, bytes]]:
    for table, prefix in SEALED_TABLES:
        for name, sealed in connection.execute(select(table.c.name, table.c.sealed).order_by(table.c.name)):
            yield (prefix, name), sealed


def _those(connection: Connection, entries: Iterable[_Entry]) -> Iterator[tuple[_Entry, bytes]]:
    """Of these entries the ones that are still there."""
    tables = {prefix: table for table, prefix in SEALED_TABLES}
    for prefix, name in entries:
        table = tables[prefix]
        if (sealed := connection.execute(select(table.c.sealed).where(table.c.name == name)).scalar()) is not None:
            yield (prefix, name), sealed
