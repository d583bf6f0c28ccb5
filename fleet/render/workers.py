"""The render workers as the hub sees them: a few small processes, one job each at a time, replaced when they end.

They are spawned with an empty environment, never forked from the hub: its memory and its secrets stay its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import orjson

from fleet.core.documents import items_at, parse_document
from fleet.errors import FleetError, RenderInterrupted, RenderTimeout
from fleet.render.jobs import Answer, answer_of, frame, lengths_of, lengths_size
from fleet.render.measures import lacking
from fleet.values import dataclass, field

_START_SECONDS = 30.0
_GRACE_SECONDS = 15.0  # for parsing and checking, beyond what kustomize itself may take
_ROOM = "free memory and processes there, and ask again; a hub does by itself"
_PACKAGE_ROOT = str(Path(__file__).parents[2])
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from fleet.render.worker import main; main()"


@dataclass(slots=True, eq=False)
class _Process:
    process: asyncio.subprocess.Process

    async def ask(self, parts: Sequence[bytes], seconds: float) -> list[bytes]:
        """One job; a worker that does not answer in time is ended by the caller."""
        async with asyncio.timeout(seconds):
            return await exchange(self.process, parts)


@dataclass(slots=True)
class WorkerPool:
    """At most `size` workers, started when first needed, in the order of asking."""

    key: bytes
    scratch: Path
    readable: tuple[str, ...]
    size: int
    warn: Callable[[str], None] | None = None  # told once what builds could do where the kernel does not shut them in
    measures: tuple[str, ...] | None = None  # what the workers gave up; not known before the first one started
    _idle: list[_Process] = field(default_factory=list[_Process])
    _all: set[_Process] = field(default_factory=set[_Process])
    _turn: asyncio.Semaphore = field(init=False)
    _ahead: asyncio.Task[_Process] | None = None
    _closed: bool = False

    def __post_init__(self) -> None:
        self._turn = asyncio.Semaphore(self.size)

    async def start_ahead(self) -> None:
        """Begin to start a worker for the first job, so that it loads while that job is still being prepared."""
        if self._ahead is None and not self._all:
            self._ahead = asyncio.create_task(self._start(), name="render worker ahead")
            await asyncio.sleep(0)  # until the process runs, which needs nothing of this one to load

    async def measured(self) -> tuple[str, ...]:
        """What the workers gave up; starts one where none ran yet. Raises RenderInterrupted."""
        await self.start_ahead()
        if self.measures is None and self._ahead is not None:
            await asyncio.shield(self._ahead)
        return self.measures or ()

    async def run(self, read: Callable[[], Awaitable[Sequence[bytes]]], seconds: float) -> Answer:
        """Have a job done; raises the FleetError that it ends in. A worker that vanishes is replaced once.

        read: makes the parts of the job, when its turn has come: what waits holds no input in memory (R28).
        """
        async with self._turn:
            parts = await read()
            for last in (False, True):
                worker = self._idle.pop() if self._idle else await self._started()
                try:
                    answer = await worker.ask(parts, seconds + _GRACE_SECONDS)
                except TimeoutError:
                    await self._end(worker)
                    raise RenderTimeout(
                        f"the render worker did not answer within {seconds + _GRACE_SECONDS:g} s",
                        why="it was ended and will be replaced",
                        next_step="ask again; a hub does by itself, with the next fetch",
                    ) from None
                except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                    await self._end(worker)
                    if last:
                        raise RenderInterrupted(
                            "the render worker ended",
                            why="twice in a row on this input; it may have run out of memory",
                            next_step="it is tried again with the next commit or sync",
                        ) from error
                    continue
                except BaseException:
                    await self._end(worker)
                    raise
                try:
                    return answer_of(answer)
                except RenderInterrupted:
                    await self._end(worker)  # a new one has what this one lost, as its scratch directory
                    raise
                finally:
                    if worker in self._all:
                        self._idle.append(worker)
        raise AssertionError("unreachable: the second round returns or raises")

    async def close(self) -> None:
        """End all workers; builds that run are broken off."""
        self._closed = True
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)
        for worker in list(self._all):
            await self._end(worker)

    async def _started(self) -> _Process:
        ahead, self._ahead = self._ahead, None
        return await self._start() if ahead is None else await ahead

    async def _start(self) -> _Process:
        if self._closed:
            raise RenderInterrupted("the renderer is closed", next_step="it is built again at the next start")
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-c",
                _PROGRAM,
                _PACKAGE_ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                cwd="/",
                start_new_session=True,  # Ctrl-C is the hub's to answer
            )
        except OSError as error:
            raise RenderInterrupted(
                "no render worker can be started", why=type(error).__name__, next_step=_ROOM
            ) from error
        hello = orjson.dumps({"scratch": str(self.scratch), "readable": list(self.readable)})
        worker = _Process(process)
        self._all.add(worker)
        try:
            said = parse_document((await worker.ask([hello, self.key], _START_SECONDS))[0])
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            await self._end(worker)
            raise RenderInterrupted(
                "no render worker can be started", why=type(error).__name__, next_step=_ROOM
            ) from error
        is_first, self.measures = self.measures is None, tuple(str(name) for name in items_at(said, "measures"))
        if is_first and self.warn is not None and (could := lacking(self.measures)):
            self.warn(could)
        return worker

    async def _end(self, worker: _Process) -> None:
        self._all.discard(worker)
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        await worker.process.wait()


async def exchange(process: asyncio.subprocess.Process, parts: Sequence[bytes]) -> list[bytes]:
    """Write a frame and read one; raises OSError or IncompleteReadError at its end, ValueError on nonsense."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frame(parts))
    await process.stdin.drain()
    head = await process.stdout.readexactly(4)
    lengths = lengths_of(await process.stdout.readexactly(lengths_size(head)))
    return [await process.stdout.readexactly(length) for length in lengths]


def copy_of(error: FleetError) -> FleetError:
    """The same error without the trace of its first raising, for the next one who asks."""
    return type(error)(error.what, where=error.where, why=error.why, next_step=error.next_step)
