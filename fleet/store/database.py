"""The database behind the state: any number of readers, one writer, group commit.

Writes that are asked for while a transaction runs share the next one; one that finds the writer idle starts at once.
So a single commit costs one disk flush, and many at a time share it.

A read or a transaction is carried out whole in a thread of its own. Statement by statement each would wait for its turn
among all that is ready in the event loop, which in a busy hub takes longer than the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from fleet.errors import FleetError, StateBusy, StateError
from fleet.store.puts import Puts
from fleet.store.trouble import state_error_of
from fleet.values import dataclass

T = TypeVar("T")

_READERS = 2
_READ_SECONDS = 30.0  # for a turn and the read itself
_BUSY_SECONDS = 5
# Rows of one transaction are bounded, so that its callers wait for one bounded flush.
_SHARE_AT_MOST = 256

_Work = Puts | Callable[[Connection], object]


@dataclass(slots=True)
class _Wish:
    """One caller's part of a transaction: puts to fold, or a function that may read before it writes."""

    work: _Work
    done: asyncio.Future[object]


class Database:
    """One open database. `read` and `write` raise StateError for trouble with it; other exceptions are bugs."""

    def __init__(self, url: str, *, where: str) -> None:
        self._where = where
        self._writing_engine = _engine(url, size=1, writes=True)
        self._reading_engine = _engine(url, size=_READERS, writes=False)
        self._writing = ThreadPoolExecutor(1, "store-write")
        self._reading = ThreadPoolExecutor(_READERS, "store-read")
        self._connection: Connection | None = None  # of the writing thread alone
        self._wishes: list[_Wish] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._writer = asyncio.create_task(self._write_for_ever(), name="store-writer")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on what is committed, in another thread: it must touch nothing else that changes."""

        def look() -> T:
            with self._reading_engine.connect() as connection:
                return query(connection)

        limit = asyncio.timeout(_READ_SECONDS)
        try:
            async with limit:
                return await _in(self._reading, look)
        except DBAPIError as error:
            raise self._translated(error) from error
        except TimeoutError as error:
            if not limit.expired():
                raise
            # A machine that is this busy is no bug of whoever asks.
            raise StateBusy(
                "the state was not read in time",
                where=self._where,
                why=f"{_READERS} threads read it, and none had answered within {_READ_SECONDS:g} s",
                next_step="it is asked again; where this lasts, give the hub more CPU or a faster disk",
            ) from error

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change in a (shared) transaction, in another thread; durable when this returns.

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
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._reading.shutdown(cancel_futures=True)
        self._writing.submit(self._discard)
        self._writing.shutdown()
        self._writing_engine.dispose()
        self._reading_engine.dispose()

    async def _wish(self, work: _Work) -> object:
        if self._closing:
            raise StateError("the state is closed", where=self._where, next_step="start the hub again")
        wish = _Wish(work, asyncio.get_running_loop().create_future())
        self._wishes.append(wish)
        self._wake.set()
        return await wish.done

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._wishes[:_SHARE_AT_MOST]:
                del self._wishes[: len(batch)]
                await self._write_batch(batch)
            if self._closing:
                return

    async def _write_batch(self, batch: list[_Wish]) -> None:
        """One transaction."""
        steps = _folded([wish.work for wish in batch])
        try:
            found = iter(await _in(self._writing, lambda: self._transact(steps)))
        except Exception as error:  # the edge of the writer's loop: each caller gets it, and the loop goes on
            if self._state_error(error) is None and len(batch) > 1:
                # One caller's bug must not be all callers' failure: find it by giving each its own transaction.
                for wish in batch:
                    await self._write_batch([wish])
                return
            for wish in batch:
                _settle(wish, self._state_error(error) or error)
            return
        for wish in batch:
            _settle(wish, None if isinstance(wish.work, Puts) else next(found))

    def _transact(self, steps: Sequence[_Work]) -> list[object]:
        """Carry out all steps in their order, or none; the answers of those that are functions."""
        try:
            connection = self._connection = self._connection or self._writing_engine.connect()
            with connection.begin():
                return _carry_out(connection, steps)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        """Drop the connection; after a disk error SQLite may keep it from writing again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it is thrown away, whatever it says
                connection.invalidate()
                connection.close()

    def _state_error(self, error: BaseException) -> StateError | None:
        return state_error_of(error, self._where)

    def _translated(self, error: DBAPIError) -> BaseException:
        return self._state_error(error) or error


async def _in(executor: Executor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, work)


def _folded(every: Sequence[_Work]) -> list[_Work]:
    """Puts that follow one another as one; copied, because whoever put them may change them meanwhile."""
    steps: list[_Work] = []
    last: Puts | None = None
    for work in every:
        if not isinstance(work, Puts):
            steps.append(work)
            last = None
            continue
        if last is None:
            last = Puts()
            steps.append(last)
        last.merge(work)
    return steps


def _carry_out(connection: Connection, steps: Sequence[_Work]) -> list[object]:
    answers: list[object] = []
    for step in steps:
        if isinstance(step, Puts):
            step.write(connection)
            continue
        try:
            answers.append(step(connection))
        except FleetError as refusal:
            answers.append(refusal)
    return answers


def _settle(wish: _Wish, answer: object) -> None:
    if wish.done.done():  # its caller was cancelled
        return
    if isinstance(answer, BaseException):
        wish.done.set_exception(answer)
    else:
        wish.done.set_result(answer)


def _engine(url: str, *, size: int, writes: bool) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=size, max_overflow=0)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
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

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine
