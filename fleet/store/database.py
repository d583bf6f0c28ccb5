"""The database behind the state: any number of readers, one writer, group commit.

Writes that are asked for while a transaction runs share the next one; one that finds the writer idle starts at once.
So a single commit costs one disk flush, and many at a time share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from fleet.errors import FleetError, StateBusy, StateError
from fleet.store.puts import Puts
from fleet.store.trouble import state_error_of
from fleet.values import dataclass

T = TypeVar("T")

_READERS = 2
_BUSY_SECONDS = 5
# Rows of one transaction are bounded, so that its callers wait for one bounded flush.
_SHARE_AT_MOST = 256


@dataclass(slots=True)
class _Wish:
    """One caller's part of a transaction: puts to fold, or a function that may read before it writes."""

    work: Puts | Callable[[Connection], object]
    done: asyncio.Future[object]


class Database:
    """One open database. `read` and `write` raise StateError for trouble with it; other exceptions are bugs."""

    def __init__(self, url: str, *, where: str) -> None:
        self._where = where
        self._writing_engine = _engine(url, size=1, writes=True)
        self._reading_engine = _engine(url, size=_READERS, writes=False)
        self._wishes: list[_Wish] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._writer = asyncio.create_task(self._write_for_ever(), name="store-writer")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on what is committed."""
        try:
            async with self._reading_engine.connect() as connection:
                return await connection.run_sync(query)
        except DBAPIError as error:
            raise self._translated(error) from error
        except NoConnectionFree as error:  # a machine that is this busy is no bug of whoever asks
            raise StateBusy(
                "the state was not read in time",
                where=self._where,
                why=f"{_READERS} connections read it, and none became free in time",
                next_step="it is asked again; where this lasts, give the hub more CPU or a faster disk",
            ) from error

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in a (shared) transaction; durable when this returns.

        A FleetError that `change` raises is its caller's alone: it must be raised before anything is written.
        """
        return cast("T", await self._wish(change))

    async def put(self, puts: Puts) -> None:
        """Write puts in a (shared) transaction; durable when this returns."""
        if puts:
            await self._wish(puts)

    async def close(self) -> None:
        """Finish what was asked for and close."""
        self._closing = True
        self._wake.set()
        await self._writer
        await self._writing_engine.dispose()
        await self._reading_engine.dispose()

    async def _wish(self, work: Puts | Callable[[Connection], object]) -> object:
        if self._closing:
            raise StateError("the state is closed", where=self._where, next_step="start the hub again")
        wish = _Wish(work, asyncio.get_running_loop().create_future())
        self._wishes.append(wish)
        self._wake.set()
        return await wish.done

    async def _write_for_ever(self) -> None:
        connection: AsyncConnection | None = None
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._wishes[:_SHARE_AT_MOST]:
                del self._wishes[: len(batch)]
                connection = await self._write_batch(connection, batch)
            if self._closing:
                break
        if connection is not None:
            with suppress(DBAPIError):
                await connection.close()

    async def _write_batch(self, connection: AsyncConnection | None, batch: list[_Wish]) -> AsyncConnection | None:
        """One transaction; gives the connection back, or None where it must not be used again."""
        try:
            connection = connection or await self._writing_engine.connect()
            async with connection.begin():
                answers = await connection.run_sync(_carry_out, batch)
        except Exception as error:  # the edge of the writer's loop: each caller gets it, and the loop goes on
            await _discard(connection)
            if self._state_error(error) is None and len(batch) > 1:
                # One caller's bug must not be all callers' failure: find it by giving each its own transaction.
                connection = None
                for wish in batch:
                    connection = await self._write_batch(connection, [wish])
                return connection
            for wish in batch:
                _settle(wish, self._state_error(error) or error)
            return None
        for wish, answer in zip(batch, answers, strict=True):
            _settle(wish, answer)
        return connection

    def _state_error(self, error: BaseException) -> StateError | None:
        return state_error_of(error, self._where)

    def _translated(self, error: DBAPIError) -> BaseException:
        return self._state_error(error) or error


def _carry_out(connection: Connection, batch: list[_Wish]) -> list[object]:
    """Do the batch in its order; puts that follow one another are folded into one."""
    answers: list[object] = []
    folded = Puts()
    for wish in batch:
        if isinstance(wish.work, Puts):
            folded.merge(wish.work)
            answers.append(None)
            continue
        folded.write(connection)
        folded = Puts()
        try:
            answers.append(wish.work(connection))
        except FleetError as refusal:
            answers.append(refusal)
    folded.write(connection)
    return answers


def _settle(wish: _Wish, answer: object) -> None:
    if wish.done.done():  # its caller was cancelled
        return
    if isinstance(answer, BaseException):
        wish.done.set_exception(answer)
    else:
        wish.done.set_result(answer)


async def _discard(connection: AsyncConnection | None) -> None:
    """Drop a connection whose transaction failed; after a disk error SQLite may keep it from writing again."""
    if connection is not None:
        with suppress(Exception):  # it is thrown away, whatever it says
            await connection.invalidate()
            await connection.close()


def _engine(url: str, *, size: int, writes: bool) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=size, max_overflow=0)
    engine = create_async_engine(
        url, poolclass=AsyncAdaptedQueuePool, pool_size=size, max_overflow=0, connect_args={"timeout": _BUSY_SECONDS}
    )

    def prepare(connection: Any, _record: object) -> None:
        # The driver begins transactions late and by guess; BEGIN is said below instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if not writes:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine
